// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts on their way in: the fast paths, and what stands behind them.

use super::bits::{Bits, bit};
use super::list::ListRegister;
use super::state::{GATE_OFF, LATCHED, LISTS, SHADOW_ID, has};
use super::{Gic, Hardware, Local, Seat};
use bulkhead_types::{IntId, VcpuId};
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

impl<'g> Seat<'g> {
    /// A physical interrupt has come to the vCPU's CPU; EL2 has acknowledged it and dropped its priority, so it is
    /// active at the physical GIC. Puts it straight into a list register: no lock, no loop. False if anything
    /// stands in the way: it is not the guest's, or it is for [`Seat::accept`].
    ///
    /// The template may be disabled by another CPU a moment later: that CPU posts and kicks
    /// afterwards, and the look that follows finds the interrupt in its list register.
    #[inline(always)]
    pub fn inject<H: Hardware>(self, id: IntId, hw: &'g H) -> bool {
        let template = if id.is_private() {
            self.this.templates.get(id.get() as usize).map_or(0, |template| template.load(Relaxed))
        } else {
            let Some(spi) = self.gic.spi(id) else { return false };
            if spi.target.load(Relaxed) != self.me {
                return false;
            }
            spi.holder.store(self.me, Relaxed);
            spi.template.load(Relaxed)
        };
        let local = self.with(hw);
        template & ListRegister::HARDWARE != 0
            && local.is_clear(template)
            && local.put_anywhere(hw.empty_lists(), ListRegister(template), id.get() as u16).is_some()
    }

    /// As [`Seat::inject`], for interrupts of the guest's that must wait, or that should not be here.
    pub fn accept<H: Hardware>(self, id: IntId, hw: &'g H) {
        self.with(hw).accept(id);
    }
}

impl Gic<'_> {
    /// The maintenance interrupt: list registers have room, or an end is to be told of.
    pub fn on_maintenance<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        local.refill();
    }

    /// A virtual device drives its interrupt line. `current` is the vCPU of this partition on whose CPU
    /// this runs, or `None` on any other CPU (where `hw` is used for kicks only). A private interrupt
    /// can only be driven from its own vCPU's CPU. Owned interrupts have a physical line: theirs is
    /// not to be driven. Takes no lock.
    pub fn set_line<H: Hardware>(&self, current: Option<VcpuId>, id: IntId, level: bool, hw: &H) {
        let local = current.and_then(|vcpu| self.local(vcpu, hw));
        let bank = match &local {
            Some(local) => local.bank(id),
            None => self.shared_bank(id),
        };
        let Some(bank) = bank else { return };
        let mask = bit(id.get());
        if has(&bank.line, mask) == level || has(&bank.owned, mask) {
            return;
        }
        super::bits::assign(&bank.line, mask, level);
        if has(&bank.edge, mask) {
            if !level {
                return;
            }
            bank.latch.fetch_or(mask, SeqCst);
        }
        self.changed(local.as_ref(), id, hw);
    }

    /// The guest wrote to ICC_DIR_EL1, which trapped because of `Maintenance::TRAP_DEACTIVATE`.
    pub fn deactivate<H: Hardware>(&self, vcpu: VcpuId, id: IntId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        let Some(target) = local.word(id.get() >> 5) else { return };
        let Some(id) = target.id(id.get() & 31) else { return };
        let bank = target.bank;
        bank.ask(&bank.drop_active, &bank.activate, bit(id.get()));
        local.touch(id);
        local.refill();
    }

    /// Makes whoever is responsible for the interrupt look at it: this CPU, if it is `local`'s.
    fn changed<H: Hardware>(&self, local: Option<&Local<'_, H>>, id: IntId, hw: &H) {
        match local {
            Some(local) => {
                local.touch(id);
                local.refill();
            }
            // A holder that is off holds nothing any more: the target looks.
            None if self.post(self.responsible(id), id, hw) => {}
            None => _ = self.post(self.target(id), id, hw),
        }
    }
}

impl<H: Hardware> Local<'_, H> {
    /// Whether an interrupt with this template may go past the queue.
    #[inline(always)]
    fn is_clear(&self, template: u64) -> bool {
        self.this.gate.load(Relaxed) == 0 && self.gic.is_open(template)
    }

    #[inline(always)]
    pub(super) fn put(&self, n: usize, value: ListRegister, tag: u16) {
        self.set_shadow(n, tag);
        self.hw.write_list(n, value);
    }

    /// Puts the interrupt into one of the list registers that are `empty`: the first, if that is one of them, for
    /// most often all are. Which one; `None` if there is none.
    #[inline(always)]
    fn put_anywhere(&self, empty: u32, value: ListRegister, tag: u16) -> Option<u8> {
        if empty & 1 != 0 {
            self.put(0, value, tag);
            return Some(0);
        }
        let n = empty.trailing_zeros();
        if n >= LISTS as u32 {
            return None;
        }
        self.put(n as usize, value, tag);
        Some(n as u8)
    }

    /// Delivers a software generated interrupt to this vCPU; `source` is the sender for GICv2, 0 for
    /// GICv3. Never leaves the CPU.
    #[inline(never)]
    pub(super) fn deliver_sgi(&self, number: u8, source: u8) {
        if !self.inject_sgi(number, source) {
            self.queue_sgi(number, source);
        }
    }

    /// Puts a software generated interrupt straight into a list register. False if it must wait.
    #[inline(always)]
    pub(super) fn inject_sgi(&self, number: u8, source: u8) -> bool {
        let number = number & 0xf;
        let index = usize::from(number);
        let template = self.this.templates.get(index).map_or(0, |template| template.load(Relaxed));
        if !self.is_clear(template) {
            return false;
        }
        let empty = self.hw.empty_lists();
        let last = self.this.slot.get(index).map_or(0, |slot| slot.load(Relaxed)) & 0xf;
        if empty.wrapping_shr(last.into()) & 1 == 0
            && self.shadow(usize::from(last)) & SHADOW_ID == u16::from(number)
        {
            return false;
        }
        let value = ListRegister(template | u64::from(source) << 32);
        let Some(n) = self.put_anywhere(empty, value, u16::from(number) | LATCHED) else { return false };
        if let Some(slot) = self.this.slot.get(index) {
            slot.store(n, Relaxed);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn queue_sgi(&self, number: u8, source: u8) {
        let id = IntId::sgi(number);
        self.add_source(id, source);
        self.this.bank.latch.fetch_or(bit(id.get()), SeqCst);
        self.look(id);
        self.refill();
    }

    /// Takes in the software generated interrupts that other vCPUs sent. What they asked for before they sent
    /// must have been settled.
    #[inline(always)]
    pub(super) fn drain_inbox(&self) {
        // Acquire pairs with the sender's release: its mail is visible.
        if self.this.inbox.load(Relaxed) == 0 || self.this.gate.load(Relaxed) & GATE_OFF != 0 {
            return;
        }
        let mut sent = self.this.inbox.swap(0, Acquire);
        while sent != 0 {
            let number = sent.trailing_zeros();
            sent &= sent.wrapping_sub(1);
            let is_v3 = self.gic.version == super::Version::V3;
            for source in Bits(if is_v3 { 1 } else { self.take_mail(number) }) {
                if !self.inject_sgi(number as u8, source as u8) {
                    self.queue_sgi(number as u8, source as u8);
                }
            }
            if sent != 0 {
                self.hw.synchronize();
            }
        }
    }

    /// Everything that [`Seat::inject`](crate::gic::Seat::inject) is not for: the interrupt must wait, or should not be here.
    fn accept(&self, id: IntId) {
        let mask = bit(id.get());
        let Some(bank) = self.bank(id) else { return self.refuse(id) };
        if !has(&bank.owned, mask) {
            return self.refuse(id);
        }
        let off = self.this.gate.load(Relaxed) & GATE_OFF != 0;
        if off || !has(&bank.enabled, mask) || !self.is_target(id) {
            // It was on its way when the guest disabled or re-routed it, or when the vCPU went off.
            self.settle_physical(id);
            self.hand_back(id, bank);
            return;
        }
        bank.latch.fetch_or(mask, SeqCst);
        if let Some(spi) = self.gic.spi(id) {
            // Whoever held it is done: else it would still be physically active.
            spi.holder.store(self.me, SeqCst);
        }
        let best = self.this.queue.best();
        // It was not active before, so it is in no list register.
        self.look_at_waiting(id, bank);
        // With the queue's best as it was, there is nothing better for the list registers than they have. What became active
        // outside of them, by another vCPU's ISACTIVER, needs the maintenance interrupt for its end.
        if best.is_none() || self.this.queue.best() != best || self.is_displaced(id) {
            self.refill();
        }
    }

    /// Silences an interrupt that is not this guest's.
    fn refuse(&self, id: IntId) {
        self.hw.disable(self.id(), id);
        self.hw.deactivate(self.id(), id);
    }

    /// Gives an acknowledged interrupt back to the physical GIC, still pending there.
    pub(super) fn hand_back(&self, id: IntId, bank: &super::Bank) {
        if has(&bank.edge, bit(id.get())) {
            self.hw.set_pending(self.id(), id);
        }
        self.hw.deactivate(self.id(), id);
    }
}
