// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CRC-32 by the CPU's own instructions, which check a kernel in milliseconds.

use crate::read_register;
use bulkhead_plan::bundle::{Crc32, software_crc32};
use core::arch::asm;

/// The fastest CRC-32 that this CPU has: FEAT_CRC32 is optional in Armv8.0 (Arm ARM, A2.4.1).
pub fn best() -> Crc32 {
    // ID_AA64ISAR0_EL1.CRC32, bits 19:16.
    if read_register!("id_aa64isar0_el1") >> 16 & 0xf != 0 { instructions } else { software_crc32 }
}

/// Goes on from the CRC `earlier` (0 at first) with `bytes`.
fn instructions(earlier: u32, bytes: &[u8]) -> u32 {
    let mut crc = !earlier;
    let (lines, rest) = bytes.as_chunks::<64>();
    for line in lines {
        // SAFETY: `best` found FEAT_CRC32; the 64 bytes of `line` are read, and nothing else is touched.
        unsafe {
            asm!(
                ".arch_extension crc",
                "ldp {a}, {b}, [{line}]", "crc32x {crc:w}, {crc:w}, {a}", "crc32x {crc:w}, {crc:w}, {b}",
                "ldp {a}, {b}, [{line}, #16]", "crc32x {crc:w}, {crc:w}, {a}", "crc32x {crc:w}, {crc:w}, {b}",
                "ldp {a}, {b}, [{line}, #32]", "crc32x {crc:w}, {crc:w}, {a}", "crc32x {crc:w}, {crc:w}, {b}",
                "ldp {a}, {b}, [{line}, #48]", "crc32x {crc:w}, {crc:w}, {a}", "crc32x {crc:w}, {crc:w}, {b}",
                crc = inout(reg) crc, line = in(reg) line.as_ptr(), a = out(reg) _, b = out(reg) _,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
    }
    for &byte in rest {
        // SAFETY: as above.
        unsafe {
            asm!(".arch_extension crc", "crc32b {crc:w}, {crc:w}, {byte:w}",
                crc = inout(reg) crc, byte = in(reg) u32::from(byte), options(pure, nomem, nostack, preserves_flags));
        }
    }
    !crc
}
