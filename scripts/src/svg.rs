// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pictures as SVG: text, rectangles and lines, at most one decimal place each.

use std::fmt::{Display, Write};

/// The colour of what is to be read.
pub const INK: &str = "#0f172a";
/// The colour of what explains.
pub const PALE: &str = "#64748b";
/// The colour of lines that lead the eye.
pub const LINE: &str = "#cbd5e1";

/// Where the text stands that a point belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    height: f64,
    fill: &'static str,
    weight: &'static str,
}

impl Font {
    /// Of that height, in that colour.
    #[must_use]
    pub const fn plain(height: f64, fill: &'static str) -> Self {
        Self { height, fill, weight: "normal" }
    }

    /// The same, bold.
    #[must_use]
    pub const fn bold(height: f64, fill: &'static str) -> Self {
        Self { height, fill, weight: "bold" }
    }
}

/// A picture that grows.
#[derive(Debug, Default)]
pub struct Svg {
    body: String,
}

impl Svg {
    /// Adds a text.
    pub fn text(&mut self, anchor: Anchor, (x, y): (f64, f64), font: Font, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let Font { height, fill, weight } = font;
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{height}\" font-weight=\"{weight}\" fill=\"{fill}\" \
             text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }

    /// Adds a rectangle: left, top, width, height; `more` are further attributes.
    pub fn rect(&mut self, (x, y, width, height): (f64, f64, f64, f64), fill: &str, more: impl Display) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" {more}/>"
        );
    }

    /// Adds a line through points.
    pub fn line(&mut self, points: &[(f64, f64)], stroke: &str, width: f64) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>",
            points.join(" ")
        );
    }

    /// Adds a dot, which tells `title` where a reader points at it.
    pub fn dot(&mut self, (x, y): (f64, f64), fill: &str, title: &str) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{fill}\"><title>{}</title></circle>",
            escaped(title)
        );
    }

    /// The whole file. `definitions` are what fills refer to.
    #[must_use]
    pub fn finish(self, title: &str, (width, height): (f64, f64), definitions: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" \
             height=\"{height:.0}\" role=\"img\" font-family=\"Inter, 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n\
             <title>{}</title>\n{definitions}<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ if letter.is_control() => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b> & \"c\"\n"), "a&lt;b&gt; &amp; &quot;c&quot; ");
    }
}
