// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What other systems need for the same, and what we mean to reach: a file of figures.

use crate::project::Project;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

/// Where it is, in the checkout. docs/bench.md says where the figures come from.
pub const FILE: &str = "scripts/data/peers.json";

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The systems, in the order of columns.
    pub systems: Vec<String>,
    /// The operations that have a target or a figure.
    pub operations: Vec<Known>,
}

/// What is known of an operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name in the bench.
    pub name: String,
    /// What it is.
    pub title: String,
    /// The most that it should take here.
    pub target: Option<u64>,
    /// By system and GIC (`gicv3`).
    #[serde(default)]
    pub figures: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Known {
    /// What a system needs on a board (`gicv3 cortex-a72`).
    #[must_use]
    pub fn figure(&self, system: &str, board: &str) -> Option<u64> {
        self.figures.get(system)?.get(board.split(' ').next()?).copied()
    }
}

impl Peers {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(project: &Project) -> Result<Self> {
        let path = project.root().join(FILE);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {FILE}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{FILE} is damaged"))
    }

    /// What is known of an operation.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Known> {
        self.operations.iter().find(|known| known.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let peers = Peers::read(&Project::find().unwrap()).unwrap();
        let hypercall = peers.of("hvc-psci-version").unwrap();
        assert_eq!(hypercall.figure("Bao", "gicv2 cortex-a72"), Some(193));
        assert_eq!(hypercall.figure("nobody", "gicv2 cortex-a72"), None);
        for known in &peers.operations {
            assert!(known.figures.keys().all(|system| peers.systems.contains(system)), "{}", known.name);
        }
    }
}
