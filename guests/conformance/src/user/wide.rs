// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL0 in AArch64: its exceptions, and what EL1 allows it.

use super::{
    A64, CODE, DATA, DEVICE, DZE, HOLE, ILLEGAL, KERNEL, LDR_W0, LDR_X0, NTWE, NTWI, PRIORITIES, SA0, STR_W0,
    UCI, UCT, UMA, UNMAPPED, run, with_control,
};
use core::arch::asm;
use guest_runtime::{read_register, write_register};

/// Exceptions from AArch64.
pub(super) fn exceptions() {
    run("SVC", A64, 0, &[0xd400_0241]);
    run("HVC", A64, 0, &[0xd400_0002]);
    run("SMC", A64, 0, &[0xd400_0003]);
    run("BRK", A64, 0, &[0xd420_0240]);
    run("UDF", A64, 0, &[0x0000_0007]);
    run("ERET", A64, 0, &[0xd69f_03e0]);
    run("illegal state", A64 | ILLEGAL, 0, &[]);
    run("load", A64, DATA, &[LDR_X0]);
    run("load from EL1's page", A64, KERNEL, &[LDR_X0]);
    run("store to EL1's page", A64, KERNEL, &[STR_W0]);
    run("load from unmapped", A64, UNMAPPED, &[LDR_X0]);
    run("store to code", A64, CODE + 0x100, &[STR_W0]);
    run("load from nothing", A64, HOLE + 8, &[LDR_X0]);
    run("store to nothing", A64, HOLE + 8, &[STR_W0]);
    run("unaligned load", A64, DATA + 1, &[LDR_X0]);
    run("unaligned load from a device", A64, DEVICE + PRIORITIES + 1, &[LDR_W0]);
    run("branch to unaligned", A64, CODE + 2, &[0xd61f_0000]);
    run("branch to data", A64, DATA, &[0xd61f_0000]);
    run("branch to nothing", A64, HOLE, &[0xd61f_0000]);
    run("branch to EL1's page", A64, KERNEL, &[0xd61f_0000]);
    // mov sp, x0; ldr x0, [sp]
    with_control(SA0, 0, || run("misaligned SP", A64, DATA + 8, &[0x9100_001f, 0xf940_03e0]));
    with_control(0, SA0, || run("misaligned SP, unchecked", A64, DATA + 8, &[0x9100_001f, 0xf940_03e0]));
    run("store to a device", A64, DEVICE + PRIORITIES, &[0x5280_0c01, 0xb900_0001]); // mov w1, #0x60; str w1, [x0]
    run("load from a device", A64, DEVICE + PRIORITIES, &[LDR_W0]);
    run("byte from a device", A64, DEVICE + PRIORITIES, &[0x3940_0000]);
    run("load with write-back from a device", A64, DEVICE + PRIORITIES, &[0xb840_4401, 0xaa01_03e0]);
    run("clean", A64, DATA, &[0xd50b_7a20]);
}

/// What EL1 allows EL0 and what not: registers and instructions, with all of it off and on.
pub(super) fn allowed() {
    const SNIPPETS: &[(&str, u32)] = &[
        ("CTR_EL0", 0xd53b_0020),
        ("DCZID_EL0", 0xd53b_00e0),
        ("MIDR_EL1", 0xd538_0000),
        ("ID_AA64PFR0_EL1", 0xd538_0400),
        ("ID_AA64ISAR0_EL1", 0xd538_0600),
        ("TPIDRRO_EL0", 0xd53b_d060),
        ("TPIDR_EL1", 0xd538_d080),
        ("DAIF", 0xd53b_4220),
        ("MSR DAIFSet", 0xd503_41df),
        ("CNTFRQ_EL0", 0xd53b_e000),
        ("CNTV_CTL_EL0", 0xd53b_e320),
        ("CNTP_CTL_EL0", 0xd53b_e220),
        ("PMCR_EL0", 0xd53b_9c00),
        ("PMCCNTR_EL0", 0xd53b_9d00),
        ("PMXEVCNTR_EL0", 0xd53b_9d40),
        ("PMUSERENR_EL0", 0xd53b_9dc0),
        ("DC CVAC", 0xd50b_7a20),
        ("DC CIVAC", 0xd50b_7e20),
        ("DC CVAU", 0xd50b_7b20),
        ("DC IVAC", 0xd508_7620),
        ("DC CISW", 0xd508_7e40),
        ("IC IVAU", 0xd50b_7520),
        ("DC ZVA", 0xd50b_7420),
        ("AT S1E0R", 0xd508_7840),
        ("TLBI VMALLE1", 0xd508_871f),
        ("ICC_PMR_EL1", 0xd538_4600),
        ("MDCCSR_EL0", 0xd533_0100),
        ("OSLSR_EL1", 0xd530_1180),
        ("ADD D0", 0x5ee0_8400),
        ("S3_3_C11_C0_0", 0xd53b_b000),
        ("S3_3_C15_C0_0", 0xd53b_f000),
        ("AMCR_EL0", 0xd53b_d200),
    ];
    /// Counters are volatile: that they can be read is all there is to tell.
    const COUNTERS: &[(&str, u32)] = &[("CNTVCT_EL0", 0xd53b_e040), ("CNTPCT_EL0", 0xd53b_e020)];
    let timers = read_register!("cntkctl_el1");
    let has_pmu = matches!(read_register!("id_aa64dfr0_el1") >> 8 & 0xf, 1..=0xe);
    let all = UMA | DZE | UCT | NTWI | NTWE | UCI;
    let wait = |what: &str| {
        run(format_args!("{what}: WFE"), A64, 0, &[0xd503_209f, 0xd503_205f]); // SEVL first
        for (name, instruction) in SNIPPETS.iter().filter(|(name, _)| has_pmu || !name.starts_with("PM")) {
            run(format_args!("{what}: {name}"), A64, DATA, &[*instruction]);
        }
        for (name, instruction) in COUNTERS {
            run(format_args!("{what}: {name}"), A64, 0, &[*instruction, 0xd280_0020]); // mov x0, #1
        }
    };
    let set = |timers: u64, counters: u64| {
        // SAFETY: what EL0 may reach; nothing but snippets runs there.
        unsafe {
            write_register!("cntkctl_el1", timers);
            if has_pmu {
                write_register!("pmuserenr_el0", counters);
            }
            asm!("isb", options(nostack));
        }
    };
    set(0, 0);
    with_control(0, all, || wait("forbidden"));
    set(0x303, 0xf);
    with_control(all, 0, || wait("allowed"));
    set(timers, 0);
}
