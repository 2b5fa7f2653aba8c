// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The PMU: what counts, when, and its overflow interrupt (Arm ARM, D13).

use core::arch::asm;

use guest_runtime::machine::Machine;
use guest_runtime::{read_register, write_register};

use crate::interface::{ICENABLER, ISENABLER, ISPENDR, Interface};
use crate::report::{number, whether};

const CYCLES: u64 = 1 << 31;
/// PMCR_EL0.E.
const ENABLE: u64 = 1;
/// PMCR_EL0.P and C: counters to zero.
const RESET: u64 = 0b110;
/// PMCR_EL0.LC: the cycle counter overflows at 64 bits.
const LONG: u64 = 1 << 6;
const SW_INCR: u64 = 0;

macro_rules! set {
    ($($register:literal <- $value:expr;)*) => {
        // SAFETY: the PMU is this program's own, and its interrupt is masked.
        unsafe {
            $( write_register!($register, $value); )*
            asm!("isb", options(nostack));
        }
    };
}

/// Something to count.
fn work() {
    for number in 0..100 {
        core::hint::black_box(number);
    }
}

fn cycles() -> u64 {
    read_register!("pmccntr_el0")
}

/// Probes.
pub fn probe(machine: &Machine) {
    if !matches!(read_register!("id_aa64dfr0_el1") >> 8 & 0xf, 1..=0xe) {
        return;
    }
    number("PMU: identity", read_register!("pmcr_el0"));
    number("PMU: common events 0", read_register!("pmceid0_el0"));
    number("PMU: common events 1", read_register!("pmceid1_el0"));
    set! {
        "pmcr_el0" <- RESET | LONG;
        "pmcntenclr_el0" <- u64::from(u32::MAX);
        "pmovsclr_el0" <- u64::from(u32::MAX);
        "pmccfiltr_el0" <- 0;
    }
    number("PMU: cycles after reset", cycles());
    set!("pmcntenset_el0" <- CYCLES;);
    work();
    number("PMU: cycles while off", cycles());
    set!("pmcr_el0" <- ENABLE | LONG;);
    let before = cycles();
    work();
    whether("PMU: cycles go on", cycles() > before);
    // PMCCFILTR_EL0.P: not at EL1.
    set!("pmccfiltr_el0" <- 1u64 << 31;);
    let before = cycles();
    work();
    number("PMU: cycles not at EL1", cycles() - before);
    set!("pmccfiltr_el0" <- 0;);
    software_increments();
    overflow(machine);
    set! {
        "pmcr_el0" <- RESET;
        "pmcntenclr_el0" <- u64::from(u32::MAX);
        "pmintenclr_el1" <- u64::from(u32::MAX);
        "pmovsclr_el0" <- u64::from(u32::MAX);
    }
}

fn software_increments() {
    set! {
        "pmevtyper0_el0" <- SW_INCR;
        "pmevtyper1_el0" <- SW_INCR;
        "pmcntenset_el0" <- 0b01u64;
    }
    for _ in 0..5 {
        set!("pmswinc_el0" <- 0b11u64;);
    }
    number("PMU: increments of an enabled counter", read_register!("pmevcntr0_el0"));
    number("PMU: increments of a disabled counter", read_register!("pmevcntr1_el0"));
    let counters = read_register!("pmcr_el0") >> 11 & 0x1f;
    number("PMU: counters", counters);
    set!("pmselr_el0" <- counters - 1;);
    set!("pmxevtyper_el0" <- SW_INCR;);
    set!("pmcntenset_el0" <- 1u64 << (counters - 1););
    set!("pmswinc_el0" <- 1u64 << (counters - 1););
    number("PMU: increments of the last counter", read_register!("pmxevcntr_el0"));
}

fn overflow(machine: &Machine) {
    let Some(gic) = Interface::new(machine) else { return };
    set! {
        "pmevcntr0_el0" <- 0xffff_ffffu64;
        "pmovsclr_el0" <- u64::from(u32::MAX);
        "pmswinc_el0" <- 1u64;
    }
    number("PMU: overflow status", read_register!("pmovsset_el0"));
    number("PMU: counter after its overflow", read_register!("pmevcntr0_el0"));
    let Some(id) = machine.counters else { return };
    number("PMU: INTID", id);
    gic.set_priority(id, 0xa0);
    gic.set(ISENABLER, id);
    whether("PMU: pending without its enable", gic.is_set(ISPENDR, id));
    number("PMU: IAR without its enable", gic.acknowledge());
    set!("pmintenset_el1" <- 1u64;);
    whether("PMU: pending with its enable", gic.is_set(ISPENDR, id));
    let taken = gic.acknowledge();
    number("PMU: IAR with its enable", taken);
    set!("pmovsclr_el0" <- 1u64;);
    gic.end(taken);
    number("PMU: IAR after its overflow is cleared", gic.acknowledge());
    set!("pmevcntr0_el0" <- 0xffff_ffffu64;);
    set!("pmswinc_el0" <- 1u64;);
    let taken = gic.acknowledge();
    number("PMU: IAR at the next overflow", taken);
    set!("pmovsclr_el0" <- 1u64; "pmintenclr_el1" <- 1u64;);
    gic.end(taken);
    gic.set(ICENABLER, id);
}
