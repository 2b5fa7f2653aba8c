// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Aborts from a guest: what was accessed, how, and why it did not work.

use bulkhead_types::Ipa;

use core::fmt;

use super::{Syndrome, bit, bits};

/// A load, store or fetch that did not work (classes 0x24 and 0x20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What was wrong.
    pub fault: Fault,
    /// The guest's physical address, where HPFAR_EL2 holds one. Byte exact, save for a fault on the
    /// guest's own table walk (`fault.on_walk`), where it is the table's page.
    pub ipa: Option<Ipa>,
    /// The virtual address (FAR_EL2), where it is valid.
    pub va: Option<u64>,
    /// The access in full, where the syndrome is valid (ISV): one general register, no write-back.
    pub access: Option<Access>,
    /// A store, or a cache maintenance instruction that counts as one.
    pub is_write: bool,
    /// A cache maintenance or address translation instruction, not a load or store.
    pub is_maintenance: bool,
}

/// One load or store of one general register, as the syndrome describes it: ESR_EL2.ISS with ISV set.
///
/// Kept as it is read and taken apart where it is needed: most accesses need two or three of its fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Access(u32);

/// The size of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Size {
    /// One byte.
    Byte = 0,
    /// Two bytes.
    Half = 1,
    /// Four bytes.
    Word = 2,
    /// Eight bytes.
    Double = 3,
}

impl Size {
    /// The size of 2 to the power of `bits` bytes, of which the lowest two count.
    #[must_use]
    #[inline(always)]
    pub const fn of_power(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Byte,
            1 => Self::Half,
            2 => Self::Word,
            _ => Self::Double,
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self as u32
    }

    /// Bits of a doubleword that are beyond this size.
    #[inline(always)]
    const fn beyond(self) -> u32 {
        64_u32.wrapping_sub(8 << self as u32)
    }

    /// The bytes of a value of this size in the opposite order.
    #[must_use]
    pub const fn swap_bytes(self, value: u64) -> u64 {
        value.swap_bytes().wrapping_shr(self.beyond())
    }

    /// A value with every bit of this size set.
    #[must_use]
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        u64::MAX.wrapping_shr(self.beyond())
    }

    /// `value` cut to this size, its sign carried to 64 bits.
    #[must_use]
    pub const fn sign_extend(self, value: u64) -> u64 {
        (value.wrapping_shl(self.beyond()) as i64).wrapping_shr(self.beyond()) as u64
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

impl Access {
    /// The access to a page that stage 2 does not map, where the syndrome describes it: what an emulated
    /// device is reached by. `None` for everything else, which [`Abort`] tells apart.
    #[must_use]
    #[inline(always)]
    pub const fn to_device(esr: u64) -> Option<Self> {
        // ISV set; S1PTW clear; DFSC 0b0001xx, a translation fault.
        if bit(esr, 24) && !bit(esr, 7) && esr & 0b11_1100 == 0b00_0100 {
            Some(Self(esr as u32))
        } else {
            None
        }
    }

    /// The access that a valid syndrome would describe with these fields, in the order SAS, SRT, WnR, SSE, SF.
    #[must_use]
    pub const fn new(size: Size, register: u8, is_write: bool, signed: bool, wide: bool) -> Self {
        let flags = (is_write as u32) << 6 | (signed as u32) << 21 | (wide as u32) << 15;
        Self(1 << 24 | (size as u32) << 22 | (register as u32 & 31) << 16 | flags)
    }

    #[inline(always)]
    const fn bit(self, lsb: u32) -> bool {
        bit(self.0 as u64, lsb)
    }

    /// Bytes accessed (SAS, bits 23:22).
    #[must_use]
    #[inline(always)]
    pub const fn size(self) -> Size {
        Size::of_power(self.0 >> 22)
    }

    /// Whether a load extends the sign (SSE, bit 21).
    #[must_use]
    pub const fn sign_extend(self) -> bool {
        self.bit(21)
    }

    /// Whether the register is 64 bits wide (X), not 32 (W) (SF, bit 15).
    #[must_use]
    pub const fn sixty_four(self) -> bool {
        self.bit(15)
    }

    /// The register: 31 is the zero register (SRT, bits 20:16).
    #[must_use]
    #[inline(always)]
    pub const fn register(self) -> u8 {
        (self.0 >> 16 & 31) as u8
    }

    /// Whether the store has release, or the load acquire semantics (AR, bit 14).
    #[must_use]
    pub const fn ordered(self) -> bool {
        self.bit(14)
    }

    /// Whether it is a store (WnR, bit 6).
    #[must_use]
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        self.bit(6)
    }

    /// Whether it is the usual load from a device's register: of a word, into a W or X register as it is.
    #[must_use]
    #[inline(always)]
    pub const fn is_word_load(self) -> bool {
        self.0 & (3 << 22 | 1 << 21 | 1 << 6) == 2 << 22
    }

    /// Whether it is a load of a word or less, as it is.
    #[must_use]
    #[inline(always)]
    pub const fn is_narrow_load(self) -> bool {
        self.0 & (1 << 21 | 1 << 6) == 0 && self.0 & 3 << 22 != 3 << 22
    }

    /// Whether it is a store of a word or less.
    #[must_use]
    #[inline(always)]
    pub const fn is_narrow_store(self) -> bool {
        self.is_write() && self.0 & 3 << 22 != 3 << 22
    }

    /// Whether it is a store of a word.
    #[must_use]
    #[inline(always)]
    pub const fn is_word_store(self) -> bool {
        self.0 & (3 << 22 | 1 << 6) == 2 << 22 | 1 << 6
    }

    /// What the register holds after a load of `value`: cut, extended, and with a W register's upper
    /// half zero.
    #[must_use]
    #[inline(always)]
    pub const fn loaded(self, value: u64) -> u64 {
        let value = value & self.size().mask();
        if self.sign_extend() { self.sign_extended(value) } else { value }
    }

    #[cold]
    const fn sign_extended(self, value: u64) -> u64 {
        let value = self.size().sign_extend(value);
        if self.sixty_four() { value } else { value & 0xffff_ffff }
    }

    /// What a store of a register that holds `value` puts on the bus.
    #[must_use]
    #[inline(always)]
    pub const fn stored(self, value: u64) -> u64 {
        value & self.size().mask()
    }
}

/// What made an access fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fault status code (DFSC, IFSC).
    pub code: u8,
    /// On the walk of the guest's own tables, not on the access itself (S1PTW).
    pub on_walk: bool,
}

impl Fault {
    pub(super) const fn decode(esr: u64) -> Self {
        Self { code: bits(esr, 0, 6) as u8, on_walk: bit(esr, 7) }
    }

    /// Whether nothing is mapped: a translation fault, at any level.
    #[must_use]
    pub const fn is_translation(self) -> bool {
        matches!(self.code, 0x04..=0x07 | 0x2b)
    }

    /// Whether HPFAR_EL2 holds the address: for a translation, address size or access flag fault, and for a permission
    /// fault only where it was on the walk (Arm ARM, D24.2, HPFAR_EL2).
    const fn has_ipa(self) -> bool {
        matches!(self.code, 0x00..=0x0b | 0x29 | 0x2b) || self.on_walk && matches!(self.code, 0x0c..=0x0f)
    }

    /// Whether FAR_EL2 holds the address: always, save for an external abort that says it does not.
    const fn has_va(self, esr: u64) -> bool {
        !(self.code == 0x10 && bit(esr, 10))
    }
}

impl Abort {
    /// ISS of class 0x24: ISV 24, SAS 23:22, SSE 21, SRT 20:16, SF 15, AR 14, FnV 10, CM 8, S1PTW 7,
    /// WnR 6, DFSC 5:0. Class 0x20 has FnV, S1PTW and IFSC in the same places, and zeros in those of the rest.
    pub(super) fn decode(syndrome: &Syndrome) -> Self {
        let esr = syndrome.esr;
        let fault = Fault::decode(esr);
        // HPFAR_EL2.FIPA, bits 43:4, are bits 51:12 of the address.
        let page = bits(syndrome.hpfar, 4, 40) << 12;
        let offset = if fault.on_walk { 0 } else { syndrome.far & 0xfff };
        Self {
            fault,
            ipa: fault.has_ipa().then_some(Ipa(page | offset)),
            va: fault.has_va(esr).then_some(syndrome.far),
            access: bit(esr, 24).then_some(Access(esr as u32)),
            is_write: bit(esr, 6),
            is_maintenance: bit(esr, 8),
        }
    }
}
