// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bulkhead at EL2: a static-partitioning hypervisor for ARM64.
//!
//! - `boot` reads the board, plans, builds, audits, and starts the CPUs.
//! - `cpu` is where a CPU waits for orders; `vectors` and `trap` are where a guest's exceptions arrive.
//! - `partition` starts and stops guests; `world` is what a vCPU finds in its registers at a start.
//! - `interrupts` joins the board's interrupt controller to the guests' virtual ones.
//! - `memory` is EL2's own address space; `console` the one serial line; `panic` the last words.

#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unreachable
    )
)]

#[cfg(target_os = "none")]
extern crate alloc;

/// What needs a CPU at EL2. The files are where the crate's root would look for them, and so are the names.
#[cfg(target_os = "none")]
#[path = "."]
mod el2 {
    pub mod alive;
    pub mod boot;
    pub mod console;
    pub mod counts;
    pub mod cpu;
    pub mod crc;
    pub mod debug;
    pub mod dump;
    pub mod entropy;
    pub mod errata;
    pub mod interrupts;
    pub mod memory;
    pub mod monitor;
    pub mod panic;
    pub mod partition;
    pub mod predictor;
    pub mod registers;
    pub mod system;
    pub mod timer;
    pub mod trap;
    pub mod vectors;
    pub mod world;
}
#[cfg(target_os = "none")]
use el2::*;

/// On a host there is no EL2: the crate's library holds what can be tested there.
#[cfg(not(target_os = "none"))]
fn main() {}
