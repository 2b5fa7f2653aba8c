// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A syndrome in words, field by field, for register dumps.

use core::fmt::{self, Display, Formatter};

use super::{Abort, Access, Fault, Syndrome, SystemAccess, bit, class};

/// Classes (ESR_EL2.EC) whose syndrome says no more that a person needs.
const CLASSES: &[(u8, &str)] = &[
    (0x00, "undefined instruction"),
    (0x07, "trapped FP or SIMD instruction"),
    (0x08, "trapped AArch32 VMRS"),
    (0x09, "trapped pointer authentication"),
    (0x0a, "trapped LD64B or ST64B"),
    (0x0e, "illegal execution state"),
    (0x11, "AArch32 SVC"),
    (0x12, "AArch32 HVC"),
    (0x13, "AArch32 SMC"),
    (0x19, "trapped SVE instruction"),
    (0x1a, "trapped ERET"),
    (0x1d, "trapped SME instruction or register"),
    (0x22, "PC not aligned"),
    (0x26, "SP not aligned"),
    (0x2f, "SError"),
    (0x30, "breakpoint"),
    (0x32, "software step"),
    (0x34, "watchpoint"),
    (0x38, "breakpoint instruction"),
    (0x3a, "vector catch"),
    (0x3c, "breakpoint instruction"),
];

impl Display for Syndrome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let esr = self.esr;
        match class(esr) {
            0x24 => data_abort(f, &Abort::decode(self))?,
            0x20 => {
                f.write_str("instruction abort: fetch")?;
                what_failed(f, &Abort::decode(self))?;
            }
            0x18 => SystemAccess::decode(esr).fmt(f)?,
            0x16 => write!(f, "HVC #{:#x}", esr as u16)?,
            0x17 => write!(f, "SMC #{:#x}", esr as u16)?,
            0x01 => f.write_str(match esr & 0b11 {
                0 => "WFI",
                1 => "WFE",
                2 => "WFIT",
                _ => "WFET",
            })?,
            class @ (0x03..=0x06 | 0x0c) => write!(
                f,
                "AArch32 {}-bit {} coprocessor {}",
                if matches!(class, 0x04 | 0x0c) { 64 } else { 32 },
                if bit(esr, 0) { "read of" } else { "write to" },
                if matches!(class, 0x03 | 0x04) { 15 } else { 14 },
            )?,
            class => match CLASSES.iter().find(|(it, _)| *it == class) {
                Some((_, words)) => f.write_str(words)?,
                None => write!(f, "exception class {class:#04x}, which is reserved")?,
            },
        }
        let width = if bit(esr, 25) { 32 } else { 16 };
        let (class, iss) = (class(esr), esr & 0x1ff_ffff);
        write!(f, " (ESR_EL2 {esr:#x}: class {class:#04x}, {width}-bit instruction, ISS {iss:#x})")
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
            0x25 if bit(*esr, 6) => "data abort: store",
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

impl Display for SystemAccess {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_read {
            write!(f, "read of {} into x{}", self.register, self.rt)
        } else {
            write!(f, "write of x{} to {}", self.rt, self.register)
        }
    }
}

fn data_abort(f: &mut Formatter<'_>, abort: &Abort) -> fmt::Result {
    f.write_str("data abort: ")?;
    match abort.access {
        Some(access) => access.fmt(f)?,
        None if abort.is_maintenance => f.write_str("cache maintenance")?,
        None => {
            f.write_str(if abort.is_write { "store" } else { "load" })?;
            f.write_str(" that the syndrome does not describe (a pair, write-back, atomic or vector)")?;
        }
    }
    what_failed(f, abort)
}

fn what_failed(f: &mut Formatter<'_>, abort: &Abort) -> fmt::Result {
    match abort.ipa {
        Some(ipa) => write!(f, " at guest physical address {:#x}", ipa.0)?,
        None => f.write_str(" at an unrecorded physical address")?,
    }
    if let Some(va) = abort.va {
        write!(f, ", virtual {va:#x}")?;
    }
    write!(f, ": {}", abort.fault)
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, ordered, direction) = match (self.is_write(), self.sign_extend()) {
            (true, _) => ("store", "-release", "from"),
            (false, false) => ("load", "-acquire", "into"),
            (false, true) => ("sign-extending load", "-acquire", "into"),
        };
        let ordered = if self.ordered() { ordered } else { "" };
        let bank = if self.sixty_four() { 'x' } else { 'w' };
        write!(f, "{}-byte {what}{ordered} {direction} {bank}", self.size().bytes())?;
        match self.register() {
            31 => f.write_str("zr"),
            number => number.fmt(f),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let walk = if self.on_walk { ", on the guest's own table walk" } else { "" };
        let level = Some((self.code & 3) as i8);
        let (what, level) = match self.code {
            0x00..=0x03 => ("address size fault", level),
            0x29 => ("address size fault", Some(-1)),
            0x04..=0x07 => ("translation fault", level),
            0x2b => ("translation fault", Some(-1)),
            0x08..=0x0b => ("access flag fault", level),
            0x0c..=0x0f => ("permission fault", level),
            0x10 => ("external abort", None),
            0x13 => ("external abort on a table walk", Some(-1)),
            0x14..=0x17 => ("external abort on a table walk", level),
            0x18 => ("parity or ECC error", None),
            0x1b => ("parity or ECC error on a table walk", Some(-1)),
            0x1c..=0x1f => ("parity or ECC error on a table walk", level),
            0x11 => ("tag check fault", None),
            0x21 => ("alignment fault", None),
            0x23..=0x28 => ("granule protection fault", None),
            0x30 => ("TLB conflict", None),
            0x35 => ("exclusive or atomic access that the memory refuses", None),
            other => return write!(f, "fault status {other:#04x}{walk}"),
        };
        match level {
            Some(level) => write!(f, "{what}, level {level}{walk}"),
            None => write!(f, "{what}{walk}"),
        }
    }
}
