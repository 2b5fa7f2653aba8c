// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of properties: strings, cells, bytes, and where each stands.

use super::super::lexer::Kind;
use super::super::{Element, ElementKind, Place};
use super::stream::Parser;

impl Parser<'_> {
    pub(super) fn element(&mut self, kind: Kind, place: Place, elements: &mut Vec<Element>) {
        match kind {
            Kind::Text(text) => elements.push(Element { kind: ElementKind::Text(text), place }),
            Kind::Reference(name) => elements.push(Element { kind: ElementKind::Reference(name), place }),
            Kind::Mark(b'<') => self.cells(elements),
            Kind::Mark(b'[') => {
                while let Some(kind) = self.peek(0) {
                    if matches!(kind, Kind::Mark(b';' | b'}')) {
                        break;
                    }
                    if matches!(self.take(), Some((Kind::Mark(b']'), _))) {
                        break;
                    }
                }
                elements.push(Element {
                    kind: ElementKind::Other,
                    place: join(Some(place.clone()), &place, &self.end),
                });
            }
            Kind::Directive(_) => elements.push(Element { kind: ElementKind::Other, place }),
            _ => {}
        }
    }

    /// The cells up to `>`; an expression in parentheses is one.
    fn cells(&mut self, elements: &mut Vec<Element>) {
        while let Some(kind) = self.peek(0) {
            if matches!(kind, Kind::Mark(b';' | b'}')) {
                return;
            }
            let Some((kind, place)) = self.take() else { return };
            let (kind, place) = match kind {
                Kind::Mark(b'>') => return,
                Kind::Word(word) => (ElementKind::Cell(number(&word)), place),
                Kind::Character(byte) => (ElementKind::Cell(Some(u64::from(byte))), place),
                Kind::Reference(name) => (ElementKind::Reference(name), place),
                Kind::Mark(b'(') => {
                    self.expression();
                    (ElementKind::Cell(None), join(None, &place, &self.end))
                }
                _ => continue,
            };
            elements.push(Element { kind, place });
        }
    }

    fn expression(&mut self) {
        let mut open = 1_usize;
        while open > 0 {
            match self.peek(0) {
                Some(Kind::Mark(b'(')) => open += 1,
                Some(Kind::Mark(b')')) => open -= 1,
                None | Some(Kind::Mark(b';' | b'{' | b'}')) => return,
                Some(_) => {}
            }
            self.take();
        }
    }
}

/// From the start of `first` (or of `so_far`) to the end of `last`, as far as they are in one file.
pub(super) fn join(so_far: Option<Place>, first: &Place, last: &Place) -> Place {
    let start = so_far.unwrap_or_else(|| first.clone());
    if start.file != last.file || last.span.end < start.span.start {
        return start;
    }
    Place { file: start.file, span: start.span.start..last.span.end }
}

/// A number as dtc reads it: decimal, octal or hexadecimal, with C's suffixes.
fn number(word: &str) -> Option<u64> {
    let word = word.trim_end_matches(['u', 'U', 'l', 'L']);
    let lower = word.to_ascii_lowercase();
    match lower.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower, 8).ok(),
        None => lower.parse().ok(),
    }
}
