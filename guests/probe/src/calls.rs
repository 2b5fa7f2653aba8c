// SPDX-License-Identifier: Apache-2.0 OR MIT
//! HVC and SMC: the calling convention, what the hypervisor tells of itself, and unknown calls.

use core::arch::asm;

use guest_runtime::exception::{Taken, attempt};
use guest_runtime::machine::Conduit;
use guest_runtime::power::{call, call_by};

use crate::report::Report;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;

const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
const HYPERVISOR_UID: u32 = 0x8600_ff01;
const TRNG_VERSION: u32 = 0x8400_0050;
const TRNG_RND64: u32 = 0xc400_0053;
const UUID: [u64; 4] = [0x621b_9f0e, 0x574c_3c6d, 0xc7b1_689a, 0xe3d5_a4f0];

/// Whether Bulkhead answers. Asked only where the tree says that somebody answers HVC.
pub fn hypervisor() -> bool {
    if guest_runtime::conduit() != Some(Conduit::Hvc) {
        return false;
    }
    let ([x0, x1, x2, x3, ..], taken) = try_call(Conduit::Hvc, HYPERVISOR_UID, [0; 3]);
    taken.is_none() && [x0, x1, x2, x3] == UUID
}

/// A call that may be UNDEFINED; x4 to x17 hold a pattern.
fn try_call(conduit: Conduit, function: u32, arguments: [u64; 3]) -> ([u64; 18], Option<Taken>) {
    let mut registers = core::array::from_fn(pattern);
    registers[0] = u64::from(function);
    registers[1..4].copy_from_slice(&arguments);
    // SAFETY: only calls that ask, or that nobody implements.
    attempt(|| unsafe { call_by(conduit, registers) })
}

fn pattern(register: usize) -> u64 {
    0x0123_4567_89ab_cd00 + register as u64
}

pub fn probe(report: &mut Report, hypervisor: bool) {
    // Natively SMC is UNDEFINED where there is no EL3, and HVC where there is no EL2.
    if hypervisor {
        for (name, conduit) in [("hvc", Conduit::Hvc), ("smc", Conduit::Smc)] {
            by(report, name, conduit);
        }
        random(report);
    }
}

fn by(report: &mut Report, name: &str, conduit: Conduit) {
    let x0 = |function, first| try_call(conduit, function, [first, 0, 0]).0[0] as i64;

    let version = x0(SMCCC_VERSION, 0);
    report.check(format_args!("{name}_smccc_version"), version >= 0x1_0002, version);
    report.equal(
        format_args!("{name}_arch_features_of_itself"),
        x0(SMCCC_ARCH_FEATURES, SMCCC_ARCH_FEATURES.into()),
        0,
    );
    report.equal(
        format_args!("{name}_arch_features_unknown"),
        x0(SMCCC_ARCH_FEATURES, 0x8000_7000),
        NOT_SUPPORTED,
    );
    report.equal(format_args!("{name}_psci_version"), x0(0x8400_0000, 0), 0x1_0001);
    // Silicon provider, OEM, trusted OS, yielding and reserved calls: none may reach firmware.
    for function in
        [0x8200_0000, 0xc300_0001, 0xb200_0000, 0xf200_0000, 0x0000_0000, 0x8400_0019, 0xffff_ffff]
    {
        let (registers, taken) = try_call(conduit, function, [1, 2, 3]);
        let kept = registers.iter().enumerate().skip(4).all(|(number, value)| *value == pattern(number));
        let right = taken.is_none() && registers[0] as i64 == NOT_SUPPORTED && kept;
        report.check(format_args!("{name}_unknown_call"), right, (function, taken, registers));
    }
    let (x0, taken) = attempt(|| immediate(conduit));
    report.check(format_args!("{name}_immediate"), taken.is_none() && x0 == NOT_SUPPORTED, (x0, taken));
}

/// PSCI_VERSION with an immediate that the convention does not have.
fn immediate(conduit: Conduit) -> i64 {
    let mut x0 = 0x8400_0000u64;
    // SAFETY: PSCI_VERSION only asks.
    unsafe {
        match conduit {
            Conduit::Hvc => asm!("hvc #0x4a48", inout("x0") x0, out("x1") _, out("x2") _, out("x3") _),
            Conduit::Smc => asm!("smc #0x4a48", inout("x0") x0, out("x1") _, out("x2") _, out("x3") _),
        }
    }
    x0 as i64
}

fn random(report: &mut Report) {
    // SAFETY: calls that only ask.
    let trng = |function, bits| unsafe { call(function, bits, 0, 0) };
    if trng(TRNG_VERSION, 0) == NOT_SUPPORTED {
        report.equal("trng_without_source", trng(TRNG_RND64, 64), NOT_SUPPORTED);
        return;
    }
    report.equal("trng_no_bits", trng(TRNG_RND64, 0), INVALID_PARAMETERS);
    report.equal("trng_too_many_bits", trng(TRNG_RND64, 193), INVALID_PARAMETERS);
    let draw = || try_call(Conduit::Hvc, TRNG_RND64, [192, 0, 0]).0;
    let (first, second) = (draw(), draw());
    report.check(
        "trng_differs",
        first[0] == 0 && second[0] == 0 && first[1..4] != second[1..4],
        (first, second),
    );
}
