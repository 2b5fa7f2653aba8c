// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which interrupts are in the list registers, and which wait outside.

use super::bits::{Bits, bit, byte, take};
use super::list::{ListRegister, Maintenance};
use super::state::{Bank, GATE_DISPLACED, GATE_OFF, GATE_QUEUE, LATCHED, LISTS, SHADOW_ID, has};
use super::{Hardware, Local, Version};
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<H: Hardware> Local<'_, H> {
    /// Moves the best of the queue into the list registers, then what is active outside, and asks for the
    /// maintenance interrupts that what is left needs. Ends every slow path.
    #[inline]
    pub(super) fn refill(&self) {
        let ended = self.hw.ended_lists();
        let is_plain = self.this.maintenance.load(Relaxed) == 0;
        let waits = !self.this.queue.is_empty() || self.this.displaced_words.load(Relaxed) != 0;
        // Otherwise nothing waits, and nothing did.
        if ended != 0 || waits || !is_plain {
            self.refill_anew(ended);
        }
    }

    #[inline(never)]
    fn refill_anew(&self, ended: u32) {
        for n in Bits(ended) {
            // Not empty until somebody has looked at why its end was to be told.
            if let Some(id) = IntId::new(u32::from(self.shadow(n as usize) & SHADOW_ID)) {
                self.look(id);
            }
        }
        self.count_ends();
        if self.this.gate.load(Relaxed) & GATE_OFF == 0 {
            self.promote();
            self.restore_active();
        }
        self.ask_for_maintenance();
    }

    /// Moves the best of the queue into the list registers, as long as there is something to gain.
    fn promote(&self) {
        let mut empty = self.hw.empty_lists();
        // Each round fills a list register with something better than it had: few rounds suffice.
        for _ in 0..LISTS.wrapping_mul(2) {
            let Some(id) = self.this.queue.best() else { break };
            if empty == 0 {
                let Some(n) = self.victim(self.priority(id)) else { break };
                self.displace(n);
                empty = bit(n as u32);
            }
            self.this.queue.remove(id);
            if let Some(bank) = self.bank(id)
                && self.load(empty.trailing_zeros() as usize, id, bank)
            {
                empty &= empty.wrapping_sub(1);
            }
        }
        self.hw.synchronize();
    }

    /// Puts a pending interrupt of this vCPU into the queue; or past it, where nothing else waits.
    #[inline]
    pub(super) fn enqueue(&self, id: IntId, bank: &Bank) {
        let empty = self.hw.empty_lists();
        if empty != 0 && self.this.queue.is_empty() && self.this.gate.load(Relaxed) == 0 {
            self.load(empty.trailing_zeros() as usize, id, bank);
            self.hw.synchronize();
        } else {
            self.this.queue.insert(id, self.priority(id));
        }
    }

    /// The list register to clear for an interrupt of this priority, all being in use: of the pending ones the
    /// lowest, if it is lower; if none is pending, the lowest of the active ones, for whatever the priority,
    /// because the guest may have dropped its own (EOImode 1) and because an empty pending set would
    /// raise the maintenance interrupt for ever.
    fn victim(&self, priority: u8) -> Option<usize> {
        let mut pending: Option<(u8, usize)> = None;
        let mut active: Option<(u8, usize)> = None;
        for n in 0..self.hw.list_registers() {
            let value = self.hw.read_list(n);
            let worst = if value.is_active() { &mut active } else { &mut pending };
            let entry = (value.priority() >> 3, n);
            if worst.is_none_or(|worst| worst < entry) {
                *worst = Some(entry);
            }
        }
        match (pending, active) {
            (Some((lowest, n)), _) => (lowest > priority >> 3).then_some(n),
            (None, Some((_, n))) => Some(n),
            (None, None) => None,
        }
    }

    /// Puts a pending interrupt of this vCPU into the list register, if it is still pending. [`Hardware::synchronize`] must
    /// follow.
    #[inline]
    fn load(&self, n: usize, id: IntId, bank: &Bank) -> bool {
        let mask = bit(id.get());
        let mut value = ListRegister(self.template(id)).with(ListRegister::PENDING, true);
        let mut tag = id.get() as u16;
        let line = !value.is_hardware() && bank.levels() & mask != 0;
        match self.take_latch(id, bank) {
            Some(source) => {
                value = value.with_source(if value.is_hardware() { value.source() } else { source });
                tag |= LATCHED;
            }
            None if !line => {
                self.release(id);
                return false;
            }
            None => {}
        }
        if !value.is_hardware() {
            value = value.with(ListRegister::END, line || self.is_latched(id, bank));
        }
        self.set_slot(id, n);
        self.put(n, value, tag);
        true
    }

    /// Moves what is in a list register back into software.
    pub(super) fn displace(&self, n: usize) {
        let value = self.hw.read_list(n);
        let shadow = self.shadow(n);
        let Some(id) = IntId::new(u32::from(shadow & SHADOW_ID)) else { return };
        let Some(bank) = self.bank(id) else { return };
        if value.is_pending() && (value.is_hardware() || shadow & LATCHED != 0) {
            self.put_back(id, value, bank);
        }
        self.put(n, ListRegister::EMPTY, SHADOW_ID);
        self.hw.synchronize();
        if value.is_active() {
            self.set_active_source(id, value.source());
            bank.active.fetch_or(bit(id.get()), SeqCst);
            self.set_displaced(id, true);
        } else if value.is_pending() {
            self.this.queue.insert(id, value.priority());
        }
    }

    /// Puts active interrupts back into list registers that nobody else needs.
    fn restore_active(&self) {
        if !self.this.queue.is_empty() {
            return;
        }
        for _ in 0..LISTS {
            let empty = self.hw.empty_lists();
            let Some(id) = self.best_displaced().filter(|_| empty != 0) else { return };
            let Some(bank) = self.bank(id) else { return };
            let n = empty.trailing_zeros() as usize;
            let mask = bit(id.get());
            self.set_displaced(id, false);
            if take(&bank.active, mask) == 0 {
                continue;
            }
            let mut value = ListRegister(self.template(id))
                .with(ListRegister::PENDING, false)
                .with(ListRegister::ACTIVE, true);
            if !value.is_hardware() {
                let more = bank.levels() & mask != 0 || self.is_latched(id, bank);
                value = value.with_source(self.active_source(id)).with(ListRegister::END, more);
            }
            self.set_slot(id, n);
            self.put(n, value, id.get() as u16);
            self.hw.synchronize();
        }
    }

    /// Deactivates what the guest ended without its being in a list register. Ends from before anything was
    /// displaced are of interrupts that were not active.
    fn count_ends(&self) {
        let counting = self.this.maintenance.load(Relaxed) & Maintenance::NOT_PRESENT.bits() != 0;
        if !counting || self.this.displaced_words.load(Relaxed) == 0 {
            return;
        }
        for _ in 0..self.hw.take_end_count().min(32) {
            let Some(id) = self.best_displaced() else { return };
            let Some(bank) = self.bank(id) else { return };
            bank.ask(&bank.drop_active, &bank.activate, bit(id.get()));
            self.look(id);
        }
    }

    fn ask_for_maintenance(&self) {
        let mut causes = Maintenance::empty();
        let mut gate = self.this.gate.load(Relaxed) & GATE_OFF;
        if !self.this.queue.is_empty() {
            gate |= GATE_QUEUE;
            causes |= Maintenance::NO_PENDING;
            if self.hw.list_registers() > 1 {
                // With a single list register this would be raised even while it is in use.
                causes |= Maintenance::UNDERFLOW;
            }
        }
        if self.this.displaced_words.load(Relaxed) != 0 {
            gate |= GATE_DISPLACED;
            causes |= Maintenance::NOT_PRESENT | Maintenance::TRAP_DEACTIVATE;
        }
        self.this.gate.store(gate, Relaxed);
        let before = self.this.maintenance.load(Relaxed);
        if before != causes.bits() {
            if causes.contains(Maintenance::NOT_PRESENT) && before & Maintenance::NOT_PRESENT.bits() == 0 {
                // See `count_ends`.
                self.hw.take_end_count();
            }
            self.this.maintenance.store(causes.bits(), Relaxed);
            self.hw.set_maintenance(causes);
        }
    }

    /// The highest priority among what is active here outside the list registers.
    fn best_displaced(&self) -> Option<IntId> {
        let mut best: Option<(u8, IntId)> = None;
        for word in Bits(self.this.displaced_words.load(Relaxed)) {
            let bits = self.this.displaced.get(word as usize).map_or(0, |bits| bits.load(Relaxed));
            for number in Bits(bits) {
                let Some(id) = IntId::new(word << 5 | number) else { continue };
                let entry = (self.priority(id), id);
                if best.is_none_or(|best| entry < best) {
                    best = Some(entry);
                }
            }
        }
        best.map(|(_, id)| id)
    }

    #[inline]
    pub(super) fn is_displaced(&self, id: IntId) -> bool {
        let word = self.this.displaced.get((id.get() >> 5) as usize);
        word.is_some_and(|word| word.load(Relaxed) & bit(id.get()) != 0)
    }

    #[inline]
    pub(super) fn set_displaced(&self, id: IntId, displaced: bool) {
        let Some(word) = self.this.displaced.get((id.get() >> 5) as usize) else { return };
        let (bits, summary) = (word.load(Relaxed), self.this.displaced_words.load(Relaxed));
        let (mask, word_mask) = (bit(id.get()), bit(id.get() >> 5));
        let bits = if displaced { bits | mask } else { bits & !mask };
        word.store(bits, Relaxed);
        let summary = if bits == 0 { summary & !word_mask } else { summary | word_mask };
        self.this.displaced_words.store(summary, Relaxed);
    }

    #[inline]
    pub(super) fn template(&self, id: IntId) -> u64 {
        match self.gic.spi(id) {
            Some(spi) => spi.template.load(SeqCst),
            None => self.this.templates.get(id.get() as usize).map_or(0, |template| template.load(Relaxed)),
        }
    }

    #[inline]
    pub(super) fn priority(&self, id: IntId) -> u8 {
        ListRegister(self.template(id)).priority()
    }

    /// The group that the guest has put the interrupt into.
    pub(super) fn is_group1(&self, id: IntId) -> bool {
        ListRegister(self.template(id)).is_group1()
    }

    fn set_slot(&self, id: IntId, n: usize) {
        if let Some(slot) = self.this.slot.get(id.get() as usize) {
            slot.store(n as u8, Relaxed);
        }
    }

    fn active_source(&self, id: IntId) -> u8 {
        self.this.active_source.get(id.get() as usize).map_or(0, |source| source.load(Relaxed))
    }

    fn set_active_source(&self, id: IntId, source: u8) {
        if let Some(word) = self.this.active_source.get(id.get() as usize) {
            word.store(source, Relaxed);
        }
    }

    #[inline]
    fn has_senders(&self, id: IntId) -> bool {
        self.gic.version == Version::V2 && id.is_sgi()
    }

    /// Whether the interrupt is pending in software, its line aside.
    #[inline]
    pub(super) fn is_latched(&self, id: IntId, bank: &Bank) -> bool {
        if self.has_senders(id) { self.senders(id) != 0 } else { has(&bank.latch, bit(id.get())) }
    }

    /// Takes the latch: the interrupt moves into a list register. The sender, for GICv2's SGIs; else 0.
    #[inline]
    pub(super) fn take_latch(&self, id: IntId, bank: &Bank) -> Option<u8> {
        if !self.has_senders(id) {
            return (take(&bank.latch, bit(id.get())) != 0).then_some(0);
        }
        let senders = self.senders(id);
        if senders == 0 {
            return None;
        }
        let source = senders.trailing_zeros() as u8;
        self.remove_senders(id, 1u8.wrapping_shl(u32::from(source)));
        Some(source)
    }

    /// The opposite of [`Local::take_latch`].
    fn latch(&self, id: IntId, source: u8, bank: &Bank) {
        self.add_source(id, source);
        bank.latch.fetch_or(bit(id.get()), SeqCst);
    }

    /// Makes what a list register holds pending in software again.
    pub(super) fn put_back(&self, id: IntId, value: ListRegister, bank: &Bank) {
        self.latch(id, value.source(), bank);
    }

    /// GICv2: who sent the pending software generated interrupt, a bit each.
    #[inline]
    pub(super) fn senders(&self, id: IntId) -> u8 {
        let word = self.this.sources.get((id.get() >> 2) as usize);
        word.map_or(0, |word| byte(word.load(Relaxed), id.get() & 3))
    }

    /// GICv2: one more sender. Nothing for other interrupts.
    pub(super) fn add_source(&self, id: IntId, source: u8) {
        if self.has_senders(id)
            && let Some(word) = self.this.sources.get((id.get() >> 2) as usize)
        {
            let shift = (id.get() & 3).wrapping_mul(8).wrapping_add(u32::from(source & 7));
            word.store(word.load(Relaxed) | bit(shift), Relaxed);
        }
    }

    /// GICv2: these senders no longer; the latch falls with the last.
    pub(super) fn remove_senders(&self, id: IntId, senders: u8) {
        let Some(word) = self.this.sources.get((id.get() >> 2) as usize) else { return };
        let mask = u32::from(senders).wrapping_shl((id.get() & 3).wrapping_mul(8));
        word.store(word.load(Relaxed) & !mask, Relaxed);
        if self.senders(id) == 0 {
            self.this.bank.latch.fetch_and(!bit(id.get()), SeqCst);
        }
    }

    /// GICv2: takes the senders of an SGI out of the mail.
    #[inline]
    pub(super) fn take_mail(&self, number: u32) -> u32 {
        let Some(word) = self.this.mail.get((number >> 2 & 3) as usize) else { return 0 };
        let shift = (number & 3).wrapping_mul(8);
        let mask = 0xffu32.wrapping_shl(shift);
        take(word, mask).wrapping_shr(shift)
    }
}
