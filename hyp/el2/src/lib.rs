// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of EL2 that are logic, not registers, so that they run in host tests as well.

#![cfg_attr(not(test), no_std)]
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

pub mod audit;
pub mod exception;
pub mod life;
pub mod tables;
