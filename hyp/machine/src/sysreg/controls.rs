// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other side of the table of traps: every bit of the registers by which EL2 can take something from a guest, how
//! EL2 sets it, and what that makes of what the bit is about. [`super::TRAPS`] says the same register by register.
//!
//! The tests hold a list of all bits that the architecture has against this table, this table against the values of
//! [`super::configuration`], and each bit of the fine-grained traps against the lines of [`super::TRAPS`].

use super::Verdict;
use super::Verdict::{Empty, Emulated, Fixed, Given, Sanitised, Undefined, Virtual};

/// How EL2 sets a bit or field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Zero.
    Off,
    /// All ones, where the feature that brings it is there.
    On,
    /// As the last column says.
    Varies,
}
use Setting::{Off, On, Varies};

/// Bits of one register that are set alike for the same reason.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The register.
    pub register: &'static str,
    /// The bits' names; `n*` stands for those that trap while they are zero, `*` for all others.
    pub bits: &'static str,
    /// How they are set.
    pub setting: Setting,
    /// What they are about.
    pub what: &'static str,
    /// What becomes of that.
    pub verdict: Verdict,
    /// Why.
    pub reason: &'static str,
}

/// Lines of one register.
macro_rules! controls {
    ($($register:literal { $($bits:literal $setting:ident $what:literal $verdict:ident $reason:literal;)* })*) => {
        &[$($(Control {
            register: $register, bits: $bits, setting: $setting, what: $what, verdict: $verdict, reason: $reason,
        },)*)*]
    };
}

/// The table.
#[rustfmt::skip]
pub const CONTROLS: &[Control] = controls! {
"HCR_EL2" {
    "VM"                       On  "stage 2 translation" Given "confines the guest, and shows only where it refuses";
    "SWIO"                     On  "DC ISW cleans too" Given "no dirty line of another's is lost";
    "PTW FWB"                  Off "stage 2's say in stage 1's walks and attributes" Given "the guest's own attributes hold";
    "FMO IMO AMO"              On  "physical interrupts and SErrors; SGIs by ICC registers" Emulated "the virtual GIC delivers what is the guest's";
    "VF VI"                    Off "virtual interrupts without a list register" Given "all go through list registers";
    "VSE"                      Varies "a virtual SError" Given "set while an SError is passed on to the guest";
    "FB BSU DC"                Off "wider barriers and broadcasts, cacheable with the MMU off" Given "as the instruction says: a vCPU stays on its CPU";
    "TWI TWE TWEDEn TWEDEL"    Off "WFI, WFE, WFIT, WFET" Given "the CPU is the guest's alone: it may sleep";
    "TID0 TID2 TID4"           Off "JIDR; CTR, CSSELR, CCSIDR, CLIDR" Given "caches are as the CPU says";
    "TID1"                     On  "REVIDR, AIDR; SMIDR" Sanitised "as the CPU says; SMIDR_EL1 is UNDEFINED, for SME is hidden";
    "TID5"                     On  "GMID_EL1" Undefined "memory tagging is hidden";
    "TID3"                     On  "ID registers" Sanitised "ID_REGISTERS says field by field what a guest sees";
    "TSC"                      On  "SMC" Emulated "answered as HVC is; nothing of a guest's reaches firmware";
    "HCD"                      Off "HVC" Emulated "the conduit of PSCI";
    "TIDCP"                    On  "IMPLEMENTATION DEFINED registers and instructions" Undefined "they control the board's caches and the core itself";
    "TACR"                     On  "ACTLR_EL1" Fixed "IMPLEMENTATION DEFINED, so it may act at EL2";
    "TSW"                      Off "DC ISW, CSW, CISW" Given "right for a guest that boots with caches off: see docs/conformance.md";
    "TPCP TPU TICAB TOCU TDZ"  Off "cache maintenance by address, DC ZVA, IC" Given "through the guest's own translation";
    "TTLB TTLBIS TTLBOS"       Off "TLBI" Given "reaches the guest's VMID only";
    "TVM TRVM"                 Off "virtual memory controls" Given "the CPU is the guest's alone";
    "TGE E2H"                  Off "EL2 as a host" Given "EL1 is the guest's kernel";
    "RW"                       On  "AArch64 at EL1" Given "AArch32 at EL0 only";
    "CD ID"                    Off "no cacheable stage 2" Given "caches are the guest's to turn on";
    "TLOR"                     On  "LORegions" Undefined "they are ranges of physical addresses";
    "TERR"                     On  "error records" Empty "some are those of caches that several CPUs share";
    "TEA"                      Off "synchronous external aborts" Given "go to EL1, as on the board";
    "APK API"                  On  "pointer authentication is not trapped" Given "the keys are the guest's";
    "NV NV1 NV2 AT"            Off "nested virtualization, ERET, AT" Given "there is no EL2 in the virtual machine";
    "FIEN"                     Off "injection of errors" Undefined "into hardware that others use; hidden";
    "GPF"                      Off "granule protection faults" Given "they are the board's";
    "AMVOFFEN"                 Off "virtual offsets of activity monitors" Undefined "hidden";
    "EnSCXT"                   Off "SCXTNUM_EL0, SCXTNUM_EL1" Undefined "CSV2 is shown as 1";
    "ATA DCT"                  Off "allocation tags" Undefined "memory tagging is hidden";
}

"HCRX_EL2" {
    "EnAS0 EnALS EnASR"        Off "LD64B, ST64B, ST64BV, ST64BV0" Undefined "no device takes 64 bytes; hidden";
    "FnXS FGTnXS"              Off "TLBI nXS" Given "as the instruction says";
    "SMPME"                    Off "SME's priorities" Undefined "SME is hidden";
    "TALLINT VINMI VFNMI"      Off "non-maskable interrupts" Given "the virtual GIC has none, so ALLINT masks nothing more";
    "CMOW"                     Off "maintenance needs write permission of stage 2" Given "as without stage 2";
    "MCE2"                     Off "exceptions of memory copies" Given "go to EL1";
    "MSCEn"                    On  "memory copies" Given "ID_AA64ISAR2_EL1.MOPS shows them";
    "TCR2En SCTLR2En"          Off "TCR2_EL1, SCTLR2_EL1" Undefined "hidden";
    "PTTWI D128En TMEA"        Off "128-bit tables, their writes, trapped memory errors" Undefined "hidden";
    "EnSNERR EnSDERR"          Off "where errors of reads are reported" Given "as without the feature";
    "EnIDCP128"                Off "128-bit IMPLEMENTATION DEFINED registers" Undefined "as those of 64 bits";
    "GCSEn"                    Off "guarded control stack" Undefined "hidden";
    "EnFPM"                    Off "FPMR" Undefined "FP8 is hidden";
    "PACMEn"                   Off "PACM" Undefined "hidden";
    "SRMASKEn"                 Off "masks of system registers" Undefined "hidden";
    "NVTGE NVnTTLB NVnTTLBIS NVnTTLBOS" Off "nested virtualization" Given "there is no EL2 in the virtual machine";
}

"HSTR_EL2" {
    "T0 T1 T2 T3 T5 T6 T7 T8 T9 T10 T11 T12 T13 T15" Off "CP15 registers of AArch32, by CRn" Given "EL0 reaches what EL1 lets it";
}

"CPTR_EL2" {
    "TCPAC"                    Off "CPACR_EL1" Given "the CPU is the guest's alone";
    "TAM"                      On  "activity monitors" Undefined "count across partitions; hidden";
    "TTA"                      On  "trace registers" Undefined "trace may leave the CPU; hidden";
    "TSM"                      On  "SME" Undefined "its state may be shared between CPUs; hidden";
    "TFP"                      Off "FP and SIMD" Given "EL2 is built without them";
    "TZ"                       Varies "SVE" Given "0; where there is no SVE it is RES1";
}

"MDCR_EL2" {
    "HPMN"                     Varies "counters of EL1 and EL0" Given "PMCR_EL0.N: all of them";
    "TPMCR TPM"                Off "PMU" Given "with its interrupt, where that is a private one";
    "HPME HLP HPMFZO HPMFZS PMEE" Off "EL2's own counters, and the PMU's exceptions" Given "there are no such counters";
    "HPMD HCCD"                On  "counting at EL2" Given "a guest counts itself; before FEAT_PMUv3p1 also EL2, if it asks for it";
    "TDE TDRA TDCC"            Off "debug exceptions, ROM table, communication channel" Given "self-hosted debug is the guest's";
    "TDA"                      Varies "debug registers" Given "set while the virtual OS lock is locked, so that MDSCR_EL1 keeps what is written";
    "TDOSA"                    On  "OS lock, OS double lock, DBGPRCR_EL1" Virtual "under the CPU's lock MDSCR_EL1 and OSECCR_EL1 act at EL2";
    "EBWE"                     Off "more than 16 breakpoints (MDSELR_EL1)" Undefined "ID_AA64DFR0_EL1.DebugVer is shown as 8.8";
    "EnSTEPOP"                 Off "MDSTEPOP_EL1" Undefined "hidden";
    "E2PB TPMS"                Varies "statistical profiling" Undefined "E2PB 0, TPMS 1 where it is there; writes to memory by addresses of its own; hidden";
    "EnSPM PMSSE"              Off "system PMUs, snapshots" Undefined "hidden";
    "TTRF"                     On  "TRFCR_EL1" Undefined "trace may leave the CPU; hidden";
    "E2TB"                     Off "trace buffer" Undefined "writes to memory by addresses of its own; hidden";
    "MTPME"                    Off "counting of other threads" Given "ID_AA64DFR0_EL1.MTPMU says that there is none";
}

"CNTHCTL_EL2" {
    "EL1PCTEN EL1PCEN"         On  "physical counter and timer are not trapped" Given "the CPU's timers are the guest's";
    "EL1TVT EL1TVCT EL1NVPCT EL1NVVCT" Off "virtual counter and timer" Given "the CPU's timers are the guest's";
    "EVNTEN EVNTDIR EVNTI EVNTIS" Off "EL2's event stream" Given "CNTKCTL_EL1 has the guest's own";
    "ECV"                      Off "CNTPOFF_EL2" Given "the physical counter is the board's";
    "CNTVMASK CNTPMASK"        Off "masks of the timers" Given "their interrupts come";
}

"ICH_HCR_EL2" {
    "En"                       On  "virtual CPU interface" Given "the guest's ICC registers";
    "UIE LRENPIE NPIE"         Varies "maintenance interrupts" Given "while more is pending or active than list registers hold";
    "VGrp0EIE VGrp0DIE VGrp1EIE VGrp1DIE" Off "telling of group enables" Given "they need no help";
    "TC TALL0 TALL1 TSEI"      Off "ICC registers; SEIs" Given "they reach the virtual CPU interface";
    "TDIR"                     Varies "ICC_DIR_EL1" Emulated "while an active interrupt is in no list register";
    "vSGIEOICount DVIM"        Off "direct injection" Given "no LPIs, no ITS";
    "EOIcount"                 Varies "ends without a list register" Given "counted by hardware, taken by EL2";
}

"ICC_SRE_EL2" {
    "SRE"                      On  "ICC and ICH registers at EL2" Given "the guest's ICC registers are the virtual CPU interface's";
    "DFB DIB"                  On  "no bypass of the GIC" Given "interrupts come through the GIC alone";
    "Enable"                   Off "ICC_SRE_EL1" Fixed "reads as on the board; clearing SRE is UNPREDICTABLE while EL2 uses system registers";
}

"HFGRTR_EL2" {
    "*" Off "reads of EL1's registers" Given "TRAPS has them one by one";
    "n*" Off "reads of registers of later features" Undefined "hidden";
}
"HFGWTR_EL2" {
    "*" Off "writes of EL1's registers" Given "TRAPS has them one by one";
    "n*" Off "writes of registers of later features" Undefined "hidden";
}
"HFGITR_EL2" {
    "*" Off "maintenance, AT, prediction restriction, SVC, ERET" Given "TRAPS has them one by one";
    "n*" Off "instructions of later features" Undefined "hidden";
}
"HDFGRTR_EL2" {
    "*" Off "reads of debug, PMU and trace registers" Given "TRAPS has them one by one; trace and profiling are taken by MDCR_EL2 and CPTR_EL2";
    "n*" Off "reads of registers of later features" Undefined "hidden";
}
"HDFGWTR_EL2" {
    "*" Off "writes of debug, PMU and trace registers" Given "TRAPS has them one by one; trace and profiling are taken by MDCR_EL2 and CPTR_EL2";
    "n*" Off "writes of registers of later features" Undefined "hidden";
}
"HAFGRTR_EL2" {
    "*" Varies "reads of activity monitors" Undefined "left as it is: CPTR_EL2.TAM takes them all";
}
"HFGRTR2_EL2" {
    "n*" Off "reads of registers of later features" Undefined "hidden";
}
"HFGWTR2_EL2" {
    "n*" Off "writes of registers of later features" Undefined "hidden";
}
"HFGITR2_EL2" {
    "*" Off "TSB CSYNC" Given "a hint";
    "n*" Off "DC CIVAPS" Undefined "hidden";
}
"HDFGRTR2_EL2" {
    "n*" Off "reads of registers of later features" Undefined "hidden";
}
"HDFGWTR2_EL2" {
    "n*" Off "writes of registers of later features" Undefined "hidden";
}
};
