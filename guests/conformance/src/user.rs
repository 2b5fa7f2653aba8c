// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL0, in AArch64 and where the CPU has it in AArch32: what it may do, what it is told, and what EL1 is told of it.
//!
//! A gigabyte of addresses that this program does not use gets tables of its own, with pages for EL0. A snippet of a
//! few instructions runs there until it ends in an exception, mostly the SVC behind it.

mod endianness;
mod narrow;
mod wide;

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
    wide::exceptions();
    wide::allowed();
    endianness::probe(gic.version());
    if read_register!("id_aa64pfr0_el1") & 0xf == 2 {
        narrow::probe();
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

/// Instructions that load and store what x0 points to.
const LDR_W0: u32 = 0xb940_0000;
const LDR_X0: u32 = 0xf940_0000;
const STR_W0: u32 = 0xb900_0000;

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
