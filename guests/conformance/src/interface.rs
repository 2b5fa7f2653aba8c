// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interrupt controller step by step, as the probes of interrupts use it: polled, nothing is taken.

use core::arch::asm;

use guest_runtime::gic;
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::{read8, read32, write8, write32, write64};
use guest_runtime::{cpu, read_register, write_register};

const IGROUPR: usize = 0x080;
pub const ISENABLER: usize = 0x100;
pub const ICENABLER: usize = 0x180;
pub const ISPENDR: usize = 0x200;
pub const ICPENDR: usize = 0x280;
pub const ISACTIVER: usize = 0x300;
pub const ICACTIVER: usize = 0x380;
const IPRIORITYR: usize = 0x400;
const ITARGETSR: usize = 0x800;
const ICFGR: usize = 0xc00;
const IROUTER: usize = 0x6000;

/// The controller, seen from one CPU.
#[derive(Clone, Copy)]
pub struct Interface {
    distributor: usize,
    private: usize,
    /// GICC, on GICv2.
    memory: Option<usize>,
}

/// A register of the CPU interface: its offset in GICC, and how GICv3 reads and writes it.
macro_rules! register {
    ($(#[$doc:meta])* $read:ident, $offset:literal, $system:literal) => {
        $(#[$doc])*
        pub fn $read(&self) -> u64 {
            match self.memory {
                // SAFETY: GICC, this CPU's own; an acknowledge is what the caller wants.
                Some(base) => unsafe { read32(base + $offset) }.into(),
                None => {
                    let value = read_register!($system);
                    // SAFETY: a barrier.
                    unsafe { asm!("dsb sy", "isb", options(nostack)) };
                    value
                }
            }
        }
    };
    ($(#[$doc:meta])* $write:ident(value), $offset:literal, $system:literal) => {
        $(#[$doc])*
        pub fn $write(&self, value: u64) {
            // SAFETY: this CPU's own interface, whose interrupts are masked.
            unsafe {
                match self.memory {
                    Some(base) => write32(base + $offset, value as u32),
                    None => write_register!($system, value),
                }
                asm!("dsb sy", "isb", options(nostack));
            }
        }
    };
}

impl Interface {
    /// This CPU's.
    pub fn new(machine: &Machine) -> Option<Self> {
        let gic = gic::get()?;
        let memory = match machine.gic? {
            GicKind::V2 { cpu_interface, .. } => Some(cpu_interface.base),
            GicKind::V3 { .. } => None,
        };
        Some(Self { distributor: gic.distributor(), private: gic.private_base(), memory })
    }

    /// Whether it is a GICv3.
    pub fn is_v3(&self) -> bool {
        self.memory.is_none()
    }

    register!(
        /// IAR: takes the most urgent interrupt.
        acknowledge, 0x0c, "S3_0_C12_C12_0");
    register!(
        /// RPR: the running priority.
        running, 0x14, "S3_0_C12_C11_3");
    register!(
        /// HPPIR: what is pending.
        pending_here, 0x18, "S3_0_C12_C12_2");
    register!(
        /// EOIR.
        end(value), 0x10, "S3_0_C12_C12_1");
    register!(
        /// PMR.
        set_mask(value), 0x04, "S3_0_C4_C6_0");
    register!(
        /// BPR, of group 1 on GICv3.
        set_binary_point(value), 0x08, "S3_0_C12_C12_3");
    register!(
        /// BPR.
        binary_point, 0x08, "S3_0_C12_C12_3");
    register!(
        /// DIR.
        deactivate(value), 0x1000, "S3_0_C12_C11_1");

    /// EOImode: whether the end of an interrupt leaves it active.
    pub fn set_split_end(&self, split: bool) {
        match self.memory {
            // GICC_CTLR: bit 9 for the group that a non-secure guest has.
            Some(base) => {
                let own = if split { 1 << 9 | 1 } else { 1 };
                // SAFETY: this CPU's own interface.
                unsafe { write32(base, own) };
            }
            // SAFETY: as above, ICC_CTLR_EL1.
            None => unsafe {
                write_register!("S3_0_C12_C12_4", u64::from(split) << 1);
                asm!("isb", options(nostack));
            },
        }
    }

    fn bank(&self, id: u32) -> usize {
        if id < 32 { self.private } else { self.distributor }
    }

    /// Whether the interrupt's bit is set in a family of registers.
    pub fn is_set(&self, family: usize, id: u32) -> bool {
        let address = self.bank(id) + family + 4 * (id as usize / 32);
        // SAFETY: registers of the GIC that lose nothing by being read.
        unsafe { read32(address) & 1 << (id % 32) != 0 }
    }

    /// Writes the interrupt's bit into a family of registers.
    pub fn set(&self, family: usize, id: u32) {
        // SAFETY: the interrupts are this program's own, and masked.
        unsafe { write32(self.bank(id) + family + 4 * (id as usize / 32), 1 << (id % 32)) };
        self.settle();
    }

    /// The interrupt's priority.
    pub fn priority(&self, id: u32) -> u8 {
        // SAFETY: a register of the GIC that loses nothing by being read.
        unsafe { read8(self.bank(id) + IPRIORITYR + id as usize) }
    }

    /// Sets the interrupt's priority.
    pub fn set_priority(&self, id: u32, priority: u8) {
        // SAFETY: as above.
        unsafe { write8(self.bank(id) + IPRIORITYR + id as usize, priority) };
        self.settle();
    }

    /// Makes the interrupt edge-triggered or level-sensitive.
    pub fn set_edge(&self, id: u32, edge: bool) {
        let address = self.bank(id) + ICFGR + 4 * (id as usize / 16);
        let bit = 2 << (id % 16 * 2);
        // SAFETY: as above.
        unsafe {
            let value = read32(address);
            write32(address, if edge { value | bit } else { value & !bit });
        }
        self.settle();
    }

    /// Puts the interrupt into group 1 or 0.
    pub fn set_group(&self, id: u32, group: bool) {
        let address = self.bank(id) + IGROUPR + 4 * (id as usize / 32);
        let bit = 1 << (id % 32);
        // SAFETY: as above.
        unsafe {
            let value = read32(address);
            write32(address, if group { value | bit } else { value & !bit });
        }
        self.settle();
    }

    /// Routes a shared interrupt to this CPU, or to what `elsewhere` says in the form of the GIC's version.
    pub fn route(&self, id: u32, elsewhere: Option<u64>) {
        // SAFETY: as above.
        unsafe {
            if self.is_v3() {
                let to = elsewhere.unwrap_or_else(|| cpu::mpidr().affinity());
                write64(self.distributor + IROUTER + 8 * id as usize, to);
            } else {
                let own = read32(self.distributor + ITARGETSR) as u8;
                write8(self.distributor + ITARGETSR + id as usize, elsewhere.map_or(own, |to| to as u8));
            }
        }
        self.settle();
    }

    /// GICD_CTLR's group enables.
    pub fn set_groups(&self, groups: u32) {
        // SAFETY: as above; affinity routing stays on.
        unsafe { write32(self.distributor, if self.is_v3() { groups | 0x10 } else { groups }) };
        self.settle();
    }

    /// Sends an SGI to this CPU.
    pub fn send_to_self(&self, id: u32) {
        let gic = gic::get();
        if let Some(gic) = gic {
            gic.send_sgi(id, cpu::mpidr(), gic.interface());
        }
        self.settle();
    }

    /// Writes GICD_SGIR, or ICC_SGI1R_EL1.
    pub fn send(&self, value: u64) {
        // SAFETY: the CPUs are this program's own.
        unsafe {
            asm!("dsb ish", options(nostack));
            if self.is_v3() {
                write_register!("S3_0_C12_C11_5", value);
            } else {
                write32(self.distributor + 0xf00, value as u32);
            }
        }
        self.settle();
    }

    /// Waits until the distributor has carried out what was written (RWP), and everything else has.
    fn settle(&self) {
        // SAFETY: GICD_CTLR, and a barrier.
        unsafe {
            asm!("dsb sy", "isb", options(nostack));
            while self.is_v3() && read32(self.distributor) & 1 << 31 != 0 {}
        }
    }
}
