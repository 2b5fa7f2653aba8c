// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The distributor's frame, in both versions.

use super::bits::{bit, byte};
use super::registers::Register;
use super::state::unpack_affinity;
use super::state::{LOOK_AT_ALL, has};
use super::{AccessSize, Fault, Hardware, Local, Version};
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// GICD_CTLR.RWP.
const WRITE_PENDING: u64 = 1 << 31;
/// GICD_CTLR.DS and ARE: one security state, affinity routing always on.
const FIXED: u64 = 1 << 6 | 1 << 4;
/// GICD_IIDR and GICR_IIDR: Arm, GIC-500 r0p0.
const IMPLEMENTER: u32 = 0x43b;
/// GICD_IIDR for GICv2: Arm, GIC-400 r0p1.
const IMPLEMENTER_V2: u32 = 0x0200_143b;
/// GICD_TYPER: Affinity 3 may be nonzero, ten bits of interrupt ID, message-based SPIs; no affinity 0 is above 15 (RSS).
const TYPE: u32 = 1 << 24 | 9 << 19 | 1 << 16;

/// GICD_TYPER and GICD_IIDR of a GIC with so many vCPUs and banks of shared interrupts.
pub(super) fn identity(version: Version, vcpus: usize, banks: usize) -> (u32, u32) {
    match version {
        Version::V2 => ((vcpus.wrapping_sub(1) as u32 & 7) << 5 | banks as u32, IMPLEMENTER_V2),
        Version::V3 => (TYPE | banks as u32, IMPLEMENTER),
    }
}

impl<H: Hardware> Local<'_, H> {
    #[inline]
    pub(super) fn read_distributor(&self, offset: u64, size: AccessSize) -> Result<u64, Fault> {
        if offset >= 0x1_0000 {
            return Err(Fault);
        }
        let offset = offset as u32;
        match size {
            AccessSize::Word if offset < 0x1000 => Ok(self.read_word(offset)),
            AccessSize::Word => Ok(self.read_high(offset) & 0xffff_ffff),
            AccessSize::Double if offset >= 0x6000 => Ok(self.read_router(offset)),
            AccessSize::Byte => match Register::at(offset) {
                register @ Register::Priority(_) if offset < 0x1000 => {
                    let word = self.read_register(register);
                    Ok(u64::from(byte(word as u32, offset & 3)))
                }
                _ => Ok(0),
            },
            _ => Ok(0),
        }
    }

    #[inline]
    fn read_word(&self, offset: u32) -> u64 {
        let register = Register::at(offset);
        match register {
            Register::Control => {
                let pending = self.gic.unsettled.load(SeqCst) != 0;
                FIXED | u64::from(self.gic.groups.load(Relaxed)) | if pending { WRITE_PENDING } else { 0 }
            }
            Register::Type => u64::from(self.gic.type_register),
            Register::Implementer => u64::from(self.gic.implementer),
            _ => self.read_register(register),
        }
    }

    /// Registers of shared interrupts. With affinity routing, private ones' are in the redistributor.
    fn read_register(&self, register: Register) -> u64 {
        match register {
            Register::Bits(field, word @ 1..) => {
                self.word(word).map_or(0, |target| self.read_bits(&target, field))
            }
            Register::Priority(n @ 8..) => {
                self.word(n >> 3).map_or(0, |target| self.read_priority(&target, n))
            }
            Register::Config(n @ 2..) => self.word(n >> 1).map_or(0, |target| self.read_config(&target, n)),
            _ => 0,
        }
    }

    fn read_high(&self, offset: u32) -> u64 {
        match offset {
            0x6000..0x8000 => self.read_router(offset & !7).wrapping_shr((offset & 4) << 3),
            0xffd0.. => self.gic.identification((offset & 0x3f).wrapping_sub(0x10), false),
            _ => 0,
        }
    }

    fn router(offset: u32) -> Option<IntId> {
        if !(0x6100..0x8000).contains(&offset) { None } else { IntId::new((offset & 0x1fff) >> 3) }
    }

    fn read_router(&self, offset: u32) -> u64 {
        let id = Self::router(offset);
        let Some((id, spi, bank)) = id.and_then(|id| self.shared(id)) else { return 0 };
        let any = if has(&bank.one_of_n, bit(id.get())) { 1 << 31 } else { 0 };
        unpack_affinity(spi.route.load(SeqCst)) | any
    }

    #[inline]
    pub(super) fn write_distributor(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), Fault> {
        if offset >= 0x1_0000 {
            return Err(Fault);
        }
        let offset = offset as u32;
        match size {
            AccessSize::Word if offset < 0x1000 => {
                self.write_word(Register::at(offset), value as u32, u32::MAX)
            }
            AccessSize::Word | AccessSize::Double => {
                let mask = if size == AccessSize::Double { u64::MAX } else { 0xffff_ffff };
                let shift = if size == AccessSize::Double { 0 } else { (offset & 4) << 3 };
                if let Some(id) = Self::router(offset) {
                    self.write_router(id, value.wrapping_shl(shift), mask.wrapping_shl(shift));
                }
            }
            AccessSize::Half => match Register::at(offset) {
                register @ (Register::SetSpi | Register::ClearSpi) if offset & !8 == 0x40 => {
                    self.message(value & 0xffff, register == Register::SetSpi);
                }
                _ => {}
            },
            AccessSize::Byte => match Register::at(offset) {
                register @ Register::Priority(_) if offset < 0x1000 => {
                    let shift = (offset & 3) << 3;
                    self.write_word(
                        register,
                        (value as u32).wrapping_shl(shift),
                        0xffu32.wrapping_shl(shift),
                    );
                }
                _ => {}
            },
        }
        Ok(())
    }

    #[inline]
    fn write_word(&self, register: Register, value: u32, mask: u32) {
        match register {
            Register::Bits(field, word @ 1..) => {
                if let Some(target) = self.word(word) {
                    self.write_bits(&target, field, value, mask);
                }
            }
            Register::Priority(n @ 8..) => {
                if let Some(target) = self.word(n >> 3) {
                    self.write_priority(&target, n, value, mask);
                }
            }
            Register::Config(n @ 2..) => {
                if let Some(target) = self.word(n >> 1) {
                    self.write_config(&target, n, value, mask);
                }
            }
            Register::Control => self.write_control(value, mask),
            Register::SetSpi => self.message(u64::from(value), true),
            Register::ClearSpi => self.message(u64::from(value), false),
            _ => {}
        }
    }

    /// The group enables. What is in list registers must leave them when its group closes, and what waits
    /// must come when it opens, on every vCPU.
    fn write_control(&self, value: u32, mask: u32) {
        let old = self.gic.groups.load(SeqCst);
        let new = (old & !mask | value & mask) & 3;
        if old == new {
            return;
        }
        self.gic.set_groups(new);
        for n in self.gic.numbered().map(|(n, _)| n).filter(|&n| n != self.me) {
            self.gic.call(n, LOOK_AT_ALL, self.hw);
        }
        self.look_at_all();
        self.refill();
    }

    /// GICv2: any width, in parts or pairs of words.
    pub(super) fn read_distributor_v2(&self, offset: u64, size: AccessSize) -> Result<u64, Fault> {
        if offset >= 0x1000 {
            return Err(Fault);
        }
        let offset = offset as u32;
        let word = self.read_word_v2(offset & !3);
        Ok(match size {
            AccessSize::Double => word | self.read_word_v2(offset | 4).wrapping_shl(32),
            AccessSize::Word => word,
            AccessSize::Half => word.wrapping_shr((offset & 2) << 3) & 0xffff,
            AccessSize::Byte => word.wrapping_shr((offset & 3) << 3) & 0xff,
        })
    }

    fn read_word_v2(&self, offset: u32) -> u64 {
        match Register::at(offset) {
            Register::Control => u64::from(self.gic.groups.load(Relaxed)),
            Register::Type => u64::from(self.gic.type_register),
            Register::Implementer => u64::from(self.gic.implementer),
            Register::Bits(field, word) => self.word(word).map_or(0, |target| self.read_bits(&target, field)),
            Register::Priority(n) => self.word(n >> 3).map_or(0, |target| self.read_priority(&target, n)),
            Register::Config(n) => self.word(n >> 1).map_or(0, |target| self.read_config(&target, n)),
            Register::Targets(n) => self.read_targets(n),
            Register::ClearSgiPending(n) | Register::SetSgiPending(n) => {
                self.serve();
                self.sgi_senders(n)
            }
            Register::Other if offset >= 0xfd0 => {
                self.gic.identification((offset & 0x3f).wrapping_sub(0x10), false)
            }
            _ => 0,
        }
    }

    /// A byte for each of four interrupts. Private ones show the reader (IHI 0048, GICD_ITARGETSR).
    fn read_targets(&self, n: u32) -> u64 {
        if self.gic.vcpus.len() == 1 {
            return 0;
        }
        if n < 8 {
            return u64::from(bit(u32::from(self.me)) & 0xff).wrapping_mul(0x0101_0101);
        }
        let route = |k: u32| {
            let shared = IntId::new(n << 2 | k).and_then(|id| self.shared(id));
            shared.map_or(0, |(_, spi, _)| spi.route.load(SeqCst).wrapping_shl(k << 3))
        };
        u64::from(route(0) | route(1) | route(2) | route(3))
    }

    /// GICv2: any width, in parts or pairs of words.
    pub(super) fn write_distributor_v2(
        &self,
        offset: u64,
        size: AccessSize,
        value: u64,
    ) -> Result<(), Fault> {
        if offset >= 0x1000 {
            return Err(Fault);
        }
        let offset = offset as u32;
        let shift = (offset & 3) << 3;
        let mask = match size {
            AccessSize::Byte => 0xffu32.wrapping_shl(shift),
            AccessSize::Half => 0xffffu32.wrapping_shl(shift),
            AccessSize::Word | AccessSize::Double => u32::MAX,
        };
        self.write_word_v2(offset & !3, (value as u32).wrapping_shl(shift), mask);
        if size == AccessSize::Double {
            self.write_word_v2(offset | 4, (value >> 32) as u32, u32::MAX);
        }
        Ok(())
    }

    fn write_word_v2(&self, offset: u32, value: u32, mask: u32) {
        let register = Register::at(offset);
        match register {
            Register::Sgi if mask == u32::MAX => self.send_sgi_v2(value),
            Register::Bits(field, 0) => {
                if let Some(target) = self.word(0) {
                    self.write_bits(&target, field, value & mask, mask);
                }
            }
            Register::Priority(n @ ..8) => {
                if let Some(target) = self.word(0) {
                    self.write_priority(&target, n, value, mask);
                }
            }
            Register::Config(n @ ..2) => {
                if let Some(target) = self.word(0) {
                    self.write_config(&target, n, value, mask);
                }
            }
            Register::Targets(n @ 8..) => self.write_targets(n << 2, value, mask),
            Register::ClearSgiPending(n) => self.clear_sgi_senders(n, value & mask),
            Register::SetSgiPending(n) => self.set_sgi_senders(n, value & mask),
            Register::SetSpi | Register::ClearSpi => {}
            _ => self.write_word(register, value, mask),
        }
    }
}
