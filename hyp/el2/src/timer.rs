// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's own timer (Arm ARM, CNTHP_CTL_EL2, CNTHP_CVAL_EL2), one a CPU: it has the CPU look after its partition in time, and come by
//! for the board's watchdog.

use crate::alive;
use crate::cpu::Cpu;
use crate::registers::isb;
use crate::system::System;
use crate::{read_register, write_register};

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
    program(alive::next(system, cpu).map_or(deadline, |next| next.min(deadline)));
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
    if let Some(next) = alive::next(system, cpu) {
        return program(next);
    }
    // SAFETY: as in `program`.
    unsafe { write_register!("cnthp_ctl_el2", 0) };
    isb();
}
