// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who has the board's reserved memory (Devicetree Specification, 3.5; dt-schema's
//! `reserved-memory/reserved-memory.yaml`).
//!
//! A pool (`reusable`) is ordinary memory, the primary partition's before anybody else's. A region at a fixed place goes
//! to the owner of the devices that refer to it, with what the firmware left in it. What nothing refers to stays
//! unmapped, with `no-map` or without: firmware lives in either, and a system that is not told of it lacks nothing.
//! Regions that are devices themselves, and the default pool for DMA, are the primary partition's. The memory
//! reservation block is nobody's.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Ipa, Range};

use super::{Inputs, Memory};
use crate::error::{Problem, listed};
use crate::partition::{Access, Spec};
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree};

/// Regions that are devices themselves, so that nothing need refer to them (Linux's `drivers/of/platform.c`).
const SELF_DRIVEN: &[&str] =
    &["ramoops", "phram", "nvmem-rmem", "google,open-dice", "qcom,rmtfs-mem", "qcom,cmd-db", "qcom,smem"];

/// A node of `/reserved-memory`.
struct Region {
    node: NodeId,
    ranges: Vec<Range<Hpa>>,
    fate: Fate,
    /// The devices that refer to it.
    users: Vec<NodeId>,
}

enum Fate {
    /// It is RAM like any other.
    Pool,
    /// The partition of this number has it.
    Given(usize),
    /// Nobody has it, and why.
    Left(&'static str),
}

/// All reserved memory of a board.
pub(super) struct Reserved {
    regions: Vec<Region>,
    /// What stays unmapped for every guest, and what it is.
    pub(super) left: Vec<(Range<Hpa>, String)>,
}

/// What the primary partition's tree must not have, because the partition has no such memory.
pub(super) struct Missing {
    /// Nodes that describe the memory.
    pub(super) nodes: Vec<NodeId>,
    /// Devices that refer to them.
    pub(super) users: Vec<NodeId>,
}

impl Missing {
    pub(super) const fn none() -> Self {
        Self { nodes: Vec::new(), users: Vec::new() }
    }
}

impl Reserved {
    pub(super) fn new(inputs: &Inputs<'_, '_>, specs: &[Spec<'_>]) -> Self {
        let (board, tree) = (inputs.board, inputs.tree);
        let mut left = board.reserved.clone();
        let Some(parent) = tree.root().child("reserved-memory") else {
            return Self { regions: Vec::new(), left };
        };
        let users = Users::new(tree, specs);
        let mut regions = Vec::new();
        for node in parent.children().filter(Node::is_available) {
            let ranges = node.reachable_registers(&mut Vec::new());
            if ranges.is_empty() {
                continue;
            }
            let (users, fate) = users.of(node, specs);
            regions.push(Region { node: node.id(), ranges, fate, users });
        }
        // A page that others have a part of cannot be given.
        let mut shared = inputs.taken.iter().map(|(range, _)| *range).collect::<Vec<_>>();
        shared.extend(tree.reservations.iter().filter_map(|(at, size)| Range::<Hpa>::new(Hpa(*at), *size)));
        let pages: Vec<(NodeId, Range<Hpa>)> = regions
            .iter()
            .flat_map(|region| region.ranges.iter().map(|range| (region.node, range.page_aligned())))
            .collect();
        for region in &mut regions {
            let is_shared = |range: &Range<Hpa>| {
                let range = range.page_aligned();
                shared.iter().any(|other| other.page_aligned().overlaps(&range))
                    || pages.iter().any(|(node, other)| *node != region.node && other.overlaps(&range))
            };
            let is_ram =
                |range: &Range<Hpa>| board.memory.iter().any(|bank| bank.covers(&range.page_aligned()));
            if matches!(region.fate, Fate::Given(_)) {
                if region.ranges.iter().any(is_shared) {
                    region.fate = Fate::Left("others have a part of its pages");
                } else if !region.ranges.iter().all(is_ram) {
                    region.fate = Fate::Left("it is outside the board's memory");
                }
            }
        }
        for region in &regions {
            if !matches!(region.fate, Fate::Left(_)) {
                let path = tree.node(region.node).path();
                left.retain(|(_, what)| *what != path);
            }
        }
        Self { regions, left }
    }

    /// The pools.
    pub(super) fn pools(&self) -> impl Iterator<Item = Range<Hpa>> {
        let pools = self.regions.iter().filter(|region| matches!(region.fate, Fate::Pool));
        pools.flat_map(|region| region.ranges.iter().copied())
    }

    /// The regions that partitions have, with the number of each one's owner.
    pub(super) fn given(&self) -> impl Iterator<Item = (usize, Memory)> {
        self.regions.iter().flat_map(|region| {
            let owner = match region.fate {
                Fate::Given(owner) => Some(owner),
                Fate::Pool | Fate::Left(_) => None,
            };
            let memory = |frames: Range<Hpa>| Memory {
                kept: true,
                ..Memory::new(Ipa(frames.start().0), frames, Access::ALL)
            };
            let frames = region.ranges.iter().map(Range::page_aligned);
            owner.into_iter().flat_map(move |owner| frames.clone().map(move |frames| (owner, memory(frames))))
        })
    }

    /// What the tree of the primary partition, which has the number `primary` and this memory, must not have.
    pub(super) fn missing(
        &self,
        tree: &Tree<'_>,
        primary: usize,
        memory: &[Memory],
        warnings: &mut Vec<Problem>,
    ) -> Missing {
        let mut missing = Missing::none();
        for region in &self.regions {
            let why = match region.fate {
                Fate::Given(owner) if owner == primary => continue,
                Fate::Given(_) => "another partition has it with its devices",
                Fate::Left(why) => why,
                Fate::Pool if region.ranges.iter().all(|range| has(memory, range)) => continue,
                Fate::Pool => "not all of this pool is the partition's memory",
            };
            let users: Vec<String> = region.users.iter().map(|user| tree.node(*user).path()).collect();
            let rule = format!("the primary partition's tree does not have this memory: {why}");
            let problem = Problem::new(tree.node(region.node).path(), rule);
            warnings.push(match users.as_slice() {
                [] => problem,
                users => {
                    problem.advice(format!("It does not have {} either, which refer to it", listed(users)))
                }
            });
            missing.nodes.push(region.node);
            missing.users.extend(&region.users);
        }
        // What the firmware left for the system: a frame buffer, say.
        for node in tree.root().child("chosen").iter().flat_map(Node::children).filter(Node::is_available) {
            let ranges = node.reachable_registers(&mut Vec::new());
            if let Some(range) = ranges.iter().find(|range| !has(memory, range)) {
                let rule =
                    format!("the primary partition's tree does not have it: {range} is not its memory");
                warnings.push(Problem::new(node.path(), rule));
                missing.nodes.push(node.id());
            }
        }
        missing
    }
}

/// Whether a partition with this memory has all of these frames.
pub(super) fn has(memory: &[Memory], wanted: &Range<Hpa>) -> bool {
    let overlap = |memory: &Memory| {
        let end = memory.frames.end().min(wanted.end()).0;
        end.saturating_sub(memory.frames.start().max(wanted.start()).0)
    };
    memory.iter().map(overlap).fold(0, u64::saturating_add) >= wanted.size()
}

/// Which devices refer to which region, and who owns them.
struct Users(Map<NodeId, Vec<(NodeId, usize)>>);

impl Users {
    fn new(tree: &Tree<'_>, specs: &[Spec<'_>]) -> Self {
        let mut owners = Map::new();
        for (number, spec) in specs.iter().enumerate() {
            for name in &spec.devices {
                if let Some(node) = tree.find(name) {
                    _ = owners.add(node.id(), number);
                }
            }
        }
        let primary = specs.iter().position(|spec| spec.primary);
        let mut users: Map<NodeId, Vec<(NodeId, usize)>> = Map::new();
        for node in tree.nodes().filter(|node| node.has("memory-region")) {
            let mut up = core::iter::once(node).chain(node.ancestors());
            let owner = up.find_map(|node| owners.get(&node.id()).copied());
            let works = node.is_available()
                && node.ancestors().all(|node| node.parent().is_none() || node.is_available());
            let Some(owner) = owner.or(primary.filter(|_| works)) else { continue };
            for region in node.cells("memory-region").filter_map(|phandle| tree.by_phandle(phandle)) {
                match users.get_mut(&region.id()) {
                    Some(users) => users.push((node.id(), owner)),
                    None => _ = users.add(region.id(), alloc::vec![(node.id(), owner)]),
                }
            }
        }
        Self(users)
    }

    /// The devices that refer to a region, and what becomes of it so far as its node says.
    fn of(&self, region: Node<'_, '_>, specs: &[Spec<'_>]) -> (Vec<NodeId>, Fate) {
        let users = self.0.get(&region.id()).map_or(&[][..], Vec::as_slice);
        let nodes = users.iter().map(|(node, _)| *node).collect();
        let is_never_mapped = region.has("no-map");
        let primary = specs.iter().position(|spec| spec.primary);
        let fate = match users {
            _ if region.has("reusable") && !is_never_mapped => Fate::Pool,
            [] if !region.is_compatible_with_any(SELF_DRIVEN) && !region.has("linux,dma-default") => {
                Fate::Left("nothing refers to it, so it may be the firmware's")
            }
            [] => primary.map_or(Fate::Left("there is no primary partition"), Fate::Given),
            [(_, first), rest @ ..] if rest.iter().any(|(_, owner)| owner != first) => {
                Fate::Left("devices of several partitions refer to it")
            }
            [(_, owner), ..] if specs.get(*owner).is_some_and(|spec| spec.identity_mapped) => {
                Fate::Given(*owner)
            }
            _ => Fate::Left("the owner of its device is not identity-mapped"),
        };
        (nodes, fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_types::PAGE_SIZE;

    #[test]
    fn memory_in_pieces_has_what_lies_across_them() {
        let piece = |start, size| {
            let frames = Range::<Hpa>::new(Hpa(start), size).expect("it ends below 2^64");
            Memory::new(Ipa(start), frames, Access::ALL)
        };
        let memory = [piece(0, PAGE_SIZE), piece(PAGE_SIZE, PAGE_SIZE)];
        let range = |start, size| Range::<Hpa>::new(Hpa(start), size).expect("it ends below 2^64");
        assert!(has(&memory, &range(0x800, PAGE_SIZE)));
        assert!(!has(&memory, &range(0x1800, PAGE_SIZE)));
    }
}
