// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the board is powered off, from the first word on the console on.

use super::Refusal;
use crate::alive::BoardWatchdog;
use crate::memory;
use bulkhead_plan::board::Conduit;
use bulkhead_plan::early::Outline;
use bulkhead_plan::plan::Plan;
use bulkhead_platform::bcm2835::PowerManager;
use bulkhead_platform::firmware::Firmware;
use bulkhead_platform::mmio::Registers;
use bulkhead_platform::power::Power;
use bulkhead_types::{Hpa, Range};
use spin::Once;

/// The board's tree, in which it is looked up when it is needed.
static TREE: Once<Outline<'static>> = Once::new();

/// Keeps the board's tree for an end before the whole board is read.
pub fn keep(tree: Outline<'static>) {
    TREE.call_once(|| tree);
}

/// Firmware comes first: it knows best what is to be done before the power goes.
fn power(psci: Option<Conduit>, manager: Option<PowerManager>) -> Power {
    match (psci, manager) {
        (None, Some(manager)) => Power::Bcm2835(manager),
        _ => Power::Firmware(firmware(psci)),
    }
}

/// The firmware that is called in this way.
pub fn firmware(psci: Option<Conduit>) -> Firmware {
    match psci {
        Some(Conduit::Smc) => Firmware::Smc,
        // From EL2 an HVC leads to EL2: a board's tree that says so is refused.
        Some(Conduit::Hvc) | None => Firmware::None,
    }
}

/// What powers the board off before there is a system: maps it when it is needed.
pub fn early() -> Option<Power> {
    let tree = TREE.get()?;
    Some(power(tree.psci(), tree.power_manager().and_then(|registers| map(registers).ok())))
}

fn map(registers: Range<Hpa>) -> Result<PowerManager, Refusal> {
    Ok(PowerManager::new(memory::map_device(registers)?))
}

/// What powers the board off from now on, and the board's watchdog if the hypervisor is to run it. A power manager that
/// the plan gives to a partition is that partition's, watchdog and all, and a board without PSCI then waits instead of
/// going off. Else its watchdog is stopped, should the firmware have started it: nobody would keep it from biting.
pub fn take(psci: Option<Conduit>, plan: &Plan) -> Result<(Power, Option<BoardWatchdog>), Refusal> {
    let manager = TREE.get().and_then(Outline::power_manager);
    let given = |registers: &Range<Hpa>| {
        let mut devices = plan.partitions.iter().flat_map(|partition| &partition.devices);
        devices.any(|device| device.registers.iter().any(|pages| pages.overlaps(registers)))
    };
    let manager = manager.filter(|registers| !given(registers)).map(map).transpose()?;
    match manager {
        Some(manager) => manager.stop_watchdog(),
        // The plan has found one, in the tree with overlays.
        None if plan.policy.watchdog.is_some() => {
            return Err("the board's watchdog cannot be run: the tree that the firmware passes on has no power manager at a \
                        bus of its root, or a partition has it; change that tree, for an overlay comes too late"
                .into());
        }
        None => {}
    }
    let watchdog =
        manager.zip(plan.policy.watchdog).map(|(manager, seconds)| BoardWatchdog::new(manager, seconds));
    Ok((power(psci, manager), watchdog))
}

/// Powers the board off while translation is off.
pub fn off_untranslated(tree: &Outline<'_>) {
    let manager = tree.power_manager().map(|registers| {
        // SAFETY: translation is off, so the registers can be reached as Device memory; the power
        // manager writes to no memory.
        let registers = unsafe { Registers::new(registers.start().0 as usize, registers.size() as usize) };
        PowerManager::new(registers)
    });
    power(tree.psci(), manager).system_off();
}
