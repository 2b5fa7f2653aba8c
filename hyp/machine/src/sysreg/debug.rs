// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The OS lock of a vCPU, and the debug registers while it is locked.
//!
//! While the CPU's own OS lock is locked, MDSCR_EL1.{HDE, INTdis, TDA} and OSECCR_EL1 are EDSCR and EDECCR (Arm ARM,
//! MDSCR_EL1, OSECCR_EL1), and those act at EL2: they mask its interrupts and halt it. So EL2 keeps the CPU's lock open,
//! where these fields are read-only, and gives the guest a virtual one (MDCR_EL2.TDOSA). While the virtual lock is locked,
//! debug exceptions are suppressed (MDE and SS are clear) and debug registers trap (MDCR_EL2.TDA), so that MDSCR_EL1
//! keeps what the guest writes. While it is unlocked, nothing but the lock traps.

use super::{IdTable, Operation, Outcome, Register};

/// MDSCR_EL1.
pub const MDSCR_EL1: Register = Register::new(2, 0, 0, 2, 2);
/// OSLSR_EL1.
pub const OSLSR_EL1: Register = Register::new(2, 0, 1, 1, 4);
const ID_AA64DFR0_EL1: Register = Register::new(3, 0, 0, 5, 0);

/// Software step, and breakpoints and watchpoints: MDSCR_EL1.SS and MDE.
const EXCEPTIONS: u64 = 1 << 0 | 1 << 15;
/// What of MDSCR_EL1 is the guest's: SS, TDCC, KDE, MDE. The rest is the external debugger's, or hidden.
const OWN: u64 = EXCEPTIONS | 1 << 12 | 1 << 13;
/// OSLSR_EL1.OSLK.
const OSLK: u64 = 1 << 1;

/// The CPU's own debug registers.
pub trait DebugRegisters {
    /// Reads a register that the CPU has.
    fn read(&self, register: Register) -> u64;
    /// Writes a register that the CPU has.
    fn write(&self, register: Register, value: u64);
    /// Sets MDCR_EL2.TDA.
    fn trap(&self, on: bool);
}

/// The virtual OS lock and OS double lock of a vCPU, and MDSCR_EL1 while one of them is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsLock {
    is_locked: bool,
    is_double_locked: bool,
    control: u64,
}

impl OsLock {
    /// After a reset: the OS lock is locked (Arm ARM, OSLSR_EL1.OSLK), the double lock is not.
    pub const RESET: Self = Self { is_locked: true, is_double_locked: false, control: 0 };

    /// Whether debug exceptions are suppressed (Arm ARM, `AArch64.GenerateDebugExceptionsFrom`).
    const fn suppresses(self) -> bool {
        self.is_locked || self.is_double_locked
    }

    /// Makes the CPU be as after a reset of the vCPU.
    pub fn reset(&mut self, cpu: &impl DebugRegisters) {
        *self = Self::RESET;
        self.apply(cpu);
    }

    fn apply(self, cpu: &impl DebugRegisters) {
        let hidden = if self.suppresses() { EXCEPTIONS } else { 0 };
        cpu.write(MDSCR_EL1, self.control & OWN & !hidden);
        cpu.trap(self.suppresses());
    }

    /// Locks or unlocks.
    fn change(&mut self, cpu: &impl DebugRegisters, change: impl FnOnce(&mut Self)) {
        let before = self.suppresses();
        if !before {
            self.control = cpu.read(MDSCR_EL1);
        }
        change(self);
        if self.suppresses() != before {
            self.apply(cpu);
        }
    }

    /// Answers a trapped access to a register with op0 2. `ids` are the guest's ID registers.
    pub fn access(
        &mut self,
        ids: &IdTable,
        register: Register,
        operation: Operation,
        cpu: &impl DebugRegisters,
    ) -> Outcome {
        let debug = ids.get(ID_AA64DFR0_EL1);
        match (register.fields(), operation) {
            // OSLAR_EL1 and OSLSR_EL1.
            ([2, 0, 1, 0, 4], Operation::Write(value)) => {
                self.change(cpu, |lock| lock.is_locked = value & 1 != 0);
                Outcome::Done
            }
            ([2, 0, 1, 1, 4], Operation::Read) => {
                Outcome::Value(cpu.read(OSLSR_EL1) & !OSLK | u64::from(self.is_locked) << 1)
            }
            // OSDLR_EL1, which has no effect without FEAT_DoubleLock (ID_AA64DFR0_EL1.DoubleLock, bits 39:36).
            ([2, 0, 1, 3, 4], Operation::Read) => Outcome::Value(self.is_double_locked.into()),
            ([2, 0, 1, 3, 4], Operation::Write(value)) => {
                if debug >> 36 & 0xf == 0 {
                    self.change(cpu, |lock| lock.is_double_locked = value & 1 != 0);
                }
                Outcome::Done
            }
            // DBGPRCR_EL1 keeps the core's power on, OSECCR_EL1 is EDECCR: neither is the guest's.
            ([2, 0, 1, 4, 4] | [2, 0, 0, 6, 2], Operation::Read) => Outcome::Value(0),
            ([2, 0, 1, 4, 4] | [2, 0, 0, 6, 2], Operation::Write(_)) => Outcome::Done,
            ([2, 0, 0, 2, 2], Operation::Read) if self.suppresses() => Outcome::Value(self.control),
            ([2, 0, 0, 2, 2], Operation::Write(value)) if self.suppresses() => {
                self.control = value;
                self.apply(cpu);
                Outcome::Done
            }
            (_, Operation::Read) if exists(register, debug, true) => Outcome::Value(cpu.read(register)),
            (_, Operation::Write(value)) if exists(register, debug, false) => {
                cpu.write(register, value);
                Outcome::Done
            }
            _ => Outcome::Undefined,
        }
    }
}

/// Whether the CPU has a debug register that EL2 accesses for the guest while its lock is locked. BRPs and WRPs of
/// ID_AA64DFR0_EL1, bits 15:12 and 23:20, are the last breakpoint and watchpoint.
fn exists(register: Register, debug: u64, is_read: bool) -> bool {
    match register.fields() {
        [2, 0, 0, n, 4 | 5] => u64::from(n) <= debug >> 12 & 0xf,
        [2, 0, 0, n, 6 | 7] => u64::from(n) <= debug >> 20 & 0xf,
        // OSDTRRX_EL1, OSDTRTX_EL1, MDCCINT_EL1, DBGCLAIMSET_EL1 and DBGCLAIMCLR_EL1, DBGDTR_EL0, DBGDTRRX_EL0 and
        // DBGDTRTX_EL0.
        [2, 0, 0, 0 | 3, 2] | [2, 0, 0, 2, 0] | [2, 0, 7, 8 | 9, 6] | [2, 3, 0, 4 | 5, 0] => true,
        // MDRAR_EL1, DBGAUTHSTATUS_EL1, MDCCSR_EL0.
        [2, 0, 1, 0, 0] | [2, 0, 7, 14, 6] | [2, 3, 0, 1, 0] => is_read,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysreg::Options;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Cpu(RefCell<(BTreeMap<Register, u64>, bool)>);

    impl DebugRegisters for Cpu {
        fn read(&self, register: Register) -> u64 {
            self.0.borrow().0.get(&register).copied().unwrap_or(0)
        }
        fn write(&self, register: Register, value: u64) {
            self.0.borrow_mut().0.insert(register, value);
        }
        fn trap(&self, on: bool) {
            self.0.borrow_mut().1 = on;
        }
    }

    impl Cpu {
        fn traps(&self) -> bool {
            self.0.borrow().1
        }
    }

    const OSLAR_EL1: Register = Register::new(2, 0, 1, 0, 4);
    const OSDLR_EL1: Register = Register::new(2, 0, 1, 3, 4);
    const MDE_KDE_SS: u64 = 1 << 15 | 1 << 13 | 1;
    /// HDE, TDA, INTdis.
    const EXTERNAL: u64 = 1 << 14 | 1 << 21 | 0b11 << 22;

    fn ids(debug: u64) -> IdTable {
        let options =
            Options { gic_system_registers: true, physical_address_bits: 40, extended_controls: true };
        IdTable::new(|register| if register == ID_AA64DFR0_EL1 { debug } else { 0 }, &options)
    }

    #[test]
    fn a_guest_that_unlocks_has_its_own_fields_and_no_others() {
        let (cpu, ids, mut lock) = (Cpu::default(), ids(0x6), OsLock::RESET);
        cpu.write(OSLSR_EL1, 0b1000);
        lock.reset(&cpu);
        assert!(cpu.traps());
        assert_eq!(lock.access(&ids, OSLSR_EL1, Operation::Read, &cpu), Outcome::Value(0b1010));
        let written = MDE_KDE_SS | EXTERNAL;
        assert_eq!(lock.access(&ids, MDSCR_EL1, Operation::Write(written), &cpu), Outcome::Done);
        assert_eq!(lock.access(&ids, MDSCR_EL1, Operation::Read, &cpu), Outcome::Value(written));
        assert_eq!(cpu.read(MDSCR_EL1), 1 << 13, "no debug exception, and nothing of the debugger's");
        assert_eq!(lock.access(&ids, OSLAR_EL1, Operation::Write(0), &cpu), Outcome::Done);
        assert_eq!((cpu.read(MDSCR_EL1), cpu.traps()), (MDE_KDE_SS, false));
        assert_eq!(lock.access(&ids, OSLSR_EL1, Operation::Read, &cpu), Outcome::Value(0b1000));
        // It locks again: what it wrote without a trap is kept.
        cpu.write(MDSCR_EL1, 1 << 15);
        assert_eq!(lock.access(&ids, OSLAR_EL1, Operation::Write(1), &cpu), Outcome::Done);
        assert_eq!((cpu.read(MDSCR_EL1), cpu.traps()), (0, true));
        assert_eq!(lock.access(&ids, MDSCR_EL1, Operation::Read, &cpu), Outcome::Value(1 << 15));
    }

    #[test]
    fn the_double_lock_suppresses_where_there_is_one() {
        for (debug, is_there) in [(0x6, true), (0xf0_0000_0006, false)] {
            let (cpu, ids, mut lock) = (Cpu::default(), ids(debug), OsLock::RESET);
            lock.reset(&cpu);
            let _ = lock.access(&ids, OSLAR_EL1, Operation::Write(0), &cpu);
            let _ = lock.access(&ids, OSDLR_EL1, Operation::Write(1), &cpu);
            assert_eq!(cpu.traps(), is_there);
            let seen = lock.access(&ids, OSDLR_EL1, Operation::Read, &cpu);
            assert_eq!(seen, Outcome::Value(is_there.into()));
        }
    }

    #[test]
    fn only_what_the_cpu_has_is_accessed() {
        // Six breakpoints, four watchpoints.
        let (cpu, ids, mut lock) = (Cpu::default(), ids(0x30_5006), OsLock::RESET);
        for (register, is_there) in [
            (Register::new(2, 0, 0, 5, 5), true),
            (Register::new(2, 0, 0, 6, 5), false),
            (Register::new(2, 0, 0, 3, 6), true),
            (Register::new(2, 0, 0, 4, 7), false),
            (Register::new(2, 0, 0, 4, 2), false),
            (Register::new(2, 1, 0, 0, 0), false),
        ] {
            let seen = lock.access(&ids, register, Operation::Write(7), &cpu);
            assert_eq!(seen, if is_there { Outcome::Done } else { Outcome::Undefined }, "{register}");
            assert_eq!(cpu.read(register), if is_there { 7 } else { 0 });
        }
        let edeccr = Register::new(2, 0, 0, 6, 2);
        assert_eq!(lock.access(&ids, edeccr, Operation::Write(7), &cpu), Outcome::Done);
        assert_eq!(cpu.read(edeccr), 0);
    }
}
