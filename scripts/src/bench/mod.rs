// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead bench`: what everything that leaves a guest costs, in instructions.
//!
//! | module | its one concern |
//! | --- | --- |
//! | [`boards`] | QEMU made a machine on which an instruction is a nanosecond |
//! | [`figures`] | what the guests print, and the results of a run |
//! | [`wholes`] | the boot, the memory, the image |
//! | [`scale`] | how all of it grows |
//! | [`workloads`], [`exits`] | a Linux and jobs in it, native beside guest |
//! | [`budgets`] | what each figure may be |
//! | [`peers`] | the figures of other systems, and what we mean to reach |
//! | [`table`], [`bars`], [`curves`] | results to be looked at |
//! | [`trace`], [`classes`], [`paths`] | the second witness: an execution trace, and where the instructions are |
//!
//! docs/bench.md explains the method.

pub mod bars;
pub mod boards;
pub mod budgets;
pub mod classes;
pub mod curves;
pub mod exits;
pub mod figures;
pub mod paths;
pub mod peers;
pub mod scale;

pub mod table;
pub mod trace;
pub mod wholes;
pub mod workloads;

use crate::display::write_and_tell;
use crate::project::Project;
use crate::qemu::{self, BoardName, Gic};
use crate::{build, project};
use anyhow::{Context, Result, bail, ensure};
use boards::{Bench, Shape};
use budgets::Budgets;
use clap::Args;
use figures::{Operation, Results};
use peers::Peers;
use std::fs;
use std::path::{Path, PathBuf};

/// What the bench measures instead of operations: neither kept, nor compared, nor budgeted.
const OTHERS: [&str; 4] = ["trace", "paths", "scale", "workloads"];

/// What `bench` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The board that QEMU plays
    #[arg(long, value_enum, default_value_t)]
    pub board: BoardName,
    /// The version of the interrupt controller [default: both]
    #[arg(long, value_enum)]
    pub gic: Option<Gic>,
    /// The CPU model
    #[arg(long, value_name = "MODEL", default_value = "cortex-a72")]
    pub cpu: String,
    /// Write the results to a file
    #[arg(long, value_name = "FILE", conflicts_with_all = OTHERS)]
    pub json: Option<PathBuf>,
    /// Show the change since results that --json wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = OTHERS)]
    pub compare: Option<PathBuf>,
    /// Draw the results beside other systems' figures; with --scale, how they grow
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "paths", "workloads"])]
    pub svg: Option<PathBuf>,
    /// Make the results of this run the budgets
    #[arg(long, conflicts_with_all = OTHERS)]
    pub update_budgets: bool,
    /// Count from an execution trace instead: exits by reason, barriers, device accesses
    #[arg(long, conflicts_with_all = ["paths", "scale", "workloads"])]
    pub trace: bool,
    /// List where the hypervisor's instructions of an operation are, from a trace; `boot` for the boot, `all` for each
    #[arg(long, value_name = "OPERATION", conflicts_with_all = ["scale", "workloads"])]
    pub paths: Option<String>,
    /// Measure how figures grow with partitions, CPUs and memory
    #[arg(long, conflicts_with = "workloads")]
    pub scale: bool,
    /// Run whole workloads natively and as a guest: Debian's kernel up to /init, and jobs in user space
    #[arg(long)]
    pub workloads: bool,
}

/// Runs the bench. True if every figure is within its budget.
///
/// # Errors
/// When something cannot be built or run, or a file cannot be read or written.
pub fn run(project: &Project, options: &Options) -> Result<bool> {
    qemu::check_version()?;
    build::hypervisor(project, false)?;
    let benches = benches(project, options)?;
    if options.trace || options.paths.is_some() {
        traces(&benches, options.paths.as_deref())?;
        return Ok(true);
    }
    if options.scale {
        return scales(&benches, options.svg.as_deref());
    }
    if options.workloads {
        let budgets = Budgets::read(project)?;
        for bench in &benches {
            let interrupt = budgets.of(&bench.name(), "timer-spinning");
            print!("{}", table::workloads(&bench.name(), &workloads::measure(bench)?, interrupt));
        }
        return Ok(true);
    }
    let before = options.compare.as_deref().map(Results::read).transpose()?;
    let results = Results { boards: benches.iter().map(measure).collect::<Result<_>>()? };
    let peers = Peers::read(project)?;
    let mut budgets = Budgets::read(project)?;
    for board in &results.boards {
        print!("{}", table::results(board, &peers, &budgets, before.as_ref()));
    }
    if let Some(path) = &options.json {
        write_and_tell(path, &serde_json::to_vec_pretty(&results)?, "the results")?;
    }
    if let Some(path) = &options.svg {
        write_picture(path, &bars::draw(&results, &peers))?;
    }
    if options.update_budgets {
        budgets.take(&results);
        budgets.write(project)?;
        println!("the budgets are now those of this run: {}", budgets::FILE);
        return Ok(true);
    }
    let exceeded = budgets.exceeded(&results, &peers);
    exceeded.iter().for_each(|excess| println!("over budget: {excess}"));
    Ok(exceeded.is_empty())
}

fn benches<'p>(project: &'p project::Project, options: &Options) -> Result<Vec<Bench<'p>>> {
    let gics = options.gic.map_or(vec![Gic::V3, Gic::V2], |gic| vec![gic]);
    let board = |gic| qemu::Options {
        board: options.board,
        gic,
        cpu: options.cpu.clone(),
        ..qemu::Options::default()
    };
    gics.into_iter().map(|gic| Bench::new(project, board(gic))).collect()
}

/// Everything that has a budget, on one board.
fn measure(bench: &Bench<'_>) -> Result<figures::Board> {
    let native = figures::parse(&bench.native()?)?;
    let said = bench.guest(&Shape::default())?;
    let guest = figures::parse(&said)?;
    let named = |name: &str| native.iter().find(|(found, _)| found == name).and_then(|(_, figures)| *figures);
    let mut operations: Vec<_> = guest
        .iter()
        .map(|(name, figures)| Operation { name: name.clone(), native: named(name), guest: *figures })
        .collect();
    ensure!(!operations.is_empty(), "the bench guest printed no figure:\n{said}");
    operations.extend(wholes::measure(bench)?);
    Ok(figures::Board { board: bench.name(), operations })
}

/// For the system tests: one board, against the budgets.
///
/// # Errors
/// When a figure is over its budget; names each.
pub fn check(project: &Project, gic: Gic, cpu: &str) -> Result<()> {
    let board = qemu::Options { gic, cpu: cpu.into(), ..qemu::Options::default() };
    let results = Results { boards: vec![measure(&Bench::new(project, board)?)?] };
    let budgets = Budgets::read(project)?;
    ensure!(budgets.knows(&results), "{} has no budgets for {}", budgets::FILE, results.boards[0].board);
    let exceeded: Vec<_> =
        budgets.exceeded(&results, &Peers::read(project)?).iter().map(ToString::to_string).collect();
    ensure!(exceeded.is_empty(), "over budget:\n  {}", exceeded.join("\n  "));
    Ok(())
}

/// Measures growth, and draws it if wanted. True if no event grows.
fn scales(benches: &[Bench<'_>], picture: Option<&Path>) -> Result<bool> {
    let mut measured = Vec::new();
    for bench in benches {
        let scale = scale::measure(bench)?;
        print!("{}", table::scale(&bench.name(), &scale));
        measured.push((bench.name(), scale.events));
    }
    if let Some(path) = picture {
        write_picture(path, &curves::draw(&measured))?;
    }
    let grown: Vec<_> = measured.iter().flat_map(|(_, events)| scale::grown(events)).collect();
    grown.iter().for_each(|event| println!("grows: {event}"));
    Ok(grown.is_empty())
}

fn write_picture(path: &Path, picture: &str) -> Result<()> {
    let picture = format!("<!-- SPDX-License-Identifier: Apache-2.0 OR MIT -->\n{picture}");
    write_and_tell(path, picture.as_bytes(), "a picture of the results")
}

fn traces(benches: &[Bench<'_>], operation: Option<&str>) -> Result<()> {
    for bench in benches {
        let path = bench.folder().join("trace.log");
        let said = bench.traced(&path)?;
        let names: Vec<_> = figures::parse(&said)?.into_iter().map(|(name, _)| name).collect();
        let trace = trace::read(&path, &bench.images()?, &names);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        let trace = trace?;
        match operation {
            None => print!("{}", table::trace(&bench.name(), &trace)),
            Some(wanted) => {
                let found: Vec<_> =
                    trace.windows.iter().filter(|(name, _)| wanted == "all" || name == wanted).collect();
                if found.is_empty() {
                    bail!("no operation {wanted}: there are boot, {}", names.join(", "));
                }
                let elf = fs::read(bench.hypervisor_elf())?;
                let symbols = paths::Symbols::read(&elf)?;
                for (name, window) in found {
                    println!("{}, {name}:\n{}", bench.name(), symbols.list(window));
                }
            }
        }
    }
    Ok(())
}
