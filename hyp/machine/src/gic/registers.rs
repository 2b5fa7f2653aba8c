// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads and stores to the frames of the distributor and the redistributors: which register, which interrupts, and
//! whether in this size.

use super::bits::bit;
use super::hardware::confined;
use super::map::{Place, Register};
use super::state::has;
use super::writes::Target;
use super::{AccessSize, Fault, Frame, Gic, Hardware, Local, Seat, Version};
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::Relaxed;

impl<'g> Seat<'g> {
    /// The word at `offset` of the distributor if any vCPU reads it alike and often, without a detour: GICD_TYPER,
    /// GICD_IIDR, and which shared interrupts are enabled.
    #[must_use]
    #[inline(always)]
    pub fn read_constant(self, offset: u64) -> Option<u32> {
        match offset {
            4 => Some(self.gic.type_register),
            8 => Some(self.gic.implementer),
            0x104..0x200 if offset & 3 == 0 => {
                let bank = self.gic.banks.get(((offset >> 2 & 31) as usize).wrapping_sub(1))?;
                Some(bank.enabled.load(Relaxed))
            }
            _ => None,
        }
    }

    /// The guest writes to GICD_ISENABLER of `word`: see [`super::enable_register`].
    #[inline(always)]
    pub fn enable<H: Hardware>(self, word: u32, bits: u32, hw: &'g H) {
        self.with(hw).set_shared_enabled(word, bits, true);
    }

    /// As [`Self::enable`], to GICD_ICENABLER.
    #[inline(always)]
    pub fn disable<H: Hardware>(self, word: u32, bits: u32, hw: &'g H) {
        self.with(hw).set_shared_enabled(word, bits, false);
    }

    /// The guest reads from a frame of its GIC. What a narrow read does not cover is 0.
    ///
    /// # Errors
    /// Unaligned, or outside of the frame: an external abort, as from hardware.
    pub fn read<H: Hardware>(
        self,
        frame: Frame,
        offset: u64,
        size: AccessSize,
        hw: &'g H,
    ) -> Result<u64, Fault> {
        let local = self.with(hw);
        let (place, offset) = local.place(frame, offset, size)?;
        if size == AccessSize::Double && place.register(offset) == Register::Router {
            return Ok(local.read_router(offset));
        }
        let word = local.read_word(place, offset & !3, size);
        Ok(match size {
            AccessSize::Double => word | local.read_word(place, offset | 4, size).wrapping_shl(32),
            _ => word.wrapping_shr((offset & 3) << 3) & size.mask(),
        })
    }

    /// The guest writes to a frame of its GIC. Bits of `value` beyond `size` are ignored.
    ///
    /// # Errors
    /// As for [`Seat::read`].
    pub fn write<H: Hardware>(
        self,
        frame: Frame,
        offset: u64,
        size: AccessSize,
        value: u64,
        hw: &'g H,
    ) -> Result<(), Fault> {
        let local = self.with(hw);
        let (place, offset) = local.place(frame, offset, size)?;
        let shift = (offset & 3) << 3;
        let (low, mask) = (value.wrapping_shl(shift) as u32, size.mask().wrapping_shl(shift) as u32);
        let register = place.register(offset);
        if register == Register::Router && size >= AccessSize::Word {
            // Both halves in one go, if both are written.
            local.write_router_at(offset, value, size.mask());
        } else {
            local.write_word(place, register, offset, size, low, mask);
            if size == AccessSize::Double {
                let (register, high) = (place.register(offset | 4), (value >> 32) as u32);
                local.write_word(place, register, offset | 4, size, high, mask);
            }
        }
        Ok(())
    }
}

impl Gic<'_> {
    /// Whether a register can be accessed in this size: on GICv2 every one in any.
    #[inline]
    fn allows(&self, place: Place, register: Register, offset: u32, size: AccessSize) -> bool {
        match size {
            _ if self.version == Version::V2 => true,
            AccessSize::Byte => matches!(register, Register::Priority(_)),
            AccessSize::Half => matches!(register, Register::SetSpi | Register::ClearSpi),
            AccessSize::Word => true,
            // GICR_TYPER is the only one in its frame.
            AccessSize::Double => match place {
                Place::Distributor => register == Register::Router,
                Place::Redistributor(_) => offset & !4 == 8,
            },
        }
    }

    /// Bytes of the distributor's frame.
    pub(super) fn distributor_size(&self) -> u32 {
        if self.version == Version::V2 { 0x1000 } else { 0x1_0000 }
    }

    /// An identification register, at the end of a frame (IHI 0069, GICD_PIDR4: GIC-500's and GIC-400's, which guests
    /// know).
    pub(super) fn identification(&self, offset: u32, redistributor: bool) -> u64 {
        let part = match (self.version, redistributor) {
            (Version::V2, _) => 0x90,
            (Version::V3, false) => 0x92,
            (Version::V3, true) => 0x93,
        };
        let (continuation, revision) = match self.version {
            Version::V2 => (0x04, 0x2b),
            Version::V3 => (0x44, 0x3b),
        };
        match offset & 0x3f {
            0x10 => continuation,
            0x20 => part,
            0x24 => 0xb4,
            0x28 => revision,
            0x30 => 0x0d,
            0x34 => 0xf0,
            0x38 => 0x05,
            0x3c => 0xb1,
            _ => 0,
        }
    }
}

impl<H: Hardware> Local<'_, H> {
    /// The frame that an access goes to, and where in it.
    #[inline(always)]
    fn place(&self, frame: Frame, offset: u64, size: AccessSize) -> Result<(Place, u32), Fault> {
        if offset & size.bytes().wrapping_sub(1) != 0 {
            return Err(Fault);
        }
        match frame {
            Frame::Distributor if offset < self.gic.distributor_size().into() => {
                Ok((Place::Distributor, offset as u32))
            }
            Frame::Redistributor if self.gic.version == Version::V3 => {
                let owner = u32::try_from(offset >> 17).ok();
                let owner =
                    owner.and_then(|owner| confined::<H>(owner, self.gic.vcpus.len())).ok_or(Fault)?;
                Ok((Place::Redistributor(owner as u16), offset as u32 & 0x1_ffff))
            }
            _ => Err(Fault),
        }
    }

    /// The interrupts that a register in this frame has the state of. With affinity routing, private ones' is in the
    /// redistributor alone.
    #[inline]
    fn target(&self, place: Place, register: Register) -> Option<Target<'_>> {
        match (place, register.word()?) {
            (Place::Redistributor(owner), 0) => self.private(owner),
            (Place::Distributor, 0) if self.gic.version == Version::V3 => None,
            (Place::Distributor, word) => self.word(word),
            (Place::Redistributor(_), _) => None,
        }
    }

    fn read_word(&self, place: Place, offset: u32, size: AccessSize) -> u64 {
        let register = place.register(offset);
        if !self.gic.allows(place, register, offset, size) {
            return 0;
        }
        match (self.target(place, register), place) {
            (Some(target), _) => self.read_state(&target, register),
            (None, Place::Distributor) => self.read_distributor(register, offset),
            (None, Place::Redistributor(owner)) => self.read_redistributor(owner, offset),
        }
    }

    fn write_word(
        &self,
        place: Place,
        register: Register,
        offset: u32,
        size: AccessSize,
        value: u32,
        mask: u32,
    ) {
        if !self.gic.allows(place, register, offset, size) {
            return;
        }
        match (self.target(place, register), place) {
            (Some(target), _) => self.write_state(&target, register, value, mask),
            (None, Place::Distributor) => self.write_distributor(register, value, mask),
            (None, Place::Redistributor(owner)) => self.write_redistributor(owner, offset, value),
        }
    }

    fn read_state(&self, target: &Target<'_>, register: Register) -> u64 {
        match register {
            Register::Bits(field, _) => self.read_bits(target, field),
            Register::Priority(n) => self.read_priority(target, n),
            Register::Config(n) => self.read_config(target, n),
            _ => 0,
        }
    }

    fn write_state(&self, target: &Target<'_>, register: Register, value: u32, mask: u32) {
        match register {
            Register::Bits(field, _) => self.write_bits(target, field, value, mask),
            Register::Priority(n) => self.write_priority(target, n, value, mask),
            Register::Config(n) => self.write_config(target, n, value, mask),
            _ => {}
        }
    }

    /// The word of interrupts that this vCPU reaches through a distributor: private ones are its own.
    #[inline]
    pub(super) fn word(&self, word: u32) -> Option<Target<'_>> {
        let word = confined::<H>(word, self.gic.banks.len().wrapping_add(1))?;
        let bank =
            if word == 0 { &self.this.bank } else { self.gic.banks.get((word as usize).wrapping_sub(1))? };
        Some(Target { owner: self.me, word, bank, valid: self.gic.implemented(word as usize) })
    }

    /// Some vCPU's private interrupts. The vCPU is as [`Local::place`] gives it.
    fn private(&self, owner: u16) -> Option<Target<'_>> {
        let bank = &self.gic.vcpu(owner)?.bank;
        Some(Target { owner, word: 0, bank, valid: u32::MAX })
    }

    /// Message-based interrupts (IHI 0069, GICD_SETSPI_NSR): a message raises or lowers the line of
    /// a level-sensitive interrupt, or adds or removes the pending state of an edge-triggered one.
    pub(super) fn message(&self, value: u32, set: bool) {
        let Some(id) = IntId::new(value & 0x1fff).filter(|id| !id.is_private()) else { return };
        let Some(target) = self.word(id.get() >> 5) else { return };
        let Some(id) = target.id(id.get() & 31) else { return };
        let mask = bit(id.get()) & target.valid;
        if has(&target.bank.owned, mask) || has(&target.bank.edge, mask) {
            if set { self.set_pending(&target, mask) } else { self.clear_pending(&target, mask) }
        } else if mask != 0 {
            self.gic.set_line(Some(self.id()), id, set, self.hw);
        }
    }
}
