// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device registers, one load or store instruction each: no pair, no write-back, nothing that a
//! compiler could merge. A hypervisor that emulates the device gets a valid syndrome.

use core::arch::asm;

macro_rules! access {
    ($read:ident, $load:literal, $write:ident, $store:literal, $type:ty) => {
        #[doc = concat!("Reads a register with one `", $load, "`.")]
        ///
        /// # Safety
        ///
        /// `address` is a device register, or memory, whose read harms nothing.
        #[must_use]
        #[inline]
        pub unsafe fn $read(address: usize) -> $type {
            let value: u64;
            // SAFETY: the caller's promise.
            unsafe { asm!($load, value = out(reg) value, address = in(reg) address, options(nostack)) };
            value as $type
        }

        #[doc = concat!("Writes a register with one `", $store, "`.")]
        ///
        /// # Safety
        ///
        /// `address` is a device register, or memory, whose write harms nothing.
        #[inline]
        pub unsafe fn $write(address: usize, value: $type) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!($store, value = in(reg) u64::from(value), address = in(reg) address, options(nostack))
            };
        }
    };
}

access!(read8, "ldrb {value:w}, [{address}]", write8, "strb {value:w}, [{address}]", u8);
access!(read16, "ldrh {value:w}, [{address}]", write16, "strh {value:w}, [{address}]", u16);
access!(read32, "ldr {value:w}, [{address}]", write32, "str {value:w}, [{address}]", u32);
access!(read64, "ldr {value:x}, [{address}]", write64, "str {value:x}, [{address}]", u64);
