// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a partition ends, and what follows: it stays stopped, or comes back as its configuration says.

use super::{Partition, Vcpu, controller_reset};
use crate::interrupts;
use crate::registers::dsb_sy;
use crate::system::System;
use crate::{console, cpu, timer, world};
use bulkhead_el2::life::Ending;
use bulkhead_machine::watchdog::{self, Due};
use bulkhead_plan::partition::Restart;
use core::sync::atomic::Ordering;

/// What follows the end of a partition.
enum Again {
    /// It stays stopped.
    No,
    /// It stays stopped, because it started again too often in a row.
    TooOften,
    /// It starts when the counter has come so far.
    At(u64),
}

/// A run of this length ends a row of restarts; one of the second, if the guest asked for the restart.
const LONG_RUN_MS: u64 = 60_000;
const SHORT_RUN_MS: u64 = 1_000;
/// How a partition ends that the operator stops.
const STOPPED_BY_HAND: &str = "powered off by the monitor";
/// No restart waits longer.
const LONGEST_DELAY_MS: u64 = 60_000;

impl Partition {
    /// Takes what is to be done by whoever starts it, or stops it for good; one alone gets it.
    pub(super) fn take_due(&self) -> bool {
        self.start_due.swap(0, Ordering::Acquire) != 0
    }

    /// Has it start, if it is stopped or waits to be started again. The operator's wish: a new row begins. True, too, where it
    /// has been said why it cannot.
    pub fn start_by_hand(&self, system: &'static System) -> bool {
        if !self.has_every_cpu(system) {
            return true;
        }
        let mine = self.life.claim() || self.take_due();
        if mine {
            self.row.store(0, Ordering::Relaxed);
            self.start_at(system, 1);
        }
        mine
    }

    /// Stops it for good, if it runs or waits to be started again; if it is being started or ended, as soon as that is
    /// over. False if it is stopped.
    pub fn stop_by_hand(&self, system: &System) -> bool {
        if self.is_stopped() {
            return false;
        }
        if self.take_due() {
            self.stop(system, STOPPED_BY_HAND);
            return true;
        }
        if self.life.stop_soon() {
            self.kick(system);
        } else {
            console::line(format_args!("{}: stops as soon as it has started", self.name));
        }
        true
    }

    /// How it is, and for how many milliseconds that has been so, or will be.
    pub fn state(&self) -> (&'static str, u64) {
        let (now, due) = (timer::now(), self.start_due.load(Ordering::Relaxed));
        let ago = timer::milliseconds(now.saturating_sub(self.started_at()));
        match (self.life.is_running(), self.is_stopped()) {
            (true, _) => ("runs", ago),
            (_, true) => ("stopped", ago),
            _ if due > now => ("waits", timer::milliseconds(due.saturating_sub(now))),
            _ => ("changes", 0),
        }
    }

    /// Whether what goes wrong in it is told at length: not the fourth time in a row.
    pub fn may_speak(&self) -> bool {
        self.row.load(Ordering::Relaxed) < 3
            || timer::now().saturating_sub(self.started_at()) >= timer::counts(LONG_RUN_MS)
    }

    /// Has the watchdog go on, and this CPU look again in time. If it has expired the partition ends; true if
    /// that is news. It ends with the device's lock held, as it is reset before the next life: an old expiry
    /// cannot end that one.
    pub fn look_at_watchdog(&self, system: &System) -> bool {
        let Some(watchdog) = &self.watchdog else { return false };
        let mut device = watchdog.device.lock();
        match device.look(timer::now()) {
            Due::Never => false,
            Due::At(deadline) => {
                timer::set(system, cpu::current(), deadline);
                false
            }
            Due::Now => self.end(system, Ending::Crash),
        }
    }

    /// Ends the partition: every CPU departs as soon as it hears of it. Called on any CPU; on one of the
    /// partition's own, [`Self::leave`] follows.
    /// Says whether this was the first of several endings.
    pub fn end(&self, system: &System, ending: Ending) -> bool {
        let first = self.life.end(ending);
        if first {
            self.kick(system);
        }
        first
    }

    /// Has each of its CPUs look at what has become of it.
    pub(super) fn kick(&self, system: &System) {
        for vcpu in &self.vcpus {
            interrupts::kick(system, vcpu.cpu);
        }
    }

    /// Takes `vcpu` off the calling CPU, for good or until it is turned on again.
    pub fn leave(&self, system: &System, vcpu: &Vcpu) -> ! {
        self.gic.vcpu_off(vcpu.id, &self.lines(system));
        controller_reset(&system.controller);
        world::reset();
        vcpu.power.turn_off();
        cpu::abandon()
    }

    /// Has the calling CPU, whose vCPU is off, take part in an ending; the last one finishes it.
    pub fn depart_if_ending(&self, system: &System, vcpu: &Vcpu) {
        if self.life.must_depart(&vcpu.presence).is_none() {
            return;
        }
        self.gic.reset_vcpu(vcpu.id, &self.lines(system));
        if let Some(ending) = self.life.depart(&vcpu.presence) {
            self.finish(system, ending);
        }
    }

    /// Does what the ending asks for. All CPUs have departed.
    fn finish(&self, system: &System, ending: Ending) {
        self.gic.reset(&self.lines(system));
        if let Some(uart) = &self.uart {
            // With the lock held throughout, or a byte that another CPU receives just now could leave the
            // line high that nobody lowers again.
            let mut device = uart.device.lock();
            device.reset();
            self.tell_uart(system, cpu::current(), uart, &device);
        }
        if let Some(watchdog) = &self.watchdog {
            *watchdog.device.lock() = watchdog::Watchdog::default();
        }
        console::flush(self);
        let held_back = self.limiter.lock().held_back();
        self.tell_held_back(held_back);
        match self.again(ending) {
            Again::At(due) => {
                console::line(format_args!("{}: restarts", self.name));
                self.start_at(system, due);
            }
            Again::TooOften => self.stop(system, "does not restart again: too often in a row"),
            Again::No => self.stop(
                system,
                match ending {
                    Ending::Off => "powered off",
                    Ending::Stop => STOPPED_BY_HAND,
                    Ending::Restart | Ending::Crash => "stays stopped",
                },
            ),
        }
    }

    /// Whether it starts again, and when. A row of restarts that it did not ask for, or that it asks for as soon as
    /// it runs, is slowed down; only those that it did not ask for have a limit.
    fn again(&self, ending: Ending) -> Again {
        let policy = &self.plan.restart;
        match (ending, policy.when) {
            (Ending::Stop, _) | (Ending::Off, Restart::Never | Restart::OnCrash) => return Again::No,
            (Ending::Crash, Restart::Never) => return Again::No,
            (Ending::Restart, _) | (Ending::Off | Ending::Crash, _) => {}
        }
        let now = timer::now();
        let ran = now.saturating_sub(self.started_at());
        let asked = ending == Ending::Restart;
        if ran >= timer::counts(if asked { SHORT_RUN_MS } else { LONG_RUN_MS }) {
            self.row.store(0, Ordering::Relaxed);
        }
        let row = self.row.load(Ordering::Relaxed);
        if asked && ran >= timer::counts(SHORT_RUN_MS) {
            return Again::At(now);
        }
        if !asked && row >= policy.limit {
            return Again::TooOften;
        }
        self.row.store(row.saturating_add(1), Ordering::Relaxed);
        let delay = u64::from(policy.delay_ms) << row.min(16);
        Again::At(now.saturating_add(timer::counts(delay.min(LONGEST_DELAY_MS))))
    }

    /// It stays stopped, and the board goes off if it was the last one. Called by whoever is alone with it.
    fn stop(&self, system: &System, what: &str) {
        console::set_stopped(self.id, true);
        self.since.store(timer::now(), Ordering::Relaxed);
        console::line(format_args!("{}: {what}", self.name));
        self.life.stop();
        // Two partitions may end at once: both may find that all have, and power off is for whoever
        // comes first. `Life` is sequentially consistent, so at least one of them finds it.
        if system.partitions.iter().all(Self::is_stopped) {
            console::line(format_args!("every partition has powered off; the board powers off"));
            dsb_sy();
            crate::panic::halt_board();
        }
    }
}
