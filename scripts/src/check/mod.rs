// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead check`: compiles, merges and plans a configuration with the hypervisor's own crate, and
//! shows every mistake where it stands in the source.

mod boards;
pub(crate) mod compile;
mod finding;
mod json;
mod locate;
pub mod memory;
mod placement;

use crate::config::{self, Config};
use crate::display;
use crate::dts::{Sources, parse};
use crate::pack;
use crate::project::Project;
use crate::qemu;
use crate::terminal::plain;
use anyhow::{Context, Result, bail};
use bulkhead_plan::board::Gic;
use bulkhead_plan::bundle::Bundle;
use bulkhead_plan::early::Outline;
use bulkhead_plan::error::{Errors, Problem};
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{Planned, board, plan_board};
use clap::Args;
use codespan_reporting::diagnostic::Severity;
use locate::{Locator, Overlay};
use std::fs;
use std::path::{Path, PathBuf};

pub use boards::BoardTree;
pub use finding::{Finding, Mark, print, text};
pub use placement::Taken;

/// What `check` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A folder with overlays (*.dtso), one overlay, or a packed bundle
    pub config: PathBuf,
    /// Print what is wrong as JSON
    #[arg(long)]
    pub json: bool,
    /// The board to plan for; with --dtb the one whose tree this is.
    #[command(flatten)]
    pub board: qemu::Options,
}

/// What is known of a configuration once it has been looked at.
pub struct Examined {
    /// The board.
    pub board: BoardTree,
    /// The plan, if there are no errors.
    pub planned: Option<Planned>,
    /// What the hypervisor keeps for itself.
    pub taken: Vec<Taken>,
    /// Everything there is to say, errors first.
    pub findings: Vec<Finding>,
    /// The files that findings point into.
    pub sources: Sources,
    /// The bundle as it would be packed; empty if an overlay does not compile.
    pub bundle: Vec<u8>,
}

impl Examined {
    /// Whether it boots.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.planned.is_some() && !self.findings.iter().any(Finding::is_error)
    }

    /// How many errors and warnings there are, as words.
    #[must_use]
    pub fn count(&self) -> String {
        let errors = self.findings.iter().filter(|finding| finding.is_error()).count();
        let words = |count: usize, noun: &str| match count {
            0 => None,
            1 => Some(format!("1 {noun}")),
            many => Some(format!("{many} {noun}s")),
        };
        let words: Vec<_> = [words(errors, "error"), words(self.findings.len() - errors, "warning")]
            .into_iter()
            .flatten()
            .collect();
        if words.is_empty() { "no errors".into() } else { words.join(", ") }
    }
}

/// Checks, and says what it found. True if the configuration boots.
///
/// # Errors
/// When there is nothing to check, no such file, no such board, no `dtc`, and that is not to be told as JSON.
pub fn check(project: &Project, options: &Options) -> Result<bool> {
    let examined = examine(project, &options.config, &options.board);
    let config = options.config.display();
    if options.json {
        let value = match &examined {
            Ok(examined) => json::value(&config.to_string(), examined),
            Err(error) => json::failure(&config.to_string(), error),
        };
        display::print(&format!("{value:#}\n"))?;
        return Ok(examined.is_ok_and(|examined| examined.is_good()));
    }
    let examined = examined?;
    print(&examined.sources, &examined.findings)?;
    match &examined.planned {
        Some(planned) if examined.is_good() => {
            let partitions = planned.plan.partitions.len();
            let noun = if partitions == 1 { "partition" } else { "partitions" };
            println!(
                "{config}: {partitions} {noun} on {}; {}",
                summary(&examined.board, &planned.board),
                examined.count()
            );
        }
        _ => eprintln!("{config} on {}: {}", examined.board.name, examined.count()),
    }
    Ok(examined.is_good())
}

/// Says every mistake of a configuration, as [`check`] does, and what is odd; silent if there is nothing. Gives what
/// is known of it.
///
/// # Errors
/// When the configuration would not boot.
pub fn insist(project: &Project, config: &Path, board: &qemu::Options) -> Result<Examined> {
    let examined = examine(project, config, board)?;
    print(&examined.sources, &examined.findings)?;
    if !examined.is_good() {
        bail!("{} on {}: {}", config.display(), examined.board.name, examined.count());
    }
    Ok(examined)
}

/// Says of a configuration that was packed what the hypervisor would say on this board.
pub fn warn(project: &Project, config: &Path, board: &qemu::Options) {
    let said = examine(project, config, board).and_then(|examined| {
        print(&examined.sources, &examined.findings)?;
        Ok((!examined.is_good())
            .then(|| format!("{} starts nothing of it: {}", examined.board.name, examined.count())))
    });
    match said {
        Ok(None) => {}
        Ok(Some(sentence)) => eprintln!("packed, but {sentence}"),
        Err(error) => eprintln!("packed, but not checked: {}", plain(&format!("{error:#}"))),
    }
}

/// The board in a few words.
#[must_use]
pub fn summary(tree: &BoardTree, board: &board::Board) -> String {
    let memory: u64 = board.memory.iter().map(|bank| bank.size() >> 20).sum();
    let gic = match board.gic {
        Gic::V2 { .. } => 2,
        Gic::V3 { .. } => 3,
    };
    format!("{} ({} CPUs, {memory} MiB, GICv{gic})", tree.name, board.cpus.len())
}

/// Looks at a configuration in every way that the boot would.
///
/// # Errors
/// As for [`check`].
pub fn examine(project: &Project, config: &Path, board: &qemu::Options) -> Result<Examined> {
    let config = Config::open(config)?;
    let board = boards::tree(project, board)?;
    let mut examined = Examined {
        board,
        planned: None,
        taken: Vec::new(),
        findings: Vec::new(),
        sources: Sources::default(),
        bundle: Vec::new(),
    };
    let (folder, files) = match &config {
        Config::Bundle(file) => {
            examined.bundle = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            examined.plan(project, &[], &[]);
            return Ok(examined);
        }
        Config::Overlays { folder, files } => (folder, files),
    };
    let (mut blobs, mut overlays) = (Vec::new(), Vec::new());
    for path in files {
        let file = examined
            .sources
            .read(path)
            .with_context(|| format!("cannot read {}", project.short(path).display()))?;
        match config::try_compile(path)? {
            Ok(blob) => {
                let name = format!("{}.dtbo", blob.name);
                overlays.push(Overlay { name, document: parse(&mut examined.sources, file) });
                blobs.push(blob);
            }
            Err(complaints) => {
                examined.findings.extend(compile::findings(&mut examined.sources, file, &complaints));
            }
        }
    }
    if !examined.findings.is_empty() {
        return Ok(examined);
    }
    let gathered = pack::gather(project, folder, blobs);
    examined.bundle = gathered.write()?;
    let missing = gathered.missing.into_iter().map(|(reference, error)| Missing {
        property: reference.property,
        image: reference.image,
        why: format!("{error:#}"),
    });
    examined.plan(project, &overlays, &missing.collect::<Vec<_>>());
    for path in files {
        if let Some(file) = examined.sources.read(path) {
            examined.findings.extend(compile::deletions(&examined.sources, file));
        }
    }
    Ok(examined)
}

/// An image that there is no file for.
struct Missing {
    property: String,
    image: String,
    why: String,
}

impl Examined {
    /// Merges and plans, and notes what is wrong or odd.
    fn plan(&mut self, project: &Project, overlays: &[Overlay], missing: &[Missing]) {
        let (problems, taken) = match self.try_plan(project) {
            Ok((planned, taken)) => {
                let warnings = planned.plan.warnings.clone();
                self.planned = Some(planned);
                (warnings.into_iter().map(|problem| (problem, Severity::Warning)).collect(), taken)
            }
            Err(Unplanned::Problems(Errors(problems), taken)) => {
                (problems.into_iter().map(|problem| (problem, Severity::Error)).collect::<Vec<_>>(), taken)
            }
            Err(Unplanned::NoBoot(sentence)) => {
                self.findings.push(Finding::error(sentence));
                return;
            }
        };
        let merged = Bundle::parse(&self.bundle, pack::crc32)
            .and_then(|bundle| bundle.merge(Tree::parse(&self.board.blob, "board")?))
            .or_else(|_| Tree::parse(&self.board.blob, "board").map_err(Errors::from))
            .unwrap_or_default();
        let locator = Locator::new(overlays, &merged);
        let find = |(problem, severity): &(Problem, Severity)| {
            let mut finding = Finding::of(problem, locator.find(problem), *severity);
            if self.board.grows && problem.rule.starts_with("the board has no CPU") {
                finding = finding.note("help: `--smp N` gives QEMU's board as many CPUs as you want.");
            }
            match missing.iter().find(|missing| missing.is_about(problem)) {
                // More is known here than at boot: where the file was looked for.
                Some(missing) => finding.note(missing.why.clone()),
                None => finding,
            }
        };
        self.findings = problems.iter().map(find).collect();
        self.taken = taken;
    }

    fn try_plan(&self, project: &Project) -> Result<(Planned, Vec<Taken>), Unplanned> {
        let early = |errors: Errors| Unplanned::Problems(errors, Vec::new());
        let tree =
            Tree::parse(&self.board.blob, "the board's tree").map_err(|problem| early(problem.into()))?;
        let bundle = Bundle::parse(&self.bundle, pack::crc32).map_err(early)?;
        let memory = board::Board::read(&tree).map_err(early)?.memory;
        let outline = Outline::new(&self.board.blob)
            .ok_or_else(|| Unplanned::NoBoot("the board's tree is malformed".into()))?;
        let taken = placement::taken(project, &outline, &memory, self.board.blob.len(), self.bundle.len())
            .map_err(Unplanned::NoBoot)?;
        let bundle = match taken.iter().find(|(_, what)| *what == placement::BUNDLE) {
            Some((place, _)) => bundle.lying_at(place.start()),
            None => bundle,
        };
        match plan_board(&self.board.blob, &bundle, taken.clone()) {
            Ok(planned) => Ok((planned, taken)),
            Err(errors) => Err(Unplanned::Problems(errors, taken)),
        }
    }
}

/// Why there is no plan.
enum Unplanned {
    Problems(Errors, Vec<Taken>),
    NoBoot(String),
}

impl Missing {
    fn is_about(&self, problem: &Problem) -> bool {
        problem.property.as_deref() == Some(&self.property)
            && problem.value.as_deref() == Some(&format!("\"{}\"", self.image))
    }
}
