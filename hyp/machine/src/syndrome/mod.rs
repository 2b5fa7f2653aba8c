// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a guest came to EL2: ESR_EL2, FAR_EL2 and HPFAR_EL2, decoded once (Arm ARM, D24.2, ESR_EL2).

mod abort;
mod describe;
#[cfg(test)]
mod tests;

pub use abort::{Access, DataAbort, Fault, FaultKind, InstructionAbort, Size};
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

/// A synchronous exception from EL1 or EL0, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// HVC from AArch64.
    Hvc {
        /// The instruction's immediate; calls by the SMC Calling Convention have 0.
        immediate: u16,
    },
    /// SMC from AArch64, trapped by HCR_EL2.TSC: ELR_EL2 is the SMC itself.
    Smc {
        /// The instruction's immediate; calls by the SMC Calling Convention have 0.
        immediate: u16,
    },
    /// MRS, MSR or a system instruction.
    SystemRegister(SystemAccess),
    /// A load or store that stage 2 (or the bus) refused.
    DataAbort(DataAbort),
    /// An instruction fetch that stage 2 (or the bus) refused.
    InstructionAbort(InstructionAbort),
    /// WFI, WFE, WFIT or WFET.
    Wfx(Wfx),
    /// An FP or Advanced SIMD instruction.
    FpTrap,
    /// An SVE instruction.
    SveTrap,
    /// An SME instruction or register.
    SmeTrap,
    /// A pointer authentication instruction or key register.
    PointerAuthTrap,
    /// LD64B or ST64B, trapped by HCRX_EL2.
    LoadStore64Trap,
    /// ERET, ERETAA or ERETAB.
    EretTrap,
    /// An access to coprocessor 15 or 14 from AArch32 (at EL0; EL1 is AArch64).
    Coprocessor(CoprocessorTrap),
    /// VMRS from AArch32.
    VmrsTrap,
    /// SVC, HVC or SMC from AArch32.
    Aarch32Call(Aarch32Call),
    /// An illegal execution state: PSTATE.IL was set.
    IllegalState,
    /// A PC or SP that is not aligned.
    Misaligned(Misaligned),
    /// Debug exceptions routed to EL2.
    Debug(DebugException),
    /// An SError that was taken synchronously with this syndrome.
    SError,
    /// UNDEFINED, or a trap without a class of its own (class 0).
    Undefined,
    /// A class that this list does not have, reserved ones among them.
    Unknown {
        /// ESR_EL2.EC.
        class: u8,
    },
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

/// Which of the waiting instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wfx {
    /// Wait for interrupt.
    Wfi,
    /// Wait for event.
    Wfe,
    /// Wait for interrupt with a timeout.
    Wfit,
    /// Wait for event with a timeout.
    Wfet,
}

/// Which of the coprocessor accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoprocessorTrap {
    /// 15 (system control) or 14 (debug).
    pub coprocessor: u8,
    /// MRC, MRRC or LDC: a read of the coprocessor.
    pub is_read: bool,
    /// MRRC or MCRR: 64 bits in two general registers.
    pub is_double: bool,
}

/// Which of the AArch32 calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aarch32Call {
    /// SVC.
    Svc,
    /// HVC.
    Hvc,
    /// SMC.
    Smc,
}

/// What was not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misaligned {
    /// The program counter.
    Pc,
    /// The stack pointer.
    Sp,
}

/// A debug exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugException {
    /// A hardware breakpoint.
    Breakpoint,
    /// A software step.
    Step,
    /// A watchpoint.
    Watchpoint,
    /// BRK or AArch32's BKPT.
    Instruction,
    /// An AArch32 vector catch.
    VectorCatch,
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
    #[inline]
    pub fn decode(syndrome: &Syndrome) -> Self {
        let esr = syndrome.esr;
        match class(esr) {
            0x24 => Self::DataAbort(DataAbort::decode(syndrome)),
            0x18 => Self::SystemRegister(SystemAccess::decode(esr)),
            0x16 => Self::Hvc { immediate: esr as u16 },
            0x17 => Self::Smc { immediate: esr as u16 },
            0x20 => Self::InstructionAbort(InstructionAbort::decode(syndrome)),
            other => Self::decode_rare(other, esr),
        }
    }

    /// The classes that a well-behaved guest never shows.
    #[cold]
    fn decode_rare(class: u8, esr: u64) -> Self {
        match class {
            0x00 => Self::Undefined,
            0x01 => Self::Wfx(match bits(esr, 0, 2) {
                0 => Wfx::Wfi,
                1 => Wfx::Wfe,
                2 => Wfx::Wfit,
                _ => Wfx::Wfet,
            }),
            0x03..=0x06 | 0x0c => Self::Coprocessor(CoprocessorTrap {
                coprocessor: if matches!(class, 0x03 | 0x04) { 15 } else { 14 },
                is_read: bit(esr, 0),
                is_double: matches!(class, 0x04 | 0x0c),
            }),
            0x07 => Self::FpTrap,
            0x08 => Self::VmrsTrap,
            0x09 => Self::PointerAuthTrap,
            0x0a => Self::LoadStore64Trap,
            0x0e => Self::IllegalState,
            0x11 => Self::Aarch32Call(Aarch32Call::Svc),
            0x12 => Self::Aarch32Call(Aarch32Call::Hvc),
            0x13 => Self::Aarch32Call(Aarch32Call::Smc),
            0x19 => Self::SveTrap,
            0x1a => Self::EretTrap,
            0x1d => Self::SmeTrap,
            0x22 => Self::Misaligned(Misaligned::Pc),
            0x26 => Self::Misaligned(Misaligned::Sp),
            0x2f => Self::SError,
            0x30 => Self::Debug(DebugException::Breakpoint),
            0x32 => Self::Debug(DebugException::Step),
            0x34 => Self::Debug(DebugException::Watchpoint),
            0x38 | 0x3c => Self::Debug(DebugException::Instruction),
            0x3a => Self::Debug(DebugException::VectorCatch),
            class => Self::Unknown { class },
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
