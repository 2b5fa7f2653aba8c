// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Software generated interrupts: sending them, and GICv2's registers of their senders.

use super::bits::{Bits, bit, byte};
use super::hardware::confined;
use super::list::ListRegister;
use super::state::Vcpu;
use super::{Gic, Hardware, Local, Seat, Version};
use bulkhead_types::{IntId, Mpidr, VcpuId};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The system register that a GICv3 guest writes to send a software generated interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgiRegister {
    /// ICC_SGI0R_EL1: reaches those for whom the interrupt is in group 0.
    Sgi0,
    /// ICC_SGI1R_EL1: reaches those for whom it is in group 1.
    Sgi1,
    /// ICC_ASGI1R_EL1: the other security state's group 1. With one security state that group is empty, and
    /// its interrupts may be delivered as group 0 (IHI 0069, ICC_ASGI1R_EL1).
    Asgi1,
}

impl SgiRegister {
    const fn is_group1(self) -> bool {
        matches!(self, Self::Sgi1)
    }
}

/// Where GICv2's distributor has GICD_SGIR (IHI 0048).
pub const GICD_SGIR: u64 = 0xf00;

/// Interrupt_Routing_Mode: all vCPUs but the sender.
const ALL_OTHERS: u64 = 1 << 40;

/// Whom GICD_SGIR names, a bit each. The reserved filter sends nothing.
#[inline(always)]
const fn targets_v2(value: u32, sender: u16) -> u32 {
    let me = bit(sender as u32) & 0xff;
    match value >> 24 & 3 {
        0 => value >> 16 & 0xff,
        1 => !me & 0xff,
        2 => me,
        _ => 0,
    }
}

impl<'g> Seat<'g> {
    /// The guest sends a software generated interrupt through a system register (IHI 0069, ICC_SGI1R_EL1). Delivers it
    /// if it goes to the sender alone, and at once; false leaves all to [`Seat::send_sgi`].
    #[inline(always)]
    pub fn send_to_self<H: Hardware>(self, register: SgiRegister, value: u64, hw: &'g H) -> bool {
        let number = (value >> 24) as u8 & 0xf;
        value & !(0xf << 24) == self.this.self_sgi
            && self.gic.takes(self.this, number, register)
            && self.with(hw).inject_sgi(number, 0)
    }

    /// As [`Seat::send_to_self`], for a GICv2's GICD_SGIR; false leaves all to [`Seat::send_sgi_v2`].
    #[inline(always)]
    pub fn send_to_self_v2<H: Hardware>(self, value: u32, hw: &'g H) -> bool {
        targets_v2(value, self.me) == bit(self.me.into())
            && self.with(hw).inject_sgi(value as u8 & 0xf, self.me as u8 & 7)
    }

    /// The guest writes to GICD_SGIR.
    pub fn send_sgi_v2<H: Hardware>(self, value: u32, hw: &'g H) {
        self.with(hw).send_sgi_v2(value);
    }

    /// Sends a software generated interrupt, to whomever `value` names.
    pub fn send_sgi<H: Hardware>(self, register: SgiRegister, value: u64, hw: &'g H) {
        self.with(hw).send_sgi((value >> 24) as u8 & 0xf, register, value);
    }
}

impl Gic<'_> {
    /// Whether the vCPU has the interrupt in the group that the register is for.
    #[inline]
    fn takes(&self, vcpu: &Vcpu, number: u8, register: SgiRegister) -> bool {
        (vcpu.bank.group.load(Relaxed) & bit(u32::from(number)) != 0) == register.is_group1()
    }
}

impl<H: Hardware> Local<'_, H> {
    /// Sends an SGI to a vCPU of the guest's choice, if there is such a one, and it `takes` it.
    #[inline(always)]
    fn send(&self, to: u32, number: u8, takes: impl Fn(&Vcpu) -> bool) {
        let Some(to) = confined::<H>(to, self.gic.vcpus.len()) else { return };
        let to = to as u16;
        match self.gic.vcpu(to).filter(|vcpu| takes(vcpu)) {
            Some(_) if to == self.me => self.deliver_sgi(number, self.as_source()),
            Some(vcpu) => self.post_sgi(to, vcpu, number),
            None => {}
        }
    }

    /// Puts an SGI into another vCPU's inbox. What is in the inbox when a vCPU is off waits there.
    #[inline]
    fn post_sgi(&self, to: u16, vcpu: &Vcpu, number: u8) {
        if self.gic.version == Version::V2
            && let Some(mail) = vcpu.mail.get(usize::from(number >> 2))
        {
            mail.fetch_or(bit(u32::from((number & 3) << 3 | self.as_source())), SeqCst);
        }
        let before = vcpu.inbox.fetch_or(bit(number.into()), SeqCst);
        // Where something was in the inbox already, whoever put it there kicks, or has kicked and the
        // inbox has not been emptied since.
        if before == 0 && vcpu.on.load(SeqCst) {
            self.hw.kick(VcpuId(to));
        }
    }

    /// GICv2: this vCPU as the sender of an SGI; else 0.
    fn as_source(&self) -> u8 {
        if self.gic.version == Version::V2 { self.me as u8 & 7 } else { 0 }
    }

    /// GICD_SGIR (IHI 0048).
    #[inline(always)]
    pub(super) fn send_sgi_v2(&self, value: u32) {
        Bits(targets_v2(value, self.me)).for_each(|to| self.send(to, value as u8 & 0xf, |_| true));
    }

    fn send_sgi(&self, number: u8, register: SgiRegister, value: u64) {
        let takes = |vcpu: &Vcpu| self.gic.takes(vcpu, number, register);
        if value & ALL_OTHERS != 0 {
            let others = (0..self.gic.vcpus.len() as u32).filter(|&n| n != u32::from(self.me));
            return others.for_each(|n| self.send(n, number, takes));
        }
        // Aff3 to Aff1 are those of MPIDR_EL1, further up; Aff0 is 0 to 15, a bit each.
        let cluster = (value >> 48 & 0xff) << 32 | (value >> 32 & 0xff) << 16 | (value >> 16 & 0xff) << 8;
        for member in Bits(value as u32 & 0xffff) {
            if let Some(to) = VcpuId::of(Mpidr::from_register(cluster | u64::from(member))) {
                self.send(to.0.into(), number, takes);
            }
        }
    }

    /// GICD_SPENDSGIR and GICD_CPENDSGIR: the senders of four SGIs that are pending for this vCPU.
    pub(super) fn sgi_senders(&self, register: u32) -> u64 {
        let register = register & 3;
        let mut senders = self.this.sources.get(register as usize).map_or(0, |word| word.load(Relaxed));
        for n in Bits(self.used_lists()) {
            let value = self.hw.read_list(n as usize);
            if let Some(id) = value.interrupt().filter(|id| id.get() >> 2 == register && value.is_pending()) {
                senders |= bit((id.get() & 3) << 3 | u32::from(value.source()));
            }
        }
        u64::from(senders)
    }

    /// GICD_SPENDSGIR: makes SGIs pending as if these CPUs had sent them.
    pub(super) fn set_sgi_senders(&self, register: u32, value: u32) {
        self.serve();
        for n in Bits(value) {
            let number = (register & 3) << 2 | n >> 3;
            if (n & 7) < self.gic.vcpus.len() as u32 && self.sgi_senders(register) & u64::from(bit(n)) == 0 {
                self.deliver_sgi(number as u8, (n & 7) as u8);
            }
        }
    }

    /// GICD_CPENDSGIR: no longer pending from these CPUs.
    pub(super) fn clear_sgi_senders(&self, register: u32, value: u32) {
        self.serve();
        for n in 0..4 {
            let id = IntId::sgi(((register & 3) << 2 | n) as u8);
            let senders = byte(value, n);
            self.remove_senders(id, senders);
            if let Some(list) = self.listed(id) {
                let listed = self.hw.read_list(list);
                if listed.is_pending() && bit(u32::from(listed.source())) & u32::from(senders) != 0 {
                    let rest = listed.with(ListRegister::PENDING, false);
                    self.hw.write_list(list, if rest.is_active() { rest } else { ListRegister::EMPTY });
                }
            }
            self.look(id);
        }
        self.refill();
    }
}
