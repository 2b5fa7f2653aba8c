// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exceptions that EL2 makes a guest take: the state change that the hardware would have made.

/// Why the guest takes a synchronous exception, with what its syndrome carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An instruction that the CPU, as the guest sees it, does not have.
    Undefined,
    /// A load or store that no device answered: a synchronous external abort. `write` is ESR.WnR.
    DataAbort {
        /// Whether it was a store, or maintenance or address translation, which count as one.
        write: bool,
        /// Whether it was cache maintenance or address translation (ESR.CM).
        maintenance: bool,
        /// The level of the lookup, where it was the walk of the guest's own tables that nothing answered.
        walk: Option<i8>,
    },
    /// A fetch from an address that nothing answers.
    InstructionAbort {
        /// As for data.
        walk: Option<i8>,
    },
}

/// What changes as the guest takes the exception (Arm ARM, D1.4.1 and the pseudocode
/// `AArch64.TakeException`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where EL1 goes on.
    pub pc: u64,
    /// PSTATE that it goes on with, as in SPSR_EL2.
    pub pstate: u64,
    /// ESR_EL1.
    pub syndrome: u64,
}

/// SPSR bits.
const NZCV: u64 = 0b1111 << 28;
const TCO: u64 = 1 << 25;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const ALLINT: u64 = 1 << 13;
const SSBS: u64 = 1 << 12;
const DAIF: u64 = 0b1111 << 6;
/// The state is AArch32.
pub const AARCH32: u64 = 1 << 4;
const MODE: u64 = 0b1111;
const EL1T: u64 = 0b0100;
const EL1H: u64 = 0b0101;

/// SCTLR_EL1 bits.
const SPAN: u64 = 1 << 23;
const DSSBS: u64 = 1 << 44;
const SPINTMASK: u64 = 1 << 62;

/// ESR fields: the class in bits 31:26, IL in bit 25.
const CLASS: u32 = 26;
const IL: u64 = 1 << 25;
/// Synchronous external abort (DFSC and IFSC): not on a translation table walk, or on one at this level, -1 to 3.
const fn external_abort(walk: Option<i8>) -> u64 {
    match walk {
        None => 0b01_0000,
        Some(level) => 0b01_0100_u64.wrapping_add_signed(level as i64),
    }
}

/// The registers that decide how EL1 takes an exception.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// SPSR_EL2: the guest's PSTATE.
    pub pstate: u64,
    /// VBAR_EL1.
    pub vectors: u64,
    /// SCTLR_EL1.
    pub control: u64,
    /// Whether the CPU has FEAT_PAN.
    pub has_pan: bool,
    /// Whether the CPU has FEAT_MTE.
    pub has_mte: bool,
    /// Whether the CPU has FEAT_NMI.
    pub has_nmi: bool,
}

/// How the guest takes `cause` from the state `context`.
#[must_use]
pub const fn take(cause: Cause, context: Context) -> Entry {
    let from_el0 = context.pstate & (AARCH32 | MODE) != EL1T && context.pstate & (AARCH32 | MODE) != EL1H;
    // Offset into the vector table: current EL with SP_EL0, with SP_EL1, lower EL in AArch64, in AArch32.
    let offset = match context.pstate & (AARCH32 | MODE) {
        EL1T => 0x000,
        EL1H => 0x200,
        mode if mode & AARCH32 == 0 => 0x400,
        _ => 0x600,
    };
    // What is not named is zero at EL1: IT, Q and GE of AArch32, UAO, SS, IL, BTYPE.
    let mut pstate = (context.pstate & (NZCV | DIT | PAN)) | DAIF | EL1H;
    if context.has_pan && context.control & SPAN == 0 {
        pstate |= PAN;
    }
    if context.control & DSSBS != 0 {
        pstate |= SSBS;
    }
    if context.has_mte {
        pstate |= TCO;
    }
    if context.has_nmi && context.control & SPINTMASK == 0 {
        pstate |= ALLINT;
    }
    let (class, syndrome) = match cause {
        Cause::Undefined => (0x00, 0),
        Cause::InstructionAbort { walk } => (if from_el0 { 0x20 } else { 0x21 }, external_abort(walk)),
        Cause::DataAbort { write, maintenance, walk } => {
            let how = (maintenance as u64) << 8 | (write as u64) << 6;
            (if from_el0 { 0x24 } else { 0x25 }, external_abort(walk) | how)
        }
    };
    // VBAR_EL1[10:0] are RES0, so the addition is a concatenation.
    Entry { pc: (context.vectors & !0x7ff) | offset, pstate, syndrome: (class << CLASS) | IL | syndrome }
}

/// PSTATE of AArch32 behind an instruction, as `AArch32.ITAdvance` has it: IT\[7:2\] stand in bits 15:10,
/// IT\[1:0\] in 26:25.
#[must_use]
pub const fn advance_it(pstate: u64) -> u64 {
    let it = pstate >> 8 & 0xfc | pstate >> 25 & 0b11;
    let next = if it & 0b111 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    pstate & !(0x3f << 10 | 0b11 << 25) | (next & 0xfc) << 8 | (next & 0b11) << 25
}

/// Whether the instruction that trapped from AArch32 does anything: a CPU may trap one whose condition fails. The
/// syndrome has the condition in bits 23:20 where bit 24 (CV) is set; else it is that of the IT block.
#[must_use]
pub const fn condition_holds(pstate: u64, esr: u64) -> bool {
    // Of AArch32's classes these can come from conditional instructions: WFI and WFE, coprocessors, FP, VMRS.
    if pstate & AARCH32 == 0 || !matches!(esr >> CLASS, 0x01 | 0x03..=0x08 | 0x0c) {
        return true;
    }
    let block = pstate >> 8 & 0xfc | pstate >> 25 & 0b11;
    let condition = match (esr >> 24 & 1, block) {
        (1, _) => esr >> 20 & 0xf,
        (_, 0) => 0xe,
        _ => block >> 4,
    };
    let [n, z, c, v] =
        [pstate >> 31 & 1 == 1, pstate >> 30 & 1 == 1, pstate >> 29 & 1 == 1, pstate >> 28 & 1 == 1];
    let holds = match condition >> 1 {
        0 => z,
        1 => c,
        2 => n,
        3 => v,
        4 => c && !z,
        5 => n == v,
        6 => n == v && !z,
        _ => return true,
    };
    holds != (condition & 1 == 1)
}

/// SCTLR_EL1.EE: data of EL1, and the descriptors of stage 1, are big-endian.
pub const BIG_ENDIAN_EL1: u64 = 1 << 25;
/// SCTLR_EL1.EE and E0E: data of EL1, or of EL0, are big-endian.
pub const MIXED_ENDIAN: u64 = BIG_ENDIAN_EL1 | 1 << 24;

/// Whether a load or store from the state `pstate` is big-endian; `control` is SCTLR_EL1.
#[must_use]
pub const fn is_big_endian(pstate: u64, control: u64) -> bool {
    const E: u64 = 1 << 9;
    match pstate & (AARCH32 | MODE) {
        EL1T | EL1H => control & BIG_ENDIAN_EL1 != 0,
        mode if mode & AARCH32 != 0 => pstate & E != 0,
        _ => control >> 24 & 1 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pstate: u64) -> Context {
        let vectors = 0xffff_8000_0001_0800;
        Context { pstate, vectors, control: SPAN, has_pan: true, ..Context::default() }
    }

    #[test]
    fn each_origin_has_its_vector() {
        for (pstate, offset) in [(0x3c5, 0x200), (0x3c4, 0x000), (0x0, 0x400), (0x1d0, 0x600), (0x10, 0x600)]
        {
            let entry = take(Cause::Undefined, from(pstate));
            assert_eq!(entry.pc, 0xffff_8000_0001_0800 | offset, "from {pstate:#x}");
            assert_eq!(entry.pstate & (DAIF | AARCH32 | MODE), DAIF | EL1H);
        }
    }

    #[test]
    fn syndromes_tell_class_and_direction() {
        assert_eq!(take(Cause::Undefined, from(0x3c5)).syndrome, 0x0200_0000);
        let abort = |write, maintenance, walk| Cause::DataAbort { write, maintenance, walk };
        assert_eq!(take(abort(true, false, None), from(0x3c5)).syndrome, 0x9600_0050);
        assert_eq!(take(abort(false, false, Some(-1)), from(0)).syndrome, 0x9200_0013);
        assert_eq!(take(abort(true, true, Some(0)), from(0x3c5)).syndrome, 0x9600_0154);
        assert_eq!(take(Cause::InstructionAbort { walk: None }, from(0)).syndrome, 0x8200_0010);
        assert_eq!(take(Cause::InstructionAbort { walk: Some(3) }, from(0)).syndrome, 0x8200_0017);
    }

    #[test]
    fn an_it_block_goes_on_with_its_next_instruction() {
        let state = |it: u64| 0x8000_0030 | (it & 0xfc) << 8 | (it & 0b11) << 25;
        // ITTTE NE: base condition 000, then 1, 1, 1, 0 and the end. Outside of a block nothing changes.
        let block = [0x1f, 0x1e, 0x1c, 0x18, 0x00, 0x00];
        for (now, next) in block.iter().zip(&block[1..]) {
            assert_eq!(advance_it(state(*now)), state(*next), "{now:#x}");
        }
        // Each bit that moves between the two fields: IT EQ with three more, all inverted.
        assert_eq!(advance_it(state(0b0000_1111)), state(0b0001_1110));
        assert_eq!(advance_it(state(0b1110_1001)), state(0b1111_0010));
        assert_eq!(advance_it(state(0b1110_1000)), state(0));
    }

    #[test]
    fn an_instruction_whose_condition_fails_does_nothing() {
        const MCR: u64 = 0x03 << CLASS;
        const CV: u64 = 1 << 24;
        let (user, z) = (0x10, 0x4000_0010);
        let holds = |pstate, condition: u64| condition_holds(pstate, MCR | CV | condition << 20);
        // EQ and NE, always and the unconditional space.
        assert_eq!([holds(user, 0), holds(z, 0), holds(user, 1), holds(z, 1)], [false, true, true, false]);
        assert!(holds(user, 14) && holds(user, 15));
        // HI, LS; GE, LT; GT, LE for each of the flags.
        let flags = |nzcv: u64| user | nzcv << 28;
        assert!(holds(flags(0b0010), 8) && !holds(flags(0b0110), 8) && holds(flags(0b0110), 9));
        assert!(holds(flags(0b1001), 10) && !holds(flags(0b1000), 10) && holds(flags(0b1000), 11));
        assert!(holds(flags(0b1001), 12) && !holds(flags(0b1101), 12) && holds(flags(0b1101), 13));
        // Without CV: the IT block's, if there is one. IT EQ: 0b0000_1000.
        let block = user | 0b0000_1000 << 8;
        assert!(
            !condition_holds(block, MCR) && condition_holds(block | z, MCR) && condition_holds(user, MCR)
        );
        // What is not conditional, and A64.
        assert!(condition_holds(user, CV | 0x24 << CLASS) && condition_holds(0, MCR | CV));
    }

    #[test]
    fn each_level_has_its_endianness() {
        let (el1, el0) = (0x3c5, 0);
        for (pstate, control, big) in [
            (el1, 0, false),
            (el1, 1 << 25, true),
            (el1, 1 << 24, false),
            (el0, 1 << 24, true),
            (el0, 1 << 25, false),
            (0x10, MIXED_ENDIAN, false),
            (0x210, 0, true),
        ] {
            assert_eq!(is_big_endian(pstate, control), big, "{pstate:#x} {control:#x}");
        }
    }

    #[test]
    fn pan_follows_span_and_flags_survive() {
        let mut context = from(NZCV | 0x5);
        assert_eq!(take(Cause::Undefined, context).pstate & PAN, 0);
        context.control = 0;
        assert_eq!(take(Cause::Undefined, context).pstate & (PAN | NZCV), PAN | NZCV);
        context.has_pan = false;
        assert_eq!(take(Cause::Undefined, context).pstate & PAN, 0);
    }

    /// `AArch64.TakeException` bit by bit: what is kept, set and cleared whatever it was before.
    #[test]
    fn what_comes_with_later_features_is_as_the_pseudocode_has_it() {
        let everything = Context {
            control: SPAN | DSSBS,
            has_mte: true,
            has_nmi: true,
            // EL0 in AArch64 with every other bit set.
            ..from(0x2fff_ffff_ffff_ffe0)
        };
        let pstate = take(Cause::Undefined, everything).pstate;
        assert_eq!(pstate, NZCV | TCO | DIT | PAN | ALLINT | SSBS | DAIF | EL1H);
        let mut nothing = from(0);
        assert_eq!(take(Cause::Undefined, nothing).pstate, DAIF | EL1H);
        (nothing.has_nmi, nothing.control) = (true, SPAN | SPINTMASK);
        assert_eq!(take(Cause::Undefined, nothing).pstate, DAIF | EL1H);
    }
}
