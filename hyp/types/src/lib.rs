// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vocabulary that every part of Bulkhead shares.
//!
//! Numbers that mean different things are different types here, so that the compiler refuses to mix
//! a guest's address with a physical one, or a CPU's number with its affinity.

#![no_std]
#![forbid(unsafe_code)]

mod address;
mod cpu;
mod interrupt;

pub use address::{Hpa, Ipa, PAGE_SIZE, Range, align_down, align_up};
pub use cpu::{CpuIndex, Mpidr, PartitionId, VcpuId};
pub use interrupt::{IntId, Trigger};
