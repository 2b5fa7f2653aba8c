// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is left for the primary partition: every device that nobody else has.
//!
//! Nothing here is an error. Where a device of the rest shares a page or an interrupt with one that has
//! another owner, it is left alone, and a warning says so.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{CpuIndex, Hpa, IntId, Range, Trigger};

use super::{Device, masters_the_bus, share};
use crate::board::Board;
use crate::error::{Problem, listed};
use crate::interrupts::{interrupts_at_gic, mapped_interrupts, understood_interrupts};
use crate::partition::{ADDRESS_BITS, PARTITIONS, Spec};
use crate::plan::reserved::has;
use crate::plan::{Inputs, Memory};
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree};

/// The rest.
pub(super) struct Rest {
    /// The devices that the primary partition has.
    pub(super) devices: Vec<Device>,
    /// Nodes that it must leave alone: others', and those that cannot be told from them.
    pub(super) left_alone: Vec<NodeId>,
}

/// What others have.
struct Taken {
    pages: Vec<Range<Hpa>>,
    interrupts: Vec<IntId>,
}

impl Rest {
    /// What `owned` and the hypervisor leave to the partition of `spec`, whose CPUs are `cpus`.
    pub(super) fn of(
        inputs: &Inputs<'_, '_>,
        spec: &Spec<'_>,
        cpus: &[CpuIndex],
        memory: &[Memory],
        hypervisors: &[NodeId],
        owned: &[Vec<Device>],
        warnings: &mut Vec<Problem>,
    ) -> Self {
        let (board, tree) = (inputs.board, inputs.tree);
        let taken = Taken::new(board, tree, hypervisors, owned);
        let owned: Vec<NodeId> = owned.iter().flatten().map(|device| device.node).collect();
        let mut rest = Self { devices: Vec::new(), left_alone: Vec::new() };
        let mut unread = Unread::default();
        // Nodes that are no devices, or are left alone: with all that is in them.
        let mut apart = Map::new();
        for node in tree.nodes() {
            let inside = node.parent().is_some_and(|parent| apart.contains(&parent.id()));
            if inside || is_no_device(node, board) {
                _ = apart.add(node.id(), ());
                continue;
            }
            if owned.contains(&node.id()) || hypervisors.contains(&node.id()) || node.has("#iommu-cells") {
                _ = apart.add(node.id(), ());
                rest.left_alone.push(node.id());
                continue;
            }
            match device(node, board, cpus, memory, &taken, &mut unread) {
                Ok(device) => rest.devices.extend(device),
                Err(why) => {
                    let rule = format!("the partition does not get {}: {why}", node.path());
                    warnings.push(Problem::new(spec.path.clone(), rule).property("primary"));
                    _ = apart.add(node.id(), ());
                    rest.left_alone.push(node.id());
                }
            }
        }
        unread.warn(tree, &apart, warnings);
        share::share_no_page_within(&mut rest.devices);
        warn_of_masters(tree, spec, &rest.devices, warnings);
        rest
    }
}

impl Taken {
    fn new(board: &Board, tree: &Tree<'_>, hypervisors: &[NodeId], owned: &[Vec<Device>]) -> Self {
        let mut pages = board.gic.registers();
        for node in hypervisors {
            // What does not reach the CPUs is nobody's.
            pages.extend(tree.node(*node).reachable_registers(&mut Vec::new()));
        }
        let timer = board.timer;
        let console = board.console.as_ref().and_then(|console| console.interrupt).map(|(id, _)| id);
        let private = [timer.secure, Some(timer.physical), Some(timer.virtual_timer), timer.hypervisor];
        let mut interrupts: Vec<IntId> = private.into_iter().flatten().chain(console).collect();
        interrupts.push(board.gic.maintenance());
        for device in owned.iter().flatten() {
            pages.extend(&device.registers);
            interrupts.extend(device.interrupts.iter().map(|(id, _)| *id));
        }
        pages.iter_mut().for_each(|range| *range = range.page_aligned());
        Self { pages, interrupts }
    }
}

/// What the primary partition does without, because the tree does not say it in a way that is understood.
#[derive(Default)]
struct Unread {
    problems: Vec<Problem>,
    /// Devices, and controllers other than the GIC that interrupts of theirs go to.
    elsewhere: Vec<(NodeId, NodeId)>,
}

impl Unread {
    /// Warns of all problems, and of interrupts whose controller is among those that the partition does not have, or
    /// passes them on to the GIC under numbers that its node does not give.
    fn warn(self, tree: &Tree<'_>, apart: &Map<NodeId, ()>, warnings: &mut Vec<Problem>) {
        const ADVICE: &str = "The primary partition does without it";
        warnings.extend(self.problems.into_iter().map(|problem| problem.advice(ADVICE)));
        // The devices of each controller, in the order in which controllers are found.
        let mut users: Map<NodeId, Vec<NodeId>> = Map::new();
        for (device, controller) in self.elsewhere {
            match users.get_mut(&controller) {
                Some(devices) if devices.last() == Some(&device) => {}
                Some(devices) => devices.push(device),
                None => _ = users.add(controller, alloc::vec![device]),
            }
        }
        for (controller, devices) in users.entries() {
            let controller = tree.node(*controller);
            let rule = if apart.contains(&controller.id()) {
                "the primary partition does not have this interrupt controller"
            } else if is_transparent(controller) {
                "this controller passes interrupts on to the GIC under numbers that only its driver knows"
            } else {
                continue;
            };
            let devices: Vec<String> = devices.iter().map(|device| tree.node(*device).path()).collect();
            let problem = Problem::new(controller.path(), rule);
            warnings.push(problem.advice(format!("Interrupts are missing of {}", listed(&devices))));
        }
    }
}

/// Whether a controller has no interrupt of its own that stands for those of its devices, nor a map of them.
fn is_transparent(controller: Node<'_, '_>) -> bool {
    !["interrupts", "interrupts-extended", "interrupt-map"].iter().any(|name| controller.has(name))
}

/// What the tree has beside devices, and devices that do not work.
fn is_no_device(node: Node<'_, '_>, board: &Board) -> bool {
    let at_root = node.parent().is_some_and(|parent| parent.parent().is_none());
    node.id() == board.gic_node
        || (node.parent().is_some() && !node.is_available())
        || node.string("device_type") == Some("memory")
        || (at_root
            && (matches!(node.name(), "cpus" | "chosen" | "aliases" | "reserved-memory")
                || node.is_compatible(PARTITIONS)))
}

/// What of a node the primary partition gets; `None` if there is nothing to get. An error says why it
/// cannot have it.
fn device(
    node: Node<'_, '_>,
    board: &Board,
    cpus: &[CpuIndex],
    memory: &[Memory],
    taken: &Taken,
    unread: &mut Unread,
) -> Result<Option<Device>, alloc::string::String> {
    // Registers on a bus that no CPU reaches directly are no pages to map: those of I2C and the like.
    let mut pages = node.reachable_registers(&mut unread.problems);
    pages.extend(node.reachable_pci_windows(&mut unread.problems));
    pages.retain(|range| !range.is_empty());
    let mut registers: Vec<Range<Hpa>> = Vec::with_capacity(pages.len());
    for range in pages.iter().map(Range::page_aligned) {
        if taken.pages.iter().any(|taken| taken.overlaps(&range)) {
            return Err(format!("its registers ({range}) share a page with another owner's"));
        }
        if range.end().0 > 1 << ADDRESS_BITS {
            return Err(format!("its registers ({range}) lie above 1 TiB, where no guest reaches them"));
        }
        if !board.memory.iter().any(|bank| bank.overlaps(&range)) {
            registers.push(range);
        } else if !has(memory, &range) {
            // A frame buffer, say: that memory is given away as memory.
            return Err(format!("its registers ({range}) lie in RAM that the partition does not have"));
        }
    }
    let mut elsewhere = Vec::new();
    let mut found: Vec<(IntId, Trigger)> = match node.has("interrupt-affinity") {
        true => own_interrupts(node, board, cpus),
        false => interrupts_at_gic(node, &mut unread.problems, &mut elsewhere),
    };
    unread.elsewhere.extend(elsewhere.iter().map(|controller| (node.id(), controller.id())));
    let shared = found.iter().find(|(id, _)| !id.is_private() && taken.interrupts.contains(id));
    if let Some((id, _)) = shared {
        return Err(format!("its interrupt {id} is another owner's too"));
    }
    found.extend(mapped_interrupts(node, &mut unread.problems));
    found.retain(|(id, _)| !taken.interrupts.contains(id));
    if registers.is_empty() && found.is_empty() {
        return Ok(None);
    }
    Ok(Some(Device { path: node.path(), node: node.id(), registers, interrupts: found }))
}

/// The interrupts that go straight to the GIC, without those that stand for CPUs of others, too or alone
/// (`interrupt-affinity`, Linux's `arm/pmu.yaml`).
pub(super) fn own_interrupts(node: Node<'_, '_>, board: &Board, cpus: &[CpuIndex]) -> Vec<(IntId, Trigger)> {
    let all = understood_interrupts(node);
    if !node.has("interrupt-affinity") {
        return all;
    }
    let affine = node.cells("interrupt-affinity").map(|phandle| is_of(node.tree(), phandle, board, cpus));
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().zip(affine).partition(|(_, own)| *own);
    let is_others = |id: IntId| others.iter().any(|((other, _), _)| *other == id);
    own.into_iter().map(|(interrupt, _)| interrupt).filter(|(id, _)| !is_others(*id)).collect()
}

/// Whether a phandle denotes one of these CPUs.
pub(crate) fn is_of(tree: &Tree<'_>, phandle: u32, board: &Board, cpus: &[CpuIndex]) -> bool {
    let path = tree.by_phandle(phandle).map(|node| node.path());
    cpus.iter()
        .filter_map(|cpu| board.cpus.get(usize::from(cpu.0)))
        .any(|cpu| path.as_deref() == Some(cpu.path.as_str()))
}

/// The primary partition is trusted with all memory where its devices are.
fn warn_of_masters(tree: &Tree<'_>, spec: &Spec<'_>, devices: &[Device], warnings: &mut Vec<Problem>) {
    let mut masters =
        devices.iter().map(|device| tree.node(device.node)).filter(|node| masters_the_bus(*node));
    if let Some(first) = masters.next() {
        let first = first.path();
        let rule = match masters.count() {
            0 => format!("its device {first} masters the bus, and so reaches all memory"),
            more => format!("{first} and {more} more of its devices master the bus, and so reach all memory"),
        };
        let problem = Problem::new(spec.path.clone(), rule).property("primary");
        warnings.push(problem.advice("The primary partition must be trusted"));
    }
}
