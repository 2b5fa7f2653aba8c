// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware below: PSCI calls that EL2 makes (DEN 0022F.b), by SMC.

use bulkhead_types::Mpidr;
use smccc::arch::{SMCCC_ARCH_FEATURES, SMCCC_VERSION};
use smccc::psci::error::NOT_SUPPORTED;
use smccc::psci::{Error, PSCI_CPU_ON_64, PSCI_FEATURES, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET, PSCI_VERSION};

/// How EL2 calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// PSCI by SMC, to EL3.
    Smc,
    /// No PSCI.
    None,
}

impl Firmware {
    /// Starts `cpu` at the physical address `entry` with `context` in x0, MMU and caches off.
    ///
    /// # Errors
    /// What the firmware says.
    pub fn cpu_on(self, cpu: Mpidr, entry: u64, context: u64) -> Result<(), Error> {
        let [status, ..] = self.call(PSCI_CPU_ON_64, [cpu.affinity(), entry, context]);
        if status as i32 == 0 { Ok(()) } else { Err(Error::from(status as i32)) }
    }

    /// Powers the board off. Returns only where the firmware cannot.
    pub fn system_off(self) {
        self.ask(PSCI_SYSTEM_OFF, 0);
    }

    /// Resets the board. Returns only where the firmware cannot.
    pub fn system_reset(self) {
        self.ask(PSCI_SYSTEM_RESET, 0);
    }

    /// Whether the firmware keeps to the SMC Calling Convention 1.1 or later. SMCCC_VERSION may be called
    /// only where PSCI_FEATURES knows it (DEN 0028G, B).
    fn has_calling_convention(self) -> bool {
        const PSCI_1_0: i32 = 1 << 16;
        self.ask(PSCI_VERSION, 0) >= PSCI_1_0 && self.ask(PSCI_FEATURES, SMCCC_VERSION) >= 0
    }

    /// What the firmware answers SMCCC_ARCH_FEATURES about `function` on this CPU (DEN 0028):
    /// negative where it, or the calling convention itself, is not there.
    #[must_use]
    #[inline(never)]
    pub fn feature(self, function: u32) -> i32 {
        if self.has_calling_convention() { self.ask(SMCCC_ARCH_FEATURES, function) } else { NOT_SUPPORTED }
    }

    /// Calls `function`, with one argument; its answer in w0.
    #[inline(never)]
    pub fn ask(self, function: u32, argument: u32) -> i32 {
        let [answer, ..] = self.call(function, [argument.into(), 0, 0]);
        answer as i32
    }

    /// Whether the firmware serves random numbers: TRNG_VERSION 1.0 or later (DEN 0098).
    #[must_use]
    pub fn has_random(self) -> bool {
        const TRNG_VERSION: u32 = 0x8400_0050;
        self.has_calling_convention() && self.ask(TRNG_VERSION, 0) >= 1 << 16
    }

    /// 64 random bits, if there are any for now (DEN 0098, TRNG_RND: the lowest are in x3).
    #[must_use]
    pub fn random(self) -> Option<u64> {
        const TRNG_RND64: u32 = 0xc400_0053;
        let [status, _, _, bits, ..] = self.call(TRNG_RND64, [64, 0, 0]);
        (status == 0).then_some(bits)
    }

    /// Calls `function`: its answers, or NOT_SUPPORTED where there is nobody to call.
    #[inline(never)]
    fn call(self, function: u32, [x1, x2, x3]: [u64; 3]) -> [u64; 18] {
        let mut arguments = [0; 17];
        [arguments[0], arguments[1], arguments[2]] = [x1, x2, x3];
        match self {
            Self::Smc => smccc::smc64(function, arguments),
            Self::None => [NOT_SUPPORTED as u64; 18],
        }
    }
}
