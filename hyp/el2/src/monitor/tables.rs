// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rows of what the monitor shows: with the stamp before it, each fits a terminal of 80 columns. The host command
//! reads partitions and exits (`scripts/src/stats/answer.rs`).

use super::report::Rows;
use crate::console::{self, ESCAPE};
use crate::counts::{INTERRUPTS, KICKS, REASONS};
use crate::partition::Partition;
use crate::system::System;
use crate::timer;
use bulkhead_machine::console::KeyName;
use core::fmt::{self, Display};
use core::iter;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// When exits were shown last, and how many milliseconds before that the time before.
static SHOWN_AT: AtomicU64 = AtomicU64::new(0);
static SINCE_MS: AtomicU64 = AtomicU64::new(0);

/// CPUs in a row.
const CPUS: usize = 10;

/// The keys, and which partitions there are.
pub fn help(system: &System, rows: &mut Rows) {
    let key = KeyName(ESCAPE.load(Relaxed));
    rows.line(format_args!("{key} and a digit: input goes to that partition;"));
    rows.line(format_args!("  n: to the next; o: others are hidden, or not;"));
    rows.line(format_args!("  {key}: sends {key}; ?: help"));
    if system.policy.monitor {
        for text in [
            "  l: all partitions; t: their exits; v: log level",
            "  s, x, r: start, stop, restart the one in focus",
            "  d: its registers; i: interrupts; m: memory",
            "  h h: its last lines; h 2: those of partition 2",
        ] {
            rows.line(format_args!("{text}"));
        }
    }
    for partition in &system.partitions {
        let state = if partition.is_stopped() { " (stopped)" } else { "" };
        let focus = if partition.id == console::focus() { " (in focus)" } else { "" };
        rows.line(format_args!("  {}{state}{focus}", Name(partition)));
    }
    if !system.policy.monitor {
        rows.line(format_args!("monitor: disabled by the configuration (no-monitor)"));
    }
}

/// A partition's number, by which the console's keys know it, and its name.
struct Name<'a>(&'a Partition);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.id.0.saturating_add(1), self.0.name)
    }
}

/// All partitions, two rows each, and more for many CPUs.
pub fn partitions(system: &System, rows: &mut Rows) {
    rows.line(format_args!("{} partitions:", system.partitions.len()));
    for partition in &system.partitions {
        let (state, ms) = partition.state();
        rows.line(format_args!("  {}", Name(partition)));
        let restarts = partition.starts().saturating_sub(1);
        let focus = if partition.id == console::focus() { ", in focus" } else { "" };
        rows.line(format_args!("    {state} {}.{:03} s, restarts {restarts}{focus}", ms / 1000, ms % 1000));
        for vcpus in partition.vcpus.chunks(CPUS) {
            let cpus = fmt::from_fn(|f| vcpus.iter().try_for_each(|vcpu| write!(f, " {}", vcpu.cpu)));
            rows.line(format_args!("    CPUs{cpus}"));
        }
    }
}

/// The exits of all vCPUs since boot, and those of a second since they were shown last: some rows for each vCPU.
pub fn exits(system: &'static System, rows: &mut Rows) {
    let guests = system.cpus.iter().filter_map(|cpu| cpu.guest());
    if rows.is_next() {
        let now = timer::now();
        let since = now.saturating_sub(SHOWN_AT.swap(now, Relaxed));
        SINCE_MS.store(timer::milliseconds(since), Relaxed);
    }
    rows.line(format_args!("exits of {} vCPUs:", guests.clone().count()));
    for guest in guests {
        let (name, vcpu, cpu) = (guest.partition.name, guest.vcpu.id.0, guest.cpu.index.0);
        rows.line(format_args!("  {name}/{vcpu} on CPU {cpu}:"));
        let counts = guest.exits.get();
        let mut rate = 0;
        if rows.is_next() {
            // What follows are interrupts too.
            let total = counts.iter().take(KICKS).fold(0, |sum: u64, count| sum.wrapping_add(*count));
            let since = total.wrapping_sub(guest.exits_told.swap(total, Relaxed));
            rate = since.saturating_mul(1000).checked_div(SINCE_MS.load(Relaxed)).unwrap_or(0);
        }
        let mut cells = iter::once(("per-second", rate)).chain(REASONS.into_iter().zip(counts));
        while let Some((reason, count)) = cells.next() {
            match cells.next() {
                Some((other, its)) => {
                    rows.line(format_args!("    {reason:<10} {count:>11}  {other:<10} {its:>11}"));
                }
                None => rows.line(format_args!("    {reason:<10} {count:>11}")),
            }
        }
    }
}

/// The interrupts that the partition owns beside its timers', and how many its vCPUs have taken.
pub fn interrupts(system: &'static System, partition: &Partition, rows: &mut Rows) {
    rows.line(format_args!("interrupts of {}:", partition.name));
    if let Some(uart) = &partition.uart {
        rows.line(format_args!("  {} of its virtual UART", uart.interrupt));
    }
    for device in &partition.plan.devices {
        for (id, trigger) in &device.interrupts {
            rows.line(format_args!("  {id} ({trigger:?}) of"));
            rows.line(format_args!("    {}", device.path));
        }
    }
    let guests = system.cpus.iter().filter_map(|cpu| cpu.guest());
    for guest in guests.filter(|guest| guest.partition.id == partition.id) {
        let counts = guest.exits.get();
        let taken = counts.get(INTERRUPTS).copied().unwrap_or(0);
        let ours = counts.iter().skip(KICKS).fold(0, |sum: u64, count| sum.wrapping_add(*count));
        rows.line(format_args!("  vCPU {} has taken", guest.vcpu.id.0));
        rows.line(format_args!("    {} of its own, {ours} of the hypervisor's", taken.saturating_sub(ours)));
    }
}

/// What the partition finds at which address.
pub fn memory(partition: &Partition, rows: &mut Rows) {
    rows.line(format_args!("memory map of {}:", partition.name));
    for memory in &partition.plan.memory {
        let access = if memory.access.write { "" } else { ", read-only" };
        let fetch = if memory.access.execute { "" } else { ", no-execute" };
        rows.line(format_args!("  {}: memory{access}{fetch}", memory.guest));
        rows.line(format_args!("    at {}", memory.frames));
    }
    for device in &partition.plan.devices {
        for registers in &device.registers {
            rows.line(format_args!("  {registers}:"));
            rows.line(format_args!("    {}", device.path));
        }
    }
    let frames = &partition.frames;
    let devices = [
        (Some(frames.distributor), "distributor"),
        (Some(frames.redistributors).filter(|frames| frames.size() > 0), "redistributors"),
        (partition.uart.as_ref().map(|uart| uart.frame), "UART"),
        (partition.watchdog.as_ref().map(|watchdog| watchdog.frames), "watchdog"),
    ];
    for (frames, what) in devices {
        if let Some(frames) = frames {
            rows.line(format_args!("  {frames}: {what}, virtual"));
        }
    }
}
