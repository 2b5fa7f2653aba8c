// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine as its device tree describes it. Nothing about it is compiled in.

use bulkhead_types::Mpidr;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::smp::MAX_CPUS;

/// A block of device registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// The first byte.
    pub base: usize,
    /// Bytes.
    pub size: usize,
}

/// The interrupt controller that the tree names.
#[derive(Debug, Clone, Copy)]
pub enum GicKind {
    /// GICv2: distributor and CPU interface.
    V2 {
        /// GICD.
        distributor: Registers,
        /// GICC.
        cpu_interface: Registers,
    },
    /// GICv3: distributor and regions of redistributors, the CPU interface in system registers.
    V3 {
        /// GICD.
        distributor: Registers,
        /// GICR regions, in the tree's order.
        redistributors: [Option<Registers>; 4],
    },
}

/// How firmware or hypervisor is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// HVC.
    Hvc,
    /// SMC.
    Smc,
}

/// What the guests of this runtime need to know of the machine.
#[derive(Debug)]
pub struct Machine {
    /// The whole tree.
    pub tree: Fdt<'static>,
    /// The console's PL011 and its INTID.
    pub console: Option<(Registers, Option<u32>)>,
    /// The interrupt controller.
    pub gic: Option<GicKind>,
    /// INTID of the virtual timer.
    pub virtual_timer: Option<u32>,
    /// INTID of the EL1 physical timer.
    pub physical_timer: Option<u32>,
    /// INTID of the PMU's overflow.
    pub counters: Option<u32>,
    /// PSCI's conduit.
    pub psci: Option<Conduit>,
    cpus: [Option<Mpidr>; MAX_CPUS],
}

impl Machine {
    /// Reads the tree.
    #[must_use]
    pub fn read(tree: Fdt<'static>) -> Self {
        let mut machine = Self {
            tree,
            console: None,
            gic: None,
            virtual_timer: None,
            physical_timer: None,
            counters: None,
            psci: None,
            cpus: [None; MAX_CPUS],
        };
        machine.read_node(&Place { node: tree.root(), parent: None });
        machine.read_cpus();
        machine.read_console();
        machine
    }

    /// The CPUs of the tree.
    pub fn cpus(&self) -> impl Iterator<Item = Mpidr> + '_ {
        self.cpus.iter().flatten().copied()
    }

    /// The number behind `NAME=` in `/chosen`'s `bootargs`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let arguments = self.tree.find_node("/chosen")?.property("bootargs")?.value_as::<&str>().ok()?;
        let value = arguments.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        value.parse().ok()
    }

    fn read_node(&mut self, place: &Place<'_>) {
        let is = |compatible: &[&str]| compatible.iter().any(|name| place.node.is_compatible(name));
        if is(&["arm,gic-v3"]) {
            if let Some(distributor) = place.registers(0) {
                let redistributors = core::array::from_fn(|index| place.registers(index + 1));
                self.gic = Some(GicKind::V3 { distributor, redistributors });
            }
        } else if is(&["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a7-gic", "arm,cortex-a9-gic"]) {
            if let (Some(distributor), Some(cpu_interface)) = (place.registers(0), place.registers(1)) {
                self.gic = Some(GicKind::V2 { distributor, cpu_interface });
            }
        } else if is(&["arm,armv8-timer", "arm,armv7-timer"]) {
            // Secure physical, non-secure physical, virtual, hypervisor: arm,arch_timer's binding.
            self.physical_timer = place.interrupt(1);
            self.virtual_timer = place.interrupt(2);
        } else if place.node.name_without_address() == "pmu" {
            self.counters = place.interrupt(0);
        } else if is(&["arm,psci", "arm,psci-0.2", "arm,psci-1.0"])
            && let Some(method) = place.node.property("method")
        {
            self.psci = match method.value_as::<&str>() {
                Ok("hvc") => Some(Conduit::Hvc),
                Ok("smc") => Some(Conduit::Smc),
                _ => None,
            };
        }
        for node in place.node.children() {
            self.read_node(&Place { node, parent: Some(place) });
        }
    }

    fn read_cpus(&mut self) {
        let Some(cpus) = self.tree.find_node("/cpus") else { return };
        let affinities =
            cpus.children().filter(|node| node.name_without_address() == "cpu").filter_map(|cpu| {
                let reg = cpu.reg().ok()??.next()?.address::<u64>().ok()?;
                Mpidr::from_affinity(reg)
            });
        for (place, mpidr) in self.cpus.iter_mut().zip(affinities) {
            *place = Some(mpidr);
        }
    }

    /// The PL011 that `stdout-path` names, by path or by alias.
    fn read_console(&mut self) -> Option<()> {
        let chosen = self.tree.find_node("/chosen")?;
        let path = chosen.property("stdout-path")?.value_as::<&str>().ok()?;
        let path = path.split(':').next()?;
        let aliases = self.tree.find_node("/aliases");
        let path =
            if path.starts_with('/') { path } else { aliases?.property(path)?.value_as::<&str>().ok()? };
        let mut console = None;
        walk(&Place { node: self.tree.root(), parent: None }, path, &mut |place| {
            if place.node.is_compatible("arm,pl011") {
                console = place.registers(0).map(|registers| (registers, place.interrupt(0)));
            }
        });
        self.console = console;
        console.map(|_| ())
    }
}

/// Follows `path` down from `place` and calls `f` with its end, if there is one.
fn walk(place: &Place<'_>, path: &str, f: &mut dyn FnMut(&Place<'_>)) {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return f(place);
    }
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    if let Some(node) = place.node.child(name) {
        walk(&Place { node, parent: Some(place) }, rest, f);
    }
}

/// A node with its ancestors, whose `ranges` translate its addresses.
struct Place<'a> {
    node: FdtNode<'static>,
    parent: Option<&'a Place<'a>>,
}

impl Place<'_> {
    /// Entry `index` of `reg`, as the CPU addresses it.
    fn registers(&self, index: usize) -> Option<Registers> {
        let reg = self.node.reg().ok()??.nth(index)?;
        let mut address = reg.address::<u64>().ok()?;
        let mut bus = self.parent;
        while let Some(place) = bus {
            address = place.translate(address)?;
            bus = place.parent;
        }
        Some(Registers { base: address as usize, size: reg.size::<u64>().ok()? as usize })
    }

    /// An address of this bus on the parent's bus (Devicetree Specification, 2.3.8).
    fn translate(&self, address: u64) -> Option<u64> {
        if self.parent.is_none() {
            return Some(address);
        }
        self.node
            .ranges()
            .ok()??
            .find_map(|range| {
                let child = range.child_bus_address::<u64>().ok()?;
                let offset = address.checked_sub(child)?;
                let inside = offset < range.length::<u64>().ok()?;
                inside.then_some(range.parent_bus_address::<u64>().ok()? + offset)
            })
            .or_else(|| {
                let empty = self.node.property("ranges")?.value().is_empty();
                empty.then_some(address)
            })
    }

    /// The INTID of entry `index` of `interrupts`, in the GIC's binding: type, number, flags.
    fn interrupt(&self, index: usize) -> Option<u32> {
        let interrupts = self.node.property("interrupts")?;
        let [kind, number, _] = interrupts.as_prop_encoded_array([1, 1, 1]).ok()?.nth(index)?;
        let cell = |cells: dtoolkit::Cells<'_>| cells.as_ref().first().map(|cell| cell.get());
        match cell(kind)? {
            0 => Some(cell(number)? + 32),
            1 => Some(cell(number)? + 16),
            _ => None,
        }
    }
}
