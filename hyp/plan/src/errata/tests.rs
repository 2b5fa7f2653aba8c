// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the table.

use super::Disposition::{NotReached, Warn};
use super::*;
use alloc::format;
use alloc::vec::Vec;

fn numbers(midr: u64, revidr: u64) -> Vec<&'static str> {
    of(Core { midr, revidr }).map(|erratum| erratum.number).collect()
}

#[test]
fn cores_are_found_by_model_revision_and_what_is_fixed() {
    // MIDR_EL1 of Cortex-A53 r0p4, r0p3 and r0p5: only r0p4 says in REVIDR_EL1 what is fixed.
    assert_eq!(numbers(0x410f_d034, 0), ["835769", "843419", "845719", "1530924"]);
    assert_eq!(numbers(0x410f_d034, 0x100), ["835769", "845719", "1530924"]);
    assert_eq!(numbers(0x410f_d034, 0x180), ["845719", "1530924"]);
    assert_eq!(numbers(0x410f_d033, 0x180), ["835769", "843419", "845719", "1530924"]);
    assert_eq!(numbers(0x410f_d035, 0), ["1530924"]);
    // Cortex-A76 r3p0 and r3p1.
    assert_eq!(numbers(0x413f_d0b0, 0), ["1286807", "1418040", "1463225", "3324349"]);
    assert_eq!(numbers(0x413f_d0b1, 0), ["1418040", "1463225", "3324349"]);
    // Cortex-A510 r1p1, with and without what REVIDR_EL1[25] says, and Cortex-A57 r0p0 and r0p1.
    assert!(numbers(0x411f_d461, 0).contains(&"2658417"));
    assert!(!numbers(0x411f_d461, 1 << 25).contains(&"2658417"));
    assert!(!numbers(0x410f_d070, 0).contains(&"1742098"));
    assert!(numbers(0x410f_d071, 0).contains(&"1742098"));
    // Kryo's part number says a revision as well; Falkor's and Kryo 4xx's do not.
    assert_eq!(numbers(0x511f_2052, 0), ["E1003", "E1009"]);
    assert_eq!(numbers(0x511f_2112, 0), ["E1003", "E1009"]);
    assert_eq!(numbers(0x51cf_804e, 0), ["1286807", "1418040", "1463225"]);
    assert_eq!(numbers(0x51ff_804f, 0), ["1418040", "1463225"]);
    assert_eq!(numbers(0x511f_c000, 0), ["E1041"]);
    // Another implementer's core with Arm's part number.
    assert_eq!(numbers(0x420f_d034, 0), [""; 0]);
    assert_eq!(Core { midr: 0x414f_d0b1, revidr: 0 }.name(), Some("Cortex-A76"));
    assert_eq!(Core { midr: 0x414f_d0b1, revidr: 0 }.revision(), 0x41);
}

#[test]
fn cores_that_a_guest_can_deadlock_are_refused_unless_accepted() {
    let none = Accepted::default();
    let both = Accepted::new(["1508412", "832075"]);
    for (midr, number) in [(0x411f_d070, "832075"), (0x411f_d072, "832075"), (0x411f_d0d0, "1508412")] {
        let core = Core { midr, revidr: 0 };
        assert_eq!(refusal(core, none).map(|(number, _)| number), Some(number), "{midr:#x}");
        assert_eq!(refusal(core, Accepted::new([number])), None, "{midr:#x}");
        assert_eq!(refusal(core, both), None, "{midr:#x}");
        let other = refused().filter(|other| *other != number);
        assert!(refusal(core, Accepted::new(other)).is_some(), "{midr:#x}");
    }
    for midr in [0x411f_d073, 0x411f_d0d1, 0x410f_d083, 0x410f_d034] {
        assert_eq!(refusal(Core { midr, revidr: 0 }, none), None, "{midr:#x}");
    }
    assert_eq!(Accepted::new(["834220"]), none);
}

#[test]
fn cores_that_complete_invalidations_early_invalidate_twice() {
    // Cortex-A76 r3p0, Cortex-A55 r2p0, Cortex-A510 r1p1; Cortex-A76 r4p0, Cortex-A53 r0p4, Cortex-A72 r0p3.
    for midr in [0x413f_d0b0, 0x412f_d050, 0x411f_d461] {
        assert!(invalidates_twice(Core { midr, revidr: 0 }), "{midr:#x}");
    }
    for midr in [0x414f_d0b0, 0x410f_d034, 0x410f_d083] {
        assert!(!invalidates_twice(Core { midr, revidr: 0 }), "{midr:#x}");
    }
}

#[test]
fn every_erratum_is_documented() {
    let page = include_str!("../../../../docs/errata.md");
    for erratum in ERRATA {
        let name = Core { midr: erratum.model, revidr: 0 }.name().expect("every core has a name");
        let row = page.lines().find(|line| {
            line.starts_with(&format!("| {name} ")) && line.contains(&format!("| {} |", erratum.number))
        });
        let row = row.unwrap_or_else(|| panic!("docs/errata.md has no row for {name} {}", erratum.number));
        let (word, why) = match erratum.disposition {
            Refuse(why) => ("refused", why),
            Warn(why) => ("warning", why),
            Handled(why) => ("worked around", why),
            NotReached(why) => ("not reached", why),
        };
        assert!(row.contains(&format!("| {word} | {why} |")), "{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |")).count();
    assert_eq!(rows, ERRATA.len() + 2, "one row each, beside the table's head");
}
