// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's interrupts: taken here, handed to the guests that own them.

use crate::cpu::{Cpu, Guest};
use crate::partition::Partition;
use crate::system::System;
use crate::vectors::Frame;
use crate::{alive, console, counts, dump, monitor, timer, trap};
use bulkhead_machine::console::Input;
use bulkhead_machine::gic::{Hardware, ListRegister, Maintenance};
use bulkhead_platform::gic::{Controller, InterruptController};
use bulkhead_types::{CpuIndex, IntId, PartitionId, Trigger, VcpuId};
use core::sync::atomic::Ordering;
use spin::mutex::TicketMutex;

/// The software generated interrupt by which one CPU calls another's attention. Guests' own never
/// reach the physical interrupt controller.
const KICK: IntId = IntId::sgi(0);

/// Held while a register of triggers is read and written back: a few instructions. Partitions meet here, so CPUs
/// enter in the order in which they came.
static TRIGGERS: TicketMutex<()> = TicketMutex::new(());

/// ICH_HCR_EL2.En.
const ENABLE: u32 = 1;
/// ICH_HCR_EL2.EOIcount, bits 31:27.
const END_COUNT: u32 = 27;

/// The interrupt controller as a partition's virtual one uses it. What is frequent names the controller's version, so that
/// nothing on the way asks for it.
pub struct Lines<'a, C = InterruptController> {
    controller: &'a C,
    partition: &'a Partition,
}

impl<'a, C: Controller> Lines<'a, C> {
    /// The lines of `partition`.
    #[inline]
    pub const fn new(controller: &'a C, partition: &'a Partition) -> Self {
        Self { controller, partition }
    }

    #[inline]
    fn cpu(&self, vcpu: VcpuId) -> CpuIndex {
        // The virtual GIC names only vCPUs that it was made with, which all have a CPU.
        self.partition.vcpus.get(usize::from(vcpu.0)).map_or(CpuIndex(u16::MAX), |vcpu| vcpu.cpu)
    }
}

impl<C: Controller> Hardware for Lines<'_, C> {
    #[inline(always)]
    fn list_registers(&self) -> usize {
        self.controller.list_registers()
    }
    #[inline(always)]
    fn read_list(&self, n: usize) -> ListRegister {
        ListRegister(self.controller.read_list(n))
    }
    #[inline(always)]
    fn write_list(&self, n: usize, value: ListRegister) {
        self.controller.write_list(n, value.0);
    }
    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        self.controller.empty_lists()
    }
    fn ended_lists(&self) -> u32 {
        self.controller.ended_lists()
    }
    fn take_end_count(&self) -> u32 {
        let control = self.controller.virtual_control();
        self.controller.set_virtual_control(control & !(u32::MAX << END_COUNT));
        control >> END_COUNT
    }
    fn set_maintenance(&self, causes: Maintenance) {
        let kept = self.controller.virtual_control() & (u32::MAX << END_COUNT);
        self.controller.set_virtual_control(kept | ENABLE | causes.bits());
    }
    fn enable(&self, vcpu: VcpuId, id: IntId) {
        self.controller.enable(self.cpu(vcpu), id);
    }
    fn disable(&self, vcpu: VcpuId, id: IntId) {
        self.controller.disable(self.cpu(vcpu), id);
    }
    #[inline(always)]
    fn enable_shared(&self, word: u32, bits: u32) {
        self.controller.enable_shared(word, bits);
    }
    fn disable_shared(&self, word: u32, bits: u32) {
        self.controller.disable_shared(word, bits);
    }
    fn set_pending_shared(&self, word: u32, bits: u32) {
        self.controller.set_pending_shared(word, bits);
    }
    fn set_trigger(&self, vcpu: VcpuId, id: IntId, trigger: Trigger) -> Trigger {
        // A register holds sixteen interrupts, which may belong to different partitions.
        let _alone = TRIGGERS.lock();
        self.controller.set_trigger(self.cpu(vcpu), id, trigger)
    }
    fn set_priority(&self, _: VcpuId, _: IntId, _: u8) {
        // All physical interrupts have one priority: see `platform::gic`.
    }
    fn route(&self, id: IntId, to: VcpuId) {
        // The guest names it by its affinity, and where its CPU is read is the next index.
        let to = VcpuId(Self::confine(to.0.into(), self.partition.vcpus.len() as u32) as u16);
        self.controller.route(id, self.cpu(to));
    }
    fn set_pending(&self, vcpu: VcpuId, id: IntId) {
        self.controller.set_pending(self.cpu(vcpu), id);
    }
    fn clear_pending(&self, vcpu: VcpuId, id: IntId) {
        self.controller.clear_pending(self.cpu(vcpu), id);
    }
    fn set_active(&self, vcpu: VcpuId, id: IntId) {
        self.controller.set_active(self.cpu(vcpu), id);
    }
    fn deactivate(&self, vcpu: VcpuId, id: IntId) {
        self.controller.clear_active(self.cpu(vcpu), id);
    }
    fn pending(&self, vcpu: VcpuId, word: usize) -> u32 {
        self.controller.pending(self.cpu(vcpu), word)
    }
    #[inline(always)]
    fn synchronize(&self) {
        self.controller.synchronize_lists();
    }
    #[inline(always)]
    fn confine(index: u32, limit: u32) -> u32 {
        let confined;
        // SAFETY: arithmetic on registers alone. CSDB (`hint #20`): what follows uses no value that a conditional
        // select would have given by a prediction (Arm ARM, C6.2.81, and "Cache speculation side-channels", 2020).
        unsafe {
            core::arch::asm!("cmp {0:w}, {1:w}", "csel {0:w}, {0:w}, wzr, lo", "hint #20",
                inout(reg) index => confined, in(reg) limit, options(pure, nomem, nostack));
        }
        confined
    }
    fn kick(&self, vcpu: VcpuId) {
        self.controller.send(self.cpu(vcpu), KICK);
    }
}

/// Prepares this CPU's interface, and lets the interrupts in that EL2 takes for itself.
pub fn start_cpu(system: &System, cpu: &Cpu) {
    let controller = &system.controller;
    controller.start_cpu(cpu.index);
    controller.enable(cpu.index, KICK);
    // A level, as every PPI of the GIC itself; after power-on it may be set to anything (GICR_ICFGR1).
    controller.set_trigger(cpu.index, system.maintenance, Trigger::Level);
    controller.enable(cpu.index, system.maintenance);
    if let Some(timer) = system.timer {
        alive::come_by(system, cpu);
        timer::rest(system, cpu);
        controller.set_trigger(cpu.index, timer, Trigger::Level);
        controller.enable(cpu.index, timer);
    }
    controller.set_virtual_control(ENABLE);
}

/// Sends the console's interrupt to the first CPU of the partition in focus. While that partition is stopped, or its first
/// vCPU is off, the CPU waits at EL2 and serves it there. Where the CPU never came up, it stays where it is.
pub fn route_console(system: &System, focus: PartitionId) {
    let first = system.partitions.get(usize::from(focus.0)).and_then(|partition| partition.vcpus.first());
    let cpu = first.and_then(|vcpu| system.cpus.get(usize::from(vcpu.cpu.0)));
    if let (Some((id, _)), Some(cpu)) = (system.console, cpu.filter(|cpu| cpu.is_online())) {
        system.controller.route(id, cpu.index);
    }
}

/// Lets the console's interrupt come to `cpu`.
pub fn open_console(system: &System, cpu: &Cpu) {
    if let Some((id, trigger)) = system.console {
        system.controller.set_trigger(cpu.index, id, trigger);
        system.controller.route(id, cpu.index);
        system.controller.enable(cpu.index, id);
    }
}

/// Calls the attention of another CPU, or of this one.
pub fn kick(system: &System, cpu: CpuIndex) {
    system.controller.send(cpu, KICK);
}

/// Takes the interrupt that came while a guest runs here.
#[inline(always)]
pub fn handle(guest: &'static Guest) {
    match &guest.system.controller {
        InterruptController::V2(controller) => take(guest, controller),
        InterruptController::V3(controller) => take(guest, controller),
    }
}

#[inline(always)]
fn take(guest: &'static Guest, controller: &impl Controller) {
    let acknowledged = controller.acknowledge();
    let Some(id) = IntId::new(controller.interrupt(acknowledged)) else {
        return foreign(guest.system, acknowledged);
    };
    controller.drop_priority(acknowledged);
    // Only interrupts that a partition owns are enabled, and only towards its own CPUs; EL2's are nobody's.
    if !guest.seat.inject(id, &Lines::new(controller, guest.partition)) {
        take_slowly(guest, acknowledged);
    }
}

#[inline(never)]
fn take_slowly(guest: &'static Guest, acknowledged: u32) {
    let Some(id) = IntId::new(guest.system.controller.interrupt(acknowledged)) else { return };
    if guest.system.keeps(id) {
        guest.exits.count(match id {
            KICK => counts::KICKS,
            _ if id == guest.system.maintenance => counts::REFILLS,
            _ => counts::OWN,
        });
        // SAFETY: the vCPU that runs here left by this interrupt, so its registers are in the frame.
        let frame = unsafe { Frame::of(guest.cpu) };
        keep(guest.system, guest.cpu, acknowledged, id, Some(frame));
        if guest.partition.must_leave() {
            guest.partition.leave(guest.system, guest.vcpu);
        }
    } else {
        guest.seat.accept(id, &guest.partition.lines(guest.system));
    }
}

/// Takes the interrupt that ended the wait of a CPU whose vCPU is off, if there is one.
pub fn handle_idle(system: &'static System, cpu: &'static Cpu) {
    let controller = &system.controller;
    let acknowledged = controller.acknowledge();
    let Some(id) = IntId::new(controller.interrupt(acknowledged)) else {
        return foreign(system, acknowledged);
    };
    controller.drop_priority(acknowledged);
    match cpu.guest() {
        _ if system.keeps(id) => keep(system, cpu, acknowledged, id, None),
        Some(guest) => guest.seat.accept(id, &guest.partition.lines(system)),
        None => {
            controller.disable(cpu.index, id);
            controller.deactivate_acknowledged(acknowledged);
        }
    }
}

/// Nothing is pending any more (1020 to 1023), or it is an interrupt that nobody here enabled: a
/// message-based one of firmware's, which ends with its priority.
#[cold]
fn foreign(system: &System, acknowledged: u32) {
    if system.controller.interrupt(acknowledged) > 1023 {
        system.controller.drop_priority(acknowledged);
    }
}

/// Serves an interrupt of the hypervisor's own: a kick, the list registers' maintenance, the timer, the console.
/// `frame` is of the vCPU that runs here, if it is on.
#[inline(always)]
fn keep(system: &'static System, cpu: &'static Cpu, acknowledged: u32, id: IntId, frame: Option<&Frame>) {
    system.controller.deactivate_acknowledged(acknowledged);
    if id == KICK {
        // What the sender stored before the kick is read after the acknowledgement: nothing else orders loads behind
        // the read of GICC_IAR (Arm ARM, B2.3).
        core::sync::atomic::fence(Ordering::Acquire);
        if crate::panic::is_panicking() {
            crate::panic::halt_cpu();
        }
        if let Some(guest) = cpu.guest() {
            let Guest { partition, vcpu, .. } = guest;
            partition.gic.on_kick(vcpu.id, &partition.lines(system));
            if vcpu.asked.load(Ordering::Relaxed) {
                dump::asked(guest, frame);
            }
        }
    } else if id == system.maintenance {
        if let Some(Guest { partition, vcpu, .. }) = cpu.guest() {
            partition.gic.on_maintenance(vcpu.id, &partition.lines(system));
        }
    } else {
        keep_rare(system, cpu, id, frame);
    }
}

/// Serves the timer's interrupt and the console's.
#[inline(never)]
fn keep_rare(system: &'static System, cpu: &'static Cpu, id: IntId, frame: Option<&Frame>) {
    if Some(id) == system.timer {
        alive::come_by(system, cpu);
        if timer::console_is_due(cpu) {
            console::serve(system, cpu);
            console::receive_again(system, cpu, |input| deliver(system, cpu, input));
            monitor::go_on(system, cpu);
        }
        timer::rest(system, cpu);
        // A partition that waits to be started is looked after by `cpu::idle`.
        if let Some(Guest { partition, .. }) = cpu.guest()
            && partition.look_at_watchdog(system)
        {
            let reason = format_args!("its watchdog expired");
            match frame {
                Some(frame) => trap::tell(frame, reason, None),
                None => console::line(format_args!("{}: stopped: {reason}", partition.name)),
            }
        }
    } else if !id.is_sgi() {
        console::receive(system, cpu, |input| deliver(system, cpu, input));
    }
}

/// Does what a key asks for.
fn deliver(system: &'static System, cpu: &'static Cpu, input: Input) {
    match input {
        Input::Deliver(to, byte) => {
            if let Some(partition) = system.partitions.get(usize::from(to.0)) {
                partition.receive(system, cpu, byte);
            }
        }
        Input::Command(focus, key) => monitor::command(system, focus, key),
        Input::None => {}
    }
}
