// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is special to Broadcom's BCM2835 family, up to the Raspberry Pi 4's BCM2711: its power manager,
//! which resets the board and, where there is no PSCI, powers it off.
//!
//! No public document describes it; the registers are those of Linux's `bcm2835_wdt` driver and of QEMU's
//! model. A reset comes from the watchdog; what the boot ROM finds in the status register afterwards
//! tells it which partition to boot from, and number 63 makes it halt instead.
//!
//! Tried on QEMU's `raspi4b`; not yet seen on hardware.

use crate::mmio::Registers;

const RESET_CONTROL: usize = 0x1c;
/// What the watchdog does when it expires: nothing, or a full reset.
const RESET_CONTROL_ACTION: u32 = 0x30;
const RESET_CONTROL_FULL_RESET: u32 = 0x20;
/// Writes that stop the watchdog.
const RESET_CONTROL_STOP: u32 = 0x102;

const RESET_STATUS: usize = 0x20;
/// The number of the partition to boot from, a bit of it in every second bit from 0 to 10.
const RESET_STATUS_PARTITION: u32 = 0x555;

const WATCHDOG: usize = 0x24;
/// Its 20 bits count down.
const TICKS_PER_SECOND: u32 = 1 << 16;
const LONGEST: u32 = 0xf_ffff;
/// So many ticks are long enough for the writes before to have settled.
const SOON: u32 = 10;

/// Bytes of the registers used here.
pub const SIZE: usize = 0x28;

/// A write without it is ignored.
const PASSWORD: u32 = 0x5a00_0000;
/// The password's place reads as something else.
const VALUE: u32 = 0x00ff_ffff;

/// The power manager.
#[derive(Clone, Copy, Debug)]
pub struct PowerManager {
    registers: Registers,
}

impl PowerManager {
    /// The power manager with these registers.
    #[must_use]
    pub const fn new(registers: Registers) -> Self {
        Self { registers }
    }

    /// Resets the board and has the boot ROM halt: as near to off as the board comes. Returns before it
    /// happens.
    pub fn power_off(self) {
        self.boot_from(RESET_STATUS_PARTITION);
        self.expire(SOON);
    }

    /// Resets the board. Returns before it happens.
    pub fn reset(self) {
        self.boot_from(0);
        self.expire(SOON);
    }

    /// Starts the watchdog, or starts it again: the board is reset unless that happens within so many seconds, 15 at
    /// most.
    pub fn start_watchdog(self, seconds: u32) {
        self.expire(seconds.saturating_mul(TICKS_PER_SECOND).min(LONGEST));
    }

    /// Stops the watchdog, should the firmware have started it.
    pub fn stop_watchdog(self) {
        self.write(RESET_CONTROL, RESET_CONTROL_STOP);
    }

    /// Says where the boot ROM boots from; everything else in the register stays.
    fn boot_from(self, partition: u32) {
        let others = self.read(RESET_STATUS) & !RESET_STATUS_PARTITION;
        self.write(RESET_STATUS, others | partition);
    }

    fn expire(self, ticks: u32) {
        self.write(WATCHDOG, ticks);
        let others = self.read(RESET_CONTROL) & !RESET_CONTROL_ACTION;
        self.write(RESET_CONTROL, others | RESET_CONTROL_FULL_RESET);
    }

    fn read(self, offset: usize) -> u32 {
        self.registers.read32(offset) & VALUE
    }

    fn write(self, offset: usize, value: u32) {
        self.registers.write32(offset, PASSWORD | value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    fn fake() -> Fake<{ SIZE / 4 }> {
        let fake = Fake::new();
        fake.set(RESET_STATUS, 0x7000_1abb);
        fake.set(RESET_CONTROL, 0x7000_0112);
        fake
    }

    #[test]
    fn power_off_is_a_reset_into_partition_63() {
        let fake = fake();
        PowerManager::new(fake.registers()).power_off();
        assert_eq!(fake.get(RESET_STATUS), 0x5a00_1fff);
        assert_eq!(fake.get(WATCHDOG), 0x5a00_000a);
        assert_eq!(fake.get(RESET_CONTROL), 0x5a00_0122);
    }

    #[test]
    fn reset_boots_from_the_usual_partition() {
        let fake = fake();
        PowerManager::new(fake.registers()).reset();
        assert_eq!(fake.get(RESET_STATUS), 0x5a00_1aaa);
        assert_eq!(fake.get(RESET_CONTROL), 0x5a00_0122);
    }

    #[test]
    fn a_watchdog_is_started_and_started_again() {
        let fake = fake();
        for (seconds, ticks) in [(1, 0x5a01_0000), (15, 0x5a0f_0000), (16, 0x5a0f_ffff)] {
            PowerManager::new(fake.registers()).start_watchdog(seconds);
            assert_eq!(fake.get(WATCHDOG), ticks);
            assert_eq!(fake.get(RESET_CONTROL), 0x5a00_0122);
            assert_eq!(fake.get(RESET_STATUS), 0x7000_1abb, "where to boot from is the firmware's");
        }
    }

    #[test]
    fn a_watchdog_is_stopped() {
        let fake = fake();
        PowerManager::new(fake.registers()).stop_watchdog();
        assert_eq!(fake.get(RESET_CONTROL), 0x5a00_0102);
    }
}
