// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of traps: everything that the EL2 controls could take from a guest, and what becomes of it.

use super::Register;

/// What becomes of a register or instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest has it; it never traps.
    Given,
    /// Reads trap and give the CPU's value less what the guest cannot use; writes are UNDEFINED.
    Sanitised,
    /// Writes trap and are carried out by EL2; reads are UNDEFINED.
    Emulated,
    /// Traps; the guest has one of its own, which EL2 keeps.
    Virtual,
    /// Traps; reads give the CPU's value, writes are ignored: what it controls is not the guest's to change.
    Fixed,
    /// Traps, reads as zero and ignores writes: what is there has nothing in it.
    Empty,
    /// Traps and is UNDEFINED, as on a CPU without it.
    Undefined,
}
use Verdict::{Empty, Emulated, Fixed, Given, Sanitised, Undefined, Virtual};

/// Whether what a guest writes acts at EL2, or on other CPUs, as well (Arm ARM, the registers' descriptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It traps: nothing of it reaches the CPU without EL2.
    Trapped,
    /// At EL1 and EL0 only.
    Own,
    /// Further, and why that does no harm.
    Further(&'static str),
}
use Reach::{Further, Own, Trapped};

/// An inclusive range of one field of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u8, pub u8);

impl Span {
    const fn contains(self, value: u8) -> bool {
        self.0 <= value && value <= self.1
    }
}

/// A set of encodings: ranges of op0, op1, CRn, CRm and op2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings(pub [Span; 5]);

impl Encodings {
    /// Whether the register is in the set.
    #[must_use]
    pub fn contains(&self, register: Register) -> bool {
        self.0.iter().zip(register.fields()).all(|(span, field)| span.contains(field))
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The register, or what the registers are for.
    pub name: &'static str,
    /// Their encodings.
    pub encodings: Encodings,
    /// What decides whether they trap, as [`super::configuration`] sets it.
    pub control: &'static str,
    /// What becomes of them.
    pub verdict: Verdict,
    /// Why.
    pub reason: &'static str,
    /// Whether it acts at EL2.
    pub reach: Reach,
}

/// The first line that a register is on.
#[must_use]
pub fn row(register: Register) -> Option<&'static Row> {
    TRAPS.iter().find(|row| row.encodings.contains(register))
}

const fn one(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Encodings {
    Encodings([Span(op0, op0), Span(op1, op1), Span(crn, crn), Span(crm, crm), Span(op2, op2)])
}

const fn many(op0: u8, op1: Span, crn: Span, crm: Span, op2: Span) -> Encodings {
    Encodings([Span(op0, op0), op1, crn, crm, op2])
}

const fn is(value: u8) -> Span {
    Span(value, value)
}

const OP: Span = Span(0, 7);
const CR: Span = Span(0, 15);

const fn line(
    verdict: Verdict,
    name: &'static str,
    encodings: Encodings,
    control: &'static str,
    reason: &'static str,
) -> Row {
    Row { name, encodings, control, verdict, reason, reach: Trapped }
}

/// A line of what is given, with the answer to the question whether it acts at EL2.
const fn given(
    reach: Reach,
    name: &'static str,
    encodings: Encodings,
    control: &'static str,
    reason: &'static str,
) -> Row {
    Row { name, encodings, control, verdict: Given, reason, reach }
}

const SGI: &str = "an SGI goes to vCPUs, whose places only EL2 knows";
const DISPLACED: &str = "the virtual CPU interface deactivates only what is in a list register";
const SPE: &str = "statistical profiling writes to memory by virtual addresses of its own; hidden";
const PMU_9: &str = "PMUv3.9 and snapshots need FEAT_FGT2's help; PMUVer is shown as 3.8";
const SPMU: &str = "system PMUs count what partitions share; hidden";
const TRBE: &str = "the trace buffer writes to memory by addresses of its own; hidden";
const AMU: &str = "activity monitors count across partitions; hidden";
const MPAM: &str = "partitions the caches of the board, which is the hypervisor's to do; hidden";
const MTE: &str = "memory tagging is hidden until stage 2 carries tags";
const SME: &str = "SME's state may be shared between CPUs; hidden";
const RAS: &str = "injects errors into hardware that others use; hidden";
const STAGE1: &str = "stage 1 extension that HCRX_EL2 or FEAT_FGT leaves off; hidden";
const OS_LOCK: &str =
    "under the CPU's lock MDSCR_EL1 and OSECCR_EL1 act at EL2; DBGPRCR_EL1 keeps the core's power on";
const SOFTWARE_CONTEXT: &str = "CSV2 is shown as 1: no software context numbers";
const OWN_CPU: &str = "the CPU is the guest's alone, so its state is";

const PMU: &str = "with PMEVTYPER<n>_EL0.NSH and PMCCFILTR_EL0.NSH they count at EL2 where MDCR_EL2.HPMD and HCCD are not \
    implemented: how much EL2 does on the guest's own CPU; the overflow is a physical interrupt, which EL2 takes";
const DEBUGGER: &str = "DBGBCR<n>_EL1.HMC and the like halt the CPU at EL2 only where a debugger has set EDSCR.HDE, which a guest \
    cannot while the CPU's OS lock is open; MDCR_EL2.TDE is 0, so EL2 takes no debug exception";

/// The table. Where lines overlap, the first counts.
#[rustfmt::skip]
pub const TRAPS: &[Row] = &[
    // Identification.
    line(Sanitised, "ID registers, AArch32's and reserved ones too", many(3, is(0), is(0), Span(1, 7), OP), "HCR_EL2.TID3 = 1", "a guest sees what it can use: ID_REGISTERS says it field by field"),
    given(Own, "MIDR_EL1, MPIDR_EL1", many(3, is(0), is(0), is(0), Span(0, 5)), "VPIDR_EL2, VMPIDR_EL2", "MIDR tells of errata; MPIDR is the virtual one"),
    line(Sanitised, "REVIDR_EL1", one(3, 0, 0, 0, 6), "HCR_EL2.TID1 = 1", "as the CPU says: it tells of errata"),
    line(Sanitised, "AIDR_EL1", one(3, 1, 0, 0, 7), "HCR_EL2.TID1 = 1", "as the CPU says"),
    line(Undefined, "SMIDR_EL1", one(3, 1, 0, 0, 6), "HCR_EL2.TID1 = 1", SME),
    line(Undefined, "GMID_EL1", one(3, 1, 0, 0, 4), "HCR_EL2.TID5 = 1", MTE),
    given(Own, "CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1", many(3, is(1), is(0), is(0), Span(0, 2)), "HCR_EL2.TID2 = TID4 = 0", "the caches are as the CPU says"),
    given(Own, "CSSELR_EL1", one(3, 2, 0, 0, 0), "HCR_EL2.TID2 = TID4 = 0", OWN_CPU),
    given(Own, "CTR_EL0, DCZID_EL0", many(3, is(3), is(0), is(0), Span(1, 7)), "HCR_EL2.TID2 = 0", "cache lines are as the CPU says"),

    // Interrupts.
    line(Emulated, "ICC_SGI1R_EL1", one(3, 0, 12, 11, 5), "HCR_EL2.IMO = FMO = 1", SGI),
    line(Emulated, "ICC_ASGI1R_EL1", one(3, 0, 12, 11, 6), "HCR_EL2.IMO = FMO = 1", SGI),
    line(Emulated, "ICC_SGI0R_EL1", one(3, 0, 12, 11, 7), "HCR_EL2.IMO = FMO = 1", SGI),
    line(Emulated, "ICC_DIR_EL1", one(3, 0, 12, 11, 1), "ICH_HCR_EL2.TDIR, while an active interrupt is in no list register", DISPLACED),
    line(Fixed, "ICC_SRE_EL1", one(3, 0, 12, 12, 5), "ICC_SRE_EL2.Enable = 0", "SRE from 1 to 0 is UNPREDICTABLE while EL2 uses system registers; DFB and DIB bypass the GIC"),
    given(Own, "ICC registers", many(3, is(0), is(12), Span(8, 12), OP), "HCR_EL2.IMO = FMO = 1, ICH_HCR_EL2.TC = TALL0 = TALL1 = 0", "they reach the virtual CPU interface"),
    given(Own, "ICC_PMR_EL1", one(3, 0, 4, 6, 0), "HCR_EL2.IMO = FMO = 1, ICH_HCR_EL2.TC = 0", "it reaches the virtual CPU interface"),

    // Timers.
    given(Own, "generic timer", many(3, is(3), is(14), Span(0, 3), OP), "CNTHCTL_EL2.EL1PCTEN = EL1PCEN = 1, EL1TVT = EL1TVCT = EL1NVPCT = 0", OWN_CPU),
    given(Further("the event stream ends a WFE at EL2, whose loops read again what they wait for"), "CNTKCTL_EL1", one(3, 0, 14, 1, 0), "no control", OWN_CPU),

    // PMU.
    line(Undefined, "PMZR_EL0", one(3, 3, 9, 13, 4), "HDFGWTR2_EL2.nPMZR_EL0 = 0", PMU_9),
    line(Undefined, "PMICNTR_EL0", one(3, 3, 9, 4, 0), "HDFGRTR2_EL2.nPMICNTR_EL0 = 0", PMU_9),
    line(Undefined, "PMICFILTR_EL0", one(3, 3, 9, 6, 0), "HDFGRTR2_EL2.nPMICFILTR_EL0 = 0", PMU_9),
    line(Undefined, "PMSSCR_EL1", one(3, 0, 9, 13, 3), "HDFGRTR2_EL2.nPMSSCR_EL1 = 0", PMU_9),
    line(Undefined, "PMUACR_EL1, PMECR_EL1", many(3, is(0), is(9), is(14), Span(4, 5)), "HDFGRTR2_EL2.nPMUACR_EL1 = nPMECR_EL1 = 0", PMU_9),
    line(Undefined, "PMIAR_EL1", one(3, 0, 9, 14, 7), "HDFGRTR2_EL2.nPMIAR_EL1 = 0", PMU_9),
    line(Undefined, "PMU snapshots", many(2, is(0), is(14), Span(8, 12), OP), "HDFGRTR2_EL2.nPMSSDATA = 0", PMU_9),
    line(Undefined, "system PMU", many(2, is(0), is(9), Span(13, 14), OP), "MDCR_EL2.EnSPM = 0", SPMU),
    line(Undefined, "system PMU", many(2, is(3), is(9), CR, OP), "MDCR_EL2.EnSPM = 0", SPMU),
    line(Undefined, "system PMU", many(2, is(3), is(14), CR, OP), "MDCR_EL2.EnSPM = 0", SPMU),
    line(Undefined, "SPMSCR_EL1", one(2, 7, 9, 14, 7), "MDCR_EL2.EnSPM = 0", SPMU),
    given(Further(PMU), "PMU", many(3, is(3), is(9), Span(12, 14), OP), "MDCR_EL2.TPM = TPMCR = 0, HPMN = PMCR_EL0.N", "the counters are the CPU's; at EL2 they stand still from FEAT_PMUv3p1 on"),
    given(Further(PMU), "PMU event counters", many(3, is(3), is(14), Span(8, 15), OP), "MDCR_EL2.TPM = 0", "the counters are the CPU's; at EL2 they stand still from FEAT_PMUv3p1 on"),
    given(Own, "PMINTENSET_EL1, PMINTENCLR_EL1, PMMIR_EL1", many(3, is(0), is(9), is(14), Span(1, 6)), "MDCR_EL2.TPM = 0", OWN_CPU),

    // Debug and trace.
    line(Undefined, "MDSELR_EL1", one(2, 0, 0, 4, 2), "MDCR_EL2.EBWE = 0", "ID_AA64DFR0_EL1.DebugVer is shown as 8.8"),
    line(Undefined, "MDSTEPOP_EL1", one(2, 0, 0, 5, 2), "MDCR_EL2.EnSTEPOP = 0", STAGE1),
    line(Virtual, "OSLAR_EL1, OSLSR_EL1", many(2, is(0), is(1), Span(0, 1), is(4)), "MDCR_EL2.TDOSA = 1", OS_LOCK),
    line(Virtual, "OSDLR_EL1, DBGPRCR_EL1", many(2, is(0), is(1), Span(3, 4), is(4)), "MDCR_EL2.TDOSA = 1", OS_LOCK),
    given(Further(DEBUGGER), "debug registers, debug communication channel", many(2, is(0), CR, CR, OP), "MDCR_EL2.TDE = TDRA = TDCC = 0, TDA while the virtual OS lock is locked", "self-hosted debug is the guest's; with the CPU's OS lock open, none of its fields acts at EL2"),
    given(Own, "DBGDTR_EL0, MDCCSR_EL0", many(2, is(3), CR, CR, OP), "MDCR_EL2.TDCC = 0, TDA while the virtual OS lock is locked", "self-hosted debug is the guest's"),
    line(Undefined, "trace unit and branch record buffer", many(2, is(1), CR, CR, OP), "CPTR_EL2.TTA = 1, HDFGRTR_EL2.nBRBDATA = nBRBCTL = nBRBIDR = 0", "trace may leave the CPU; hidden"),
    line(Undefined, "branch record instructions", many(1, is(1), is(7), is(2), Span(4, 5)), "HFGITR_EL2.nBRBIALL = nBRBINJ = 0", "trace may leave the CPU; hidden"),
    line(Undefined, "TRCITECR_EL1", one(3, 0, 1, 2, 3), "HDFGRTR2_EL2.nTRCITECR_EL1 = 0", "trace may leave the CPU; hidden"),
    line(Undefined, "TRFCR_EL1", one(3, 0, 1, 2, 1), "MDCR_EL2.TTRF = 1", "trace may leave the CPU; hidden"),
    line(Undefined, "statistical profiling", many(3, is(0), is(9), is(9), OP), "MDCR_EL2.TPMS = 1", SPE),
    line(Undefined, "profiling buffer", many(3, is(0), is(9), is(10), OP), "MDCR_EL2.E2PB = 0", SPE),
    line(Undefined, "trace buffer", many(3, is(0), is(9), is(11), OP), "MDCR_EL2.E2TB = 0", TRBE),

    // Implementation defined.
    line(Undefined, "IMPLEMENTATION DEFINED registers", many(3, OP, is(11), CR, OP), "HCR_EL2.TIDCP = 1", "they control the board's caches and the core itself"),
    line(Undefined, "IMPLEMENTATION DEFINED registers", many(3, OP, is(15), CR, OP), "HCR_EL2.TIDCP = 1", "they control the board's caches and the core itself"),
    line(Undefined, "IMPLEMENTATION DEFINED instructions", many(1, OP, is(11), CR, OP), "HCR_EL2.TIDCP = 1", "they reach into caches and TLBs"),
    line(Undefined, "IMPLEMENTATION DEFINED instructions", many(1, OP, is(15), CR, OP), "HCR_EL2.TIDCP = 1", "they reach into caches and TLBs"),

    // Extensions that are hidden.
    line(Undefined, "activity monitors", many(3, is(3), is(13), Span(2, 15), OP), "CPTR_EL2.TAM = 1", AMU),
    line(Undefined, "SMPRI_EL1", one(3, 0, 1, 2, 4), "CPTR_EL2.TSM = 1", SME),
    line(Undefined, "SMCR_EL1", one(3, 0, 1, 2, 6), "CPTR_EL2.TSM = 1", SME),
    line(Undefined, "SVCR", one(3, 3, 4, 2, 2), "CPTR_EL2.TSM = 1", SME),
    line(Undefined, "TPIDR2_EL0", one(3, 3, 13, 0, 5), "HFGRTR_EL2.nTPIDR2_EL0 = 0", SME),
    line(Undefined, "RGSR_EL1", one(3, 0, 1, 0, 5), "HCR_EL2.ATA = 0", MTE),
    line(Undefined, "GCR_EL1", one(3, 0, 1, 0, 6), "HCR_EL2.ATA = 0", MTE),
    line(Undefined, "TFSR_EL1", one(3, 0, 5, 6, 0), "HCR_EL2.ATA = 0", MTE),
    line(Undefined, "TFSRE0_EL1", one(3, 0, 5, 6, 1), "HCR_EL2.ATA = 0", MTE),
    line(Undefined, "SCXTNUM_EL1", one(3, 0, 13, 0, 7), "HCR_EL2.EnSCXT = 0", SOFTWARE_CONTEXT),
    line(Undefined, "SCXTNUM_EL0", one(3, 3, 13, 0, 7), "HCR_EL2.EnSCXT = 0", SOFTWARE_CONTEXT),
    line(Undefined, "ERXPFGF_EL1", one(3, 0, 5, 4, 4), "HCR_EL2.FIEN = 0", RAS),
    line(Undefined, "ERXPFGCTL_EL1", one(3, 0, 5, 4, 5), "HCR_EL2.FIEN = 0", RAS),
    line(Undefined, "ERXPFGCDN_EL1", one(3, 0, 5, 4, 6), "HCR_EL2.FIEN = 0", RAS),
    line(Undefined, "MPAM identification", many(3, is(0), is(10), is(4), Span(4, 5)), "MPAMHCR_EL2.TRAP_MPAMIDR_EL1 = 1", MPAM),
    line(Undefined, "MPAM", many(3, is(0), is(10), is(5), OP), "MPAM2_EL2.TRAPMPAM0EL1 = TRAPMPAM1EL1 = 1", MPAM),
    line(Undefined, "FPMR", one(3, 3, 4, 4, 2), "HCRX_EL2.EnFPM = 0", "FP8 is hidden"),
    line(Undefined, "masks of system registers", many(3, is(0), is(1), is(4), OP), "HCRX_EL2.SRMASKEn = 0", STAGE1),
    line(Undefined, "masks of system registers", many(3, is(0), is(2), is(7), OP), "HCRX_EL2.SRMASKEn = 0", STAGE1),
    line(Undefined, "PFAR_EL1", one(3, 0, 6, 0, 5), "HFGRTR2_EL2.nPFAR_EL1 = 0", STAGE1),
    line(Undefined, "DC CIVAPS", many(1, is(0), is(7), is(15), OP), "HFGITR2_EL2.nDCCIVAPS = 0", "reaches beyond the CPUs; hidden"),
    line(Undefined, "guarded control stack instructions", many(1, is(0), is(7), is(7), Span(4, 6)), "HFGITR_EL2.nGCSEPP = 0", STAGE1),
    line(Undefined, "guarded control stack instructions", many(1, is(3), is(7), is(7), Span(0, 1)), "HFGITR_EL2.nGCSPUSHM_EL1 = 0", STAGE1),
    line(Undefined, "SCTLR2_EL1", one(3, 0, 1, 0, 3), "HCRX_EL2.SCTLR2En = 0", STAGE1),
    line(Undefined, "TCR2_EL1", one(3, 0, 2, 0, 3), "HCRX_EL2.TCR2En = 0", STAGE1),
    line(Undefined, "guarded control stack", many(3, is(0), is(2), is(5), OP), "HFGRTR_EL2.nGCS_EL1 = 0", STAGE1),
    line(Undefined, "GCSPR_EL0", one(3, 3, 2, 5, 1), "HFGRTR_EL2.nGCS_EL0 = 0", STAGE1),
    line(Undefined, "permission indirection and overlay", many(3, is(0), is(10), is(2), Span(1, 5)), "HFGRTR_EL2.nPIR_EL1 = nPIRE0_EL1 = nPOR_EL1 = nS2POR_EL1 = nMAIR2_EL1 = 0", STAGE1),
    line(Undefined, "POR_EL0", one(3, 3, 10, 2, 4), "HFGRTR_EL2.nPOR_EL0 = 0", STAGE1),
    line(Undefined, "AMAIR2_EL1", one(3, 0, 10, 3, 1), "HFGRTR_EL2.nAMAIR2_EL1 = 0", STAGE1),
    line(Undefined, "RCWSMASK_EL1", one(3, 0, 13, 0, 3), "HFGRTR2_EL2.nRCWSMASK_EL1 = 0", STAGE1),
    line(Undefined, "ACCDATA_EL1", one(3, 0, 13, 0, 5), "HFGRTR_EL2.nACCDATA_EL1 = 0", "LS64 is hidden"),
    line(Undefined, "RCWMASK_EL1", one(3, 0, 13, 0, 6), "HFGRTR_EL2.nRCWMASK_EL1 = 0", STAGE1),

    // Memory management, caches, the rest of the CPU.
    given(Further("it reaches caches that CPUs share: a contention, and no line is lost"), "set/way cache maintenance", many(1, is(0), is(7), CR, is(2)), "HCR_EL2.TSW = 0, SWIO = 1", "cleans as it invalidates: no line of another's is lost"),
    given(Own, "address translation", many(1, is(0), is(7), Span(8, 9), OP), "HCR_EL2.AT = 0", "stage 1 only, the guest's own"),
    given(Own, "DC ZVA", one(1, 3, 7, 4, 1), "HCR_EL2.TDZ = 0", "by address, through the guest's own translation"),
    given(Own, "prediction restriction", many(1, is(3), is(7), is(3), Span(4, 7)), "HFGITR_EL2.CFPRCTX = DVPRCTX = CPPRCTX = COSPRCTX = 0", OWN_CPU),
    given(Further("it reaches the caches of other CPUs: a contention, and no line is lost"), "cache maintenance", many(1, OP, is(7), CR, OP), "HCR_EL2.TPCP = TPU = TICAB = TOCU = 0", "by address, through the guest's own translation"),
    given(Further("broadcasts reach the TLBs of other CPUs, where they find the VMID of this guest only"), "TLB maintenance", many(1, is(0), Span(8, 9), CR, OP), "HCR_EL2.TTLB = TTLBIS = TTLBOS = 0", "reaches the guest's VMID only"),
    given(Own, "virtual memory control", many(3, is(0), is(2), is(0), OP), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    line(Fixed, "ACTLR_EL1", one(3, 0, 1, 0, 1), "HCR_EL2.TACR = 1", "IMPLEMENTATION DEFINED, so it may act at EL2"),
    given(Own, "SCTLR_EL1, CPACR_EL1", many(3, is(0), is(1), is(0), Span(0, 2)), "HCR_EL2.TVM = 0, CPTR_EL2.TCPAC = 0", OWN_CPU),
    given(Own, "AFSR0_EL1, AFSR1_EL1, ESR_EL1", many(3, is(0), is(5), Span(1, 2), OP), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    given(Own, "FAR_EL1", one(3, 0, 6, 0, 0), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    given(Own, "PAR_EL1", one(3, 0, 7, 4, 0), "HFGRTR_EL2.PAR_EL1 = 0", OWN_CPU),
    given(Own, "MAIR_EL1", one(3, 0, 10, 2, 0), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    given(Own, "AMAIR_EL1", one(3, 0, 10, 3, 0), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    given(Own, "VBAR_EL1", one(3, 0, 12, 0, 0), "HFGRTR_EL2.VBAR_EL1 = 0", OWN_CPU),
    given(Own, "ISR_EL1, DISR_EL1", many(3, is(0), is(12), is(1), Span(0, 1)), "HCR_EL2.IMO = FMO = AMO = 1", "they tell of virtual interrupts and of virtual SErrors"),
    given(Own, "CONTEXTIDR_EL1", one(3, 0, 13, 0, 1), "HCR_EL2.TVM = TRVM = 0", OWN_CPU),
    given(Own, "TPIDR_EL1", one(3, 0, 13, 0, 4), "HFGRTR_EL2.TPIDR_EL1 = 0", OWN_CPU),
    given(Own, "TPIDR_EL0, TPIDRRO_EL0", many(3, is(3), is(13), is(0), Span(2, 3)), "HFGRTR_EL2.TPIDR_EL0 = TPIDRRO_EL0 = 0", OWN_CPU),
    given(Own, "ALLINT, PM", many(3, is(0), is(4), is(3), Span(0, 1)), "HCRX_EL2.TALLINT = 0", "mask what never comes to a guest; no control takes reads of them"),
    given(Further("they apply at EL2 too, which has no floating-point instruction"), "FPCR, FPSR", many(3, is(3), is(4), is(4), Span(0, 1)), "CPTR_EL2.TFP = 0", "EL2 is built without floating point"),
    given(Own, "ZCR_EL1", one(3, 0, 1, 2, 0), "CPTR_EL2.TZ = 0, ZCR_EL2 at its largest", OWN_CPU),
    given(Further("EL2 has no keys of its own and uses none: SCTLR_EL2.{EnIA, EnIB, EnDA, EnDB} are 0"), "pointer authentication keys", many(3, is(0), is(2), Span(1, 3), OP), "HCR_EL2.APK = 1", OWN_CPU),
    line(Empty, "error records", many(3, is(0), is(5), Span(3, 5), OP), "HCR_EL2.TERR = 1", "some records are those of caches that several CPUs share: a guest finds none (ERRIDR_EL1.NUM = 0)"),
    line(Undefined, "LORegions", many(3, is(0), is(10), is(4), OP), "HCR_EL2.TLOR = 1", "they are ranges of physical addresses"),
];
