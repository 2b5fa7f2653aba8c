// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The user's terminal: raw while a board is on it, and as it was before on every way out.

use crate::machine::Message;
use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use std::fmt::Write as _;
use std::io::{IsTerminal, Read, stdin, stdout};
use std::panic;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// How the terminal was before; `None` while it is not raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a user sits there: both directions are a terminal.
#[must_use]
pub fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Whether to use colours: on a terminal, unless the user has set NO_COLOR (no-color.org).
#[must_use]
pub fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !refused
}

/// The text without what would steer a terminal: control characters but newline and tab, and those that turn the
/// direction of writing, become `\u` and four digits, which JSON reads as well.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, character| {
        if steers(character) {
            let _ = write!(plain, "\\u{:04x}", u32::from(character));
        } else {
            plain.push(character);
        }
        plain
    })
}

/// The same on one line.
#[must_use]
pub fn plain_line(text: &str) -> String {
    plain(text).replace('\n', "\\u000a")
}

/// The text with a mark of the same size in place of each such character, so that places in it stay where they are.
#[must_use]
pub fn plain_source(text: &str) -> String {
    let mark = |character: char| match character.len_utf8() {
        _ if !steers(character) => character,
        1 => '?',
        2 => '\u{bf}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    // A line's own end may have two characters.
    let lines = text.split("\r\n").map(|line| line.chars().map(mark).collect());
    lines.collect::<Vec<String>>().join("\r\n")
}

fn steers(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// The terminal in raw mode, until it is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Every key reaches us as bytes, Ctrl-C as well.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> Result<Self> {
        let settings = tcgetattr(stdin()).context("standard input is no terminal")?;
        *before() = Some(settings.clone());
        // Release builds abort on a panic, so no destructor runs: the hook is what restores.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            restore();
            hook(information);
        }));
        let mut raw = settings;
        raw.make_raw();
        // Our own messages end in a plain newline.
        raw.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
        tcsetattr(stdin(), OptionalActions::Drain, &raw).context("the terminal does not become raw")?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was, if it is raw.
pub fn restore() {
    if let Some(settings) = before().take() {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &settings);
    }
}

/// Sends what is typed to the machine from now on.
pub fn listen(sender: Sender<Message>) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = stdin().read(&mut buffer) {
            if count == 0 || sender.send(Message::Keys(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// Finds the one key that is ours, the escape key and q, in what is typed; all else is the hypervisor's.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// For the hypervisor.
    Pass(Vec<u8>),
    /// The user has had enough.
    Quit,
}

impl Keys {
    /// Takes the next bytes. An `escape` key at their end is held back until the next one shows what it is.
    pub fn take(&mut self, bytes: &[u8], escape: u8) -> Typed {
        let mut pass = Vec::new();
        for &byte in bytes {
            match (std::mem::take(&mut self.escaped), byte) {
                (true, b'q' | b'Q') => return Typed::Quit,
                (true, _) => pass.extend([escape, byte]),
                (false, _) if byte == escape => self.escaped = true,
                (false, _) => pass.push(byte),
            }
        }
        Typed::Pass(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_steers_the_terminal() {
        let text = "a\x1b[31m\x07\n\tb\u{9b}\u{202e}\x7f";
        assert_eq!(plain(text), "a\\u001b[31m\\u0007\n\tb\\u009b\\u202e\\u007f");
        assert_eq!(plain_line("a\nb"), "a\\u000ab");
        let source = plain_source(text);
        assert_eq!(source, "a?[31m?\n\tb\u{bf}\u{fffd}?");
        assert_eq!(source.len(), text.len());
        assert_eq!(plain_source("a\r\nb\rc"), "a\r\nb?c");
    }

    #[test]
    fn only_the_quit_key_is_ours() {
        let mut keys = Keys::default();
        let mut take = |bytes| keys.take(bytes, 0x1d);
        assert_eq!(take(b"q\x1d1\x1d\x1dq"), Typed::Pass(b"q\x1d1\x1d\x1dq".to_vec()));
        assert_eq!(take(b"a\x1d"), Typed::Pass(b"a".to_vec()));
        assert_eq!(take(b"?"), Typed::Pass(b"\x1d?".to_vec()));
        assert_eq!(take(b"\x1d"), Typed::Pass(Vec::new()));
        assert_eq!(take(b"q"), Typed::Quit);
        assert_eq!(keys.take(b"\x1dq\x01", 0x01), Typed::Pass(b"\x1dq".to_vec()));
        assert_eq!(keys.take(b"q", 0x01), Typed::Quit);
    }
}
