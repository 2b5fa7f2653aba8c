// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that watches over what must not change while its neighbour attacks: its memory, its
//! registers, its interrupts (none lost, none doubled) and how late they come.
//!
//! Its first CPU sleeps until its timer wakes it, again and again, first while the neighbour is quiet and then
//! while it attacks. Its second CPU is woken at a high rate, by both its timers in turn, and answers the first
//! one's SGIs. On the command line: `seed=N`; `attack=MS` and `end=MS`, on the physical counter, when the attack
//! begins and when to report; `patience=MS`, what has gone how long without a sign is lost (50).

#![no_std]
#![no_main]

mod keep;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use bulkhead_types::Mpidr;
use guest_runtime::machine::Machine;
use guest_runtime::{cpu, exception, gic, power, println, read_register, smp, timer, write_register};

use keep::{Registers, check_memory, fill_memory};

guest_runtime::entry!(main);

/// SGIs: to oneself, to the second CPU, and its answer.
const OWN: u32 = 1;
const CALL: u32 = 2;
const ANSWER: u32 = 3;

/// What has gone this long without a sign is lost.
static PATIENCE_MS: AtomicU64 = AtomicU64::new(50);

/// What a CPU counts of its interrupts.
struct Counts {
    timer: AtomicU64,
    /// Of the second CPU alone.
    physical_timer: AtomicU64,
    sgis: [AtomicU64; 16],
    /// Anything that was never enabled.
    strange: AtomicU64,
    /// Virtual count when the timer's last interrupt was taken.
    woken_at: AtomicU64,
}

static COUNTS: [Counts; 2] = [const {
    Counts {
        timer: AtomicU64::new(0),
        physical_timer: AtomicU64::new(0),
        sgis: [const { AtomicU64::new(0) }; 16],
        strange: AtomicU64::new(0),
        woken_at: AtomicU64::new(0),
    }
}; 2];

static TIMER: AtomicU32 = AtomicU32::new(0);
static PHYSICAL_TIMER: AtomicU32 = AtomicU32::new(0);
static FIRST: AtomicU64 = AtomicU64::new(0);
/// The second CPU is up; the first one has finished.
static READY: AtomicBool = AtomicBool::new(false);
static FINISHED: AtomicBool = AtomicBool::new(false);
/// Ticks between two interrupts of the same timer on the second CPU.
static PERIOD: AtomicU64 = AtomicU64::new(0);
/// When its timers come next.
static NEXT: AtomicU64 = AtomicU64::new(0);
static NEXT_PHYSICAL: AtomicU64 = AtomicU64::new(0);
static INTERFACES: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn interrupt(intid: u32) {
    let counts = &COUNTS[smp::this_number() % 2];
    match intid {
        OWN | CALL | ANSWER => {
            counts.sgis[intid as usize].fetch_add(1, SeqCst);
            if intid == CALL {
                send(ANSWER, Mpidr::from_register(FIRST.load(SeqCst)), 0);
            }
        }
        id if id == TIMER.load(SeqCst) => {
            counts.woken_at.store(timer::now(), SeqCst);
            timer::stop();
            counts.timer.fetch_add(1, SeqCst);
        }
        id if id == PHYSICAL_TIMER.load(SeqCst) => {
            // SAFETY: the physical timer is this program's own; its line falls.
            unsafe { write_register!("cntp_ctl_el0", 0) };
            counts.physical_timer.fetch_add(1, SeqCst);
        }
        _ => {
            counts.strange.fetch_add(1, SeqCst);
        }
    }
}

/// From deadline to deadline, not from now: neither timer falls behind the other.
fn next(deadline: &AtomicU64) -> u64 {
    let period = PERIOD.load(SeqCst);
    deadline.fetch_add(period, SeqCst) + period
}

/// Arms the physical timer.
fn set_physical_timer(deadline: u64) {
    // SAFETY: the physical timer is this program's own; its interrupt is handled.
    unsafe {
        write_register!("cntp_cval_el0", deadline);
        write_register!("cntp_ctl_el0", 1);
        core::arch::asm!("isb", options(nostack));
    }
}

fn send(sgi: u32, target: Mpidr, number: usize) {
    if let Some(gic) = gic::get() {
        gic.send_sgi(sgi, target, INTERFACES[number].load(SeqCst));
    }
}

fn enable(number: usize) {
    if let Some(gic) = gic::get() {
        INTERFACES[number].store(gic.interface(), SeqCst);
        for intid in [OWN, CALL, ANSWER, TIMER.load(SeqCst)] {
            gic.enable(intid);
        }
    }
    cpu::unmask_interrupts();
}

fn physical_ms() -> u64 {
    read_register!("cntpct_el0") * 1_000 / timer::frequency()
}

fn sleep_until(deadline: u64, number: usize) {
    let before = COUNTS[number].timer.load(SeqCst);
    timer::set_deadline(deadline);
    while COUNTS[number].timer.load(SeqCst) == before {
        // Masked, so that an interrupt after the check still ends the wait; it is taken afterwards.
        cpu::without_interrupts(|| {
            if COUNTS[number].timer.load(SeqCst) == before {
                cpu::wait_for_interrupt();
            }
        });
    }
}

/// The second CPU: many interrupts, and a watch on the first. Its two timers take turns, so that one is always
/// armed: QEMU with one clock lets a CPU run until the next timer's time.
fn second(number: usize) {
    enable(number);
    if let Some(gic) = gic::get() {
        gic.enable(PHYSICAL_TIMER.load(SeqCst));
    }
    READY.store(true, SeqCst);
    let (mut seen, mut since) = (0, physical_ms());
    NEXT.store(timer::now(), SeqCst);
    NEXT_PHYSICAL.store(read_register!("cntpct_el0") + PERIOD.load(SeqCst) / 2, SeqCst);
    timer::set_deadline(next(&NEXT));
    set_physical_timer(next(&NEXT_PHYSICAL));
    // Armed again here and not by the handler: QEMU's GICv2 forgets a line that is high again when its interrupt
    // ends.
    let counts = &COUNTS[number];
    let (mut ticks, mut physical_ticks) = (0, 0);
    while !FINISHED.load(SeqCst) {
        cpu::without_interrupts(|| {
            if counts.timer.load(SeqCst) == ticks && counts.physical_timer.load(SeqCst) == physical_ticks {
                cpu::wait_for_interrupt();
            }
        });
        if counts.timer.load(SeqCst) != ticks {
            ticks = counts.timer.load(SeqCst);
            timer::set_deadline(next(&NEXT));
        }
        if counts.physical_timer.load(SeqCst) != physical_ticks {
            physical_ticks = counts.physical_timer.load(SeqCst);
            set_physical_timer(next(&NEXT_PHYSICAL));
        }
        let woken = COUNTS[0].timer.load(SeqCst);
        if woken != seen {
            (seen, since) = (woken, physical_ms());
        } else if physical_ms() - since > PATIENCE_MS.load(SeqCst) {
            println!("witness: COMPLAINT: the first CPU is not woken any more");
            power::system_off();
        }
    }
    cpu::mask_interrupts();
    READY.store(false, SeqCst);
}

/// What one stretch of time was like.
#[derive(Default)]
struct Stretch {
    sleeps: u64,
    /// Of all sleeps, in ticks of the counter.
    latest: u64,
    sum: u64,
    early: u64,
    lost: u64,
    doubled: u64,
}

impl Stretch {
    /// Sleeps once, then has an SGI of its own and one answered by the second CPU.
    fn step(&mut self, length: u64, second: Mpidr) {
        let deadline = timer::now() + length;
        sleep_until(deadline, 0);
        match COUNTS[0].woken_at.load(SeqCst).checked_sub(deadline) {
            Some(late) => {
                self.latest = self.latest.max(late);
                self.sum += late;
            }
            None => self.early += 1,
        }
        self.sleeps += 1;
        self.exchange(OWN, Mpidr::from_register(FIRST.load(SeqCst)), 0, &COUNTS[0].sgis[OWN as usize]);
        self.exchange(CALL, second, 1, &COUNTS[0].sgis[ANSWER as usize]);
    }

    fn exchange(&mut self, sgi: u32, to: Mpidr, number: usize, answers: &AtomicU64) {
        let before = answers.load(SeqCst);
        send(sgi, to, number);
        let end = timer::now() + timer::frequency() * PATIENCE_MS.load(SeqCst) / 1_000;
        while answers.load(SeqCst) == before {
            if timer::now() > end {
                self.lost += 1;
                return;
            }
        }
        self.doubled += answers.load(SeqCst) - before - 1;
    }

    fn print(&self, name: &str) {
        let nanoseconds = |ticks: u64| ticks * 1_000_000_000 / timer::frequency();
        println!(
            "witness: {name}: {} wake-ups, the latest by {} ns, on average by {} ns",
            self.sleeps,
            nanoseconds(self.latest),
            nanoseconds(self.sum / self.sleeps.max(1)),
        );
    }
}

fn main(machine: &'static Machine) {
    let number = |name, default| machine.number(name).unwrap_or(default);
    let (seed, attack, end) = (number("seed", 0), number("attack", 400), number("end", 600));
    PATIENCE_MS.store(number("patience", 50), SeqCst);
    TIMER.store(machine.virtual_timer.expect("the device tree has a virtual timer"), SeqCst);
    FIRST.store(cpu::mpidr().affinity(), SeqCst);
    PHYSICAL_TIMER.store(machine.physical_timer.expect("the device tree has a physical timer"), SeqCst);
    // 20 to 83 µs: with QEMU's one clock it also sets how finely the CPUs' instructions interleave.
    PERIOD.store(timer::frequency() * (20 + seed % 64) / 1_000_000, SeqCst);
    exception::set_interrupt_handler(interrupt);
    enable(0);
    let second = machine.cpus().nth(1).expect("the partition has two CPUs");
    smp::start(1, second, self::second).expect("the second CPU starts");
    while !READY.load(SeqCst) {
        core::hint::spin_loop();
    }
    fill_memory(seed);
    let registers = Registers::set(seed);

    println!("witness: watches from {} ms; the attack begins at {attack} ms", physical_ms());
    let (mut quiet, mut attacked) = (Stretch::default(), Stretch::default());
    let mut changed = 0;
    let longest = timer::frequency() / 10_000;
    while physical_ms() < end {
        let stretch = if physical_ms() < attack { &mut quiet } else { &mut attacked };
        let step = stretch.sleeps;
        // A step without a factor in common with the range goes through all of it.
        stretch.step(longest / 16 + step * 1_001 % longest, second);
        changed += check_memory(seed, step);
    }
    let final_timer = COUNTS[0].timer.load(SeqCst);
    FINISHED.store(true, SeqCst);
    while READY.load(SeqCst) {
        core::hint::spin_loop();
    }
    changed += keep::check_all(seed);
    quiet.print("quiet");
    attacked.print("attacked");
    let sgis = |cpu: usize, sgi: u32| COUNTS[cpu].sgis[sgi as usize].load(SeqCst);
    let strange: u64 = COUNTS.iter().map(|counts| counts.strange.load(SeqCst)).sum();
    let steps = quiet.sleeps + attacked.sleeps;
    let lost = quiet.lost + attacked.lost;
    let counts = [final_timer, sgis(0, OWN), sgis(1, CALL), sgis(0, ANSWER)];
    // The second CPU's timers take turns: none is ahead of the other by more than the turn that was cut short.
    let turns = [&COUNTS[1].timer, &COUNTS[1].physical_timer].map(|count| count.load(SeqCst));
    // Where the host stalls a CPU, one of them catches up before the other.
    let stalls = number("patience", 50) > 50;
    let uneven = if stalls { 0 } else { turns[0].abs_diff(turns[1]).saturating_sub(2) };
    let off = counts.map(|count| count.abs_diff(steps)).iter().sum::<u64>() + uneven;
    println!(
        "witness: {} interrupts: {lost} lost, {} early, {off} too many or too few, {strange} strange; \
         {changed} words changed, {} registers changed",
        counts.iter().sum::<u64>() + turns.iter().sum::<u64>(),
        quiet.early + attacked.early,
        registers.changed(),
    );
    let right = lost + off + strange + changed + quiet.early + attacked.early + registers.changed() == 0
        && quiet.doubled + attacked.doubled == 0
        // So may a whole stretch pass.
        && (stalls || quiet.sleeps > 0 && attacked.sleeps > 0);
    println!("witness: {}", if right { "nothing reached me" } else { "COMPLAINT: see above" });
}
