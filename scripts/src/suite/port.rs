// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port with a line of 115,200 baud behind it: what partitions print and what is typed costs nobody else
//! time.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::shell::wait;
use crate::build;
use crate::console::HYPERVISOR;
use crate::machine::Machine;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "a-silent-guest-keeps-its-cpu", run: |lab| silent(lab, false) },
    Scenario { name: "an-answering-terminal-costs-no-neighbour", run: |lab| silent(lab, true) },
    Scenario { name: "a-slow-port-loses-nothing", run: nothing_is_lost },
];

/// The latest wake-up that the witness may have, in nanoseconds: less than three bytes take on the line. Of that QEMU's turns
/// (`attack.rs`) take the most.
const BOUND: u64 = 250_000;

fn mortal(name: &'static str, cpu: u32, manner: &str) -> Partition {
    let more = format!("bootargs = \"die={manner}\";");
    Partition { name, kernel: "mortal", more, ..Partition::ticker(cpu) }
}

/// Boots partitions on a board whose port has a line of 115,200 baud.
pub(super) fn boot(lab: &mut Lab, partitions: &[Partition]) -> Result<Machine> {
    let image = build::slow_port_hypervisor(lab.project())?;
    let bundle = lab.pack(partitions)?;
    let bundle = lab.file("bundle.itb", &bundle)?;
    lab.boot_files(&image, Some(&bundle))
}

/// A guest that prints nothing on the first CPUs, and two neighbours that print without end. Somebody types: to the silent
/// guest, so that its CPU has the console's interrupt; or to a neighbour, whose terminal answers its questions
/// (`ESC[6n`) as fast as they come.
fn silent(lab: &mut Lab, answers: bool) -> Result<()> {
    lab.board.extra.extend(["-icount", "shift=0,sleep=off"].map(Into::into));
    let witness = Partition {
        name: "witness",
        kernel: "witness",
        memory: 16,
        more: "bootargs = \"seed=7 attack=200 end=1000\";".into(),
        ..Partition { cpus: 0..2, ..Partition::ticker(0) }
    };
    let floods = [mortal("one", 2, if answers { "ask" } else { "flood" }), mortal("two", 3, "flood")];
    let [one, two] = floods;
    let partitions = if answers { [one, witness, two] } else { [witness, one, two] };
    let mut machine = boot(lab, &partitions)?;
    wait(&mut machine, HYPERVISOR, "^two: started", 60)?;
    let end = Instant::now() + Duration::from_secs(120);
    let mut typed = 0;
    while !machine.said("witness").lines().iter().any(|line| line.text.starts_with("witness: attacked")) {
        ensure!(Instant::now() < end, "the witness says nothing after {typed} answers");
        machine.send(if answers { b"\x1b[24;80R" } else { b"x" })?;
        typed += 1;
        machine.sleep(Duration::from_millis(if answers { 10 } else { 50 }))?;
    }
    for stretch in ["quiet", "attacked"] {
        let latest = format!(r"^witness: {stretch}: (\d+) wake-ups, the latest by (\d+) ns");
        let said = wait(&mut machine, "witness", &latest, 60)?;
        ensure!(said[2].parse::<u64>()? <= BOUND, "with {typed} typed: {}", said[0]);
    }
    let verdict = wait(&mut machine, "witness", r"^witness: (nothing reached me|COMPLAINT.*)", 60)?;
    ensure!(verdict[1] == "nothing reached me", "{}", verdict[0]);
    machine.kill();
    Ok(())
}

/// Two partitions that print faster than the line wait for it, each by itself: every line arrives, whole and in its order.
fn nothing_is_lost(lab: &mut Lab) -> Result<()> {
    let mut machine = boot(lab, &[mortal("one", 0, "flood"), mortal("two", 1, "flood")])?;
    let count = |machine: &Machine, name| {
        machine.said(name).lines().iter().filter(|line| line.text.starts_with("flood ")).count()
    };
    let end = Instant::now() + Duration::from_secs(120);
    while ["one", "two"].iter().any(|name| count(&machine, name) < 100) {
        ensure!(Instant::now() < end, "{} and {} lines", count(&machine, "one"), count(&machine, "two"));
        machine.sleep(Duration::from_millis(100))?;
    }
    for name in ["one", "two"] {
        let lines = machine.said(name).lines();
        let numbers = lines.iter().filter_map(|line| line.text.strip_prefix("flood "));
        for (number, line) in numbers.enumerate() {
            ensure!(line == number.to_string(), "{name}: line {number} is `{line}`");
        }
    }
    machine.kill();
    Ok(())
}
