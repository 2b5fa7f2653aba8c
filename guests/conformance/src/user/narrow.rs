// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL0 in AArch32.

use super::{A32, BIG, CARRY, DATA, DEVICE, HOLE, ILLEGAL, KERNEL, PRIORITIES, SED, T32, run, with_control};

/// AArch32.
pub(super) fn probe() {
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
