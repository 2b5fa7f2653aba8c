// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which partition has which memory.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Ipa, Range};

use super::frames::{Better, Free};
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
    errors: &mut Errors,
) -> (Vec<Vec<Memory>>, Free) {
    let board = inputs.board;
    let kept =
        board.reserved.iter().map(|(range, _)| *range).chain(inputs.taken.iter().map(|(range, _)| *range));
    let mut free = Free::new(&board.memory, kept);
    // With one bank there is nothing to choose.
    let reach = if board.memory.len() > 1 { reach(inputs.tree) } else { Hpa(0) };
    let mut owners: Vec<(Range<Hpa>, String)> = Vec::new();
    let mut found: Vec<(usize, usize, Vec<Memory>)> = Vec::new();

    let mut wishes = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        wishes.extend(spec.memory.iter().enumerate().map(|(place, wish)| (number, place, spec, *wish)));
    }
    let fixed = |spec: &Spec<'_>, wish: &MemoryWish| spec.identity_mapped && wish.at.is_some();
    sort_by_key(&mut wishes, |(_, _, spec, wish)| if fixed(spec, wish) { 0 } else { !wish.size });
    for (number, place, spec, wish) in wishes {
        let problem = |rule: String| {
            Problem::new(spec.path.clone(), rule).property("memory").value(match wish.at {
                Some(at) => format!("<{at} {:#x}>", wish.size),
                None => format!("<{:#x}>", wish.size),
            })
        };
        let guest = wish.at.unwrap_or(if spec.identity_mapped { Ipa(0) } else { map::MEMORY });
        let pieces = if fixed(spec, &wish) {
            let wanted = Range::<Hpa>::new(Hpa(guest.0), wish.size);
            match wanted.filter(|wanted| free.take_exactly(*wanted)) {
                Some(frames) => alloc::vec![frames],
                None => {
                    errors.push(problem(why_not_free(inputs, &owners, wanted)));
                    continue;
                }
            }
        } else {
            let better = if spec.identity_mapped { Better::Below(reach) } else { Better::From(reach) };
            match free.take(wish.size, guest.0, better) {
                Some(pieces) if wish.at.is_none() && spec.identity_mapped && pieces.len() > 1 => {
                    errors.push(problem("no free memory of this size is in one piece".into()));
                    continue;
                }
                Some(pieces) => pieces,
                None => {
                    let alone = "; one number alone is a size, and has an address in front of it in a pair";
                    let alone = if wish.at.is_none() { alone } else { "" };
                    errors.push(
                        problem("the board has not so much free memory left".into())
                            .advice(format!("{} MiB are left{alone}", free.total() >> 20)),
                    );
                    continue;
                }
            }
        };
        owners.extend(pieces.iter().map(|frames| (*frames, format!("{}'s memory", spec.name))));
        found.push((number, place, place_pieces(spec, wish, guest, &pieces)));
    }
    let rest = specs.iter().position(|spec| spec.primary && spec.memory.is_empty());
    if let Some((number, spec)) = rest.and_then(|number| Some((number, specs.get(number)?))) {
        let everything = free.take_everything();
        if everything.is_empty() {
            let rule = "the other partitions have all memory, and nothing is left for the primary one";
            errors.push(Problem::new(spec.path.clone(), rule).property("memory"));
        }
        let memory = |frames: Range<Hpa>| Memory {
            guest: Ipa(frames.start().0),
            frames,
            access: Access::ALL,
            in_place: false,
        };
        found.push((number, 0, everything.into_iter().map(memory).collect()));
    }
    let mut assigned: Vec<Vec<Memory>> = specs.iter().map(|_| Vec::new()).collect();
    sort_by_key(&mut found, |(_, place, _)| *place as u64);
    for (number, _, memory) in found {
        if let Some(list) = assigned.get_mut(number) {
            list.extend(memory);
        }
    }
    (assigned, free)
}

/// Where the memory ends that every device reaches, by the `dma-ranges` of their buses (Devicetree Specification,
/// 2.3.9); 0 where no bus limits them.
fn reach(tree: &Tree<'_>) -> Hpa {
    let end = |bus: Node<'_, '_>| {
        bus.dma_windows().into_iter().filter_map(|(start, size)| start.checked_add(size)).max()
    };
    Hpa(tree.nodes().filter(Node::is_available).filter_map(end).min().unwrap_or(0))
}

/// Lays pieces one behind the other in the guest's addresses.
fn place_pieces(spec: &Spec<'_>, wish: MemoryWish, guest: Ipa, pieces: &[Range<Hpa>]) -> Vec<Memory> {
    let mut at = guest;
    let mut memory = Vec::with_capacity(pieces.len());
    for frames in pieces {
        let guest = if spec.identity_mapped && wish.at.is_none() { Ipa(frames.start().0) } else { at };
        memory.push(Memory { guest, frames: *frames, access: wish.access, in_place: false });
        at = at.checked_add(frames.size()).unwrap_or(at);
    }
    memory
}

/// Says who has the frames that an identity-mapped partition wants.
fn why_not_free(
    inputs: &Inputs<'_, '_>,
    owners: &[(Range<Hpa>, String)],
    wanted: Option<Range<Hpa>>,
) -> String {
    let Some(wanted) = wanted else { return "this leaves the address space".into() };
    let reserved = inputs.board.reserved.iter().map(|(range, what)| (range, what.as_str()));
    let taken = inputs.taken.iter().map(|(range, what)| (range, *what));
    let owned = owners.iter().map(|(range, what)| (range, what.as_str()));
    match reserved.chain(taken).chain(owned).find(|(range, _)| range.page_aligned().overlaps(&wanted)) {
        Some((range, what)) => format!("identity-mapped memory must be free, and {what} is there ({range})"),
        None => {
            let banks = listed(&inputs.board.memory);
            format!("identity-mapped memory must be RAM of the board, which is {banks}")
        }
    }
}
