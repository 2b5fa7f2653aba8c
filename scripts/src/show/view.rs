// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What all ways of showing a plan have in common: whose each stretch of memory is, and words for numbers.

use crate::check::{self, Examined, Taken};
use bulkhead_plan::Planned;
use bulkhead_plan::board::Board;
use bulkhead_plan::plan::{Memory, Partition, Plan};
use bulkhead_types::{Hpa, Ipa, Range, Trigger};

/// Block sizes of stage 2 with 4 KiB pages (Arm ARM, D8.3), largest first.
pub const BLOCKS: [(u64, &str); 3] = [(1 << 30, "1 GiB"), (2 << 20, "2 MiB"), (4 << 10, "4 KiB")];

/// A plan, and what it was made for.
pub struct View<'v> {
    /// The configuration's name.
    pub title: &'v str,
    /// The board in a few words.
    pub summary: String,
    /// The board.
    pub board: &'v Board,
    /// The plan.
    pub plan: &'v Plan,
    /// What the hypervisor keeps.
    pub taken: &'v [Taken],
}

/// Who has a stretch of the board's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner<'v> {
    /// The partition of that place in the plan, which sees it there.
    Partition(usize, Ipa),
    /// The hypervisor; what it is for.
    Hypervisor(&'v str),
    /// The firmware, or whoever reserved it; who.
    Reserved(&'v str),
    /// Nobody.
    Free,
}

impl<'v> View<'v> {
    /// The view of a plan.
    #[must_use]
    pub fn new(title: &'v str, examined: &'v Examined, planned: &'v Planned) -> Self {
        let summary = check::summary(&examined.board, &planned.board);
        Self { title, summary, board: &planned.board, plan: &planned.plan, taken: &examined.taken }
    }

    /// All of the memory that somebody has or could have, ascending.
    #[must_use]
    pub fn memory(&self) -> Vec<(Range<Hpa>, Owner<'v>)> {
        let mut all: Vec<(Range<Hpa>, Owner<'v>)> = Vec::new();
        for (number, partition) in self.plan.partitions.iter().enumerate() {
            // What is in place is in the bundle, which the hypervisor keeps.
            let pieces = partition.memory.iter().filter(|piece| !piece.in_place);
            all.extend(pieces.map(|piece| (piece.frames, Owner::Partition(number, piece.guest))));
        }
        all.extend(self.taken.iter().map(|(range, what)| (*range, Owner::Hypervisor(what))));
        all.extend(self.plan.reserved.iter().map(|(range, what)| (*range, Owner::Reserved(what))));
        all.extend(self.plan.free.iter().map(|range| (*range, Owner::Free)));
        all.retain(|(range, _)| self.board.memory.iter().any(|bank| bank.overlaps(range)));
        all.sort_by_key(|(range, _)| range.start());
        all
    }

    /// The partition that has a CPU.
    #[must_use]
    pub fn owner_of_cpu(&self, cpu: usize) -> Option<usize> {
        let has = |partition: &Partition| partition.cpus.iter().any(|own| usize::from(own.0) == cpu);
        self.plan.partitions.iter().position(has)
    }
}

/// How many blocks of each of [`BLOCKS`] map a piece of memory: the largest that both addresses allow, as
/// the hypervisor builds its tables.
#[must_use]
pub fn blocks(memory: &Memory) -> [u64; 3] {
    let mut counts = [0; 3];
    let (mut guest, mut physical) = (memory.guest.0, memory.frames.start().0);
    let end = guest.saturating_add(memory.frames.size());
    while guest < end {
        let fits = |(size, _): &(u64, &str)| (guest | physical).is_multiple_of(*size) && end - guest >= *size;
        let place = BLOCKS.iter().position(fits).unwrap_or(BLOCKS.len() - 1);
        counts[place] += 1;
        guest = guest.saturating_add(BLOCKS[place].0);
        physical = physical.saturating_add(BLOCKS[place].0);
    }
    counts
}

/// The blocks in words: `1 x 1 GiB + 3 x 2 MiB`.
#[must_use]
pub fn blocks_in_words(memory: &Memory) -> String {
    let counts = blocks(memory);
    let words = counts.iter().zip(BLOCKS).filter(|(count, _)| **count > 0);
    words.map(|(count, (_, name))| format!("{count} x {name}")).collect::<Vec<_>>().join(" + ")
}

/// A size in the largest unit that divides it; a large one that none does, rounded.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 10 << 20 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// What a guest may not do with a piece of memory, in words; empty if it may do everything.
#[must_use]
pub fn rights(memory: &Memory) -> &'static str {
    match (memory.access.write, memory.access.execute, memory.in_place) {
        (true, true, _) => "",
        (true, false, _) => ", no-execute",
        (false, true, false) => ", read-only",
        (false, false, false) => ", read-only, no-execute",
        (false, true, true) => ", read-only, in the bundle",
        (false, false, true) => ", read-only, no-execute, in the bundle",
    }
}

/// All memory of a partition.
#[must_use]
pub fn total(partition: &Partition) -> u64 {
    partition.memory.iter().map(|memory| memory.frames.size()).sum()
}

/// How many bytes of images are copied into a partition at each of its starts.
#[must_use]
pub fn copied(partition: &Partition) -> u64 {
    partition.loads.iter().map(|load| load.bytes.len() as u64).sum()
}

/// The CPUs of a partition: `0 1`, or `0-7 12`.
#[must_use]
pub fn cpus(partition: &Partition) -> String {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for cpu in partition.cpus.iter().map(|cpu| cpu.0) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |(first, last): &(u16, u16)| match last - first {
        0 => format!("{first}"),
        1 => format!("{first} {last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

/// A trigger in a word.
#[must_use]
pub fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Level => "level",
        Trigger::Edge => "edge",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_plan::plan::Access;

    #[test]
    fn blocks_are_as_large_as_both_addresses_allow() {
        let memory = |guest: u64, start: u64, size: u64| Memory {
            guest: Ipa(guest),
            frames: Range::<Hpa>::new(Hpa(start), size).unwrap(),
            access: Access::ALL,
            in_place: false,
            kept: false,
        };
        assert_eq!(blocks(&memory(0x4000_0000, 0x8000_0000, 1 << 30)), [1, 0, 0]);
        assert_eq!(blocks(&memory(0x4000_0000, 0x8020_0000, 1 << 30)), [0, 512, 0]);
        assert_eq!(blocks(&memory(0x4000_0000, 0x8000_1000, 8192)), [0, 0, 2]);
        let mixed = memory(0x3fdf_f000, 0x7fdf_f000, 0x20_1000 + (1 << 30));
        assert_eq!(blocks_in_words(&mixed), "1 x 1 GiB + 1 x 2 MiB + 1 x 4 KiB");
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [1 << 31, 512 << 20, 4096, 0x20_1000, 34_013_120, 100].map(size);
        assert_eq!(sizes, ["2 GiB", "512 MiB", "4 KiB", "2052 KiB", "32.4 MiB", "100 bytes"]);
    }
}
