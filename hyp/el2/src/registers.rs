// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System registers by the names of the Arm ARM.
//!
//! One way for all of them, rather than a crate for some: EL2 needs many that no crate names
//! (VPIDR_EL2, the PMU's and the debug registers, TLBI operations).

/// Reads a system register. Reads have no effect on memory.
#[macro_export]
macro_rules! read_register {
    ($name:expr) => {{
        let value: u64;
        #[allow(unused_unsafe, reason = "some registers are read where unsafe code writes others")]
        // SAFETY: reading this register at EL2 is allowed where it is written here, and changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register; what that does is told where it is written.
///
/// Unsafe: the caller says why it breaks nothing that Rust relies on.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
    }};
}

/// Waits until earlier changes of system registers are in effect (Arm ARM, B2.6.5).
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until earlier memory accesses and maintenance are complete for the whole system.
#[inline(always)]
pub fn dsb_sy() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
}
