// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's own timer (Arm ARM, CNTHP_CTL_EL2, CNTHP_CVAL_EL2), one a CPU: it has the CPU look after its partition in time, and come by
//! for the board's watchdog.

use crate::alive;
use crate::cpu::Cpu;
use crate::registers::isb;
use crate::system::System;
use crate::{read_register, write_register};
use core::sync::atomic::Ordering::Relaxed;

/// The system counter.
pub fn now() -> u64 {
    // The counter may be read early otherwise (Arm ARM, D12.1.2).
    isb();
    read_register!("cntpct_el0")
}

/// Counts in so many milliseconds.
pub fn counts(milliseconds: u64) -> u64 {
    read_register!("cntfrq_el0").saturating_mul(milliseconds) / 1000
}

/// Whole milliseconds in so many counts.
pub fn milliseconds(counts: u64) -> u64 {
    counts.saturating_mul(1000).checked_div(read_register!("cntfrq_el0")).unwrap_or(0)
}

/// Microseconds since the counter was zero.
pub fn microseconds() -> u64 {
    let (now, frequency) = (now(), read_register!("cntfrq_el0"));
    let in_second = now.checked_rem(frequency).unwrap_or(0).saturating_mul(1_000_000);
    let [seconds, rest] = [now, in_second].map(|counts| counts.checked_div(frequency).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(rest)
}

/// Interrupts this CPU when the counter has come to `deadline`, or at once if it is past that; earlier where `cpu`,
/// which is this one, must come by before.
pub fn set(system: &System, cpu: &Cpu, deadline: u64) {
    program(next(system, cpu).map_or(deadline, |next| next.min(deadline)));
}

/// When this CPU must come by, or go on with the console.
fn next(system: &System, cpu: &Cpu) -> Option<u64> {
    let console = match cpu.console_due.load(Relaxed) {
        0 => None,
        due => Some(due),
    };
    match (alive::next(system, cpu), console) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Has this CPU go on with the console in a while: until all that was put in before `mark` has left, and its partition's
/// ring is empty. No two CPUs that send at once keep step, so that none is always too late.
pub fn set_console(system: &System, cpu: &Cpu, mark: u64) {
    cpu.console_mark.fetch_max(mark, Relaxed);
    if system.timer.is_none() || cpu.console_due.load(Relaxed) != 0 {
        return;
    }
    let (now, millisecond) = (now(), counts(1));
    // Any bits that differ from one time to the next.
    let spread = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let due =
        now.saturating_add(millisecond / 2).saturating_add(spread.checked_rem(millisecond).unwrap_or(0));
    cpu.console_due.store(due.max(1), Relaxed);
    let is_set = read_register!("cnthp_ctl_el2") & 1 != 0 && read_register!("cnthp_cval_el2") <= due;
    if !is_set {
        program(due);
    }
}

/// Whether this CPU is to go on with the console now; it is not said twice.
pub fn console_is_due(cpu: &Cpu) -> bool {
    let due = cpu.console_due.load(Relaxed);
    let is_due = due != 0 && due <= now();
    if is_due {
        cpu.console_due.store(0, Relaxed);
    }
    is_due
}

fn program(deadline: u64) {
    // SAFETY: EL2's own timer, which interrupts and does no more.
    unsafe {
        write_register!("cnthp_cval_el2", deadline);
        write_register!("cnthp_ctl_el2", 1);
    }
    isb();
}

/// Lets it rest, until this CPU must come by.
pub fn rest(system: &System, cpu: &Cpu) {
    if let Some(next) = next(system, cpu) {
        return program(next);
    }
    // SAFETY: as in `program`.
    unsafe { write_register!("cnthp_ctl_el2", 0) };
    isb();
}
