// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The instructions that exits cost, against their budgets: a figure that grows by more than 2 % fails.

use super::Scenario;
use crate::bench::{self, boards::Bench, scale, workloads};
use crate::qemu::{self, Gic};

/// What is measured.
pub const SCENARIO: Scenario =
    Scenario { name: "bench", run: |lab| bench::check(lab.project(), lab.board.gic, &lab.board.cpu) };

/// Partitions cost the same, however many there are.
pub const GROWTH: Scenario = Scenario {
    name: "64-partitions-on-128-cpus",
    run: |lab| scale::grows_linearly(&Bench::new(lab.project(), lab.board.clone())?),
};

/// Events cost the same, however large the board and the partition are.
pub const STEADY: Scenario = Scenario {
    name: "events-do-not-grow",
    run: |lab| scale::is_steady(&Bench::new(lab.project(), lab.board.clone())?),
};

/// A Linux's jobs take what they take on the bare board.
pub const WORKLOADS: Scenario = Scenario {
    name: "workloads",
    run: |lab| workloads::check(&Bench::new(lab.project(), lab.board.clone())?),
};

/// The boards that have budgets.
pub fn boards() -> impl Iterator<Item = qemu::Options> {
    [Gic::V3, Gic::V2].into_iter().map(|gic| qemu::Options { gic, ..qemu::Options::default() })
}
