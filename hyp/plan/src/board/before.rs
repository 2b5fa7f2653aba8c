// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What boot took from the firmware's tree, before there was a heap to apply overlays with ([`crate::early`]). An
//! overlay that says otherwise comes too late: it is refused. One that only describes partitions cannot.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Mpidr, Range};

use super::{Board, Conduit, Cpu, Start, read};
use crate::early::ConsoleKind;
use crate::error::{Errors, Problem};
use crate::tree::Tree;

type Port = (String, ConsoleKind, Range<Hpa>);

/// The facts that boot has acted on by the time the overlays apply. What cannot be read is refused later.
pub(crate) struct BeforeOverlays {
    console: Option<Port>,
    psci: Option<Conduit>,
    cpus: Option<Vec<(Mpidr, Option<Start>)>>,
    reserved: Option<Vec<(Range<Hpa>, String)>>,
}

impl BeforeOverlays {
    /// The facts in the firmware's tree.
    pub(crate) fn read(tree: &Tree<'_>) -> Self {
        let memory = read::memory(tree.root()).unwrap_or_default();
        let console = read::console(tree, &memory).ok().flatten();
        Self {
            console: console.map(|console| (tree.node(console.node).path(), console.kind, console.registers)),
            psci: read::psci(tree).ok().flatten(),
            cpus: read::cpus(tree.root()).ok().map(|cpus| list(&cpus)),
            reserved: read::reserved(tree).ok(),
        }
    }

    /// Compares them with the board that the overlays leave, and what boot has `taken` with its memory.
    ///
    /// # Errors
    /// Every difference.
    pub(crate) fn compare(&self, board: &Board, taken: &[(Range<Hpa>, &str)]) -> Result<(), Errors> {
        let mut errors = Errors::new();
        let late = |node: &str, rule: String| {
            Problem::new(node, rule).advice(
                "Boot reads this before overlays apply: change it in the tree that the firmware passes on",
            )
        };
        let now = board.console.as_ref().map(|console| (console.kind, console.registers));
        if self.console.as_ref().map(|(_, kind, registers)| (*kind, *registers)) != now {
            let name = |port: Option<String>| port.unwrap_or_else(|| "none".into());
            let before = name(self.console.as_ref().map(|(path, ..)| path.clone()));
            let now = name(now.map(|(_, registers)| format!("the port at {registers}")));
            let rule = format!("an overlay changes the board's console from {before} to {now}");
            errors.push(late("/chosen", rule).property("stdout-path"));
        }
        if self.psci != board.psci {
            errors.push(late("/psci", "an overlay changes how the firmware's PSCI is called".into()));
        }
        if self.cpus.as_ref().is_some_and(|cpus| *cpus != list(&board.cpus)) {
            let rule = "an overlay changes the board's CPUs or how they are started";
            errors.push(late("/cpus", rule.into()));
        }
        for (range, what) in taken {
            if !board.memory.iter().any(|bank| bank.covers(range)) {
                let rule = format!("an overlay takes away memory in which {what} is ({range})");
                errors.push(late("/memory", rule));
            }
        }
        let before = self.reserved.as_deref().unwrap_or(&[]);
        // Spin tables are where the CPUs are, which have been compared.
        let new = board.reserved.iter().filter(|entry| entry.1.starts_with('/') && !before.contains(entry));
        for (range, path) in new {
            if let Some((_, what)) = taken.iter().find(|(place, _)| place.overlaps(range)) {
                errors.push(late(path, format!("an overlay reserves memory in which {what} is ({range})")));
            }
        }
        errors.or(())
    }
}

fn list(cpus: &[Cpu]) -> Vec<(Mpidr, Option<Start>)> {
    cpus.iter().map(|cpu| (cpu.mpidr, cpu.start)).collect()
}
