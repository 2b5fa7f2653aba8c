// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is refused: each mistake gets its sentence on the console, nothing starts, and the board stops.

use super::Scenario;
use super::debugger::Stub;
use super::lab::Lab;
use super::panics::LOADED;
use crate::board::Fault;
use crate::machine::{Failure, Machine};
use crate::qemu::BoardName;
use crate::{build, flatten};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::time::Duration;

/// Every refusal.
pub const ALL: &[Scenario] = &[
    Scenario { name: "refuses-el1", run: entered_at_el1 },
    Scenario {
        name: "refuses-no-bundle",
        run: |lab| refused(lab, None, &["no bundle: pass one as the initial ramdisk"]),
    },
    Scenario { name: "refuses-random-bytes", run: random_bytes },
    Scenario { name: "refuses-truncated-bundle", run: truncated },
    Scenario { name: "refuses-wrong-hash", run: wrong_hash },
    Scenario { name: "refuses-stray-overlay", run: stray_overlay },
    Scenario { name: "refuses-overlay-that-comes-too-late", run: late_overlay },
    Scenario { name: "refuses-cpu-twice", run: cpu_twice },
    Scenario { name: "refuses-missing-cpu", run: missing_cpu },
    Scenario { name: "refuses-overlapping-memory", run: overlapping_memory },
    Scenario { name: "refuses-absent-memory", run: absent_memory },
    Scenario { name: "refuses-too-much-memory", run: too_much_memory },
    Scenario { name: "refuses-missing-image", run: missing_image },
    Scenario { name: "refuses-large-image", run: large_image },
    Scenario { name: "refuses-unknown-property", run: unknown_property },
    Scenario { name: "refuses-with-every-error", run: every_error },
    Scenario { name: "refuses-more-than-the-heap-holds", run: too_many_nodes },
];

/// On QEMU's virt board, where it is known where the image lies.
pub const ALWAYS_A_HOST: Scenario = Scenario { name: "refuses-a-host", run: always_a_host };

/// Boots, and expects these beginnings of errors, in order and no others.
fn refused(lab: &Lab, bundle: Option<&[u8]>, expected: &[&str]) -> Result<()> {
    refuses(lab.boot_bundle(bundle)?, expected)
}

fn refuses(mut machine: Machine, expected: &[&str]) -> Result<()> {
    let limit = machine.patience(Duration::from_secs(30));
    let errors = match machine.finish(Some(limit)) {
        Err(Failure::Fault(Fault::Refused(errors))) => errors,
        Err(other) => return Err(other.into()),
        Ok(()) => bail!("it was not refused"),
    };
    let met = errors.len() == expected.len()
        && errors.iter().zip(expected).all(|(error, expected)| error.starts_with(expected));
    ensure!(met, "expected:\n  {}\nbut there came:\n  {}", expected.join("\n  "), errors.join("\n  "));
    Ok(())
}

/// QEMU's CPUs can all leave HCR_EL2.E2H, so a debugger changes what the boot CPU's first instructions read of it.
fn always_a_host(lab: &mut Lab) -> Result<()> {
    const E2H: u64 = 1 << 34;
    const MRS_X9_HCR_EL2: [u8; 4] = 0xd53c_1109_u32.to_le_bytes();
    let elf = fs::read(build::hypervisor_program(lab.project()))?;
    let code = flatten::flatten(&elf)?.bytes;
    let read = code.chunks(4).position(|word| word == MRS_X9_HCR_EL2).context("nothing reads HCR_EL2")?;
    let stub = Stub::new(lab);
    lab.board.extra.push("-S".into());
    let machine = lab.boot_bundle(Some(&good(lab)?))?;
    let mut debugger = stub.attach_first()?;
    debugger.run_to(LOADED + 4 * read as u64 + 4, &[0])?;
    let value = debugger.register(0, 9)?;
    debugger.set_register(0, 9, value | E2H)?;
    debugger.let_run(&[0])?;
    refuses(machine, &["entered at EL2; this CPU is a host at EL2 always"])
}

/// Partitions that run our ticker: the name and what else stands in the node.
fn tickers(partitions: &[(&str, &str)]) -> String {
    let mut nodes = String::new();
    for (name, properties) in partitions {
        let kernel = if properties.contains("kernel") { "" } else { "kernel = \"ticker\";" };
        nodes += &format!("{name} {{ compatible = \"bulkhead,partition\"; {kernel} {properties} }};\n");
    }
    format!(
        "/dts-v1/;\n/plugin/;\n&{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>;\n{nodes} }}; }};\n"
    )
}

/// What a partition of two MiB has besides its CPU.
const SMALL: &str = "memory = <0x0 0x40000000 0x0 0x200000>;";

fn config(lab: &Lab, partitions: &[(&str, &str)], expected: &[&str]) -> Result<()> {
    refused(lab, Some(&lab.pack_with_ticker(&tickers(partitions))?), expected)
}

fn good(lab: &Lab) -> Result<Vec<u8>> {
    lab.pack_with_ticker(&tickers(&[("a", &format!("cpus = <0>; {SMALL}"))]))
}

fn too_many_nodes(lab: &mut Lab) -> Result<()> {
    let nodes: String = (0..9_000).map(|number| format!("n{number} {{ a; b; c; }};\n")).collect();
    let overlay = tickers(&[("a", &format!("cpus = <0>; {SMALL}"))]) + "&{/} { many {\n" + &nodes + "}; };\n";
    refused(lab, Some(&lab.pack_with_ticker(&overlay)?), &["the hypervisor's heap of "])
}

fn entered_at_el1(lab: &mut Lab) -> Result<()> {
    lab.board.extra = match lab.board.board {
        BoardName::QemuVirt => ["-machine", "virtualization=off"],
        BoardName::Raspi4b => ["-global", "cortex-a72-arm-cpu.has_el2=off"],
    }
    .map(Into::into)
    .into();
    refused(lab, Some(&good(lab)?), &["entered at EL1"])
}

fn random_bytes(lab: &mut Lab) -> Result<()> {
    // A linear congruential generator: the same bytes on every run.
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes: Vec<u8> = (0..100_000).map(|_| next()).collect();
    refused(lab, Some(&bytes), &["bundle: this is not a flattened device tree."])
}

fn truncated(lab: &mut Lab) -> Result<()> {
    let mut bundle = good(lab)?;
    bundle.truncate(bundle.len() / 2);
    refused(lab, Some(&bundle), &["bundle, /images/ticker: "])
}

fn wrong_hash(lab: &mut Lab) -> Result<()> {
    let mut bundle = good(lab)?;
    // The data of the last image ends the bundle.
    if let Some(last) = bundle.last_mut() {
        *last ^= 1;
    }
    refused(lab, Some(&bundle), &["bundle, /images/ticker/hash-1: value = "])
}

fn stray_overlay(lab: &mut Lab) -> Result<()> {
    let source = "/dts-v1/;\n/plugin/;\n&{/soc/no-such-node} { status = \"disabled\"; };\n";
    let expected = "overlay config.dtbo, /fragment@0: target-path = \"/soc/no-such-node\": the board's tree has no such node.";
    refused(lab, Some(&lab.pack_with_ticker(source)?), &[expected])
}

/// What boot has read before overlays apply cannot change.
fn late_overlay(lab: &mut Lab) -> Result<()> {
    let source =
        tickers(&[("a", &format!("cpus = <0>; {SMALL}"))]) + "&{/cpus/cpu@1} { status = \"fail\"; };\n";
    let expected = "/cpus: an overlay changes the board's CPUs or how they are started.";
    refused(lab, Some(&lab.pack_with_ticker(&source)?), &[expected])
}

fn cpu_twice(lab: &mut Lab) -> Result<()> {
    let cpu = format!("cpus = <1>; {SMALL}");
    let expected = "/partitions/b: cpus = <0x1>: a has this CPU already.";
    config(lab, &[("a", &cpu), ("b", &cpu)], &[expected])
}

fn missing_cpu(lab: &mut Lab) -> Result<()> {
    let expected = "/partitions/a: cpus = <0x9>: the board has no CPU with such a reg. Its CPUs are 0x0, 0x1, 0x2 and 0x3.";
    config(lab, &[("a", &format!("cpus = <9>; {SMALL}"))], &[expected])
}

fn overlapping_memory(lab: &mut Lab) -> Result<()> {
    let partition =
        |cpu, start| format!("cpus = <{cpu}>; identity-mapped; memory = <0x0 {start:#x} 0x0 0x400000>;");
    let (first, second) = match lab.board.board {
        BoardName::QemuVirt => (0x7000_0000, 0x7020_0000),
        BoardName::Raspi4b => (0x3000_0000, 0x3020_0000),
    };
    let expected = format!(
        "/partitions/b: memory = <{second:#x} 0x400000>: \
         identity-mapped memory must be free, and a's memory is there"
    );
    config(lab, &[("a", &partition(0, first)), ("b", &partition(1, second))], &[&expected])
}

fn absent_memory(lab: &mut Lab) -> Result<()> {
    let partition = "cpus = <0>; identity-mapped; memory = <0x10 0x0 0x0 0x200000>;";
    let expected =
        "/partitions/a: memory = <0x1000000000 0x200000>: identity-mapped memory must be RAM of the board";
    config(lab, &[("a", partition)], &[expected])
}

fn too_much_memory(lab: &mut Lab) -> Result<()> {
    let partition = "cpus = <0>; memory = <0x0 0x40000000 0x2 0x0>;";
    let expected =
        "/partitions/a: memory = <0x40000000 0x200000000>: the board has not so much free memory left.";
    config(lab, &[("a", partition)], &[expected])
}

fn missing_image(lab: &mut Lab) -> Result<()> {
    let partition = format!("cpus = <0>; {SMALL} kernel = \"tickr\";");
    let expected =
        "/partitions/a: kernel = \"tickr\": the bundle has no image of this name. Did you mean \"ticker\"?";
    config(lab, &[("a", &partition)], &[expected])
}

fn large_image(lab: &mut Lab) -> Result<()> {
    let partition = "cpus = <0>; memory = <0x0 0x40000000 0x0 0x8000>;";
    config(lab, &[("a", partition)], &["/partitions/a: kernel = \"ticker\": "])
}

fn unknown_property(lab: &mut Lab) -> Result<()> {
    let partition = format!("cpus = <0>; {SMALL} bootarg = \"quiet\";");
    let expected = "/partitions/a: bootarg: no such property is known here. Did you mean bootargs?";
    config(lab, &[("a", &partition)], &[expected])
}

/// Not the first error only: one of each partition is told in one go.
fn every_error(lab: &mut Lab) -> Result<()> {
    let expected = [
        "/partitions/b: restart = \"always-\": this value is not known. Did you mean \"always\"?",
        "/partitions/b: cpus = <0x0>: a has this CPU already.",
        "/partitions/c: cpus = <0x7>: the board has no CPU with such a reg.",
        "/partitions/c: memory = <0x40000000 0x800000000>: the board has not so much free memory left.",
    ];
    let partitions = [
        ("a", format!("cpus = <0>; {SMALL}")),
        ("b", format!("cpus = <0>; {SMALL} restart = \"always-\";")),
        ("c", "cpus = <7>; memory = <0x0 0x40000000 0x8 0x0>;".to_owned()),
    ];
    let partitions = partitions.each_ref().map(|(name, properties)| (*name, properties.as_str()));
    config(lab, &partitions, &expected)
}
