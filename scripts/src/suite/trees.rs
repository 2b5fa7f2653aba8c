// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device trees of Debian's newest kernel, with memory supplied: each is planned for as a whole, and with one of its
//! devices given away. The planner neither crashes nor is silent about what it leaves out.

use super::Scenario;
use super::lab::Lab;
use crate::check::memory;
use crate::qemu::BoardMemory;
use crate::{build, pack};
use anyhow::{Context, Result, ensure};
use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::error::Errors;
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::{Node, Tree};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One tree in so many by default.
const STEP: usize = 4;

/// A sample of them.
pub const ALL: &[Scenario] = &[Scenario { name: "trees-of-debian", run: |lab| sweep(lab, STEP) }];
/// All of them.
pub const LONG: &[Scenario] = &[Scenario { name: "all-trees-of-debian", run: |lab| sweep(lab, 1) }];

/// How many trees came to each end.
type Ends = BTreeMap<String, usize>;

fn sweep(lab: &mut Lab, step: usize) -> Result<()> {
    let ticker = fs::read(build::guest(lab.project(), "ticker", false)?)?;
    let mut files = Vec::new();
    for folder in lab.project().guest_software() {
        find_trees(&folder.join("dtbs"), &mut files)?;
    }
    files.sort();
    ensure!(files.len() > 1000, "only {} device trees: scripts/setup fetches them", files.len());
    let (mut whole, mut device) = (Ends::new(), Ends::new());
    for file in files.iter().step_by(step) {
        let blob = with_memory(&fs::read(file)?).with_context(|| file.display().to_string())?;
        let tree = Tree::parse(&blob, "the board's tree").map_err(anyhow::Error::msg);
        let tree = tree.with_context(|| file.display().to_string())?;
        *whole.entry(end(lab, &ticker, &blob, "primary;")?).or_default() += 1;
        let Some(given) = tree.nodes().find(|node| is_device(*node)) else { continue };
        let cpu = first_cpu(&tree);
        let one = format!(
            "cpus = <{cpu:#x}>; memory = <0x0 0x40000000 0x0 0x200000>; devices = \"{}\";",
            given.path()
        );
        *device.entry(end(lab, &ticker, &blob, &one)?).or_default() += 1;
    }
    let given =
        device.iter().filter(|(end, _)| end.starts_with(PLANNED)).map(|(_, count)| count).sum::<usize>();
    let devices = device.values().sum::<usize>();
    let planned =
        whole.iter().filter(|(end, _)| end.starts_with(PLANNED)).map(|(_, count)| count).sum::<usize>();
    let mut table = String::new();
    for (title, ends) in [("as primary", whole), ("with one device given", device)] {
        let mut ends: Vec<_> = ends.into_iter().collect();
        ends.sort_by_key(|(_, count)| usize::MAX - count);
        table += &format!("{title}\n");
        ends.iter().for_each(|(end, count)| table += &format!("{count:6}  {end}\n"));
    }
    lab.file("reasons.txt", table.as_bytes())?;
    ensure!(
        planned * 4 > 3 * files.len().div_ceil(step),
        "only {planned} boards can be planned for:\n{table}"
    );
    ensure!(given * 4 > devices, "only {given} of {devices} devices can be given away:\n{table}");
    Ok(())
}

fn find_trees(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find_trees(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "dtb") {
            found.push(path);
        }
    }
    Ok(())
}

/// A GiB where the tree begins memory; where it has no memory node, above what is devices on most boards.
fn with_memory(blob: &[u8]) -> Result<Vec<u8>> {
    memory::supply(blob, &BoardMemory::Size(1024))
        .or_else(|_| memory::supply(blob, &BoardMemory::Banks(vec![(1024, 0x4000_0000)])))
}

fn is_device(node: Node<'_, '_>) -> bool {
    let on_a_bus = node.parent().is_some_and(|bus| bus.string("compatible") == Some("simple-bus"));
    on_a_bus
        && node.has("reg")
        && node.has("interrupts")
        && node.is_available()
        && !node.has("interrupt-controller")
}

fn first_cpu(tree: &Tree<'_>) -> u32 {
    let cpus = tree.by_path("/cpus").into_iter().flat_map(|cpus| cpus.children());
    let cpu = cpus.into_iter().find(|node| node.string("device_type") == Some("cpu"));
    cpu.and_then(|cpu| cpu.cells("reg").last()).unwrap_or(0)
}

const PLANNED: &str = "planned";

/// What comes of a board whose one partition has these properties.
fn end(lab: &Lab, ticker: &[u8], board: &[u8], properties: &str) -> Result<String> {
    let source = format!(
        "/dts-v1/;\n/plugin/;\n&{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; #address-cells = <2>;\n\
         #size-cells = <2>; one {{ compatible = \"bulkhead,partition\"; kernel = \"ticker\"; {properties} }}; }}; }};\n"
    );
    let overlay = lab.file("config.dtso", source.as_bytes())?;
    let packed = pack::with_images(&overlay, &[("ticker", ticker)])?;
    let bundle = Bundle::parse(&packed, software_crc32).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    match plan_board(board, &bundle, Vec::new()) {
        Ok(planned) if planned.plan.warnings.is_empty() => Ok(PLANNED.into()),
        Ok(_) => Ok(format!("{PLANNED}, with warnings")),
        Err(errors) => reason(&errors),
    }
}

/// The first sentence, without what differs from board to board.
fn reason(errors: &Errors) -> Result<String> {
    let first = errors.0.first().context("it is refused without a reason")?;
    let number = regex::Regex::new("0x[0-9a-f]+|/[^ ,]+|[0-9]+")?;
    // A list of nodes is one, however long.
    let list = regex::Regex::new("N(, N)*( and N| and N more)")?;
    Ok(list.replace_all(&number.replace_all(&first.rule, "N"), "N").into_owned())
}
