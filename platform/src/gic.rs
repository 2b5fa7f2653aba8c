// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's Generic Interrupt Controller: GICv2 (IHI 0048B.b) and GICv3 (IHI 0069H).
//!
//! Both give EL2 the same things: acknowledge, drop priority, deactivate; software generated
//! interrupts to other CPUs; the virtual CPU interface with its list registers. Distributor registers
//! have the same offsets in both, so [`Controller::bank`] is all that tells them apart there.

#[cfg(target_arch = "aarch64")]
mod either;
pub mod v2;
mod v2_qemu;
#[cfg(target_arch = "aarch64")]
pub mod v3;

#[cfg(target_arch = "aarch64")]
pub use either::InterruptController;

use crate::mmio::Registers;
use bulkhead_types::{CpuIndex, IntId, Trigger};

/// Offsets of the distributor, the same in a GICv3 redistributor's SGI_base frame for the first 32.
mod offset {
    pub const CONTROL: usize = 0x000;
    pub const TYPER: usize = 0x004;
    /// GICD_IIDR of version 2.
    pub const IMPLEMENTER: usize = 0x008;
    pub const GROUP: usize = 0x080;
    pub const SET_ENABLE: usize = 0x100;
    pub const CLEAR_ENABLE: usize = 0x180;
    pub const SET_PENDING: usize = 0x200;
    pub const CLEAR_PENDING: usize = 0x280;
    pub const SET_ACTIVE: usize = 0x300;
    pub const CLEAR_ACTIVE: usize = 0x380;
    pub const PRIORITY: usize = 0x400;
    pub const CONFIGURATION: usize = 0xc00;
}

/// The priority of every physical interrupt. One for all: EL2 drops the priority as soon as it has
/// acknowledged, and the order in which a guest takes them is decided in its list registers.
const PRIORITY: u8 = 0xa0;

/// Why a CPU is refused: list registers are used by number, as many as the boot CPU has.
const FEWER_LIST_REGISTERS: &str =
    "it has fewer list registers in its virtual CPU interface than the boot CPU";

/// What EL2 needs of an interrupt controller, on the CPU that calls.
pub trait Controller {
    /// Whether each CPU has triggers of its own for its private peripheral interrupts. If not, they stay as they are,
    /// for what one partition sets would hold for all.
    fn has_private_triggers(&self) -> bool;

    /// Acknowledges the highest-priority pending interrupt: the raw value of the acknowledge register,
    /// whose low bits are the INTID (1020 and up: none).
    fn acknowledge(&self) -> u32;
    /// The INTID in an acknowledge register's value.
    fn interrupt(&self, acknowledged: u32) -> u32;
    /// Lets interrupts of the same priority in again; `acknowledged` is what `acknowledge` gave.
    fn drop_priority(&self, acknowledged: u32);
    /// Ends an interrupt that EL2 keeps for itself, after `drop_priority`.
    fn deactivate_acknowledged(&self, acknowledged: u32);
    /// Sends software generated interrupt `sgi` to `cpu`, after all stores before are visible there.
    fn send(&self, cpu: CpuIndex, sgi: IntId);
    /// The registers that hold the state of shared interrupts.
    fn distributor(&self) -> Registers;
    /// The registers that hold `id`'s state: for a private one those of `cpu`.
    fn bank(&self, cpu: CpuIndex, id: IntId) -> Registers;
    /// Sends a shared interrupt to `cpu` from now on.
    fn route(&self, id: IntId, cpu: CpuIndex);
    /// Prepares the interface of this CPU, which is `cpu`: priorities unmasked, EOImode 1, every
    /// private interrupt disabled, the virtual interface off.
    fn start_cpu(&self, cpu: CpuIndex);

    /// Why the calling CPU cannot be used, if it cannot: it has fewer list registers than the one that called `new`.
    fn refusal(&self) -> Option<&'static str>;

    /// GICD_TYPER.ITLinesNumber, 0 to 31: one less than the words of interrupts.
    fn lines(&self) -> u8 {
        (self.distributor().read32(offset::TYPER) & 0x1f) as u8
    }

    /// Number of list registers, 1 to 16.
    fn list_registers(&self) -> usize;
    /// List register `n` in the layout of ICH_LR\<n\>_EL2 (IHI 0069); the source CPU of a
    /// GICv2 software generated interrupt stands in bits 34:32.
    fn read_list(&self, n: usize) -> u64;
    /// Replaces list register `n`, in the same layout.
    fn write_list(&self, n: usize, value: u64);
    /// Makes writes to list registers show in `empty_lists` and `ended_lists`.
    fn synchronize_lists(&self);
    /// A bit for each list register that holds no interrupt.
    fn empty_lists(&self) -> u32;
    /// A bit for each list register whose interrupt ended and that reports it (ICH_EISR_EL2).
    fn ended_lists(&self) -> u32;
    /// The hypervisor control register, in the layout of ICH_HCR_EL2.
    fn virtual_control(&self) -> u32;
    /// Replaces the hypervisor control register.
    fn set_virtual_control(&self, value: u32);
    /// Clears list registers, active priorities and the guest's settings of the virtual CPU interface.
    fn reset_virtual_interface(&self);

    /// Lets `id` come.
    fn enable(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::SET_ENABLE);
    }
    /// Keeps `id` from coming; it may still be pending.
    fn disable(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::CLEAR_ENABLE);
    }
    /// Lets those of the shared interrupts `32 * word ..` come whose bits are set.
    #[inline(always)]
    fn enable_shared(&self, word: u32, bits: u32) {
        self.distributor().write32(offset::SET_ENABLE + word as usize * 4, bits);
    }
    /// Keeps them from coming.
    fn disable_shared(&self, word: u32, bits: u32) {
        self.distributor().write32(offset::CLEAR_ENABLE + word as usize * 4, bits);
    }
    /// Makes them pending.
    fn set_pending_shared(&self, word: u32, bits: u32) {
        self.distributor().write32(offset::SET_PENDING + word as usize * 4, bits);
    }
    /// Makes `id` pending.
    fn set_pending(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::SET_PENDING);
    }
    /// Makes `id` not pending, unless its line is high.
    fn clear_pending(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::CLEAR_PENDING);
    }
    /// Makes `id` active.
    fn set_active(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::SET_ACTIVE);
    }
    /// Makes `id` inactive, from any CPU.
    fn clear_active(&self, cpu: CpuIndex, id: IntId) {
        self.set_bit(cpu, id, offset::CLEAR_ACTIVE);
    }
    /// Which of the interrupts `32 * word ..` are pending: those of `cpu` for word 0.
    fn pending(&self, cpu: CpuIndex, word: usize) -> u32 {
        IntId::new(word as u32 * 32)
            .map_or(0, |first| self.bank(cpu, first).read32(offset::SET_PENDING + word * 4))
    }
    /// Sets what makes `id` pending, and says what does from now on: a GIC may have it fixed. The
    /// caller has disabled the interrupt (IHI 0069, GICD_ICFGR), and no other CPU does this at once.
    fn set_trigger(&self, cpu: CpuIndex, id: IntId, trigger: Trigger) -> Trigger {
        let (register, edge) = (offset::CONFIGURATION + id.get() as usize / 16 * 4, 2 << (id.get() % 16 * 2));
        let bank = self.bank(cpu, id);
        if self.has_private_triggers() || !id.is_private() {
            let others = bank.read32(register) & !edge;
            bank.write32(register, if trigger == Trigger::Edge { others | edge } else { others });
        }
        if bank.read32(register) & edge != 0 { Trigger::Edge } else { Trigger::Level }
    }

    /// Writes `id`'s bit of the bitmap at `offset`; zeros leave the others alone.
    fn set_bit(&self, cpu: CpuIndex, id: IntId, offset: usize) {
        self.bank(cpu, id).write32(offset + id.get() as usize / 32 * 4, 1 << (id.get() % 32));
    }
}

/// Disables, deactivates and gives one priority to interrupts `first..end` in `bank`, and puts them into
/// the group whose bit `group` repeats. Where there are two security states, firmware chose the groups,
/// and writes to them are ignored here (IHI 0069H, GICD_IGROUPR; IHI 0048).
fn reset_bank(bank: Registers, first: usize, end: usize, group: u32) {
    for word in first / 32..end.div_ceil(32) {
        bank.write32(offset::GROUP + word * 4, group);
        bank.write32(offset::CLEAR_ENABLE + word * 4, !0);
        bank.write32(offset::CLEAR_PENDING + word * 4, !0);
        bank.write32(offset::CLEAR_ACTIVE + word * 4, !0);
    }
    for word in first / 4..end / 4 {
        bank.write32(offset::PRIORITY + word * 4, u32::from_ne_bytes([PRIORITY; 4]));
    }
}

/// One more than the last INTID that a distributor has: GICD_TYPER.ITLinesNumber.
fn end_of_interrupts(distributor: Registers) -> usize {
    let lines = (distributor.read32(offset::TYPER) & 0x1f) as usize;
    ((lines + 1) * 32).min(IntId::END_SHARED as usize)
}
