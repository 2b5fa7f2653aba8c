// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every field of every ID register, and what a guest sees of it (Arm ARM, D24.2 and G8.2).

use super::id::{Contents, Field, IdRegister, Rule};
use super::{ACTLR_EL1, AIDR_EL1, REVIDR_EL1, Register};
use Contents::{Aarch32, Fields, Whole, Zero};

const fn id(name: &'static str, crm: u8, op2: u8, contents: Contents) -> IdRegister {
    IdRegister { register: Register::new(3, 0, 0, crm, op2), name, contents }
}

const fn keep(name: &'static str, lsb: u32) -> Field {
    Field { name, lsb, rule: Rule::Keep, reason: "" }
}

const fn hide(name: &'static str, lsb: u32, reason: &'static str) -> Field {
    Field { name, lsb, rule: Rule::Hide, reason }
}

const fn rule(name: &'static str, lsb: u32, rule: Rule, reason: &'static str) -> Field {
    Field { name, lsb, rule, reason }
}

const EL2: &str = "there is no EL2 in the virtual machine";
const TRACE: &str = "trace may leave the CPU";
const SHARED: &str = "counts or controls what partitions share";
const NOT_ENABLED: &str = "needs a control that HCRX_EL2 or FEAT_FGT leaves off";
const NO_AARCH32_EL1: &str = "EL1 is AArch64";
const IMPLEMENTATION_DEFINED: &str = "IMPLEMENTATION DEFINED, and so are the registers that it is about";

/// Every ID register that has a name. Other encodings of the space are reserved and read as zero.
#[rustfmt::skip]
pub const ID_REGISTERS: &[IdRegister] = &[
    // Outside of the space proper, where CRm is 0.
    IdRegister { register: REVIDR_EL1, name: "REVIDR_EL1", contents: Whole },
    IdRegister { register: AIDR_EL1, name: "AIDR_EL1", contents: Whole },
    // No ID register, but as constant: a guest's writes are ignored.
    IdRegister { register: ACTLR_EL1, name: "ACTLR_EL1", contents: Whole },

    // AArch32, for EL0.
    id("ID_PFR0_EL1", 1, 0, Aarch32(&[
        rule("CSV2", 16, Rule::AtMost(1), "no software context numbers"),
        hide("AMU", 20, SHARED),
        rule("RAS", 28, Rule::AtMost(1), "version 1.1 injects errors"),
    ])),
    id("ID_PFR1_EL1", 1, 1, Aarch32(&[
        hide("ProgMod", 0, NO_AARCH32_EL1),
        hide("Security", 4, NO_AARCH32_EL1),
        hide("MProgMod", 8, NO_AARCH32_EL1),
        hide("Virtualization", 12, EL2),
        rule("GenTimer", 16, Rule::AtMost(1), "as ECV in ID_AA64MMFR0_EL1, which AArch32 has none of"),
        hide("Sec_frac", 20, NO_AARCH32_EL1),
        hide("Virt_frac", 24, EL2),
        rule("GIC", 28, Rule::IfGicV3, "the virtual GIC's version"),
    ])),
    id("ID_DFR0_EL1", 1, 2, Aarch32(&[
        rule("CopDbg", 0, Rule::AtMost(10), "as DebugVer in ID_AA64DFR0_EL1"),
        hide("CopTrc", 12, TRACE),
        hide("MMapTrc", 16, TRACE),
        rule("PerfMon", 24, Rule::VersionAtMost(8), NOT_ENABLED),
        hide("TraceFilt", 28, TRACE),
    ])),
    id("ID_AFR0_EL1", 1, 3, Zero(IMPLEMENTATION_DEFINED)),
    id("ID_MMFR0_EL1", 1, 4, Aarch32(&[])),
    id("ID_MMFR1_EL1", 1, 5, Aarch32(&[])),
    id("ID_MMFR2_EL1", 1, 6, Aarch32(&[])),
    id("ID_MMFR3_EL1", 1, 7, Aarch32(&[])),
    id("ID_ISAR0_EL1", 2, 0, Aarch32(&[])),
    id("ID_ISAR1_EL1", 2, 1, Aarch32(&[])),
    id("ID_ISAR2_EL1", 2, 2, Aarch32(&[])),
    id("ID_ISAR3_EL1", 2, 3, Aarch32(&[])),
    id("ID_ISAR4_EL1", 2, 4, Aarch32(&[])),
    id("ID_ISAR5_EL1", 2, 5, Aarch32(&[])),
    id("ID_MMFR4_EL1", 2, 6, Aarch32(&[
        hide("XNX", 8, EL2),
        hide("EVT", 28, EL2),
    ])),
    id("ID_ISAR6_EL1", 2, 7, Aarch32(&[])),
    id("MVFR0_EL1", 3, 0, Aarch32(&[])),
    id("MVFR1_EL1", 3, 1, Aarch32(&[])),
    id("MVFR2_EL1", 3, 2, Aarch32(&[])),
    id("ID_PFR2_EL1", 3, 4, Aarch32(&[
        hide("RAS_frac", 8, "version 1.1 injects errors"),
    ])),
    id("ID_DFR1_EL1", 3, 5, Aarch32(&[
        rule("MTPMU", 0, Rule::Absent, "MDCR_EL2.MTPME is 0: a counter of one CPU does not see another's events"),
        hide("HPMN0", 4, EL2),
    ])),
    id("ID_MMFR5_EL1", 3, 6, Aarch32(&[])),

    // AArch64.
    id("ID_AA64PFR0_EL1", 4, 0, Fields(&[
        keep("EL0", 0),
        rule("EL1", 4, Rule::Fixed(1), NO_AARCH32_EL1),
        hide("EL2", 8, EL2),
        keep("EL3", 12),
        keep("FP", 16),
        keep("AdvSIMD", 20),
        rule("GIC", 24, Rule::IfGicV3, "the virtual GIC's version"),
        rule("RAS", 28, Rule::AtMost(1), "version 1.1 injects errors (HCR_EL2.FIEN)"),
        keep("SVE", 32),
        hide("SEL2", 36, EL2),
        hide("MPAM", 40, SHARED),
        hide("AMU", 44, SHARED),
        keep("DIT", 48),
        hide("RME", 52, "realms are EL3's and EL2's"),
        rule("CSV2", 56, Rule::AtMost(1), "no software context numbers (HCR_EL2.EnSCXT)"),
        keep("CSV3", 60),
    ])),
    id("ID_AA64PFR1_EL1", 4, 1, Fields(&[
        keep("BT", 0),
        keep("SSBS", 4),
        hide("MTE", 8, "stage 2 does not carry tags"),
        hide("RAS_frac", 12, "version 1.1 injects errors"),
        hide("MPAM_frac", 16, SHARED),
        hide("SME", 24, "its state may be shared between CPUs"),
        hide("RNDR_trap", 28, "EL3's"),
        rule("CSV2_frac", 32, Rule::AtMost(1), "no software context numbers"),
        hide("NMI", 36, "the virtual GIC has no non-maskable interrupts"),
        hide("MTE_frac", 40, "stage 2 does not carry tags"),
        hide("GCS", 44, NOT_ENABLED),
        hide("THE", 48, NOT_ENABLED),
        hide("MTEX", 52, "stage 2 does not carry tags"),
        hide("DF2", 56, NOT_ENABLED),
        hide("PFAR", 60, NOT_ENABLED),
    ])),
    id("ID_AA64PFR2_EL1", 4, 2, Zero(NOT_ENABLED)),
    id("ID_AA64ZFR0_EL1", 4, 4, Whole),
    id("ID_AA64SMFR0_EL1", 4, 5, Zero("SME's state may be shared between CPUs")),
    id("ID_AA64FPFR0_EL1", 4, 7, Zero(NOT_ENABLED)),

    id("ID_AA64DFR0_EL1", 5, 0, Fields(&[
        rule("DebugVer", 0, Rule::AtMost(10), "8.9 has MDSELR_EL1, which needs MDCR_EL2.EBWE"),
        hide("TraceVer", 4, TRACE),
        rule("PMUVer", 8, Rule::VersionAtMost(8), NOT_ENABLED),
        keep("BRPs", 12),
        hide("PMSS", 16, NOT_ENABLED),
        keep("WRPs", 20),
        hide("SEBEP", 24, NOT_ENABLED),
        keep("CTX_CMPs", 28),
        hide("PMSVer", 32, "profiling writes to memory by addresses of its own"),
        keep("DoubleLock", 36),
        hide("TraceFilt", 40, TRACE),
        hide("TraceBuffer", 44, TRACE),
        rule("MTPMU", 48, Rule::Absent, "MDCR_EL2.MTPME is 0: a counter of one CPU does not see another's events"),
        hide("BRBE", 52, NOT_ENABLED),
        hide("ExtTrcBuff", 56, TRACE),
        hide("HPMN0", 60, EL2),
    ])),
    id("ID_AA64DFR1_EL1", 5, 1, Zero(NOT_ENABLED)),
    id("ID_AA64DFR2_EL1", 5, 2, Zero(NOT_ENABLED)),
    id("ID_AA64AFR0_EL1", 5, 4, Zero(IMPLEMENTATION_DEFINED)),
    id("ID_AA64AFR1_EL1", 5, 5, Zero(IMPLEMENTATION_DEFINED)),

    id("ID_AA64ISAR0_EL1", 6, 0, Fields(&[
        keep("AES", 4),
        keep("SHA1", 8),
        keep("SHA2", 12),
        keep("CRC32", 16),
        keep("Atomic", 20),
        hide("TME", 24, "withdrawn from the architecture"),
        keep("RDM", 28),
        keep("SHA3", 32),
        keep("SM3", 36),
        keep("SM4", 40),
        keep("DP", 44),
        keep("FHM", 48),
        keep("TS", 52),
        keep("TLB", 56),
        keep("RNDR", 60),
    ])),
    id("ID_AA64ISAR1_EL1", 6, 1, Fields(&[
        keep("DPB", 0),
        keep("APA", 4),
        keep("API", 8),
        keep("JSCVT", 12),
        keep("FCMA", 16),
        keep("LRCPC", 20),
        keep("GPA", 24),
        keep("GPI", 28),
        keep("FRINTTS", 32),
        keep("SB", 36),
        keep("SPECRES", 40),
        keep("BF16", 44),
        keep("DGH", 48),
        keep("I8MM", 52),
        keep("XS", 56),
        hide("LS64", 60, "HCRX_EL2.EnALS is 0: no device takes 64-byte accesses"),
    ])),
    id("ID_AA64ISAR2_EL1", 6, 2, Fields(&[
        keep("WFxT", 0),
        keep("RPRES", 4),
        keep("GPA3", 8),
        keep("APA3", 12),
        rule("MOPS", 16, Rule::IfExtendedControls, "HCRX_EL2.MSCEn enables it"),
        keep("BC", 20),
        keep("PAC_frac", 24),
        keep("CLRBHB", 28),
        hide("SYSREG_128", 32, NOT_ENABLED),
        hide("SYSINSTR_128", 36, NOT_ENABLED),
        keep("PRFMSLC", 40),
        keep("RPRFM", 48),
        keep("CSSC", 52),
        keep("LUT", 56),
        keep("ATS1A", 60),
    ])),
    id("ID_AA64ISAR3_EL1", 6, 3, Fields(&[
        rule("CPA", 0, Rule::AtMost(1), "checked pointer arithmetic in translation needs SCTLR2_EL1"),
        keep("FAMINMAX", 4),
        hide("TLBIW", 8, NOT_ENABLED),
        hide("PACM", 12, NOT_ENABLED),
        keep("LSFE", 16),
        hide("OCCMO", 20, SHARED),
        keep("LSUI", 24),
        keep("FPRCVT", 28),
    ])),

    id("ID_AA64MMFR0_EL1", 7, 0, Fields(&[
        rule("PARange", 0, Rule::PhysicalAddresses, "stage 2 translates so many bits"),
        keep("ASIDBits", 4),
        keep("BigEnd", 8),
        keep("SNSMem", 12),
        keep("BigEndEL0", 16),
        keep("TGran16", 20),
        keep("TGran64", 24),
        keep("TGran4", 28),
        hide("TGran16_2", 32, EL2),
        hide("TGran64_2", 36, EL2),
        hide("TGran4_2", 40, EL2),
        keep("ExS", 44),
        hide("FGT", 56, EL2),
        rule("ECV", 60, Rule::AtMost(1), "CNTPOFF_EL2 is EL2's"),
    ])),
    id("ID_AA64MMFR1_EL1", 7, 1, Fields(&[
        rule("HAFDBS", 0, Rule::AtMost(2), "more needs TCR2_EL1 or EL2"),
        hide("VMIDBits", 4, EL2),
        hide("VH", 8, EL2),
        keep("HPDS", 12),
        hide("LO", 16, "LORegions are ranges of physical addresses"),
        keep("PAN", 20),
        keep("SpecSEI", 24),
        hide("XNX", 28, EL2),
        hide("TWED", 32, EL2),
        keep("ETS", 36),
        hide("HCX", 40, EL2),
        keep("AFP", 44),
        keep("nTLBPA", 48),
        keep("TIDCP1", 52),
        keep("CMOW", 56),
        keep("ECBHB", 60),
    ])),
    id("ID_AA64MMFR2_EL1", 7, 2, Fields(&[
        keep("CnP", 0),
        keep("UAO", 4),
        keep("LSM", 8),
        keep("IESB", 12),
        keep("VARange", 16),
        keep("CCIDX", 20),
        hide("NV", 24, EL2),
        keep("ST", 28),
        keep("AT", 32),
        keep("IDS", 36),
        hide("FWB", 40, EL2),
        keep("TTL", 48),
        keep("BBM", 52),
        hide("EVT", 56, EL2),
        keep("E0PD", 60),
    ])),
    id("ID_AA64MMFR3_EL1", 7, 3, Fields(&[
        hide("TCRX", 0, NOT_ENABLED),
        hide("SCTLRX", 4, NOT_ENABLED),
        hide("S1PIE", 8, NOT_ENABLED),
        hide("S2PIE", 12, EL2),
        hide("S1POE", 16, NOT_ENABLED),
        hide("S2POE", 20, EL2),
        hide("AIE", 24, NOT_ENABLED),
        hide("MEC", 28, "memory encryption contexts are EL2's and EL3's"),
        hide("D128", 32, NOT_ENABLED),
        hide("D128_2", 36, EL2),
        keep("SNERR", 40),
        keep("ANERR", 44),
        keep("SDERR", 52),
        keep("ADERR", 56),
        keep("Spec_FPACC", 60),
    ])),
    id("ID_AA64MMFR4_EL1", 7, 4, Zero("about EL2, or needs TCR2_EL1")),
];
