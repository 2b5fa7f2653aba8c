// SPDX-License-Identifier: Apache-2.0 OR MIT
#![doc = include_str!("session.md")]

use crate::console::HYPERVISOR;
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::time::Duration;

/// How long a wait lasts if the session does not say.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// The language, explained for the user.
#[must_use]
pub fn help() -> String {
    // Whoever shows it wraps prose to the width there is.
    let prose =
        |text: &str| text.trim().split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>();
    let part = |(number, text): (usize, &str)| match number % 2 {
        0 => prose(text).join("\n\n"),
        _ => text.trim_start_matches("text\n").trim_end().to_owned(),
    };
    include_str!("session.md").split("```").enumerate().map(part).collect::<Vec<_>>().join("\n\n")
}

/// A session, ready to be played.
#[derive(Clone, Debug)]
pub struct Session {
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// One line of a session.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line's number in its file, from 1.
    pub line: usize,
    /// The line as it was written.
    pub source: String,
    /// What to do.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Wait until the partition says what the pattern matches.
    Wait(String, Regex, Duration),
    /// Wait until the partition has powered itself off.
    WaitEnd(String, Duration),
    /// Wait until the partition has been started again once more.
    WaitRestart(String, Duration),
    /// Type a line into the partition.
    Type(String, String),
    /// Press keys in the partition.
    Key(String, Vec<u8>),
    /// Direct input to the partition.
    Focus(String),
    /// Fail if the partition has said what the pattern matches.
    ExpectNone(String, Regex),
    /// Let the board run.
    Sleep(Duration),
    /// End QEMU.
    Quit,
}

impl Session {
    /// Refuses a step about a partition that is none of `partitions`: it would wait in vain.
    ///
    /// # Errors
    /// The first such step, by its number, and which partitions there are.
    pub fn is_about(&self, partitions: &[&str]) -> Result<()> {
        for Step { line, source, action } in &self.steps {
            if let Some(name) = action.partition()
                && name != HYPERVISOR
                && !partitions.contains(&name)
            {
                bail!(
                    "line {line}: {source}: there is no partition {name}; there are {}",
                    partitions.join(", ")
                );
            }
        }
        Ok(())
    }
}

impl Action {
    fn partition(&self) -> Option<&str> {
        match self {
            Self::Wait(name, ..)
            | Self::WaitEnd(name, _)
            | Self::WaitRestart(name, _)
            | Self::Type(name, _)
            | Self::Key(name, _)
            | Self::Focus(name)
            | Self::ExpectNone(name, _) => Some(name),
            Self::Sleep(_) | Self::Quit => None,
        }
    }
}

/// Reads a session.
///
/// # Errors
/// The first line that is no step, by its number, and why.
pub fn parse(text: &str) -> Result<Session> {
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let source = line.trim();
        if !source.is_empty() && !source.starts_with('#') {
            let line = index + 1;
            let action = action(source).with_context(|| format!("line {line}: {source}"))?;
            steps.push(Step { line, source: source.to_owned(), action });
        }
    }
    Ok(Session { steps })
}

fn action(source: &str) -> Result<Action> {
    let (verb, rest) = word(source);
    if verb == "quit" {
        return nothing_left(rest).map(|()| Action::Quit);
    }
    if verb == "sleep" {
        return Ok(Action::Sleep(seconds(rest)?));
    }
    let (partition, rest) = word(rest);
    let partition = || {
        if partition.is_empty() {
            bail!("{verb} needs the name of a partition")
        } else {
            Ok(partition.to_owned())
        }
    };
    Ok(match verb {
        "wait" => {
            let (pattern, rest) = pattern(rest)?;
            Action::Wait(partition()?, pattern, within(rest)?)
        }
        "wait-end" => Action::WaitEnd(partition()?, within(rest)?),
        "wait-restart" => Action::WaitRestart(partition()?, within(rest)?),
        "type" => Action::Type(partition()?, rest.to_owned()),
        "key" => Action::Key(partition()?, key(rest)?),
        "focus" => nothing_left(rest).and_then(|()| Ok(Action::Focus(partition()?)))?,
        "expect-none" => {
            let (pattern, rest) = pattern(rest)?;
            nothing_left(rest)?;
            Action::ExpectNone(partition()?, pattern)
        }
        _ => bail!(
            "{verb} is no step; there are wait, wait-end, wait-restart, type, key, focus, expect-none, sleep and quit"
        ),
    })
}

fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn nothing_left(rest: &str) -> Result<()> {
    if rest.is_empty() { Ok(()) } else { bail!("`{rest}` does not belong here") }
}

/// `/REGEX/`, `"TEXT"`, or bare text as far as `within` or the end; and what follows.
fn pattern(text: &str) -> Result<(Regex, &str)> {
    let Some(quote) = text.chars().next() else {
        bail!("a pattern is missing: \"text\" or /regular expression/")
    };
    if quote != '/' && quote != '"' {
        let end = text.rfind(" within ").unwrap_or(text.len());
        let (bare, rest) = text.split_at(end);
        return Ok((Regex::new(&regex::escape(bare.trim_end()))?, rest.trim_start()));
    }
    let mut body = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            _ if character == quote => {
                let source = if quote == '"' { regex::escape(&body) } else { body };
                return Ok((Regex::new(&source)?, text[1 + index + 1..].trim_start()));
            }
            '\\' => match characters.next() {
                Some((_, escaped)) if escaped == quote => body.push(quote),
                Some((_, escaped)) if quote == '/' => body.extend(['\\', escaped]),
                Some((_, escaped)) => body.push(escaped),
                None => {}
            },
            _ => body.push(character),
        }
    }
    bail!("the pattern has no closing {quote}")
}

fn within(text: &str) -> Result<Duration> {
    match word(text) {
        ("", _) => Ok(DEFAULT_LIMIT),
        ("within", limit) => seconds(limit),
        _ => bail!("`{text}` does not belong here; a limit is `within SECONDS`"),
    }
}

fn seconds(text: &str) -> Result<Duration> {
    let number = text.trim_end_matches('s').trim_end();
    let seconds = number.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.with_context(|| format!("`{text}` is no number of seconds"))
}

fn key(name: &str) -> Result<Vec<u8>> {
    let byte = match name {
        "enter" => b'\r',
        "escape" => 0x1b,
        "tab" => b'\t',
        "space" => b' ',
        _ => match name.strip_prefix("ctrl-").unwrap_or(name).as_bytes() {
            [letter @ (b'a'..=b'z' | b'[' | b'\\' | b']' | b'^' | b'_')] if name.starts_with("ctrl-") => {
                letter & 0x1f
            }
            _ if name.chars().count() == 1 => return Ok(name.into()),
            _ => {
                bail!("`{name}` is no key; there are single characters, enter, escape, tab, space and ctrl-c")
            }
        },
    };
    Ok(vec![byte])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Action {
        parse(line).unwrap().steps.remove(0).action
    }

    fn wrong(line: &str) -> String {
        format!("{:#}", parse(line).unwrap_err())
    }

    #[test]
    fn a_step_about_no_partition_is_refused() {
        let session = parse("sleep 1\nwait bulkhead x\nwait-end lin\nwait nobody \"x\" within 3\n").unwrap();
        assert!(session.is_about(&["lin", "nobody"]).is_ok());
        let refused = session.is_about(&["lin", "tick"]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "line 4: wait nobody \"x\" within 3: there is no partition nobody; there are lin, tick"
        );
    }

    #[test]
    fn waits() {
        let Action::Wait(name, regex, limit) = one("wait a  ~ # ") else { panic!() };
        assert_eq!((name.as_str(), regex.as_str(), limit), ("a", r"\~ \#", DEFAULT_LIMIT));
        let Action::Wait(_, regex, limit) = one(r#"wait a "say \"~ #\" " within 1.5"#) else { panic!() };
        assert!(regex.is_match(r#"say "~ #" "#) && !regex.is_match(r#"say "~ #""#));
        assert_eq!(limit, Duration::from_millis(1500));
        let Action::Wait(_, regex, limit) = one(r"wait a /\d+\/s within 2$/ within 9 s") else { panic!() };
        assert_eq!((regex.as_str(), limit), (r"\d+/s within 2$", Duration::from_secs(9)));
        let Action::Wait(_, regex, limit) = one("wait a all is well within 7") else { panic!() };
        assert!(regex.is_match("all is well") && limit == Duration::from_secs(7));
        assert!(
            matches!(one("wait-end a within 3"), Action::WaitEnd(name, limit) if name == "a" && limit.as_secs() == 3)
        );
    }

    #[test]
    fn typing() {
        assert!(
            matches!(one("type a uname -a; poweroff -f"), Action::Type(_, text) if text == "uname -a; poweroff -f")
        );
        for (name, byte) in [("q", b'q'), ("enter", b'\r'), ("ctrl-c", 3), ("ctrl-]", 0x1d), ("escape", 0x1b)]
        {
            assert!(
                matches!(one(&format!("key a {name}")), Action::Key(_, keys) if keys == [byte]),
                "{name}"
            );
        }
    }

    #[test]
    fn comments_and_numbers_of_lines() {
        let session = parse("# one\n\n  quit\n").unwrap();
        assert_eq!((session.steps.len(), session.steps[0].line), (1, 3));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert!(wrong("quit\nwiat a b").starts_with("line 2: wiat a b: wiat is no step"));
        assert!(wrong("wait a").contains("a pattern is missing"));
        assert!(wrong("wait a /(/").contains("unclosed group"));
        assert!(wrong("wait a /x").contains("no closing /"));
        assert!(wrong("wait a \"x\" soon").contains("`soon` does not belong here"));
        assert!(wrong("sleep a while").contains("`a while` is no number of seconds"));
        assert!(wrong("sleep -1").contains("is no number of seconds"));
        assert!(wrong("key a F1").contains("`F1` is no key"));
        assert!(wrong("focus").contains("needs the name of a partition"));
        assert!(wrong("quit now").contains("`now` does not belong here"));
    }
}
