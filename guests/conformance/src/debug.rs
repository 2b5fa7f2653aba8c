// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Self-hosted debug: breakpoints, watchpoints, single step, BRK (Arm ARM, D2).

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::exception::attempt;
use guest_runtime::mmio::read32;
use guest_runtime::{gic, read_register, write_register};

use crate::report::{Outcome, line, number};

/// MDSCR_EL1.
const STEP: u64 = 1 << 0;
const KERNEL: u64 = 1 << 13;
const MONITOR: u64 = 1 << 15;

macro_rules! set {
    ($($register:literal <- $value:expr;)*) => {
        // SAFETY: debug exceptions are expected wherever they are let in.
        unsafe {
            $( write_register!($register, $value); )*
            asm!("isb", options(nostack));
        }
    };
}

struct Watched(UnsafeCell<[u64; 2]>);

// SAFETY: used by the boot CPU alone.
unsafe impl Sync for Watched {}

static WATCHED: Watched = Watched(UnsafeCell::new([0x11, 0x22]));

/// Runs `f` with debug exceptions let in.
fn debugged(f: impl FnOnce() -> u64) -> Outcome {
    Outcome::from(attempt(|| {
        // SAFETY: debug exceptions are expected.
        unsafe { asm!("msr daifclr, #8", "isb", options(nostack)) };
        let result = f();
        // SAFETY: masks them again.
        unsafe { asm!("msr daifset, #8", "isb", options(nostack)) };
        result
    }))
}

/// Probes.
pub fn probe() {
    set!("oslar_el1" <- 0; "osdlr_el1" <- 0; "mdscr_el1" <- MONITOR | KERNEL;);
    breakpoint();
    watchpoints();
    steps();
    // SAFETY: BRK is expected.
    let seen = attempt(|| unsafe { asm!("brk #0x1234", options(nostack)) });
    line("debug: BRK", Outcome::from((0, seen.1)));
    set!("oslar_el1" <- 1;);
    breakpoint_while("locked");
    locks();
    set!("oslar_el1" <- 0; "mdscr_el1" <- 0;);
}

/// What is written under the OS lock, and the double lock.
fn locks() {
    number("debug: MDSCR, locked", read_register!("mdscr_el1"));
    set!("mdscr_el1" <- 0; "mdscr_el1" <- MONITOR | KERNEL;);
    number("debug: MDSCR written, locked", read_register!("mdscr_el1"));
    breakpoint_while("enabled while locked");
    set!("oslar_el1" <- 0;);
    number("debug: MDSCR written while locked, unlocked", read_register!("mdscr_el1"));
    breakpoint_while("enabled while locked, unlocked");
    set!("osdlr_el1" <- 1;);
    breakpoint_while("double lock");
    number("debug: OSDLR", read_register!("osdlr_el1"));
    set!("osdlr_el1" <- 0;);
    breakpoint_while("double lock unlocked");
}

fn breakpoint() {
    breakpoint_while("unlocked");
    set!("mdscr_el1" <- KERNEL;);
    breakpoint_while("monitor debug off");
    set!("mdscr_el1" <- MONITOR;);
    breakpoint_while("kernel debug off");
    set!("mdscr_el1" <- MONITOR | KERNEL;);
}

fn breakpoint_while(what: &str) {
    let seen = debugged(|| {
        let value;
        // SAFETY: the breakpoint is on the `add`, which the exception skips. BAS all, PMC EL1, enabled.
        unsafe {
            asm!(
                "adr {place}, 2f",
                "msr dbgbvr0_el1, {place}",
                "mov {place}, #0x1e3",
                "msr dbgbcr0_el1, {place}",
                "isb",
                "mov {value}, #1",
                "2: add {value}, {value}, #1",
                "msr dbgbcr0_el1, xzr",
                "isb",
                place = out(reg) _,
                value = out(reg) value,
                options(nostack)
            );
        }
        value
    });
    line(format_args!("debug: breakpoint, {what}"), seen);
}

fn watchpoints() {
    let place = WATCHED.0.get() as usize;
    // BAS, LSC and PAC of DBGWCR: loads, stores, both; one word of the double word.
    for (name, control, offset) in [
        ("load, watching loads", 0xff << 5 | 1 << 3, 0),
        ("load, watching stores", 0xff << 5 | 2 << 3, 0),
        ("load, watching the other word", 0xf0 << 5 | 3 << 3, 0),
        ("load, beside", 0xff << 5 | 3 << 3, 8),
    ] {
        set!("dbgwvr0_el1" <- place; "dbgwcr0_el1" <- control | 0b11 << 1 | 1u64;);
        // SAFETY: memory of this file.
        let seen = debugged(|| unsafe { read32(place + offset) }.into());
        set!("dbgwcr0_el1" <- 0;);
        let told = seen.0.map_err(|taken| taken.far as usize == place);
        line(format_args!("debug: watchpoint, {name}"), seen);
        line(format_args!("debug: watchpoint, {name}: FAR"), format_args!("{told:?}"));
    }
    // An access to a device that a hypervisor may emulate.
    if let Some(gic) = gic::get() {
        let device = gic.distributor();
        set!("dbgwvr0_el1" <- device; "dbgwcr0_el1" <- 0xf0 << 5 | 3 << 3 | 0b11 << 1 | 1u64;);
        // SAFETY: GICD_TYPER.
        let seen = debugged(|| unsafe { read32(device + 4) }.into());
        set!("dbgwcr0_el1" <- 0;);
        line("debug: watchpoint, a device", seen);
    }
}

/// One instruction, then the exception: MDSCR_EL1.SS is off again when it returns, behind the instruction.
fn step(name: &str, target: usize, argument: usize) {
    let seen = Outcome::from(attempt(|| {
        // SAFETY: the exception return goes to the function with PSTATE.SS set and D clear; after one
        // instruction the step exception returns behind it. The function returns to here, where D is set again.
        unsafe {
            write_register!("mdscr_el1", MONITOR | KERNEL | STEP);
            asm!(
                "isb",
                "mrs {state}, daif",
                "bic {state}, {state}, #0x200",
                "add {state}, {state}, #5",
                "orr {state}, {state}, #(1 << 21)",
                "msr spsr_el1, {state}",
                "msr elr_el1, {target}",
                "adr x30, 2f",
                "eret",
                "2: msr daifset, #8",
                state = out(reg) _,
                target = in(reg) target,
                inout("x0") argument => _,
                out("x1") _, out("x2") _, out("x3") _, out("x30") _,
                options(nostack)
            );
            write_register!("mdscr_el1", MONITOR | KERNEL);
        }
        0
    }));
    let behind = seen.0.err().map(|taken| taken.elr.wrapping_sub(target as u64));
    line(format_args!("debug: step over {name}"), seen);
    number(format_args!("debug: step over {name}: bytes"), behind.unwrap_or(u64::MAX));
}

fn steps() {
    unsafe extern "C" {
        fn stepped_add();
        fn stepped_load();
        fn stepped_branch();
        fn stepped_identity();
    }
    let device = gic::get().map_or(0, |gic| gic.distributor() + 4);
    step("an addition", stepped_add as *const () as usize, 0);
    step("a load from memory", stepped_load as *const () as usize, WATCHED.0.get() as usize);
    step("a load from a device", stepped_load as *const () as usize, device);
    step("a branch", stepped_branch as *const () as usize, 0);
    step("a trapped register", stepped_identity as *const () as usize, 0);
    number("debug: MDSCR at the end", read_register!("mdscr_el1"));
}

core::arch::global_asm!(
    r#"
    .section .text.stepped, "ax"
stepped_add:
    add     x1, x0, #1
    ret
stepped_load:
    ldr     w1, [x0]
    ret
stepped_branch:
    b       1f
    nop
    nop
1:  ret
stepped_identity:
    mrs     x1, id_aa64pfr0_el1
    ret
"#
);
