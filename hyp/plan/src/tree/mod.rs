// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device tree as a flat list of nodes: read in one pass, edited by overlays, written back.
//!
//! Names and values stay borrowed from the blob, so that reading costs one small list a node, and
//! nothing recurses: planning has an instruction budget that reading QEMU's small tree into a model with
//! owned strings and hashes would use up alone.

mod blob;
mod cells;
mod node;
mod read;
mod reg;
mod write;

use crate::sorted::Map;
use alloc::borrow::Cow;
use alloc::vec::Vec;

pub use blob::{Blob, BlobNode, blob_size, blob_used, place_in};
pub use cells::{Cells, Strings};
pub use node::Node;
pub(crate) use node::base_name;
pub use read::MAX_DEPTH;
pub(crate) use reg::through;

/// A node of one [`Tree`]. An ID of another tree denotes an empty node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u32);

impl NodeId {
    /// The root of every tree.
    pub const ROOT: Self = Self(0);
}

/// A property: a name, and bytes that the name gives a meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// The value as it stands in a blob, big-endian.
    pub value: Cow<'a, [u8]>,
}

#[derive(Clone, Debug)]
struct Data<'a> {
    name: Cow<'a, str>,
    parent: Option<NodeId>,
    children: Vec<NodeId>,
    properties: Vec<Property<'a>>,
    /// Whether it is no longer among its parent's children.
    detached: bool,
}

impl Data<'_> {
    const EMPTY: Self = Self {
        name: Cow::Borrowed(""),
        parent: None,
        children: Vec::new(),
        properties: Vec::new(),
        detached: false,
    };
}

static EMPTY: Data<'static> = Data::EMPTY;

/// A device tree. `'a` is the lifetime of the blobs that it was read from.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    nodes: Vec<Data<'a>>,
    /// The first node with each phandle.
    phandles: Map<u32, NodeId>,
    /// The memory reservation block: address and size of each entry.
    pub reservations: Vec<(u64, u64)>,
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Tree<'a> {
    /// A tree with nothing but its root.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: alloc::vec![Data::EMPTY], phandles: Map::new(), reservations: Vec::new() }
    }

    /// The root node.
    #[must_use]
    pub fn root(&self) -> Node<'_, 'a> {
        self.node(NodeId::ROOT)
    }

    /// The node with this ID.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Node<'_, 'a> {
        Node { tree: self, id, data: self.nodes.get(id.0 as usize).unwrap_or(&EMPTY) }
    }

    /// All nodes, parents before children.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_, 'a>> {
        (0u32..).zip(&self.nodes).map(|(id, data)| Node { tree: self, id: NodeId(id), data })
    }

    /// The first node with this phandle.
    #[must_use]
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'_, 'a>> {
        self.phandles.get(&phandle).map(|id| self.node(*id))
    }

    /// The highest phandle in use, 0 if there is none.
    #[must_use]
    pub fn highest_phandle(&self) -> u32 {
        self.phandles.entries().last().map_or(0, |(phandle, _)| *phandle)
    }

    /// The node at an absolute path. As in libfdt, a component without a unit address also finds a
    /// node that has one.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<Node<'_, 'a>> {
        let path = path.strip_prefix('/')?;
        path.split('/').filter(|part| !part.is_empty()).try_fold(self.root(), |node, part| node.child(part))
    }

    /// The node that a path, or an alias with an optional path behind it, denotes.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Node<'_, 'a>> {
        if name.starts_with('/') {
            return self.by_path(name);
        }
        let (alias, rest) = match name.split_once('/') {
            Some((alias, rest)) => (alias, Some(rest)),
            None => (name, None),
        };
        let node = self.by_path(self.by_path("/aliases")?.string(alias)?)?;
        match rest {
            None => Some(node),
            Some(rest) => {
                rest.split('/').filter(|part| !part.is_empty()).try_fold(node, |node, part| node.child(part))
            }
        }
    }

    /// The children of a node whose names were read from a blob, with names that live as long as it.
    pub(crate) fn children_named(&self, parent: NodeId) -> Vec<(NodeId, &'a str)> {
        let borrowed = |node: Node<'_, 'a>| match node.data_name() {
            Cow::Borrowed(name) => Some((node.id(), *name)),
            Cow::Owned(_) => None,
        };
        self.node(parent).children().filter_map(borrowed).collect()
    }

    /// Adds a node as the last child of `parent`.
    pub fn add_node(&mut self, parent: NodeId, name: impl Into<Cow<'a, str>>) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Data { name: name.into(), parent: Some(parent), ..Data::EMPTY });
        if let Some(parent) = self.data_mut(parent) {
            parent.children.push(id);
        }
        id
    }

    /// The child of `parent` that [`Node::child`] finds; a new one if there is none.
    pub(crate) fn child_or_new(&mut self, parent: NodeId, name: impl Into<Cow<'a, str>>) -> NodeId {
        let name = name.into();
        match self.node(parent).child(&name).map(|node| node.id()) {
            Some(child) => child,
            None => self.add_node(parent, name),
        }
    }

    /// Gives `node` a property, in place of one of the same name if there is one.
    pub fn set(&mut self, node: NodeId, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, [u8]>>) {
        let (name, value) = (name.into(), value.into());
        self.index_phandle(node, &name, &value);
        let Some(data) = self.data_mut(node) else { return };
        match data.properties.iter_mut().find(|property| property.name == name) {
            Some(property) => property.value = value,
            None => data.properties.push(Property { name, value }),
        }
    }

    /// [`Tree::set`] with a string.
    pub fn set_string(&mut self, node: NodeId, name: impl Into<Cow<'a, str>>, value: &str) {
        self.set_strings(node, name, &[value]);
    }

    /// [`Tree::set`] with a list of strings.
    pub fn set_strings(&mut self, node: NodeId, name: impl Into<Cow<'a, str>>, values: &[&str]) {
        let mut bytes = Vec::with_capacity(values.iter().map(|value| value.len().saturating_add(1)).sum());
        for value in values {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        self.set(node, name, bytes);
    }

    /// [`Tree::set`] with 32-bit cells.
    pub fn set_cells(&mut self, node: NodeId, name: impl Into<Cow<'a, str>>, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.set(node, name, bytes);
    }

    /// Takes a property away; no matter if there is none. Not for phandles.
    pub(crate) fn remove(&mut self, node: NodeId, name: &str) {
        if let Some(data) = self.data_mut(node) {
            data.properties.retain(|property| property.name != name);
        }
    }

    /// Gives a node another name.
    pub(crate) fn rename(&mut self, node: NodeId, name: impl Into<Cow<'a, str>>) {
        if let Some(data) = self.data_mut(node) {
            data.name = name.into();
        }
    }

    /// Takes a node with all below it out of its parent's children: paths and blobs do not have it any more. It is only
    /// marked, so that to detach all of a node's children takes one step each.
    pub(crate) fn detach(&mut self, node: NodeId) {
        if let Some(data) = self.data_mut(node) {
            data.detached = true;
        }
    }

    /// The value of a property, to be changed in place. Not for phandles.
    pub(crate) fn value_mut(&mut self, node: NodeId, name: &str) -> Option<&mut Vec<u8>> {
        let data = self.data_mut(node)?;
        let property = data.properties.iter_mut().find(|property| property.name == name)?;
        Some(property.value.to_mut())
    }

    /// Appends a property without looking for one of the same name: for reading a blob.
    fn append(&mut self, node: NodeId, property: Property<'a>) {
        self.index_phandle(node, &property.name, &property.value);
        if let Some(data) = self.data_mut(node) {
            data.properties.push(property);
        }
    }

    fn index_phandle(&mut self, node: NodeId, name: &str, value: &[u8]) {
        if (name == "phandle" || name == "linux,phandle")
            && let Some(phandle) = Cells::new(value).u32()
        {
            _ = self.phandles.add(phandle, node);
        }
    }

    fn data_mut(&mut self, id: NodeId) -> Option<&mut Data<'a>> {
        self.nodes.get_mut(id.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detaching_nodes_moves_none_of_their_neighbours() {
        const NODES: usize = 40_000;
        let mut tree = Tree::new();
        let nodes: Vec<NodeId> =
            (0..NODES).map(|number| tree.add_node(NodeId::ROOT, alloc::format!("node-{number}"))).collect();
        for node in nodes.iter().skip(1) {
            tree.detach(*node);
        }
        // The parent's list was never rebuilt: each of the detached cost one mark.
        assert_eq!(tree.nodes.first().map(|root| root.children.len()), Some(NODES));
        assert_eq!(tree.nodes.iter().filter(|node| node.detached).count(), NODES - 1);
        assert_eq!(tree.root().children().map(|node| node.id()).collect::<Vec<_>>(), [nodes[0]]);
        assert!(tree.by_path("/node-1").is_none() && tree.to_blob().len() < 200);
    }
}
