// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes that the guest makes to interrupts. Only bits that change have an effect.

use super::bits::{Bits, assign, bit, gather, replace, spread};
use super::hardware::confined;
use super::list::ListRegister;
use super::map::Field;
use super::state::{Bank, NOBODY, has, pack_affinity};
use super::{Hardware, Local, Version};
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// 32 interrupts as one vCPU addresses them: a word of shared ones, or some vCPU's private ones.
#[derive(Clone, Copy)]
pub(super) struct Target<'g> {
    /// Whose private interrupts; the calling vCPU for shared ones.
    pub(super) owner: u16,
    pub(super) word: u32,
    pub(super) bank: &'g Bank,
    /// The interrupts that exist.
    pub(super) valid: u32,
}

impl Target<'_> {
    pub(super) fn id(&self, number: u32) -> Option<IntId> {
        IntId::new(self.word << 5 | number)
    }

    const fn is_private(&self) -> bool {
        self.word == 0
    }
}

impl<H: Hardware> Local<'_, H> {
    /// Lets whoever is responsible look at the interrupt: its holder, else its target, else this vCPU.
    /// [`Local::refill`] must follow.
    pub(super) fn touch(&self, id: IntId) {
        let who = if id.is_private() { self.me } else { self.gic.responsible(id) };
        if who == self.me || who == NOBODY || !self.gic.post(who, id, self.hw) {
            self.look(id);
        }
    }

    /// Touches some of the interrupts, or has their owner look.
    #[inline]
    fn touch_all(&self, target: &Target<'_>, mask: u32) {
        if mask == 0 {
            return;
        }
        if target.owner != self.me {
            self.gic.post_all(target.owner, target.word, mask, self.hw);
            return;
        }
        Bits(mask).filter_map(|number| target.id(number)).for_each(|id| self.touch(id));
        self.refill();
    }

    /// Of the interrupts given, those that may be in a list register or in the queue somewhere.
    #[inline]
    fn maybe_held(&self, target: &Target<'_>, mask: u32) -> u32 {
        if target.is_private() {
            return mask;
        }
        Bits(mask)
            .filter(|&number| target.id(number).is_some_and(|id| self.holder(id) != NOBODY))
            .fold(0, |mask, number| mask | bit(number))
    }

    /// Carries out a write to one of the registers with a bit for each interrupt.
    #[inline]
    pub(super) fn write_bits(&self, target: &Target<'_>, field: Field, value: u32, mask: u32) {
        let mask = mask & target.valid;
        let bits = value & mask;
        match field {
            Field::Group => {
                let changed = self.change(target, |bank| replace(&bank.group, mask, value), Self::renew);
                self.touch_all(target, changed & (target.bank.eventful() | self.maybe_held(target, changed)));
            }
            Field::SetEnable => self.set_enabled(target, bits, true),
            Field::ClearEnable => self.set_enabled(target, bits, false),
            Field::SetPending => self.set_pending(target, self.without_sgis(target, bits)),
            Field::ClearPending => self.clear_pending(target, self.without_sgis(target, bits)),
            Field::SetActive => {
                target.bank.ask(&target.bank.activate, &target.bank.drop_active, bits);
                self.touch_all(target, bits);
            }
            Field::ClearActive => {
                let concerned = self.maybe_held(target, bits)
                    | (bits & target.bank.active.load(SeqCst))
                    | (bits & target.bank.activate.load(SeqCst));
                target.bank.ask(&target.bank.drop_active, &target.bank.activate, concerned);
                self.touch_all(target, concerned);
            }
        }
    }

    /// GICv2's software generated interrupts are pending per sender, so ISPENDR and ICPENDR leave them
    /// alone (IHI 0048, GICD_ISPENDR).
    fn without_sgis(&self, target: &Target<'_>, bits: u32) -> u32 {
        if target.is_private() && self.gic.version == Version::V2 { bits & !0xffff } else { bits }
    }

    /// Changes state that templates or the physical GIC depend on, and carries on what changed: at once
    /// for shared and own interrupts, by the owner's look for others.
    fn change(
        &self,
        target: &Target<'_>,
        change: impl FnOnce(&Bank) -> u32,
        carry_on: impl Fn(&Self, IntId, &Bank),
    ) -> u32 {
        let _guard = (!target.is_private()).then(|| self.gic.changes.lock());
        let changed = change(target.bank);
        if target.owner == self.me {
            for id in Bits(changed).filter_map(|number| target.id(number)) {
                carry_on(self, id, target.bank);
            }
        }
        changed
    }

    /// Enables shared interrupts, or disables them: with one access to the physical GIC for all.
    #[inline(always)]
    pub(super) fn set_shared_enabled(&self, word: u32, bits: u32, set: bool) {
        let Some(bank) = confined::<H>(word.wrapping_sub(1), self.gic.banks.len()) else { return };
        let (first, word) = (bank as usize, bank.wrapping_add(1));
        let Some(bank) = self.gic.banks.get(first) else { return };
        let enabled = bank.enabled.load(SeqCst);
        let bits = bits & self.gic.implemented(word as usize) & if set { !enabled } else { enabled };
        if bits == 0 {
            if !set {
                // Whoever has cleared them may not be done: this vCPU's RWP must not tell that they are off before.
                drop(self.gic.changes.lock());
            }
            return;
        }
        let guard = self.gic.changes.lock();
        let changed = assign(&bank.enabled, bits, set);
        let spis = self.gic.spis.get(first.wrapping_mul(32)..).unwrap_or_default();
        let mut physical = 0;
        for number in Bits(changed) {
            let Some(spi) = spis.get(number as usize) else { break };
            // Sequentially consistent: its holder may be making it pending in software meanwhile. Either that
            // one sees it enabled then, or this one sees it pending next.
            spi.template
                .store(ListRegister(spi.template.load(Relaxed)).with(ListRegister::PENDING, set).0, SeqCst);
            // As `Gic::agree` has it.
            if !set || self.gic.is_on(spi.target.load(SeqCst)) {
                physical |= bit(number);
            }
        }
        physical &= bank.owned.load(Relaxed);
        if physical != 0 {
            physical = assign(&bank.physical, physical, set);
            if set { self.hw.enable_shared(word, physical) } else { self.hw.disable_shared(word, physical) }
        }
        drop(guard);
        let concerned = changed & bank.eventful();
        if set && concerned != 0 {
            self.touch_word(word, concerned);
        } else if !set {
            self.withdraw(word, changed, concerned);
        }
    }

    #[cold]
    #[inline(never)]
    fn touch_word(&self, word: u32, mask: u32) {
        if let Some(target) = self.word(word) {
            self.touch_all(&target, mask);
        }
    }

    /// Shared interrupts have been disabled: whoever may have one in a list register or in the queue looks at it.
    /// Of this vCPU's own that is known without a look; another may be putting one into a list
    /// register right now, before it says so in `holder`.
    fn withdraw(&self, word: u32, changed: u32, eventful: u32) {
        let here = eventful | self.listed_of(word);
        for number in Bits(changed) {
            let Some(id) = IntId::new(word << 5 | number) else { break };
            let (holder, target) = (self.holder(id), self.gic.target(id));
            let is_ours = [target, holder].iter().all(|&it| it == self.me || it == NOBODY);
            if is_ours && here & bit(number) == 0 {
                continue;
            }
            if target != self.me && target != NOBODY {
                self.gic.post(target, id, self.hw);
            }
            self.touch(id);
        }
        self.refill();
    }

    fn set_enabled(&self, target: &Target<'_>, bits: u32, set: bool) {
        if !target.is_private() {
            return self.set_shared_enabled(target.word, bits, set);
        }
        // GICv2's software generated interrupts are always enabled, as GIC-400 has it.
        let bits = self.without_sgis(target, bits);
        let changed = self.change(
            target,
            |bank| assign(&bank.enabled, bits, set),
            |this, id, bank| {
                this.set_template_enabled(id, set);
                this.agree(id, bank);
            },
        );
        let all = target.owner != self.me || !set;
        self.touch_all(target, if all { changed } else { changed & target.bank.eventful() });
    }

    fn set_template_enabled(&self, id: IntId, set: bool) {
        if let Some(word) = self.this.templates.get(id.get() as usize) {
            word.store(ListRegister(word.load(Relaxed)).with(ListRegister::PENDING, set).0, Relaxed);
        }
    }

    /// The guest makes interrupts pending.
    pub(super) fn set_pending(&self, target: &Target<'_>, bits: u32) {
        let owned = target.bank.owned.load(Relaxed);
        target.bank.drop_pending.fetch_and(!bits, SeqCst);
        let bits = bits & !self.raise_at_once(target, bits & owned);
        if bits & owned != 0 {
            target.bank.ask(&target.bank.raise, &target.bank.drop_pending, bits & owned);
        }
        target.bank.latch.fetch_or(bits & !owned, SeqCst);
        self.touch_all(target, bits);
    }

    /// Makes pending those of the shared physical interrupts given for which nobody has to look, with one access: they are
    /// routed here and are neither in a list register nor known to software. Which ones.
    fn raise_at_once(&self, target: &Target<'_>, bits: u32) -> u32 {
        let bits = bits & !target.bank.eventful();
        if target.is_private() || bits == 0 {
            return 0;
        }
        let bits = bits & !self.listed_of(target.word);
        // They stay routed here, where this CPU takes no interrupt meanwhile.
        let _guard = self.gic.changes.lock();
        let here = |&number: &u32| {
            let spi = target.id(number).and_then(|id| self.gic.spi(id));
            spi.is_some_and(|spi| {
                let holder = spi.holder.load(SeqCst);
                spi.target.load(SeqCst) == self.me && (holder == self.me || holder == NOBODY)
            })
        };
        let bits = Bits(bits).filter(here).fold(0, |bits, number| bits | bit(number));
        self.hw.set_pending_shared(target.word, bits);
        bits
    }

    /// The guest makes interrupts no longer pending. A level's line goes on holding it pending.
    pub(super) fn clear_pending(&self, target: &Target<'_>, bits: u32) {
        let bank = target.bank;
        let owned = bank.owned.load(Relaxed);
        let latched = bank.latch.fetch_and(!(bits & !owned), SeqCst);
        if !target.is_private() {
            let physical = Bits(bits & owned).filter_map(|number| target.id(number));
            physical.for_each(|id| self.hw.clear_pending(self.id(), id));
        }
        // GICv2 has registers of their own for SGIs, and no way to others' private interrupts.
        let has_inbox = target.is_private() && self.gic.version == Version::V3;
        if let Some(owner) = self.gic.vcpu(target.owner).filter(|_| has_inbox) {
            owner.inbox.fetch_and(!bits, SeqCst);
            if target.owner != self.me && !owner.on.load(SeqCst) {
                // Nothing is in its list registers, and what comes from now on is to stay.
                bank.ask(&bank.drop_pending, &bank.raise, bits & owned);
                return;
            }
        }
        let concerned = (bits & (owned | latched)) | self.maybe_held(target, bits);
        bank.ask(&bank.drop_pending, &bank.raise, concerned);
        self.touch_all(target, concerned);
    }

    /// Writes priorities: bytes of the register that holds four of them.
    pub(super) fn write_priority(&self, target: &Target<'_>, register: u32, value: u32, mask: u32) {
        let Some(word) = target.bank.priority.get((register & 7) as usize) else { return };
        let mask = mask & self.gic.priority_mask;
        let first = (register & 7) << 2;
        let changed = self.change(
            target,
            |_| {
                let bytes = replace(word, mask, value);
                let number = |n: u32| if super::bits::byte(bytes, n) == 0 { 0 } else { bit(first | n) };
                (number(0) | number(1) | number(2) | number(3)) & target.valid
            },
            |this, id, bank| {
                this.renew(id, bank);
                if has(&bank.owned, bit(id.get())) {
                    this.hw.set_priority(this.id(), id, this.priority(id));
                }
            },
        );
        if target.owner == self.me {
            self.touch_all(target, changed & (target.bank.eventful() | self.maybe_held(target, changed)));
        } else {
            self.touch_all(target, changed);
        }
    }

    /// Writes triggers: the register of sixteen interrupts, `half` of the bank.
    pub(super) fn write_config(&self, target: &Target<'_>, half: u32, value: u32, mask: u32) {
        if target.is_private() && half == 0 {
            return;
        }
        let shift = (half & 1) << 4;
        let mask = gather(mask).wrapping_shl(shift) & target.valid;
        let value = gather(value).wrapping_shl(shift);
        let changed = self.change(
            target,
            |bank| replace(&bank.edge, mask, value),
            |this, id, bank| {
                if has(&bank.owned, bit(id.get())) {
                    this.set_physical_trigger(id, bank);
                }
            },
        );
        self.touch_all(target, changed);
    }

    /// Reads the register of triggers.
    pub(super) fn read_config(&self, target: &Target<'_>, half: u32) -> u64 {
        u64::from(spread(target.bank.edge.load(SeqCst).wrapping_shr((half & 1) << 4)))
    }

    /// GICD_IROUTER: the affinity fields, and Interrupt_Routing_Mode in bit 31.
    pub(super) fn write_router(&self, id: IntId, value: u64, mask: u64) {
        let Some((id, spi, bank)) = self.shared(id) else { return };
        {
            // No read sees one without the other.
            let _guard = self.gic.changes.lock();
            replace(&spi.route, pack_affinity(mask), pack_affinity(value));
            if mask & 1 << 31 != 0 {
                assign(&bank.one_of_n, bit(id.get()), value & 1 << 31 != 0);
            }
        }
        self.move_target(id, spi);
        self.refill();
    }

    /// GICD_ITARGETSR: four shared interrupts' bytes.
    pub(super) fn write_targets(&self, first: u32, value: u32, mask: u32) {
        if self.gic.vcpus.len() == 1 {
            return;
        }
        let existing = 0xffu32.wrapping_shr(8u32.wrapping_sub(self.gic.vcpus.len() as u32));
        for n in 0..4 {
            let id = IntId::new(first | n);
            let Some((id, spi, bank)) = id.and_then(|id| self.shared(id)) else { continue };
            if super::bits::byte(mask, n) == 0 {
                continue;
            }
            let route = u32::from(super::bits::byte(value, n)) & existing;
            if replace(&spi.route, 0xff, route) != 0 {
                assign(&bank.one_of_n, bit(id.get()), route.count_ones() > 1);
                self.move_target(id, spi);
            }
        }
        self.refill();
    }
}
