// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a user's tree describes, against what the partition has. A guest that believes in a CPU, an interrupt controller
//! or memory that is not there dies before its console, so that is said before.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, IntId, Range, VcpuId};

use crate::early::conduit;
use crate::error::{Problem, listed};
use crate::guest_tree::Guest;
use crate::interrupts::{GIC_V3, interrupts, is_gic, understood_interrupts};
use crate::plan::{Device, GuestGic, Memory};
use crate::tree::{Node, Tree};

/// The INTID of shared peripheral interrupt 0 (IHI 0048B, 2.2.1).
const FIRST_SHARED: u32 = 32;

/// Checks all of the tree. Warnings are about devices: their drivers fail, and the guest may live on.
///
/// # Errors
/// CPUs, memory, an interrupt controller or a timer that the partition does not have.
pub(super) fn check(
    guest: &Guest<'_, '_>,
    tree: &Tree<'_>,
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    memory(guest, tree)?;
    warnings.extend(cpus(guest, tree)?);
    gic(guest, tree)?;
    timer(guest, tree)?;
    warnings.extend(psci(tree));
    devices(guest, tree, warnings);
    Ok(())
}

fn problem(node: Node<'_, '_>, what: &str) -> Problem {
    Problem::new(node.path(), format!("{} describes {what}", node.path()))
}

fn memory(guest: &Guest<'_, '_>, tree: &Tree<'_>) -> Result<(), Problem> {
    let root = tree.root();
    for node in root.children().filter(|node| node.string("device_type") == Some("memory")) {
        for range in node.registers()? {
            if in_memory(guest, &range) < range.size() {
                let own: Vec<_> = guest.memory.iter().filter_map(Memory::range).collect();
                return Err(problem(node, &format!("memory that the partition does not have ({range})"))
                    .advice(format!("Its memory is {}", listed(&own))));
            }
        }
    }
    Ok(())
}

/// How many bytes of the range are the partition's memory.
fn in_memory(guest: &Guest<'_, '_>, range: &Range<Hpa>) -> u64 {
    let overlap = |memory: &Memory| {
        let (start, end) = (memory.guest.0, memory.guest.0.saturating_add(memory.frames.size()));
        end.min(range.end().0).saturating_sub(start.max(range.start().0))
    };
    guest.memory.iter().map(overlap).fold(0, u64::saturating_add)
}

/// A vCPU's MPIDR_EL1 has its number in the partition, whatever the number of the CPU that it runs on. A vCPU that the tree
/// does not have stays off: a warning.
fn cpus(guest: &Guest<'_, '_>, tree: &Tree<'_>) -> Result<Option<Problem>, Problem> {
    let own: Vec<u64> = (0..).map(VcpuId).zip(guest.cpus).map(|(vcpu, _)| vcpu.mpidr().affinity()).collect();
    let mut affinities = Vec::with_capacity(own.len());
    for node in described(tree) {
        let Some((affinity, _)) = node.reg()?.first().copied() else { continue };
        if !own.contains(&affinity) {
            let own: Vec<String> = own.iter().map(|own| format!("{own:#x}")).collect();
            return Err(problem(
                node,
                &format!("a CPU that the partition does not have (reg {affinity:#x})"),
            )
            .advice(format!("Its vCPUs are {}, whichever CPUs they run on", listed(&own))));
        }
        affinities.push(affinity);
        // The first one runs already.
        let method = node.string("enable-method");
        if affinity != own.first().copied().unwrap_or(0)
            && let Some(method) = method.filter(|method| *method != "psci")
        {
            return Err(problem(node, &format!("a CPU that is started by \"{method}\""))
                .advice("vCPUs are started by PSCI: enable-method = \"psci\""));
        }
    }
    let missing: Vec<String> =
        own.iter().filter(|own| !affinities.contains(own)).map(|own| format!("{own:#x}")).collect();
    // A guest without a node of its CPUs has other ways to know them.
    Ok((!missing.is_empty() && !affinities.is_empty()).then(|| {
        Problem::new(
            "/cpus",
            format!("the tree does not describe vCPU {}, which stays off", listed(&missing)),
        )
        .advice("Add a node with this reg, or give the partition fewer cpus")
    }))
}

/// The nodes of CPUs that the guest will use.
fn described<'t, 'a>(tree: &'t Tree<'a>) -> impl Iterator<Item = Node<'t, 'a>> {
    let cpus = tree.root().child("cpus").into_iter().flat_map(|cpus| cpus.children());
    cpus.filter(|node| node.string("device_type") == Some("cpu") && may_run(*node))
}

fn may_run(node: Node<'_, '_>) -> bool {
    !node.string("status").is_some_and(|status| status.starts_with("fail"))
}

fn gic(guest: &Guest<'_, '_>, tree: &Tree<'_>) -> Result<(), Problem> {
    let own = guest.gic.registers(guest.cpus.len());
    let (version, is_v3) = match guest.gic {
        GuestGic::V2 { .. } => ("GICv2", false),
        GuestGic::V3 { .. } => ("GICv3", true),
    };
    for node in tree.nodes().filter(|node| is_gic(*node) && node.is_available()) {
        let places: Vec<String> = own.iter().map(|(range, _)| format!("{range}")).collect();
        let advice = format!("The partition has a {version} at {}", listed(&places));
        if node.is_compatible_with_any(GIC_V3) != is_v3 {
            return Err(problem(node, "an interrupt controller of another version").advice(advice));
        }
        let registers = node.registers()?;
        let same = own.iter().enumerate().all(|(position, (range, _))| {
            registers.get(position).is_some_and(|found| found.start().0 == range.start().0)
        });
        if !same {
            return Err(
                problem(node, "an interrupt controller elsewhere than the partition's").advice(advice)
            );
        }
        // Each CPU that the tree has looks for a redistributor of its own there.
        let needed = guest.gic.registers(described(tree).count());
        let needed = needed.get(1).map_or(0, |(range, _)| range.size());
        let regions = registers.iter().skip(1).map(Range::size).fold(0, u64::saturating_add);
        if is_v3 && regions < needed {
            return Err(problem(node, "redistributors for fewer CPUs than it describes").advice(advice));
        }
    }
    Ok(())
}

/// A guest has the timers themselves, and so the board's interrupts of them.
fn timer(guest: &Guest<'_, '_>, tree: &Tree<'_>) -> Result<(), Problem> {
    let timer = &guest.board.timer;
    for node in tree.nodes().filter(|node| node.is_compatible("arm,armv8-timer")) {
        // Names may stand in any order: only the binding's order is checked here.
        if node.has("interrupt-names") {
            continue;
        }
        let found = interrupts(node)?;
        for (position, own) in [(1, timer.physical), (2, timer.virtual_timer)] {
            if let Some((id, _)) = found.get(position).filter(|(id, _)| *id != own) {
                let number = |id: u32| id.saturating_sub(16);
                let rule = format!("a timer with the private interrupt {}", number(id.get()));
                return Err(problem(node, &rule).advice(format!(
                    "The physical timer's is {}, the virtual one's {}",
                    number(timer.physical.get()),
                    number(timer.virtual_timer.get())
                )));
            }
        }
    }
    Ok(())
}

/// Both conduits lead to the hypervisor, but only a node of version 0.2 or later has the standard's numbers.
fn psci(tree: &Tree<'_>) -> Option<Problem> {
    let is_old =
        |node: &Node<'_, '_>| node.is_compatible("arm,psci") && conduit(|name| node.property(name)).is_none();
    let node = tree.nodes().find(is_old)?;
    Some(
        problem(node, "a PSCI before version 0.2, whose numbers the partition's does not have")
            .advice("Write compatible = \"arm,psci-1.0\", \"arm,psci-0.2\"; and method = \"hvc\";"),
    )
}

/// Registers at which the partition has nothing: an access aborts.
fn devices(guest: &Guest<'_, '_>, tree: &Tree<'_>, warnings: &mut Vec<Problem>) {
    let mut own: Vec<(u64, u64)> = Vec::new();
    own.extend(
        guest.gic.registers(guest.cpus.len()).iter().map(|(range, _)| (range.start().0, range.end().0)),
    );
    own.extend(
        guest.uart.and_then(crate::plan::GuestUart::registers).map(|range| (range.start().0, range.end().0)),
    );
    own.extend(guest.watchdog.map(|at| (at.0, at.0.saturating_add(2 * bulkhead_types::PAGE_SIZE))));
    own.extend(
        guest
            .devices
            .iter()
            .flat_map(|device| &device.registers)
            .map(|range| (range.start().0, range.end().0)),
    );
    let has = |range: &Range<Hpa>| {
        in_memory(guest, range) > 0
            || own.iter().any(|(start, end)| *start <= range.start().0 && range.start().0 < *end)
    };
    let described = tree.nodes().filter(|node| {
        node.has("compatible") && node.has("reg") && !is_gic(*node) && in_use(*node) && is_on_bus(*node)
    });
    for node in described {
        // What has no address for a CPU, as a device on I2C, cannot be checked.
        let Ok(registers) = node.registers() else { continue };
        warnings.extend(registers.first().and_then(|range| foreign_interrupt(guest, node, range.start())));
        if let Some(range) = registers.first().filter(|range| !range.is_empty() && !has(range)) {
            warnings.push(
                problem(node, &format!("registers that the partition does not have ({range})"))
                    .advice("List the device in devices, or remove the node"),
            );
        }
    }
}

/// A shared interrupt of the device at `start` that the partition's device there does not have.
fn foreign_interrupt(guest: &Guest<'_, '_>, node: Node<'_, '_>, start: Hpa) -> Option<Problem> {
    let of_uart = guest.uart.filter(|uart| uart.base.0 == start.0).map(|uart| vec![uart.interrupt]);
    // Pages are given, so several devices may have this one.
    let of_devices = || {
        let here = |device: &&Device| device.registers.iter().any(|own| own.contains(start));
        guest.devices.iter().any(|device| here(&device)).then(|| {
            let here = guest.devices.iter().filter(here);
            here.flat_map(|device| &device.interrupts).map(|(id, _)| *id).collect()
        })
    };
    let own: Vec<IntId> = of_uart.or_else(of_devices)?;
    let found = understood_interrupts(node).into_iter().map(|(id, _)| id);
    let wrong = found.filter(|id| id.get() >= FIRST_SHARED).find(|id| !own.contains(id))?;
    let number = |id: IntId| id.get().saturating_sub(FIRST_SHARED);
    let own: Vec<u32> = own.into_iter().map(number).collect();
    Some(
        problem(node, &format!("the shared interrupt {}, which the device does not have", number(wrong)))
            .advice(format!("Its shared interrupts are {}", listed(&own))),
    )
}

/// Whether the CPUs see the node's addresses: every bus above passes them on (Devicetree Specification, 2.3.8).
fn is_on_bus(node: Node<'_, '_>) -> bool {
    node.ancestors().all(|bus| bus.parent().is_none() || bus.has("ranges"))
}

/// A node is in use if it and every node above it is available.
fn in_use(node: Node<'_, '_>) -> bool {
    core::iter::once(node).chain(node.ancestors()).all(|node| node.is_available())
}
