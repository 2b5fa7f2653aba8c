// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A picture of growth: for each board and each thing that grows, a line for each event; both scales logarithmic.

use super::scale::Axis;
use crate::svg::{
    Anchor::{End, Middle, Start},
    Font, INK, LINE, PALE, Svg,
};

/// The events that are drawn, dearest first, each with its colour.
const EVENTS: [(&str, &str); 10] = [
    ("storm-4", "#a23b3b"),
    ("target-write", "#9c755f"),
    ("sgi-other-handled", "#8a4f7d"),
    ("priority-write", "#4e79a7"),
    ("console-byte", "#d98e04"),
    ("enable-one", "#5b8c5a"),
    ("sgi-self", "#0b6e99"),
    ("gicd-typer-read", "#a8860b"),
    ("timer-spinning", "#e15759"),
    ("hvc-psci-version", "#334155"),
];

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 40.0;
/// A panel's lines: how wide, how high, and how far from the next panel's left.
const PANEL: (f64, f64, f64) = (170.0, 300.0, 205.0);
/// What of the logarithmic scale is shown, as powers of ten.
const DECADES: (f64, f64) = (1.4, 3.6);
const TITLE: &str = "Instructions per event do not grow";
const HEADING: Font = Font::bold(14.0, INK);
const LABEL: Font = Font::plain(11.0, PALE);

/// A row of panels for each board: one panel for each axis.
#[must_use]
pub fn draw(boards: &[(String, Vec<Axis>)]) -> String {
    let mut svg = Svg::default();
    let mut top = 30.0;
    for (name, axes) in boards {
        svg.text(Start, (MARGIN, top), HEADING, &format!("Instructions per event, {name}"));
        top += 34.0;
        for (axis, column) in axes.iter().zip(0_u32..) {
            panel(&mut svg, axis, (MARGIN + f64::from(column) * PANEL.2, top));
        }
        if let Some(axis) = axes.last() {
            names(&mut svg, axis, MARGIN + axes.len() as f64 * PANEL.2 - PANEL.2 + PANEL.0 + 10.0, top);
        }
        top += PANEL.1 + 60.0;
    }
    svg.finish(TITLE, (WIDTH, top - 20.0), "")
}

fn panel(svg: &mut Svg, axis: &Axis, (left, top): (f64, f64)) {
    let (width, height, _) = PANEL;
    svg.text(Start, (left, top - 8.0), Font::bold(12.0, INK), axis.name);
    for power in [30, 100, 300, 1000, 3000] {
        let y = top + level(power);
        svg.line(&[(left, y), (left + width, y)], LINE, 1.0);
        svg.text(End, (left - 4.0, y + 4.0), LABEL, &power.to_string());
    }
    let amounts: Vec<_> = axis.points.iter().map(|(amount, _)| *amount).collect();
    let place = |amount| left + width * position(amount, &amounts);
    for amount in &amounts {
        svg.text(Middle, (place(*amount), top + height + 16.0), LABEL, &amount.to_string());
    }
    for (name, colour) in EVENTS {
        let medians = axis.medians(name);
        let points: Vec<_> =
            medians.iter().map(|(amount, median)| (place(*amount), top + level(*median))).collect();
        svg.line(&points, colour, 1.5);
        for (point, (amount, median)) in points.iter().zip(&medians) {
            svg.dot(*point, colour, &format!("{name}: {median} with {amount} {}", axis.name));
        }
    }
}

/// The names of the events, beside the ends of their lines and not on each other.
fn names(svg: &mut Svg, axis: &Axis, left: f64, top: f64) {
    let mut least = f64::MIN;
    for (name, colour) in EVENTS {
        let Some((_, median)) = axis.medians(name).last().copied() else { continue };
        let y = (level(median) + 4.0).max(least);
        svg.text(Start, (left, top + y), Font::plain(11.0, colour), &format!("{name}  {median}"));
        least = y + 13.0;
    }
}

/// How far below the top of a panel so many instructions are.
fn level(instructions: u64) -> f64 {
    let (low, high) = DECADES;
    let power = (instructions.max(1) as f64).log10().clamp(low, high);
    PANEL.1 * (high - power) / (high - low)
}

/// Where an amount is between the least, 0, and the most, 1, on a logarithmic scale.
fn position(amount: u64, amounts: &[u64]) -> f64 {
    let log = |amount: Option<&u64>| (*amount.unwrap_or(&1) as f64).log2();
    let (least, most) = (log(amounts.first()), log(amounts.last()));
    (log(Some(&amount)) - least) / (most - least).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::*;

    #[test]
    fn a_line_is_drawn_for_each_event_with_a_dot_for_each_amount() {
        let printed = |value| vec![("sgi-self".to_owned(), Some(Figures::once(value)))];
        let points = [1, 2, 4].map(|amount| (amount, printed(113))).to_vec();
        let picture = draw(&[("gicv3 x".into(), vec![Axis { name: "CPUs", points }])]);
        assert_eq!(picture.matches("<circle").count(), 3);
        assert!(picture.contains("sgi-self: 113 with 4 CPUs"), "{picture}");
        assert_eq!([1, 2, 4].map(|amount| position(amount, &[1, 2, 4])), [0.0, 0.5, 1.0]);
    }
}
