// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU's model of GICv2 (`hw/intc/arm_gic.c`), which forgets a level that is high when a guest ends its interrupt.
//!
//! A guest's deactivation of a list register with HW set makes the physical interrupt inactive in the model, but the
//! model then updates the virtual CPU interfaces only (`gic_complete_irq`, `gic_update_virt`). A physical interrupt
//! whose line is high at that moment is pending, enabled and inactive, and is not signalled until something else
//! touches the GIC. A lone CPU sleeps for ever.
//!
//! So no list register here has HW set. It reports its end instead, and EL2 deactivates the physical interrupt by
//! GICC_DIR, after which the model updates the physical interfaces. That costs a maintenance interrupt each time.
//! Silicon does not come here: see [`is_model`].

use super::offset;
use super::v2::{GICC_DIR, GICH_LR0, GicV2};
use crate::mmio::Registers;

/// GICD_IIDR of the model: 0 in older versions, since then Arm as the implementer and 0 for the rest. Arm's own GICs
/// with that value belong to 32-bit cores: the product of the GIC-400 is 2 (DDI 0471B, 3.2).
const IDENTITIES: [u32; 2] = [0, 0x43b];
/// GICH_LR.HW.
const HARDWARE: u32 = 1 << 31;
/// GICH_LR.PhysicalID, which is the virtual one wherever HW is set.
const PHYSICAL: u32 = 0x3ff << 10;
/// GICH_LR.EOI, where HW is clear.
const END: u32 = 1 << 19;
/// Marks a list register that stands for one with HW set: bit 18, which is reserved where HW is clear. The model keeps it,
/// as part of PhysicalID (`GICH_LR_MASK`), and reads that field with HW set only.
const RELAYED: u32 = 1 << 18;

/// Whether the controller is QEMU's model, by its GICD_IIDR.
pub(super) fn is_model(distributor: Registers) -> bool {
    IDENTITIES.contains(&distributor.read32(offset::IMPLEMENTER))
}

impl GicV2 {
    /// Deactivates the physical interrupts of those list registers of which the guest's `ended` is reported, and frees them.
    pub(super) fn relay_ends(&self, mut ended: u32) {
        while ended != 0 {
            let n = ended.trailing_zeros() as usize;
            ended &= ended - 1;
            let value = self.hypervisor_interface.read32(GICH_LR0 + n * 4);
            if value & RELAYED != 0 {
                self.hypervisor_interface.write32(GICH_LR0 + n * 4, 0);
                self.cpu_interface.write32(GICC_DIR, value & 0x3ff);
            }
        }
    }
}

/// What stands for a list register.
#[inline(always)]
pub(super) const fn relayed(list: u32) -> u32 {
    if list & HARDWARE == 0 { list } else { list & !(HARDWARE | PHYSICAL) | END | RELAYED }
}

/// What a list register stands for.
pub(super) const fn meant(list: u32) -> u32 {
    if list & HARDWARE != 0 || list & RELAYED == 0 {
        return list;
    }
    list & !PHYSICAL | HARDWARE | (list & 0x3ff) << 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gic::Controller;
    use crate::gic::v2::GICH_EISR0;
    use crate::mmio::fake::Fake;

    const PENDING: u64 = 1 << 62;
    const TIED: u64 = PENDING | 1 << 61;
    const TIMER: u64 = TIED | 0xa0 << 48 | 27 << 32 | 27;

    /// GICD_IIDR of a GIC-400 r0p1 is 0x0200143b (DDI 0471B, 3.2).
    #[test]
    fn silicon_is_left_alone() {
        let distributor = Fake::<0x400>::new();
        for identity in IDENTITIES {
            distributor.set(offset::IMPLEMENTER, identity);
            assert!(is_model(distributor.registers()));
        }
        distributor.set(offset::IMPLEMENTER, 0x0200_143b);
        assert!(!is_model(distributor.registers()));
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        gic.write_list(0, TIMER);
        assert_eq!(hypervisor.get(GICH_LR0) >> 31, 1, "HW");
    }

    /// The model must not deactivate by itself: EL2 does, for private and shared interrupts, and nobody else sees it.
    #[test]
    fn ends_are_relayed() {
        let distributor = Fake::<0x400>::new();
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        for value in [TIMER, TIED | 0x80 << 48 | 1019 << 32 | 1019] {
            gic.write_list(0, value);
            let written = hypervisor.get(GICH_LR0);
            assert_eq!((written >> 31, written >> 19 & 1), (0, 1), "no HW, but an end to report");
            assert_eq!(gic.read_list(0), value);
            // The guest has ended it.
            hypervisor.set(GICH_LR0, written & !(3 << 28));
            hypervisor.set(GICH_EISR0, 1);
            gic.empty_and_ended_lists();
            assert_eq!((interface.get(GICC_DIR), hypervisor.get(GICH_LR0)), (value as u32 & 0x3ff, 0));
        }
    }

    /// What the virtual GIC itself asked to be told of stays for it to see.
    #[test]
    fn other_ends_are_reported() {
        let distributor = Fake::<0x400>::new();
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        for value in [1 << 41 | 0xa0 << 48 | 33, 0] {
            gic.write_list(0, value);
            hypervisor.set(GICH_EISR0, 1);
            assert_eq!(gic.ended_lists(), 1);
            assert_eq!((interface.get(GICC_DIR), gic.read_list(0)), (0, value));
        }
    }
}
