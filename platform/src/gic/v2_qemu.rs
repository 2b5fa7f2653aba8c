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
//! Silicon does not come here: see [`QemuGicV2::recognize`].

use super::v2::{GICC_DIR, GICH_EISR0, GICH_LR0, GicV2, decode_list, encode_list};
use super::{Controller, offset};
use crate::mmio::Registers;
use bulkhead_types::{CpuIndex, IntId};

/// GICD_IIDR of the model: 0 in older versions, since then Arm as the implementer and 0 for the rest. Arm's own GICs
/// with that value belong to 32-bit cores: the product of the GIC-400 is 2 (DDI 0471B, 3.2).
const IDENTITIES: [u32; 2] = [0, 0x43b];
/// ICH_LR_EL2.HW, in whose layout list registers arrive.
const HARDWARE: u64 = 1 << 61;
/// ICH_LR_EL2.State, either bit.
const STATE: u64 = 3 << 62;
/// The field of the physical interrupt, which is the virtual one wherever HW is set.
const PHYSICAL: u64 = 0x3ff << 32;
/// GICH_LR.EOI, where HW is clear.
const END: u64 = 1 << 41;
/// Marks a list register that stands for one with HW set: GICH_LR bit 18, which is reserved where HW is clear. The model
/// keeps it, as part of PhysicalID (`GICH_LR_MASK`), and reads that field with HW set only.
const RELAYED: u64 = 1 << 40;

/// GICv2 as QEMU has it.
#[derive(Clone, Copy, Debug)]
pub struct QemuGicV2(GicV2);

impl QemuGicV2 {
    /// The controller, if it is QEMU's model by its GICD_IIDR.
    #[must_use]
    pub fn recognize(gic: GicV2) -> Option<Self> {
        IDENTITIES.contains(&gic.distributor().read32(offset::IMPLEMENTER)).then_some(Self(gic))
    }

    /// Deactivates the physical interrupts that the guest has ended, and frees their list registers.
    #[inline]
    fn relay_ends(&self) {
        let mut ended = self.0.ended_lists();
        while ended != 0 {
            let n = ended.trailing_zeros() as usize;
            ended &= ended - 1;
            let value = decode_list(self.0.hypervisor_interface.read32(GICH_LR0 + n * 4));
            if value & RELAYED != 0 {
                self.0.write_list(n, 0);
                self.0.cpu_interface.write32(GICC_DIR, value as u32 & 0x3ff);
            }
        }
    }
}

/// What stands for `value`, in the layout of ICH_LR_EL2.
const fn relayed(value: u64) -> u64 {
    if value & HARDWARE == 0 || value & STATE == 0 {
        return value;
    }
    value & !(HARDWARE | PHYSICAL) | END | RELAYED
}

/// What `value` stands for.
const fn meant(value: u64) -> u64 {
    if value & HARDWARE != 0 || value & RELAYED == 0 {
        return value;
    }
    value & !PHYSICAL | HARDWARE | (value & 0x3ff) << 32
}

/// Leaves each function to the architecture's GICv2.
macro_rules! as_v2 {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        $(#[$attribute])*
        fn $name(&self $(, $argument: $type)*) $(-> $result)? {
            self.0.$name($($argument),*)
        }
    )*};
}

impl Controller for QemuGicV2 {
    as_v2! {
        fn refusal() -> Option<&'static str>;
        fn has_private_triggers() -> bool;
        #[inline(always)] fn acknowledge() -> u32;
        #[inline(always)] fn interrupt(acknowledged: u32) -> u32;
        #[inline(always)] fn drop_priority(acknowledged: u32);
        #[inline(always)] fn deactivate_acknowledged(acknowledged: u32);
        fn send(cpu: CpuIndex, sgi: IntId);
        #[inline(always)] fn distributor() -> Registers;
        #[inline(always)] fn bank(cpu: CpuIndex, id: IntId) -> Registers;
        fn route(id: IntId, cpu: CpuIndex);
        fn start_cpu(cpu: CpuIndex);
        #[inline(always)] fn list_registers() -> usize;
        #[inline(always)] fn synchronize_lists();
        #[inline(always)] fn virtual_control() -> u32;
        #[inline(always)] fn set_virtual_control(value: u32);
        fn reset_virtual_interface();
    }

    #[inline(always)]
    fn read_list(&self, n: usize) -> u64 {
        meant(self.0.read_list(n))
    }

    #[inline(always)]
    fn write_list(&self, n: usize, value: u64) {
        self.0.hypervisor_interface.write32(GICH_LR0 + n * 4, encode_list(relayed(value)));
    }

    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        self.relay_ends();
        self.0.empty_lists()
    }

    /// Those that report their end to the virtual GIC: with HW set they would not.
    fn ended_lists(&self) -> u32 {
        self.relay_ends();
        self.0.hypervisor_interface.read32(GICH_EISR0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    const PENDING: u64 = 1 << 62;
    const TIMER: u64 = PENDING | HARDWARE | 0xa0 << 48 | 27 << 32 | 27;

    /// GICD_IIDR of a GIC-400 r0p1 is 0x0200143b (DDI 0471B, 3.2).
    #[test]
    fn silicon_is_left_alone() {
        let distributor = Fake::<0x400>::new();
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        for identity in IDENTITIES {
            distributor.set(offset::IMPLEMENTER, identity);
            assert!(QemuGicV2::recognize(gic).is_some());
        }
        distributor.set(offset::IMPLEMENTER, 0x0200_143b);
        assert!(QemuGicV2::recognize(gic).is_none());
    }

    /// The model must not deactivate by itself: EL2 does, for private and shared interrupts, and nobody else sees it.
    #[test]
    fn ends_are_relayed() {
        let distributor = Fake::<0x400>::new();
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        let gic = QemuGicV2::recognize(gic).unwrap();
        for value in [TIMER, PENDING | HARDWARE | 0x80 << 48 | 1019 << 32 | 1019] {
            gic.write_list(0, value);
            let written = hypervisor.get(GICH_LR0);
            assert_eq!((written >> 31, written >> 19 & 1), (0, 1), "no HW, but an end to report");
            assert_eq!(gic.read_list(0), value);
            // The guest has ended it.
            hypervisor.set(GICH_LR0, written & !(3 << 28));
            hypervisor.set(GICH_EISR0, 1);
            gic.empty_lists();
            assert_eq!((interface.get(GICC_DIR), hypervisor.get(GICH_LR0)), (value as u32 & 0x3ff, 0));
        }
    }

    /// What the virtual GIC itself asked to be told of stays for it to see.
    #[test]
    fn other_ends_are_reported() {
        let distributor = Fake::<0x400>::new();
        let (interface, hypervisor) = (Fake::<0x801>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        let gic = QemuGicV2::recognize(gic).unwrap();
        for value in [END | 0xa0 << 48 | 33, 0] {
            gic.write_list(0, value);
            hypervisor.set(GICH_EISR0, 1);
            assert_eq!(gic.ended_lists(), 1);
            assert_eq!((interface.get(GICC_DIR), gic.read_list(0)), (0, value));
        }
    }
}
