// SPDX-License-Identifier: Apache-2.0 OR MIT
//! List registers: how a virtual interrupt is handed to the virtual CPU interface.

use bulkhead_types::IntId;
use core::fmt;

/// A list register in the layout of ICH_LRn_EL2 (IHI 0069).
///
/// For GICv2 the fields of GICH_LR (IHI 0048) stand in the same order: bits 41:32 here are its
/// bits 19:10. So bits 34:32 of a software generated interrupt are the CPU that sent it, and bit 41 is
/// its EOI bit.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ListRegister(pub u64);

impl ListRegister {
    /// No interrupt.
    pub const EMPTY: Self = Self(0);
    /// The state bit that says pending.
    pub const PENDING: u64 = 1 << 62;
    /// The state bit that says active.
    pub const ACTIVE: u64 = 1 << 63;
    /// The guest's deactivation also deactivates a physical interrupt.
    pub const HARDWARE: u64 = 1 << 61;
    /// The interrupt is in group 1.
    pub const GROUP1: u64 = 1 << 60;
    /// Deactivation raises the maintenance interrupt. Only where `HARDWARE` is clear.
    pub const END: u64 = 1 << 41;

    /// Whether the interrupt is pending.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// Whether the interrupt is active.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// Whether it is tied to a physical interrupt.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        self.0 & Self::HARDWARE != 0
    }

    /// Whether its end raises the maintenance interrupt.
    #[must_use]
    pub const fn reports_end(self) -> bool {
        !self.is_hardware() && self.0 & Self::END != 0
    }

    /// Whether it is in group 1.
    #[must_use]
    pub const fn is_group1(self) -> bool {
        self.0 & Self::GROUP1 != 0
    }

    /// The virtual interrupt, if the field names one.
    #[must_use]
    pub const fn interrupt(self) -> Option<IntId> {
        IntId::new(self.0 as u32)
    }

    /// The physical interrupt that it is tied to; meaningful where [`Self::is_hardware`].
    #[must_use]
    pub const fn physical(self) -> u32 {
        (self.0 >> 32) as u32 & 0x1fff
    }

    /// The priority: 0 is the highest.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// GICv2: the CPU that sent a software generated interrupt.
    #[must_use]
    pub const fn source(self) -> u8 {
        (self.0 >> 32) as u8 & 7
    }

    /// The same with the given priority.
    #[must_use]
    pub const fn with_priority(self, priority: u8) -> Self {
        Self((self.0 & !(0xff << 48)) | ((priority as u64) << 48))
    }

    /// The same with the given sender (GICv2).
    #[must_use]
    pub const fn with_source(self, source: u8) -> Self {
        Self((self.0 & !(7 << 32)) | (((source & 7) as u64) << 32))
    }

    /// The same with the bits of `mask` set or cleared.
    #[must_use]
    pub const fn with(self, mask: u64, set: bool) -> Self {
        if set { Self(self.0 | mask) } else { Self(self.0 & !mask) }
    }

    /// An interrupt that is neither pending nor active.
    pub(super) const fn idle(id: IntId, priority: u8, group1: bool, hardware: bool) -> Self {
        let mut value = id.get() as u64 | (priority as u64) << 48;
        if group1 {
            value |= Self::GROUP1;
        }
        if hardware {
            value |= Self::HARDWARE | (id.get() as u64) << 32;
        }
        Self(value)
    }
}

impl fmt::Debug for ListRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListRegister({:#018x})", self.0)
    }
}

bitflags::bitflags! {
    /// What shall raise the maintenance interrupt, and what shall trap: the bits of ICH_HCR_EL2
    /// (IHI 0069) and GICH_HCR (IHI 0048) of the same name.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Maintenance: u32 {
        /// UIE: none or one list register holds an interrupt.
        const UNDERFLOW = 1 << 1;
        /// LRENPIE: the guest ended an interrupt that is in no list register.
        const NOT_PRESENT = 1 << 2;
        /// NPIE: no list register holds a pending interrupt.
        const NO_PENDING = 1 << 3;
        /// TDIR, where the CPU has it (ICH_VTR_EL2.TDS): the guest's writes to ICC_DIR_EL1 trap, and go
        /// to `Gic::deactivate`. Without it the interrupt ended is taken to be the active one of the highest
        /// priority among those without a list register, which is exact for guests with EOImode 0.
        const TRAP_DEACTIVATE = 1 << 14;
    }
}
