// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads and stores to a device with write-back, in pairs, and of SIMD registers: what a compiler may emit,
//! and what no syndrome describes.

use core::arch::asm;

use guest_runtime::exception::{Taken, attempt};
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::{read32, write32};
use guest_runtime::{read_register, write_register};

use crate::report::Report;

/// The priorities of shared interrupts 32 to 47: four words that keep the upper bits of each byte.
const GICD_IPRIORITYR8: usize = 0x420;
static WORDS: [u32; 4] = [0x1020_3040, 0x5060_7080, 0x90a0_b0c0, 0xd0e0_f000];

pub fn probe(report: &mut Report, machine: &Machine) {
    let distributor = match machine.gic {
        Some(GicKind::V2 { distributor, .. } | GicKind::V3 { distributor, .. }) => distributor.base,
        None => return,
    };
    let device = distributor + GICD_IPRIORITYR8;
    // SAFETY: FP and SIMD registers are used here alone.
    unsafe {
        write_register!("cpacr_el1", read_register!("cpacr_el1") | 0b11 << 20);
        asm!("isb", options(nostack));
    }
    loads(report, device);
    stores(report, device);
    vectors(report, device);
    translation(report, device);
}

/// Runs `$instruction` with `$base` in x9, `$first` in x10, `$second` in x11: how far x9 moved, x10, x11, and
/// whether it aborted.
macro_rules! run {
    ($instruction:literal, $base:expr, $first:expr, $second:expr) => {{
        let (before, mut base, mut first, mut second) = ($base as u64, $base as u64, $first as u64, $second as u64);
        // SAFETY: loads and stores of the words that `probe` names.
        let (_, taken) = attempt(|| unsafe {
            asm!(
                ".arch_extension simd", $instruction, ".arch_extension nosimd",
                inout("x9") base, inout("x10") first, inout("x11") second, options(nostack)
            )
        });
        (base.wrapping_sub(before) as i64, first, second, taken)
    }};
}

/// How far the base moved, both registers, and whether it aborted.
type Seen = (i64, u64, u64, Option<Taken>);

fn fill(device: usize, words: [u32; 4]) {
    for (n, word) in words.into_iter().enumerate() {
        // SAFETY: priorities of interrupts that are disabled.
        unsafe { write32(device + 4 * n, word) };
    }
}

fn seen(device: usize) -> [u32; 4] {
    // SAFETY: as above.
    core::array::from_fn(|n| unsafe { read32(device + 4 * n) })
}

fn loads(report: &mut Report, device: usize) {
    fill(device, WORDS);
    let (first, second) = (u64::from(WORDS[0]), u64::from(WORDS[1]));
    let mut equal = |name: &str, seen: Seen, moved, a, b| {
        report.equal(format_args!("load_{name}"), seen, (moved, a, b, None));
    };
    equal("post_index", run!("ldr w10, [x9], #4", device, 1, 2), 4, first, 2);
    equal("pre_index", run!("ldr w10, [x9, #8]!", device - 8, 1, 2), 8, first, 2);
    equal("byte_backwards", run!("ldrb w10, [x9], #-1", device + 1, 1, 2), -1, 0x30, 2);
    equal("signed", run!("ldrsb x10, [x9], #1", device + 4, 1, 2), 1, 0x80_u8 as i8 as u64, 2);
    equal("signed_word", run!("ldrsb w10, [x9], #1", device + 4, 1, 2), 1, 0xffff_ff80, 2);
    equal("pair", run!("ldp w10, w11, [x9]", device, 1, 2), 0, first, second);
    equal("pair_post_index", run!("ldp w10, w11, [x9], #8", device, 1, 2), 8, first, second);
    equal("pair_pre_index", run!("ldp w11, w10, [x9, #-8]!", device + 8, 1, 2), -8, second, first);
    equal("pair_non_temporal", run!("ldnp w10, w11, [x9, #4]", device - 4, 1, 2), 0, first, second);
    equal("zero_register", run!("ldp wzr, w11, [x9], #8", device, 1, 2), 8, 1, second);
    fill(device, [0x8000_0000; 4]);
    let negative = 0xffff_ffff_8000_0000;
    equal("pair_signed", run!("ldpsw x10, x11, [x9], #8", device, 1, 2), 8, negative, negative);
    // The stack pointer as base, exchanged for x9 around the access.
    let (moved, loaded, _, taken) =
        run!("mov x11, sp\n mov sp, x9\n ldr w10, [sp], #16\n mov x9, sp\n mov sp, x11", device, 1, 2);
    report.equal("load_by_stack_pointer", (moved, loaded, taken), (16, 0x8000_0000, None));
}

fn stores(report: &mut Report, device: usize) {
    let mut equal = |name: &str, result: Seen, moved, words| {
        let right = result.0 == moved && result.3.is_none() && seen(device) == words;
        report.check(format_args!("store_{name}"), right, (result, seen(device)));
        fill(device, [0; 4]);
    };
    let [a, b, ..] = WORDS;
    fill(device, [0; 4]);
    equal("post_index", run!("str w10, [x9], #4", device, a, b), 4, [a, 0, 0, 0]);
    equal("pre_index", run!("str w10, [x9, #4]!", device, a, b), 4, [0, a, 0, 0]);
    equal("byte", run!("strb w10, [x9], #1", device + 3, 0x1_80, 0), 1, [0x8000_0000, 0, 0, 0]);
    equal("pair", run!("stp w10, w11, [x9, #8]", device, a, b), 0, [0, 0, a, b]);
    equal("pair_zero", run!("stp wzr, w10, [x9], #8", device, a, b), 8, [0, a, 0, 0]);
}

fn vectors(report: &mut Report, device: usize) {
    fill(device, WORDS);
    let [a, b, c, _] = WORDS.map(u64::from);
    let low = b << 32 | a;
    // What a load does not fill becomes zero, in both halves of the register.
    let mut equal = |name: &str, seen: Seen, moved, lower, upper| {
        report.equal(format_args!("vector_{name}"), seen, (moved, lower, upper, None));
    };
    equal(
        "load_word",
        run!("movi v31.2d, #-1\n ldr s31, [x9], #4\n fmov x10, d31\n mov x11, v31.d[1]", device, 1, 2),
        4,
        a,
        0,
    );
    equal(
        "load_byte",
        run!("movi v0.2d, #-1\n ldr b0, [x9]\n fmov x10, d0\n mov x11, v0.d[1]", device + 1, 1, 2),
        0,
        0x30,
        0,
    );
    equal(
        "load_pair",
        run!("ldp s30, s29, [x9, #-4]!\n fmov x10, d30\n fmov x11, d29", device + 8, 1, 2),
        -4,
        b,
        c,
    );
    fill(device, [0; 4]);
    let stored = run!("fmov d7, x10\n str s7, [x9], #4\n fmov x11, d7", device, low, 0);
    let words = seen(device);
    report.equal("vector_store_word", (stored, words), ((4, low, low, None), [a as u32, 0, 0, 0]));
    let stored = run!("fmov s7, w10\n fmov s8, w11\n stp s8, s7, [x9, #8]", device, a, b);
    let words = seen(device);
    report.equal("vector_store_pair", (stored, words), ((0, a, b, None), [a as u32, 0, b as u32, a as u32]));
}

/// An address translation of the guest's own survives the hypervisor's.
fn translation(report: &mut Report, device: usize) {
    let own = (&raw const WORDS) as u64;
    fill(device, WORDS);
    let (_, par, loaded, taken) =
        run!("at s1e1r, x10\n isb\n ldr w11, [x9], #4\n mrs x10, par_el1", device, own, 0);
    let page = 0x000f_ffff_ffff_f000;
    let right = taken.is_none() && par & 1 == 0 && par & page == own & page && loaded == u64::from(WORDS[0]);
    report.check("translation_survives_emulation", right, (par, loaded, taken));
}
