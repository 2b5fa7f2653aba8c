// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The desk and the board agree: what `check` accepts boots, and what it refuses is refused with the same
//! sentences. A change of configuration changes no byte of the hypervisor.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::{broken, life, shell};
use crate::board::{Board, Fault, State};
use crate::check::{self, Examined, Finding};
use crate::console::HYPERVISOR;
use crate::machine::Failure;
use crate::qemu::Gic;
use crate::{build, new, pack};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "check-accepts-what-boots", run: examples },
    Scenario { name: "check-refuses-what-is-refused", run: mistakes },
    Scenario { name: "a-configuration-changes-no-hypervisor", run: same_hypervisor },
    Scenario { name: "images-in-place", run: images_in_place },
    Scenario { name: "check-is-quick", run: quick },
];

/// The folders of guests that are configurations.
fn configurations(lab: &Lab) -> Result<Vec<PathBuf>> {
    let folders = fs::read_dir(lab.project().root().join("guests")).context("cannot read guests")?;
    let mut found: Vec<PathBuf> = folders.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let has_overlay = |folder: &PathBuf| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| file.path()).any(|file| file.extension().is_some_and(|kind| kind == "dtso"))
    };
    found.retain(has_overlay);
    found.sort();
    ensure!(found.len() >= 5, "only {} configurations under guests", found.len());
    Ok(found)
}

/// Boots until every partition of the plan has started.
fn examples(lab: &mut Lab) -> Result<()> {
    let mut folders = configurations(lab)?;
    let starter = lab.file("config.dtso", b"")?.with_file_name("starter");
    new::write(&starter)?;
    folders.push(starter);
    let own = lab.board.gic;
    for folder in folders {
        let shown = folder.display();
        lab.board.gic = own;
        let examined = examine_on_a_board(lab, &folder)?;
        ensure!(examined.is_good(), "check refuses {shown}: {}", sentences(&examined).join("; "));
        let planned = examined.planned.as_ref().context("there is no plan")?;
        let names: Vec<_> = planned.plan.partitions.iter().map(|partition| partition.name.clone()).collect();
        let mut machine = lab.boot_bundle(Some(&examined.bundle))?;
        let limit = machine.patience(Duration::from_secs(60));
        let begun = |board: &Board, name: &String| {
            board.find(name).is_some_and(|partition| partition.state != State::Described)
        };
        let all_begun = |board: &Board| names.iter().all(|name| begun(board, name));
        let waited = machine.wait_until(HYPERVISOR, "the start of every partition", limit, all_begun);
        waited.with_context(|| format!("check accepts {shown}, but it does not boot"))?;
        machine.kill();
    }
    Ok(())
}

/// A check is to take 0.2 s at most. The limit here is one of processor time, which other processes do not
/// lengthen, and five times as much.
fn quick(lab: &mut Lab) -> Result<()> {
    const LIMIT: u64 = 1000;
    let own = lab.board.gic;
    for folder in configurations(lab)? {
        lab.board.gic = own;
        examine_on_a_board(lab, &folder)?;
        let before = processor_time()?;
        ensure!(check::examine(lab.project(), &folder, &lab.board)?.is_good(), "{}", folder.display());
        let took = processor_time()? - before;
        ensure!(took <= LIMIT, "a check of {} takes {took} ms", folder.display());
    }
    Ok(())
}

/// Milliseconds of a processor that this thread has used (proc(5): fields 14 and 15, in hundredths of a second).
fn processor_time() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/stat")?;
    // The name, in parentheses, may have spaces in it.
    let fields = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let times = fields.skip(11).take(2).map(str::parse::<u64>);
    Ok(times.sum::<Result<u64, _>>()? * 10)
}

/// The example says in its comments how many CPUs it needs, and which GIC; here the first board that has them is taken.
fn examine_on_a_board(lab: &mut Lab, folder: &Path) -> Result<Examined> {
    let own = lab.board.gic;
    let mut examined = None;
    for (smp, gic) in [(4, own), (8, own), (4, Gic::V3)] {
        (lab.board.smp, lab.board.gic) = (smp, gic);
        let found = check::examine(lab.project(), folder, &lab.board)?;
        if found.is_good() {
            return Ok(found);
        }
        examined.get_or_insert(found);
    }
    lab.board.gic = own;
    examined.context("no board was tried")
}

fn sentences(examined: &Examined) -> Vec<String> {
    let errors = examined.findings.iter().filter(|finding| finding.is_error());
    let sentence = |finding: &Finding| match &finding.problem {
        Some(problem) => problem.to_string(),
        None => finding.message.clone(),
    };
    errors.map(sentence).collect()
}

/// The same sentences in the same order, for every mistake that a compiled overlay can hold.
fn mistakes(lab: &mut Lab) -> Result<()> {
    let config = lab.file("config.dtso", b"")?;
    broken::write_images(config.parent().context("a file is in a folder")?)?;
    let mut differences = Vec::new();
    let mut compared = 0;
    for (title, source) in broken::cases() {
        lab.file("config.dtso", source.as_bytes())?;
        let examined = check::examine(lab.project(), &config, &lab.board)?;
        ensure!(!examined.is_good(), "{title}: check accepts it");
        if examined.bundle.is_empty() {
            // It does not compile, so it cannot boot.
            continue;
        }
        let mut machine = lab.boot_bundle(Some(&examined.bundle))?;
        let limit = machine.patience(Duration::from_secs(30));
        let said = match machine.finish(Some(limit)) {
            Err(Failure::Fault(Fault::Refused(errors))) => errors,
            Err(other) => return Err(anyhow::Error::from(other).context(title)),
            Ok(()) => bail!("{title}: it boots"),
        };
        compared += 1;
        let expected = sentences(&examined);
        if said != expected {
            differences.push(format!(
                "{title}:\n  desk:  {}\n  board: {}",
                expected.join("\n         "),
                said.join("\n         ")
            ));
        }
    }
    ensure!(differences.is_empty(), "{} of {compared} differ\n{}", differences.len(), differences.join("\n"));
    ensure!(compared >= 60, "only {compared} mistakes came as far as the board");
    Ok(())
}

/// Pack and run are all that a change takes.
fn same_hypervisor(lab: &mut Lab) -> Result<()> {
    let read = |lab: &Lab| fs::read(lab.project().hypervisor_image()).context("there is no hypervisor");
    let before = read(lab)?;
    for memory in [2, 6] {
        let mut machine = lab.boot(&[Partition { memory, ..Partition::ticker(0) }])?;
        shell::wait(&mut machine, HYPERVISOR, &format!("^partition 1 ticker: CPU 0, {memory} MiB"), 30)?;
        shell::wait(&mut machine, "ticker", "^tick 1", 30)?;
        machine.kill();
        ensure!(read(lab)? == before, "the hypervisor's image changed with the configuration");
    }
    Ok(())
}

/// Raw images that fill read-only memory: one runs where the bundle has it, and again after each restart; one
/// writes to itself, and dies of it.
fn images_in_place(lab: &mut Lab) -> Result<()> {
    const PAGE: usize = 4096;
    /// `adr x0, .` and `str x0, [x0]`.
    const WRITES: [u32; 2] = [0x1000_0000, 0xf900_0000];
    let mut stamp = fs::read(build::guest(lab.project(), "stamp", false)?)?;
    stamp.resize(2 * PAGE + 16, 0);
    let mut writer: Vec<u8> = WRITES.iter().flat_map(|word| word.to_le_bytes()).collect();
    writer.resize(PAGE, 0);
    let partition = |name: &str, cpu: u32, size: usize| {
        format!(
            "{name} {{ compatible = \"bulkhead,partition\"; cpus = <{cpu}>; kernel = \"{name}\";\n\
             restart = \"always\"; restart-limit = <3>; restart-delay-ms = <1>;\n\
             #address-cells = <1>; #size-cells = <1>;\n\
             memory@40000000 {{ reg = <0x40000000 {size:#x}>; read-only; }};\n\
             memory@40200000 {{ reg = <0x40200000 0x200000>; }}; }};\n"
        )
    };
    let source = format!(
        "/dts-v1/;\n/plugin/;\n&{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>;\n{}{} }}; }};\n",
        partition("stamp", 0, 3 * PAGE),
        partition("writer", 1, PAGE)
    );
    let overlay = lab.file("config.dtso", source.as_bytes())?;
    let bundle =
        lab.file("packed.itb", &pack::with_images(&overlay, &[("stamp", &stamp), ("writer", &writer)])?)?;
    let examined = check::examine(lab.project(), &bundle, &lab.board)?;
    let planned = examined.planned.as_ref().context("check refuses it")?;
    for (partition, pages) in planned.plan.partitions.iter().zip([2, 1]) {
        let in_place = partition.memory.iter().filter(|memory| memory.in_place);
        let size: u64 = in_place.map(|memory| memory.frames.size()).sum();
        ensure!(size == pages * PAGE as u64, "{}: {size:#x} bytes are in place", partition.name);
    }
    let mut machine = lab.boot_bundle(Some(&examined.bundle))?;
    life::finish_with_stopped(&mut machine)?;
    let said = machine.said("stamp").lines().len();
    ensure!(said == 4, "the stamp was to be printed 4 times, not {said}");
    let told = machine.said(HYPERVISOR).lines();
    let died = told.iter().filter(|line| line.text.starts_with("writer: stopped: ")).count();
    ensure!(died == 4, "the writer was to die 4 times, not {died}");
    Ok(())
}
