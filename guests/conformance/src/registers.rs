// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which bits of a register keep what is written to them.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::{gic, read_register, write_register};

use crate::report::{Outcome, line};

/// Zeros, ones, and two patterns.
const ALL: &[u64] = &[0, u64::MAX, 0x5555_5555_5555_5555, 0x0123_4567_89ab_cdef];

/// Writes each value, prints what is read back, and puts the register back as it was.
macro_rules! write_and_read {
    ($($name:literal, $values:expr;)*) => {
        $( write_and_read($name, $values, || read_register!($name), |value| {
            // SAFETY: no such register changes how this program runs before it is put back.
            unsafe {
                write_register!($name, value);
                asm!("isb", options(nostack));
            }
        }); )*
    };
}

fn write_and_read(name: &str, values: &[u64], read: fn() -> u64, write: fn(u64)) {
    let (before, taken) = attempt(read);
    if taken.is_some() {
        return;
    }
    for value in values {
        let seen = attempt(|| {
            write(*value);
            read()
        });
        line(format_args!("{name} <- {value:#x}"), Outcome::from(seen));
    }
    let _ = attempt(|| write(before));
}

/// Probes.
pub fn probe() {
    write_and_read! {
        "tpidr_el0", ALL;
        "tpidrro_el0", ALL;
        "contextidr_el1", ALL;
        "afsr0_el1", ALL;
        "afsr1_el1", ALL;
        "amair_el1", ALL;
        "esr_el1", ALL;
        "far_el1", ALL;
        "elr_el1", ALL;
        "spsr_el1", ALL;
        "vbar_el1", ALL;
        "sp_el0", ALL;
        "actlr_el1", ALL;
        "cpacr_el1", ALL;
        "cntkctl_el1", ALL;
        "par_el1", ALL;
    }
    caches();
    debug();
    if matches!(read_register!("id_aa64dfr0_el1") >> 8 & 0xf, 1..=0xe) {
        counters();
    }
    extensions();
    if gic::get().is_some_and(|gic| gic.version() == 3) {
        interface();
    }
}

/// What each cache is like.
fn caches() {
    for level in 0..14 {
        let seen = attempt(|| {
            // SAFETY: CSSELR_EL1 only selects what CCSIDR_EL1 tells.
            unsafe {
                write_register!("csselr_el1", level);
                asm!("isb", options(nostack));
            }
            read_register!("ccsidr_el1")
        });
        line(format_args!("ccsidr_el1 of {level}"), Outcome::from(seen));
    }
    write_and_read!("csselr_el1", &[0, u64::MAX];);
}

/// Self-hosted debug, with everything that would stop this program left off.
fn debug() {
    /// MDSCR_EL1 without SS and KDE.
    const NO_STEP: u64 = !(1 | 1 << 13);
    /// DBGBCR and DBGWCR without their enable.
    const OFF: u64 = !1;
    write_and_read! {
        "mdscr_el1", &[0, NO_STEP, 1 << 15, 1 << 12];
        "mdccint_el1", &[0, u64::MAX];
        "oseccr_el1", &[0, u64::MAX];
        "osdtrrx_el1", &[0, 0xffff_ffff];
        "osdtrtx_el1", &[0, 0xffff_ffff];
        "dbgprcr_el1", &[0, 1];
        "dbgbvr0_el1", ALL;
        "dbgbcr0_el1", &[0, OFF, 0x1e4];
        "dbgbvr1_el1", ALL;
        "dbgbcr1_el1", &[0, OFF];
        "dbgwvr0_el1", ALL;
        "dbgwcr0_el1", &[0, OFF];
        "dbgwvr1_el1", ALL;
        "dbgwcr1_el1", &[0, OFF];
        "dbgclaimset_el1", &[0, 0xa5, 0xff];
        "dbgclaimclr_el1", &[0x21, 0xff];
    }
    for value in [1, 0] {
        // SAFETY: the OS lock only keeps debug exceptions and a debugger away.
        unsafe {
            write_register!("oslar_el1", value);
            asm!("isb", options(nostack));
        }
        line(
            format_args!("oslsr_el1 after oslar_el1 <- {value}"),
            format_args!("{:#x}", read_register!("oslsr_el1")),
        );
    }
    write_and_read!("osdlr_el1", &[0, 1];);
}

/// The PMU with nothing counting.
fn counters() {
    write_and_read! {
        // D, X, DP, LC, LP and not E, P, C.
        "pmcr_el0", &[0, 0xe8, !7];
        "pmcntenset_el0", ALL;
        "pmcntenclr_el0", ALL;
        "pmintenset_el1", ALL;
        "pmintenclr_el1", ALL;
        "pmovsset_el0", ALL;
        "pmovsclr_el0", ALL;
        "pmuserenr_el0", ALL;
        "pmselr_el0", &[0, 31];
        "pmccfiltr_el0", ALL;
        "pmccntr_el0", ALL;
        "pmevtyper0_el0", ALL;
        "pmevcntr0_el0", ALL;
        "pmevtyper3_el0", ALL;
        "pmevcntr3_el0", ALL;
    }
    for selected in [0, 3, 5, 6, 30, 31] {
        let seen = attempt(|| {
            // SAFETY: the PMU is this program's own, and nothing counts.
            unsafe {
                write_register!("pmselr_el0", selected);
                asm!("isb", options(nostack));
                write_register!("pmxevtyper_el0", 0x11);
                asm!("isb", options(nostack));
            }
            let value = read_register!("pmxevtyper_el0");
            // SAFETY: as above.
            unsafe { write_register!("pmxevtyper_el0", 0) };
            value
        });
        line(format_args!("pmxevtyper_el0 of {selected}"), Outcome::from(seen));
    }
}

/// What came after Armv8.0: absent on many CPUs, and then nothing is said.
fn extensions() {
    write_and_read! {
        "S3_0_C2_C1_0", ALL; // APIAKeyLo_EL1
        "S3_0_C2_C3_1", ALL; // APGAKeyHi_EL1
        "S3_0_C1_C2_0", ALL; // ZCR_EL1
        "S3_0_C1_C2_6", ALL; // SMCR_EL1
        "S3_0_C10_C4_3", &[0]; // LORC_EL1
        "S3_0_C12_C1_1", ALL; // DISR_EL1
        "S3_0_C5_C3_1", ALL; // ERRSELR_EL1
        "S3_0_C1_C0_6", ALL; // GCR_EL1
        "S3_0_C5_C6_0", ALL; // TFSR_EL1
    }
}

/// The GICv3's CPU interface, with nothing pending.
fn interface() {
    write_and_read! {
        "S3_0_C4_C6_0", &[0, 0xff, 0xa7, u64::MAX]; // ICC_PMR_EL1
        "S3_0_C12_C8_3", &[0, 1, 2, 3, 4, 7]; // ICC_BPR0_EL1
        "S3_0_C12_C12_3", &[0, 1, 2, 3, 4, 7]; // ICC_BPR1_EL1
        "S3_0_C12_C12_4", &[0, 1, 2, u64::MAX]; // ICC_CTLR_EL1
        "S3_0_C12_C12_5", &[0, 7, u64::MAX]; // ICC_SRE_EL1
        "S3_0_C12_C12_6", &[0, 1, u64::MAX]; // ICC_IGRPEN0_EL1
        "S3_0_C12_C12_7", &[0, 1, u64::MAX]; // ICC_IGRPEN1_EL1
        "S3_0_C12_C8_4", &[0]; // ICC_AP0R0_EL1
        "S3_0_C12_C9_0", &[0]; // ICC_AP1R0_EL1
    }
}
