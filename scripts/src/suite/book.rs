// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages that a newcomer follows: what they show is what the tool prints.

use super::Scenario;
use super::lab::Lab;
use crate::check;
use crate::console::{HYPERVISOR, unstamped};
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every page.
pub const ALL: &[Scenario] = &[
    Scenario { name: "first-partition", run: first_partition },
    Scenario { name: "overlays-in-the-docs", run: overlays },
];

const OVERLAY: &str = "my-board/my-board.dtso";
const PROGRAM: &str = "my-board/src/hello.rs";

/// What the reader does before a command: replaces this by that in the overlay; and types while it runs.
type Step = (&'static [(&'static str, &'static str)], &'static str);

/// Before each command of the page, but for the first, which sets up.
const STEPS: [Step; 9] = [
    (&[], ""),
    (&[], ""),
    (&[], ""),
    (&[], "wait my-board \"my-board# \"\nquit\n"),
    (&[("<3>", "<1>"), ("/* devices = \"/pl031@9010000\"; */", "devices = \"/pl031@901000\";")], ""),
    (&[("<1>", "<3>"), ("/pl031@901000", "/pl031@9010000")], ""),
    (&[], "wait my-board /registered as rtc0/\nquit\n"),
    (&[], ""),
    (&[("ticker {", "hello {"), ("\"ticker\"", "\"hello\"")], "wait bulkhead /^hello: powered off/\nquit\n"),
];

/// Follows the page to the letter, in a folder of its own.
fn first_partition(lab: &mut Lab) -> Result<()> {
    let page = lab.project().root().join("docs/first-partition.md");
    let page = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let folder = lab.log().with_file_name("");
    let commands: Vec<_> = blocks(&page, "").into_iter().flat_map(commands).skip(1).collect();
    ensure!(commands.len() == STEPS.len(), "the page has {} commands: {commands:?}", commands.len());
    let program = blocks(&page, "rust").concat();
    for ((command, expected), (edits, session)) in commands.iter().zip(STEPS) {
        for (before, after) in edits {
            let text = fs::read_to_string(folder.join(OVERLAY))?;
            ensure!(text.contains(before), "{OVERLAY} has no {before}");
            lab.file(OVERLAY, text.replace(before, after).as_bytes())?;
        }
        if command.starts_with("rustc") {
            lab.file(PROGRAM, program.as_bytes())?;
        }
        let mut line = command.replace("cargo bulkhead", &env::current_exe()?.display().to_string());
        if !session.is_empty() {
            lab.file("session.play", session.as_bytes())?;
            line += " --play session.play --timeout 300";
        }
        let said = output(&line, &folder)?;
        let agree = if session.is_empty() { printed(expected, &said) } else { told(expected, &said) };
        lab.file("console.log", said.as_bytes())?;
        agree.with_context(|| format!("docs/first-partition.md has it otherwise: $ {command}"))?;
    }
    Ok(())
}

/// Every whole overlay that a page shows passes the check.
fn overlays(lab: &mut Lab) -> Result<()> {
    let mut found = 0;
    for page in ["README.md", "docs/binding.md", "docs/operating.md", "docs/raspberry-pi.md"] {
        let text = fs::read_to_string(lab.project().root().join(page))?;
        for block in blocks(&text, "dts").into_iter().filter(|block| block.contains("/plugin/;")) {
            let overlay = lab.file("shown.dtso", block.as_bytes())?;
            let examined = check::examine(lab.project(), &overlay, &lab.board)?;
            let complaints = check::text(&examined.sources, &examined.findings)?;
            ensure!(examined.is_good(), "{page} shows\n{block}\n{complaints}");
            found += 1;
        }
    }
    ensure!(found >= 2, "only {found} overlays were found");
    Ok(())
}

/// The text of a page's code blocks in that language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fenced = page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced.filter(|(found, _)| *found == language).map(|(_, text)| text).collect()
}

/// The commands in a block, behind `$ `, and what follows each.
fn commands(block: &str) -> Vec<(String, String)> {
    let block = block.replace("\\\n", "");
    let parts = format!("\n{block}");
    let parts = parts.split("\n$ ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")));
    parts.map(|(command, output)| (command.to_owned(), output.to_owned())).collect()
}

fn output(line: &str, folder: &Path) -> Result<String> {
    let whole = format!("{line} 2>&1 </dev/null");
    let output = Command::new("sh").args(["-c", &whole]).current_dir(folder).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines without what differs from one computer, kernel or day to the other.
fn neutral(text: &str) -> Result<Vec<String>> {
    let number = Regex::new(r"0x[0-9a-f]+|\d+")?;
    let space = Regex::new(r"\s+")?;
    let line = |line: &str| space.replace_all(number.replace_all(line, "N").trim_end(), " ").into_owned();
    Ok(text.lines().map(line).collect())
}

/// All lines are there, in order, and between them others only where `...` stands.
fn printed(expected: &str, said: &str) -> Result<()> {
    let (expected, said) = (neutral(expected)?, neutral(said)?);
    let mut rest = said.as_slice();
    let mut gap = false;
    for line in &expected {
        if line == "..." {
            gap = true;
            continue;
        }
        let at = rest.iter().position(|said| said == line).with_context(|| format!("nowhere: {line}"))?;
        ensure!(gap || at == 0, "not on the page: {}", rest[0]);
        (rest, gap) = (&rest[at + 1..], false);
    }
    ensure!(gap || rest.is_empty(), "not on the page: {}", rest[0]);
    Ok(())
}

/// Each partition has said the lines that the page has of it, and the hypervisor no others before the first
/// `...`. The order is open: each CPU speaks when it comes to it.
fn told(expected: &str, said: &str) -> Result<()> {
    let (lines, said) = (neutral(expected)?, neutral(said)?);
    let prefix = format!("[{HYPERVISOR}] ");
    for line in lines.iter().filter(|line| *line != "...") {
        // A prompt is followed by what was typed.
        let same = |said: &String| said == line || line.ends_with('#') && said.starts_with(line.as_str());
        ensure!(said.iter().any(same), "never said: {line}");
    }
    let whole = lines.iter().take_while(|line| *line != "...").filter(|line| line.starts_with(&prefix));
    let whole: Vec<_> = whole.collect();
    let all: Vec<_> = said.iter().filter(|line| line.starts_with(&prefix)).take(whole.len()).collect();
    let missing = all.iter().find(|line| !whole.contains(line));
    ensure!(missing.is_none(), "not on the page: {missing:?}");
    Ok(())
}

/// What the README shows of the demo is what its partitions have said.
pub fn demo_in_readme(lab: &Lab, machine: &Machine) -> Result<()> {
    let page = fs::read_to_string(lab.project().root().join("README.md"))?;
    let block = blocks(&page, "").into_iter().find(|block| block.starts_with('['));
    let lines =
        |owner| machine.said(owner).lines().iter().map(move |line| format!("[{owner}] {}\n", line.text));
    let said: String = [HYPERVISOR, "linux-a", "linux-b", "ticker"].into_iter().flat_map(lines).collect();
    // The machine's lines have no time and no CPU.
    let bare = |line: &str| match line.split_once(' ') {
        Some((owner @ "[bulkhead]", text)) => format!("{owner} {}\n", unstamped(text)),
        _ => format!("{line}\n"),
    };
    let shown: String = block.context("README.md shows no demo")?.lines().map(bare).collect();
    told(&shown, &said).context("README.md has the demo otherwise")
}
