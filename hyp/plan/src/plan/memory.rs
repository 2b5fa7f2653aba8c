// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which partition has which memory.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Ipa, Range};

use super::frames::{Better, Free};
use super::reserved::Reserved;
use super::{Inputs, Memory, map};
use crate::error::{Errors, Problem, listed};
use crate::partition::{Access, MemoryWish, Spec};
use crate::sorted::sort_by_key;
use crate::tree::{Node, Tree};

/// The memory of each partition, and what is left. Identity-mapped memory has no choice and comes
/// first; the rest from the largest to the smallest, so that large blocks find aligned frames.
pub(super) fn assign(
    inputs: &Inputs<'_, '_>,
    specs: &[Spec<'_>],
    reserved: &Reserved,
    errors: &mut Errors,
) -> (Vec<Vec<Memory>>, Free) {
    let board = inputs.board;
    let mut kept: Vec<Range<Hpa>> = reserved.left.iter().map(|(range, _)| *range).collect();
    kept.extend(inputs.taken.iter().map(|(range, _)| *range));
    kept.extend(reserved.given().map(|(_, memory)| memory.frames));
    // Pools are left to a primary partition that has all the rest.
    let mut pools = Vec::new();
    if specs.iter().any(|spec| spec.primary && spec.memory.is_empty()) {
        pools.extend(reserved.pools());
    }
    let mut finder = Finder {
        inputs,
        // With one bank there is nothing to choose.
        reach: if board.memory.len() > 1 { reach(inputs.tree) } else { Hpa(0) },
        free: Free::new(&board.memory, [kept.as_slice(), &pools].concat()),
        owners: Vec::new(),
    };
    let mut found: Vec<Vec<Vec<Memory>>> =
        specs.iter().map(|spec| alloc::vec![Vec::new(); spec.memory.len()]).collect();
    let mut wishes = Vec::new();
    for (spec, found) in specs.iter().zip(&mut found) {
        wishes.extend(spec.memory.iter().zip(found).map(|(wish, found)| (spec, wish, found)));
    }
    sort_by_key(&mut wishes, |(spec, wish, _)| if is_fixed(spec, wish) { 0 } else { !wish.size });
    for (spec, wish, found) in wishes {
        *found = errors.note(finder.find(spec, wish)).unwrap_or_default();
    }
    let mut assigned: Vec<Vec<Memory>> = found.iter().map(|found| found.concat()).collect();
    let rest = specs.iter().zip(&mut assigned).find(|(spec, _)| spec.primary && spec.memory.is_empty());
    if let Some((spec, memory)) = rest {
        if !pools.is_empty() {
            kept.extend(finder.owners.iter().map(|(range, _)| *range));
            finder.free = Free::new(&board.memory, kept);
        }
        let frames = finder.free.take_everything().into_iter();
        *memory = frames.map(|frames| Memory::new(Ipa(frames.start().0), frames, Access::ALL)).collect();
        if memory.is_empty() {
            let rule = "the other partitions have all memory, and nothing is left for the primary one";
            errors.push(Problem::new(spec.path.clone(), rule).property("memory"));
        }
    }
    for (owner, region) in reserved.given() {
        if let Some(memory) = assigned.get_mut(owner) {
            memory.push(region);
        }
    }
    (assigned, finder.free)
}

/// Whether memory can only be in one place.
fn is_fixed(spec: &Spec<'_>, wish: &MemoryWish) -> bool {
    spec.identity_mapped && wish.at.is_some()
}

struct Finder<'f, 'i, 'a> {
    inputs: &'f Inputs<'i, 'a>,
    /// Where the memory ends that every device reaches.
    reach: Hpa,
    free: Free,
    /// Who has what was found.
    owners: Vec<(Range<Hpa>, String)>,
}

impl Finder<'_, '_, '_> {
    fn find(&mut self, spec: &Spec<'_>, wish: &MemoryWish) -> Result<Vec<Memory>, Problem> {
        let problem =
            |rule: String| Problem::new(spec.path.clone(), rule).property("memory").value(wish.shown());
        let guest = wish.at.unwrap_or(if spec.identity_mapped { Ipa(0) } else { map::MEMORY });
        let pieces = if is_fixed(spec, wish) {
            let wanted = Range::<Hpa>::new(Hpa(guest.0), wish.size);
            match wanted.filter(|wanted| self.free.take_exactly(*wanted)) {
                Some(frames) => alloc::vec![frames],
                None => return Err(problem(self.why_not_free(wanted))),
            }
        } else {
            let limit = self.reach;
            let better = if spec.identity_mapped { Better::Below(limit) } else { Better::From(limit) };
            let left = self.free.total() >> 20;
            let too_little = |rule: &str| {
                let alone = "; one number alone is a size, and has an address in front of it in a pair";
                let alone = if wish.at.is_none() { alone } else { "" };
                problem(rule.into()).advice(format!("{left} MiB are left{alone}"))
            };
            match self.free.take(wish.size, guest.0, better) {
                Some(pieces) if spec.identity_mapped && pieces.len() > 1 => {
                    return Err(too_little("no free memory of this size is in one piece"));
                }
                Some(pieces) => pieces,
                None => return Err(too_little("the board has not so much free memory left")),
            }
        };
        self.owners.extend(pieces.iter().map(|frames| (*frames, format!("{}'s memory", spec.name))));
        // One behind the other in the guest's addresses.
        let mut at = guest;
        let mut memory = Vec::with_capacity(pieces.len());
        for frames in pieces {
            let guest = if spec.identity_mapped { Ipa(frames.start().0) } else { at };
            memory.push(Memory::new(guest, frames, wish.access));
            at = at.checked_add(frames.size()).unwrap_or(at);
        }
        Ok(memory)
    }

    /// Says who has the frames that an identity-mapped partition wants.
    fn why_not_free(&self, wanted: Option<Range<Hpa>>) -> String {
        let Some(wanted) = wanted else { return "this leaves the address space".into() };
        let reserved = self.inputs.board.reserved.iter().map(|(range, what)| (range, what.as_str()));
        let taken = self.inputs.taken.iter().map(|(range, what)| (range, *what));
        let owned = self.owners.iter().map(|(range, what)| (range, what.as_str()));
        match reserved.chain(taken).chain(owned).find(|(range, _)| range.page_aligned().overlaps(&wanted)) {
            Some((range, what)) => {
                format!("identity-mapped memory must be free, and {what} is there ({range})")
            }
            None => {
                let banks = listed(&self.inputs.board.memory);
                format!("identity-mapped memory must be RAM of the board, which is {banks}")
            }
        }
    }
}

/// Where the memory ends that every device reaches, by the `dma-ranges` of their buses (Devicetree Specification,
/// 2.3.9); 0 where no bus limits them.
fn reach(tree: &Tree<'_>) -> Hpa {
    let end = |bus: Node<'_, '_>| {
        bus.dma_windows().into_iter().filter_map(|(start, size)| start.checked_add(size)).max()
    };
    Hpa(tree.nodes().filter(Node::is_available).filter_map(end).min().unwrap_or(0))
}
