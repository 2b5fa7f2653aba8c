// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hostile guest attacks from a seed, and a witness in the next partition watches: nothing must reach it,
//! and its wake-ups must not come late.
//!
//! All CPUs run on one clock that counts instructions (QEMU's `-icount`), so a seed does the same every time and a
//! latency is a count. What the hypervisor may add to the witness's worst wake-up is [`BOUND`].

use super::Scenario;
use super::lab::{Lab, Partition};
use super::port;
use super::shell::{regex, wait};
use crate::build;
use crate::console::HYPERVISOR;
use crate::machine::{Failure, Machine};
use crate::project::Project;
use crate::qemu::{self, BoardName};
use crate::transcript::Line;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fmt;
use std::time::{Duration, Instant};

/// Nanoseconds, that is instructions, by which the attack may delay the witness's worst wake-up, QEMU's turns aside:
/// see docs/threat-model.md for how it was measured.
const BOUND: u64 = 4_000;

/// The longest turn that QEMU gives a CPU before the next, in nanoseconds: the time to the next timer, which the witness
/// sets at least every 20 to 83 µs depending on the seed, parted between four CPUs. Where the attacker's CPUs
/// slept in quiet and run now, each may have a turn before the witness wakes.
const fn turns(seed: u64) -> u64 {
    const ATTACKERS: u64 = 2;
    (20 + seed % 64) * 1_000 / 4 * ATTACKERS
}

/// What stands behind the board's serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    /// QEMU's port, which takes every byte at once; nobody types.
    Fast,
    /// A line of 115,200 baud, and somebody who types to the witness: its CPU has the console's interrupt.
    Typing,
    /// Such a line, and a terminal that answers the attacker, which has the focus.
    Answering,
}

impl Terminal {
    /// That of a seed.
    const fn of(seed: u64) -> Self {
        match seed % 4 {
            1 => Self::Typing,
            3 => Self::Answering,
            _ => Self::Fast,
        }
    }

    /// When the attack begins and ends, and by how much the attacker reports before the witness, in milliseconds of the
    /// board's counter. What is said at the start and at the end takes its time on a line.
    /// With threads that counter is the host's clock, which goes on while QEMU boots.
    const fn times(self, threads: bool) -> [u64; 3] {
        match self {
            _ if threads => [4000, 5000, 350],
            Self::Fast => [140, 220, 10],
            Self::Typing | Self::Answering => [500, 1000, 350],
        }
    }
}

/// Seeds that each test of the suite runs.
const IN_A_TEST: usize = 2;

/// The scenario of the default test run, on each board.
pub(super) const SCENARIO: Scenario = Scenario { name: "attack", run: few };

/// What `attack` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub first: u64,
    /// Take boards, interrupt controllers and CPU models in turn, seed by seed
    #[arg(long)]
    pub every_board: bool,
    /// A thread for each CPU instead of one clock: other races, no judgement of latency
    #[arg(long)]
    pub threads: bool,
    /// The board to run on.
    #[command(flatten)]
    pub board: qemu::Options,
}

/// What came of a seed.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    terminal: Terminal,
    typed: usize,
    lives: usize,
    /// Of the lives that reported; a crash does not.
    steps: u64,
    wakeups: u64,
    quiet: u64,
    attacked: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { terminal, typed, lives, steps, wakeups, quiet, attacked } = self;
        if *terminal != Terminal::Fast {
            write!(f, "slow port, {typed} keys ({terminal:?}); ")?;
        }
        write!(f, "{lives} lives, {steps} steps; {wakeups} wake-ups, the latest by {quiet} ns quiet, ")?;
        write!(f, "{attacked} ns attacked")
    }
}

/// Runs the seeds, a line for each. True if nothing reached any witness.
///
/// # Errors
/// When there is nothing to attack with.
pub fn campaign(project: &Project, options: &Options) -> Result<bool> {
    qemu::check_version()?;
    build::hypervisor(project, false)?;
    build::slow_port_hypervisor(project)?;
    let start = Instant::now();
    let boards = if options.every_board { boards() } else { vec![options.board.clone()] };
    let (mut failed, mut stood, mut worst, mut added) = (Vec::new(), Vec::new(), 0, 0);
    for (seed, board) in
        (options.first..options.first.saturating_add(options.seeds)).zip(boards.iter().cycle())
    {
        let began = Instant::now();
        let mut lab = Lab::new(project, &format!("attack-{seed}"), board.clone())?;
        let result = attack_on_a_clock_that_goes(&mut lab, seed, options.threads);
        match result {
            Ok((outcome, clock_stood)) => {
                println!("seed {seed}: {outcome}; {:.1} s", began.elapsed().as_secs_f64());
                if clock_stood {
                    stood.push(seed);
                } else {
                    worst = worst.max(outcome.attacked);
                    added = added.max(outcome.attacked.saturating_sub(outcome.quiet));
                }
                lab.remove()?;
            }
            Err(error) => {
                println!(
                    "seed {seed} on {}: FAILED: {error:#}\n  the console: {}",
                    board.name(),
                    lab.log().display()
                );
                failed.push(seed);
            }
        }
    }
    let (passed, seconds) = (options.seeds - failed.len() as u64, start.elapsed().as_secs());
    println!(
        "{passed} passed, {} failed {failed:?}; {} only with threads {stood:?}; {seconds} s",
        failed.len(),
        stood.len()
    );
    println!("the witness's latest wake-up under attack: {worst} ns, at most {added} ns later than in quiet");
    Ok(failed.is_empty())
}

/// Whether nothing more was heard. With one clock that counts instructions, an attacker stops the whole board if its
/// vector cannot be fetched: one exception follows another, and none of them counts as an instruction.
fn is_silence(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Waited(..)))
}

/// Both virtual interrupt controllers, each with every CPU model; and the Raspberry Pi.
pub(super) fn boards() -> Vec<qemu::Options> {
    let pi = qemu::Options { board: BoardName::Raspi4b, ..qemu::Options::default() };
    super::boards().into_iter().chain([pi]).collect()
}

fn few(lab: &mut Lab) -> Result<()> {
    // Another seed on each board, and always the same. The slow port, with odd seeds, takes too long here: port.rs has shorter tests.
    let first = lab.board.name().bytes().map(u64::from).sum::<u64>() * 2;
    let mut stood = 0;
    for seed in (first..).step_by(2).take(IN_A_TEST) {
        let (_, clock_stood) =
            attack_on_a_clock_that_goes(lab, seed, false).with_context(|| format!("seed {seed}"))?;
        stood += usize::from(clock_stood);
    }
    // With threads no latency is judged.
    ensure!(stood < IN_A_TEST, "the one clock stood still with every seed");
    Ok(())
}

/// One seed; and again with threads where an attacker has stopped QEMU's one clock: no CPU executes another instruction
/// then. Says whether it has.
fn attack_on_a_clock_that_goes(lab: &mut Lab, seed: u64, threads: bool) -> Result<(Outcome, bool)> {
    match attack(lab, seed, threads) {
        Err(error) if is_silence(&error) && !threads => {
            println!("seed {seed} on {}: the one clock stands still; again with threads", lab.board.name());
            Ok((attack(lab, seed, true)?, true))
        }
        result => Ok((result?, false)),
    }
}

/// One seed on the lab's board.
fn attack(lab: &mut Lab, seed: u64, threads: bool) -> Result<Outcome> {
    let smp = u32::from(lab.board.smp);
    let plain = lab.board.extra.clone();
    if !threads {
        lab.board.extra.extend(["-icount", "shift=0,sleep=off"].map(Into::into));
    }
    let terminal = Terminal::of(seed);
    let [begin, end, ahead] = terminal.times(threads);
    let bootargs = |end| format!("bootargs = \"seed={seed} attack={begin} end={end}\";");
    // A device of its own, so that its interrupt controller has an interrupt of the board's behind it.
    let device = if lab.board.board == BoardName::QemuVirt { " devices = \"/pl031@9010000\";" } else { "" };
    let partition =
        |name, cpus, more| Partition { name, cpus, memory: 16, kernel: name, more, ..Partition::ticker(0) };
    // With threads, how long a CPU of QEMU's waits for one of the host's is not the attacker's doing.
    let patience = if threads { " patience=5000" } else { "" };
    let mut partitions = [
        partition("witness", 0..2, bootargs(end).replace("\";", &format!("{patience}\";"))),
        partition("hostile", 2..smp, format!("{} restart = \"on-crash\";{device}", bootargs(end - ahead))),
    ];
    if terminal == Terminal::Answering {
        partitions.reverse();
    }
    let machine = match terminal {
        Terminal::Fast => lab.boot(&partitions),
        Terminal::Typing | Terminal::Answering => port::boot(lab, &partitions),
    };
    lab.board.extra = plain;
    let outcome = watch(&mut machine?, terminal)?;
    ensure!(
        threads || outcome.attacked <= outcome.quiet + BOUND + turns(seed),
        "the witness wakes too late: {outcome}; allowed are {} ns more than in quiet",
        BOUND + turns(seed)
    );
    Ok(outcome)
}

/// Types until the witness has measured, and returns how much: real time for somebody's keys, and as fast as the board takes
/// them where a terminal answers questions (`ESC[6n`) without end.
fn keep_typing(machine: &mut Machine, terminal: Terminal) -> Result<usize> {
    let (keys, pause): (&[u8], _) = match terminal {
        Terminal::Fast => return Ok(0),
        Terminal::Typing => (b"x", Duration::from_millis(20)),
        Terminal::Answering => (b"\x1b[24;80R", Duration::from_millis(5)),
    };
    let end = Instant::now() + machine.patience(Duration::from_secs(60));
    let mut typed = 0;
    while Instant::now() < end
        && !machine.said("witness").lines().iter().any(|line| line.text.starts_with("witness: quiet"))
    {
        machine.send(keys)?;
        typed += 1;
        machine.sleep(pause)?;
    }
    Ok(typed)
}

/// Waits for the witness's verdict.
fn watch(machine: &mut Machine, terminal: Terminal) -> Result<Outcome> {
    const LATEST: &str = r"^witness: (?:quiet|attacked): (\d+) wake-ups, the latest by (\d+) ns";
    // A board with the fast port is through in two seconds, or its clock stands still.
    let seconds = if terminal == Terminal::Fast { 25 } else { 60 };
    let typed = keep_typing(machine, terminal)?;
    let mut stretch = || -> Result<(u64, u64)> {
        let groups = wait(machine, "witness", &format!("{LATEST}|COMPLAINT.*"), seconds)?;
        ensure!(groups.get(1).is_some_and(|group| !group.is_empty()), "the witness: {}", groups[0]);
        Ok((groups[1].parse()?, groups[2].parse()?))
    };
    let (one, quiet) = stretch()?;
    let (other, attacked) = stretch()?;
    ensure!(one > 0 && other > 0, "the witness woke {one} times in quiet, and {other} times under attack");
    let counts = wait(machine, "witness", r"^witness: \d+ interrupts: .*", 30)?;
    let verdict = wait(machine, "witness", r"^witness: (nothing reached me|COMPLAINT.*)", 30)?;
    ensure!(verdict[1] == "nothing reached me", "the witness: {}", counts[0]);
    let limit = machine.patience(Duration::from_secs(30));
    machine.wait_off("witness", limit)?;
    // The attacker may have locked itself up; what matters is that the hypervisor has not.
    let said = regex(r"^hostile: (\d+) steps")?;
    let steps = |line: &Line| said.captures(&line.text)?.get(1)?.as_str().parse::<u64>().ok();
    let steps = machine.said("hostile").lines().iter().filter_map(steps).sum::<u64>();
    // However much it did wrong, it did not flood the log: four warnings, and one each ten seconds.
    let warned = machine.said(HYPERVISOR).lines().iter();
    let warned = warned.filter(|line| line.text.starts_with("warning: hostile/")).count();
    ensure!(warned <= 12, "{warned} warnings about the attacker");
    let restarts = machine.board().find("hostile").map_or(0, |hostile| hostile.restarts);
    ensure!(
        machine.board().fault().is_none(),
        "{}",
        machine.board().fault().map_or_else(String::new, |fault| fault.to_string())
    );
    machine.kill();
    Ok(Outcome { terminal, typed, lives: restarts + 1, steps, wakeups: one + other, quiet, attacked })
}
