// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line for each probe, and the count.

use core::fmt::{Debug, Display};

use guest_runtime::exception::Taken;
use guest_runtime::println;

/// Counts what passed and what did not.
pub struct Report {
    passed: u32,
    failed: u32,
}

/// ESR_EL1.EC of an undefined instruction.
pub const CLASS_UNDEFINED: u64 = 0x00;
/// ESR_EL1.EC of an illegal execution state.
pub const CLASS_ILLEGAL: u64 = 0x0e;
/// ESR_EL1.EC of a data abort from the level it is taken to.
pub const CLASS_DATA_ABORT: u64 = 0x25;
/// ESR_EL1.DFSC of a synchronous external abort.
pub const STATUS_EXTERNAL: u64 = 0x10;

impl Report {
    /// Nothing probed yet.
    pub const fn new() -> Self {
        Self { passed: 0, failed: 0 }
    }

    /// A probe whose result is right or wrong; `seen` is printed if it is wrong.
    pub fn check(&mut self, name: impl Display, right: bool, seen: impl Debug) {
        if right {
            self.passed += 1;
            println!("{name}: ok");
        } else {
            self.failed += 1;
            println!("{name}: FAILED {seen:x?}");
        }
    }

    /// A probe that must give exactly `expected`.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: impl Display, seen: T, expected: T) {
        self.check(name, seen == expected, (&seen, "instead of", &expected));
    }

    /// A probe whose instruction must be UNDEFINED.
    pub fn undefined(&mut self, name: impl Display, taken: Option<Taken>) {
        self.check(name, taken.is_some_and(|taken| taken.class() == CLASS_UNDEFINED), taken);
    }

    /// A probe whose access must meet nothing: a synchronous external abort at its address.
    pub fn external_abort(&mut self, name: impl Display, address: usize, taken: Option<Taken>) {
        let right = taken.is_some_and(|taken| {
            is_external_abort(&taken) && (taken.esr >> 10 & 1 == 1 || taken.far as usize == address)
        });
        self.check(name, right, taken);
    }

    /// A probe that may do anything a device may do: answer, or abort. The guest must be there afterwards.
    pub fn answered(&mut self, name: impl Display, taken: Option<Taken>) {
        self.check(name, taken.is_none_or(|taken| is_external_abort(&taken)), taken);
    }

    /// Prints the count.
    pub fn finish(&self) {
        println!("probe: {} passed, {} failed", self.passed, self.failed);
    }
}

fn is_external_abort(taken: &Taken) -> bool {
    taken.class() == CLASS_DATA_ABORT && taken.esr & 0x3f == STATUS_EXTERNAL
}
