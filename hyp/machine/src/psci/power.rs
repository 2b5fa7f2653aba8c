// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a vCPU is on: the one piece of a partition's state that several CPUs change at once.

#[cfg(not(feature = "loom"))]
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::ErrorCode;
use bulkhead_types::Ipa;
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Where a vCPU starts: PC, and the context ID that it finds in x0 (DEN 0022, CPU_ON).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first instruction, a physical address of the guest; its MMU is off.
    pub address: Ipa,
    /// x0.
    pub context: u64,
}

/// What AFFINITY_INFO tells of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// It runs, or waits in a standby or suspended state.
    On,
    /// It does not.
    Off,
    /// CPU_ON was called for it, and it has not yet entered.
    OnPending,
}

const OFF: u8 = 0;
/// One caller of `try_turn_on` is writing the entry.
const CLAIMED: u8 = 1;
const ON_PENDING: u8 = 2;
const ON: u8 = 3;

/// The power state of a vCPU, with its entry while it is on its way up.
///
/// ```text
///        try_turn_on            (entry written)           take_entry
///  Off --------------> claimed ----------------> pending -----------> On
///   ^                                                                  |
///   +------------------------------- turn_off -------------------------+
/// ```
///
/// It begins as off. `try_turn_on` may be called from anywhere; `take_entry` and `turn_off` by the vCPU's own CPU alone.
#[derive(Debug, Default)]
pub struct Power {
    state: AtomicU8,
    address: AtomicU64,
    context: AtomicU64,
}

impl Power {
    /// Has the vCPU start at `entry`. Exactly one of several callers at once succeeds; the vCPU's CPU must
    /// then be told to look.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::AlreadyOn`] or [`ErrorCode::OnPending`] if the vCPU is not off.
    pub fn try_turn_on(&self, entry: Entry) -> Result<(), ErrorCode> {
        // Acquire: the entry is written after the last run's CPU has read its own.
        match self.state.compare_exchange(OFF, CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {
                self.address.store(entry.address.0, Ordering::Relaxed);
                self.context.store(entry.context, Ordering::Relaxed);
                // Release: who sees the state sees the entry.
                self.state.store(ON_PENDING, Ordering::Release);
                Ok(())
            }
            Err(ON) => Err(ErrorCode::AlreadyOn),
            Err(_) => Err(ErrorCode::OnPending),
        }
    }

    /// On the vCPU's CPU: the entry, if the vCPU is to start; it counts as on from here.
    #[must_use]
    pub fn take_entry(&self) -> Option<Entry> {
        if self.state.load(Ordering::Acquire) != ON_PENDING {
            return None;
        }
        let address = Ipa(self.address.load(Ordering::Relaxed));
        let context = self.context.load(Ordering::Relaxed);
        // Nobody else leaves this state, so a plain store is enough.
        self.state.store(ON, Ordering::Release);
        Some(Entry { address, context })
    }

    /// On the vCPU's CPU, once the vCPU has left its last instruction behind: it is off.
    pub fn turn_off(&self) {
        self.state.store(OFF, Ordering::Release);
    }

    /// The state as others see it.
    #[must_use]
    pub fn state(&self) -> PowerState {
        match self.state.load(Ordering::Acquire) {
            OFF => PowerState::Off,
            ON => PowerState::On,
            _ => PowerState::OnPending,
        }
    }
}
