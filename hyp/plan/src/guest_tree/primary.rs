// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The primary partition's tree: the board's own, less what others have.
//!
//! Nodes keep their paths and phandles, so that every reference of a device to another stays right. What
//! is not the guest's is disabled where it is, and what the virtual machine has in its place (CPUs,
//! power, interrupt controller, console, memory) is rewritten where the board has it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{CpuIndex, VcpuId};

use super::{Guest, at_root, describe_psci, number, psci, uart_path};
use crate::board::Console;
use crate::early::ConsoleKind;
use crate::partition::PARTITIONS;
use crate::sorted::sort_by_key;
use crate::tree::{Node, NodeId, Tree};

/// What the firmware put into `/chosen` for the hypervisor, not for a guest.
const NOT_THE_GUESTS: &[&str] =
    &["linux,initrd-start", "linux,initrd-end", "kaslr-seed", "rng-seed", "linux,stdout-path"];

/// What a CPU's node says of being started and of sleeping by the firmware's own interface.
const FIRMWARES: &[&str] =
    &["cpu-release-addr", "cpu-idle-states", "status", "power-domains", "power-domain-names"];

/// What a node of a PSCI older than 0.2 says, and the firmware's own states.
const OLD_PSCI: &[&str] =
    &["cpu_suspend", "cpu_off", "cpu_on", "migrate", "sys_poweroff", "sys_reset", "status"];

/// What the node of a physical interrupt controller says that is not so of the virtual one.
const PHYSICAL_GICS: &[&str] = &[
    "interrupts",
    "interrupts-extended",
    "redistributor-stride",
    "#redistributor-regions",
    "msi-controller",
    "mbi-ranges",
    "mbi-alias",
];

pub(super) fn make<'g>(guest: &Guest<'g, '_>, not_primarys: &[NodeId]) -> Tree<'g> {
    let mut tree: Tree<'g> = guest.tree.clone();
    // They are the hypervisor's to honour, and no memory of the guest's is among them.
    tree.reservations.clear();
    let mut writer = Writer { guest, tree: &mut tree, gone: Vec::new() };
    writer.detach_all(|node| node.is_compatible(PARTITIONS) && at_top(node));
    writer.detach_all(|node| node.string("device_type") == Some("memory") && at_top(node));
    writer.disable(not_primarys);
    writer.disable(guest.without_memory);
    guest.missing.iter().for_each(|node| writer.detach(*node));
    guest.memory(writer.tree);
    writer.cpus();
    writer.power();
    writer.interrupt_controller();
    writer.chosen();
    writer.console();
    writer.references();
    tree
}

fn at_top(node: Node<'_, '_>) -> bool {
    node.parent().is_some_and(|parent| parent.parent().is_none())
}

struct Writer<'w, 'g, 'a> {
    guest: &'w Guest<'g, 'a>,
    tree: &'w mut Tree<'g>,
    /// Phandles of nodes that are there no more.
    gone: Vec<u32>,
}

impl Writer<'_, '_, '_> {
    /// Takes out all nodes that `which` picks.
    fn detach_all(&mut self, which: impl Fn(Node<'_, '_>) -> bool) {
        let nodes: Vec<NodeId> =
            self.tree.nodes().filter(|node| which(*node)).map(|node| node.id()).collect();
        for node in nodes {
            self.detach(node);
        }
    }

    fn detach(&mut self, node: NodeId) {
        let mut pending = alloc::vec![self.tree.node(node)];
        while let Some(node) = pending.pop() {
            self.gone.extend(node.phandle());
            pending.extend(node.children());
        }
        self.tree.detach(node);
    }

    fn detach_children(&mut self, node: NodeId) {
        let children: Vec<NodeId> = self.tree.node(node).children().map(|child| child.id()).collect();
        children.into_iter().for_each(|child| self.detach(child));
    }

    fn remove(&mut self, node: NodeId, names: &[&str]) {
        names.iter().for_each(|name| self.tree.remove(node, name));
    }

    fn disable(&mut self, nodes: &[NodeId]) {
        nodes.iter().for_each(|node| self.tree.set_string(*node, "status", "disabled"));
    }

    /// The partition's CPUs with the affinities of its vCPUs, the others out.
    fn cpus(&mut self) {
        let board = self.guest.board;
        let vcpu_of = |path: &str| {
            let is_it =
                |cpu: &CpuIndex| board.cpus.get(usize::from(cpu.0)).is_some_and(|cpu| cpu.path == path);
            let place = self.guest.cpus.iter().position(is_it)?;
            u16::try_from(place).ok().map(VcpuId)
        };
        let Some(parent) = self.tree.root().child("cpus") else { return };
        let cells = parent.address_cells();
        let children: Vec<(NodeId, Option<VcpuId>, bool)> = parent
            .children()
            .map(|node| {
                let is_cpu = node.string("device_type") == Some("cpu") || node.base_name() == "cpu";
                (node.id(), vcpu_of(&node.path()), is_cpu)
            })
            .collect();
        let all_here = children.iter().all(|(_, vcpu, is_cpu)| vcpu.is_some() || !is_cpu);
        for (node, vcpu, is_cpu) in children {
            match vcpu {
                Some(vcpu) => self.cpu(node, vcpu, cells),
                None if is_cpu => self.detach(node),
                None => {}
            }
        }
        let part = |tree: &Tree<'_>, path: &str| tree.by_path(path).map(|node| node.id());
        // Idle states are calls of the board's firmware. A map that lacks CPUs is worth less than none.
        let states = part(self.tree, "/cpus/idle-states");
        let map = part(self.tree, "/cpus/cpu-map").filter(|_| !all_here);
        for node in [states, map].into_iter().flatten() {
            self.detach(node);
        }
    }

    fn cpu(&mut self, node: NodeId, vcpu: VcpuId, cells: u32) {
        let affinity = vcpu.mpidr().affinity();
        self.tree.set_cells(node, "reg", &number(affinity, cells));
        self.tree.rename(node, format!("cpu@{affinity:x}"));
        self.tree.set_string(node, "enable-method", "psci");
        self.remove(node, FIRMWARES);
    }

    /// Every guest has PSCI 1.0 by HVC, wherever the board's node is.
    fn power(&mut self) {
        let is_psci =
            |node: &Node<'_, '_>| node.is_compatible_with_any(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
        let Some(node) = self.tree.nodes().find(is_psci).map(|node| node.id()) else {
            return psci(self.tree);
        };
        // Power domains of CPUs are ways into the firmware's idle states.
        self.detach_children(node);
        self.remove(node, OLD_PSCI);
        describe_psci(self.tree, node);
    }

    /// The virtual interrupt controller stands at the board's addresses. Message-signalled interrupts it has
    /// none: their translators and frames are out.
    fn interrupt_controller(&mut self) {
        let node = self.guest.board.gic_node;
        let bus = self.tree.node(node).parent();
        let cells = bus.map_or((2, 2), |bus| (bus.address_cells(), bus.size_cells()));
        let old: Vec<(u64, u64)> = self.tree.node(node).reg().unwrap_or_default();
        let sizes = self.guest.gic.registers(self.guest.cpus.len());
        let mut reg = Vec::with_capacity(8);
        // On the node's own bus: the first two parts are where they were, as large as the virtual ones.
        for ((address, _), (part, _)) in old.iter().zip(&sizes) {
            reg.extend(number(*address, cells.0));
            reg.extend(number(part.size(), cells.1));
        }
        self.tree.set_cells(node, "reg", &reg);
        self.remove(node, PHYSICAL_GICS);
        self.detach_children(node);
    }

    fn chosen(&mut self) {
        let chosen = at_root(self.tree, "chosen");
        self.remove(chosen, NOT_THE_GUESTS);
        self.guest.boot(self.tree, chosen);
        self.guest.seeds(self.tree, chosen);
    }

    /// The virtual UART is the board's console where that is a PL011; elsewhere it has a node of its own.
    fn console(&mut self) {
        let console = self.guest.board.console.as_ref();
        let chosen = at_root(self.tree, "chosen");
        let Some(uart) = self.guest.uart else {
            if console.is_some() {
                self.tree.remove(chosen, "stdout-path");
            }
            return;
        };
        let is_it = |console: &&Console| {
            console.kind == ConsoleKind::Pl011 && console.registers.start().0 == uart.base.0
        };
        if let Some(console) = console.filter(is_it) {
            // The virtual one has no DMA channels.
            return self.remove(console.node, &["status", "dmas", "dma-names"]);
        }
        let phandle = self.tree.highest_phandle().saturating_add(1);
        self.guest.uart(self.tree, phandle);
        let gic = self.tree.node(self.guest.board.gic_node).phandle();
        let path = uart_path(uart);
        if let (Some(node), Some(gic)) = (self.tree.by_path(&path).map(|node| node.id()), gic) {
            self.tree.set_cells(node, "interrupt-parent", &[gic]);
        }
        self.tree.set_string(chosen, "stdout-path", &path);
        self.take_alias(console, &path);
    }

    /// The virtual UART has the number of the console that it stands for: devices without an alias are
    /// numbered as their drivers come to them.
    fn take_alias(&mut self, console: Option<&Console>, path: &str) {
        let Some(console) = console.map(|console| self.tree.node(console.node).path()) else { return };
        let Some(aliases) = self.tree.root().child("aliases") else { return };
        let is_its = |name: &&str| aliases.string(name) == Some(console.as_str());
        let names = aliases.properties().iter().map(|alias| &*alias.name).filter(is_its);
        let names: Vec<String> = names.map(String::from).collect();
        let aliases = aliases.id();
        for name in names {
            self.tree.set_string(aliases, name, path);
        }
    }

    /// References to what is there no more.
    fn references(&mut self) {
        let mut gone = core::mem::take(&mut self.gone);
        sort_by_key(&mut gone, |phandle| u64::from(*phandle));
        let mut stale: Vec<(NodeId, &'static str)> = Vec::new();
        let mut affine: Vec<NodeId> = Vec::new();
        for node in self.tree.nodes() {
            let refers = |name: &str, place: usize| {
                node.cells(name).nth(place).is_some_and(|phandle| gone.binary_search(&phandle).is_ok())
            };
            if node.cells("memory-region").any(|phandle| gone.binary_search(&phandle).is_ok()) {
                stale.extend([(node.id(), "memory-region"), (node.id(), "memory-region-names")]);
            }
            if refers("msi-parent", 0) {
                stale.push((node.id(), "msi-parent"));
            }
            if refers("msi-map", 1) {
                stale.extend([(node.id(), "msi-map"), (node.id(), "msi-map-mask")]);
            }
            if node.cells("interrupt-affinity").any(|phandle| gone.binary_search(&phandle).is_ok()) {
                affine.push(node.id());
            }
        }
        for (node, name) in stale {
            self.tree.remove(node, name);
        }
        for node in affine {
            self.interrupts_of_cpus(node, &gone);
        }
        self.symbols();
    }

    /// A device with an interrupt for each CPU keeps those of the CPUs that are there.
    fn interrupts_of_cpus(&mut self, node: NodeId, gone: &[u32]) {
        let node = self.tree.node(node);
        let cells: Vec<u32> = node.cells("interrupts").collect();
        let affine: Vec<u32> = node.cells("interrupt-affinity").collect();
        let width = cells.len().checked_div(affine.len()).unwrap_or(0).max(1);
        let kept = |phandle: &u32| gone.binary_search(phandle).is_err();
        let interrupts: Vec<u32> = cells
            .chunks(width)
            .zip(&affine)
            .filter(|(_, phandle)| kept(phandle))
            .flat_map(|(specifier, _)| specifier.iter().copied())
            .collect();
        let affine: Vec<u32> = affine.iter().copied().filter(kept).collect();
        let node = node.id();
        self.tree.set_cells(node, "interrupts", &interrupts);
        self.tree.set_cells(node, "interrupt-affinity", &affine);
    }

    /// Labels of nodes that are there no more, or have another name, go.
    fn symbols(&mut self) {
        let Some(symbols) = self.tree.root().child("__symbols__") else { return };
        let stale: Vec<String> = symbols
            .properties()
            .iter()
            .filter(|label| symbols.string(&label.name).and_then(|path| self.tree.by_path(path)).is_none())
            .map(|label| String::from(&*label.name))
            .collect();
        let symbols = symbols.id();
        for label in stale {
            self.tree.remove(symbols, &label);
        }
    }
}
