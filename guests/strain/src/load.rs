// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Load for timers and scheduler: on every CPU a process that a timer wakes each millisecond, one that sends
//! messages to the next CPU and one that works without end; beside them, processes that come and go.

use core::arch::asm;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::system::{
    CLOCK_MONOTONIC, File, NANOSECONDS, call, clock, cpus, exit, fork, map, number, run_on, say, wait,
};
use crate::{ensure, fail};

const MILLISECOND: u64 = 1_000_000;

/// What the processes share.
#[derive(Default)]
struct Shared {
    /// The highest count that anybody has seen.
    counter: AtomicU64,
    wakes: AtomicU64,
    messages: AtomicU64,
    looks: AtomicU64,
}

fn share() -> &'static Shared {
    /// Of no file and shared.
    const KIND: usize = 0x21;
    // SAFETY: a page of zeros that stays is four atomics.
    unsafe { &*(map(4096, KIND) as *const Shared) }
}

/// The virtual counter on this CPU, which must not be behind what was seen on another.
fn look(shared: &Shared) {
    let before = shared.counter.load(Ordering::Relaxed);
    let now: u64;
    // A branch on what was loaded and an ISB order the read of the counter behind the load (Arm ARM, B2.3).
    // SAFETY: reads a counter that Linux gives to its processes.
    unsafe {
        asm!("cbnz {0}, 2f", "2: isb", "mrs {1}, cntvct_el0", in(reg) before, out(reg) now, options(nostack));
    }
    ensure!(now >= before, "the counter goes back from {before} to {now}");
    shared.counter.fetch_max(now, Ordering::Relaxed);
    shared.looks.fetch_add(1, Ordering::Relaxed);
}

/// A timer that runs out each millisecond: every one is counted, however late the process is woken.
fn wakes(shared: &Shared, end: u64) {
    let start = clock() + MILLISECOND;
    let pair = |time: u64| [time / NANOSECONDS, time % NANOSECONDS];
    let setting = [pair(MILLISECOND), pair(start)];
    // SAFETY: the call reads two pairs of seconds and nanoseconds.
    let timer = unsafe {
        const ABSOLUTE: usize = 1;
        let timer = call(number::TIMERFD_CREATE, [CLOCK_MONOTONIC, 0, 0, 0, 0, 0]);
        call(number::TIMERFD_SETTIME, [timer, ABSOLUTE, setting.as_ptr() as usize, 0, 0, 0]);
        File(timer)
    };
    let mut expired = 0;
    while clock() < end {
        let due = |now: u64| now.checked_sub(start).map_or(0, |time| time / MILLISECOND + 1);
        let least = due(clock());
        expired += timer.read().unwrap_or(0);
        let most = due(clock());
        ensure!((least..=most).contains(&expired), "a timer ran out {expired} times of {least} to {most}");
        shared.wakes.fetch_add(1, Ordering::Relaxed);
        look(shared);
    }
}

/// Sends numbers to the next CPU and wants them back.
fn messages(shared: &Shared, next: usize, end: u64) {
    let ((hear, tell), (receive, send)) = (File::pipe(), File::pipe());
    let partner = fork();
    if partner == 0 {
        send.close();
        hear.close();
        run_on(0, next);
        while let Some(number) = receive.read() {
            look(shared);
            tell.write(number);
        }
        exit(0)
    }
    receive.close();
    tell.close();
    for number in 0.. {
        if clock() >= end {
            break;
        }
        send.write(number);
        let answer = hear.read();
        ensure!(answer == Some(number), "message {number} comes back as {answer:?}");
        shared.messages.fetch_add(1, Ordering::Relaxed);
    }
    send.close();
    ends_well(partner);
}

fn works(shared: &Shared, end: u64) {
    while clock() < end {
        for _ in 0..1000 {
            look(shared);
        }
    }
}

fn ends_well(child: usize) {
    let status = wait(child);
    ensure!(status == 0, "a process has ended with wait status {status:#x}");
}

/// A process that does this on one CPU.
fn process(cpu: usize, what: impl FnOnce()) -> usize {
    let child = fork();
    if child == 0 {
        run_on(0, cpu);
        what();
        exit(0)
    }
    child
}

/// Loads every CPU for so many seconds.
pub fn run(seconds: &CStr) {
    let seconds = seconds.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = seconds.unwrap_or_else(|| fail!("how many seconds?"));
    let shared = share();
    let end = clock() + seconds * NANOSECONDS;
    let count = cpus().count();
    for (cpu, next) in cpus().zip(cpus().cycle().skip(1)) {
        process(cpu, || wakes(shared, end));
        process(cpu, || messages(shared, next, end));
        process(cpu, || works(shared, end));
    }
    let mut others = 0;
    while clock() < end {
        ends_well(process(cpus().nth(others % count).unwrap_or(0), || look(shared)));
        others += 1;
    }
    const ANY: usize = usize::MAX;
    (0..3 * count).for_each(|_| ends_well(ANY));
    let [wakes, messages, looks] =
        [&shared.wakes, &shared.messages, &shared.looks].map(|count| count.load(Ordering::Relaxed));
    ensure!(wakes > 0 && messages > 0 && others > 0, "nobody was woken, or heard, or born");
    say(format_args!(
        "load: {count} CPUs, {seconds} s: {wakes} wakes, {messages} messages, {others} processes, \
         {looks} looks at the counter"
    ));
}
