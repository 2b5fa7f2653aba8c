// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PSCI through the conduit that the tree names (DEN 0022).

use core::arch::asm;

use smccc::{Hvc, Smc, psci};

use crate::console;
use crate::cpu::wait_for_interrupt;
use crate::machine::Conduit;

/// Calls with x0 to x17 as given and immediate 0, and returns them as they are afterwards.
///
/// # Safety
///
/// The call harms nothing that this program relies on.
#[must_use]
pub unsafe fn call_by(conduit: Conduit, mut registers: [u64; 18]) -> [u64; 18] {
    macro_rules! call {
        ($instruction:literal) => {
            // SAFETY: the caller's promise; all registers that a call may change are named.
            unsafe {
                asm!(
                    $instruction,
                    inout("x0") registers[0],
                    inout("x1") registers[1],
                    inout("x2") registers[2],
                    inout("x3") registers[3],
                    inout("x4") registers[4],
                    inout("x5") registers[5],
                    inout("x6") registers[6],
                    inout("x7") registers[7],
                    inout("x8") registers[8],
                    inout("x9") registers[9],
                    inout("x10") registers[10],
                    inout("x11") registers[11],
                    inout("x12") registers[12],
                    inout("x13") registers[13],
                    inout("x14") registers[14],
                    inout("x15") registers[15],
                    inout("x16") registers[16],
                    inout("x17") registers[17],
                    options(nostack)
                )
            }
        };
    }
    match conduit {
        Conduit::Hvc => call!("hvc #0"),
        Conduit::Smc => call!("smc #0"),
    }
    registers
}

/// Calls by the machine's own conduit, with up to three arguments; returns x0.
///
/// # Safety
///
/// As for [`call_by`].
pub unsafe fn call(function: u32, a: u64, b: u64, c: u64) -> i64 {
    let mut registers = [0; 18];
    registers[..4].copy_from_slice(&[u64::from(function), a, b, c]);
    // SAFETY: the caller's promise.
    let [x0, ..] = unsafe { call_by(crate::conduit().unwrap_or(Conduit::Hvc), registers) };
    x0 as i64
}

/// Powers the machine off. Without PSCI, or if it refuses, waits for ever.
pub fn system_off() -> ! {
    console::flush();
    let _ = match crate::conduit() {
        Some(Conduit::Hvc) => psci::system_off::<Hvc>(),
        Some(Conduit::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    loop {
        wait_for_interrupt();
    }
}

/// Resets the machine. Returns only if PSCI refuses.
pub fn system_reset() {
    console::flush();
    let _ = match crate::conduit() {
        Some(Conduit::Hvc) => psci::system_reset::<Hvc>(),
        Some(Conduit::Smc) => psci::system_reset::<Smc>(),
        None => Ok(()),
    };
}

/// Turns this CPU off. Returns only if PSCI refuses.
pub fn cpu_off() {
    let _ = match crate::conduit() {
        Some(Conduit::Hvc) => psci::cpu_off::<Hvc>(),
        Some(Conduit::Smc) => psci::cpu_off::<Smc>(),
        None => Ok(()),
    };
}
