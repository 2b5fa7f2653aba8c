// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading partitions out of the merged tree.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Ipa, PAGE_SIZE};

use super::properties::{self, address, check, strings};
use super::{
    ADDRESS_BITS, Access, CTRL_BRACKET, ESCAPE_KEY, MemoryWish, OnPanic, PARTITION, PARTITIONS, Policy,
    Restart, RestartPolicy, Spec, WATCHDOG,
};
use crate::errata::{ACCEPT, Accepted};
use crate::error::{Errors, Problem};
use crate::sorted::Map;
use crate::tree::{Cells, Node, Tree};

/// The longest name (Devicetree Specification, 2.2.1).
const MAX_NAME: usize = 31;

/// Who the hypervisor is on the console.
const HYPERVISOR: &str = "bulkhead";

/// The name of the nodes inside a partition: memory with fewer rights than the property's.
const MEMORY_NODE: &str = "memory";

/// `restart-limit` and `restart-delay-ms` where they are not given.
const RESTART_LIMIT: u32 = 10;
const RESTART_DELAY_MS: u32 = 100;

/// The node of all partitions.
pub(crate) fn parent<'t, 'a>(tree: &'t Tree<'a>) -> Result<Node<'t, 'a>, Problem> {
    let mut found = tree.root().children().filter(|node| node.is_compatible(PARTITIONS));
    match (found.next(), found.next()) {
        (Some(parent), None) => Ok(parent),
        (Some(first), Some(second)) => {
            let rule =
                format!("{} has this compatible already, and one node has all partitions", first.path());
            let advice = format!("Move its partitions to {}", first.path());
            Err(bad(second, "compatible", rule).advice(advice))
        }
        (None, _) => Err(match tree.nodes().find(|node| node.is_compatible(PARTITIONS)) {
            Some(inner) => bad(inner, "compatible", "the node of all partitions is a child of the root")
                .advice("Put it there with &{/} { partitions { ... }; }"),
            None => {
                let rule = "no node of the merged tree has compatible = \"bulkhead,partitions\"";
                Problem::new("/partitions", rule).advice(
                    "One overlay must add /partitions with that compatible and a child for each partition",
                )
            }
        }),
    }
}

/// Reads what the node of all partitions says of the hypervisor itself.
pub(crate) fn policy(parent: Node<'_, '_>) -> Policy {
    Policy {
        on_panic: match parent.string("on-panic") {
            Some("reset") => OnPanic::Reset,
            Some("halt") => OnPanic::Halt,
            _ => OnPanic::PowerOff,
        },
        monitor: !parent.has("no-monitor"),
        escape_key: parent.string(ESCAPE_KEY).and_then(properties::control).unwrap_or(CTRL_BRACKET),
        watchdog: parent.u32(WATCHDOG),
        accepted_errata: Accepted::new(strings(parent, ACCEPT).unwrap_or_default()),
    }
}

/// Reads every partition that is not disabled, and notes everything that is not as the binding has it.
pub(crate) fn read<'t>(parent: Node<'t, '_>, errors: &mut Errors) -> Vec<Spec<'t>> {
    let before = errors.0.len();
    check(parent, properties::HYPERVISOR, errors);
    for name in ["#address-cells", "#size-cells"] {
        if !matches!(parent.u32(name), Some(1 | 2)) {
            errors.push(bad(parent, name, "it must be <1> or <2>").advice("<2> suits every board"));
        }
    }
    let mut names = Map::new();
    let mut specs: Vec<Spec<'t>> = Vec::new();
    let mut first_primary = None;
    for node in parent.children() {
        if names.add(node.base_name(), ()).is_err() {
            errors.push(Problem::new(node.path(), "another partition has this name already"));
        }
        if node.property("status") == Some(b"disabled\0") {
            continue;
        }
        let spec = spec(node, parent, errors);
        match first_primary {
            Some(first) if spec.primary => {
                let rule =
                    format!("{first} is primary already, and only one partition can have all the rest");
                errors.push(bad(node, "primary", rule));
            }
            None if spec.primary => first_primary = Some(spec.name),
            _ => {}
        }
        specs.push(spec);
    }
    if specs.is_empty() && errors.0.len() == before {
        errors.push(
            Problem::new(parent.path(), "there is no partition to start")
                .advice("Add a child with compatible = \"bulkhead,partition\", or enable one"),
        );
    }
    specs
}

/// A problem with a property, its value shown as in source.
pub(super) fn bad(node: Node<'_, '_>, name: &'static str, rule: impl Into<Cow<'static, str>>) -> Problem {
    let problem = Problem::new(node.path(), rule).property(name);
    match node.property(name) {
        None | Some([]) => problem,
        Some(value) => problem.value(shown(value)),
    }
}

/// A value as it would stand in source: strings, cells, or bytes.
fn shown(value: &[u8]) -> String {
    const LONGEST: usize = 64;
    if let Some(text) = value.strip_suffix(b"\0").filter(|text| text.split(|byte| *byte == 0).all(printable))
    {
        let parts = text.split(|byte| *byte == 0);
        return parts
            .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let more = if value.len() > LONGEST { " ..." } else { "" };
    let value = value.get(..LONGEST).unwrap_or(value);
    if value.len().is_multiple_of(4) {
        format!("<{}{more}>", Cells::new(value).map(cell).collect::<Vec<_>>().join(" "))
    } else {
        let bytes = value.iter().map(|byte| format!("{byte:02x}"));
        format!("[{}{more}]", bytes.collect::<Vec<_>>().join(" "))
    }
}

fn printable(part: &[u8]) -> bool {
    !part.is_empty() && part.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn cell(cell: u32) -> String {
    if cell < 10 { format!("{cell}") } else { format!("{cell:#x}") }
}

/// Reads one partition, noting every problem.
fn spec<'t>(node: Node<'t, '_>, parent: Node<'_, '_>, errors: &mut Errors) -> Spec<'t> {
    check_name(node, errors);
    check(node, properties::PARTITION, errors);
    let primary = node.has("primary");
    if !node.has("kernel") {
        errors.push(bad(node, "kernel", "a partition needs the name of an image in the bundle"));
    }
    Spec {
        node: node.id(),
        path: node.path(),
        name: node.name(),
        cpus: cpus(node, primary, errors),
        memory: memory(node, parent, primary, errors),
        identity_mapped: node.has("identity-mapped") || primary,
        primary,
        kernel: node.string("kernel"),
        ramdisk: node.string("ramdisk"),
        bootargs: node.string("bootargs"),
        device_tree: node.string("device-tree"),
        device_tree_address: address(node, "device-tree-address"),
        load_address: address(node, "load-address"),
        entry: address(node, "entry"),
        uart: node.string("console") != Some("none"),
        devices: devices(node, primary, errors),
        restart: RestartPolicy {
            when: match node.string("restart") {
                Some("on-crash") => Restart::OnCrash,
                Some("always") => Restart::Always,
                _ => Restart::Never,
            },
            limit: node.u32("restart-limit").unwrap_or(RESTART_LIMIT),
            delay_ms: node.u32("restart-delay-ms").unwrap_or(RESTART_DELAY_MS),
        },
        watchdog: node.has("watchdog"),
        zero_at_boot: node.string("zero-at-boot") != Some("off"),
    }
}

fn check_name(node: Node<'_, '_>, errors: &mut Errors) {
    let mut problem = |rule: &'static str| errors.push(Problem::new(node.path(), rule));
    if node.name() != node.base_name() {
        problem("a partition's node has a name only, no unit address");
    }
    if node.base_name().len() > MAX_NAME {
        problem("a partition's name has at most 31 characters");
    }
    if node.base_name() == HYPERVISOR {
        let rule = "on the console this is the hypervisor's own name, which no partition may speak under";
        errors.push(Problem::new(node.path(), rule).advice("Give it another name"));
    }
    if !node.is_compatible(PARTITION) {
        errors.push(bad(node, "compatible", "a partition has compatible = \"bulkhead,partition\""));
    }
}

fn cpus(node: Node<'_, '_>, primary: bool, errors: &mut Errors) -> Vec<u32> {
    const FIRST_TWO: &str = "For the first two CPUs: cpus = <0 1>";
    // A string may have the length of cells. As a CPU's number it would have all of Aff3 to Aff1 above 31, and Aff0 at 0.
    let texts = strings(node, "cpus").unwrap_or_default();
    if !texts.is_empty() && texts.iter().all(|text| printable(text.as_bytes())) {
        let words = texts.iter().flat_map(|text| text.split([' ', ','])).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        let are_numbers = words.iter().all(|word| match word.strip_prefix("0x") {
            Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => word.bytes().all(|byte| byte.is_ascii_digit()),
        });
        let problem = bad(node, "cpus", "cpus takes numbers in angle brackets, not a string");
        errors.push(if are_numbers && !words.is_empty() {
            problem.advice(format!("Write cpus = <{}>", words.join(" ")))
        } else {
            problem.advice(FIRST_TWO)
        });
        return Vec::new();
    }
    let cells = node.cells("cpus");
    let required = !primary || node.has("cpus");
    if required && (cells.is_empty() || !cells.is_whole()) {
        let rule = "a partition needs the reg of at least one CPU of the board";
        errors.push(bad(node, "cpus", rule).advice(FIRST_TWO));
    }
    cells.collect()
}

fn devices<'t>(node: Node<'t, '_>, primary: bool, errors: &mut Errors) -> Vec<&'t str> {
    if primary && node.has("devices") {
        let rule = "a primary partition has every device that no other partition claims";
        errors.push(bad(node, "devices", rule).advice("Leave devices out"));
        return Vec::new();
    }
    strings(node, "devices").unwrap_or_default()
}

/// The `memory` property, which the primary partition and one with memory nodes need not have, and the
/// memory nodes.
fn memory(node: Node<'_, '_>, parent: Node<'_, '_>, primary: bool, errors: &mut Errors) -> Vec<MemoryWish> {
    let mut wishes = Vec::with_capacity(1);
    if node.has("memory") || !(primary || node.children().next().is_some()) {
        memory_property(node, parent, &mut wishes, errors);
    }
    for child in node.children() {
        memory_node(child, &mut wishes, errors);
    }
    wishes
}

/// A node inside a partition: memory that is read-only, or not executable, or both.
fn memory_node(node: Node<'_, '_>, wishes: &mut Vec<MemoryWish>, errors: &mut Errors) {
    if node.base_name() != MEMORY_NODE {
        let rule = "inside a partition there are only memory nodes";
        errors.push(
            Problem::new(node.path(), rule).advice(
                "Memory with fewer rights is memory@50000000 { reg = <...>; read-only; no-execute; }",
            ),
        );
        return;
    }
    check(node, properties::MEMORY, errors);
    let access = Access { write: !node.has("read-only"), execute: !node.has("no-execute") };
    let ranges = errors.note(node.reg().map_err(|problem| {
        problem.advice(
            "#address-cells and #size-cells of the partition say how wide they are: <2> suits every board",
        )
    }));
    if ranges.as_ref().is_some_and(Vec::is_empty) {
        errors.push(bad(node, "reg", "a memory node has the address and the size of its memory"));
    }
    for (start, size) in ranges.unwrap_or_default() {
        add(node, "reg", MemoryWish { at: Some(Ipa(start)), size, access }, wishes, errors);
    }
}

/// Pairs of address and size, or one size alone.
fn memory_property(
    node: Node<'_, '_>,
    parent: Node<'_, '_>,
    wishes: &mut Vec<MemoryWish>,
    errors: &mut Errors,
) {
    let width = |name| parent.u32(name).filter(|cells| matches!(cells, 1 | 2));
    let (Some(address_cells), Some(size_cells)) = (width("#address-cells"), width("#size-cells")) else {
        // Said of the parent already.
        return;
    };
    let mut cells = node.cells("memory");
    let pair = address_cells.saturating_add(size_cells) as usize;
    let alone = cells.len() == size_cells as usize;
    if cells.is_empty() || !cells.is_whole() || !(alone || cells.len().is_multiple_of(pair)) {
        let missing = match cells.len().checked_rem(pair) {
            Some(0) | None => String::new(),
            Some(rest) if rest == address_cells as usize => ", and the last address has no size".into(),
            Some(rest) => format!(", and the last pair has {rest} of its {pair} cells"),
        };
        let rule = format!(
            "memory is pairs of an address ({address_cells} cells) and a size ({size_cells}), or one size alone{missing}"
        );
        errors.push(
            bad(node, "memory", rule)
                .advice("For 256 MiB with 2 and 2 cells: memory = <0x0 0x40000000  0x0 0x10000000>"),
        );
        return;
    }
    while !cells.is_empty() {
        let at = if alone { None } else { cells.take_number(address_cells).map(Ipa) };
        let Some(size) = cells.take_number(size_cells) else { break };
        add(node, "memory", MemoryWish { at, size, access: Access::ALL }, wishes, errors);
    }
}

/// Adds memory, if it can be looked for at all.
fn add(
    node: Node<'_, '_>,
    property: &'static str,
    wish: MemoryWish,
    wishes: &mut Vec<MemoryWish>,
    errors: &mut Errors,
) {
    let start = wish.at.unwrap_or(Ipa(0));
    let rule = if wish.size == 0 {
        "a memory range has at least one page"
    } else if !(wish.size.is_multiple_of(PAGE_SIZE) && start.is_aligned(PAGE_SIZE)) {
        "memory starts and ends at multiples of 4 KiB"
    } else if start.checked_add(wish.size).is_none_or(|end| end.0 > 1 << ADDRESS_BITS) {
        "guest addresses have 40 bits: memory must end at or below 1 TiB"
    } else {
        wishes.push(wish);
        return;
    };
    let problem = Problem::new(node.path(), rule).property(property).value(wish.shown());
    errors.push(match halves_mixed_up(&wish) {
        Some(advice) => problem.advice(advice),
        None => problem,
    });
}

/// What was meant by a number beyond guest addresses: two numbers of one cell each, or halves in the wrong order.
fn halves_mixed_up(wish: &MemoryWish) -> Option<String> {
    let halves = |number: u64| (number >> 32, number & u64::from(u32::MAX));
    let is_swapped = |number: u64| number >> ADDRESS_BITS != 0 && halves(number).1 == 0;
    let (high, low) = halves(wish.size);
    match wish.at {
        None if wish.size >> ADDRESS_BITS != 0 && low != 0 => Some(format!(
            "Address and size are two cells each here, the high half first: memory = <0x0 {high:#x}  0x0 {low:#x}>"
        )),
        Some(Ipa(at)) if is_swapped(at) || is_swapped(wish.size) => {
            let right = |number| if is_swapped(number) { number >> 32 } else { number };
            let ((at_high, at_low), (high, low)) = (halves(right(at)), halves(right(wish.size)));
            Some(format!(
                "The high half of a number is its first cell: memory = <{at_high:#x} {at_low:#x}  {high:#x} {low:#x}>"
            ))
        }
        _ => None,
    }
}
