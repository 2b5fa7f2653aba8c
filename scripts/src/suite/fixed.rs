// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that are linked for the start of memory, where firmware puts the hypervisor.

use super::Scenario;
use super::lab::Lab;
use super::shell::wait;
use crate::{check, pack};
use anyhow::{Context, Result};
use std::fs;

/// On QEMU's virt board.
pub const VIRT: &[Scenario] =
    &[Scenario { name: "kernel-at-the-start-of-memory", run: at_the_start_of_memory }];

/// On the Raspberry Pi 4.
pub const RASPI: &[Scenario] = &[
    Scenario { name: "kernel-at-0x80000-identity-mapped", run: |lab| at_0x80000(lab, IDENTITY_MAPPED) },
    Scenario { name: "kernel-at-0x80000-primary", run: |lab| at_0x80000(lab, "primary;") },
];

const IDENTITY_MAPPED: &str = "cpus = <0>; identity-mapped; memory = <0x0 0x1000 0x0 0x3ff000>;";

/// What it prints.
const WORDS: &str = "linked and entered here";

/// Raw bytes that run where they are linked only: they print, through absolute pointers, and end.
fn kernel(linked: u64, uart: u64) -> Vec<u8> {
    const CODE_WORDS: usize = 8;
    let literal = |index: usize, word: usize| (((2 * index + CODE_WORDS - word) as u32) << 5) & 0xff_ffe0;
    let code: [u32; CODE_WORDS] = [
        0x5800_0000 | literal(0, 0), // ldr x0, =words
        0x5800_0001 | literal(1, 1), // ldr x1, =uart
        0x5800_0002 | literal(2, 2), // ldr x2, =next
        0xd61f_0040,                 // br x2
        0x3840_1403,                 // next: ldrb w3, [x0], #1
        0xb900_0023,                 // str w3, [x1]
        0x35ff_ffc3,                 // cbnz w3, next
        0x1400_0000,                 // b .
    ];
    let words_at = linked + 4 * CODE_WORDS as u64 + 24;
    let mut bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend([words_at, uart, linked + 16].iter().flat_map(|address| address.to_le_bytes()));
    bytes.extend(WORDS.bytes().chain(*b"\n\0"));
    bytes
}

/// Boots a kernel that is linked at `linked`, and waits for its words.
fn says_its_words(lab: &Lab, properties: &str, linked: u64) -> Result<()> {
    let source = format!(
        "/dts-v1/;\n/plugin/;\n&{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>;\n\
         fixed {{ compatible = \"bulkhead,partition\"; kernel = \"kernel\"; {properties} }}; }}; }};\n"
    );
    let overlay = lab.file("config.dtso", source.as_bytes())?;
    let pack =
        |uart| lab.file("packed.itb", &pack::with_images(&overlay, &[("kernel", &kernel(linked, uart))])?);
    // Where its UART is depends on the board's memory, and the plan says it.
    let examined = check::examine(lab.project(), &pack(0)?, &lab.board)?;
    let planned = examined.planned.as_ref().context("check refuses it")?;
    let uart =
        planned.plan.partitions.first().and_then(|partition| partition.uart).context("there is no UART")?;
    let bundle = fs::read(pack(uart.base.0)?)?;
    let mut machine = lab.boot_bundle(Some(&bundle))?;
    wait(&mut machine, "fixed", &format!("^{WORDS}"), 60)?;
    machine.kill();
    Ok(())
}

/// The whole first 64 MiB are the guest's, its kernel at their first byte.
fn at_the_start_of_memory(lab: &mut Lab) -> Result<()> {
    let properties = "cpus = <0>; identity-mapped; memory = <0x0 0x40000000 0x0 0x4000000>;";
    says_its_words(lab, properties, 0x4000_0000)
}

/// As the Pi's firmware enters a `kernel8.img`.
fn at_0x80000(lab: &mut Lab, properties: &str) -> Result<()> {
    says_its_words(lab, &format!("load-address = <0x80000>; {properties}"), 0x8_0000)
}
