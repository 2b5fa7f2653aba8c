// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device tree of the user's is held against what the partition has.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use support::{board, overlay, root, small_bundle_with, taken};

/// What to replace in the tree, and by what.
type Edits<'e> = &'e [(&'e str, &'e str)];

/// What comes of the tree of guests/own-tree, changed so: errors, or warnings about it.
fn outcome(edits: Edits<'_>) -> String {
    let source = root().join("guests/own-tree/board.dts");
    let mut source = std::fs::read_to_string(source).expect("the tree is there");
    for (from, to) in edits {
        assert!(source.contains(from), "{from}");
        source = source.replace(from, to);
    }
    let configuration = "/dts-v1/; /plugin/; &{/} { partitions { compatible = \"bulkhead,partitions\"; \
        #address-cells = <2>; #size-cells = <2>; a { compatible = \"bulkhead,partition\"; cpus = <2 3>; \
        memory = <0x0 0x40000000 0x0 0x10000000>; kernel = \"ticker\"; device-tree = \"tree\"; \
        devices = \"/pl031@9010000\"; }; }; };";
    let file = small_bundle_with(overlay(configuration), overlay(&source));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    match plan_board(&board(3), &bundle, taken()) {
        Ok(planned) => {
            let about_tree =
                planned.plan.warnings.iter().filter(|warning| !warning.rule.contains("no partition has"));
            about_tree.map(|warning| format!("{warning}\n")).collect()
        }
        Err(errors) => errors.to_string(),
    }
}

/// A real-time clock where the board has one, with this interrupt.
fn clock(interrupt: u32) -> String {
    format!(
        "rtc@9010000 {{ compatible = \"arm,pl031\"; reg = <0x0 0x9010000 0x0 0x1000>; interrupts = <0 {interrupt} 4>; }};\n\
         \tclock: clock {{"
    )
}

#[test]
fn a_tree_that_keeps_its_promises_passes() {
    assert_eq!(outcome(&[]), "");
    // The board's real-time clock has shared interrupt 2.
    assert_eq!(outcome(&[("clock: clock {", &clock(2))]), "");
}

#[test]
fn what_the_partition_does_not_have_is_named() {
    let wrong_clock = clock(3);
    let cases: [(Edits<'_>, &[&str]); 11] = [
        (
            &[("0x0 0x10000000>;", "0x0 0x20000000>;")],
            &["/memory@40000000", "memory that the partition does not have"],
        ),
        (&[("reg = <1>", "reg = <3>")], &["a CPU that the partition does not have (reg 0x3)", "0x0 and 0x1"]),
        (
            &[(
                "reg = <1>;\n\t\t\tenable-method = \"psci\"",
                "reg = <1>;\n\t\t\tenable-method = \"spin-table\"",
            )],
            &["a CPU that is started by \"spin-table\""],
        ),
        (&[("reg = <1>;", "reg = <1>; status = \"fail\";")], &["does not describe vCPU 0x1"]),
        (&[("arm,gic-v3", "arm,gic-400")], &["an interrupt controller of another version"]),
        (&[("0x80a0000", "0x80c0000")], &["an interrupt controller elsewhere"]),
        (&[("0x0 0x40000>;", "0x0 0x20000>;")], &["redistributors for fewer CPUs than it describes"]),
        (&[("<1 11 4>", "<1 12 4>")], &["a timer with the private interrupt 12"]),
        (&[("\"arm,psci-1.0\", \"arm,psci-0.2\"", "\"arm,psci\"")], &["a PSCI before version 0.2"]),
        (
            &[("interrupts = <0 1 4>", "interrupts = <0 33 4>")],
            &["/serial@9000000", "the shared interrupt 33", "are 1."],
        ),
        (&[("clock: clock {", &wrong_clock)], &["/rtc@9010000", "the shared interrupt 3", "are 2."]),
    ];
    for (edits, expected) in cases {
        let said = outcome(edits);
        for words in expected {
            assert!(said.contains(words), "{edits:?}: {words:?} is not in: {said}");
        }
    }
}
