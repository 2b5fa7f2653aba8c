// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that sleeps ten thousand times in WFI until its virtual timer wakes it, and says how late the
//! latest interrupt came. A wake-up that never comes leaves it asleep for ever.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::machine::Machine;
use guest_runtime::{cpu, exception, gic, println, timer};

guest_runtime::entry!(main);

const SLEEPS: u64 = 10_000;
/// The longest sleep, in microseconds; the shortest is a 16th of it, and every length between occurs.
const LONGEST: u64 = 100;

/// The interrupts taken, and the virtual count at the last one.
static WOKEN: AtomicU64 = AtomicU64::new(0);
static WOKEN_AT: AtomicU64 = AtomicU64::new(0);

fn main(machine: &'static Machine) {
    let gic = gic::get().expect("the device tree has a GICv2 or GICv3");
    let interrupt = machine.virtual_timer.expect("the device tree has a virtual timer");
    exception::set_interrupt_handler(|_| {
        WOKEN_AT.store(timer::now(), Ordering::Relaxed);
        timer::stop();
        WOKEN.fetch_add(1, Ordering::Relaxed);
    });
    gic.enable(interrupt);
    cpu::unmask_interrupts();

    let longest = timer::frequency() * LONGEST / 1_000_000;
    let (mut latest, mut early) = (0, 0);
    for sleep in 0..SLEEPS {
        // A step that has no factor in common with the range goes through all of it.
        let length = longest / 16 + sleep * 1_001 % (longest * 15 / 16 + 1);
        let deadline = timer::now() + length;
        timer::set_deadline(deadline);
        while WOKEN.load(Ordering::Relaxed) == sleep {
            // Masked, so that an interrupt after the check still ends the wait; it is taken afterwards.
            cpu::without_interrupts(|| {
                if WOKEN.load(Ordering::Relaxed) == sleep {
                    cpu::wait_for_interrupt();
                }
            });
        }
        match WOKEN_AT.load(Ordering::Relaxed).checked_sub(deadline) {
            Some(late) => latest = latest.max(late),
            None => early += 1,
        }
    }
    let nanoseconds = latest * 1_000_000_000 / timer::frequency();
    println!("sleeper: {SLEEPS} sleeps, {early} woken early, the latest by {nanoseconds} ns");
}
