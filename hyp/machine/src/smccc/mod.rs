// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of a guest by HVC or SMC: the SMC Calling Convention (Arm DEN 0028), and through it PSCI, the
//! true random number generator (DEN 0098) and what the hypervisor tells of itself.
//!
//! No call is passed on to firmware, save the architectural workarounds that firmware said it has. Of
//! the general registers only x0 to x3 change, and only where the outcome says so.

#[cfg(test)]
mod tests;
mod trng;

pub use trng::{Entropy, Metered, NoEntropy};

use bulkhead_types::VcpuId;

use crate::psci::{self, Cpus, Wake};

/// The calling convention's version that is kept to: 1.2.
pub const VERSION: u32 = 1 << 16 | 2;

/// The hypervisor's version: major in the upper, minor in the lower half.
pub const HYPERVISOR_VERSION: u32 = 1;

/// The hypervisor's UUID, 0e9f1b62-6d3c-4c57-9a68-b1c7f0a4d5e3, as the convention lays it out in registers
/// (DEN 0028, general service queries): four bytes in each, the first in the lowest bits.
pub const HYPERVISOR_UUID: [u64; 4] = [0x621b_9f0e, 0x574c_3c6d, 0xc7b1_689a, 0xe3d5_a4f0];

/// Function IDs (DEN 0028).
pub mod function {
    #![expect(missing_docs, reason = "each is named as in the specification")]
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    pub const SMCCC_ARCH_SOC_ID: u32 = 0x8000_0002;
    pub const SMCCC_ARCH_WORKAROUND_1: u32 = 0x8000_8000;
    pub const SMCCC_ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
    pub const SMCCC_ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
    pub const HYPERVISOR_UID: u32 = 0x8600_ff01;
    pub const HYPERVISOR_REVISION: u32 = 0x8600_ff03;
    /// Of the vendor-specific hypervisor service: the guest cannot go on; x1 is a code of its own.
    pub const HYPERVISOR_CRASH: u32 = 0x8600_0001;
}
use function::*;

/// NOT_SUPPORTED, as a register holds it.
pub const NOT_SUPPORTED: u64 = u64::MAX;
/// INVALID_PARAMETER of the architecture's calls (DEN 0028): not PSCI's.
const INVALID_PARAMETER: u64 = -3i64 as u64;
const SUCCESS: u64 = 0;

/// A call: what a guest's registers and instruction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// W0.
    pub function: u32,
    /// X1, X2 and X3.
    pub arguments: [u64; 3],
    /// The immediate of the instruction; the convention has it 0.
    pub immediate: u16,
}

impl Call {
    /// The call that x0 to x3 and the immediate make.
    #[must_use]
    #[inline]
    pub const fn new([x0, x1, x2, x3]: [u64; 4], immediate: u16) -> Self {
        Self { function: x0 as u32, arguments: [x1, x2, x3], immediate }
    }

    /// The arguments: W registers where the function is of the 32-bit convention.
    #[must_use]
    #[inline]
    pub(crate) fn arguments_by_width(&self) -> [u64; 3] {
        let mask = if self.function & psci::WIDE != 0 { u64::MAX } else { 0xffff_ffff };
        self.arguments.map(|argument| argument & mask)
    }
}

/// What is to be done about a call. Where it says no other, the call returns to the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// x0 is this.
    Return(u64),
    /// x0 to x3 are these.
    Return4([u64; 4]),
    /// x0 is SUCCESS (0); the CPU of this vCPU is to be told that it starts.
    Started(VcpuId),
    /// The calling vCPU turns off. It does not return.
    CpuOff,
    /// The calling vCPU waits for an interrupt, then goes on as this says; on return x0 is SUCCESS.
    Suspend(Wake),
    /// The partition powers off. It does not return.
    SystemOff,
    /// The partition starts afresh. It does not return.
    SystemReset,
    /// The partition has crashed, by its own word; the code is whatever it means by it.
    Crash(u64),
    /// Firmware is to be called with this workaround's function ID in w0: nothing else of the guest's. x0 is SUCCESS
    /// afterwards.
    Mitigate {
        /// SMCCC_ARCH_WORKAROUND_1 or SMCCC_ARCH_WORKAROUND_3.
        function: u32,
    },
}

/// What the board's firmware tells of a CPU. Of each workaround what it answers SMCCC_ARCH_FEATURES: negative,
/// not there (or, for 2, -2: not required); 0, there and needed here; 1, not needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// SMCCC_ARCH_WORKAROUND_1 (CVE-2017-5715).
    pub workaround_1: i32,
    /// SMCCC_ARCH_WORKAROUND_2 (CVE-2018-3639).
    pub workaround_2: i32,
    /// SMCCC_ARCH_WORKAROUND_3 (CVE-2022-23960).
    pub workaround_3: i32,
    /// SMCCC_ARCH_SOC_ID: version and revision of the system on chip, where it is there.
    pub soc: Option<(u32, u32)>,
}

impl Told {
    /// Firmware that knows nothing.
    pub const NOTHING: Self = Self { workaround_1: -1, workaround_2: -1, workaround_3: -1, soc: None };
}

/// What the answer to a call depends on.
#[derive(Debug)]
pub struct Context<'a, C, E> {
    /// Who calls.
    pub caller: VcpuId,
    /// The partition's CPUs.
    pub cpus: &'a C,
    /// What firmware said of the calling CPU.
    pub told: &'a Told,
    /// Where random numbers come from; [`NoEntropy`] where there is no source.
    pub entropy: &'a E,
}

/// The answer to a function that depends on nothing, for whoever has no time for [`handle`].
#[must_use]
#[inline(always)]
pub const fn constant(function: u32) -> Option<u64> {
    match function {
        psci::function::PSCI_VERSION => Some(psci::VERSION as u64),
        _ => None,
    }
}

/// Answers a call. Both conduits serve the same functions.
#[inline]
pub fn handle<C: Cpus, E: Entropy>(call: &Call, context: &Context<'_, C, E>) -> Outcome {
    if call.immediate != 0 {
        return Outcome::Return(NOT_SUPPORTED);
    }
    match call.function {
        function if function & !(1 << 30 | 0x1f) == 0x8400_0000 => {
            psci::handle(call, context.caller, context.cpus)
        }
        SMCCC_VERSION => Outcome::Return(VERSION as u64),
        SMCCC_ARCH_WORKAROUND_1 => mitigate(call, context.told.workaround_1),
        SMCCC_ARCH_WORKAROUND_2 => stays_on(context.told.workaround_2),
        SMCCC_ARCH_WORKAROUND_3 => mitigate(call, context.told.workaround_3),
        SMCCC_ARCH_FEATURES => arch_features(call, context.told),
        SMCCC_ARCH_SOC_ID => Outcome::Return(soc_id(context.told, call.arguments[0] as u32)),
        0x8400_0050..=0x8400_005f | 0xc400_0050..=0xc400_005f => trng::handle(*call, context.entropy),
        0x8600_0000..=0x8600_ffff => hypervisor(*call),
        _ => Outcome::Return(NOT_SUPPORTED),
    }
}

/// Answers the calls that are the hypervisor's own, and refuses the rest. Kept apart from the frequent ones, which keep the call in
/// registers: this has a copy.
#[cold]
#[inline(never)]
fn hypervisor(call: Call) -> Outcome {
    match call.function {
        HYPERVISOR_CRASH => Outcome::Crash(call.arguments_by_width()[0]),
        HYPERVISOR_UID => Outcome::Return4(HYPERVISOR_UUID),
        HYPERVISOR_REVISION => {
            let [x2, x3] = [call.arguments[1], call.arguments[2]];
            Outcome::Return4([
                u64::from(HYPERVISOR_VERSION >> 16),
                u64::from(HYPERVISOR_VERSION & 0xffff),
                x2,
                x3,
            ])
        }
        _ => Outcome::Return(NOT_SUPPORTED),
    }
}

/// SMCCC_ARCH_FEATURES (DEN 0028): zero for what is there, firmware's own words about workarounds.
fn arch_features(call: &Call, told: &Told) -> Outcome {
    Outcome::Return(match call.arguments[0] as u32 {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => 0,
        SMCCC_ARCH_SOC_ID if told.soc.is_some() => 0,
        SMCCC_ARCH_WORKAROUND_1 => told.workaround_1 as u64,
        // Where firmware could switch it, EL2 has switched it on for good: "not required".
        SMCCC_ARCH_WORKAROUND_2 => match told.workaround_2 {
            0 => 1,
            other => other as u64,
        },
        SMCCC_ARCH_WORKAROUND_3 => told.workaround_3 as u64,
        _ => NOT_SUPPORTED,
    })
}

/// SMCCC_ARCH_SOC_ID (DEN 0028): the version, or the revision, as the firmware told it at boot.
fn soc_id(told: &Told, which: u32) -> u64 {
    match (told.soc, which) {
        (None, _) => NOT_SUPPORTED,
        (Some((version, _)), 0) => version.into(),
        (Some((_, revision)), 1) => revision.into(),
        (Some(_), _) => INVALID_PARAMETER,
    }
}

/// SMCCC_ARCH_WORKAROUND_2 switches a mitigation for all exception levels of the CPU, EL2's too: it stays on (DEN 0028,
/// "not required": the call is there and has no effect).
fn stays_on(firmware: i32) -> Outcome {
    Outcome::Return(if firmware >= 0 { SUCCESS } else { NOT_SUPPORTED })
}

/// A workaround is called in firmware only where firmware says that it is there and does something.
fn mitigate(call: &Call, firmware: i32) -> Outcome {
    match firmware {
        0 => Outcome::Mitigate { function: call.function },
        1.. => Outcome::Return(SUCCESS),
        _ => Outcome::Return(NOT_SUPPORTED),
    }
}
