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

/// CPUs of Arm's with a history that a loop overwrites, by MIDR_EL1.PartNum, and the branches that it takes
/// (Arm, "Spectre-BHB", 2022; Trusted Firmware-A's and Linux's tables agree).
const LOOPS: [(u32, &[u64]); 3] = [
    (8, &[0xd07, 0xd08]),                                            // Cortex-A57, A72
    (24, &[0xd0b, 0xd0c, 0xd0d, 0xd0e]),                             // Cortex-A76, Neoverse N1, A77, A76AE
    (32, &[0xd40, 0xd41, 0xd42, 0xd44, 0xd47, 0xd48, 0xd49, 0xd4b]), // Neoverse V1, A78 to X2, N2
];

impl Cleansing {
    /// What this CPU needs, given what its firmware tells. Firmware comes first: where ID_AA64PFR0_EL1.CSV2
    /// is 0, as on a Raspberry Pi 4, targets are learnt too, and only firmware can make the CPU forget those.
    pub fn of_this_cpu(told: &Told) -> Self {
        const ARM: u64 = 0x41;
        let midr = read_register!("midr_el1");
        let part = midr >> 4 & 0xfff;
        let is_listed = |(_, parts): &&(u32, &[u64])| midr >> 24 == ARM && parts.contains(&part);
        let is_immune = read_register!("id_aa64pfr0_el1") >> 56 & 0xf >= 3;
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
