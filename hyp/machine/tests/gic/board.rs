// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A board in memory: a physical GIC with lines, CPUs with list registers, and a guest's side of the
//! virtual CPU interface. It checks on every step what hardware calls unpredictable.

use bulkhead_machine::gic::{Gic, Hardware, ListRegister, Maintenance, Seat, SgiRegister};
use bulkhead_types::{IntId, Trigger, VcpuId};
use std::cell::{Cell, RefCell};

/// One physical interrupt.
#[derive(Clone, Copy, Default, Debug)]
pub struct Physical {
    pub enabled: bool,
    pub latch: bool,
    pub active: bool,
    pub edge: bool,
    pub line: bool,
    pub priority: u8,
    pub target: usize,
}

impl Physical {
    pub fn is_pending(&self) -> bool {
        self.latch || (!self.edge && self.line)
    }
}

/// One CPU: list registers and the guest's running priorities.
pub struct Cpu {
    pub lists: Vec<ListRegister>,
    pub maintenance: Maintenance,
    pub end_count: u32,
    pub kicked: bool,
    /// Priorities of what the guest acknowledged and did not end.
    pub running: Vec<u8>,
    pub private: Vec<Physical>,
}

/// What happened that a test may want to count.
#[derive(Default)]
pub struct Counters {
    pub enables: Cell<usize>,
    pub disables: Cell<usize>,
    pub kicks: Cell<usize>,
    pub list_reads: Cell<usize>,
    pub list_writes: Cell<usize>,
    pub maintenances: Cell<usize>,
    pub interrupts: Cell<usize>,
}

pub struct Board {
    pub cpus: Vec<RefCell<Cpu>>,
    pub shared: RefCell<Vec<Physical>>,
    pub count: Counters,
    /// EOImode 1: ending drops the priority only.
    pub split: Cell<bool>,
}

fn bump(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

pub fn int(id: u32) -> IntId {
    IntId::new(id).expect("tests name interrupts that exist")
}

impl Board {
    pub fn new(cpus: usize, lists: usize) -> Self {
        let cpu = || Cpu {
            lists: vec![ListRegister::EMPTY; lists],
            maintenance: Maintenance::empty(),
            end_count: 0,
            kicked: false,
            running: Vec::new(),
            private: vec![Physical::default(); 32],
        };
        Self {
            cpus: (0..cpus).map(|_| RefCell::new(cpu())).collect(),
            shared: RefCell::new(vec![Physical::default(); 1024]),
            count: Counters::default(),
            split: Cell::new(false),
        }
    }

    /// As new, with the same CPUs and list registers.
    #[allow(dead_code, reason = "for the fuzz targets, which use one board for many inputs")]
    pub fn clear(&self) {
        for cpu in &self.cpus {
            let lists = cpu.borrow().lists.len();
            cpu.replace(Self::new(1, lists).cpus.remove(0).into_inner());
        }
        self.shared.replace(vec![Physical::default(); 1024]);
    }

    pub fn on(&self, cpu: usize) -> On<'_> {
        On { board: self, cpu }
    }

    /// What EL2 does to the virtual CPU interface before a vCPU starts: no control, no active priorities.
    pub fn reset_interface(&self, cpu: usize) {
        let mut cpu = self.cpus[cpu].borrow_mut();
        (cpu.maintenance, cpu.end_count) = (Maintenance::empty(), 0);
        cpu.running.clear();
    }

    pub fn physical<R>(&self, cpu: usize, id: IntId, f: impl FnOnce(&mut Physical) -> R) -> R {
        if id.is_private() {
            f(&mut self.cpus[cpu].borrow_mut().private[id.get() as usize])
        } else {
            f(&mut self.shared.borrow_mut()[id.get() as usize])
        }
    }

    /// Drives a physical line.
    pub fn drive(&self, cpu: usize, id: IntId, level: bool) {
        self.physical(cpu, id, |physical| {
            physical.latch |= physical.edge && level && !physical.line;
            physical.line = level;
        });
    }

    /// The interrupt that a CPU would acknowledge.
    fn best_physical(&self, cpu: usize) -> Option<IntId> {
        let ready = |physical: &Physical| physical.enabled && physical.is_pending() && !physical.active;
        let private = self.cpus[cpu].borrow().private.clone();
        let shared = self.shared.borrow();
        let private = private.iter().enumerate().filter(|(_, physical)| ready(physical));
        let shared =
            shared.iter().enumerate().filter(|(_, physical)| ready(physical) && physical.target == cpu);
        private.chain(shared).min_by_key(|(_, physical)| physical.priority).map(|(id, _)| int(id as u32))
    }

    /// ICH_MISR_EL2, as far as enabled.
    fn wants_maintenance(&self, cpu: usize) -> bool {
        let cpu = self.cpus[cpu].borrow();
        let valid = |value: &&ListRegister| value.is_pending() || value.is_active();
        let ended = |value: &ListRegister| !valid(&value) && value.reports_end();
        let pending = |value: &ListRegister| value.is_pending() && !value.is_active();
        cpu.lists.iter().any(ended)
            || cpu.maintenance.contains(Maintenance::UNDERFLOW) && cpu.lists.iter().filter(valid).count() <= 1
            || cpu.maintenance.contains(Maintenance::NO_PENDING) && !cpu.lists.iter().any(pending)
            || cpu.maintenance.contains(Maintenance::NOT_PRESENT) && cpu.end_count != 0
    }

    /// Lets every CPU take its physical interrupts, kicks and maintenance interrupts until all is quiet.
    pub fn settle(&self, gic: &Gic<'_>) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for cpu in 0..self.cpus.len() {
                quiet &= !self.step(gic, cpu);
            }
            if quiet {
                return;
            }
        }
        panic!("an interrupt storm: EL2 would never get back to the guest");
    }

    fn step(&self, gic: &Gic<'_>, cpu: usize) -> bool {
        let (vcpu, hw) = (VcpuId(cpu as u16), self.on(cpu));
        if std::mem::take(&mut self.cpus[cpu].borrow_mut().kicked) {
            gic.on_kick(vcpu, &hw);
        } else if let Some(id) = self.best_physical(cpu) {
            self.physical(cpu, id, |physical| (physical.latch, physical.active) = (false, true));
            bump(&self.count.interrupts);
            on_interrupt(gic, vcpu, id, &hw);
        } else if self.wants_maintenance(cpu) {
            bump(&self.count.maintenances);
            gic.on_maintenance(vcpu, &hw);
        } else {
            return false;
        }
        true
    }

    /// The guest reads ICC_IAR: the interrupt and, for GICv2, the sender of an SGI.
    pub fn acknowledge(&self, cpu: usize) -> Option<(u32, u8)> {
        let mut cpu = self.cpus[cpu].borrow_mut();
        let running = cpu.running.iter().min().copied().unwrap_or(u8::MAX);
        let best = cpu.lists.iter_mut().filter(|value| value.is_pending() && !value.is_active());
        let value = best.min_by_key(|value| value.priority()).filter(|value| value.priority() < running)?;
        *value = value.with(ListRegister::PENDING, false).with(ListRegister::ACTIVE, true);
        let (id, source, priority) = (value.interrupt()?.get(), value.source(), value.priority());
        let source = if value.is_hardware() { 0 } else { source };
        cpu.running.push(priority);
        Some((id, source))
    }

    /// The guest writes ICC_EOIR (and, with EOImode 1, then ICC_DIR where `deactivate`).
    pub fn end(&self, gic: &Gic<'_>, cpu: usize, id: u32, deactivate: bool) {
        {
            let mut cpu = self.cpus[cpu].borrow_mut();
            if let Some(best) = (0..cpu.running.len()).min_by_key(|&n| cpu.running[n]) {
                cpu.running.swap_remove(best);
            }
        }
        if !self.split.get() {
            self.deactivate_list(cpu, id);
        } else if deactivate {
            self.deactivate_by_guest(gic, cpu, id);
        }
    }

    /// The guest writes ICC_DIR.
    pub fn deactivate_by_guest(&self, gic: &Gic<'_>, cpu: usize, id: u32) {
        if self.cpus[cpu].borrow().maintenance.contains(Maintenance::TRAP_DEACTIVATE) {
            gic.deactivate(VcpuId(cpu as u16), int(id), &self.on(cpu));
        } else {
            self.deactivate_list(cpu, id);
        }
    }

    fn deactivate_list(&self, cpu: usize, id: u32) {
        let mut tied = None;
        {
            let mut cpu = self.cpus[cpu].borrow_mut();
            let found =
                cpu.lists.iter_mut().find(|value| value.is_active() && value.interrupt() == IntId::new(id));
            match found {
                Some(value) => {
                    *value = value.with(ListRegister::ACTIVE, false);
                    tied = value.is_hardware().then(|| int(value.physical()));
                }
                None => cpu.end_count += 1,
            }
        }
        if let Some(id) = tied {
            self.physical(cpu, id, |physical| physical.active = false);
        }
    }
}

/// The board as seen from one CPU.
pub struct On<'b> {
    pub board: &'b Board,
    pub cpu: usize,
}

impl On<'_> {
    fn here(&self) -> std::cell::RefMut<'_, Cpu> {
        self.board.cpus[self.cpu].borrow_mut()
    }

    fn physical<R>(&self, vcpu: VcpuId, id: IntId, f: impl FnOnce(&mut Physical) -> R) -> R {
        assert!(!id.is_private() || usize::from(vcpu.0) == self.cpu, "{id} is another CPU's");
        self.board.physical(usize::from(vcpu.0), id, f)
    }
}

impl Hardware for On<'_> {
    fn list_registers(&self) -> usize {
        self.here().lists.len()
    }

    fn read_list(&self, n: usize) -> ListRegister {
        bump(&self.board.count.list_reads);
        self.here().lists[n]
    }

    fn write_list(&self, n: usize, value: ListRegister) {
        bump(&self.board.count.list_writes);
        let valid = |value: ListRegister| value.is_pending() || value.is_active();
        if valid(value) {
            let id = value.interrupt().expect("a list register names an interrupt that exists");
            for (other, &held) in self.here().lists.iter().enumerate() {
                assert!(other == n || !valid(held) || held.interrupt() != Some(id), "{id} is in two lists");
            }
            if value.is_hardware() {
                assert!(!(value.is_pending() && value.is_active()), "{id}: hardware, pending and active");
                let physical = self.board.physical(self.cpu, int(value.physical()), |physical| *physical);
                assert!(physical.active, "{id}: nothing to deactivate at its end");
            }
        }
        let old = self.here().lists[n];
        if valid(old) && old.is_hardware() && old.interrupt() != value.interrupt() {
            // Either deactivated by now, or acknowledged and remembered: checked by the model.
        }
        self.here().lists[n] = value;
    }

    fn empty_lists(&self) -> u32 {
        let empty = |value: &ListRegister| !value.is_pending() && !value.is_active() && !value.reports_end();
        let here = self.here();
        here.lists.iter().enumerate().filter(|(_, value)| empty(value)).fold(0, |set, (n, _)| set | 1 << n)
    }

    fn ended_lists(&self) -> u32 {
        let ended = |value: &ListRegister| !value.is_pending() && !value.is_active() && value.reports_end();
        let here = self.here();
        here.lists.iter().enumerate().filter(|(_, value)| ended(value)).fold(0, |set, (n, _)| set | 1 << n)
    }

    fn take_end_count(&self) -> u32 {
        std::mem::take(&mut self.here().end_count)
    }

    fn set_maintenance(&self, causes: Maintenance) {
        self.here().maintenance = causes;
    }

    fn enable(&self, vcpu: VcpuId, id: IntId) {
        bump(&self.board.count.enables);
        self.physical(vcpu, id, |physical| physical.enabled = true);
    }

    fn enable_shared(&self, word: u32, bits: u32) {
        (0..32).filter(|n| bits >> n & 1 != 0).for_each(|n| self.enable(VcpuId(0), int(word * 32 + n)));
    }

    fn disable_shared(&self, word: u32, bits: u32) {
        (0..32).filter(|n| bits >> n & 1 != 0).for_each(|n| self.disable(VcpuId(0), int(word * 32 + n)));
    }

    fn set_pending_shared(&self, word: u32, bits: u32) {
        (0..32).filter(|n| bits >> n & 1 != 0).for_each(|n| self.set_pending(VcpuId(0), int(word * 32 + n)));
    }

    fn disable(&self, vcpu: VcpuId, id: IntId) {
        bump(&self.board.count.disables);
        self.physical(vcpu, id, |physical| physical.enabled = false);
    }

    fn set_trigger(&self, vcpu: VcpuId, id: IntId, trigger: Trigger) -> Trigger {
        // As GIC-400: those of private interrupts are fixed.
        if id.is_private() {
            return Trigger::Level;
        }
        self.physical(vcpu, id, |physical| physical.edge = trigger == Trigger::Edge);
        trigger
    }

    fn set_priority(&self, vcpu: VcpuId, id: IntId, priority: u8) {
        self.physical(vcpu, id, |physical| physical.priority = priority);
    }

    fn route(&self, id: IntId, to: VcpuId) {
        self.physical(to, id, |physical| physical.target = usize::from(to.0));
    }

    fn set_pending(&self, vcpu: VcpuId, id: IntId) {
        self.physical(vcpu, id, |physical| physical.latch = true);
    }

    fn clear_pending(&self, vcpu: VcpuId, id: IntId) {
        self.physical(vcpu, id, |physical| physical.latch = false);
    }

    fn set_active(&self, vcpu: VcpuId, id: IntId) {
        self.physical(vcpu, id, |physical| physical.active = true);
    }

    fn deactivate(&self, vcpu: VcpuId, id: IntId) {
        self.physical(vcpu, id, |physical| physical.active = false);
    }

    fn pending(&self, vcpu: VcpuId, word: usize) -> u32 {
        (0..32u32)
            .filter(|n| {
                let id = IntId::new(word as u32 * 32 + n);
                id.is_some_and(|id| {
                    self.board.physical(usize::from(vcpu.0), id, |physical| physical.is_pending())
                })
            })
            .fold(0, |set, n| set | 1 << n)
    }

    fn confine(index: u32, limit: u32) -> u32 {
        if index < limit { index } else { 0 }
    }

    fn kick(&self, vcpu: VcpuId) {
        bump(&self.board.count.kicks);
        assert_ne!(usize::from(vcpu.0), self.cpu, "a CPU does not kick itself");
        self.board.cpus[usize::from(vcpu.0)].borrow_mut().kicked = true;
    }
}

/// The place of a vCPU.
pub fn seat<'g>(gic: &'g Gic<'_>, vcpu: u16) -> Seat<'g> {
    gic.seat(VcpuId(vcpu)).expect("there is such a vCPU")
}

/// What EL2 does with an interrupt that it has acknowledged.
pub fn on_interrupt(gic: &Gic<'_>, vcpu: VcpuId, id: IntId, hw: &impl Hardware) {
    if !seat(gic, vcpu.0).inject(id, hw) {
        seat(gic, vcpu.0).accept(id, hw);
    }
}

/// What EL2 does with a write to a register that sends software generated interrupts.
pub fn send_sgi(gic: &Gic<'_>, vcpu: VcpuId, register: SgiRegister, value: u64, hw: &impl Hardware) {
    if !seat(gic, vcpu.0).send_to_self(register, value, hw) {
        seat(gic, vcpu.0).send_sgi(register, value, hw);
    }
}
