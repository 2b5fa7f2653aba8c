// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copying devices of the board, and what they depend on, into a guest's tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Guest, shared, wide};
use crate::error::{Problem, listed};
use crate::plan::{Device, is_counters};
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree, base_name};

/// The first phandle for what is copied from the board's tree.
const FIRST_COPIED_PHANDLE: u32 = 3;

/// Properties of a device that are written anew, or that would lead to what the guest does not have.
fn is_left_out(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "reg",
        "ranges",
        "dma-ranges",
        "interrupts",
        "interrupts-extended",
        "interrupt-parent",
        "phandle",
        "linux,phandle",
        "status",
        "iommus",
        "msi-parent",
        "resets",
        "reset-names",
        "power-domains",
        "dmas",
        "dma-names",
        "clocks",
        "clock-names",
        "assigned-clocks",
        "assigned-clock-rates",
        "assigned-clock-parents",
        "pinctrl-names",
        "memory-region",
        "mboxes",
        "mbox-names",
        "phys",
        "phy-names",
        "interconnects",
    ];
    NAMES.contains(&name)
        || name.ends_with("-supply")
        || name.ends_with("-gpios")
        || name.ends_with("-gpio")
        || name.strip_prefix("pinctrl-").is_some()
}

/// Copies devices, and what they depend on, into a guest's tree.
pub(super) struct Copier<'c, 'g, 'a, 't> {
    guest: &'c Guest<'g, 'a>,
    tree: &'c mut Tree<'t>,
    /// The phandle in the guest's tree of each node of the board's that was copied for its sake.
    phandles: Map<NodeId, u32>,
    warnings: &'c mut Vec<Problem>,
}

impl<'c, 'g, 'a> Copier<'c, 'g, 'a, 'g> {
    pub(super) fn new(
        guest: &'c Guest<'g, 'a>,
        tree: &'c mut Tree<'g>,
        warnings: &'c mut Vec<Problem>,
    ) -> Self {
        Self { guest, tree, phandles: Map::new(), warnings }
    }

    pub(super) fn devices(&mut self) {
        for device in self.guest.devices {
            // That of the PMUs names the board's CPUs, and is written anew.
            if !is_counters(self.guest.tree.node(device.node)) {
                self.device(device);
            }
        }
    }

    fn device(&mut self, device: &Device) {
        let board: &'g Tree<'_> = self.guest.tree;
        let from = board.node(device.node);
        let registers = from.registers().unwrap_or_default();
        let name = match registers.first() {
            Some(first) => format!("{}@{:x}", from.base_name(), first.start().0),
            None => self.unused_name(from),
        };
        let node = self.tree.add_node(NodeId::ROOT, name);
        let reg: Vec<u32> = registers
            .iter()
            .flat_map(|range| [wide(range.start().0), wide(range.size())])
            .flatten()
            .collect();
        self.properties(from, node, |name| !is_left_out(name));
        self.warn_of_lack(from);
        if !reg.is_empty() {
            self.tree.set_cells(node, "reg", &reg);
        }
        let interrupts: Vec<u32> =
            device.interrupts.iter().flat_map(|(id, trigger)| shared(*id, *trigger)).collect();
        if !interrupts.is_empty() {
            self.tree.set_cells(node, "interrupts", &interrupts);
        }
        self.clocks(from, node);
        self.supplies(from, node);
        self.children(from, node);
    }

    /// Copies what means the same in the guest's tree.
    fn properties(&mut self, from: Node<'g, '_>, to: NodeId, is_copied: fn(&str) -> bool) {
        for property in from.properties() {
            let name: &'g str = &property.name;
            if is_copied(name) {
                self.tree.set(to, name, &*property.value);
            }
        }
    }

    /// Warns of what a driver may miss.
    fn warn_of_lack(&mut self, from: Node<'_, '_>) {
        let names = from.properties().iter().map(|property| &*property.name);
        let left_out: Vec<&str> = names
            .filter(|name| {
                matches!(
                    *name,
                    "resets" | "power-domains" | "dmas" | "iommus" | "pinctrl-0" | "memory-region" | "phys"
                ) || name.ends_with("-gpios")
            })
            .collect();
        if !left_out.is_empty() {
            let rule = format!("the guest's copy of this node lacks {}", listed(&left_out));
            self.warnings.push(Problem::new(from.path(), rule));
        }
    }

    /// What is inside a device, its partitions or ports, as it is: it has no addresses of the CPU's.
    fn children(&mut self, from: Node<'g, '_>, to: NodeId) {
        let mut pending: Vec<(Node<'g, '_>, NodeId)> = from.children().map(|child| (child, to)).collect();
        while let Some((from, parent)) = pending.pop() {
            let node = self.tree.add_node(parent, from.name());
            self.properties(from, node, |name| name == "reg" || !is_left_out(name));
            pending.extend(from.children().map(|child| (child, node)));
        }
    }

    /// Clocks of a fixed rate go along; others belong to a controller that the guest does not have.
    fn clocks(&mut self, from: Node<'g, '_>, to: NodeId) {
        let board: &'g Tree<'_> = self.guest.tree;
        let cells = from.cells("clocks");
        if cells.is_empty() {
            return;
        }
        let mut clocks = Vec::new();
        for phandle in cells {
            let fixed = board.by_phandle(phandle).filter(|clock| clock.is_compatible("fixed-clock"));
            match fixed {
                Some(clock) => clocks.push(self.provider(clock)),
                None => {
                    let rule =
                        "the guest's copy of this node lacks its clocks, which are not of a fixed rate";
                    let problem = Problem::new(from.path(), rule).property("clocks");
                    self.warnings.push(match board.by_phandle(phandle) {
                        Some(_) => problem,
                        None => problem
                            .rule("no node has this phandle: the guest's copy of this node lacks its clocks")
                            .value(format!("<{phandle:#x}>")),
                    });
                    return;
                }
            }
        }
        self.tree.set_cells(to, "clocks", &clocks);
        if let Some(names) = from.property("clock-names") {
            self.tree.set(to, "clock-names", names);
        }
    }

    /// Regulators of a fixed voltage go along; others are left out.
    fn supplies(&mut self, from: Node<'g, '_>, to: NodeId) {
        let board: &'g Tree<'_> = self.guest.tree;
        for property in from.properties() {
            let name: &'g str = &property.name;
            if !name.ends_with("-supply") {
                continue;
            }
            let supply = from.u32(name).and_then(|phandle| board.by_phandle(phandle));
            match supply.filter(|supply| supply.is_compatible("regulator-fixed")) {
                Some(supply) => {
                    let phandle = self.provider(supply);
                    self.tree.set_cells(to, name, &[phandle]);
                }
                None => {
                    let rule =
                        "the guest's copy of this node lacks this supply, which is not a fixed regulator";
                    self.warnings.push(Problem::new(from.path(), rule).property(String::from(name)));
                }
            }
        }
    }

    /// The phandle of a node that devices refer to, copied when it is first wanted.
    fn provider(&mut self, from: Node<'g, '_>) -> u32 {
        if let Some(phandle) = self.phandles.get(&from.id()) {
            return *phandle;
        }
        let phandle = FIRST_COPIED_PHANDLE.saturating_add(self.phandles.entries().len() as u32);
        _ = self.phandles.add(from.id(), phandle);
        let name = self.unused_name(from);
        let node = self.tree.add_node(NodeId::ROOT, name);
        self.properties(from, node, |name| !is_left_out(name));
        self.tree.set_cells(node, "phandle", &[phandle]);
        phandle
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
