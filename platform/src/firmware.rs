// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware below: PSCI calls that EL2 makes (DEN 0022F.b), by the conduit that the tree names.

use bulkhead_types::Mpidr;
use smccc::psci::{self, Error};
use smccc::{Hvc, Smc};

/// How EL2 calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// PSCI by SMC, to EL3.
    Smc,
    /// PSCI by HVC: what is below is a hypervisor itself.
    Hvc,
    /// No PSCI.
    None,
}

macro_rules! call {
    ($conduit:expr, $none:expr, $function:ident($($argument:expr),*)) => {
        match $conduit {
            Firmware::Smc => psci::$function::<Smc>($($argument),*),
            Firmware::Hvc => psci::$function::<Hvc>($($argument),*),
            Firmware::None => $none,
        }
    };
}

impl Firmware {
    /// Starts `cpu` at the physical address `entry` with `context` in x0, MMU and caches off.
    ///
    /// # Errors
    /// What the firmware says.
    pub fn cpu_on(self, cpu: Mpidr, entry: u64, context: u64) -> Result<(), Error> {
        call!(self, Err(Error::NotSupported), cpu_on(cpu.affinity(), entry, context))
    }

    /// Powers the board off. Returns only where the firmware cannot.
    pub fn system_off(self) {
        // The only outcome that returns is an error, and the caller falls back to halting.
        let _ = call!(self, Err(Error::NotSupported), system_off());
    }

    /// Resets the board. Returns only where the firmware cannot.
    pub fn system_reset(self) {
        let _ = call!(self, Err(Error::NotSupported), system_reset());
    }

    /// Whether the firmware keeps to the SMC Calling Convention 1.1 or later. SMCCC_VERSION may be called
    /// only where PSCI_FEATURES knows it (DEN 0028G, B).
    fn has_calling_convention(self) -> bool {
        const PSCI_1_0: u32 = 1 << 16;
        const SMCCC_VERSION: u32 = 0x8000_0000;
        let psci_version = call!(self, Err(Error::NotSupported), version()).map(u32::from);
        psci_version.is_ok_and(|version| version >= PSCI_1_0)
            && call!(self, Err(Error::NotSupported), psci_features(SMCCC_VERSION)).is_ok()
    }

    /// What the firmware answers SMCCC_ARCH_FEATURES about `function` on this CPU (DEN 0028):
    /// negative where it, or the calling convention itself, is not there.
    #[must_use]
    pub fn feature(self, function: u32) -> i32 {
        const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
        if self.has_calling_convention() { self.ask(SMCCC_ARCH_FEATURES, function) } else { NOT_SUPPORTED }
    }

    /// Calls `function`, of the architecture's, with one argument; its answer in w0.
    pub fn ask(self, function: u32, argument: u32) -> i32 {
        let arguments = [argument, 0, 0, 0, 0, 0, 0];
        let [answer, ..] = match self {
            Self::Smc => smccc::smc32(function, arguments),
            Self::Hvc => smccc::hvc32(function, arguments),
            Self::None => return NOT_SUPPORTED,
        };
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
        let mut arguments = [0; 17];
        arguments[0] = 64;
        let [status, _, _, bits, ..] = match self {
            Self::Smc => smccc::smc64(TRNG_RND64, arguments),
            Self::Hvc => smccc::hvc64(TRNG_RND64, arguments),
            Self::None => return None,
        };
        (status == 0).then_some(bits)
    }
}

/// NOT_SUPPORTED of the SMC Calling Convention.
const NOT_SUPPORTED: i32 = -1;
