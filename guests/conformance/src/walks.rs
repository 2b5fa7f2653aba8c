// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The walk of stage 1 meets nothing: each granule that the CPU has, each half of the addresses, and at each level.
//!
//! While the tables of one half are those of a probe, this program runs in the other: its own tables serve both.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::transmute;

use guest_runtime::read_register;

use crate::report::{Syndrome, line};

/// Nothing answers here on any board of ours.
const HOLE: u64 = 0x70_0000_0000;
/// Where this program lies in the upper half.
const UPPER: u64 = 0xffff_ff80_0000_0000;

/// One page of the largest granule holds the tables of all levels: each uses another descriptor of it.
#[repr(C, align(65536))]
struct Table(UnsafeCell<[u64; 8192]>);

// SAFETY: used by the boot CPU alone.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 8192]));
/// What maps this program while descriptors are big-endian: one block of a gigabyte.
static OWN_BIG: Table = Table(UnsafeCell::new([0; 8192]));

/// A granule: its name, log2 of its bytes, and TG0 and TG1 of TCR_EL1.
struct Granule {
    name: &'static str,
    bits: u32,
    fields: [u64; 2],
}

const GRANULES: [Granule; 3] = [
    Granule { name: "4K", bits: 12, fields: [0b00, 0b10] },
    Granule { name: "16K", bits: 14, fields: [0b10, 0b01] },
    Granule { name: "64K", bits: 16, fields: [0b01, 0b11] },
];

/// TCR_EL1.DS, and TBI0 with TBI1.
const DS: u64 = 1 << 59;
const TBI: u64 = 0b11 << 37;
/// SCTLR_EL1.EE.
const BIG: u64 = 1 << 25;

/// What is done at an address: `access` of `walk_and_access`.
const ACCESSES: [&str; 4] = ["load", "store", "AT", "branch"];

/// Probes.
pub fn probe() {
    for granule in &GRANULES {
        let memory = read_register!("id_aa64mmfr0_el1");
        // TGran4 and TGran64: 0b1111 is none, TGran16: 0; and which value comes with FEAT_LPA2.
        let (is_there, has_lpa2) = match granule.bits {
            12 => (memory >> 28 & 0xf != 0xf, memory >> 28 & 0xf == 1),
            14 => (memory >> 20 & 0xf != 0, memory >> 20 & 0xf == 2),
            _ => (memory >> 24 & 0xf != 0xf, false),
        };
        if !is_there {
            continue;
        }
        for half in [0, 1] {
            for va_bits in [48, 42, 39, 33] {
                levels(granule, half, va_bits, 0);
            }
            if has_lpa2 {
                levels(granule, half, 52, DS);
            }
        }
    }
}

/// The walk from the first level of so many bits of address breaks off at each of its levels.
fn levels(granule: &Granule, half: u64, va_bits: u32, flags: u64) {
    let name = format_args!("walk of {} bits by {}, half {half}", va_bits, granule.name);
    let stride = granule.bits - 3;
    let lowest = |level: i32| granule.bits + stride * (3 - level) as u32;
    let first = (-1..4).find(|&level| lowest(level) < va_bits).unwrap_or(3);
    // Each level has another descriptor of the one table; the first may have but two.
    let index = |level: i32| if level == first { 1 } else { 2 + (level + 1) as u64 };
    let top = if half == 1 { u64::MAX << va_bits.min(63) } else { 0 };
    let address = (first..4).fold(top, |address, level| address | index(level) << lowest(level));
    for end in first..4 {
        let root = if end == first { HOLE } else { TABLE.0.get() as u64 };
        let tables = |order: fn(u64) -> u64| {
            // SAFETY: nothing else refers to the table: the walks through it have ended.
            let table = unsafe { &mut *TABLE.0.get() };
            table.fill(0);
            for level in first..end {
                let next = if level + 1 == end { HOLE } else { TABLE.0.get() as u64 };
                table[index(level) as usize] = order(next | 0b11);
            }
        };
        let control = control(granule, half, va_bits) | flags;
        tables(u64::to_le);
        let accesses = if va_bits < 48 { 1 } else { ACCESSES.len() };
        for (access, what) in (0..).zip(&ACCESSES[..accesses]) {
            tell(format_args!("{name}, {what} at level {end}"), half, [control, root, address, access, 0]);
        }
        if va_bits == 48 {
            let tagged = address ^ 0x5a << 56;
            tell(format_args!("{name}, tag at level {end}"), half, [control | TBI, root, tagged, 0, 0]);
            tables(u64::to_be);
            tell(format_args!("{name}, big-endian at level {end}"), half, [control, root, address, 0, BIG]);
        }
    }
}

/// TCR_EL1 for a walk of that half, and for this program in the other.
fn control(granule: &Granule, half: u64, va_bits: u32) -> u64 {
    let before = read_register!("tcr_el1");
    // T0SZ to TG0: those of this program; the granule's encoding is another for the upper half.
    let own = before & 0x3f00 | 25;
    let other = own | granule_field(GRANULES[0].fields[half as usize ^ 1]);
    let walked = own & !0x3f | u64::from(64 - va_bits) | granule_field(granule.fields[half as usize]);
    let [lower, upper] = if half == 0 { [walked, other] } else { [other, walked] };
    // IPS.
    before & 7 << 32 | upper << 16 | lower
}

const fn granule_field(encoding: u64) -> u64 {
    encoding << 14
}

/// Does the access with these tables in place of the half's, and prints the exception.
fn tell(name: core::fmt::Arguments<'_>, half: u64, [control, root, address, access, flags]: [u64; 5]) {
    let own = if flags & BIG == 0 { read_register!("ttbr0_el1") } else { own_big() };
    let function = walk_and_access as *const () as u64;
    let (function, tables) =
        if half == 0 { (function | UPPER, [root, own]) } else { (function, [own, root]) };
    let (esr, far): (u64, u64);
    // SAFETY: the runtime's tables map this program in the half that it runs in, and it puts back what it changes.
    unsafe {
        // For that, the upper half has to be there before the jump.
        let before = [read_register!("tcr_el1"), read_register!("ttbr1_el1")];
        asm!("dsb ish", "msr ttbr1_el1, {own}", "msr tcr_el1, {control}", "isb", "tlbi vmalle1", "dsb ish", "isb",
            own = in(reg) read_register!("ttbr0_el1"), control = in(reg) self::control(&GRANULES[0], 0, 39), options(nostack));
        let function: extern "C" fn(u64, u64, u64, u64, u64, u64) -> Seen = transmute(function);
        let seen = function(control, tables[0], tables[1], address, access, flags);
        (esr, far) = (seen.esr, seen.far);
        asm!("msr ttbr1_el1, {own}", "msr tcr_el1, {control}", "isb", "tlbi vmalle1", "dsb ish", "isb",
            own = in(reg) before[1], control = in(reg) before[0], options(nostack));
    }
    let place = if far == address { "the address" } else { "elsewhere" };
    line(name, format_args!("{}, FAR {place}", Syndrome(esr)));
}

/// Tables like the runtime's, as far as this program needs them, of big-endian descriptors.
fn own_big() -> u64 {
    /// Access flag, inner shareable, the runtime's attribute 1: write-back.
    const NORMAL: u64 = 1 << 10 | 3 << 8 | 1 << 2;
    const GIB: u64 = 1 << 30;
    let gib = walk_and_access as *const () as u64 & !(GIB - 1);
    // SAFETY: nothing else refers to the table.
    let table = unsafe { &mut *OWN_BIG.0.get() };
    table[(gib / GIB) as usize] = (gib | NORMAL | 0b01).to_be();
    table.as_ptr() as u64
}

#[repr(C)]
struct Seen {
    esr: u64,
    far: u64,
}

unsafe extern "C" {
    /// An access (0 load, 1 store, 2 AT, 3 branch) under another TCR_EL1, TTBR0_EL1 and TTBR1_EL1, with more bits of
    /// SCTLR_EL1. Uses no memory of its own.
    fn walk_and_access(control: u64, lower: u64, upper: u64, address: u64, access: u64, flags: u64);
}

global_asm!(
    r#"
    .section .text.walks, "ax"
    .global walk_and_access
walk_and_access:
    mrs     x9, vbar_el1
    mrs     x10, tcr_el1
    mrs     x11, ttbr0_el1
    mrs     x12, ttbr1_el1
    mrs     x13, sctlr_el1
    orr     x14, x13, x5
    adr     x15, walk_vectors
    msr     vbar_el1, x15
    msr     esr_el1, xzr
    msr     far_el1, xzr
    msr     tcr_el1, x0
    msr     ttbr0_el1, x1
    msr     ttbr1_el1, x2
    msr     sctlr_el1, x14
    isb
    tlbi    vmalle1
    dsb     ish
    isb
    cmp     x4, #1
    b.lo    1f
    b.eq    2f
    cmp     x4, #2
    b.eq    3f
    br      x3
1:  ldr     x0, [x3]
    b       walk_end
2:  str     xzr, [x3]
    b       walk_end
3:  at      s1e1r, x3
walk_end:
    dsb     sy
    isb
    msr     vbar_el1, x9
    msr     tcr_el1, x10
    msr     ttbr0_el1, x11
    msr     ttbr1_el1, x12
    msr     sctlr_el1, x13
    isb
    tlbi    vmalle1
    dsb     ish
    isb
    mrs     x0, esr_el1
    mrs     x1, far_el1
    ret
    .balign 0x800
walk_vectors:
    .rept   16
    .balign 0x80
    b       walk_end
    .endr
"#
);
