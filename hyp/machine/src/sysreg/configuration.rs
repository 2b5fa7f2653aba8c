// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values of the EL2 registers that decide what a guest's registers trap to. What they leave
//! untrapped belongs to the guest: a vCPU owns its CPU, so nothing is saved and nobody else can see it.
//!
//! Where FEAT_FGT is there, HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2 and HDFGWTR_EL2 are zero: their positive
//! bits trap nothing more, their negative bits (`n...`) trap what comes with features that are hidden.
//! FEAT_FGT2's HFGRTR2_EL2 and its like are zero too. HSTR_EL2 is zero. [`super::CONTROLS`] goes through all bits.

/// HCR_EL2 (Arm ARM). E2H and TGE are 0: EL2 is not a host.
pub const HCR_EL2: u64 =
    VM | SWIO | FMO | IMO | AMO | TID1 | TID3 | TSC | TIDCP | TACR | RW | TLOR | TERR | APK | API | TID5;

/// Stage 2 translation.
const VM: u64 = 1 << 0;
/// Set/way invalidation also cleans: a guest that boots with caches off cannot drop another's dirty line.
const SWIO: u64 = 1 << 1;
/// Physical FIQs come to EL2; SGIs through ICC registers trap.
const FMO: u64 = 1 << 3;
/// Physical IRQs come to EL2; SGIs through ICC registers trap.
const IMO: u64 = 1 << 4;
/// Physical SErrors come to EL2, which passes on the guest's own.
const AMO: u64 = 1 << 5;
/// REVIDR_EL1, AIDR_EL1 and SMIDR_EL1 trap: the last is SME's.
const TID1: u64 = 1 << 16;
/// ID registers trap.
const TID3: u64 = 1 << 18;
/// SMC traps.
const TSC: u64 = 1 << 19;
/// IMPLEMENTATION DEFINED registers trap.
const TIDCP: u64 = 1 << 20;
/// ACTLR_EL1 traps: it is IMPLEMENTATION DEFINED.
const TACR: u64 = 1 << 21;
/// EL1 is AArch64.
const RW: u64 = 1 << 31;
/// LORegions' registers trap: they hold physical addresses.
const TLOR: u64 = 1 << 35;
/// Error records trap: those of a cluster's shared caches are reached through the same registers.
const TERR: u64 = 1 << 36;
/// Pointer authentication's keys do not trap.
const APK: u64 = 1 << 40;
/// Pointer authentication's instructions do not trap.
const API: u64 = 1 << 41;
/// GMID_EL1 traps: memory tagging is hidden.
const TID5: u64 = 1 << 58;

/// HCRX_EL2, where FEAT_HCX is there: MSCEn lets the guest use FEAT_MOPS. All else that it
/// could enable is hidden.
pub const HCRX_EL2: u64 = 1 << 11;

/// CNTHCTL_EL2: EL1PCTEN and EL1PCEN, the physical counter and timer belong to the guest.
pub const CNTHCTL_EL2: u64 = 0b11;

/// CPTR_EL2 with E2H = 0: TAM, TTA and TSM trap, FP and SVE do not. Bits that are RES1 are 1;
/// TZ is one of them where there is no SVE.
#[must_use]
pub const fn cptr_el2(has_sve: bool) -> u64 {
    const TAM: u64 = 1 << 30;
    const TTA: u64 = 1 << 20;
    const TSM: u64 = 1 << 12;
    const TZ: u64 = 1 << 8;
    const RES1: u64 = 1 << 13 | 1 << 9 | 0xff;
    TAM | TTA | TSM | RES1 | if has_sve { 0 } else { TZ }
}

/// MDCR_EL2: every event counter is the guest's (HPMN) and none counts at EL2 (HPMD, HCCD), from FEAT_PMUv3p1 on;
/// statistical profiling, trace filter and trace buffer trap (TPMS, TTRF, E2PB and E2TB 0); of debug the OS lock does (TDOSA),
/// and while that is locked `OsLock` has all of it trap (TDA).
///
/// `counters` is PMCR_EL0.N, `pmu_version` and `trace_filter` are ID_AA64DFR0_EL1's PMUVer and TraceFilt.
#[must_use]
pub const fn mdcr_el2(counters: u8, pmu_version: u8, profiling_version: u8, trace_filter: u8) -> u64 {
    const TDOSA: u64 = 1 << 10;
    const TPMS: u64 = 1 << 14;
    const HPMD: u64 = 1 << 17;
    const TTRF: u64 = 1 << 19;
    const HCCD: u64 = 1 << 23;
    let has_pmu = pmu_version != 0 && pmu_version != 0xf;
    let hpmn = if has_pmu { counters as u64 & 0x1f } else { 0 };
    // HPMD came with PMUv3p1 (4), HCCD with PMUv3p5 (6); before that the bits are RES0.
    TDOSA
        | hpmn
        | if has_pmu && pmu_version >= 4 { HPMD } else { 0 }
        | if has_pmu && pmu_version >= 6 { HCCD } else { 0 }
        | if profiling_version != 0 { TPMS } else { 0 }
        | if trace_filter != 0 { TTRF } else { 0 }
}
