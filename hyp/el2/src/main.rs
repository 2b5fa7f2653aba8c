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

#[cfg(target_os = "none")]
mod alive;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod counts;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod crc;
#[cfg(target_os = "none")]
mod dump;
#[cfg(target_os = "none")]
mod entropy;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod monitor;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod partition;
#[cfg(target_os = "none")]
mod predictor;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod system;
#[cfg(target_os = "none")]
mod timer;
#[cfg(target_os = "none")]
mod trap;
#[cfg(target_os = "none")]
mod vectors;
#[cfg(target_os = "none")]
mod world;

/// On a host there is no EL2: the crate's library holds what can be tested there.
#[cfg(not(target_os = "none"))]
fn main() {}
