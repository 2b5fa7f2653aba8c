// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the board is powered off, from the first word on the console on.

use super::Refusal;
use crate::memory;
use bulkhead_plan::early;
use bulkhead_plan::plan::Plan;
use bulkhead_plan::tree::Blob;
use bulkhead_platform::bcm2835::PowerManager;
use bulkhead_platform::firmware::Firmware;
use bulkhead_platform::mmio::Registers;
use bulkhead_platform::power::Power;
use bulkhead_types::{Hpa, Range};
use spin::Once;

/// What powers the board off, its registers not mapped yet.
#[derive(Clone, Copy)]
enum Found {
    Firmware(Firmware),
    Bcm2835(Range<Hpa>),
}

static FOUND: Once<Found> = Once::new();

/// Looks up what powers the board off, before the whole board is read.
pub fn find(tree: &Blob<'_>) {
    FOUND.call_once(|| found(tree));
}

/// Firmware comes first: it knows best what is to be done before the power goes.
fn found(tree: &Blob<'_>) -> Found {
    match (firmware(tree), early::power_manager(tree)) {
        (Firmware::None, Some(manager)) => Found::Bcm2835(manager),
        (firmware, _) => Found::Firmware(firmware),
    }
}

/// How the tree says that firmware is called.
fn firmware(tree: &Blob<'_>) -> Firmware {
    match tree.root().child("psci").and_then(|psci| psci.property("method")) {
        Some(b"smc\0") => Firmware::Smc,
        Some(b"hvc\0") => Firmware::Hvc,
        _ => Firmware::None,
    }
}

/// What powers the board off before there is a system: maps it when it is needed.
pub fn early() -> Option<Power> {
    match *FOUND.get()? {
        Found::Firmware(firmware) => Some(Power::Firmware(firmware)),
        Found::Bcm2835(registers) => manager(registers).ok(),
    }
}

fn manager(registers: Range<Hpa>) -> Result<Power, Refusal> {
    Ok(Power::Bcm2835(PowerManager::new(memory::map_device(registers)?)))
}

/// What powers the board off from now on. A power manager that the plan gives to a partition is that
/// partition's, watchdog and all, and the board then waits instead of going off. Else its watchdog is
/// stopped, should the firmware have started it: nobody would keep it from biting.
pub fn take(plan: &Plan) -> Result<Power, Refusal> {
    let registers = match FOUND.get() {
        Some(Found::Bcm2835(registers)) => *registers,
        Some(Found::Firmware(firmware)) => return Ok(Power::Firmware(*firmware)),
        None => return Ok(Power::Firmware(Firmware::None)),
    };
    let mut given = plan.partitions.iter().flat_map(|partition| &partition.devices);
    if given.any(|device| device.registers.iter().any(|(_, pages)| pages.overlaps(&registers))) {
        return Ok(Power::Firmware(Firmware::None));
    }
    let power = manager(registers)?;
    if let Power::Bcm2835(manager) = power {
        manager.stop_watchdog();
    }
    Ok(power)
}

/// Powers the board off while translation is off.
pub fn off_untranslated(tree: &Blob<'_>) {
    match found(tree) {
        Found::Firmware(firmware) => firmware.system_off(),
        Found::Bcm2835(registers) => {
            // SAFETY: translation is off, so the registers can be reached as Device memory; the power
            // manager writes to no memory.
            let registers =
                unsafe { Registers::new(registers.start().0 as usize, registers.size() as usize) };
            PowerManager::new(registers).power_off();
        }
    }
}
