// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What devices share with each other: nodes, pages, interrupts. No two owners may.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Range};

use super::{Device, Owner, refused};
use crate::board::Board;
use crate::error::{Errors, listed};
use crate::partition::Spec;
use crate::plan::frames::Free;
use crate::sorted::{Map, sort_by_key};
use crate::tree::{Node, NodeId, Tree};

/// Where two devices of one partition share pages, or one has them twice, leaves them to the first.
pub(super) fn share_no_page_within(devices: &mut [Device]) {
    // Ascending and disjoint, so that what overlaps stands side by side.
    let mut mapped: Vec<Range<Hpa>> = Vec::new();
    for device in devices {
        for pages in core::mem::take(&mut device.registers) {
            let first = mapped.partition_point(|other| other.end() <= pages.start());
            let others =
                mapped.iter().skip(first).take_while(|other| other.overlaps(&pages)).copied().collect();
            let left = Free::new(&[pages], others).take_everything();
            for piece in &left {
                mapped.insert(mapped.partition_point(|other| other.start() < piece.start()), *piece);
            }
            device.registers.extend(left);
        }
    }
}

/// Nobody may own a node inside a node that another owns.
pub(super) fn check_nesting(
    tree: &Tree<'_>,
    specs: &[Spec<'_>],
    owners: &Map<NodeId, Owner>,
    errors: &mut Errors,
) {
    for (id, owner) in owners.entries() {
        let node = tree.node(*id);
        let outer = node.ancestors().find_map(|outer| owners.get(&outer.id()).map(|owner| (outer, owner)));
        let Some((outer, outer_owner)) = outer.filter(|(_, outer_owner)| *outer_owner != owner) else {
            continue;
        };
        let (number, mine, rule) = match (owner, outer_owner) {
            (Owner::Partition(number), _) => {
                (number, node, format!("it is part of {}, which has another owner", outer.path()))
            }
            (_, Owner::Partition(number)) => {
                (number, outer, format!("{} is part of it, which has another owner", node.path()))
            }
            _ => continue,
        };
        if let Some(spec) = specs.get(*number) {
            errors.push(refused(spec, &mine.path(), rule));
        }
    }
}

/// Nobody may own a page in which registers of a device lie that is not the owner's too.
pub(super) fn check_pages(
    tree: &Tree<'_>,
    specs: &[Spec<'_>],
    owners: &Map<NodeId, Owner>,
    errors: &mut Errors,
) {
    let owner_of = |node: Node<'_, '_>| {
        core::iter::once(node).chain(node.ancestors()).find_map(|node| owners.get(&node.id()).copied())
    };
    let mut pages: Vec<(Range<Hpa>, NodeId, Option<Owner>)> = Vec::new();
    for node in tree.nodes().filter(|node| node.has("reg")) {
        let owner = owner_of(node);
        if owner.is_none() && !node.is_available() {
            continue;
        }
        // What does not reach the CPUs shares no page; `claim` and the rest have their own word for it.
        let registers = node.reachable_registers(&mut Vec::new());
        let there = registers.into_iter().filter(|range| !range.is_empty());
        pages.extend(there.map(|range| (range.page_aligned(), node.id(), owner)));
    }
    sort_by_key(&mut pages, |(pages, ..)| pages.start().0);

    // Groups of ranges that touch the same pages: in each, an owned device makes all others owned.
    let mut rest = pages.as_slice();
    while let Some((first, _)) = rest.split_first() {
        let mut end = first.0.end();
        let size = rest
            .iter()
            .take_while(|(pages, ..)| {
                let inside = pages.start() < end;
                end = if inside { end.max(pages.end()) } else { end };
                inside
            })
            .count();
        let (group, others) = rest.split_at_checked(size.max(1)).unwrap_or((rest, &[]));
        rest = others;
        check_group(tree, specs, group, errors);
    }
}

fn check_group(
    tree: &Tree<'_>,
    specs: &[Spec<'_>],
    group: &[(Range<Hpa>, NodeId, Option<Owner>)],
    errors: &mut Errors,
) {
    let claimed = group.iter().find_map(|(_, node, owner)| match owner {
        Some(Owner::Partition(number)) => Some((*node, *number)),
        _ => None,
    });
    let Some((node, number)) = claimed else { return };
    let mut others: Vec<NodeId> = group
        .iter()
        .filter(|(_, _, owner)| *owner != Some(Owner::Partition(number)))
        .map(|(_, node, _)| *node)
        .collect();
    others.dedup();
    let Some(spec) = specs.get(number).filter(|_| !others.is_empty()) else { return };
    let others: Vec<String> = others.into_iter().map(|other| tree.node(other).path()).collect();
    let others = listed(&others);
    errors.push(
        refused(spec, &tree.node(node).path(), format!("its registers share a page with {others}"))
            .advice("Only whole pages can be given away: devices that share one must have one owner"),
    );
}

/// Nobody may own an interrupt that another owner's device raises too.
pub(super) fn check_interrupts(
    board: &Board,
    specs: &[Spec<'_>],
    owned: &[Vec<Device>],
    errors: &mut Errors,
) {
    let mut owners: Map<u32, (Owner, &str)> = Map::new();
    if let Some((id, _)) = board.console.as_ref().and_then(|console| console.interrupt) {
        _ = owners.add(id.get(), (Owner::Hypervisor, "the hypervisor's console"));
    }
    for (number, (spec, devices)) in specs.iter().zip(owned).enumerate() {
        for device in devices {
            for (id, _) in &device.interrupts {
                let mine = (Owner::Partition(number), device.path.as_str());
                if let Err((owner, other)) = owners.add(id.get(), mine)
                    && *owner != mine.0
                {
                    let rule = format!("its interrupt {id} is that of {other} too, which has another owner");
                    errors.push(refused(spec, &device.path, rule));
                }
            }
        }
    }
}
