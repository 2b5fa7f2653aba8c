// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The likely cause of a syntax error, of which `dtc` says nothing but where it noticed.

use crate::dts::{Kind, Token, tokens};
use std::ops::Range;

/// The likely cause of a syntax error.
pub enum Cause {
    /// A place that explains, and what is wrong there.
    At(Range<usize>, &'static str),
    /// What is wrong, known by its form: where it is, what it is, and what to write.
    Mistake(Range<usize>, &'static str, String),
    /// What to do.
    Advice(&'static str),
    Unknown,
}

/// The cause of a syntax error at the byte `at`.
pub fn cause(text: &str, at: usize) -> Cause {
    let tokens = tokens(text);
    if tokens.first().is_none_or(|first| first.kind != Kind::Directive("dts-v1")) {
        return Cause::Advice("An overlay begins with /dts-v1/; and /plugin/;");
    }
    let (before, after) = tokens.split_at(tokens.partition_point(|token| token.span.start < at));
    // dtc reads a name behind an equals sign letter by letter: it may point into a token.
    let inside = before.last().is_some_and(|last| last.span.end > at);
    let wrong = tokens.split_at(before.len() - usize::from(inside));
    let (mut braces, mut bracket): (Vec<&Token>, Option<&Token>) = (Vec::new(), None);
    for token in before {
        match token.kind {
            Kind::Mark(b'{') => braces.push(token),
            Kind::Mark(b'}') => drop(braces.pop()),
            Kind::Mark(b'<' | b'[') => bracket = Some(token),
            Kind::Mark(b'>' | b']') => bracket = None,
            _ => {}
        }
    }
    let mistake = quote(text, wrong).or_else(|| match bracket {
        Some(_) => in_brackets(text, wrong),
        None => value(text, wrong),
    });
    if let Some(mistake) = mistake {
        return mistake;
    }
    if let Some(open) = bracket {
        return Cause::At(open.span.clone(), "opened here and not closed");
    }
    // At the end of the file dtc points at the last thing in it.
    if let (true, Some(open)) = (after.len() < 2, braces.last()) {
        return Cause::At(open.span.clone(), "this brace is never closed");
    }
    let Some(last) = before.last().filter(|last| !matches!(last.kind, Kind::Mark(b';' | b'{' | b'='))) else {
        return Cause::Unknown;
    };
    let new_line = text.get(last.span.end..at).is_some_and(|between| between.contains('\n'));
    if new_line || after.first().is_some_and(|next| next.kind == Kind::Mark(b'}')) {
        let end = last.span.end;
        let start =
            text.get(..end).and_then(|text| text.char_indices().next_back()).map_or(end, |(at, _)| at);
        return Cause::At(start..end, "is a semicolon missing behind this?");
    }
    Cause::Unknown
}

/// The tokens in front of the wrong one, and it with all behind it.
type Around<'t> = (&'t [Token], &'t [Token]);

/// A string whose closing quote is missing: it goes on to where the next one opens, or has no end at all.
fn quote(text: &str, (before, wrong): Around<'_>) -> Option<Cause> {
    let wrong = wrong.first()?;
    let is_text = |token: &&Token| matches!(token.kind, Kind::Text(_));
    let source = |token: &Token| text.get(token.span.clone()).unwrap_or("");
    let is_open = |token: &&Token| source(token).len() < 2 || !source(token).ends_with('"');
    // What a string holds stands directly behind its opening quote, which was taken for a closing one.
    let joined = || before.last().filter(|last| last.span.end == wrong.span.start);
    let goes_on = !matches!(wrong.kind, Kind::Mark(b';' | b',' | b'}' | b'<' | b'['));
    let unclosed = Some(wrong).filter(is_text).filter(is_open);
    let string = joined().filter(is_text).filter(|_| goes_on).or(unclosed)?;
    let line = source(string).lines().next().unwrap_or("").trim_end();
    let inside = line.trim_start_matches('"').trim_end_matches(['"', ' ', ',', ';']);
    let span = string.span.start..string.span.start + line.len();
    let message = "this string has no closing quote";
    Some(Cause::Mistake(span, message, format!("Strings stand in double quotes: \"{inside}\".")))
}

/// A cell that is no number.
fn in_brackets(text: &str, (before, wrong): Around<'_>) -> Option<Cause> {
    let (token, behind) = wrong.split_first()?;
    let source = |span: &Range<usize>| text.get(span.clone()).unwrap_or("");
    // Where they are not closed, that is the mistake.
    let end =
        behind.iter().find(|token| matches!(token.kind, Kind::Mark(b'>' | b';' | b'=' | b'{' | b'}')))?;
    if end.kind != Kind::Mark(b'>') {
        return None;
    }
    match &token.kind {
        Kind::Word(word) => {
            let number = before.last().filter(|last| matches!(last.kind, Kind::Word(_)));
            let split = number.map(|number| number.span.start..token.span.end);
            let span = Some(token.span.clone()).filter(|_| size(word).is_some());
            let span = span.or_else(|| split.filter(|span| size(source(span)).is_some()));
            let message = "a cell is a number, an expression in parentheses, or a reference";
            Some(span.map_or_else(
                || {
                    let advice = "Macros, as of C headers, are not known here.".to_owned();
                    Cause::Mistake(token.span.clone(), message, advice)
                },
                |span| Cause::Mistake(span.clone(), IN_CELLS, size_in_cells(source(&span))),
            ))
        }
        Kind::Text(_) => {
            let advice = format!("Without the angle brackets: {}.", source(&token.span));
            Some(Cause::Mistake(token.span.clone(), "a string stands outside of angle brackets", advice))
        }
        _ => None,
    }
}

/// A value that is neither in quotes nor in brackets.
fn value(text: &str, (before, wrong): Around<'_>) -> Option<Cause> {
    before.last().filter(|last| last.kind == Kind::Mark(b'='))?;
    let token = wrong.first()?;
    let is_value = matches!(token.kind, Kind::Word(_) | Kind::Character(_) | Kind::Mark(b'/'));
    let rest = text.get(token.span.start..).filter(|_| is_value)?;
    let value = rest.split([';', '\n']).next().unwrap_or("").trim_end();
    let span = token.span.start..token.span.start + value.len();
    let bare = value.trim_matches(['"', '\'']);
    let is_number = |word: &str| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    Some(if size(bare).is_some() {
        Cause::Mistake(span, IN_CELLS, size_in_cells(bare))
    } else if bare.starts_with(|first: char| first.is_ascii_digit()) && bare.split_whitespace().all(is_number)
    {
        Cause::Mistake(span, "numbers stand in angle brackets", format!("Write <{bare}>."))
    } else {
        Cause::Mistake(span, "strings stand in double quotes", format!("Write \"{bare}\"."))
    })
}

const IN_CELLS: &str = "a size is given as cells, which have no units";

fn size_in_cells(word: &str) -> String {
    let size = size(word).unwrap_or(0);
    format!(
        "Sizes are cells of 32 bits, the high half first: {word} is <{:#x} {:#x}>.",
        size >> 32,
        size & u64::from(u32::MAX)
    )
}

/// The bytes that `256M`, `256MiB` or `1 GB` mean; `None` where there is no unit.
fn size(word: &str) -> Option<u64> {
    let word = word.to_ascii_lowercase();
    let unit = word.trim_end_matches("ib").trim_end_matches('b');
    let shift = match unit.chars().next_back()? {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => return None,
    };
    let digits = unit.get(..unit.len() - 1)?.trim_end();
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    number.ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is blamed, why, and what to do, for the line in which dtc stumbles at `at`.
    fn mistake(line: &str, at: &str) -> (String, &'static str, String) {
        let text = format!("/dts-v1/;\n/plugin/;\n&{{/}} {{ a {{\n{line}\n}}; }};\n");
        let start = text.find(line).unwrap();
        match cause(&text, start + line.find(at).unwrap()) {
            Cause::Mistake(span, message, advice) => (text[span].to_owned(), message, advice),
            Cause::At(span, message) => (text[span].to_owned(), message, String::new()),
            Cause::Advice(message) => (String::new(), message, String::new()),
            Cause::Unknown => panic!("nothing is found in {line}"),
        }
    }

    #[test]
    fn sizes_with_units_are_cells() {
        let said = |line, at, blamed: &str, cells: &str| {
            let (source, message, advice) = mistake(line, at);
            assert_eq!((source.as_str(), message), (blamed, IN_CELLS), "{line}");
            assert!(advice.ends_with(&format!("{blamed} is {cells}.")), "{advice}");
        };
        // dtc stops at the unit.
        said("memory = <256M>;", "M>", "256M", "<0x0 0x10000000>");
        said("memory = <0x0 0x40000000 0x0 1GiB>;", "GiB", "1GiB", "<0x0 0x40000000>");
        said("memory = <0x0 256 MiB>;", "MiB", "256 MiB", "<0x0 0x10000000>");
        said("memory = <8G>;", "G>", "8G", "<0x2 0x0>");
        said("memory = 256M;", "256", "256M", "<0x0 0x10000000>");
        assert_eq!(mistake("memory = <256M;\nx = <1>;", "M;").1, "opened here and not closed");
    }

    #[test]
    fn strings_without_quotes_are_seen() {
        let said = |line, at, blamed: &str, advice: &str| {
            let expected = (blamed.to_owned(), "strings stand in double quotes", advice.to_owned());
            assert_eq!(mistake(line, at), expected);
        };
        let advice = "Write \"console=ttyAMA0 quiet\".";
        said("bootargs = console=ttyAMA0 quiet;", "c", "console=ttyAMA0 quiet", advice);
        said("bootargs = console=ttyAMA0 quiet\";", "c", "console=ttyAMA0 quiet\"", advice);
        said("devices = /pl031@9010000;", "/", "/pl031@9010000", "Write \"/pl031@9010000\".");
        said("kernel = 'linux';", "'", "'linux'", "Write \"linux\".");
    }

    #[test]
    fn missing_closing_quotes_are_seen() {
        let open = "this string has no closing quote";
        let string = "\"console=ttyAMA0;";
        let advice = "Strings stand in double quotes: \"console=ttyAMA0\".";
        let expected = (string.to_owned(), open, advice.to_owned());
        assert_eq!(mistake("bootargs = \"console=ttyAMA0;", "\""), expected);
        assert_eq!(mistake("bootargs = \"console=ttyAMA0;\nkernel = \"linux\";", "linux"), expected);
        assert_eq!(mistake("devices = \"/a, \"/b\";", "/b").1, open);
        // A string may have several lines.
        let (semicolon, said, _) = mistake("bootargs = \"a\nb\"\nkernel = \"linux\";", "kernel");
        assert_eq!((semicolon.as_str(), said), ("\"", "is a semicolon missing behind this?"));
    }

    #[test]
    fn numbers_stand_in_brackets_and_strings_do_not() {
        let numbers = ("0 1".to_owned(), "numbers stand in angle brackets", "Write <0 1>.".to_owned());
        assert_eq!(mistake("cpus = 0 1;", "0"), numbers);
        assert_eq!(mistake("kernel = <\"linux\">;", "\"").1, "a string stands outside of angle brackets");
        assert!(mistake("cpus = <ONE 2>;", "ONE").1.starts_with("a cell is a number"));
    }
}
