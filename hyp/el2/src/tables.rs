// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation tables of the VMSAv8-64 format with the 4 KiB granule (Arm ARM, D8.2 and D8.3).
//!
//! One builder serves stage 2 and EL2's own stage 1: the two differ in the attributes of a leaf and
//! in how wide the first table is. The audit and the host tests walk what it built with [`Tables::leaves`].

mod descriptor;
#[cfg(test)]
mod discipline;
pub mod maintenance;
#[cfg(test)]
pub(crate) mod tests;

pub use descriptor::{Leaf, page_descriptor, stage1, stage2};

use bulkhead_types::{Hpa, PAGE_SIZE, PartitionId, align_down};
use descriptor::{ADDRESS, ENTRIES, Entry, LAST_LEVEL, TABLE_OR_PAGE, VALID, shift, span};

/// Where tables live. EL2 hands out pages of its heap; tests a vector.
pub trait TableMemory {
    /// `pages` zeroed pages in a row, aligned to their size rounded up to a power of two.
    fn allocate(&mut self, pages: usize) -> Option<Hpa>;
    /// Descriptor `index` of the table at `table`. A concatenated root may have more than 512.
    fn read(&self, table: Hpa, index: usize) -> u64;
    /// Replaces descriptor `index` of the table at `table`.
    fn write(&mut self, table: Hpa, index: usize, descriptor: u64);
}

/// Shape of the first lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bits of input address, 32 to 48.
    pub input_bits: u32,
    /// Level of the first lookup: 0 or 1.
    pub start_level: u32,
}

impl Geometry {
    /// EL2's own tables: 48 bits from level 0, so that no board's addresses are out of reach.
    pub const EL2: Self = Self { input_bits: 48, start_level: 0 };

    /// Stage 2 for CPUs with `physical_bits` of physical address. Starting at level 1 saves one
    /// access a walk; up to 16 tables may be concatenated there (Arm ARM, D8.2.2), of which two reach
    /// 40 bits, a terabyte of guest-physical space.
    #[must_use]
    pub const fn stage2(physical_bits: u32) -> Self {
        let input_bits = if physical_bits > 40 { 40 } else { physical_bits };
        Self { input_bits, start_level: 1 }
    }

    /// Pages of the first table, more than one where tables are concatenated.
    #[must_use]
    pub const fn root_pages(self) -> usize {
        let entries = 1_usize << self.input_bits.saturating_sub(shift(self.start_level));
        if entries > ENTRIES { entries / ENTRIES } else { 1 }
    }
}

/// Bits of a physical address on a CPU with this ID_AA64MMFR0_EL1 (PARange), 48 at most.
#[must_use]
pub const fn physical_bits(features: u64) -> u32 {
    match features & 0xf {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Why a CPU with this ID_AA64MMFR0_EL1 cannot walk a stage 2 of addresses of so many bits, if it cannot.
#[must_use]
pub const fn unfit(features: u64, bits: u32) -> Option<&'static str> {
    // TGran4_2: 0 says the same as TGran4 does of stage 1, 1 that there is none.
    match (features >> 40 & 0xf, features >> 28 & 0xf) {
        (1, _) | (0, 0xf) => Some("it has no granule of 4 KiB for stage 2"),
        _ if physical_bits(features) < bits => Some(
            "it has fewer bits of physical address (ID_AA64MMFR0_EL1.PARange) than its partition's stage 2",
        ),
        _ => None,
    }
}

/// Bits of a VMID on a CPU with this ID_AA64MMFR1_EL1 (VMIDBits).
#[must_use]
pub const fn vmid_bits(features: u64) -> u32 {
    if features >> 4 & 0xf == 2 { 16 } else { 8 }
}

/// VMID of a partition: one more than its number, as 0 is the VMID of whoever has none. With it, whether it needs
/// VMIDs of 16 bits (VTCR_EL2.VS).
#[must_use]
pub const fn vmid(partition: PartitionId) -> (u64, bool) {
    let vmid = (partition.0 as u64).saturating_add(1);
    (vmid, vmid > 0xff)
}

/// Why a CPU with this ID_AA64MMFR1_EL1 cannot tell the partition's translations from another's, if it cannot.
#[must_use]
pub const fn too_few_vmids(features: u64, partition: PartitionId) -> Option<&'static str> {
    match vmid(partition) {
        (vmid, _) if vmid >> vmid_bits(features) == 0 => None,
        _ => Some(
            "its VMIDs (ID_AA64MMFR1_EL1.VMIDBits) are too short for so many partitions: at most 255 have one of 8 bits",
        ),
    }
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// An address or the size is not a multiple of the page size.
    Unaligned,
    /// The range leaves the input or output address space.
    OutOfRange,
    /// Something is mapped there already.
    Occupied,
    /// No page left for a table.
    NoMemory,
}

/// A tree of tables under construction, or walked.
pub struct Tables<M> {
    memory: M,
    root: Hpa,
    geometry: Geometry,
}

impl<M: TableMemory> Tables<M> {
    /// An empty tree.
    ///
    /// # Errors
    /// [`MapError::NoMemory`] when there is no page for the root.
    pub fn new(mut memory: M, geometry: Geometry) -> Result<Self, MapError> {
        let root = memory.allocate(geometry.root_pages()).ok_or(MapError::NoMemory)?;
        Ok(Self { memory, root, geometry })
    }

    /// What goes into the translation table base register.
    pub const fn root(&self) -> Hpa {
        self.root
    }

    /// Maps `size` bytes from `input` to `output` with the largest blocks that alignment allows.
    ///
    /// Only invalid descriptors become valid, so no break-before-make is needed (Arm ARM, D8.17.1);
    /// the caller orders the writes before the first walk.
    ///
    /// # Errors
    /// See [`MapError`]. A mapping that fails may be there in part.
    pub fn map(&mut self, input: u64, output: Hpa, size: u64, attributes: u64) -> Result<(), MapError> {
        if !Hpa(input | output.0 | size).is_aligned(PAGE_SIZE) {
            return Err(MapError::Unaligned);
        }
        let end = input.checked_add(size).ok_or(MapError::OutOfRange)?;
        let output_end = output.checked_add(size).ok_or(MapError::OutOfRange)?;
        if end > 1 << self.geometry.input_bits || output_end.0 > ADDRESS {
            return Err(MapError::OutOfRange);
        }
        let (mut input, mut output) = (input, output);
        while input < end {
            let left = end.saturating_sub(input);
            let level = (self.geometry.start_level.max(1)..LAST_LEVEL)
                .find(|&level| Hpa(input | output.0).is_aligned(span(level)) && left >= span(level))
                .unwrap_or(LAST_LEVEL);
            // As many leaves as this table takes: it ends where a larger block may begin.
            let table = self.table(input, level)?;
            let first = self.index(input, level);
            let leaves = (left >> shift(level)).min(self.entries(level).saturating_sub(first) as u64);
            let kind = if level == LAST_LEVEL { TABLE_OR_PAGE } else { VALID };
            for index in first..first.saturating_add(leaves as usize) {
                if self.memory.read(table, index) & VALID != 0 {
                    return Err(MapError::Occupied);
                }
                self.memory.write(table, index, output.0 | attributes | kind);
                output = Hpa(output.0.saturating_add(span(level)));
            }
            input = input.saturating_add(leaves << shift(level));
        }
        Ok(())
    }

    /// The last-level table that translates `input`, made where it is missing.
    ///
    /// # Errors
    /// [`MapError::Occupied`] where a block is in the way, [`MapError::NoMemory`].
    pub fn last_table(&mut self, input: u64) -> Result<Hpa, MapError> {
        self.table(input, LAST_LEVEL)
    }

    /// The table of `level` that translates `input`, with the tables above it.
    fn table(&mut self, input: u64, level: u32) -> Result<Hpa, MapError> {
        let mut table = self.root;
        for above in self.geometry.start_level..level {
            let index = self.index(input, above);
            table = match Entry::decode(self.memory.read(table, index), above, input) {
                Some(Entry::Table(next)) => next,
                Some(Entry::Leaf(_)) => return Err(MapError::Occupied),
                None => {
                    let next = self.memory.allocate(1).ok_or(MapError::NoMemory)?;
                    self.memory.write(table, index, next.0 | TABLE_OR_PAGE);
                    next
                }
            };
        }
        Ok(table)
    }

    /// Which descriptor of its table translates `input` at `level`.
    const fn index(&self, input: u64, level: u32) -> usize {
        let index = (input >> shift(level)) as usize;
        if level == self.geometry.start_level { index } else { index % ENTRIES }
    }

    /// Descriptors in a table of `level`.
    const fn entries(&self, level: u32) -> usize {
        if level == self.geometry.start_level {
            self.geometry.root_pages().saturating_mul(ENTRIES)
        } else {
            ENTRIES
        }
    }

    /// The leaf that translates `input`.
    pub fn find(&self, input: u64) -> Option<Leaf> {
        let mut table = self.root;
        for level in self.geometry.start_level..=LAST_LEVEL {
            let descriptor = self.memory.read(table, self.index(input, level));
            match Entry::decode(descriptor, level, align_down(input, span(level)))? {
                Entry::Table(next) => table = next,
                Entry::Leaf(leaf) => return Some(leaf),
            }
        }
        None
    }

    /// Calls `visit` with every leaf, in the order of input addresses.
    pub fn leaves(&self, visit: &mut dyn FnMut(Leaf)) {
        self.walk(self.root, self.geometry.start_level, 0, visit);
    }

    /// One table of the walk; the depth is bounded by the four levels of the format.
    fn walk(&self, table: Hpa, level: u32, base: u64, visit: &mut dyn FnMut(Leaf)) {
        for index in 0..self.entries(level) {
            let descriptor = self.memory.read(table, index);
            // Most are not.
            if descriptor & VALID == 0 {
                continue;
            }
            let input = base.saturating_add((index as u64) << shift(level));
            match Entry::decode(descriptor, level, input) {
                Some(Entry::Table(next)) => self.walk(next, level.saturating_add(1), input, visit),
                Some(Entry::Leaf(leaf)) => visit(leaf),
                None => {}
            }
        }
    }
}
