// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System registers: which of them EL2 keeps from a guest, and what it answers instead.
//!
//! [`configuration`] holds the values of the registers that decide what traps. The table of traps has two sides:
//! [`CONTROLS`] goes through those registers bit by bit, [`TRAPS`] says of each register and system instruction that
//! they can trap what becomes of it and why. [`ID_REGISTERS`] says the same of every field of every ID register.
//! [`access`] answers a trapped access; tests hold it against the tables.

pub mod configuration;
mod controls;
mod debug;
mod id;
mod id_fields;
mod own;
#[cfg(test)]
mod tests;
mod traps;

pub use controls::{CONTROLS, Control, Setting};
pub use debug::{DebugRegisters, OsLock};
pub use id::{Contents, Field, IdRegister, IdTable, Options, Rule};
pub use id_fields::ID_REGISTERS;
pub use own::{Disposition, EL2_REGISTERS, OwnRegister};
pub use traps::{Encodings, Reach, Row, Span, TRAPS, Verdict, row};

use crate::gic::SgiRegister;
use bulkhead_types::IntId;
use core::fmt::{self, Debug, Display, Formatter};

/// The encoding of a system register or instruction: op0, op1, CRn, CRm, op2, placed as in the syndrome of a
/// trapped access (ESR_EL2.ISS, class 0x18): Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, CRm 4:1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(u32);

impl Register {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`; bits beyond a field's width are cut off.
    #[must_use]
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op0 as u32 & 3) << 20
                | (op2 as u32 & 7) << 17
                | (op1 as u32 & 7) << 14
                | (crn as u32 & 15) << 10
                | (crm as u32 & 15) << 1,
        )
    }

    /// The register that a syndrome of class 0x18 names.
    #[must_use]
    #[inline(always)]
    pub const fn of_syndrome(esr: u64) -> Self {
        Self(esr as u32 & Self::new(3, 7, 15, 15, 7).0)
    }

    /// op0, op1, CRn, CRm and op2.
    #[must_use]
    #[inline]
    pub const fn fields(self) -> [u8; 5] {
        [
            (self.0 >> 20) as u8,
            (self.0 >> 14 & 7) as u8,
            (self.0 >> 10 & 15) as u8,
            (self.0 >> 1 & 15) as u8,
            (self.0 >> 17 & 7) as u8,
        ]
    }

    /// Whether it lies in the space of ID registers that HCR_EL2.TID3 traps: op0 3, op1 0, CRn 0, CRm 1 to 7.
    #[must_use]
    #[inline(always)]
    pub const fn is_id(self) -> bool {
        self.0 & !Self::new(0, 0, 0, 7, 7).0 == Self::new(3, 0, 0, 0, 0).0
            && self.0 & Self::new(0, 0, 0, 7, 0).0 != 0
    }

    /// Whether it is one of the error records that HCR_EL2.TERR traps: ERRIDR_EL1 to ERXMISC3_EL1, without those
    /// that inject errors.
    #[inline]
    const fn is_error_record(self) -> bool {
        matches!(self.fields(), [3, 0, 5, 3..=5, _]) && !matches!(self.fields(), [3, 0, 5, 4, 4..=6])
    }

    /// CRm and op2 of an ID register, as one number below 64. Those with CRm 0 have an op2 of their own each.
    #[inline(always)]
    const fn id_index(self) -> usize {
        ((self.0 >> 17 & 7) << 3 | self.0 >> 1 & 7) as usize
    }

    /// Its name, if it is an ID register. (With those of [`TRAPS`] the whole of that table would be in the image.)
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        ID_REGISTERS.iter().find(|id| id.register == self).map(|id| id.name)
    }
}

impl Display for Register {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [op0, op1, crn, crm, op2] = self.fields();
        match self.name() {
            Some(name) => write!(f, "{name} (S{op0}_{op1}_C{crn}_C{crm}_{op2})"),
            None => write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}"),
        }
    }
}

impl Debug for Register {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// ICC_SGI1R_EL1: an SGI of the current security state's group 1.
pub const ICC_SGI1R_EL1: Register = Register::new(3, 0, 12, 11, 5);
/// ICC_ASGI1R_EL1: an SGI of the other security state's group 1.
pub const ICC_ASGI1R_EL1: Register = Register::new(3, 0, 12, 11, 6);
/// ICC_SGI0R_EL1: an SGI of group 0.
pub const ICC_SGI0R_EL1: Register = Register::new(3, 0, 12, 11, 7);

/// ICC_DIR_EL1: deactivates an interrupt.
pub const ICC_DIR_EL1: Register = Register::new(3, 0, 12, 11, 1);

/// Whether system registers are used for the GIC's CPU interface.
pub const ICC_SRE_EL1: Register = Register::new(3, 0, 12, 12, 5);
/// SRE, DFB and DIB: system registers, and no bypass of the GIC.
const SYSTEM_REGISTERS_ALONE: u64 = 0b111;

/// What the implementation defines for EL1.
pub const ACTLR_EL1: Register = Register::new(3, 0, 1, 0, 1);
/// The CPU's revision.
pub const REVIDR_EL1: Register = Register::new(3, 0, 0, 0, 6);
/// The CPU's auxiliary identification.
pub const AIDR_EL1: Register = Register::new(3, 1, 0, 0, 7);

/// What a guest does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// MRS.
    Read,
    /// MSR, or a system instruction, with the general register's value.
    Write(u64),
}

/// What is to be done about a trapped access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The read gives this.
    Value(u64),
    /// The instruction is UNDEFINED: an exception into the guest, as on a CPU without the register.
    Undefined,
    /// The virtual GIC sends SGIs to the CPUs that the value names (IHI 0069, ICC_SGI1R_EL1).
    SendSgi {
        /// The register written.
        register: SgiRegister,
        /// The value written.
        value: u64,
    },
    /// The virtual GIC deactivates the interrupt that the guest names: ICC_DIR_EL1, which traps only
    /// while an active interrupt is in no list register (IHI 0069, ICH_HCR_EL2.TDIR).
    Deactivate(IntId),
    /// The write has no effect.
    Done,
}

/// Answers a trapped access.
///
/// SGIs through system registers exist only where `ids` was made for a guest with a GICv3.
#[must_use]
#[inline]
pub fn access(ids: &IdTable, register: Register, operation: Operation) -> Outcome {
    match operation {
        Operation::Read if register.is_id() => Outcome::Value(ids.get(register)),
        Operation::Write(value) if ids.gic_system_registers() => {
            let register = match register {
                ICC_SGI1R_EL1 => SgiRegister::Sgi1,
                ICC_SGI0R_EL1 => SgiRegister::Sgi0,
                ICC_ASGI1R_EL1 => SgiRegister::Asgi1,
                // Special and reserved IDs are ignored (IHI 0069, ICC_DIR_EL1).
                ICC_DIR_EL1 => {
                    return IntId::new(value as u32 & 0xff_ffff).map_or(Outcome::Done, Outcome::Deactivate);
                }
                _ => return access_rare(ids, register, operation),
            };
            Outcome::SendSgi { register, value }
        }
        _ => access_rare(ids, register, operation),
    }
}

/// What else identifies the CPU. There are no error records; and no other register that traps.
#[inline(always)]
fn access_rare(ids: &IdTable, register: Register, operation: Operation) -> Outcome {
    match operation {
        Operation::Read if matches!(register, REVIDR_EL1 | AIDR_EL1 | ACTLR_EL1) => {
            Outcome::Value(ids.get(register))
        }
        Operation::Read if register == ICC_SRE_EL1 && ids.gic_system_registers() => {
            Outcome::Value(SYSTEM_REGISTERS_ALONE)
        }
        Operation::Write(_) if register == ACTLR_EL1 => Outcome::Done,
        Operation::Write(_) if register == ICC_SRE_EL1 && ids.gic_system_registers() => Outcome::Done,
        _ if !register.is_error_record() => Outcome::Undefined,
        Operation::Read => Outcome::Value(0),
        Operation::Write(_) => Outcome::Done,
    }
}
