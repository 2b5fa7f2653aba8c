// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exceptions and what they tell, address translation, and accesses to devices in every form.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::gic;
use guest_runtime::machine::Machine;
use guest_runtime::mmio::{read32, write32};
use guest_runtime::read_register;

use crate::report::{Outcome, line, number};

/// Nothing answers here on any board of ours, and the runtime maps it as a device's.
const HOLE: usize = 0x70_0000_0000;
/// Beyond what the runtime maps at all.
const UNMAPPED: usize = 0x80_0000_0000;
/// The upper half of virtual addresses, which has no tables.
const UPPER: usize = 0xffff_ff80_0000_0000;

/// Runs one or more instructions with `$address` in {address}; value and address register afterwards.
macro_rules! instruction {
    ($name:literal, $address:expr, $text:literal) => {{
        let mut address: usize = $address;
        let seen = attempt(|| {
            let value: u64;
            // SAFETY: the memory or device register is one that a probe may touch; exceptions are expected.
            unsafe {
                asm!(concat!($text, "\n// {address} {value} {other}"), address = inout(reg) address, value = inout(reg) 0u64 => value,
                    other = out(reg) _, options(nostack));
            }
            value
        });
        line($name, Outcome::from(seen));
        if let Some(taken) = seen.1 {
            line(concat!($name, ", FAR"), told(taken.far as usize));
        } else {
            number(concat!($name, ", address moved"), (address - $address) as u64);
        }
    }};
}

/// An address by what stands there.
fn told(address: usize) -> &'static str {
    match address {
        HOLE..0x70_0000_1000 => "the hole",
        UNMAPPED..0x80_0000_1000 => "unmapped",
        UPPER..0xffff_ff80_0000_1000 => "the upper half",
        _ => "elsewhere",
    }
}

/// Probes.
pub fn probe(machine: &Machine) {
    instruction!("load from nothing", HOLE, "ldr {value}, [{address}]");
    instruction!("byte from nothing", HOLE + 1, "ldrb {value:w}, [{address}]");
    instruction!("store to nothing", HOLE, "str {value}, [{address}]");
    instruction!("exclusive from nothing", HOLE, "ldxr {value}, [{address}]");
    instruction!("pair from nothing", HOLE, "ldp {value}, {other}, [{address}]");
    instruction!("write-back from nothing", HOLE, "ldr {value}, [{address}], #8");
    instruction!("unaligned from a device", HOLE + 1, "ldr {value}, [{address}]");
    instruction!("load from unmapped", UNMAPPED, "ldr {value}, [{address}]");
    instruction!("store to unmapped", UNMAPPED, "str {value}, [{address}]");
    instruction!("load from the upper half", UPPER, "ldr {value}, [{address}]");
    instruction!("clean of nothing", HOLE, "dc cvac, {address}");
    instruction!("clean of unmapped", UNMAPPED, "dc cvac, {address}");
    instruction!("SVC", 0, "svc #0x55\n nop");
    instruction!("UDF", 0, "udf #7");
    // Where there is no firmware, EL3 is a void.
    if machine.psci.is_some() {
        instruction!("SMC with a number that is none", 0, "smc #0x55");
    }
    translation();
    devices();
}

/// PAR_EL1 without the address.
fn translation() {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    static HERE: u64 = 0;
    for (name, address) in [
        ("memory", &raw const HERE as usize),
        ("nothing", HOLE),
        ("unmapped", UNMAPPED),
        ("the upper half", UPPER),
    ] {
        macro_rules! at {
            ($what:literal) => {
                let seen = attempt(|| {
                    // SAFETY: address translation writes PAR_EL1 only.
                    unsafe { asm!(concat!("at ", $what, ", {}"), "isb", in(reg) address, options(nostack)) };
                    let result = read_register!("par_el1");
                    if result & 1 == 0 { result & !ADDRESS } else { result }
                });
                line(format_args!("at {} of {name}", $what), Outcome::from(seen));
            };
        }
        at!("s1e1r");
        at!("s1e1w");
        at!("s1e0r");
        at!("s1e0w");
    }
}

/// A register of a device that a hypervisor emulates, in every form of load and store that the bare device takes.
fn devices() {
    let Some(gic) = gic::get() else { return };
    // GICD_IPRIORITYR of the last interrupts below 64: memory-like.
    let place = gic.distributor() + 0x400 + 0x3c;
    // SAFETY: priorities of interrupts that are disabled.
    unsafe { write32(place, 0x1020_3040) };
    instruction!("device: word", place, "ldr {value:w}, [{address}]");
    instruction!("device: signed word", place, "ldrsw {value}, [{address}]");
    instruction!("device: byte", place + 1, "ldrb {value:w}, [{address}]");
    instruction!("device: signed byte", place + 3, "ldrsb {value}, [{address}]");
    instruction!("device: acquire", place, "ldar {value:w}, [{address}]");
    instruction!("device: unscaled", place, "ldur {value:w}, [{address}]");
    instruction!("device: post-indexed", place, "ldr {value:w}, [{address}], #4");
    instruction!("device: pre-indexed", place - 4, "ldr {value:w}, [{address}, #4]!");
    instruction!("device: pair", place - 4, "ldp {other:w}, {value:w}, [{address}]");
    instruction!("device: pair, post-indexed", place - 4, "ldp {other:w}, {value:w}, [{address}], #8");
    instruction!("device: exclusive", place, "ldxr {value:w}, [{address}]\n clrex");
    // ID_AA64ISAR0_EL1.Atomic.
    if read_register!("id_aa64isar0_el1") >> 20 & 0xf != 0 {
        instruction!(
            "device: atomic",
            place,
            ".arch_extension lse\n ldadd wzr, {value:w}, [{address}]\n .arch_extension nolse"
        );
    }
    instruction!("device: store", place, "mov {value}, #0x50\n str {value:w}, [{address}]");
    // SAFETY: as above.
    number("device: stored", unsafe { read32(place) });
    instruction!("device: store, post-indexed", place, "mov {value}, #0x60\n str {value:w}, [{address}], #4");
    // SAFETY: as above.
    number("device: stored, post-indexed", unsafe { read32(place) });
    instruction!(
        "device: store of a pair",
        place - 4,
        "mov {value}, #0x70\n stp {value:w}, {value:w}, [{address}]"
    );
    // SAFETY: as above.
    number("device: stored by a pair", unsafe { read32(place) });
    instruction!("device: zero register", place, "str wzr, [{address}]");
    // SAFETY: as above.
    number("device: stored from the zero register", unsafe { read32(place) });
}
