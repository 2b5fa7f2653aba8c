// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stage-1 tables that point anywhere: TTBR1_EL1's, so that this program keeps its own.

use core::arch::asm;

use guest_runtime::{read_register, write_register};

use crate::random::Random;

/// TCR_EL1.EPD1: no walks from TTBR1_EL1.
const EPD1: u64 = 1 << 23;
/// T1SZ 25, cacheable inner-shareable walks, 4 KiB granule: as the runtime's lower half.
const UPPER_HALF: u64 = 25 << 16 | 1 << 24 | 1 << 26 | 3 << 28 | 2 << 30;

/// Fills a table in `scratch`, or leaves TTBR1_EL1 pointing anywhere; returns the first address it translates.
pub fn point_anywhere(random: &mut Random, scratch: u64) -> u64 {
    let table = scratch + 0x1_0000;
    let entries = core::ptr::with_exposed_provenance_mut::<u64>(table as usize);
    for index in 0..512 {
        let output = match random.below(4) {
            0 => table,
            1 => random.below(1 << 28),
            2 => 0x5000_0000 + random.below(1 << 40),
            _ => random.next(),
        };
        let attributes = random.next() & 0xfff0_0000_0000_0f7c | random.pick(&[1, 1, 3, 3, 0]) | 0x400;
        let descriptor = output & 0xffff_ffff_f000 | attributes;
        // SAFETY: scratch memory, which nothing else lives in.
        unsafe { entries.add(index).write_volatile(descriptor) };
    }
    let root = match random.below(4) {
        0 => random.below(1 << 40),
        1 => random.next(),
        _ => table,
    };
    let control = (read_register!("tcr_el1") & !EPD1) | UPPER_HALF;
    // SAFETY: only addresses of the upper half are concerned; this program has none.
    unsafe {
        write_register!("ttbr1_el1", root);
        write_register!("tcr_el1", control);
        asm!("dsb ish", "tlbi vmalle1", "dsb ish", "isb", options(nostack));
    }
    u64::MAX << 39
}

/// No upper half any more.
pub fn close() {
    // SAFETY: as above.
    unsafe {
        write_register!("tcr_el1", read_register!("tcr_el1") | EPD1);
        asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack));
    }
}
