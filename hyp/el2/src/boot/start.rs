// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting the other CPUs: by the firmware's CPU_ON, or by the spin table that they wait at.

use super::entry;
use crate::console::line;
use crate::cpu::{self, Cpu};
use crate::memory::Window;
use crate::read_register;
use crate::system::System;
use bulkhead_plan::board::Start;
use bulkhead_types::{Hpa, Range};

/// Starts every CPU but `this` that a partition owns. The others stay with the firmware.
pub fn others(system: &'static System, this: &Cpu) {
    cpu::publish(&system.cpus);
    for cpu in system.cpus.iter().filter(|cpu| cpu.owner.is_some() && cpu.mpidr != this.mpidr) {
        if start(system, cpu) {
            wait_for(cpu);
        }
    }
}

/// Sends `cpu` to `_secondary`. If that is not possible, says why.
fn start(system: &System, cpu: &Cpu) -> bool {
    let address = (entry::_secondary as *const ()).addr() as u64;
    match cpu.start {
        Some(Start::SpinTable(at)) => {
            let released = release(at, address).is_some();
            if !released {
                line(format_args!(
                    "error: CPU {} ({:?}): its spin table at {at} cannot be reached",
                    cpu.index, cpu.mpidr
                ));
            }
            released
        }
        Some(Start::Psci) | None => match system.firmware.cpu_on(cpu.mpidr, address, 0) {
            Ok(()) => true,
            Err(error) => {
                line(format_args!(
                    "error: CPU {} ({:?}): the firmware refused to start it: {error}",
                    cpu.index, cpu.mpidr
                ));
                false
            }
        },
    }
}

/// Writes `entry` where a CPU looks for it, with its caches off, and wakes it (Devicetree Specification,
/// 3.8.1; Linux, Documentation/arch/arm64/booting.rst).
fn release(at: Hpa, entry: u64) -> Option<()> {
    let frames = Range::<Hpa>::new(at, size_of::<u64>() as u64)?;
    // SAFETY: a spin table is kept out of everybody's memory (`Board::reserved`, `early::free_range`),
    // and only one window is open on it: CPUs are released one after the other.
    let mut window = unsafe { Window::open(frames) }?;
    // The CPU may look at any time, without an event, and goes to the first address that is not zero.
    window.store_word(entry.to_le())?;
    // Completes the store, to memory.
    drop(window);
    // SAFETY: signals an event, and touches nothing.
    unsafe { core::arch::asm!("sev", options(nostack, preserves_flags)) };
    Some(())
}

/// Waits until `cpu` has come up, for ten seconds by the counter: far more than it needs on a board, and
/// enough under an emulator whose host is busy.
fn wait_for(cpu: &Cpu) {
    let end = read_register!("cntpct_el0").saturating_add(read_register!("cntfrq_el0").saturating_mul(10));
    while !cpu.is_online() {
        if read_register!("cntpct_el0") > end {
            line(format_args!(
                "error: CPU {} ({:?}): started, but it did not come up within ten seconds",
                cpu.index, cpu.mpidr
            ));
            return;
        }
        core::hint::spin_loop();
    }
}
