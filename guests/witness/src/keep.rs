// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the witness keeps and looks at again: a mebibyte of memory, and registers that it uses for nothing.

use core::cell::UnsafeCell;

use guest_runtime::{read_register, write_register};

/// Words of a mebibyte.
const WORDS: usize = (1 << 20) / 8;
/// Words looked at in each step: all of them in some 256 steps.
const STEP: usize = 512;

#[repr(C, align(4096))]
struct Kept(UnsafeCell<[u64; WORDS]>);
// SAFETY: written by `fill_memory` on the first CPU, which alone reads it.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(UnsafeCell::new([0; WORDS]));

/// The word that belongs at `index`: a bijection of the seed and the index (SplitMix64's finish).
fn word(seed: u64, index: usize) -> u64 {
    let mut z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Fills the memory.
pub fn fill_memory(seed: u64) {
    let start = KEPT.0.get().cast::<u64>();
    for index in 0..WORDS {
        // SAFETY: inside the array; volatile, so that what is looked at later is memory.
        unsafe { start.add(index).write_volatile(word(seed, index)) };
    }
}

fn changed(seed: u64, range: core::ops::Range<usize>) -> u64 {
    let start = KEPT.0.get().cast::<u64>();
    // SAFETY: inside the array.
    range.filter(|index| unsafe { start.add(*index).read_volatile() } != word(seed, *index)).count() as u64
}

/// Looks at a part of the memory, another in each step; says how many words are not as they were.
pub fn check_memory(seed: u64, step: u64) -> u64 {
    let first = step as usize % (WORDS / STEP) * STEP;
    changed(seed, first..first + STEP)
}

/// Looks at all of it.
pub fn check_all(seed: u64) -> u64 {
    changed(seed, 0..WORDS)
}

/// Registers of this CPU that hold a value from the seed.
pub struct Registers {
    seed: u64,
}

macro_rules! registers {
    ($($name:literal)*) => {
        fn write(seed: u64) {
            // SAFETY: registers that are software's own, or whose value has no effect while what they
            // control is off (debug, TTBR1 behind TCR_EL1.EPD1).
            unsafe { $( write_register!($name, word(seed, $name.len()) & 0xffff_f000); )* }
        }

        fn differing(seed: u64) -> u64 {
            let mut count = 0;
            $( count += u64::from(read_register!($name) & 0xffff_f000 != word(seed, $name.len()) & 0xffff_f000); )*
            count
        }
    };
}

registers!("tpidr_el0" "tpidrro_el0" "ttbr1_el1" "contextidr_el1" "far_el1" "sp_el0" "dbgbvr0_el1");

impl Registers {
    /// Sets them.
    pub fn set(seed: u64) -> Self {
        write(seed);
        Self { seed }
    }

    /// How many are not as they were set.
    pub fn changed(&self) -> u64 {
        differing(self.seed)
    }
}
