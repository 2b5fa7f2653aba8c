// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that probes the machine, corner by corner, and prints what it finds: one line `name: value` each.
//!
//! It judges nothing. It runs on the bare board at EL1 and as a guest, and `cargo bulkhead test conformance`
//! compares the two outputs: a value may only depend on the machine, never on time or place. Addresses
//! are told by what stands there, durations by comparison.

#![no_std]
#![no_main]

mod birth;
mod calls;
mod code;
mod counters;
mod debug;
mod distributor;
mod endian;
mod faults;
mod interface;
mod interrupts;
mod others;
mod registers;
mod report;
mod sweep;
mod timers;
mod transports;
mod user;
mod vectors;
mod walks;

use guest_runtime::machine::Machine;
use guest_runtime::{power, println};
use interface::Interface;

guest_runtime::entry!(main);

fn main(machine: &'static Machine) {
    // Told to live more than once, it only looks at what a life before has left: the hypervisor's tests count.
    if machine.number("lives").is_some() {
        let gic = Interface::new(machine);
        birth::print(gic.as_ref());
        birth::spoil(gic.as_ref());
        return power::system_reset();
    }
    println!("conformance: begins");
    sweep::probe();
    registers::probe();
    distributor::probe(machine);
    interrupts::probe(machine);
    timers::probe(machine);
    counters::probe(machine);
    debug::probe();
    vectors::probe(machine);
    faults::probe(machine);
    transports::probe();
    walks::probe();
    endian::probe(machine);
    user::probe();
    others::probe(machine);
    calls::probe(machine);
    println!("conformance: {} lines", report::lines());
}
