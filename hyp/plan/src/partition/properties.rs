// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which properties the binding has, and what the value of each must be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::Ipa;

use super::read::bad;
use super::{ADDRESS_BITS, ESCAPE_KEY, WATCHDOG};
use crate::errata;
use crate::error::{Errors, Problem};
use crate::tree::Node;

/// What a value must be. One that is not is as if it were not there.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Checked where it is read.
    Any,
    Flag,
    Number,
    Address,
    Text,
    Texts,
    OneOf(&'static [&'static str]),
    /// Numbers of errata that are refused otherwise.
    Errata,
    /// A control character that a terminal's keys and answers do not consist of, as `^]`.
    Control,
}
use Kind::{Address, Any, Control, Errata, Flag, Number, OneOf, Text, Texts};

/// The properties of one kind of node.
pub(super) type Table = &'static [(&'static str, Kind)];

/// Of the node of all partitions: what it says of the hypervisor itself.
pub(super) const HYPERVISOR: Table = &[
    ("compatible", Any),
    ("#address-cells", Any),
    ("#size-cells", Any),
    ("status", Any),
    ("phandle", Any),
    ("on-panic", OneOf(&["power-off", "reset", "halt"])),
    ("no-monitor", Flag),
    (ESCAPE_KEY, Control),
    (WATCHDOG, Number),
    (errata::ACCEPT, Errata),
];

/// Of a partition.
pub(super) const PARTITION: Table = &[
    ("compatible", Any),
    ("status", OneOf(&["okay", "ok", "disabled"])),
    ("phandle", Any),
    ("#address-cells", Any),
    ("#size-cells", Any),
    ("cpus", Any),
    ("memory", Any),
    ("identity-mapped", Flag),
    ("primary", Flag),
    ("kernel", Text),
    ("ramdisk", Text),
    ("bootargs", Text),
    ("device-tree", Text),
    ("device-tree-address", Address),
    ("load-address", Address),
    ("entry", Address),
    ("console", OneOf(&["uart", "none"])),
    ("devices", Texts),
    ("restart", OneOf(&["never", "on-crash", "always"])),
    ("restart-limit", Number),
    ("restart-delay-ms", Number),
    ("watchdog", Flag),
    ("zero-at-boot", OneOf(&["on", "off"])),
];

/// Of a memory node inside a partition.
pub(super) const MEMORY: Table = &[("reg", Any), ("read-only", Flag), ("no-execute", Flag), ("phandle", Any)];

/// Whose the properties are, for those that stand in the wrong node.
const OWNERS: [(Table, &str); 3] = [
    (HYPERVISOR, "the hypervisor itself, in the node around the partitions"),
    (PARTITION, "a partition, in a node of its own"),
    (MEMORY, "a memory node inside a partition"),
];

/// Notes every property of `node` that `table` does not have, or whose value is not what it must be.
pub(super) fn check(node: Node<'_, '_>, table: Table, errors: &mut Errors) {
    for property in node.properties() {
        let known = table.iter().find(|(name, _)| *name == property.name);
        let problem = match known {
            None => Some(unknown(node, &property.name, table)),
            Some((name, kind)) => breach(node, name, *kind),
        };
        if let Some(problem) = problem {
            errors.push(problem);
        }
    }
}

fn unknown(node: Node<'_, '_>, name: &str, table: Table) -> Problem {
    let problem = Problem::new(node.path(), "no such property is known here").property(String::from(name));
    if name == "status" {
        return problem
            .rule("a memory node has no status")
            .advice("Remove the node if it is not to be there");
    }
    // What two kinds of nodes have belongs to neither.
    let mut owners = OWNERS.iter().filter(|(table, _)| table.iter().any(|(known, _)| *known == name));
    if let (Some((_, owner)), None) = (owners.next(), owners.next()) {
        return problem.advice(format!("It belongs to {owner}"));
    }
    let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    problem.or_near(name, &names, "Known are")
}

/// What is wrong with a value.
fn breach(node: Node<'_, '_>, name: &'static str, kind: Kind) -> Option<Problem> {
    let (fits, rule) = match kind {
        Any => return None,
        Flag => (node.property(name) == Some(&[]), "this property is there or not, and has no value"),
        Number => (node.u32(name).is_some(), "this is one number, of one cell"),
        Address => {
            (address(node, name).is_some(), "this is one guest address, of one cell or of two, below 1 TiB")
        }
        Control => {
            let rule = "this is one control character, `^A` to `^_`, other than ^H, ^I, ^J, ^M and ^[, which terminals send";
            (node.string(name).and_then(control).is_some(), rule)
        }
        Text | OneOf(_) => (node.string(name).is_some(), "this is one string"),
        Texts | Errata => (strings(node, name).is_some(), "this is a list of strings"),
    };
    if !fits {
        return Some(bad(node, name, rule));
    }
    match (kind, node.string(name)) {
        (OneOf(words), Some(word)) if !words.contains(&word) => {
            Some(bad(node, name, "this value is not known").or_near(word, words, "It is one of"))
        }
        (Errata, _) => {
            let numbers: Vec<&str> = errata::refused().collect();
            let unknown = node.strings(name).find(|number| !numbers.contains(number))?;
            let rule = "only errata that are refused otherwise can be accepted";
            Some(bad(node, name, rule).or_near(unknown, &numbers, "Those are"))
        }
        _ => None,
    }
}

/// A guest address, of one cell or of two.
pub(super) fn address(node: Node<'_, '_>, name: &str) -> Option<Ipa> {
    node.cells(name).number().filter(|address| *address < 1 << ADDRESS_BITS).map(Ipa)
}

/// A control character in caret notation: a letter, or one of `\]^_`, with Ctrl. Backspace, Tab, Enter and ESC, with which a
/// terminal's answers begin, are none.
pub(super) fn control(text: &str) -> Option<u8> {
    match *text.as_bytes() {
        [b'^', b'H' | b'I' | b'J' | b'M' | b'['] => None,
        [b'^', key @ b'A'..=b'_'] => Some(key ^ 0x40),
        _ => None,
    }
}

/// The strings of a property that is nothing but strings.
pub(super) fn strings<'t>(node: Node<'t, '_>, name: &str) -> Option<Vec<&'t str>> {
    let strings: Vec<&str> = node.strings(name).collect();
    let size: usize = strings.iter().map(|string| string.len().saturating_add(1)).sum();
    node.property(name).filter(|value| value.len() == size).map(|_| strings)
}
