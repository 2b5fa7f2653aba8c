// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which partition owns which device of the board.

mod reach;
mod rest;
mod share;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{CpuIndex, Hpa, IntId, Range, Trigger};

use super::{Inputs, Memory};
pub(super) use reach::check as check_reach;

use crate::board::Board;
use crate::early::POWER_MANAGER;
use crate::error::{Errors, Problem, nearest};
use crate::interrupts::{interrupts, understood_interrupts};
use crate::partition::{ADDRESS_BITS, Policy, Spec, WATCHDOG};
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree};

/// A device that a partition owns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Path of its node in the board's tree.
    pub path: String,
    /// Its node.
    pub node: NodeId,
    /// The pages to map: whole ones, none twice in a partition. The guest sees them where they are.
    pub registers: Vec<Range<Hpa>>,
    /// Its interrupts: shared ones, and where the partition is primary also private ones (of its CPUs).
    pub interrupts: Vec<(IntId, Trigger)>,
}

/// What marks a device that may master the bus, so that it reaches memory past stage 2.
const MASTERS_BY_PROPERTY: &[&str] = &["dma-coherent", "iommus", "dma-ranges", "iommu-map", "#dma-cells"];
const MASTERS_BY_COMPATIBLE: &[&str] = &[
    "virtio,mmio",
    "qemu,fw-cfg-mmio",
    "pci-host-ecam-generic",
    "generic-xhci",
    // The Raspberry Pi 4's, whose nodes have no property that tells. Through the mailbox the VideoCore reads
    // and writes wherever it is asked to.
    "brcm,bcm2835-mbox",
    "brcm,bcm2835-vchiq",
    "brcm,bcm2711-emmc2",
    "brcm,bcm2711-genet-v5",
    "brcm,bcm2711-pcie",
    "brcm,bcm2711-xhci",
    "brcm,bcm2711-hvs",
    "brcm,2711-v3d",
    "brcm,bcm2835-usb",
    "brcm,bcm2835-txp",
    "brcm,bcm2835-unicam",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Hypervisor,
    Partition(usize),
}

/// Who has which device.
pub(super) struct Assigned {
    /// The devices of each partition.
    pub(super) owned: Vec<Vec<Device>>,
    /// The nodes of the board's tree that the primary partition must leave alone.
    pub(super) not_primarys: Vec<NodeId>,
}

/// Gives the devices that `specs` name to their owners, and what is left to the primary partition, whose
/// CPUs are among `cpus`.
pub(super) fn assign(
    inputs: &Inputs<'_, '_>,
    specs: &[Spec<'_>],
    cpus: &[Vec<CpuIndex>],
    memory: &[Vec<Memory>],
    policy: &Policy,
    errors: &mut Errors,
    warnings: &mut Vec<Problem>,
) -> Assigned {
    let (board, tree) = (inputs.board, inputs.tree);
    let mut owned: Vec<Vec<Device>> = specs.iter().map(|_| Vec::new()).collect();
    let mut hypervisors = hypervisors_own(board, tree, policy);
    if specs.iter().any(|spec| !spec.devices.is_empty()) {
        claimed(board, tree, specs, &hypervisors, &mut owned, errors);
        warn_of_disabled(tree, specs, &owned, warnings);
    }
    let mut not_primarys = Vec::new();
    let primary = specs.iter().zip(cpus).zip(memory).enumerate().find(|(_, ((spec, _), _))| spec.primary);
    if let Some((number, ((spec, cpus), memory))) = primary {
        if board.psci.is_none() {
            hypervisors.extend(power_manager(tree));
        }
        let rest = rest::Rest::of(inputs, spec, cpus, memory, &hypervisors, &owned, warnings);
        not_primarys = rest.left_alone;
        if let Some(devices) = owned.get_mut(number) {
            *devices = rest.devices;
        }
    }
    counters(inputs, specs, cpus, &mut owned, warnings);
    Assigned { owned, not_primarys }
}

/// Where the PMUs have shared interrupts, one for each CPU (`interrupt-affinity`, Linux's `arm/pmu.yaml`), each partition
/// has those of its own CPUs, in the order of its vCPUs, if nothing else has one of them. The primary one finds them in
/// its own tree.
fn counters(
    inputs: &Inputs<'_, '_>,
    specs: &[Spec<'_>],
    cpus: &[Vec<CpuIndex>],
    owned: &mut [Vec<Device>],
    warnings: &mut Vec<Problem>,
) {
    if inputs.board.counters.is_some() {
        return;
    }
    let node = inputs.tree.root().children().find(|node| is_counters(*node) && node.is_available());
    let claimed = |node: Node<'_, '_>| {
        let others = specs.iter().zip(&*owned).filter(|(spec, _)| !spec.primary);
        others.flat_map(|(_, devices)| devices).any(|device| device.node == node.id())
    };
    let Some(node) = node.filter(|node| !claimed(*node)) else { return };
    let console = inputs.board.console.as_ref().and_then(|console| console.interrupt);
    let taken = owned.iter().flatten().flat_map(|device| &device.interrupts).chain(&console);
    let taken: Vec<IntId> = taken.map(|(id, _)| *id).collect();
    for ((spec, cpus), devices) in specs.iter().zip(cpus).zip(owned).filter(|((spec, _), _)| !spec.primary) {
        let of = |cpu| rest::own_interrupts(node, inputs.board, core::slice::from_ref(cpu));
        let mut interrupts: Vec<(IntId, Trigger)> = cpus.iter().flat_map(of).collect();
        interrupts.retain(|(id, _)| !id.is_private() && !taken.contains(id));
        if interrupts.len() == cpus.len() {
            devices.push(Device { path: node.path(), node: node.id(), registers: Vec::new(), interrupts });
        } else {
            let rule = "the partition's CPUs have no interrupts of their counters: each must be one CPU's, and nothing else's";
            warnings.push(Problem::new(spec.path.clone(), rule));
        }
    }
}

/// Whether a node describes PMUs with an interrupt for each CPU.
pub(crate) fn is_counters(node: Node<'_, '_>) -> bool {
    node.has("interrupt-affinity") && node.strings("compatible").any(|name| name.ends_with("-pmu"))
}

/// The devices that partitions name.
fn claimed(
    board: &Board,
    tree: &Tree<'_>,
    specs: &[Spec<'_>],
    hypervisors: &[NodeId],
    owned: &mut [Vec<Device>],
    errors: &mut Errors,
) {
    let mut owners = Map::new();
    hypervisors.iter().for_each(|node| _ = owners.add(*node, Owner::Hypervisor));
    for (number, (spec, devices)) in specs.iter().zip(owned.iter_mut()).enumerate() {
        for name in &spec.devices {
            let claimed = claim(board, tree, spec, name, &mut owners, number, specs);
            devices.extend(errors.note(claimed));
        }
        share::share_no_page_within(devices);
    }
    share::check_nesting(tree, specs, &owners, errors);
    share::check_pages(tree, specs, &owners, errors);
    share::check_interrupts(board, specs, owned, errors);
}

/// A disabled node may describe what the board does not have, or what is not set up (Devicetree Specification, 2.3.4).
fn warn_of_disabled(tree: &Tree<'_>, specs: &[Spec<'_>], owned: &[Vec<Device>], warnings: &mut Vec<Problem>) {
    for (spec, devices) in specs.iter().zip(owned) {
        for device in devices {
            let node = tree.node(device.node);
            let mut outer =
                core::iter::once(node).chain(node.ancestors()).filter(|node| node.parent().is_some());
            if let Some(disabled) = outer.find(|node| !node.is_available()) {
                let rule = format!("{} is not enabled on this board (status)", disabled.path());
                let problem = refused(spec, &device.path, rule);
                warnings.push(problem.advice("Check that the board has it, and enable it in an overlay"));
            }
        }
    }
}

/// What no partition can have: the interrupt controller, the console, and the power manager whose watchdog the
/// hypervisor is to run.
fn hypervisors_own(board: &Board, tree: &Tree<'_>, policy: &Policy) -> Vec<NodeId> {
    let console = board.console.as_ref().map(|console| console.node);
    let manager = policy.watchdog.and_then(|_| power_manager(tree));
    [Some(board.gic_node), console, manager].into_iter().flatten().collect()
}

fn power_manager(tree: &Tree<'_>) -> Option<NodeId> {
    tree.nodes().find(|node| node.is_compatible(POWER_MANAGER) && node.is_available()).map(|node| node.id())
}

fn refused(spec: &Spec<'_>, name: &str, rule: impl Into<alloc::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(spec.path.clone(), rule).property("devices").value(format!("\"{name}\""))
}

fn claim(
    board: &Board,
    tree: &Tree<'_>,
    spec: &Spec<'_>,
    name: &str,
    owners: &mut Map<NodeId, Owner>,
    number: usize,
    specs: &[Spec<'_>],
) -> Result<Device, Problem> {
    let refused = |rule: String| refused(spec, name, rule);
    let node = tree.find(name).ok_or_else(|| not_there(tree, spec, name))?;
    let gic = core::iter::once(node).chain(node.ancestors()).any(|node| node.id() == board.gic_node);
    if gic {
        return Err(refused(
            "the interrupt controller is the hypervisor's: every partition has a virtual one".into(),
        ));
    }
    match owners.get(&node.id()) {
        None => {}
        Some(Owner::Hypervisor) if node.is_compatible(POWER_MANAGER) => {
            return Err(refused(format!("with {WATCHDOG} the hypervisor runs the board's watchdog itself"))
                .advice("Leave out one of the two"));
        }
        Some(Owner::Hypervisor) => {
            return Err(refused("this is the hypervisor's console".into())
                .advice("With console = \"uart\" the partition has a virtual one"));
        }
        Some(Owner::Partition(owner)) if *owner == number => {
            return Err(refused("it is listed twice".into()));
        }
        Some(Owner::Partition(owner)) => {
            let owner = specs.get(*owner).map_or("another partition", |spec| spec.name);
            return Err(refused(format!("{owner} owns it already")));
        }
    }
    check_kind(node, spec).map_err(refused)?;
    let registers = node.registers()?;
    for range in &registers {
        if board.memory.iter().any(|bank| bank.overlaps(&range.page_aligned())) {
            return Err(refused(format!("its registers ({range}) lie in RAM")));
        }
        if range.end().0 > 1 << ADDRESS_BITS {
            return Err(refused(format!(
                "its registers ({range}) lie above 1 TiB, where no guest reaches them"
            )));
        }
    }
    let mut interrupts = interrupts(node)?;
    // Nodes inside a device may have interrupts of their own.
    let mut pending: Vec<Node<'_, '_>> = node.children().filter(Node::is_available).collect();
    while let Some(inner) = pending.pop() {
        let shared = understood_interrupts(inner).into_iter().filter(|(id, _)| !id.is_private());
        for interrupt in shared {
            if !interrupts.contains(&interrupt) {
                interrupts.push(interrupt);
            }
        }
        pending.extend(inner.children().filter(Node::is_available));
    }
    if let Some((id, _)) = interrupts.iter().find(|(id, _)| id.is_private()) {
        return Err(refused(format!("its interrupt {id} is private to each CPU and cannot be given away")));
    }
    let pages: Vec<Range<Hpa>> =
        registers.iter().filter(|range| !range.is_empty()).map(Range::page_aligned).collect();
    if pages.is_empty() && interrupts.is_empty() {
        return Err(refused("it has neither registers nor interrupts".into()));
    }
    _ = owners.add(node.id(), Owner::Partition(number));
    Ok(Device { path: node.path(), node: node.id(), registers: pages, interrupts })
}

fn not_there(tree: &Tree<'_>, spec: &Spec<'_>, name: &str) -> Problem {
    let alias = name.split('/').next().unwrap_or_default();
    if let Some(path) = tree.by_path("/aliases").and_then(|aliases| aliases.string(alias)) {
        let below = name.get(alias.len()..).unwrap_or_default();
        return refused(spec, name, format!("this alias leads to {path}{below}, and there is no such node"));
    }
    let problem = refused(spec, name, "the board's tree has no such node, and no such alias");
    let paths: Vec<String> = match tree.by_path("/aliases").filter(|_| !name.starts_with('/')) {
        Some(aliases) => aliases.properties().iter().map(|alias| alias.name.clone().into_owned()).collect(),
        None => tree.nodes().map(|node| node.path()).collect(),
    };
    let at_its_address = at_address(tree, name);
    match at_its_address
        .as_deref()
        .or_else(|| nearest(name, &paths.iter().map(String::as_str).collect::<Vec<_>>()))
    {
        Some(near) => problem.advice(format!("Did you mean \"{near}\"?")),
        None => problem.advice("Give the node's full path, as in \"/soc/serial@7e201000\""),
    }
}

/// The node at the unit address that `name` ends with: who knows the address knows the device. Of several, as children of
/// different buses, the one whose path is nearest, if any is near.
fn at_address(tree: &Tree<'_>, name: &str) -> Option<String> {
    // Unit addresses have no leading zeros, and lower case (Devicetree Specification, 2.2.1.1).
    fn unit(name: &str) -> Option<&str> {
        let unit = name.rsplit('/').next()?.split_once('@').map(|(_, unit)| unit.trim_start_matches('0'))?;
        (!unit.is_empty()).then_some(unit)
    }
    let address = unit(name)?;
    let is_there = |node: &Node<'_, '_>| {
        let is_device = !matches!(node.string("device_type"), Some("memory" | "cpu"));
        is_device && unit(node.name()).is_some_and(|own| own.eq_ignore_ascii_case(address))
    };
    let paths: Vec<String> = tree.nodes().filter(is_there).map(|node| node.path()).collect();
    match paths.as_slice() {
        [only] => Some(only.clone()),
        several => nearest(name, &several.iter().map(String::as_str).collect::<Vec<_>>()).map(String::from),
    }
}

/// Whether a device of this kind can be given to a partition at all.
fn check_kind(node: Node<'_, '_>, spec: &Spec<'_>) -> Result<(), String> {
    if node.parent().is_none() || matches!(node.string("device_type"), Some("memory" | "cpu")) {
        return Err("this is not a device".into());
    }
    if node.has("interrupt-controller") {
        return Err("interrupt controllers behind the GIC are not supported yet".into());
    }
    if node.has("#iommu-cells") {
        return Err("who programs an IOMMU decides what memory every device behind it reaches".into());
    }
    if masters_the_bus(node) && !spec.identity_mapped {
        return Err("it can master the bus, where no stage 2 keeps it from the memory of others, \
                    so it needs a partition that is identity-mapped"
            .into());
    }
    if node.has("ranges") {
        return Err("buses, with the devices behind them, are not supported yet".into());
    }
    Ok(())
}

/// Whether a device may read and write memory by itself, as far as its node says.
fn masters_the_bus(node: Node<'_, '_>) -> bool {
    node.properties().iter().any(|property| MASTERS_BY_PROPERTY.contains(&&*property.name))
        || node.is_compatible_with_any(MASTERS_BY_COMPATIBLE)
        || node.string("device_type") == Some("pci")
}
