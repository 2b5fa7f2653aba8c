// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking another vCPU's CPU to look at something, and answering such a request.

use super::bits::{Bits, bit};
use super::state::{BUSY, LOOK_AT_ALL, NOBODY, SHADOW_ID, TELL, TOLD_ACTIVE, TOLD_PENDING, WANTED};
use super::writes::Target;
use super::{Gic, Hardware, Local};
use bulkhead_types::{IntId, VcpuId};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl Gic<'_> {
    /// A kick has come to the CPU of `vcpu`: takes in what other vCPUs sent, and looks at what they
    /// changed.
    #[inline]
    pub fn on_kick<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        let Some(local) = self.local(vcpu, hw) else { return };
        local.serve();
    }

    #[cold]
    #[inline(never)]
    fn settle<H: Hardware>(&self, vcpu: VcpuId, hw: &H) {
        if let Some(local) = self.local(vcpu, hw) {
            local.settle();
        }
    }

    /// The vCPU that a shared interrupt is routed to.
    pub(super) fn target(&self, id: IntId) -> u16 {
        self.spi(id).map_or(NOBODY, |spi| spi.target.load(SeqCst))
    }

    /// The vCPU that must look at a shared interrupt after a change: its holder, else its target.
    pub(super) fn responsible(&self, id: IntId) -> u16 {
        let holder = self.spi(id).map_or(NOBODY, |spi| spi.holder.load(SeqCst));
        if holder == NOBODY { self.target(id) } else { holder }
    }

    /// Makes another vCPU look at an interrupt. False if it is off and will look only when it comes on.
    ///
    /// The caller has written the state. The order of the sequentially consistent accesses: state, post,
    /// `on`; the other: `on`, posts, state. So one of the two sees the other's write.
    pub(super) fn post<H: Hardware>(&self, to: u16, id: IntId, hw: &H) -> bool {
        self.post_all(to, id.get() >> 5, bit(id.get()), hw)
    }

    /// As [`Gic::post`], for several interrupts of a word.
    pub(super) fn post_all<H: Hardware>(&self, to: u16, word: u32, mask: u32, hw: &H) -> bool {
        let Some(vcpu) = self.vcpu(to) else { return false };
        if let Some(bits) = vcpu.posted.get(word as usize) {
            bits.fetch_or(mask, SeqCst);
        }
        vcpu.posted_words.fetch_or(bit(word), SeqCst);
        self.call(to, WANTED, hw)
    }

    /// Asks for attention, for the reasons given. False if the vCPU is off.
    pub(super) fn call<H: Hardware>(&self, to: u16, why: u32, hw: &H) -> bool {
        let Some(vcpu) = self.vcpu(to) else { return false };
        if !vcpu.on.load(SeqCst) {
            return false;
        }
        let before = vcpu.attention.fetch_or(why, SeqCst);
        if before == 0 {
            self.unsettled.fetch_add(1, SeqCst);
        }
        if before & !BUSY == 0 {
            // Otherwise a kick is on its way, and what was asked now is served with what was asked before.
            hw.kick(VcpuId(to));
        }
        true
    }
}

impl<H: Hardware> Local<'_, H> {
    /// Serves what other CPUs asked and sent, in this order: an SGI sent after a write to ICPENDR stays.
    #[inline]
    pub(super) fn serve(&self) {
        if self.this.attention.load(Relaxed) != 0 {
            self.gic.settle(self.id(), self.hw);
        }
        self.drain_inbox();
    }

    /// Does what other CPUs asked of this one.
    pub(super) fn settle(&self) {
        let asked = self.this.attention.swap(BUSY, SeqCst);
        if asked == 0 {
            self.gic.unsettled.fetch_add(1, SeqCst);
        }
        if asked & LOOK_AT_ALL != 0 {
            self.look_at_all();
        }
        for word in Bits(self.this.posted_words.swap(0, SeqCst)) {
            let posted = self.this.posted.get(word as usize).map_or(0, |bits| bits.swap(0, SeqCst));
            for number in Bits(posted) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                if id.is_private() {
                    self.renew_private(id);
                }
                self.look(id);
            }
        }
        self.refill();
        if asked & TELL != 0 {
            self.tell();
        }
        if self.this.attention.fetch_and(!BUSY, SeqCst) == BUSY {
            self.gic.unsettled.fetch_sub(1, SeqCst);
        }
    }

    /// Looks at every interrupt that may be in the wrong place after a change for all of them.
    pub(super) fn look_at_all(&self) {
        for n in Bits(self.used_lists()) {
            if let Some(id) = IntId::new(u32::from(self.shadow(n as usize) & SHADOW_ID)) {
                self.look(id);
            }
        }
        for number in Bits(self.this.bank.eventful()) {
            self.look(IntId::new(number).unwrap_or(IntId::sgi(0)));
        }
        for (word, bank) in (1u32..).zip(self.gic.banks) {
            for number in Bits(bank.eventful()) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                if self.is_target(id) || self.holder(id) == self.me {
                    self.look(id);
                }
            }
        }
    }

    /// Tells others what is in the list registers.
    pub(super) fn tell(&self) {
        let used = self.used_lists();
        for (n, told) in (0usize..).zip(&self.this.told) {
            let mut entry = 0;
            if used & bit(n as u32) != 0 {
                let value = self.hw.read_list(n);
                entry = self.shadow(n) & SHADOW_ID;
                entry |= if value.is_pending() { TOLD_PENDING } else { 0 };
                entry |= if value.is_active() { TOLD_ACTIVE } else { 0 };
            }
            told.store(entry, SeqCst);
        }
    }

    /// Waits, for a bounded time, until another vCPU has told of its list registers.
    ///
    /// That one may be waiting for this one in the same way, so this one serves it meanwhile.
    fn wait_for(&self, vcpu: u16) {
        let Some(other) = self.gic.vcpu(vcpu) else { return };
        for _ in 0..self.gic.patience {
            if other.attention.load(SeqCst) & (TELL | BUSY) == 0 {
                return;
            }
            if self.this.attention.load(Relaxed) != 0 {
                self.settle();
            }
            self.hw.relax();
        }
    }

    /// Of the interrupts of the bank those that are in other vCPUs' list registers with the state given
    /// (`TOLD_PENDING`, `TOLD_ACTIVE`).
    pub(super) fn listed_elsewhere(&self, target: &Target<'_>, state: u16) -> u32 {
        if target.owner != self.me {
            self.ask(target.owner);
            return (0..32)
                .filter(|&id| self.has_told(target.owner, id, state))
                .fold(0, |set, id| set | bit(id));
        }
        if target.word == 0 || self.gic.vcpus.len() == 1 {
            return 0;
        }
        let (mut found, mut last) = (0, NOBODY);
        let first = (target.word as usize).wrapping_sub(1).wrapping_mul(32);
        for (number, spi) in (0u32..32).zip(self.gic.spis.get(first..).unwrap_or_default()) {
            let holder = spi.holder.load(SeqCst);
            if holder == NOBODY || holder == self.me {
                continue;
            }
            if holder != last {
                self.ask(holder);
                last = holder;
            }
            if self.has_told(holder, target.word << 5 | number, state) {
                found |= bit(number);
            }
        }
        found
    }

    /// Has another vCPU tell of its list registers.
    fn ask(&self, vcpu: u16) {
        if self.gic.call(vcpu, TELL, self.hw) {
            self.wait_for(vcpu);
        }
    }

    fn has_told(&self, vcpu: u16, id: u32, state: u16) -> bool {
        let Some(vcpu) = self.gic.vcpu(vcpu) else { return false };
        let is_it = |told: u16| u32::from(told & SHADOW_ID) == id && told & state != 0;
        vcpu.told.iter().any(|told| is_it(told.load(SeqCst)))
    }
}
