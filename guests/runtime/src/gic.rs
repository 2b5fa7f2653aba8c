// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver for GICv2 (IHI 0048B) and GICv3 (IHI 0069H) as a non-secure kernel at EL1 uses them.
//!
//! It is our own, and small, because test guests must know exactly which register each step touches.

use spin::Once;

use crate::cpu::{mpidr, without_interrupts};
use crate::machine::{GicKind, Machine};
use crate::mmio::{read32, read64, write8, write32};
use crate::{read_register, write_register};

const GICD_CTLR: usize = 0x000;
const GICD_TYPER: usize = 0x004;
const IGROUPR: usize = 0x080;
const ISENABLER: usize = 0x100;
const ICENABLER: usize = 0x180;
const IPRIORITYR: usize = 0x400;
const ITARGETSR: usize = 0x800;
const GICD_SGIR: usize = 0xf00;
const GICD_IROUTER: usize = 0x6000;

const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;

const GICR_TYPER: usize = 0x0008;
const GICR_WAKER: usize = 0x0014;
/// From a redistributor's first frame to its SGI and PPI frame.
const SGI_FRAME: usize = 0x1_0000;

/// ARE_NS, EnableGrp1A, EnableGrp1: every group this kernel can see, with affinity routing.
const GICD_CTLR_V3: u32 = 0x13;
const RWP: u32 = 1 << 31;
const DEFAULT_PRIORITY: u8 = 0xa0;
/// INTIDs from here are special: nothing was pending.
const FIRST_SPECIAL: u32 = 1020;

/// The interrupt controller.
#[derive(Debug)]
pub struct Gic {
    kind: GicKind,
}

/// An interrupt that was acknowledged and must be ended; for a GICv2 SGI it carries the sender.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// The interrupt's ID.
    #[must_use]
    pub fn intid(self) -> u32 {
        self.0 & 0x3ff
    }
}

static GIC: Once<Gic> = Once::new();

/// The controller, once `init` has found one.
#[must_use]
pub fn get() -> Option<&'static Gic> {
    GIC.get()
}

/// Sets up the distributor and this CPU's interface. None if the tree has no GIC that we know.
pub(crate) fn init(machine: &Machine) -> Option<&'static Gic> {
    let kind = machine.gic?;
    let gic = GIC.call_once(|| Gic { kind });
    gic.init_distributor();
    gic.init_cpu();
    Some(gic)
}

impl Gic {
    /// The architecture's version, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self.kind {
            GicKind::V2 { .. } => 2,
            GicKind::V3 { .. } => 3,
        }
    }

    /// The distributor's address.
    #[must_use]
    pub fn distributor(&self) -> usize {
        match self.kind {
            GicKind::V2 { distributor, .. } | GicKind::V3 { distributor, .. } => distributor.base,
        }
    }

    fn init_distributor(&self) {
        let base = self.distributor();
        // SAFETY: the tree says that a GIC's distributor is here.
        unsafe {
            let lines = (read32(base + GICD_TYPER) & 0x1f) as usize + 1;
            write32(base + GICD_CTLR, 0);
            if self.version() == 3 {
                wait_for_writes(base + GICD_CTLR, RWP);
            }
            for word in 1..lines {
                write32(base + ICENABLER + 4 * word, u32::MAX);
                if self.version() == 3 {
                    write32(base + IGROUPR + 4 * word, u32::MAX);
                }
                for byte in 0..32 {
                    write8(base + IPRIORITYR + 32 * word + byte, DEFAULT_PRIORITY);
                }
            }
            write32(base + GICD_CTLR, if self.version() == 3 { GICD_CTLR_V3 } else { 1 });
            if self.version() == 3 {
                wait_for_writes(base + GICD_CTLR, RWP);
            }
        }
    }

    /// Sets up this CPU's private interrupts (all disabled) and its interface.
    pub fn init_cpu(&self) {
        let private = self.private_base();
        // SAFETY: registers of the GIC, this CPU's own bank; the system registers are the CPU interface's.
        unsafe {
            if let GicKind::V3 { .. } = self.kind {
                let waker = private - SGI_FRAME + GICR_WAKER;
                write32(waker, read32(waker) & !2);
                wait_for_writes(waker, 4);
                write32(private + IGROUPR, u32::MAX);
            }
            write32(private + ICENABLER, u32::MAX);
            for byte in 0..32 {
                write8(private + IPRIORITYR + byte, DEFAULT_PRIORITY);
            }
            match self.kind {
                GicKind::V2 { cpu_interface, .. } => {
                    write32(cpu_interface.base + GICC_PMR, 0xff);
                    write32(cpu_interface.base + GICC_CTLR, 1);
                }
                GicKind::V3 { .. } => {
                    write_register!("S3_0_C12_C12_5", 7); // ICC_SRE_EL1
                    core::arch::asm!("isb", options(nostack));
                    write_register!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
                    write_register!("S3_0_C12_C12_4", 0); // ICC_CTLR_EL1
                    write_register!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
                    core::arch::asm!("isb", options(nostack));
                }
            }
        }
    }

    /// Where the registers of this CPU's private interrupts are: its redistributor, or the distributor.
    ///
    /// # Panics
    ///
    /// If the tree has no redistributor for this CPU.
    #[must_use]
    pub fn private_base(&self) -> usize {
        let GicKind::V3 { redistributors, .. } = self.kind else { return self.distributor() };
        let affinity = mpidr().affinity();
        let wanted = (affinity >> 32) << 24 | affinity & 0xff_ffff;
        for region in redistributors.iter().flatten() {
            let mut frame = region.base;
            while frame + 2 * SGI_FRAME <= region.base + region.size {
                // SAFETY: the tree says that redistributors fill this region.
                let typer = unsafe { read64(frame + GICR_TYPER) };
                if typer >> 32 == wanted {
                    return frame + SGI_FRAME;
                }
                let last = typer & 1 << 4 != 0;
                if last {
                    break;
                }
                // VLPIS: two frames more.
                frame += if typer & 2 != 0 { 4 * SGI_FRAME } else { 2 * SGI_FRAME };
            }
        }
        panic!("no redistributor for CPU {affinity:#x}");
    }

    /// This CPU's GICv2 interface number, as SGIs name it; 0 on GICv3, which names CPUs by affinity.
    #[must_use]
    pub fn interface(&self) -> u32 {
        match self.kind {
            // SAFETY: GICD_ITARGETSR0, whose bytes read as the reading CPU's own bit.
            GicKind::V2 { distributor, .. } => unsafe {
                read32(distributor.base + ITARGETSR).trailing_zeros() % 8
            },
            GicKind::V3 { .. } => 0,
        }
    }

    fn bank(&self, intid: u32) -> usize {
        if intid < 32 { self.private_base() } else { self.distributor() }
    }

    /// Enables an interrupt; a shared one goes to this CPU.
    pub fn enable(&self, intid: u32) {
        let bank = self.bank(intid);
        let (word, bit) = (4 * (intid as usize / 32), 1 << (intid % 32));
        // SAFETY: registers of the GIC; the CPU target of a shared interrupt is this CPU.
        unsafe {
            if intid >= 32 {
                match self.kind {
                    GicKind::V2 { distributor, .. } => {
                        let own = read32(distributor.base + ITARGETSR) as u8;
                        write8(distributor.base + ITARGETSR + intid as usize, own.max(1));
                    }
                    GicKind::V3 { distributor, .. } => {
                        let route = distributor.base + GICD_IROUTER + 8 * intid as usize;
                        crate::mmio::write64(route, mpidr().affinity());
                    }
                }
            }
            write32(bank + ISENABLER + word, bit);
        }
    }

    /// Disables an interrupt.
    pub fn disable(&self, intid: u32) {
        let (word, bit) = (4 * (intid as usize / 32), 1 << (intid % 32));
        // SAFETY: a register of the GIC.
        unsafe { write32(self.bank(intid) + ICENABLER + word, bit) };
    }

    /// Sends SGI `number` to the CPU with GICv2 interface number `interface` and affinity `target`.
    pub fn send_sgi(&self, number: u32, target: bulkhead_types::Mpidr, interface: u32) {
        without_interrupts(|| match self.kind {
            // SAFETY: a register of the GIC; the target is a CPU that this program started.
            GicKind::V2 { distributor, .. } => unsafe {
                core::arch::asm!("dsb ish", options(nostack));
                write32(distributor.base + GICD_SGIR, 1 << (16 + interface) | number);
            },
            // SAFETY: as above, through ICC_SGI1R_EL1.
            GicKind::V3 { .. } => unsafe {
                let level = |level| u64::from(target.level(level));
                let value = level(3) << 48
                    | level(2) << 32
                    | u64::from(number) << 24
                    | level(1) << 16
                    | (level(0) / 16) << 44
                    | 1 << (level(0) % 16);
                core::arch::asm!("dsb ish", options(nostack));
                write_register!("S3_0_C12_C11_5", value);
                core::arch::asm!("isb", options(nostack));
            },
        });
    }

    /// Takes the most urgent pending interrupt, if there is one.
    #[must_use]
    pub fn acknowledge(&self) -> Option<Acknowledged> {
        let value = match self.kind {
            // SAFETY: reading GICC_IAR acknowledges, which the caller asked for.
            GicKind::V2 { cpu_interface, .. } => unsafe { read32(cpu_interface.base + GICC_IAR) },
            GicKind::V3 { .. } => {
                let value = read_register!("S3_0_C12_C12_0") as u32; // ICC_IAR1_EL1
                // SAFETY: a barrier: the acknowledge is done before the handler runs.
                unsafe { core::arch::asm!("dsb sy", options(nostack)) };
                value
            }
        };
        Some(Acknowledged(value)).filter(|acknowledged| acknowledged.intid() < FIRST_SPECIAL)
    }

    /// Ends an interrupt: drops its priority and deactivates it.
    pub fn end(&self, acknowledged: Acknowledged) {
        // SAFETY: ends what `acknowledge` handed out.
        unsafe {
            match self.kind {
                GicKind::V2 { cpu_interface, .. } => write32(cpu_interface.base + GICC_EOIR, acknowledged.0),
                GicKind::V3 { .. } => {
                    write_register!("S3_0_C12_C12_1", acknowledged.0); // ICC_EOIR1_EL1
                    core::arch::asm!("isb", options(nostack));
                }
            }
        }
    }
}

/// Waits until `bits` of the register read as zero.
///
/// # Safety
///
/// `address` is a register of the GIC.
unsafe fn wait_for_writes(address: usize, bits: u32) {
    // SAFETY: the caller's promise.
    while unsafe { read32(address) } & bits != 0 {}
}
