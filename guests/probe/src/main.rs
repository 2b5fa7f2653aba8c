// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that does what a guest must not, or need not, do, and says what came of it.
//!
//! Each probe prints `name: ok` or `name: FAILED` with what it saw; the last line counts them. What is
//! right is what the architecture says of a machine without EL2, so all of it holds natively too, save where
//! a probe is about calls that only a hypervisor serves: those are skipped natively.

#![no_std]
#![no_main]

mod calls;
mod errors;
mod instructions;
mod interrupts;
mod memory;
mod power;
mod registers;
mod report;
mod walks;

use guest_runtime::machine::Machine;
use guest_runtime::{cpu, gic, println};

use report::Report;

guest_runtime::entry!(main);

fn main(machine: &'static Machine) {
    let hypervisor = calls::hypervisor();
    println!(
        "probe: CPU {:#x} of {}, EL{}, GICv{}, {}",
        cpu::mpidr().affinity(),
        machine.cpus().count(),
        cpu::exception_level(),
        gic::get().map_or(0, gic::Gic::version),
        if hypervisor { "under Bulkhead" } else { "not under Bulkhead" },
    );
    interrupts::prepare();
    let mut report = Report::new();
    if machine.number("errors").is_some() {
        errors::probe(&mut report);
        return report.finish();
    }
    calls::probe(&mut report, hypervisor);
    registers::probe(&mut report);
    memory::probe(&mut report, machine);
    instructions::probe(&mut report, machine);
    walks::probe(&mut report, machine, hypervisor);
    interrupts::probe(&mut report, machine);
    power::probe(&mut report, machine, hypervisor);
    report.finish();
}
