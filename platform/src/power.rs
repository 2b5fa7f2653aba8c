// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a board is powered off and reset: by its firmware, or by a device of its own.

use crate::bcm2835::PowerManager;
use crate::firmware::Firmware;

/// What powers the board off.
#[derive(Clone, Copy, Debug)]
pub enum Power {
    /// The firmware, by PSCI; nothing, if there is none.
    Firmware(Firmware),
    /// The power manager of Broadcom's BCM2835 family.
    Bcm2835(PowerManager),
}

impl Power {
    /// Powers the board off. Returns where that is not possible, or takes a moment.
    pub fn system_off(self) {
        match self {
            Self::Firmware(firmware) => firmware.system_off(),
            Self::Bcm2835(manager) => manager.power_off(),
        }
    }

    /// Resets the board. Returns where that is not possible, or takes a moment.
    pub fn system_reset(self) {
        match self {
            Self::Firmware(firmware) => firmware.system_reset(),
            Self::Bcm2835(manager) => manager.reset(),
        }
    }
}
