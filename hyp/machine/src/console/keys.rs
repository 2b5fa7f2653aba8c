// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that are the console's own: Ctrl-] and what follows it.

/// The key that begins a command to the console: Ctrl-].
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

/// How far a command has come.
#[derive(Clone, Copy, Debug, Default)]
pub enum Keys {
    /// Nothing of one.
    #[default]
    Idle,
    /// The escape key.
    Escaped,
    /// The escape key and [`HISTORY`].
    History,
}

impl Keys {
    /// Takes the next byte of input.
    pub fn take(&mut self, byte: u8) -> Key {
        let digit = matches!(byte, b'1'..=b'9').then(|| usize::from(byte.saturating_sub(b'1')));
        let (next, key) = match (*self, byte, digit) {
            (Self::Idle, ESCAPE, _) => (Self::Escaped, Key::Part),
            (Self::Idle, ..) | (Self::Escaped, ESCAPE, _) => (Self::Idle, Key::Plain(byte)),
            (Self::Escaped, HISTORY, _) => (Self::History, Key::Part),
            (Self::Escaped, b'n', _) => (Self::Idle, Key::Next),
            (Self::Escaped, b'o', _) => (Self::Idle, Key::Alone),
            (Self::Escaped, _, Some(digit)) => (Self::Idle, Key::To(digit)),
            (Self::Escaped, ..) => (Self::Idle, Key::Command(byte, None)),
            (Self::History, ..) => (Self::Idle, Key::Command(HISTORY, digit)),
        };
        *self = next;
        key
    }
}
