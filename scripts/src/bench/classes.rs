// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instructions that cost real silicon more than their number tells (encodings: Arm ARM, C4.1).

use std::ops::AddAssign;

/// How many of each were executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// DMB and DSB.
    pub barriers: usize,
    /// ISB.
    pub isb: usize,
    /// TLBI, DC, IC and AT.
    pub maintenance: usize,
    /// MRS and MSR of system registers.
    pub system_registers: usize,
    /// Exclusive and atomic accesses.
    pub exclusives: usize,
    /// Load-acquire and store-release.
    pub ordered: usize,
}

impl AddAssign for Classes {
    fn add_assign(&mut self, other: Self) {
        self.barriers += other.barriers;
        self.isb += other.isb;
        self.maintenance += other.maintenance;
        self.system_registers += other.system_registers;
        self.exclusives += other.exclusives;
        self.ordered += other.ordered;
    }
}

/// Mask, value and class; the first line that fits counts.
const TABLE: [(u32, u32, Classes); 9] = {
    const NONE: Classes =
        Classes { barriers: 0, isb: 0, maintenance: 0, system_registers: 0, exclusives: 0, ordered: 0 };
    [
        (0xffff_f0ff, 0xd503_30df, Classes { isb: 1, ..NONE }),
        (0xffff_f0ff, 0xd503_309f, Classes { barriers: 1, ..NONE }), // DSB
        (0xffff_f0ff, 0xd503_30bf, Classes { barriers: 1, ..NONE }), // DMB
        (0xffd8_0000, 0xd508_0000, Classes { maintenance: 1, ..NONE }), // SYS, SYSL
        (0xffd0_0000, 0xd510_0000, Classes { system_registers: 1, ..NONE }), // MRS, MSR
        (0x3fa0_7c00, 0x08a0_7c00, Classes { exclusives: 1, ..NONE }), // CAS
        (0x3f80_0000, 0x0880_0000, Classes { ordered: 1, ..NONE }),  // LDAR, STLR
        (0x3f80_0000, 0x0800_0000, Classes { exclusives: 1, ..NONE }), // LDXR, STXR
        (0x3f20_0c00, 0x3820_0000, Classes { exclusives: 1, ..NONE }), // LDADD and its kin
    ]
};

/// The class of an instruction; most have none.
#[must_use]
pub fn of(instruction: u32) -> Classes {
    TABLE
        .iter()
        .find(|(mask, value, _)| instruction & mask == *value)
        .map_or_else(Classes::default, |(_, _, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_apart() {
        let class = |instruction| {
            let Classes { barriers, isb, maintenance, system_registers, exclusives, ordered } =
                of(instruction);
            [barriers, isb, maintenance, system_registers, exclusives, ordered]
        };
        assert_eq!(class(0xd503_3fdf), [0, 1, 0, 0, 0, 0], "isb");
        assert_eq!(class(0xd503_3b9f), [1, 0, 0, 0, 0, 0], "dsb ish");
        assert_eq!(class(0xd503_3bbf), [1, 0, 0, 0, 0, 0], "dmb ish");
        assert_eq!(class(0xd50c_83df), [0, 0, 1, 0, 0, 0], "tlbi alle1");
        assert_eq!(class(0xd50b_7a20), [0, 0, 1, 0, 0, 0], "dc cvac, x0");
        assert_eq!(class(0xd53c_5200), [0, 0, 0, 1, 0, 0], "mrs x0, esr_el2");
        assert_eq!(class(0xd51c_4020), [0, 0, 0, 1, 0, 0], "msr elr_el2, x0");
        assert_eq!(class(0x885f_fc20), [0, 0, 0, 0, 1, 0], "ldaxr w0, [x1]");
        assert_eq!(class(0x8801_fc40), [0, 0, 0, 0, 1, 0], "stlxr w1, w0, [x2]");
        assert_eq!(class(0x88df_fc20), [0, 0, 0, 0, 0, 1], "ldar w0, [x1]");
        assert_eq!(class(0xc89f_fc20), [0, 0, 0, 0, 0, 1], "stlr x0, [x1]");
        assert_eq!(class(0xb8e1_0002), [0, 0, 0, 0, 1, 0], "ldaddal w1, w2, [x0]");
        assert_eq!(class(0x88e0_fc41), [0, 0, 0, 0, 1, 0], "casal w0, w1, [x2]");
        assert_eq!(class(0xf940_0020), [0; 6], "ldr x0, [x1]");
        assert_eq!(class(0xf861_6820), [0; 6], "ldr x0, [x1, x1]");
        assert_eq!(class(0xd69f_03e0), [0; 6], "eret");
    }
}
