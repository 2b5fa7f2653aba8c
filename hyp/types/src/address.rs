// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses of the two stages: what a guest calls physical, and what the board does.

use core::fmt;

/// The smallest unit of mapping: 4 KiB, the translation granule that every supported CPU has.
pub const PAGE_SIZE: u64 = 4096;

/// Rounds `value` down to a multiple of `align`, which must be a power of two.
#[must_use]
pub const fn align_down(value: u64, align: u64) -> u64 {
    value & !align.wrapping_sub(1)
}

/// Rounds `value` up to a multiple of `align` (a power of two), or `None` if that leaves 64 bits.
#[must_use]
pub fn align_up(value: u64, align: u64) -> Option<u64> {
    value.checked_add(align.wrapping_sub(1)).map(|sum| align_down(sum, align))
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` past the end of 64 bits.
            #[must_use]
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).map(Self)
            }

            /// Whether the address is a multiple of `align`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                align_down(self.0, align) == self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl Address for $name {
            fn get(self) -> u64 {
                self.0
            }
            fn new(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

/// What `Range` needs of an address.
trait Address: Copy + Ord {
    fn get(self) -> u64;
    fn new(value: u64) -> Self;
}

address! {
    /// Intermediate physical address: what a guest takes for physical (Arm ARM, D8.1.2).
    Ipa
}
address! {
    /// Host physical address: what goes out on the board's bus.
    Hpa
}

/// Half-open range of addresses, `start..start + size`. Never wraps: its last byte fits in 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Range<A> {
    start: A,
    size: u64,
}

#[expect(private_bounds, reason = "only Ipa and Hpa are addresses; nobody else may add one")]
impl<A: Address> Range<A> {
    /// The range of `size` bytes from `start`, or `None` if it would leave 64 bits.
    #[must_use]
    pub fn new(start: A, size: u64) -> Option<Self> {
        start.get().checked_add(size).map(|_| Self { start, size })
    }

    /// The first address.
    #[must_use]
    #[inline(always)]
    pub fn start(&self) -> A {
        self.start
    }

    /// Bytes in the range.
    #[must_use]
    #[inline(always)]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The address just past the last one.
    #[must_use]
    pub fn end(&self) -> A {
        A::new(self.start.get().saturating_add(self.size))
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        self.start <= address && address < self.end()
    }

    /// Whether every byte of `other` lies inside.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end() && other.start < self.end()
    }

    /// The first `size` bytes, or as many as there are, and the rest.
    #[must_use]
    pub fn split_at(&self, size: u64) -> (Self, Self) {
        let size = size.min(self.size);
        let rest = A::new(self.start.get().saturating_add(size));
        (Self { start: self.start, size }, Self { start: rest, size: self.size.saturating_sub(size) })
    }

    /// The smallest range of whole pages that covers this one.
    #[must_use]
    pub fn page_aligned(&self) -> Self {
        let start = align_down(self.start.get(), PAGE_SIZE);
        let end = align_up(self.end().get(), PAGE_SIZE).unwrap_or(!(PAGE_SIZE - 1));
        Self { start: A::new(start), size: end.saturating_sub(start) }
    }
}

impl<A: fmt::Display + Address> fmt::Display for Range<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, size: u64) -> Range<Hpa> {
        Range::<Hpa>::new(Hpa(start), size).expect("the test's ranges fit")
    }

    #[test]
    fn the_parts_of_a_range_touch() {
        assert_eq!(range(0x1000, 0x3000).split_at(0x1000), (range(0x1000, 0x1000), range(0x2000, 0x2000)));
        assert_eq!(range(0x1000, 8).split_at(9), (range(0x1000, 8), range(0x1008, 0)));
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        assert!(!range(0, 0x1000).overlaps(&range(0x1000, 0x1000)));
        assert!(range(0, 0x1001).overlaps(&range(0x1000, 0x1000)));
        assert!(!range(0x10, 0).overlaps(&range(0, 0x1000)));
    }

    #[test]
    fn a_range_past_the_end_is_refused() {
        assert_eq!(Range::<Ipa>::new(Ipa(u64::MAX), 2), None);
        assert!(Range::<Ipa>::new(Ipa(u64::MAX), 0).is_some());
    }

    #[test]
    fn page_alignment_covers() {
        let whole = range(0x1fff, 2).page_aligned();
        assert_eq!((whole.start(), whole.size()), (Hpa(0x1000), 0x2000));
    }

    #[test]
    fn aligning_up_does_not_wrap() {
        assert_eq!(align_up(u64::MAX, PAGE_SIZE), None);
        assert_eq!(align_up(1, PAGE_SIZE), Some(PAGE_SIZE));
    }
}
