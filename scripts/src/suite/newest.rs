// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The newest kernel that a release of Debian has: it boots, and wakes from every sleep, also alone on its CPU, where
//! no other CPU's interrupts hide one that does not come.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::scenarios::finish;
use super::shell::{command, interrupts, power_off, prompt};
use anyhow::{Result, ensure};

const NEWEST: &str = "debian-13-backports";

/// How many rounds of sleeps a test takes, at 3.3 s each.
const SHORT: u32 = 6;
/// Five minutes.
const LONG_ROUNDS: u32 = 90;

/// One CPU, for a board of each GIC.
pub const EACH_GIC: &[Scenario] = &[ON_1_CPU];

/// One CPU, which on QEMU's GICv2 once slept for ever.
pub const ON_1_CPU: Scenario =
    Scenario { name: "newest-linux-on-1-cpu", run: |lab| sleeps(lab, NEWEST, 1, SHORT) };

/// More CPUs, on one board.
pub const ALL: &[Scenario] = &[
    Scenario { name: "newest-linux-on-2-cpus", run: |lab| sleeps(lab, NEWEST, 2, SHORT) },
    Scenario { name: "newest-linux-on-4-cpus", run: |lab| sleeps(lab, NEWEST, 4, SHORT) },
];

/// Five minutes of it, with every build of the kernel that `scripts/setup --full` fetches.
pub const LONG: &[Scenario] = &[
    Scenario { name: "newest-linux-on-1-cpu-for-minutes", run: |lab| sleeps(lab, NEWEST, 1, LONG_ROUNDS) },
    Scenario { name: "newest-linux-on-2-cpus-for-minutes", run: |lab| sleeps(lab, NEWEST, 2, LONG_ROUNDS) },
    Scenario { name: "newest-linux-on-4-cpus-for-minutes", run: |lab| sleeps(lab, NEWEST, 4, LONG_ROUNDS) },
    Scenario { name: "newest-rt-linux-for-minutes", run: |lab| flavour(lab, "debian-13-backports-rt") },
    Scenario { name: "newest-cloud-linux-for-minutes", run: |lab| flavour(lab, "debian-13-backports-cloud") },
];

/// As [`LONG`], where the CPU translates granules of 16 KiB: of QEMU's models, `max` does.
pub const LONG_ON_MAX: &[Scenario] =
    &[Scenario { name: "newest-16k-linux-for-minutes", run: |lab| flavour(lab, "debian-13-backports-16k") }];

/// A build of the kernel with one, two and four CPUs.
fn flavour(lab: &mut Lab, kernel: &'static str) -> Result<()> {
    [1, 2, 4].into_iter().try_for_each(|cpus| sleeps(lab, kernel, cpus, LONG_ROUNDS))
}

/// Linux sleeps, looks at its interrupts, and sleeps again.
fn sleeps(lab: &mut Lab, kernel: &'static str, cpus: u32, rounds: u32) -> Result<()> {
    lab.guest_software(kernel)?;
    let mut machine = lab.boot(&[Partition::linux("linux", kernel, 0..cpus, 512)])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    let online = command(&mut machine, "linux", "nproc", 20)?;
    ensure!(online == [cpus.to_string()], "CPUs online: {online:?}");
    let timer = "grep arch_timer /proc/interrupts";
    let before = command(&mut machine, "linux", timer, 20)?;
    let script = format!(
        "for i in $(seq {rounds}); do sleep 1; sleep 2; usleep 300000; cat /proc/interrupts >/tmp/interrupts; done"
    );
    command(&mut machine, "linux", &script, u64::from(5 * rounds))?;
    let after = command(&mut machine, "linux", timer, 20)?;
    let count = |table: &[String]| {
        Ok::<u64, anyhow::Error>(interrupts(table, "arch_timer", cpus as usize)?.iter().sum())
    };
    let (before, after) = (count(&before)?, count(&after)?);
    // A sleep ends by an interrupt of the timer.
    ensure!(
        after >= before + u64::from(3 * rounds),
        "{rounds} rounds of sleeps bring the timer from {before} to {after}"
    );
    let complaints = "dmesg | grep -E 'WARN|BUG|stall|lockup|Oops|Call trace' | head -n 20";
    let complaints = command(&mut machine, "linux", complaints, 30)?;
    ensure!(complaints.is_empty(), "the kernel complains: {}", complaints.join("\n"));
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}
