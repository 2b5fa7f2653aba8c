// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A partition's side of the console: its unfinished line, and what it said before.

use super::history::History;

/// Bytes of a line that are kept; a longer one is broken.
pub const LINE: usize = 240;

/// How far an escape sequence or a character of several bytes has come. Of a partition out of focus a sequence is
/// left out whole; of the one in focus it is sent, but not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Text,
    Escape,
    Sequence,
    /// So many bytes are left, the next from this one on.
    Character(u8, u8),
}

/// A partition's side of the console.
#[derive(Debug)]
pub struct Channel<'a> {
    pub(super) name: &'a str,
    line: [u8; LINE],
    pub(super) length: usize,
    pub(super) carriage_return: bool,
    filter: Filter,
    pub(super) stopped: bool,
    pub(super) history: History,
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
            history: History::new(),
        }
    }

    /// The unfinished line.
    pub(super) fn text(&self) -> &[u8] {
        self.line.get(..self.length).unwrap_or_default()
    }

    /// Ends the line.
    pub(super) fn finish(&mut self) {
        self.history.add(self.line.get(..self.length).unwrap_or_default());
        self.length = 0;
    }

    /// Forgets what has only begun.
    pub(super) fn reset(&mut self) {
        (self.carriage_return, self.filter) = (false, Filter::Text);
    }

    /// Keeps a byte of the unfinished line, and says whether the line is full with it.
    pub(super) fn keep(&mut self, byte: u8) -> bool {
        if let Some(place) = self.line.get_mut(self.length) {
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
        self.length >= LINE
    }

    /// Keeps a byte that is text beyond doubt, and that the line goes on behind: most are.
    #[inline(always)]
    pub(super) fn extend(&mut self, byte: u8) -> bool {
        let is_text = self.filter == Filter::Text && !self.carriage_return && matches!(byte, b' '..=b'~');
        if is_text
            && self.length < LINE - 1
            && let Some(place) = self.line.get_mut(self.length)
        {
            *place = byte;
            self.length = self.length.saturating_add(1);
            return true;
        }
        false
    }

    /// Whether a byte is text: neither control nor part of an escape sequence.
    #[inline(always)]
    pub(super) fn passes(&mut self, byte: u8) -> bool {
        (self.filter == Filter::Text && matches!(byte, b' '..=b'~')) || self.passes_slowly(byte)
    }

    /// As UTF-8 (RFC 3629, 4), so that no control character of the upper half gets through: U+009B begins a
    /// sequence, too (ECMA-48, 5.4).
    #[inline(never)]
    fn passes_slowly(&mut self, byte: u8) -> bool {
        let (next, pass) = match (self.filter, byte) {
            (_, 0x1b) => (Filter::Escape, false),
            (Filter::Escape, b'[') => (Filter::Sequence, false),
            (Filter::Escape, _) | (Filter::Sequence, 0x40..=0x7e) => (Filter::Text, false),
            (Filter::Sequence, _) => (Filter::Sequence, false),
            (_, b'\t' | b' '..=b'~') => (Filter::Text, true),
            (Filter::Character(1, least), _) if (least..=0xbf).contains(&byte) => (Filter::Text, true),
            (Filter::Character(left, least), _) if (least..=0xbf).contains(&byte) => {
                (Filter::Character(left.saturating_sub(1), 0x80), true)
            }
            (_, 0xc2) => (Filter::Character(1, 0xa0), true),
            (_, 0xc3..=0xdf) => (Filter::Character(1, 0x80), true),
            (_, 0xe0) => (Filter::Character(2, 0xa0), true),
            (_, 0xe1..=0xef) => (Filter::Character(2, 0x80), true),
            (_, 0xf0) => (Filter::Character(3, 0x90), true),
            (_, 0xf1..=0xf4) => (Filter::Character(3, 0x80), true),
            _ => (Filter::Text, false),
        };
        self.filter = next;
        pass
    }
}
