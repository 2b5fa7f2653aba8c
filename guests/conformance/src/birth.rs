// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine finds in its registers as it starts, and how it leaves them before it asks for a reset: nothing of
//! the life before may show in the next.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::{gic, println, read_register, write_register};

use crate::interface::{ISACTIVER, ISENABLER, ISPENDR, Interface};
use crate::report::Outcome;
use crate::sweep;

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
    "mdscr_el1" <- !(1u64 | 1 << 13);
    "mdccint_el1" <- 3u64 << 29;
    "S2_0_C1_C0_4" <- 0u64; // OSLAR_EL1
    "S2_0_C1_C1_4" <- 0u64; // OSLSR_EL1
    "osdlr_el1" <- 0u64;
    "dbgclaimset_el1" <- 0xffu64;
    "dbgclaimclr_el1" <- 0u64;
    "oseccr_el1" <- ONES;
    "osdtrrx_el1" <- MARK;
    "osdtrtx_el1" <- MARK;
    "dbgbvr0_el1" <- MARK;
    "dbgbcr0_el1" <- 0x1e5u64;
    "dbgwvr0_el1" <- MARK;
    "dbgwcr0_el1" <- 0x1ffdu64;
    "dbgbvr1_el1" <- MARK;
    "dbgbcr1_el1" <- 0x1e5u64;
    "dbgwvr1_el1" <- MARK;
    "dbgwcr1_el1" <- 0x1ffdu64;
    "dbgbvr2_el1" <- MARK;
    "dbgbcr2_el1" <- 0x1e5u64;
    "dbgwvr2_el1" <- MARK;
    "dbgwcr2_el1" <- 0x1ffdu64;
    "dbgbvr3_el1" <- MARK;
    "dbgbcr3_el1" <- 0x1e5u64;
    "dbgwvr3_el1" <- MARK;
    "dbgwcr3_el1" <- 0x1ffdu64;
    "dbgbvr4_el1" <- MARK;
    "dbgbcr4_el1" <- 0x1e5u64;
    "dbgwvr4_el1" <- MARK;
    "dbgwcr4_el1" <- 0x1ffdu64;
    "dbgbvr5_el1" <- MARK;
    "dbgbcr5_el1" <- 0x1e5u64;
    "dbgwvr5_el1" <- MARK;
    "dbgwcr5_el1" <- 0x1ffdu64;
    "dbgbvr6_el1" <- MARK;
    "dbgbcr6_el1" <- 0x1e5u64;
    "dbgwvr6_el1" <- MARK;
    "dbgwcr6_el1" <- 0x1ffdu64;
    "dbgbvr7_el1" <- MARK;
    "dbgbcr7_el1" <- 0x1e5u64;
    "dbgwvr7_el1" <- MARK;
    "dbgwcr7_el1" <- 0x1ffdu64;
    "dbgbvr8_el1" <- MARK;
    "dbgbcr8_el1" <- 0x1e5u64;
    "dbgwvr8_el1" <- MARK;
    "dbgwcr8_el1" <- 0x1ffdu64;
    "dbgbvr9_el1" <- MARK;
    "dbgbcr9_el1" <- 0x1e5u64;
    "dbgwvr9_el1" <- MARK;
    "dbgwcr9_el1" <- 0x1ffdu64;
    "dbgbvr10_el1" <- MARK;
    "dbgbcr10_el1" <- 0x1e5u64;
    "dbgwvr10_el1" <- MARK;
    "dbgwcr10_el1" <- 0x1ffdu64;
    "dbgbvr11_el1" <- MARK;
    "dbgbcr11_el1" <- 0x1e5u64;
    "dbgwvr11_el1" <- MARK;
    "dbgwcr11_el1" <- 0x1ffdu64;
    "dbgbvr12_el1" <- MARK;
    "dbgbcr12_el1" <- 0x1e5u64;
    "dbgwvr12_el1" <- MARK;
    "dbgwcr12_el1" <- 0x1ffdu64;
    "dbgbvr13_el1" <- MARK;
    "dbgbcr13_el1" <- 0x1e5u64;
    "dbgwvr13_el1" <- MARK;
    "dbgwcr13_el1" <- 0x1ffdu64;
    "dbgbvr14_el1" <- MARK;
    "dbgbcr14_el1" <- 0x1e5u64;
    "dbgwvr14_el1" <- MARK;
    "dbgwcr14_el1" <- 0x1ffdu64;
    "dbgbvr15_el1" <- MARK;
    "dbgbcr15_el1" <- 0x1e5u64;
    "dbgwvr15_el1" <- MARK;
    "dbgwcr15_el1" <- 0x1ffdu64;
    "pmuserenr_el0" <- 0xfu64;
    "pmselr_el0" <- 3u64;
    "pmccfiltr_el0" <- 1u64 << 30;
    "pmevtyper0_el0" <- 0x11u64;
    "pmevcntr0_el0" <- 0xffff_0000u64;
    "pmevtyper1_el0" <- 0x11u64;
    "pmevcntr1_el0" <- 0xffff_0000u64;
    "pmevtyper2_el0" <- 0x11u64;
    "pmevcntr2_el0" <- 0xffff_0000u64;
    "pmevtyper3_el0" <- 0x11u64;
    "pmevcntr3_el0" <- 0xffff_0000u64;
    "pmevtyper4_el0" <- 0x11u64;
    "pmevcntr4_el0" <- 0xffff_0000u64;
    "pmevtyper5_el0" <- 0x11u64;
    "pmevcntr5_el0" <- 0xffff_0000u64;
    "pmevtyper30_el0" <- 0x11u64;
    "pmevcntr30_el0" <- 0xffff_0000u64;
    "pmccntr_el0" <- MARK;
    "pmintenset_el1" <- ONES;
    "pmovsset_el0" <- 0x8000_003fu64;
    "pmcntenset_el0" <- ONES;
    "pmcr_el0" <- 1u64 << 6 | 1;
    "S3_0_C2_C1_0" <- MARK; // APIAKeyLo_EL1
    "S3_0_C2_C1_1" <- MARK; // APIAKeyHi_EL1
    "S3_0_C2_C1_2" <- MARK; // APIBKeyLo_EL1
    "S3_0_C2_C1_3" <- MARK; // APIBKeyHi_EL1
    "S3_0_C2_C2_0" <- MARK; // APDAKeyLo_EL1
    "S3_0_C2_C2_1" <- MARK; // APDAKeyHi_EL1
    "S3_0_C2_C2_2" <- MARK; // APDBKeyLo_EL1
    "S3_0_C2_C2_3" <- MARK; // APDBKeyHi_EL1
    "S3_0_C2_C3_0" <- MARK; // APGAKeyLo_EL1
    "S3_0_C2_C3_1" <- MARK; // APGAKeyHi_EL1
    "S3_0_C12_C1_1" <- MARK; // DISR_EL1
    "S3_0_C4_C3_0" <- 1u64 << 13; // ALLINT
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

/// FP, SIMD and SVE, read while CPACR_EL1 lets EL1 use them.
const FLOATING_POINT: &[Register] = registers! {
    "S3_3_C4_C4_0" <- 0x0300_0000u64; // FPCR
    "S3_3_C4_C4_1" <- 0x0800_001fu64; // FPSR
    "S3_0_C1_C2_0" <- 0xfu64; // ZCR_EL1
};

/// The low and the high half of each vector register, added up rotated so that every bit counts.
fn vectors() -> u64 {
    let mut sum = 0u64;
    macro_rules! add {
        ($($n:literal)*) => { $(
            let (low, high): (u64, u64);
            // SAFETY: reads registers.
            unsafe {
                asm!(
                    ".arch_extension simd",
                    concat!("fmov {}, d", $n),
                    concat!("mov {}, v", $n, ".d[1]"),
                    ".arch_extension nosimd",
                    out(reg) low,
                    out(reg) high,
                    options(nomem, nostack)
                );
            }
            sum = sum.rotate_left(1).wrapping_add(low).wrapping_add(high);
        )* };
    }
    add!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    sum
}

/// Fills every vector register.
fn spoil_vectors() {
    macro_rules! fill {
        ($($n:literal)*) => { $(
            // SAFETY: this program keeps nothing in these registers.
            unsafe {
                asm!(
                    ".arch_extension simd",
                    concat!("dup v", $n, ".2d, {}"),
                    ".arch_extension nosimd",
                    in(reg) MARK,
                    options(nomem, nostack)
                );
            }
        )* };
    }
    fill!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

/// Runs `f` with FP, SIMD and SVE at hand, and leaves CPACR_EL1 as it was.
fn with_floating_point(f: impl FnOnce()) {
    let before = read_register!("cpacr_el1");
    // SAFETY: lets this program use registers that its compiler does not.
    unsafe {
        write_register!("cpacr_el1", 3u64 << 20 | 3 << 16);
        asm!("isb", options(nostack));
    }
    f();
    // SAFETY: as it was.
    unsafe {
        write_register!("cpacr_el1", before);
        asm!("isb", options(nostack));
    }
}

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
    with_floating_point(|| {
        for register in FLOATING_POINT {
            println!("birth {}: {}", register.name, Outcome::from(attempt(register.read)));
        }
        println!("birth vectors: {}", Outcome::from(attempt(vectors)));
    });
    sweep::print_births();
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
    with_floating_point(|| {
        for register in FLOATING_POINT {
            let _ = attempt(register.spoil);
        }
        let _ = attempt(spoil_vectors);
    });
    sweep::spoil(MARK);
    for register in registers() {
        let _ = attempt(register.spoil);
    }
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack)) };
}
