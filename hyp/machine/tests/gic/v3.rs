// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The GICv3 register map, as IHI 0069H has it for one security state.

use crate::machine::*;
use bulkhead_machine::gic::AccessSize::{self, Byte, Double, Half, Word};
use bulkhead_machine::gic::Frame::{self, Distributor, Redistributor};
use bulkhead_machine::gic::{Config, Fault, Gic, Misfit, SgiRegister, Version::V3};
use bulkhead_types::VcpuId;

fn machine(cpus: usize) -> Machine {
    Machine::new(V3, cpus, 4)
}

/// Offset in some vCPU's SGI_base.
fn sgi_base(cpu: u64, offset: u64) -> u64 {
    cpu * 0x2_0000 + 0x1_0000 + offset
}

#[test]
fn identification() {
    let machine = machine(4);
    machine.write(0, 0, 0);
    machine.settle();
    assert_eq!(machine.read(0, 0x0), 0x50, "DS and ARE");
    // Ten ID bits, A3V, MBIS, 96 SPIs; no LPIs, no security extensions, 1 of N supported.
    assert_eq!(machine.read(0, 0x4), 1 << 24 | 9 << 19 | 1 << 16 | 3);
    assert_eq!(machine.read(0, 0x8), 0x43b);
    let pidr: Vec<u64> = (0xffd0..0x1_0000).step_by(4).map(|offset| machine.read(0, offset)).collect();
    assert_eq!(pidr, [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    for cpu in 0..4 {
        let at = |offset, size| machine.read_as(0, Redistributor, cpu * 0x2_0000 + offset, size);
        let last = if cpu == 3 { 1 << 4 } else { 0 };
        assert_eq!(at(8, Double), cpu << 32 | cpu << 8 | last);
        assert_eq!((at(8, Word), at(12, Word)), (cpu << 8 | last, cpu));
        assert_eq!((at(0, Word), at(4, Word), at(0xffe8, Word), at(0xffe0, Word)), (0, 0x43b, 0x3b, 0x93));
    }
}

#[test]
fn control_keeps_the_group_enables_only() {
    let machine = machine(1);
    machine.write(0, 0, 0xffff_ffff);
    assert_eq!(machine.read(0, 0), 0x53);
    machine.write(0, 0, 0xffff_fffe);
    assert_eq!(machine.read(0, 0), 0x52);
    machine.write(0, 0, 0);
    assert_eq!(machine.read(0, 0), 0x50);
}

#[test]
fn read_only_and_reserved_registers_ignore_writes() {
    let machine = machine(1);
    let offsets =
        [0x4, 0x8, 0x10, 0xc, 0x20, 0x50, 0x58, 0xd04, 0xe08, 0xf00, 0xf10, 0xf24, 0x1000, 0x6000, 0xffe8];
    for offset in offsets {
        let before = machine.read(0, offset);
        machine.write(0, offset, 0xffff_ffff);
        assert_eq!(machine.read(0, offset), before, "{offset:#x}");
    }
    for offset in [0x820, 0xd04, 0xe08, 0xf00, 0xf10, 0x10, 0x5000] {
        assert_eq!(machine.read(0, offset), 0, "{offset:#x}");
    }
    // Private interrupts' registers are in the redistributor.
    for offset in [0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400, 0x41c, 0xc00, 0xc04] {
        machine.write(0, offset, 0xffff_ffff);
        assert_eq!(machine.read(0, offset), 0, "{offset:#x}");
    }
    // SPIs that there are not.
    for offset in [0x90, 0x110, 0x210, 0x310, 0x480, 0xc20, 0x6400] {
        machine.write(0, offset, 0xffff_ffff);
        assert_eq!(machine.read(0, offset), 0, "{offset:#x}");
    }
}

#[test]
fn banks_of_bits() {
    let machine = machine(1);
    let check = |write: &dyn Fn(u64, u64), read: &dyn Fn(u64) -> u64| {
        write(0x80, 0x8000_0101);
        assert_eq!(read(0x80), 0x8000_0101);
        write(0x80, 0);
        for (set, clear) in [(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)] {
            write(set, 0x000f_0003);
            assert_eq!((read(set), read(clear)), (0x000f_0003, 0x000f_0003), "{set:#x}");
            write(set, 0);
            write(clear, 0x0003_0001);
            assert_eq!((read(set), read(clear)), (0x000c_0002, 0x000c_0002), "{set:#x}");
            write(clear, 0xffff_ffff);
            assert_eq!(read(set), 0, "{set:#x}");
        }
    };
    check(&|offset, value| machine.write(0, offset + 4, value), &|offset| machine.read(0, offset + 4));
    check(&|offset, value| machine.write_as(0, Redistributor, sgi_base(0, offset), Word, value), &|offset| {
        machine.read_as(0, Redistributor, sgi_base(0, offset), Word)
    });
}

#[test]
fn priorities_keep_their_implemented_bits_at_every_size() {
    let machine = machine(1);
    for (frame, offset) in [(Distributor, 0x42c), (Redistributor, sgi_base(0, 0x418))] {
        machine.write_as(0, frame, offset, Word, 0xffa7_0f01);
        assert_eq!(machine.read_as(0, frame, offset, Word), 0xf8a0_0800);
        machine.write_as(0, frame, offset + 1, Byte, 0x47);
        let bytes: Vec<u64> = (0..4).map(|n| machine.read_as(0, frame, offset + n, Byte)).collect();
        assert_eq!(bytes, [0x00, 0x40, 0xa0, 0xf8]);
        machine.write_as(0, frame, offset + 2, Half, 0xffff);
        assert_eq!(machine.read_as(0, frame, offset, Half), 0);
    }
    let (vcpus, spis, banks) = storage(1, 32);
    let config = Config { priority_bits: 8, ..Config::new(V3) };
    let gic = Gic::new(config, vcpus, spis, banks, &[]).unwrap();
    let board = Board::new(1, 4);
    seat(&gic, 0).write(Distributor, 0x420, Word, 0x1234_5678, &board.on(0)).unwrap();
    assert_eq!(seat(&gic, 0).read(Distributor, 0x420, Word, &board.on(0)), Ok(0x1234_5678));
}

#[test]
fn routes_are_written_by_words_and_doublewords_alone() {
    let machine = machine(4);
    let route = |at| machine.read_as(0, Distributor, at, Double);
    machine.write_as(0, Distributor, 0x6108, Double, 0x0000_0001_8000_0203);
    assert_eq!(route(0x6108), 0x0000_0001_8000_0203);
    // IHI 0069, "GIC memory-mapped register access": bytes are for priorities, halves for messages.
    for offset in 0x6108..0x6110 {
        machine.write_as(0, Distributor, offset, Byte, 0x55);
        assert_eq!(machine.read_as(0, Distributor, offset, Byte), 0);
    }
    for offset in [0x6108, 0x610a, 0x610c, 0x610e] {
        machine.write_as(0, Distributor, offset, Half, 0x5555);
        assert_eq!(machine.read_as(0, Distributor, offset, Half), 0);
    }
    assert_eq!(route(0x6108), 0x0000_0001_8000_0203);
    machine.write_as(0, Distributor, 0x610c, Word, 2);
    machine.write_as(0, Distributor, 0x6108, Word, 1);
    assert_eq!(route(0x6108), 0x0000_0002_0000_0001);
}

#[test]
fn configuration() {
    let machine = machine(1);
    assert_eq!(machine.read_as(0, Redistributor, sgi_base(0, 0xc00), Word), 0xaaaa_aaaa, "SGIs are edges");
    machine.write_as(0, Redistributor, sgi_base(0, 0xc00), Word, 0);
    assert_eq!(machine.read_as(0, Redistributor, sgi_base(0, 0xc00), Word), 0xaaaa_aaaa);
    // 27 and 30 are physical here, and the board has the triggers of private interrupts fixed to level.
    machine.write_as(0, Redistributor, sgi_base(0, 0xc04), Word, 0xffff_ffff);
    assert_eq!(
        machine.read_as(0, Redistributor, sgi_base(0, 0xc04), Word),
        0xaaaa_aaaa & !(2 << 22 | 2 << 28)
    );
    machine.write(0, 0xc08, 0xffff_5555);
    assert_eq!(machine.read(0, 0xc08), 0xaaaa_0000);
    assert!(machine.board.physical(0, int(40), |physical| physical.edge));
}

#[test]
fn routes() {
    let machine = machine(18);
    let route = |id: u64| 0x6000 + id * 8;
    machine.write_as(0, Distributor, route(40), Double, 0xffff_ffff_ffff_ffff);
    assert_eq!(machine.read_as(0, Distributor, route(40), Double), 0xff_80ff_ffff);
    machine.write_as(0, Distributor, route(40), Word, 0x0000_0101);
    assert_eq!(machine.read_as(0, Distributor, route(40), Double), 0xff_0000_0101);
    machine.write_as(0, Distributor, route(40) + 4, Word, 0);
    assert_eq!(machine.read_as(0, Distributor, route(40) + 4, Word), 0);
    machine.set_bit(0, ENABLE, 40);
    machine.board.drive(0, int(40), true);
    assert_eq!(machine.acknowledge(17), Some(40), "affinity 0.0.1.1");
    machine.board.drive(0, int(40), false);
    machine.end(17, 40);
    // To nobody: stays pending in the distributor.
    machine.write_as(0, Distributor, route(40), Double, 0x77_0000_0000);
    machine.board.drive(0, int(40), true);
    machine.set_bit(0, SET_PENDING, 33);
    machine.set_bit(0, ENABLE, 33);
    machine.write_as(0, Distributor, route(33), Double, 0x0033_0000);
    for cpu in 0..18 {
        assert_eq!(machine.acknowledge(cpu), None);
    }
    assert!(machine.bit(3, SET_PENDING, 40) && machine.bit(3, SET_PENDING, 33));
    machine.route(0, 40, 2);
    machine.route(0, 33, 3);
    assert_eq!(machine.acknowledge(2), Some(40));
    assert_eq!(machine.acknowledge(3), Some(33));
}

#[test]
fn one_of_n_goes_to_who_is_awake() {
    let machine = machine(3);
    machine.set_bit(0, ENABLE, 40);
    machine.write_as(0, Redistributor, 2 * 0x2_0000 + 0x14, Word, 0);
    assert_eq!(machine.read_as(1, Redistributor, 2 * 0x2_0000 + 0x14, Word), 0);
    assert_eq!(machine.read_as(1, Redistributor, 0x14, Word), 6);
    // The target so far runs, so it stays with it; when that goes off, the one awake gets it.
    machine.write_as(0, Distributor, 0x6000 + 40 * 8, Double, 1 << 31);
    assert_eq!(machine.read_as(0, Distributor, 0x6000 + 40 * 8, Double), 1 << 31);
    machine.board.drive(0, int(40), true);
    machine.settle();
    machine.gic.vcpu_off(VcpuId(0), &machine.board.on(0));
    assert_eq!(machine.acknowledge(1), None);
    assert_eq!(machine.acknowledge(2), Some(40));
}

#[test]
fn messages() {
    let machine = machine(1);
    machine.set_edge(0, 34, true);
    for id in [33, 34] {
        machine.set_bit(0, ENABLE, id);
    }
    machine.write(0, 0x40, 33);
    machine.write_as(0, Distributor, 0x40, Half, 34);
    let first = machine.acknowledge(0).unwrap();
    machine.end(0, first);
    assert!(machine.bit(0, SET_PENDING, 33), "a level stays until the message that lowers it");
    machine.write_as(0, Distributor, 0x48, Half, 33);
    assert!(!machine.bit(0, SET_PENDING, 33));
    let rest = machine.take_all(0);
    assert!(rest.len() <= 1 && rest.iter().all(|&id| id == 34), "{rest:?}");
    // An edge can be taken back as well. What the thirteen bits do not name exactly is nobody's.
    machine.write(0, 0x40, 34);
    assert!(machine.bit(0, SET_PENDING, 34));
    machine.write(0, 0x48, 34);
    assert!(!machine.bit(0, SET_PENDING, 34));
    for id in [5, 27, 128, 1023, 1024 + 34, 4096 + 34] {
        machine.write(0, 0x40, id);
    }
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn software_generated_interrupts_by_register_and_group() {
    let machine = machine(18);
    let send = |register, value| send_sgi(&machine.gic, VcpuId(0), register, value, &machine.board.on(0));
    for cpu in 0..18u64 {
        machine.write_as(0, Redistributor, sgi_base(cpu, ENABLE), Word, 0xffff);
        machine.write_as(0, Redistributor, sgi_base(cpu, 0x80), Word, 0x00f0);
    }
    machine.settle();
    // The first four, and the two whose affinity 1 is not 0.
    let all = |expected: [&[u32]; 6]| {
        for (cpu, expected) in [0, 1, 2, 3, 16, 17].into_iter().zip(expected) {
            let mut taken = machine.take_all(cpu);
            taken.sort_unstable();
            assert_eq!(taken, expected, "vCPU {cpu}");
        }
    };
    // Group 1 through ICC_SGI1R, group 0 through the others.
    send(SgiRegister::Sgi1, 5 << 24 | 0b1111);
    send(SgiRegister::Sgi1, 1 << 24 | 0b1111);
    all([&[5], &[5], &[5], &[5], &[], &[]]);
    send(SgiRegister::Sgi0, 1 << 24 | 0b0011);
    send(SgiRegister::Sgi0, 5 << 24 | 0b0011);
    send(SgiRegister::Asgi1, 2 << 24 | 0b0001);
    all([&[1, 2], &[1], &[], &[], &[], &[]]);
    // Affinity 1; targets that are not there.
    send(SgiRegister::Sgi1, 6 << 24 | 1 << 16 | 0b1110);
    send(SgiRegister::Sgi1, 6 << 24 | 7 << 48 | 0b1111);
    send(SgiRegister::Sgi1, 6 << 24 | 7 << 32 | 0b1111);
    all([&[], &[], &[], &[], &[], &[6]]);
    // All others.
    send(SgiRegister::Sgi1, 7 << 24 | 1 << 40 | 0b1);
    all([&[], &[7], &[7], &[7], &[7], &[7]]);
}

#[test]
fn every_redistributor_is_reached_from_every_vcpu() {
    let machine = machine(3);
    machine.write_as(1, Redistributor, sgi_base(2, ENABLE), Word, 1 << 27 | 1 << 20);
    assert_eq!(machine.read_as(0, Redistributor, 2 * 0x2_0000, Word), 1 << 3, "RWP");
    machine.settle();
    assert_eq!(machine.read_as(0, Redistributor, 2 * 0x2_0000, Word), 0);
    assert!(machine.board.physical(2, int(27), |physical| physical.enabled));
    assert!(!machine.board.physical(1, int(27), |physical| physical.enabled));
    machine.write_as(1, Redistributor, sgi_base(2, 0x400 + 20), Byte, 0x48);
    machine.write_as(1, Redistributor, sgi_base(2, SET_PENDING), Word, 1 << 20);
    assert_eq!(machine.acknowledge(2), Some(20));
    machine.read_as(0, Redistributor, sgi_base(2, SET_ACTIVE), Word);
    machine.settle();
    assert_eq!(machine.read_as(0, Redistributor, sgi_base(2, SET_ACTIVE), Word), 1 << 20);
    machine.write_as(0, Redistributor, sgi_base(2, DISABLE), Word, 1 << 27);
    machine.settle();
    assert!(!machine.board.physical(2, int(27), |physical| physical.enabled));
}

#[test]
fn odd_accesses_neither_panic_nor_do_anything() {
    let machine = machine(2);
    let hw = machine.board.on(0);
    let hostile = 0xdead_beef_dead_beef;
    for (frame, end) in [(Distributor, 0x1_0000u64), (Redistributor, 0x4_0000)] {
        for offset in (0..end).filter(|offset| offset % 0x4000 < 0x10 || offset % 251 == 0) {
            for size in [Byte, Half, Word, Double] {
                let read = seat(&machine.gic, 0).read(frame, offset, size, &hw);
                let write = seat(&machine.gic, 0).write(frame, offset, size, hostile, &hw);
                let aligned = offset % size.bytes() == 0;
                assert_eq!(
                    (read.is_ok(), write.is_ok()),
                    (aligned, aligned),
                    "{frame:?} {offset:#x} {size:?}"
                );
            }
        }
        for offset in [end, end + 8, u64::MAX - 7, 1 << 40] {
            assert_eq!(seat(&machine.gic, 0).read(frame, offset, Word, &hw), Err(Fault));
            assert_eq!(seat(&machine.gic, 0).write(frame, offset, Byte, 1, &hw), Err(Fault));
        }
    }
    assert!(machine.gic.seat(VcpuId(7)).is_none());
    machine.settle();
    let _: (AccessSize, Frame) = (Word, Distributor);
}

/// The board's number of lines is shown. Those that the partition does not have are like interrupts that an implementation
/// leaves out.
#[test]
fn lines_of_the_board_beyond_the_partitions_read_as_zero() {
    for (lines, shown) in [(0, 2), (1, 2), (8, 8), (31, 31), (255, 31)] {
        let (vcpus, spis, banks) = storage(1, 64);
        let gic = Gic::new(Config { lines, ..Config::new(V3) }, vcpus, spis, banks, &[]).unwrap();
        let (board, seat) = (Board::new(1, 4), seat(&gic, 0));
        let hw = board.on(0);
        assert_eq!(seat.read(Distributor, 4, Word, &hw).unwrap() & 0x1f, shown);
        assert_eq!(seat.read_constant(4).unwrap() & 0x1f, shown as u32);
        for (present, absent, size) in
            [(0x108, 0x10c, Word), (0x088, 0x08c, Word), (0x45c, 0x460, Word), (0x62f8, 0x6300, Double)]
        {
            for offset in [present, absent] {
                seat.write(Distributor, offset, size, 0, &hw).unwrap();
                seat.write(Distributor, offset, size, u64::MAX, &hw).unwrap();
            }
            assert_ne!(seat.read(Distributor, present, size, &hw), Ok(0), "{present:#x}");
            assert_eq!(seat.read(Distributor, absent, size, &hw), Ok(0), "{absent:#x}");
        }
    }
}

#[test]
fn the_most_and_the_least() {
    let (vcpus, spis, banks) = storage(130, 988);
    let gic = Gic::new(Config::new(V3), vcpus, spis, banks, &[int(1019)]).unwrap();
    let board = Board::new(130, 16);
    let hw = board.on(129);
    assert_eq!(seat(&gic, 129).read(Distributor, 4, Word, &hw).unwrap() & 0x1f, 31);
    seat(&gic, 129).write(Distributor, 0x17c, Word, u64::MAX, &hw).unwrap();
    assert_eq!(seat(&gic, 129).read(Distributor, 0x17c, Word, &hw), Ok(0x0fff_ffff));
    seat(&gic, 129).write(Distributor, 0x7fd8, Double, 0x2001, &hw).unwrap();
    assert_eq!(seat(&gic, 129).read(Distributor, 0x7fd8, Double, &hw), Ok(0x2001));
    seat(&gic, 129).write(Distributor, 0x7fe0, Double, 0x2001, &hw).unwrap();
    assert_eq!(seat(&gic, 129).read(Distributor, 0x7fe0, Double, &hw), Ok(0));

    let (vcpus, spis, banks) = storage(9, 64);
    let refuse = |config, spis, owned: &[u32]| {
        let owned: Vec<_> = owned.iter().copied().map(int).collect();
        Gic::new(config, vcpus, spis, banks, &owned).err()
    };
    let v3 = Config::new(V3);
    assert_eq!(refuse(Config::new(bulkhead_machine::gic::Version::V2), spis, &[]), Some(Misfit::Vcpus));
    assert_eq!(refuse(v3, &spis[1..], &[]), Some(Misfit::Spis));
    assert_eq!(refuse(v3, spis, &[96]), Some(Misfit::Owned));
    assert_eq!(refuse(v3, spis, &[7]), Some(Misfit::Owned));
    assert_eq!(refuse(Config { priority_bits: 9, ..v3 }, spis, &[]), Some(Misfit::PriorityBits));
    assert_eq!(refuse(v3, spis, &[95, 16]), None);
    assert!(Gic::new(v3, &vcpus[..1], &[], &[], &[]).is_ok());
}
