// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Small tools on words of 32 interrupts, one bit each.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The numbers of the bits set in a word, lowest first.
pub(super) struct Bits(pub(super) u32);

impl Iterator for Bits {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        Some(lowest)
    }
}

/// The word with bit `number` (modulo 32) set.
#[inline]
pub(super) const fn bit(number: u32) -> u32 {
    1u32.wrapping_shl(number)
}

/// The `index`th byte of a register, counted from the least significant.
#[inline]
pub(super) const fn byte(word: u32, index: u32) -> u8 {
    word.wrapping_shr(index.wrapping_mul(8)) as u8
}

/// Takes `mask`'s bits out of `word`; tells which were set. A plain load suffices when none is.
#[inline]
pub(super) fn take(word: &AtomicU32, mask: u32) -> u32 {
    if word.load(SeqCst) & mask == 0 { 0 } else { word.fetch_and(!mask, SeqCst) & mask }
}

/// Sets `mask`'s bits in `word`, or clears them; tells which changed.
#[inline]
pub(super) fn assign(word: &AtomicU32, mask: u32, set: bool) -> u32 {
    if set { mask & !word.fetch_or(mask, SeqCst) } else { mask & word.fetch_and(!mask, SeqCst) }
}

/// Replaces the bits of `mask` by those of `value`; tells which changed.
///
/// Two CPUs may write different fields of one register, so this compares and exchanges.
pub(super) fn replace(word: &AtomicU32, mask: u32, value: u32) -> u32 {
    let mix = |old: u32| (old & !mask) | (value & mask);
    match word.fetch_update(SeqCst, SeqCst, |old| Some(mix(old))) {
        Ok(old) | Err(old) => old ^ mix(old),
    }
}

/// Spreads the low 16 bits to the odd bits of a word, as GICD_ICFGR shows edge triggers.
#[inline]
pub(super) const fn spread(half: u32) -> u32 {
    let mut x = half & 0xffff;
    x = (x | (x << 8)) & 0x00ff_00ff;
    x = (x | (x << 4)) & 0x0f0f_0f0f;
    x = (x | (x << 2)) & 0x3333_3333;
    x = (x | (x << 1)) & 0x5555_5555;
    x << 1
}

/// Gathers the odd bits of a word into 16 bits: the inverse of [`spread`].
#[inline]
pub(super) const fn gather(word: u32) -> u32 {
    let mut x = (word >> 1) & 0x5555_5555;
    x = (x | (x >> 1)) & 0x3333_3333;
    x = (x | (x >> 2)) & 0x0f0f_0f0f;
    x = (x | (x >> 4)) & 0x00ff_00ff;
    (x | (x >> 8)) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_and_gathering_are_inverse() {
        assert_eq!(spread(0b101), 0b10_0010);
        for half in [0, 1, 0x8000, 0xffff, 0x1234, 0xa5a5] {
            assert_eq!(gather(spread(half)), half);
        }
        assert_eq!(gather(0x5555_5555), 0);
    }

    #[test]
    fn bits_come_lowest_first() {
        assert!(Bits(0x8000_0011).eq([0, 4, 31]));
    }

    #[test]
    fn replacing_tells_what_changed() {
        let word = AtomicU32::new(0xff);
        assert_eq!(replace(&word, 0xf0, 0x30), 0xc0);
        assert_eq!(word.load(SeqCst), 0x3f);
    }
}
