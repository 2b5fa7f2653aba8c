// SPDX-License-Identifier: Apache-2.0 OR MIT
//! GICv3 and GICv4 through system registers (IHI 0069H), as the Non-secure state or the only one sees them.
//!
//! Group 0 is left alone, whose registers may be EL3's: where SCR_EL3.FIQ is set, touching ICC_IGRPEN0_EL1
//! traps to firmware that expects no such thing (its pseudocode in 12.2). It is off after a reset.

use super::{Controller, PRIORITY, end_of_interrupts, offset, reset_bank};
use crate::mmio::Registers;
use bulkhead_types::{CpuIndex, IntId, Mpidr};
use core::arch::asm;

/// Reads a system register by its encoding, as older assemblers know it.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: a GIC system register; with SRE set by `start_cpu`, reading it has no effect on memory.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register by its encoding.
macro_rules! write {
    ($register:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: a GIC system register: it steers interrupts, which EL2 takes only where it expects
        // them, and no memory.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

const GICD_CTLR_ARE: u32 = 1 << 4;
const GICD_CTLR_GROUP1: u32 = 1 << 1;
const GICD_CTLR_RWP: u32 = 1 << 31;
const GICD_IROUTER: usize = 0x6000;

const GICR_CTLR_RWP: u32 = 1 << 3;
const GICR_TYPER: usize = 0x0008;
const GICR_TYPER_VLPIS: u64 = 1 << 1;
const GICR_TYPER_LAST: u64 = 1 << 4;
const GICR_WAKER: usize = 0x0014;
const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
/// RD_base and SGI_base, 64 KiB each; twice that with the frames for virtual LPIs (IHI 0069, the redistributor's registers).
const FRAME: usize = 0x1_0000;

/// The redistributors found at boot, by CPU.
#[derive(Clone, Copy, Debug)]
pub struct Redistributor {
    /// RD_base and SGI_base.
    pub registers: Registers,
    /// Whose it is.
    pub mpidr: Mpidr,
}

/// The controller.
#[derive(Clone, Copy, Debug)]
pub struct GicV3 {
    distributor: Registers,
    redistributors: &'static [Redistributor],
    lists: usize,
}

/// Finds the redistributor of `mpidr` in `regions`, each a series of frames that ends with the one
/// whose TYPER.Last is set. `stride` is the tree's `redistributor-stride` where it has one.
#[must_use]
pub fn find_redistributor(
    regions: &[(Registers, usize)],
    stride: Option<usize>,
    mpidr: Mpidr,
) -> Option<Redistributor> {
    for &(region, size) in regions {
        let mut at = 0;
        while at + 2 * FRAME <= size {
            let typer = region.part(at, 2 * FRAME).read64(GICR_TYPER);
            // GICR_TYPER.Affinity_Value: Aff3 in bits 63:56 down to Aff0 in bits 39:32.
            let affinity = (typer >> 56) << 32 | typer >> 32 & 0xff_ffff;
            if affinity == mpidr.affinity() {
                return Some(Redistributor { registers: region.part(at, 2 * FRAME), mpidr });
            }
            if typer & GICR_TYPER_LAST != 0 {
                break;
            }
            at += stride.unwrap_or(if typer & GICR_TYPER_VLPIS != 0 { 4 * FRAME } else { 2 * FRAME });
        }
    }
    None
}

impl GicV3 {
    /// Resets the distributor: every shared interrupt in group 1, disabled, inactive.
    ///
    /// `redistributors` are in the order of [`CpuIndex`].
    #[must_use]
    pub fn new(distributor: Registers, redistributors: &'static [Redistributor]) -> Self {
        let end = end_of_interrupts(distributor);
        // Affinity routing may be turned on only while the groups are off, and never off again: either
        // is unpredictable (GICD_CTLR). Firmware has most often turned it on.
        distributor.write32(offset::CONTROL, distributor.read32(offset::CONTROL) & GICD_CTLR_ARE);
        wait_while(distributor, offset::CONTROL, GICD_CTLR_RWP);
        reset_bank(distributor, 32, end, !0);
        distributor.write32(offset::CONTROL, GICD_CTLR_ARE);
        wait_while(distributor, offset::CONTROL, GICD_CTLR_RWP);
        distributor.write32(offset::CONTROL, GICD_CTLR_ARE | GICD_CTLR_GROUP1);
        wait_while(distributor, offset::CONTROL, GICD_CTLR_RWP);
        Self { distributor, redistributors, lists: own_list_registers() }
    }

    fn redistributor(&self, cpu: CpuIndex) -> Registers {
        // A CPU without a redistributor was refused at boot; should one come all the same, it gets the
        // distributor, whose bits for private interrupts are RES0 with affinity routing (GICD_ICENABLER).
        self.redistributors.get(usize::from(cpu.0)).map_or(self.distributor, |found| found.registers)
    }
}

/// Has this CPU use system registers at EL2, without bypass of the GIC. Enable is 0, so that ICC_SRE_EL1 traps: clearing its
/// SRE is UNPREDICTABLE while EL2 uses system registers (IHI 0069, ICC_SRE_EL1, ICC_SRE_EL2).
fn open_system_registers() {
    write!("S3_4_C12_C9_5", 0b0111); // ICC_SRE_EL2
    // SAFETY: a barrier: the others exist once SRE is in effect (ICC_SRE_EL2).
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// How many list registers this CPU has: ICH_VTR_EL2.ListRegs, bits 4:0, is one less.
fn own_list_registers() -> usize {
    open_system_registers();
    let lists = (read!("S3_4_C12_C11_1") & 0x1f) as usize + 1;
    lists.min(16)
}

/// Waits for a bit to fall that hardware lowers within microseconds. If it does not for a second or
/// so, boot goes on: an interrupt may be missing then, but not every word.
fn wait_while(registers: Registers, offset: usize, bit: u32) {
    for _ in 0..10_000_000 {
        if registers.read32(offset) & bit == 0 {
            return;
        }
        core::hint::spin_loop();
    }
}

impl Controller for GicV3 {
    fn has_private_triggers(&self) -> bool {
        true
    }

    #[inline(always)]
    fn acknowledge(&self) -> u32 {
        let id = read!("S3_0_C12_C12_0") as u32;
        // The acknowledge must have happened before a device register is touched whose write could
        // lower the line (IHI 0069, ICC_IAR1_EL1: DSB after the read of ICC_IAR).
        // SAFETY: a barrier.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
        id
    }

    #[inline(always)]
    fn interrupt(&self, acknowledged: u32) -> u32 {
        acknowledged
    }

    #[inline(always)]
    fn drop_priority(&self, acknowledged: u32) {
        write!("S3_0_C12_C12_1", u64::from(acknowledged));
    }

    #[inline(always)]
    fn deactivate_acknowledged(&self, acknowledged: u32) {
        write!("S3_0_C12_C11_1", u64::from(acknowledged));
    }

    fn send(&self, cpu: CpuIndex, sgi: IntId) {
        let Some(target) = self.redistributors.get(usize::from(cpu.0)) else { return };
        let level = |n| u64::from(target.mpidr.level(n));
        let value = level(3) << 48
            | level(2) << 32
            | level(1) << 16
            | (level(0) >> 4) << 44
            | 1 << (level(0) & 0xf)
            | u64::from(sgi.get()) << 24;
        // SAFETY: barriers. The first makes our stores visible to the target before the interrupt is
        // (ICC_SGI1R is not ordered with stores); the second sends it now.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
        write!("S3_0_C12_C11_5", value);
        // SAFETY: as above.
        unsafe { asm!("isb", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn distributor(&self) -> Registers {
        self.distributor
    }

    #[inline(always)]
    fn bank(&self, cpu: CpuIndex, id: IntId) -> Registers {
        if id.is_private() { self.redistributor(cpu).part(FRAME, FRAME) } else { self.distributor }
    }

    fn route(&self, id: IntId, cpu: CpuIndex) {
        if let (false, Some(target)) = (id.is_private(), self.redistributors.get(usize::from(cpu.0))) {
            self.distributor.write64(GICD_IROUTER + id.get() as usize * 8, target.mpidr.affinity());
        }
    }

    fn start_cpu(&self, cpu: CpuIndex) {
        let redistributor = self.redistributor(cpu);
        let waker = redistributor.read32(GICR_WAKER) & !GICR_WAKER_PROCESSOR_SLEEP;
        redistributor.write32(GICR_WAKER, waker);
        wait_while(redistributor, GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP);
        let private = redistributor.part(FRAME, FRAME);
        reset_bank(private, 0, 32, !0);
        wait_while(redistributor, offset::CONTROL, GICR_CTLR_RWP);
        open_system_registers();
        write!("S3_0_C12_C12_5", 0b111); // ICC_SRE_EL1
        // What firmware left active would hold back everything of its priority and below.
        let priority_bits = (read!("S3_0_C12_C12_4") >> 8 & 0b111) + 1; // ICC_CTLR_EL1.PRIbits
        write!("S3_0_C12_C9_0", 0); // ICC_AP1R0_EL1
        if priority_bits >= 6 {
            write!("S3_0_C12_C9_1", 0);
        }
        if priority_bits >= 7 {
            write!("S3_0_C12_C9_2", 0);
            write!("S3_0_C12_C9_3", 0);
        }
        write!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1: every priority
        write!("S3_0_C12_C12_3", 0); // ICC_BPR1_EL1
        write!("S3_0_C12_C12_4", 1 << 1); // ICC_CTLR_EL1: EOImode
        write!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
        self.reset_virtual_interface();
        // SAFETY: a barrier: the settings hold before the next instruction.
        unsafe { asm!("isb", options(nostack, preserves_flags)) };
    }

    fn refusal(&self) -> Option<&'static str> {
        (own_list_registers() < self.lists).then_some(super::FEWER_LIST_REGISTERS)
    }

    #[inline(always)]
    fn list_registers(&self) -> usize {
        self.lists
    }

    #[inline(always)]
    fn read_list(&self, n: usize) -> u64 {
        match n {
            0 => read!("S3_4_C12_C12_0"),
            1 => read!("S3_4_C12_C12_1"),
            2 => read!("S3_4_C12_C12_2"),
            3 => read!("S3_4_C12_C12_3"),
            4 => read!("S3_4_C12_C12_4"),
            5 => read!("S3_4_C12_C12_5"),
            6 => read!("S3_4_C12_C12_6"),
            7 => read!("S3_4_C12_C12_7"),
            8 => read!("S3_4_C12_C13_0"),
            9 => read!("S3_4_C12_C13_1"),
            10 => read!("S3_4_C12_C13_2"),
            11 => read!("S3_4_C12_C13_3"),
            12 => read!("S3_4_C12_C13_4"),
            13 => read!("S3_4_C12_C13_5"),
            14 => read!("S3_4_C12_C13_6"),
            15 => read!("S3_4_C12_C13_7"),
            _ => 0,
        }
    }

    #[inline(always)]
    fn write_list(&self, n: usize, value: u64) {
        match n {
            0 => write!("S3_4_C12_C12_0", value),
            1 => write!("S3_4_C12_C12_1", value),
            2 => write!("S3_4_C12_C12_2", value),
            3 => write!("S3_4_C12_C12_3", value),
            4 => write!("S3_4_C12_C12_4", value),
            5 => write!("S3_4_C12_C12_5", value),
            6 => write!("S3_4_C12_C12_6", value),
            7 => write!("S3_4_C12_C12_7", value),
            8 => write!("S3_4_C12_C13_0", value),
            9 => write!("S3_4_C12_C13_1", value),
            10 => write!("S3_4_C12_C13_2", value),
            11 => write!("S3_4_C12_C13_3", value),
            12 => write!("S3_4_C12_C13_4", value),
            13 => write!("S3_4_C12_C13_5", value),
            14 => write!("S3_4_C12_C13_6", value),
            15 => write!("S3_4_C12_C13_7", value),
            _ => {}
        }
    }

    #[inline(always)]
    fn synchronize_lists(&self) {
        // ICH_ELRSR_EL2 and ICH_EISR_EL2 follow ICH_LR<n>_EL2 indirectly: reads of them need a context
        // synchronization event after the write (Arm ARM, "Synchronization requirements for AArch64 System registers").
        // SAFETY: a barrier.
        unsafe { asm!("isb", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        // ICH_ELRSR_EL2. Its bits for list registers that do not exist are RES0.
        read!("S3_4_C12_C11_5") as u32
    }

    #[inline(always)]
    fn ended_lists(&self) -> u32 {
        read!("S3_4_C12_C11_3") as u32 // ICH_EISR_EL2
    }

    #[inline(always)]
    fn virtual_control(&self) -> u32 {
        read!("S3_4_C12_C11_0") as u32 // ICH_HCR_EL2
    }

    #[inline(always)]
    fn set_virtual_control(&self, value: u32) {
        write!("S3_4_C12_C11_0", u64::from(value));
    }

    fn reset_virtual_interface(&self) {
        write!("S3_0_C12_C12_5", 0b111); // ICC_SRE_EL1, in case a guest changed it
        self.set_virtual_control(0);
        for n in 0..self.lists {
            self.write_list(n, 0);
        }
        // ICH_AP0R<n> and ICH_AP1R<n> for n above 0 exist only with more than five bits of
        // preemption: ICH_VTR_EL2.PREbits, bits 28:26, is one less than their number (ICH_AP1R<n>_EL2).
        let preemption_bits = (read!("S3_4_C12_C11_1") >> 26 & 0b111) + 1;
        write!("S3_4_C12_C8_0", 0);
        write!("S3_4_C12_C9_0", 0);
        if preemption_bits >= 6 {
            write!("S3_4_C12_C8_1", 0);
            write!("S3_4_C12_C9_1", 0);
        }
        if preemption_bits >= 7 {
            write!("S3_4_C12_C8_2", 0);
            write!("S3_4_C12_C8_3", 0);
            write!("S3_4_C12_C9_2", 0);
            write!("S3_4_C12_C9_3", 0);
        }
        write!("S3_4_C12_C11_7", 0); // ICH_VMCR_EL2
    }
}

const _: () = assert!(PRIORITY < 0xf0, "every implementation has this many priority bits");
