// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Results as tables in Markdown, for the terminal and for the book alike.

use super::budgets::Budgets;
use super::figures::{Board, Figures, Results};
use super::peers::Peers;
use super::scale::{Axis, Scale};
use super::trace::Trace;
use super::workloads::{Workload, median};

use std::fmt::Write;

/// Rows of cells, the first one the heading; the first column is text, the others are numbers.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(heading: &[&str]) -> Self {
        Self(vec![heading.iter().map(|&cell| cell.to_owned()).collect()])
    }

    fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    fn render(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0).max(2)).collect();
        let mut text = String::new();
        for (index, row) in self.0.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(text, "| {cell:width$} |"),
                    _ => write!(text, " {cell:>width$} |"),
                };
            }
            text.push('\n');
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(if column == 0 { *width } else { width - 1 });
                    let _ = match column {
                        0 => write!(text, "| {dashes} |"),
                        _ => write!(text, " {dashes}: |"),
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}

/// A number, with thousands set apart; a dash for none.
fn number(value: Option<u64>) -> String {
    let Some(value) = value else { return "-".into() };
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The median, with the range where there is one.
fn figures(figures: Option<Figures>) -> String {
    match figures {
        Some(Figures { median, minimum, maximum }) if minimum != maximum => {
            format!("{} ({}-{})", number(Some(median)), number(Some(minimum)), number(Some(maximum)))
        }
        figures => number(figures.map(|figures| figures.median)),
    }
}

/// One board's results. `before` adds the change since then.
#[must_use]
pub fn results(board: &Board, peers: &Peers, budgets: &Budgets, before: Option<&Results>) -> String {
    let mut heading = vec!["operation", "native", "guest", "more", "budget", "target"];
    if before.is_some() {
        heading.push("change");
    }
    let mut table = Table::new(&heading);
    for operation in &board.operations {
        let more = operation.guest.zip(operation.native);
        let more = more.map(|(guest, native)| guest.median.saturating_sub(native.median));
        let target = peers.of(&operation.name).and_then(|known| known.target);
        let mut cells = vec![
            operation.name.clone(),
            figures(operation.native),
            figures(operation.guest),
            number(more),
            number(budgets.of(&board.board, &operation.name)),
            number(target),
        ];
        if let Some(before) = before {
            let then = before.board(&board.board).and_then(|board| board.guest(&operation.name));
            let change = operation.guest.zip(then).map(|(now, then)| (now.median as f64, then.median as f64));
            cells.push(
                change.map_or("-".into(), |(now, then)| {
                    format!("{:+.1} %", (now / then.max(1.0) - 1.0) * 100.0)
                }),
            );
        }
        table.row(cells);
    }
    format!("{}\n\n{}\n", board.board, table.render())
}

/// What a trace tells: each operation's exits, and the exits of the whole run by reason.
#[must_use]
pub fn trace(board: &str, trace: &Trace) -> String {
    let mut operations = Table::new(&[
        "operation",
        "exits",
        "EL2",
        "barriers",
        "ISB",
        "TLB, cache",
        "sysregs",
        "exclusives",
        "acq, rel",
        "device",
    ]);
    for (name, window) in &trace.windows {
        let classes = window.classes;
        let counts = [
            window.exits,
            window.instructions.len(),
            classes.barriers,
            classes.isb,
            classes.maintenance,
            classes.system_registers,
            classes.exclusives,
            classes.ordered,
            window.devices,
        ];
        let mut cells = vec![name.clone()];
        cells.extend(counts.map(|count| number(Some(count as u64))));
        operations.row(cells);
    }
    let mut reasons = Table::new(&["exits by reason", "count", "median", "minimum", "maximum"]);
    for (reason, lengths) in &trace.exits {
        let mut lengths = lengths.clone();
        lengths.sort_unstable();
        let at = |index: usize| number(lengths.get(index).map(|length| *length as u64));
        let count = lengths.len();
        let mut cells = vec![reason.clone(), number(Some(count as u64))];
        cells.extend([at(count / 2), at(0), at(count.saturating_sub(1))]);
        reasons.row(cells);
    }
    format!("{board}: instructions at EL2\n\n{}\n{}\n", operations.render(), reasons.render())
}

/// How figures grow with what a board and its partitions have.
#[must_use]
pub fn scale(name: &str, scale: &Scale) -> String {
    let mut boots = Table::new(&["boot", "instructions to the last guest's first", "bytes of memory"]);
    for (what, boot) in &scale.boots {
        boots.row(vec![what.clone(), number(Some(boot.entry)), number(Some(boot.memory))]);
    }
    let along = |axis: &Axis| {
        let [least, most] =
            [axis.points.first(), axis.points.last()].map(|point| point.map_or(0, |point| point.0));
        format!("{least} to {most} {}", axis.name)
    };
    let headings: Vec<_> = scale.events.iter().map(along).collect();
    let mut events =
        Table::new(&["operation"].into_iter().chain(headings.iter().map(String::as_str)).collect::<Vec<_>>());
    for name in scale.events.first().into_iter().flat_map(Axis::names) {
        let ranges = scale.events.iter().map(|axis| match axis.range(name) {
            Some([least, most]) if least != most => format!("{}-{}", number(Some(least)), number(Some(most))),
            range => number(range.map(|[least, _]| least)),
        });
        events.row([name.to_owned()].into_iter().chain(ranges).collect());
    }
    format!("{name}\n\n{}\n{}\n", boots.render(), events.render())
}

/// Whole workloads: thousands of instructions, and what of them is the hypervisor's if an `interrupt` takes it so many.
#[must_use]
pub fn workloads(name: &str, workloads: &[Workload], interrupt: Option<u64>) -> String {
    let mut table = Table::new(&[
        "workload",
        "native",
        "guest",
        "guest / native",
        "at most",
        "exits",
        "interrupts at EL2",
    ]);
    let range = |values: &[f64]| {
        let [least, most] =
            [values.first(), values.last()].map(|value| value.map(|value| value.round() as u64));
        let middle = number(Some(median(values).round() as u64));
        if least == most { middle } else { format!("{middle} ({}-{})", number(least), number(most)) }
    };
    for workload in workloads {
        let exits: Vec<_> =
            workload.exits.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let interrupts = workload.exits.get("IRQ").copied().unwrap_or_default() as f64;
        let part =
            interrupt.map(|cost| interrupts * cost as f64 / 1e3 / workload.guest.iter().sum::<f64>() * 100.0);
        table.row(vec![
            workload.name.to_owned(),
            range(&workload.native),
            range(&workload.guest),
            format!("{:.4}", workload.ratio()),
            format!("{:.3}", workload.most),
            exits.join(", "),
            part.map_or_else(String::new, |part| format!("{part:.4} %")),
        ]);
    }
    format!("{name}\n\n{}\n", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_columns_aligned() {
        assert_eq!(
            [None, Some(7), Some(1234), Some(3_743_429)].map(number),
            ["-", "7", "1,234", "3,743,429"]
        );
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["long".into(), "12".into()]);
        assert_eq!(table.render(), "| a    |  b |\n| ---- | -: |\n| long | 12 |\n");
    }
}
