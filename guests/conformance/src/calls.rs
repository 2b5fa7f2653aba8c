// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls to firmware: PSCI's answers, and what a call leaves of the registers.

use bulkhead_types::Mpidr;
use guest_runtime::exception::attempt;
use guest_runtime::machine::{Conduit, Machine};
use guest_runtime::{cpu, power, smp};

use crate::report::{Outcome, line, whether};

const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;

/// Probes.
pub fn probe(machine: &Machine) {
    let Some(conduit) = machine.psci else { return };
    line("PSCI's conduit", format_args!("{conduit:?}"));
    let own = cpu::mpidr().affinity();
    let entry = smp::entry_address();
    let missing = machine.cpus().map(Mpidr::affinity).max().unwrap_or(0) + 0x200;
    for (name, function, arguments) in [
        ("version", 0x8400_0000, [0; 3]),
        ("migrate", 0x8400_0005, [own, 0, 0]),
        ("migrate info type", 0x8400_0006, [0; 3]),
        ("migrate info up CPU", 0xc400_0007, [0; 3]),
        ("CPU on, missing", CPU_ON, [missing, entry, 0]),
        ("CPU on, bit 31", CPU_ON, [own | 1 << 31, entry, 0]),
        ("CPU on, high bits", CPU_ON, [own | 1 << 40, entry, 0]),
        ("CPU on, self", CPU_ON, [own, entry, 0]),
        ("CPU on, self, 32 bits", CPU_ON & !(1 << 30), [own, entry, 0]),
        ("affinity info, self", AFFINITY_INFO, [own, 0, 0]),
        ("affinity info, self, 32 bits", AFFINITY_INFO & !(1 << 30), [own, 0, 0]),
        ("affinity info, missing", AFFINITY_INFO, [missing, 0, 0]),
        ("affinity info, level 1", AFFINITY_INFO, [own, 1, 0]),
        ("affinity info, level 3", AFFINITY_INFO, [own, 3, 0]),
        ("affinity info, level 4", AFFINITY_INFO, [own, 4, 0]),
        ("suspend, reserved bits", CPU_SUSPEND, [1 << 31, entry, 0]),
        ("default suspend", 0xc400_000c, [1, 0, 0]),
        ("node state, self", 0xc400_000d, [own, 0, 0]),
        ("system suspend, bad entry", 0xc400_000e, [1, 0, 0]),
        ("set suspend mode", 0x8400_000f, [7, 0, 0]),
        ("residency", 0xc400_0010, [own, 0, 0]),
        ("count", 0xc400_0011, [own, 0, 0]),
        ("reset 2, bad type", 0xc400_0012, [5, 0, 0]),
        ("memory protect", 0x8400_0013, [0; 3]),
        ("memory protect range", 0xc400_0014, [0x4000_0000, 1, 0]),
        ("unknown", 0x8400_001f, [0; 3]),
        ("SMCCC version", 0x8000_0000, [0; 3]),
        ("SMCCC features", 0x8000_0001, [0x8000_0000, 0, 0]),
        ("TRNG version", 0x8400_0050, [0; 3]),
    ] {
        line(format_args!("PSCI: {name}"), call(conduit, function, arguments));
    }
    for function in (0..32u32).flat_map(|number| [0x8400_0000 | number, 0xc400_0000 | number]) {
        line(
            format_args!("PSCI: features of {function:#x}"),
            call(conduit, 0x8400_000a, [u64::from(function), 0, 0]),
        );
    }
    preserved(conduit);
}

/// A call that only asks, or that must fail; the low word of x0.
fn call(conduit: Conduit, function: u32, [a, b, c]: [u64; 3]) -> Outcome {
    let mut registers = [0; 18];
    registers[..4].copy_from_slice(&[u64::from(function), a, b, c]);
    // SAFETY: nothing that is called changes what this program relies on.
    let (registers, taken) = attempt(|| unsafe { power::call_by(conduit, registers) });
    Outcome::from((registers[0], taken))
}

/// x4 to x17 of a call (DEN 0028, SMCCC 1.1 and later).
fn preserved(conduit: Conduit) {
    let mut before = [0; 18];
    for (number, register) in (0u64..).zip(&mut before) {
        *register = number.wrapping_mul(0x1111_1111_1111_1111);
    }
    before[0] = 0x8400_0000;
    // SAFETY: PSCI_VERSION.
    let after = unsafe { power::call_by(conduit, before) };
    whether("PSCI: x4 to x17 are kept", after[4..] == before[4..]);
}
