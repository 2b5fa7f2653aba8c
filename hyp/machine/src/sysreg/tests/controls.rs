// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The controls of EL2: a list of every bit that the architecture has, against both sides of the table of traps and
//! against the values that EL2 writes.

use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

use crate::sysreg::configuration::{CNTHCTL_EL2, HCR_EL2, HCRX_EL2, cptr_el2, mdcr_el2};
use crate::sysreg::{
    CONTROLS, Contents, Control, ID_REGISTERS, Operation, Outcome, Register, Rule, Setting, TRAPS, Verdict,
    access, row,
};

/// A bit or field.
struct Bit {
    register: &'static str,
    mask: u64,
    name: &'static str,
    /// What a fine-grained trap is about: ranges of op2.
    about: Vec<Register>,
}

fn architecture() -> Vec<Bit> {
    let mut register = "";
    let mut bits = Vec::new();
    for line in include_str!("controls.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let Some((place, rest)) = line.split_once(' ') else {
            register = line;
            continue;
        };
        let (low, high) = place.split_once(':').unwrap_or((place, place));
        let (low, high): (u32, u32) = (low.parse().expect("a bit"), high.parse().expect("a bit"));
        let mask = u64::MAX >> (63 - high) & u64::MAX << low;
        let mut words = rest.split(' ');
        let name = words.next().expect("a name");
        bits.push(Bit { register, mask, name, about: words.flat_map(registers).collect() });
    }
    bits
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// `op0_op1_CRn_CRm_op2` or `op0_op1_CRn_CRm_op2..op2`.
fn registers(text: &str) -> Vec<Register> {
    let (first, last) = text.split_once("..").unwrap_or((text, ""));
    let fields: Vec<u8> = first.split('_').map(|field| field.parse().expect("a field")).collect();
    let last = if last.is_empty() { fields[4] } else { last.parse().expect("op2") };
    (fields[4]..=last).map(|op2| Register::new(fields[0], fields[1], fields[2], fields[3], op2)).collect()
}

fn covers(control: &Control, bit: &Bit) -> bool {
    // A name with a small n in front is that of a bit that traps while it is zero.
    let is_negative = bit.name.strip_prefix('n').is_some_and(|rest| rest.starts_with(char::is_uppercase));
    control.register == bit.register
        && control.bits.split(' ').any(|name| match name {
            "*" => !is_negative,
            "n*" => is_negative,
            name => name == bit.name,
        })
}

fn line_of(bit: &Bit) -> &'static Control {
    let mut lines = CONTROLS.iter().filter(|control| covers(control, bit));
    let line = lines.next().unwrap_or_else(|| panic!("{}.{} has no line", bit.register, bit.name));
    assert!(lines.next().is_none(), "{}.{} has two lines", bit.register, bit.name);
    line
}

#[test]
fn every_bit_of_every_control_has_one_line() {
    let bits = architecture();
    assert!(bits.len() > 500, "{}", bits.len());
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for bit in &bits {
        line_of(bit);
        let mask = seen.entry(bit.register).or_default();
        assert_eq!(*mask & bit.mask, 0, "{}.{} overlaps another", bit.register, bit.name);
        *mask |= bit.mask;
    }
    for control in CONTROLS {
        assert!(!control.what.is_empty() && !control.reason.is_empty(), "{control:?}");
        for name in control.bits.split_whitespace().filter(|name| !name.ends_with('*')) {
            let is_known = bits.iter().any(|bit| (bit.register, bit.name) == (control.register, name));
            assert!(is_known, "the architecture has no {}.{name}", control.register);
        }
    }
    let registers: BTreeSet<_> = CONTROLS.iter().map(|control| control.register).collect();
    assert!(registers.iter().eq(seen.keys()), "{registers:?}");
}

/// The bits that the table has set, and those that it leaves open.
fn settings(register: &str) -> (u64, u64) {
    let bits = architecture();
    let of = |setting| {
        let bits = bits.iter().filter(|bit| bit.register == register && line_of(bit).setting == setting);
        bits.fold(0, |set, bit| set | bit.mask)
    };
    (of(Setting::On), of(Setting::Varies))
}

#[test]
fn what_is_written_is_what_the_table_says() {
    // CPUs with everything, and with nothing of it; RES1 bits aside.
    const CPTR_RES1: u64 = 1 << 13 | 1 << 9 | 0xff;
    for (register, most, least, res1) in [
        ("HCR_EL2", HCR_EL2, HCR_EL2, 0),
        ("HCRX_EL2", HCRX_EL2, HCRX_EL2, 0),
        ("CNTHCTL_EL2", CNTHCTL_EL2, CNTHCTL_EL2, 0),
        ("CPTR_EL2", cptr_el2(true), cptr_el2(false), CPTR_RES1),
        ("MDCR_EL2", mdcr_el2(31, 8, 1, 1), mdcr_el2(0, 0, 0, 0), 0),
        // What is zero: `world::configure` clears them.
        ("HSTR_EL2", 0, 0, 0),
        ("HFGRTR_EL2", 0, 0, 0),
        ("HFGWTR_EL2", 0, 0, 0),
        ("HFGITR_EL2", 0, 0, 0),
        ("HDFGRTR_EL2", 0, 0, 0),
        ("HDFGWTR_EL2", 0, 0, 0),
        ("HFGRTR2_EL2", 0, 0, 0),
        ("HFGWTR2_EL2", 0, 0, 0),
        ("HFGITR2_EL2", 0, 0, 0),
        ("HDFGRTR2_EL2", 0, 0, 0),
        ("HDFGWTR2_EL2", 0, 0, 0),
    ] {
        let (on, varies) = settings(register);
        assert_eq!(most & !varies, on | res1, "{register}");
        assert_eq!(least & !(on | varies | res1), 0, "{register}");
    }
    // En; the maintenance interrupts and TDIR are `gic::Maintenance`'s.
    let (on, varies) = settings("ICH_HCR_EL2");
    assert_eq!((on, varies), (1, u64::from(crate::gic::Maintenance::all().bits()) | 0x1f << 27));
}

#[test]
fn each_fine_grained_trap_agrees_with_the_lines_of_its_registers() {
    for bit in architecture() {
        let verdict = line_of(&bit).verdict;
        for register in &bit.about {
            let place = std::format!("{}.{}: {register}", bit.register, bit.name);
            let row = row(*register).unwrap_or_else(|| panic!("{place} has no line"));
            let is_kept = matches!(row.verdict, Verdict::Undefined | Verdict::Empty);
            // Positive bits are zero: what they are about may be taken by another control, not by this one.
            assert!(verdict != Verdict::Undefined || is_kept, "{place}: {:?}", row.verdict);
        }
    }
}

/// Each line of [`TRAPS`] names its controls and their values: `HCR_EL2.TVM = TRVM = 0, CPTR_EL2.TCPAC = 0`.
#[test]
fn the_two_sides_name_the_same_controls() {
    let bits = architecture();
    let known: BTreeSet<_> = bits.iter().map(|bit| bit.register).collect();
    let mut checked = 0;
    for row in TRAPS {
        for part in row.control.split(", ") {
            let Some((register, rest)) =
                part.split_once('.').filter(|(register, _)| known.contains(register))
            else {
                continue;
            };
            let mut names: Vec<_> = rest.split(" = ").collect();
            // Without a value it is in words: while, where.
            let Some(value) = names.pop().filter(|_| names.len() > 1 || rest.contains(" = ")) else {
                continue;
            };
            for name in names {
                let bit = bits.iter().find(|bit| (bit.register, bit.name) == (register, name));
                let bit = bit.unwrap_or_else(|| panic!("{}: there is no {register}.{name}", row.name));
                let control = line_of(bit);
                let agrees = match (control.setting, value) {
                    (Setting::Off, "0") | (Setting::On, "1") | (Setting::Varies, _) => true,
                    (Setting::Off | Setting::On, _) => false,
                };
                assert!(agrees, "{}: {register}.{name} is not {value}", row.name);
                if row.verdict == Verdict::Undefined {
                    assert!(control.verdict != Verdict::Given, "{}: {register}.{name}", row.name);
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

/// The fields that a guest does not see as the CPU has them, and the registers that are gone with them.
#[test]
fn what_is_hidden_is_undefined() {
    let ids = super::all(u64::MAX, &super::OPTIONS);
    let mut listed = BTreeSet::new();
    for line in lines(include_str!("hidden.txt")) {
        let (name, about) = line.split_once(' ').unwrap_or((line, ""));
        assert!(listed.insert(name), "{name} is listed twice");
        for register in about.split_whitespace().flat_map(registers) {
            let read = access(&ids, register, Operation::Read);
            let write = access(&ids, register, Operation::Write(0));
            assert_eq!((read, write), (Outcome::Undefined, Outcome::Undefined), "{name}: {register}");
            // EL1 cannot name EL2's and EL3's registers (op1 4 to 6); what else there is must trap.
            let of_el2 = matches!(register.fields(), [_, 4..=6, ..]);
            let verdict = row(register).map(|row| row.verdict);
            assert!(of_el2 || verdict == Some(Verdict::Undefined), "{name}: {register} is {verdict:?}");
        }
    }
    let hidden =
        ID_REGISTERS.iter().filter(|id| id.name.starts_with("ID_AA64")).flat_map(|id| match id.contents {
            Contents::Zero(_) => std::vec![id.name.to_string()],
            Contents::Fields(fields) => {
                let hidden = fields.iter().filter(|field| field.rule != Rule::Keep);
                hidden.map(|field| std::format!("{}.{}", id.name, field.name)).collect()
            }
            Contents::Whole | Contents::Aarch32(_) => Vec::new(),
        });
    let hidden: BTreeSet<_> = hidden.collect();
    assert!(hidden.iter().map(|name| &**name).eq(listed.iter().copied()), "{:?}", {
        let listed: BTreeSet<_> = listed.iter().map(|name| name.to_string()).collect();
        hidden.symmetric_difference(&listed).cloned().collect::<Vec<_>>()
    });
}
