// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Death and rebirth: a partition that cannot go on is stopped alone, with its reasons, and comes back as its
//! configuration says; its neighbours lose nothing.

use super::Scenario;
use super::lab::{Lab, Partition, overlay};
use super::shell::wait;
use crate::board::{Board, Fault, State};
use crate::console::HYPERVISOR;
use crate::machine::{ESCAPE, Failure, Machine, Message};
use crate::qemu::{self, Gic};
use crate::{build, pack, stats};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "deaths", run: deaths },
    Scenario { name: "monitor", run: monitor },
    Scenario { name: "registers-of-one-vcpu-after-another", run: registers },
    Scenario { name: "escape-key", run: escape_key },
    Scenario { name: "no-monitor", run: no_monitor },
    Scenario { name: "no-start-without-every-cpu", run: without_a_cpu },
    Scenario { name: "warnings-and-watchdog", run: warnings_and_watchdog },
    Scenario { name: "100-restarts", run: |lab| restarts(lab, 100) },
    Scenario { name: "zero-at-boot", run: zero_at_boot },
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
    lab.board.smp = 5;
    let mut machine = lab.boot(&[
        witness(0),
        mortal("call", 1, "call", ""),
        mortal("vectors", 2, "vectors", ""),
        mortal("stack", 3, "stack", ""),
        mortal("again", 4, "call", "restart = \"on-crash\"; restart-limit = <2>; restart-delay-ms = <1>;"),
    ])?;
    wait_stopped(&mut machine, "call", "it said that it cannot go on, with code 0xdead")?;
    wait_stopped(&mut machine, "vectors", "its exception vectors cannot be fetched")?;
    wait_stopped(&mut machine, "stack", "its exception vector takes exceptions, again and again")?;
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

/// What was in memory before the hypervisor shows in a partition only where the configuration says so, and there only once.
fn zero_at_boot(lab: &mut Lab) -> Result<()> {
    const PLACE: u64 = 0x6018_0000;
    const LEFT: u64 = 0x1122_3344_5566_7788;
    let left = format!("loader,addr={PLACE:#x},data={LEFT:#x},data-len=8");
    lab.board.extra.extend(["-device".into(), left.into()]);
    let mortal = fs::read(build::guest(lab.project(), "mortal", false)?)?;
    for (property, found) in
        [("", [0, 0]), ("zero-at-boot = \"on\";", [0, 0]), ("zero-at-boot = \"off\";", [LEFT, 0])]
    {
        let guest = self::mortal("mortal", 0, &format!("reset read={PLACE:#x}"), property);
        let source = overlay(&[guest])
            .replace("memory = <0x0 0x200000>;", "identity-mapped; memory = <0x0 0x60000000  0x0 0x200000>;");
        let config = lab.file("config.dtso", source.as_bytes())?;
        let bundle = pack::with_images(&config, &[("mortal", &mortal)])?;
        let mut machine = lab.boot_bundle(Some(&bundle))?;
        // A restart follows at once, then a slower one: two lines come in any case.
        let line = format!("^mortal: {PLACE:#x} has (0x[0-9a-f]+)");
        wait(&mut machine, HYPERVISOR, "^mortal: restarts", 30)?;
        machine.forget(HYPERVISOR);
        wait(&mut machine, HYPERVISOR, "^mortal: restarts", 30)?;
        let line = regex::Regex::new(&line)?;
        let lines = machine.said("mortal").lines();
        let said: Vec<String> =
            lines.iter().filter_map(|said| Some(line.captures(&said.text)?[1].into())).take(2).collect();
        ensure!(said == found.map(|word: u64| format!("{word:#x}")), "{property}: {said:?}");
    }
    Ok(())
}

/// Presses a key of the monitor's, and waits for its answer.
fn ask(machine: &mut Machine, keys: &str, answer: &str) -> Result<Vec<String>> {
    machine.forget(HYPERVISOR);
    machine.send(&[&[ESCAPE], keys.as_bytes()].concat())?;
    wait(machine, HYPERVISOR, answer, 20).with_context(|| format!("Ctrl-] {keys}"))
}

/// Every command of the monitor does what its help says.
fn monitor(lab: &mut Lab) -> Result<()> {
    let mut machine = lab.boot(&[
        witness(0),
        Partition { memory: 256, ..mortal("mortal", 1, "spin", "watchdog;") },
        mortal("call", 2, "call", ""),
    ])?;
    let machine = &mut machine;
    wait(machine, "mortal", "^mortal: spin", 30)?;
    wait(machine, "ticker", "^tick 1", 30)?;
    wait_stopped(machine, "call", "it said that it cannot go on")?;
    machine.focus("mortal")?;
    ask(machine, "?", "^  l: all partitions; t: their exits")?;
    wait(machine, HYPERVISOR, r"^  3: call \(stopped\)$", 20)?;
    ask(machine, "z", "^monitor: there is no command `z`; Ctrl-] [?] shows them")?;
    ask(machine, "l", r"^    runs \d+\.\d{3} s, restarts 0, in focus$")?;
    ask(machine, "d", r"^mortal/0:   vCPU 0 on CPU 1 runs")?;
    wait(machine, HYPERVISOR, r"^mortal/0:   PC 0x40[0-9a-f]+, PSTATE 0x[0-9a-f]+: EL1", 20)?;
    ask(machine, "m", r"^  0x90e0000\.\..*: watchdog, virtual")?;
    ask(machine, "i", r"^  .*33.* of its virtual UART")?;
    wait(machine, HYPERVISOR, r"^    \d+ of its own, \d+ of the hypervisor's", 20)?;
    // Exits: the ticker's interrupts and console go up.
    let mut counts = || -> Result<Vec<u64>> {
        ask(machine, "t", r"^  ticker/0 on CPU 0:$")?;
        let mut numbers = Vec::new();
        while numbers.len() < 10 {
            // The whole row: it is seen as it comes.
            let row = wait(machine, HYPERVISOR, r"^    (.{22})  (.{22})$", 20)?;
            for cell in &row[1..3] {
                numbers.push(cell.split_whitespace().last().context("a count")?.parse::<u64>()?);
            }
        }
        Ok(numbers)
    };
    let (before, after) = (counts()?, counts()?);
    let &[_, calls, _, devices, _, interrupts, ..] = after.as_slice() else { anyhow::bail!("{after:?}") };
    ensure!(
        calls == before[1] && devices >= before[3] && interrupts > before[5],
        "{before:?}, then {after:?}"
    );
    // The same from another process's side, while this one plays the board.
    let (visitor, board) = UnixStream::pair()?;
    machine.sender().send(Message::Visitor(board)).ok().context("the machine has ended")?;
    let asking = thread::spawn(move || stats::Line::new((visitor.try_clone()?, visitor)).ask());
    while !asking.is_finished() {
        machine.sleep(Duration::from_millis(50))?;
    }
    let answer = asking.join().ok().context("asking panicked")??;
    let states: Vec<_> = answer.partitions.iter().map(|it| (it.name.as_str(), it.state.as_str())).collect();
    ensure!(states == [("ticker", "runs"), ("mortal", "runs"), ("call", "stopped")], "{states:?}");
    ensure!(answer.vcpus.len() == 3 && answer.vcpus[0].counts[5] >= after[5], "{answer:?}");
    // Each row fits a terminal of 80 columns behind `[bulkhead]   12.345678 cpu0 `.
    let rows = machine.said(HYPERVISOR).lines().iter();
    let rows = rows.skip_while(|line| !line.text.starts_with("  l: all partitions"));
    let long: Vec<_> = rows.filter(|row| row.text.starts_with("  ") && row.text.len() > 52).collect();
    ensure!(long.is_empty(), "{long:?}");
    // The last lines of another partition, and of the one in focus.
    ask(machine, "h1", r"^  ticker\| tick \d+")?;
    ask(machine, "hh", r"^  mortal\| mortal: spin")?;
    ask(machine, "h9", "^monitor: there is no partition 9")?;

    ask(machine, "s", "^monitor: mortal: its state is `runs`: nothing to do")?;
    ask(machine, "r", "^mortal: started")?;
    ask(machine, "x", "^mortal: powered off by the monitor")?;
    ask(machine, "l", r"^    stopped +\d+\.\d{3} s, restarts 1, in focus$")?;
    ask(machine, "x", "^monitor: mortal: its state is `stopped`: nothing to do")?;
    ask(machine, "s", "^mortal: started")?;
    // Stopped as it ends to be started again, and while 256 MiB are zeroed.
    ask(machine, "r\x1dx", "^mortal: powered off by the monitor")?;
    ask(machine, "s", "^mortal: started")?;
    ask(machine, "r", "^mortal: restarts")?;
    ask(machine, "x", "^mortal: powered off by the monitor")?;
    ask(machine, "s", "^mortal: started")?;

    // Less and less of what goes wrong is told.
    machine.focus("call")?;
    for (level, dumps) in [("WARN", false), ("ERROR", false), ("INFO", true)] {
        ask(machine, "v", &format!("^monitor: the log prints {level} and worse"))?;
        ask(machine, "s", "^call: started")?;
        let end = wait(machine, HYPERVISOR, "^call/0:   PC|^call: stays stopped", 20)?;
        ensure!(end[0].starts_with("call/0") == dumps, "at {level}: {}", end[0]);
    }
    wait(machine, HYPERVISOR, "^call: stays stopped", 20)?;
    machine.focus("ticker")?;
    witness_lost_nothing(machine)?;
    machine.wait_off("ticker", Duration::from_secs(60))?;
    // The last one takes the board with it, and is not stopped by mistake.
    machine.focus("mortal")?;
    ask(machine, "x", "^monitor: mortal is the last that runs")?;
    ask(machine, "l", "^3 partitions:")?;
    ask(machine, "x", "^monitor: mortal is the last that runs")?;
    machine.send(&[ESCAPE, b'x'])?;
    finish_with_stopped(machine)
}

/// A partition one of whose CPUs has not come up does not start, neither at boot nor by hand: it could not end.
fn without_a_cpu(lab: &mut Lab) -> Result<()> {
    // The tree of a board of three CPUs, on one of two. A GICv2 has nothing else of each CPU's.
    lab.board.gic = Gic::V2;
    lab.board.smp = 3;
    let tree = lab.file("three.dtb", &[])?;
    let image = lab.project().hypervisor_image();
    let mut dump = qemu::command(lab.project(), &lab.board, &image, None)?;
    let dumped = dump.arg("-machine").arg(format!("dumpdtb={}", tree.display())).output()?;
    ensure!(dumped.status.success(), "QEMU does not write its tree");
    (lab.board.smp, lab.board.dtb) = (2, Some(tree));
    let mortal = Partition { cpus: 1..3, ..mortal("mortal", 1, "spin", "") };
    let mut machine = lab.boot(&[witness(0), mortal])?;
    wait(&mut machine, HYPERVISOR, "^error: mortal: not started, because CPU 2 is missing", 30)?;
    wait(&mut machine, "ticker", "^tick 3", 30)?;
    machine.focus("mortal")?;
    for key in ["s", "r"] {
        ask(&mut machine, key, "^error: mortal: not started, because CPU 2 is missing")?;
    }
    ask(&mut machine, "l", r"^    stopped .*, in focus$")?;
    machine.focus("ticker")?;
    witness_lost_nothing(&mut machine)?;
    machine.finish(Some(machine.patience(Duration::from_secs(30)))).map_err(Into::into)
}

/// The registers of one vCPU come after those of another, whichever CPUs print them.
fn registers(lab: &mut Lab) -> Result<()> {
    let mut machine = lab.boot(&[Partition { cpus: 0..3, ..Partition::ticker(0) }])?;
    wait(&mut machine, "ticker", "^tick 1", 30)?;
    ask(&mut machine, "d", "^ticker/2:   vCPU 2 on CPU 2 is off")?;
    let said = machine.said(HYPERVISOR).lines();
    let vcpus = said.iter().filter_map(|line| line.text.strip_prefix("ticker/")?.bytes().next());
    let vcpus: Vec<u8> = vcpus.collect();
    ensure!(vcpus.len() > 8 && vcpus.is_sorted(), "{:?}", String::from_utf8(vcpus));
    machine.kill();
    Ok(())
}

/// The plan chooses the key that begins commands, and Ctrl-] is then the guest's.
fn escape_key(lab: &mut Lab) -> Result<()> {
    let source = overlay(&[witness(0), Partition { name: "other", ..Partition::ticker(1) }]);
    let source = source.replace("partitions {", "partitions {\n\t\tescape-key = \"^A\";");
    let mut machine = lab.boot_bundle(Some(&lab.pack_with_ticker(&source)?))?;
    wait(&mut machine, HYPERVISOR, "^console: input goes to ticker; Ctrl-A [?] for help", 30)?;
    machine.focus("other")?;
    machine.forget(HYPERVISOR);
    machine.send(b"\x1dl\x01?")?;
    wait(&mut machine, HYPERVISOR, "^Ctrl-A and a digit: input goes to that partition", 20)?;
    ensure!(
        !machine.said(HYPERVISOR).lines().iter().any(|line| line.text == "2 partitions:"),
        "Ctrl-] is a key"
    );
    machine.send(b"\x01x")?;
    wait(&mut machine, HYPERVISOR, "^other: powered off by the monitor", 20)?;
    machine.kill();
    Ok(())
}

/// Without the monitor there is the choice of the focus, and nothing else.
fn no_monitor(lab: &mut Lab) -> Result<()> {
    let source = overlay(&[witness(0)]).replace("partitions {", "partitions {\n\t\tno-monitor;");
    let mut machine = lab.boot_bundle(Some(&lab.pack_with_ticker(&source)?))?;
    wait(&mut machine, "ticker", "^tick 3", 30)?;
    for key in ["l", "t", "d", "i", "m", "h1", "v", "s", "r", "x", "x", "?"] {
        ask(&mut machine, key, r"^monitor: disabled by the configuration \(no-monitor\)")?;
    }
    ask(&mut machine, "1", "^console: input goes to ticker")?;
    witness_lost_nothing(&mut machine)?;
    let said = machine.said(HYPERVISOR).lines();
    ensure!(
        !said.iter().any(|line| line.text.contains("tick")
            && ![
                "ticker: started",
                "ticker: powered off",
                "console: input goes to ticker; Ctrl-] ? for help"
            ]
            .contains(&&*line.text)
            && !line.text.starts_with("partition 1 ticker")
            && !line.text.starts_with("  1: ticker")),
        "{said:?}"
    );
    Ok(machine.finish(Some(machine.patience(Duration::from_secs(30))))?)
}

/// A thousand mistakes are a few lines, and the number of the rest. A watchdog that is not petted ends its partition;
/// nobody else prints much then, so that the guest gets its word in before that.
fn warnings_and_watchdog(lab: &mut Lab) -> Result<()> {
    let mut machine =
        lab.boot(&[mortal("wrong", 0, "wrong", ""), mortal("watchdog", 1, "watchdog", "watchdog;")])?;
    wait(&mut machine, "wrong", "^mortal: 1000 of 1000 refused", 60)?;
    wait(&mut machine, HYPERVISOR, "^wrong: powered off", 60)?;
    wait_stopped(&mut machine, "watchdog", "its watchdog expired")?;
    let said: Vec<_> = machine.said("watchdog").lines().iter().map(|line| line.text.clone()).collect();
    let petted = "mortal: petted, status [1, 1, 1]; one stage has passed, status 3";
    ensure!(said == ["mortal: watchdog", petted], "watchdog: {said:?}");
    let said = machine.said(HYPERVISOR).lines();
    let told = said.iter().filter(|line| line.text.starts_with("warning: wrong/0: UNDEFINED at PC")).count();
    let counted =
        |line: &str| line.strip_prefix("warning: wrong: ")?.split(' ').next()?.parse::<usize>().ok();
    let all: usize = said.iter().filter_map(|line| counted(&line.text)).sum();
    ensure!((1..20).contains(&told) && told + all == 1000, "{told} told, {all} counted");
    finish_with_stopped(&mut machine)
}
