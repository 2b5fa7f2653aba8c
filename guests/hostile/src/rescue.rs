// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interrupt that ends a strike must be able to come, whatever the attacks did to the interrupt controller.

use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::write32;
use guest_runtime::{gic, write_register};

const GICD_CTLR: usize = 0x000;
const IGROUPR: usize = 0x080;
const ISENABLER: usize = 0x100;
const ICACTIVER: usize = 0x380;
const IPRIORITYR: usize = 0x400;

/// Makes the virtual timer's interrupt deliverable to this CPU again: enabled, in group 1, not active, urgent
/// enough, and nothing more urgent running.
pub fn prepare(machine: &Machine) {
    let (Some(kind), Some(gic), Some(intid)) = (machine.gic, gic::get(), machine.virtual_timer) else {
        return;
    };
    let private = gic.private_base();
    // SAFETY: registers of the interrupt controller, which is this program's to set up as it likes.
    unsafe {
        match kind {
            GicKind::V2 { distributor, cpu_interface } => {
                write32(distributor.base + GICD_CTLR, 1);
                // PMR, APR0, CTLR.
                for (offset, value) in [(0x04, 0xff), (0xd0, 0), (0x00, 1)] {
                    write32(cpu_interface.base + offset, value);
                }
            }
            GicKind::V3 { distributor, .. } => {
                write32(distributor.base + GICD_CTLR, 0x13);
                write32(private + IGROUPR, u32::MAX);
                write_register!("S3_0_C12_C12_5", 7); // ICC_SRE_EL1
                core::arch::asm!("isb", options(nostack));
                write_register!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
                write_register!("S3_0_C12_C12_4", 0); // ICC_CTLR_EL1
                write_register!("S3_0_C12_C8_4", 0); // ICC_AP0R0_EL1
                write_register!("S3_0_C12_C9_0", 0); // ICC_AP1R0_EL1
                write_register!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
                core::arch::asm!("isb", options(nostack));
            }
        }
        write32(private + ICACTIVER, u32::MAX);
        write32(private + IPRIORITYR + (intid as usize & !3), 0);
        write32(private + ISENABLER, 1 << intid);
    }
}
