// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual GIC on a board made up in memory.

mod board;
mod delivery;
mod machine;
mod model;
mod power;
mod property;
mod threads;
mod v2;
mod v3;
