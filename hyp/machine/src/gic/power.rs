// SPDX-License-Identifier: Apache-2.0 OR MIT
//! vCPUs that come and go, and partitions that start afresh.

use super::bits::Bits;
use super::list::{ListRegister, Maintenance};
use super::state::{GATE_OFF, LISTS, NOBODY, Vcpu};
use super::{Gic, Hardware, Local, SHADOW_ID, Version};
use bulkhead_types::{IntId, VcpuId};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// SGIs, which are edge triggered and, on GICv2, always enabled.
const SGIS: u32 = 0xffff;

impl Gic<'_> {
    /// The vCPU starts to run, on its own CPU: what is pending for it comes. The virtual CPU interface
    /// itself (ICH_VMCR_EL2, active priorities) is the caller's to reset.
    pub fn vcpu_on<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        local.this.gate.store(0, Relaxed);
        // The caller has reset the hypervisor control register.
        local.this.maintenance.store(0, Relaxed);
        // From here on others post and kick: what they changed before is found below.
        local.this.on.store(true, SeqCst);
        for id in private() {
            local.renew_private(id);
        }
        local.spread_anew();
        local.look_at_all();
        local.settle();
        local.drain_inbox();
    }

    /// The vCPU stops, on its own CPU: its list registers are emptied, and nothing is forgotten. What is
    /// pending waits for it, or goes to another vCPU where the routing allows; what is active stays so. Its CPU
    /// goes on to serve kicks and physical interrupts that were on their way.
    pub fn vcpu_off<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        local.serve();
        local.refill();
        local.this.on.store(false, SeqCst);
        local.this.gate.store(GATE_OFF, Relaxed);
        for id in private() {
            local.agree(id, &local.this.bank);
        }
        local.let_go();
        local.spread_anew();
        local.refill();
        // Asked of it until others saw that it is off.
        local.settle();
        local.tell();
    }

    /// Puts one vCPU's private state and list registers back to the state after reset, on its own CPU, off.
    /// For a restart of the partition: every vCPU stops running; then this for each, then
    /// [`Gic::reset`] once, then `vcpu_on` for the first.
    pub fn reset_vcpu<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        local.this.on.store(false, SeqCst);
        for n in Bits(local.used_lists()) {
            let value = hw.read_list(n as usize);
            if let Some(id) = value.interrupt().filter(|_| value.is_hardware()) {
                hw.deactivate(vcpu, id);
            }
            hw.write_list(n as usize, ListRegister::EMPTY);
        }
        hw.take_end_count();
        hw.set_maintenance(Maintenance::empty());
        for number in Bits(local.this.bank.owned.load(Relaxed)) {
            let Some(id) = IntId::new(number) else { continue };
            silence(vcpu, id, hw);
        }
        self.clear_private(local.this);
    }

    /// Puts the distributor back to the state after reset: every vCPU has been through
    /// [`Gic::reset_vcpu`]. On any of the partition's CPUs.
    pub fn reset<H: Hardware>(&self, hw: &H) {
        for (word, bank) in (1u32..).zip(self.banks) {
            for number in Bits(bank.owned.load(Relaxed)) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                silence(VcpuId(0), id, hw);
            }
        }
        self.clear_shared();
        // Again, for what a vCPU may have written to another that had been through it already.
        self.vcpus.iter().for_each(|vcpu| self.clear_private(vcpu));
        for (word, bank) in (1u32..).zip(self.banks) {
            for number in Bits(bank.owned.load(Relaxed)) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                let is = hw.set_trigger(VcpuId(0), id, bulkhead_types::Trigger::Level);
                super::bits::assign(
                    &bank.edge,
                    super::bits::bit(number),
                    is == bulkhead_types::Trigger::Edge,
                );
                hw.set_priority(VcpuId(0), id, 0);
                let target = self.target(id);
                if target != NOBODY {
                    hw.route(id, VcpuId(target));
                }
            }
        }
    }

    /// The software state of the shared interrupts and the distributor after reset.
    pub(super) fn clear_shared(&self) {
        self.set_groups(0);
        self.banks.iter().for_each(|bank| bank.clear(0, 0));
        let target = if self.version == Version::V3 || self.vcpus.len() == 1 { 0 } else { NOBODY };
        for (n, spi) in (32u32..).zip(self.spis) {
            let (Some(id), Some(bank)) = (IntId::new(n), self.banks.get((n as usize >> 5).wrapping_sub(1)))
            else {
                continue;
            };
            spi.route.store(0, SeqCst);
            spi.holder.store(NOBODY, SeqCst);
            spi.target.store(target, SeqCst);
            spi.template.store(bank.compose(id), SeqCst);
        }
    }

    /// The software state of a vCPU after reset.
    pub(super) fn clear_private(&self, vcpu: &Vcpu) {
        let enabled = if self.version == Version::V2 { SGIS } else { 0 };
        vcpu.bank.clear(enabled, SGIS);
        for (id, template) in private().zip(&vcpu.templates) {
            template.store(vcpu.bank.compose(id), Relaxed);
        }
        vcpu.gate.store(GATE_OFF, Relaxed);
        vcpu.shadow.iter().for_each(|shadow| shadow.store(SHADOW_ID, Relaxed));
        vcpu.told.iter().for_each(|told| told.store(0, Relaxed));
        vcpu.sources.iter().chain(&vcpu.mail).for_each(|word| word.store(0, SeqCst));
        while let Some(id) = vcpu.queue.best() {
            vcpu.queue.remove(id);
        }
        vcpu.displaced.iter().for_each(|word| word.store(0, Relaxed));
        vcpu.displaced_words.store(0, Relaxed);
        vcpu.maintenance.store(0, Relaxed);
        vcpu.asleep.store(true, SeqCst);
        vcpu.inbox.store(0, SeqCst);
        vcpu.posted.iter().for_each(|word| word.store(0, SeqCst));
        vcpu.posted_words.store(0, SeqCst);
        if vcpu.attention.swap(0, SeqCst) != 0 {
            self.unsettled.fetch_sub(1, SeqCst);
        }
    }
}

/// A physical interrupt back to disabled, idle and inactive.
fn silence<H: Hardware>(vcpu: VcpuId, id: IntId, hw: &H) {
    hw.disable(vcpu, id);
    hw.clear_pending(vcpu, id);
    hw.deactivate(vcpu, id);
}

/// The private interrupts.
fn private() -> impl Iterator<Item = IntId> {
    (0..32).filter_map(IntId::new)
}

impl<H: Hardware> Local<'_, H> {
    /// Empties list registers and queue. The gate says off, so looking withdraws what is pending.
    fn let_go(&self) {
        for n in Bits(self.used_lists()) {
            self.displace(n as usize);
        }
        while let Some(id) = self.this.queue.best() {
            // Looking takes it out of the queue.
            self.look(id);
        }
        debug_assert!(self.used_lists().count_ones() <= LISTS as u32);
        for word in Bits(self.this.displaced_words.load(Relaxed) & !1) {
            let bits = self.this.displaced.get(word as usize).map_or(0, |bits| bits.load(Relaxed));
            for number in Bits(bits) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                // Active, and nobody's: whoever it is routed to next adopts it.
                self.set_displaced(id, false);
                self.release(id);
                self.look(id);
            }
        }
    }
}
