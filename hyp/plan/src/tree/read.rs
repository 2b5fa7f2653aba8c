// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading a flattened tree (Devicetree Specification, chapter 5) in one pass.

use alloc::borrow::Cow;
use alloc::format;

use super::blob::{Blob, Token, blob_size};
use super::{NodeId, Property, Strings, Tree};
use crate::error::Problem;

/// The deepest nesting that is read: twice what real trees have. A limit, because later users walk
/// from a node to the root.
pub const MAX_DEPTH: usize = 32;

impl<'a> Tree<'a> {
    /// Reads a blob. `what` names it in errors ("the board's tree", an image).
    ///
    /// # Errors
    /// A blob that is not a flattened device tree, is damaged, or nests deeper than [`MAX_DEPTH`].
    pub fn parse(blob: &'a [u8], what: &str) -> Result<Self, Problem> {
        let size =
            blob_size(blob).ok_or_else(|| Problem::new(what, "this is not a flattened device tree"))?;
        if size > blob.len() {
            let rule = format!("it is cut short: its header says {size} bytes, there are {}", blob.len());
            return Err(Problem::new(what, rule));
        }
        let damaged = || Problem::new(what, "the device tree is damaged");
        let blob = Blob::new(blob).ok_or_else(damaged)?;
        let mut tree = Self::new();
        tree.reservations = blob.reservations().collect();

        let mut tokens = blob.tokens();
        let mut node: Option<NodeId> = None;
        let mut depth = 0usize;
        loop {
            match tokens.next().ok_or_else(damaged)? {
                Token::Begin(name) => {
                    let name = Strings::new(name).next().ok_or_else(damaged)?;
                    node = Some(node.map_or(NodeId::ROOT, |parent| tree.add_node(parent, name)));
                    depth = depth.saturating_add(1);
                    if depth > MAX_DEPTH {
                        return Err(Problem::new(what, format!("nodes nest deeper than {MAX_DEPTH} levels")));
                    }
                }
                Token::Property(name, value) => {
                    let id = node.ok_or_else(damaged)?;
                    let name = name.get().ok_or_else(damaged)?;
                    tree.append(id, Property { name: Cow::Borrowed(name), value: Cow::Borrowed(value) });
                }
                Token::End => {
                    let id = node.ok_or_else(damaged)?;
                    node = tree.node(id).parent().map(|parent| parent.id());
                    depth = depth.saturating_sub(1);
                    if node.is_none() {
                        return Ok(tree);
                    }
                }
            }
        }
    }
}
