// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of EL2's own registers, against the architecture's list of them and against the source that writes them.

use crate::sysreg::{Disposition, EL2_REGISTERS};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Names and encodings.
fn architecture() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("el2.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect("a name and an encoding")).collect()
}

#[test]
fn every_register_of_el2_is_on_one_line() {
    let names: Vec<_> = EL2_REGISTERS.iter().map(|own| own.name).collect();
    let unique: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
    let architecture = architecture();
    assert!(unique.iter().eq(architecture.keys()), "{:?}", {
        let known: BTreeSet<_> = architecture.keys().copied().collect();
        unique.symmetric_difference(&known).copied().collect::<Vec<_>>()
    });
    let encodings: BTreeSet<_> = architecture.values().collect();
    assert_eq!(encodings.len(), names.len(), "two registers have one encoding");
    for own in EL2_REGISTERS {
        let needs_reason = matches!(own.disposition, Disposition::Off | Disposition::Firmware);
        assert!(!needs_reason || !own.reason.is_empty(), "{}", own.name);
    }
}

/// The source that writes a register names it, or its encoding as an older assembler needs it.
#[test]
fn each_is_written_where_the_table_says() {
    const ENTRY: &str = include_str!("../../../../el2/src/boot/entry.rs");
    const MEMORY: &str = include_str!("../../../../el2/src/memory.rs");
    const WORLD: &str = include_str!("../../../../el2/src/world.rs");
    const TIMER: &str = include_str!("../../../../el2/src/timer.rs");
    const GIC: &str = include_str!("../../../../../platform/src/gic/v3.rs");
    let architecture = architecture();
    for own in EL2_REGISTERS {
        let sources: &[&str] = match own.disposition {
            Disposition::Entry => &[ENTRY],
            Disposition::Translation => &[ENTRY, MEMORY],
            Disposition::Configure => &[WORLD],
            Disposition::Interrupts => &[GIC],
            Disposition::Timer => &[TIMER],
            Disposition::Exception | Disposition::ReadOnly | Disposition::Firmware | Disposition::Off => &[],
        };
        let name = own.name.to_lowercase();
        let fields: Vec<_> = architecture[own.name].split('_').collect();
        let [op0, op1, crn, crm, op2] = fields[..] else { panic!("{}", own.name) };
        let encoding = std::format!("s{op0}_{op1}_c{crn}_c{crm}_{op2}");
        for source in sources {
            let is_written = source.to_lowercase().lines().any(|line| {
                let code = line.split("//").next().unwrap_or("");
                let names = [&name, &encoding].iter().any(|word| {
                    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
                    words.any(|part| part == word.as_str())
                });
                // `mrs` and `read_register!` only read.
                let reads = code.contains("mrs ") || code.contains("read");
                names && (!reads || code.contains("write"))
            });
            assert!(is_written, "{} ({encoding}) is not written", own.name);
        }
    }
}
