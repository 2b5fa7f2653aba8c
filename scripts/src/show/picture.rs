// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The plan as a picture: the CPUs, the board's memory to scale, and a card for each partition.

use super::view::{Owner, View, blocks_in_words, cpus, rights, size, total, trigger};
use crate::svg::{
    Anchor::{End, Middle, Start},
    Font, INK, LINE, PALE, Svg,
};
use bulkhead_plan::plan::Partition;
use bulkhead_types::{Hpa, Range};

/// Told apart by people with any kind of colour vision, at least in this order.
const COLOURS: [&str; 10] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#edc948", "#ff9da7", "#9c755f",
    "#86bcb6",
];
const HYPERVISOR: &str = "#334155";

const WIDTH: f64 = 1160.0;
const MARGIN: f64 = 40.0;
/// The memory's bar.
const BAR: (f64, f64) = (140.0, 120.0);
/// Where the names of what lies in memory begin.
const NAMES: f64 = 310.0;
/// The cards: left edge and width.
const CARDS: (f64, f64) = (660.0, 460.0);
/// The distance of two names.
const NAME_STEP: f64 = 34.0;
/// So thick is what would be invisible.
const THINNEST: f64 = 3.0;
/// So many devices are listed on a card.
const MOST_DEVICES: usize = 12;
/// So many characters fit on a line of a card.
const CARD_COLUMNS: usize = 58;

/// How memory is drawn that the board reserves.
const RESERVED: &str = "<defs><pattern id=\"reserved\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
     patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#e2e8f0\"/><rect width=\"2\" height=\"6\" \
     fill=\"#94a3b8\"/></pattern></defs>\n";

/// The picture, as SVG.
pub fn draw(view: &View<'_>) -> String {
    let mut svg = Svg::default();
    svg.text(Start, (MARGIN, 52.0), Font::bold(24.0, INK), view.title);
    svg.text(Start, (MARGIN, 78.0), Font::plain(14.0, PALE), &view.summary);
    let top = draw_cpus(&mut svg, view, 104.0) + 34.0;
    svg.text(Start, (MARGIN, top), Font::bold(14.0, INK), "Memory");
    svg.text(
        Start,
        (MARGIN + 70.0, top),
        Font::plain(12.0, PALE),
        "physical addresses, to scale; what is thinner is drawn as a line",
    );
    let left = draw_memory(&mut svg, view, top + 22.0);
    svg.text(Start, (CARDS.0, top), Font::bold(14.0, INK), "Partitions");
    let right = draw_cards(&mut svg, view, top + 22.0);
    svg.finish(view.title, (WIDTH, left.max(right) + MARGIN), RESERVED)
}

fn colour(partition: usize) -> &'static str {
    COLOURS[partition % COLOURS.len()]
}

fn fill(owner: Owner<'_>) -> &'static str {
    match owner {
        Owner::Partition(number, _) => colour(number),
        Owner::Hypervisor(_) => HYPERVISOR,
        Owner::Reserved(_) => "url(#reserved)",
        Owner::Free => "#eef2f6",
    }
}

/// A box for each CPU in its owner's colour. Returns where they end.
fn draw_cpus(svg: &mut Svg, view: &View<'_>, top: f64) -> f64 {
    let count = view.board.cpus.len();
    let side = if count <= 20 { 44.0 } else { 28.0 };
    let step = side + 8.0;
    svg.text(Start, (MARGIN, top + side / 2.0 + 5.0), Font::bold(14.0, INK), "CPUs");
    let columns = ((WIDTH - BAR.0 - MARGIN) / step).floor().max(1.0) as usize;
    for cpu in 0..count {
        let x = BAR.0 + (cpu % columns) as f64 * step;
        let y = top + (cpu / columns) as f64 * step;
        let owner = view.owner_of_cpu(cpu);
        let (fill, ink, more) = match owner {
            Some(owner) => (colour(owner), "#ffffff", String::from("rx=\"6\"")),
            None => ("#ffffff", PALE, format!("rx=\"6\" stroke=\"{LINE}\" stroke-dasharray=\"4 3\"")),
        };
        svg.rect((x, y, side, side), fill, more);
        let height = if side > 30.0 { 16.0 } else { 11.0 };
        svg.text(
            Middle,
            (x + side / 2.0, y + side / 2.0 + height * 0.36),
            Font::bold(height, ink),
            &cpu.to_string(),
        );
    }
    let rows = count.div_ceil(columns);
    top + rows as f64 * step - 8.0
}

/// Something in memory, where it is drawn, and where its name is.
struct Piece<'v> {
    range: Range<Hpa>,
    owner: Owner<'v>,
    y: f64,
    height: f64,
    name_y: f64,
}

/// The banks, one below the other, lowest address first. Returns where they end.
fn draw_memory(svg: &mut Svg, view: &View<'_>, top: f64) -> f64 {
    const GAP: f64 = 26.0;
    let memory = view.memory();
    let all: u64 = view.board.memory.iter().map(Range::size).sum();
    // What is free between two others and a thousandth of it all is not worth a name.
    let named = |range: &Range<Hpa>, owner: Owner<'_>| owner != Owner::Free || range.size() >= all / 200;
    let names = memory.iter().filter(|(range, owner)| named(range, *owner)).count();
    let height = (names as f64 * NAME_STEP).max(520.0);
    let scale = height / all.max(1) as f64;

    let (mut y, mut pieces) = (top, Vec::new());
    for bank in &view.board.memory {
        let bank_height = (bank.size() as f64 * scale).max(THINNEST);
        let place = |address: u64| y + address.saturating_sub(bank.start().0) as f64 * scale;
        svg.rect((BAR.0, y, BAR.1, bank_height), "#ffffff", format!("stroke=\"{LINE}\""));
        for (range, owner) in memory.iter().filter(|(range, _)| range.overlaps(bank)) {
            let start = place(range.start().0);
            let height = (place(range.end().0.min(bank.end().0)) - start).max(THINNEST);
            pieces.push(Piece {
                range: *range,
                owner: *owner,
                y: start,
                height,
                name_y: start + height / 2.0,
            });
        }
        svg.text(End, (BAR.0 - 10.0, y + 10.0), Font::plain(11.0, PALE), &bank.start().to_string());
        svg.text(End, (BAR.0 - 10.0, y + bank_height), Font::plain(11.0, PALE), &bank.end().to_string());
        draw_ticks(svg, bank, y, scale);
        y += bank_height + GAP;
    }
    // Thin ones last, for their neighbours must not cover them.
    pieces.sort_by(|one, other| other.height.total_cmp(&one.height));
    for piece in &pieces {
        let more = if piece.height > THINNEST { "stroke=\"#ffffff\" stroke-width=\"1\"" } else { "" };
        svg.rect((BAR.0, piece.y, BAR.1, piece.height), fill(piece.owner), more);
    }
    pieces.retain(|piece| named(&piece.range, piece.owner));
    pieces.sort_by(|one, other| one.y.total_cmp(&other.y));
    let end = y - GAP;
    spread(&mut pieces, top + 12.0, end.max(top + names as f64 * NAME_STEP) - 12.0);
    for piece in &pieces {
        draw_name(svg, view, piece);
    }
    pieces.last().map_or(end, |last| end.max(last.name_y + 24.0))
}

/// Addresses between the ends of a bank, at most eight, round ones.
fn draw_ticks(svg: &mut Svg, bank: &Range<Hpa>, top: f64, scale: f64) {
    let mut step = 1_u64 << 20;
    while bank.size() / step > 8 {
        step <<= 1;
    }
    let bottom = bank.size() as f64 * scale;
    let mut address = bank.start().0.next_multiple_of(step);
    while address < bank.end().0 {
        let y = (address - bank.start().0) as f64 * scale;
        if y > 24.0 && y < bottom - 18.0 {
            svg.line(&[(BAR.0 - 6.0, top + y), (BAR.0, top + y)], LINE, 1.0);
            svg.text(End, (BAR.0 - 10.0, top + y + 4.0), Font::plain(11.0, PALE), &Hpa(address).to_string());
        }
        address += step;
    }
}

/// Moves names apart, down first and then up again where they leave the picture.
fn spread(pieces: &mut [Piece<'_>], top: f64, bottom: f64) {
    let mut least = top;
    for piece in pieces.iter_mut() {
        piece.name_y = piece.name_y.max(least);
        least = piece.name_y + NAME_STEP;
    }
    let mut most = bottom;
    for piece in pieces.iter_mut().rev() {
        piece.name_y = piece.name_y.min(most);
        most = piece.name_y - NAME_STEP;
    }
}

fn draw_name(svg: &mut Svg, view: &View<'_>, piece: &Piece<'_>) {
    let (middle, right) = (piece.y + piece.height / 2.0, BAR.0 + BAR.1);
    svg.line(
        &[(right, middle), (right + 14.0, middle), (NAMES - 16.0, piece.name_y), (NAMES - 6.0, piece.name_y)],
        LINE,
        1.0,
    );
    let (name, seen) = match piece.owner {
        Owner::Partition(number, guest) => {
            let name = view.plan.partitions.get(number).map_or("", |partition| partition.name.as_str());
            (name.to_owned(), format!(", seen at {guest}"))
        }
        Owner::Hypervisor(what) => (what.to_owned(), String::new()),
        Owner::Reserved(what) => (format!("reserved: {what}"), String::new()),
        Owner::Free => ("free".to_owned(), String::new()),
    };
    let ink = if matches!(piece.owner, Owner::Free | Owner::Reserved(_)) { PALE } else { INK };
    svg.rect((NAMES, piece.name_y - 11.0, 5.0, 27.0), fill(piece.owner), "rx=\"2\"");
    svg.text(
        Start,
        (NAMES + 14.0, piece.name_y),
        Font::bold(13.0, ink),
        &format!("{name}  {}", size(piece.range.size())),
    );
    svg.text(
        Start,
        (NAMES + 14.0, piece.name_y + 14.0),
        Font::plain(11.0, PALE),
        &format!("{}{seen}", piece.range),
    );
}

fn draw_cards(svg: &mut Svg, view: &View<'_>, top: f64) -> f64 {
    const LINE_HEIGHT: f64 = 18.0;
    let (x, width) = CARDS;
    let mut y = top;
    for (number, partition) in view.plan.partitions.iter().enumerate() {
        let lines = card(partition);
        let height = 44.0 + lines.len() as f64 * LINE_HEIGHT;
        svg.rect((x, y, width, height), "#f8fafc", format!("rx=\"8\" stroke=\"{LINE}\""));
        svg.rect((x, y, 8.0, height), colour(number), "rx=\"4\"");
        svg.text(
            Start,
            (x + 22.0, y + 24.0),
            Font::bold(15.0, INK),
            &format!("{} {}", number + 1, partition.name),
        );
        let noun = if partition.cpus.len() == 1 { "CPU" } else { "CPUs" };
        let short = format!("{noun} {} · {}", cpus(partition), size(total(partition)));
        svg.text(End, (x + width - 16.0, y + 24.0), Font::plain(13.0, PALE), &short);
        for (line, at) in lines.iter().zip(0_u32..) {
            svg.text(Start, (x + 22.0, y + 46.0 + f64::from(at) * LINE_HEIGHT), Font::plain(12.0, INK), line);
        }
        y += height + 14.0;
    }
    if !view.plan.idle_cpus.is_empty() {
        let idle: Vec<_> = view.plan.idle_cpus.iter().map(ToString::to_string).collect();
        svg.text(
            Start,
            (x, y + 12.0),
            Font::plain(12.0, PALE),
            &format!("No partition has CPU {}: off", idle.join(", ")),
        );
        y += 20.0;
    }
    y
}

/// What a card says beside name, CPUs and size.
fn card(partition: &Partition) -> Vec<String> {
    let mut lines = Vec::new();
    if partition.primary {
        lines.push("primary: has everything that no other partition claims".into());
    }
    if partition.identity_mapped {
        lines.push("identity-mapped: guest addresses are physical ones".into());
    }
    for memory in &partition.memory {
        lines.extend(wrapped(&format!(
            "{} → {}  {} ({}{})",
            memory.guest,
            memory.frames.start(),
            size(memory.frames.size()),
            blocks_in_words(memory),
            rights(memory)
        )));
    }
    if let Some(uart) = &partition.uart {
        lines.push(format!("virtual UART at {}, interrupt {}", uart.base, uart.interrupt));
    }
    let hidden = partition.devices.len().saturating_sub(MOST_DEVICES);
    // Not one line for one device: it takes no more room itself.
    let shown = if hidden > 1 { MOST_DEVICES } else { partition.devices.len() };
    for device in partition.devices.iter().take(shown) {
        let interrupts = device.interrupts.iter();
        let interrupts: Vec<_> = interrupts.map(|(id, kind)| format!("{id} ({})", trigger(*kind))).collect();
        let interrupts = match interrupts.as_slice() {
            [] => String::new(),
            [one] => format!(", interrupt {one}"),
            several => format!(", interrupts {}", several.join(" ")),
        };
        lines.extend(wrapped(&format!("{}{interrupts}", device.path)));
    }
    if hidden > 1 {
        lines.push(format!("and {hidden} more devices"));
    }
    lines
}

/// Lines that fit on a card.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= CARD_COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_touch() {
        let range = Range::<Hpa>::new(Hpa(0), 4096).unwrap();
        let piece = |name_y: f64| Piece { range, owner: Owner::Free, y: 0.0, height: 1.0, name_y };
        let mut pieces: Vec<_> = [10.0, 12.0, 13.0, 300.0, 310.0].map(piece).into();
        spread(&mut pieces, 10.0, 320.0);
        assert!(pieces.windows(2).all(|pair| pair[1].name_y - pair[0].name_y >= NAME_STEP - 0.01));
        assert!(pieces[0].name_y >= 10.0 && pieces[4].name_y <= 320.0);
    }

    #[test]
    fn text_is_wrapped() {
        let long = "word ".repeat(40);
        assert!(wrapped(&long).iter().all(|line| line.len() <= CARD_COLUMNS));
    }
}
