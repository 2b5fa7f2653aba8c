// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The PMU through `perf_event_open` (Linux, `include/uapi/linux/perf_event.h`).

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::system::{File, attempt, call, clock, cpus, number, run_on, say};
use crate::{ensure, fail};

/// Version 0 of `struct perf_event_attr`.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    event: u64,
    period: u64,
    sample: u64,
    format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    address: u64,
}

/// Events of `PERF_TYPE_HARDWARE`.
const CYCLES: u64 = 0;
const INSTRUCTIONS: u64 = 1;

/// Flags: off at first, always on the PMU while this process runs, not the kernel, not a hypervisor.
const FLAGS: u64 = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6;

const ENABLE: usize = 0x2400;
const DISABLE: usize = 0x2401;
const REFRESH: usize = 0x2402;

/// Rounds of the loop that is counted, and its instructions.
const ROUNDS: u64 = 1_000_000;
const LOOP: u64 = 2 * ROUNDS;
/// Instructions between a call that starts or stops an event and the loop: a few tens.
const AROUND: u64 = 200;

/// Overflows that are waited for, and cycles between them.
const SAMPLES: u32 = 20;
const PERIOD: u64 = 1_000_000;

const SIGNAL: usize = 40;
const POLL_HUP: i32 = 6;

static SIGNALS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicU32 = AtomicU32::new(0);

fn work() {
    // SAFETY: counts down in a register.
    unsafe { asm!("1: subs {0}, {0}, #1", "b.ne 1b", inout(reg) ROUNDS => _, options(nomem, nostack)) };
}

/// An event of this process, on any CPU.
fn open(event: u64, period: u64) -> Result<File, i32> {
    let attributes = Attributes { size: 64, event, period, flags: FLAGS, ..Attributes::default() };
    let any = usize::MAX;
    // SAFETY: the call reads the attributes.
    unsafe { attempt(number::PERF_EVENT_OPEN, [&raw const attributes as usize, 0, any, any, 0, 0]) }.map(File)
}

fn control(file: File, what: usize, argument: usize) {
    // SAFETY: these controls touch no memory of ours.
    unsafe { call(number::IOCTL, [file.0, what, argument, 0, 0, 0]) };
}

/// How often the event came in the loop.
fn counted(event: u64) -> Result<u64, i32> {
    let file = open(event, 0)?;
    control(file, ENABLE, 0);
    work();
    control(file, DISABLE, 0);
    let count = file.read();
    file.close();
    count.ok_or(0)
}

extern "C" fn overflow(_signal: i32, information: *const i32, _context: *const u8) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel leaves a `siginfo_t`, whose third word is the code.
    if unsafe { *information.add(2) } == POLL_HUP {
        LAST.store(1, Ordering::Relaxed);
    }
}

fn take_signals() {
    /// `SA_SIGINFO` and `SA_RESTART`.
    const SIGINFO: usize = 4 | 0x1000_0000;
    let handler: extern "C" fn(i32, *const i32, *const u8) = overflow;
    let action = [handler as usize, SIGINFO, 0, 0];
    // SAFETY: the handler touches atomics alone; the kernel brings the way back from it.
    unsafe { call(number::RT_SIGACTION, [SIGNAL, action.as_ptr() as usize, 0, 8, 0, 0]) };
}

/// Runs until the event has overflowed so often that the kernel turned it off and says so by the last signal; gives how
/// many came. An overflow that comes before the one before it is signalled shares its signal.
fn sampled() -> Option<u32> {
    const SETFL: usize = 4;
    const SETOWN: usize = 8;
    const SETSIG: usize = 10;
    const ASYNC: usize = 0o20000;
    const PATIENCE: u64 = 60_000_000_000;
    let file = open(CYCLES, PERIOD).unwrap_or_else(|error| fail!("no sampling of cycles: error {error}"));
    SIGNALS.store(0, Ordering::Relaxed);
    LAST.store(0, Ordering::Relaxed);
    // SAFETY: no memory is behind these calls.
    unsafe {
        let us = call(number::GETPID, [0; 6]);
        for (what, argument) in [(SETOWN, us), (SETSIG, SIGNAL), (SETFL, ASYNC)] {
            call(number::FCNTL, [file.0, what, argument, 0, 0, 0]);
        }
    }
    control(file, REFRESH, SAMPLES as usize);
    let end = clock() + PATIENCE;
    while LAST.load(Ordering::Relaxed) == 0 && clock() < end {
        work();
    }
    file.close();
    (LAST.load(Ordering::Relaxed) == 1).then(|| SIGNALS.load(Ordering::Relaxed))
}

/// Counts and samples on every CPU.
pub fn count() {
    take_signals();
    for cpu in cpus() {
        run_on(0, cpu);
        let start = clock();
        let cycles = counted(CYCLES).unwrap_or_else(|error| fail!("no cycles: error {error}"));
        let time = clock() - start;
        // Some GHz at most, and a few instructions in a cycle.
        ensure!(
            cycles > LOOP / 16 && cycles < time.saturating_mul(8),
            "CPU {cpu}: {cycles} cycles in {time} ns"
        );
        let signals = sampled().unwrap_or_else(|| fail!("CPU {cpu}: never {SAMPLES} overflows"));
        ensure!((1..=SAMPLES).contains(&signals), "CPU {cpu}: {signals} signals for {SAMPLES} overflows");
        match counted(INSTRUCTIONS) {
            Ok(count) if (LOOP..LOOP + AROUND).contains(&count) => {
                say(format_args!("pmu: CPU {cpu}: {count} instructions, {SAMPLES} overflows"));
            }
            Ok(count) => fail!("CPU {cpu}: {count} instructions in a loop of {LOOP}"),
            Err(error) => say(format_args!("pmu: CPU {cpu}: no instructions ({error}), {SAMPLES} overflows")),
        }
    }
}
