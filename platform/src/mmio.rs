// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device registers in memory.

/// A block of device registers, mapped for as long as the hypervisor runs.
///
/// Accesses are volatile, of one instruction each and of the size that the method's name tells.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: usize,
    size: usize,
}

macro_rules! access {
    ($read:ident, $write:ident, $type:ty) => {
        /// Reads the register at `offset`.
        #[inline(always)]
        #[must_use]
        pub fn $read(self, offset: usize) -> $type {
            let address = self.address(offset, size_of::<$type>());
            // SAFETY: `address` is inside the block, as driver tables are (asserted in debug builds), which `new`'s caller promised to be
            // mapped as device registers. Volatile: the device sees each read.
            unsafe { core::ptr::read_volatile(core::ptr::with_exposed_provenance::<$type>(address)) }
        }

        /// Writes the register at `offset`.
        #[inline(always)]
        pub fn $write(self, offset: usize, value: $type) {
            let address = self.address(offset, size_of::<$type>());
            // SAFETY: as for reading; what a write does to the device is the driver's business, and
            // `new`'s caller promised that no device in the block can write to memory Rust uses.
            unsafe { core::ptr::write_volatile(core::ptr::with_exposed_provenance_mut(address), value) }
        }
    };
}

impl Registers {
    /// The registers at `base..base + size`.
    ///
    /// # Safety
    /// The block is mapped as Device memory from now on and for ever, holds registers and no memory
    /// that Rust knows of, and writing to them makes no device overwrite such memory.
    #[must_use]
    pub const unsafe fn new(base: usize, size: usize) -> Self {
        Self { base, size }
    }

    access!(read8, write8, u8);
    access!(read32, write32, u32);
    access!(read64, write64, u64);

    /// The part of the block from `offset`, `size` bytes or as many as are left.
    #[must_use]
    pub fn part(self, offset: usize, size: usize) -> Self {
        let offset = offset.min(self.size);
        Self { base: self.base + offset, size: size.min(self.size - offset) }
    }

    /// Where the register at `offset` is. Only a driver's mistake can be out of range, never a
    /// guest's access: drivers take register numbers from their own tables.
    #[inline(always)]
    fn address(self, offset: usize, size: usize) -> usize {
        debug_assert!(offset.is_multiple_of(size) && offset + size <= self.size);
        self.base.wrapping_add(offset)
    }
}

/// Registers that are memory, for tests of drivers.
#[cfg(test)]
pub(crate) mod fake {
    use super::Registers;
    use crate::serial::{Model, Serial};
    use core::cell::UnsafeCell;

    /// `N` registers of 32 bits.
    pub struct Fake<const N: usize>(UnsafeCell<[u32; N]>);

    impl<const N: usize> Fake<N> {
        /// All zero.
        pub const fn new() -> Self {
            Self(UnsafeCell::new([0; N]))
        }

        /// What a driver is given. The test keeps the `Fake` for longer.
        pub fn registers(&self) -> Registers {
            // SAFETY: memory that lives as long as the test and is only reached by volatile accesses.
            unsafe { Registers::new(self.0.get().expose_provenance(), N * 4) }
        }

        /// A port with these registers.
        pub fn port(&self, model: &'static Model) -> Serial {
            // SAFETY: as for `registers`.
            unsafe { Serial::new(model, self.0.get().expose_provenance()) }
        }

        /// What a driver wrote.
        pub fn get(&self, offset: usize) -> u32 {
            self.registers().read32(offset)
        }

        /// What a driver will read.
        pub fn set(&self, offset: usize, value: u32) {
            self.registers().write32(offset, value);
        }
    }
}
