// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation tables of the VMSAv8-64 format with the 4 KiB granule (Arm ARM, D8.2 and D8.3).
//!
//! One builder serves stage 2 and EL2's own stage 1: the two differ in the attributes of a leaf and
//! in how wide the first table is. The audit and the host tests walk what it built with [`Tables::leaves`].

use bulkhead_types::{Hpa, PAGE_SIZE, align_down};

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

/// Descriptors in one page.
const ENTRIES: usize = 512;
/// The level whose descriptors are pages.
const LAST_LEVEL: u32 = 3;
/// Bit 0: the descriptor is valid. Bit 1: table (levels 0 to 2) or page (level 3), else block.
const VALID: u64 = 0b01;
const TABLE_OR_PAGE: u64 = 0b11;
/// Output address of a descriptor, bits 47:12.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Bits of input address that a descriptor of this level leaves untranslated.
const fn shift(level: u32) -> u32 {
    12_u32.saturating_add(9_u32.saturating_mul(LAST_LEVEL.saturating_sub(level)))
}

/// Bytes that one descriptor of this level covers.
const fn span(level: u32) -> u64 {
    1 << shift(level)
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

/// The last-level descriptor that maps the page at `output`.
#[must_use]
pub const fn page_descriptor(output: Hpa, attributes: u64) -> u64 {
    output.0 & ADDRESS | attributes | TABLE_OR_PAGE
}

/// One mapping, as the hardware walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First input address.
    pub input: u64,
    /// First output address.
    pub output: Hpa,
    /// Bytes: 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    /// Attribute bits of the descriptor: all but its type and address.
    pub attributes: u64,
}

/// What a valid descriptor leads to.
enum Entry {
    Table(Hpa),
    Leaf(Leaf),
}

impl Entry {
    /// What `descriptor` leads to, if it is valid: one of `level`, which translates from `input` on.
    fn decode(descriptor: u64, level: u32, input: u64) -> Option<Self> {
        let output = Hpa(descriptor & ADDRESS);
        let attributes = descriptor & !(ADDRESS | TABLE_OR_PAGE);
        match descriptor & TABLE_OR_PAGE {
            TABLE_OR_PAGE if level < LAST_LEVEL => Some(Self::Table(output)),
            TABLE_OR_PAGE | VALID => Some(Self::Leaf(Leaf { input, output, size: span(level), attributes })),
            _ => None,
        }
    }
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

/// Attributes of stage-2 leaves (Arm ARM, D8.3.2 and D8.6.6; FEAT_S2FWB off).
pub mod stage2 {
    /// Access flag set: no access-flag faults.
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    const READ_WRITE: u64 = 0b11 << 6;
    /// S2AP\[1\]: the guest may write.
    const WRITE: u64 = 0b10 << 6;
    const WRITE_BACK: u64 = 0b1111 << 2;
    /// Device-nGnRE: a guest's stage 1 may make it stronger, never weaker (Arm ARM, D8.6.8).
    const DEVICE_NGNRE: u64 = 0b0001 << 2;
    /// XN\[1:0\] = 0b10: no execution at EL1 nor EL0.
    pub const EXECUTE_NEVER: u64 = 0b10 << 53;
    /// Memory of a guest.
    pub const MEMORY: u64 = ACCESSED | INNER_SHAREABLE | READ_WRITE | WRITE_BACK;
    /// Registers of a device.
    pub const DEVICE: u64 = ACCESSED | READ_WRITE | DEVICE_NGNRE | EXECUTE_NEVER;

    /// Memory of a guest that it may read, and write to and execute from only if so said.
    #[must_use]
    pub const fn memory(write: bool, execute: bool) -> u64 {
        let writable = if write { MEMORY } else { MEMORY & !WRITE };
        if execute { writable } else { writable | EXECUTE_NEVER }
    }

    /// Whether a leaf with these attributes is a device's.
    #[must_use]
    pub const fn is_device(attributes: u64) -> bool {
        attributes & WRITE_BACK != WRITE_BACK
    }
}

/// Attributes of EL2's own leaves (Arm ARM, D8.3.1, D8.4 and D8.6.1); MAIR_EL2 is [`stage1::MAIR`].
pub mod stage1 {
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    /// AP\[2\]: read-only.
    pub const READ_ONLY: u64 = 1 << 7;
    /// AP\[1\] is RES1 in a translation regime with one exception level.
    const RES1: u64 = 1 << 6;
    const DEVICE_INDEX: u64 = 1 << 2;
    const UNCACHED_INDEX: u64 = 2 << 2;
    /// XN: no execution at EL2.
    pub const EXECUTE_NEVER: u64 = 1 << 54;

    /// Attribute 0: Normal, inner and outer write-back, allocating. Attribute 1: Device-nGnRE. Attribute 2:
    /// Normal, non-cacheable.
    pub const MAIR: u64 = 0x44_04ff;

    /// Code: read and execute.
    pub const TEXT: u64 = ACCESSED | INNER_SHAREABLE | RES1 | READ_ONLY;
    /// Constants, the board's tree and the bundle: read.
    pub const CONSTANT: u64 = TEXT | EXECUTE_NEVER;
    /// Variables, stacks and heap: read and write.
    pub const DATA: u64 = ACCESSED | INNER_SHAREABLE | RES1 | EXECUTE_NEVER;
    /// A guest's memory: read and write, past the caches.
    pub const UNCACHED: u64 = ACCESSED | RES1 | UNCACHED_INDEX | EXECUTE_NEVER;
    /// Registers of a device: read and write.
    pub const DEVICE: u64 = ACCESSED | RES1 | DEVICE_INDEX | EXECUTE_NEVER;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Tables in a map from address to page.
    #[derive(Default)]
    pub(crate) struct Pages {
        pages: BTreeMap<u64, Vec<u64>>,
        next: u64,
        limit: usize,
    }

    impl Pages {
        pub(crate) fn new(limit: usize) -> Self {
            Self { pages: BTreeMap::new(), next: 0x10_0000, limit }
        }
    }

    impl TableMemory for Pages {
        fn allocate(&mut self, pages: usize) -> Option<Hpa> {
            self.limit = self.limit.checked_sub(pages)?;
            let at = self.next;
            self.next += pages as u64 * PAGE_SIZE;
            self.pages.insert(at, vec![0; pages * ENTRIES]);
            Some(Hpa(at))
        }
        fn read(&self, table: Hpa, index: usize) -> u64 {
            self.pages[&table.0][index]
        }
        fn write(&mut self, table: Hpa, index: usize, descriptor: u64) {
            self.pages.get_mut(&table.0).unwrap()[index] = descriptor;
        }
    }

    fn tables() -> Tables<Pages> {
        Tables::new(Pages::new(100), Geometry::stage2(44)).unwrap()
    }

    fn leaves(tables: &Tables<Pages>) -> Vec<(u64, u64, u64)> {
        let mut all = Vec::new();
        tables.leaves(&mut |leaf| all.push((leaf.input, leaf.output.0, leaf.size)));
        all
    }

    #[test]
    fn blocks_are_as_large_as_alignment_allows() {
        let mut t = tables();
        // 4 KiB, then 2 MiB up to the gigabyte, then 1 GiB.
        t.map(0x3fdf_f000, Hpa(0x7fdf_f000), 0x20_1000 + (1 << 30), stage2::MEMORY).unwrap();
        assert_eq!(
            leaves(&t),
            [
                (0x3fdf_f000, 0x7fdf_f000, 0x1000),
                (0x3fe0_0000, 0x7fe0_0000, 0x20_0000),
                (0x4000_0000, 0x8000_0000, 1 << 30),
            ]
        );
    }

    #[test]
    fn rights_are_what_the_architecture_has_them() {
        // Arm ARM, D8.4.2: S2AP in bits 7:6, XN in bits 54:53.
        let rights = |attributes: u64| (attributes >> 6 & 0b11, attributes >> 53 & 0b11);
        assert_eq!(rights(stage2::memory(true, true)), (0b11, 0b00));
        assert_eq!(rights(stage2::memory(true, false)), (0b11, 0b10));
        assert_eq!(rights(stage2::memory(false, true)), (0b01, 0b00));
        assert_eq!(rights(stage2::memory(false, false)), (0b01, 0b10));
        assert_eq!(stage2::memory(true, true), stage2::MEMORY);
    }

    #[test]
    fn a_cpu_that_cannot_walk_what_another_built_is_found() {
        let (few, fits, none) = (Some("fewer bits"), None, Some("granule"));
        for (features, input_bits, why) in [
            (2, 40, fits),
            (5, 40, fits),
            (6, 48, fits),
            (1, 36, fits),
            (1, 40, few),
            (2, 42, few),
            // TGran4, and TGran4_2, which says it anew.
            (0xf << 28 | 2, 40, none),
            (0xf << 28 | 2 << 40 | 2, 40, fits),
            (1 << 28 | 2, 40, fits),
            (1 << 40 | 2, 40, none),
        ] {
            let said = unfit(features, input_bits);
            assert_eq!(said.is_some(), why.is_some(), "{features:#x}");
            assert!(
                why.is_none_or(|why| said.is_some_and(|said| said.contains(why))),
                "{features:#x}: {said:?}"
            );
        }
    }

    #[test]
    fn misaligned_outputs_fall_back_to_pages() {
        let mut t = tables();
        t.map(0x4000_0000, Hpa(0x4000_1000), 0x20_0000, stage2::MEMORY).unwrap();
        assert_eq!(leaves(&t).len(), 512);
    }

    #[test]
    fn concatenated_roots_reach_a_terabyte() {
        let mut t = tables();
        assert_eq!(Geometry::stage2(44).root_pages(), 2);
        let top = (1_u64 << 40) - (1 << 30);
        t.map(top, Hpa(0), 1 << 30, stage2::DEVICE).unwrap();
        assert_eq!(leaves(&t), [(top, 0, 1 << 30)]);
        assert_eq!(t.map(1 << 40, Hpa(0), 0x1000, stage2::DEVICE), Err(MapError::OutOfRange));
    }

    #[test]
    fn nothing_is_mapped_twice() {
        let mut t = tables();
        t.map(0x20_0000, Hpa(0x20_0000), 0x20_0000, stage2::MEMORY).unwrap();
        assert_eq!(t.map(0x20_1000, Hpa(0), 0x1000, stage2::MEMORY), Err(MapError::Occupied));
        t.map(0x40_0000, Hpa(0), 0x1000, stage2::MEMORY).unwrap();
        assert_eq!(t.map(0x40_0000, Hpa(0), 0x20_0000, stage2::MEMORY), Err(MapError::Occupied));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut t = Tables::new(Pages::new(2), Geometry::stage2(44)).unwrap();
        assert_eq!(t.map(0, Hpa(0), 0x1000, stage2::MEMORY), Err(MapError::NoMemory));
        assert_eq!(t.map(1, Hpa(0), 0x1000, stage2::MEMORY), Err(MapError::Unaligned));
        assert_eq!(t.map(0, Hpa(!0xfff), 0x1000, stage2::MEMORY), Err(MapError::OutOfRange));
    }

    proptest::proptest! {
        /// Whatever is mapped comes back from the walk byte for byte, and nothing else.
        #[test]
        fn the_walk_returns_what_was_mapped(
            input in 0_u64..1 << 20, output in 0_u64..1 << 20, pages in 1_u64..2048,
        ) {
            let mut t = tables();
            let (input, output, size) = (input * PAGE_SIZE, output * PAGE_SIZE, pages * PAGE_SIZE);
            t.map(input, Hpa(output), size, stage2::MEMORY).unwrap();
            let found = t.find(input + size - 1).expect("its last byte is mapped");
            assert_eq!(input + size - 1 - found.input + found.output.0, output + size - 1);
            assert_eq!(t.find(input + size), None);
            let mut next = input;
            t.leaves(&mut |leaf| {
                assert_eq!(leaf.input, next);
                assert_eq!(leaf.output.0 - output, leaf.input - input);
                assert_eq!(leaf.attributes, stage2::MEMORY);
                next += leaf.size;
            });
            assert_eq!(next, input + size);
        }
    }
}
