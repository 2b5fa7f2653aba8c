// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Figures: as guests print them, as a run collects them, as a file keeps them.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Median, minimum and maximum of an operation's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The median.
    pub median: u64,
    /// The least.
    pub minimum: u64,
    /// The most.
    pub maximum: u64,
}

impl Figures {
    /// What was measured once.
    #[must_use]
    pub fn once(value: u64) -> Self {
        Self { median: value, minimum: value, maximum: value }
    }
}

/// An operation, natively and as a guest; none where it does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// At EL1 of the bare board.
    pub native: Option<Figures>,
    /// In a partition.
    pub guest: Option<Figures>,
}

/// All operations on one board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// GIC and CPU.
    pub board: String,
    /// In the order in which they were measured.
    pub operations: Vec<Operation>,
}

impl Board {
    /// The guest's figures of that name.
    #[must_use]
    pub fn guest(&self, name: &str) -> Option<Figures> {
        self.operations.iter().find(|operation| operation.name == name)?.guest
    }
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Board by board.
    pub boards: Vec<Board>,
}

impl Results {
    /// Reads what an earlier run wrote.
    ///
    /// # Errors
    /// When there is no such file, or it is none of ours.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{shown} has no results of the bench"))
    }

    /// The board of that name.
    #[must_use]
    pub fn board(&self, name: &str) -> Option<&Board> {
        self.boards.iter().find(|board| board.board == name)
    }
}

/// Operations by name, as a guest printed them; none where one does not exist.
pub type Printed = Vec<(String, Option<Figures>)>;

/// The lines `bench: NAME MEDIAN MINIMUM MAXIMUM` and `bench: NAME absent` in what was printed, natively or in a partition
/// (whose name stands before each line).
///
/// # Errors
/// When the output breaks off: the guest, or the hypervisor, says why.
pub fn parse(said: &str) -> Result<Printed> {
    let mut operations = Vec::new();
    for line in said.lines() {
        let Some((_, line)) = line.split_once("bench: ") else { continue };
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "absent"] => operations.push(((*name).to_owned(), None)),
            [name, median, minimum, maximum] => {
                let [Ok(median), Ok(minimum), Ok(maximum)] =
                    [median, minimum, maximum].map(|word| word.parse())
                else {
                    continue;
                };
                operations.push(((*name).to_owned(), Some(Figures { median, minimum, maximum })));
            }
            _ => {}
        }
    }
    anyhow::ensure!(!operations.is_empty(), "the bench guest did not come to its end:\n{said}");
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_figures_are_found_among_others() {
        let said = "[bulkhead] bench: started\n[bench] bench: EL1, GICv3\n[bench] bench: counter 1000000000 Hz, 1 ns a tick\n\
                    [bench] bench: eoi 1 1 2\r\nbench: smc absent\n[bulkhead] bench: powered off\n";
        let figures = Figures { median: 1, minimum: 1, maximum: 2 };
        assert_eq!(parse(said).unwrap(), [("eoi".into(), Some(figures)), ("smc".into(), None)]);
        assert!(parse("[bulkhead] panic: oh\n").unwrap_err().to_string().contains("panic: oh"));
    }
}
