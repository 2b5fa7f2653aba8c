// SPDX-License-Identifier: Apache-2.0 OR MIT
//! vCPUs that go off and come on, and partitions that start afresh.

use crate::machine::*;
use bulkhead_machine::gic::AccessSize::Word;
use bulkhead_machine::gic::Frame::Redistributor;
use bulkhead_machine::gic::Version::{self, V2, V3};
use bulkhead_types::VcpuId;

const ALL: [u32; 5] = [3, 27, 33, 40, 42];

/// Two vCPUs; a private level, virtual and physical SPIs (42 edge) to vCPU 1.
fn machine(version: Version, lists: usize) -> Machine {
    let machine = Machine::new(version, 2, lists);
    machine.set_edge(0, 42, true);
    for id in ALL {
        machine.set_bit(1, ENABLE, id);
        if id >= 32 {
            machine.route(0, id, 1);
        }
    }
    machine
}

fn off(machine: &Machine, cpu: usize) {
    machine.gic.vcpu_off(VcpuId(cpu as u16), &machine.board.on(cpu));
    machine.settle();
}

fn on(machine: &Machine, cpu: usize) {
    machine.board.reset_interface(cpu);
    machine.gic.vcpu_on(VcpuId(cpu as u16), &machine.board.on(cpu));
    machine.settle();
}

fn raise(machine: &Machine) {
    machine.send(0, 3, 1);
    machine.board.drive(1, int(27), true);
    machine.set_line(None, 33, true);
    machine.board.drive(1, int(40), true);
    machine.board.drive(1, int(42), true);
}

fn take(machine: &Machine, cpu: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while let Some(id) = machine.acknowledge(cpu) {
        match id {
            33 => machine.set_line(Some(cpu), 33, false),
            27 | 40 | 42 => machine.board.drive(cpu, int(id), false),
            _ => {}
        }
        machine.end(cpu, id);
        taken.push(id);
    }
    taken.sort_unstable();
    taken
}

#[test]
fn what_is_pending_when_a_cpu_goes_off_is_there_when_it_comes_on() {
    for version in [V2, V3] {
        for lists in [1, 2, 8] {
            let machine = machine(version, lists);
            raise(&machine);
            machine.settle();
            off(&machine, 1);
            assert!(!machine.board.physical(1, int(27), |physical| physical.active || physical.enabled));
            on(&machine, 1);
            assert_eq!(take(&machine, 1), ALL, "{version:?}, {lists} lists");
        }
    }
}

#[test]
fn what_comes_while_a_cpu_is_off_waits() {
    for version in [V2, V3] {
        let machine = machine(version, 4);
        off(&machine, 1);
        raise(&machine);
        machine.settle();
        assert_eq!(machine.acknowledge(0), None);
        assert!([33, 40, 42].into_iter().all(|id| machine.bit(0, SET_PENDING, id)));
        on(&machine, 1);
        assert_eq!(take(&machine, 1), ALL);
    }
}

#[test]
fn what_waits_for_a_cpu_that_is_off_can_go_to_another() {
    for version in [V2, V3] {
        let machine = machine(version, 4);
        raise(&machine);
        machine.settle();
        off(&machine, 1);
        for id in [33, 40, 42] {
            machine.route(0, id, 0);
        }
        assert_eq!(take(&machine, 0), [33, 40, 42]);
        on(&machine, 1);
        assert_eq!(take(&machine, 1), [3, 27]);
    }
}

/// vCPU 1 ended it last, without anybody's knowledge, and went off; a device raises it again from the CPU of
/// another partition.
#[test]
fn what_a_cpu_ended_before_it_went_off_comes_elsewhere() {
    for version in [V2, V3] {
        let machine = machine(version, 4);
        machine.set_line(Some(1), 33, true);
        assert_eq!(machine.acknowledge(1), Some(33));
        machine.set_line(Some(1), 33, false);
        machine.route(0, 33, 0);
        machine.settle();
        machine.end(1, 33);
        off(&machine, 1);
        machine.set_line(None, 33, true);
        assert_eq!(take(&machine, 0), [33], "{version:?}");
    }
}

#[test]
fn what_was_active_when_a_cpu_went_off_can_be_freed() {
    for version in [V2, V3] {
        for id in [33, 40] {
            let machine = machine(version, 4);
            machine.set_line(None, 33, id == 33);
            machine.board.drive(1, int(40), id == 40);
            assert_eq!(machine.acknowledge(1), Some(id));
            off(&machine, 1);
            machine.route(0, id, 0);
            assert!(machine.bit(0, SET_ACTIVE, id), "still active: it was not ended");
            assert_eq!(machine.acknowledge(0), None);
            machine.set_bit(0, CLEAR_ACTIVE, id);
            assert!(!machine.bit(0, SET_ACTIVE, id));
            assert_eq!(machine.acknowledge(0), Some(id));
        }
    }
}

#[test]
fn a_reset_leaves_nothing() {
    for version in [V2, V3] {
        let machine = machine(version, 2);
        raise(&machine);
        machine.settle();
        assert!(machine.acknowledge(1).is_some());
        machine.set_priority(0, 40, 0x80);
        machine.set_bit(0, SET_ACTIVE, 50);
        for id in [27, 40, 42] {
            machine.board.drive(1, int(id), false);
        }
        machine.set_line(None, 33, false);
        for cpu in 0..2 {
            machine.gic.reset_vcpu(VcpuId(cpu as u16), &machine.board.on(cpu));
            machine.board.cpus[cpu].borrow_mut().running.clear();
        }
        machine.gic.reset(&machine.board.on(0));
        machine.settle();
        for id in [27, 30, 40, 41, 42, 70] {
            let physical = machine.board.physical(1, int(id), |physical| *physical);
            assert!(!physical.active && !physical.enabled && !physical.is_pending(), "{id}: {physical:?}");
        }
        on(&machine, 0);
        on(&machine, 1);
        assert_eq!(machine.read(0, 0) & 0x8000_0003, 0);
        for family in [0x80, ENABLE, SET_PENDING, SET_ACTIVE, 0xc00] {
            assert_eq!((machine.read(0, family + 8), machine.read(0, family + 4 + 8)), (0, 0), "{family:#x}");
        }
        assert_eq!(machine.read(0, 0x428), 0);
        // And everything works as the first time.
        machine.write(0, 0, 3);
        machine.set_edge(0, 42, true);
        for id in ALL {
            machine.set_bit(1, ENABLE, id);
            if id >= 32 {
                machine.route(0, id, 1);
            }
        }
        raise(&machine);
        assert_eq!(take(&machine, 1), ALL);
    }
}

#[test]
fn a_redistributor_sleeps_and_wakes() {
    let machine = Machine::new(V3, 2, 4);
    let waker = |cpu: u64| machine.read_as(0, Redistributor, cpu * 0x2_0000 + 0x14, Word);
    assert_eq!((waker(0), waker(1)), (6, 6));
    machine.write_as(0, Redistributor, 0x2_0014, Word, 0xffff_fffd);
    assert_eq!((waker(0), waker(1)), (6, 0));
    machine.write_as(1, Redistributor, 0x2_0014, Word, 2);
    assert_eq!(waker(1), 6);
}
