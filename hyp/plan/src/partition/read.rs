// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading partitions out of the merged tree.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Ipa, PAGE_SIZE};

use super::{
    ADDRESS_BITS, Access, MemoryWish, OnPanic, PARTITION, PARTITIONS, Policy, Restart, RestartPolicy, Spec,
};
use crate::error::{Errors, Problem};
use crate::sorted::Map;
use crate::tree::{Cells, Node, Tree};

/// The longest name (Devicetree Specification, 2.2.1).
const MAX_NAME: usize = 31;

/// Who the hypervisor is on the console.
const HYPERVISOR: &str = "bulkhead";

const PROPERTIES: &[&str] = &[
    "compatible",
    "status",
    "phandle",
    "#address-cells",
    "#size-cells",
    "cpus",
    "memory",
    "identity-mapped",
    "primary",
    "kernel",
    "ramdisk",
    "bootargs",
    "device-tree",
    "load-address",
    "entry",
    "console",
    "devices",
    "restart",
    "restart-limit",
    "restart-delay-ms",
    "watchdog",
];

/// The name of the nodes inside a partition: memory with fewer rights than the property's.
const MEMORY_NODE: &str = "memory";
const MEMORY_PROPERTIES: &[&str] = &["reg", "read-only", "no-execute", "phandle"];

const PARENT_PROPERTIES: &[&str] =
    &["compatible", "#address-cells", "#size-cells", "status", "phandle", "on-panic", "no-monitor", WATCHDOG];

/// The property that has the hypervisor run the board's watchdog.
pub(crate) const WATCHDOG: &str = "watchdog-timeout-sec";

/// `restart-limit` and `restart-delay-ms` where they are not given.
const RESTART_LIMIT: u32 = 10;
const RESTART_DELAY_MS: u32 = 100;

/// Reads what the node of all partitions says of the hypervisor itself.
pub(crate) fn policy(tree: &Tree<'_>, errors: &mut Errors) -> Policy {
    let node = tree.root().children().find(|node| node.is_compatible(PARTITIONS));
    let Some(node) = node else {
        return Policy { on_panic: OnPanic::default(), monitor: true, watchdog: None };
    };
    let mut reader = Reader { node, parent: node, errors };
    let choices = [("power-off", OnPanic::PowerOff), ("reset", OnPanic::Reset), ("halt", OnPanic::Halt)];
    Policy {
        on_panic: reader.choice("on-panic", &choices, OnPanic::default()),
        monitor: !reader.flag("no-monitor"),
        watchdog: reader.number(WATCHDOG),
    }
}

/// Reads every partition that is not disabled, and notes everything that is not as the binding has it.
pub(crate) fn read<'t>(tree: &'t Tree<'_>, errors: &mut Errors) -> Vec<Spec<'t>> {
    let before = errors.0.len();
    let Some(parent) = tree.root().children().find(|node| node.is_compatible(PARTITIONS)) else {
        errors.push(
            Problem::new(
                "/partitions",
                "no node of the merged tree has compatible = \"bulkhead,partitions\"",
            )
            .advice("One overlay must add /partitions with that compatible and a child for each partition"),
        );
        return Vec::new();
    };
    check_parent(parent, errors);
    let mut names = Map::new();
    let mut specs = Vec::new();
    for node in parent.children() {
        if names.add(node.base_name(), ()).is_err() {
            errors.push(Problem::new(node.path(), "another partition has this name already"));
        }
        match node.property("status") {
            Some(b"disabled\0") => continue,
            None | Some(b"okay\0" | b"ok\0") => {}
            Some(_) => errors.push(bad(node, "status", "status is \"okay\" or \"disabled\"")),
        }
        specs.push(Reader { node, parent, errors }.spec());
    }
    let mut primaries = specs.iter().filter(|spec| spec.primary);
    if let (Some(first), Some(second)) = (primaries.next(), primaries.next()) {
        let rule = format!("{} is primary already, and only one partition can have all the rest", first.name);
        errors.push(Problem::new(second.path.clone(), rule).property("primary"));
    }
    if specs.is_empty() && errors.0.len() == before {
        errors.push(
            Problem::new(parent.path(), "there is no partition to start")
                .advice("Add a child with compatible = \"bulkhead,partition\", or enable one"),
        );
    }
    specs
}

fn check_parent(parent: Node<'_, '_>, errors: &mut Errors) {
    for name in ["#address-cells", "#size-cells"] {
        if !matches!(parent.u32(name), Some(1 | 2)) {
            errors.push(bad(parent, name, "it must be <1> or <2>").advice("<2> suits every board"));
        }
    }
    for property in parent.properties() {
        if !PARENT_PROPERTIES.contains(&&*property.name) {
            errors.push(unknown(parent, &property.name, PARENT_PROPERTIES));
        }
    }
}

fn unknown(node: Node<'_, '_>, name: &str, known: &[&'static str]) -> Problem {
    Problem::new(node.path(), "no such property is known here").property(String::from(name)).or_near(
        name,
        known,
        "Known are",
    )
}

/// A problem with a property, its value shown as in source.
fn bad(node: Node<'_, '_>, name: &'static str, rule: impl Into<Cow<'static, str>>) -> Problem {
    let problem = Problem::new(node.path(), rule).property(name);
    match node.property(name) {
        None | Some([]) => problem,
        Some(value) => problem.value(shown(value)),
    }
}

/// A value as it would stand in source: strings, cells, or bytes.
fn shown(value: &[u8]) -> String {
    const LONGEST: usize = 64;
    let printable = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| matches!(byte, b' '..=b'~'));
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

fn cell(cell: u32) -> String {
    if cell < 10 { format!("{cell}") } else { format!("{cell:#x}") }
}

/// Reads one partition, noting every problem.
struct Reader<'t, 'a, 'e> {
    node: Node<'t, 'a>,
    parent: Node<'t, 'a>,
    errors: &'e mut Errors,
}

impl<'t> Reader<'t, '_, '_> {
    fn spec(mut self) -> Spec<'t> {
        self.names();
        let primary = self.flag("primary");
        Spec {
            node: self.node.id(),
            path: self.node.path(),
            name: self.node.name(),
            cpus: self.cpus(primary),
            memory: self.all_memory(primary),
            identity_mapped: self.flag("identity-mapped") || primary,
            primary,
            kernel: self.required_string("kernel"),
            ramdisk: self.string("ramdisk"),
            bootargs: self.string("bootargs"),
            device_tree: self.string("device-tree"),
            load_address: self.address("load-address"),
            entry: self.address("entry"),
            uart: self.choice("console", &[("uart", true), ("none", false)], true),
            devices: self.devices(primary),
            restart: RestartPolicy {
                when: self.choice(
                    "restart",
                    &[("never", Restart::Never), ("on-crash", Restart::OnCrash), ("always", Restart::Always)],
                    Restart::default(),
                ),
                limit: self.number("restart-limit").unwrap_or(RESTART_LIMIT),
                delay_ms: self.number("restart-delay-ms").unwrap_or(RESTART_DELAY_MS),
            },
            watchdog: self.flag("watchdog"),
        }
    }

    fn names(&mut self) {
        let node = self.node;
        if node.name() != node.base_name() {
            self.errors
                .push(Problem::new(node.path(), "a partition's node has a name only, no unit address"));
        }
        if node.base_name().len() > MAX_NAME {
            self.errors.push(Problem::new(node.path(), "a partition's name has at most 31 characters"));
        }
        if node.base_name() == HYPERVISOR {
            let rule = "on the console this is the hypervisor's own name, which no partition may speak under";
            self.errors.push(Problem::new(node.path(), rule).advice("Give it another name"));
        }
        if !node.is_compatible(PARTITION) {
            self.errors.push(bad(node, "compatible", "a partition has compatible = \"bulkhead,partition\""));
        }
        for property in node.properties() {
            if !PROPERTIES.contains(&&*property.name) {
                self.errors.push(unknown(node, &property.name, PROPERTIES));
            }
        }
    }

    fn cpus(&mut self, primary: bool) -> Vec<u32> {
        let cells = self.node.cells("cpus");
        if primary && !self.node.has("cpus") {
            return Vec::new();
        }
        if cells.is_empty() || !cells.is_whole() {
            let rule = "a partition needs the reg of at least one CPU of the board";
            self.errors.push(bad(self.node, "cpus", rule).advice("For the first two CPUs: cpus = <0 1>"));
        }
        cells.collect()
    }

    fn devices(&mut self, primary: bool) -> Vec<&'t str> {
        if primary && self.node.has("devices") {
            let rule = "a primary partition has every device that no other partition claims";
            self.errors.push(bad(self.node, "devices", rule).advice("Leave devices out"));
            return Vec::new();
        }
        self.strings("devices")
    }

    /// The `memory` property, which the primary partition and one with memory nodes need not have, and the
    /// memory nodes.
    fn all_memory(&mut self, primary: bool) -> Vec<MemoryWish> {
        let mut wishes = Vec::with_capacity(1);
        if self.node.has("memory") || !(primary || self.node.children().next().is_some()) {
            wishes = self.memory();
        }
        for child in self.node.children() {
            self.memory_node(child, &mut wishes);
        }
        wishes
    }

    /// A node inside a partition: memory that is read-only, or not executable, or both.
    fn memory_node(&mut self, node: Node<'t, '_>, wishes: &mut Vec<MemoryWish>) {
        if node.base_name() != MEMORY_NODE {
            let rule = "inside a partition there are only memory nodes";
            self.errors.push(Problem::new(node.path(), rule).advice(
                "Memory with fewer rights is memory@50000000 { reg = <...>; read-only; no-execute; }",
            ));
            return;
        }
        for property in node.properties() {
            if !MEMORY_PROPERTIES.contains(&&*property.name) {
                self.errors.push(unknown(node, &property.name, MEMORY_PROPERTIES));
            }
        }
        let no = |reader: &mut Self, name| reader.flag_of(node, name);
        let access = Access { write: !no(self, "read-only"), execute: !no(self, "no-execute") };
        let ranges = match node.reg() {
            Ok(ranges) if !ranges.is_empty() => ranges,
            Ok(_) => {
                self.errors.push(bad(
                    node,
                    "reg",
                    "a memory node has the address and the size of its memory",
                ));
                return;
            }
            Err(problem) => {
                self.errors.push(problem.advice(
                    "#address-cells and #size-cells of the partition say how wide they are: <2> suits every board",
                ));
                return;
            }
        };
        for (start, size) in ranges {
            if self.check_memory(node, "reg", Some(start), size) {
                wishes.push(MemoryWish { at: Some(Ipa(start)), size, access });
            }
        }
    }

    /// Pairs of address and size, or one size alone.
    fn memory(&mut self) -> Vec<MemoryWish> {
        let node = self.node;
        let width = |name| self.parent.u32(name).filter(|cells| matches!(cells, 1 | 2));
        let (Some(address_cells), Some(size_cells)) = (width("#address-cells"), width("#size-cells")) else {
            // Said of the parent already.
            return Vec::new();
        };
        let mut cells = node.cells("memory");
        let pair = address_cells.saturating_add(size_cells) as usize;
        let alone = cells.len() == size_cells as usize;
        if cells.is_empty() || !cells.is_whole() || !(alone || cells.len().is_multiple_of(pair)) {
            let rule = format!(
                "memory is pairs of an address ({address_cells} cells) and a size ({size_cells}), or one size alone"
            );
            self.errors.push(
                bad(node, "memory", rule)
                    .advice("For 256 MiB with 2 and 2 cells: memory = <0x0 0x40000000  0x0 0x10000000>"),
            );
            return Vec::new();
        }
        let mut wishes = Vec::with_capacity(1);
        while !cells.is_empty() {
            let at = if alone { None } else { cells.take_number(address_cells) };
            let Some(size) = cells.take_number(size_cells) else { break };
            if self.check_memory(node, "memory", at, size) {
                wishes.push(MemoryWish { at: at.map(Ipa), size, access: Access::ALL });
            }
        }
        wishes
    }

    /// Whether a range can be looked for at all.
    fn check_memory(
        &mut self,
        node: Node<'_, '_>,
        property: &'static str,
        at: Option<u64>,
        size: u64,
    ) -> bool {
        let start = at.unwrap_or(0);
        let rule = if size == 0 {
            "a memory range has at least one page"
        } else if !(size.is_multiple_of(PAGE_SIZE) && start.is_multiple_of(PAGE_SIZE)) {
            "memory starts and ends at multiples of 4 KiB"
        } else if start.checked_add(size).is_none_or(|end| end > 1 << ADDRESS_BITS) {
            "guest addresses have 40 bits: memory must end at or below 1 TiB"
        } else {
            return true;
        };
        let value = match at {
            Some(start) => format!("<{start:#x} {size:#x}>"),
            None => format!("<{size:#x}>"),
        };
        self.errors.push(Problem::new(node.path(), rule).property(property).value(value));
        false
    }

    fn flag(&mut self, name: &'static str) -> bool {
        self.flag_of(self.node, name)
    }

    fn flag_of(&mut self, node: Node<'_, '_>, name: &'static str) -> bool {
        match node.property(name) {
            None => false,
            Some([]) => true,
            Some(_) => {
                self.errors.push(bad(node, name, "this property is there or not, and has no value"));
                true
            }
        }
    }

    fn address(&mut self, name: &'static str) -> Option<Ipa> {
        self.node.property(name)?;
        let number = self.node.cells(name).number().filter(|address| *address < 1 << ADDRESS_BITS);
        if number.is_none() {
            self.errors.push(bad(
                self.node,
                name,
                "this is one guest address, of one cell or of two, below 1 TiB",
            ));
        }
        number.map(Ipa)
    }

    fn number(&mut self, name: &'static str) -> Option<u32> {
        let number = self.node.u32(name);
        if self.node.has(name) && number.is_none() {
            self.errors.push(bad(self.node, name, "this is one number, of one cell"));
        }
        number
    }

    fn string(&mut self, name: &'static str) -> Option<&'t str> {
        self.node.property(name)?;
        let string = self.node.string(name);
        if string.is_none() {
            self.errors.push(bad(self.node, name, "this is one string"));
        }
        string
    }

    fn required_string(&mut self, name: &'static str) -> &'t str {
        if !self.node.has(name) {
            self.errors.push(
                Problem::new(self.node.path(), "a partition needs the name of an image in the bundle")
                    .property(name),
            );
        }
        self.string(name).unwrap_or_default()
    }

    fn strings(&mut self, name: &'static str) -> Vec<&'t str> {
        let strings: Vec<&str> = self.node.strings(name).collect();
        let size: usize = strings.iter().map(|string| string.len().saturating_add(1)).sum();
        if self.node.property(name).is_some_and(|value| value.len() != size) {
            self.errors.push(bad(self.node, name, "this is a list of strings"));
        }
        strings
    }

    fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        let Some(word) = self.string(name) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(candidate, _)| *candidate == word) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let problem = bad(self.node, name, "this value is not known");
        self.errors.push(problem.or_near(word, &names, "It is one of"));
        default
    }
}
