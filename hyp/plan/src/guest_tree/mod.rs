// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device tree that a guest sees: QEMU's virtual board with just what the partition has.

mod copy;
mod own;
mod primary;
mod references;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range as Bytes;

use bulkhead_types::{CpuIndex, IntId, Ipa, PAGE_SIZE, Range, Trigger, VcpuId};

use crate::board::Board;
use crate::error::Problem;
use crate::plan::{Device, GuestGic, GuestUart, Memory, is_counters, stretches};
use crate::sorted::sort_by_key;
use crate::tree::{Blob, Node, NodeId, Tree, place_in};

/// How many phandles the generated tree takes for the GIC and the UART's clock, counted from [`Guest::first_phandle`].
const OWN_PHANDLES: u32 = 2;
/// Above those of what is copied from the board.
const FIRST_CPU_PHANDLE: u32 = 0x1000_0000;
/// The highest phandle that the board may have for the guest's to count on above it.
const LAST_BOARD_PHANDLE: u32 = 0xc000_0000;

/// The rate that a PL011's registers count from; a virtual one ignores it.
const UART_CLOCK: u32 = 24_000_000;
/// The NUMA node of a CPU, of memory, or of a device (Linux's `numa.txt`).
const NUMA_NODE: &str = "numa-node-id";
const KASLR_SEED_SIZE: usize = 8;
const RNG_SEED_SIZE: usize = 32;

/// The flag of a specifier for an active-high level, the only one that the GIC's inputs know.
const LEVEL_HIGH: u32 = 4;
const EDGE_RISING: u32 = 1;

/// What a guest's tree is written from.
pub(crate) struct Guest<'g, 'a> {
    pub(crate) board: &'g Board,
    /// The board's tree.
    pub(crate) tree: &'g Tree<'a>,
    pub(crate) name: &'g str,
    pub(crate) bootargs: Option<&'g str>,
    pub(crate) cpus: &'g [CpuIndex],
    pub(crate) memory: &'g [Memory],
    pub(crate) devices: &'g [Device],
    pub(crate) gic: &'g GuestGic,
    pub(crate) uart: Option<&'g GuestUart>,
    pub(crate) watchdog: Option<Ipa>,
    pub(crate) initrd: Option<Range<Ipa>>,
    /// For the primary partition, whose tree is the board's: the nodes that are not for it.
    pub(crate) not_primarys: Option<&'g [NodeId]>,
    /// Nodes that describe memory that it does not have.
    pub(crate) missing: &'g [NodeId],
    /// Devices that refer to them.
    pub(crate) without_memory: &'g [NodeId],
}

/// A guest's tree, not yet placed.
pub(crate) struct GuestBlob {
    pub(crate) blob: Vec<u8>,
    pub(crate) kaslr_seed: Option<Bytes<usize>>,
    pub(crate) rng_seed: Option<Bytes<usize>>,
}

/// Writes the tree. Warnings are about what of a device's node could not be taken over.
pub(crate) fn write(guest: &Guest<'_, '_>, warnings: &mut Vec<Problem>) -> GuestBlob {
    flatten(&make(guest, warnings))
}

pub(crate) use own::own;

/// The tree that a guest sees unless it brings its own.
fn make<'g>(guest: &Guest<'g, '_>, warnings: &mut Vec<Problem>) -> Tree<'g> {
    let mut tree = match guest.not_primarys {
        Some(not_primarys) => primary::make(guest, not_primarys),
        None => generate(guest, warnings),
    };
    guest.watchdog(&mut tree);
    tree
}

/// QEMU's virtual board with just what the partition has.
fn generate<'g>(guest: &Guest<'g, '_>, warnings: &mut Vec<Problem>) -> Tree<'g> {
    let mut tree = Tree::new();
    let root = NodeId::ROOT;
    tree.set_strings(root, "compatible", &["linux,dummy-virt"]);
    tree.set_string(root, "model", &format!("Bulkhead partition {} on {}", guest.name, guest.board.model));
    tree.set_cells(root, "#address-cells", &[2]);
    tree.set_cells(root, "#size-cells", &[2]);
    tree.set_cells(root, "interrupt-parent", &[guest.first_phandle()]);
    guest.chosen(&mut tree);
    guest.aliases(&mut tree);
    guest.memory(&mut tree);
    guest.cpus(&mut tree);
    psci(&mut tree);
    guest.timer(&mut tree);
    guest.counters(&mut tree);
    guest.gic(&mut tree);
    guest.uart(&mut tree, guest.first_phandle().saturating_add(1));
    copy::Copier::new(guest, &mut tree, warnings).devices();
    tree
}

/// The blob, and where its seeds are.
fn flatten(tree: &Tree<'_>) -> GuestBlob {
    let blob = tree.to_blob();
    let chosen = Blob::new(&blob).and_then(|blob| blob.root().child("chosen"));
    let place = |seed| place_in(&blob, chosen?.property(seed)?);
    let (kaslr_seed, rng_seed) = (place("kaslr-seed"), place("rng-seed"));
    GuestBlob { blob, kaslr_seed, rng_seed }
}

/// The child of the root with this name, made if it is not there.
fn at_root<'t>(tree: &mut Tree<'t>, name: &'static str) -> NodeId {
    tree.child_or_new(NodeId::ROOT, name)
}

impl Guest<'_, '_> {
    /// The first phandle of the generated tree: 1, or where nodes of the board are copied one above all of the board's.
    /// A property that refers to a node in a way that no binding tells then leads nowhere, rather than to another node.
    fn first_phandle(&self) -> u32 {
        let highest = if self.devices.is_empty() { 0 } else { self.tree.highest_phandle() };
        if highest < LAST_BOARD_PHANDLE { highest.saturating_add(1) } else { 1 }
    }

    /// The node of reserved memory, made if it is not there.
    fn reserved_memory(&self, tree: &mut Tree<'_>) -> NodeId {
        let (address_cells, size_cells) = self.root_cells();
        let reserved = at_root(tree, "reserved-memory");
        tree.set_cells(reserved, "#address-cells", &[address_cells]);
        tree.set_cells(reserved, "#size-cells", &[size_cells]);
        tree.set(reserved, "ranges", &[][..]);
        reserved
    }

    /// A stretch of memory in the pieces that NUMA nodes have of it, with their IDs where the board has any.
    fn numa_pieces(&self, range: Range<Ipa>) -> Vec<(Range<Ipa>, Option<u32>)> {
        let banks = self.tree.root().children().filter(|node| node.string("device_type") == Some("memory"));
        let mut pieces = Vec::new();
        for bank in banks.filter(|bank| self.not_primarys.is_some() && bank.has(NUMA_NODE)) {
            for part in bank.reachable_registers(&mut Vec::new()) {
                let (start, end) = (part.start().0.max(range.start().0), part.end().0.min(range.end().0));
                let piece = end.checked_sub(start).and_then(|size| Range::<Ipa>::new(Ipa(start), size));
                let piece = piece.filter(|piece| !piece.is_empty());
                pieces.extend(piece.map(|piece| (piece, bank.u32(NUMA_NODE))));
            }
        }
        sort_by_key(&mut pieces, |(piece, _)| piece.start().0);
        let covered = pieces.iter().map(|(piece, _)| piece.size()).fold(0, u64::saturating_add);
        if covered == range.size() { pieces } else { alloc::vec![(range, None)] }
    }

    fn chosen(&self, tree: &mut Tree<'_>) {
        let chosen = at_root(tree, "chosen");
        if let Some(uart) = self.uart {
            tree.set_string(chosen, "stdout-path", &uart_path(uart));
        }
        self.boot(tree, chosen);
        self.seeds(tree, chosen);
    }

    /// What only this start of this partition knows: the command line and the ramdisk.
    fn boot(&self, tree: &mut Tree<'_>, chosen: NodeId) {
        if let Some(bootargs) = self.bootargs {
            tree.set_string(chosen, "bootargs", bootargs);
        }
        if let Some(initrd) = self.initrd {
            tree.set_cells(chosen, "linux,initrd-start", &wide(initrd.start().0));
            tree.set_cells(chosen, "linux,initrd-end", &wide(initrd.end().0));
        }
    }

    /// Room for entropy, where the board has any.
    fn seeds(&self, tree: &mut Tree<'_>, chosen: NodeId) {
        let entropy = &self.board.entropy;
        if !(entropy.rng_seed.is_empty() && entropy.kaslr_seed.is_empty()) {
            tree.set(chosen, "kaslr-seed", alloc::vec![0; KASLR_SEED_SIZE]);
            tree.set(chosen, "rng-seed", alloc::vec![0; RNG_SEED_SIZE]);
        }
    }

    fn aliases(&self, tree: &mut Tree<'_>) {
        if let Some(uart) = self.uart {
            let aliases = at_root(tree, "aliases");
            tree.set_string(aliases, "serial0", &uart_path(uart));
        }
    }

    /// One node for each stretch that is contiguous for the guest and has the same rights. An operating
    /// system takes all that is called memory for its own use: what it may not write is a ROM (Linux's
    /// `mtd/mtd-physmap.yaml`), and what it may not execute is reserved.
    fn memory(&self, tree: &mut Tree<'_>) {
        // A region of the board's stays reserved: in the board's own tree by its node there; in a generated one it is
        // copied with the devices that refer to it, and is no memory otherwise.
        let is_described = |memory: &&Memory| self.not_primarys.is_some() || !memory.kept;
        let memory: Vec<Memory> = self.memory.iter().filter(is_described).copied().collect();
        let stretches = stretches(&memory).into_iter();
        let pieces = stretches.flat_map(|(range, access)| {
            self.numa_pieces(range).into_iter().map(move |(piece, numa)| (piece, access, numa))
        });
        for (range, access, numa) in pieces {
            let start = range.start().0;
            let reg = self.root_reg(start, range.size());
            if !access.write {
                let node = tree.add_node(NodeId::ROOT, format!("rom@{start:x}"));
                tree.set_string(node, "compatible", "mtd-rom");
                tree.set_cells(node, "reg", &reg);
                tree.set_cells(node, "bank-width", &[4]);
                continue;
            }
            let node = tree.add_node(NodeId::ROOT, format!("memory@{start:x}"));
            tree.set_string(node, "device_type", "memory");
            tree.set_cells(node, "reg", &reg);
            if let Some(numa) = numa {
                tree.set_cells(node, NUMA_NODE, &[numa]);
            }
            if !access.execute {
                let reserved = self.reserved_memory(tree);
                let node = tree.add_node(reserved, format!("no-execute@{start:x}"));
                tree.set_cells(node, "reg", &reg);
            }
        }
    }

    /// Cells of addresses and of sizes at the root: the board's where its tree is the guest's.
    fn root_cells(&self) -> (u32, u32) {
        match self.not_primarys {
            Some(_) => (self.tree.root().address_cells(), self.tree.root().size_cells()),
            None => (2, 2),
        }
    }

    /// A `reg` at the root.
    fn root_reg(&self, start: u64, size: u64) -> Vec<u32> {
        let (address_cells, size_cells) = self.root_cells();
        [number(start, address_cells), number(size, size_cells)].concat()
    }

    fn cpus(&self, tree: &mut Tree<'_>) {
        let cpus = tree.add_node(NodeId::ROOT, "cpus");
        tree.set_cells(cpus, "#address-cells", &[1]);
        tree.set_cells(cpus, "#size-cells", &[0]);
        for (vcpu, cpu) in (0..).map(VcpuId).zip(self.cpus) {
            let affinity = vcpu.mpidr().affinity() as u32;
            let node = tree.add_node(cpus, format!("cpu@{affinity:x}"));
            tree.set_string(node, "device_type", "cpu");
            if let Some(cpu) = self.board.cpus.get(usize::from(cpu.0)) {
                let compatible: Vec<&str> = cpu.compatible.iter().map(String::as_str).collect();
                tree.set_strings(node, "compatible", &compatible);
            }
            tree.set_cells(node, "reg", &[affinity]);
            tree.set_string(node, "enable-method", "psci");
        }
    }

    /// The board's own timer interrupts: a guest has the timers themselves.
    fn timer(&self, tree: &mut Tree<'_>) {
        let timer = &self.board.timer;
        let node = tree.add_node(NodeId::ROOT, "timer");
        tree.set_string(node, "compatible", "arm,armv8-timer");
        // A guest has no secure and no EL2 timer; the positions are the binding's all the same.
        let secure = timer.secure.unwrap_or(timer.physical);
        let ids = [Some(secure), Some(timer.physical), Some(timer.virtual_timer), timer.hypervisor];
        let cells: Vec<u32> =
            ids.into_iter().flatten().flat_map(|id| self.private(id, timer.flags)).collect();
        tree.set_cells(node, "interrupts", &cells);
        if timer.always_on {
            tree.set(node, "always-on", &[][..]);
        }
    }

    /// The PMU: a guest has the counters themselves. Its interrupt is a private one, or there is one for each CPU.
    fn counters(&self, tree: &mut Tree<'_>) {
        let shared = self.devices.iter().find(|device| is_counters(self.tree.node(device.node)));
        if let Some(device) = shared {
            return self.shared_counters(tree, &device.interrupts);
        }
        let Some((id, flags)) = self.board.counters else { return };
        // Given as a device, its node is copied.
        if self.devices.iter().flat_map(|device| &device.interrupts).any(|(given, _)| *given == id) {
            return;
        }
        let node = tree.add_node(NodeId::ROOT, "pmu");
        tree.set_string(node, "compatible", "arm,armv8-pmuv3");
        tree.set_cells(node, "interrupts", &self.private(id, flags));
    }

    /// The PMU with an interrupt for each vCPU, in their order.
    fn shared_counters(&self, tree: &mut Tree<'_>, interrupts: &[(IntId, Trigger)]) {
        let cpus: Vec<NodeId> =
            tree.by_path("/cpus").iter().flat_map(Node::children).map(|cpu| cpu.id()).collect();
        let phandles: Vec<u32> =
            (self.first_phandle().saturating_add(FIRST_CPU_PHANDLE)..).take(cpus.len()).collect();
        for (cpu, phandle) in cpus.into_iter().zip(&phandles) {
            tree.set_cells(cpu, "phandle", &[*phandle]);
        }
        let node = tree.add_node(NodeId::ROOT, "pmu");
        tree.set_string(node, "compatible", "arm,armv8-pmuv3");
        let cells: Vec<u32> = interrupts.iter().flat_map(|(id, trigger)| shared(*id, *trigger)).collect();
        tree.set_cells(node, "interrupts", &cells);
        tree.set_cells(node, "interrupt-affinity", &phandles);
    }

    /// A specifier for a private interrupt; a GICv2's has the mask of its CPUs in bits 15:8.
    fn private(&self, id: IntId, flags: u32) -> [u32; 3] {
        let mask = match self.gic {
            GuestGic::V2 { .. } => self.cpus.iter().fold(0u32, |mask, _| mask << 1 | 1) & 0xff,
            GuestGic::V3 { .. } => 0,
        };
        [1, id.get().saturating_sub(16), mask << 8 | flags]
    }

    fn gic(&self, tree: &mut Tree<'_>) {
        let parts = self.gic.registers(self.cpus.len());
        let start = parts.first().map_or(0, |(range, _)| range.start().0);
        let node = tree.add_node(NodeId::ROOT, format!("interrupt-controller@{start:x}"));
        tree.set_string(
            node,
            "compatible",
            match self.gic {
                GuestGic::V2 { .. } => "arm,cortex-a15-gic",
                GuestGic::V3 { .. } => "arm,gic-v3",
            },
        );
        tree.set_cells(node, "#interrupt-cells", &[3]);
        tree.set_cells(node, "#address-cells", &[0]);
        tree.set(node, "interrupt-controller", &[][..]);
        let reg: Vec<u32> = parts
            .iter()
            .flat_map(|(range, _)| [wide(range.start().0), wide(range.size())])
            .flatten()
            .collect();
        tree.set_cells(node, "reg", &reg);
        tree.set_cells(node, "phandle", &[self.first_phandle()]);
    }

    /// Linux's `watchdog/arm,sbsa-gwdt.yaml`; the interrupt of the first stage is not there.
    fn watchdog(&self, tree: &mut Tree<'_>) {
        let Some(control) = self.watchdog else { return };
        let node = tree.add_node(NodeId::ROOT, format!("watchdog@{:x}", control.0));
        tree.set_strings(node, "compatible", &["arm,sbsa-gwdt"]);
        let frame = |at: u64| self.root_reg(at, PAGE_SIZE);
        tree.set_cells(node, "reg", &[frame(control.0), frame(control.0.saturating_add(PAGE_SIZE))].concat());
    }

    fn uart(&self, tree: &mut Tree<'_>, clock_phandle: u32) {
        let Some(uart) = self.uart else { return };
        let clock = tree.add_node(NodeId::ROOT, format!("clock-{UART_CLOCK}"));
        tree.set_string(clock, "compatible", "fixed-clock");
        tree.set_cells(clock, "#clock-cells", &[0]);
        tree.set_cells(clock, "clock-frequency", &[UART_CLOCK]);
        tree.set_cells(clock, "phandle", &[clock_phandle]);

        let node = tree.add_node(NodeId::ROOT, uart_name(uart));
        tree.set_strings(node, "compatible", &["arm,pl011", "arm,primecell"]);
        let registers = uart.registers().map_or(0, |range| range.size());
        tree.set_cells(node, "reg", &self.root_reg(uart.base.0, registers));
        tree.set_cells(node, "interrupts", &shared(uart.interrupt, Trigger::Level));
        tree.set_strings(node, "clock-names", &["uartclk", "apb_pclk"]);
        tree.set_cells(node, "clocks", &[clock_phandle, clock_phandle]);
    }
}

fn psci(tree: &mut Tree<'_>) {
    let node = tree.add_node(NodeId::ROOT, "psci");
    describe_psci(tree, node);
}

/// The power interface that every guest has (Linux's `arm/psci.yaml`).
fn describe_psci(tree: &mut Tree<'_>, node: NodeId) {
    tree.set_strings(node, "compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
    tree.set_string(node, "method", "hvc");
}

fn uart_name(uart: &GuestUart) -> String {
    format!("serial@{:x}", uart.base.0)
}

fn uart_path(uart: &GuestUart) -> String {
    format!("/{}", uart_name(uart))
}

fn wide(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// A number of one cell or of two.
fn number(value: u64, cells: u32) -> Vec<u32> {
    wide(value).into_iter().skip(if cells > 1 { 0 } else { 1 }).collect()
}

/// A specifier for a shared interrupt.
fn shared(id: IntId, trigger: Trigger) -> [u32; 3] {
    let flags = match trigger {
        Trigger::Level => LEVEL_HIGH,
        Trigger::Edge => EDGE_RISING,
    };
    [0, id.get().saturating_sub(u32::from(IntId::FIRST_SHARED)), flags]
}
