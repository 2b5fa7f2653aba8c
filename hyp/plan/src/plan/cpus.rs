// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which partition has which CPU.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::CpuIndex;

use super::map;
use crate::board::Board;
use crate::error::{Errors, Problem, listed};
use crate::partition::Spec;
use crate::sorted::Map;

/// A CPU's number in `cpus`: Aff3, Aff2, Aff1 and Aff0 in one cell. Aff3 fills the byte that `reg` leaves free.
pub(crate) fn cpu_cell(affinity: u64) -> u32 {
    (affinity as u32) | ((affinity >> 32) as u32) << 24
}

/// The CPUs of each partition, and those left over.
pub(super) fn assign(
    board: &Board,
    specs: &[Spec<'_>],
    errors: &mut Errors,
) -> (Vec<Vec<CpuIndex>>, Vec<CpuIndex>) {
    let cells = || board.cpus.iter().map(|cpu| cpu_cell(cpu.mpidr.affinity()));
    let mut left = Map::new();
    cells().zip((0..).map(CpuIndex)).for_each(|(cell, cpu)| _ = left.add(cell, cpu));
    let mut owners: Map<u32, &str> = Map::new();
    let (most, version) = map::most_vcpus(board);
    let mut assigned = Vec::with_capacity(specs.len());
    for spec in specs {
        let problem = |rule: String, cells: &[u32]| {
            let value = cells.iter().map(|cell| format!("{cell:#x}")).collect::<Vec<_>>().join(" ");
            Problem::new(spec.path.clone(), rule).property("cpus").value(format!("<{value}>"))
        };
        let mut cpus = Vec::with_capacity(spec.cpus.len());
        let mut unknown = Vec::new();
        for cell in &spec.cpus {
            match (left.remove(cell), owners.get(cell)) {
                (Some(cpu), _) => {
                    _ = owners.add(*cell, spec.name);
                    cpus.push(cpu);
                    if !can_start(board, cpu) {
                        let rule = "the board's tree does not say how this CPU is started (enable-method)";
                        errors.push(problem(rule.into(), &[*cell]));
                    }
                }
                (None, Some(owner)) if *owner == spec.name => {
                    errors.push(problem("this CPU is listed twice".into(), &[*cell]));
                }
                (None, Some(owner)) => {
                    errors.push(problem(format!("{owner} has this CPU already"), &[*cell]))
                }
                (None, None) => unknown.push(*cell),
            }
        }
        if !unknown.is_empty() {
            let known = listed(&cells().map(|cell| format!("{cell:#x}")).collect::<Vec<_>>());
            let rule = "the board has no CPU with such a reg".into();
            errors.push(problem(rule, &unknown).advice(format!("Its CPUs are {known}")));
        }
        if spec.cpus.len() > most {
            let rule = format!("a partition has at most {most} CPUs on a board with a GICv{version}");
            errors.push(problem(rule, &[]).value(format!("{} CPUs", spec.cpus.len())));
        }
        assigned.push(cpus);
    }
    let is_left = |(cell, cpu): (u32, CpuIndex)| left.contains(&cell).then_some(cpu);
    let mut idle: Vec<CpuIndex> = cells().zip((0..).map(CpuIndex)).filter_map(is_left).collect();
    // The primary partition has what is left, unless it says itself what it wants.
    let rest = specs.iter().zip(&mut assigned).find(|(spec, _)| spec.primary && spec.cpus.is_empty());
    if let Some((spec, cpus)) = rest {
        *cpus = idle.iter().copied().filter(|cpu| can_start(board, *cpu)).take(most).collect();
        idle.retain(|cpu| !cpus.contains(cpu));
        if cpus.is_empty() {
            let problem = |rule| Problem::new(spec.path.clone(), rule).property("cpus");
            errors.push(if idle.is_empty() {
                problem("the other partitions have all CPUs, and the primary one needs one too")
            } else {
                let paths: Vec<_> =
                    idle.iter().filter_map(|cpu| board.cpus.get(usize::from(cpu.0))).collect();
                let paths: Vec<_> = paths.iter().map(|cpu| &*cpu.path).collect();
                problem(
                    "the board's tree does not say how the CPUs that are left are started (enable-method)",
                )
                .value(listed(&paths))
                .advice("Where the boot loader adds it, take the tree that it passes on")
            });
        }
    }
    (assigned, idle)
}

/// Whether the board's tree says how this CPU is started, if it must be.
fn can_start(board: &Board, cpu: CpuIndex) -> bool {
    board.cpus.len() == 1 || board.cpus.get(usize::from(cpu.0)).is_some_and(|cpu| cpu.start.is_some())
}
