// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device tree that the user brings: whole, or an overlay on the one that the guest would have had.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Guest, GuestBlob, at_root, flatten, make};
use crate::error::{Problem, listed};
use crate::overlay;
use crate::plan::Memory;
use crate::tree::Tree;

/// The tree in `blob`, the image called `name`.
///
/// # Errors
/// A blob that is no device tree, an overlay that does not apply, or memory that the partition has not.
pub(crate) fn own(
    guest: &Guest<'_, '_>,
    blob: &[u8],
    name: &str,
    warnings: &mut Vec<Problem>,
) -> Result<GuestBlob, Problem> {
    given(guest, blob, name, warnings).map_err(|problem| {
        let rule = match (&problem.property, &problem.value) {
            (Some(property), Some(value)) => format!("{property} = {value}: {}", problem.rule),
            (None, Some(value)) => format!("{value}: {}", problem.rule),
            _ => String::from(&*problem.rule),
        };
        problem.rule(rule).property("device-tree").value(format!("\"{name}\""))
    })
}

fn given(
    guest: &Guest<'_, '_>,
    blob: &[u8],
    name: &str,
    warnings: &mut Vec<Problem>,
) -> Result<GuestBlob, Problem> {
    let tree = Tree::parse(blob, name)?;
    if !overlay::is_overlay(&tree) {
        return whole(guest, tree);
    }
    let mut tree = make(guest, warnings);
    overlay::apply(&mut tree, blob, name).map_err(of_this_guest)?;
    Ok(flatten(&tree))
}

/// What is wrong with an overlay, said of the tree that this one lies on. No `str::replace`: that brings a search in
/// linear time and a failure that prints its string, 5 KB.
fn of_this_guest(problem: Problem) -> Problem {
    const BOARD: &str = "the board's tree";
    let rule = &*problem.rule;
    let found = rule.as_bytes().windows(BOARD.len()).position(|part| part == BOARD.as_bytes());
    let around = found.and_then(|at| Some((rule.get(..at)?, rule.get(at.checked_add(BOARD.len())?..)?)));
    match around.map(|(before, after)| format!("{before}the tree of this guest{after}")) {
        Some(rule) => problem.rule(rule),
        None => problem,
    }
}

/// A whole tree is used as it is; only `/chosen` is filled in.
fn whole(guest: &Guest<'_, '_>, mut tree: Tree<'_>) -> Result<GuestBlob, Problem> {
    check_memory(guest, &tree)?;
    let chosen = at_root(&mut tree, "chosen");
    guest.boot(&mut tree, chosen);
    // Entropy goes where the tree has room for it: stale seeds would be no secret.
    for seed in ["kaslr-seed", "rng-seed"] {
        if let Some(value) = tree.value_mut(chosen, seed) {
            value.fill(0);
        }
    }
    Ok(flatten(&tree))
}

/// A guest that believes in memory that it has not dies without a word, so that is said before.
fn check_memory(guest: &Guest<'_, '_>, tree: &Tree<'_>) -> Result<(), Problem> {
    let root = tree.root();
    for node in root.children().filter(|node| node.string("device_type") == Some("memory")) {
        for range in node.registers()? {
            let mut covered: u64 = 0;
            for memory in guest.memory {
                let (start, end) = (memory.guest.0, memory.guest.0.saturating_add(memory.frames.size()));
                let overlap = end.min(range.end().0).saturating_sub(start.max(range.start().0));
                covered = covered.saturating_add(overlap);
            }
            if covered < range.size() {
                let own: Vec<_> = guest.memory.iter().filter_map(Memory::range).collect();
                return Err(Problem::new(
                    node.path(),
                    format!("{} describes memory that the partition does not have ({range})", node.path()),
                )
                .advice(format!("Its memory is {}", listed(&own))));
            }
        }
    }
    Ok(())
}
