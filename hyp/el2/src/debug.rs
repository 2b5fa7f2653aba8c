// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The debug registers of this CPU: for a guest whose OS lock is locked, and to clear them before a start.

use crate::registers::isb;
use crate::{read_register, write_register};
use bulkhead_machine::sysreg::{DebugRegisters, Register};

/// This CPU's. No debug exception is taken at EL2: MDCR_EL2.TDE is 0 (Arm ARM, D2.4).
pub struct OwnRegisters;

/// `dbgbvr<n>_el1` and its like, by number.
macro_rules! numbered {
    ($number:expr, $($n:literal)*; $each:ident $arguments:tt; $otherwise:expr) => {
        match $number { $($n => $each!($n $arguments),)* _ => $otherwise }
    };
}
macro_rules! read_numbered {
    ($n:literal ($name:literal)) => {
        read_register!(concat!("dbg", $name, $n, "_el1"))
    };
}
macro_rules! write_numbered {
    ($n:literal ($name:literal, $value:ident)) => {
        core::arch::asm!(concat!("msr dbg", $name, $n, "_el1, {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}
macro_rules! read_family {
    ($n:expr, $name:literal) => { numbered!($n, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; read_numbered ($name); 0) };
}
macro_rules! write_family {
    ($n:expr, $name:literal, $value:ident) => {
        numbered!($n, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; write_numbered ($name, $value); ())
    };
}

impl DebugRegisters for OwnRegisters {
    #[inline(never)]
    fn read(&self, register: Register) -> u64 {
        match register.fields() {
            [2, 0, 0, n, 4] => read_family!(n, "bvr"),
            [2, 0, 0, n, 5] => read_family!(n, "bcr"),
            [2, 0, 0, n, 6] => read_family!(n, "wvr"),
            [2, 0, 0, n, 7] => read_family!(n, "wcr"),
            [2, 0, 0, 0, 2] => read_register!("osdtrrx_el1"),
            [2, 0, 0, 3, 2] => read_register!("osdtrtx_el1"),
            [2, 0, 0, 2, 0] => read_register!("mdccint_el1"),
            [2, 0, 0, 2, 2] => read_register!("mdscr_el1"),
            [2, 0, 1, 0, 0] => read_register!("mdrar_el1"),
            [2, 0, 1, 1, 4] => read_register!("oslsr_el1"),
            [2, 0, 7, 8, 6] => read_register!("dbgclaimset_el1"),
            [2, 0, 7, 9, 6] => read_register!("dbgclaimclr_el1"),
            [2, 0, 7, 14, 6] => read_register!("dbgauthstatus_el1"),
            [2, 3, 0, 1, 0] => read_register!("mdccsr_el0"),
            [2, 3, 0, 4, 0] => read_register!("dbgdtr_el0"),
            [2, 3, 0, 5, 0] => read_register!("dbgdtrrx_el0"),
            _ => 0,
        }
    }

    #[inline(never)]
    fn write(&self, register: Register, value: u64) {
        // SAFETY: the caller names registers that this CPU has. They match what a guest executes or carry its words to a
        // debugger; the CPU's OS lock is open, so that none of them controls EL2 (`clear`).
        unsafe {
            match register.fields() {
                [2, 0, 0, n, 4] => write_family!(n, "bvr", value),
                [2, 0, 0, n, 5] => write_family!(n, "bcr", value),
                [2, 0, 0, n, 6] => write_family!(n, "wvr", value),
                [2, 0, 0, n, 7] => write_family!(n, "wcr", value),
                [2, 0, 0, 0, 2] => write_register!("osdtrrx_el1", value),
                [2, 0, 0, 3, 2] => write_register!("osdtrtx_el1", value),
                [2, 0, 0, 2, 0] => write_register!("mdccint_el1", value),
                [2, 0, 0, 2, 2] => write_register!("mdscr_el1", value),
                [2, 0, 7, 8, 6] => write_register!("dbgclaimset_el1", value),
                [2, 0, 7, 9, 6] => write_register!("dbgclaimclr_el1", value),
                [2, 3, 0, 4, 0] => write_register!("dbgdtr_el0", value),
                [2, 3, 0, 5, 0] => write_register!("dbgdtrtx_el0", value),
                _ => {}
            }
        }
    }

    fn trap(&self, on: bool) {
        const TDA: u64 = 1 << 9;
        let control = read_register!("mdcr_el2");
        // SAFETY: decides whether the guest's accesses to debug registers come to EL2. In effect with the return to it.
        unsafe { write_register!("mdcr_el2", if on { control | TDA } else { control & !TDA }) };
    }
}

/// Clears this CPU's debug registers and opens its OS lock, for ever: while it is locked, MDSCR_EL1 and OSECCR_EL1 write
/// EDSCR and EDECCR, which act at EL2 (Arm ARM, MDSCR_EL1, OSECCR_EL1). So they are cleared under the lock.
pub fn clear() {
    // SAFETY: no guest runs on this CPU; EL2 uses none of these registers.
    unsafe {
        write_register!("oslar_el1", 1);
        isb();
        write_register!("mdscr_el1", 0);
        write_register!("oseccr_el1", 0);
        isb();
        write_register!("oslar_el1", 0);
        write_register!("osdlr_el1", 0);
        write_register!("mdccint_el1", 0);
        write_register!("dbgclaimclr_el1", 0xff);
        write_register!("osdtrrx_el1", 0);
        write_register!("osdtrtx_el1", 0);
    }
    // BRPs and WRPs of ID_AA64DFR0_EL1: the last breakpoint and watchpoint.
    let debug = read_register!("id_aa64dfr0_el1");
    for (last, value, control) in [((debug >> 12 & 0xf) as u8, 4, 5), ((debug >> 20 & 0xf) as u8, 6, 7)] {
        for n in 0..=last {
            OwnRegisters.write(Register::new(2, 0, 0, n, control), 0);
            OwnRegisters.write(Register::new(2, 0, 0, n, value), 0);
        }
    }
    isb();
}
