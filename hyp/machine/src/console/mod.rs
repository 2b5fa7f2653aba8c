// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One serial line for everybody: each line with its partition's name, input to the one in focus.
//!
//! The partition in focus is shown as it types; what the others say comes in whole lines between.
//! When such a line has to come between, the unfinished one is erased with [`ERASE`] and shown again
//! after it, so that a terminal looks right and a program that reads along can drop what was erased.
//! A line starts after our prefix only, and a carriage return leads back to behind it. What is out of
//! focus cannot do more; the partition in focus has the terminal, with cursor movement and all.

mod channel;
mod history;
mod keys;
mod own;
mod ring;
#[cfg(test)]
mod tests;

pub use channel::{Channel, LINE};
pub use keys::{ESCAPE, HISTORY, Key, KeyName, Keys};
pub use own::{OWN_NAME, Stamp};
pub use ring::Ring;

use bulkhead_types::PartitionId;
use core::fmt::{self, Write};
use own::OwnLines;

/// Erases the line under the cursor: carriage return, then EL (ECMA-48, 8.3.41).
pub const ERASE: &[u8] = b"\r\x1b[K";

/// Ends what a partition may have begun on the terminal as it loses the focus (ECMA-48 and the DEC VT510's manual, as xterm
/// has them): a control string (ST), the alternate screen, mouse reports and bracketed paste, scroll margins (which move
/// the cursor, so around it the cursor is saved), another character set; and by a soft reset (DECSTR) the rest: attributes,
/// origin mode, a cursor that is not shown.
pub const RESET: &[u8] = b"\x1b\\\x1b[?1047l\x1b[?1000;1002;1003;1006;2004l\x1b7\x1b[r\x1b8\x0f\x1b(B\x1b[!p\x1b[?25h\x1b[?7h\x1b[0m";

/// The most bytes that one call of [`Console::output`] sends: two prefixes and lines, and what erases one.
pub const STEP: usize = 1024;

const BACKSPACE: u8 = 0x08;

/// Where bytes go: the serial port.
pub trait Sink {
    /// Sends one byte.
    fn send(&mut self, byte: u8);

    /// What the hypervisor's own lines begin with.
    fn stamp(&self) -> Option<Stamp> {
        None
    }
}

impl<F: FnMut(u8)> Sink for F {
    fn send(&mut self, byte: u8) {
        self(byte);
    }
}

/// What a byte of input asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing more: it was part of a command.
    None,
    /// The byte belongs to this partition.
    Deliver(PartitionId, u8),
    /// A command to the monitor, about this partition, in focus unless another is named. `?` is one of them too.
    Command(PartitionId, u8),
}

/// The console.
#[derive(Debug)]
pub struct Console<'a> {
    channels: &'a mut [Channel<'a>],
    focus: usize,
    /// Whether the unfinished line of the focus stands on the screen.
    shown: bool,
    /// Whether only the focus is shown, as it is: a program there has the screen.
    alone: bool,
    /// The key that begins a command.
    escape: u8,
}

impl<'a> Console<'a> {
    /// A console of these partitions, in the order of [`PartitionId`]; the first has the focus.
    #[must_use]
    pub const fn new(channels: &'a mut [Channel<'a>]) -> Self {
        Self { channels, focus: 0, shown: false, alone: false, escape: ESCAPE }
    }

    /// The same, where commands begin with another key.
    #[must_use]
    pub const fn with_escape(self, escape: u8) -> Self {
        Self { escape, ..self }
    }

    /// Takes a byte that partition `from` sends, if it goes out as it is and alone: text, in the line that stands on the
    /// screen. False if [`Self::output`] has to look at it.
    #[inline(always)]
    pub fn passes_on(&mut self, from: PartitionId, byte: u8) -> bool {
        let index = usize::from(from.0);
        index == self.focus
            && self.shown
            && self.channels.get_mut(index).is_some_and(|channel| channel.extend(byte))
    }

    /// Takes a byte that partition `from` sends.
    pub fn output(&mut self, from: PartitionId, byte: u8, sink: &mut impl Sink) {
        let index = usize::from(from.0);
        let focused = index == self.focus;
        let Some(channel) = self.channels.get_mut(index) else { return };
        let returned = core::mem::take(&mut channel.carriage_return);
        match byte {
            b'\n' => return self.finish_line(index, sink),
            b'\r' if focused && self.alone => {
                channel.length = 0;
                if self.shown {
                    sink.send(byte);
                }
                return;
            }
            b'\r' => {
                channel.carriage_return = true;
                return;
            }
            // A carriage return alone: the line is written anew, behind its prefix.
            _ if returned => {
                channel.length = 0;
                if focused && self.shown {
                    send_all(ERASE, sink);
                    self.shown = false;
                }
            }
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(index) else { return };
        // Only text is kept to be shown again: a question to the terminal must not be asked twice.
        let text = channel.passes(byte);
        if byte == BACKSPACE {
            channel.length = channel.length.saturating_sub(1);
        }
        let full = text && channel.keep(byte);
        if focused {
            if !core::mem::replace(&mut self.shown, true) {
                send_prefix(channel.name, sink);
            }
            sink.send(byte);
        }
        if full && focused && self.alone {
            // A program that draws a screen ends no line.
            if let Some(channel) = self.channels.get_mut(index) {
                channel.length = 0;
            }
        } else if full {
            self.finish_line(index, sink);
        }
    }

    /// Sends a line of the hypervisor's own; line breaks in `text` begin further ones.
    pub fn line(&mut self, text: fmt::Arguments<'_>, sink: &mut impl Sink) {
        self.hide(sink);
        let mut writer = OwnLines::new(sink);
        // The writer never fails; a `Display` that does is cut where it failed.
        let _ = writer.write_fmt(text);
        writer.begin();
        send_all(b"\r\n", sink);
        self.show(sink);
    }

    /// Where the last `lines` lines of `of` begin, for [`Self::past`].
    #[must_use]
    pub fn last(&self, of: PartitionId, lines: usize) -> usize {
        self.channels.get(usize::from(of.0)).map_or(0, |channel| channel.history.last(lines))
    }

    /// Sends the line that `of` said at `from`, as one of the hypervisor's own, and returns where the next one begins;
    /// behind the last comes the unfinished one. `None` if there is no more.
    pub fn past(&mut self, of: PartitionId, from: usize, sink: &mut impl Sink) -> Option<usize> {
        let channel = self.channels.get(usize::from(of.0))?;
        let next = channel.history.after(from);
        if next.is_none() && channel.length == 0 {
            return None;
        }
        self.hide(sink);
        let channel = self.channels.get(usize::from(of.0))?;
        let mut writer = OwnLines::new(sink);
        // It never fails.
        let _ = write!(writer, "  {}| ", channel.name);
        match next {
            // Only what passes the filter is kept.
            Some(_) => channel.history.line(from).for_each(|byte| writer.sink.send(byte)),
            None => send_all(channel.text(), writer.sink),
        }
        send_all(b"\r\n", sink);
        self.show(sink);
        next
    }

    /// Ends the unfinished line of `from`, which is about to stop.
    pub fn flush(&mut self, from: PartitionId, sink: &mut impl Sink) {
        let index = usize::from(from.0);
        if self.channels.get(index).is_some_and(|channel| channel.length > 0) {
            self.finish_line(index, sink);
        }
        if let Some(channel) = self.channels.get_mut(index) {
            channel.reset();
        }
    }

    /// Does what a key asks of the console, and says what is left to do.
    pub fn act(&mut self, key: Key, sink: &mut impl Sink) -> Input {
        let focus = PartitionId(self.focus as u16);
        match key {
            Key::Part => return Input::None,
            Key::Plain(byte) => return Input::Deliver(focus, byte),
            Key::Next => self.set_focus(self.next_running(), sink),
            Key::To(index) => self.set_focus(index, sink),
            Key::Alone => self.toggle_alone(sink),
            Key::Command(key, about) => {
                return Input::Command(about.map_or(focus, |index| PartitionId(index as u16)), key);
            }
        }
        Input::None
    }

    /// The partition that input goes to.
    #[must_use]
    pub const fn focus(&self) -> PartitionId {
        PartitionId(self.focus as u16)
    }

    /// Says whose input it is, as on every change of focus.
    pub fn announce_focus(&mut self, sink: &mut impl Sink) {
        if let Some(name) = self.channels.get(self.focus).map(|channel| channel.name) {
            let escape = KeyName(self.escape);
            self.line(format_args!("console: input goes to {name}; {escape} ? for help"), sink);
        }
    }

    /// Notes whether a partition has stopped: `n` passes it over, and help says so.
    pub fn set_stopped(&mut self, partition: PartitionId, stopped: bool) {
        if let Some(channel) = self.channels.get_mut(usize::from(partition.0)) {
            channel.stopped = stopped;
        }
    }

    /// The next partition that runs, around the end; the same if there is no other.
    fn next_running(&self) -> usize {
        let running = |&index: &usize| self.channels.get(index).is_some_and(|channel| !channel.stopped);
        let after = self.focus.saturating_add(1)..self.channels.len();
        after.chain(0..self.focus).find(running).unwrap_or(self.focus)
    }

    fn set_focus(&mut self, index: usize, sink: &mut impl Sink) {
        self.hide(sink);
        if index < self.channels.len() {
            self.reset_terminal(sink);
            self.focus = index;
            self.announce_focus(sink);
        } else {
            self.line(format_args!("console: there is no partition {}", index.saturating_add(1)), sink);
        }
    }

    /// The next focus finds the terminal as if nobody had used it. It goes as a line of the hypervisor's that is taken back,
    /// so that whoever reads along can drop it.
    fn reset_terminal(&mut self, sink: &mut impl Sink) {
        self.alone = false;
        send_prefix(OWN_NAME, sink);
        send_all(RESET, sink);
        send_all(ERASE, sink);
    }

    fn toggle_alone(&mut self, sink: &mut impl Sink) {
        let alone = !self.alone;
        self.hide(sink);
        self.reset_terminal(sink);
        let escape = KeyName(self.escape);
        match alone {
            true => {
                self.line(format_args!("console: others are not shown; {escape} o shows them again"), sink)
            }
            false => self.line(format_args!("console: others are shown"), sink),
        }
        self.alone = alone;
    }

    /// Ends a partition's line: on the screen as it stands, or whole if it was not there yet.
    fn finish_line(&mut self, index: usize, sink: &mut impl Sink) {
        if index != self.focus && self.alone {
            if let Some(channel) = self.channels.get_mut(index) {
                channel.finish();
            }
            return;
        }
        let there = index == self.focus && core::mem::take(&mut self.shown);
        if !there {
            self.hide(sink);
        }
        let Some(channel) = self.channels.get_mut(index) else { return };
        if !there {
            send_prefix(channel.name, sink);
            send_all(channel.text(), sink);
        }
        send_all(b"\r\n", sink);
        channel.finish();
        if index != self.focus {
            self.show(sink);
        }
    }

    /// Erases the unfinished line of the focus from the screen.
    fn hide(&mut self, sink: &mut impl Sink) {
        if core::mem::take(&mut self.shown) {
            send_all(ERASE, sink);
        }
    }

    /// Brings it back.
    fn show(&mut self, sink: &mut impl Sink) {
        if let Some(channel) = self.channels.get(self.focus)
            && channel.length > 0
        {
            send_prefix(channel.name, sink);
            send_all(channel.text(), sink);
            self.shown = true;
        }
    }
}

fn send_prefix(name: &str, sink: &mut impl Sink) {
    send_all(b"[", sink);
    send_all(name.as_bytes(), sink);
    send_all(b"] ", sink);
}

#[inline(never)]
fn send_all(bytes: &[u8], sink: &mut impl Sink) {
    for &byte in bytes {
        sink.send(byte);
    }
}
