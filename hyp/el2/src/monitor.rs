// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's commands: Ctrl-] and a letter, about the partition in focus. They run on the CPU that has the
//! console's interrupt and put a few lines on their way; what another CPU knows, that CPU is asked to print.

use crate::console::line;
use crate::interrupts;
use crate::partition::Partition;
use crate::system::System;
use bulkhead_el2::life::Ending;
use bulkhead_types::PartitionId;
use core::sync::atomic::Ordering::Relaxed;
use log::LevelFilter;

/// Carries out the command `key`.
#[cold]
pub fn command(system: &'static System, focus: PartitionId, key: u8) {
    if !system.policy.monitor {
        return line(format_args!("monitor: disabled by the configuration (no-monitor)"));
    }
    let Some(partition) = system.partitions.get(usize::from(focus.0)) else { return };
    let done = match key {
        b'l' => return system.partitions.iter().for_each(list),
        b's' => partition.start_by_hand(system),
        b'x' => partition.stop_by_hand(system),
        b'r' => partition.end(system, Ending::Restart) || partition.start_by_hand(system),
        b'd' => return ask(system, partition),
        b'i' => return interrupts_of(partition),
        b'm' => return memory(partition),
        b'v' => return level(),
        _ => return help(),
    };
    if !done {
        line(format_args!("monitor: {}: not in this state", partition.name));
    }
}

fn help() {
    line(format_args!(
        "Ctrl-] l: list of all partitions. Of the one in focus: s, x, r: start, stop, restart;"
    ));
    line(format_args!("  d: registers; i: interrupts; m: memory; v: log level"));
}

fn list(partition: &Partition) {
    let cpus = partition.vcpus.len();
    let (state, ms) = partition.state();
    let starts = partition.starts();
    line(format_args!(
        "  {:<16} {cpus} CPUs  {state} {}.{:03} s  started {starts} times",
        partition.name,
        ms / 1000,
        ms % 1000
    ));
}

/// Has each CPU of the partition print what it knows.
fn ask(system: &System, partition: &Partition) {
    for vcpu in &partition.vcpus {
        vcpu.asked.store(true, Relaxed);
        interrupts::kick(system, vcpu.cpu);
    }
}

fn interrupts_of(partition: &Partition) {
    if let Some(uart) = &partition.uart {
        line(format_args!("  {}: {} of its virtual UART", partition.name, uart.interrupt));
    }
    for device in &partition.plan.devices {
        for (id, trigger) in &device.interrupts {
            line(format_args!("  {}: {id} ({trigger:?}) of {}", partition.name, device.path));
        }
    }
}

fn memory(partition: &Partition) {
    let name = partition.name;
    for memory in &partition.plan.memory {
        let access = if memory.access.write { "" } else { ", read-only" };
        let fetch = if memory.access.execute { "" } else { ", no-execute" };
        line(format_args!("  {name}: {} is memory at {}{access}{fetch}", memory.guest, memory.frames));
    }
    for device in &partition.plan.devices {
        for (guest, registers) in &device.registers {
            line(format_args!("  {name}: {guest} is {} at {registers}", device.path));
        }
    }
    for (what, frames) in [
        ("the distributor", partition.frames.distributor),
        ("the redistributors", partition.frames.redistributors),
    ] {
        line(format_args!("  {name}: {frames} is {what}, virtual"));
    }
    if let Some(uart) = &partition.uart {
        line(format_args!("  {name}: {} is the UART, virtual", uart.frame));
    }
    if let Some(watchdog) = &partition.watchdog {
        line(format_args!("  {name}: {} is the watchdog, virtual", watchdog.frames));
    }
}

/// The next log level, around the end.
fn level() {
    let next = match log::max_level() {
        LevelFilter::Info => LevelFilter::Warn,
        LevelFilter::Warn => LevelFilter::Error,
        _ => LevelFilter::Info,
    };
    log::set_max_level(next);
    line(format_args!("monitor: the log tells {next} and worse"));
}
