// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The distributor's frame, in both versions.

use super::bits::bit;
use super::map::Register;
use super::state::unpack_affinity;
use super::state::{LOOK_AT_ALL, has};
use super::{Hardware, Local, Version};
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

/// GICD_TYPER and GICD_IIDR of a GIC with so many vCPUs and this ITLinesNumber.
pub(super) fn identity(version: Version, vcpus: usize, lines: usize) -> (u32, u32) {
    match version {
        Version::V2 => ((vcpus.wrapping_sub(1) as u32 & 7) << 5 | lines as u32, IMPLEMENTER_V2),
        Version::V3 => (TYPE | lines as u32, IMPLEMENTER),
    }
}

impl<H: Hardware> Local<'_, H> {
    pub(super) fn read_distributor(&self, register: Register, offset: u32) -> u64 {
        let is_v2 = self.gic.version == Version::V2;
        match register {
            Register::Control => {
                let pending = self.gic.unsettled.load(SeqCst) != 0;
                let more = FIXED | if pending { WRITE_PENDING } else { 0 };
                u64::from(self.gic.groups.load(Relaxed)) | if is_v2 { 0 } else { more }
            }
            Register::Type => u64::from(self.gic.type_register),
            Register::Implementer => u64::from(self.gic.implementer),
            Register::Router => self.read_router(offset & !7).wrapping_shr((offset & 4) << 3) & 0xffff_ffff,
            Register::Targets(n) if is_v2 => self.read_targets(n),
            Register::ClearSgiPending(n) | Register::SetSgiPending(n) if is_v2 => {
                self.serve();
                self.sgi_senders(n)
            }
            Register::Other if offset >= self.gic.distributor_size().wrapping_sub(0x30) => {
                self.gic.identification(offset, false)
            }
            _ => 0,
        }
    }

    fn router(offset: u32) -> Option<IntId> {
        IntId::new((offset & 0x1fff) >> 3)
    }

    /// GICD_IROUTER in one go: a doubleword access is single-copy atomic (IHI 0069, "GIC memory-mapped register access").
    pub(super) fn read_router(&self, offset: u32) -> u64 {
        let Some((id, spi, bank)) = Self::router(offset).and_then(|id| self.shared(id)) else { return 0 };
        let _guard = self.gic.changes.lock();
        let any = if has(&bank.one_of_n, bit(id.get())) { 1 << 31 } else { 0 };
        unpack_affinity(spi.route.load(SeqCst)) | any
    }

    /// GICD_IROUTER in one go, whether it is a half or the whole that is written.
    pub(super) fn write_router_at(&self, offset: u32, value: u64, mask: u64) {
        let shift = (offset & 4) << 3;
        if let Some(id) = Self::router(offset) {
            self.write_router(id, value.wrapping_shl(shift), mask.wrapping_shl(shift));
        }
    }

    pub(super) fn write_distributor(&self, register: Register, value: u32, mask: u32) {
        match (register, self.gic.version) {
            (Register::Control, _) => self.write_control(value, mask),
            (Register::SetSpi, Version::V3) => self.message(value & mask, true),
            (Register::ClearSpi, Version::V3) => self.message(value & mask, false),
            (Register::Sgi, Version::V2) if mask == u32::MAX => self.send_sgi_v2(value),
            (Register::Targets(n @ 8..), Version::V2) => self.write_targets(n << 2, value, mask),
            (Register::ClearSgiPending(n), Version::V2) => self.clear_sgi_senders(n, value & mask),
            (Register::SetSgiPending(n), Version::V2) => self.set_sgi_senders(n, value & mask),
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
}
