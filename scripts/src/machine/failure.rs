// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a run was not a success, in sentences.

use crate::board::Fault;
use std::fmt;
use std::time::Duration;

/// Why a run was not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The time that the run was given is over.
    Timeout(Duration, Vec<String>),
    /// What the hypervisor reported.
    Fault(Fault),
    /// A signal to this process.
    Signal(i32),
    /// The user ended it while these partitions were running.
    Quit(Vec<String>),
    /// QEMU ended by itself while these partitions were running: how, and what it wrote.
    Died(String, Vec<String>, Vec<String>),
    /// A wait was in vain: for what, from whom, why, and the last it said.
    Waited(String, String, String, Vec<String>),
    /// Something else, in a sentence.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit, running) => {
                write!(f, "the time of {} s is over; {}", limit.as_secs_f64(), still(running))
            }
            Self::Fault(fault) => fault.fmt(f),
            Self::Signal(number) => write!(f, "ended by signal {number}"),
            Self::Quit(running) => write!(f, "ended by Ctrl-] q; {}", still(running)),
            Self::Died(how, complaints, running) => {
                write!(f, "QEMU ended ({how}); {}", still(running))?;
                complaints.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Waited(what, owner, why, last) => {
                write!(f, "waiting for {what} from {owner}: {why}")?;
                match last.as_slice() {
                    [] => write!(f, "; {owner} has said nothing"),
                    lines => {
                        write!(f, "; {owner} said last:")?;
                        lines.iter().try_for_each(|line| write!(f, "\n  [{owner}] {line}"))
                    }
                }
            }
            Self::Other(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Failure {}

fn still(running: &[String]) -> String {
    match running {
        [] => "no partition was running".to_owned(),
        [one] => format!("{one} was still running"),
        many => format!("still running: {}", many.join(", ")),
    }
}
