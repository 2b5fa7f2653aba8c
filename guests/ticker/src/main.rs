// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that prints a line a second, or `hz=N` a second if its command line says so, and sleeps in between; `q` ends
//! it. It shows that a partition has a clock, a console and interrupts of its own, whatever its neighbours do.
//!
//! `high=N`: before that it takes N interrupts of the timer, at each of which the line is high again when the interrupt
//! ends, and then N at 1 kHz.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dtoolkit::{Node, Property};
use guest_runtime::machine::Machine;
use guest_runtime::{console, cpu, exception, gic, power, println, timer};

guest_runtime::entry!(main);

static TIMER: AtomicU32 = AtomicU32::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static DUE: AtomicBool = AtomicBool::new(false);
/// Interrupts still to come whose handler sets the time of the next, and how far ahead it sets it.
static LEFT: AtomicU64 = AtomicU64::new(0);
static AHEAD: AtomicU64 = AtomicU64::new(0);
static QUIT: AtomicBool = AtomicBool::new(false);

fn main(machine: &'static Machine) {
    let gic = gic::get().expect("the device tree has a GICv2 or GICv3");
    let timer_interrupt = machine.virtual_timer.expect("the device tree has a virtual timer");
    println!(
        "ticker: CPU {:#x} at EL{}, GICv{}, counter at {} Hz, image at {:#x}",
        cpu::mpidr().affinity(),
        cpu::exception_level(),
        gic.version(),
        timer::frequency(),
        guest_runtime::load_address(),
    );
    let hz = number(machine, "hz=").unwrap_or(1);
    let high = number(machine, "high=").unwrap_or(0);
    match hz {
        1 => println!("ticker: one tick a second; q ends me"),
        _ => println!("ticker: {hz} ticks a second; q ends me"),
    }
    PERIOD.store(timer::frequency() / hz, Ordering::Relaxed);

    TIMER.store(timer_interrupt, Ordering::Relaxed);
    exception::set_interrupt_handler(interrupt);
    gic.enable(timer_interrupt);
    if let Some((_, Some(intid))) = machine.console {
        gic.enable(intid);
        console::enable_input();
    }
    if high > 0 {
        stay_high(high);
    }
    DEADLINE.store(timer::now() + PERIOD.load(Ordering::Relaxed), Ordering::Relaxed);
    timer::set_deadline(DEADLINE.load(Ordering::Relaxed));
    cpu::unmask_interrupts();

    while !QUIT.load(Ordering::Relaxed) {
        // Masked, so that an interrupt after the check still ends the wait; it is taken afterwards.
        cpu::without_interrupts(|| {
            if !QUIT.load(Ordering::Relaxed) && !DUE.load(Ordering::Relaxed) {
                cpu::wait_for_interrupt();
            }
        });
        if DUE.swap(false, Ordering::Relaxed) {
            tick();
        }
    }
    println!("ticker: q was typed after {} ticks, powering off", TICKS.load(Ordering::Relaxed));
    power::system_off();
}

/// The number behind `name` on the command line, if it is there and not 0.
fn number(machine: &'static Machine, name: &str) -> Option<u64> {
    let line = machine.tree.root().child("chosen")?.property("bootargs")?;
    let line = line.value_as::<&str>().ok()?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok()).filter(|&n| n > 0)
}

/// Takes `count` interrupts of a line that is high again at the end of each, then `count` at 1 kHz, asleep in between.
fn stay_high(count: u64) {
    for ahead in [0, timer::frequency() / 1000] {
        AHEAD.store(ahead, Ordering::Relaxed);
        LEFT.store(count, Ordering::Relaxed);
        timer::set_deadline(timer::now());
        cpu::unmask_interrupts();
        while LEFT.load(Ordering::Relaxed) > 0 {
            cpu::without_interrupts(|| {
                if LEFT.load(Ordering::Relaxed) > 0 {
                    cpu::wait_for_interrupt();
                }
            });
        }
    }
    println!("ticker: {count} interrupts of a line that stayed high, {count} at 1 kHz");
}

/// Counts, and arms the timer again.
fn tick() {
    println!("tick {}", TICKS.fetch_add(1, Ordering::Relaxed) + 1);
    // From deadline to deadline, not from now: the ticks do not drift.
    let period = PERIOD.load(Ordering::Relaxed);
    timer::set_deadline(DEADLINE.fetch_add(period, Ordering::Relaxed) + period);
}

fn interrupt(intid: u32) {
    if intid == TIMER.load(Ordering::Relaxed) {
        let left = LEFT.load(Ordering::Relaxed);
        if left > 1 {
            // The line falls and, AHEAD being 0, is high again before this interrupt ends.
            timer::set_deadline(timer::now() + AHEAD.load(Ordering::Relaxed));
            return LEFT.store(left - 1, Ordering::Relaxed);
        }
        timer::stop();
        if left == 1 {
            return LEFT.store(0, Ordering::Relaxed);
        }
        DUE.store(true, Ordering::Relaxed);
    } else {
        while let Some(byte) = console::read() {
            if byte == b'q' {
                QUIT.store(true, Ordering::Relaxed);
            }
        }
    }
}
