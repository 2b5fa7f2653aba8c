// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What each partition has said, and the search for a pattern in what it said since a mark.

use crate::console::{Event, HYPERVISOR, clean, unstamped};
use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;

/// A longer line without an end is cut here: a guest must not make the search slow.
const LONGEST_LINE: usize = 16 << 10;

/// Everything that came over the console, by owner.
#[derive(Debug, Default)]
pub struct Transcript {
    streams: BTreeMap<String, Stream>,
    current: Option<String>,
}

/// What one owner has said.
#[derive(Debug, Default)]
pub struct Stream {
    lines: Vec<Line>,
    unfinished: Vec<u8>,
    /// Its lines begin with time and CPU, which are left out.
    stamped: bool,
}

/// A complete line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was complete, from the start of the machine.
    pub at: Duration,
    /// The text without prefix, cleaned of escape sequences.
    pub text: String,
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    line: usize,
    offset: usize,
}

/// What a wait found: the text that matched, the whole line, the place behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The pattern's groups; the first is the whole match.
    pub groups: Vec<String>,
    /// The line in which it was found, as far as it had come.
    pub line: String,
    /// The place behind the match.
    pub end: Mark,
}

impl Transcript {
    /// Takes the next event. Returns the line that it completes, if it does, and the line's owner.
    pub fn event(&mut self, event: &Event, at: Duration) -> Option<(&str, &Line)> {
        match event {
            Event::Begin(owner) => {
                let owner = owner.clone().unwrap_or_default();
                let stream = self.streams.entry(owner.clone()).or_default();
                stream.unfinished.clear();
                stream.stamped = owner == HYPERVISOR;
                self.current = Some(owner);
                None
            }
            Event::Text(text) => {
                let stream = self.streams.get_mut(self.current.as_ref()?)?;
                stream.unfinished.extend_from_slice(text);
                if stream.unfinished.len() > LONGEST_LINE { self.complete(at) } else { None }
            }
            Event::End => {
                let completed = self.current.clone();
                self.complete(at)?;
                self.current = None;
                let (owner, stream) = self.streams.get_key_value(&completed?)?;
                Some((owner, stream.lines.last()?))
            }
            // The text stays searchable until the line is sent again.
            Event::Erase => {
                self.current = None;
                None
            }
        }
    }

    fn complete(&mut self, at: Duration) -> Option<(&str, &Line)> {
        let (owner, stream) = (self.current.as_ref()?, self.streams.get_mut(self.current.as_ref()?)?);
        let text = stream.unfinished();
        stream.unfinished.clear();
        stream.lines.push(Line { at, text });
        Some((owner, stream.lines.last()?))
    }

    /// What `owner` has said; nothing so far is an empty stream.
    #[must_use]
    pub fn of(&self, owner: &str) -> &Stream {
        static NOTHING: Stream = Stream { lines: Vec::new(), unfinished: Vec::new(), stamped: false };
        self.streams.get(owner).unwrap_or(&NOTHING)
    }

    /// What the hypervisor itself has said.
    #[must_use]
    pub fn hypervisor(&self) -> &Stream {
        self.of(HYPERVISOR)
    }
}

impl Stream {
    /// The complete lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line that has not ended yet.
    #[must_use]
    pub fn unfinished(&self) -> String {
        let text = clean(&self.unfinished);
        if self.stamped { unstamped(&text).to_owned() } else { text }
    }

    /// The place behind everything so far.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark { line: self.lines.len(), offset: self.unfinished().len() }
    }

    /// The complete lines between two places, without those in which the places are.
    #[must_use]
    pub fn between(&self, from: Mark, to: Mark) -> Vec<String> {
        let lines = self.lines.iter().take(to.line).skip(from.line + 1);
        lines.map(|line| line.text.clone()).collect()
    }

    /// The last `count` lines, the unfinished one included.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        let unfinished = Some(self.unfinished()).filter(|text| !text.is_empty());
        let mut all: Vec<String> =
            self.lines.iter().map(|line| line.text.clone()).chain(unfinished).collect();
        all.split_off(all.len().saturating_sub(count))
    }

    /// The text from `mark` on, lines run together: how an echo that wraps is recognised.
    #[must_use]
    pub fn run_together(&self, mark: Mark) -> String {
        let mut text = String::new();
        self.from(mark, |line, _| {
            text.push_str(line);
            None::<()>
        });
        text
    }

    /// The first match of `pattern` behind `mark`. A pattern matches within one line.
    #[must_use]
    pub fn find(&self, pattern: &Regex, mark: Mark) -> Option<Found> {
        self.from(mark, |rest, start| {
            let captures = pattern.captures(rest)?;
            let groups = captures.iter().map(|group| group.map_or("", |group| group.as_str()).to_owned());
            let end = Mark { line: start.line, offset: start.offset + captures.get(0)?.end() };
            Some(Found { groups: groups.collect(), line: self.line_text(start.line), end })
        })
    }

    /// Where a search that found nothing from `mark` on may go on: complete lines need no second look.
    #[must_use]
    pub fn searched(&self, mark: Mark) -> Mark {
        mark.max(Mark { line: self.lines.len(), offset: 0 })
    }

    fn line_text(&self, line: usize) -> String {
        self.lines.get(line).map_or_else(|| self.unfinished(), |line| line.text.clone())
    }

    fn from<T>(&self, mark: Mark, mut visit: impl FnMut(&str, Mark) -> Option<T>) -> Option<T> {
        let unfinished = self.unfinished();
        let lines = self.lines.iter().map(|line| line.text.as_str()).chain([unfinished.as_str()]);
        lines.enumerate().skip(mark.line).find_map(|(line, text)| {
            let offset = if line == mark.line { mark.offset } else { 0 };
            // A line that is being sent again may be shorter than the mark; nothing new is in it yet.
            visit(text.get(offset..).unwrap_or(""), Mark { line, offset })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Parser;

    fn listen(stream: &[u8]) -> (Parser, Transcript) {
        let (mut parser, mut transcript) = (Parser::default(), Transcript::default());
        more(&mut parser, &mut transcript, stream);
        (parser, transcript)
    }

    fn more(parser: &mut Parser, transcript: &mut Transcript, stream: &[u8]) {
        for event in parser.feed(stream) {
            transcript.event(&event, Duration::ZERO);
        }
    }

    fn regex(pattern: &str) -> Regex {
        Regex::new(pattern).unwrap()
    }

    #[test]
    fn a_pattern_is_found_once() {
        let (_, transcript) = listen(b"[a] one two\r\n[b] two\r\n[a] two");
        let stream = transcript.of("a");
        let first = stream.find(&regex("t(w)o"), Mark::default()).unwrap();
        assert_eq!(
            (first.groups.as_slice(), first.line.as_str()),
            (["two".into(), "w".into()].as_slice(), "one two")
        );
        let second = stream.find(&regex("two$"), first.end).unwrap();
        assert_eq!(second.line, "two");
        assert_eq!(stream.find(&regex("two"), second.end), None);
        assert_eq!(
            transcript.of("nobody").find(&regex(""), Mark::default()).map(|found| found.line),
            Some("".into())
        );
    }

    #[test]
    fn a_line_sent_again_is_not_found_twice() {
        let (mut parser, mut transcript) = listen(b"[a] ~ # ");
        let prompt = transcript.of("a").find(&regex("# $"), Mark::default()).unwrap();
        more(&mut parser, &mut transcript, b"\r\x1b[K[b] tick\r\n[a] ~");
        assert_eq!(transcript.of("a").find(&regex("~|# $"), prompt.end), None);
        more(&mut parser, &mut transcript, b" # ls");
        assert_eq!(transcript.of("a").find(&regex("# "), prompt.end), None);
        assert_eq!(transcript.of("a").find(&regex("ls"), prompt.end).unwrap().line, "~ # ls");
        assert_eq!(transcript.of("a").run_together(prompt.end), "ls");
    }

    #[test]
    fn the_hypervisors_lines_lose_their_stamp_and_nobody_elses() {
        let (_, transcript) = listen(b"[bulkhead]    1.000000 cpu0 up\r\n[a]    1.000000 cpu0 up\r\n");
        assert_eq!(transcript.hypervisor().last(1), ["up"]);
        assert_eq!(transcript.of("a").last(1), ["   1.000000 cpu0 up"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let (_, transcript) = listen(&[b"[a] ", vec![b'x'; 3 * LONGEST_LINE].as_slice()].concat());
        assert!(!transcript.of("a").lines().is_empty());
    }

    #[test]
    fn the_last_lines_include_the_unfinished_one() {
        let (_, transcript) = listen(b"[a] 1\r\n[a] 2\r\n[a] 3");
        assert_eq!(transcript.of("a").last(2), ["2", "3"]);
    }
}
