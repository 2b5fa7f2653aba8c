// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System registers and instructions: those that are not there, those that are, and odd states.

use core::arch::asm;

use guest_runtime::exception::attempt;
use guest_runtime::{read_register, write_register};

use crate::report::{CLASS_ILLEGAL, Report};

macro_rules! reads_undefined {
    ($report:ident: $($name:literal $register:literal,)*) => {
        $( $report.undefined(concat!("read_", $name), attempt(|| read_register!($register)).1); )*
    };
}

macro_rules! writes_undefined {
    ($report:ident: $($name:literal $register:literal,)*) => {
        $(
            // SAFETY: the write must be UNDEFINED; if it is not, the probe fails and no more depends on it.
            let (_, taken) = attempt(|| unsafe { write_register!($register, 0) });
            $report.undefined(concat!("write_", $name), taken);
        )*
    };
}

macro_rules! reads_zero {
    ($report:ident: $($register:literal,)*) => {
        $(
            let (value, taken) = attempt(|| read_register!($register));
            $report.check(concat!("reserved_", $register), taken.is_none() && value == 0, (value, taken));
        )*
    };
}

pub fn probe(report: &mut Report) {
    reads_undefined!(report:
        "hcr_el2" "S3_4_C1_C1_0",
        "vttbr_el2" "S3_4_C2_C1_0",
        "cntvoff_el2" "S3_4_C14_C0_3",
        "sctlr_el3" "S3_6_C1_C0_0",
        "implementation_defined_0" "S3_3_C15_C7_7",
        "implementation_defined_1" "S3_7_C11_C13_7",
        "amcr_el0" "S3_3_C13_C2_0",
        "amevcntr00_el0" "S3_3_C13_C4_0",
        "trcidr0" "S2_1_C0_C8_7",
        "mpam1_el1" "S3_0_C10_C5_0",
        "pmscr_el1" "S3_0_C9_C9_0",
        "trblimitr_el1" "S3_0_C9_C11_0",
        "unallocated" "S3_5_C3_C5_6",
    );
    writes_undefined!(report:
        "hcr_el2" "S3_4_C1_C1_0",
        "id_aa64pfr0_el1" "S3_0_C0_C4_0",
        "implementation_defined_0" "S3_3_C15_C7_7",
        "unallocated" "S3_5_C3_C5_6",
    );
    reads_zero!(report: "S3_0_C0_C3_7", "S3_0_C0_C4_3", "S3_0_C0_C5_6", "S3_0_C0_C6_7", "S3_0_C0_C7_7",);
    identification(report);
    allowed(report);
    illegal_return(report);
}

fn identification(report: &mut Report) {
    let pfr0 = read_register!("id_aa64pfr0_el1");
    let dfr0 = read_register!("id_aa64dfr0_el1");
    let field = |value: u64, lsb: u32| value >> lsb & 0xf;
    report.equal("id_el0", field(pfr0, 0) != 0, true);
    report.equal("id_el1_aarch64", field(pfr0, 4) != 0, true);
    report.equal("id_no_el2", field(pfr0, 8), 0);
    report.equal("id_no_amu", field(pfr0, 44), 0);
    report.equal("id_no_mpam", field(pfr0, 40), 0);
    report.equal("id_no_profiling", field(dfr0, 32), 0);
    report.equal("id_no_trace", field(dfr0, 4), 0);
    report.equal(
        "id_gic",
        field(pfr0, 24) != 0,
        guest_runtime::gic::get().is_some_and(|gic| gic.version() == 3),
    );
    let breakpoints = field(dfr0, 12) + 1;
    report.check("id_breakpoints", breakpoints >= 2, breakpoints);
}

/// What a guest may do must not trap into anything.
fn allowed(report: &mut Report) {
    macro_rules! instruction {
        ($name:literal, $text:literal $(, $operand:expr)?) => {
            // SAFETY: hints, barriers and maintenance change no value that this program reads.
            let (_, taken) = attempt(|| unsafe { asm!($text $(, in(reg) $operand)?, options(nostack)) });
            report.check($name, taken.is_none(), taken);
        };
    }
    instruction!("clean_invalidate_set_way", "dc cisw, {}", 0u64);
    instruction!("invalidate_set_way", "dc isw, {}", 0u64);
    instruction!("tlb_invalidate_all", "tlbi vmalle1is\n dsb sy\n isb");
    instruction!("instruction_cache_invalidate_all", "ic ialluis\n dsb sy\n isb");
    instruction!("os_lock", "msr oslar_el1, {}\n isb", 0u64);
    instruction!("monitor_debug", "mrs {0}, mdscr_el1", 0u64);
    instruction!("breakpoint_register", "msr dbgbvr0_el1, {}", 0u64);
    instruction!("yield_hint", "yield");
    if matches!(read_register!("id_aa64dfr0_el1") >> 8 & 0xf, 1..=0xe) {
        cycle_counter(report);
    }
}

fn cycle_counter(report: &mut Report) {
    let ((before, after), taken) = attempt(|| {
        // SAFETY: the PMU is this program's own.
        unsafe {
            write_register!("pmcr_el0", read_register!("pmcr_el0") | 1);
            write_register!("pmcntenset_el0", 1u64 << 31);
            asm!("isb", options(nostack));
        }
        let before = read_register!("pmccntr_el0");
        guest_runtime::timer::delay(1000);
        (before, read_register!("pmccntr_el0"))
    });
    report.check("cycle_counter", taken.is_none() && after > before, (before, after, taken));
}

/// An exception return to AArch32 System mode, which EL1 is not in: the state becomes illegal, the next
/// instruction takes the exception, and nothing reaches further than EL1.
fn illegal_return(report: &mut Report) {
    let (_, taken) = attempt(|| {
        // SAFETY: the return goes to the next instruction, at this level (Arm ARM, D1.4.4); the exception
        // skips one instruction, the nop.
        unsafe {
            asm!(
                "adr {0}, 1f",
                "msr elr_el1, {0}",
                "mrs {0}, daif",
                "orr {0}, {0}, #0x1f",
                "msr spsr_el1, {0}",
                "eret",
                "1: nop",
                out(reg) _,
                options(nostack)
            );
        }
    });
    report.check("illegal_return", taken.is_some_and(|taken| taken.class() == CLASS_ILLEGAL), taken);
}
