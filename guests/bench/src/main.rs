// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that counts, by its own counter, what the things that may leave a guest cost; natively and under a
//! hypervisor alike. docs/bench.md explains how a tick comes to be an instruction.
//!
//! It prints lines `bench: NAME MEDIAN MINIMUM MAXIMUM`, or `bench: NAME absent`, and powers off. Words on its command line:
//! `samples=N` for N measurements of each, `entry-only` to say no more than the count at its first instruction,
//! `neighbour` to wait in silence beside one that measures.

#![no_std]
#![no_main]

mod count;
mod devices;
mod exits;
mod figures;
mod interrupts;
mod vectors;

use dtoolkit::{Node, Property};
use guest_runtime::gic::Gic;
use guest_runtime::machine::Machine;
use guest_runtime::{cpu, gic, println, timer};

use crate::count::timed;
use crate::devices::Clock;
use crate::figures::Report;
use crate::interrupts::Bench;

guest_runtime::entry!(main);

fn main(machine: &'static Machine) {
    let gic = gic::get().expect("the device tree has a GICv2 or GICv3");
    if words(machine).any(|word| word == "neighbour") {
        wait(machine, gic);
        return;
    }
    println!("bench: EL{}, GICv{}", cpu::exception_level(), gic.version());

    println!("bench: entered-at {}", guest_runtime::entry_count());
    if words(machine).any(|word| word == "entry-only") {
        return;
    }
    let samples = words(machine).find_map(|word| word.strip_prefix("samples=")?.parse().ok());

    let report = Report::new(samples.unwrap_or(usize::MAX));
    let cost = (0..8).map(|_| timed!(;)).min().unwrap_or(0);
    let clock = Clock::find(machine);
    exits::calls(&report, cost);
    exits::registers(&report, cost);
    if let Some(clock) = clock {
        exits::distributor(&report, cost, gic, clock);
    }
    if let Some(timer) = machine.virtual_timer {
        exits::private(&report, cost, gic, timer);
    }

    let bench = Bench::new(gic, machine, &report, cost);
    bench.self_sgi();
    if let Some(timer) = machine.virtual_timer {
        bench.timer(timer);
    }
    if let Some(clock) = clock {
        bench.device(clock);
    }
    bench.storm();
    bench.other_sgi(machine);
    exits::console(&report, cost, machine);
    report.print();
}

/// Sleeps for longer than any measurement takes.
fn wait(machine: &Machine, gic: &Gic) {
    const SECONDS: u64 = 10;
    let end = timer::now() + SECONDS * timer::frequency();
    machine.virtual_timer.into_iter().for_each(|intid| gic.enable(intid));
    timer::set_deadline(end);
    while timer::now() < end {
        // Interrupts are masked: the timer's ends the wait and is not taken.
        cpu::wait_for_interrupt();
    }
}

/// The words of the command line.
fn words(machine: &'static Machine) -> impl Iterator<Item = &'static str> {
    let chosen = machine.tree.root().child("chosen");
    let line = chosen.and_then(|chosen| chosen.property("bootargs"));
    line.and_then(|line| line.value_as::<&str>().ok()).unwrap_or_default().split_ascii_whitespace()
}
