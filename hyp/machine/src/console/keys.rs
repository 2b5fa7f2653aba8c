// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that are the console's own: Ctrl-] and what follows it.

use core::fmt;

/// The key that begins a command to the console, unless the plan says another: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

/// The command that takes a digit: the last lines of that partition.
pub const HISTORY: u8 = b'h';

/// What a byte of input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Part of a command.
    Part,
    /// For the partition in focus.
    Plain(u8),
    /// Move the focus to the next partition.
    Next,
    /// Move it to this one.
    To(usize),
    /// Show the partition in focus alone, or all again.
    Alone,
    /// A command about a partition, or the one in focus.
    Command(u8, Option<usize>),
}

/// The name of a control character's key.
#[derive(Clone, Copy, Debug)]
pub struct KeyName(pub u8);

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctrl-{}", char::from(self.0 ^ 0x40))
    }
}

/// How far a command has come.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of one.
    Idle,
    /// The escape key.
    Escaped,
    /// The escape key and [`HISTORY`].
    History,
}

/// Finds commands in what is typed.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    escape: u8,
    state: State,
}

impl Keys {
    /// With `escape` as the key that begins a command.
    #[must_use]
    pub const fn new(escape: u8) -> Self {
        Self { escape, state: State::Idle }
    }

    /// Takes the next byte of input.
    pub fn take(&mut self, byte: u8) -> Key {
        let digit = matches!(byte, b'1'..=b'9').then(|| usize::from(byte.saturating_sub(b'1')));
        let is_escape = byte == self.escape;
        let (next, key) = match (self.state, byte, digit) {
            (State::Idle, ..) if is_escape => (State::Escaped, Key::Part),
            (State::Idle, ..) => (State::Idle, Key::Plain(byte)),
            (State::Escaped, ..) if is_escape => (State::Idle, Key::Plain(byte)),
            (State::Escaped, HISTORY, _) => (State::History, Key::Part),
            (State::Escaped, b'n', _) => (State::Idle, Key::Next),
            (State::Escaped, b'o', _) => (State::Idle, Key::Alone),
            (State::Escaped, _, Some(digit)) => (State::Idle, Key::To(digit)),
            (State::Escaped, ..) => (State::Idle, Key::Command(byte, None)),
            (State::History, ..) => (State::Idle, Key::Command(HISTORY, digit)),
        };
        self.state = next;
        key
    }
}
