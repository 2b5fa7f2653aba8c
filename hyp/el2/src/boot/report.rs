// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the console says while booting.

use crate::console::line;
use crate::memory;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bulkhead_plan::board::{Board, Gic};
use bulkhead_plan::plan::{Partition, Plan};

/// Describes the board and the partitions, one line each.
pub fn describe(board: &Board, plan: &Plan) {
    let memory: u64 = board.memory.iter().map(|bank| bank.size() >> 20).sum();
    let gic = match board.gic {
        Gic::V2 { .. } => 2,
        Gic::V3 { .. } => 3,
    };
    line(format_args!("board: {}, {} CPUs, {memory} MiB, GICv{gic}", board.model, board.cpus.len()));
    for warning in &plan.warnings {
        line(format_args!("warning: {warning}"));
    }
    for (number, partition) in plan.partitions.iter().enumerate() {
        line(format_args!(
            "partition {} {}: {}",
            number.saturating_add(1),
            partition.name,
            summary(partition)
        ));
    }
}

/// CPUs, memory and devices of a partition.
fn summary(partition: &Partition) -> String {
    let cpus: Vec<String> = partition.cpus.iter().map(|cpu| format!("{cpu}")).collect();
    let kib: u64 = partition.memory.iter().map(|memory| memory.frames.size() >> 10).sum();
    let memory = if kib.is_multiple_of(1024) { format!("{} MiB", kib >> 10) } else { format!("{kib} KiB") };
    let plural = if cpus.len() == 1 { "CPU" } else { "CPUs" };
    let devices: String = match partition.primary {
        true => ", and all devices that are left".into(),
        false => partition.devices.iter().map(|device| format!(", {}", device.path)).collect(),
    };
    format!("{plural} {}, {memory}{devices}", cpus.join(" "))
}

/// Says how much of the heap is used, now that everything is built.
pub fn memory() {
    let (used, all) = memory::used();
    line(format_args!(
        "hypervisor: heap {} of {} KiB used; tables audited, {} KiB image",
        used >> 10,
        all >> 10,
        image_kib()
    ));
}

fn image_kib() -> u64 {
    let image = super::entry::layout();
    image.end.saturating_sub(image.text) >> 10
}
