// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The receive FIFO.

/// Characters that it holds.
pub(super) const DEPTH: usize = 32;

/// A character with what UARTDR tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) byte: u8,
    /// Characters before this one were lost.
    pub(super) overrun: bool,
}

/// A ring of `DEPTH` characters.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    slots: [Received; DEPTH],
    /// Where the oldest is.
    head: usize,
    len: usize,
}

impl Fifo {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a character; false if `depth` are there already.
    pub(super) fn push(&mut self, received: Received, depth: usize) -> bool {
        if self.len >= depth.min(DEPTH) {
            return false;
        }
        let place = self.head.wrapping_add(self.len) % DEPTH;
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = received;
            self.len = self.len.saturating_add(1);
        }
        true
    }

    /// Takes the oldest character.
    pub(super) fn pop(&mut self) -> Option<Received> {
        if self.len == 0 {
            return None;
        }
        let received = self.slots.get(self.head).copied()?;
        self.head = self.head.wrapping_add(1) % DEPTH;
        self.len = self.len.saturating_sub(1);
        Some(received)
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
