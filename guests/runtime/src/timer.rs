// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual timer (Arm ARM, D12).

use crate::{read_register, write_register};

/// Ticks of the counter in a second.
#[must_use]
pub fn frequency() -> u64 {
    read_register!("cntfrq_el0")
}

/// The virtual count now.
#[must_use]
pub fn now() -> u64 {
    // SAFETY: a barrier: the count is not read early.
    unsafe { core::arch::asm!("isb", options(nostack)) };
    read_register!("cntvct_el0")
}

/// Lets the timer interrupt when the count reaches `deadline`.
pub fn set_deadline(deadline: u64) {
    // SAFETY: the virtual timer is this program's own; its interrupt is handled or disabled.
    unsafe {
        write_register!("cntv_cval_el0", deadline);
        write_register!("cntv_ctl_el0", 1);
        core::arch::asm!("isb", options(nostack));
    }
}

/// Stops the timer; its interrupt line falls.
pub fn stop() {
    // SAFETY: as in `set_deadline`.
    unsafe {
        write_register!("cntv_ctl_el0", 0);
        core::arch::asm!("isb", options(nostack));
    }
}

/// Spins for `microseconds`.
pub fn delay(microseconds: u64) {
    let end = now() + frequency() * microseconds / 1_000_000;
    while now() < end {
        core::hint::spin_loop();
    }
}
