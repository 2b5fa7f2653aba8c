// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Linux under stress: what an administrator does to a machine, many times over.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::scenarios::finish;
use super::shell::{command, power_off, prompt};
use crate::machine::Machine;
use anyhow::{Result, ensure};
use std::ops::Range;

const DEBIAN: &str = "debian-12";

/// Scenarios for each GIC.
pub const EACH_GIC: &[Scenario] = &[Scenario { name: "hotplug-and-suspend", run: hotplug_and_suspend }];

/// Those that take long.
pub const LONG: &[Scenario] = &[Scenario { name: "hotplug-in-parallel", run: hotplug_in_parallel }];

/// What a kernel says that is not well.
pub(super) fn complaints(machine: &mut Machine) -> Result<()> {
    let search =
        "dmesg | grep -E 'WARN|BUG|stall|lockup|Oops|Call trace|clocksource.*(unstable|skew)' | head -n 20";
    let found = command(machine, "linux", search, 30)?;
    ensure!(found.is_empty(), "the kernel complains: {}", found.join("\n"));
    Ok(())
}

/// These CPUs go off and come back so often, while the first does not.
pub(super) fn hotplug(machine: &mut Machine, cpus: Range<u32>, rounds: u32) -> Result<()> {
    let last = cpus.end - 1;
    let cpus: Vec<_> = cpus.map(|cpu| cpu.to_string()).collect();
    let script = format!(
        "cd /sys/devices/system/cpu; i=0; while [ $i -lt {rounds} ]; do i=$((i+1)); for c in {}; do \
         echo 0 >cpu$c/online && echo 1 >cpu$c/online || echo \"round $i, CPU $c\"; done; done; cat online; cd",
        cpus.join(" ")
    );
    let online = command(machine, "linux", &script, 120)?;
    ensure!(online == [format!("0-{last}")], "after {rounds} rounds: {online:?}");
    Ok(())
}

/// A Linux that is not talkative.
fn boot(lab: &Lab) -> Result<Machine> {
    let mut linux = Partition::linux("linux", DEBIAN, 0..4, 512);
    linux.more.push_str(" devices = \"/pl031@9010000\";");
    let mut machine = lab.boot(&[linux])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    Ok(machine)
}

fn end(mut machine: Machine) -> Result<()> {
    complaints(&mut machine)?;
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// A hundred times, with all CPUs running at once.
fn hotplug_in_parallel(lab: &mut Lab) -> Result<()> {
    let mut machine = boot(lab)?;
    hotplug(&mut machine, 1..4, 100)?;
    end(machine)
}

/// A hundred times, and then Linux sleeps in each way that it offers, and its clock's alarm wakes it.
fn hotplug_and_suspend(lab: &mut Lab) -> Result<()> {
    lab.count_time_by_instructions();
    let mut machine = boot(lab)?;
    hotplug(&mut machine, 1..4, 100)?;
    let offered = command(&mut machine, "linux", "cat /sys/power/state", 20)?.join(" ");
    ensure!(offered.contains("mem"), "the kernel finds no way to suspend: {offered}");
    for state in offered.split_whitespace().filter(|state| *state != "disk") {
        let script =
            format!("echo +3 >/sys/class/rtc/rtc0/wakealarm && echo {state} >/sys/power/state && nproc");
        let awake = command(&mut machine, "linux", &script, 60)?;
        ensure!(awake.last().is_some_and(|cpus| cpus == "4"), "after {state}: {awake:?}");
    }
    let count = command(&mut machine, "linux", "cat /sys/power/suspend_stats/success", 20)?;
    ensure!(count == ["2"], "suspended {count:?} times of {offered}");
    end(machine)
}
