// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Applying overlays, with the meaning that libfdt's `fdt_overlay_apply` gives them.
//!
//! Fragments apply in order, so that a later one may target what an earlier one made. A phandle is a node's identity,
//! not content: a node that has one keeps it, and the overlay's references follow (as in libfdt from 1.7.1 on). Two
//! things differ from libfdt, neither in what the tree means: new nodes and properties go behind the old ones instead
//! of before them, and a labelled node without a phandle is given one.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Problem, listed, nearest};
use crate::partition::PARTITION;
use crate::plan::cpu_cell;
use crate::sorted::Map;
use crate::tree::{Cells, Node, NodeId, Strings, Tree};

const SYMBOLS: &str = "__symbols__";
const FIXUPS: &str = "__fixups__";
const LOCAL_FIXUPS: &str = "__local_fixups__";
const OVERLAY: &str = "__overlay__";
const PARTITIONS: &str = "partitions";

/// What holds a node's phandle, today's name and the one before it.
const PHANDLE: [&str; 2] = ["phandle", "linux,phandle"];

/// A phandle may be anything but 0 and this (Devicetree Specification, 2.3.3; libfdt).
const LAST_PHANDLE: u32 = u32::MAX - 1;

/// Applies an overlay's blob to `base`. `what` names the overlay in errors. True if it changes the board: if it does more
/// than to describe partitions.
///
/// # Errors
/// A blob that cannot be read or is no overlay, or an overlay that does not fit the base. The base
/// may then be half changed, and is of no more use.
pub fn apply<'a>(base: &mut Tree<'a>, blob: &'a [u8], what: &str) -> Result<bool, Problem> {
    let mut overlay = Tree::parse(blob, what)?;
    let fragments: Vec<NodeId> = fragments(&overlay).map(|node| node.id()).collect();
    if fragments.is_empty() {
        return Err(Problem::new(what, "it is not an overlay: it has no fragment with an __overlay__ node")
            .advice("Its source must start with \"/dts-v1/; /plugin/;\" and extend nodes by label or path"));
    }
    // Labels first: what they give a phandle in the base counts for the overlay's own. Written last, as by libfdt.
    let labels = references_to_labels(base, &overlay, what)?;
    let own = own_phandles(&overlay, base.highest_phandle(), what)?;
    for (node, property, offset, cell) in own.iter().chain(&labels) {
        set_cell(&mut overlay, *node, property, *offset, *cell);
    }
    // Identity first, of all fragments, for any of them may refer to what another one labels.
    let mut placed = Vec::with_capacity(fragments.len());
    for fragment in fragments {
        let target = target(base, overlay.node(fragment), what)?;
        let mut kept = Map::new();
        if let Some(content) = overlay.node(fragment).child(OVERLAY) {
            identify(base, target, content, &mut kept);
        }
        if !kept.entries().is_empty() {
            follow(&mut overlay, &own, &kept);
        }
        placed.push((fragment, target));
    }
    let mut changes_board = false;
    for (fragment, target) in &placed {
        if let Some(content) = overlay.node(*fragment).child(OVERLAY) {
            changes_board |= merge(base, *target, content);
        }
    }
    merge_symbols(base, &overlay, &placed);
    Ok(changes_board)
}

/// Whether a tree is an overlay: it has a fragment.
pub(crate) fn is_overlay(tree: &Tree<'_>) -> bool {
    fragments(tree).next().is_some()
}

fn fragments<'t, 'a>(tree: &'t Tree<'a>) -> impl Iterator<Item = Node<'t, 'a>> {
    tree.root().children().filter(|node| node.child(OVERLAY).is_some())
}

/// A cell to be written in the overlay: the node, the property, the offset in its value, the cell.
type NewCell<'a> = (NodeId, Cow<'a, str>, usize, u32);

/// The overlay's own phandles, and the references to them, lifted above the base's.
fn own_phandles<'a>(overlay: &Tree<'a>, by: u32, what: &str) -> Result<Vec<NewCell<'a>>, Problem> {
    let mut new: Vec<NewCell<'a>> = Vec::new();
    let moved = |old: u32| {
        old.checked_add(by).filter(|new| *new <= LAST_PHANDLE).ok_or_else(|| {
            Problem::new(what, "its phandles do not fit above those of the board's tree")
                .value(format!("{old:#x}"))
        })
    };
    for node in overlay.nodes() {
        for name in PHANDLE {
            if let Some(old) = node.u32(name) {
                new.push((node.id(), name.into(), 0, moved(old)?));
            }
        }
    }
    let bad = |node: Node<'_, '_>, name: &str| {
        Problem::new(what, "its __local_fixups__ node is damaged").value(format!("{} {name}", node.path()))
    };
    let fixups = overlay.root().child(LOCAL_FIXUPS);
    let mut pending: Vec<_> = fixups.into_iter().map(|fixups| (fixups, overlay.root())).collect();
    while let Some((fixups, node)) = pending.pop() {
        for property in fixups.properties() {
            for offset in Cells::new(&property.value) {
                let offset = offset as usize;
                let old = cell_at(node, &property.name, offset).ok_or_else(|| bad(node, &property.name))?;
                new.push((node.id(), property.name.clone(), offset, moved(old)?));
            }
        }
        for child in fixups.children() {
            pending.push((child, node.child(child.name()).ok_or_else(|| bad(node, child.name()))?));
        }
    }
    Ok(new)
}

/// The references to labels of the base.
fn references_to_labels<'a>(
    base: &mut Tree<'a>,
    overlay: &Tree<'a>,
    what: &str,
) -> Result<Vec<NewCell<'a>>, Problem> {
    let mut new: Vec<NewCell<'a>> = Vec::new();
    for property in overlay.root().child(FIXUPS).iter().flat_map(Node::properties) {
        if let Some(problem) = Strings::new(&property.value)
            .find_map(|place| misplaced_reference(base, overlay, (&property.name, place), what))
        {
            return Err(problem);
        }
        let phandle = phandle_of_label(base, &property.name, what)?;
        for place in Strings::new(&property.value) {
            let cell = || {
                let (property, offset) = place.rsplit_once(':')?;
                let (path, name) = property.rsplit_once(':')?;
                let (node, offset) = (overlay.by_path(path)?, offset.parse().ok()?);
                cell_at(node, name, offset)?;
                Some((node.id(), String::from(name).into(), offset, phandle))
            };
            new.push(cell().ok_or_else(|| {
                Problem::new(what, "its __fixups__ node is damaged").value(format!("\"{place}\""))
            })?);
        }
    }
    Ok(new)
}

/// What is wrong where a reference stands in a partition's `devices`, which are strings, or in its `cpus`, which are the
/// numbers of CPUs. A phandle might pass for one of those.
fn misplaced_reference(
    base: &Tree<'_>,
    overlay: &Tree<'_>,
    (label, place): (&str, &str),
    what: &str,
) -> Option<Problem> {
    let (property, _) = place.rsplit_once(':')?;
    let (path, property) =
        property.rsplit_once(':').filter(|(_, name)| matches!(*name, "devices" | "cpus"))?;
    let (fragment, rest) = path.split_once("/__overlay__")?;
    let target =
        target(base, overlay.by_path(fragment)?, what).ok().or_else(|| labelled(base, overlay, fragment))?;
    let there = below(&base.node(target).path(), rest);
    // An overlay may go on with a partition that an earlier one has begun.
    let mut nodes = [overlay.by_path(path), base.by_path(&there)].into_iter().flatten();
    if !nodes.any(|node| node.is_compatible(PARTITION)) {
        return None;
    }
    let problem = |rule: &'static str| Problem::new(there, rule);
    if property == "devices" {
        let problem = problem("devices are strings, not references").property("devices");
        return Some(problem.advice("Write the path or the alias: devices = \"/pl031@9010000\""));
    }
    let problem = problem("cpus takes the numbers of CPUs (their reg), not references to their nodes");
    let problem = problem.property("cpus").value(match label.strip_prefix('/') {
        Some(_) => format!("<&{{{label}}}>"),
        None => format!("<&{label}>"),
    });
    let is_cpu = |node: &Node<'_, '_>| node.string("device_type") == Some("cpu");
    let number = |cpu: Node<'_, '_>| cpu.cells("reg").number().map(|reg| format!("{:#x}", cpu_cell(reg)));
    // dtc writes a reference by path as a label that begins with a slash.
    let symbol = || base.root().child(SYMBOLS)?.string(label);
    let path = if label.starts_with('/') { Some(label) } else { symbol() };
    Some(problem.advice(match path.and_then(|path| base.find(path)).filter(is_cpu).and_then(number) {
        Some(number) => format!("Write its number: <{number}>"),
        None => {
            let cpus = base.nodes().filter(is_cpu);
            format!("The board's are {}", listed(&cpus.filter_map(number).collect::<Vec<_>>()))
        }
    }))
}

/// The node that a fragment extends by its label, before the reference to it is written.
fn labelled(base: &Tree<'_>, overlay: &Tree<'_>, fragment: &str) -> Option<NodeId> {
    let place = format!("{fragment}:target:0");
    let fixups = overlay.root().child(FIXUPS)?;
    let label =
        fixups.properties().iter().find(|label| Strings::new(&label.value).any(|found| found == place))?;
    let path = base.root().child(SYMBOLS)?.string(&label.name)?;
    Some(base.by_path(path)?.id())
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
    let problem = |rule| Problem::new(format!("{what}, {}", fragment.path()), rule);
    let node = if let Some(phandle) = fragment.u32("target") {
        base.by_phandle(phandle).ok_or_else(|| {
            problem("the board's tree has no node with this phandle")
                .property("target")
                .value(format!("<{phandle:#x}>"))
        })
    } else if let Some(path) = fragment.string("target-path") {
        base.find(path).ok_or_else(|| {
            problem("the board's tree has no such node").property("target-path").value(format!("\"{path}\""))
        })
    } else {
        Err(problem("a fragment needs target (a phandle) or target-path (a path or an alias)"))
    };
    node.map(|node| node.id())
}

/// Makes the nodes of `content` below `target` and gives a phandle to those that have none yet. `kept` becomes what
/// the overlay calls the others by, each with the phandle that the node keeps.
fn identify<'a>(base: &mut Tree<'a>, target: NodeId, content: Node<'_, 'a>, kept: &mut Map<u32, u32>) {
    let mut pending = alloc::vec![(target, content)];
    while let Some((target, content)) = pending.pop() {
        match (base.node(target).phandle(), content.phandle()) {
            (Some(old), Some(new)) if old != new => _ = kept.add(new, old),
            (None, Some(_)) => {
                for property in content.properties().iter().filter(|property| is_phandle(&property.name)) {
                    base.set(target, property.name.clone(), property.value.clone());
                }
            }
            _ => {}
        }
        for child in content.children() {
            pending.push((base.child_or_new(target, child.data_name().clone()), child));
        }
    }
}

/// Turns the overlay's references to nodes that keep their phandles. `own` are all cells that may be such references.
fn follow(overlay: &mut Tree<'_>, own: &[NewCell<'_>], kept: &Map<u32, u32>) {
    for (node, property, offset, _) in own.iter().filter(|(_, property, ..)| !is_phandle(property)) {
        let cell = cell_at(overlay.node(*node), property, *offset);
        if let Some(phandle) = cell.and_then(|cell| kept.get(&cell)).copied() {
            set_cell(overlay, *node, property, *offset, phandle);
        }
    }
}

fn is_phandle(property: &str) -> bool {
    PHANDLE.contains(&property)
}

/// Lays the properties of `content` and of its children over `target`, whose nodes have been made: all but phandles.
/// True if anything but partitions is changed. A node describes the firmware's PSCI wherever it is, so `method` counts there too.
fn merge<'a>(base: &mut Tree<'a>, target: NodeId, content: Node<'_, 'a>) -> bool {
    let of_partitions = is_of_partitions(base.node(target));
    let mut changes_board = false;
    let mut pending = alloc::vec![(target, content, of_partitions)];
    while let Some((target, content, of_partitions)) = pending.pop() {
        for property in content.properties().iter().filter(|property| !is_phandle(&property.name)) {
            changes_board |= !of_partitions || property.name == "method";
            base.set(target, property.name.clone(), property.value.clone());
        }
        for child in content.children() {
            let found = base.child_or_new(target, child.data_name().clone());
            let of_partitions =
                of_partitions || is_partitions(Some(base.node(target)), base.node(found).name());
            changes_board |= !of_partitions;
            pending.push((found, child, of_partitions));
        }
    }
    changes_board
}

/// Whether a node is the one with the partitions, or in there.
fn is_of_partitions(node: Node<'_, '_>) -> bool {
    core::iter::once(node).chain(node.ancestors()).any(|node| is_partitions(node.parent(), node.name()))
}

fn is_partitions(parent: Option<Node<'_, '_>>, name: &str) -> bool {
    name == PARTITIONS && parent.is_some_and(|parent| parent.id() == NodeId::ROOT)
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
        let path = below(&base.node(*target).path(), rest);
        let node = base.child_or_new(NodeId::ROOT, SYMBOLS);
        base.set_string(node, symbol.name.clone(), &path);
    }
}

/// The path of what is at `rest`, empty or with a slash in front, below a node.
fn below(node: &str, rest: &str) -> String {
    match (node, rest) {
        ("/", "") => String::from("/"),
        ("/", rest) => String::from(rest),
        (node, rest) => format!("{node}{rest}"),
    }
}

fn set_cell(tree: &mut Tree<'_>, node: NodeId, property: &str, offset: usize, cell: u32) {
    let place = tree.value_mut(node, property).and_then(|value| value.get_mut(offset..));
    if let Some(place) = place.and_then(|bytes| bytes.first_chunk_mut::<4>()) {
        *place = cell.to_be_bytes();
    }
}

fn cell_at(node: Node<'_, '_>, property: &str, offset: usize) -> Option<u32> {
    node.property(property)?.get(offset..)?.first_chunk::<4>().copied().map(u32::from_be_bytes)
}
