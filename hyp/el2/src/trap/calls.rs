// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of a guest by HVC and SMC, and what they ask of its CPUs.

use crate::cpu::Guest;
use crate::interrupts::{self, Lines};
use crate::registers::{dsb_sy, isb};
use crate::vectors::Frame;
use crate::world;
use bulkhead_el2::life::Ending;
use bulkhead_machine::gic::{Hardware, ListRegister};
use bulkhead_machine::psci::{Cpus, Entry, ErrorCode, PowerState, Wake};
use bulkhead_machine::smccc::{Call, Context, Outcome, constant, handle};
use bulkhead_platform::gic::{Controller, InterruptController};
use bulkhead_types::{Ipa, Mpidr, VcpuId};

const SUCCESS: u64 = 0;

/// The partition's CPUs, as PSCI asks about them.
impl Cpus for Guest {
    fn count(&self) -> u16 {
        self.partition.vcpus.len() as u16
    }

    #[inline]
    fn find(&self, mpidr: Mpidr) -> Option<VcpuId> {
        let id = VcpuId::of(mpidr).filter(|id| id.0 < self.count())?;
        // The guest's choice, and the vCPU's state decides what follows.
        Some(VcpuId(Lines::<InterruptController>::confine(id.0.into(), self.count().into()) as u16))
    }

    fn mpidr(&self, vcpu: VcpuId) -> Mpidr {
        vcpu.mpidr()
    }

    fn state(&self, vcpu: VcpuId) -> PowerState {
        self.partition.vcpus.get(usize::from(vcpu.0)).map_or(PowerState::Off, |vcpu| vcpu.power.state())
    }

    fn try_turn_on(&self, vcpu: VcpuId, entry: Entry) -> Result<(), ErrorCode> {
        let vcpu = self.partition.vcpus.get(usize::from(vcpu.0)).ok_or(ErrorCode::AlreadyOn)?;
        vcpu.power.try_turn_on(entry)
    }

    fn has_memory(&self, address: Ipa) -> bool {
        let memory = &self.partition.plan.memory;
        memory.iter().any(|memory| address.0.wrapping_sub(memory.guest.0) < memory.frames.size())
    }
}

/// Answers a call, whoever makes it. Unknown ones are NOT_SUPPORTED, and none is passed on.
#[inline(always)]
pub fn answer(frame: &mut Frame, immediate: u16) {
    match constant(frame.get(0) as u32) {
        Some(value) if immediate == 0 => frame.set(0, value),
        _ => answer_any(frame, immediate),
    }
}

#[inline(never)]
fn answer_any(frame: &mut Frame, immediate: u16) {
    let guest = frame.guest;
    let call = Call::new([frame.get(0), frame.get(1), frame.get(2), frame.get(3)], immediate);
    let entropy = guest.partition.entropy(guest.system);
    let context = Context { caller: guest.vcpu.id, cpus: guest, told: &guest.told, entropy: &entropy };
    match handle(&call, &context) {
        Outcome::Return(value) => frame.set(0, value),
        outcome => carry_out(frame, outcome),
    }
}

/// What more an answer may ask for than a value.
#[inline(never)]
fn carry_out(frame: &mut Frame, outcome: Outcome) {
    let guest = frame.guest;
    match outcome {
        Outcome::Return(value) => frame.set(0, value),
        Outcome::Return4(values) => {
            for (register, value) in (0..).zip(values) {
                frame.set(register, value);
            }
        }
        Outcome::Started(vcpu) => {
            if let Some(vcpu) = guest.partition.vcpus.get(usize::from(vcpu.0)) {
                interrupts::kick(guest.system, vcpu.cpu);
            }
            frame.set(0, SUCCESS);
        }
        Outcome::CpuOff => guest.partition.leave(guest.system, guest.vcpu),
        Outcome::Suspend(wake) => {
            wait_for_wake_up(guest);
            match wake {
                // With an SError pending a CPU does not power down, for it would lose it: to that call, too, an
                // early return is an answer (DEN 0022, CPU_SUSPEND).
                Wake::Enter(entry) if !world::has_error() => guest.partition.resume(guest, entry),
                Wake::Enter(_) | Wake::Return => frame.set(0, SUCCESS),
            }
        }
        Outcome::SystemOff => end(guest, Ending::Off),
        Outcome::SystemReset => end(guest, Ending::Restart),
        Outcome::Crash(code) => {
            super::crash(frame, format_args!("it said that it cannot go on, with code {code:#x}"), None)
        }
        Outcome::Mitigate { function } => {
            guest.system.firmware.ask(function, 0);
            frame.set(0, SUCCESS);
        }
    }
}

fn end(guest: &Guest, ending: Ending) -> ! {
    guest.partition.end(guest.system, ending);
    guest.partition.leave(guest.system, guest.vcpu)
}

/// Waits until there is an interrupt or an SError for the guest; serves the hypervisor's own meanwhile, which do not
/// end a guest's suspension. EL2's WFI knows nothing of virtual interrupts: whoever has one pending does not wait.
fn wait_for_wake_up(guest: &'static Guest) {
    loop {
        if guest.partition.must_leave() {
            guest.partition.leave(guest.system, guest.vcpu);
        }
        let controller = &guest.system.controller;
        let is_pending =
            (0..controller.list_registers()).any(|n| ListRegister(controller.read_list(n)).is_pending());
        if is_pending || world::has_error() {
            return;
        }
        dsb_sy();
        // SAFETY: waits for an interrupt, which stays pending until it is acknowledged below.
        unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) };
        isb();
        interrupts::handle_idle(guest.system, guest.cpu);
    }
}
