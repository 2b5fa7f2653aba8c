// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instructions that are put together at run time: system instructions of every encoding.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::exception::attempt;
use guest_runtime::{cpu, read_register};

use crate::report::Outcome;

/// What an instruction does with the register that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// MSR, SYS.
    Write = 0,
    /// MRS, SYSL.
    Read = 1,
}

/// op0, op1, CRn, CRm and op2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoding(pub [u8; 5]);

impl core::fmt::Display for Encoding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self([op0, op1, crn, crm, op2]) = self;
        write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}

impl Encoding {
    /// The instruction with x0 as its general register (Arm ARM, C4.1.94).
    fn instruction(self, direction: Direction) -> u32 {
        let [op0, op1, crn, crm, op2] = self.0.map(u32::from);
        0xd500_0000 | (direction as u32) << 21 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
    }
}

const RET: u32 = 0xd65f_03c0;
/// Encodings that differ in CRm and op2 only.
pub const GROUP: usize = 128;

#[repr(C, align(4096))]
struct Code(UnsafeCell<[[u32; 2]; GROUP]>);

// SAFETY: written and run by the boot CPU alone.
unsafe impl Sync for Code {}

static CODE: Code = Code(UnsafeCell::new([[0; 2]; GROUP]));

/// Functions of one instruction each, for every CRm and op2: `functions[CRm * 8 + op2]`.
pub struct Group {
    op0: u8,
    op1: u8,
    crn: u8,
}

impl Group {
    /// Puts them together. They take the place of the last ones.
    pub fn assemble(op0: u8, op1: u8, crn: u8, direction: Direction) -> Self {
        let group = Self { op0, op1, crn };
        // SAFETY: nothing else refers to the memory: `Group`s are made and used one after the other.
        let code = unsafe { &mut *CODE.0.get() };
        for (index, function) in code.iter_mut().enumerate() {
            *function = [group.encoding(index).instruction(direction), RET];
        }
        let start = code.as_ptr() as usize;
        let line = 4usize << (read_register!("ctr_el0") & 0xf);
        cpu::clean_to_memory(code.as_ptr().cast(), size_of::<Code>());
        for address in (start..start + size_of_val(code)).step_by(line) {
            // SAFETY: maintenance changes no value (Arm ARM, B2.4.4: clean, then invalidate, then ISB).
            unsafe { asm!("ic ivau, {}", in(reg) address, options(nostack)) };
        }
        // SAFETY: barriers.
        unsafe { asm!("dsb ish", "isb", options(nostack)) };
        group
    }

    /// The encoding of a function.
    pub fn encoding(&self, index: usize) -> Encoding {
        Encoding([self.op0, self.op1, self.crn, (index / 8) as u8, (index % 8) as u8])
    }

    /// Runs a function with `value` in x0; gives x0 afterwards, or the exception.
    ///
    /// # Safety
    ///
    /// The instruction with that value harms nothing that this program relies on.
    pub unsafe fn run(&self, index: usize, value: u64) -> Outcome {
        let function = CODE.0.get() as usize + index * size_of::<[u32; 2]>();
        let run = || {
            let mut x0 = value;
            // SAFETY: the function is one instruction of those assembled and a return; the rest is the
            // caller's promise.
            unsafe { asm!("blr {}", in(reg) function, inout("x0") x0, out("x30") _, options(nostack)) };
            x0
        };
        Outcome::from(attempt(run))
    }
}
