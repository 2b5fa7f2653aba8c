// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading a board out of its tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, IntId, Mpidr, Range, Trigger};

use super::{Board, Conduit, Console, Cpu, Entropy, Gic, Start, Timer};
use crate::early::{ConsoleKind, FIRST_SERIAL, SPIN_TABLE_SIZE, conduit, without_options};
use crate::error::{Errors, Problem};
use crate::interrupts::{GIC_V2, GIC_V3, interrupts, understood_interrupts};
use crate::sorted::{Map, sort_by_key};
use crate::tree::{Node, NodeId, Tree};

/// What a redistributor takes: the frames RD_base and SGI_base (IHI 0069H).
const REDISTRIBUTOR: u64 = 0x2_0000;

impl Board {
    /// Reads the board out of its tree.
    ///
    /// # Errors
    /// Everything that keeps Bulkhead from running on it.
    pub fn read(tree: &Tree<'_>) -> Result<Self, Errors> {
        let mut errors = Errors::new();
        let root = tree.root();
        let memory = errors.note(memory(root));
        let reserved = errors.note(reserved(tree));
        let cpus = errors.note_all(cpus(root));
        let gic = errors.note(gic(tree));
        let timer = errors.note(timer(tree));
        let console = errors.note(console(tree, memory.as_deref().unwrap_or_default()));
        let psci = errors.note(psci(tree));
        if psci == Some(None) && cpus.iter().flatten().any(|cpu| cpu.start == Some(Start::Psci)) {
            errors.push(
                Problem::new(
                    "/cpus",
                    "CPUs are started by PSCI, but the board's tree has no usable psci node",
                )
                .property("enable-method"),
            );
        }
        let (Some(memory), Some(mut reserved), Some(cpus), Some((gic_node, gic)), Some(timer), Some(console)) =
            (memory, reserved, cpus, gic, timer, console)
        else {
            return Err(errors);
        };
        if let Gic::V3 { redistributors, stride, .. } = &gic {
            // Those of version 4 take more, which only they themselves tell.
            let frame = stride.unwrap_or(REDISTRIBUTOR);
            let room: u64 = redistributors.iter().filter_map(|region| region.size().checked_div(frame)).sum();
            if room < cpus.len() as u64 {
                let rule =
                    format!("its redistributors are enough for {room} of the board's {} CPUs", cpus.len());
                let advice = format!("Each takes {frame:#x} bytes");
                errors.push(Problem::new(tree.node(gic_node).path(), rule).property("reg").advice(advice));
            }
        }
        // CPUs that wait at a spin table read it until they are started, whoever has them.
        for cpu in &cpus {
            if let Some(Start::SpinTable(address)) = cpu.start {
                reserved.extend(
                    Range::<Hpa>::new(address, SPIN_TABLE_SIZE).map(|range| (range, "the spin table".into())),
                );
            }
        }
        let chosen = |name| {
            let value = root.child("chosen").and_then(|chosen| chosen.property(name));
            value.map(<[u8]>::to_vec).unwrap_or_default()
        };
        errors.or(Self {
            model: root.string("model").unwrap_or_default().into(),
            compatible: root.strings("compatible").map(String::from).collect(),
            memory,
            reserved,
            cpus,
            psci: psci.flatten(),
            gic,
            gic_node,
            timer,
            counters: counters(tree),
            console,
            entropy: Entropy { rng_seed: chosen("rng-seed"), kaslr_seed: chosen("kaslr-seed") },
        })
    }
}

/// How the firmware's power interface is called, if there is one.
pub(super) fn psci(tree: &Tree<'_>) -> Result<Option<Conduit>, Problem> {
    let found = tree.nodes().find_map(|node| Some((node, conduit(|name| node.property(name))?)));
    match found {
        Some((node, Conduit::Hvc)) => {
            let rule = "HVC calls the hypervisor itself: firmware is called by SMC from EL2";
            let problem = Problem::new(node.path(), rule).property("method").value("\"hvc\"");
            Err(problem.advice("Where EL3 has PSCI, the method is \"smc\""))
        }
        found => Ok(found.map(|(_, conduit)| conduit)),
    }
}

/// The banks of RAM, sorted, those that touch made one.
pub(super) fn memory(root: Node<'_, '_>) -> Result<Vec<Range<Hpa>>, Problem> {
    let mut banks = Vec::new();
    let is_memory = |node: &Node<'_, '_>| node.string("device_type") == Some("memory") && node.is_available();
    for node in root.children().filter(is_memory) {
        banks.extend(node.registers()?);
    }
    let is_unfilled = !banks.is_empty();
    banks.retain(|bank| !bank.is_empty());
    sort_by_key(&mut banks, |bank: &Range<Hpa>| bank.start().0);
    let mut merged: Vec<Range<Hpa>> = Vec::with_capacity(banks.len());
    for bank in banks {
        match merged.last_mut() {
            Some(last) if bank.start() <= last.end() => {
                let end = last.end().max(bank.end());
                let size = end.0.saturating_sub(last.start().0);
                *last = Range::<Hpa>::new(last.start(), size).unwrap_or(*last);
            }
            _ => merged.push(bank),
        }
    }
    if merged.is_empty() {
        let problem = Problem::new("/memory", "the board's tree describes no memory");
        return Err(if is_unfilled {
            problem.advice(
                "Where firmware fills it in, as a Raspberry Pi's does, take the tree that it passes on: \
                 Linux on the board has that in /sys/firmware/fdt; on the host, --memory MIB supplies it",
            )
        } else {
            problem.advice(
                "A node with device_type = \"memory\" and a reg must say where RAM is: firmware adds it, or an overlay \
                 with &{/} { memory@80000000 { device_type = \"memory\"; reg = <...>; }; }; on the host, --memory \
                 MIB@ADDRESS supplies it",
            )
        });
    }
    Ok(merged)
}

pub(super) fn reserved(tree: &Tree<'_>) -> Result<Vec<(Range<Hpa>, String)>, Problem> {
    let mut reserved = Vec::new();
    for (address, size) in &tree.reservations {
        if let Some(range) = Range::<Hpa>::new(Hpa(*address), *size) {
            reserved.push((range, "memory reservation block".into()));
        }
    }
    if let Some(parent) = tree.root().child("reserved-memory") {
        for node in parent.children().filter(Node::is_available) {
            reserved.extend(node.registers()?.into_iter().map(|range| (range, node.path())));
        }
    }
    Ok(reserved)
}

pub(super) fn cpus(root: Node<'_, '_>) -> Result<Vec<Cpu>, Errors> {
    let mut errors = Errors::new();
    let mut cpus: Vec<Cpu> = Vec::new();
    let mut affinities = Map::new();
    let is_cpu = |node: &Node<'_, '_>| node.string("device_type") == Some("cpu") || node.base_name() == "cpu";
    // A CPU that waits for its enable-method is "disabled"; only a broken one has "fail"
    // (Devicetree Specification, 3.8.1).
    let works = |node: &Node<'_, '_>| !node.string("status").is_some_and(|status| status.starts_with("fail"));
    for node in root.child("cpus").into_iter().flat_map(|cpus| cpus.children()) {
        if is_cpu(&node)
            && works(&node)
            && let Some(cpu) = errors.note(cpu(node))
        {
            let affinity = cpu.mpidr.affinity();
            if affinities.add(affinity, ()).is_err() {
                let problem = Problem::new("/cpus", "two CPUs have the same reg");
                errors.push(problem.value(format!("<{affinity:#x}>")));
            }
            cpus.push(cpu);
        }
    }
    if cpus.is_empty() && errors.0.is_empty() {
        errors.push(Problem::new("/cpus", "the board's tree lists no CPU"));
    }
    errors.or(cpus)
}

fn cpu(node: Node<'_, '_>) -> Result<Cpu, Problem> {
    let reg = node.reg()?;
    let affinity = reg.first().map(|(affinity, _)| *affinity);
    let mpidr = affinity.and_then(Mpidr::from_affinity).ok_or_else(|| {
        Problem::new(node.path(), "a CPU's reg must be the affinity fields of its MPIDR_EL1").property("reg")
    })?;
    let start = match node.string("enable-method") {
        Some("psci") => Some(Start::Psci),
        Some("spin-table") => {
            let address = node.cells("cpu-release-addr").number().ok_or_else(|| {
                Problem::new(node.path(), "a CPU with a spin table needs the address to write to")
                    .property("cpu-release-addr")
            })?;
            Some(Start::SpinTable(Hpa(address)))
        }
        _ => None,
    };
    let compatible = node.strings("compatible").map(String::from).collect();
    Ok(Cpu { path: node.path(), mpidr, compatible, start })
}

fn gic(tree: &Tree<'_>) -> Result<(NodeId, Gic), Problem> {
    let known = |node: &Node<'_, '_>| {
        node.has("interrupt-controller") && crate::interrupts::is_gic(*node) && node.is_available()
    };
    let node = tree.nodes().find(known).ok_or_else(|| {
        let known: Vec<&str> = GIC_V2.iter().chain(GIC_V3).copied().collect();
        Problem::new("/", "the board's tree has no interrupt controller that Bulkhead can drive")
            .advice(format!("It can drive {}", crate::error::listed(&known)))
    })?;
    let registers = node.registers()?;
    let maintenance = interrupts(node)?.first().map(|(id, _)| *id).filter(|id| id.is_private());
    let maintenance = maintenance.ok_or_else(|| {
        Problem::new(node.path(), "a GIC with virtualization has a maintenance interrupt, a private one")
            .property("interrupts")
    })?;
    let missing = |parts| Problem::new(node.path(), parts).property("reg");
    let gic = if node.is_compatible_with_any(GIC_V3) {
        let regions = node.u32("#redistributor-regions").unwrap_or(1) as usize;
        let (distributor, rest) = registers
            .split_first()
            .ok_or_else(|| missing("a GICv3 has the ranges of its distributor and its redistributors"))?;
        let redistributors = rest.get(..regions).filter(|regions| !regions.is_empty()).ok_or_else(|| {
            missing("a GICv3 has as many ranges of redistributors as #redistributor-regions says")
        })?;
        if distributor.size() < 0x1_0000 || redistributors.iter().any(|region| region.size() < REDISTRIBUTOR)
        {
            return Err(missing("a GICv3's distributor takes 64 KiB, and a CPU's redistributor 128 KiB"));
        }
        let stride = node.cells("redistributor-stride").number();
        if stride.is_some_and(|stride| stride < REDISTRIBUTOR || !stride.is_multiple_of(0x1_0000)) {
            let rule = "redistributors are multiples of 64 KiB apart, and 128 KiB at least";
            return Err(Problem::new(node.path(), rule).property("redistributor-stride"));
        }
        Gic::V3 { distributor: *distributor, redistributors: redistributors.to_vec(), stride, maintenance }
    } else {
        let [distributor, cpu_interface, hypervisor_interface, virtual_cpu_interface, ..] =
            *registers.as_slice()
        else {
            return Err(missing(
                "a GICv2 with virtualization has four ranges: distributor, CPU, hypervisor and virtual CPU interface",
            ));
        };
        // GICC_DIR and GICV_DIR are in the second page.
        if cpu_interface.size().min(virtual_cpu_interface.size()) < 0x2000 {
            return Err(missing("a GICv2's CPU interface takes 8 KiB, and its virtual one as well"));
        }
        Gic::V2 { distributor, cpu_interface, hypervisor_interface, virtual_cpu_interface, maintenance }
    };
    Ok((node.id(), gic))
}

fn timer(tree: &Tree<'_>) -> Result<Timer, Problem> {
    let node = tree
        .nodes()
        .find(|node| node.is_compatible_with_any(&["arm,armv8-timer", "arm,armv7-timer"]))
        .ok_or_else(|| Problem::new("/timer", "the board's tree has no generic timer"))?;
    let found = interrupts(node)?;
    let named: Vec<&str> = node.strings("interrupt-names").collect();
    let place = |name: &str, position: usize| match named.as_slice() {
        [] => Some(position),
        names => names.iter().position(|candidate| *candidate == name),
    };
    let interrupt = |name, position| {
        place(name, position).and_then(|place| found.get(place)).copied().filter(|(id, _)| id.is_private())
    };
    let missing = |rule| Problem::new(node.path(), rule).property("interrupts");
    let (virtual_timer, trigger) = interrupt("virt", 2)
        .ok_or_else(|| missing("the virtual timer's interrupt, a private one, comes third"))?;
    let (physical, _) = interrupt("phys", 1)
        .ok_or_else(|| missing("the physical timer's interrupt, a private one, comes second"))?;
    Ok(Timer {
        secure: interrupt("sec-phys", 0).map(|(id, _)| id),
        physical,
        virtual_timer,
        hypervisor: interrupt("hyp-phys", 3).map(|(id, _)| id),
        trigger,
        flags: node.cells("interrupts").nth(2).unwrap_or(4) & 0xf,
        always_on: node.has("always-on"),
    })
}

/// The PMU's interrupt, if it is a private one (Linux's `arm/pmu.yaml`).
fn counters(tree: &Tree<'_>) -> Option<(IntId, u32)> {
    let is_pmu = |node: &Node<'_, '_>| {
        node.strings("compatible").any(|name| name.ends_with("-pmu") || name.ends_with("-pmuv3"))
    };
    // Interconnects and SoCs have PMUs too, whose interrupts are shared or missing.
    tree.nodes().filter(is_pmu).find_map(|node| {
        let (id, trigger) = understood_interrupts(node).into_iter().find(|(id, _)| id.is_private())?;
        let flags = match trigger {
            Trigger::Level => 4,
            Trigger::Edge => 1,
        };
        // As the node has them where it has them in the usual place.
        Some((id, node.cells("interrupts").nth(2).map_or(flags, |flags| flags & 0xf)))
    })
}

/// The console as [`crate::early::Outline::console`] finds it, with its interrupt.
pub(super) fn console(tree: &Tree<'_>, memory: &[Range<Hpa>]) -> Result<Option<Console>, Problem> {
    let named = tree.root().child("chosen").and_then(|chosen| {
        let stdout = chosen.string("stdout-path").or_else(|| chosen.string("linux,stdout-path"))?;
        tree.find(without_options(stdout))
    });
    if let Some(console) = named.map_or(Ok(None), |node| port(node, memory))? {
        return Ok(Some(console));
    }
    let first = tree.find(FIRST_SERIAL).filter(Node::is_available);
    first.map_or(Ok(None), |node| port(node, memory))
}

/// The port that a node describes, if it can be driven. Memory is none, whatever the node says.
fn port(node: Node<'_, '_>, memory: &[Range<Hpa>]) -> Result<Option<Console>, Problem> {
    let Some(kind) = ConsoleKind::of(node.strings("compatible")) else { return Ok(None) };
    let Some(registers) = node.registers()?.first().copied() else { return Ok(None) };
    if memory.iter().any(|bank| bank.overlaps(&registers)) {
        return Ok(None);
    }
    let interrupt = understood_interrupts(node).first().copied();
    Ok(Some(Console { node: node.id(), kind, registers, interrupt }))
}
