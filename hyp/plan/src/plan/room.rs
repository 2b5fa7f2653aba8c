// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Room in a guest's memory: what of it images take, and where there is space for more.

use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Ipa, PAGE_SIZE, Range, align_down};

use super::Memory;
use crate::partition::Access;
use crate::sorted::sort_by_key;

/// Memory as the guest sees it: ascending, disjoint, pieces that touch and have the same rights made one.
pub(crate) fn stretches(memory: &[Memory]) -> Vec<(Range<Ipa>, Access)> {
    let mut pieces: Vec<(Range<Ipa>, Access)> =
        memory.iter().filter_map(|memory| Some((memory.range()?, memory.access))).collect();
    sort_by_key(&mut pieces, |(range, _)| range.start().0);
    let mut stretches: Vec<(Range<Ipa>, Access)> = Vec::with_capacity(pieces.len());
    for (range, access) in pieces {
        match stretches.last_mut() {
            Some((last, rights)) if last.end() == range.start() && *rights == access => {
                let size = last.size().saturating_add(range.size());
                *last = Range::<Ipa>::new(last.start(), size).unwrap_or(*last);
            }
            _ => stretches.push((range, access)),
        }
    }
    stretches
}

/// Memory with things lying in it.
pub(super) struct Room {
    memory: Vec<(Range<Ipa>, Access)>,
    used: Vec<(Range<Ipa>, String)>,
}

impl Room {
    pub(super) fn new(memory: &[Memory]) -> Self {
        let ordinary: Vec<Memory> = memory.iter().filter(|memory| !memory.kept).copied().collect();
        Self { memory: stretches(&ordinary), used: Vec::new() }
    }

    /// The memory range around an address.
    pub(super) fn around(&self, address: Ipa) -> Option<Range<Ipa>> {
        self.memory.iter().map(|(range, _)| *range).find(|range| range.contains(address))
    }

    /// What the guest may do with the memory at an address.
    pub(super) fn access(&self, address: Ipa) -> Option<Access> {
        self.memory.iter().find(|(range, _)| range.contains(address)).map(|(_, access)| *access)
    }

    /// Whether a range lies in memory.
    pub(super) fn covers(&self, wanted: &Range<Ipa>) -> bool {
        self.memory.iter().any(|(range, _)| range.covers(wanted))
    }

    /// Whether a range lies in memory, with nothing in it.
    pub(super) fn is_free(&self, wanted: &Range<Ipa>) -> bool {
        self.covers(wanted) && !self.used.iter().any(|(used, _)| used.overlaps(wanted))
    }

    /// Keeps a range clear, be it memory or not.
    pub(super) fn keep_clear(&mut self, range: Range<Ipa>, what: &str) {
        self.used.push((range, what.into()));
    }

    /// Takes back what was kept clear for this.
    pub(super) fn release(&mut self, what: &str) {
        self.used.retain(|(_, kept)| kept != what);
    }

    /// Where free memory may start: range by range, and behind what lies there.
    pub(super) fn starts(&self) -> impl Iterator<Item = Ipa> {
        let memory = self.memory.iter().map(|(range, _)| range.start());
        memory.chain(self.used.iter().map(|(range, _)| range.end()))
    }

    /// Puts something somewhere. An error is the rule that this breaks.
    pub(super) fn claim(&mut self, wanted: Range<Ipa>, what: &str) -> Result<(), String> {
        if !self.covers(&wanted) {
            return Err(alloc::format!("{what} takes {wanted}, which is not all in the partition's memory"));
        }
        if let Some((range, other)) = self.used.iter().find(|(range, _)| range.overlaps(&wanted)) {
            return Err(alloc::format!("{what} takes {wanted}, where {other} lies ({range})"));
        }
        self.used.push((wanted, what.into()));
        Ok(())
    }

    /// The highest page-aligned place for `size` bytes inside `window` that does not cross a multiple of
    /// `block`, if given. Only in ordinary memory, which the guest may write to and execute from.
    pub(super) fn highest(&self, size: u64, window: Range<Ipa>, block: Option<u64>) -> Option<Range<Ipa>> {
        let size = size.max(1);
        let mut best: Option<Ipa> = None;
        for (memory, _) in self.memory.iter().filter(|(_, access)| *access == Access::ALL) {
            let floor = memory.start().max(window.start());
            let mut top = memory.end().min(window.end()).0;
            // Each round ends below one more thing in the way.
            for _ in 0..=self.used.len() {
                let Some(start) = top.checked_sub(size) else { break };
                let mut start = align_down(start, PAGE_SIZE);
                if let Some(block) = block {
                    let boundary = align_down(start.saturating_add(size.saturating_sub(1)), block);
                    if start < boundary {
                        let Some(below) = boundary.checked_sub(size) else { break };
                        start = align_down(below, PAGE_SIZE);
                    }
                }
                let Some(place) = Range::<Ipa>::new(Ipa(start), size).filter(|place| place.start() >= floor)
                else {
                    break;
                };
                match self.used.iter().find(|(used, _)| used.overlaps(&place)) {
                    Some((used, _)) => top = used.start().0,
                    None => {
                        best = best.max(Some(place.start()));
                        break;
                    }
                }
            }
        }
        Range::<Ipa>::new(best?, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_types::Hpa;

    fn range(start: u64, size: u64) -> Range<Ipa> {
        Range::<Ipa>::new(Ipa(start), size).unwrap()
    }

    fn memory(start: u64, size: u64, access: Access) -> Memory {
        Memory {
            guest: Ipa(start),
            frames: Range::<Hpa>::new(Hpa(start), size).unwrap(),
            access,
            in_place: false,
            kept: false,
        }
    }

    #[test]
    fn the_highest_place_avoids_what_lies_there() {
        let mut room = Room::new(&[
            memory(0x4020_0000, 0x20_0000, Access::ALL),
            memory(0x4000_0000, 0x20_0000, Access::ALL),
        ]);
        let everything = range(0, 1 << 40);
        assert_eq!(room.highest(0x1001, everything, None), Some(range(0x403f_e000, 0x1001)));
        room.claim(range(0x4030_0000, 0x10_0000), "it").unwrap();
        assert_eq!(room.highest(0x10, everything, None), Some(range(0x402f_f000, 0x10)));
        assert_eq!(room.highest(0x18_0000, everything, Some(0x20_0000)), Some(range(0x4008_0000, 0x18_0000)));
        assert_eq!(room.highest(0x40_0000, everything, None), None);
    }

    #[test]
    fn nothing_lies_on_anything_or_outside() {
        let mut room = Room::new(&[memory(0x1000, 0x2000, Access::ALL)]);
        assert!(room.claim(range(0x1000, 0x1001), "a").is_ok());
        assert!(room.claim(range(0x2000, 1), "b").is_err());
        assert!(room.claim(range(0x2800, 0x801), "c").is_err());
    }

    #[test]
    fn nothing_is_put_where_the_guest_may_not_write() {
        let read_only = Access { write: false, execute: true };
        let room = Room::new(&[memory(0x1000, 0x1000, Access::ALL), memory(0x2000, 0x1000, read_only)]);
        assert_eq!(room.highest(0x10, range(0, 1 << 40), None), Some(range(0x1000, 0x10)));
        assert_eq!(room.highest(0x1001, range(0, 1 << 40), None), None);
        assert_eq!(room.access(Ipa(0x2fff)), Some(read_only));
    }
}
