// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device tree that the user brings: whole, or an overlay on the one that the guest would have had.

mod promises;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Guest, GuestBlob, at_root, flatten, make};
use crate::error::Problem;
use crate::overlay;
use crate::tree::Tree;

/// The tree in `blob`, the image called `name`.
///
/// # Errors
/// A blob that is no device tree, an overlay that does not apply, or a description of what the partition does not have.
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
        return whole(guest, tree, warnings);
    }
    let mut tree = make(guest, warnings);
    overlay::apply(&mut tree, blob, name).map_err(of_this_guest)?;
    // The board's tree, which a primary partition has, is described as the board is.
    if guest.not_primarys.is_none() {
        promises::check(guest, &tree, warnings)?;
    }
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
fn whole(
    guest: &Guest<'_, '_>,
    mut tree: Tree<'_>,
    warnings: &mut Vec<Problem>,
) -> Result<GuestBlob, Problem> {
    promises::check(guest, &tree, warnings)?;
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
