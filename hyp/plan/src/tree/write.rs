// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writing a tree as a flattened blob (Devicetree Specification, chapter 5).

use alloc::vec::Vec;

use super::{Node, Tree};
use crate::sorted::Map;

const HEADER_SIZE: usize = 40;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;

/// About the words that a node takes with its properties, and what all names take: room to begin with.
const TYPICAL_NODE: usize = 40;
const TYPICAL_STRINGS: usize = 512;

impl Tree<'_> {
    /// Flattens the tree.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut writer = Writer {
            structure: Vec::with_capacity(self.nodes.len().saturating_mul(TYPICAL_NODE)),
            strings: Vec::with_capacity(TYPICAL_STRINGS),
            offsets: Map::new(),
        };
        // Nodes that begin; and where there is none, one ends.
        let mut pending = alloc::vec![Some(self.root())];
        while let Some(next) = pending.pop() {
            match next {
                Some(node) => {
                    writer.begin(node);
                    pending.push(None);
                    pending.extend(node.children().rev().map(Some));
                }
                None => writer.word(2),
            }
        }
        writer.finish(&self.reservations)
    }
}

struct Writer<'t> {
    structure: Vec<[u8; 4]>,
    strings: Vec<u8>,
    /// Where each property name stands in `strings`.
    offsets: Map<&'t str, u32>,
}

impl<'t> Writer<'t> {
    fn word(&mut self, word: u32) {
        self.structure.push(word.to_be_bytes());
    }

    /// Bytes, and zeros up to the next word: one at least where they are to have an end.
    fn bytes(&mut self, bytes: &[u8], with_end: bool) {
        let (words, rest) = bytes.as_chunks();
        self.structure.extend_from_slice(words);
        if with_end || !rest.is_empty() {
            let mut last = [0; 4];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.structure.push(last);
        }
    }

    fn begin(&mut self, node: Node<'t, '_>) {
        self.word(1);
        self.bytes(node.name().as_bytes(), true);
        for property in node.properties() {
            let name = self.name_offset(&property.name);
            self.word(3);
            self.word(property.value.len() as u32);
            self.word(name);
            self.bytes(&property.value, false);
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

    fn finish(mut self, reservations: &[(u64, u64)]) -> Vec<u8> {
        self.word(9);
        let reserved: Vec<[u8; 8]> = reservations
            .iter()
            .chain(core::iter::once(&(0, 0)))
            .flat_map(|(address, size)| [address.to_be_bytes(), size.to_be_bytes()])
            .collect();
        let (reserved, structure) = (reserved.as_flattened(), self.structure.as_flattened());
        let structure_at = HEADER_SIZE.saturating_add(reserved.len());
        let strings_at = structure_at.saturating_add(structure.len());
        let total = strings_at.saturating_add(self.strings.len());
        let header: [u32; 10] = [
            0xd00d_feed,
            total as u32,
            structure_at as u32,
            strings_at as u32,
            HEADER_SIZE as u32,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,
            self.strings.len() as u32,
            structure.len() as u32,
        ];
        [header.map(u32::to_be_bytes).as_flattened(), reserved, structure, &self.strings].concat()
    }
}
