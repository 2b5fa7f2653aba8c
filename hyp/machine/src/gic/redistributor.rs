// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The redistributors' frames (GICv3). Each vCPU can reach every one.

use super::bits::byte;
use super::registers::Register;
use super::state::{BUSY, WANTED, pack_affinity};
use super::writes::Target;
use super::{AccessSize, Fault, Hardware, Local};
use bulkhead_types::VcpuId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// RD_base and SGI_base together.
const FRAME: u64 = 0x2_0000;
/// Where SGI_base begins.
const SGI_BASE: u32 = 0x1_0000;
/// GICR_CTLR.RWP.
const WRITE_PENDING: u64 = 1 << 3;
/// GICR_WAKER.ProcessorSleep, and ChildrenAsleep, which follows at once.
const PROCESSOR_SLEEP: u64 = 1 << 1;
const CHILDREN_ASLEEP: u64 = 1 << 2;
/// GICR_TYPER.Last.
const LAST: u64 = 1 << 4;

/// Splits an offset into the redistributors' region: whose, and where in the frame.
fn split(offset: u64) -> (u16, u32) {
    (u16::try_from(offset >> 17).unwrap_or(u16::MAX), (offset & FRAME.wrapping_sub(1)) as u32)
}

impl<H: Hardware> Local<'_, H> {
    #[inline]
    pub(super) fn read_redistributor(&self, offset: u64, size: AccessSize) -> Result<u64, Fault> {
        let (owner, offset) = split(offset);
        let target = self.private(owner).ok_or(Fault)?;
        Ok(match (offset.checked_sub(SGI_BASE), size) {
            (Some(offset), AccessSize::Word) => self.read_sgi_base(&target, offset),
            (Some(offset), AccessSize::Byte) => match Register::at(offset) {
                Register::Priority(n @ ..8) => {
                    u64::from(byte(self.read_priority(&target, n) as u32, offset & 3))
                }
                _ => 0,
            },
            (None, AccessSize::Word) => self.read_rd_base(target.owner, offset),
            (None, AccessSize::Double) if offset == 8 => self.redistributor_type(target.owner),
            _ => 0,
        })
    }

    fn read_rd_base(&self, owner: u16, offset: u32) -> u64 {
        let Some(vcpu) = self.gic.vcpu(owner) else { return 0 };
        match offset {
            0x00 if vcpu.attention.load(SeqCst) & (WANTED | BUSY) != 0 => WRITE_PENDING,
            0x04 => u64::from(self.gic.implementer),
            0x08 => self.redistributor_type(owner) & 0xffff_ffff,
            0x0c => self.redistributor_type(owner) >> 32,
            0x14 if vcpu.asleep.load(SeqCst) => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            0xffd0..=0xffff => self.gic.identification((offset & 0x3f).wrapping_sub(0x10), true),
            _ => 0,
        }
    }

    /// GICR_TYPER: affinity, number, and whether it is the last. No LPIs.
    fn redistributor_type(&self, owner: u16) -> u64 {
        let affinity = pack_affinity(VcpuId(owner).mpidr().affinity());
        let is_last = usize::from(owner).wrapping_add(1) == self.gic.vcpus.len();
        u64::from(affinity) << 32 | u64::from(owner) << 8 | if is_last { LAST } else { 0 }
    }

    #[inline]
    fn read_sgi_base(&self, target: &Target<'_>, offset: u32) -> u64 {
        match Register::at(offset) {
            Register::Bits(field, 0) => self.read_bits(target, field),
            Register::Priority(n @ ..8) => self.read_priority(target, n),
            Register::Config(n @ ..2) => self.read_config(target, n),
            _ => 0,
        }
    }

    #[inline]
    pub(super) fn write_redistributor(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), Fault> {
        let (owner, offset) = split(offset);
        let target = self.private(owner).ok_or(Fault)?;
        match (offset.checked_sub(SGI_BASE), size) {
            (Some(offset), AccessSize::Word) => {
                self.write_sgi_base(&target, Register::at(offset), value as u32, u32::MAX);
            }
            (Some(offset), AccessSize::Byte) => {
                if let register @ Register::Priority(_) = Register::at(offset) {
                    let shift = (offset & 3) << 3;
                    let mask = 0xffu32.wrapping_shl(shift);
                    self.write_sgi_base(&target, register, (value as u32).wrapping_shl(shift), mask);
                }
            }
            (None, AccessSize::Word) if offset == 0x14 => {
                if let Some(vcpu) = self.gic.vcpu(target.owner) {
                    vcpu.asleep.store(value & PROCESSOR_SLEEP != 0, Relaxed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn write_sgi_base(&self, target: &Target<'_>, register: Register, value: u32, mask: u32) {
        match register {
            Register::Bits(field, 0) => self.write_bits(target, field, value, mask),
            Register::Priority(n @ ..8) => self.write_priority(target, n, value, mask),
            Register::Config(n @ ..2) => self.write_config(target, n, value, mask),
            _ => {}
        }
    }
}
