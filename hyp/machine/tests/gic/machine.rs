// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A partition on a board in memory: its virtual GIC, and what tests do with it.

pub use super::board::*;
use bulkhead_machine::gic::{
    AccessSize, Bank, Config, Frame, GICD_SGIR, Gic, SgiRegister, Spi, Vcpu, Version, enable_register,
};
use bulkhead_types::VcpuId;

/// Storage, leaked: a test's worth.
pub fn storage(cpus: usize, spis: usize) -> (&'static [Vcpu], &'static [Spi], &'static [Bank]) {
    let vcpus: Vec<_> = (0..cpus).map(|n| Vcpu::new(VcpuId(n as u16))).collect();
    let spis: Vec<_> = (0..spis).map(|_| Spi::new()).collect();
    let banks: Vec<_> = (0..spis.len().div_ceil(32)).map(|_| Bank::new()).collect();
    (vcpus.leak(), spis.leak(), banks.leak())
}

/// A partition: its virtual GIC, and the board under it.
pub struct Machine {
    pub gic: Gic<'static>,
    pub board: Board,
    pub version: Version,
}

pub const ENABLE: u64 = 0x100;
pub const DISABLE: u64 = 0x180;
pub const SET_PENDING: u64 = 0x200;
pub const CLEAR_PENDING: u64 = 0x280;
pub const SET_ACTIVE: u64 = 0x300;
pub const CLEAR_ACTIVE: u64 = 0x380;

impl Machine {
    /// `cpus` vCPUs that run, 96 SPIs, all groups open; PPIs 27 and 30 and SPIs 40 to 47 and 70 are physical.
    pub fn new(version: Version, cpus: usize, lists: usize) -> Self {
        let (vcpus, spis, banks) = storage(cpus, 96);
        let owned: Vec<_> = [27, 30, 70].into_iter().chain(40..48).map(int).collect();
        let config = Config { patience: 0, ..Config::new(version) };
        let gic = Gic::new(config, vcpus, spis, banks, &owned).expect("the storage fits");
        let machine = Self { gic, board: Board::new(cpus, lists), version };
        machine.gic.reset(&machine.board.on(0));
        for cpu in 0..cpus {
            machine.gic.reset_vcpu(VcpuId(cpu as u16), &machine.board.on(cpu));
            machine.gic.vcpu_on(VcpuId(cpu as u16), &machine.board.on(cpu));
        }
        machine.write(0, 0, 3);
        machine.settle();
        machine
    }

    pub fn read_as(&self, cpu: usize, frame: Frame, offset: u64, size: AccessSize) -> u64 {
        let constant = seat(&self.gic, 0)
            .read_constant(offset)
            .filter(|_| (frame, size) == (Frame::Distributor, AccessSize::Word));
        let hw = self.board.on(cpu);
        let value = seat(&self.gic, cpu as u16).read(frame, offset, size, &hw).expect("no fault");
        assert_eq!(u64::from(constant.unwrap_or(value as u32)), value & 0xffff_ffff, "the short way");
        value
    }

    pub fn write_as(&self, cpu: usize, frame: Frame, offset: u64, size: AccessSize, value: u64) {
        let hw = self.board.on(cpu);
        let is_word = (frame, size) == (Frame::Distributor, AccessSize::Word);
        if is_word
            && self.version == Version::V2
            && offset == GICD_SGIR
            && seat(&self.gic, cpu as u16).send_to_self_v2(value as u32, &hw)
        {
            return;
        }
        match enable_register(offset) {
            Some(word) if is_word => {
                seat(&self.gic, cpu as u16).enable(word, value as u32, &hw);
            }
            _ => seat(&self.gic, cpu as u16).write(frame, offset, size, value, &hw).expect("no fault"),
        }
    }

    /// A word of the distributor.
    pub fn read(&self, cpu: usize, offset: u64) -> u64 {
        self.read_as(cpu, Frame::Distributor, offset, AccessSize::Word)
    }

    /// A word of the distributor.
    pub fn write(&self, cpu: usize, offset: u64, value: u64) {
        self.write_as(cpu, Frame::Distributor, offset, AccessSize::Word, value);
    }

    /// Where the register of private interrupts is: the redistributor's for GICv3.
    fn place(&self, cpu: usize, id: u32, offset: u64) -> (Frame, u64) {
        if id < 32 && self.version == Version::V3 {
            (Frame::Redistributor, cpu as u64 * 0x2_0000 + 0x1_0000 + offset)
        } else {
            (Frame::Distributor, offset)
        }
    }

    /// Writes the interrupt's bit to a register with a bit for each.
    pub fn set_bit(&self, cpu: usize, family: u64, id: u32) {
        let (frame, offset) = self.place(cpu, id, family + u64::from(id / 32) * 4);
        self.write_as(cpu, frame, offset, AccessSize::Word, 1 << (id % 32));
    }

    pub fn bit(&self, cpu: usize, family: u64, id: u32) -> bool {
        let (frame, offset) = self.place(cpu, id, family + u64::from(id / 32) * 4);
        self.read_as(cpu, frame, offset, AccessSize::Word) >> (id % 32) & 1 != 0
    }

    pub fn set_priority(&self, cpu: usize, id: u32, priority: u8) {
        let (frame, offset) = self.place(cpu, id, 0x400 + u64::from(id));
        self.write_as(cpu, frame, offset, AccessSize::Byte, u64::from(priority));
    }

    /// Sends a shared interrupt to one vCPU.
    pub fn route(&self, cpu: usize, id: u32, to: usize) {
        if self.version == Version::V3 {
            let affinity = VcpuId(to as u16).mpidr().affinity();
            let offset = 0x6000 + u64::from(id) * 8;
            self.write_as(cpu, Frame::Distributor, offset, AccessSize::Double, affinity);
        } else {
            let offset = 0x800 + u64::from(id);
            self.write_as(cpu, Frame::Distributor, offset, AccessSize::Byte, 1 << to);
        }
    }

    pub fn set_edge(&self, cpu: usize, id: u32, edge: bool) {
        let (frame, offset) = self.place(cpu, id, 0xc00 + u64::from(id / 16) * 4);
        let shift = id % 16 * 2 + 1;
        let old = self.read_as(cpu, frame, offset, AccessSize::Word) & !(1 << shift);
        self.write_as(cpu, frame, offset, AccessSize::Word, old | u64::from(edge) << shift);
    }

    /// A virtual device drives its line, from a CPU of the partition or (`None`) from another.
    pub fn set_line(&self, cpu: Option<usize>, id: u32, level: bool) {
        let hw = self.board.on(cpu.unwrap_or(usize::MAX));
        self.gic.set_line(cpu.map(|cpu| VcpuId(cpu as u16)), int(id), level, &hw);
    }

    /// Sends a software generated interrupt to one vCPU.
    pub fn send(&self, cpu: usize, id: u32, to: usize) {
        if self.version == Version::V3 {
            let mpidr = VcpuId(to as u16).mpidr();
            let value = u64::from(id) << 24 | u64::from(mpidr.level(1)) << 16 | 1 << mpidr.level(0);
            let register = SgiRegister::Sgi0;
            send_sgi(&self.gic, VcpuId(cpu as u16), register, value, &self.board.on(cpu));
        } else {
            self.write(cpu, 0xf00, 1 << (16 + to) | u64::from(id));
        }
    }

    pub fn settle(&self) {
        self.board.settle(&self.gic);
    }

    /// The guest acknowledges, after everything has settled.
    pub fn acknowledge(&self, cpu: usize) -> Option<u32> {
        self.settle();
        self.board.acknowledge(cpu).map(|(id, _)| id)
    }

    pub fn end(&self, cpu: usize, id: u32) {
        self.board.end(&self.gic, cpu, id, true);
        self.settle();
    }

    /// Acknowledges and ends whatever comes, in order.
    pub fn take_all(&self, cpu: usize) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(id) = self.acknowledge(cpu) {
            order.push(id);
            assert!(order.len() < 2000, "interrupts without end: {order:?}");
            self.end(cpu, id);
        }
        order
    }
}
