// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Linux uses what the machine has: PMU, debug registers, AArch32, timers, another kernel, a watchdog. Most of it is
//! done by our program `guests/strain`, which lies in the ramdisk.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::life::{witness, witness_lost_nothing};
use super::scenarios::finish;
use super::shell::{command, interrupts, power_off, prompt, wait};
use super::stress::{complaints, hotplug};
use crate::board::Board;
use crate::build;
use crate::console::HYPERVISOR;
use crate::machine::Machine;
use anyhow::{Result, bail, ensure};
use regex::Regex;
use std::fs;
use std::io::Write;

const DEBIAN: &str = "debian-12";
const BACKPORTS: &str = "debian-12-backports";

/// Scenarios for one board.
pub const ALL: &[Scenario] = &[
    Scenario { name: "instructions-counted", run: instructions },
    Scenario { name: "linux-watchdog", run: watchdog },
];

/// Scenarios for each GIC.
pub const EACH_GIC: &[Scenario] = &[Scenario { name: "linux-strained", run: |lab| strained(lab, 10) }];

/// Those that take long.
pub const LONG: &[Scenario] =
    &[Scenario { name: "linux-strained-for-minutes", run: |lab| strained(lab, 300) }];

/// A ramdisk with further files, in the format of Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.
fn ramdisk(mut base: Vec<u8>, files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let pad = |archive: &mut Vec<u8>| archive.resize(archive.len().next_multiple_of(4), 0);
    pad(&mut base);
    let end = ("TRAILER!!!", Vec::new());
    for (name, content) in files.iter().chain([&end]) {
        let (size, length) = (content.len(), name.len() + 1);
        write!(
            base,
            "070701{:08x}{:08x}{:032x}{size:08x}{:032x}{length:08x}{:08x}",
            0,
            0o100_755,
            1_u128 << 32,
            0,
            0
        )?;
        base.extend_from_slice(name.as_bytes());
        base.push(0);
        pad(&mut base);
        base.extend_from_slice(content);
        pad(&mut base);
    }
    Ok(base)
}

/// The usual ramdisk with our program.
fn with_strain(lab: &Lab) -> Result<Vec<u8>> {
    let program = fs::read(build::linux_program(lab.project(), "strain")?)?;
    ramdisk(lab.guest_software("busybox-initrd")?, &[("bin/strain", program)])
}

/// The shell prompts, and the kernel's messages go to its log alone.
fn quiet_prompt(machine: &mut Machine) -> Result<()> {
    prompt(machine, "linux")?;
    command(machine, "linux", "dmesg -n 1", 20).map(|_| ())
}

/// The PMU counts and interrupts on both CPUs; `instructions`, an expression, is what it says of them.
fn pmu(machine: &mut Machine, instructions: &str) -> Result<()> {
    let counts = "grep arm-pmu /proc/interrupts";
    let before = interrupts(&command(machine, "linux", counts, 20)?, "arm-pmu", 2)?;
    let told = command(machine, "linux", "strain pmu", 60)?;
    let after = interrupts(&command(machine, "linux", counts, 20)?, "arm-pmu", 2)?;
    let [first, second] = &told[..] else { bail!("the PMU: {told:?}") };
    for (cpu, told) in [first, second].into_iter().enumerate() {
        let expected = Regex::new(&format!("^pmu: CPU {cpu}: {instructions}, 20 overflows$"))?;
        ensure!(expected.is_match(told), "the PMU: {told}");
    }
    let grown = before.iter().zip(&after).all(|(before, after)| after >= &(before + 20));
    ensure!(grown, "40 overflows bring interrupts {before:?}, then {after:?}");
    Ok(())
}

/// A child is stopped by watchpoint, breakpoint and step on both CPUs.
fn trace(machine: &mut Machine) -> Result<()> {
    let told = command(machine, "linux", "strain trace", 60)?;
    let each =
        |cpu: usize| told.get(cpu).is_some_and(|line| line.starts_with(&format!("trace: CPU {cpu}: ")));
    ensure!(told.len() == 2 && each(0) && each(1), "traces: {told:?}");
    Ok(())
}

/// BusyBox of armhf: system calls, signals, processes, integers, floating point, and as the native one does them.
fn aarch32(machine: &mut Machine) -> Result<()> {
    for script in [
        // A page that the kernel maps for AArch32 alone.
        "test $(armhf grep -c vectors /proc/self/maps) = 1",
        "head -c 500000 /linux >/tmp/a && test \"$(armhf sha256sum /tmp/a)\" = \"$(sha256sum /tmp/a)\"",
        "armhf gzip -c /tmp/a | gunzip -c | armhf cmp - /tmp/a",
        "armhf awk 'BEGIN { for (i = 1; i <= 20000; i++) s += 1 / (i * i); printf \"%.9f\\n\", 6 * s }' | grep -x 9.869304409",
        "armhf sh -c 'for i in $(seq 200); do (exit $((i % 3))) & wait $!; n=$((n + $?)); done; test $n = 201'",
        "armhf timeout -s USR1 1 armhf sh -c 'trap \"exit 7\" USR1; while :; do :; done'; test $? = 7",
    ] {
        // BusyBox is only called by its applets' names, or by one that begins with its own.
        command(machine, "linux", &script.replace("armhf", "busybox-armhf"), 60)?;
    }
    Ok(())
}

/// Linux on two CPUs does all of it, then goes over to another kernel, which does it too.
fn strained(lab: &mut Lab, seconds: u32) -> Result<()> {
    let next = with_strain(lab)?;
    let files = [
        ("bin/busybox-armhf", lab.guest_software("busybox-armhf")?),
        ("linux", lab.guest_software(BACKPORTS)?),
        ("next", next.clone()),
    ];
    lab.file("strain-initrd", &ramdisk(next, &files)?)?;
    let linux = Partition { ramdisk: Some("strain-initrd"), ..Partition::linux("linux", DEBIAN, 1..3, 640) };
    let mut machine = lab.boot(&[witness(0), linux])?;
    quiet_prompt(&mut machine)?;
    hotplug(&mut machine, 1..2, 20)?;
    // QEMU counts instructions with `-icount` alone; Linux finds no such event then.
    pmu(&mut machine, r"no instructions \(2\)")?;
    trace(&mut machine)?;
    aarch32(&mut machine)?;
    let load = format!("strain load {seconds}");
    command(&mut machine, "linux", &load, u64::from(seconds) + 20)?;
    complaints(&mut machine)?;
    machine.type_line("linux", "strain kexec /linux /next")?;
    quiet_prompt(&mut machine)?;
    let kernel = command(&mut machine, "linux", "uname -r; nproc", 20)?;
    ensure!(kernel[0].starts_with("6.12.") && kernel[1] == "2", "after kexec: {kernel:?}");
    pmu(&mut machine, r"no instructions \(2\)")?;
    trace(&mut machine)?;
    command(&mut machine, "linux", "strain load 2", 20)?;
    complaints(&mut machine)?;
    power_off(&mut machine, "linux")?;
    witness_lost_nothing(&mut machine)?;
    finish(&mut machine)
}

/// Where the board counts instructions, the guest's kernel counts its own, and none of the hypervisor's.
fn instructions(lab: &mut Lab) -> Result<()> {
    lab.count_time_by_instructions();
    lab.file("strain-initrd", &with_strain(lab)?)?;
    let linux = Partition { ramdisk: Some("strain-initrd"), ..Partition::linux("linux", DEBIAN, 0..2, 256) };
    let mut machine = lab.boot(&[linux])?;
    quiet_prompt(&mut machine)?;
    // The loop, and what the compiler puts around it.
    pmu(&mut machine, r"20000\d\d instructions")?;
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// Linux pets its watchdog for a minute and lives; it ceases to, and starts again. Its neighbour misses nothing.
fn watchdog(lab: &mut Lab) -> Result<()> {
    lab.count_time_by_instructions();
    let modules = lab.guest_software("watchdog-modules")?;
    lab.file("watchdog-initrd", &[lab.guest_software("busybox-initrd")?, modules].concat())?;
    let mut linux =
        Partition { ramdisk: Some("watchdog-initrd"), ..Partition::linux("linux", DEBIAN, 1..3, 256) };
    linux.more.push_str(" watchdog; restart = \"on-crash\"; restart-delay-ms = <0>;");
    let mut machine = lab.boot(&[Partition::ticker(0), linux])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "watchdog -T 4 -t 1 /dev/watchdog", 20)?;
    let restarts = |board: &Board| board.find("linux").map_or(0, |linux| linux.restarts);
    let state = "sleep 60; cat /sys/class/watchdog/watchdog0/state";
    ensure!(command(&mut machine, "linux", state, 60)? == ["active"], "nobody pets the watchdog");
    ensure!(restarts(machine.board()) == 0, "it was petted, and has died");
    machine.type_line("linux", "killall -9 watchdog")?;
    wait(&mut machine, HYPERVISOR, "^linux: stopped: its watchdog expired", 30)?;
    prompt(&mut machine, "linux")?;
    ensure!(restarts(machine.board()) == 1, "it has restarted more than once");
    power_off(&mut machine, "linux")?;
    witness_lost_nothing(&mut machine)?;
    finish(&mut machine)
}
