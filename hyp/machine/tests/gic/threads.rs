// SPDX-License-Identifier: Apache-2.0 OR MIT
//! vCPUs on real threads: nothing is lost, and no shared interrupt is active at two vCPUs at once,
//! whatever the interleaving.

use crate::machine::{CLEAR_PENDING, DISABLE, ENABLE, SET_ACTIVE, int, seat, send_sgi, storage};
use bulkhead_machine::gic::{
    AccessSize, Config, Frame, Gic, Hardware, ListRegister, Maintenance, SgiRegister, Version,
};
use bulkhead_types::{IntId, Trigger, VcpuId};
use std::cell::{Cell, RefCell};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const CPUS: usize = 3;
const ROUNDS: usize = 100_000;
/// Edge-triggered virtual device interrupts.
const SPIS: std::ops::Range<u32> = 40..46;

/// One thread's CPU. No physical interrupts.
struct Cpu<'k> {
    lists: RefCell<[ListRegister; 2]>,
    maintenance: Cell<Maintenance>,
    ends: Cell<u32>,
    kicks: &'k [AtomicBool; CPUS],
}

impl Cpu<'_> {
    fn set(&self, test: impl Fn(&ListRegister) -> bool) -> u32 {
        let lists = self.lists.borrow();
        lists.iter().enumerate().filter(|(_, value)| test(value)).fold(0, |set, (n, _)| set | 1 << n)
    }

    fn valid(value: &ListRegister) -> bool {
        value.is_pending() || value.is_active()
    }
}

impl Hardware for Cpu<'_> {
    fn list_registers(&self) -> usize {
        2
    }
    fn read_list(&self, n: usize) -> ListRegister {
        self.lists.borrow()[n]
    }
    fn write_list(&self, n: usize, value: ListRegister) {
        self.lists.borrow_mut()[n] = value;
    }
    fn empty_lists(&self) -> u32 {
        self.set(|value| !Self::valid(value) && !value.reports_end())
    }
    fn ended_lists(&self) -> u32 {
        self.set(|value| !Self::valid(value) && value.reports_end())
    }
    fn take_end_count(&self) -> u32 {
        self.ends.take()
    }
    fn set_maintenance(&self, causes: Maintenance) {
        self.maintenance.set(causes);
    }
    fn enable(&self, _: VcpuId, _: IntId) {}
    fn disable(&self, _: VcpuId, _: IntId) {}
    fn enable_shared(&self, _: u32, _: u32) {}
    fn disable_shared(&self, _: u32, _: u32) {}
    fn set_pending_shared(&self, _: u32, _: u32) {}
    fn set_trigger(&self, _: VcpuId, _: IntId, trigger: Trigger) -> Trigger {
        trigger
    }
    fn set_priority(&self, _: VcpuId, _: IntId, _: u8) {}
    fn route(&self, _: IntId, _: VcpuId) {}
    fn set_pending(&self, _: VcpuId, _: IntId) {}
    fn clear_pending(&self, _: VcpuId, _: IntId) {}
    fn set_active(&self, _: VcpuId, _: IntId) {}
    fn deactivate(&self, _: VcpuId, _: IntId) {}
    fn pending(&self, _: VcpuId, _: usize) -> u32 {
        0
    }
    fn confine(index: u32, limit: u32) -> u32 {
        if index < limit { index } else { 0 }
    }

    fn kick(&self, vcpu: VcpuId) {
        self.kicks[usize::from(vcpu.0)].store(true, SeqCst);
    }
}

/// What all threads share.
struct Shared {
    gic: Gic<'static>,
    kicks: [AtomicBool; CPUS],
    /// Sent and not yet taken: SGI `id` to a vCPU, and edges of devices.
    sgi_due: [[AtomicBool; 16]; CPUS],
    edge_due: [AtomicBool; 64],
    active: [AtomicBool; 64],
    round: Barrier,
    taken: AtomicUsize,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }
}

impl Shared {
    fn write(&self, me: u16, hw: &Cpu<'_>, offset: u64, value: u64) {
        seat(&self.gic, me).write(Frame::Distributor, offset, AccessSize::Word, value, hw).unwrap();
    }

    /// EL2 takes kick and maintenance interrupt; then the guest takes one interrupt, and does something more
    /// while it is active if it has the randomness. Whether anything happened.
    fn serve(&self, me: u16, hw: &Cpu<'_>, random: Option<&mut Random>) -> bool {
        let mut busy = false;
        if self.kicks[usize::from(me)].swap(false, SeqCst) {
            self.gic.on_kick(VcpuId(me), hw);
            busy = true;
        }
        let causes = hw.maintenance.get();
        let pending = hw.set(|value| value.is_pending() && !value.is_active());
        if hw.ended_lists() != 0
            || causes.contains(Maintenance::UNDERFLOW) && hw.set(Cpu::valid).count_ones() <= 1
            || causes.contains(Maintenance::NO_PENDING) && pending == 0
            || causes.contains(Maintenance::NOT_PRESENT) && hw.ends.get() != 0
        {
            self.gic.on_maintenance(VcpuId(me), hw);
            busy = true;
        }
        let Some(n) = (0..2).find(|n| hw.set(|value| value.is_pending() && !value.is_active()) >> n & 1 != 0)
        else {
            return busy;
        };
        let value = hw.read_list(n);
        let id = value.interrupt().unwrap().get();
        hw.write_list(n, value.with(ListRegister::PENDING, false).with(ListRegister::ACTIVE, true));
        self.taken.fetch_add(1, SeqCst);
        if id < 16 {
            self.sgi_due[usize::from(me)][id as usize].store(false, SeqCst);
        } else {
            self.edge_due[id as usize].store(false, SeqCst);
            assert!(!self.active[id as usize].swap(true, SeqCst), "{id} is active at two vCPUs");
        }
        if let Some(random) = random {
            self.act(me, hw, random);
        }
        self.active[id as usize].store(false, SeqCst);
        match (0..2).find(|&n| hw.read_list(n).is_active() && hw.read_list(n).interrupt() == Some(int(id))) {
            Some(n) => hw.write_list(n, hw.read_list(n).with(ListRegister::ACTIVE, false)),
            None => hw.ends.set(hw.ends.get() + 1),
        }
        true
    }

    fn act(&self, me: u16, hw: &Cpu<'_>, random: &mut Random) {
        let id = SPIS.start + random.below(u64::from(SPIS.end - SPIS.start)) as u32;
        let bit = 1u64 << (id % 32);
        match random.below(8) {
            0..=2 => {
                let (to, id) = (random.below(CPUS as u64), random.below(4));
                self.sgi_due[to as usize][id as usize].store(true, SeqCst);
                send_sgi(&self.gic, VcpuId(me), SgiRegister::Sgi0, id << 24 | 1 << to, hw);
            }
            3 => self.write(me, hw, ENABLE + 4, bit),
            4 => self.write(me, hw, DISABLE + 4, bit),
            5 => {
                let to = random.below(CPUS as u64);
                let offset = 0x6000 + u64::from(id) * 8;
                seat(&self.gic, me).write(Frame::Distributor, offset, AccessSize::Double, to, hw).unwrap();
            }
            6 => {
                seat(&self.gic, me).read(Frame::Distributor, SET_ACTIVE + 4, AccessSize::Word, hw).unwrap();
            }
            _ => self.write(me, hw, CLEAR_PENDING + 4, 1 << 30),
        }
    }

    fn run_vcpu(&self, me: u16) {
        let hw = Cpu {
            lists: RefCell::default(),
            maintenance: Cell::new(Maintenance::empty()),
            ends: Cell::new(0),
            kicks: &self.kicks,
        };
        self.gic.vcpu_on(VcpuId(me), &hw);
        let base = u64::from(me) * 0x2_0000 + 0x1_0000;
        seat(&self.gic, me)
            .write(Frame::Redistributor, base + ENABLE, AccessSize::Word, 0xffff, &hw)
            .unwrap();
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(me) << 40);
        for _ in 0..ROUNDS {
            self.act(me, &hw, &mut random);
            self.serve(me, &hw, Some(&mut random));
        }
        // All that was disabled comes, and everything quietens down.
        self.write(me, &hw, ENABLE + 4, u64::from(u32::MAX));
        // A post may cause another: in each round every vCPU serves what the round before brought it.
        for _ in 0..32 {
            self.round.wait();
            while self.serve(me, &hw, None) {}
        }
    }

    fn run_device(&self) {
        // Kicks are all that a CPU outside of the partition uses.
        let hw = Cpu {
            lists: RefCell::default(),
            maintenance: Cell::new(Maintenance::empty()),
            ends: Cell::new(0),
            kicks: &self.kicks,
        };
        let mut random = Random(42);
        for _ in 0..ROUNDS {
            let id = SPIS.start + random.below(u64::from(SPIS.end - SPIS.start)) as u32;
            self.edge_due[id as usize].store(true, SeqCst);
            self.gic.set_line(None, int(id), true, &hw);
            self.gic.set_line(None, int(id), false, &hw);
            if random.below(4) == 0 {
                std::thread::yield_now();
            }
        }
        (0..32).for_each(|_| _ = self.round.wait());
    }
}

/// A read of GICD_IROUTER sees one write or the other, never half of each.
#[test]
fn a_route_is_read_in_one_piece() {
    const ROUTE: u64 = 0x6000 + 8 * 40;
    const ROUTES: [u64; 2] = [0x0000_00ff_0000_0001, 0x0000_0000_80ff_ff00];
    let (vcpus, spis, banks) = storage(CPUS, 32);
    let gic = Gic::new(Config::new(Version::V3), vcpus, spis, banks, &[]).unwrap();
    let kicks: [AtomicBool; CPUS] = Default::default();
    let cpu = || Cpu {
        lists: RefCell::default(),
        maintenance: Cell::new(Maintenance::empty()),
        ends: Cell::new(0),
        kicks: &kicks,
    };
    let write = |hw: &Cpu<'_>, value| {
        seat(&gic, 0).write(Frame::Distributor, ROUTE, AccessSize::Double, value, hw).unwrap();
    };
    write(&cpu(), ROUTES[0]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let hw = cpu();
            for round in 0..ROUNDS {
                write(&hw, ROUTES[round & 1]);
            }
            is_over.store(true, SeqCst);
        });
        let hw = cpu();
        while !is_over.load(SeqCst) {
            let value = seat(&gic, 1).read(Frame::Distributor, ROUTE, AccessSize::Double, &hw).unwrap();
            assert!(ROUTES.contains(&value), "{value:#x}");
        }
    });
}

#[test]
fn nothing_is_lost_between_threads() {
    let (vcpus, spis, banks) = storage(CPUS, 96);
    let gic = Gic::new(Config { patience: 64, ..Config::new(Version::V3) }, vcpus, spis, banks, &[]).unwrap();
    let shared = Shared {
        gic,
        kicks: Default::default(),
        sgi_due: Default::default(),
        edge_due: [const { AtomicBool::new(false) }; 64],
        active: [const { AtomicBool::new(false) }; 64],
        round: Barrier::new(CPUS + 1),
        taken: AtomicUsize::new(0),
    };
    let hw = Cpu {
        lists: RefCell::default(),
        maintenance: Cell::new(Maintenance::empty()),
        ends: Cell::new(0),
        kicks: &shared.kicks,
    };
    shared.gic.reset(&hw);
    shared.write(0, &hw, 0, 3);
    // SPIs 32 to 47: edges.
    shared.write(0, &hw, 0xc08, 0xaaaa_aaaa);
    shared.write(0, &hw, ENABLE + 4, u64::from(u32::MAX));
    std::thread::scope(|scope| {
        for me in 0..CPUS as u16 {
            let shared = &shared;
            scope.spawn(move || shared.run_vcpu(me));
        }
        scope.spawn(|| shared.run_device());
    });
    for (cpu, due) in shared.sgi_due.iter().enumerate() {
        for (id, due) in due.iter().enumerate() {
            assert!(!due.load(SeqCst), "SGI {id} to vCPU {cpu} was lost");
        }
    }
    for id in SPIS {
        assert!(!shared.edge_due[id as usize].load(SeqCst), "an edge of {id} was lost");
    }
    assert!(shared.taken.load(SeqCst) > ROUNDS / 4, "the test took interrupts at all");
}
