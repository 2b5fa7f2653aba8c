// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// The bits of a virtual address that each level resolves, highest and lowest (Arm ARM, "Translation granules"): for
/// 4 KiB from level -1, 16 KiB from level 0, 64 KiB from level 1.
const RESOLVED: [(u32, i8, Bits); 3] = [
    (12, -1, &[(51, 48), (47, 39), (38, 30), (29, 21), (20, 12)]),
    (14, 0, &[(51, 47), (46, 36), (35, 25), (24, 14)]),
    (16, 1, &[(51, 42), (41, 29), (28, 16)]),
];

type Bits = &'static [(u32, u32)];

/// TG0 and TG1 of each granule.
const CODES: [[u64; 2]; 3] = [[0b00, 0b10], [0b10, 0b01], [0b01, 0b11]];

/// A walk: the registers, the guest's memory, and the descriptor that each of its lookups reads.
struct Walk {
    registers: Stage1,
    memory: BTreeMap<u64, u64>,
    lookups: Vec<(i8, u64)>,
}

/// Builds tables for `va` of `va_bits` bits at the places given, aligned to the granule by this.
fn build(which: usize, va: u64, va_bits: u32, wide: bool, big_endian: bool, places: &[u64]) -> Walk {
    let (granule, first, resolved) = RESOLVED[which];
    let used: Vec<_> = (first..).zip(resolved).filter(|(_, (_, low))| *low < va_bits).collect();
    let address_bits = if wide { 52 } else { 48 };
    let table = |n: usize| (places[n] % (1 << address_bits)) >> granule << granule;
    let mut memory = BTreeMap::new();
    let mut lookups = Vec::new();
    for (n, (level, (high, low))) in used.iter().enumerate() {
        let high = (*high).min(va_bits - 1);
        let index = va >> low & ((1 << (high - low + 1)) - 1);
        let at = table(n) + 8 * index;
        lookups.push((*level, at));
        if n + 1 < used.len() {
            let next = table(n + 1);
            // With attributes of a table descriptor that the walk is not to take for address bits.
            let high = match (wide, granule) {
                (true, 16) => next >> 48 << 12,
                (true, _) => next >> 50 << 8 | next & 0b11 << 48,
                _ => 0,
            };
            let descriptor = 0b11 | next & 0xffff_ffff_ffff | high | 0b1_1001 << 59;
            memory.insert(at, if big_endian { descriptor.swap_bytes() } else { descriptor });
        }
    }
    let root = table(0) & 0xffff_ffff_ffff | if wide { table(0) >> 48 << 2 } else { 0 } | 1;
    let half = usize::from(va >> 55 & 1 == 1);
    let field = (64 - u64::from(va_bits)) | CODES[which][half] << 14;
    let flags = match (wide, granule) {
        (true, 16) => 0b110 << 32,
        (true, _) => 1 << 59,
        _ => 0b101 << 32,
    };
    // The other half is another granule's, of other size and root.
    let other = 30 | CODES[(which + 1) % 3][1 - half] << 14;
    let control = flags | if half == 0 { field | other << 16 } else { field << 16 | other };
    let mut roots = [0xdead_f000; 2];
    roots[half] = root;
    Walk { registers: Stage1 { control, roots, big_endian }, memory, lookups }
}

proptest! {
    /// Whichever descriptor is refused, its level is found.
    #[test]
    fn each_level_is_found(
        which in 0..3_usize, va: u64, size: u32, wide: bool, big_endian: bool,
        places in proptest::collection::vec(any::<u64>(), 5),
    ) {
        let most = if wide || which == 2 { 52 } else { 48 };
        let va_bits = 25 + size % (most - 24);
        // Bits 63:56 are a tag, bits 54 to the size the same as bit 55.
        let sign = if va >> 55 & 1 == 1 { u64::MAX << va_bits & !(0xff << 56) } else { 0 };
        let va = va & (0xff << 56 | ((1 << va_bits) - 1)) | sign;
        let walk = build(which, va, va_bits, wide, big_endian, &places);
        for (level, at) in &walk.lookups {
            let page = |address: u64| address >> 12;
            // Tables that happen to share a page, or a descriptor, cannot be told apart.
            let same = walk.lookups.iter().filter(|(_, other)| page(*other) == page(*at)).count();
            prop_assume!(same == 1);
            // By the page, though all can be read; and where memory ends.
            let read = |at: Ipa| walk.memory.get(&at.0).copied();
            prop_assert_eq!(walk.registers.level(va, Ipa(at & !0xfff), read), *level);
            let read = |other: Ipa| (other.0 != *at).then(|| walk.memory.get(&other.0).copied())?;
            prop_assert_eq!(walk.registers.level(va, Ipa(0xfff), read), *level);
        }
    }

    /// Whatever the registers and the memory hold, it ends, with no more than five reads, all of them aligned.
    #[test]
    fn anything_ends(control: u64, roots: [u64; 2], va: u64, page: u64, big_endian: bool, words: [u64; 7]) {
        let reads = core::cell::Cell::new(0);
        let read = |at: Ipa| {
            assert!(at.0.is_multiple_of(8) && at.0 < 1 << 52);
            reads.set(reads.get() + 1);
            let word = words[(at.0 / 8 % 7) as usize] | 0b11;
            Some(if big_endian { word.swap_bytes() } else { word })
        };
        let level = Stage1 { control, roots, big_endian }.level(va, Ipa(page), read);
        prop_assert!((-1..=3).contains(&level) && reads.get() <= 5);
    }
}

#[test]
fn a_walk_that_has_ended_meanwhile_is_told_where_it_ends() {
    let registers = Stage1 { control: 25 | 25 << 16, roots: [0x1000, 0], big_endian: false };
    for descriptor in [0, 0b01] {
        assert_eq!(registers.level(0, Ipa(0x7000), |_| Some(descriptor)), 1);
        assert_eq!(
            registers.level(0, Ipa(0x7000), |at| Some(if at.0 < 0x2000 { 0x2003 } else { descriptor })),
            2
        );
    }
}
