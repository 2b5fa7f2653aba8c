// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A node as seen in its tree: its neighbours, and its properties by their standard meanings.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Cells, Data, NodeId, Property, Strings, Tree};

/// A node as seen in its tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t, 'a> {
    pub(super) tree: &'t Tree<'a>,
    pub(super) id: NodeId,
    pub(super) data: &'t Data<'a>,
}

impl<'t, 'a> Node<'t, 'a> {
    /// Its ID.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The tree that it is in.
    #[must_use]
    pub fn tree(&self) -> &'t Tree<'a> {
        self.tree
    }

    /// Its name with the unit address; the root's is empty.
    #[must_use]
    pub fn name(&self) -> &'t str {
        &self.data.name
    }

    /// Its name, as long-lived as the blob where it was read from one.
    pub(crate) fn data_name(&self) -> &'t Cow<'a, str> {
        &self.data.name
    }

    /// Its name without the unit address.
    #[must_use]
    pub fn base_name(&self) -> &'t str {
        base_name(self.name())
    }

    /// The node it is a child of; the root has none.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.data.parent.map(|id| self.tree.node(id))
    }

    /// Its parent, that one's parent, and so on up to the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        core::iter::successors(self.parent(), Node::parent)
    }

    /// Its children, in the order of the tree.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = Self> + use<'t, 'a> {
        let tree = self.tree;
        self.data.children.iter().map(|child| tree.node(*child)).filter(|child| !child.data.detached)
    }

    /// The first child of this name; a name without a unit address also finds a child that has one.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children().find(|child| is_called(child.name().as_bytes(), name))
    }

    /// Its properties, in the order of the tree.
    #[must_use]
    pub fn properties(&self) -> &'t [Property<'a>] {
        &self.data.properties
    }

    /// The value of the property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'t [u8]> {
        self.data.properties.iter().find(|property| property.name == name).map(|property| &*property.value)
    }

    /// Whether there is a property of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// The value of a property that is one string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&'t str> {
        let mut strings = self.strings(name);
        let first = strings.next()?;
        if strings.next().is_some() { None } else { Some(first) }
    }

    /// The strings of a property that is a list of them; none if it is absent.
    #[must_use]
    pub fn strings(&self, name: &str) -> Strings<'t> {
        Strings::new(self.property(name).unwrap_or(&[]))
    }

    /// The cells of a property; none if it is absent.
    #[must_use]
    pub fn cells(&self, name: &str) -> Cells<'t> {
        Cells::new(self.property(name).unwrap_or(&[]))
    }

    /// The value of a property that is one cell.
    #[must_use]
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.cells(name).u32()
    }

    /// Whether `compatible` lists this string.
    #[must_use]
    pub fn is_compatible(&self, with: &str) -> bool {
        self.is_compatible_with_any(&[with])
    }

    /// Whether `compatible` lists one of these strings.
    #[must_use]
    pub fn is_compatible_with_any(&self, with: &[&str]) -> bool {
        let value = self.property("compatible").unwrap_or(&[]);
        with.iter().any(|with| lists(value, with))
    }

    /// Whether `status` is absent, "okay" or "ok" (Devicetree Specification, 2.3.4).
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.property("status").is_none_or(|status| matches!(status, b"okay\0" | b"ok\0"))
    }

    /// Its phandle.
    #[must_use]
    pub fn phandle(&self) -> Option<u32> {
        self.u32("phandle").or_else(|| self.u32("linux,phandle"))
    }

    /// `#address-cells` for its children, 2 by default (Devicetree Specification, 2.3.5).
    #[must_use]
    pub fn address_cells(&self) -> u32 {
        self.u32("#address-cells").unwrap_or(2)
    }

    /// `#size-cells` for its children, 1 by default (Devicetree Specification, 2.3.5).
    #[must_use]
    pub fn size_cells(&self) -> u32 {
        self.u32("#size-cells").unwrap_or(1)
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> String {
        let mut names: Vec<&str> = core::iter::once(*self)
            .chain(self.ancestors())
            .map(|node| node.name())
            .filter(|name| !name.is_empty())
            .collect();
        names.reverse();
        let mut path = String::with_capacity(names.iter().map(|name| name.len().saturating_add(1)).sum());
        for name in names {
            path.push('/');
            path.push_str(name);
        }
        if path.is_empty() {
            path.push('/');
        }
        path
    }
}

/// Whether a list of strings has this one. As bytes and by the length first: this is asked of every node.
fn lists(mut list: &[u8], string: &str) -> bool {
    while let Some((head, [end, ..])) = list.split_at_checked(string.len()) {
        if *end == 0 && head == string.as_bytes() {
            return true;
        }
        let next = list.iter().position(|byte| *byte == 0).and_then(|end| list.get(end..)?.get(1..));
        list = next.unwrap_or(&[]);
    }
    false
}

/// A node's name without its unit address.
pub(crate) fn base_name(name: &str) -> &str {
    name.split_once('@').map_or(name, |(base, _)| base)
}

/// Whether a node of the name `full`, behind which NULs may follow, is found as `name`, which may leave the unit address
/// out.
pub(super) fn is_called(full: &[u8], name: &str) -> bool {
    full.strip_prefix(name.as_bytes()).is_some_and(|rest| match rest.first() {
        None | Some(0) => true,
        Some(b'@') => !name.contains('@'),
        Some(_) => false,
    })
}
