// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL0, in AArch64 and where the CPU has it in AArch32: what it may do, what it is told, and what EL1 is told of it.
//!
//! A gigabyte of addresses that this program does not use gets tables of its own, with pages for EL0. A snippet of a
//! few instructions runs there until it ends in an exception, mostly the SVC behind it.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt::Display;

use guest_runtime::{cpu, gic, read_register, write_register};

use crate::report::{Syndrome, line, number};

/// The gigabyte, below 4 GiB for AArch32.
const GIB: usize = 2;
const BASE: usize = GIB << 30;
/// Its pages: code, data, a device that a hypervisor emulates, nothing, and EL1's own.
const CODE: usize = BASE;
const DATA: usize = BASE + 0x1000;
const DEVICE: usize = BASE + 0x2000;
const HOLE: usize = BASE + 0x3000;
const KERNEL: usize = BASE + 0x4000;
const UNMAPPED: usize = BASE + 0x5000;
/// The page of the distributor with registers of 64 bits, where there are such.
const WIDE: usize = BASE + 0x6000;
/// Where nothing answers.
const NOTHING: u64 = 0x70_0000_0000;
/// GICD_IPRIORITYR of interrupts 60 to 63: memory-like.
const PRIORITIES: usize = 0x43c;

#[repr(C, align(4096))]
struct Pages {
    level1: [u64; 512],
    level2: [u64; 512],
    level3: [u64; 512],
    code: [u32; 1024],
    data: [u64; 512],
}

struct Shared(UnsafeCell<Pages>);

// SAFETY: used by the boot CPU alone.
unsafe impl Sync for Shared {}

static PAGES: Shared = Shared(UnsafeCell::new(Pages {
    level1: [0; 512],
    level2: [0; 512],
    level3: [0; 512],
    code: [0; 1024],
    data: [0; 512],
}));

/// What a snippet ended with.
#[repr(C)]
#[derive(Default)]
struct End {
    x0: u64,
    esr: u64,
    far: u64,
    elr: u64,
    spsr: u64,
}

unsafe extern "C" {
    fn run_user(entry: usize, spsr: u64, x0: usize, end: *mut End);
}

/// AArch64's and AArch32's PSTATE at EL0: A32, T32.
const A64: u64 = 0;
const A32: u64 = 0x10;
const T32: u64 = 0x30;
const CARRY: u64 = 1 << 29;
const BIG: u64 = 1 << 9;
const ILLEGAL: u64 = 1 << 20;

/// SCTLR_EL1's bits about EL0: SA0, SED, UMA, DZE, UCT, nTWI, nTWE, E0E, UCI.
const SA0: u64 = 1 << 4;
const SED: u64 = 1 << 8;
const UMA: u64 = 1 << 9;
const DZE: u64 = 1 << 14;
const UCT: u64 = 1 << 15;
const NTWI: u64 = 1 << 16;
const NTWE: u64 = 1 << 18;
const E0E: u64 = 1 << 24;
const UCI: u64 = 1 << 26;

/// Probes.
pub fn probe() {
    let Some(gic) = gic::get() else { return };
    let before = read_register!("ttbr0_el1");
    map(before, gic.distributor());
    // SAFETY: the tables have all that the others had, but for a gigabyte that this program does not use.
    unsafe { set_tables(PAGES.0.get() as u64) };
    wide();
    allowed();
    endianness(gic.version());
    if read_register!("id_aa64pfr0_el1") & 0xf == 2 {
        narrow();
    }
    // SAFETY: as it was.
    unsafe { set_tables(before) };
}

/// # Safety
/// The tables map this program as those before.
unsafe fn set_tables(root: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("dsb ish", "msr ttbr0_el1, {}", "isb", "tlbi vmalle1", "dsb ish", "isb", in(reg) root, options(nostack));
    }
}

fn map(root: u64, distributor: usize) {
    const TABLE: u64 = 0b11;
    /// Access flag, inner shareable, not for EL1 to execute, not global.
    const PAGE: u64 = 0b11 | 1 << 10 | 3 << 8 | 1 << 53 | 1 << 11;
    const USER: u64 = 1 << 6;
    const USER_NEVER: u64 = 1 << 54;
    const NORMAL: u64 = 1 << 2;
    let pages = PAGES.0.get();
    // SAFETY: nothing else refers to the memory; the runtime's table is where the register says.
    let pages = unsafe { &mut *pages };
    let runtime = (root & 0xffff_ffff_f000) as *const [u64; 512];
    // SAFETY: as above.
    pages.level1 = unsafe { *runtime };
    pages.level1[GIB] = &raw const pages.level2 as u64 | TABLE;
    pages.level2[0] = &raw const pages.level3 as u64 | TABLE;
    let [code, data] = [&raw const pages.code as u64, &raw const pages.data as u64];
    pages.level3[0] = code | PAGE | USER | NORMAL;
    pages.level3[1] = data | PAGE | USER | USER_NEVER | NORMAL;
    pages.level3[2] = distributor as u64 | PAGE | USER | USER_NEVER;
    pages.level3[3] = NOTHING | PAGE | USER | USER_NEVER;
    pages.level3[6] = (distributor as u64 + 0x6000) | PAGE | USER | USER_NEVER;
    pages.level3[4] = data | PAGE | USER_NEVER | NORMAL;
}

/// Runs instructions at EL0 with `x0`: prints what is in x0 when they get to the end, or the exception that came before.
fn run(name: impl Display, pstate: u64, x0: usize, code: &[u32]) {
    /// SVC #0x7f, in A64, A32 and T32 (twice).
    const ENDS: [u32; 3] = [0xd400_0fe1, 0xef00_007f, 0xdf7f_df7f];
    let end_of = if pstate & 0x10 == 0 { ENDS[0] } else { ENDS[if pstate & 0x20 == 0 { 1 } else { 2 }] };
    // SAFETY: nothing else refers to the memory: the snippet before has ended.
    let place = unsafe { &mut (*PAGES.0.get()).code };
    place[..code.len()].copy_from_slice(code);
    place[code.len()] = end_of;
    cpu::clean_to_memory(place.as_ptr().cast(), 64);
    let mut end = End::default();
    // DAIF; AArch32 has no D, and the E of its data's endianness in its place.
    let masked = if pstate & 0x10 == 0 { 0x3c0 } else { 0x1c0 };
    // SAFETY: EL0 reaches its pages alone; the exception that ends it comes back here. Debug exceptions and
    // interrupts are masked.
    unsafe {
        asm!("ic iallu", "dsb ish", "isb", options(nostack));
        run_user(CODE, pstate | masked, x0, &raw mut end);
    }
    // SVC #0x7f from either state.
    if matches!(end.esr >> 26, 0x15 | 0x11) && end.esr & 0xffff == 0x7f {
        return number(format_args!("EL0: {name}"), end.x0);
    }
    // Where, for aborts and misaligned instructions; and how far it got.
    let far = if matches!(end.esr >> 26, 0x20 | 0x22 | 0x24) { end.far } else { 0 };
    let End { esr, elr, spsr, .. } = end;
    let seen = Syndrome(esr);
    line(format_args!("EL0: {name}"), format_args!("{seen}, FAR {far:#x}, ELR {elr:#x}, SPSR {spsr:#x}"));
}

/// SCTLR_EL1 with bits set and cleared while `f` runs.
fn with_control(set: u64, clear: u64, f: impl FnOnce()) {
    let before = read_register!("sctlr_el1");
    let write = |value: u64| {
        // SAFETY: bits about EL0, where nothing but snippets runs.
        unsafe {
            write_register!("sctlr_el1", value);
            asm!("isb", options(nostack));
        }
    };
    write((before | set) & !clear);
    f();
    write(before);
}

const LDR_W0: u32 = 0xb940_0000;
const LDR_X0: u32 = 0xf940_0000;
const STR_W0: u32 = 0xb900_0000;

/// Exceptions from AArch64.
fn wide() {
    run("SVC", A64, 0, &[0xd400_0241]);
    run("HVC", A64, 0, &[0xd400_0002]);
    run("SMC", A64, 0, &[0xd400_0003]);
    run("BRK", A64, 0, &[0xd420_0240]);
    run("UDF", A64, 0, &[0x0000_0007]);
    run("ERET", A64, 0, &[0xd69f_03e0]);
    run("illegal state", A64 | ILLEGAL, 0, &[]);
    run("load", A64, DATA, &[LDR_X0]);
    run("load from EL1's page", A64, KERNEL, &[LDR_X0]);
    run("store to EL1's page", A64, KERNEL, &[STR_W0]);
    run("load from unmapped", A64, UNMAPPED, &[LDR_X0]);
    run("store to code", A64, CODE + 0x100, &[STR_W0]);
    run("load from nothing", A64, HOLE + 8, &[LDR_X0]);
    run("store to nothing", A64, HOLE + 8, &[STR_W0]);
    run("unaligned load", A64, DATA + 1, &[LDR_X0]);
    run("unaligned load from a device", A64, DEVICE + PRIORITIES + 1, &[LDR_W0]);
    run("branch to unaligned", A64, CODE + 2, &[0xd61f_0000]);
    run("branch to data", A64, DATA, &[0xd61f_0000]);
    run("branch to nothing", A64, HOLE, &[0xd61f_0000]);
    run("branch to EL1's page", A64, KERNEL, &[0xd61f_0000]);
    // mov sp, x0; ldr x0, [sp]
    with_control(SA0, 0, || run("misaligned SP", A64, DATA + 8, &[0x9100_001f, 0xf940_03e0]));
    with_control(0, SA0, || run("misaligned SP, unchecked", A64, DATA + 8, &[0x9100_001f, 0xf940_03e0]));
    run("store to a device", A64, DEVICE + PRIORITIES, &[0x5280_0c01, 0xb900_0001]); // mov w1, #0x60; str w1, [x0]
    run("load from a device", A64, DEVICE + PRIORITIES, &[LDR_W0]);
    run("byte from a device", A64, DEVICE + PRIORITIES, &[0x3940_0000]);
    run("load with write-back from a device", A64, DEVICE + PRIORITIES, &[0xb840_4401, 0xaa01_03e0]);
    run("clean", A64, DATA, &[0xd50b_7a20]);
}

/// What EL1 allows EL0 and what not: registers and instructions, with all of it off and on.
fn allowed() {
    const SNIPPETS: &[(&str, u32)] = &[
        ("CTR_EL0", 0xd53b_0020),
        ("DCZID_EL0", 0xd53b_00e0),
        ("MIDR_EL1", 0xd538_0000),
        ("ID_AA64PFR0_EL1", 0xd538_0400),
        ("ID_AA64ISAR0_EL1", 0xd538_0600),
        ("TPIDRRO_EL0", 0xd53b_d060),
        ("TPIDR_EL1", 0xd538_d080),
        ("DAIF", 0xd53b_4220),
        ("MSR DAIFSet", 0xd503_41df),
        ("CNTFRQ_EL0", 0xd53b_e000),
        ("CNTV_CTL_EL0", 0xd53b_e320),
        ("CNTP_CTL_EL0", 0xd53b_e220),
        ("PMCR_EL0", 0xd53b_9c00),
        ("PMCCNTR_EL0", 0xd53b_9d00),
        ("PMXEVCNTR_EL0", 0xd53b_9d40),
        ("PMUSERENR_EL0", 0xd53b_9dc0),
        ("DC CVAC", 0xd50b_7a20),
        ("DC CIVAC", 0xd50b_7e20),
        ("DC CVAU", 0xd50b_7b20),
        ("DC IVAC", 0xd508_7620),
        ("DC CISW", 0xd508_7e40),
        ("IC IVAU", 0xd50b_7520),
        ("DC ZVA", 0xd50b_7420),
        ("AT S1E0R", 0xd508_7840),
        ("TLBI VMALLE1", 0xd508_871f),
        ("ICC_PMR_EL1", 0xd538_4600),
        ("MDCCSR_EL0", 0xd533_0100),
        ("OSLSR_EL1", 0xd530_1180),
        ("ADD D0", 0x5ee0_8400),
        ("S3_3_C11_C0_0", 0xd53b_b000),
        ("S3_3_C15_C0_0", 0xd53b_f000),
        ("AMCR_EL0", 0xd53b_d200),
    ];
    /// Counters are volatile: that they can be read is all there is to tell.
    const COUNTERS: &[(&str, u32)] = &[("CNTVCT_EL0", 0xd53b_e040), ("CNTPCT_EL0", 0xd53b_e020)];
    let timers = read_register!("cntkctl_el1");
    let has_pmu = matches!(read_register!("id_aa64dfr0_el1") >> 8 & 0xf, 1..=0xe);
    let all = UMA | DZE | UCT | NTWI | NTWE | UCI;
    let wait = |what: &str| {
        run(format_args!("{what}: WFE"), A64, 0, &[0xd503_209f, 0xd503_205f]); // SEVL first
        for (name, instruction) in SNIPPETS.iter().filter(|(name, _)| has_pmu || !name.starts_with("PM")) {
            run(format_args!("{what}: {name}"), A64, DATA, &[*instruction]);
        }
        for (name, instruction) in COUNTERS {
            run(format_args!("{what}: {name}"), A64, 0, &[*instruction, 0xd280_0020]); // mov x0, #1
        }
    };
    let set = |timers: u64, counters: u64| {
        // SAFETY: what EL0 may reach; nothing but snippets runs there.
        unsafe {
            write_register!("cntkctl_el1", timers);
            if has_pmu {
                write_register!("pmuserenr_el0", counters);
            }
            asm!("isb", options(nostack));
        }
    };
    set(0, 0);
    with_control(0, all, || wait("forbidden"));
    set(0x303, 0xf);
    with_control(all, 0, || wait("allowed"));
    set(timers, 0);
}

/// Pairs and SIMD registers: what leaves in x0 what was loaded, or what was stored and then loaded.
const BIG_ENDIAN: &[(&str, &[u32])] = &[
    // mov w1, #0x38000000; stp w1, wzr, [x0]; ldr x0, [x0]; and the other way round
    ("pair, stored", &[0x52a7_0001, 0x2900_7c01, 0xf940_0000]),
    ("pair, stored, second", &[0x52a7_0001, 0x2900_041f, 0xf940_0000]),
    // ldp w1, w2, [x0]; orr x0, x1, x2, lsl #32
    ("pair", &[0x2940_0801, 0xaa02_8020]),
    // mov w1, #0x38000000; fmov s0, w1; str s0, [x0]; ldr x0, [x0]
    ("SIMD word, stored", &[0x52a7_0001, 0x1e27_0020, 0xbd00_0000, 0xf940_0000]),
    // ldr s0, [x0]; fmov w0, s0
    ("SIMD word", &[0xbd40_0000, 0x1e26_0000]),
    // ldp s0, s1, [x0]; fmov w1, s0; fmov w2, s1; orr x0, x1, x2, lsl #32
    ("SIMD pair", &[0x2d40_0400, 0x1e26_0001, 0x1e26_0022, 0xaa02_8020]),
    // ldr d0, [x0]; fmov x0, d0
    ("SIMD double", &[0xfd40_0000, 0x9e66_0000]),
];

/// Data the other way round (SCTLR_EL1.E0E), where the CPU can.
fn endianness(gic: u32) {
    let memory = read_register!("id_aa64mmfr0_el1");
    if memory >> 8 & 0xf == 0 && memory >> 16 & 0xf == 0 {
        return;
    }
    let device = DEVICE + PRIORITIES;
    with_control(E0E, 0, || {
        // mov w1, #0x1020; movk w1, #0x3040, lsl 16; str w1, [x0]
        run("big-endian: store of a word", A64, device, &[0x5282_0401, 0x72a6_0801, 0xb900_0001]);
        run("big-endian: load of a word", A64, device, &[LDR_W0]);
        run("big-endian: load of a byte", A64, device, &[0x3940_0000]);
        run("big-endian: load of a signed word", A64, device, &[0xb980_0000]);
        run("big-endian: load of a word with write-back", A64, device, &[0xb840_4401, 0xaa01_03e0]);
        run("big-endian: load of a word from memory", A64, DATA, &[0xb900_0001, LDR_W0]);
    });
    // CPACR_EL1.FPEN.
    let before = read_register!("cpacr_el1");
    // SAFETY: lets snippets use SIMD registers, which nothing else uses now.
    unsafe { write_register!("cpacr_el1", before | 3 << 20) };
    with_control(E0E, 0, || {
        // Two words at once: priorities, and where registers have a width a route.
        for (place, at) in [("memory", DATA), ("a device", if gic == 2 { device - 4 } else { WIDE + 0x1e0 })]
        {
            for (name, code) in BIG_ENDIAN {
                run(format_args!("big-endian: {name}, {place}"), A64, at, code);
            }
        }
        // ldxr w1, [x0]; mov w2, #0; stxr w2, w1, [x0]; orr x0, x1, x2, lsl #32
        run(
            "big-endian: exclusive, memory",
            A64,
            DATA,
            &[0x885f_7c01, 0x5280_0002, 0x8802_7c01, 0xaa02_8020],
        );
        // ldr q0, [x0]; mov x1, v0.d[1]; fmov x0, d0; eor x0, x0, x1, lsl #1
        run(
            "big-endian: SIMD of 16 bytes, memory",
            A64,
            DATA,
            &[0x3dc0_0000, 0x4e18_3c01, 0x9e66_0000, 0xca01_0400],
        );
    });
    // SAFETY: as it was.
    unsafe { write_register!("cpacr_el1", before) };
    run("little-endian: load of a word", A64, device, &[LDR_W0]);
}

/// AArch32.
fn narrow() {
    const LDR_R0: u32 = 0xe590_0000;
    let device = DEVICE + PRIORITIES;
    run("A32: SVC", A32, 0, &[0xef00_0012]);
    run("T32: SVC", T32, 0, &[0xdf12_df12]);
    run("A32: UDF", A32, 0, &[0xe7f0_00f0]);
    run("A32: BKPT", A32, 0, &[0xe120_0070]);
    run("T32: BKPT", T32, 0, &[0xbe00_be00]);
    run("A32: HVC", A32, 0, &[0xe140_0070]);
    run("A32: SMC", A32, 0, &[0xe160_0070]);
    run("A32: illegal state", A32 | ILLEGAL, 0, &[]);
    run("A32: flags", A32 | CARRY, 0, &[0xe10f_0000]); // mrs r0, cpsr
    run("A32: load", A32, DATA, &[LDR_R0]);
    run("A32: load from EL1's page", A32, KERNEL, &[LDR_R0]);
    run("A32: load from nothing", A32, HOLE, &[LDR_R0]);
    run("T32: load from nothing", T32, HOLE, &[0x6800_6800]);
    run("A32: store to a device", A32, device, &[0xe3a0_1070, 0xe580_1000]); // mov r1, #0x70; str r1, [r0]
    run("A32: load from a device", A32, device, &[LDR_R0]);
    run("A32: byte from a device", A32, device, &[0xe5d0_0000]);
    run("A32: signed byte from a device", A32, device, &[0xe1d0_00d0]);
    run("A32: unaligned load from a device", A32, device + 1, &[LDR_R0]);
    run("A32: load with write-back from a device", A32, device, &[0xe490_1004, 0xe1a0_0001]);
    run("A32: pair from a device", A32, device - 4, &[0xe1c0_20d0, 0xe1a0_0003]);
    // ldr r1, [r0]; mov r0, r1, each of 16 bits
    run("T32: load from a device", T32, device, &[0x4608_6801]);
    // it eq; ldreq r1, [r0]; adds r0, #1, adds r0, #1: fails, then holds (Z set)
    run("T32: load in a block whose condition fails", T32, device, &[0x6801_bf08, 0x1c40_1c40]);
    run("T32: load in a block", T32 | 1 << 30, device, &[0x6801_bf08, 0x4608_4608]);
    run("A32: load whose condition fails", A32, HOLE, &[0x0590_0000]);
    run("A32: big-endian load from a device", A32 | BIG, device, &[LDR_R0]);
    run("A32: big-endian half from a device", A32 | BIG, device, &[0xe1d0_00b0]);
    with_control(0, SED, || run("A32: SETEND", A32, device, &[0xf101_0200, LDR_R0, 0xf101_0000]));
    with_control(SED, 0, || run("A32: SETEND, forbidden", A32, device, &[0xf101_0200]));
    for (name, instruction) in [
        ("A32: TPIDRURO", 0xee1d_0f70),
        ("A32: MIDR", 0xee10_0f10),
        ("A32: ID_PFR0", 0xee10_0f11),
        ("A32: CTR", 0xee10_0f30),
        ("A32: CP15 c11", 0xee1b_0f10),
        ("A32: CP15 c15", 0xee1f_0f10),
        ("A32: CP15 c15 whose condition fails", 0x0e1f_0f10),
        ("A32: CNTFRQ", 0xee1e_0f10),
        ("A32: CNTV_CTL", 0xee1e_0f33),
        ("A32: PMCR", 0xee19_0f1c),
        ("A32: CP15 barrier", 0xee07_0f9a),
        ("A32: DBGDSCRint", 0xee10_0e11),
        ("A32: trace", 0xee30_0e10),
        ("A32: FPSCR", 0xeef1_0a10),
    ] {
        run(name, A32, 0, &[instruction]);
    }
}

global_asm!(
    r#"
    .section .text.user, "ax"
    // run_user(entry, spsr, x0, end): EL0 until its first exception. SP_EL1 stays where it is meanwhile.
    .global run_user
run_user:
    sub     sp, sp, #128
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mrs     x9, vbar_el1
    stp     x3, x9, [sp, #96]
    adrp    x9, user_vectors
    add     x9, x9, :lo12:user_vectors
    msr     vbar_el1, x9
    msr     elr_el1, x0
    msr     spsr_el1, x1
    mov     x0, x2
    mov     x1, xzr
    isb
    eret
user_exit:
    ldp     x3, x9, [sp, #96]
    str     x0, [x3]
    msr     vbar_el1, x9
    isb
    mrs     x0, esr_el1
    mrs     x1, far_el1
    mrs     x2, elr_el1
    mrs     x4, spsr_el1
    stp     x0, x1, [x3, #8]
    stp     x2, x4, [x3, #24]
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp]
    add     sp, sp, #128
    ret
    .balign 0x800
user_vectors:
    .rept   16
    .balign 0x80
    b       user_exit
    .endr
"#
);
