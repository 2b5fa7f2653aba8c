// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seeds for guests: fresh at every start, none to be guessed from another.

use crate::read_register;
use bulkhead_machine::smccc::Entropy;
use bulkhead_platform::firmware::Firmware;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sha2::{Digest, Sha256};

/// What the firmware and the CPU gave of entropy, condensed, with a counter of what was drawn.
///
/// A draw is SHA-256 over the state, a counter, the time and the CPU's random numbers where it has
/// them: no guest can tell from its own seed the state, nor another's.
pub struct Pool {
    state: [u8; 32],
    drawn: AtomicU64,
}

impl Pool {
    /// A pool over `seeds`, or `None` if there is no entropy at all to fill it from.
    pub fn new(seeds: &[&[u8]]) -> Option<Self> {
        if seeds.iter().all(|seed| seed.is_empty()) && cpu_random().is_none() {
            return None;
        }
        let mut hash = Sha256::new();
        for seed in seeds {
            hash.update(seed);
        }
        for _ in 0..8 {
            hash.update(cpu_random().unwrap_or(0).to_le_bytes());
        }
        Some(Self { state: hash.finalize().into(), drawn: AtomicU64::new(0) })
    }

    /// Fills `out` with bytes that were never given before.
    pub fn fill(&self, out: &mut [u8]) {
        for piece in out.chunks_mut(32) {
            // A number of its own for each block. No lock: partitions that start at once do not wait for each other.
            let drawn = self.drawn.fetch_add(1, Relaxed);
            let block = Sha256::new()
                .chain_update(self.state)
                .chain_update(drawn.to_le_bytes())
                .chain_update(read_register!("cntpct_el0").to_le_bytes())
                .chain_update(cpu_random().unwrap_or(0).to_le_bytes())
                .finalize();
            for (to, from) in piece.iter_mut().zip(block) {
                *to = from;
            }
        }
    }
}

/// The generator behind guests' calls (DEN 0098): the CPU's own, else the firmware's. The pool's seeds are
/// not for this: the interface promises entropy, and a pool that firmware filled once has only so much.
pub enum Random {
    /// FEAT_RNG.
    Cpu,
    /// The firmware's calls.
    Firmware(Firmware),
    /// None.
    Nothing,
}

impl Random {
    /// Asks the CPU, then the firmware.
    pub fn new(firmware: Firmware) -> Self {
        if has_random() {
            Self::Cpu
        } else if firmware.has_random() {
            Self::Firmware(firmware)
        } else {
            Self::Nothing
        }
    }
}

impl Entropy for Random {
    fn is_present(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn random(&self) -> Option<u64> {
        match self {
            Self::Cpu => cpu_random(),
            Self::Firmware(firmware) => firmware.random(),
            Self::Nothing => None,
        }
    }
}

/// ID_AA64ISAR0_EL1.RNDR, bits 63:60.
fn has_random() -> bool {
    read_register!("id_aa64isar0_el1") >> 60 != 0
}

/// A random number of the CPU's own (FEAT_RNG: RNDR), if it has any to give now.
fn cpu_random() -> Option<u64> {
    if !has_random() {
        return None;
    }
    let (value, failed): (u64, u64);
    // SAFETY: FEAT_RNG is there. RNDR (named by encoding) sets Z when it has nothing to give.
    unsafe {
        core::arch::asm!("mrs {value}, s3_3_c2_c4_0", "cset {failed}, eq",
            value = out(reg) value, failed = out(reg) failed, options(nomem, nostack));
    }
    (failed == 0).then_some(value)
}
