// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shows the console: as it grows on a terminal, line by line elsewhere.

use crate::console::{Event, HYPERVISOR, clean};
use crate::project::write_whole;
use crate::terminal::plain;
use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write, stdout};
use std::path::Path;
use std::time::Duration;

/// Someone who is shown the console.
///
/// A display that cannot write (a closed pipe, a full disk) falls silent; the machine runs on.
pub trait Display: Send {
    /// The next event, and when it came.
    fn event(&mut self, event: &Event, at: Duration);
    /// Nothing more will come.
    fn finish(&mut self) {}
}

/// Shows the stream as it comes, each owner's prefix in a colour of its own.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    colour: bool,
    owners: Vec<String>,
    open: bool,
    repeats: Repeats,
}

impl<W: Write> Terminal<W> {
    /// Writes to `out`, with colours or without.
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, owners: Vec::new(), open: false, repeats: Repeats::default() }
    }

    fn style(&mut self, owner: &str) -> Style {
        const COLOURS: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Yellow,
            AnsiColor::Green,
            AnsiColor::Magenta,
            AnsiColor::Blue,
            AnsiColor::Red,
        ];
        if !self.colour {
            return Style::new();
        }
        if owner == HYPERVISOR {
            return Style::new().bold();
        }
        let index = self.owners.iter().position(|known| known == owner).unwrap_or_else(|| {
            self.owners.push(owner.to_owned());
            self.owners.len() - 1
        });
        COLOURS[index % COLOURS.len()].on_default()
    }
}

impl<W: Write + Send> Display for Terminal<W> {
    fn event(&mut self, event: &Event, _at: Duration) {
        self.open = matches!(event, Event::Begin(_) | Event::Text(_));
        self.repeats.event(event);
        let _ = match event {
            Event::Begin(Some(owner)) => {
                let style = self.style(owner);
                write!(self.out, "{style}[{owner}]{style:#} ")
            }
            Event::Begin(None) => Ok(()),
            Event::Text(text) => self.out.write_all(&self.repeats.text(text)),
            Event::End => self.out.write_all(b"\r\n"),
            Event::Erase => self.out.write_all(b"\r\x1b[K"),
        };
        let _ = self.out.flush();
    }

    fn finish(&mut self) {
        if self.open {
            let _ = self.out.write_all(b"\r\n");
        }
    }
}

/// Finds what of an unfinished line was shown before, and takes the questions to the terminal (where is the
/// cursor, what are you) out of it: it would answer again, and the guest would take that for typing.
#[derive(Debug, Default)]
struct Repeats {
    owner: String,
    /// Bytes of each owner's unfinished line that were shown.
    shown: BTreeMap<String, usize>,
    /// Bytes of the current line that are still to be repeated.
    left: usize,
    /// The beginning of an escape sequence.
    held: Vec<u8>,
}

impl Repeats {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Begin(owner) => {
                self.owner = owner.clone().unwrap_or_default();
                self.left = self.shown.get(&self.owner).copied().unwrap_or(0);
                self.held.clear();
            }
            Event::End => {
                self.shown.remove(&self.owner);
            }
            Event::Text(_) | Event::Erase => {}
        }
    }

    fn text(&mut self, text: &[u8]) -> Vec<u8> {
        let (again, new) = text.split_at(self.left.min(text.len()));
        self.left -= again.len();
        *self.shown.entry(self.owner.clone()).or_default() += new.len();
        let mut kept = Vec::new();
        for &byte in again {
            match (self.held.as_slice(), byte) {
                ([], 0x1b) | ([0x1b], b'[') => self.held.push(byte),
                ([], _) => kept.push(byte),
                ([0x1b, b'[', ..], b'n' | b'c') => self.held.clear(),
                ([0x1b, b'[', ..], 0x20..=0x3f) => self.held.push(byte),
                _ => {
                    kept.append(&mut self.held);
                    kept.push(byte);
                }
            }
        }
        if self.left == 0 {
            kept.append(&mut self.held);
        }
        kept.extend_from_slice(new);
        kept
    }
}

/// Shows complete lines, cleaned of escape sequences; at the end what is left of the unfinished one.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    timed: bool,
    owner: Option<String>,
    text: Vec<u8>,
    open: bool,
}

impl<W: Write> Lines<W> {
    /// Lines as they are, for a pipe.
    pub fn plain(out: W) -> Self {
        Self { out, timed: false, owner: None, text: Vec::new(), open: false }
    }

    /// Each line behind the seconds since the start, for a log.
    pub fn timed(out: W) -> Self {
        Self { timed: true, ..Self::plain(out) }
    }

    fn line(&mut self, at: Duration) -> std::io::Result<()> {
        self.open = false;
        if self.timed {
            write!(self.out, "{:>10.3} ", at.as_secs_f64())?;
        }
        let text = clean(&std::mem::take(&mut self.text));
        match self.owner.take() {
            Some(owner) => writeln!(self.out, "[{owner}] {text}")?,
            None => writeln!(self.out, "{text}")?,
        }
        self.out.flush()
    }
}

impl<W: Write + Send> Display for Lines<W> {
    fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Begin(owner) => {
                self.owner.clone_from(owner);
                self.text.clear();
                self.open = true;
            }
            Event::Text(text) => self.text.extend_from_slice(text),
            Event::End => {
                let _ = self.line(at);
            }
            Event::Erase => self.open = false,
        }
    }

    fn finish(&mut self) {
        if self.open {
            self.timed = false;
            let _ = self.line(Duration::ZERO);
        }
    }
}

/// Prints an answer to standard output. Ends this program, and well, if whoever reads has heard enough, as `head` has.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(plain(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot print"),
    }
}

/// Writes a file that the user asked for and says so, on standard error.
///
/// # Errors
/// When it cannot be written.
pub fn write_and_tell(path: &Path, bytes: &[u8], what: &str) -> Result<()> {
    write_whole(path, bytes)?;
    eprintln!("{}: {what}, {} KiB", path.display(), bytes.len().div_ceil(1024));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Parser;

    const STREAM: &[u8] = b"[a] ~ # l\r\x1b[K[bulkhead] hi\r\n[a] ~ # ls\x1b[6n\r\nraw\r\n[b] x";

    fn show(mut display: impl Display) {
        for event in Parser::default().feed(STREAM) {
            display.event(&event, Duration::from_millis(1500));
        }
        display.finish();
    }

    #[test]
    fn a_pipe_gets_complete_lines_and_the_rest() {
        let mut out = Vec::new();
        show(Lines::plain(&mut out));
        assert_eq!(String::from_utf8_lossy(&out), "[bulkhead] hi\n[a] ~ # ls\nraw\n[b] x\n");
        let mut log = Vec::new();
        show(Lines::timed(&mut log));
        assert!(String::from_utf8_lossy(&log).starts_with("     1.500 [bulkhead] hi\n"));
    }

    #[test]
    fn a_terminal_is_not_asked_twice() {
        let stream = b"[a] \x1b[1m# \x1b[6nl\r\x1b[K[b] x\r\n[a] \x1b[1m# \x1b[6nls\x1b[6n\r\n[a] \x1b[6n";
        let shown = b"[a] \x1b[1m# \x1b[6nl\r\x1b[K[b] x\r\n[a] \x1b[1m# ls\x1b[6n\r\n[a] \x1b[6n\r\n";
        for piece in [1, 2, 3, stream.len()] {
            let mut out = Vec::new();
            let mut display = Terminal::new(&mut out, false);
            let mut parser = Parser::default();
            for event in stream.chunks(piece).flat_map(|piece| parser.feed(piece)) {
                display.event(&event, Duration::ZERO);
            }
            display.finish();
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(shown), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_terminal_gets_the_stream() {
        let mut plain = Vec::new();
        show(Terminal::new(&mut plain, false));
        assert_eq!(plain, [STREAM, b"\r\n"].concat());
        let mut colourful = Vec::new();
        show(Terminal::new(&mut colourful, true));
        let colourful = String::from_utf8_lossy(&colourful);
        assert!(
            colourful.starts_with("\x1b[36m[a]\x1b[0m ~ # l\r\x1b[K\x1b[1m[bulkhead]\x1b[0m hi"),
            "{colourful:?}"
        );
        assert!(colourful.contains("\x1b[33m[b]\x1b[0m x"), "{colourful:?}");
    }
}
