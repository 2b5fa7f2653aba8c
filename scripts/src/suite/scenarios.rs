// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What works: guests boot, run side by side, end and start again, each alone.

use super::lab::{Lab, Partition};
use super::shell::{command, interrupts, power_off, prompt, wait};
use super::{Scenario, book};
use crate::board::Board;
use crate::config::Config;
use crate::machine::Machine;
use crate::qemu::BoardName;
use crate::transcript::Line;
use crate::{pack, play, player};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::ops::Range;
use std::time::Duration;

/// Debian 12's kernel.
const DEBIAN: &str = "debian-12";
/// The newest kernel in Debian 12's backports suite.
const BACKPORTS: &str = "debian-12-backports";

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "demo", run: demo },
    Scenario { name: "linux-on-4-cpus", run: |lab| four_cpus(lab, DEBIAN) },
    Scenario { name: "backports-linux-on-4-cpus", run: |lab| four_cpus(lab, BACKPORTS) },
    Scenario { name: "8-cpus-in-4-partitions", run: eight_cpus },
    Scenario { name: "u-boot", run: u_boot },
    Scenario { name: "power-off-alone", run: power_off_alone },
    Scenario { name: "reboot-10-times", run: reboot },
    Scenario { name: "probe", run: probe },
    Scenario { name: "two-security-states", run: two_security_states },
    Scenario { name: "early-power-off", run: early_power_off },
    Scenario { name: "device-interrupt", run: device_interrupt },
];

/// The end of a test: every partition powered itself off, and the board after it.
pub fn finish(machine: &mut Machine) -> Result<()> {
    let limit = machine.patience(Duration::from_secs(30));
    Ok(machine.finish(Some(limit))?)
}

/// The demo, driven by its own session.
fn demo(lab: &mut Lab) -> Result<()> {
    let config = Config::open(&lab.project().demo())?;
    let path = config.session()?.context("the demo has no session")?;
    let session = play::parse(&fs::read_to_string(&path)?)?;
    let mut machine = lab.boot_bundle(Some(&pack::pack(lab.project(), &config)?))?;
    player::play(&mut machine, &session, "demo.play")?;
    // The page shows the virt board.
    if lab.board.board == BoardName::QemuVirt { book::demo_in_readme(lab, &machine) } else { Ok(()) }
}

/// A minute of work for every CPU, and of messages between them.
const LOAD: &str = "for i in 1 2 3 4; do \
    timeout 60 sh -c 'while :; do :; done' & timeout 60 sh -c 'while :; do echo; done' | cat >/dev/null & done; \
    wait";

fn four_cpus(lab: &mut Lab, kernel: &'static str) -> Result<()> {
    let mut machine = lab.boot(&[Partition::linux("linux", kernel, 0..4, 512)])?;
    prompt(&mut machine, "linux")?;
    let online = command(&mut machine, "linux", "cat /sys/devices/system/cpu/online", 20)?;
    ensure!(online == ["0-3"], "CPUs online: {online:?}");
    let before = command(&mut machine, "linux", "cat /proc/interrupts", 20)?;
    command(&mut machine, "linux", LOAD, 90)?;
    let after = command(&mut machine, "linux", "cat /proc/interrupts", 20)?;
    for (kind, least) in [("arch_timer", 1000), ("^ *IPI", 10)] {
        let (before, after) = (interrupts(&before, kind, 4)?, interrupts(&after, kind, 4)?);
        let grown = before.iter().zip(&after).all(|(before, after)| after >= &(before + least));
        ensure!(
            grown,
            "a minute's load brings too few interrupts of kind {kind}: {before:?}, then {after:?}"
        );
    }
    let complaints = "dmesg | grep -E 'WARN|BUG|stall|lockup|Oops|Call trace' | head -n 20";
    let complaints = command(&mut machine, "linux", complaints, 30)?;
    ensure!(complaints.is_empty(), "the kernel complains: {}", complaints.join("\n"));
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

fn eight_cpus(lab: &mut Lab) -> Result<()> {
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    lab.board.smp = 8;
    let partition =
        |(name, index): (&'static str, u32)| Partition::linux(name, DEBIAN, 2 * index..2 * index + 2, 256);
    let partitions: Vec<_> = NAMES.into_iter().zip(0..).map(partition).collect();
    let mut machine = lab.boot(&partitions)?;
    for name in NAMES {
        prompt(&mut machine, name)?;
        let online = command(&mut machine, name, "nproc; hostname", 30)?;
        ensure!(online == ["2", name], "{name}: CPUs and name are {online:?}");
    }
    for name in NAMES {
        power_off(&mut machine, name)?;
    }
    finish(&mut machine)
}

/// U-Boot prompts, and boots a Linux that lies behind it in memory, with its ramdisk.
fn u_boot(lab: &mut Lab) -> Result<()> {
    /// Where U-Boot is put, and how far behind it Linux: a multiple of 2 MiB, which `booti` need not move.
    const U_BOOT: usize = 0x4800_0000;
    const ALIGN: usize = 2 << 20;
    let mut image = lab.guest_software("u-boot")?;
    let mut append = |bytes: Vec<u8>| {
        image.resize(image.len().next_multiple_of(ALIGN), 0);
        let place = U_BOOT + image.len();
        image.extend_from_slice(&bytes);
        (place, bytes.len())
    };
    let (ramdisk, size) = append(lab.guest_software("busybox-initrd")?);
    let (bundle, _) = append(lab.pack(&[Partition::ticker(0)])?);
    // Last, for it takes more room in memory than in the file.
    let (kernel, _) = append(lab.guest_software(DEBIAN)?);
    lab.file("u-boot-and-linux", &image)?;

    let u_boot = Partition {
        kernel: "u-boot-and-linux",
        ramdisk: None,
        // It looks for its environment in the board's flash memory.
        more: format!(
            "load-address = <{U_BOOT:#x}>; devices = \"/flash@0\"; \
             bootargs = \"console=ttyAMA0 hostname=linux\";"
        ),
        ..Partition::linux("u-boot", DEBIAN, 0..2, 512)
    };
    let mut machine = lab.boot(&[u_boot])?;
    wait(&mut machine, "u-boot", "Hit any key to stop autoboot", 60)?;
    machine.type_keys("u-boot", b" ")?;
    wait(&mut machine, "u-boot", "^=> ", 60)?;
    // A bundle of ours is a FIT image, of which U-Boot checks the hashes and copies an image.
    let load = ("imxtract", "ticker 5f000000");
    for (command, rest, answer) in
        [("iminfo", "", r"\(ticker\): crc32\+"), (load.0, load.1, "Loading part 0 ... OK")]
    {
        machine.type_line("u-boot", &format!("{command} {bundle:x} {rest}"))?;
        wait(&mut machine, "u-boot", answer, 30)?;
    }
    machine.type_line("u-boot", &format!("booti {kernel:x} {ramdisk:x}:{size:x} $fdtcontroladdr"))?;
    let outcome = wait(&mut machine, "u-boot", "^linux: Linux .* 2 CPUs|^ERROR.*", 120)?;
    ensure!(outcome[0].starts_with("linux"), "booti: {}", outcome[0]);
    wait(&mut machine, "u-boot", "linux# $", 60)?;
    power_off(&mut machine, "u-boot")?;
    finish(&mut machine)
}

/// One partition powers off; the others answer and count on.
fn power_off_alone(lab: &mut Lab) -> Result<()> {
    let linux = |name, cpus, kernel| Partition::linux(name, kernel, cpus, 256);
    let partitions = [linux("one", 0..2, DEBIAN), linux("two", 2..3, BACKPORTS), Partition::ticker(3)];
    let mut machine = lab.boot(&partitions)?;
    prompt(&mut machine, "one")?;
    prompt(&mut machine, "two")?;
    power_off(&mut machine, "one")?;
    machine.forget("ticker");
    wait(&mut machine, "ticker", "^tick ", 20)?;
    wait(&mut machine, "ticker", "^tick ", 20)?;
    let name = command(&mut machine, "two", "hostname", 20)?;
    ensure!(name == ["two"], "the name of two is {name:?}");
    ensure!(machine.board().running() == ["two", "ticker"], "running: {:?}", machine.board().running());
    power_off(&mut machine, "two")?;
    machine.forget("ticker");
    wait(&mut machine, "ticker", "^tick ", 20)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

/// Linux starts ten times more; its neighbour misses no second.
fn reboot(lab: &mut Lab) -> Result<()> {
    const TIMES: usize = 10;
    let mut machine = lab.boot(&[Partition::linux("linux", DEBIAN, 0..2, 256), Partition::ticker(2)])?;
    for count in 1..=TIMES {
        prompt(&mut machine, "linux")?;
        machine.type_line("linux", "reboot -f")?;
        // Input that comes as the guest ends must not leave its UART's interrupt raised for the next life.
        machine.type_keys("linux", b"\r\r\r")?;
        let limit = machine.patience(Duration::from_secs(30));
        let again = |board: &Board| board.find("linux").is_some_and(|linux| linux.restarts == count);
        machine.wait_until("linux", "the restart", limit, again)?;
    }
    prompt(&mut machine, "linux")?;
    power_off(&mut machine, "linux")?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)?;
    no_second_missed(machine.said("ticker").lines())
}

/// A guest of ours does what a guest must not, or need not, do; its neighbour does not notice.
fn probe(lab: &mut Lab) -> Result<()> {
    let mut probe =
        Partition { name: "probe", cpus: 0..2, memory: 16, kernel: "probe", ..Partition::ticker(0) };
    if lab.board.board == BoardName::QemuVirt {
        // A device with holes: what lies behind its registers answers with external aborts.
        probe.more.push_str(" identity-mapped; devices = \"/fw-cfg@9020000\";");
    }
    let mut machine = lab.boot(&[probe, Partition::ticker(2)])?;
    let count = wait(&mut machine, "probe", r"^probe: (\d+) passed, (\d+) failed", 60)?;
    let failures = machine.said("probe").lines().iter().filter(|line| line.text.contains(": FAILED "));
    let failures: Vec<_> = failures.map(|line| line.text.clone()).collect();
    ensure!(count[1] != "0" && count[2] == "0", "{}: {}", count[0], failures.join("\n"));
    let limit = machine.patience(Duration::from_secs(30));
    machine.wait_off("probe", limit)?;
    wait(&mut machine, "ticker", "^tick 3$", 20)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)?;
    no_second_missed(machine.said("ticker").lines())
}

/// The board's CPUs have EL3, and its interrupt controller keeps what is secure from us: groups are not ours
/// to choose, priorities are seen in half their range.
fn two_security_states(lab: &mut Lab) -> Result<()> {
    lab.board.extra = ["-M", "secure=on"].map(Into::into).into();
    probe(lab)
}

/// A guest that powers itself off with its third instruction.
pub fn quick(lab: &Lab, cpus: Range<u32>) -> Result<Partition> {
    // movz w0, #0x8400, lsl #16; movk w0, #8 (SYSTEM_OFF); hvc #0; b .
    let code = [0x52b0_8000_u32, 0x7280_0100, 0xd400_0002, 0x1400_0000];
    lab.file("quick", &code.map(u32::to_le_bytes).concat())?;
    Ok(Partition { name: "quick", cpus, kernel: "quick", ..Partition::ticker(0) })
}

/// It leaves the board to those that start later.
fn early_power_off(lab: &mut Lab) -> Result<()> {
    let mut machine = lab.boot(&[quick(lab, 0..1)?, Partition::linux("linux", DEBIAN, 1..3, 256)])?;
    prompt(&mut machine, "linux")?;
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// A device's interrupt comes to its owner, which does not have the board's first CPU.
fn device_interrupt(lab: &mut Lab) -> Result<()> {
    let mut linux = Partition::linux("linux", DEBIAN, 2..3, 256);
    linux.more.push_str(" devices = \"/pl031@9010000\";");
    let mut machine = lab.boot(&[Partition::ticker(0), linux])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "echo +2 > /sys/class/rtc/rtc0/wakealarm", 20)?;
    // For ever if it does not come.
    let wait = "while ! grep -E 'rtc-pl031' /proc/interrupts | grep -qE ': +[1-9]'; do sleep 1; done";
    command(&mut machine, "linux", wait, 60)?;
    power_off(&mut machine, "linux")?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

fn no_second_missed(lines: &[Line]) -> Result<()> {
    /// A second that QEMU was not run in is caught up with; this much of it may be open at either end.
    const SLACK: f64 = 3.0;
    let tick = |line: &Line| Some((line.at, line.text.strip_prefix("tick ")?.to_owned()));
    let ticks: Vec<_> = lines.iter().filter_map(tick).collect();
    for (expected, (_, number)) in (1..).zip(&ticks) {
        ensure!(*number == expected.to_string(), "tick {expected} is missing: there came tick {number}");
    }
    let (Some((first, _)), Some((last, _))) = (ticks.first(), ticks.last()) else {
        bail!("the ticker did not tick")
    };
    let (passed, counted) = ((*last - *first).as_secs_f64(), ticks.len() as f64 - 1.0);
    ensure!((passed - counted).abs() < SLACK, "the ticker counted {counted} s while {passed:.1} s passed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(seconds: &[(u64, u32)]) -> Vec<Line> {
        let line =
            |(at, number): &(u64, u32)| Line { at: Duration::from_secs(*at), text: format!("tick {number}") };
        seconds.iter().map(line).collect()
    }

    #[test]
    fn a_gap_is_noticed() {
        assert!(no_second_missed(&ticks(&[(5, 1), (6, 2), (7, 3)])).is_ok());
        assert!(no_second_missed(&ticks(&[(5, 1), (6, 2), (7, 4)])).is_err(), "a number is missing");
        assert!(no_second_missed(&ticks(&[(5, 1), (6, 2), (12, 3)])).is_err(), "time is missing");
        assert!(no_second_missed(&[]).is_err());
    }
}
