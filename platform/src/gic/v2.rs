// SPDX-License-Identifier: Apache-2.0 OR MIT
//! GICv2 with the virtualization extensions, as in the GIC-400 (IHI 0048B.b).

use super::{Controller, end_of_interrupts, offset, reset_bank, v2_qemu};
use crate::mmio::Registers;
use bulkhead_types::{CpuIndex, IntId};
use core::hint::cold_path;
use core::sync::atomic::{AtomicU8, Ordering};

const GICD_ITARGETSR: usize = 0x800;
const GICD_SGIR: usize = 0xf00;

const GICC_CTLR: usize = 0x000;
/// Enable (group 1 in the Non-secure view, group 0 where there is one security state) and EOImodeNS.
const GICC_CTLR_ENABLE: u32 = 1 | 1 << 9;
const GICC_PMR: usize = 0x004;
const GICC_BPR: usize = 0x008;
const GICC_IAR: usize = 0x00c;
const GICC_EOIR: usize = 0x010;
const GICC_APR: usize = 0x0d0;
/// In the second 4 KiB of the CPU interface.
pub(super) const GICC_DIR: usize = 0x1000;

const GICH_HCR: usize = 0x000;
const GICH_VTR: usize = 0x004;
const GICH_VMCR: usize = 0x008;
pub(super) const GICH_EISR0: usize = 0x020;
const GICH_ELSR0: usize = 0x030;
const GICH_APR: usize = 0x0f0;
pub(super) const GICH_LR0: usize = 0x100;

/// CPU interfaces that a GICv2 may have.
const INTERFACES: usize = 8;

/// The GICv2 number of each CPU's interface, as a bit; the CPU itself reads it from ITARGETSR0.
static TARGETS: [AtomicU8; INTERFACES] = [const { AtomicU8::new(0) }; INTERFACES];

/// The controller.
#[derive(Clone, Copy, Debug)]
pub struct GicV2 {
    distributor: Registers,
    pub(super) cpu_interface: Registers,
    pub(super) hypervisor_interface: Registers,
    lists: usize,
    /// A bit for each list register that there is.
    existing: u32,
    /// Whether it is QEMU's model, where EL2 relays what a guest ends: see [`v2_qemu`].
    relays: bool,
}

/// How many list registers the calling CPU has: GICH_VTR.ListRegs, bits 5:0, is one less. GICH registers are banked. 16
/// serve every GIC-400 and more.
fn own_list_registers(hypervisor_interface: Registers) -> usize {
    ((hypervisor_interface.read32(GICH_VTR) & 0x3f) as usize + 1).min(16)
}

impl GicV2 {
    /// Resets the distributor: every shared interrupt disabled, inactive, for no CPU.
    #[must_use]
    pub fn new(distributor: Registers, cpu_interface: Registers, hypervisor_interface: Registers) -> Self {
        let end = end_of_interrupts(distributor);
        distributor.write32(offset::CONTROL, 0);
        reset_bank(distributor, 32, end, 0);
        for word in 8..end / 4 {
            distributor.write32(GICD_ITARGETSR + word * 4, 0);
        }
        distributor.write32(offset::CONTROL, 1);
        let lists = own_list_registers(hypervisor_interface);
        let (existing, relays) = ((1 << lists) - 1, v2_qemu::is_model(distributor));
        Self { distributor, cpu_interface, hypervisor_interface, lists, existing, relays }
    }

    /// As [`Controller::empty_lists`], with those of which an end has not been relayed yet: what looks into list registers
    /// must not find these, while whoever only wants a free one leaves them to the maintenance interrupt.
    #[inline]
    pub fn empty_and_ended_lists(&self) -> u32 {
        if self.relays {
            self.ended_lists();
        }
        self.empty_lists()
    }

    fn target(cpu: CpuIndex) -> u8 {
        TARGETS.get(usize::from(cpu.0)).map_or(0, |target| target.load(Ordering::Relaxed))
    }
}

/// GICH_LR from the layout of ICH_LR_EL2 (IHI 0048). Both have the physical INTID's field end
/// in the same EOI bit and begin with the source CPU where the interrupt is software's.
const fn encode_list(value: u64) -> u32 {
    let virtual_id = value as u32 & 0x3ff;
    let physical_id = (value >> 32) as u32 & 0x3ff;
    let priority = (value >> 51) as u32 & 0x1f;
    // Bits 63:60 there are state, HW and group; here HW, group and state.
    let (state, hardware_and_group) = ((value >> 62) as u32, (value >> 60) as u32);
    virtual_id | physical_id << 10 | priority << 23 | state << 28 | hardware_and_group << 30
}

/// The layout of ICH_LR_EL2 from GICH_LR.
const fn decode_list(value: u32) -> u64 {
    let value = value as u64;
    value & 0x3ff
        | (value >> 10 & 0x3ff) << 32
        | (value >> 23 & 0x1f) << 51
        | (value >> 30 & 1) << 60
        | (value >> 31) << 61
        | (value >> 28 & 3) << 62
}

impl Controller for GicV2 {
    // The architecture banks GICD_ICFGR1 where it can be written at all (IHI 0048). GIC-400 has it fixed,
    // and QEMU's model keeps one trigger of an interrupt for all CPUs.
    fn has_private_triggers(&self) -> bool {
        false
    }

    #[inline(always)]
    fn acknowledge(&self) -> u32 {
        self.cpu_interface.read32(GICC_IAR)
    }

    #[inline(always)]
    fn interrupt(&self, acknowledged: u32) -> u32 {
        // Above bit 9 stands the CPU that sent a software generated interrupt.
        acknowledged & 0x3ff
    }

    #[inline(always)]
    fn drop_priority(&self, acknowledged: u32) {
        self.cpu_interface.write32(GICC_EOIR, acknowledged);
    }

    #[inline(always)]
    fn deactivate_acknowledged(&self, acknowledged: u32) {
        self.cpu_interface.write32(GICC_DIR, acknowledged);
    }

    fn send(&self, cpu: CpuIndex, sgi: IntId) {
        // The store to the device must not pass the stores that it announces.
        store_barrier();
        self.distributor.write32(GICD_SGIR, u32::from(Self::target(cpu)) << 16 | sgi.get());
    }

    #[inline(always)]
    fn distributor(&self) -> Registers {
        self.distributor
    }

    #[inline(always)]
    fn bank(&self, _: CpuIndex, _: IntId) -> Registers {
        // The first 32 are banked by the CPU that accesses them; a guest reaches only its own.
        self.distributor
    }

    fn route(&self, id: IntId, cpu: CpuIndex) {
        if !id.is_private() {
            self.distributor.write8(GICD_ITARGETSR + id.get() as usize, Self::target(cpu));
        }
    }

    fn start_cpu(&self, cpu: CpuIndex) {
        reset_bank(self.distributor, 0, 32, 0);
        if let Some(target) = TARGETS.get(usize::from(cpu.0)) {
            // ITARGETSR0 to 7 read as the reading CPU's own bit (GICD_ITARGETSR). Some implementations leave
            // bytes of absent interrupts zero, so take them all together.
            let bytes = self.distributor.read32(GICD_ITARGETSR).to_ne_bytes();
            target.store(bytes.iter().fold(0, |all, byte| all | byte), Ordering::Relaxed);
        }
        // What firmware left active would hold back everything of its priority and below.
        for word in 0..4 {
            self.cpu_interface.write32(GICC_APR + word * 4, 0);
        }
        self.cpu_interface.write32(GICC_PMR, 0xff);
        self.cpu_interface.write32(GICC_BPR, 0);
        self.cpu_interface.write32(GICC_CTLR, GICC_CTLR_ENABLE);
        self.reset_virtual_interface();
    }

    fn refusal(&self) -> Option<&'static str> {
        let own = own_list_registers(self.hypervisor_interface);
        (own < self.lists).then_some(super::FEWER_LIST_REGISTERS)
    }

    #[inline(always)]
    fn list_registers(&self) -> usize {
        self.lists
    }

    #[inline(always)]
    fn read_list(&self, n: usize) -> u64 {
        let list = self.hypervisor_interface.read32(GICH_LR0 + n * 4);
        decode_list(if self.relays { v2_qemu::meant(list) } else { list })
    }

    #[inline(always)]
    fn write_list(&self, n: usize, value: u64) {
        let mut list = encode_list(value);
        if self.relays {
            // Silicon pays for the question alone.
            cold_path();
            list = v2_qemu::relayed(list);
        }
        self.hypervisor_interface.write32(GICH_LR0 + n * 4, list);
    }

    #[inline(always)]
    fn synchronize_lists(&self) {
        // Accesses to one device's registers stay in order (Device memory, nGnRE).
    }

    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        // Bits of list registers that do not exist may read as one in an implementation: mask them.
        self.hypervisor_interface.read32(GICH_ELSR0) & self.existing
    }

    #[inline(always)]
    fn ended_lists(&self) -> u32 {
        let ended = self.hypervisor_interface.read32(GICH_EISR0);
        if ended == 0 || !self.relays {
            return ended;
        }
        self.relay_ends(ended);
        self.hypervisor_interface.read32(GICH_EISR0)
    }

    #[inline(always)]
    fn virtual_control(&self) -> u32 {
        self.hypervisor_interface.read32(GICH_HCR)
    }

    #[inline(always)]
    fn set_virtual_control(&self, value: u32) {
        self.hypervisor_interface.write32(GICH_HCR, value);
    }

    fn reset_virtual_interface(&self) {
        self.set_virtual_control(0);
        for n in 0..self.lists {
            self.hypervisor_interface.write32(GICH_LR0 + n * 4, 0);
        }
        self.hypervisor_interface.write32(GICH_APR, 0);
        self.hypervisor_interface.write32(GICH_VMCR, 0);
    }
}

/// Completes all stores before any later access (Arm ARM, B2.3.12).
#[inline(always)]
fn store_barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier.
    unsafe {
        core::arch::asm!("dsb ishst", options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;
    use bulkhead_types::Trigger;

    /// With one security state, interrupts that firmware put into group 1 would never come: bit 0 of
    /// GICC_CTLR lets in group 0 then.
    #[test]
    fn groups_do_not_stay_as_firmware_left_them() {
        let distributor = Fake::<0x400>::new();
        distributor.set(offset::TYPER, 1);
        distributor.set(offset::GROUP, !0);
        distributor.set(offset::GROUP + 4, !0);
        let (interface, hypervisor) = (Fake::<0x800>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        gic.start_cpu(CpuIndex(0));
        assert_eq!([0, 4].map(|word| distributor.get(offset::GROUP + word)), [0, 0]);
    }

    #[test]
    fn a_cpu_with_fewer_list_registers_than_the_first_is_refused() {
        let (distributor, interface) = (Fake::<0x1000>::new(), Fake::<0x800>::new());
        let hypervisor = Fake::<0x80>::new();
        hypervisor.set(GICH_VTR, 3);
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        assert_eq!((gic.list_registers(), gic.refusal()), (4, None));
        // The registers are banked: another CPU sees its own.
        for (field, is_refused) in [(3, false), (15, false), (2, true), (0, true)] {
            hypervisor.set(GICH_VTR, field);
            assert_eq!(gic.refusal().is_some(), is_refused, "{field}");
        }
    }

    /// QEMU has one trigger of a private interrupt for all CPUs: one partition's would be its neighbour's.
    #[test]
    fn private_triggers_stay() {
        let distributor = Fake::<0x1000>::new();
        let (interface, hypervisor) = (Fake::<0x800>::new(), Fake::<0x80>::new());
        let gic = GicV2::new(distributor.registers(), interface.registers(), hypervisor.registers());
        for (id, trigger, register, value) in
            [(27, Trigger::Level, 0xc04, 0), (40, Trigger::Edge, 0xc08, 2 << 16)]
        {
            let id = IntId::new(id).unwrap();
            assert_eq!(gic.set_trigger(CpuIndex(0), id, Trigger::Edge), trigger);
            assert_eq!(distributor.get(register), value);
        }
    }

    #[test]
    fn list_registers_convert_both_ways() {
        // Pending, hardware, group 0, priority 0xa0, physical 27, virtual 27.
        let timer = 0b01 << 62 | 1 << 61 | 0xa0 << 48 | 27 << 32 | 27;
        assert_eq!(encode_list(timer), 1 << 31 | 1 << 28 | 0x14 << 23 | 27 << 10 | 27);
        // Pending and active, group 1, EOI maintenance, SGI 3 from CPU 5.
        let sgi = 0b11 << 62 | 1 << 60 | 0xf8 << 48 | (1 << 9 | 5) << 32 | 3;
        assert_eq!(encode_list(sgi), 3 << 28 | 1 << 30 | 0x1f << 23 | 1 << 19 | 5 << 10 | 3);
        for value in [timer, sgi] {
            assert_eq!(decode_list(encode_list(value)), value);
        }
    }
}
