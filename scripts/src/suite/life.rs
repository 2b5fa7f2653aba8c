// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Death and rebirth: a partition that cannot go on is stopped alone, with its reasons, and comes back as its
//! configuration says; its neighbours lose nothing.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::shell::wait;
use crate::board::{Board, Fault, State};
use crate::console::HYPERVISOR;
use crate::machine::{ESCAPE, Failure, Machine};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "deaths", run: deaths },
    Scenario { name: "monitor", run: monitor },
    Scenario { name: "100-restarts", run: |lab| restarts(lab, 100) },
];

/// Those that take long.
pub const LONG: &[Scenario] = &[Scenario { name: "1000-restarts", run: |lab| restarts(lab, 1000) }];

/// A guest that dies in this `manner`.
fn mortal(name: &'static str, cpu: u32, manner: &str, more: &str) -> Partition {
    let more = format!("bootargs = \"die={manner}\"; {more}");
    Partition { name, cpus: cpu..cpu + 1, kernel: "mortal", more, ..Partition::ticker(cpu) }
}

/// The guest that counts, faster than seconds.
pub(super) fn witness(cpu: u32) -> Partition {
    Partition { more: "bootargs = \"hz=50\";".into(), ..Partition::ticker(cpu) }
}

/// Ends the witness, who has seen every tick, one behind the other, and all of each line.
pub(super) fn witness_lost_nothing(machine: &mut Machine) -> Result<usize> {
    machine.forget("ticker");
    wait(machine, "ticker", "^tick ", 20)?;
    machine.type_keys("ticker", b"q")?;
    let end = wait(machine, "ticker", r"^ticker: q was typed after (\d+) ticks", 20)?;
    let lines = machine.said("ticker").lines();
    let ticks: Vec<&str> = lines.iter().filter_map(|line| line.text.strip_prefix("tick ")).collect();
    for (expected, number) in (1..).zip(&ticks) {
        ensure!(*number == expected.to_string(), "tick {expected} is missing: there came {number}");
    }
    ensure!(end[1] == ticks.len().to_string(), "{} of {} ticks arrived", ticks.len(), end[1]);
    let torn =
        lines.iter().find(|line| !line.text.starts_with("tick ") && !line.text.starts_with("ticker: "));
    ensure!(torn.is_none(), "a line is torn: {torn:?}");
    Ok(ticks.len())
}

/// The board goes off, and the last word is that some were stopped.
pub fn finish_with_stopped(machine: &mut Machine) -> Result<()> {
    match machine.finish(Some(machine.patience(Duration::from_secs(30)))) {
        Err(Failure::Fault(Fault::Stopped(..))) => Ok(()),
        other => other.map_err(Into::into).and_then(|()| anyhow::bail!("nobody was stopped")),
    }
}

fn wait_stopped(machine: &mut Machine, name: &str, reason: &str) -> Result<()> {
    let stopped = |board: &Board| {
        board.find(name).is_some_and(
            |partition| matches!(&partition.state, State::Stopped(why) if why.starts_with(reason)),
        )
    };
    let limit = machine.patience(Duration::from_secs(30));
    machine
        .wait_until(name, reason, limit, stopped)
        .with_context(|| format!("{name} is to be stopped: {reason}"))
}

/// Each manner of death has its words, and its dump.
fn deaths(lab: &mut Lab) -> Result<()> {
    lab.board.smp = 6;
    let mut machine = lab.boot(&[
        witness(0),
        mortal("call", 1, "call", ""),
        mortal("vectors", 2, "vectors", ""),
        mortal("stack", 3, "stack", ""),
        mortal("watchdog", 4, "watchdog", "watchdog;"),
        mortal("again", 5, "call", "restart = \"on-crash\"; restart-limit = <2>; restart-delay-ms = <1>;"),
    ])?;
    wait_stopped(&mut machine, "call", "it said that it cannot go on, with code 0xdead")?;
    wait_stopped(&mut machine, "vectors", "its exception vectors cannot be fetched")?;
    wait_stopped(&mut machine, "stack", "its exception vector takes exceptions, again and again")?;
    wait_stopped(&mut machine, "watchdog", "its watchdog expired")?;
    let said: Vec<_> = machine.said("watchdog").lines().iter().map(|line| line.text.clone()).collect();
    let pets = ["mortal: pet 1, status 1", "mortal: pet 2, status 1", "mortal: pet 3, status 1"];
    ensure!(said[1..4] == pets && said[4] == "mortal: one stage has passed, status 3", "watchdog: {said:?}");
    wait(&mut machine, HYPERVISOR, "^again: does not restart again: too often in a row", 30)?;
    let again = machine.board().find("again").context("again")?;
    ensure!(again.restarts == 2, "again has restarted {} times", again.restarts);
    ensure!(machine.said("again").lines().len() == 3, "again was to live three times");
    for line in [
        r"PC 0x[0-9a-f]+, PSTATE 0x[0-9a-f]+: EL1, masked FIAD",
        r"instruction abort: fetch at guest physical address 0x7f00000200",
        r"FAR 0x7f00000200, HPFAR 0x[0-9a-f]+: IPA page 0x7f00000000",
        r"vbar_el1 0x7f00000000 sctlr_el1 0x[0-9a-f]+ tcr_el1",
        r"x28 \[",
        r"its last exits that were not routine, of 16:",
        r"\d+ ms  PC 0x[0-9a-f]+: data abort",
    ] {
        let line = regex::Regex::new(line)?;
        let told = machine.said(HYPERVISOR).lines().iter().any(|said| line.is_match(&said.text));
        ensure!(told, "no dump says {line}");
    }
    witness_lost_nothing(&mut machine)?;
    finish_with_stopped(&mut machine)
}

/// One partition crashes and comes back again and again; its neighbour loses neither a byte nor a tick.
fn restarts(lab: &mut Lab, times: usize) -> Result<()> {
    let policy = format!("restart = \"on-crash\"; restart-limit = <{times}>; restart-delay-ms = <0>;");
    let mut machine = lab.boot(&[witness(0), mortal("mortal", 1, "call", &policy)])?;
    wait(
        &mut machine,
        HYPERVISOR,
        "^mortal: does not restart again: too often in a row",
        20 + times as u64 / 5,
    )?;
    let mortal = machine.board().find("mortal").context("mortal")?;
    ensure!(mortal.restarts == times, "{} restarts", mortal.restarts);
    let lives = machine.said("mortal").lines().iter().filter(|line| line.text == "mortal: call").count();
    ensure!(lives == times + 1, "{lives} lives");
    witness_lost_nothing(&mut machine)?;
    finish_with_stopped(&mut machine)
}

/// Every command of the monitor does what its help says; without the monitor, none does anything.
fn monitor(lab: &mut Lab) -> Result<()> {
    let mut machine = lab.boot(&[witness(0), mortal("mortal", 1, "spin", "watchdog;")])?;
    wait(&mut machine, "mortal", "^mortal: spin", 30)?;
    machine.focus("mortal")?;
    let mut command = |key: u8, answer: &str| -> Result<()> {
        machine.forget(HYPERVISOR);
        machine.send(&[ESCAPE, key])?;
        wait(&mut machine, HYPERVISOR, answer, 20).with_context(|| format!("Ctrl-] {}", key as char))?;
        Ok(())
    };
    command(b'?', "Ctrl-] l: list of all partitions")?;
    command(b'l', r"mortal +1 CPUs  runs for \d+\.\d{3} s  started 1 times")?;
    command(b'd', r"^mortal/0:   vCPU 0 on CPU 1 runs")?;
    command(b'd', r"^mortal/0:   PC 0x40[0-9a-f]+, PSTATE 0x[0-9a-f]+: EL1")?;
    command(b'm', r"mortal: 0x90e0000\.\..* is the watchdog, virtual")?;
    command(b'i', r"mortal: .*33.* of its virtual UART")?;
    command(b'v', "^monitor: the log tells WARN and worse")?;
    command(b's', "^monitor: mortal: not in this state")?;
    command(b'r', "^mortal: started")?;
    command(b'x', "^mortal: powered off by the monitor")?;
    command(b'l', r"mortal +1 CPUs  is stopped, started before \d+\.\d{3} s  started 2 times")?;
    command(b's', "^mortal: started")?;
    command(b'x', "^mortal: powered off by the monitor")?;
    machine.focus("ticker")?;
    witness_lost_nothing(&mut machine)?;
    machine.finish(Some(machine.patience(Duration::from_secs(30))))?;
    Ok(())
}
