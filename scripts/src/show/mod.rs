// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead show`: the plan as a table, as a picture, for machines, and as each guest sees it.

mod json;
mod picture;
mod table;

pub(crate) use table::Table;
mod view;

use crate::check::{self, Examined};
use crate::display;
use crate::project::Project;
use crate::qemu;
use anyhow::{Context, Result, bail, ensure};
use bulkhead_plan::Planned;
use clap::Args;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use view::View;

/// What `show` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A folder with overlays (*.dtso), one overlay, or a packed bundle
    pub config: PathBuf,
    /// Draw the board and who owns what of it into a file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long, conflicts_with = "guest_dts")]
    pub json: bool,
    /// Print the device tree that a partition sees
    #[arg(long, value_name = "NAME")]
    pub guest_dts: Option<String>,
    /// The board to plan for.
    #[command(flatten)]
    pub board: qemu::Options,
}

/// Shows the plan; of a configuration that has none, what is wrong with it. True if there is a plan.
///
/// # Errors
/// As for [`check::check`]; when the picture cannot be written; when there is no such partition.
pub fn show(project: &Project, options: &Options) -> Result<bool> {
    let examined = check::examine(project, &options.config, &options.board)?;
    check::print(&examined.sources, &examined.findings)?;
    let Some(planned) = examined.planned.as_ref().filter(|_| examined.is_good()) else {
        eprintln!("{} on {}: {}", options.config.display(), examined.board.name, examined.count());
        return Ok(false);
    };
    let title = options.config.display().to_string();
    let view = View::new(&title, &examined, planned);
    if let Some(file) = &options.svg {
        display::write_and_tell(file, picture::draw(&view).as_bytes(), "a picture of who owns what")?;
    }
    let shown = match &options.guest_dts {
        Some(name) => guest_source(planned, name)?,
        None if options.json => format!("{:#}\n", json::value(&view)),
        None if options.svg.is_none() => table::text(&view),
        None => String::new(),
    };
    display::print(&shown)?;
    Ok(true)
}

/// The picture of a configuration that was examined and found good.
#[must_use]
pub fn svg(title: &str, examined: &Examined) -> Option<String> {
    Some(picture::draw(&View::new(title, examined, examined.planned.as_ref()?)))
}

/// The plan of a configuration that was examined and found good, as JSON.
#[must_use]
pub fn json(title: &str, examined: &Examined) -> Option<serde_json::Value> {
    Some(json::value(&View::new(title, examined, examined.planned.as_ref()?)))
}

/// The plan of a configuration that was examined and found good, as a table.
#[must_use]
pub fn table(title: &str, examined: &Examined) -> Option<String> {
    Some(table::text(&View::new(title, examined, examined.planned.as_ref()?)))
}

/// The device tree that a partition sees, in source form.
fn guest_source(planned: &Planned, name: &str) -> Result<String> {
    let partitions = &planned.plan.partitions;
    let names = || partitions.iter().map(|partition| partition.name.as_str()).collect::<Vec<_>>().join(", ");
    let partition = partitions.iter().find(|partition| partition.name == name);
    let partition =
        partition.with_context(|| format!("there is no partition {name}; there are {}", names()))?;
    let mut command = Command::new("dtc");
    command.args(["-q", "-I", "dtb", "-O", "dts", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("dtc, the device tree compiler, is not in PATH; scripts/setup installs it")
        }
        Err(error) => return Err(error).context("dtc cannot be run"),
    };
    let mut input = child.stdin.take().context("dtc was started without its pipe")?;
    let blob = partition.tree.blob.clone();
    let writer = std::thread::spawn(move || input.write_all(&blob));
    let output = child.wait_with_output()?;
    ensure!(writer.join().is_ok_and(|written| written.is_ok()) && output.status.success(), "dtc failed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
