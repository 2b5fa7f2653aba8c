// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a vCPU finds in its registers when it starts, and what its CPU traps while it runs: the values
//! are `machine::sysreg::configuration`'s.
//!
//! A vCPU owns its CPU, so this is done once a start, not once an exit: nothing is switched in between.

use crate::console::line;
use crate::registers::{dsb_sy, isb};
use crate::vectors::drain_error;
use crate::{debug, read_register, write_register};
use bulkhead_el2::tables;
use bulkhead_machine::sysreg::{IdTable, Options, Register, configuration};
use bulkhead_types::{Mpidr, PartitionId};
use core::sync::atomic::{AtomicU32, Ordering};

/// HCR_EL2.VSE: a virtual SError is pending.
const VSE: u64 = 1 << 8;

/// SCTLR_EL1 of a CPU that comes out of reset: MMU and caches off, and its RES1 bits (Arm ARM, SCTLR_EL1).
const SCTLR_EL1: u64 = 1 << 11 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 28 | 1 << 29;

/// PSTATE of a CPU that firmware starts: EL1 with its own stack pointer, interrupts masked.
pub const PSTATE: u64 = 0x3c5;

/// Size of physical addresses that this CPU and stage 2 have, as bits.
pub fn physical_bits() -> u32 {
    tables::physical_bits(read_register!("id_aa64mmfr0_el1"))
}

/// Why stage 2 of addresses of so many bits, made on another CPU, cannot be this one's, which may be of another kind.
pub fn unfit(bits: u32) -> Option<&'static str> {
    tables::unfit(read_register!("id_aa64mmfr0_el1"), bits)
}

/// Why this CPU has no VMID for the partition, if it has none.
pub fn too_few_vmids(partition: PartitionId) -> Option<&'static str> {
    tables::too_few_vmids(read_register!("id_aa64mmfr1_el1"), partition)
}

/// VTCR_EL2 (Arm ARM): `input_bits` of guest-physical address from level 1, walks write-back and
/// inner shareable, 4 KiB granule, VMIDs of 16 bits (VS, bit 19) where the partition needs them.
fn translation_control(input_bits: u32, wide_vmid: bool) -> u64 {
    let start_at_level_1 = 0b01 << 6;
    let cacheable_walks = 0b01 << 8 | 0b01 << 10 | 0b11 << 12;
    let physical_size = (read_register!("id_aa64mmfr0_el1") & 0xf).min(5) << 16;
    let res1 = 1 << 31;
    let vmids = u64::from(wide_vmid) << 19;
    u64::from(64_u32.saturating_sub(input_bits))
        | start_at_level_1
        | cacheable_walks
        | physical_size
        | vmids
        | res1
}

/// Writes zero to each register.
macro_rules! clear {
    ($($name:literal)*) => { $( write_register!($name, 0); )* };
}

/// Prepares this CPU's EL2 controls for the vCPU `mpidr` of the partition with these stage-2 tables.
pub fn configure(tables: u64, wide_vmid: bool, input_bits: u32, mpidr: Mpidr) {
    let features = Features::read();
    // SAFETY: these registers control EL1 and EL0, which do not run now, and what traps from there to
    // EL2; the code at EL2 depends on none of them.
    unsafe {
        write_hypervisor_control(configuration::HCR_EL2);
        write_register!("vtcr_el2", translation_control(input_bits, wide_vmid));
        write_register!("vttbr_el2", tables);
        write_register!("vpidr_el2", read_register!("midr_el1"));
        // Bit 31 is RES1; U and MT zero: one of several CPUs, no multithreading.
        write_register!("vmpidr_el2", 1 << 31 | mpidr.affinity());
        // AArch32 at EL0 reaches its coprocessor registers.
        write_register!("hstr_el2", 0);
        write_register!("cnthctl_el2", configuration::CNTHCTL_EL2);
        write_register!("cptr_el2", configuration::cptr_el2(features.sve));
        let counters = if features.pmu { read_register!("pmcr_el0") >> 11 & 0x1f } else { 0 };
        let field = |lsb: u32| (features.debug >> lsb & 0xf) as u8;
        let debug = configuration::mdcr_el2(counters as u8, field(8), field(32), field(40));
        write_register!("mdcr_el2", debug);
        if features.sve {
            isb();
            // ZCR_EL2.LEN: the longest vectors that there are. Named by encoding for older assemblers.
            write_register!("s3_4_c1_c2_0", 0xf);
        }
        if features.fine_grained_traps >= 1 {
            // HFGRTR, HFGWTR, HFGITR, HDFGRTR, HDFGWTR.
            write_register!("s3_4_c1_c1_4", 0);
            write_register!("s3_4_c1_c1_5", 0);
            write_register!("s3_4_c1_c1_6", 0);
            write_register!("s3_4_c3_c1_4", 0);
            write_register!("s3_4_c3_c1_5", 0);
        }
        if features.fine_grained_traps >= 2 {
            // HDFGRTR2, HDFGWTR2, HFGRTR2, HFGWTR2, HFGITR2.
            clear!("s3_4_c3_c1_0" "s3_4_c3_c1_1" "s3_4_c3_c1_2" "s3_4_c3_c1_3" "s3_4_c3_c1_7");
        }
        if features.memory_partitioning {
            // MPAM2_EL2.TRAPMPAM0EL1 and TRAPMPAM1EL1, MPAMHCR_EL2.TRAP_MPAMIDR_EL1: MPAM is hidden.
            write_register!("s3_4_c10_c5_0", 0b11 << 48);
            // MPAMHCR_EL2 is there only with MPAMIDR_EL1.HAS_HCR (bit 17).
            if read_register!("s3_0_c10_c4_4") >> 17 & 1 != 0 {
                write_register!("s3_4_c10_c4_0", 1 << 31);
            }
        }
        if features.extended_hypervisor_control {
            write_register!("s3_4_c1_c2_2", configuration::HCRX_EL2);
        }
        isb();
    }
}

/// Forgets every translation of this CPU's guest, and every instruction in its caches.
pub fn invalidate_translations() {
    // SAFETY: invalidation by the current VMID, and of the instruction cache, loses nothing.
    // VMALLS12E1 takes stage 1 and 2 of this CPU; the partition's other CPUs do the same when they start.
    unsafe {
        core::arch::asm!(
            "dsb ishst",
            // Twice: Cortex-A76 1286807 and others (docs/errata.md).
            "tlbi vmalls12e1",
            "dsb nsh",
            "tlbi vmalls12e1",
            "ic iallu",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        );
    }
}

/// Puts EL1's and EL0's registers into the state after a reset; architecturally unknown ones are
/// zeroed, so that nothing of a former life is left. General and FP registers follow in `enter_guest`.
pub fn reset() {
    // Accesses of the previous run have signalled their errors.
    dsb_sy();
    discard_error();
    let features = Features::read();
    // SAFETY: registers of EL1 and EL0, which do not run now. EL2 uses none of them, TPIDRRO_EL0 and
    // SP_EL0 aside, and those only to report a fault of its own.
    unsafe {
        // Without VSE: a virtual SError that the former life did not take is not the new one's.
        write_hypervisor_control(configuration::HCR_EL2);
        if features.ras {
            // VSESR_EL2 and VDISR_EL2: what a virtual SError tells, and what DISR_EL1 reads as.
            clear!("s3_4_c5_c2_3" "s3_4_c12_c1_1");
        }
        if features.limited_ordering {
            clear!("s3_0_c10_c4_3"); // LORC_EL1: no LORegions
        }
        write_register!("sctlr_el1", SCTLR_EL1);
        clear!(
            "cpacr_el1" "tcr_el1" "ttbr0_el1" "ttbr1_el1" "mair_el1" "amair_el1"
            "vbar_el1" "esr_el1" "far_el1" "afsr0_el1" "afsr1_el1" "par_el1" "contextidr_el1"
            "elr_el1" "spsr_el1" "sp_el0" "sp_el1" "tpidr_el0" "tpidr_el1" "tpidrro_el0"
            "csselr_el1" "cntkctl_el1"
        );
        if features.pauth {
            clear!(
                "s3_0_c2_c1_0" "s3_0_c2_c1_1" "s3_0_c2_c1_2" "s3_0_c2_c1_3" "s3_0_c2_c2_0"
                "s3_0_c2_c2_1" "s3_0_c2_c2_2" "s3_0_c2_c2_3" "s3_0_c2_c3_0" "s3_0_c2_c3_1"
            );
        }
        if features.sve {
            clear!("s3_0_c1_c2_0"); // ZCR_EL1
            clear_predicates();
        }
        debug::clear();
        if features.pmu {
            write_register!("pmcr_el0", 0b110); // event and cycle counters to zero, counting off
            write_register!("pmcntenclr_el0", 0xffff_ffff);
            write_register!("pmintenclr_el1", 0xffff_ffff);
            write_register!("pmovsclr_el0", 0xffff_ffff);
            for counter in 0..read_register!("pmcr_el0") >> 11 & 0x1f {
                write_register!("pmselr_el0", counter);
                isb();
                write_register!("pmxevtyper_el0", 0);
            }
            clear!("pmuserenr_el0" "pmselr_el0" "pmccfiltr_el0");
        }
        isb();
    }
}

/// Clears SVE's predicate registers. Its vectors are cleared with the FP registers, whose longer forms
/// they are (Arm ARM, B1.2.2).
///
/// # Safety
/// The CPU has SVE, and no guest runs on it.
unsafe fn clear_predicates() {
    // SAFETY: registers of the guest's; CPTR_EL2.TZ is clear (`configure`), so they can be reached.
    unsafe {
        core::arch::asm!(
            ".arch_extension sve",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "pfalse p\\n\\().b",
            ".endr",
            "wrffr p0.b",
            ".arch_extension nosve",
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Stops this CPU's timers, and makes its virtual counter read zero when the physical one reads `offset`.
/// Not part of [`reset`]: a suspended CPU loses its other registers, but the guest's tree may say of the
/// timers that they are always on.
pub fn reset_timers(offset: u64) {
    // SAFETY: EL1's timers, and CNTVOFF_EL2, which shifts what EL1 and EL0 read, and nothing at EL2.
    unsafe {
        clear!("cntv_ctl_el0" "cntv_cval_el0" "cntp_ctl_el0" "cntp_cval_el0");
        write_register!("cntvoff_el2", offset);
    }
    // In effect, and their lines low, before the interrupt controller lets them through.
    isb();
    dsb_sy();
}

/// Writes HCR_EL2, between barriers: on AmpereOne AC04 a translation that is under way may go wrong otherwise (AC04_CPU_23).
///
/// # Safety
/// As for the bits of HCR_EL2 that change.
unsafe fn write_hypervisor_control(value: u64) {
    dsb_sy();
    // SAFETY: the caller's promise.
    unsafe { write_register!("hcr_el2", value) };
    isb();
}

/// Makes a virtual SError pending, as a board's error signal would be, with the syndrome of the physical one.
pub fn inject_error(esr: u64) {
    // SAFETY: HCR_EL2.VSE and VSESR_EL2 (IDS and ISS, bits 24:0) concern the guest alone.
    unsafe {
        if Features::read().ras {
            write_register!("s3_4_c5_c2_3", esr & 0x1ff_ffff);
        }
        write_hypervisor_control(configuration::HCR_EL2 | VSE);
    }
}

/// Whether an SError is pending for the guest: a virtual one, or a physical one that EL2 has yet to take (ISR_EL1.A).
pub fn has_error() -> bool {
    read_register!("hcr_el2") & VSE != 0 || has_physical_error()
}

/// ISR_EL1.A: a physical SError is pending, masked at EL2.
fn has_physical_error() -> bool {
    const A: u64 = 1 << 8;
    read_register!("isr_el1") & A != 0
}

/// SErrors that were discarded, and how many of them the console tells of: devices may signal many.
static DISCARDED: AtomicU32 = AtomicU32::new(0);
const SAID: u32 = 4;

/// Takes a physical SError that is pending while no vCPU is on: it is of a previous run, or of the hypervisor's own
/// accesses. Neither the next run may have it, nor may it keep this CPU's WFI from sleeping (Arm ARM, "WFI wake-up events").
pub fn discard_error() {
    if has_physical_error() {
        // SAFETY: no vCPU is on, whose registers it could change; EL2's own use of them is over.
        let taken = unsafe { drain_error() };
        if taken && DISCARDED.fetch_add(1, Ordering::Relaxed) < SAID {
            line(format_args!("warning: an SError that no vCPU is on for is discarded"));
        }
    }
}

/// What this CPU has beyond Armv8.0, as far as its controls need to know.
struct Features {
    /// ID_AA64DFR0_EL1.
    debug: u64,
    sve: bool,
    ras: bool,
    limited_ordering: bool,
    pmu: bool,
    pauth: bool,
    memory_partitioning: bool,
    /// ID_AA64MMFR0_EL1.FGT.
    fine_grained_traps: u64,
    extended_hypervisor_control: bool,
}

impl Features {
    fn read() -> Self {
        let processor = read_register!("id_aa64pfr0_el1");
        let debug = read_register!("id_aa64dfr0_el1");
        let instructions = read_register!("id_aa64isar1_el1");
        let instructions_2 = read_register!("s3_0_c0_c6_2");
        let memory_0 = read_register!("id_aa64mmfr0_el1");
        let memory_1 = read_register!("id_aa64mmfr1_el1");
        Self {
            sve: processor >> 32 & 0xf != 0,
            ras: processor >> 28 & 0xf != 0,
            limited_ordering: memory_1 >> 16 & 0xf != 0,
            debug,
            // PFR0.MPAM and PFR1.MPAM_frac.
            memory_partitioning: processor >> 40 & 0xf != 0
                || read_register!("id_aa64pfr1_el1") >> 16 & 0xf != 0,
            // PMUVer: 0 is none, 0xf an implementation's own.
            pmu: !matches!(debug >> 8 & 0xf, 0 | 0xf),
            // APA, API, GPA, GPI in ISAR1; GPA3, APA3 in ISAR2.
            pauth: instructions >> 4 & 0xff != 0
                || instructions >> 24 & 0xff != 0
                || instructions_2 >> 8 & 0xff != 0,
            fine_grained_traps: memory_0 >> 56 & 0xf,
            extended_hypervisor_control: memory_1 >> 40 & 0xf != 0,
        }
    }
}

/// The ID registers of this CPU as a guest sees them whose stage 2 has `input_bits`, whichever CPU it was made on.
pub fn id_registers(gic_system_registers: bool, input_bits: u32) -> IdTable {
    let options = Options {
        gic_system_registers,
        physical_address_bits: input_bits as u8,
        extended_controls: Features::read().extended_hypervisor_control,
    };
    let own = own_id_registers();
    let read = |register: Register| {
        let [_, _, _, crm, op2] = register.fields();
        own.get(usize::from(op2)).and_then(|row| row.get(usize::from(crm))).copied().unwrap_or(0)
    };
    IdTable::new(read, &options)
}

/// This CPU's ID registers by op2 and CRm. CRm 1 to 7 are those of op0 3, op1 0, CRn 0; with CRm 0, REVIDR_EL1,
/// AIDR_EL1 and ACTLR_EL1 have an op2 of their own.
#[inline(never)]
fn own_id_registers() -> [[u64; 8]; 8] {
    macro_rules! row {
        ($op2:literal $first:expr; $($crm:literal)*) => {
            [$first, $(read_register!(concat!("s3_0_c0_c", $crm, "_", $op2)),)*]
        };
    }
    macro_rules! rows {
        ($($op2:literal: $first:expr,)*) => { [$(row!($op2 $first; 1 2 3 4 5 6 7),)*] };
    }
    rows!(0: 0, 1: read_register!("actlr_el1"), 2: 0, 3: 0, 4: 0, 5: 0, 6: read_register!("revidr_el1"), 7: read_register!("aidr_el1"),)
}
