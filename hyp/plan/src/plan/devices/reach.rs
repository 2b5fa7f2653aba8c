// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How far the devices reach that master the bus (`dma-ranges`; Devicetree Specification, 2.3.9).

use alloc::format;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Range};

use super::{Device, masters_the_bus, refused};
use crate::error::{Errors, Problem, listed};
use crate::partition::Spec;
use crate::plan::Memory;
use crate::tree::{Node, Tree, through};

/// Who has a device that masters the bus needs memory that it reaches: an error where the device was asked for, a
/// warning where the primary partition has it with the rest.
pub(in crate::plan) fn check(
    tree: &Tree<'_>,
    specs: &[Spec<'_>],
    memory: &[Vec<Memory>],
    owned: &[Vec<Device>],
    errors: &mut Errors,
    warnings: &mut Vec<Problem>,
) {
    for ((spec, memory), devices) in specs.iter().zip(memory).zip(owned) {
        for device in devices {
            let node = tree.node(device.node);
            let windows = if masters_the_bus(node) { windows(node) } else { None };
            let Some(windows) = windows.filter(|windows| {
                let reached = |memory: &Memory| windows.iter().any(|window| window.overlaps(&memory.frames));
                // Without any memory there is an error already.
                !memory.is_empty() && !memory.iter().any(reached)
            }) else {
                continue;
            };
            let rule = format!(
                "it masters the bus and reaches {} alone (dma-ranges above it), where the partition has no memory",
                listed(&windows)
            );
            const ADVICE: &str = "Give the partition some memory there, with an address";
            if spec.primary {
                let rule = format!("of its device {}: {rule}", device.path);
                warnings.push(Problem::new(spec.path.clone(), rule).property("primary").advice(ADVICE));
            } else {
                errors.push(refused(spec, &device.path, rule).advice(ADVICE));
            }
        }
    }
}

/// The memory that a device on its bus reaches; `None` where no bus above limits it.
fn windows(node: Node<'_, '_>) -> Option<Vec<Range<Hpa>>> {
    let mut windows: Option<Vec<(u64, u64)>> = None;
    for bus in node.ancestors() {
        let (Some(above), Some(ranges @ [_, ..])) = (bus.parent(), bus.property("dma-ranges")) else {
            continue;
        };
        let cells = [bus.address_cells(), above.address_cells(), bus.size_cells()];
        let pass = |(at, size)| Some((through(ranges, cells, at, size)?, size));
        windows = Some(match windows {
            None => bus.dma_windows(),
            Some(below) => below.into_iter().filter_map(pass).collect(),
        });
    }
    Some(windows?.into_iter().filter_map(|(at, size)| Range::<Hpa>::new(Hpa(at), size)).collect())
}
