// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random guests, devices and CPUs on the virtual GIC and on the model: the guest sees no difference.

use crate::machine::*;
use crate::model::Model;
use bulkhead_machine::gic::AccessSize::{Byte, Double};
use bulkhead_machine::gic::Frame::Distributor;
use bulkhead_machine::gic::Version::{self, V2, V3};
use bulkhead_types::VcpuId;
use proptest::prelude::*;

/// SGIs, PPIs (27 physical), virtual SPIs (34 edge), physical SPIs (42, 43 and 70 edge).
const IDS: [u32; 14] = [1, 2, 20, 27, 33, 34, 35, 36, 40, 41, 42, 43, 70, 80];
const EDGES: [u32; 4] = [34, 42, 43, 70];

const fn is_owned(id: u32) -> bool {
    matches!(id, 27 | 30 | 40..48 | 70)
}

#[derive(Clone, Debug)]
enum Step {
    Enable,
    Disable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority(u8),
    Route(usize),
    /// To any vCPU (GICv3).
    RouteToAny,
    Group(bool),
    Groups(u8),
    Line(bool),
    Sgi(usize),
    /// GICD_SETSPI_NSR or GICD_CLRSPI_NSR.
    Message(bool),
    /// GICD_SPENDSGIR or GICD_CPENDSGIR, for a sender.
    Sender(usize, bool),
    Acknowledge,
    End,
    Deactivate(usize),
    Look,
    Off,
    On,
}

#[derive(Clone, Debug)]
struct Op {
    step: Step,
    /// Who does it, and of whom the interrupt is if it is private.
    cpu: usize,
    owner: usize,
    id: u32,
    /// Whether everything settles before the next.
    settle: bool,
}

fn step(cpus: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Enable),
        2 => Just(Step::Disable),
        3 => Just(Step::SetPending),
        1 => Just(Step::ClearPending),
        1 => Just(Step::SetActive),
        1 => Just(Step::ClearActive),
        2 => (0u8..30).prop_map(|level| Step::Priority(level << 3)),
        2 => (0..cpus).prop_map(Step::Route),
        1 => Just(Step::RouteToAny),
        1 => any::<bool>().prop_map(Step::Group),
        1 => prop_oneof![Just(3u8), 0u8..4].prop_map(Step::Groups),
        6 => any::<bool>().prop_map(Step::Line),
        3 => (0..cpus).prop_map(Step::Sgi),
        2 => any::<bool>().prop_map(Step::Message),
        2 => (0..cpus, any::<bool>()).prop_map(|(from, set)| Step::Sender(from, set)),
        6 => Just(Step::Acknowledge),
        4 => Just(Step::End),
        3 => any::<prop::sample::Index>().prop_map(|index| Step::Deactivate(index.index(64))),
        1 => Just(Step::Look),
        1 => Just(Step::Off),
        2 => Just(Step::On),
    ]
}

fn ops(cpus: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (step(cpus), 0..cpus, 0..cpus, prop::sample::select(&IDS[..]), prop::bool::weighted(0.7))
        .prop_map(|(step, cpu, owner, id, settle)| Op { step, cpu, owner, id, settle });
    prop::collection::vec(op, 1..150)
}

struct Pair {
    machine: Machine,
    model: Model,
    split: bool,
    /// Interrupts made active by software too. Only where all fit into the list registers or ends
    /// name their interrupt (EOImode 1): the end counter alone cannot tell those from acknowledged ones.
    activate: bool,
}

impl Pair {
    fn new(version: Version, cpus: usize, lists: usize, split: bool) -> Self {
        let machine = Machine::new(version, cpus, lists);
        machine.board.split.set(split);
        let mut model = Model::new(version, cpus);
        for id in EDGES {
            machine.set_edge(0, id, true);
            model.get(0, id).edge = true;
        }
        let mut pair = Self { machine, model, split, activate: split || lists == 16 };
        // Most things enabled, so that something happens.
        for owner in 0..cpus {
            for &id in IDS.iter().filter(|&&id| id != 36 && (id < 32 || owner == 0)) {
                pair.apply(&Op { step: Step::Enable, cpu: owner, owner, id, settle: true });
                if id >= 32 {
                    pair.apply(&Op {
                        step: Step::Route(id as usize % cpus),
                        cpu: 0,
                        owner,
                        id,
                        settle: true,
                    });
                }
            }
        }
        pair
    }

    fn apply(&mut self, op: &Op) {
        let Op { cpu, id, .. } = *op;
        if !self.model.on[cpu] && !matches!(op.step, Step::On | Step::Line(_)) {
            return;
        }
        // GICv2 reaches its own private interrupts only.
        let owner = if self.model.version == V2 { cpu } else { op.owner };
        let in_service = self.model.is_in_service(owner, id);
        let has_senders = self.model.version == V2 && id < 16;
        let (owned, now) = (is_owned(id), *self.model.get(owner, id));
        match op.step {
            Step::Enable => {
                self.set_bit(cpu, owner, ENABLE, id);
                self.model.get(owner, id).enabled = true;
            }
            Step::Disable => {
                self.set_bit(cpu, owner, DISABLE, id);
                self.model.get(owner, id).enabled = has_senders;
            }
            // A physical level that software made pending and then disables before it is taken: see the
            // limits in the module's documentation.
            Step::SetPending if owned && !now.edge => {}
            Step::SetPending => {
                self.set_bit(cpu, owner, SET_PENDING, id);
                self.model.get(owner, id).latch |= !has_senders;
            }
            Step::ClearPending => {
                self.set_bit(cpu, owner, CLEAR_PENDING, id);
                self.model.get(owner, id).latch = false;
                // Another vCPU carries it out when the kick reaches it; an SGI that it sends itself before is lost with it.
                if owner != cpu {
                    self.machine.settle();
                }
            }
            Step::SetActive if self.activate => {
                self.set_bit(cpu, owner, SET_ACTIVE, id);
                self.model.get(owner, id).active = true;
                // The holder carries it out when the kick reaches it, its guest's next end may be earlier.
                self.machine.settle();
            }
            Step::ClearActive if !in_service => {
                self.set_bit(cpu, owner, CLEAR_ACTIVE, id);
                self.model.get(owner, id).active = false;
            }
            Step::Priority(priority) if !now.active => {
                self.write_priority(cpu, owner, id, priority);
                self.model.get(owner, id).priority = priority;
            }
            Step::Route(to) if id >= 32 => {
                self.machine.route(cpu, id, to);
                let interrupt = self.model.get(0, id);
                (interrupt.target, interrupt.anyone) = (Some(to), false);
            }
            Step::RouteToAny if id >= 32 && self.model.version == V3 => {
                let offset = 0x6000 + u64::from(id) * 8;
                self.machine.write_as(cpu, Distributor, offset, Double, 1 << 31);
                let interrupt = self.model.get(0, id);
                (interrupt.target, interrupt.anyone) = (None, true);
            }
            Step::Group(group1) => {
                self.write_group(cpu, owner, id, group1);
                self.model.get(owner, id).group1 = group1;
            }
            Step::Groups(groups) => {
                self.machine.write(cpu, 0, u64::from(groups));
                self.model.groups = groups;
            }
            Step::Line(level) => self.line(cpu, id, level, op.settle),
            Step::Sgi(to) if id < 16 => {
                let group1 = self.model.get(to, id).group1;
                if has_senders || !group1 {
                    self.machine.send(cpu, id, to);
                    let interrupt = self.model.get(to, id);
                    if has_senders { interrupt.senders |= 1 << cpu } else { interrupt.latch = true }
                }
            }
            Step::Message(set) if self.model.version == V3 && id >= 32 && !owned => {
                self.machine.write(cpu, if set { 0x40 } else { 0x48 }, id.into());
                let interrupt = self.model.get(0, id);
                *(if now.edge { &mut interrupt.latch } else { &mut interrupt.line }) = set;
            }
            Step::Sender(from, set) if has_senders => {
                let register = if set { 0xf20 } else { 0xf10 } + u64::from(id);
                self.machine.write_as(cpu, Distributor, register, Byte, 1 << from);
                let senders = &mut self.model.get(cpu, id).senders;
                *senders = *senders & !(1 << from) | u8::from(set) << from;
            }
            Step::Acknowledge => self.acknowledge(cpu),
            Step::End => {
                if let Some(id) = self.model.innermost(cpu) {
                    self.machine.board.end(&self.machine.gic, cpu, id, false);
                    self.model.end(cpu, id, self.split);
                }
            }
            Step::Deactivate(n) => {
                let dropped = &self.model.dropped[cpu];
                if !dropped.is_empty() {
                    let id = dropped[n % dropped.len()];
                    self.machine.board.deactivate_by_guest(&self.machine.gic, cpu, id);
                    self.model.deactivate(cpu, id);
                }
            }
            Step::Look => self.compare(cpu),
            Step::Off => {
                let idle = self.model.running[cpu].is_empty() && self.model.dropped[cpu].is_empty();
                if idle && self.model.on.iter().filter(|&&on| on).count() > 1 {
                    self.machine.gic.vcpu_off(VcpuId(cpu as u16), &self.machine.board.on(cpu));
                    self.model.on[cpu] = false;
                    let lists = self.machine.board.cpus[cpu].borrow().lists.clone();
                    assert!(lists.iter().all(|value| !value.is_pending() && !value.is_active()), "{lists:?}");
                }
            }
            Step::On if !self.model.on[cpu] => {
                self.machine.board.reset_interface(cpu);
                self.machine.gic.vcpu_on(VcpuId(cpu as u16), &self.machine.board.on(cpu));
                self.model.on[cpu] = true;
            }
            _ => {}
        }
        if op.settle {
            self.machine.settle();
        }
    }

    /// A device drives its line, physical or virtual, the latter from a CPU of the partition or another.
    fn line(&mut self, cpu: usize, id: u32, level: bool, foreign: bool) {
        if id < 16 || id == 20 {
            return;
        }
        let interrupt = *self.model.get(cpu, id);
        if is_owned(id) {
            // Once EL2 has acknowledged it, the physical GIC no longer sees a level fall or edges merge.
            let acknowledged = interrupt.is_pending() && interrupt.enabled && !interrupt.active;
            if acknowledged && (interrupt.edge == level) {
                return;
            }
            self.machine.board.drive(cpu, int(id), level);
        } else {
            let from = (!foreign && self.model.on[cpu]).then_some(cpu);
            self.machine.set_line(from, id, level);
        }
        let interrupt = self.model.get(cpu, id);
        interrupt.latch |= interrupt.edge && level && !interrupt.line;
        interrupt.line = level;
    }

    fn acknowledge(&mut self, cpu: usize) {
        self.machine.settle();
        let candidates = self.model.candidates(cpu);
        match self.machine.board.acknowledge(cpu) {
            Some((id, source)) => {
                assert!(candidates.contains(&id), "vCPU {cpu} got {id}; the model has {candidates:?}");
                self.model.acknowledge(cpu, id, source);
            }
            // What is for any vCPU may wait for another.
            None => {
                let others = candidates.iter().all(|&id| self.model.is_for_anyone(id));
                assert!(others, "vCPU {cpu} got nothing; the model has {candidates:?}");
            }
        }
    }

    /// Every register shows what the model has.
    fn compare(&mut self, cpu: usize) {
        let owners = if self.model.version == V2 { cpu..cpu + 1 } else { 0..self.model.on.len() };
        for owner in owners {
            for &id in IDS.iter().filter(|&&id| id >= 32 || owner < 32) {
                for (family, what) in [(SET_PENDING, "pending"), (SET_ACTIVE, "active"), (ENABLE, "enabled")]
                {
                    self.machine.settle();
                    // The first read asks whoever holds the interrupt.
                    self.read_bit(cpu, owner, family, id);
                    self.machine.settle();
                    let is = self.read_bit(cpu, owner, family, id);
                    let interrupt = *self.model.get(owner, id);
                    let expected = match family {
                        SET_PENDING => interrupt.is_pending(),
                        SET_ACTIVE => interrupt.active,
                        _ => interrupt.enabled,
                    };
                    assert_eq!(
                        is, expected,
                        "{id} of vCPU {owner}, {what}, read by vCPU {cpu}: {interrupt:?}"
                    );
                }
            }
        }
        for id in IDS.into_iter().filter(|&id| is_owned(id)) {
            let active = self.machine.board.physical(cpu, int(id), |physical| physical.active);
            let interrupt = *self.model.get(cpu, id);
            // An interrupt neither active nor about to be delivered must be free to come again.
            let may = interrupt.active || interrupt.is_pending();
            assert!(may || !active, "{id} is orphaned: physically active, {interrupt:?}");
        }
    }

    /// At the end everything pending can be had, once.
    fn finish(&mut self) {
        for cpu in 0..self.model.on.len() {
            self.apply(&Op { step: Step::On, cpu, owner: cpu, id: 1, settle: true });
        }
        self.compare(0);
        for _ in 0..200 {
            for cpu in 0..self.model.on.len() {
                self.acknowledge(cpu);
                if let Some(id) = self.model.innermost(cpu) {
                    self.line(cpu, id, false, true);
                    self.machine.board.end(&self.machine.gic, cpu, id, true);
                    self.model.end(cpu, id, false);
                }
            }
        }
        self.compare(0);
        for cpu in 0..self.model.on.len() {
            let left = self.model.candidates(cpu);
            assert!(left.is_empty(), "nobody got {left:?}");
        }
    }

    fn place(&self, owner: usize, id: u32, offset: u64) -> (bulkhead_machine::gic::Frame, u64) {
        use bulkhead_machine::gic::Frame;
        if id < 32 && self.model.version == V3 {
            (Frame::Redistributor, owner as u64 * 0x2_0000 + 0x1_0000 + offset)
        } else {
            (Frame::Distributor, offset)
        }
    }

    fn set_bit(&self, cpu: usize, owner: usize, family: u64, id: u32) {
        let (frame, offset) = self.place(owner, id, family + u64::from(id / 32) * 4);
        self.machine.write_as(cpu, frame, offset, bulkhead_machine::gic::AccessSize::Word, 1 << (id % 32));
    }

    fn read_bit(&self, cpu: usize, owner: usize, family: u64, id: u32) -> bool {
        let (frame, offset) = self.place(owner, id, family + u64::from(id / 32) * 4);
        self.machine.read_as(cpu, frame, offset, bulkhead_machine::gic::AccessSize::Word) >> (id % 32) & 1
            != 0
    }

    fn write_priority(&self, cpu: usize, owner: usize, id: u32, priority: u8) {
        let (frame, offset) = self.place(owner, id, 0x400 + u64::from(id));
        self.machine.write_as(cpu, frame, offset, bulkhead_machine::gic::AccessSize::Byte, priority.into());
    }

    fn write_group(&self, cpu: usize, owner: usize, id: u32, group1: bool) {
        use bulkhead_machine::gic::AccessSize::Word;
        let (frame, offset) = self.place(owner, id, 0x80 + u64::from(id / 32) * 4);
        let old = self.machine.read_as(cpu, frame, offset, Word) & !(1 << (id % 32));
        self.machine.write_as(cpu, frame, offset, Word, old | u64::from(group1) << (id % 32));
    }
}

fn run(version: Version, cpus: usize, lists: usize, split: bool, ops: &[Op]) {
    let mut pair = Pair::new(version, cpus, lists, split);
    for op in ops {
        pair.apply(op);
    }
    pair.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_vcpu_few_lists(ops in ops(1), lists in 1usize..5) {
        run(V3, 1, lists, false, &ops);
        run(V2, 1, lists, false, &ops);
    }

    #[test]
    fn three_vcpus_few_lists(ops in ops(3), lists in 1usize..5) {
        run(V3, 3, lists, false, &ops);
        run(V2, 3, lists, false, &ops);
    }

    #[test]
    fn three_vcpus_many_lists(ops in ops(3)) {
        run(V3, 3, 16, false, &ops);
        run(V2, 3, 16, false, &ops);
    }

    #[test]
    fn split_ends(ops in ops(2), lists in 1usize..5) {
        run(V3, 2, lists, true, &ops);
        run(V2, 2, lists, true, &ops);
    }
}

/// An SGI that is still on its way is no longer pending either once its receiver has cleared it.
#[test]
fn a_cleared_sgi_does_not_arrive() {
    let op = |step, cpu, owner| Op { step, cpu, owner, id: 1, settle: false };
    run(V3, 3, 4, false, &[op(Step::Sgi(1), 0, 0), op(Step::ClearPending, 1, 1)]);
}
