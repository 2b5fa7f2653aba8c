// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts that wait for a list register, in order of priority.

use super::bits::{Bits, bit};
use bulkhead_types::IntId;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const LEVELS: usize = 32;
const WORDS: usize = 32;

/// The interrupts of one vCPU that are pending and deliverable but in no list register.
///
/// Ordered by the top five bits of the priority, which is what every virtual CPU interface tells
/// apart (IHI 0069, "Interrupt prioritization"), then by interrupt ID. Each operation takes a bounded, small number of
/// steps, however many interrupts wait.
///
/// Only the vCPU's own CPU uses it; the atomics make it shareable, not synchronised.
pub(super) struct Queue {
    /// Which levels have an entry.
    levels: AtomicU32,
    /// For each level, which words have an entry.
    words: [AtomicU32; LEVELS],
    bits: [[AtomicU32; WORDS]; LEVELS],
}

const fn level(priority: u8) -> u32 {
    (priority >> 3) as u32
}

fn set(word: &AtomicU32, mask: u32) {
    word.store(word.load(Relaxed) | mask, Relaxed);
}

/// Clears the bits; tells whether none is left.
fn clear(word: &AtomicU32, mask: u32) -> bool {
    let left = word.load(Relaxed) & !mask;
    word.store(left, Relaxed);
    left == 0
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            levels: AtomicU32::new(0),
            words: [const { AtomicU32::new(0) }; LEVELS],
            bits: [const { [const { AtomicU32::new(0) }; WORDS] }; LEVELS],
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.levels.load(Relaxed) == 0
    }

    /// Puts the interrupt in. It must not be in it already, at any priority.
    #[inline]
    pub(super) fn insert(&self, id: IntId, priority: u8) {
        let (level, word) = (level(priority), id.get() >> 5);
        let Some(bits) = self.bits.get(level as usize).and_then(|bits| bits.get(word as usize)) else {
            return;
        };
        set(bits, bit(id.get()));
        if let Some(words) = self.words.get(level as usize) {
            set(words, bit(word));
        }
        set(&self.levels, bit(level));
    }

    /// Takes the interrupt out, wherever it is.
    #[inline]
    pub(super) fn remove(&self, id: IntId) {
        let word = id.get() >> 5;
        for level in Bits(self.levels.load(Relaxed)) {
            let Some(words) = self.words.get(level as usize) else { return };
            if words.load(Relaxed) & bit(word) == 0 {
                continue;
            }
            let Some(bits) = self.bits.get(level as usize).and_then(|bits| bits.get(word as usize)) else {
                return;
            };
            if bits.load(Relaxed) & bit(id.get()) == 0 {
                continue;
            }
            if clear(bits, bit(id.get())) && clear(words, bit(word)) {
                clear(&self.levels, bit(level));
            }
            return;
        }
    }

    /// The interrupt of the highest priority, which stays in.
    #[inline]
    pub(super) fn best(&self) -> Option<IntId> {
        let levels = self.levels.load(Relaxed);
        let level = if levels == 0 { return None } else { levels.trailing_zeros() as usize };
        let word = self.words.get(level)?.load(Relaxed).trailing_zeros();
        let number = self.bits.get(level)?.get(word as usize)?.load(Relaxed).trailing_zeros();
        IntId::new(word.wrapping_mul(32).wrapping_add(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn drain(queue: &Queue) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(id) = queue.best() {
            queue.remove(id);
            order.push(id.get());
        }
        order
    }

    #[test]
    fn highest_priority_then_lowest_id() {
        let queue = Queue::new();
        for (id, priority) in [(40, 0xa0), (1019, 0x08), (3, 0xa0), (33, 0xf8), (900, 0xa0)] {
            queue.insert(IntId::new(id).unwrap(), priority);
        }
        assert_eq!(drain(&queue), [1019, 3, 40, 900, 33]);
        assert!(queue.is_empty());
    }

    #[test]
    fn removing_finds_the_interrupt_at_any_level() {
        let queue = Queue::new();
        queue.insert(IntId::new(40).unwrap(), 0xa0);
        queue.insert(IntId::new(41).unwrap(), 0xa0);
        queue.remove(IntId::new(40).unwrap());
        queue.remove(IntId::new(77).unwrap());
        assert_eq!(drain(&queue), [41]);
    }
}
