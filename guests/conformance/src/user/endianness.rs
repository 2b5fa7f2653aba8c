// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL0 in AArch64 with its data the other way round.

use super::{A64, DATA, DEVICE, E0E, LDR_W0, PRIORITIES, WIDE, run, with_control};
use guest_runtime::{read_register, write_register};

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
pub(super) fn probe(gic: u32) {
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
