// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sequences of instructions that Cortex-A53 executes wrongly: errata 835769 and 843419 (Arm, Cortex-A53 MPCore
//! Software Developers Errata Notice, ARM-EPM-048406). Where the notice allows to leave a sequence out and to
//! recognize that takes a closer look than is worth it, the sequence counts.

pub mod veneers;

/// A register's number from `low` on.
fn register(word: u32, low: u32) -> u32 {
    word >> low & 0x1f
}

/// Whether it is a load, a store or a prefetch (Arm ARM, C4.1: op0 is x1x0).
fn accesses_memory(word: u32) -> bool {
    word & 0x0a00_0000 == 0x0800_0000
}

/// Whether it is a branch, an exception or a system instruction (Arm ARM, C4.1: op0 is 101x).
fn is_branch_or_system(word: u32) -> bool {
    word >> 26 & 0b111 == 0b101
}

/// The general-purpose registers that the common loads write.
fn loaded(word: u32) -> [Option<u32>; 2] {
    let (class, vector, option) = (word >> 27 & 0b111, word >> 26 & 1 == 1, word >> 22 & 0b11);
    let (first, second) = (Some(register(word, 0)), Some(register(word, 10)));
    match class {
        _ if vector => [None, None],
        // LDR of one register; a size of 0b11 with opc 0b10 is PRFM.
        0b111 if option != 0 && !(word >> 30 == 0b11 && option == 0b10) => [first, None],
        // LDP, LDNP.
        0b101 if option & 1 == 1 => [first, second],
        _ => [None, None],
    }
}

/// Erratum 835769: an access to memory, then a multiply-accumulate of 64 bits that does not need what was loaded.
#[must_use]
pub fn is_835769(first: u32, second: u32) -> bool {
    // MADD, MSUB, SMADDL, SMSUBL, UMADDL, UMSUBL; with Ra = XZR it is a multiplication.
    let accumulates = second >> 24 == 0x9b && matches!(second >> 21 & 0b111, 0 | 1 | 5);
    let operands = [5, 10, 16].map(|low| register(second, low));
    let [_, accumulator, _] = operands;
    let depends = loaded(first).into_iter().flatten().any(|to| to != 31 && operands.contains(&to));
    accumulates && accumulator != 31 && accesses_memory(first) && !depends
}

/// Erratum 843419: ADRP in one of the last two words of a page, an access to memory, at most one more instruction,
/// and an access with an unsigned offset from the register that ADRP wrote. `words` begin at `at`.
#[must_use]
pub fn is_843419(words: &[u32], at: u64) -> bool {
    let [adrp, access, rest @ ..] = words else { return false };
    let base = register(*adrp, 0);
    let uses_base = |word: &u32| word & 0x3b00_0000 == 0x3900_0000 && register(*word, 5) == base;
    let [pair_load, writes] =
        [*access >> 27 & 0b111 == 0b101 && *access >> 22 & 1 == 1, loaded(*access).contains(&Some(base))];
    at & 0xfff >= 0xff8
        && adrp & 0x9f00_0000 == 0x9000_0000
        && accesses_memory(*access)
        && !pair_load
        && !writes
        && match rest {
            [third, ..] if uses_base(third) => true,
            [third, fourth, ..] => !is_branch_or_system(*third) && uses_base(fourth),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LDR_X1_X2: u32 = 0xf940_0041;
    const STR_X1_X2: u32 = 0xf900_0041;
    const LDP_X1_X3_SP: u32 = 0xa940_0fe1;
    const PRFM_X2: u32 = 0xf980_0041; // its `Rt`, 1, names the kind of prefetch
    const LDR_Q1_X2: u32 = 0x3dc0_0041;
    const MADD_X0_X4_X5_X6: u32 = 0x9b05_1880;
    const MADD_X0_X1_X5_X6: u32 = 0x9b05_1820;
    const MADD_X0_X4_X5_X1: u32 = 0x9b05_0480;
    const MADD_X0_X4_X3_X6: u32 = 0x9b03_1880;
    const UMADDL_X0_W4_W5_X6: u32 = 0x9ba5_1880;
    const SMSUBL_X0_W4_W5_X6: u32 = 0x9b25_9880;
    const MUL_X0_X4_X5: u32 = 0x9b05_7c80;
    const MADD_W0_W4_W5_W6: u32 = 0x1b05_1880;
    const SMULH_X0_X4_X5: u32 = 0x9b45_7c80;
    const ADD_X0_X1_X2: u32 = 0x8b02_0020;

    #[test]
    fn accumulations_after_accesses_are_found() {
        for first in [LDR_X1_X2, STR_X1_X2, LDP_X1_X3_SP, PRFM_X2, LDR_Q1_X2] {
            for second in [MADD_X0_X4_X5_X6, UMADDL_X0_W4_W5_X6, SMSUBL_X0_W4_W5_X6] {
                assert!(is_835769(first, second), "{first:#x} {second:#x}");
            }
            for second in [MUL_X0_X4_X5, MADD_W0_W4_W5_W6, SMULH_X0_X4_X5, ADD_X0_X1_X2] {
                assert!(!is_835769(first, second), "{first:#x} {second:#x}");
            }
        }
        assert!(!is_835769(ADD_X0_X1_X2, MADD_X0_X4_X5_X6));
    }

    #[test]
    fn a_true_dependency_of_the_accumulation_is_no_hazard() {
        for second in [MADD_X0_X1_X5_X6, MADD_X0_X4_X5_X1] {
            assert!(!is_835769(LDR_X1_X2, second), "{second:#x}");
            assert!(is_835769(STR_X1_X2, second), "a store loads nothing: {second:#x}");
            assert!(is_835769(PRFM_X2, second), "a prefetch loads nothing: {second:#x}");
        }
        assert!(!is_835769(LDP_X1_X3_SP, MADD_X0_X4_X3_X6));
    }

    #[test]
    fn adrp_at_the_end_of_a_page_is_found() {
        const ADRP_X0: u32 = 0xb000_0000;
        const LDR_X1_X0: u32 = 0xf940_0401;
        const LDR_X0_X2: u32 = 0xf940_0040;
        const B: u32 = 0x1400_0002;
        let direct = [ADRP_X0, STR_X1_X2, LDR_X1_X0];
        let with_one_between = [ADRP_X0, LDR_X1_X2, ADD_X0_X1_X2 | 3, LDR_X1_X0];
        for at in [0x1ff8, 0x1ffc] {
            assert!(is_843419(&direct, at));
            assert!(is_843419(&with_one_between, at));
        }
        assert!(!is_843419(&direct, 0x1ff4));
        assert!(!is_843419(&direct, 0x2000));
        assert!(!is_843419(&[ADRP_X0, LDR_X0_X2, LDR_X1_X0], 0x1ff8), "the base is loaded anew");
        assert!(!is_843419(&[ADRP_X0, STR_X1_X2, B, LDR_X1_X0], 0x1ff8));
        assert!(!is_843419(&[ADRP_X0, ADD_X0_X1_X2, LDR_X1_X0], 0x1ff8));
        assert!(!is_843419(&[ADRP_X0, STR_X1_X2], 0x1ff8));
    }
}
