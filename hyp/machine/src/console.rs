// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One serial line for everybody: each line with its partition's name, input to the one in focus.
//!
//! The partition in focus is shown as it types; what the others say comes in whole lines between.
//! When such a line has to come between, the unfinished one is erased with [`ERASE`] and shown again
//! after it, so that a terminal looks right and a program that reads along can drop what was erased.
//! A line starts after our prefix only, and a carriage return leads back to behind it. What is out of
//! focus cannot do more; the partition in focus has the terminal, with cursor movement and all.

use bulkhead_types::PartitionId;
use core::fmt::{self, Write};

/// Bytes of a line that are kept; a longer one is broken.
pub const LINE: usize = 240;

/// Erases the line under the cursor: carriage return, then EL (ECMA-48, 8.3.41).
pub const ERASE: &[u8] = b"\r\x1b[K";

/// The key that begins a command to the console: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

const BACKSPACE: u8 = 0x08;

/// Where bytes go: the serial port.
pub trait Sink {
    /// Sends one byte.
    fn send(&mut self, byte: u8);
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
    /// A command to the monitor, about the partition in focus. `?` is one of them too.
    Command(PartitionId, u8),
}

/// How far an escape sequence has come. Of a partition out of focus it is left out whole; of the one in
/// focus it is sent, but not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Filter {
    #[default]
    Text,
    Escape,
    Sequence,
}

/// A partition's side of the console.
#[derive(Debug)]
pub struct Channel<'a> {
    name: &'a str,
    line: [u8; LINE],
    length: usize,
    carriage_return: bool,
    filter: Filter,
    stopped: bool,
}

impl<'a> Channel<'a> {
    /// The channel of the partition called `name`.
    #[must_use]
    pub const fn new(name: &'a str) -> Self {
        Self {
            name,
            line: [0; LINE],
            length: 0,
            carriage_return: false,
            filter: Filter::Text,
            stopped: false,
        }
    }

    fn text(&self) -> &[u8] {
        self.line.get(..self.length).unwrap_or_default()
    }

    /// Keeps a byte of the unfinished line, and says whether the line is full with it.
    fn keep(&mut self, byte: u8) -> bool {
        if let Some(place) = self.line.get_mut(self.length) {
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
        self.length >= LINE
    }

    /// Whether a byte is text: neither control nor part of an escape sequence.
    fn passes(&mut self, byte: u8) -> bool {
        let (next, pass) = match (self.filter, byte) {
            (_, 0x1b) => (Filter::Escape, false),
            (Filter::Escape, b'[') => (Filter::Sequence, false),
            (Filter::Escape, _) | (Filter::Sequence, 0x40..=0x7e) => (Filter::Text, false),
            (Filter::Sequence, _) => (Filter::Sequence, false),
            (Filter::Text, _) => (Filter::Text, byte == b'\t' || (byte >= b' ' && byte != 0x7f)),
        };
        self.filter = next;
        pass
    }
}

/// The console.
#[derive(Debug)]
pub struct Console<'a> {
    channels: &'a mut [Channel<'a>],
    focus: usize,
    /// Whether the unfinished line of the focus stands on the screen.
    shown: bool,
    escape: bool,
}

impl<'a> Console<'a> {
    /// A console of these partitions, in the order of [`PartitionId`]; the first has the focus.
    #[must_use]
    pub const fn new(channels: &'a mut [Channel<'a>]) -> Self {
        Self { channels, focus: 0, shown: false, escape: false }
    }

    /// Takes a byte that partition `from` sends.
    pub fn output(&mut self, from: PartitionId, byte: u8, sink: &mut impl Sink) {
        let index = usize::from(from.0);
        let focused = index == self.focus;
        let Some(channel) = self.channels.get_mut(index) else { return };
        let returned = core::mem::take(&mut channel.carriage_return);
        match byte {
            b'\n' => return self.finish_line(index, sink),
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
        if full {
            self.finish_line(index, sink);
        }
    }

    /// Sends a line of the hypervisor's own; line breaks in `text` begin further ones.
    pub fn line(&mut self, text: fmt::Arguments<'_>, sink: &mut impl Sink) {
        self.hide(sink);
        let mut writer = OwnLines { sink, start: true };
        // The writer never fails; a `Display` that does is cut where it failed.
        let _ = writer.write_fmt(text);
        if writer.start {
            send_prefix(OWN_NAME, sink);
        }
        send_all(b"\r\n", sink);
        self.show(sink);
    }

    /// Ends the unfinished line of `from`, which is about to stop.
    pub fn flush(&mut self, from: PartitionId, sink: &mut impl Sink) {
        let index = usize::from(from.0);
        if self.channels.get(index).is_some_and(|channel| channel.length > 0) {
            self.finish_line(index, sink);
        }
        if let Some(channel) = self.channels.get_mut(index) {
            (channel.carriage_return, channel.filter) = (false, Filter::Text);
        }
    }

    /// Takes a byte from the serial port.
    pub fn input(&mut self, byte: u8, sink: &mut impl Sink) -> Input {
        let deliver = Input::Deliver(PartitionId(self.focus as u16), byte);
        if !core::mem::take(&mut self.escape) {
            if byte != ESCAPE {
                return deliver;
            }
            self.escape = true;
            return Input::None;
        }
        if byte == b'?' {
            self.help(sink);
        }
        match byte {
            ESCAPE => return deliver,
            b'n' => self.set_focus(self.next_running(), sink),
            b'1'..=b'9' => self.set_focus(usize::from(byte.saturating_sub(b'1')), sink),
            _ => return Input::Command(PartitionId(self.focus as u16), byte),
        }
        Input::None
    }

    /// Says whose input it is, as on every change of focus.
    pub fn announce_focus(&mut self, sink: &mut impl Sink) {
        if let Some(name) = self.channels.get(self.focus).map(|channel| channel.name) {
            self.line(format_args!("console: input goes to {name}"), sink);
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
            self.focus = index;
            self.announce_focus(sink);
        } else {
            self.line(format_args!("console: there is no partition {}", index.saturating_add(1)), sink);
        }
    }

    fn help(&mut self, sink: &mut impl Sink) {
        self.line(format_args!("Ctrl-] and a digit: input goes to that partition; n: to the next"), sink);
        self.line(format_args!("Ctrl-] Ctrl-]: sends Ctrl-] itself; ?: this help"), sink);
        for index in 0..self.channels.len() {
            let (name, stopped) = self.channels.get(index).map_or(("", true), |it| (it.name, it.stopped));
            let state = if stopped { " (stopped)" } else { "" };
            let mark = if index == self.focus { " (input goes here)" } else { "" };
            self.line(format_args!("  {}: {name}{state}{mark}", index.saturating_add(1)), sink);
        }
    }

    /// Ends a partition's line: on the screen as it stands, or whole if it was not there yet.
    fn finish_line(&mut self, index: usize, sink: &mut impl Sink) {
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
        channel.length = 0;
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

/// The hypervisor's name on the console.
pub const OWN_NAME: &str = "bulkhead";

/// Puts the hypervisor's prefix before each line of a text.
struct OwnLines<'a, S> {
    sink: &'a mut S,
    start: bool,
}

impl<S: Sink> Write for OwnLines<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if core::mem::take(&mut self.start) {
                send_prefix(OWN_NAME, self.sink);
            }
            match byte {
                b'\n' => {
                    send_all(b"\r\n", self.sink);
                    self.start = true;
                }
                // Text may carry what a guest or a configuration wrote: no control characters.
                0..=0x1f | 0x7f => self.sink.send(b'?'),
                _ => self.sink.send(byte),
            }
        }
        Ok(())
    }
}

fn send_prefix(name: &str, sink: &mut impl Sink) {
    sink.send(b'[');
    send_all(name.as_bytes(), sink);
    send_all(b"] ", sink);
}

fn send_all(bytes: &[u8], sink: &mut impl Sink) {
    for &byte in bytes {
        sink.send(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// Runs `script` on a console of partitions `a` and `b` and returns what the serial port sent.
    fn play(script: impl FnOnce(&mut Console<'_>, &mut dyn FnMut(u8))) -> String {
        let mut channels = [Channel::new("a"), Channel::new("b")];
        let mut console = Console::new(&mut channels);
        let mut sent = Vec::new();
        script(&mut console, &mut |byte| sent.push(byte));
        String::from_utf8(sent).unwrap()
    }

    fn say(console: &mut Console<'_>, from: u16, text: &str, mut sink: &mut dyn FnMut(u8)) {
        for byte in text.bytes() {
            console.output(PartitionId(from), byte, &mut sink);
        }
    }

    fn press(console: &mut Console<'_>, keys: &[u8], mut sink: &mut dyn FnMut(u8)) -> Vec<Input> {
        keys.iter().map(|&key| console.input(key, &mut sink)).collect()
    }

    #[test]
    fn the_focus_is_shown_as_it_types() {
        let sent = play(|console, sink| say(console, 0, "boot\r\n~ # l", sink));
        assert_eq!(sent, "[a] boot\r\n[a] ~ # l");
    }

    #[test]
    fn others_come_in_whole_lines_between() {
        let sent = play(|console, sink| {
            say(console, 0, "~ # l", sink);
            say(console, 1, "tick", sink);
            say(console, 1, " 1\n", sink);
            say(console, 0, "s", sink);
        });
        assert_eq!(sent, "[a] ~ # l\r\x1b[K[b] tick 1\r\n[a] ~ # ls");
    }

    #[test]
    fn a_change_of_focus_shows_the_unfinished_line() {
        let sent = play(|console, sink| {
            say(console, 1, "~ # ", sink);
            assert_eq!(press(console, &[ESCAPE, b'2'], sink), [Input::None; 2]);
            assert_eq!(press(console, b"x", sink), [Input::Deliver(PartitionId(1), b'x')]);
            press(console, &[ESCAPE, b'n'], sink);
        });
        assert_eq!(
            sent,
            "[bulkhead] console: input goes to b\r\n[b] ~ # \r\x1b[K[bulkhead] console: input goes to a\r\n"
        );
    }

    #[test]
    fn a_carriage_return_leads_back_behind_the_prefix() {
        let sent = play(|console, sink| say(console, 0, "x\r[b] forged\r\n", sink));
        assert_eq!(sent, "[a] x\r\x1b[K[a] [b] forged\r\n");
    }

    #[test]
    fn sequences_out_of_focus_are_left_out() {
        let sent = play(|console, sink| say(console, 1, "\x1b[31mred\x1b[0m \x07bell\n", sink));
        assert_eq!(sent, "[b] red bell\r\n");
    }

    #[test]
    fn what_is_shown_again_is_text_as_it_was_left() {
        let sent = play(|console, sink| {
            say(console, 0, "~ # \x1b[6nlx\x08 \x08s", sink);
            say(console, 1, "tick\n", sink);
        });
        assert!(sent.ends_with("[b] tick\r\n[a] ~ # ls"), "{sent:?}");
        assert_eq!(sent.matches("\x1b[6n").count(), 1);
    }

    #[test]
    fn long_lines_are_broken_not_lost() {
        let long = "x".repeat(LINE + 5);
        let sent = play(|console, sink| {
            say(console, 0, &long, sink);
            say(console, 1, &long, sink);
            say(console, 1, "\n", sink);
        });
        assert_eq!(
            sent.matches('x').count(),
            2 * (LINE + 5) + 2 * 5,
            "the focus's rest is shown twice again"
        );
    }

    #[test]
    fn the_escape_key_can_be_sent_and_explained() {
        let sent = play(|console, sink| {
            let inputs = press(console, &[ESCAPE, ESCAPE, ESCAPE, b'?', ESCAPE, b'7'], sink);
            assert_eq!(inputs.get(1), Some(&Input::Deliver(PartitionId(0), ESCAPE)));
        });
        assert!(sent.contains("2: b") && sent.contains("there is no partition 7"));
    }

    #[test]
    fn what_is_no_key_of_the_consoles_is_the_monitors() {
        play(|console, sink| {
            let inputs = press(console, &[ESCAPE, b'2', ESCAPE, b'l'], sink);
            assert_eq!(inputs.last(), Some(&Input::Command(PartitionId(1), b'l')));
        });
    }

    #[test]
    fn the_next_is_one_that_runs() {
        let mut channels = [Channel::new("a"), Channel::new("b"), Channel::new("c")];
        let mut console = Console::new(&mut channels);
        console.set_stopped(PartitionId(1), true);
        let mut next = || {
            console.input(ESCAPE, &mut |_| ());
            console.input(b'n', &mut |_| ());
            console.input(b'x', &mut |_| ())
        };
        assert_eq!(next(), Input::Deliver(PartitionId(2), b'x'));
        assert_eq!(next(), Input::Deliver(PartitionId(0), b'x'));
    }

    #[test]
    fn own_lines_have_no_control_characters() {
        let sent = play(|console, mut sink| console.line(format_args!("one\ntwo\x1b[2J"), &mut sink));
        assert_eq!(sent, "[bulkhead] one\r\n[bulkhead] two?[2J\r\n");
    }

    #[test]
    fn a_stopped_partition_leaves_no_unfinished_line() {
        let sent = play(|console, mut sink| {
            say(console, 1, "half", sink);
            console.flush(PartitionId(1), &mut sink);
            console.flush(PartitionId(1), &mut sink);
        });
        assert_eq!(sent, "[b] half\r\n");
    }
}
