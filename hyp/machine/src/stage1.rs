// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The walk of a guest's own tables, as far as the level of one lookup has to be known: where stage 2 refuses a
//! descriptor, the syndrome has a level of stage 2's walk, and the guest is to be told that of stage 1's.
//!
//! Nothing hangs on what is found but the number that the guest is told: if it changes its tables meanwhile, or has
//! bits set that its CPU does not know, that may be another level of its walk.

#[cfg(test)]
mod tests;

use crate::syndrome::{bit, bits};
use bulkhead_types::{Ipa, PAGE_SIZE, align_down};

/// The registers that say where the tables are (Arm ARM, TCR_EL1, TTBR0_EL1, TTBR1_EL1, SCTLR_EL1).
#[derive(Clone, Copy, Debug)]
pub struct Stage1 {
    /// TCR_EL1.
    pub control: u64,
    /// TTBR0_EL1 and TTBR1_EL1.
    pub roots: [u64; 2],
    /// SCTLR_EL1.EE: descriptors are big-endian.
    pub big_endian: bool,
}

impl Stage1 {
    /// The level of the lookup, -1 to 3, whose descriptor for the virtual address `va` lies in `page`, which stage 2
    /// refused. `read` gives a doubleword of the guest's memory, `None` elsewhere; five are read at most.
    #[must_use]
    pub fn level(&self, va: u64, page: Ipa, read: impl Fn(Ipa) -> Option<u64>) -> i8 {
        let is_upper = bit(va, 55);
        let [lower, upper] = self.roots;
        // Either half has its fields in the same places: TnSZ in bits 5:0, TGn in bits 15:14.
        let (root, half) = if is_upper { (upper, self.control >> 16) } else { (lower, self.control) };
        let granule: u32 = match (is_upper, bits(half, 14, 2)) {
            (false, 0b10) | (true, 0b01) => 14,
            (false, 0b01) | (true, 0b11) => 16,
            _ => 12,
        };
        let layout = Layout { granule, control: self.control };
        let va_bits = 64_u32.wrapping_sub(bits(half, 0, 6) as u32).clamp(granule.wrapping_add(1), 52);
        // Each lookup but the first has as many bits of the address as a table of one granule has descriptors.
        let stride = granule.wrapping_sub(3);
        let lookups = va_bits.wrapping_sub(granule).div_ceil(stride);
        let mut table = layout.root(root);
        for below in (0..lookups).rev() {
            let level = 3_i8.wrapping_sub(below as i8);
            let shift = granule.wrapping_add(stride.wrapping_mul(below));
            let index = bits(bits(va, 0, va_bits), shift, stride);
            let at = Ipa(table | index << 3);
            if align_down(at.0, PAGE_SIZE) == align_down(page.0, PAGE_SIZE) {
                return level;
            }
            let descriptor = match read(at) {
                Some(descriptor) if self.big_endian => descriptor.swap_bytes(),
                Some(descriptor) => descriptor,
                None => return level,
            };
            if descriptor & TABLE != TABLE {
                return level;
            }
            table = layout.next(descriptor);
        }
        3
    }
}

/// Bits 1:0 of a descriptor that the walk goes on from, above level 3.
const TABLE: u64 = 0b11;

/// Where the bits of a table's address are (Arm ARM, "VMSAv8-64 descriptor formats", TTBR0_EL1).
struct Layout {
    /// log2 of the granule.
    granule: u32,
    /// TCR_EL1.
    control: u64,
}

impl Layout {
    /// Whether physical addresses have 52 bits: DS, and for the largest granule IPS.
    const fn is_wide(&self) -> bool {
        if self.granule == 16 { bits(self.control, 32, 3) == 0b110 } else { bit(self.control, 59) }
    }

    /// The first table.
    const fn root(&self, register: u64) -> u64 {
        if self.is_wide() {
            bits(register, 6, 42) << 6 | bits(register, 2, 4) << 48
        } else {
            bits(register, 3, 45) << 3
        }
    }

    /// The table that a descriptor points at.
    const fn next(&self, descriptor: u64) -> u64 {
        let low = bits(descriptor, 0, 48).wrapping_shr(self.granule).wrapping_shl(self.granule);
        match (self.is_wide(), self.granule) {
            (false, _) => low,
            (true, 16) => low | bits(descriptor, 12, 4) << 48,
            (true, _) => low | bits(descriptor, 48, 2) << 48 | bits(descriptor, 8, 2) << 50,
        }
    }
}
