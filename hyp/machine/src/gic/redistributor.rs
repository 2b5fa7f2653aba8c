// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The redistributors' frames (GICv3). Each vCPU can reach every one.

use super::state::{BUSY, WANTED, pack_affinity};
use super::{Hardware, Local};
use bulkhead_types::VcpuId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// GICR_CTLR.RWP.
const WRITE_PENDING: u64 = 1 << 3;
/// GICR_WAKER.ProcessorSleep, and ChildrenAsleep, which follows at once.
const PROCESSOR_SLEEP: u64 = 1 << 1;
const CHILDREN_ASLEEP: u64 = 1 << 2;
/// GICR_TYPER.Last.
const LAST: u64 = 1 << 4;

impl<H: Hardware> Local<'_, H> {
    pub(super) fn read_redistributor(&self, owner: u16, offset: u32) -> u64 {
        let Some(vcpu) = self.gic.vcpu(owner) else { return 0 };
        match offset {
            0x00 if vcpu.attention.load(SeqCst) & (WANTED | BUSY) != 0 => WRITE_PENDING,
            0x04 => u64::from(self.gic.implementer),
            0x08 => self.redistributor_type(owner) & 0xffff_ffff,
            0x0c => self.redistributor_type(owner) >> 32,
            0x14 if vcpu.asleep.load(SeqCst) => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            0xffd0..=0xffff => self.gic.identification(offset, true),
            _ => 0,
        }
    }

    /// GICR_TYPER: affinity, number, and whether it is the last. No LPIs.
    fn redistributor_type(&self, owner: u16) -> u64 {
        let affinity = pack_affinity(VcpuId(owner).mpidr().affinity());
        let is_last = usize::from(owner).wrapping_add(1) == self.gic.vcpus.len();
        u64::from(affinity) << 32 | u64::from(owner) << 8 | if is_last { LAST } else { 0 }
    }

    pub(super) fn write_redistributor(&self, owner: u16, offset: u32, value: u32) {
        if let (0x14, Some(vcpu)) = (offset, self.gic.vcpu(owner)) {
            vcpu.asleep.store(u64::from(value) & PROCESSOR_SLEEP != 0, Relaxed);
        }
    }
}
