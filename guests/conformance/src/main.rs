// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that probes the machine, corner by corner, and prints what it finds: one line `name: value` each.
//!
//! It judges nothing. It runs on the bare board at EL1 and as a guest, and `cargo bulkhead test conformance`
//! compares the two outputs: a value may only depend on the machine, never on time or place. Addresses
//! are told by what stands there, durations by comparison.

#![no_std]
#![no_main]

mod calls;
mod code;
mod counters;
mod debug;
mod distributor;
mod faults;
mod interface;
mod interrupts;
mod others;
mod registers;
mod report;
mod sweep;
mod timers;
mod vectors;

use guest_runtime::machine::Machine;
use guest_runtime::println;

guest_runtime::entry!(main);

fn main(machine: &'static Machine) {
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
    others::probe(machine);
    calls::probe(machine);
    println!("conformance: {} lines", report::lines());
}
