// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the hypervisor can run the board's watchdog as it is asked to.

use alloc::format;
use alloc::string::String;

use super::Inputs;
use crate::early::POWER_MANAGER;
use crate::error::{Errors, Problem};
use crate::partition::{Policy, WATCHDOG};
use crate::tree::Node;

/// The power manager counts 20 bits of 1/65536 s.
const LONGEST: u32 = 0xf_ffff >> 16;

pub(super) fn check(inputs: &Inputs<'_, '_>, parent: Node<'_, '_>, policy: &Policy, errors: &mut Errors) {
    let Some(seconds) = policy.watchdog else { return };
    let problem =
        |rule: String| Problem::new(parent.path(), rule).property(WATCHDOG).value(format!("<{seconds}>"));
    // Where boot looks for it, in the firmware's tree: `early::Outline::power_manager`.
    let is_manager = |node: Node<'_, '_>| node.is_compatible(POWER_MANAGER) && node.is_available();
    let root = inputs.tree.root();
    let is_broadcoms = root.strings("compatible").any(|name| name.starts_with("brcm,"));
    if !is_broadcoms || !root.children().any(|bus| bus.children().any(is_manager)) {
        let rule = format!("the board has no watchdog that Bulkhead can run, which is {POWER_MANAGER}");
        errors.push(problem(rule).advice("Leave the property out"));
    } else if !(1..=LONGEST).contains(&seconds) {
        let rule = format!("the board's watchdog counts from 1 to {LONGEST} seconds");
        errors.push(problem(rule));
    }
    if inputs.board.timer.hypervisor.is_none() {
        let rule = "a watchdog needs EL2's timer, whose interrupt the board's tree does not name";
        errors.push(
            problem(rule.into()).advice("Add it to /timer, interrupts: the fourth (arm,arch_timer.yaml)"),
        );
    }
}
