// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An SError: pending while it is masked, kept by a CPU that is to power down, taken once. A debugger makes it out of the
//! HVC that waits for it: QEMU has no device that would.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::power::call;
use guest_runtime::{println, read_register, smp};

use crate::report::Report;

const CPU_SUSPEND: u32 = 0xc400_0001;
const SYSTEM_SUSPEND: u32 = 0xc400_000e;
const POWER_DOWN: u64 = 1 << 16;
/// ISR_EL1.A.
const PENDING: u64 = 1 << 8;
/// ESR_EL1.EC of an SError, with IL.
const SERROR: u64 = 0x2f << 26 | 1 << 25;

fn is_pending() -> bool {
    read_register!("isr_el1") & PENDING != 0
}

/// Takes what is pending, and masks SErrors again.
fn take() -> Option<u64> {
    // SAFETY: the vectors are in place.
    let (_, taken) =
        attempt(|| unsafe { asm!("msr daifclr, #4", "isb", "msr daifset, #4", options(nostack)) });
    taken.map(|taken| taken.esr)
}

pub fn probe(report: &mut Report) {
    // SAFETY: masks SErrors.
    unsafe { asm!("msr daifset, #4", options(nostack)) };
    report.equal("serror_before", (is_pending(), take()), (false, None));
    println!("errors: waiting");
    while !is_pending() {
        // SAFETY: a call that nobody serves.
        unsafe {
            asm!("hvc #0x5e", inout("x0") 0_u64 => _, out("x1") _, out("x2") _, out("x3") _, options(nostack))
        };
    }
    // SAFETY: an entry where nothing waits, so a CPU that did power down would not come back here.
    let suspended = unsafe { call(CPU_SUSPEND, POWER_DOWN, smp::entry_address(), 0) };
    report.equal("serror_keeps_a_cpu_from_power_down", (suspended, is_pending()), (0, true));
    // SAFETY: as above.
    let suspended = unsafe { call(SYSTEM_SUSPEND, smp::entry_address(), 0, 0) };
    report.equal("serror_keeps_the_system_from_suspend", (suspended, is_pending()), (0, true));
    // With RAS the syndrome is the one that EL2 was given, which here is the HVC's.
    let has_ras = read_register!("id_aa64pfr0_el1") >> 28 & 0xf != 0;
    report.equal("serror_taken", take(), Some(SERROR | if has_ras { 0x5e } else { 0 }));
    report.equal("serror_taken_once", (is_pending(), take()), (false, None));
}
