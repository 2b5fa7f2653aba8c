// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A picture of the results: for each operation bars of ours, natively and of other systems, on a logarithmic scale.

use super::figures::{Board, Results};
use super::peers::{Known, Peers};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
/// Where bars begin, and how long a factor of ten is.
const LEFT: f64 = 330.0;
const DECADE: f64 = 125.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
/// Ours, native, then the other systems in their order.
const COLOURS: [&str; 6] = ["#0b6e99", "#9aa5ab", "#d98e04", "#8a4f7d", "#5b8c5a", "#a23b3b"];

/// Draws every operation of events that other systems have figures for, board by board.
#[must_use]
pub fn draw(results: &Results, peers: &Peers) -> String {
    let mut body = String::new();
    let mut y = 30.0;
    for board in &results.boards {
        text(&mut body, 16.0, y, "start", &format!("Instructions per operation, {}", board.board), "bold");
        y += 10.0;
        y = legend(&mut body, y + 16.0, peers);
        for known in peers.operations.iter().filter(|known| is_event(known)) {
            y = operation(&mut body, y, board, known, peers);
        }
        y += 24.0;
    }
    format!(
        "<!-- SPDX-License-Identifier: Apache-2.0 OR MIT -->\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Boots and sizes are no events: they would stretch the scale.
fn is_event(known: &Known) -> bool {
    !["boot-", "memory-", "image-"].iter().any(|prefix| known.name.starts_with(prefix))
}

fn legend(body: &mut String, y: f64, peers: &Peers) -> f64 {
    let names = ["Bulkhead", "native"].into_iter().chain(peers.systems.iter().map(String::as_str));
    let mut x = LEFT;
    for (name, colour) in names.zip(COLOURS) {
        rectangle(body, x, y - 10.0, 12.0, 12.0, colour);
        text(body, x + 17.0, y, "start", name, "normal");
        x += 95.0;
    }
    let note = "logarithmic scale; the red mark is the most that Bulkhead should take";
    text(body, LEFT, y + 18.0, "start", note, "normal");
    y + 32.0
}

fn operation(body: &mut String, y: f64, board: &Board, known: &Known, peers: &Peers) -> f64 {
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
    text(body, LEFT - 8.0, middle, "end", &known.title, "normal");
    let mut top = y;
    for (value, colour) in bars {
        let length = 4.0 + DECADE * (value.max(1) as f64).log10();
        rectangle(body, LEFT, top, length, BAR - 2.0, colour);
        text(body, LEFT + length + 4.0, top + BAR - 3.0, "start", &value.to_string(), "normal");
        top += BAR;
    }
    if let Some(target) = known.target {
        let x = LEFT + 4.0 + DECADE * (target.max(1) as f64).log10();
        let _ = writeln!(
            body,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#c00\" stroke-width=\"1.5\">\
             <title>at most {target}</title></line>",
            y - 2.0,
            y + BAR
        );
    }
    top + GAP
}

fn rectangle(body: &mut String, x: f64, y: f64, width: f64, height: f64, colour: &str) {
    let _ = writeln!(
        body,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, content: &str, weight: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">{content}</text>"
    );
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
        assert!(picture.contains(">193<") && picture.contains("at most 80"), "{picture}");
    }
}
