// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Branches that a guest may have taught the CPU to mispredict: Spectre v2 (CVE-2017-5715) and branch
//! history injection (CVE-2022-23960).
//!
//! A guest has its CPU to itself, and the branch predictor with it. What is left is what it teaches the
//! predictor about EL2, which has other guests' secrets mapped: saved registers, the bundle. Both attacks
//! need a branch to an address that comes out of a register or of memory. EL2 has no jump tables
//! (`.cargo/config.toml`), and from a guest's exit to the return makes no such branch at all, so the vectors
//! and all that is frequent need no cure; `cargo bulkhead test` follows every branch of the image to see to it.
//! Text formatting is the exception, and before it comes [`cleanse`].

use crate::{cpu, read_register};
use bulkhead_machine::smccc::Told;
use bulkhead_machine::smccc::function::{SMCCC_ARCH_WORKAROUND_1, SMCCC_ARCH_WORKAROUND_3};

/// What makes a CPU's branch predictor forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleansing {
    /// Nothing is needed, or nothing is known to help.
    Nothing,
    /// As many taken branches as its history is long.
    Loop(u32),
    /// The instruction for it (FEAT_CLRBHB).
    Instruction,
    /// A call of the firmware's.
    Firmware(u32),
}

/// CPUs with a history that a loop overwrites, by implementer and part as in MIDR_EL1, and the branches that it
/// takes (Arm Security Center, "Spectre-BHB", as of January 2025; Linux 6.15 has the same table from there).
const LOOPS: [(u32, &[u64]); 7] = [
    // Cortex-A57, A72
    (8, &[0x4100_d070, 0x4100_d080]),
    // AmpereOne
    (11, &[0xc000_ac30]),
    // Cortex-A76, Neoverse N1, Cortex-A77, A76AE, Kryo 4xx Gold
    (24, &[0x4100_d0b0, 0x4100_d0c0, 0x4100_d0d0, 0x4100_d0e0, 0x5100_8040]),
    // Neoverse V1, Cortex-A78, A78AE, X1
    (32, &[0x4100_d400, 0x4100_d410, 0x4100_d420, 0x4100_d440]),
    // Cortex-A710, X2, Neoverse N2, Cortex-A78C
    (32, &[0x4100_d470, 0x4100_d480, 0x4100_d490, 0x4100_d4b0]),
    // Cortex-A715, A720
    (38, &[0x4100_d4d0, 0x4100_d810]),
    // Cortex-X3, Neoverse V2
    (132, &[0x4100_d4e0, 0x4100_d4f0]),
];

impl Cleansing {
    /// What this CPU needs, given what its firmware tells. Firmware comes first: where ID_AA64PFR0_EL1.CSV2
    /// is 0, as on a Raspberry Pi 4, targets are learnt too, and only firmware can make the CPU forget those.
    pub fn of_this_cpu(told: &Told) -> Self {
        let midr = read_register!("midr_el1");
        let is_listed = |(_, models): &&(u32, &[u64])| models.contains(&(midr & 0xff00_fff0));
        // CSV2_3, or exceptions that clear the history (FEAT_ECBHB).
        let is_immune = read_register!("id_aa64pfr0_el1") >> 56 & 0xf >= 3
            || read_register!("id_aa64mmfr1_el1") >> 60 != 0;
        let has_instruction = read_register!("s3_0_c0_c6_2") >> 28 & 0xf != 0;
        match LOOPS.iter().find(is_listed) {
            _ if told.workaround_3 == 0 => Self::Firmware(SMCCC_ARCH_WORKAROUND_3),
            _ if told.workaround_1 == 0 => Self::Firmware(SMCCC_ARCH_WORKAROUND_1),
            _ if is_immune => Self::Nothing,
            _ if has_instruction => Self::Instruction,
            Some((count, _)) => Self::Loop(*count),
            None => Self::Nothing,
        }
    }
}

/// Makes this CPU forget what its guest taught it of branches, if it has one and needs it. No branch to an
/// address in a register may come before it on the way from a guest's exit.
#[inline(never)]
pub fn cleanse() {
    let guest = if cpu::is_known() { cpu::current().guest() } else { None };
    let Some(guest) = guest else { return };
    match guest.cleansing {
        Cleansing::Nothing => {}
        Cleansing::Firmware(function) => _ = guest.system.firmware.ask(function, 0),
        // SAFETY: branches and barriers. Nothing behind the barriers is fetched with the old history.
        Cleansing::Loop(count) => unsafe {
            core::arch::asm!(
                "2: b 3f",
                "3: subs {count:w}, {count:w}, #1",
                "b.ne 2b",
                "dsb nsh",
                "isb",
                count = inout(reg) count => _,
                options(nostack)
            );
        },
        // SAFETY: CLRBHB, a hint, and the barrier that it needs (Arm ARM, C6.2: CLRBHB).
        Cleansing::Instruction => unsafe {
            core::arch::asm!("hint #22", "isb", options(nomem, nostack, preserves_flags));
        },
    }
}
