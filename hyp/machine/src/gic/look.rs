// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looking at one interrupt: carry out what was asked, and make list register and queue say what the
//! software state says. Idempotent, so looking once too often does no harm.

use super::bits::{bit, take};
use super::list::ListRegister;
use super::state::{Bank, GATE_OFF, LATCHED, NOBODY, has};
use super::{Hardware, Local, Version};
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// What the guest asked of an interrupt and its holder has to carry out.
#[derive(Default)]
struct Requests {
    drop_pending: bool,
    raise: bool,
    drop_active: bool,
    activate: bool,
}

impl Requests {
    #[inline]
    fn take(bank: &Bank, mask: u32) -> Self {
        if take(&bank.asked, mask) == 0 {
            return Self::default();
        }
        Self {
            drop_pending: take(&bank.drop_pending, mask) != 0,
            raise: take(&bank.raise, mask) != 0,
            drop_active: take(&bank.drop_active, mask) != 0,
            activate: take(&bank.activate, mask) != 0,
        }
    }
}

impl<H: Hardware> Local<'_, H> {
    /// Brings the interrupt's list register or place in the queue up to date. [`Local::refill`] must follow.
    pub(super) fn look(&self, id: IntId) {
        let Some(bank) = self.bank(id) else { return };
        match self.listed(id) {
            Some(n) => {
                let value = self.hw.read_list(n);
                let new = if value.is_hardware() {
                    self.look_at_hardware(value, id, bank)
                } else {
                    self.look_at_virtual(n, value, id, bank)
                };
                if new == ListRegister::EMPTY {
                    self.hw.write_list(n, new);
                    self.hw.synchronize();
                    self.set_shadow(n, super::SHADOW_ID);
                    self.release(id);
                    self.look_at_waiting(id, bank);
                } else if new != value {
                    self.hw.write_list(n, new);
                    self.hw.synchronize();
                }
            }
            None => self.look_at_waiting(id, bank),
        }
    }

    /// Enabled, routed here, and the vCPU runs: a physical interrupt may come through.
    #[inline]
    fn is_allowed(&self, id: IntId) -> bool {
        self.this.gate.load(Relaxed) & GATE_OFF == 0
            && self.template(id) & ListRegister::PENDING != 0
            && self.is_target(id)
    }

    /// What an owned interrupt's list register should hold.
    fn look_at_hardware(&self, value: ListRegister, id: IntId, bank: &Bank) -> ListRegister {
        let mask = bit(id.get());
        let asked = Requests::take(bank, mask);
        let value = value.with_priority(self.priority(id)).with(ListRegister::GROUP1, self.is_group1(id));
        let is_edge = has(&bank.edge, mask);
        if asked.drop_pending {
            self.clear_private_pending(id);
        }
        if value.is_active() {
            if asked.raise {
                self.hw.set_pending(self.id(), id);
            }
            if asked.drop_active {
                self.hw.deactivate(self.id(), id);
                return ListRegister::EMPTY;
            }
            return value;
        }
        if asked.activate {
            // Pending and active cannot be said in such a list register: the pending part goes back.
            if is_edge && !asked.drop_pending {
                self.hw.set_pending(self.id(), id);
            }
            return value.with(ListRegister::PENDING, false).with(ListRegister::ACTIVE, true);
        }
        if asked.drop_pending {
            self.hw.deactivate(self.id(), id);
            return ListRegister::EMPTY;
        }
        if !self.is_allowed(id) {
            self.hand_back(id, bank);
            return ListRegister::EMPTY;
        }
        if !self.gic.is_open(self.template(id)) {
            // Handed back it would come again at once: it stays acknowledged until its group opens.
            bank.latch.fetch_or(mask, SeqCst);
            return ListRegister::EMPTY;
        }
        value
    }

    /// What the list register `n` of an interrupt that software drives should hold.
    fn look_at_virtual(&self, n: usize, value: ListRegister, id: IntId, bank: &Bank) -> ListRegister {
        let mask = bit(id.get());
        let asked = Requests::take(bank, mask);
        let mut latched = self.shadow(n) & LATCHED != 0;
        let mut pending = value.is_pending();
        let active = (value.is_active() && !asked.drop_active) || asked.activate;
        let line = bank.levels() & mask != 0;
        let open = self.is_allowed(id) && self.gic.is_open(self.template(id));
        let mut value = value;

        let has_sender = self.gic.version == Version::V2 && id.is_sgi();
        if has_sender && (pending || active) && open {
            // Sent again by the same CPU: before the first was acknowledged that is one, else pending again.
            let sender = 1u8.wrapping_shl(u32::from(value.source()));
            if self.senders(id) & sender != 0 {
                self.remove_senders(id, sender);
                (pending, latched) = (true, true);
            }
        }
        if asked.drop_pending {
            (pending, latched) = (false, false);
        }
        if pending && !latched && !line {
            pending = false;
        }
        if pending && !open {
            if latched {
                self.put_back(id, value, bank);
            }
            pending = false;
        }
        if open {
            // A list register names one sender: the next one of the same SGI waits for its end.
            let same_sender = self.gic.version == Version::V3 || !id.is_sgi();
            if (same_sender || !(pending || active))
                && let Some(source) = self.take_latch(id, bank)
            {
                value = value.with_source(source);
                (pending, latched) = (true, true);
            }
            if line && !pending {
                (pending, latched) = (true, false);
            }
        }
        if !(pending || active) {
            return ListRegister::EMPTY;
        }
        self.set_shadow(n, id.get() as u16 | if pending && latched { LATCHED } else { 0 });
        // What is pending in software when this one ends is for the maintenance interrupt to find.
        let more = has(&bank.enabled, mask) && (line || self.is_latched(id, bank));
        value
            .with(ListRegister::PENDING, pending)
            .with(ListRegister::ACTIVE, active)
            .with(ListRegister::END, more)
            .with(ListRegister::GROUP1, self.is_group1(id))
            .with_priority(self.priority(id))
    }

    /// An interrupt in no list register here: does it belong into the queue, or to somebody else?
    pub(super) fn look_at_waiting(&self, id: IntId, bank: &Bank) {
        let mask = bit(id.get());
        self.this.queue.remove(id);
        if self.is_held_elsewhere(id) {
            return;
        }
        if !self.is_displaced(id) {
            self.release(id);
        }
        let asked = Requests::take(bank, mask);
        let owned = has(&bank.owned, mask);
        if asked.drop_active && take(&bank.active, mask) != 0 {
            self.set_displaced(id, false);
            self.release(id);
            if owned {
                self.hw.deactivate(self.id(), id);
            }
        }
        if asked.activate {
            self.activate(id, bank, owned);
        }
        if owned {
            self.look_at_acknowledged(id, bank, &asked);
        }
        if self.is_displaced(id) {
            return;
        }
        let pending = self.is_latched(id, bank) || (!owned && bank.levels() & mask != 0);
        let active = has(&bank.active, mask);
        if !self.is_target(id) {
            if pending || active {
                self.gic.post(self.gic.target(id), id, self.hw);
            }
        } else if self.this.gate.load(Relaxed) & GATE_OFF != 0 {
        } else if active {
            if self.claim(id) {
                self.set_displaced(id, true);
            }
        } else if pending && self.gic.is_open(self.template(id)) && self.claim(id) {
            self.enqueue(id, bank);
        }
    }

    /// Whether another vCPU holds the interrupt; if so that one looks.
    fn is_held_elsewhere(&self, id: IntId) -> bool {
        let Some(spi) = self.gic.spi(id) else { return false };
        let holder = spi.holder.load(SeqCst);
        if holder == NOBODY || holder == self.me {
            return false;
        }
        if self.gic.post(holder, id, self.hw) {
            return true;
        }
        // A vCPU that goes off lets go of everything, so what it says is out of date.
        _ = spi.holder.compare_exchange(holder, NOBODY, SeqCst, SeqCst);
        false
    }

    /// Makes this vCPU the holder. Only the target claims, so this fails only when it is held elsewhere.
    fn claim(&self, id: IntId) -> bool {
        let Some(spi) = self.gic.spi(id) else { return true };
        match spi.holder.compare_exchange(NOBODY, self.me, SeqCst, SeqCst) {
            Ok(_) => true,
            Err(holder) if holder == self.me => true,
            Err(holder) => !self.gic.post(holder, id, self.hw),
        }
    }

    #[inline]
    fn activate(&self, id: IntId, bank: &Bank, owned: bool) {
        let mask = bit(id.get());
        if bank.active.fetch_or(mask, SeqCst) & mask != 0 || !owned {
            return;
        }
        if take(&bank.latch, mask) == 0 {
            self.hw.set_active(self.id(), id);
        } else if has(&bank.edge, mask) {
            // Acknowledged, so physically active already; pending as well from now on.
            self.hw.set_pending(self.id(), id);
        }
    }

    /// The physical part of a write to ICPENDR. A shared interrupt's is done by the writer, at once: here it
    /// could swallow an edge that came since.
    fn clear_private_pending(&self, id: IntId) {
        if id.is_private() {
            self.hw.clear_pending(self.id(), id);
        }
    }

    /// An owned interrupt that EL2 may have acknowledged without having delivered it.
    fn look_at_acknowledged(&self, id: IntId, bank: &Bank, asked: &Requests) {
        let mask = bit(id.get());
        if asked.drop_pending {
            self.clear_private_pending(id);
            if take(&bank.latch, mask) != 0 {
                self.hw.deactivate(self.id(), id);
            }
        }
        if asked.raise && !has(&bank.latch, mask) {
            self.hw.set_pending(self.id(), id);
        }
        if !self.is_allowed(id) && take(&bank.latch, mask) != 0 {
            self.hand_back(id, bank);
        }
    }
}
