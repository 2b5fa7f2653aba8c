// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same probes on the bare board at EL1 and in a partition: `guests/conformance` prints what it finds, and
//! every difference must stand in the list of those that are allowed, and each of that list must occur.

mod allowed;

use super::Scenario;
use super::lab::{Lab, Partition};
use super::raspi::move_console_to_pl011;
use super::scenarios::finish;
use super::shell::regex;
use crate::build;
use crate::qemu::{self, BoardName, Gic, Process};
use allowed::{ALLOWED, Allowed};
use anyhow::{Context, Result, bail, ensure};
use bulkhead_machine::sysreg;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What is compared.
pub const SCENARIO: Scenario = Scenario { name: "conformance", run: conformance };

/// Nothing of a life shows in the next.
pub const LIVES: Scenario = Scenario { name: "lives", run: lives };

/// A bare board that is silent for so long has come to its end.
const SILENCE: Duration = Duration::from_secs(30);

/// CPUs of the bare board and of the partition.
const CPUS: u16 = 2;
/// The guest's last line.
const END: &str = r"^conformance: (\d+) lines$";

/// The CPU models, with the GIC that each has in the default run.
const MODELS: [(&str, Gic); 6] = [
    ("cortex-a53", Gic::V2),
    ("cortex-a57", Gic::V2),
    ("cortex-a72", Gic::V3),
    ("cortex-a76", Gic::V3),
    ("neoverse-n1", Gic::V2),
    ("max", Gic::V3),
];

/// Every CPU model once, and with `full` with both GICs; and the Raspberry Pi 4.
pub fn boards(full: bool) -> impl Iterator<Item = qemu::Options> {
    let virt = [Gic::V2, Gic::V3].into_iter().flat_map(move |gic| {
        let chosen = MODELS.into_iter().filter(move |(_, default)| full || *default == gic);
        chosen.map(move |(cpu, _)| qemu::Options { gic, cpu: cpu.into(), ..qemu::Options::default() })
    });
    virt.chain([super::raspi::board()])
}

/// The oldest and the newest CPU, each with one of the GICs.
pub fn lives_boards() -> impl Iterator<Item = qemu::Options> {
    boards(false)
        .filter(|board| ["cortex-a53", "max"].contains(&&*board.cpu) && board.board == BoardName::QemuVirt)
}

/// Name and value of every probe.
type Findings = BTreeMap<String, String>;

fn conformance(lab: &mut Lab) -> Result<()> {
    let native = findings(native(lab)?)?;
    let guest = findings(guest(lab)?)?;
    ensure!(native.len() >= 100, "only {} probes spoke on the bare board", native.len());
    undefined(&guest)?;
    compare(ALLOWED, &label(&lab.board), &native, &guest)
}

/// Nothing answers of what the table of traps says that it is UNDEFINED. (An exception that EL1 has asked for itself
/// comes before EL2's: SMCR_EL1's, by CPACR_EL1.SMEN.)
fn undefined(guest: &Findings) -> Result<()> {
    for (name, _) in guest.iter().filter(|(_, value)| !value.starts_with("exception")) {
        let Some((_, encoding)) =
            name.split_once(" S").filter(|(what, _)| ["read", "write", "do"].contains(what))
        else {
            continue;
        };
        let fields: Vec<u8> =
            encoding.split('_').filter_map(|field| field.trim_start_matches('C').parse().ok()).collect();
        let [op0, op1, crn, crm, op2] = fields[..] else { bail!("not an encoding: {name}") };
        let row = sysreg::row(sysreg::Register::new(op0, op1, crn, crm, op2));
        if let Some(row) = row.filter(|row| row.verdict == sysreg::Verdict::Undefined) {
            bail!("{name} is answered, and {} is to be UNDEFINED: {}", row.name, row.reason);
        }
    }
    Ok(())
}

/// What the list calls the board.
fn label(board: &qemu::Options) -> String {
    match (board.board, board.gic) {
        (BoardName::Raspi4b, _) => "raspi4b gicv2 cortex-a72".into(),
        (_, Gic::V2) => format!("virt gicv2 {}", board.cpu),
        (_, Gic::V3) => format!("virt gicv3 {}", board.cpu),
    }
}

/// The guest prints what it finds in its registers as it starts, spoils all of it, and asks for a reset.
fn lives(lab: &mut Lab) -> Result<()> {
    let partition = Partition {
        name: "conformance",
        memory: 16,
        kernel: "conformance",
        more: "bootargs = \"lives=2\";".into(),
        ..Partition::ticker(0)
    };
    let mut machine = lab.boot(&[partition])?;
    let limit = machine.patience(Duration::from_secs(20));
    let births = |machine: &crate::machine::Machine| -> Vec<Vec<String>> {
        let said = machine.said("conformance");
        let lines: Vec<_> = said.lines().iter().map(|line| line.text.clone()).collect();
        lines.split_inclusive(|line| line == "birth: all").map(<[_]>::to_vec).collect()
    };
    // Said behind each list, which is complete then.
    machine.wait("conformance", &regex(r"^birth spoilt")?, limit)?;
    machine.wait("conformance", &regex(r"^birth spoilt")?, limit)?;
    let births = births(&machine);
    let [first, second, ..] = births.as_slice() else { bail!("two lives were to be seen") };
    let second: Vec<_> = second.iter().filter(|line| !line.starts_with("birth spoilt")).collect();
    ensure!(first.len() > 250, "only {} lines of the first life", first.len());
    spoiled(first)?;
    for (first, second) in first.iter().zip(&second) {
        ensure!(first == *second, "in the first life {first}, in the second {second}");
    }
    ensure!(first.len() == second.len(), "{} and {} lines", first.len(), second.len());
    Ok(())
}

/// Every line of the table of traps that gives a guest registers, and that this CPU has, is among what was looked at and spoiled.
fn spoiled(births: &[String]) -> Result<()> {
    let encodings = births.iter().filter_map(|line| line.strip_prefix("birth S")?.split_once(':'));
    let fields = encodings.map(|(encoding, _)| {
        encoding.split('_').filter_map(|field| field.trim_start_matches('C').parse().ok()).collect()
    });
    let given: BTreeSet<&str> = fields
        .filter_map(|fields: Vec<u8>| {
            let [op0, op1, crn, crm, op2] = fields[..] else { return None };
            sysreg::row(sysreg::Register::new(op0, op1, crn, crm, op2)).map(|row| row.name)
        })
        .collect();
    // Of registers: but for those that not every CPU has, and those that the program runs on.
    for row in sysreg::TRAPS.iter().filter(|row| row.verdict == sysreg::Verdict::Given) {
        let is_register = row.encodings.0[0].0 != 1;
        let everywhere = !matches!(row.name, "ALLINT, PM" | "ZCR_EL1" | "pointer authentication keys")
            && !row.name.starts_with("ICC")
            && !row.name.starts_with("FPCR")
            && !matches!(row.name, "virtual memory control" | "VBAR_EL1" | "TPIDR_EL1" | "FAR_EL1");
        ensure!(!is_register || !everywhere || given.contains(row.name), "nobody looked at {}", row.name);
    }
    Ok(())
}

/// What the guest prints at EL1 of the bare board.
fn native(lab: &mut Lab) -> Result<Vec<String>> {
    let image = build::guest(lab.project(), "conformance", false)?;
    let before = lab.board.clone();
    match lab.board.board {
        // Later properties win: a board without EL2, whose PSCI is called by HVC as under a hypervisor.
        BoardName::QemuVirt => {
            lab.board.smp = CPUS;
            lab.board.extra.extend(["-machine", "virtualization=off"].map(Into::into));
        }
        // The guest leaves EL2 by itself; its console is the PL011.
        BoardName::Raspi4b => move_console_to_pl011(lab)?,
    }
    let board = std::mem::replace(&mut lab.board, before);
    let command = qemu::command(lab.project(), &board, &image, None)?;
    let (mut process, keyboard, console) = Process::start(command, |_| ())?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = regex(END)?;
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(SILENCE) {
        said.push(line.trim_end().to_owned());
        if said.last().is_some_and(|line| end.is_match(line)) {
            break;
        }
    }
    // The Pi has no PSCI to power itself off with.
    process.end();
    drop((keyboard, lines));
    let _ = reader.join();
    lab.file("native.log", said.join("\n").as_bytes())?;
    Ok(said)
}

/// What it prints in a partition.
fn guest(lab: &Lab) -> Result<Vec<String>> {
    let partition = Partition {
        name: "conformance",
        cpus: 0..u32::from(CPUS),
        memory: 16,
        kernel: "conformance",
        ..Partition::ticker(0)
    };
    let mut machine = lab.boot(&[partition])?;
    let limit = machine.patience(Duration::from_secs(20));
    machine.wait("conformance", &regex(END)?, limit)?;
    finish(&mut machine)?;
    let said: Vec<_> = machine.said("conformance").lines().iter().map(|line| line.text.clone()).collect();
    lab.file("guest.log", said.join("\n").as_bytes())?;
    Ok(said)
}

/// The lines between the first and the last as names and values.
fn findings(said: Vec<String>) -> Result<Findings> {
    let end = regex(END)?;
    let counted = said.iter().find_map(|line| end.captures(line)).with_context(|| {
        format!("the guest did not come to its end; its last words: {}", last(&said).join("\n"))
    })?;
    let mut findings = Findings::new();
    for line in said.iter().skip_while(|line| *line != "conformance: begins").skip(1) {
        if end.is_match(line) {
            break;
        }
        let (name, value) = line.rsplit_once(": ").with_context(|| format!("not a finding: {line}"))?;
        ensure!(
            findings.insert(name.to_owned(), value.to_owned()).is_none(),
            "two probes have the name {name}"
        );
    }
    ensure!(findings.len().to_string() == counted[1], "{} of {} lines came", findings.len(), &counted[1]);
    Ok(findings)
}

fn last(lines: &[String]) -> &[String] {
    &lines[lines.len().saturating_sub(5)..]
}

/// The value of a probe that said nothing.
const NOTHING: &str = "nothing";

/// What differs without being in the list, and what of the list does not.
fn compare(list: &[Allowed], label: &str, native: &Findings, guest: &Findings) -> Result<()> {
    let here: Vec<&Allowed> = list.iter().filter(|allowed| matches(allowed.on, label)).collect();
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for name in native.keys().chain(guest.keys()).collect::<BTreeSet<_>>() {
        let value = |findings: &Findings| findings.get(name).map_or(NOTHING, String::as_str).to_owned();
        let (native, guest) = (value(native), value(guest));
        if native == guest {
            continue;
        }
        let fits = |allowed: &Allowed| matches(allowed.name, name) && allowed.covers(&native, &guest);
        match here.iter().position(|allowed| fits(allowed)) {
            Some(index) => _ = used.insert(index),
            None => faults.push(format!("{name}: natively {native}, as a guest {guest}")),
        }
    }
    for (index, allowed) in here.iter().enumerate() {
        if !used.contains(&index) {
            faults.push(format!("allowed, but no longer so: {} ({})", allowed.name, allowed.reason));
        }
    }
    if !faults.is_empty() {
        bail!("{} differences on {label}:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(())
}

/// Whether the whole of `text` is what the pattern says.
fn matches(pattern: &str, text: &str) -> bool {
    regex(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one_and_every_entry_has_a_reason() {
        for allowed in ALLOWED {
            assert!(regex(allowed.name).is_ok() && regex(allowed.on).is_ok(), "{}", allowed.name);
            assert!(!allowed.reason.is_empty() && allowed.bits != 0, "{}", allowed.name);
            assert!(boards(true).any(|board| matches(allowed.on, &label(&board))), "{}", allowed.on);
        }
    }

    #[test]
    fn each_model_and_each_gic_is_met() {
        let labels: BTreeSet<_> = boards(false).map(|board| label(&board)).collect();
        assert_eq!((labels.len(), boards(true).count()), (7, 13));
    }

    #[test]
    fn a_difference_needs_its_entry_and_an_entry_its_difference() {
        let findings = |pairs: &[(&str, &str)]| -> Findings {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (one, two, none) = (findings(&[("a", "0x1")]), findings(&[("a", "0x2")]), findings(&[]));
        let list = [Allowed { on: "virt .*", name: "a", bits: 0x3, reason: "a test" }];
        assert!(compare(&list, "virt gicv3 max", &one, &two).is_ok());
        assert!(compare(&list, "virt gicv3 max", &one, &one).is_err(), "nothing of the list occurs");
        assert!(compare(&list, "virt gicv3 max", &one, &findings(&[("a", "0x5")])).is_err(), "another bit");
        assert!(compare(&list, "virt gicv3 max", &one, &none).is_err(), "a line is missing");
        assert!(compare(&list, "raspi4b", &one, &one).is_ok(), "the list is of another board");
        assert!(compare(&list, "raspi4b", &one, &two).is_err());
    }
}
