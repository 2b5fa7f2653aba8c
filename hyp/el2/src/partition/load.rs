// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Filling a partition's memory before it starts, through the window of the CPU that does it.

use super::Partition;
use crate::entropy::Pool;
use crate::memory::{self, Window};
use crate::system::{self, System};
use crate::{alive, cpu, interrupts};
use bulkhead_plan::plan::Memory;
use bulkhead_types::{Hpa, Ipa, Range};

/// Puts images and tree in place. A partition that ran before finds its memory zeroed, with no stale line
/// left in the caches that could come back over it; so does one that starts for the first time, unless its
/// configuration leaves it what the firmware did, but for what an ELF file has no bytes for.
pub fn load(partition: &Partition, system: &System, restarted: bool) {
    if !restarted {
        // A guest without caches reads what is in memory, and firmware may have left the bundle in a cache.
        for memory in partition.plan.memory.iter().filter(|memory| memory.in_place) {
            memory::clean(memory.frames.start().0, memory.frames.size());
        }
    }
    if restarted || partition.plan.zero_at_boot {
        for memory in own_memory(partition).filter(|memory| !memory.kept) {
            through_windows(memory.frames, &mut Source::Zeros);
        }
    } else {
        for range in &partition.plan.zeros {
            write(partition, range.start(), range.size(), Source::Zeros);
        }
    }
    for load in &partition.plan.loads {
        let image = system.bundle.get(load.bytes.clone()).unwrap_or_default();
        write(partition, load.to, image.len() as u64, Source::Bytes(image));
    }
    let tree = &partition.plan.tree;
    write(partition, tree.at, tree.blob.len() as u64, Source::Bytes(&tree.blob));
    for seed in [&tree.kaslr_seed, &tree.rng_seed].into_iter().flatten() {
        if let (Some(pool), Some(to)) = (&system.entropy, tree.at.checked_add(seed.start as u64)) {
            write(partition, to, seed.len() as u64, Source::Random(pool));
        }
    }
}

/// What memory is filled with. No closure: that would take its code once for each, or a branch to an address in a
/// register ([`crate::predictor`]).
enum Source<'s> {
    Zeros,
    Bytes(&'s [u8]),
    Random(&'s Pool),
}

impl Source<'_> {
    /// Fills the window with what comes next.
    fn fill(&mut self, window: &mut Window) {
        match self {
            Self::Zeros => window.zero(),
            Self::Bytes(rest) => {
                let bytes = window.bytes();
                if let Some((now, later)) = rest.split_at_checked(bytes.len()) {
                    bytes.copy_from_slice(now);
                    *rest = later;
                }
            }
            Self::Random(pool) => pool.fill(window.bytes()),
        }
    }
}

/// What may be written to: all but the pages of the bundle.
fn own_memory(partition: &Partition) -> impl Iterator<Item = &Memory> {
    partition.plan.memory.iter().filter(|memory| !memory.in_place)
}

/// Fills `size` bytes of guest memory from `at`, piece by piece.
fn write(partition: &Partition, at: Ipa, size: u64, mut source: Source<'_>) {
    let (mut at, mut left) = (at, size);
    while left > 0 {
        let Some(frames) = frames(partition, at, left) else { return };
        through_windows(frames, &mut source);
        left = left.saturating_sub(frames.size());
        at = Ipa(at.0.saturating_add(frames.size()));
    }
}

/// The frames behind `at`, as many of `size` bytes as lie in one piece.
fn frames(partition: &Partition, at: Ipa, size: u64) -> Option<Range<Hpa>> {
    own_memory(partition).find_map(|memory| {
        let offset = at.0.checked_sub(memory.guest.0)?;
        let left = memory.frames.size().checked_sub(offset).filter(|&left| left > 0)?;
        Range::<Hpa>::new(memory.frames.start().checked_add(offset)?, size.min(left))
    })
}

/// Fills `frames`, a window at a time.
#[inline(never)]
fn through_windows(frames: Range<Hpa>, source: &mut Source<'_>) {
    let mut rest = frames;
    while !rest.is_empty() {
        // Zeroing gigabytes takes its time, and this CPU may be the one that takes the console's input.
        let (system, cpu) = (system::get(), cpu::current());
        interrupts::handle_idle(system, cpu);
        alive::come_by(system, cpu);
        // SAFETY: the frames are the partition's, whose vCPUs have all left or not started, and whoever
        // loads it is alone with it; the window before was closed at the end of the last round.
        let Some(mut window) = (unsafe { Window::open(rest) }) else { return };
        source.fill(&mut window);
        let done = window.bytes().len() as u64;
        drop(window);
        rest = rest.split_at(done).1;
    }
}
