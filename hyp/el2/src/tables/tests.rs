// SPDX-License-Identifier: Apache-2.0 OR MIT

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
        assert!(why.is_none_or(|why| said.is_some_and(|said| said.contains(why))), "{features:#x}: {said:?}");
    }
}

#[test]
fn a_vmid_of_more_than_8_bits_needs_a_cpu_that_has_them() {
    const EIGHT: u64 = 0;
    const SIXTEEN: u64 = 2 << 4;
    assert_eq!((vmid_bits(EIGHT), vmid_bits(SIXTEEN)), (8, 16));
    for (partition, expected, wide) in
        [(0, 1, false), (254, 255, false), (255, 256, true), (300, 301, true), (65534, 65535, true)]
    {
        let partition = PartitionId(partition);
        assert_eq!(vmid(partition), (expected, wide));
        assert_eq!(too_few_vmids(EIGHT, partition).is_some(), wide, "{expected}");
        assert_eq!(too_few_vmids(SIXTEEN, partition), None, "{expected}");
    }
    assert!(too_few_vmids(SIXTEEN, PartitionId(65535)).is_some(), "65536 has no 16 bits");
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
