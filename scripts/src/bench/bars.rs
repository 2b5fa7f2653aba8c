// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A picture of the results: for each operation bars of ours, natively and of other systems, on a logarithmic scale.

use super::figures::{Board, Results};
use super::peers::{Known, Peers};
use crate::svg::{
    Anchor::{End, Start},
    Font, INK, Svg,
};

const WIDTH: f64 = 960.0;
/// Where bars begin, and how long a factor of ten is.
const LEFT: f64 = 330.0;
const DECADE: f64 = 125.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const HEIGHT: f64 = 12.0;
const PLAIN: Font = Font::plain(HEIGHT, INK);
const TITLE: &str = "Instructions per operation";
/// Ours, native, then the other systems in their order.
const COLOURS: [&str; 6] = ["#0b6e99", "#9aa5ab", "#d98e04", "#8a4f7d", "#5b8c5a", "#a23b3b"];

/// Draws every operation of events that other systems have figures for, board by board.
#[must_use]
pub fn draw(results: &Results, peers: &Peers) -> String {
    let mut svg = Svg::default();
    let mut y = 30.0;
    for board in &results.boards {
        let title = format!("{TITLE}, {}", board.board);
        svg.text(Start, (16.0, y), Font::bold(HEIGHT, INK), &title);
        y += 10.0;
        y = legend(&mut svg, y + 16.0, peers);
        for known in peers.operations.iter().filter(|known| is_event(known)) {
            y = operation(&mut svg, y, board, known, peers);
        }
        y += 24.0;
    }
    svg.finish(TITLE, (WIDTH, y), "")
}

/// Boots and sizes are no events: they would stretch the scale.
fn is_event(known: &Known) -> bool {
    !["boot-", "memory-", "image-", "planning-"].iter().any(|prefix| known.name.starts_with(prefix))
}

fn legend(svg: &mut Svg, y: f64, peers: &Peers) -> f64 {
    let names = ["Bulkhead", "native"].into_iter().chain(peers.systems.iter().map(String::as_str));
    let mut x = LEFT;
    for (name, colour) in names.zip(COLOURS) {
        svg.rect((x, y - 10.0, 12.0, 12.0), colour, "");
        svg.text(Start, (x + 17.0, y), PLAIN, name);
        x += 95.0;
    }
    let note = "logarithmic scale; the red mark is the most that Bulkhead should take";
    svg.text(Start, (LEFT, y + 18.0), PLAIN, note);
    y + 32.0
}

fn operation(svg: &mut Svg, y: f64, board: &Board, known: &Known, peers: &Peers) -> f64 {
    let measured = board.operations.iter().find(|operation| operation.name == known.name);
    let Some(measured) = measured else { return y };
    let ours = [measured.guest, measured.native].map(|figures| figures.map(|figures| figures.median));
    let others = peers.systems.iter().map(|system| known.figure(system, &board.board));
    let bars: Vec<_> = ours
        .into_iter()
        .chain(others)
        .zip(COLOURS)
        .filter_map(|(value, colour)| Some((value?, colour)))
        .collect();
    let middle = y + BAR * bars.len() as f64 / 2.0 + 4.0;
    svg.text(End, (LEFT - 8.0, middle), PLAIN, &known.title);
    let mut top = y;
    for (value, colour) in bars {
        let length = 4.0 + DECADE * (value.max(1) as f64).log10();
        svg.rect((LEFT, top, length, BAR - 2.0), colour, "");
        svg.text(Start, (LEFT + length + 4.0, top + BAR - 3.0), PLAIN, &value.to_string());
        top += BAR;
    }
    if let Some(target) = known.target {
        let x = LEFT + 4.0 + DECADE * (target.max(1) as f64).log10();
        svg.line(&[(x, y - 2.0), (x, y + BAR)], "#cc0000", 1.5);
    }
    top + GAP
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Figures, Operation};
    use super::*;
    use crate::project::Project;

    #[test]
    fn a_bar_is_drawn_for_whoever_has_a_figure() {
        let operation =
            Operation { name: "hvc-psci-version".into(), native: None, guest: Some(Figures::once(80)) };
        let results =
            Results { boards: vec![Board { board: "gicv3 x".into(), operations: vec![operation] }] };
        let picture = draw(&results, &Peers::read(&Project::find().unwrap()).unwrap());
        // The background, five in the legend, ours and three others'.
        assert_eq!(picture.matches("<rect").count(), 1 + 5 + 4);
        assert_eq!(picture.matches("<polyline").count(), 1, "the mark of what it should take");
        assert!(picture.contains(">193<"), "{picture}");
    }
}
