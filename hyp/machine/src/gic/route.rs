// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where shared interrupts go, and which of them the physical GIC lets through.

use super::bits::{Bits, bit};
use super::state::{Bank, NOBODY, Spi, has, unpack_affinity};
use super::{Gic, Hardware, Local, Vcpu, Version};
use bulkhead_types::{IntId, Mpidr, Trigger, VcpuId};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl Gic<'_> {
    pub(super) fn is_on(&self, vcpu: u16) -> bool {
        self.vcpu(vcpu).is_some_and(|vcpu| vcpu.on.load(SeqCst))
    }

    /// The vCPU with these affinity fields (packed).
    fn find(&self, affinity: u32) -> u16 {
        let id = VcpuId::of(Mpidr::from_register(unpack_affinity(affinity)));
        id.filter(|id| self.vcpu(id.0).is_some()).map_or(NOBODY, |id| id.0)
    }

    /// The vCPU that a shared interrupt shall go to. Of several that it may go to: the one it goes to
    /// already, if that runs; else the first that runs and whose redistributor is awake; else the first
    /// that runs; else the first.
    fn choose(&self, id: IntId, spi: &Spi) -> u16 {
        let route = spi.route.load(SeqCst);
        let candidates: u16 = match self.version {
            Version::V2 if self.vcpus.len() == 1 => return 0,
            Version::V2 if route == 0 => return NOBODY,
            Version::V2 => route as u16,
            Version::V3 if self.shared_bank(id).is_some_and(|bank| has(&bank.one_of_n, bit(id.get()))) => {
                u16::MAX
            }
            Version::V3 => return self.find(route),
        };
        let may = |n: u16| n >= 16 || candidates >> (n & 15) & 1 != 0;
        let now = spi.target.load(SeqCst);
        if now != NOBODY && may(now) && self.is_on(now) {
            return now;
        }
        // Of two that are alike the first comes out.
        let rank = |vcpu: &Vcpu| if vcpu.on.load(SeqCst) { u8::from(vcpu.asleep.load(SeqCst)) } else { 2 };
        let all = self.numbered().filter(|&(n, _)| may(n));
        all.min_by_key(|(_, vcpu)| rank(vcpu)).map_or(NOBODY, |(n, _)| n)
    }

    /// Lets the physical interrupt through if it is enabled and its target runs. The lock is held.
    pub(super) fn agree<H: Hardware>(&self, id: IntId, bank: &Bank, spi: &Spi, me: u16, hw: &H) {
        let mask = bit(id.get());
        if !has(&bank.owned, mask) {
            return;
        }
        let target = spi.target.load(SeqCst);
        let wanted = has(&bank.enabled, mask) && self.is_on(target);
        if super::bits::assign(&bank.physical, mask, wanted) == 0 {
            return;
        }
        let vcpu = VcpuId(if target == NOBODY { me } else { target });
        if wanted { hw.enable(vcpu, id) } else { hw.disable(vcpu, id) }
    }
}

impl<H: Hardware> Local<'_, H> {
    /// As [`Gic::agree`], for private interrupts of this vCPU too. The lock is held for shared ones.
    pub(super) fn agree(&self, id: IntId, bank: &Bank) {
        if let Some(spi) = self.gic.spi(id) {
            return self.gic.agree(id, bank, spi, self.me, self.hw);
        }
        let mask = bit(id.get());
        if !has(&bank.owned, mask) {
            return;
        }
        let wanted = has(&bank.enabled, mask) && self.this.on.load(Relaxed);
        if super::bits::assign(&bank.physical, mask, wanted) == 0 {
            return;
        }
        if wanted { self.hw.enable(self.id(), id) } else { self.hw.disable(self.id(), id) }
    }

    /// As [`Local::agree`], taking the lock.
    pub(super) fn settle_physical(&self, id: IntId) {
        let Some(bank) = self.bank(id) else { return };
        if id.is_private() {
            return self.agree(id, bank);
        }
        let _guard = self.gic.changes.lock();
        self.agree(id, bank);
    }

    /// Chooses the target anew after a change of the route, or of who runs. The old target.
    pub(super) fn reroute(&self, id: IntId, spi: &Spi) -> u16 {
        let Some(bank) = self.bank(id) else { return NOBODY };
        let _guard = self.gic.changes.lock();
        let new = self.gic.choose(id, spi);
        let old = spi.target.swap(new, SeqCst);
        if old != new && new != NOBODY && has(&bank.owned, bit(id.get())) {
            self.hw.route(id, VcpuId(new));
        }
        self.agree(id, bank);
        old
    }

    /// Re-routes, and makes everybody concerned look.
    pub(super) fn move_target(&self, id: IntId, spi: &Spi) {
        let old = self.reroute(id, spi);
        if old == spi.target.load(SeqCst) {
            return;
        }
        // Whoever makes it pending from here on finds the new target.
        if self.is_eventful(id) {
            self.touch(id);
        }
        // It may be putting it into a list register right now, before it says so in `holder`.
        if old != self.me && old != NOBODY {
            self.gic.post(old, id, self.hw);
        }
    }

    /// Chooses anew for the interrupts that may go to any of several vCPUs, and lets through or holds back
    /// those that come here: this vCPU has come on or gone off.
    pub(super) fn spread_anew(&self) {
        for (word, bank) in (1u32..).zip(self.gic.banks) {
            for number in Bits(bank.one_of_n.load(SeqCst)) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                if let Some(spi) = self.gic.spi(id) {
                    self.move_target(id, spi);
                }
            }
            let here = bank.owned.load(SeqCst) & bank.enabled.load(SeqCst);
            for number in Bits(here) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                if self.is_target(id) {
                    self.settle_physical(id);
                }
            }
        }
    }

    /// The interrupt's trigger as the physical GIC has it after asking for this one.
    pub(super) fn set_physical_trigger(&self, id: IntId, bank: &Bank) {
        let mask = bit(id.get());
        let wanted = if has(&bank.edge, mask) { Trigger::Edge } else { Trigger::Level };
        let is = self.hw.set_trigger(self.id(), id, wanted);
        super::bits::assign(&bank.edge, mask, is == Trigger::Edge);
    }

    /// Another vCPU changed this one's private interrupt: what is derived from it follows.
    pub(super) fn renew_private(&self, id: IntId) {
        let bank = &self.this.bank;
        self.renew(id, bank);
        if has(&bank.owned, bit(id.get())) {
            self.set_physical_trigger(id, bank);
            self.hw.set_priority(self.id(), id, self.priority(id));
            self.agree(id, bank);
        }
    }

    /// Composes the template anew. The lock is held for shared interrupts.
    #[inline]
    pub(super) fn renew(&self, id: IntId, bank: &Bank) {
        let template = bank.compose(id);
        match self.gic.spi(id) {
            Some(spi) => spi.template.store(template, SeqCst),
            None => {
                if let Some(word) = self.this.templates.get(id.get() as usize) {
                    word.store(template, Relaxed);
                }
            }
        }
    }
}
