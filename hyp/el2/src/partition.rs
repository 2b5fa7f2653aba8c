// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A partition as it runs: its vCPUs, its virtual devices, and how it starts and ends.

mod build;
mod end;
mod load;

pub use build::build;

use crate::console::Transmit;
use crate::cpu::{self, Cpu, Guest};
use crate::debug::OwnRegisters;
use crate::dump::Trace;
use crate::entropy::Random;
use crate::interrupts::{self, Lines};
use crate::memory::TablePages;
use crate::system::System;
use crate::vectors::{FRAME_SIZE, Frame, enter_guest};
use crate::{console, timer, world};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bulkhead_el2::life::{Life, Presence};
use bulkhead_el2::tables::{Tables, vmid};
use bulkhead_machine::gic::Gic;
use bulkhead_machine::limiter::Limiter;
use bulkhead_machine::psci::{Entry as StartAt, Power};
use bulkhead_machine::smccc::{Entropy, Metered};
use bulkhead_machine::sysreg::{IdTable, OsLock};
use bulkhead_machine::uart;
use bulkhead_machine::watchdog;
use bulkhead_plan::plan;
use bulkhead_platform::gic::Controller;
use bulkhead_types::{CpuIndex, IntId, Ipa, PartitionId, Range, VcpuId};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

/// A virtual CPU, and the physical one that it owns.
pub struct Vcpu {
    /// Its number in the partition.
    pub id: VcpuId,
    /// Its CPU.
    pub cpu: CpuIndex,
    /// Whether it is on, and where it starts when it is turned on.
    pub power: Power,
    /// Its CPU's part in the partition's life.
    presence: Presence,
    /// Its last exits that were not routine.
    pub trace: Trace,
    /// The operator wants its registers shown.
    pub asked: AtomicBool,
    /// How often in a row it took an exception in the exception's own vector.
    stuck: AtomicU32,
    /// Its OS lock. Only its own CPU takes this.
    pub os_lock: Mutex<OsLock>,
}

/// So often in a row is no accident.
const STUCK: u32 = 16;

impl Vcpu {
    /// Whether the vCPU has come too often, one after the other, from a vector back into it.
    pub fn is_stuck(&self, in_vector: bool) -> bool {
        let times = if in_vector { self.stuck.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.stuck.store(times, Ordering::Relaxed);
        times >= STUCK
    }
}

/// A virtual UART.
pub struct Uart {
    /// Where the guest sees it.
    pub frame: Range<Ipa>,
    /// Its interrupt.
    pub interrupt: IntId,
    /// The device.
    pub device: Mutex<Line>,
    /// Its [`glance`](uart::Uart::glance), without the lock.
    pub glance: AtomicU32,
}

/// A watchdog.
pub struct Watchdog {
    /// Where the guest sees it.
    pub frames: Range<Ipa>,
    /// The device.
    pub device: Mutex<watchdog::Watchdog>,
}

/// A virtual UART with what waits to be received: a person pastes faster than a guest reads, and a
/// real line would hold the sender back.
pub struct Line {
    /// The registers.
    pub uart: uart::Uart,
    /// Input that has not found room. Never longer than [`BACKLOG`], which it has from the start.
    waiting: VecDeque<u8>,
}

/// Bytes of input kept for a guest that does not read them; more are lost.
const BACKLOG: usize = 4096;

impl Line {
    /// A UART after reset, with nothing waiting. Boot only.
    pub fn new() -> Self {
        Self { uart: uart::Uart::default(), waiting: VecDeque::with_capacity(BACKLOG) }
    }

    /// As after a reset.
    fn reset(&mut self) {
        self.uart = uart::Uart::default();
        self.waiting.clear();
    }

    /// Takes a byte of input.
    fn receive(&mut self, byte: u8) {
        if self.waiting.len() < BACKLOG {
            self.waiting.push_back(byte);
        }
        self.refill();
    }

    /// Moves what waits into the UART as far as there is room.
    #[inline(always)]
    pub fn refill(&mut self) {
        if !self.waiting.is_empty() {
            self.move_waiting();
        }
    }

    #[inline(never)]
    fn move_waiting(&mut self) {
        while self.uart.room() > 0
            && let Some(byte) = self.waiting.pop_front()
        {
            self.uart.receive(byte);
        }
    }
}

/// Where a guest sees its virtual interrupt controller.
pub struct GicFrames {
    /// GICD.
    pub distributor: Range<Ipa>,
    /// GICR, of all vCPUs; empty for GICv2.
    pub redistributors: Range<Ipa>,
}

/// One partition.
pub struct Partition {
    /// Its place in the plan.
    pub id: PartitionId,
    /// Its name.
    pub name: &'static str,
    /// What the plan says of it.
    pub plan: plan::Partition,
    /// Its virtual CPUs.
    pub vcpus: Vec<Vcpu>,
    /// Its virtual interrupt controller.
    pub gic: Gic<'static>,
    /// Where that is.
    pub frames: GicFrames,
    /// Its virtual UART.
    pub uart: Option<Uart>,
    /// What its UART has sent and the board's port has not taken.
    pub transmit: Transmit,
    /// Its watchdog.
    pub watchdog: Option<Watchdog>,
    /// VTTBR_EL2: its stage-2 tables and its VMID.
    tables: u64,
    /// Bits of guest-physical address.
    input_bits: u32,
    /// The same tables, to walk them.
    walker: Tables<TablePages>,
    life: Life,
    /// When its first CPU is to start it, by the physical counter; 0 if it is not.
    start_due: AtomicU64,
    /// How often it has started.
    starts: AtomicU32,
    /// How often in a row it has started again without having run for long.
    row: AtomicU32,
    /// The physical counter when it started, or stopped.
    since: AtomicU64,
    /// How much is told of what it does wrong.
    limiter: Mutex<Limiter>,
    /// How much it has drawn of the random numbers that all partitions share.
    drawn: Mutex<Limiter>,
}

impl Partition {
    /// The interrupt controller as its virtual one uses it.
    #[inline(always)]
    pub fn lines<'a>(&'a self, system: &'a System) -> Lines<'a> {
        Lines::new(&system.controller, self)
    }

    /// Why the calling CPU cannot be one of its, if it cannot.
    pub fn unfit(&self) -> Option<&'static str> {
        // What stage 2 leads to may lie above what it leads from.
        let memory = self.plan.memory.iter().map(|memory| memory.frames);
        let devices = self.plan.devices.iter().flat_map(|device| device.registers.iter().copied());
        let last = memory.chain(devices).map(|range| range.end().0.saturating_sub(1)).max().unwrap_or(0);
        world::unfit(self.input_bits.max(u64::BITS.saturating_sub(last.leading_zeros())))
            .or_else(|| world::too_few_vmids(self.id))
    }

    /// The ID registers of the calling CPU as its guest sees them.
    pub fn id_registers(&self, gic_system_registers: bool) -> IdTable {
        world::id_registers(gic_system_registers, self.input_bits)
    }

    /// Prepares the calling CPU for `vcpu`.
    pub fn configure_cpu(&self, vcpu: &Vcpu) {
        let (_, wide_vmid) = vmid(self.id);
        world::configure(self.tables, wide_vmid, self.input_bits, vcpu.id.mpidr());
    }

    /// Loads the images and turns the first vCPU on. Called by whoever is alone with the partition.
    pub fn start(&self, system: &System) {
        let restarted = self.starts.fetch_add(1, Ordering::Relaxed) != 0;
        load::load(self, system, restarted);
        // Routes and triggers of its interrupts are unknown after power-on (IHI 0069, GICD_IROUTER, GICD_ICFGR).
        self.gic.reset(&self.lines(system));
        self.since.store(timer::now(), Ordering::Relaxed);
        for vcpu in &self.vcpus {
            vcpu.power.turn_off();
            vcpu.trace.clear();
            vcpu.stuck.store(0, Ordering::Relaxed);
        }
        self.life.run(self.vcpus.iter().map(|vcpu| &vcpu.presence));
        console::set_stopped(self.id, false);
        console::line(format_args!("{}: started", self.name));
        if let Some(first) = self.vcpus.first() {
            // It is off, so this cannot be refused.
            let _ =
                first.power.try_turn_on(StartAt { address: self.plan.entry, context: self.plan.tree.at.0 });
            interrupts::kick(system, first.cpu);
        }
        if self.life.heed() {
            self.kick(system);
        }
    }

    /// Has the partition's first CPU start it, so that partitions load side by side. Boot only.
    pub fn start_on_its_cpu(&self, system: &System) {
        self.start_at(system, 1);
    }

    /// Has the partition's first CPU start it when the counter has come so far. Called by whoever is alone with it.
    fn start_at(&self, system: &System, due: u64) {
        self.start_due.store(due.max(1), Ordering::Release);
        if let Some(first) = self.vcpus.first() {
            interrupts::kick(system, first.cpu);
        }
    }

    /// Whether the CPU is one of its own.
    pub fn owns(&self, cpu: CpuIndex) -> bool {
        self.vcpus.iter().any(|vcpu| vcpu.cpu == cpu)
    }

    /// Whether all of its CPUs have come up and are fit for it; says which has not. Without one it could start, but not end.
    pub fn has_every_cpu(&self, system: &'static System) -> bool {
        let missing = system.cpus.iter().find(|cpu| self.owns(cpu.index) && cpu.guest().is_none());
        if let Some(cpu) = missing {
            console::line(format_args!(
                "error: {}: not started, because CPU {} is missing",
                self.name, cpu.index
            ));
        }
        missing.is_none()
    }

    /// Gives the partition up before it ever started. Boot only, by the boot CPU.
    pub fn give_up(&self) {
        console::set_stopped(self.id, true);
        self.life.stop();
    }

    /// Starts the partition if that was asked of its first CPU, which calls this, and is due.
    pub fn start_if_due(&self, system: &System, vcpu: &Vcpu) {
        let due = self.start_due.load(Ordering::Relaxed);
        if vcpu.id != VcpuId(0) || due == 0 {
            return;
        }
        if due > timer::now() && system.timer.is_some() {
            timer::set(system, cpu::current(), due);
        } else if self.take_due() {
            self.start(system);
        }
    }

    /// Runs `vcpu` on the calling CPU if somebody turned it on. Returns if not.
    pub fn enter_if_started(&self, guest: &'static Guest) {
        let Guest { system, vcpu, .. } = *guest;
        // Should it end from here on, a kick makes this CPU leave again.
        if !self.life.is_running() {
            return;
        }
        let Some(start) = vcpu.power.take_entry() else { return };
        world::reset_timers(self.started_at());
        controller_reset(&system.controller);
        self.gic.vcpu_on(vcpu.id, &self.lines(system));
        self.resume(guest, start)
    }

    /// Runs `guest` from `start` on the calling CPU, which is its own, with its registers as after a reset.
    pub fn resume(&self, guest: &'static Guest, start: StartAt) -> ! {
        world::reset();
        guest.vcpu.os_lock.lock().reset(&OwnRegisters);
        world::invalidate_translations();
        let frame = guest.cpu.stack_top().saturating_sub(FRAME_SIZE as u64);
        // SAFETY: the frame is on top of this CPU's stack, which nothing needs any more and which is
        // aligned to 16 bytes; the guest's entry and argument are its own affair: stage 2 confines it.
        unsafe {
            let pointer = core::ptr::with_exposed_provenance_mut::<Frame>(frame as usize);
            (&raw mut (*pointer).guest).write(guest);
            enter_guest(frame, start.address.0, world::PSTATE, start.context)
        }
    }

    /// The random numbers that its calls may draw.
    pub fn entropy<'a>(&'a self, system: &'a System) -> Drawn<'a> {
        Drawn { source: &system.random, bucket: &self.drawn }
    }

    /// How often it has started.
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    /// When it started, by the physical counter.
    pub fn started_at(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Whether its vCPUs must leave. Asked after every kick.
    #[inline]
    pub fn must_leave(&self) -> bool {
        !self.life.is_running()
    }

    /// Whether it is stopped for good.
    pub fn is_stopped(&self) -> bool {
        self.life.is_stopped()
    }

    /// Takes a byte of input, on any CPU.
    pub fn receive(&self, system: &System, on: &'static Cpu, byte: u8) {
        let Some(uart) = &self.uart else { return };
        let mut device = uart.device.lock();
        if self.must_leave() {
            return;
        }
        device.receive(byte);
        self.tell_uart(system, on, uart, &device);
    }

    /// Has the UART show a full transmit FIFO where the board's port is behind with what it sends, and not any more where that
    /// has caught up. On one of its CPUs.
    pub fn tell_transmitter(&self, system: &System, on: &'static Cpu) {
        let Some(uart) = &self.uart else { return };
        let shown = uart.glance.load(Ordering::Relaxed) & uart::TRANSMIT_FULL != 0;
        if self.transmit.is_behind(shown) == shown {
            return;
        }
        // The level is read again with the lock held: two CPUs may have come here, each with another.
        let mut device = uart.device.lock();
        let is_behind = self.transmit.is_behind(device.uart.is_behind());
        device.uart.set_behind(is_behind);
        self.tell_uart(system, on, uart, &device);
    }

    /// Makes known what a change of the UART has changed: its glance, then the level of its line to the virtual interrupt
    /// controller. The device's lock is held, so they arrive in the order in which the device went through them.
    pub fn tell_uart(&self, system: &System, on: &'static Cpu, uart: &Uart, device: &Line) {
        uart.glance.store(device.uart.glance(), Ordering::Relaxed);
        let level = device.uart.interrupt_line();
        let here = on.guest().filter(|guest| guest.partition.id == self.id).map(|guest| guest.vcpu.id);
        self.gic.set_line(here, uart.interrupt, level, &self.lines(system));
    }

    /// Says what the guest did that nothing handles: a few times, and from then on now and then, with how often that
    /// was not told.
    #[cold]
    pub fn report(&self, vcpu: &Vcpu, what: core::fmt::Arguments<'_>) {
        /// So many at once, and one more after so long.
        const BURST: u64 = 4;
        const PERIOD_MS: u64 = 10_000;
        if console::LEVEL.load(Ordering::Relaxed) < console::WARN {
            return;
        }
        let admitted = self.limiter.lock().admit(timer::now(), BURST, timer::counts(PERIOD_MS));
        if let Some(held_back) = admitted {
            self.tell_held_back(held_back);
            console::line(format_args!("warning: {}/{}: {what}", self.name, vcpu.id.0));
        }
    }

    /// Says how many warnings were not told, if any.
    fn tell_held_back(&self, warnings: u32) {
        if warnings > 0 {
            console::line(format_args!("warning: {}: {warnings} more warnings suppressed", self.name));
        }
    }
}

/// What a partition's calls draw of the board's source: as much as its token bucket has tokens for. Most calls draw nothing,
/// so rate and time are found out by those that do.
pub struct Drawn<'a> {
    source: &'a Random,
    bucket: &'a Mutex<Limiter>,
}

impl Entropy for Drawn<'_> {
    fn is_present(&self) -> bool {
        self.source.is_present()
    }
    #[inline(never)]
    fn random(&self) -> Option<u64> {
        /// Numbers of 64 bits: what a kernel draws as it starts, and more than 12 KiB/s from then on.
        const BURST: u64 = 512;
        const PERIOD: u64 = 1600;
        let Self { source, bucket } = *self;
        let period = timer::counts(1000) / PERIOD;
        Metered { source, bucket, now: timer::now, burst: BURST, period }.random()
    }
}

/// Clears what a vCPU left, or will find, in the virtual CPU interface.
fn controller_reset(controller: &impl Controller) {
    controller.reset_virtual_interface();
    controller.set_virtual_control(1);
}
