// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts as the Generic Interrupt Controller numbers them.

use core::fmt;

/// A GIC interrupt ID: 0 to 15 software generated, 16 to 31 private to a CPU, 32 to 1019 shared
/// (IHI 0069, "INTIDs"). Not the SPI number of a device tree, which counts from 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntId(u16);

impl IntId {
    /// The first shared interrupt.
    pub const FIRST_SHARED: u16 = 32;
    /// One more than the last shared interrupt.
    pub const END_SHARED: u16 = 1020;

    /// The interrupt with this ID, or `None` for a special or reserved ID.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id < Self::END_SHARED as u32 { Some(Self(id as u16)) } else { None }
    }

    /// Software generated interrupt `number`; only the low four bits count.
    #[must_use]
    pub const fn sgi(number: u8) -> Self {
        Self((number & 0xf) as u16)
    }

    /// Private peripheral interrupt `number`, 0 to 15; only the low four bits count.
    #[must_use]
    pub const fn ppi(number: u8) -> Self {
        Self(16 + (number & 0xf) as u16)
    }

    /// Shared peripheral interrupt `number`, counted as device trees do.
    #[must_use]
    pub fn spi(number: u32) -> Option<Self> {
        number.checked_add(u32::from(Self::FIRST_SHARED)).and_then(Self::new)
    }

    /// The ID.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Whether every CPU has an interrupt of its own under this ID.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 < Self::FIRST_SHARED
    }

    /// Whether software generates it.
    #[must_use]
    pub const fn is_sgi(self) -> bool {
        self.0 < 16
    }
}

impl fmt::Debug for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntId({})", self.0)
    }
}

impl fmt::Display for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What makes an interrupt pending.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// A change of the line.
    Edge,
    /// The line for as long as it is asserted.
    Level,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_ids_are_no_interrupts() {
        assert_eq!(IntId::new(1020), None);
        assert_eq!(IntId::spi(1), IntId::new(33));
        assert_eq!(IntId::spi(u32::MAX), None);
        assert_eq!(IntId::ppi(11).get(), 27);
    }
}
