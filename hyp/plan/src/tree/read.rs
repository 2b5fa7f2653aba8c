// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading a flattened tree (Devicetree Specification, chapter 5) in one pass.

use core::ffi::CStr;

use alloc::borrow::Cow;
use alloc::format;
use dtoolkit::fdt::Fdt;

use super::{NodeId, Property, Tree};
use crate::error::Problem;

/// The deepest nesting that is read: twice what real trees have. A limit, because later users walk
/// from a node to the root.
pub const MAX_DEPTH: usize = 32;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The size that the header at the start of `bytes` claims for its blob; `None` if there is no
/// flattened tree.
#[must_use]
pub fn blob_size(bytes: &[u8]) -> Option<usize> {
    let header = |at| word(bytes, at);
    if header(0)? == MAGIC { usize::try_from(header(4)?).ok() } else { None }
}

impl<'a> Tree<'a> {
    /// Checks a blob and reads it. `what` names it in errors ("the board's tree", an image).
    ///
    /// # Errors
    /// A blob that is not a flattened device tree, is damaged, or nests deeper than [`MAX_DEPTH`].
    pub fn parse(blob: &'a [u8], what: &str) -> Result<Self, Problem> {
        let size =
            blob_size(blob).ok_or_else(|| Problem::new(what, "this is not a flattened device tree"))?;
        let exact = blob.get(..size).ok_or_else(|| {
            Problem::new(
                what,
                format!("it is cut short: its header says {size} bytes, there are {}", blob.len()),
            )
        })?;
        let fdt = Fdt::new(exact)
            .map_err(|error| Problem::new(what, format!("the device tree is damaged ({error})")))?;
        Self::from_fdt(&fdt, what)
    }

    /// Reads a blob that `dtoolkit` has checked.
    ///
    /// # Errors
    /// A tree that nests deeper than [`MAX_DEPTH`].
    pub fn from_fdt(fdt: &Fdt<'a>, what: &str) -> Result<Self, Problem> {
        let damaged = || Problem::new(what, "the device tree is damaged");
        let mut tree = Self::new();
        tree.reservations = fdt.memory_reservations().map(|entry| (entry.address(), entry.size())).collect();

        let data = fdt.data();
        let block = |at| word(data, at).and_then(|offset| data.get(offset as usize..)).ok_or_else(damaged);
        let mut tokens = Tokens { rest: block(8)? };
        let strings = block(12)?;

        let mut node: Option<NodeId> = None;
        let mut depth = 0usize;
        loop {
            match tokens.word().ok_or_else(damaged)? {
                BEGIN_NODE => {
                    let name = tokens.name().ok_or_else(damaged)?;
                    node = Some(node.map_or(NodeId::ROOT, |parent| tree.add_node(parent, name)));
                    depth = depth.saturating_add(1);
                    if depth > MAX_DEPTH {
                        return Err(Problem::new(what, format!("nodes nest deeper than {MAX_DEPTH} levels")));
                    }
                }
                END_NODE => {
                    let id = node.ok_or_else(damaged)?;
                    node = tree.node(id).parent().map(|parent| parent.id());
                    depth = depth.saturating_sub(1);
                    if node.is_none() {
                        return Ok(tree);
                    }
                }
                PROPERTY => {
                    let id = node.ok_or_else(damaged)?;
                    let (name, value) = tokens.property(strings).ok_or_else(damaged)?;
                    tree.append(id, Property { name: Cow::Borrowed(name), value: Cow::Borrowed(value) });
                }
                NOP => {}
                END => return Ok(tree),
                _ => return Err(damaged()),
            }
        }
    }
}

/// The structure block, consumed from the front.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn word(&mut self) -> Option<u32> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*head))
    }

    /// Takes `size` bytes and the padding to the next multiple of four behind them.
    fn bytes(&mut self, size: usize) -> Option<&'a [u8]> {
        let bytes = self.rest.get(..size)?;
        self.rest = self.rest.get(size.checked_next_multiple_of(4)?..)?;
        Some(bytes)
    }

    fn name(&mut self) -> Option<&'a str> {
        let name = CStr::from_bytes_until_nul(self.rest).ok()?;
        self.bytes(name.count_bytes().checked_add(1)?)?;
        name.to_str().ok()
    }

    fn property(&mut self, strings: &'a [u8]) -> Option<(&'a str, &'a [u8])> {
        let size = self.word()?;
        let name = strings.get(self.word()? as usize..)?;
        let name = CStr::from_bytes_until_nul(name).ok()?.to_str().ok()?;
        Some((name, self.bytes(size as usize)?))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().copied().map(u32::from_be_bytes)
}
