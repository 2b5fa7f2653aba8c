// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the hypervisor has said of the board and of each partition, and the verdict on a run.
//!
//! The lines relied on, all the hypervisor's own:
//!
//! | line | meaning |
//! | --- | --- |
//! | `partition N NAME: ...` | at boot, in order: NAME is there, the console's key for it is N |
//! | `console: input goes to NAME; Ctrl-] ? for help` | the focus |
//! | `NAME: started`, `powered off`, `restarts`, `stopped: REASON` | the state of a partition |
//! | `every partition has powered off; the board powers off` | the good end |
//! | `error: SENTENCE`, then `refused: ...` | the configuration is refused; nothing was started |
//! | `panic: ...` and what follows | the hypervisor's own fault |

use crate::machine::ESCAPE;
use std::fmt;

/// How a partition is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Named at boot, not started yet.
    Described,
    /// Runs.
    Runs,
    /// Powered itself off.
    PoweredOff,
    /// Stopped for this reason, and not by its own wish.
    Stopped(String),
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Its number on the console, from 1.
    pub number: usize,
    /// How it is doing.
    pub state: State,
    /// How often it was started again.
    pub restarts: usize,
}

/// What is known of the board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    partitions: Vec<Partition>,
    focus: Option<String>,
    focus_changes: usize,
    escape: Option<u8>,
    all_off: bool,
    errors: Vec<String>,
    refused: Option<String>,
    panic: Vec<String>,
}

/// Why a board did not come to a good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The hypervisor panicked; its own words.
    Panic(String),
    /// The board or the configuration was refused; every error.
    Refused(Vec<String>),
    /// A partition was stopped; its name and the reason.
    Stopped(String, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "the hypervisor panicked: {message}"),
            Self::Refused(errors) if errors.is_empty() => {
                write!(f, "the hypervisor started nothing")
            }
            Self::Refused(errors) => {
                write!(f, "the hypervisor started nothing: {}", errors.join("; "))
            }
            Self::Stopped(name, reason) => write!(f, "partition {name} was stopped: {reason}"),
        }
    }
}

impl Board {
    /// The key that begins a command to the console.
    #[must_use]
    pub fn escape(&self) -> u8 {
        self.escape.unwrap_or(ESCAPE)
    }

    /// Takes a complete line of the hypervisor, without its prefix.
    pub fn line(&mut self, line: &str) {
        if !self.panic.is_empty() {
            self.panic.push(line.to_owned());
        } else if let Some(message) = line.strip_prefix("panic: ") {
            self.panic.push(message.to_owned());
        } else if let Some(sentence) = line.strip_prefix("error: ") {
            self.errors.push(sentence.to_owned());
        } else if let Some(count) = line.strip_prefix("refused: ") {
            self.refused = Some(count.to_owned());
        } else if let Some(name) = line.strip_prefix("console: input goes to ") {
            let (name, help) = name.split_once(';').unwrap_or((name, ""));
            // The plan's `escape-key`.
            self.escape = help.strip_prefix(" Ctrl-").and_then(|key| Some(key.bytes().next()? ^ 0x40));
            self.focus = Some(name.to_owned());
            self.focus_changes += 1;
        } else if line.starts_with("every partition has powered off") {
            self.all_off = true;
        } else if let Some((number, name)) = described(line) {
            self.partition(name).number = number;
        } else if let Some((name, event)) = line.split_once(": ") {
            self.happened(name, event);
        }
    }

    fn happened(&mut self, name: &str, event: &str) {
        let Some(partition) = self.partitions.iter_mut().find(|partition| partition.name == name) else {
            return;
        };
        match event {
            "started" => partition.state = State::Runs,
            "powered off" | "powered off by the monitor" => partition.state = State::PoweredOff,
            "restarts" => {
                partition.restarts += 1;
                partition.state = State::Runs;
            }
            _ => {
                if let Some(reason) = event.strip_prefix("stopped: ") {
                    partition.state = State::Stopped(reason.to_owned());
                }
            }
        }
    }

    fn partition(&mut self, name: &str) -> &mut Partition {
        let index = self.partitions.iter().position(|partition| partition.name == name);
        let index = index.unwrap_or_else(|| {
            let new = Partition { name: name.to_owned(), number: 0, state: State::Described, restarts: 0 };
            self.partitions.push(new);
            self.partitions.len() - 1
        });
        &mut self.partitions[index]
    }

    /// The partitions in the order of their numbers.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The partition of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// The partition that input goes to.
    #[must_use]
    pub fn focus(&self) -> Option<&str> {
        self.focus.as_deref()
    }

    /// How often the focus was announced.
    #[must_use]
    pub fn focus_changes(&self) -> usize {
        self.focus_changes
    }

    /// Whether the hypervisor has said that every partition powered off.
    #[must_use]
    pub fn all_off(&self) -> bool {
        self.all_off
    }

    /// Whether every partition has come to an end of some kind.
    #[must_use]
    pub fn nothing_runs(&self) -> bool {
        let ended = |partition: &Partition| matches!(partition.state, State::PoweredOff | State::Stopped(_));
        !self.partitions.is_empty() && self.partitions.iter().all(ended)
    }

    /// The names of the partitions that still run.
    #[must_use]
    pub fn running(&self) -> Vec<&str> {
        let runs = |partition: &&Partition| matches!(partition.state, State::Runs | State::Described);
        self.partitions.iter().filter(runs).map(|partition| partition.name.as_str()).collect()
    }

    /// The errors of a refused configuration.
    #[must_use]
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// What ends a run for good: a panic or a refusal.
    #[must_use]
    pub fn fatal(&self) -> Option<Fault> {
        if let Some(message) = self.panic.first() {
            let message = match self.panic.get(1) {
                Some(place) if message.is_empty() => place,
                _ => message,
            };
            return Some(Fault::Panic(message.clone()));
        }
        let refused = self.refused.is_some() || (!self.errors.is_empty() && self.partitions.is_empty());
        refused.then(|| Fault::Refused(self.errors.clone()))
    }

    /// The worst that has happened so far.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fatal().or_else(|| {
            self.partitions.iter().find_map(|partition| match &partition.state {
                State::Stopped(reason) => Some(Fault::Stopped(partition.name.clone(), reason.clone())),
                _ => None,
            })
        })
    }
}

/// `partition N NAME: ...`
fn described(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.strip_prefix("partition ")?.split_once(' ')?;
    let name = rest.split_once(':').map_or(rest, |(name, _)| name);
    Some((number.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(lines: &[&str]) -> Board {
        let mut board = Board::default();
        lines.iter().for_each(|line| board.line(line));
        board
    }

    const BOOT: [&str; 5] = [
        "partition 1 linux-a: CPUs 0 1, 512 MiB",
        "partition 2 ticker: CPU 3, 2 MiB",
        "console: input goes to linux-a; Ctrl-] ? for help",
        "linux-a: started",
        "ticker: started",
    ];

    #[test]
    fn a_good_end() {
        let mut board = board(&BOOT);
        assert_eq!(board.focus(), Some("linux-a"));
        assert_eq!(board.find("ticker").map(|partition| partition.number), Some(2));
        assert_eq!(board.running(), ["linux-a", "ticker"]);
        board.line("linux-a: restarts");
        board.line("linux-a: powered off");
        assert_eq!(board.running(), ["ticker"]);
        board.line("ticker: powered off");
        assert!(board.nothing_runs() && !board.all_off());
        board.line("every partition has powered off; the board powers off");
        assert!(board.all_off() && board.fault().is_none());
        assert_eq!(board.find("linux-a").map(|partition| partition.restarts), Some(1));
    }

    #[test]
    fn a_stopped_partition_is_a_fault_but_not_the_end() {
        let mut board = board(&BOOT);
        board.line("ticker: stopped: stage-2 fault at 0x0");
        assert_eq!(board.fatal(), None);
        assert_eq!(board.fault(), Some(Fault::Stopped("ticker".into(), "stage-2 fault at 0x0".into())));
        assert_eq!(board.running(), ["linux-a"]);
    }

    #[test]
    fn a_refusal_names_every_error() {
        let board = board(&["error: one", "error: two", "refused: 2 errors; nothing was started"]);
        let text = board.fault().map(|fault| fault.to_string());
        assert_eq!(text.as_deref(), Some("the hypervisor started nothing: one; two"));
    }

    #[test]
    fn a_panic_is_told_before_all_else() {
        let board = board(&["error: x", "panic: at boot.rs:1: boom", "CPU 0", "error: not one of the plan"]);
        assert_eq!(board.fatal(), Some(Fault::Panic("at boot.rs:1: boom".into())));
        assert_eq!(board.errors(), ["x"]);
    }

    #[test]
    fn other_lines_with_a_colon_change_nothing() {
        let board = board(&["memory: 2048 MiB", "linux-a: powered off"]);
        assert!(board.partitions().is_empty() && !board.nothing_runs());
    }
}
