// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copying devices of the board, and what they depend on, into a guest's tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Range};

use super::references::{Layout, entries, layout, names_of};
use super::{Guest, OWN_PHANDLES, shared, wide};
use crate::error::{Problem, listed};
use crate::interrupts::interrupts_at_gic;
use crate::plan::is_counters;
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree, base_name};

/// Properties that are written anew, or that only the board's own tree gives a meaning.
const WRITTEN_ANEW: &[&str] = &[
    "reg",
    "ranges",
    "dma-ranges",
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "phandle",
    "linux,phandle",
];

/// What devices refer to and can have without the controller behind it.
const FIXED: &[&str] = &["fixed-clock", "fixed-factor-clock", "regulator-fixed"];

/// Copies devices, and what they depend on, into a guest's tree.
pub(super) struct Copier<'c, 'g, 'a, 't> {
    guest: &'c Guest<'g, 'a>,
    tree: &'c mut Tree<'t>,
    /// The copy of each node of the board's that the guest's tree has.
    copies: Map<NodeId, NodeId>,
    /// The phandle that the next copy takes to which something refers.
    next_phandle: u32,
    warnings: &'c mut Vec<Problem>,
}

impl<'c, 'g, 'a> Copier<'c, 'g, 'a, 'g> {
    pub(super) fn new(
        guest: &'c Guest<'g, 'a>,
        tree: &'c mut Tree<'g>,
        warnings: &'c mut Vec<Problem>,
    ) -> Self {
        let next_phandle = guest.first_phandle().saturating_add(OWN_PHANDLES);
        Self { guest, tree, copies: Map::new(), next_phandle, warnings }
    }

    /// Nodes first, so that references between them find their targets.
    pub(super) fn devices(&mut self) {
        let board: &'g Tree<'_> = self.guest.tree;
        let mut made: Vec<(Node<'g, '_>, NodeId)> = Vec::new();
        for device in self.guest.devices {
            let from = board.node(device.node);
            // That of the PMUs names the board's CPUs, and is written anew.
            if is_counters(from) {
                continue;
            }
            let first = made.len();
            made.push((from, self.device(from)));
            let mut next = first;
            while let Some((from, to)) = made.get(next).copied() {
                next = next.saturating_add(1);
                for child in from.children() {
                    let node = self.tree.add_node(to, child.name());
                    made.push((child, node));
                }
            }
        }
        made.iter().for_each(|(from, to)| _ = self.copies.add(from.id(), *to));
        let devices: Vec<NodeId> = self.guest.devices.iter().map(|device| device.node).collect();
        for (from, to) in made {
            self.fill(from, to, devices.contains(&from.id()));
        }
    }

    /// The node of a device, with its registers as the CPUs see them.
    fn device(&mut self, from: Node<'g, '_>) -> NodeId {
        let registers = from.reachable_registers(&mut Vec::new());
        let name = match registers.first() {
            Some(first) => format!("{}@{:x}", from.base_name(), first.start().0),
            None => self.unused_name(from),
        };
        let node = self.tree.add_node(NodeId::ROOT, name);
        self.set_registers(node, &registers);
        node
    }

    fn set_registers(&mut self, node: NodeId, registers: &[Range<Hpa>]) {
        let reg: Vec<u32> = registers
            .iter()
            .flat_map(|range| [wide(range.start().0), wide(range.size())])
            .flatten()
            .collect();
        if !reg.is_empty() {
            self.tree.set_cells(node, "reg", &reg);
        }
    }

    /// The properties of a device, whose status is the partition's, or of a node inside one.
    fn fill(&mut self, from: Node<'g, '_>, to: NodeId, is_device: bool) {
        if !is_device && let Some(reg) = from.property("reg") {
            self.tree.set(to, "reg", reg);
        }
        self.properties(from, to, is_device);
        let mut elsewhere = Vec::new();
        let interrupts = interrupts_at_gic(from, self.warnings, &mut elsewhere);
        let cells: Vec<u32> = interrupts.iter().flat_map(|(id, trigger)| shared(*id, *trigger)).collect();
        if !cells.is_empty() {
            self.tree.set_cells(to, "interrupts", &cells);
        }
        if let Some(controller) = elsewhere.first() {
            let rule = format!("the guest's copy of this node lacks its interrupt at {}", controller.path());
            self.warnings.push(Problem::new(from.path(), rule));
        }
    }

    /// Copies what means the same in the guest's tree, and references to what the guest has. The rest is warned of.
    fn properties(&mut self, from: Node<'g, '_>, to: NodeId, is_device: bool) {
        let mut lacks: Vec<&'g str> = Vec::new();
        let mut names: Vec<&'static str> = Vec::new();
        for property in from.properties() {
            let name: &'g str = &property.name;
            let is_written_anew = WRITTEN_ANEW.contains(&name) || (is_device && name == "status");
            match layout(name) {
                _ if is_written_anew => {}
                None => self.tree.set(to, name, &*property.value),
                Some(layout) => match self.references(from, name, layout) {
                    Some(cells) => self.tree.set_cells(to, name, &cells),
                    None => {
                        lacks.push(name);
                        names.extend(names_of(name));
                    }
                },
            }
        }
        // Names of what is not there lead drivers astray.
        names.iter().for_each(|name| self.tree.remove(to, name));
        if !lacks.is_empty() {
            let rule = format!(
                "the guest's copy of this node lacks {}, which refer to what the guest does not have",
                listed(&lacks)
            );
            self.warnings.push(Problem::new(from.path(), rule));
        }
    }

    /// The cells of a property with references as they are in the guest's tree; `None` if it does not have all.
    fn references(&mut self, from: Node<'g, '_>, name: &str, layout: Layout) -> Option<Vec<u32>> {
        let mut cells = Vec::new();
        for entry in entries(from, name, layout) {
            let phandle = match entry.target {
                Some(target) => self.phandle(target)?,
                None if entry.phandle == 0 && layout != Layout::Map => 0,
                None => return None,
            };
            cells.push(phandle);
            cells.extend(entry.cells);
        }
        Some(cells)
    }

    /// The phandle of the copy of a node, which is made if the guest can have it.
    fn phandle(&mut self, target: Node<'g, '_>) -> Option<u32> {
        let copy = match self.copies.get(&target.id()) {
            Some(copy) => *copy,
            None if target.is_compatible_with_any(FIXED) => self.provider(target),
            None => self.region(target)?,
        };
        if let Some(phandle) = self.tree.node(copy).phandle() {
            return Some(phandle);
        }
        let phandle = self.next_phandle;
        self.next_phandle = phandle.saturating_add(1);
        self.tree.set_cells(copy, "phandle", &[phandle]);
        Some(phandle)
    }

    /// Copies a clock of a fixed rate or a regulator of a fixed voltage.
    fn provider(&mut self, from: Node<'g, '_>) -> NodeId {
        let name = self.unused_name(from);
        let node = self.tree.add_node(NodeId::ROOT, name);
        _ = self.copies.add(from.id(), node);
        self.properties(from, node, true);
        node
    }

    /// Copies a region of reserved memory that the partition has.
    fn region(&mut self, from: Node<'g, '_>) -> Option<NodeId> {
        let ranges = from.reachable_registers(&mut Vec::new());
        let is_had = |range: &Range<Hpa>| {
            self.guest.memory.iter().any(|memory| memory.kept && memory.frames.covers(range))
        };
        let is_region = from.parent().is_some_and(|parent| parent.name() == "reserved-memory");
        if !is_region || ranges.is_empty() || !ranges.iter().all(is_had) {
            return None;
        }
        let parent = self.guest.reserved_memory(self.tree);
        let node = self.tree.add_node(parent, from.name());
        _ = self.copies.add(from.id(), node);
        self.properties(from, node, true);
        self.set_registers(node, &ranges);
        Some(node)
    }

    /// A name for a node without registers that no other node at the root has.
    fn unused_name(&self, from: Node<'_, '_>) -> String {
        let base = base_name(from.name());
        let root = self.tree.root();
        if root.child(base).is_none() {
            return base.into();
        }
        let numbered = (1u32..).map(|number| format!("{base}-{number}"));
        numbered.into_iter().find(|name| root.child(name).is_none()).unwrap_or_default()
    }
}
