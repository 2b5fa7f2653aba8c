// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Big-endian data at EL1 (SCTLR_EL1.EE): each form of load and store, to memory, to a device that a hypervisor emulates,
//! and to one that it gives.
//!
//! Descriptors are big-endian then, too, and so is every access of this program: a snippet of a few instructions runs
//! with tables of its own.

use core::arch::{global_asm, naked_asm};
use core::cell::UnsafeCell;

use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::{read32, write32};
use guest_runtime::read_register;

use crate::report::{Syndrome, line};

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: used by the boot CPU alone.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 512]));
static MEMORY: Table = Table(UnsafeCell::new([0; 512]));

/// What a snippet leaves: how far the base in x9 moved, x10 and x11, and ESR_EL1 of the exception that ended it.
#[repr(C)]
#[derive(Default)]
struct End {
    moved: u64,
    first: u64,
    second: u64,
    esr: u64,
}

unsafe extern "C" {
    /// Calls a snippet with `address` in x9, and patterns in x10 and x11, while data are big-endian.
    fn run_big_endian(root: u64, address: usize, snippet: extern "C" fn(), end: *mut End);
}

/// Probes one snippet at each place: prints what it leaves, and what two words there are afterwards.
macro_rules! at_each {
    ($places:expr, $($name:literal: $text:literal,)*) => { $({
        #[unsafe(naked)]
        extern "C" fn snippet() {
            naked_asm!(".arch_extension simd", ".arch_extension lse", $text, "ret",
                ".arch_extension nolse", ".arch_extension nosimd")
        }
        for place in $places {
            place.probe($name, snippet);
        }
    })* };
}

/// Two words to load from and store to.
struct Place {
    name: &'static str,
    address: usize,
    /// What stands there before.
    words: [u32; 2],
}

impl Place {
    fn probe(&self, name: &str, snippet: extern "C" fn()) {
        // SAFETY: memory of this program's, or registers that keep what is written and do nothing else.
        let write = |words: [u32; 2]| unsafe {
            write32(self.address, words[0]);
            write32(self.address + 4, words[1]);
        };
        // SAFETY: as above.
        let read = || [0, 4].map(|offset| unsafe { read32(self.address + offset) });
        let before = read();
        write(self.words);
        let mut end = End::default();
        // SAFETY: the tables map all that is used, and the snippet accesses this place alone.
        unsafe { run_big_endian(TABLE.0.get() as u64, self.address, snippet, &raw mut end) };
        let [a, b] = read();
        write(before);
        let name = format_args!("big-endian: {name}, {}", self.name);
        if end.esr != 0 {
            return line(name, format_args!("{}, leaves {a:#x} {b:#x}", Syndrome(end.esr)));
        }
        let End { moved, first, second, .. } = end;
        line(name, format_args!("{first:#x} {second:#x}, moved {moved}, leaves {a:#x} {b:#x}"));
    }
}

/// Probes.
pub fn probe(machine: &Machine) {
    let memory = read_register!("id_aa64mmfr0_el1");
    // BigEnd.
    if memory >> 8 & 0xf == 0 {
        return;
    }
    map();
    let own = Place { name: "memory", address: MEMORY.0.get() as usize, words: [0x1122_3344, 0x5566_7788] };
    // The last priorities below 64, of disabled interrupts; and where two words may be accessed at once.
    let priorities = |distributor: usize| distributor + 0x438;
    let words = [0x1020_3040, 0x5060_7080];
    let (word, double) = match machine.gic {
        // The priority mask and the binary point are the hardware's own: of priorities five bits are in all GICs.
        Some(GicKind::V2 { distributor, cpu_interface, .. }) => (
            Place { name: "given device", address: cpu_interface.base + 4, words: [0xf8, 3] },
            Place { name: "device", address: priorities(distributor.base), words },
        ),
        // Routes of interrupts have 64 bits.
        Some(GicKind::V3 { distributor, .. }) => (
            Place { name: "device", address: priorities(distributor.base), words },
            Place { name: "wide device", address: distributor.base + 0x61e0, words: [0x0001_0001, 0] },
        ),
        None => return,
    };
    at_each!([&own, &word, &double],
        "load": "ldr w10, [x9]",
        "half": "ldrh w10, [x9]",
        "signed word": "ldrsw x10, [x9]",
        "acquire": "ldar w10, [x9]",
        "store": "str w10, [x9]",
        "post-indexed": "ldr w10, [x9], #4",
        "store, pre-indexed": "str w10, [x9, #0]!",
        "SIMD word": "ldr s0, [x9]\n fmov w10, s0",
        "SIMD word, stored": "fmov s0, w10\n str s0, [x9]",
        "SIMD half, stored": "fmov s0, w10\n str h0, [x9]",
    );
    at_each!([&own, &double],
        "double": "ldr x10, [x9]",
        "double, stored": "str x10, [x9]",
        "pair": "ldp w10, w11, [x9]",
        "pair, stored": "stp w10, w11, [x9]",
        "pair, post-indexed": "ldp w10, w11, [x9], #8",
        "signed pair": "ldpsw x10, x11, [x9]",
        "SIMD pair": "ldp s0, s1, [x9]\n fmov w10, s0\n fmov w11, s1",
        "SIMD pair, stored": "fmov s0, w10\n fmov s1, w11\n stp s0, s1, [x9]",
        "SIMD double": "ldr d0, [x9]\n fmov x10, d0",
        "SIMD double, stored": "fmov d0, x10\n str d0, [x9]",
    );
    at_each!([&own],
        "pair of doubles": "ldp x10, x11, [x9]",
        "pair of doubles, stored": "stp x10, x11, [x9]",
        "SIMD": "ldr q0, [x9]\n fmov x10, d0\n mov x11, v0.d[1]",
        "SIMD, stored": "fmov d0, x10\n mov v0.d[1], x11\n str q0, [x9]",
        "structure": "ld1 {{v0.4h}}, [x9]\n fmov x10, d0",
        "structure, stored": "fmov d0, x10\n st1 {{v0.2s}}, [x9]",
        "exclusive": "ldxr w10, [x9]\n mov w0, #0x5a\n stxr w11, w0, [x9]",
        "exclusive pair": "ldxp w10, w11, [x9]\n stxp w0, w11, w10, [x9]",
    );
    // ID_AA64ISAR0_EL1.Atomic.
    if read_register!("id_aa64isar0_el1") >> 20 & 0xf != 0 {
        at_each!([&own],
            "atomic add": "mov w0, #1\n ldadd w0, w10, [x9]",
            "compare and swap": "ldr w0, [x9]\n cas w0, w11, [x9]\n mov w10, w0",
        );
    }
}

/// The first 512 GiB as they are: memory where this program is, devices elsewhere.
fn map() {
    /// Access flag, inner shareable; the runtime's attribute 0 is a device's, and 1 write-back.
    const BLOCK: u64 = 0b01 | 1 << 10 | 3 << 8;
    const NORMAL: u64 = 1 << 2;
    const EXECUTE_NEVER: u64 = 3 << 53;
    const GIB: u64 = 1 << 30;
    let own = probe as *const () as u64 / GIB;
    // SAFETY: nothing else refers to the table.
    for (gib, entry) in (0..).zip(unsafe { &mut *TABLE.0.get() }) {
        let kind = if gib == own { NORMAL } else { EXECUTE_NEVER };
        *entry = (gib * GIB + BLOCK + kind).to_be();
    }
}

global_asm!(
    r#"
    .section .text.endian, "ax"
    .global run_big_endian
run_big_endian:
    mov     x17, x30
    mrs     x12, vbar_el1
    mrs     x13, ttbr0_el1
    mrs     x14, sctlr_el1
    mrs     x15, cpacr_el1
    orr     x16, x15, #(3 << 20)        // FPEN
    msr     cpacr_el1, x16
    adr     x16, endian_vectors
    msr     vbar_el1, x16
    msr     esr_el1, xzr
    dsb     ish
    msr     ttbr0_el1, x0
    orr     x16, x14, #(1 << 25)        // EE
    msr     sctlr_el1, x16
    isb
    tlbi    vmalle1
    dsb     ish
    isb
    mov     x9, x1
    // Stored to a route: affinities, and what is reserved zero; to priorities: multiples of eight.
    movz    x10, #0x0800, lsl #16
    movk    x10, #0x1800, lsl #32
    movk    x10, #0x1020, lsl #48
    movz    x11, #0x3800, lsl #16
    movk    x11, #0x3000, lsl #32
    movk    x11, #0x4028, lsl #48
    blr     x2
endian_end:
    dsb     sy
    isb
    msr     vbar_el1, x12
    msr     ttbr0_el1, x13
    msr     sctlr_el1, x14
    isb
    tlbi    vmalle1
    dsb     ish
    isb
    msr     cpacr_el1, x15
    isb
    mrs     x16, esr_el1
    sub     x9, x9, x1
    stp     x9, x10, [x3]
    stp     x11, x16, [x3, #16]
    ret     x17
    .balign 0x800
endian_vectors:
    .rept   16
    .balign 0x80
    b       endian_end
    .endr
"#
);
