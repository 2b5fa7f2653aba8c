// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All that the hypervisor knows once it has booted. Built once, then read by every CPU.

use crate::alive::BoardWatchdog;
use crate::cpu::Cpu;
use crate::entropy::{Pool, Random};
use crate::partition::Partition;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bulkhead_plan::partition::Policy;
use bulkhead_platform::firmware::Firmware;
use bulkhead_platform::gic::InterruptController;
use bulkhead_platform::power::Power;
use bulkhead_types::{IntId, Trigger};
use spin::Once;

/// The board as it runs, and the partitions on it.
pub struct System {
    /// The partitions, in the order of [`bulkhead_types::PartitionId`].
    pub partitions: Vec<Partition>,
    /// The CPUs, in the order of [`bulkhead_types::CpuIndex`].
    pub cpus: Vec<Cpu>,
    /// The interrupt controller.
    pub controller: InterruptController,
    /// The private interrupt by which list registers ask for more.
    pub maintenance: IntId,
    /// The private interrupt of EL2's own timer, if the board has one.
    pub timer: Option<IntId>,
    /// The private interrupts that the hypervisor keeps for itself, a bit each.
    pub kept: u32,
    /// The console's interrupt, if it has one.
    pub console: Option<(IntId, Trigger)>,
    /// What the plan says of the hypervisor itself.
    pub policy: Policy,
    /// The firmware.
    pub firmware: Firmware,
    /// What powers the board off.
    pub power: Power,
    /// The board's watchdog, if the hypervisor runs it.
    pub watchdog: Option<BoardWatchdog>,
    /// Random numbers for guests that ask by call.
    pub random: Random,
    /// The bundle, which a restart loads images from again.
    pub bundle: &'static [u8],
    /// Where seeds for guests come from, if the board has entropy.
    pub entropy: Option<Pool>,
}

impl System {
    /// Whether the hypervisor keeps an interrupt for itself.
    #[inline(always)]
    pub fn keeps(&self, id: IntId) -> bool {
        match id.is_private() {
            true => self.kept >> id.get() & 1 != 0,
            false => self.console.is_some_and(|(console, _)| console == id),
        }
    }
}

static SYSTEM: Once<&'static System> = Once::new();

/// Publishes the system. Boot only, once.
pub fn publish(system: System) -> &'static System {
    SYSTEM.call_once(|| Box::leak(Box::new(system)))
}

/// The system, from any CPU that booted.
#[inline]
pub fn get() -> &'static System {
    match SYSTEM.get() {
        Some(system) => system,
        // CPUs other than the first are started after it was published, and guests after that.
        None => crate::panic::stop("a CPU runs before the system is built"),
    }
}
