// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine finds in its registers as it starts, and how it leaves them before it asks for a reset: nothing of
//! the life before may show in the next.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::{gic, println, read_register, write_register};

use crate::interface::{ISACTIVER, ISENABLER, ISPENDR, Interface};
use crate::report::Outcome;

/// A register: how it is read, and how it is spoiled.
struct Register {
    name: &'static str,
    read: fn() -> u64,
    spoil: fn(),
}

macro_rules! registers {
    ($($name:literal <- $value:expr;)*) => {
        &[$(Register {
            name: $name,
            read: || read_register!($name),
            // SAFETY: what this changes of how the program runs is expected; a reset follows.
            spoil: || unsafe { write_register!($name, $value) },
        }),*]
    };
}

const ONES: u64 = u64::MAX;
/// A pattern for what keeps every bit.
const MARK: u64 = 0x5ec2_e75e_c2e7_5ec2;

/// What the runtime neither sets nor needs, in the order in which it is spoiled.
const REGISTERS: &[Register] = registers! {
    "tpidr_el0" <- MARK;
    "tpidrro_el0" <- MARK;
    "contextidr_el1" <- MARK;
    "par_el1" <- MARK;
    "afsr0_el1" <- MARK;
    "afsr1_el1" <- MARK;
    "amair_el1" <- MARK;
    "actlr_el1" <- MARK;
    "ttbr1_el1" <- MARK;
    "sp_el0" <- MARK;
    "csselr_el1" <- 0b10u64;
    "cpacr_el1" <- 3u64 << 20 | 3 << 16;
    "cntkctl_el1" <- 0x3ffu64;
    "cntv_cval_el0" <- MARK;
    "cntv_ctl_el0" <- 0b11u64;
    "cntp_cval_el0" <- MARK;
    "cntp_ctl_el0" <- 0b11u64;
    "mdscr_el1" <- 1u64 << 12 | 1 << 15;
    "mdccint_el1" <- 3u64 << 29;
    "S2_0_C1_C0_4" <- 0u64; // OSLAR_EL1
    "S2_0_C1_C1_4" <- 0u64; // OSLSR_EL1
    "osdlr_el1" <- 0u64;
    "dbgbcr0_el1" <- 0x1e5u64;
    "dbgbcr1_el1" <- 0x1e5u64;
    "dbgbcr5_el1" <- 0x1e5u64;
    "dbgwcr0_el1" <- 0x1ffdu64;
    "dbgwcr3_el1" <- 0x1ffdu64;
    "pmuserenr_el0" <- 0xfu64;
    "pmselr_el0" <- 3u64;
    "pmccfiltr_el0" <- 1u64 << 30;
    "pmevtyper0_el0" <- 0x11u64;
    "pmevtyper3_el0" <- 0x11u64;
    "pmevcntr0_el0" <- 0xffff_0000u64;
    "pmevcntr3_el0" <- 0xffff_0000u64;
    "pmccntr_el0" <- MARK;
    "pmintenset_el1" <- ONES;
    "pmovsset_el0" <- 0x8000_003fu64;
    "pmcntenset_el0" <- ONES;
    "pmcr_el0" <- 1u64 << 6 | 1;
    "S3_0_C2_C1_0" <- MARK; // APIAKeyLo_EL1
    "S3_0_C2_C1_3" <- MARK; // APIBKeyHi_EL1
    "S3_0_C2_C2_2" <- MARK; // APDBKeyLo_EL1
    "S3_0_C2_C3_1" <- MARK; // APGAKeyHi_EL1
    "S3_0_C10_C4_3" <- 1u64; // LORC_EL1
};

/// The GICv3's CPU interface. The runtime opens it before anything is printed: what it sets is not here.
const INTERFACE: &[Register] = registers! {
    "S3_0_C12_C8_3" <- 5u64; // ICC_BPR0_EL1
    "S3_0_C12_C12_3" <- 5u64; // ICC_BPR1_EL1
    "S3_0_C12_C12_6" <- 1u64; // ICC_IGRPEN0_EL1
    "S3_0_C12_C8_4" <- 0u64; // ICC_AP0R0_EL1
    "S3_0_C12_C9_0" <- 0u64; // ICC_AP1R0_EL1
    "S3_0_C12_C11_3" <- 0u64; // ICC_RPR_EL1
};

/// Interrupts that are spoiled: private and shared.
const INTERRUPTS: [u32; 6] = [3, 20, 27, 40, 41, 55];

fn registers() -> impl Iterator<Item = &'static Register> {
    let is_v3 = gic::get().is_some_and(|gic| gic.version() == 3);
    REGISTERS.iter().chain(INTERFACE.iter().filter(move |_| is_v3))
}

/// Prints them, `birth` in front of each.
pub fn print(gic: Option<&Interface>) {
    for register in registers() {
        println!("birth {}: {}", register.name, Outcome::from(attempt(register.read)));
    }
    let Some(gic) = gic else { return };
    for id in INTERRUPTS {
        let state = [ISENABLER, ISPENDR, ISACTIVER].map(|family| gic.is_set(family, id));
        println!("birth interrupt {id}: {state:?}, priority {:#x}", gic.priority(id));
    }
    println!("birth: all");
}

/// Leaves nothing as it was.
pub fn spoil(gic: Option<&Interface>) {
    if let Some(gic) = gic {
        for id in INTERRUPTS {
            gic.set_priority(id, 0x50);
            gic.set(ISENABLER, id);
            gic.set(ISPENDR, id);
        }
        // One is active, at a running priority.
        println!("birth spoilt: {:#x}", gic.acknowledge());
    }
    for register in registers() {
        let _ = attempt(register.spoil);
    }
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack)) };
}
