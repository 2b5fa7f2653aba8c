// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that, from a seed, fires everything it has at the hypervisor, on all its CPUs at once: every system
//! register, instructions of every class, calls, accesses to every place, the interrupt controller, timers,
//! tables, caches, debug, PMU, PSCI, AArch32.
//!
//! It survives what it does to itself as far as it can (armour.rs). A CPU that did not is noticed by the others, who
//! reset the partition: another life, with other numbers. On the command line: `seed=N`; `attack=MS` and
//! `end=MS`, on the physical counter, when it begins and when it reports and powers off.

#![no_std]
#![no_main]

mod armour;
mod attacks;
mod paging;
mod random;
mod rescue;
mod words;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use guest_runtime::machine::Machine;
use guest_runtime::{cpu, power, println, smp, timer};
use spin::Once;

use armour::Armour;
use attacks::{ATTACKS, Attacker, physical_ms};
use random::Random;

guest_runtime::entry!(main);

/// A CPU that makes no step for so long is past help.
const PATIENCE_MS: u64 = 10;
/// Encodings that one seed sweeps: 16 seeds sweep all.
const WINDOW: u16 = 4096;

/// The command line.
struct Orders {
    machine: &'static Machine,
    seed: u64,
    attack: u64,
    end: u64,
}

static ORDERS: Once<Orders> = Once::new();
static STEPS: [AtomicU64; ATTACKS.len()] = [const { AtomicU64::new(0) }; ATTACKS.len()];
/// When each CPU made its last step, in ms; 0 while it is off.
static ALIVE: [AtomicU64; smp::MAX_CPUS] = [const { AtomicU64::new(0) }; smp::MAX_CPUS];
static ENDING: AtomicBool = AtomicBool::new(false);

fn main(machine: &'static Machine) {
    let number = |name, default| machine.number(name).unwrap_or(default);
    let (seed, attack, end) = (number("seed", 0), number("attack", 400), number("end", 600));
    ORDERS.call_once(|| Orders { machine, seed, attack, end });
    if physical_ms() < attack {
        println!("hostile: seed {seed} on {} CPUs, from {attack} to {end} ms", machine.cpus().count());
    }
    for (number, target) in machine.cpus().enumerate().skip(1).take(smp::MAX_CPUS - 1) {
        let _ = smp::start(number, target, attack_with);
    }
    attack_with(0);
}

/// This CPU goes off, and is not missed.
fn rest() {
    ALIVE[smp::this_number()].store(0, SeqCst);
}

/// What every CPU does.
fn attack_with(number: usize) {
    let Some(orders) = ORDERS.get() else { return };
    cpu::mask_interrupts();
    // In another life, and in another run of a CPU, other numbers: the counter goes on.
    let mut seed = Random::new(orders.seed << 8 | number as u64);
    let life = if physical_ms() < orders.attack { 0 } else { guest_runtime::read_register!("cntpct_el0") };
    let window = (orders.seed as u16).wrapping_mul(WINDOW);
    let share = WINDOW / orders.machine.cpus().count() as u16;
    let ahead = life as u16 % share;
    let mut attacker = Attacker {
        machine: orders.machine,
        random: Random::new(seed.next() ^ life),
        armour: Armour::take(),
        cursor: window.wrapping_add(share * number as u16 + ahead),
        limit: timer::frequency() / 50_000,
        scratch: (guest_runtime::load_address() as u64 & !0xf_ffff) + (8 << 20) + ((number as u64) << 20),
    };
    // Quiet, but not idle: the neighbours are to be measured beside a CPU that works.
    while physical_ms() < orders.attack {
        core::hint::spin_loop();
    }
    loop {
        let now = physical_ms();
        ALIVE[number].store(now.max(1), SeqCst);
        let dead =
            |last: &AtomicU64| !matches!(last.load(SeqCst), last if last == 0 || last + PATIENCE_MS >= now);
        if now >= orders.end {
            if !ENDING.swap(true, SeqCst) {
                finish();
            }
            // Whoever came first reports; a return here would power off before it has.
            loop {
                cpu::wait_for_event();
            }
        }
        if ALIVE.iter().any(dead) {
            println!("hostile: {} steps, then a CPU was past help", steps());
            power::system_reset();
        }
        let attack = attacker.step();
        STEPS[attack].fetch_add(1, SeqCst);
    }
}

fn finish() {
    for (attack, steps) in ATTACKS.iter().zip(&STEPS) {
        println!("hostile: {}: {}", attack.name, steps.load(SeqCst));
    }
    println!("hostile: {} steps to the end", steps());
    power::system_off();
}

/// Steps of this life.
fn steps() -> u64 {
    STEPS.iter().map(|steps| steps.load(SeqCst)).sum()
}
