// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead test`: the system tests, each a scenario on a board that QEMU plays.
//!
//! A scenario runs on every board with `--full`; else on one of them, taken in turn, so that every GIC
//! version and every CPU model occurs.

pub mod attack;
mod bench;
mod book;
mod branches;
mod broken;
mod conformance;
mod debugger;
mod desk;
mod errata;
mod errors;
mod examples;
mod fixed;
mod lab;
mod life;
mod loader;
mod lone;
mod newest;
mod panics;
mod port;
mod primary;
mod raspi;
mod refusals;
mod scenarios;
mod shell;
mod strain;
mod stress;
mod trees;
mod watchdog;

use crate::project::Project;
use crate::qemu::{self, Gic};
use crate::{build, terminal};
use anyhow::{Result, bail};
use clap::Args;
use lab::Lab;
use libtest_mimic::{Arguments, ColorSetting, Trial};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What `test` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Every scenario on every board, not on one
    #[arg(long)]
    pub full: bool,
    /// List the tests, run none
    #[arg(long)]
    pub list: bool,
    /// How many boards run at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,
    /// Only tests whose name contains this
    pub filter: Option<String>,
}

/// The CPU models that are tested, with the names they have in QEMU.
const CPUS: [&str; 3] = ["cortex-a72", "cortex-a53", "max"];

/// One way to use a board, and what must come of it.
struct Scenario {
    name: &'static str,
    run: fn(&mut Lab) -> Result<()>,
}

/// Runs the tests. True if all passed.
///
/// # Errors
/// When there is nothing to test with: no QEMU, no hypervisor.
pub fn test(project: &Project, options: &Options) -> Result<bool> {
    let start = Instant::now();
    if !options.list {
        qemu::check_version()?;
        build::hypervisor(project, false)?;
    }
    let arguments = Arguments {
        list: options.list,
        filter: options.filter.clone(),
        test_threads: Some(options.jobs),
        color: Some(if terminal::wants_colour() { ColorSetting::Always } else { ColorSetting::Never }),
        ..Arguments::default()
    };
    let trials = trials(project, options.full);
    if let Some(filter) = options.filter.as_deref()
        && !trials.iter().any(|trial| trial.name().contains(filter))
    {
        bail!(
            "no test has {filter:?} in its name on the board that is its turn; --list lists them, --full --list all"
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !options.list {
        eprintln!("{} s; the slowest: {}", start.elapsed().as_secs(), slowest());
        println!("{} passed, {} failed", conclusion.num_passed, conclusion.num_failed);
    }
    Ok(!conclusion.has_failed())
}

fn trials(project: &Project, full: bool) -> Vec<Trial> {
    let project = Arc::new(project.clone());
    let boards = boards();
    let scenarios =
        scenarios::ALL.iter().chain(life::ALL).chain(examples::ALL).chain(refusals::ALL).chain(desk::ALL);
    let scenarios = scenarios
        .chain(branches::ALL)
        .chain(errata::ALL)
        .chain(strain::ALL)
        .chain(panics::ALL)
        .chain(port::ALL)
        .chain(fixed::VIRT)
        .chain(newest::ALL)
        .chain(trees::ALL)
        .chain(loader::ALL)
        .chain(primary::ALL)
        .chain([&errors::SCENARIO, &refusals::ALWAYS_A_HOST]);
    let mut trials = Vec::new();
    for (index, scenario) in scenarios.enumerate() {
        let chosen = if full { boards.as_slice() } else { &boards[index % boards.len()..][..1] };
        for board in chosen {
            trials.push(trial(&project, scenario, board));
        }
    }
    // On a board of each GIC, on every board with `--full`; the long ones only with it, and on two boards.
    let (two, max) = (&boards[..2], &boards[boards.len() - 1..]);
    let (each, long) = if full { (boards.as_slice(), two) } else { (two, &[][..]) };
    let of_two = [
        (stress::EACH_GIC, each),
        (strain::EACH_GIC, each),
        (lone::EACH_GIC, each),
        (newest::EACH_GIC, each),
        (life::LONG, long),
        (stress::LONG, long),
        (strain::LONG, long),
        (newest::LONG, long),
        (trees::LONG, if full { max } else { &[] }),
        (newest::LONG_ON_MAX, if full { max } else { &[] }),
    ];
    for (scenarios, boards) in of_two {
        for scenario in scenarios {
            trials.extend(boards.iter().map(|board| trial(&project, scenario, board)));
        }
    }
    trials.extend(raspi::chosen(full).map(|scenario| trial(&project, scenario, &raspi::board())));
    trials.extend(attack::boards().iter().map(|board| trial(&project, &attack::SCENARIO, board)));
    trials.extend(conformance::boards(full).map(|board| trial(&project, &conformance::SCENARIO, &board)));
    trials.extend(conformance::lives_boards().map(|board| trial(&project, &conformance::LIVES, &board)));
    for scenario in [&bench::SCENARIO, &bench::STEADY] {
        trials.extend(bench::boards().map(|board| trial(&project, scenario, &board)));
    }
    let once = [&bench::GROWTH, &bench::WORKLOADS].into_iter().chain(book::ALL);
    trials.extend(once.map(|scenario| trial(&project, scenario, &qemu::Options::default())));
    trials
}

/// Every GIC version with every CPU model; neighbours differ in both.
fn boards() -> Vec<qemu::Options> {
    let board = |index: usize| qemu::Options {
        gic: if index.is_multiple_of(2) { Gic::V3 } else { Gic::V2 },
        cpu: CPUS[index % CPUS.len()].into(),
        ..qemu::Options::default()
    };
    (0..2 * CPUS.len()).map(board).collect()
}

/// How long each test took.
static DURATIONS: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// The tests that took longest, with their seconds.
fn slowest() -> String {
    const SHOWN: usize = 20;
    let mut all = DURATIONS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    all.sort_by(|one, other| other.cmp(one));
    let shown = all.iter().take(SHOWN).map(|(took, name)| format!("{name} {}", took.as_secs()));
    shown.collect::<Vec<_>>().join(", ")
}

fn trial(project: &Arc<Project>, scenario: &Scenario, board: &qemu::Options) -> Trial {
    let name = format!("{}-{}", scenario.name, board.name());
    let (project, board, run, own) = (Arc::clone(project), board.clone(), scenario.run, name.clone());
    Trial::test(name, move || {
        let start = Instant::now();
        let mut lab = Lab::new(&project, &own, board)?;
        let result = run(&mut lab);
        DURATIONS.lock().unwrap_or_else(PoisonError::into_inner).push((start.elapsed(), own));
        result.map_err(|error| format!("{error:#}\n  the console: {}", lab.log().display()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_board_differs_and_the_subset_meets_each() {
        let names: BTreeSet<_> =
            boards().iter().map(|board| format!("{:?} {}", board.gic, board.cpu)).collect();
        assert_eq!(names.len(), 6);
        assert!(scenarios::ALL.len() >= boards().len(), "too few scenarios to meet every board");
    }

    #[test]
    fn names_are_unique() {
        let project = Project::find().unwrap();
        let names: Vec<_> = trials(&project, true).iter().map(|trial| trial.name().to_owned()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
