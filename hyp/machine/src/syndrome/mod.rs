// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a guest came to EL2: ESR_EL2, FAR_EL2 and HPFAR_EL2, decoded once (Arm ARM, D24.2, ESR_EL2).

mod abort;
mod describe;
#[cfg(test)]
mod tests;

pub use abort::{Abort, Access, Fault, Size};
pub use describe::{Own, Pstate};

use crate::sysreg::Register;

/// The registers that say why EL2 was entered, as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2: a virtual address, where the exception class has one.
    pub far: u64,
    /// HPFAR_EL2: the page of the intermediate physical address, where a stage 2 fault has one.
    pub hpfar: u64,
}

/// A synchronous exception from EL1 or EL0, as far as the answer depends on what its syndrome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A load or store that stage 2 (or the bus) refused.
    DataAbort(Abort),
    /// An instruction fetch that stage 2 (or the bus) refused.
    InstructionAbort(Abort),
    /// Anything else: the [`Syndrome`] shows in words what.
    Other,
}

/// A trapped access to a system register, or a trapped system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemAccess {
    /// Its encoding.
    pub register: Register,
    /// Rt, the general register: 31 is the zero register.
    pub rt: u8,
    /// MRS (true) or MSR and system instructions (false).
    pub is_read: bool,
}

/// ESR_EL2.EC, bits 31:26.
pub(crate) const fn class(esr: u64) -> u8 {
    (esr >> 26 & 0x3f) as u8
}

/// `width` bits of `value` from `lsb`.
pub(crate) const fn bits(value: u64, lsb: u32, width: u32) -> u64 {
    value.wrapping_shr(lsb) & !u64::MAX.wrapping_shl(width)
}

/// Bit `lsb` of `value`.
pub(crate) const fn bit(value: u64, lsb: u32) -> bool {
    value.wrapping_shr(lsb) & 1 == 1
}

impl Exit {
    /// Decodes the registers of a synchronous exception.
    #[must_use]
    pub fn decode(syndrome: &Syndrome) -> Self {
        match class(syndrome.esr) {
            0x24 => Self::DataAbort(Abort::decode(syndrome)),
            0x20 => Self::InstructionAbort(Abort::decode(syndrome)),
            _ => Self::Other,
        }
    }
}

impl SystemAccess {
    /// The access that the syndrome of class 0x18 describes: Rt is bits 9:5, the direction bit 0.
    #[must_use]
    #[inline(always)]
    pub const fn decode(esr: u64) -> Self {
        Self { register: Register::of_syndrome(esr), rt: bits(esr, 5, 5) as u8, is_read: bit(esr, 0) }
    }
}
