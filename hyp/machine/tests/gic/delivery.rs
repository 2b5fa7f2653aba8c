// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts on their way to the guest, both versions.

use crate::machine::*;
use bulkhead_machine::gic::AccessSize::Word;
use bulkhead_machine::gic::Version::{self, V2, V3};
use bulkhead_machine::gic::{Frame, Maintenance};
use bulkhead_types::VcpuId;

/// A machine with these interrupts enabled at priority 0xa0 and sent to vCPU 0.
fn machine(version: Version, cpus: usize, ids: &[u32]) -> Machine {
    let machine = Machine::new(version, cpus, 4);
    prepare(&machine, ids);
    machine
}

fn prepare(machine: &Machine, ids: &[u32]) {
    for &id in ids {
        machine.set_priority(0, id, 0xa0);
        if id >= 32 {
            machine.route(0, id, 0);
        }
        machine.set_bit(0, ENABLE, id);
    }
}

fn both(test: impl Fn(Version)) {
    test(V2);
    test(V3);
}

/// Another vCPU makes an interrupt active while this one's CPU takes it, and others wait already: the guest's end of it
/// must be noticed, though it is in no list register.
#[test]
fn what_becomes_active_on_its_way_reports_its_end() {
    both(|version| {
        let machine = Machine::new(version, 2, 1);
        prepare(&machine, &[33, 34, 40]);
        machine.set_bit(0, SET_PENDING, 33);
        machine.set_bit(0, SET_PENDING, 34);
        machine.settle();
        let causes = || machine.board.cpus[0].borrow().maintenance;
        assert!(!causes().contains(Maintenance::NOT_PRESENT));
        let hw = machine.board.on(1);
        seat(&machine.gic, 1).write(Frame::Distributor, SET_ACTIVE + 4, Word, 1 << (40 - 32), &hw).unwrap();
        // The kick has not come yet.
        on_interrupt(&machine.gic, VcpuId(0), int(40), &machine.board.on(0));
        assert!(causes().contains(Maintenance::NOT_PRESENT));
    });
}

#[test]
fn a_physical_interrupt_comes_with_one_write_and_ends_without_an_exit() {
    both(|version| {
        let machine = machine(version, 1, &[27]);
        machine.board.drive(0, int(27), true);
        let writes = machine.board.count.list_writes.get();
        let reads = machine.board.count.list_reads.get();
        assert_eq!(machine.acknowledge(0), Some(27));
        assert_eq!(machine.board.count.list_writes.get() - writes, 1);
        assert_eq!(machine.board.count.list_reads.get() - reads, 0);
        assert!(machine.bit(0, SET_ACTIVE, 27));
        machine.board.drive(0, int(27), false);
        machine.end(0, 27);
        assert!(!machine.bit(0, SET_ACTIVE, 27));
        assert!(!machine.board.physical(0, int(27), |physical| physical.active));
        assert_eq!(machine.board.count.maintenances.get(), 0);
        assert_eq!(machine.acknowledge(0), None);
    });
}

#[test]
fn a_line_still_high_at_the_end_makes_it_pending_again() {
    both(|version| {
        for id in [40, 33] {
            let machine = machine(version, 1, &[id]);
            let drive = |level| match id {
                40 => machine.board.drive(0, int(40), level),
                _ => machine.set_line(Some(0), 33, level),
            };
            drive(true);
            for _ in 0..3 {
                assert_eq!(machine.acknowledge(0), Some(id));
                machine.end(0, id);
            }
            assert_eq!(machine.acknowledge(0), Some(id));
            drive(false);
            machine.end(0, id);
            assert_eq!(machine.acknowledge(0), None);
        }
    });
}

#[test]
fn a_driver_that_lowers_the_line_costs_no_maintenance() {
    both(|version| {
        let machine = machine(version, 1, &[33]);
        for _ in 0..5 {
            machine.set_line(None, 33, true);
            assert_eq!(machine.acknowledge(0), Some(33));
            machine.set_line(Some(0), 33, false);
            machine.end(0, 33);
        }
        assert_eq!(machine.acknowledge(0), None);
        assert_eq!(machine.board.count.maintenances.get(), 0);
    });
}

#[test]
fn a_line_lowered_before_the_acknowledge_is_gone() {
    both(|version| {
        let machine = machine(version, 2, &[33]);
        machine.set_line(None, 33, true);
        machine.settle();
        machine.set_line(None, 33, false);
        assert_eq!(machine.acknowledge(0), None);
        assert!(!machine.bit(0, SET_PENDING, 33));
        // Lowered and raised while active: once more.
        machine.set_line(Some(1), 33, true);
        assert_eq!(machine.acknowledge(0), Some(33));
        machine.set_line(Some(0), 33, false);
        machine.set_line(Some(1), 33, true);
        machine.end(0, 33);
        assert_eq!(machine.acknowledge(0), Some(33));
    });
}

#[test]
fn edges_are_counted_once_and_not_lost() {
    both(|version| {
        let machine = machine(version, 1, &[34, 41]);
        for id in [34, 41] {
            machine.set_edge(0, id, true);
        }
        let pulse = || {
            machine.board.drive(0, int(41), true);
            machine.board.drive(0, int(41), false);
            machine.set_line(None, 34, true);
            machine.set_line(None, 34, false);
            machine.settle();
        };
        pulse();
        pulse();
        let mut both = machine.take_all(0);
        both.sort_unstable();
        // A second physical edge while the first was waiting is the physical GIC's to merge: it had been
        // acknowledged, so it comes twice, as it would to a CPU that acknowledged at once.
        both.dedup();
        assert_eq!(both, [34, 41]);
        // An edge during handling comes after.
        pulse();
        let first = machine.acknowledge(0).unwrap();
        pulse();
        machine.end(0, first);
        let rest = machine.take_all(0);
        assert_eq!(rest.iter().filter(|&&id| id == first).count(), 1, "{rest:?}");
    });
}

#[test]
fn disabled_while_pending_goes_back_to_the_physical_gic() {
    both(|version| {
        for (id, edge) in [(40, false), (41, true), (27, false)] {
            let machine = machine(version, 1, &[id]);
            if edge {
                machine.set_edge(0, id, true);
            }
            machine.board.drive(0, int(id), true);
            machine.settle();
            machine.set_bit(0, DISABLE, id);
            let physical = machine.board.physical(0, int(id), |physical| *physical);
            assert!(!physical.active && physical.is_pending() && !physical.enabled, "{id}: {physical:?}");
            assert!(machine.bit(0, SET_PENDING, id));
            assert_eq!(machine.acknowledge(0), None);
            machine.set_bit(0, ENABLE, id);
            assert_eq!(machine.acknowledge(0), Some(id));
            machine.board.drive(0, int(id), false);
            machine.end(0, id);
            assert_eq!(machine.acknowledge(0), None, "{id} comes once");
        }
    });
}

#[test]
fn disabled_while_active_is_not_orphaned() {
    both(|version| {
        for id in [40, 33] {
            let machine = machine(version, 1, &[id]);
            let drive = |level| match id {
                40 => machine.board.drive(0, int(40), level),
                _ => machine.set_line(None, 33, level),
            };
            drive(true);
            assert_eq!(machine.acknowledge(0), Some(id));
            machine.set_bit(0, DISABLE, id);
            drive(false);
            machine.end(0, id);
            assert!(!machine.board.physical(0, int(id), |physical| physical.active));
            machine.set_bit(0, ENABLE, id);
            assert_eq!(machine.acknowledge(0), None);
            drive(true);
            assert_eq!(machine.acknowledge(0), Some(id));
        }
    });
}

#[test]
fn disabling_another_vcpus_interrupt_shows_in_rwp_until_it_took_effect() {
    let machine = machine(V3, 2, &[40, 33]);
    machine.board.drive(0, int(40), true);
    machine.set_line(None, 33, true);
    machine.settle();
    machine.write(1, DISABLE + 4, 1 << 8 | 1 << 1);
    assert_eq!(machine.read(1, 0) >> 31, 1, "RWP");
    machine.settle();
    assert_eq!(machine.read(1, 0) >> 31, 0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn more_than_list_registers_come_in_order_of_priority() {
    both(|version| {
        for lists in [1, 2, 4, 16] {
            let machine = Machine::new(version, 1, lists);
            let ids: Vec<u32> = (32..96).collect();
            for (n, &id) in ids.iter().enumerate() {
                machine.set_priority(0, id, (n as u8).wrapping_mul(40) & 0xf8);
                machine.route(0, id, 0);
                if (40..48).contains(&id) || id == 70 {
                    machine.set_edge(0, id, true);
                }
                machine.set_bit(0, ENABLE, id);
            }
            // A hypervisor that refills late would deliver a worse one first.
            for &id in ids.iter().rev() {
                match (40..48).contains(&id) || id == 70 {
                    true => machine.board.drive(0, int(id), true),
                    false => machine.set_bit(0, SET_PENDING, id),
                }
            }
            let priority = |id: u32| ((id - 32) as u8).wrapping_mul(40) & 0xf8;
            let order = machine.take_all(0);
            assert_eq!(order.len(), ids.len());
            assert!(order.is_sorted_by_key(|&id| priority(id)), "{lists} lists: {order:?}");
        }
    });
}

#[test]
fn a_newcomer_of_higher_priority_preempts() {
    both(|version| {
        let machine = Machine::new(version, 1, 2);
        let ids = [35u32, 36, 37, 38, 39];
        prepare(&machine, &ids);
        for (n, id) in ids.into_iter().enumerate() {
            machine.set_priority(0, id, 0xa0 - 8 * n as u8);
        }
        // Each comes while all before are active: with two list registers actives must make room.
        for id in ids {
            machine.set_bit(0, SET_PENDING, id);
            assert_eq!(machine.acknowledge(0), Some(id));
            assert!(
                ids.iter().take_while(|&&earlier| earlier != id).all(|&id| machine.bit(0, SET_ACTIVE, id))
            );
        }
        for id in ids.into_iter().rev() {
            machine.end(0, id);
            assert!(!machine.bit(0, SET_ACTIVE, id), "{id}");
        }
        for id in ids {
            machine.set_bit(0, SET_PENDING, id);
        }
        assert_eq!(machine.take_all(0), [39, 38, 37, 36, 35]);
    });
}

#[test]
fn split_ends_deactivate_in_any_order() {
    both(|version| {
        let machine = Machine::new(version, 1, 2);
        machine.board.split.set(true);
        let ids = [35u32, 36, 37, 40, 41, 42];
        prepare(&machine, &ids);
        for id in ids {
            match id {
                40..48 => machine.board.drive(0, int(id), true),
                _ => machine.set_bit(0, SET_PENDING, id),
            }
            assert_eq!(machine.acknowledge(0), Some(id));
            // The priority drops; the interrupt stays active.
            machine.board.end(&machine.gic, 0, id, false);
            if id >= 40 {
                machine.board.drive(0, int(id), false);
            }
            machine.settle();
        }
        for id in [36, 41, 35, 42, 40, 37] {
            assert!(machine.bit(0, SET_ACTIVE, id), "{id}");
            machine.board.deactivate_by_guest(&machine.gic, 0, id);
            machine.settle();
            assert!(!machine.bit(0, SET_ACTIVE, id), "{id}");
            assert!(!machine.board.physical(0, int(id), |physical| physical.active), "{id}");
        }
        assert_eq!(machine.acknowledge(0), None);
    });
}

#[test]
fn rerouted_while_pending_moves_and_while_active_stays() {
    both(|version| {
        for id in [40, 33] {
            let machine = machine(version, 2, &[id]);
            let drive = |level| match id {
                40 => machine.board.drive(0, int(40), level),
                _ => machine.set_line(None, 33, level),
            };
            drive(true);
            machine.settle();
            machine.route(1, id, 1);
            assert_eq!(machine.acknowledge(0), None, "{version:?} {id}");
            assert_eq!(machine.acknowledge(1), Some(id));
            machine.route(1, id, 0);
            assert!(machine.bit(1, SET_ACTIVE, id));
            assert_eq!(machine.acknowledge(0), None, "still active at vCPU 1");
            machine.end(1, id);
            assert_eq!(machine.acknowledge(0), Some(id), "{version:?} {id}");
            drive(false);
            machine.end(0, id);
            assert_eq!(machine.acknowledge(0), None);
            assert_eq!(machine.acknowledge(1), None);
        }
    });
}

#[test]
fn a_closed_group_holds_back_and_lets_go() {
    both(|version| {
        let machine = machine(version, 2, &[40, 33, 5]);
        machine.write(0, 0, 0);
        machine.board.drive(0, int(40), true);
        machine.set_line(None, 33, true);
        machine.send(1, 5, 0);
        assert_eq!(machine.acknowledge(0), None);
        assert!(machine.bit(0, SET_PENDING, 40) && machine.bit(0, SET_PENDING, 33));
        machine.write(1, 0, 1);
        machine.settle();
        machine.write(1, 0, 0);
        assert_eq!(machine.acknowledge(0), None, "withdrawn from the list registers");
        machine.write(1, 0, 1);
        let mut taken = Vec::new();
        while let Some(id) = machine.acknowledge(0) {
            machine.board.drive(0, int(40), false);
            machine.set_line(None, 33, false);
            machine.end(0, id);
            taken.push(id);
        }
        taken.sort_unstable();
        assert!(taken == [5, 33, 40] || taken == [5, 40], "{taken:?}");
    });
}

#[test]
fn software_sets_and_clears_pending_and_active() {
    both(|version| {
        for id in [50, 41, 30, 20] {
            let machine = machine(version, 1, &[id]);
            if id == 41 {
                machine.set_edge(0, id, true);
            }
            machine.set_bit(0, SET_PENDING, id);
            assert!(machine.bit(0, SET_PENDING, id), "{id}");
            machine.settle();
            assert!(machine.bit(0, SET_PENDING, id), "{id}");
            machine.set_bit(0, CLEAR_PENDING, id);
            assert!(!machine.bit(0, SET_PENDING, id), "{id}");
            assert_eq!(machine.acknowledge(0), None, "{id}");

            machine.set_bit(0, SET_ACTIVE, id);
            assert!(machine.bit(0, SET_ACTIVE, id));
            machine.set_bit(0, SET_PENDING, id);
            machine.settle();
            assert_eq!(machine.acknowledge(0), None, "active: {id} does not come");
            machine.set_bit(0, CLEAR_ACTIVE, id);
            assert!(!machine.bit(0, SET_ACTIVE, id));
            assert_eq!(machine.acknowledge(0), Some(id));
            machine.set_bit(0, SET_PENDING, id);
            machine.settle();
            assert!(machine.bit(0, SET_PENDING, id) && machine.bit(0, SET_ACTIVE, id), "{id}");
            machine.end(0, id);
            assert_eq!(machine.take_all(0), [id]);
        }
    });
}

#[test]
fn ends_of_what_was_not_active_do_not_free_what_becomes_active_later() {
    both(|version| {
        let machine = machine(version, 1, &[50]);
        machine.board.cpus[0].borrow_mut().end_count = 3;
        machine.set_bit(0, SET_ACTIVE, 50);
        assert!(machine.bit(0, SET_ACTIVE, 50));
        machine.set_bit(0, SET_PENDING, 50);
        assert_eq!(machine.acknowledge(0), None);
    });
}

#[test]
fn sgis_to_oneself_never_leave_the_cpu() {
    both(|version| {
        let machine = machine(version, 2, &[3]);
        let before = machine.board.count.kicks.get();
        for _ in 0..10 {
            machine.send(0, 3, 0);
            machine.send(0, 3, 0);
            assert_eq!(machine.take_all(0), [3]);
        }
        assert_eq!(machine.board.count.kicks.get(), before);
        assert_eq!(machine.acknowledge(1), None);
    });
}

#[test]
fn sgis_to_another_cost_one_kick() {
    both(|version| {
        let machine = machine(version, 3, &[3, 7]);
        let before = machine.board.count.kicks.get();
        machine.send(1, 3, 0);
        machine.send(2, 7, 0);
        machine.send(2, 3, 0);
        assert_eq!(machine.board.count.kicks.get() - before, 1);
        let mut taken = machine.take_all(0);
        taken.sort_unstable();
        let expected: &[u32] = if version == V2 { &[3, 3, 7] } else { &[3, 7] };
        assert_eq!(taken, expected);
        // While active it becomes pending again.
        machine.send(1, 3, 0);
        assert_eq!(machine.acknowledge(0), Some(3));
        machine.send(1, 3, 0);
        machine.settle();
        machine.end(0, 3);
        assert_eq!(machine.take_all(0), [3]);
    });
}

#[test]
fn only_changed_bits_reach_the_physical_gic() {
    let machine = Machine::new(V3, 1, 4);
    machine.write(0, ENABLE + 4, 0xff00);
    assert_eq!(machine.board.count.enables.get(), 8);
    machine.write(0, ENABLE + 4, 0xffff);
    assert_eq!(machine.board.count.enables.get(), 8);
    let before = machine.board.count.disables.get();
    machine.write(0, DISABLE + 4, 0x0100);
    machine.write(0, DISABLE + 4, 0x0100);
    assert_eq!(machine.board.count.disables.get() - before, 1);
    assert_eq!(machine.read(0, ENABLE + 4), 0xfeff);
}

#[test]
fn an_interrupt_that_is_not_the_guests_is_silenced() {
    let machine = Machine::new(V3, 1, 4);
    for id in [50, 20, 1000] {
        let hw = machine.board.on(0);
        machine.board.physical(0, int(id), |physical| (physical.enabled, physical.active) = (true, true));
        on_interrupt(&machine.gic, bulkhead_types::VcpuId(0), int(id), &hw);
        let physical = machine.board.physical(0, int(id), |physical| *physical);
        assert!(!physical.enabled && !physical.active);
    }
    assert_eq!(machine.acknowledge(0), None);
}
