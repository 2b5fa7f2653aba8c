// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The register map that distributors of both versions and the redistributor's SGI_base share
//! (IHI 0069 and IHI 0048, the registers' own pages), and reads of the banks.

use super::bits::{Bits, bit};
use super::hardware::confined;
use super::state::{TOLD_ACTIVE, TOLD_PENDING, has};
use super::writes::Target;
use super::{AccessSize, Fault, Frame, Gic, Hardware, Local, SHADOW_ID, Seat, Version};
use bulkhead_types::{IntId, VcpuId};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A family of registers with a bit for each interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// What stands at an offset. Numbers count registers from the family's first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    Control,
    Type,
    Implementer,
    SetSpi,
    ClearSpi,
    Bits(Field, u32),
    Priority(u32),
    Targets(u32),
    Config(u32),
    Router,
    Sgi,
    ClearSgiPending(u32),
    SetSgiPending(u32),
    Other,
}

impl Register {
    /// The register that holds the byte at `offset` of a distributor.
    #[inline]
    pub(super) const fn at(offset: u32) -> Self {
        let field = match offset >> 7 {
            0 => {
                return match offset >> 2 {
                    0 => Self::Control,
                    1 => Self::Type,
                    2 => Self::Implementer,
                    0x10 => Self::SetSpi,
                    0x12 => Self::ClearSpi,
                    _ => Self::Other,
                };
            }
            1 => Field::Group,
            2 => Field::SetEnable,
            3 => Field::ClearEnable,
            4 => Field::SetPending,
            5 => Field::ClearPending,
            6 => Field::SetActive,
            7 => Field::ClearActive,
            8..=15 => return Self::Priority((offset & 0x3ff) >> 2),
            16..=23 => return Self::Targets((offset & 0x3ff) >> 2),
            24 | 25 => return Self::Config((offset & 0xff) >> 2),
            30 => {
                return match offset >> 4 {
                    0xf0 if offset & 0xc == 0 => Self::Sgi,
                    0xf1 => Self::ClearSgiPending((offset & 0xf) >> 2),
                    0xf2 => Self::SetSgiPending((offset & 0xf) >> 2),
                    _ => Self::Other,
                };
            }
            194..=255 => return Self::Router,
            _ => return Self::Other,
        };
        Self::Bits(field, (offset & 0x7f) >> 2)
    }

    /// Which 32 interrupts it has the state of, if it has of any.
    const fn word(self) -> Option<u32> {
        match self {
            Self::Bits(_, word) => Some(word),
            Self::Priority(n) => Some(n >> 3),
            Self::Config(n) => Some(n >> 1),
            _ => None,
        }
    }
}

/// The frame that an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Distributor,
    /// Whose.
    Redistributor(u16),
}

impl Place {
    /// The register that holds the byte at `offset`, of those that a distributor has: SGI_base, from 0x10000 in a
    /// redistributor, has them for private interrupts.
    #[inline(always)]
    const fn register(self, offset: u32) -> Register {
        match (self, offset) {
            (Self::Distributor, _) => Register::at(offset),
            (Self::Redistributor(_), 0x1_0000..0x1_1000) => Register::at(offset & 0xfff),
            _ => Register::Other,
        }
    }
}

/// Which of GICD_ISENABLER<1> to <31> is at the offset, if one is: what guests write at each start of a device.
#[must_use]
#[inline(always)]
pub const fn enable_register(offset: u64) -> Option<u32> {
    if offset.wrapping_sub(0x104) < 0x7c && offset & 3 == 0 { Some((offset >> 2 & 31) as u32) } else { None }
}

/// As [`enable_register`], of GICD_ICENABLER.
#[must_use]
#[inline(always)]
pub const fn disable_register(offset: u64) -> Option<u32> {
    enable_register(offset.wrapping_sub(0x80))
}

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

    /// The guest writes to GICD_ISENABLER of `word`: see [`enable_register`].
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

    pub(super) fn read_bits(&self, target: &Target<'_>, field: Field) -> u64 {
        let bank = target.bank;
        let value = match field {
            Field::Group => bank.group.load(Relaxed),
            Field::SetEnable | Field::ClearEnable => bank.enabled.load(Relaxed),
            Field::SetPending | Field::ClearPending => self.read_pending(target),
            Field::SetActive | Field::ClearActive => self.read_active(target),
        };
        u64::from(value & target.valid)
    }

    pub(super) fn read_priority(&self, target: &Target<'_>, register: u32) -> u64 {
        let word = target.bank.priority.get((register & 7) as usize);
        word.map_or(0, |word| u64::from(word.load(Relaxed)))
    }

    fn read_pending(&self, target: &Target<'_>) -> u32 {
        if target.owner == self.me {
            self.serve();
        }
        let bank = target.bank;
        let dropped = bank.drop_pending.load(SeqCst);
        let mut pending = bank.latch.load(SeqCst)
            | bank.raise.load(SeqCst)
            | self.listed_elsewhere(target, TOLD_PENDING)
            | self.listed_bits(target, |value| value.is_pending());
        if target.owner != self.me {
            pending |= self.gic.vcpu(target.owner).map_or(0, |owner| owner.inbox.load(SeqCst));
        }
        let owned = bank.owned.load(Relaxed);
        let mut lines = bank.levels();
        if owned != 0 {
            let physical = owned & self.hw.pending(VcpuId(target.owner), target.word as usize);
            pending |= physical;
            lines |= physical & !bank.edge.load(SeqCst);
        }
        (pending & !dropped) | lines
    }

    fn read_active(&self, target: &Target<'_>) -> u32 {
        let bank = target.bank;
        let active = bank.active.load(SeqCst)
            | bank.activate.load(SeqCst)
            | self.listed_elsewhere(target, TOLD_ACTIVE)
            | self.listed_bits(target, |value| value.is_active());
        active & !bank.drop_active.load(SeqCst)
    }

    /// The interrupts of the bank in this vCPU's list registers for which `test` holds.
    fn listed_bits(&self, target: &Target<'_>, test: impl Fn(super::ListRegister) -> bool) -> u32 {
        if target.owner != self.me {
            return 0;
        }
        let lists = self.lists_of(target.word).filter(|&(n, _)| test(self.hw.read_list(n)));
        lists.fold(0, |found, (_, mask)| found | mask)
    }

    /// The interrupts of the word in this vCPU's list registers.
    pub(super) fn listed_of(&self, word: u32) -> u32 {
        self.lists_of(word).fold(0, |found, (_, mask)| found | mask)
    }

    /// The list registers with interrupts of the word, and the bit of each.
    fn lists_of(&self, word: u32) -> impl Iterator<Item = (usize, u32)> {
        let used =
            Bits(self.used_lists()).map(|n| (n as usize, u32::from(self.shadow(n as usize) & SHADOW_ID)));
        used.filter(move |(_, id)| id >> 5 == word).map(|(n, id)| (n, bit(id)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_that_of_the_specification() {
        use Register::*;
        for (offset, register) in [
            (0x000, Control),
            (0x004, Type),
            (0x008, Implementer),
            (0x00c, Other),
            (0x040, SetSpi),
            (0x048, ClearSpi),
            (0x050, Other),
            (0x080, Bits(Field::Group, 0)),
            (0x0fc, Bits(Field::Group, 31)),
            (0x104, Bits(Field::SetEnable, 1)),
            (0x180, Bits(Field::ClearEnable, 0)),
            (0x200, Bits(Field::SetPending, 0)),
            (0x280, Bits(Field::ClearPending, 0)),
            (0x300, Bits(Field::SetActive, 0)),
            (0x3fc, Bits(Field::ClearActive, 31)),
            (0x400, Priority(0)),
            (0x7f8, Priority(254)),
            (0x820, Targets(8)),
            (0xbf8, Targets(254)),
            (0xc00, Config(0)),
            (0xcfc, Config(63)),
            (0xd00, Other),
            (0xe00, Other),
            (0xf00, Sgi),
            (0xf04, Other),
            (0xf10, ClearSgiPending(0)),
            (0xf2c, SetSgiPending(3)),
            (0xf30, Other),
            (0xffc, Other),
            (0x60fc, Other),
            (0x6100, Router),
            (0x7fdc, Router),
            (0x8000, Other),
        ] {
            assert_eq!(Register::at(offset), register, "{offset:#x}");
        }
        let of_redistributor =
            [0x400, 0x1_0400, 0x1_6100].map(|offset| Place::Redistributor(0).register(offset));
        assert_eq!(of_redistributor, [Other, Priority(0), Other]);
    }
}
