// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the operator asked to see: a line at a time, as the port has room, so that the guest on this CPU does not wait for
//! its neighbours' output, nor for the rest of a table.

use super::tables;
use crate::console::{self, notice};
use crate::cpu::{self, Cpu};
use crate::interrupts;
use crate::partition::Partition;
use crate::system::System;
use crate::timer;
use bulkhead_types::PartitionId;
use core::fmt;
use core::sync::atomic::{
    AtomicU16,
    Ordering::{Acquire, Relaxed, Release},
};
use spin::mutex::TicketMutex;

/// How many answers may be to come.
const WAITING: usize = 8;
/// Lines of another partition's console that are shown again.
const LINES: usize = 20;
/// How long a CPU may take to print its vCPU's registers, in milliseconds.
const PATIENCE_MS: u64 = 3000;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    /// The keys, and which partitions there are.
    Help,
    /// All partitions.
    Partitions,
    /// The exits of all vCPUs.
    Exits,
    /// The last lines of a partition.
    History,
    /// The registers of its vCPUs, one after another.
    Registers,
    /// Its interrupts.
    Interrupts,
    /// Its memory map.
    Memory,
}

/// One answer, and how far it has come.
#[derive(Clone, Copy, Debug)]
struct Report {
    page: Page,
    about: PartitionId,
    /// The next line; of registers, the next vCPU.
    row: usize,
    /// Where in the history the next line is.
    place: Option<usize>,
    /// When the vCPU was asked.
    since: Option<u64>,
}

/// What is left of a report.
enum Left {
    More,
    Nothing,
}

static REPORTS: TicketMutex<[Option<Report>; WAITING]> = TicketMutex::new([None; WAITING]);

/// The CPU that goes on with them: the one that was asked last.
static CPU: AtomicU16 = AtomicU16::new(0);

/// The rows of a page, of which one is sent.
pub struct Rows {
    wanted: usize,
    seen: usize,
    sent: bool,
}

impl Rows {
    /// Whether the next row is the one to send.
    pub const fn is_next(&self) -> bool {
        self.seen == self.wanted
    }

    /// The next row.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        if self.is_next() {
            self.sent = notice(text);
        }
        self.seen = self.seen.saturating_add(1);
    }
}

/// Puts a page on its way, a line each time this CPU's timer comes.
pub fn begin(system: &'static System, page: Page, about: PartitionId) {
    let mut reports = REPORTS.lock();
    let free = reports.iter_mut().find(|report| report.is_none());
    let is_full = free.is_none();
    if let Some(free) = free {
        *free = Some(Report { page, about, row: 0, place: None, since: None });
    }
    drop(reports);
    if is_full {
        super::say(format_args!("monitor: {WAITING} answers are still to come"));
    }
    let cpu = cpu::current();
    CPU.store(cpu.index.0, Relaxed);
    // Without EL2's timer all is sent now, up to a bound.
    let visits = if system.timer.is_none() { 100_000 } else { 1 };
    (0..visits).take_while(|_| go_on(system, cpu)).for_each(drop);
}

/// Sends the next line, if it is this CPU that was asked. True if more follows.
pub fn go_on(system: &'static System, cpu: &'static Cpu) -> bool {
    if CPU.load(Relaxed) != cpu.index.0 {
        return false;
    }
    let mut reports = REPORTS.lock();
    // Each turn ends a report, or the loop.
    while let Some(Some(report)) = reports.first_mut() {
        if !matches!(report.go_on(system), Left::Nothing) {
            timer::set_console(system, cpu, 0);
            return true;
        }
        reports.rotate_left(1);
        if let Some(last) = reports.last_mut() {
            *last = None;
        }
    }
    false
}

impl Report {
    fn go_on(&mut self, system: &'static System) -> Left {
        let Some(partition) = system.partitions.get(usize::from(self.about.0)) else { return Left::Nothing };
        if !console::has_room() {
            return Left::More;
        }
        let mut rows = Rows { wanted: self.row, seen: 0, sent: false };
        match self.page {
            Page::Help => tables::help(system, &mut rows),
            Page::Partitions => tables::partitions(system, &mut rows),
            Page::Exits => tables::exits(system, &mut rows),
            Page::Interrupts => tables::interrupts(system, partition, &mut rows),
            Page::Memory => tables::memory(partition, &mut rows),
            Page::History => return self.history(),
            Page::Registers => return self.registers(system, partition),
        }
        if rows.sent {
            self.row = self.row.saturating_add(1);
        }
        match rows.seen > self.row {
            true => Left::More,
            false => Left::Nothing,
        }
    }

    /// The partition may go on; then what it says meanwhile is shown in place of the oldest.
    fn history(&mut self) -> Left {
        self.place = console::past(self.about, self.place, LINES);
        self.row = self.row.saturating_add(1);
        match self.place {
            Some(_) if self.row <= LINES => Left::More,
            _ => Left::Nothing,
        }
    }

    /// Asks one vCPU after another: each CPU prints what it alone knows.
    fn registers(&mut self, system: &System, partition: &Partition) -> Left {
        let Some(vcpu) = partition.vcpus.get(self.row) else { return Left::Nothing };
        let now = timer::now();
        let Some(since) = self.since else {
            self.since = Some(now);
            vcpu.asked.store(true, Release);
            interrupts::kick(system, vcpu.cpu);
            return Left::More;
        };
        let is_late = now.saturating_sub(since) > timer::counts(PATIENCE_MS);
        if vcpu.asked.load(Acquire) && !is_late {
            return Left::More;
        }
        if vcpu.asked.swap(false, Relaxed) {
            notice(format_args!("{}/{}: its CPU does not answer", partition.name, vcpu.id.0));
        }
        (self.row, self.since) = (self.row.saturating_add(1), None);
        self.registers(system, partition)
    }
}
