// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The GICv2 distributor's register map, as IHI 0048B has it without security extensions.

use crate::machine::*;
use bulkhead_machine::gic::AccessSize::{Byte, Double, Half, Word};
use bulkhead_machine::gic::Fault;
use bulkhead_machine::gic::Frame::{Distributor, Redistributor};
use bulkhead_machine::gic::Version::V2;
use bulkhead_types::VcpuId;

fn machine(cpus: usize) -> Machine {
    Machine::new(V2, cpus, 4)
}

#[test]
fn identification() {
    let machine = machine(4);
    assert_eq!(machine.read(0, 0), 3);
    machine.write(0, 0, 0xffff_fffe);
    assert_eq!(machine.read(2, 0), 2);
    assert_eq!(machine.read(0, 4), 3 << 5 | 3, "four CPUs, 96 SPIs");
    assert_eq!(machine.read(0, 8), 0x0200_143b);
    let pidr: Vec<u64> = (0xfd0..0x1000).step_by(4).map(|offset| machine.read(0, offset)).collect();
    assert_eq!(pidr, [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn any_width() {
    let machine = machine(1);
    machine.write(0, 0x424, 0xf8a0_4008);
    let read = |offset, size| machine.read_as(0, Distributor, offset, size);
    assert_eq!(
        (read(0x425, Byte), read(0x426, Half), read(0x420, Double)),
        (0x40, 0xf8a0, 0xf8a0_4008 << 32)
    );
    machine.write_as(0, Distributor, 0x104, Half, 0x0101);
    machine.write_as(0, Distributor, 0x107, Byte, 0x80);
    assert_eq!(machine.read(0, 0x104), 0x8000_0101);
    machine.write_as(0, Distributor, 0x185, Byte, 0x01);
    assert_eq!(machine.read(0, 0x104), 0x8000_0001);
    machine.write_as(0, Distributor, 0x84, Byte, 0xff);
    machine.write_as(0, Distributor, 0x86, Half, 0x00ff);
    assert_eq!(machine.read(0, 0x84), 0x00ff_00ff, "a partial write leaves the rest");
    machine.write_as(0, Distributor, 0x100, Double, 1 << 48 | 1 << 20);
    assert_eq!((machine.read(0, 0x100), machine.read(0, 0x104)), (0x0010_ffff, 0x8001_0001));
}

#[test]
fn sgis_are_always_enabled_and_pending_by_sender_only() {
    let machine = machine(2);
    assert_eq!(machine.read(0, ENABLE), 0xffff);
    machine.write(0, DISABLE, 0xffff);
    assert_eq!(machine.read(0, ENABLE), 0xffff);
    machine.write(0, SET_PENDING, 0xffff);
    assert_eq!(machine.acknowledge(0), None);
    machine.write(0, 0xf00, 2 << 24 | 9);
    machine.write(0, CLEAR_PENDING, 0xffff);
    assert_eq!(machine.read(0, SET_PENDING), 1 << 9);
    assert_eq!(machine.acknowledge(0), Some(9));
}

#[test]
fn private_registers_are_banked() {
    let machine = machine(3);
    machine.write(1, ENABLE, 1 << 20 | 1 << 27);
    machine.write(1, 0x414, 0x48);
    machine.write(1, 0x80, 0xf0);
    assert_eq!((machine.read(0, ENABLE), machine.read(1, ENABLE)), (0xffff, 0x0810_ffff));
    assert_eq!((machine.read(0, 0x414), machine.read(1, 0x414)), (0, 0x48));
    assert_eq!((machine.read(2, 0x80), machine.read(1, 0x80)), (0, 0xf0));
    assert!(machine.board.physical(1, int(27), |physical| physical.enabled));
    assert!(!machine.board.physical(0, int(27), |physical| physical.enabled));
}

#[test]
fn targets() {
    let machine = machine(3);
    for cpu in 0..3 {
        let own = 1u64 << cpu;
        assert_eq!(machine.read(cpu, 0x800), own * 0x0101_0101);
        assert_eq!(machine.read(cpu, 0x81c), own * 0x0101_0101);
        machine.write(cpu, 0x800, 0);
        assert_eq!(machine.read_as(cpu, Distributor, 0x803, Byte), own);
    }
    machine.write(0, 0x828, 0xff04_0200);
    assert_eq!(machine.read(0, 0x828), 0x0704_0200, "only CPUs that there are");
    for id in [40, 41, 42, 43] {
        machine.set_bit(0, ENABLE, id);
        machine.board.drive(0, int(id), true);
    }
    assert_eq!(machine.acknowledge(1), Some(41));
    assert_eq!(machine.acknowledge(2), Some(42));
    assert_eq!(machine.acknowledge(0), Some(43), "one of several");
    assert!(machine.bit(0, SET_PENDING, 40), "to nobody");
    machine.gic.vcpu_off(VcpuId(2), &machine.board.on(2));
    machine.write_as(1, Distributor, 0x828, Byte, 0b110);
    machine.board.drive(0, int(41), false);
    machine.end(1, 41);
    assert_eq!(machine.acknowledge(1), Some(40), "of two the one that runs");
}

#[test]
fn a_uniprocessor_has_no_targets() {
    let machine = machine(1);
    machine.write(0, 0x820, 0xffff_ffff);
    assert_eq!((machine.read(0, 0x820), machine.read(0, 0x800)), (0, 0));
    machine.set_bit(0, ENABLE, 40);
    machine.board.drive(0, int(40), true);
    assert_eq!(machine.acknowledge(0), Some(40));
}

#[test]
fn sgir_filters() {
    let machine = machine(3);
    let taken = |cpu| {
        machine.settle();
        let mut senders = Vec::new();
        while let Some((id, source)) = machine.board.acknowledge(cpu) {
            machine.end(cpu, id);
            senders.push((id, source));
        }
        senders
    };
    machine.write(1, 0xf00, 0b101 << 16 | 4);
    assert_eq!([taken(0), taken(1), taken(2)], [vec![(4, 1)], vec![], vec![(4, 1)]]);
    machine.write(1, 0xf00, 1 << 24 | 0xff << 16 | 5);
    assert_eq!([taken(0), taken(1), taken(2)], [vec![(5, 1)], vec![], vec![(5, 1)]]);
    machine.write(1, 0xf00, 2 << 24 | 0xff << 16 | 6);
    assert_eq!([taken(0), taken(1), taken(2)], [vec![], vec![(6, 1)], vec![]]);
    machine.write(1, 0xf00, 3 << 24 | 0xff << 16 | 6);
    machine.write(1, 0xf00, 0xf8 << 16 | 6);
    machine.write_as(1, Distributor, 0xf00, Byte, 6);
    assert_eq!([taken(0), taken(1), taken(2)], [vec![], vec![], vec![]]);
    assert_eq!(machine.read(1, 0xf00), 0);
}

#[test]
fn senders_are_kept_apart() {
    let machine = machine(4);
    for sender in [3, 1, 2] {
        machine.write(sender, 0xf00, 1 << 16 | 4);
    }
    machine.write(0, 0xf00, 2 << 24 | 4);
    machine.settle();
    assert_eq!(machine.read(0, 0xf24), 0b1111);
    assert_eq!(machine.read(0, 0xf14), 0b1111);
    assert_eq!(machine.read(1, 0xf24), 0);
    machine.write(0, 0xf14, 0b0100);
    let mut senders = Vec::new();
    for _ in 0..3 {
        machine.settle();
        let (id, sender) = machine.board.acknowledge(0).unwrap();
        machine.end(0, id);
        senders.push(sender);
    }
    senders.sort_unstable();
    assert_eq!(senders, [0, 1, 3]);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn senders_set_and_cleared_by_software() {
    let machine = machine(2);
    machine.write(0, 0xf20, 0x0000_0201);
    assert_eq!(machine.read(0, 0xf20), 0x0201);
    assert_eq!(machine.read(0, SET_PENDING), 0b11);
    machine.write_as(0, Distributor, 0xf11, Byte, 0x02);
    assert_eq!(machine.read(0, 0xf20), 0x0001);
    machine.settle();
    assert_eq!(machine.board.acknowledge(0), Some((0, 0)));
    machine.end(0, 0);
    assert_eq!(machine.acknowledge(0), None);
    // CPUs that there are not send nothing.
    machine.write(0, 0xf20, 0xfcfc_fcfc);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn odd_accesses_neither_panic_nor_do_anything() {
    let machine = machine(2);
    let hw = machine.board.on(0);
    for offset in 0..0x1000u64 {
        for size in [Byte, Half, Word, Double] {
            let read = seat(&machine.gic, 0).read(Distributor, offset, size, &hw);
            let write = seat(&machine.gic, 0).write(Distributor, offset, size, u64::MAX, &hw);
            let aligned = offset % size.bytes() == 0;
            assert_eq!((read.is_ok(), write.is_ok()), (aligned, aligned), "{offset:#x} {size:?}");
        }
    }
    assert_eq!(seat(&machine.gic, 0).read(Distributor, 0x1000, Word, &hw), Err(Fault));
    assert_eq!(seat(&machine.gic, 0).read(Redistributor, 0, Word, &hw), Err(Fault));
    assert_eq!(seat(&machine.gic, 0).write(Redistributor, 0, Word, 0, &hw), Err(Fault));
    machine.settle();
}
