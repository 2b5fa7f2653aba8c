// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The real-time clock, a device whose interrupt can be caused at a known instruction (PL031, DDI 0224).

use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use guest_runtime::machine::Machine;
use guest_runtime::mmio::{read32, write32};

const DR: usize = 0x00;
/// RTCMR: the alarm.
pub const MR: usize = 0x04;
const IMSC: usize = 0x10;
/// RTCICR: clears the interrupt.
pub const ICR: usize = 0x1c;

/// A PL031.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Its registers.
    pub base: usize,
    /// Its interrupt.
    pub intid: u32,
}

impl Clock {
    /// The one that the tree has under its root.
    pub fn find(machine: &Machine) -> Option<Self> {
        let node = machine.tree.root().children().find(|node| node.is_compatible("arm,pl031"))?;
        let base = node.reg().ok()??.next()?.address::<u64>().ok()?;
        let interrupts = node.property("interrupts")?;
        let [_, number, _] = interrupts.as_prop_encoded_array([1, 1, 1]).ok()?.next()?;
        Some(Self { base: base as usize, intid: number.as_ref().first()?.get() + 32 })
    }

    /// Lets the alarm interrupt, and gives the time now: written to `MR` it raises the alarm at once.
    pub fn arm(self) -> u32 {
        // SAFETY: the tree says that a PL031 is here, and it is this guest's.
        unsafe {
            write32(self.base + IMSC, 1);
            read32(self.base + DR)
        }
    }

    /// No alarm any more.
    pub fn disarm(self) {
        // SAFETY: as in `arm`.
        unsafe {
            write32(self.base + IMSC, 0);
            write32(self.base + ICR, 1);
        }
    }
}
