// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How often a vCPU has left, and what for. Its own CPU counts, without a lock; the monitor reads.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted. The first six are counted by the vectors, each exit once; the rest are interrupts, too. What the
/// vectors answer themselves (SMCCC_VERSION) is not counted.
pub const REASONS: [&str; 9] =
    ["calls", "registers", "devices", "other", "interrupts", "errors", "kicks", "refills", "own"];

/// HVC and SMC.
pub const CALLS: usize = 0;
/// System registers and instructions.
pub const REGISTERS: usize = 1;
/// Loads and stores that stage 2 refuses.
pub const DEVICES: usize = 2;
/// Any other synchronous exception.
pub const OTHER: usize = 3;
/// IRQ and FIQ.
pub const INTERRUPTS: usize = 4;
/// SError.
pub const ERRORS: usize = 5;
/// Another CPU called.
pub const KICKS: usize = 6;
/// The list registers ran low.
pub const REFILLS: usize = 7;
/// EL2's timer, and the console.
pub const OWN: usize = 8;

/// A vCPU's counts.
#[derive(Default)]
#[repr(transparent)]
pub struct Counts([AtomicU64; REASONS.len()]);

impl Counts {
    /// One more. On its own CPU.
    pub fn count(&self, reason: usize) {
        if let Some(count) = self.0.get(reason) {
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// All in order.
    pub fn get(&self) -> [u64; REASONS.len()] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}
