// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errata of cores: what the image must not contain, and which cores are refused (`docs/errata.md`).

use super::Scenario;
use super::lab::{Lab, Partition, overlay};
use super::shell::wait;
use crate::console::HYPERVISOR;
use crate::errata::{self, veneers};
use crate::{build, flatten};
use anyhow::{Result, ensure};
use std::fs;

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "no-cortex-a53-sequences", run: |lab| scan(lab) },
    Scenario { name: "refuses-cortex-a57-unless-accepted", run: cortex_a57 },
    Scenario { name: "names-errata-of-each-core", run: names },
];

/// Looks for the sequences of Cortex-A53's errata 835769 and 843419 in the image as it boots.
fn scan(lab: &mut Lab) -> Result<()> {
    build::hypervisor(lab.project(), false)?;
    let elf = fs::read(build::hypervisor_program(lab.project()))?;
    let image = flatten::flatten(&elf)?.bytes;
    let (mut found, mut scanned) = (Vec::new(), 0);
    for range in veneers::code(&elf)? {
        let words: Vec<u32> =
            range.clone().step_by(4).map(|at| veneers::word(&image, at)).collect::<Result<_>>()?;
        for (index, at) in range.step_by(4).enumerate() {
            let rest = words.get(index..).unwrap_or_default();
            if let [first, second, ..] = rest
                && errata::is_835769(*first, *second)
            {
                found.push(format!("835769 at {at:#x}"));
            }
            if errata::is_843419(rest, at) {
                found.push(format!("843419 at {at:#x}"));
            }
        }
        scanned += words.len();
    }
    ensure!(scanned > 10_000, "only {scanned} instructions were looked at");
    ensure!(found.is_empty(), "Cortex-A53 may execute these wrongly:\n  {}", found.join("\n  "));
    Ok(())
}

/// QEMU's Cortex-A57 is r1p0, which a guest can deadlock.
fn cortex_a57(lab: &mut Lab) -> Result<()> {
    lab.board.cpu = "cortex-a57".into();
    let source = overlay(&[Partition::ticker(0)]);
    let mut refused = lab.boot_bundle(Some(&lab.pack_with_ticker(&source)?))?;
    wait(
        &mut refused,
        HYPERVISOR,
        r"^error: CPU 0 .*: Cortex-A57 r1p0 has erratum 832075: a guest can deadlock",
        30,
    )?;
    wait(&mut refused, HYPERVISOR, "^error: ticker: not started, because CPU 0 is missing", 30)?;
    drop(refused);
    let accepting = source.replace("partitions {", "partitions {\n\t\taccept-errata = \"832075\";");
    let mut accepted = lab.boot_bundle(Some(&lab.pack_with_ticker(&accepting)?))?;
    wait(&mut accepted, HYPERVISOR, "^warning: CPU 0: Cortex-A57 r1p0 has erratum 832075", 30)?;
    wait(&mut accepted, "ticker", "^tick 3", 30)?;
    Ok(())
}

/// The console names the errata of each core that QEMU models, as the core says which it is.
fn names(lab: &mut Lab) -> Result<()> {
    let bundle = lab.pack_with_ticker(&overlay(&[Partition::ticker(0)]))?;
    for (cpu, said) in [
        // REVIDR_EL1 is 0x100: 843419 is fixed.
        ("cortex-a53", "^CPU 0: Cortex-A53 r0p4, errata 835769 845719 1530924$"),
        ("cortex-a72", "^CPU 0: Cortex-A72 r0p3, errata 853709 1319367 1655431$"),
        ("neoverse-n1", "^CPU 0: Neoverse-N1 r4p1, errata 1349291 1542419 3324349$"),
    ] {
        lab.board.cpu = cpu.into();
        let mut machine = lab.boot_bundle(Some(&bundle))?;
        wait(&mut machine, HYPERVISOR, said, 30)?;
        wait(&mut machine, "ticker", "^tick 3", 30)?;
    }
    Ok(())
}
