// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device-tree source to tokens. Nothing is an error here: what is no token is one character of punctuation.

use std::ops::Range;

/// A token and the bytes of the text that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Range<usize>,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node's or property's name, a number, a label.
    Word(String),
    /// A string, its escapes resolved.
    Text(String),
    /// A character constant, its value.
    Character(u8),
    /// `&label`, or `&{/path}` with its braces.
    Reference(String),
    /// `/plugin/` and the like, without the slashes.
    Directive(&'static str),
    /// Anything else.
    Mark(u8),
}

/// What may stand between two slashes (dtc's manual, "Device Tree Source format").
const DIRECTIVES: &[&str] = &[
    "dts-v1",
    "plugin",
    "include",
    "incbin",
    "bits",
    "memreserve",
    "delete-node",
    "delete-property",
    "omit-if-no-ref",
];

/// All tokens of the text. Comments and the line markers of a preprocessor are left out.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let Some(kind) = lexer.next() else { return tokens };
        tokens.push(Token { kind, span: start..lexer.at });
    }
}

struct Lexer<'t> {
    bytes: &'t [u8],
    at: usize,
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b",._+*#?@-\\".contains(&byte)
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Lexer<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    /// Goes behind the next occurrence of `end`, or to the end.
    fn skip_past(&mut self, end: &[u8]) {
        let found = self.rest().windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.bytes.len(), |place| self.at + place + end.len());
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            if rest.first().is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            } else if rest.starts_with(b"//") {
                self.skip_past(b"\n");
            } else if rest.starts_with(b"/*") {
                self.at += 2;
                self.skip_past(b"*/");
            } else if self.is_line_marker() {
                self.skip_past(b"\n");
            } else {
                return;
            }
        }
    }

    /// `# 1 "file"` or `#line 1 "file"` at the start of a line.
    fn is_line_marker(&self) -> bool {
        let starts_line = self.at == 0 || self.bytes.get(self.at - 1) == Some(&b'\n');
        starts_line && (self.rest().starts_with(b"# ") || self.rest().starts_with(b"#line "))
    }

    fn take_while(&mut self, accept: fn(u8) -> bool) -> String {
        let rest = self.rest();
        let size = rest.iter().position(|byte| !accept(*byte)).unwrap_or(rest.len());
        let word = String::from_utf8_lossy(rest.get(..size).unwrap_or(&[])).into_owned();
        self.at += size;
        word
    }

    fn next(&mut self) -> Option<Kind> {
        let first = *self.rest().first()?;
        Some(match first {
            b'"' => Kind::Text(String::from_utf8_lossy(&self.quoted(b'"')).into_owned()),
            b'\'' => Kind::Character(self.quoted(b'\'').first().copied().unwrap_or(0)),
            b'&' => self.reference(),
            b'/' => self.directive(),
            _ if is_name(first) => Kind::Word(self.take_while(is_name)),
            _ => {
                self.at += 1;
                Kind::Mark(first)
            }
        })
    }

    /// What stands between quotes, over several lines if need be; one that is never closed ends with its
    /// line.
    fn quoted(&mut self, quote: u8) -> Vec<u8> {
        self.at += 1;
        let mut content = Vec::new();
        while let Some(byte) = self.rest().first().copied() {
            if byte == b'\n' && !self.closes_later(quote) {
                break;
            }
            self.at += 1;
            match byte {
                _ if byte == quote => break,
                b'\\' => content.push(self.escape()),
                _ => content.push(byte),
            }
        }
        content
    }

    /// Whether there is another quote at all.
    fn closes_later(&self, quote: u8) -> bool {
        self.rest().contains(&quote)
    }

    fn escape(&mut self) -> u8 {
        let Some(byte) = self.rest().first().copied() else { return b'\\' };
        self.at += 1;
        let number = |lexer: &mut Self, digits: usize, radix: u32| {
            let rest = lexer.rest();
            let valid =
                rest.iter().take(digits).take_while(|byte| char::from(**byte).is_digit(radix)).count();
            let text = std::str::from_utf8(rest.get(..valid).unwrap_or(&[])).unwrap_or("");
            let value = u32::from_str_radix(text, radix).unwrap_or(0);
            lexer.at += valid;
            value as u8
        };
        match byte {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'0'..=b'7' => {
                self.at -= 1;
                number(self, 3, 8)
            }
            b'x' => number(self, 2, 16),
            other => other,
        }
    }

    fn reference(&mut self) -> Kind {
        self.at += 1;
        if self.rest().first() == Some(&b'{') {
            let start = self.at;
            self.take_while(|byte| !matches!(byte, b'}' | b'\n' | b';'));
            if self.rest().first() == Some(&b'}') {
                self.at += 1;
            }
            let target = self.bytes.get(start..self.at).unwrap_or(&[]);
            return Kind::Reference(String::from_utf8_lossy(target).into_owned());
        }
        let label = self.take_while(is_label);
        if label.is_empty() { Kind::Mark(b'&') } else { Kind::Reference(label) }
    }

    fn directive(&mut self) -> Kind {
        self.at += 1;
        let found = DIRECTIVES.iter().find(|name| {
            let rest = self.rest();
            rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&b'/')
        });
        match found {
            Some(name) => {
                self.at += name.len() + 1;
                Kind::Directive(name)
            }
            None => Kind::Mark(b'/'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).into_iter().map(|token| token.kind).collect()
    }

    fn word(text: &str) -> Kind {
        Kind::Word(text.into())
    }

    #[test]
    fn comments_and_line_markers_are_no_tokens() {
        let text = "# 1 \"x.dts\"\n/* a; { */ #size-cells // b\n= <0x10>;";
        let expected = [
            word("#size-cells"),
            Kind::Mark(b'='),
            Kind::Mark(b'<'),
            word("0x10"),
            Kind::Mark(b'>'),
            Kind::Mark(b';'),
        ];
        assert_eq!(kinds(text), expected);
        assert_eq!(kinds("/* open"), []);
    }

    #[test]
    fn directives_references_and_slashes_differ() {
        let expected = [
            Kind::Directive("dts-v1"),
            Kind::Mark(b';'),
            Kind::Mark(b'/'),
            Kind::Reference("{/soc/uart@0}".into()),
            Kind::Reference("uart0".into()),
            Kind::Mark(b'&'),
        ];
        assert_eq!(kinds("/dts-v1/; / &{/soc/uart@0} &uart0 & "), expected);
    }

    #[test]
    fn strings_have_escapes_and_an_open_one_costs_a_line() {
        assert_eq!(kinds(r#""a\"b\x41\102\n""#), [Kind::Text("a\"bAB\n".into())]);
        assert_eq!(kinds("\"two\nlines\""), [Kind::Text("two\nlines".into())]);
        assert_eq!(
            kinds("\"open;\nx = y;"),
            [Kind::Text("open;".into()), word("x"), Kind::Mark(b'='), word("y"), Kind::Mark(b';')]
        );
        assert_eq!(kinds("'a'"), [Kind::Character(b'a')]);
    }

    #[test]
    fn spans_are_the_text() {
        let text = "a: node@1 { };";
        let words: Vec<_> = tokens(text).iter().map(|token| &text[token.span.clone()]).collect();
        assert_eq!(words, ["a", ":", "node@1", "{", "}", ";"]);
    }
}
