// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's commands: Ctrl-] and a letter, about the partition in focus. They run on the CPU that has the
//! console's interrupt and put a few lines on their way; what another CPU knows, that CPU is asked to print. No lock is
//! held from one line to the next.

mod tables;

use crate::console::{self, ERROR, INFO, LEVEL, WARN, line};
use crate::interrupts;
use crate::partition::Partition;
use crate::system::System;
use bulkhead_el2::life::Ending;
use bulkhead_machine::console::HISTORY;
use bulkhead_types::PartitionId;
use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Lines of another partition's console that are told again.
const LINES: usize = 20;

/// The partition whose end would be the board's, if the last command was to stop it.
static LAST: AtomicU16 = AtomicU16::new(u16::MAX);

/// Carries out the command `key`.
#[cold]
pub fn command(system: &'static System, about: PartitionId, key: u8) {
    if !system.policy.monitor {
        return line(format_args!("monitor: disabled by the configuration (no-monitor)"));
    }
    let asked = LAST.swap(u16::MAX, Relaxed);
    let Some(partition) = system.partitions.get(usize::from(about.0)) else {
        return line(format_args!("monitor: there is no partition {}", about.0.saturating_add(1)));
    };
    let done = match key {
        b'l' => return tables::partitions(system),
        b't' => return tables::exits(system),
        HISTORY => return console::tell_history(about, LINES),
        b's' => partition.start_by_hand(system),
        b'x' if asked != about.0 && is_last(system, partition) => {
            LAST.store(about.0, Relaxed);
            return line(format_args!(
                "monitor: {} is the last that runs, and the board powers off with it: Ctrl-] x again stops it",
                partition.name
            ));
        }
        b'x' => partition.stop_by_hand(system),
        b'r' => partition.end(system, Ending::Restart) || partition.start_by_hand(system),
        b'd' => return ask(system, partition),
        b'i' => return tables::interrupts(system, partition),
        b'm' => return tables::memory(partition),
        b'v' => return level(),
        b'?' => return help(),
        _ => {
            return line(format_args!(
                "monitor: there is no command `{}`; Ctrl-] ? shows them",
                key.escape_ascii()
            ));
        }
    };
    if !done {
        let (state, _) = partition.state();
        line(format_args!("monitor: {}: its state is `{state}`: nothing to do", partition.name));
    }
}

fn help() {
    for text in [
        "Ctrl-] l: list of all partitions; t: their exits; v: how much the log tells",
        "Ctrl-] s, x, r: start, stop, restart the partition in focus",
        "Ctrl-] d: its registers; i: its interrupts; m: its memory; h: its last lines, h 2: those of partition 2",
    ] {
        line(format_args!("{text}"));
    }
}

/// Whether no other partition runs, or will.
fn is_last(system: &System, partition: &Partition) -> bool {
    !partition.is_stopped() && system.partitions.iter().all(|it| it.id == partition.id || it.is_stopped())
}

/// Has each CPU of the partition print what it knows.
fn ask(system: &System, partition: &Partition) {
    for vcpu in &partition.vcpus {
        vcpu.asked.store(true, Relaxed);
        interrupts::kick(system, vcpu.cpu);
    }
}

/// The next log level, around the end.
fn level() {
    let (next, what) = match LEVEL.load(Relaxed) {
        INFO => (WARN, "WARN and worse: no registers of a partition that crashes"),
        WARN => (ERROR, "ERROR and worse: no warnings of partitions either"),
        _ => (INFO, "INFO and worse: everything"),
    };
    LEVEL.store(next, Relaxed);
    line(format_args!("monitor: the log tells {what}"));
}
