// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The plan as a table.

use super::view::{Owner, View, blocks_in_words, copied, cpus, rights, size, trigger};
use bulkhead_plan::plan::Partition;
use bulkhead_types::{Ipa, Range};
use std::fmt::Write;

/// Columns, each as wide as its widest cell; the last is open.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// With these heads.
    pub fn new(heads: &[&str]) -> Self {
        Self(vec![heads.iter().map(|head| (*head).into()).collect()])
    }

    /// One row more.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// The lines.
    pub fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.0
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Where each partition is entered, and where what it finds there lies.
fn entries(partitions: &[Partition]) -> Table {
    let mut table = Table::new(&["partition", "entry", "device tree", "initial ramdisk"]);
    for (number, partition) in partitions.iter().enumerate() {
        let tree = Range::<Ipa>::new(partition.tree.at, partition.tree.blob.len() as u64);
        let shown = |place: Option<Range<Ipa>>| place.map(|place| place.to_string()).unwrap_or_default();
        table.row([
            format!("{} {}", number + 1, partition.name),
            partition.entry.to_string(),
            shown(tree),
            shown(partition.ramdisk),
        ]);
    }
    table
}

/// The plan as text.
pub fn text(view: &View<'_>) -> String {
    let mut text = format!("{} on {}\n\n", view.title, view.summary);
    let mut table = Table::new(&[
        "partition",
        "CPUs",
        "guest",
        "physical",
        "size",
        "mapped with",
        "devices",
        "interrupts",
    ]);
    for (number, partition) in view.plan.partitions.iter().enumerate() {
        let devices = devices(partition);
        let rows = partition.memory.len().max(devices.len()).max(1);
        for row in 0..rows {
            let first = |text: String| if row == 0 { text } else { String::new() };
            let memory = partition.memory.get(row);
            let (device, interrupt) = devices.get(row).cloned().unwrap_or_default();
            table.row([
                first(format!("{} {}", number + 1, partition.name)),
                first(cpus(partition)),
                memory.map(|memory| format!("{}", memory.guest)).unwrap_or_default(),
                memory.map(|memory| format!("{}", memory.frames.start())).unwrap_or_default(),
                memory.map(|memory| size(memory.frames.size())).unwrap_or_default(),
                memory.map(|memory| blocks_in_words(memory) + rights(memory)).unwrap_or_default(),
                device,
                interrupt,
            ]);
        }
    }
    text += &table.text();
    text.push('\n');
    text += &entries(&view.plan.partitions).text();
    let copies = view.plan.partitions.iter().map(|of| format!("{} {}", of.name, size(copied(of))));
    let _ = writeln!(text, "\ncopied at each start: {}", copies.collect::<Vec<_>>().join(", "));
    let kept = view.plan.partitions.iter().filter(|of| !of.zero_at_boot).map(|of| of.name.as_str());
    let kept = kept.collect::<Vec<_>>().join(", ");
    if !kept.is_empty() {
        let _ = writeln!(text, "not zeroed at the first start: {kept}");
    }

    let mut rest = Table::new(&["physical memory", "size", "what"]);
    for (range, owner) in view.memory() {
        let what = match owner {
            Owner::Partition(number, guest) => {
                let name = view.plan.partitions.get(number).map_or("", |partition| partition.name.as_str());
                format!("{name} (at {guest})")
            }
            Owner::Hypervisor(what) => what.into(),
            Owner::Reserved(what) => format!("reserved: {what}"),
            Owner::Free => "free".into(),
        };
        rest.row([range.to_string(), size(range.size()), what]);
    }
    let _ = write!(text, "\n{}", rest.text());
    let idle: Vec<String> = view.plan.idle_cpus.iter().map(ToString::to_string).collect();
    if !idle.is_empty() {
        let words = if idle.len() == 1 { ("CPU", "stays", "it") } else { ("CPUs", "stay", "them") };
        let (noun, verb, object) = words;
        let _ = writeln!(text, "\n{noun} {} {verb} off: no partition has {object}", idle.join(" "));
    }
    text
}

/// Devices and their interrupts, the virtual UART first.
fn devices(partition: &Partition) -> Vec<(String, String)> {
    let uart = partition.uart.iter();
    let uart =
        uart.map(|uart| (format!("virtual UART at {}", uart.base), format!("{} virtual", uart.interrupt)));
    let watchdog = partition.watchdog.iter().map(|at| (format!("virtual watchdog at {at}"), String::new()));
    let devices = partition.devices.iter().map(|device| {
        let interrupts = device.interrupts.iter();
        let interrupts = interrupts.map(|(id, kind)| format!("{id} {}", trigger(*kind)));
        (device.path.clone(), interrupts.collect::<Vec<_>>().join(", "))
    });
    uart.chain(watchdog).chain(devices).collect()
}
