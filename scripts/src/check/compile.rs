// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `dtc` says of a source, as findings: with the place, and with the likely cause where it names none.

mod syntax;

use super::finding::{self, Finding, Mark};
use crate::dts::{FileId, Kind, Place, Sources, Token, tokens};
use regex::{Captures, Regex};
use std::ops::Range;
use std::path::Path;
use syntax::{Cause, cause};

/// `Error: FILE:LINE.COLUMN-COLUMN MESSAGE`, the same with `Lexical error`, and `FILE:LINE.COLUMN-LINE.COLUMN: ERROR (KIND): MESSAGE`.
const COMPLAINT: &str =
    r"^(?:(?:Lexical e|E)rror: )?(.+?):(\d+)\.(\d+)(?:-(?:(\d+)\.)?(\d+))?:? (?:ERROR \([a-z_]+\): )?(.*)$";

/// What `dtc` adds when it has said everything.
const LAST_WORDS: [&str; 3] = [
    "FATAL ERROR: Unable to parse input tree",
    "FATAL ERROR: Syntax error parsing input tree",
    "ERROR: Input tree has errors",
];

/// What `dtc` wrote of the source at `path` as [`findings`] are shown, in one text.
pub fn explained(path: &Path, complaints: &str) -> String {
    let mut sources = Sources::default();
    let text = sources.read(path).and_then(|file| {
        let findings = findings(&mut sources, file, complaints);
        finding::text(&sources, &findings).ok()
    });
    text.unwrap_or_else(|| complaints.into())
}

/// The findings in what `dtc` wrote of `file`. Never empty.
pub fn findings(sources: &mut Sources, file: FileId, complaints: &str) -> Vec<Finding> {
    let pattern = Regex::new(COMPLAINT).ok();
    let mut findings = Vec::new();
    for line in complaints.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if LAST_WORDS.iter().any(|words| line.starts_with(words)) {
            continue;
        }
        let captures = pattern.as_ref().and_then(|pattern| pattern.captures(line));
        findings.push(match captures {
            Some(captures) => located(sources, &captures),
            None => unlocated(sources, file, line),
        });
    }
    if findings.is_empty() {
        let path = sources.file(file).path.display();
        findings.push(Finding::error(format!("{path} does not compile: {}", complaints.trim())));
    }
    findings
}

/// `/fragment@0/__overlay__/a: ...` as `/a: ...`.
fn within_fragment(message: &str) -> String {
    let inside = Regex::new("/fragment@[0-9]+/__overlay__").ok();
    inside.map_or_else(|| message.into(), |inside| inside.replace_all(message, "").into_owned())
}

const NO_PLUGIN: &str = "help: Is /plugin/; missing behind /dts-v1/;? It makes an overlay of the source.";

fn located(sources: &mut Sources, captures: &Captures<'_>) -> Finding {
    let text = |group: usize| captures.get(group).map_or("", |found| found.as_str());
    let number = |group: usize| text(group).parse::<usize>().ok();
    // dtc makes each part of an overlay a fragment: that is nothing that the user wrote.
    let message = &within_fragment(text(6));
    let Some(file) = sources.read(Path::new(text(1))) else { return Finding::error(message) };
    let source = &sources.file(file).text;
    let start = offset(source, number(2).unwrap_or(1), number(3).unwrap_or(1));
    let end_line = number(4).or(number(2)).unwrap_or(1);
    let end = number(5).map_or(start, |column| offset(source, end_line, column));
    let place = Place { file, span: first_line(source, start..end.max(start)) };
    if message != "syntax error" {
        let finding = Finding::error(message).mark(Mark::primary(place, ""));
        let plugin = tokens(source).iter().any(|token| token.kind == Kind::Directive("plugin"));
        return if message == "Label or path / not found" && !plugin {
            finding.note(NO_PLUGIN)
        } else {
            finding
        };
    }
    let finding = Finding::error("this is not device-tree source").mark(Mark::primary(place, ""));
    if is_preprocessors(source, start) {
        return finding.note(PREPROCESS);
    }
    match cause(source, start) {
        Cause::Unknown => finding,
        Cause::Advice(advice) => finding.note(format!("help: {advice}")),
        Cause::Mistake(span, message, advice) => Finding::error(message)
            .mark(Mark::primary(Place { file, span }, ""))
            .note(format!("help: {advice}")),
        Cause::At(span, text) => finding.mark(Mark::secondary(Place { file, span }, text)),
    }
}

const PREPROCESS: &str = "help: The C preprocessor is not run. Write values in place of macros, or run it yourself, as \
    Linux does: cpp -nostdinc -undef -D__DTS__ -x assembler-with-cpp -I INCLUDES FILE";

/// Whether the line at a byte is a directive of the C preprocessor.
fn is_preprocessors(text: &str, at: usize) -> bool {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("").trim_start();
    let word = line.strip_prefix('#').map(|rest| rest.trim_start());
    let directives =
        ["include", "define", "undef", "if", "ifdef", "ifndef", "elif", "else", "endif", "error"];
    word.is_some_and(|word| {
        directives.contains(&word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or(""))
    })
}

/// A warning for each deletion, which dtc carries out on what the overlay itself has and hands on to nobody.
pub fn deletions(sources: &Sources, file: FileId) -> Vec<Finding> {
    let tokens = tokens(&sources.file(file).text);
    let deletes = |kind: &Kind| matches!(kind, Kind::Directive("delete-node" | "delete-property"));
    let warn = |token: &Token| {
        Finding::warning("an overlay deletes nothing of the board's: this has no effect on the board's tree")
            .mark(Mark::primary(Place { file, span: token.span.clone() }, ""))
            .note("help: A device that nobody is to have gets status = \"disabled\".")
    };
    tokens.iter().filter(|token| deletes(&token.kind)).map(warn).collect()
}

/// `FATAL ERROR: Couldn't open "FILE": ...` and the like: the place is where the file is named.
fn unlocated(sources: &Sources, file: FileId, line: &str) -> Finding {
    let finding = Finding::error(line.trim_start_matches("FATAL ERROR: ").trim_start_matches("ERROR: "));
    let quoted = line.split('"').nth(1).map(|name| format!("\"{name}\""));
    let found = quoted.and_then(|name| Some((sources.file(file).text.find(&name)?, name.len())));
    match found {
        Some((start, size)) => finding.mark(Mark::primary(Place { file, span: start..start + size }, "")),
        None => finding,
    }
}

/// The byte at a line and a column, both from 1; columns count bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut offset = start.saturating_add(column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The part of the span on its first line: more of it would not make it clearer.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let inside = text.get(span.clone()).unwrap_or("");
    let size = inside.find('\n').unwrap_or(inside.len());
    span.start..span.start + size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, complaints: &str) -> (Sources, Finding) {
        let mut sources = Sources::default();
        let file = sources.add("bad.dtso".into(), text.as_bytes());
        let mut findings = findings(&mut sources, file, complaints);
        assert_eq!(findings.len(), 1, "{findings:?}");
        (sources, findings.remove(0))
    }

    #[test]
    fn directives_of_the_preprocessor_are_explained() {
        for (line, expected) in [
            ("#include <dt-bindings/x.h>", true),
            ("# define A 1", true),
            ("\t#ifdef A", true),
            ("#address-cells = <1>;", false),
            ("#interrupt-cells = <1>;", false),
        ] {
            let text = format!("/dts-v1/;\n{line}\n");
            assert_eq!(is_preprocessors(&text, text.find('#').unwrap()), expected, "{line}");
        }
    }

    #[test]
    fn deletions_are_warned_of_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dtso");
        let text = "/dts-v1/; /plugin/; &{/} { /delete-node/ rtc; a { /delete-property/ b; }; };";
        std::fs::write(&path, text).unwrap();
        let mut sources = Sources::default();
        let file = sources.read(&path).unwrap();
        let found = deletions(&sources, file);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|finding| !finding.is_error()));
        assert_eq!(found[0].marks[0].place.span.start, text.find("/delete-node/").unwrap());
    }

    #[test]
    fn a_missing_semicolon_is_guessed() {
        let text = "/dts-v1/;\n/plugin/;\n&{/} { a { cpus = <0>\n\tmemory = <1>; }; };\n";
        let said = "Error: bad.dtso:4.2-8 syntax error\nFATAL ERROR: Unable to parse input tree\n";
        let (sources, finding) = find(text, said);
        let [first, second] = finding.marks.as_slice() else { panic!("{finding:?}") };
        assert_eq!((sources.text(&first.place), sources.text(&second.place)), ("memory", ">"));
        assert!(second.text.contains("semicolon"), "{second:?}");
    }

    #[test]
    fn what_is_open_is_shown() {
        let begun = |rest: &str| format!("/dts-v1/;\n/plugin/;\n{rest}");
        let (sources, finding) =
            find(&begun("&{/} { a { cpus = <0 1; }; };\n"), "Error: bad.dtso:3.23-24 syntax error\n");
        assert_eq!(sources.text(&finding.marks[1].place), "<");
        let (_, finding) = find("&{/} { };", "Error: bad.dtso:1.1-2 syntax error\n");
        assert!(finding.notes[0].contains("/dts-v1/;"), "{finding:?}");
        let (_, finding) = find(&begun("&{/} { a { };\n"), "Error: bad.dtso:3.14-4.1 syntax error\n");
        assert!(finding.marks[1].text.contains("never closed"), "{finding:?}");
    }

    #[test]
    fn a_missing_plugin_is_guessed() {
        let said = "Error: bad.dtso:2.1-6 Label or path / not found\n";
        let notes = |text| find(text, said).1.notes;
        assert_eq!(notes("/dts-v1/;\n&{/} { };\n"), [NO_PLUGIN]);
        assert!(notes("/dts-v1/; /plugin/;\n&{/} { };\n").is_empty());
    }

    #[test]
    fn other_complaints_keep_their_words() {
        let text = "/dts-v1/;\n/plugin/;\n/include/ \"none.dtsi\"\n&{/} { a { }; a { }; };\n";
        let said = "bad.dtso:4.15-18: ERROR (duplicate_node_names): /fragment@0/__overlay__/a: Duplicate node name\n\
                    ERROR: Input tree has errors, aborting (use -f to force output)\n";
        let (sources, finding) = find(text, said);
        assert_eq!(finding.message, "/a: Duplicate node name");
        assert_eq!(sources.text(&finding.marks[0].place), "a {");
        let said = "FATAL ERROR: Couldn't open \"none.dtsi\": No such file or directory\n";
        let (sources, finding) = find(text, said);
        assert_eq!(sources.text(&finding.marks[0].place), "\"none.dtsi\"");
        assert!(find(text, "").1.message.contains("does not compile"));
    }
}
