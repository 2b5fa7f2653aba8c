// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's own registers. Most fields of them are UNKNOWN after a reset (Arm ARM, the registers' descriptions), and what
//! firmware leaves in them is not promised (Linux, Documentation/arch/arm64/booting.rst). So each is written on every
//! CPU before it matters, or the table says why it never does.
//!
//! The tests compare the table with the architecture's registers, and look up each write in the source.

/// What sees to it that a register holds what EL2 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `init_el2` writes it, before anything else on each CPU.
    Entry,
    /// Written before translation is turned on.
    Translation,
    /// `world` writes it before a vCPU runs.
    Configure,
    /// The GIC's driver writes it as it prepares the CPU, or its list registers.
    Interrupts,
    /// Written with each use of EL2's timer.
    Timer,
    /// An exception to EL2 writes it, before EL2 reads it.
    Exception,
    /// It cannot be written.
    ReadOnly,
    /// It is firmware's to set.
    Firmware,
    /// What it controls is off.
    Off,
}
use Disposition::{Configure, Entry, Exception, Firmware, Interrupts, Off, ReadOnly, Timer, Translation};

/// A register of EL2's.
#[derive(Clone, Copy, Debug)]
pub struct OwnRegister {
    /// Its name.
    pub name: &'static str,
    /// Who writes it, if anyone.
    pub disposition: Disposition,
    /// What is written, on which CPUs; or why it need not be.
    pub reason: &'static str,
}

const fn own(name: &'static str, disposition: Disposition, reason: &'static str) -> OwnRegister {
    OwnRegister { name, disposition, reason }
}

/// All of them, in the order of their encodings.
#[rustfmt::skip]
pub const EL2_REGISTERS: &[OwnRegister] = &[
    own("VPIDR_EL2", Configure, "MIDR_EL1"),
    own("VMPIDR_EL2", Configure, "the vCPU's affinity"),
    own("SCTLR_EL2", Entry, "little endian, translation and caches off; then by `memory::start`"),
    own("ACTLR_EL2", Firmware, "IMPLEMENTATION DEFINED"),
    own("SCTLR2_EL2", Entry, "FEAT_SCTLR2 (ID_AA64MMFR3_EL1.SCTLRX)"),
    own("HCR_EL2", Entry, "E2H and TGE off; then by `world::configure`"),
    own("MDCR_EL2", Entry, "no debug exception at EL2, no trap; then by `world::configure`"),
    own("CPTR_EL2", Entry, "floating point traps; then by `world::configure`"),
    own("HSTR_EL2", Entry, "zero"),
    own("HFGRTR_EL2", Configure, "FEAT_FGT"),
    own("HFGWTR_EL2", Configure, "FEAT_FGT"),
    own("HFGITR_EL2", Configure, "FEAT_FGT"),
    own("HACR_EL2", Entry, "zero"),
    own("ZCR_EL2", Configure, "FEAT_SVE"),
    own("TRFCR_EL2", Off, "E2TRE and E0HTRE are 0 after a reset; a guest's trace registers trap"),
    own("HCRX_EL2", Entry, "FEAT_HCX; then by `world::configure`"),
    own("TRCITECR_EL2", Off, "TRFCR_EL2.E2TRE"),
    own("SMPRIMAP_EL2", Off, "HCRX_EL2.SMPME is 0, and CPTR_EL2.TSM keeps SME from all"),
    own("SMCR_EL2", Off, "CPTR_EL2.TSM keeps SME from all"),
    own("SDER32_EL2", Off, "Secure EL1 in AArch32"),
    own("SCTLRMASK_EL2", Off, "zero after a reset"),
    own("ACTLRMASK_EL2", Off, "zero after a reset"),
    own("CPTRMASK_EL2", Off, "zero after a reset"),
    own("SCTLR2MASK_EL2", Off, "zero after a reset"),
    own("TTBR0_EL2", Translation, "EL2's tables"),
    own("TTBR1_EL2", Off, "HCR_EL2.E2H is 0"),
    own("TCR_EL2", Translation, "one range of addresses"),
    own("TCR2_EL2", Entry, "FEAT_TCR2 (ID_AA64MMFR3_EL1.TCRX): no indirection, no overlays, no second attributes"),
    own("VTTBR_EL2", Configure, "the partition's tables"),
    own("VTCR_EL2", Configure, "stage 2"),
    own("VNCR_EL2", Off, "HCR_EL2.NV2 is 0"),
    own("HDBSSBR_EL2", Off, "VTCR_EL2.HDBSS is 0"),
    own("HDBSSPROD_EL2", Off, "VTCR_EL2.HDBSS is 0"),
    own("HACDBSBR_EL2", Off, "EN is 0 after a reset"),
    own("HACDBSCONS_EL2", Off, "HACDBSBR_EL2.EN"),
    own("GCSCR_EL2", Entry, "FEAT_GCS"),
    own("GCSPR_EL2", Off, "GCSCR_EL2.PCRSEL is 0"),
    own("VSTTBR_EL2", Off, "Secure state"),
    own("VSTCR_EL2", Off, "Secure state"),
    own("TCRMASK_EL2", Off, "zero after a reset"),
    own("TCR2MASK_EL2", Off, "zero after a reset"),
    own("DACR32_EL2", Off, "EL1 is AArch64"),
    own("HDFGRTR2_EL2", Configure, "FEAT_FGT2"),
    own("HDFGWTR2_EL2", Configure, "FEAT_FGT2"),
    own("HFGRTR2_EL2", Configure, "FEAT_FGT2"),
    own("HFGWTR2_EL2", Configure, "FEAT_FGT2"),
    own("HDFGRTR_EL2", Configure, "FEAT_FGT"),
    own("HDFGWTR_EL2", Configure, "FEAT_FGT"),
    own("HAFGRTR_EL2", Off, "CPTR_EL2.TAM takes all that it is about"),
    own("HFGITR2_EL2", Configure, "FEAT_FGT2"),
    own("SPSR_EL2", Exception, ""),
    own("ELR_EL2", Exception, ""),
    own("IFSR32_EL2", Off, "EL1 is AArch64"),
    own("AFSR0_EL2", Exception, ""),
    own("AFSR1_EL2", Exception, ""),
    own("ESR_EL2", Exception, ""),
    own("VSESR_EL2", Configure, "FEAT_RAS: zeroed with the guest's registers"),
    own("FPEXC32_EL2", Off, "EL1 is AArch64"),
    own("TFSR_EL2", Off, "SCTLR_EL2.TCF is 0: no tag is checked"),
    own("FAR_EL2", Exception, ""),
    own("HPFAR_EL2", Exception, ""),
    own("PFAR_EL2", Exception, ""),
    own("PMSCR_EL2", Off, "samples need PMBLIMITR_EL1.E, which is 0 after a reset; a guest's accesses trap"),
    own("BRBCR_EL2", Off, "nothing of what it records can be read: EL2 does not, a guest's accesses trap"),
    own("MAIR2_EL2", Off, "TCR2_EL2.AIE is 0"),
    own("MAIR_EL2", Translation, "EL2's tables"),
    own("PIRE0_EL2", Off, "TCR2_EL2.PIE is 0"),
    own("PIR_EL2", Off, "TCR2_EL2.PIE is 0"),
    own("POR_EL2", Off, "TCR2_EL2.POE is 0"),
    own("S2PIR_EL2", Off, "VTCR_EL2.S2PIE is 0"),
    own("AMAIR_EL2", Entry, "zero"),
    own("AMAIR2_EL2", Off, "TCR2_EL2.AIE is 0"),
    own("MPAMHCR_EL2", Configure, "FEAT_MPAM"),
    own("MPAMVPMV_EL2", Off, "MPAMHCR_EL2.EL0_VPMEN and EL1_VPMEN are 0"),
    own("MPAM2_EL2", Configure, "FEAT_MPAM"),
    own("MPAMVPM0_EL2", Off, "MPAMHCR_EL2.EL0_VPMEN and EL1_VPMEN are 0"),
    own("MPAMVPM1_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM2_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM3_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM4_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM5_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM6_EL2", Off, "as MPAMVPM0_EL2"),
    own("MPAMVPM7_EL2", Off, "as MPAMVPM0_EL2"),
    own("MECID_P0_EL2", Off, "Realm state"),
    own("MECID_A0_EL2", Off, "Realm state"),
    own("MECID_P1_EL2", Off, "Realm state"),
    own("MECID_A1_EL2", Off, "Realm state"),
    own("MECIDR_EL2", ReadOnly, ""),
    own("VMECID_P_EL2", Off, "Realm state"),
    own("VMECID_A_EL2", Off, "Realm state"),
    own("VBAR_EL2", Entry, "the vectors"),
    own("RVBAR_EL2", ReadOnly, ""),
    own("RMR_EL2", Firmware, "it resets the CPU, and is there only where EL2 is the highest level"),
    own("VDISR_EL2", Configure, "FEAT_RAS: zeroed with the guest's registers"),
    own("ICH_AP0R0_EL2", Interrupts, ""),
    own("ICH_AP0R1_EL2", Interrupts, ""),
    own("ICH_AP0R2_EL2", Interrupts, ""),
    own("ICH_AP0R3_EL2", Interrupts, ""),
    own("ICH_AP1R0_EL2", Interrupts, ""),
    own("ICH_AP1R1_EL2", Interrupts, ""),
    own("ICH_AP1R2_EL2", Interrupts, ""),
    own("ICH_AP1R3_EL2", Interrupts, ""),
    own("ICC_SRE_EL2", Interrupts, ""),
    own("ICH_HCR_EL2", Interrupts, ""),
    own("ICH_VTR_EL2", ReadOnly, ""),
    own("ICH_MISR_EL2", ReadOnly, ""),
    own("ICH_EISR_EL2", ReadOnly, ""),
    own("ICH_ELRSR_EL2", ReadOnly, ""),
    own("ICH_VMCR_EL2", Interrupts, ""),
    own("ICH_LR0_EL2", Interrupts, ""),
    own("ICH_LR1_EL2", Interrupts, ""),
    own("ICH_LR2_EL2", Interrupts, ""),
    own("ICH_LR3_EL2", Interrupts, ""),
    own("ICH_LR4_EL2", Interrupts, ""),
    own("ICH_LR5_EL2", Interrupts, ""),
    own("ICH_LR6_EL2", Interrupts, ""),
    own("ICH_LR7_EL2", Interrupts, ""),
    own("ICH_LR8_EL2", Interrupts, ""),
    own("ICH_LR9_EL2", Interrupts, ""),
    own("ICH_LR10_EL2", Interrupts, ""),
    own("ICH_LR11_EL2", Interrupts, ""),
    own("ICH_LR12_EL2", Interrupts, ""),
    own("ICH_LR13_EL2", Interrupts, ""),
    own("ICH_LR14_EL2", Interrupts, ""),
    own("ICH_LR15_EL2", Interrupts, ""),
    own("CONTEXTIDR_EL2", Off, "HCR_EL2.E2H is 0"),
    own("TPIDR_EL2", Entry, "no `Cpu` yet"),
    own("SCXTNUM_EL2", Off, "predictions of EL2 carry any one number, and HCR_EL2.EnSCXT keeps EL1 from choosing one"),
    own("CNTVOFF_EL2", Configure, "the guest's virtual counter begins at zero"),
    own("CNTPOFF_EL2", Off, "CNTHCTL_EL2.ECV is 0"),
    own("CNTHCTL_EL2", Entry, "no event stream; then by `world::configure`"),
    own("CNTHP_TVAL_EL2", Off, "a view of CNTHP_CVAL_EL2"),
    own("CNTHP_CTL_EL2", Entry, "off"),
    own("CNTHP_CVAL_EL2", Timer, ""),
    own("CNTHV_TVAL_EL2", Off, "a view of CNTHV_CVAL_EL2"),
    own("CNTHV_CTL_EL2", Entry, "FEAT_VHE: off"),
    own("CNTHV_CVAL_EL2", Off, "CNTHV_CTL_EL2.ENABLE is 0"),
    own("CNTHVS_TVAL_EL2", Off, "Secure state"),
    own("CNTHVS_CTL_EL2", Off, "Secure state"),
    own("CNTHVS_CVAL_EL2", Off, "Secure state"),
    own("CNTHPS_TVAL_EL2", Off, "Secure state"),
    own("CNTHPS_CTL_EL2", Off, "Secure state"),
    own("CNTHPS_CVAL_EL2", Off, "Secure state"),
    own("DBGVCR32_EL2", Off, "EL1 is AArch64"),
];
