// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Budgets: what each figure may be. They only ever go down.

use super::figures::Results;
use super::peers::Peers;
use crate::project::{Project, write_whole};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// Where they are kept, in the checkout.
pub const FILE: &str = "scripts/data/budgets.json";

/// By how much a figure may exceed its budget, in percent.
const TOLERANCE: u64 = 2;

/// The median that each operation may have, by board and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets(BTreeMap<String, BTreeMap<String, u64>>);

/// A figure over its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    board: String,
    name: String,
    value: Option<u64>,
    /// What bounds it: its budget or its target.
    bound: &'static str,
    at: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { board, name, value, bound, at } = self;
        let Some(value) = value else {
            return write!(f, "{board}: {name} has a {bound} of {at}, and no figure any more");
        };
        let percent = (*value as f64 / (*at).max(1) as f64 - 1.0) * 100.0;
        let more = value.saturating_sub(*at);
        write!(f, "{board}: {name} is {value}, {more} more than its {bound} of {at} (+{percent:.1} %)")
    }
}

impl Budgets {
    /// Reads them; there are none in a new checkout.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read(project: &Project) -> Result<Self> {
        let path = project.root().join(FILE);
        let Ok(bytes) = fs::read(&path) else { return Ok(Self::default()) };
        let budgets = serde_json::from_slice(&bytes).with_context(|| format!("{FILE} is damaged"))?;
        Ok(Self(budgets))
    }

    /// Writes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, project: &Project) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.0)?;
        text.push(b'\n');
        write_whole(&project.root().join(FILE), &text)
    }

    /// The budget of an operation.
    #[must_use]
    pub fn of(&self, board: &str, name: &str) -> Option<u64> {
        self.0.get(board)?.get(name).copied()
    }

    /// Whether there are budgets for every board of the run.
    #[must_use]
    pub fn knows(&self, results: &Results) -> bool {
        results.boards.iter().all(|board| self.0.contains_key(&board.board))
    }

    /// Makes the run's figures the budgets of its boards.
    pub fn take(&mut self, results: &Results) {
        for board in &results.boards {
            let figures = board.operations.iter();
            let medians = figures.filter_map(|it| Some((it.name.clone(), it.guest?.median)));
            self.0.insert(board.board.clone(), medians.collect());
        }
    }

    /// Every figure that is over its budget by more than [`TOLERANCE`], or over a target that its budget keeps, and every
    /// budget without a figure.
    #[must_use]
    pub fn exceeded(&self, results: &Results, peers: &Peers) -> Vec<Excess> {
        let mut exceeded = Vec::new();
        for board in &results.boards {
            for (name, budget) in self.0.get(&board.board).into_iter().flatten() {
                let value = board.guest(name).map(|figures| figures.median);
                let allowed = budget.saturating_mul(100 + TOLERANCE) / 100;
                let kept = peers.of(name).and_then(|known| known.target).filter(|target| target >= budget);
                let (bound, at, limit) = match kept {
                    Some(target) if target < allowed => ("target", target, target),
                    _ => ("budget", *budget, allowed),
                };
                if value.is_none_or(|value| value > limit) {
                    let (board, name) = (board.board.clone(), name.clone());
                    exceeded.push(Excess { board, name, value, bound, at });
                }
            }
        }
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Board, Figures, Operation};
    use super::super::peers::Known;
    use super::*;

    fn results(value: u64) -> Results {
        let operation = Operation { name: "eoi".into(), native: None, guest: Some(Figures::once(value)) };
        Results { boards: vec![Board { board: "b".into(), operations: vec![operation] }] }
    }

    #[test]
    fn a_target_that_is_kept_stays_kept() {
        let mut budgets = Budgets::default();
        budgets.take(&results(100));
        let target = |target| {
            let figures = Default::default();
            let known = Known { name: "eoi".into(), title: String::new(), target: Some(target), figures };
            Peers { systems: Vec::new(), operations: vec![known] }
        };
        assert!(budgets.exceeded(&results(101), &target(101)).is_empty());
        let exceeded = budgets.exceeded(&results(102), &target(101));
        assert_eq!(exceeded[0].to_string(), "b: eoi is 102, 1 more than its target of 101 (+1.0 %)");
        assert!(budgets.exceeded(&results(102), &target(99)).is_empty(), "it was missed already");
        assert_eq!(budgets.exceeded(&results(103), &target(200)).len(), 1);
    }

    #[test]
    fn two_percent_are_allowed_and_no_more() {
        let mut budgets = Budgets::default();
        budgets.take(&results(100));
        assert!(budgets.exceeded(&results(102), &Peers::default()).is_empty());
        let exceeded = budgets.exceeded(&results(103), &Peers::default());
        assert_eq!(exceeded[0].to_string(), "b: eoi is 103, 3 more than its budget of 100 (+3.0 %)");
    }

    #[test]
    fn a_figure_that_is_gone_is_over_its_budget() {
        let mut budgets = Budgets::default();
        budgets.take(&results(100));
        let none = Results { boards: vec![Board { board: "b".into(), operations: vec![] }] };
        let exceeded = budgets.exceeded(&none, &Peers::default());
        assert_eq!(exceeded[0].to_string(), "b: eoi has a budget of 100, and no figure any more");
        assert!(budgets.knows(&none));
        assert!(!Budgets::default().knows(&none));
    }
}
