// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The plan for machines. Addresses are strings in hexadecimal, sizes numbers of bytes.

use super::view::{BLOCKS, View, blocks, trigger};
use bulkhead_plan::board::Gic;
use bulkhead_plan::partition::Restart;
use bulkhead_plan::plan::{Device, GuestGic, Memory, Partition};
use bulkhead_types::{Hpa, Range};
use serde_json::{Map, Value, json};

/// Everything about a plan.
pub fn value(view: &View<'_>) -> Value {
    let board = view.board;
    let named = |range: &Range<Hpa>, what: &str| json!({ "start": range.start().to_string(), "size": range.size(), "what": what });
    let gic = match board.gic {
        Gic::V2 { .. } => 2,
        Gic::V3 { .. } => 3,
    };
    let cpus = board
        .cpus
        .iter()
        .map(|cpu| json!({ "path": cpu.path, "reg": format!("{:#x}", cpu.mpidr.affinity()) }));
    json!({
        "configuration": view.title,
        "board": {
            "model": board.model,
            "compatible": board.compatible,
            "gic": gic,
            "cpus": cpus.collect::<Vec<_>>(),
            "memory": board.memory.iter().map(range).collect::<Vec<_>>(),
            "reserved": board.reserved.iter().map(|(range, what)| named(range, what)).collect::<Vec<_>>(),
        },
        "hypervisor": view.taken.iter().map(|(range, what)| named(range, what)).collect::<Vec<_>>(),
        "partitions": view.plan.partitions.iter().map(partition).collect::<Vec<_>>(),
        "idle_cpus": view.plan.idle_cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>(),
        "free": view.plan.free.iter().map(range).collect::<Vec<_>>(),
        "warnings": view.plan.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn range(range: &Range<Hpa>) -> Value {
    json!({ "start": range.start().to_string(), "size": range.size() })
}

fn partition(partition: &Partition) -> Value {
    let restart = match partition.restart.when {
        Restart::Never => "never",
        Restart::OnCrash => "on-crash",
        Restart::Always => "always",
    };
    let uart = partition.uart.as_ref();
    let loads = partition.loads.iter();
    json!({
        "name": partition.name,
        "cpus": partition.cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>(),
        "memory": partition.memory.iter().map(memory).collect::<Vec<_>>(),
        "identity_mapped": partition.identity_mapped,
        "primary": partition.primary,
        "devices": partition.devices.iter().map(device).collect::<Vec<_>>(),
        "uart": uart.map(|uart| json!({ "base": uart.base.to_string(), "interrupt": uart.interrupt.to_string() })),
        "interrupt_controller": interrupt_controller(&partition.interrupt_controller),
        "entry": partition.entry.to_string(),
        "ramdisk": partition.ramdisk.map(|place| json!({ "at": place.start().to_string(), "size": place.size() })),
        "device_tree": { "at": partition.tree.at.to_string(), "size": partition.tree.blob.len() },
        "loads": loads.map(|load| json!({ "to": load.to.to_string(), "size": load.bytes.len() })).collect::<Vec<_>>(),
        "restart": restart,
        "restart_limit": partition.restart.limit,
        "restart_delay_ms": partition.restart.delay_ms,
        "watchdog": partition.watchdog.map(|at| at.to_string()),
        "zero_at_boot": partition.zero_at_boot,
    })
}

fn memory(memory: &Memory) -> Value {
    let counts = blocks(memory);
    let blocks: Map<String, Value> =
        BLOCKS.iter().zip(counts).map(|((_, name), count)| ((*name).into(), count.into())).collect();
    json!({
        "guest": memory.guest.to_string(),
        "physical": memory.frames.start().to_string(),
        "size": memory.frames.size(),
        "blocks": blocks,
        "write": memory.access.write,
        "execute": memory.access.execute,
        "in_place": memory.in_place,
        "kept": memory.kept,
    })
}

fn device(device: &Device) -> Value {
    let registers = device.registers.iter().map(|pages| {
        let at = pages.start().to_string();
        json!({ "guest": at, "physical": at, "size": pages.size() })
    });
    let interrupts = device.interrupts.iter();
    let interrupts = interrupts.map(|(id, kind)| json!({ "id": id.to_string(), "trigger": trigger(*kind) }));
    json!({
        "path": device.path,
        "registers": registers.collect::<Vec<_>>(),
        "interrupts": interrupts.collect::<Vec<_>>(),
    })
}

fn interrupt_controller(gic: &GuestGic) -> Value {
    match gic {
        GuestGic::V2 { distributor, cpu_interface } => json!({
            "version": 2, "distributor": distributor.to_string(), "cpu_interface": cpu_interface.to_string(),
        }),
        GuestGic::V3 { distributor, redistributors } => json!({
            "version": 3, "distributor": distributor.to_string(), "redistributors": redistributors.to_string(),
        }),
    }
}
