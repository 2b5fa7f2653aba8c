// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the monitor shows in rows. The host command reads the first two (`scripts/src/stats.rs`).

use crate::console::{self, line};
use crate::counts::{INTERRUPTS, KICKS, REASONS};
use crate::partition::Partition;
use crate::system::System;
use crate::timer;
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// When exits were told last.
static TOLD_AT: AtomicU64 = AtomicU64::new(0);

/// Columns of the same width.
struct Columns<'a, T>(&'a [T]);

impl<T: Display> Display for Columns<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|cell| write!(f, " {cell:>10}"))
    }
}

/// The CPUs of a partition.
struct Cpus<'a>(&'a Partition);

impl Display for Cpus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.vcpus.iter().try_for_each(|vcpu| write!(f, " {}", vcpu.cpu))
    }
}

/// All partitions, a row each.
pub fn partitions(system: &System) {
    let focus = console::focus();
    line(format_args!("{} partitions:", system.partitions.len()));
    for partition in &system.partitions {
        let (state, ms) = partition.state();
        line(format_args!(
            "  {} {:<16} {state:<7} {:>6}.{:03} s  restarts {:<4} CPUs{}{}",
            partition.id.0.saturating_add(1),
            partition.name,
            ms / 1000,
            ms % 1000,
            partition.starts().saturating_sub(1),
            Cpus(partition),
            if partition.id == focus { " (input goes here)" } else { "" },
        ));
    }
}

/// The exits of all vCPUs since boot, a row each, and those of a second since they were told last.
pub fn exits(system: &'static System) {
    let guests = system.cpus.iter().filter_map(|cpu| cpu.guest());
    let now = timer::now();
    let ms = timer::milliseconds(now.saturating_sub(TOLD_AT.swap(now, Relaxed)));
    line(format_args!("exits of {} vCPUs:", guests.clone().count()));
    line(format_args!("  partition        vCPU  CPU{}{}", Columns(&["per-second"]), Columns(&REASONS)));
    for guest in guests {
        let counts = guest.exits.get();
        // What follows are interrupts too.
        let total = counts.iter().take(KICKS).fold(0, |sum: u64, count| sum.wrapping_add(*count));
        let since = total.wrapping_sub(guest.exits_told.swap(total, Relaxed));
        let rate = since.saturating_mul(1000).checked_div(ms).unwrap_or(0);
        let (name, vcpu, cpu) = (guest.partition.name, guest.vcpu.id.0, guest.cpu.index.0);
        line(format_args!("  {name:<16} {vcpu:>4} {cpu:>4}{}{}", Columns(&[rate]), Columns(&counts)));
    }
}

/// The interrupts that the partition owns beside its timers', and how many its vCPUs have taken.
pub fn interrupts(system: &'static System, partition: &Partition) {
    let name = partition.name;
    if let Some(uart) = &partition.uart {
        line(format_args!("  {name}: {} of its virtual UART", uart.interrupt));
    }
    for device in &partition.plan.devices {
        for (id, trigger) in &device.interrupts {
            line(format_args!("  {name}: {id} ({trigger:?}) of {}", device.path));
        }
    }
    let guests = system.cpus.iter().filter_map(|cpu| cpu.guest());
    for guest in guests.filter(|guest| guest.partition.id == partition.id) {
        let counts = guest.exits.get();
        let taken = counts.get(INTERRUPTS).copied().unwrap_or(0);
        let ours = counts.iter().skip(KICKS).fold(0, |sum: u64, count| sum.wrapping_add(*count));
        let its = taken.saturating_sub(ours);
        line(format_args!("  {name}/{}: {its} interrupts of its own, {ours} of ours", guest.vcpu.id.0));
    }
}

/// What the partition finds at which address.
pub fn memory(partition: &Partition) {
    let name = partition.name;
    for memory in &partition.plan.memory {
        let access = if memory.access.write { "" } else { ", read-only" };
        let fetch = if memory.access.execute { "" } else { ", no-execute" };
        line(format_args!("  {name}: {} is memory at {}{access}{fetch}", memory.guest, memory.frames));
    }
    for device in &partition.plan.devices {
        for registers in &device.registers {
            line(format_args!("  {name}: {} is {} at {registers}", registers.start(), device.path));
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
            line(format_args!("  {name}: {frames} is the {what}, virtual"));
        }
    }
}
