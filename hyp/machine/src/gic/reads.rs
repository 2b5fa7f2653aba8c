// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the guest reads of interrupts' state, wherever it is kept at the moment.

use super::bits::{Bits, bit};
use super::map::Field;
use super::state::{TOLD_ACTIVE, TOLD_PENDING};
use super::writes::Target;
use super::{Hardware, ListRegister, Local, SHADOW_ID};
use bulkhead_types::VcpuId;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<H: Hardware> Local<'_, H> {
    pub(super) fn read_bits(&self, target: &Target<'_>, field: Field) -> u64 {
        let bank = target.bank;
        let value = match field {
            Field::Group => bank.group.load(Relaxed),
            Field::SetEnable | Field::ClearEnable => bank.enabled.load(Relaxed),
            Field::SetPending | Field::ClearPending => self.read_pending(target),
            Field::SetActive | Field::ClearActive => self.read_active(target),
        };
        u64::from(value & target.valid)
    }

    pub(super) fn read_priority(&self, target: &Target<'_>, register: u32) -> u64 {
        let word = target.bank.priority.get((register & 7) as usize);
        word.map_or(0, |word| u64::from(word.load(Relaxed)))
    }

    fn read_pending(&self, target: &Target<'_>) -> u32 {
        if target.owner == self.me {
            self.serve();
        }
        let bank = target.bank;
        let dropped = bank.drop_pending.load(SeqCst);
        let mut pending = bank.latch.load(SeqCst)
            | bank.raise.load(SeqCst)
            | self.listed_elsewhere(target, TOLD_PENDING)
            | self.listed_bits(target, |value| value.is_pending());
        if target.owner != self.me {
            pending |= self.gic.vcpu(target.owner).map_or(0, |owner| owner.inbox.load(SeqCst));
        }
        let owned = bank.owned.load(Relaxed);
        let mut lines = bank.levels();
        if owned != 0 {
            let physical = owned & self.hw.pending(VcpuId(target.owner), target.word as usize);
            pending |= physical;
            lines |= physical & !bank.edge.load(SeqCst);
        }
        (pending & !dropped) | lines
    }

    fn read_active(&self, target: &Target<'_>) -> u32 {
        let bank = target.bank;
        let active = bank.active.load(SeqCst)
            | bank.activate.load(SeqCst)
            | self.listed_elsewhere(target, TOLD_ACTIVE)
            | self.listed_bits(target, |value| value.is_active());
        active & !bank.drop_active.load(SeqCst)
    }

    /// The interrupts of the bank in this vCPU's list registers for which `test` holds.
    fn listed_bits(&self, target: &Target<'_>, test: impl Fn(ListRegister) -> bool) -> u32 {
        if target.owner != self.me {
            return 0;
        }
        let lists = self.lists_of(target.word).filter(|&(n, _)| test(self.hw.read_list(n)));
        lists.fold(0, |found, (_, mask)| found | mask)
    }

    /// The interrupts of the word in this vCPU's list registers.
    pub(super) fn listed_of(&self, word: u32) -> u32 {
        self.lists_of(word).fold(0, |found, (_, mask)| found | mask)
    }

    /// The list registers with interrupts of the word, and the bit of each.
    fn lists_of(&self, word: u32) -> impl Iterator<Item = (usize, u32)> {
        let used =
            Bits(self.used_lists()).map(|n| (n as usize, u32::from(self.shadow(n as usize) & SHADOW_ID)));
        used.filter(move |(_, id)| id >> 5 == word).map(|(n, id)| (n, bit(id)))
    }
}
