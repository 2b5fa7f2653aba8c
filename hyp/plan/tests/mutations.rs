// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damaged input, through the same functions as at boot: errors, never a panic.
//!
//! `BULKHEAD_MUTATIONS` sets how many of each kind are tried, 10,000 unless told.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::early::Outline;
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::{NodeId, Tree};
use bulkhead_types::PAGE_SIZE;
use support::{
    board, device_overlay, own_tree, primary_overlay, small_bundle, small_bundle_with, taken, tree_overlay,
};

/// All that boot does with the two blobs. Whether the plan came out.
fn boot(board: &[u8], bundle: &[u8]) -> bool {
    if let Some(outline) = Outline::new(board) {
        let _ = (outline.console(), outline.cpu_count(), outline.bundle());
        let taken: Vec<_> = taken().into_iter().map(|(range, _)| range).collect();
        let free = outline.free_range(&taken, 2 << 20, PAGE_SIZE);
        assert!(free.is_none_or(|free| taken.iter().all(|taken| !taken.overlaps(&free))));
    }
    let Ok(bundle) = Bundle::parse(bundle, software_crc32) else { return false };
    match plan_board(board, &bundle, taken()) {
        Ok(planned) => {
            support::assert_disjoint(&planned);
            true
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            let _ = errors.to_string();
            false
        }
    }
}

/// Numbers that look random and are the same every time (Knuth's linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }

    /// Damages `bytes` in one to four places.
    fn damage(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        const WORDS: [u32; 10] = [0, 1, 2, 3, 4, 9, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX];
        for _ in 0..=self.below(4) {
            if bytes.len() < 8 {
                return bytes;
            }
            let at = self.below(bytes.len() - 7);
            let word = at & !3;
            match self.below(8) {
                0 | 1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = self.below(256) as u8,
                3 | 4 => bytes[word..word + 4].copy_from_slice(&WORDS[self.below(WORDS.len())].to_be_bytes()),
                5 => {
                    let from = self.below(bytes.len() - 7) & !3;
                    bytes.copy_within(from..from + 4, word);
                }
                6 => drop(bytes.drain(word..word + 4)),
                _ if self.below(4) == 0 => bytes.truncate(at),
                _ => {
                    let copy = bytes[word..word + 4].to_vec();
                    bytes.splice(word..word, copy);
                }
            }
        }
        bytes
    }
}

fn rounds() -> u64 {
    std::env::var("BULKHEAD_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// Corrects the size in a blob's header, so that damage further in is reached.
fn resize(mut blob: Vec<u8>) -> Vec<u8> {
    let size = (blob.len() as u32).to_be_bytes();
    if let Some(field) = blob.get_mut(4..8) {
        field.copy_from_slice(&size);
    }
    blob
}

/// The overlays that are damaged: between them they use every property.
fn overlays() -> [Vec<u8>; 2] {
    [device_overlay(), primary_overlay()]
}

#[test]
fn the_undamaged_input_is_planned() {
    for overlay in overlays() {
        assert!(boot(&board(3), &small_bundle(overlay.clone())));
        assert!(boot(&board(2), &small_bundle_with(overlay, tree_overlay())));
    }
}

#[test]
fn damaged_bundles() {
    let (board, bundles) = (board(3), overlays().map(small_bundle));
    for bundle in bundles {
        let good =
            (0..rounds() / 2).filter(|seed| boot(&board, &Random(*seed).damage(bundle.clone()))).count();
        assert!(good > 0, "no damage is harmless: that cannot be");
    }
}

#[test]
fn damaged_overlays_with_the_right_hash() {
    let board = board(3);
    for overlay in overlays() {
        let good = (0..rounds() / 2)
            .filter(|seed| boot(&board, &small_bundle(resize(Random(*seed).damage(overlay.clone())))))
            .count();
        assert!(good > 0, "no damage is harmless: that cannot be");
    }
}

#[test]
fn damaged_trees_of_guests_with_the_right_hash() {
    let (board, overlay) = (board(3), primary_overlay());
    for tree in [own_tree(), tree_overlay()] {
        let damaged = |seed: u64| resize(Random(seed).damage(tree.clone()));
        let good = (0..rounds() / 4)
            .filter(|seed| boot(&board, &small_bundle_with(overlay.clone(), damaged(*seed))))
            .count();
        assert!(good > 0, "no damage is harmless: that cannot be");
    }
}

#[test]
fn damaged_boards() {
    for bundle in overlays().map(small_bundle) {
        for gic in [2, 3] {
            let board = board(gic);
            for seed in 0..rounds() / 4 {
                boot(&resize(Random(seed).damage(board.clone())), &bundle);
            }
        }
    }
}

#[test]
fn random_bytes() {
    let (board, bundle) = (board(2), small_bundle(device_overlay()));
    for seed in 0..rounds() {
        let mut random = Random(seed);
        let size = random.below(512);
        let bytes: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
        assert!(!boot(&board, &bytes));
        assert!(!boot(&bytes, &bundle));
    }
}

#[test]
fn every_cut_is_refused() {
    let (board, bundle) = (board(3), small_bundle(device_overlay()));
    for size in 0..bundle.len() {
        assert!(!boot(&board, &bundle[..size]), "{size} bytes");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| {
        let mut tree = Tree::new();
        (0..depth).fold(NodeId::ROOT, |parent, _| tree.add_node(parent, "a"));
        tree.to_blob()
    };
    let read = |depth| Tree::parse(&nested(depth), "tree").map(drop);
    assert!(read(31).is_ok());
    assert!(read(32).unwrap_err().to_string().contains("deeper than 32"));
    assert!(read(50_000).is_err());
}
