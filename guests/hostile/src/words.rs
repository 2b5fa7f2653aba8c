// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instruction words at random, by class (Arm ARM, C4.1). Branches are left out: the instructions that
//! follow would be this program's own.

use crate::random::Random;

/// ICC_BPR0_EL1 and ICC_BPR1_EL1. They are read only: a reserved bit written to the virtual one ends QEMU 10.0 by an
/// assertion of its own (`icv_gprio_mask`), which says nothing of the hypervisor.
const BINARY_POINTS: [u16; 2] = [0xc643, 0xc663];

/// MRS, MSR, SYS, SYSL, hints and barriers: `encoding` is op0:op1:CRn:CRm:op2, 16 bits (C4.1.94).
pub fn system(encoding: u16, read: bool, register: u32) -> u32 {
    let read = read || BINARY_POINTS.contains(&encoding);
    0xd500_0000 | u32::from(read) << 21 | u32::from(encoding) << 5 | register & 31
}

/// SVC, BRK, HLT, DCPS1 to 3 (C4.1.92).
pub fn exception(random: &mut Random) -> u32 {
    let base = random.pick(&[0xd400_0001, 0xd420_0000, 0xd440_0000, 0xd4a0_0001, 0xd4a0_0002, 0xd4a0_0003]);
    base | (random.value() as u32 & 0xffff) << 5
}

/// The groups of loads and stores: fixed bits, and bits at random (C4.1.96).
const LOADS_AND_STORES: [(u32, u32); 14] = [
    (0x3900_0000, 0xc0ff_ffff), // unsigned offset: bytes to doublewords, signed loads, PRFM
    (0x3d00_0000, 0xc0ff_ffff), // the same of vector registers
    (0x3800_0000, 0xc0df_ffff), // unscaled, post- and pre-indexed, unprivileged
    (0x3c00_0000, 0xc0df_ffff),
    (0x3820_0800, 0xc0df_f7ff), // register offset
    (0x3820_0000, 0xc0df_f3ff), // atomics (FEAT_LSE), LD64B and ST64B
    (0x2800_0000, 0xc3ff_ffff), // pairs: no-allocate, offset, pre- and post-indexed
    (0x2c00_0000, 0xc3ff_ffff),
    (0x0800_0000, 0xc0ff_ffff), // exclusive, acquire and release, compare and swap
    (0x0c00_0000, 0x40ff_ffff), // vector structures
    (0x1800_0000, 0xc4ff_ffff), // literal
    (0x1900_0000, 0xc0ff_ffff), // unscaled acquire and release; memory tags
    (0x1d00_0400, 0xc0df_f3ff), // memory copy and set (FEAT_MOPS)
    (0xd920_0000, 0x00df_ffff), // tags
];

/// A load or a store.
pub fn memory(random: &mut Random) -> u32 {
    let (fixed, free) = random.pick(&LOADS_AND_STORES);
    fixed | random.next() as u32 & free
}

/// A load or store of one register without anything else: `log2` of the size, x1 the address, x2 the value.
pub fn plain(log2: u32, load: bool) -> u32 {
    log2 << 30 | 0x3900_0000 | u32::from(load) << 22 | 1 << 5 | 2
}

/// Anything but a branch.
pub fn any(random: &mut Random) -> u32 {
    loop {
        let word = match random.below(6) {
            0 => system(random.next() as u16, random.one_in(2), random.next() as u32),
            1 => exception(random),
            2 => memory(random),
            // SVE, SME and other vectors.
            3 => {
                random.pick(&[0x0400_0000, 0x2400_0000, 0x6400_0000, 0x8000_0000, 0xc000_0000, 0xe400_0000])
                    | random.next() as u32 & 0x01ff_ffff
            }
            _ => random.next() as u32,
        };
        if !is_branch(word) && !is_call(word) {
            return word;
        }
    }
}

/// B, BL, B.cond, CBZ, TBZ and branches to registers (C4.1.91); not ERET, which the timer ends.
fn is_branch(word: u32) -> bool {
    let immediate = word & 0x7c00_0000 == 0x1400_0000;
    let conditional = word & 0xfe00_0000 == 0x5400_0000;
    let test = word & 0x7c00_0000 == 0x3400_0000;
    let register = word & 0xfe00_0000 == 0xd600_0000 && word != 0xd69f_03e0;
    immediate || conditional || test || register
}

/// HVC and SMC: what x0 asks for then is [`crate::attacks`]' choice, not chance's.
fn is_call(word: u32) -> bool {
    matches!(word & 0xffe0_001f, 0xd400_0002 | 0xd400_0003)
}
