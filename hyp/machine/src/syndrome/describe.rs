// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A syndrome in words, field by field, for register dumps.

use core::fmt::{self, Display, Formatter};

use super::{
    Aarch32Call, Access, DataAbort, DebugException, Exit, Fault, FaultKind, InstructionAbort, Misaligned,
    Size, Syndrome, SystemAccess, Wfx, class,
};

impl Display for Syndrome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = if self.esr >> 25 & 1 == 1 { 32 } else { 16 };
        write!(
            f,
            "{} (ESR_EL2 {:#x}: class {:#04x}, {width}-bit instruction, ISS {:#x})",
            Exit::decode(self),
            self.esr,
            class(self.esr),
            self.esr & 0x1ff_ffff,
        )
    }
}

/// The syndrome of an exception that EL2 took from itself, which shows in words.
#[derive(Clone, Copy, Debug)]
pub struct Own(pub Syndrome);

impl Display for Own {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(syndrome @ Syndrome { esr, far, .. }) = self;
        // Classes of the same level as the handler's. FAR is an address of EL2's, and there is no other.
        let what = match class(*esr) {
            0x21 => "instruction abort",
            0x25 if esr >> 6 & 1 == 1 => "data abort: store",
            0x25 => "data abort: load",
            _ => return syndrome.fmt(f),
        };
        write!(
            f,
            "{what} at {far:#x}: {} (ESR_EL2 {esr:#x}: class {:#04x})",
            Fault::decode(*esr),
            class(*esr)
        )
    }
}

/// SPSR_EL2 of an exit, which shows in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pstate(pub u64);

impl Display for Pstate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let level = match (self.0 >> 4 & 1, self.0 & 0xf) {
            (1, _) => "AArch32",
            (_, 0) => "EL0",
            (_, 4) => "EL1 with SP_EL0",
            (_, 5) => "EL1",
            _ => "no level of a guest's",
        };
        f.write_str(level)?;
        for (word, names, lowest) in [(" ", "VCZN", 28), (", masked ", "FIAD", 6)] {
            let mut word = word;
            for (name, _) in names.chars().zip(lowest..).filter(|(_, bit)| self.0 >> bit & 1 == 1) {
                write!(f, "{}{name}", core::mem::take(&mut word))?;
            }
        }
        for (bit, name) in [(20, ", illegal state"), (21, ", single step")] {
            if self.0 >> bit & 1 == 1 {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

impl Display for Exit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hvc { immediate } => write!(f, "HVC #{immediate:#x}"),
            Self::Smc { immediate } => write!(f, "SMC #{immediate:#x}"),
            Self::SystemRegister(access) => access.fmt(f),
            Self::DataAbort(abort) => abort.fmt(f),
            Self::InstructionAbort(abort) => abort.fmt(f),
            Self::Wfx(wfx) => f.write_str(match wfx {
                Wfx::Wfi => "WFI",
                Wfx::Wfe => "WFE",
                Wfx::Wfit => "WFIT",
                Wfx::Wfet => "WFET",
            }),
            Self::FpTrap => f.write_str("trapped FP or SIMD instruction"),
            Self::SveTrap => f.write_str("trapped SVE instruction"),
            Self::SmeTrap => f.write_str("trapped SME instruction or register"),
            Self::PointerAuthTrap => f.write_str("trapped pointer authentication"),
            Self::LoadStore64Trap => f.write_str("trapped LD64B or ST64B"),
            Self::EretTrap => f.write_str("trapped ERET"),
            Self::Coprocessor(trap) => write!(
                f,
                "AArch32 {} {} coprocessor {}",
                if trap.is_double { "64-bit" } else { "32-bit" },
                if trap.is_read { "read of" } else { "write to" },
                trap.coprocessor
            ),
            Self::VmrsTrap => f.write_str("trapped AArch32 VMRS"),
            Self::Aarch32Call(call) => f.write_str(match call {
                Aarch32Call::Svc => "AArch32 SVC",
                Aarch32Call::Hvc => "AArch32 HVC",
                Aarch32Call::Smc => "AArch32 SMC",
            }),
            Self::IllegalState => f.write_str("illegal execution state"),
            Self::Misaligned(Misaligned::Pc) => f.write_str("PC not aligned"),
            Self::Misaligned(Misaligned::Sp) => f.write_str("SP not aligned"),
            Self::Debug(exception) => f.write_str(match exception {
                DebugException::Breakpoint => "breakpoint",
                DebugException::Step => "software step",
                DebugException::Watchpoint => "watchpoint",
                DebugException::Instruction => "breakpoint instruction",
                DebugException::VectorCatch => "vector catch",
            }),
            Self::SError => f.write_str("SError"),
            Self::Undefined => f.write_str("undefined instruction"),
            Self::Unknown { class } => write!(f, "exception class {class:#04x}, which is reserved"),
        }
    }
}

impl Display for SystemAccess {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_read {
            write!(f, "read of {} into x{}", self.register, self.rt)
        } else {
            write!(f, "write of x{} to {}", self.rt, self.register)
        }
    }
}

impl Display for DataAbort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("data abort: ")?;
        match (self.access, self.is_maintenance) {
            (Some(access), _) => access.fmt(f)?,
            (None, true) => f.write_str("cache maintenance")?,
            (None, false) => write!(
                f,
                "{} that the syndrome does not describe (a pair, write-back, atomic or vector)",
                if self.is_write { "store" } else { "load" }
            )?,
        }
        addresses(f, self.ipa.map(|ipa| ipa.0), self.va)?;
        write!(f, ": {}", self.fault)
    }
}

impl Display for InstructionAbort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("instruction abort: fetch")?;
        addresses(f, self.ipa.map(|ipa| ipa.0), self.va)?;
        write!(f, ": {}", self.fault)
    }
}

fn addresses(f: &mut Formatter<'_>, ipa: Option<u64>, va: Option<u64>) -> fmt::Result {
    match ipa {
        Some(ipa) => write!(f, " at guest physical address {ipa:#x}")?,
        None => f.write_str(" at an unrecorded physical address")?,
    }
    match va {
        Some(va) => write!(f, ", virtual {va:#x}"),
        None => Ok(()),
    }
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match (self.is_write(), self.sign_extend()) {
            (true, _) => "store",
            (false, false) => "load",
            (false, true) => "sign-extending load",
        };
        let ordered = match (self.ordered(), self.is_write()) {
            (false, _) => "",
            (true, true) => "-release",
            (true, false) => "-acquire",
        };
        let direction = if self.is_write() { "from" } else { "into" };
        let bank = if self.sixty_four() { 'x' } else { 'w' };
        write!(f, "{} {kind}{ordered} {direction} ", self.size())?;
        match self.register() {
            31 => write!(f, "{bank}zr"),
            number => write!(f, "{bank}{number}"),
        }
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-byte", self.bytes())
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::AddressSize(level) => write!(f, "address size fault, level {level}")?,
            FaultKind::Translation(level) => write!(f, "translation fault, level {level}")?,
            FaultKind::AccessFlag(level) => write!(f, "access flag fault, level {level}")?,
            FaultKind::Permission(level) => write!(f, "permission fault, level {level}")?,
            FaultKind::External => f.write_str("external abort")?,
            FaultKind::ExternalOnWalk(level) => write!(f, "external abort on a table walk, level {level}")?,
            FaultKind::Parity => f.write_str("parity or ECC error")?,
            FaultKind::ParityOnWalk(level) => {
                write!(f, "parity or ECC error on a table walk, level {level}")?
            }
            FaultKind::Alignment => f.write_str("alignment fault")?,
            FaultKind::TagCheck => f.write_str("tag check fault")?,
            FaultKind::GranuleProtection => f.write_str("granule protection fault")?,
            FaultKind::TlbConflict => f.write_str("TLB conflict")?,
            FaultKind::UnsupportedAtomic => {
                f.write_str("exclusive or atomic access that the memory refuses")?
            }
            FaultKind::Other(code) => write!(f, "fault status {code:#04x}")?,
        }
        if self.on_walk { f.write_str(", on the guest's own table walk") } else { Ok(()) }
    }
}
