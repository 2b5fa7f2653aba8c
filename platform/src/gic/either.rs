// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's controller where it does not pay to compile for each version: it asks at each access which one it is.

use super::Controller;
use super::v2::GicV2;
use super::v3::GicV3;
use crate::mmio::Registers;
use bulkhead_types::{CpuIndex, IntId};

/// The controller of the version that the board has.
#[derive(Clone, Copy)]
pub enum InterruptController {
    /// GICv2.
    V2(GicV2),
    /// GICv3.
    V3(GicV3),
}

/// Leaves each function to the version.
macro_rules! either {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        $(#[$attribute])*
        fn $name(&self $(, $argument: $type)*) $(-> $result)? {
            match self {
                Self::V2(gic) => gic.$name($($argument),*),
                Self::V3(gic) => gic.$name($($argument),*),
            }
        }
    )*};
}

impl Controller for InterruptController {
    either! {
        fn has_private_triggers() -> bool;
        fn acknowledge() -> u32;
        fn interrupt(acknowledged: u32) -> u32;
        fn drop_priority(acknowledged: u32);
        fn deactivate_acknowledged(acknowledged: u32);
        fn send(cpu: CpuIndex, sgi: IntId);
        fn distributor() -> Registers;
        #[inline] fn bank(cpu: CpuIndex, id: IntId) -> Registers;
        fn route(id: IntId, cpu: CpuIndex);
        fn start_cpu(cpu: CpuIndex);
        fn refusal() -> Option<&'static str>;
        fn list_registers() -> usize;
        // Long on a GICv3, whose instructions have the list register's number in them.
        #[inline(never)] fn read_list(n: usize) -> u64;
        fn synchronize_lists();
        fn ended_lists() -> u32;
        fn virtual_control() -> u32;
        fn set_virtual_control(value: u32);
        fn reset_virtual_interface();
    }
    #[inline]
    fn empty_lists(&self) -> u32 {
        match self {
            Self::V2(gic) => gic.empty_and_ended_lists(),
            Self::V3(gic) => gic.empty_lists(),
        }
    }

    #[inline]
    fn write_list(&self, n: usize, value: u64) {
        match (self, n) {
            (Self::V2(gic), _) => gic.write_list(n, value),
            // Most often.
            (Self::V3(gic), 0) => gic.write_list(0, value),
            (Self::V3(gic), _) => write_any_list(gic, n, value),
        }
    }
}

#[inline(never)]
fn write_any_list(gic: &GicV3, n: usize, value: u64) {
    gic.write_list(n, value);
}
