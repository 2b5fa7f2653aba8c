// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes that wait for the serial port.

/// A ring of `N` bytes.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    written: u64,
    read: u64,
}

impl<const N: usize> Ring<N> {
    /// A ring with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], written: 0, read: 0 }
    }

    /// How many bytes wait.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.written.wrapping_sub(self.read) as usize
    }

    /// Whether none waits.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.written == self.read
    }

    /// How many more there is room for.
    #[must_use]
    pub const fn room(&self) -> usize {
        N.saturating_sub(self.len())
    }

    /// How many bytes were ever put in: [`Self::has_passed`] tells when the last of them is out.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Whether the bytes that were put in before [`Self::written`] was `mark` are out.
    #[must_use]
    pub const fn has_passed(&self, mark: u64) -> bool {
        self.read >= mark
    }

    /// Where the byte of this number is.
    const fn place(number: u64) -> usize {
        match (number as usize).checked_rem(N) {
            Some(place) => place,
            None => 0,
        }
    }

    /// Puts a byte in. False if there is no room: it is lost.
    pub fn push(&mut self, byte: u8) -> bool {
        let has_room = self.room() > 0;
        if has_room && let Some(place) = self.bytes.get_mut(Self::place(self.written)) {
            *place = byte;
            self.written = self.written.wrapping_add(1);
        }
        has_room
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let byte = self.bytes.get(Self::place(self.read)).copied();
        self.read = self.read.wrapping_add(1);
        byte
    }

    /// Drops all that waits.
    pub const fn clear(&mut self) {
        self.read = self.written;
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_none_too_many_go_in() {
        let mut ring = Ring::<8>::new();
        for round in 0..100_u8 {
            let put = usize::from(round) % 10;
            let taken = (0..put).filter(|&byte| ring.push(round.wrapping_add(byte as u8))).count();
            assert_eq!((taken, ring.len(), ring.room()), (put.min(8), put.min(8), 8 - put.min(8)));
            let mark = ring.written();
            for byte in 0..taken {
                assert!(!ring.has_passed(mark));
                assert_eq!(ring.pop(), Some(round.wrapping_add(byte as u8)));
            }
            assert!(ring.pop().is_none() && ring.is_empty() && ring.has_passed(mark));
        }
        assert!(ring.push(1));
        ring.clear();
        assert!(ring.is_empty() && ring.pop().is_none());
    }
}
