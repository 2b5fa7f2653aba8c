// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Applying overlays, with the meaning that libfdt's `fdt_overlay_apply` gives them.
//!
//! Fragments apply in order, so that a later one may target what an earlier one made. Two things
//! differ from libfdt, neither in what the tree means: new nodes and properties go behind the old
//! ones instead of before them, and a labelled node without a phandle is given one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Problem, nearest};
use crate::tree::{Cells, Node, NodeId, Tree};

const SYMBOLS: &str = "__symbols__";
const FIXUPS: &str = "__fixups__";
const LOCAL_FIXUPS: &str = "__local_fixups__";
const OVERLAY: &str = "__overlay__";

/// A phandle may be anything but 0 and this (Devicetree Specification, 2.3.3; libfdt).
const LAST_PHANDLE: u32 = u32::MAX - 1;

/// Applies an overlay's blob to `base`. `what` names the overlay in errors.
///
/// # Errors
/// A blob that cannot be read or is no overlay, or an overlay that does not fit the base. The base
/// may then be half changed, and is of no more use.
pub fn apply<'a>(base: &mut Tree<'a>, blob: &'a [u8], what: &str) -> Result<(), Problem> {
    let mut overlay = Tree::parse(blob, what)?;
    let fragments: Vec<NodeId> = overlay
        .root()
        .children()
        .filter(|node| node.child(OVERLAY).is_some())
        .map(|node| node.id())
        .collect();
    if fragments.is_empty() {
        return Err(Problem::new(what, "it is not an overlay: it has no fragment with an __overlay__ node")
            .advice("Its source must start with \"/dts-v1/; /plugin/;\" and extend nodes by label or path"));
    }
    relocate_phandles(&mut overlay, base.highest_phandle(), what)?;
    resolve_symbols(base, &mut overlay, what)?;
    let mut placed = Vec::with_capacity(fragments.len());
    for fragment in fragments {
        let fragment = overlay.node(fragment);
        let target = target(base, fragment, what)?;
        if let Some(content) = fragment.child(OVERLAY) {
            merge(base, target, content);
        }
        placed.push((fragment.id(), target));
    }
    merge_symbols(base, &overlay, &placed);
    Ok(())
}

/// Whether a tree is an overlay: it has a fragment.
pub(crate) fn is_overlay(tree: &Tree<'_>) -> bool {
    tree.root().children().any(|node| node.child(OVERLAY).is_some())
}

/// Lifts the overlay's own phandles, and the references to them, above the base's.
fn relocate_phandles(overlay: &mut Tree<'_>, by: u32, what: &str) -> Result<(), Problem> {
    if by == 0 {
        return Ok(());
    }
    let moved = |old: u32| {
        old.checked_add(by).filter(|new| *new <= LAST_PHANDLE).ok_or_else(|| {
            Problem::new(what, "its phandles do not fit above those of the board's tree")
                .value(format!("{old:#x}"))
        })
    };
    let mut new = Vec::new();
    for node in overlay.nodes() {
        for name in ["phandle", "linux,phandle"] {
            if let Some(old) = node.u32(name) {
                new.push((node.id(), name, 0, moved(old)?));
            }
        }
    }
    if let Some(fixups) = overlay.root().child(LOCAL_FIXUPS) {
        let mut pending = alloc::vec![(fixups, overlay.root())];
        while let Some((fixups, node)) = pending.pop() {
            for property in fixups.properties() {
                for offset in Cells::new(&property.value) {
                    let old = cell_at(node, &property.name, offset as usize)
                        .ok_or_else(|| bad_fixup(what, node, &property.name))?;
                    new.push((node.id(), &*property.name, offset as usize, moved(old)?));
                }
            }
            for child in fixups.children() {
                let target = node.child(child.name()).ok_or_else(|| bad_fixup(what, node, child.name()))?;
                pending.push((child, target));
            }
        }
    }
    let new: Vec<(NodeId, String, usize, u32)> = new
        .into_iter()
        .map(|(node, name, offset, value)| (node, String::from(name), offset, value))
        .collect();
    for (node, name, offset, value) in new {
        store_cell(overlay, node, &name, offset, value);
    }
    Ok(())
}

/// Fills in the references to labels of the base.
fn resolve_symbols(base: &mut Tree<'_>, overlay: &mut Tree<'_>, what: &str) -> Result<(), Problem> {
    let Some(fixups) = overlay.root().child(FIXUPS).map(|node| node.id()) else { return Ok(()) };
    let mut stores = Vec::new();
    for property in overlay.node(fixups).properties() {
        let phandle = phandle_of_label(base, &property.name, what)?;
        for place in overlay.node(fixups).strings(&property.name) {
            let bad = || Problem::new(what, "its __fixups__ node is damaged").value(format!("\"{place}\""));
            let mut parts = place.rsplitn(3, ':');
            let (Some(offset), Some(name), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(bad());
            };
            let offset: usize = offset.parse().map_err(|_| bad())?;
            let node = overlay.by_path(path).ok_or_else(bad)?;
            cell_at(node, name, offset).ok_or_else(bad)?;
            stores.push((node.id(), String::from(name), offset, phandle));
        }
    }
    for (node, name, offset, phandle) in stores {
        store_cell(overlay, node, &name, offset, phandle);
    }
    Ok(())
}

/// The phandle of the base's node with this label; gives it one if it has none.
fn phandle_of_label(base: &mut Tree<'_>, label: &str, what: &str) -> Result<u32, Problem> {
    let unknown = |rule: String| Problem::new(what, rule).value(format!("&{label}"));
    let Some(symbols) = base.root().child(SYMBOLS) else {
        return Err(unknown("the board's tree carries no labels (it has no __symbols__ node)".into())
            .advice("Name the node by its path instead: &{/path/of/node}"));
    };
    let Some(path) = symbols.string(label) else {
        let problem = unknown("the board's tree has no node with this label".into());
        let labels: Vec<&str> = symbols.properties().iter().map(|property| &*property.name).collect();
        return Err(match nearest(label, &labels) {
            Some(near) => problem.advice(format!("Did you mean &{near}?")),
            None => problem,
        });
    };
    let node = base.find(path).ok_or_else(|| {
        unknown(format!("this label stands for {path}, which the board's tree does not have"))
    })?;
    if let Some(phandle) = node.phandle() {
        return Ok(phandle);
    }
    let id = node.id();
    let phandle = base
        .highest_phandle()
        .checked_add(1)
        .filter(|new| *new <= LAST_PHANDLE)
        .ok_or_else(|| unknown("the board's tree has no phandle to spare for it".into()))?;
    base.set_cells(id, "phandle", &[phandle]);
    Ok(phandle)
}

/// The node of the base that a fragment extends.
fn target(base: &Tree<'_>, fragment: Node<'_, '_>, what: &str) -> Result<NodeId, Problem> {
    let problem = |value: String, rule: &'static str| {
        Problem::new(format!("{what}, {}", fragment.path()), rule).property("target").value(value)
    };
    if let Some(phandle) = fragment.u32("target") {
        let node = base.by_phandle(phandle).ok_or_else(|| {
            problem(format!("<{phandle:#x}>"), "the board's tree has no node with this phandle")
        })?;
        return Ok(node.id());
    }
    let path = fragment.string("target-path").ok_or_else(|| {
        Problem::new(
            format!("{what}, {}", fragment.path()),
            "a fragment needs target (a phandle) or target-path (a path or an alias)",
        )
    })?;
    let node = base.find(path).ok_or_else(|| {
        problem(format!("\"{path}\""), "the board's tree has no such node").property("target-path")
    })?;
    Ok(node.id())
}

/// Lays the properties and children of `content` over `target`.
fn merge<'a>(base: &mut Tree<'a>, target: NodeId, content: Node<'_, 'a>) {
    let mut pending = alloc::vec![(target, content)];
    while let Some((target, content)) = pending.pop() {
        for property in content.properties() {
            base.set(target, property.name.clone(), property.value.clone());
        }
        for child in content.children() {
            let existing = base.node(target).child(child.name()).map(|node| node.id());
            let id = existing.unwrap_or_else(|| base.add_node(target, child.data_name().clone()));
            pending.push((id, child));
        }
    }
}

/// Adds the overlay's labels to the base's, so that later overlays may use them.
fn merge_symbols<'a>(base: &mut Tree<'a>, overlay: &Tree<'a>, placed: &[(NodeId, NodeId)]) {
    let Some(symbols) = overlay.root().child(SYMBOLS) else { return };
    for symbol in symbols.properties() {
        // "/fragment@0/__overlay__/rest" becomes "<target>/rest"; libfdt leaves out all others.
        let Some(path) = symbols.string(&symbol.name).and_then(|path| path.strip_prefix('/')) else {
            continue;
        };
        let (fragment, rest) = path.split_once('/').unwrap_or((path, ""));
        let Some(rest) = rest.strip_prefix(OVERLAY) else { continue };
        if !(rest.is_empty() || rest.starts_with('/')) {
            continue;
        }
        let place = placed.iter().find(|(from, _)| overlay.node(*from).name() == fragment);
        let Some((_, target)) = place else { continue };
        let target = base.node(*target).path();
        let path = match (target.as_str(), rest) {
            ("/", "") => String::from("/"),
            ("/", rest) => String::from(rest),
            (target, rest) => format!("{target}{rest}"),
        };
        let node = match base.root().child(SYMBOLS) {
            Some(node) => node.id(),
            None => base.add_node(NodeId::ROOT, SYMBOLS),
        };
        base.set_string(node, symbol.name.clone(), &path);
    }
}

fn cell_at(node: Node<'_, '_>, property: &str, offset: usize) -> Option<u32> {
    node.property(property)?.get(offset..)?.first_chunk::<4>().copied().map(u32::from_be_bytes)
}

fn store_cell(tree: &mut Tree<'_>, node: NodeId, property: &str, offset: usize, cell: u32) {
    let place = tree.value_mut(node, property).and_then(|value| value.get_mut(offset..));
    if let Some(place) = place.and_then(|bytes| bytes.first_chunk_mut::<4>()) {
        *place = cell.to_be_bytes();
    }
}

fn bad_fixup(what: &str, node: Node<'_, '_>, name: &str) -> Problem {
    Problem::new(what, "its __local_fixups__ node is damaged").value(format!("{} {name}", node.path()))
}
