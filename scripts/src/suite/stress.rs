// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Linux under stress: what an administrator does to a machine, many times over.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::scenarios::finish;
use super::shell::{command, power_off, prompt};
use crate::machine::Machine;
use anyhow::{Result, ensure};

const DEBIAN: &str = "debian-12";

/// Every scenario, with the boards of its own.
pub const ALL: &[Scenario] = &[
    Scenario { name: "hotplug-100-times", run: hotplug },
    Scenario { name: "suspend-and-resume", run: suspend },
];

/// What a kernel says that is not well.
pub(super) fn complaints(machine: &mut Machine) -> Result<()> {
    let search =
        "dmesg | grep -E 'WARN|BUG|stall|lockup|Oops|Call trace|clocksource.*(unstable|skew)' | head -n 20";
    let found = command(machine, "linux", search, 30)?;
    ensure!(found.is_empty(), "the kernel complains: {}", found.join("\n"));
    Ok(())
}

/// Every CPU but the first goes off and comes back a hundred times.
fn hotplug(lab: &mut Lab) -> Result<()> {
    const SCRIPT: &str = "cd /sys/devices/system/cpu; i=0; while [ $i -lt 100 ]; do i=$((i+1)); for c in 1 2 3; do \
         echo 0 >cpu$c/online && echo 1 >cpu$c/online || echo \"round $i, CPU $c\"; done; done; cat online";
    let mut machine = lab.boot(&[Partition::linux("linux", DEBIAN, 0..4, 512)])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    let online = command(&mut machine, "linux", SCRIPT, 120)?;
    ensure!(online == ["0-3"], "after a hundred rounds: {online:?}");
    complaints(&mut machine)?;
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// Linux sleeps in each way that it offers, and its clock's alarm wakes it.
fn suspend(lab: &mut Lab) -> Result<()> {
    let mut linux = Partition::linux("linux", DEBIAN, 0..2, 512);
    linux.more.push_str(" devices = \"/pl031@9010000\";");
    let mut machine = lab.boot(&[linux])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    let offered = command(&mut machine, "linux", "cat /sys/power/state", 20)?.join(" ");
    ensure!(offered.contains("mem"), "the kernel finds no way to suspend: {offered}");
    for state in offered.split_whitespace().filter(|state| *state != "disk") {
        let script =
            format!("echo +3 >/sys/class/rtc/rtc0/wakealarm && echo {state} >/sys/power/state && nproc");
        let awake = command(&mut machine, "linux", &script, 60)?;
        ensure!(awake.last().is_some_and(|cpus| cpus == "2"), "after {state}: {awake:?}");
    }
    let count = command(&mut machine, "linux", "cat /sys/power/suspend_stats/success", 20)?;
    ensure!(count == ["2"], "suspended {count:?} times of {offered}");
    complaints(&mut machine)?;
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}
