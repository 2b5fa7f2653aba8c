// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's watchdog, which the hypervisor runs if the configuration asks for it: it resets the board unless
//! every CPU of a partition comes by at EL2 in time.
//!
//! Each CPU has its timer call it here four times in a timeout, and comes by as well where work at EL2 takes long but
//! goes on: between the pieces of memory that a start fills, after each line on the console. Whoever comes by
//! restarts the watchdog if all others came by in the last half of a timeout. So a CPU that hangs at EL2 has
//! the board reset after one and a half timeouts at the latest; one that hangs in its guest has not, for EL2's timer
//! interrupts that.

use crate::console::line;
use crate::cpu::{self, Cpu};
use crate::system::{self, System};
use crate::timer;
use bulkhead_platform::bcm2835::PowerManager;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// The watchdog.
pub struct BoardWatchdog {
    /// Locked for a moment while it is restarted, and for ever once the board is to go off.
    manager: Mutex<PowerManager>,
    seconds: u32,
    /// Set once all CPUs are up.
    started: AtomicBool,
}

impl BoardWatchdog {
    /// A watchdog of so many seconds, not started yet.
    pub const fn new(manager: PowerManager, seconds: u32) -> Self {
        Self { manager: Mutex::new(manager), seconds, started: AtomicBool::new(false) }
    }

    /// Counts of the timer from one beat of a CPU to the next.
    fn period(&self) -> u64 {
        timer::counts(u64::from(self.seconds).saturating_mul(250))
    }

    /// Restarts it, unless somebody else is at it.
    fn restart(&self) {
        if let Some(manager) = self.manager.try_lock() {
            manager.start_watchdog(self.seconds);
        }
    }
}

/// Prints that the watchdog is about to run. Called while lines still leave the port at once: a board that its watchdog
/// resets too early has said so.
pub fn announce(system: &System) {
    if let Some(BoardWatchdog { seconds, .. }) = &system.watchdog {
        line(format_args!(
            "hypervisor: the board's watchdog runs, {seconds} s; every CPU must come by at EL2"
        ));
    }
}

/// Starts the watchdog. Called once all CPUs are up.
pub fn start(system: &System) {
    if let Some(watchdog) = &system.watchdog {
        watchdog.started.store(true, Ordering::Relaxed);
        watchdog.restart();
    }
}

/// The calling CPU comes by.
#[inline(never)]
pub fn come_by(system: &System, cpu: &Cpu) {
    let Some(watchdog) = &system.watchdog else { return };
    let (now, period) = (timer::now(), watchdog.period());
    if now.saturating_sub(cpu.beat.load(Ordering::Relaxed)) < period / 2 {
        return;
    }
    cpu.beat.store(now, Ordering::Relaxed);
    let in_time = |other: &Cpu| {
        now.saturating_sub(other.beat.load(Ordering::Relaxed)) < period.saturating_mul(2)
            || !other.is_online()
    };
    if watchdog.started.load(Ordering::Relaxed) && system.cpus.iter().all(in_time) {
        watchdog.restart();
    }
}

/// Likewise, from where it is not known who calls, nor whether there is a system yet.
pub fn come_by_here() {
    if cpu::is_known() {
        come_by(system::get(), cpu::current());
    }
}

/// When the calling CPU must come by again, by its timer.
pub fn next(system: &System, cpu: &Cpu) -> Option<u64> {
    let watchdog = system.watchdog.as_ref()?;
    Some(cpu.beat.load(Ordering::Relaxed).saturating_add(watchdog.period()))
}

/// From now on nobody restarts the watchdog: the board is about to go off, or to be reset, by the same registers.
pub fn end(system: &System) -> Option<PowerManager> {
    let watchdog = system.watchdog.as_ref()?;
    // Whoever restarts it just now is gone in a moment, but for one that faulted there.
    for _ in 0..1_000_000 {
        if let Some(manager) = watchdog.manager.try_lock() {
            return Some(*spin::MutexGuard::leak(manager));
        }
        core::hint::spin_loop();
    }
    None
}
