// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writing a tree as a flattened blob (Devicetree Specification, chapter 5).

use alloc::vec::Vec;
use core::ops::Range;

use super::{NodeId, Tree};
use crate::sorted::Map;

const HEADER_SIZE: usize = 40;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;

/// A blob, and where the values that were asked for lie in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The flattened tree.
    pub blob: Vec<u8>,
    /// For each property asked for, in that order, the bytes of its value.
    pub places: Vec<Option<Range<usize>>>,
}

/// About what a node takes with its properties, and what all names take: room to begin with.
const TYPICAL_NODE: usize = 160;
const TYPICAL_STRINGS: usize = 512;

impl Tree<'_> {
    /// Flattens the tree.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        self.to_blob_with_places(&[]).blob
    }

    /// Flattens the tree and says where the values of some properties came to lie.
    #[must_use]
    pub fn to_blob_with_places(&self, wanted: &[(NodeId, &str)]) -> Written {
        let mut writer = Writer {
            structure: Vec::with_capacity(self.nodes.len().saturating_mul(TYPICAL_NODE)),
            strings: Vec::with_capacity(TYPICAL_STRINGS),
            offsets: Map::new(),
            places: alloc::vec![None; wanted.len()],
        };
        let mut next = Some(NodeId::ROOT);
        while let Some(id) = next {
            writer.node(self, id, wanted);
            next = self.following(id, &mut writer);
        }
        writer.finish(&self.reservations)
    }

    /// The node after `id` in the order of a blob; ends every node that is left on the way.
    fn following(&self, id: NodeId, writer: &mut Writer<'_>) -> Option<NodeId> {
        let mut data = self.node(id).data;
        if data.first_child.is_some() {
            return data.first_child;
        }
        loop {
            writer.word(2);
            if data.next_sibling.is_some() {
                return data.next_sibling;
            }
            data = self.node(data.parent?).data;
        }
    }
}

struct Writer<'t> {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Where each property name stands in `strings`.
    offsets: Map<&'t str, u32>,
    places: Vec<Option<Range<usize>>>,
}

impl<'t> Writer<'t> {
    fn word(&mut self, word: u32) {
        self.structure.extend_from_slice(&word.to_be_bytes());
    }

    fn align(&mut self) {
        let size = self.structure.len().next_multiple_of(4);
        self.structure.resize(size, 0);
    }

    fn node(&mut self, tree: &'t Tree<'_>, id: NodeId, wanted: &[(NodeId, &str)]) {
        let node = tree.node(id);
        self.word(1);
        self.structure.extend_from_slice(node.name().as_bytes());
        self.structure.push(0);
        self.align();
        for property in node.properties() {
            let name = self.name_offset(&property.name);
            self.word(3);
            self.word(property.value.len() as u32);
            self.word(name);
            let start = self.structure.len();
            self.structure.extend_from_slice(&property.value);
            for (place, (node, name)) in self.places.iter_mut().zip(wanted) {
                if *node == id && *name == property.name {
                    *place = Some(start..self.structure.len());
                }
            }
            self.align();
        }
    }

    fn name_offset(&mut self, name: &'t str) -> u32 {
        let offset = self.strings.len() as u32;
        if let Err(there) = self.offsets.add(name, offset) {
            return *there;
        }
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        offset
    }

    fn finish(mut self, reservations: &[(u64, u64)]) -> Written {
        self.word(9);
        let reserved: Vec<u8> = reservations
            .iter()
            .chain(core::iter::once(&(0, 0)))
            .flat_map(|(address, size)| [address.to_be_bytes(), size.to_be_bytes()])
            .flatten()
            .collect();
        let structure_at = HEADER_SIZE.saturating_add(reserved.len());
        let strings_at = structure_at.saturating_add(self.structure.len());
        let total = strings_at.saturating_add(self.strings.len());
        let header = [
            0xd00d_feed,
            total as u32,
            structure_at as u32,
            strings_at as u32,
            HEADER_SIZE as u32,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut blob = Vec::with_capacity(total);
        blob.extend(header.iter().flat_map(|word: &u32| word.to_be_bytes()));
        blob.extend_from_slice(&reserved);
        blob.extend_from_slice(&self.structure);
        blob.extend_from_slice(&self.strings);
        let shift = |range: Range<usize>| {
            range.start.saturating_add(structure_at)..range.end.saturating_add(structure_at)
        };
        Written { blob, places: self.places.into_iter().map(|place| place.map(shift)).collect() }
    }
}
