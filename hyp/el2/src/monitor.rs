// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's commands: Ctrl-] and a letter, about the partition in focus. They run on the CPU that has the
//! console's interrupt, which sends no line that the port has no room for; what another CPU knows, that CPU is asked to print.

mod report;
mod tables;

pub use report::go_on;

use crate::console::{self, ERROR, ESCAPE, INFO, LEVEL, WARN, notice};
use crate::partition::Partition;
use crate::system::System;
use bulkhead_el2::life::Ending;
use bulkhead_machine::console::{HISTORY, KeyName};
use bulkhead_types::PartitionId;
use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering::Relaxed};
use report::Page;

/// The partition whose end would be the board's, if the last command was to stop it.
static LAST: AtomicU16 = AtomicU16::new(u16::MAX);

/// Carries out the command `key`.
#[cold]
pub fn command(system: &'static System, about: PartitionId, key: u8) {
    let escape = KeyName(ESCAPE.load(Relaxed));
    if key == b'?' {
        return report::begin(system, Page::Help, about);
    }
    if !system.policy.monitor {
        return say(format_args!("monitor: disabled by the configuration (no-monitor)"));
    }
    let asked = LAST.swap(u16::MAX, Relaxed);
    let Some(partition) = system.partitions.get(usize::from(about.0)) else {
        return say(format_args!("monitor: there is no partition {}", about.0.saturating_add(1)));
    };
    let done = match key {
        b'l' => return report::begin(system, Page::Partitions, about),
        b't' => return report::begin(system, Page::Exits, about),
        HISTORY => return report::begin(system, Page::History, about),
        b's' => partition.start_by_hand(system),
        b'x' if asked != about.0 && is_last(system, partition) => {
            LAST.store(about.0, Relaxed);
            return say(format_args!(
                "monitor: {} is the last that runs, and the board powers off with it: {escape} x again stops it",
                partition.name
            ));
        }
        b'x' => partition.stop_by_hand(system),
        b'r' => partition.end(system, Ending::Restart) || partition.start_by_hand(system),
        b'd' => return report::begin(system, Page::Registers, about),
        b'i' => return report::begin(system, Page::Interrupts, about),
        b'm' => return report::begin(system, Page::Memory, about),
        b'v' => return level(),
        _ => {
            return say(format_args!(
                "monitor: there is no command `{}`; {escape} ? shows them",
                key.escape_ascii()
            ));
        }
    };
    if !done {
        let (state, _) = partition.state();
        say(format_args!("monitor: {}: its state is `{state}`: nothing to do", partition.name));
    }
}

/// Whether no other partition runs, or will.
fn is_last(system: &System, partition: &Partition) -> bool {
    !partition.is_stopped() && system.partitions.iter().all(|it| it.id == partition.id || it.is_stopped())
}

/// Sends a line, if there is room; else the next one says that it is lost.
fn say(text: fmt::Arguments<'_>) {
    if !notice(text) {
        console::lose();
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
    say(format_args!("monitor: the log prints {what}"));
}
