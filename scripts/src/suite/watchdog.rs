// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi's watchdog, run by the hypervisor.

use super::Scenario;
use super::debugger::{Debugger, Stub};
use super::lab::{Lab, Partition, overlay};
use super::raspi::changed_tree;
use super::shell::{regex, wait};
use crate::console::HYPERVISOR;
use crate::machine::{Failure, Machine};
use anyhow::{Context, Result, bail, ensure};
use bulkhead_plan::tree::NodeId;
use std::thread;
use std::time::{Duration, Instant};

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "board-watchdog", run: resets_the_board },
    Scenario { name: "board-watchdog-is-fed", run: is_fed },
];

/// A guest that counts on CPU 0, and one of two CPUs, the second of which it leaves off.
fn boot(lab: &mut Lab) -> Result<Machine> {
    let fast = Partition { more: "bootargs = \"hz=50\";".into(), ..Partition::ticker(0) };
    let other = Partition { name: "other", cpus: 1..3, ..Partition::ticker(1) };
    let asked = "watchdog-timeout-sec = <1>;\n\t\tticker {";
    let bundle = lab.pack_with_ticker(&overlay(&[fast, other]).replacen("ticker {", asked, 1))?;
    let mut machine = lab.boot_bundle(Some(&bundle))?;
    wait(&mut machine, HYPERVISOR, "^hypervisor: the board's watchdog runs, 1 s", 60)?;
    Ok(machine)
}

/// QEMU's model has no countdown: the board is reset as soon as the watchdog is started.
fn resets_the_board(lab: &mut Lab) -> Result<()> {
    let mut machine = boot(lab)?;
    let limit = machine.patience(Duration::from_secs(20));
    match machine.wait(HYPERVISOR, &regex("^(panic|error)")?, limit) {
        Err(Failure::Waited(_, _, why, _)) if why == "QEMU has ended" => Ok(()),
        other => bail!("the board is to be reset: {other:?}"),
    }
}

/// Where the power manager is for the test: in memory that the tree does not tell of, which only keeps what is written.
const MANAGER: u64 = 0x5000_0000;
const RESET_CONTROL: u64 = MANAGER + 0x1c;
const WATCHDOG: u64 = MANAGER + 0x24;
/// All CPUs, and all but one that its guest leaves off.
const ALL_CPUS: &[usize] = &[0, 1, 2, 3];
const WITHOUT_ONE: &[usize] = &[0, 1, 3];

/// The watchdog is started again and again, and no more once a single CPU does not come by.
fn is_fed(lab: &mut Lab) -> Result<()> {
    const SOC: &str = "/soc/watchdog@7e100000";
    changed_tree(lab, |tree| {
        let own = tree.by_path(SOC).context(SOC)?.id();
        tree.set_string(own, "status", "disabled");
        let bus = tree.add_node(NodeId::ROOT, "memory-as-registers");
        tree.set_cells(bus, "#address-cells", &[1]);
        tree.set_cells(bus, "#size-cells", &[1]);
        tree.set(bus, "ranges", vec![]);
        let manager = tree.add_node(bus, "watchdog@50000000");
        tree.set_string(manager, "compatible", "brcm,bcm2835-pm-wdt");
        tree.set_cells(manager, "reg", &[MANAGER as u32, 0x1000]);
        Ok(())
    })?;
    let stub = Stub::new(lab);
    let mut machine = boot(lab)?;
    let mut debugger = stub.attach()?;
    for _ in 0..10 {
        restarted(&mut debugger, &machine)?;
    }
    // The last that came by counts for half a timeout, 25 ticks of the guest's.
    run_without_one(&mut debugger, &mut machine, 50)?;
    debugger.set_word(WATCHDOG, 0)?;
    run_without_one(&mut debugger, &mut machine, 100)?;
    ensure!(debugger.word(WATCHDOG)? == 0, "the watchdog was started although a CPU stood still");
    restarted(&mut debugger, &machine)?;
    machine.kill();
    Ok(())
}

/// Runs the board until the watchdog has been started again.
fn restarted(debugger: &mut Debugger, machine: &Machine) -> Result<()> {
    debugger.set_word(WATCHDOG, 0)?;
    debugger.set_word(RESET_CONTROL, 0)?;
    let end = Instant::now() + machine.patience(Duration::from_secs(20));
    while debugger.word(WATCHDOG)? == 0 || debugger.word(RESET_CONTROL)? == 0 {
        ensure!(Instant::now() < end, "the watchdog is not started again");
        debugger.let_run(ALL_CPUS)?;
        thread::sleep(Duration::from_millis(50));
        debugger.stop()?;
    }
    let written = [debugger.word(WATCHDOG)?, debugger.word(RESET_CONTROL)?];
    ensure!(written == [0x5a01_0000, 0x5a00_0020], "written were {written:#x?}");
    Ok(())
}

/// Lets the board, which stands still, run without one CPU, until the guest has counted on so far.
fn run_without_one(debugger: &mut Debugger, machine: &mut Machine, ticks: u64) -> Result<()> {
    // First what it said before is heard, for all of that is no time that passes now.
    machine.sleep(Duration::from_millis(300))?;
    let said = machine.said("ticker").lines();
    let number = |line: &str| line.strip_prefix("tick ").and_then(|number| number.parse::<u64>().ok());
    let end = said.iter().filter_map(|line| number(&line.text)).max().context("it ticks")? + ticks;
    debugger.let_run(WITHOUT_ONE)?;
    while wait(machine, "ticker", r"^tick (\d+)", 20)?[1].parse::<u64>()? < end {}
    debugger.stop()
}
