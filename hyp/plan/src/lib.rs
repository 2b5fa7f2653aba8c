// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configuration in, plan out.
//!
//! A board's device tree and a bundle go in; a [`Plan`](plan::Plan) comes out: plain data that says who owns which
//! CPU, which physical pages, which interrupt and which device, with the device tree that each guest
//! will see. The hypervisor runs this code at boot and the host command runs the same code on the
//! desk, so what passes the check there boots here.
//!
//! The steps are [`tree::Tree::parse`] for the board's tree, [`bundle::Bundle::parse`],
//! [`bundle::Bundle::merge`] for the overlays, [`board::Board::read`] and [`plan::Plan::new`].
//! [`plan_board`] takes all of them. No input makes any of this panic, and everything that is wrong is said at once.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

pub mod board;
pub mod bundle;
mod container;
pub mod early;
pub mod errata;
pub mod error;
mod guest_tree;
pub mod image;
mod interrupts;
pub mod overlay;
pub mod partition;
pub mod plan;
pub mod sorted;
pub mod tree;

use alloc::vec::Vec;
use bulkhead_types::{Hpa, Range};

/// What [`plan_board`] found: the board and the plan for it.
#[derive(Debug)]
pub struct Planned {
    /// The board.
    pub board: board::Board,
    /// Who owns what of it.
    pub plan: plan::Plan,
}

/// All steps from the board's blob and the bundle to the plan. `taken` is what of the board's memory
/// the hypervisor keeps, with a name for each range to use in errors ("the hypervisor's image").
///
/// # Errors
/// Everything that is wrong with the board, the bundle or the configuration.
pub fn plan_board<'a>(
    board_tree: &'a [u8],
    bundle: &bundle::Bundle<'a>,
    taken: Vec<(Range<Hpa>, &str)>,
) -> Result<Planned, error::Errors> {
    let firmwares = || tree::Tree::parse(board_tree, "the board's tree");
    let (tree, changes_board) = bundle.merge_onto(firmwares()?)?;
    let board = board::Board::read(&tree)?;
    if changes_board {
        board::BeforeOverlays::read(&firmwares()?).compare(&board, &taken)?;
    }
    let plan = plan::Plan::new(&plan::Inputs { board: &board, tree: &tree, bundle, taken })?;
    Ok(Planned { board, plan })
}
