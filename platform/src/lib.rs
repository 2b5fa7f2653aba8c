// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The physical side: drivers for what a board's device tree names.
//!
//! A driver gets its registers' address from the tree, through the caller, and nothing here knows a
//! board's addresses. Callers map the registers (as Device memory) before they make a driver.

#![no_std]

pub mod bcm2835;
#[cfg(target_arch = "aarch64")]
pub mod firmware;
pub mod gic;
pub mod mini_uart;
pub mod mmio;
pub mod pl011;
#[cfg(target_arch = "aarch64")]
pub mod power;
pub mod serial;
