// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Physical memory that nobody owns yet, and finding frames in it.

use alloc::vec::Vec;

use crate::sorted::sort_by_key;
use bulkhead_types::{Hpa, PAGE_SIZE, Range, align_down, align_up};

/// The sizes of blocks that stage 2 can map at once with 4 KiB pages (Arm ARM, D8.3), largest first.
const BLOCKS: [u64; 3] = [1 << 30, 2 << 20, PAGE_SIZE];

/// Free ranges: page-aligned, ascending, disjoint, none empty.
#[derive(Clone, Debug)]
pub(super) struct Free(Vec<Range<Hpa>>);

/// Which memory is better than other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Better {
    /// From this address on: what is below is for devices that reach no further.
    From(Hpa),
    /// Below this address.
    Below(Hpa),
}

impl Better {
    fn is(self, range: Range<Hpa>) -> bool {
        match self {
            Self::From(limit) => range.start() >= limit,
            Self::Below(limit) => range.start() < limit,
        }
    }
}

impl Free {
    /// What of `banks` (ascending, disjoint) no range in `taken` touches.
    pub(super) fn new(banks: &[Range<Hpa>], mut taken: Vec<Range<Hpa>>) -> Self {
        taken.retain(|range| !range.is_empty());
        taken.iter_mut().for_each(|range| *range = range.page_aligned());
        sort_by_key(&mut taken, |range| range.start().0);
        let mut free = Vec::with_capacity(banks.len().saturating_add(taken.len()));
        for bank in banks {
            // A page that RAM fills only in part is not used.
            let Some(mut start) = align_up(bank.start().0, PAGE_SIZE) else { continue };
            let end = align_down(bank.end().0, PAGE_SIZE);
            for range in taken.iter().filter(|range| range.overlaps(bank)) {
                push(&mut free, start, range.start().0.min(end));
                start = start.max(range.end().0);
            }
            push(&mut free, start, end);
        }
        Self(free)
    }

    /// Bytes that are free.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(Range::size).fold(0, u64::saturating_add)
    }

    /// The free ranges.
    pub(super) fn ranges(&self) -> &[Range<Hpa>] {
        &self.0
    }

    /// Takes all that is left.
    pub(super) fn take_everything(&mut self) -> Vec<Range<Hpa>> {
        core::mem::take(&mut self.0)
    }

    /// Takes exactly these frames; false if not all of them are free.
    pub(super) fn take_exactly(&mut self, wanted: Range<Hpa>) -> bool {
        let Some(place) = self.0.iter().position(|range| range.covers(&wanted)) else { return false };
        self.remove(place, wanted);
        true
    }

    /// Takes frames back.
    pub(super) fn give(&mut self, frames: Range<Hpa>) {
        let place = self.0.partition_point(|range| range.start() < frames.start());
        self.0.insert(place, frames);
    }

    /// Finds frames for `size` bytes that a guest sees at `guest`: in one piece if one is free, and so
    /// that guest and physical addresses agree below the largest block that the guest range holds.
    /// Without such a piece, in several. `None`, and nothing taken, if there is not so much.
    pub(super) fn take(&mut self, size: u64, guest: u64, better: Better) -> Option<Vec<Range<Hpa>>> {
        let end = guest.checked_add(size)?;
        let holds =
            |block: &u64| align_up(guest, *block).is_some_and(|start| start.saturating_add(*block) <= end);
        for block in BLOCKS.into_iter().filter(holds) {
            if let Some(frames) = self.take_piece(size, guest, block, better) {
                return Some(alloc::vec![frames]);
            }
        }
        if self.total() < size { None } else { self.take_pieces(size, guest, better) }
    }

    /// One piece, congruent with `guest` modulo `block`, from the smallest free range that has it, a better one first.
    fn take_piece(&mut self, size: u64, guest: u64, block: u64, better: Better) -> Option<Range<Hpa>> {
        let fits = self.0.iter().enumerate().filter_map(|(place, range)| {
            let start = congruent(range.start().0, guest, block)?;
            let piece = Range::<Hpa>::new(Hpa(start), size)?;
            range.covers(&piece).then_some((range.size(), place, piece))
        });
        let (_, place, piece) = fits.min_by_key(|(size, _, piece)| rank(!better.is(*piece), *size))?;
        self.remove(place, piece);
        Some(piece)
    }

    /// Several pieces, always the largest that is left, better ones first.
    fn take_pieces(&mut self, size: u64, guest: u64, better: Better) -> Option<Vec<Range<Hpa>>> {
        let before = self.0.clone();
        let mut pieces = Vec::new();
        let mut left = size;
        while left > 0 {
            let at = guest.saturating_add(size.saturating_sub(left));
            let Some((place, piece)) = self.largest_piece(left, at, better) else {
                self.0 = before;
                return None;
            };
            self.remove(place, piece);
            left = left.saturating_sub(piece.size());
            pieces.push(piece);
        }
        Some(pieces)
    }

    fn largest_piece(&self, limit: u64, guest: u64, better: Better) -> Option<(usize, Range<Hpa>)> {
        let [_, block, page] = BLOCKS;
        [block, page].into_iter().find_map(|block| {
            // From the highest, so that of equal ones the lowest is taken.
            let pieces = self.0.iter().enumerate().rev().filter_map(|(place, range)| {
                let start = congruent(range.start().0, guest, block)?;
                let room = align_down(range.end().0.checked_sub(start)?, block);
                let piece = Range::<Hpa>::new(Hpa(start), room.min(limit))?;
                (!piece.is_empty()).then_some((place, piece))
            });
            pieces.max_by_key(|(_, piece)| rank(better.is(*piece), piece.size()))
        })
    }

    fn remove(&mut self, place: usize, taken: Range<Hpa>) {
        let Some(range) = self.0.get(place).copied() else { return };
        let mut rest = Vec::with_capacity(2);
        push(&mut rest, range.start().0, taken.start().0);
        push(&mut rest, taken.end().0, range.end().0);
        self.0.splice(place..=place, rest);
    }
}

/// By a yes or no, and where that is the same by the size, which is below 2^63 in any physical address space.
fn rank(is_so: bool, size: u64) -> u64 {
    u64::from(is_so) << 63 | size
}

/// The first address from `start` that equals `guest` modulo `block`, a power of two.
fn congruent(start: u64, guest: u64, block: u64) -> Option<u64> {
    let distance = guest.wrapping_sub(start) & block.wrapping_sub(1);
    start.checked_add(distance)
}

fn push(ranges: &mut Vec<Range<Hpa>>, start: u64, end: u64) {
    let range = end.checked_sub(start).and_then(|size| Range::<Hpa>::new(Hpa(start), size));
    ranges.extend(range.filter(|range| !range.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const ANYWHERE: Better = Better::From(Hpa(0));

    fn range(start: u64, size: u64) -> Range<Hpa> {
        Range::<Hpa>::new(Hpa(start), size).unwrap()
    }

    fn free(taken: &[Range<Hpa>]) -> Free {
        Free::new(&[range(0x4000_0000, 0x8000_0000)], taken.to_vec())
    }

    #[test]
    fn what_is_taken_is_not_free() {
        let free = free(&[range(0x4000_0800, 0x1000), range(0x4000_1000, 0x10), range(0x5000_0000, 0x1000)]);
        assert_eq!(free.ranges(), [range(0x4000_2000, 0xfff_e000), range(0x5000_1000, 0x6fff_f000)]);
    }

    #[test]
    fn frames_are_congruent_with_the_guest() {
        let mut free = free(&[range(0x4000_0000, 0x8_0000)]);
        assert_eq!(
            free.take(0x2000_0000, 0x4000_0000, ANYWHERE),
            Some(vec![range(0x4020_0000, 0x2000_0000)])
        );
        assert_eq!(
            free.take(0x4000_0000, 0x4000_0000, ANYWHERE),
            Some(vec![range(0x8000_0000, 0x4000_0000)])
        );
        assert_eq!(free.take(0x1000, 0x4000_3000, ANYWHERE), Some(vec![range(0x4008_0000, 0x1000)]));
    }

    #[test]
    fn memory_in_pieces_is_found_if_there_is_enough() {
        let mut free = free(&[range(0x6000_0000, 0x1000), range(0x9000_0000, 0x1000)]);
        let pieces = free.take(0x6000_0000, 0x4000_0000, ANYWHERE).unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.iter().map(Range::size).sum::<u64>(), 0x6000_0000);
        assert!(pieces.iter().all(|piece| piece.start().is_aligned(2 << 20)));
        let total = free.total();
        assert_eq!(free.take(0x4000_0000, 0x4000_0000, ANYWHERE), None);
        assert_eq!(free.total(), total);
    }

    #[test]
    fn only_free_frames_are_taken_exactly() {
        let mut free = free(&[]);
        assert!(free.take_exactly(range(0x5000_0000, 0x1000)));
        assert!(!free.take_exactly(range(0x4fff_f000, 0x2000)));
        assert!(!free.take_exactly(range(0, 0x1000)));
        free.give(range(0x5000_0000, 0x1000));
        assert_eq!((free.total(), free.ranges()[1]), (0x8000_0000, range(0x5000_0000, 0x1000)));
    }
}
