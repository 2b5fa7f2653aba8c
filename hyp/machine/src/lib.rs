// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual machine that a guest sees, as pure state machines.
//!
//! Each takes an access of the guest and answers with an outcome. It reaches hardware through small
//! traits only, so every line runs in a host test with a fake behind the trait.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unreachable
    )
)]

#[cfg(test)]
extern crate std;

pub mod console;
pub mod gic;
pub mod instruction;
pub mod limiter;
pub mod psci;
pub mod smccc;
pub mod stage1;
pub mod syndrome;
pub mod sysreg;
pub mod uart;
pub mod virtio;
pub mod watchdog;
