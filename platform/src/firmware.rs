// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware below: PSCI calls that EL2 makes (DEN 0022F.b), by the conduit that the tree names.

use bulkhead_types::Mpidr;
use smccc::psci::{self, Error};
use smccc::{Hvc, Smc, arch};

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

    /// What the firmware answers SMCCC_ARCH_FEATURES about `function` on this CPU (DEN 0028G, 7.3):
    /// negative where it, or the calling convention itself, is not there.
    #[must_use]
    pub fn feature(self, function: u32) -> i32 {
        const PSCI_1_0: u32 = 1 << 16;
        const SMCCC_VERSION: u32 = 0x8000_0000;
        // SMCCC_VERSION may be called only where PSCI_FEATURES knows it (DEN 0028G, B).
        let psci_version = call!(self, Err(Error::NotSupported), version()).map(u32::from);
        if !psci_version.is_ok_and(|version| version >= PSCI_1_0)
            || call!(self, Err(Error::NotSupported), psci_features(SMCCC_VERSION)).is_err()
        {
            return NOT_SUPPORTED;
        }
        let answer = match self {
            Self::Smc => arch::features::<Smc>(function),
            Self::Hvc => arch::features::<Hvc>(function),
            Self::None => return NOT_SUPPORTED,
        };
        answer.map_or(NOT_SUPPORTED, |answer| answer as i32)
    }

    /// Calls the firmware's workaround `function` with `argument`: see the architecture's three.
    pub fn mitigate(self, function: u32, argument: u32) {
        let arguments = [argument, 0, 0, 0, 0, 0, 0];
        match self {
            Self::Smc => _ = smccc::smc32(function, arguments),
            Self::Hvc => _ = smccc::hvc32(function, arguments),
            Self::None => {}
        }
    }
}

/// NOT_SUPPORTED of the SMC Calling Convention.
const NOT_SUPPORTED: i32 = -1;
