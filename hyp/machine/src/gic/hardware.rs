// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the virtual GIC needs of the physical one.

use super::list::{ListRegister, Maintenance};
use bulkhead_types::{IntId, Trigger, VcpuId};

/// The physical GIC, as one partition's virtual GIC uses it from one CPU.
///
/// The functions on list registers act on those of the calling CPU; they are called only where the
/// caller named a vCPU, which runs on that CPU. Those that take an interrupt are called only for
/// interrupts that the partition owns; for private ones only from the CPU of `vcpu`, `pending` aside.
pub trait Hardware {
    /// How many list registers a CPU has, 1 to 16 (ICH_VTR_EL2.ListRegs + 1).
    fn list_registers(&self) -> usize;
    /// Reads list register `n`, below [`Self::list_registers`].
    fn read_list(&self, n: usize) -> ListRegister;
    /// Writes list register `n`, below [`Self::list_registers`].
    fn write_list(&self, n: usize, value: ListRegister);
    /// Called between a write to a list register and a read of [`Self::empty_lists`] or
    /// [`Self::ended_lists`] that must see it. Entering and leaving EL2 does the same.
    fn synchronize(&self) {}
    /// The list registers that may be overwritten, one bit each (ICH_ELRSR_EL2). Bits at and above
    /// [`Self::list_registers`] must read 0.
    fn empty_lists(&self) -> u32;
    /// The list registers whose interrupt ended and that report it (ICH_EISR_EL2).
    fn ended_lists(&self) -> u32;
    /// Reads and clears how many interrupts without a list register the guest ended
    /// (ICH_HCR_EL2.EOIcount).
    fn take_end_count(&self) -> u32;
    /// Chooses what raises the maintenance interrupt from now on.
    fn set_maintenance(&self, causes: Maintenance);

    /// Lets the physical interrupt through.
    fn enable(&self, vcpu: VcpuId, id: IntId);
    /// Holds the physical interrupt back. It need not wait until that took effect.
    fn disable(&self, vcpu: VcpuId, id: IntId);
    /// As [`Self::enable`], for those of the shared interrupts `32 * word ..` whose bits are set.
    fn enable_shared(&self, word: u32, bits: u32);
    /// As [`Self::disable`], likewise.
    fn disable_shared(&self, word: u32, bits: u32);
    /// As [`Self::set_pending`], likewise.
    fn set_pending_shared(&self, word: u32, bits: u32);
    /// Sets the trigger; returns the one in force, for a GIC may have it fixed.
    fn set_trigger(&self, vcpu: VcpuId, id: IntId, trigger: Trigger) -> Trigger;
    /// Sets the priority among physical interrupts. The implementor keeps it above EL2's own mask.
    fn set_priority(&self, vcpu: VcpuId, id: IntId, priority: u8);
    /// Sends the shared interrupt to the CPU of `to`.
    fn route(&self, id: IntId, to: VcpuId);
    /// Makes the physical interrupt pending.
    fn set_pending(&self, vcpu: VcpuId, id: IntId);
    /// Makes it no longer pending (a level's line aside).
    fn clear_pending(&self, vcpu: VcpuId, id: IntId);
    /// Makes it active.
    fn set_active(&self, vcpu: VcpuId, id: IntId);
    /// Makes it inactive (ICC_DIR_EL1, or ICACTIVER where another CPU acknowledged it).
    fn deactivate(&self, vcpu: VcpuId, id: IntId);
    /// Which of the interrupts `32 * word ..` are physically pending. What the calling CPU cannot see
    /// (GICv2: another CPU's private ones) reads 0.
    fn pending(&self, vcpu: VcpuId, word: usize) -> u32;

    /// Makes the CPU of `vcpu` call `Gic::on_kick` soon: a physical software generated interrupt. All
    /// stores before the call must be visible to that CPU when it takes the interrupt: a `DSB ISHST`
    /// goes before the write that sends it (ICC_SGI1R_EL1 is not ordered by itself).
    fn kick(&self, vcpu: VcpuId);

    /// `index` if it is below `limit`, else 0, also on a path that the CPU takes on a wrong prediction: so that an
    /// index of a guest's choice never reads what lies behind an array there (CVE-2017-5753, Spectre v1).
    fn confine(index: u32, limit: u32) -> u32;

    /// Called again and again while this CPU waits, for a bounded time, until another answers a kick.
    fn relax(&self) {
        core::hint::spin_loop();
    }
}

/// An index of a guest's choice, if it is below `limit`.
#[inline(always)]
pub(super) fn confined<H: Hardware>(index: u32, limit: usize) -> Option<u32> {
    if (index as usize) < limit { Some(H::confine(index, limit as u32)) } else { None }
}
