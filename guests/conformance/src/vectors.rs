// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Floating-point, SIMD and SVE registers keep what is in them whatever leaves the guest.

use core::arch::asm;
use core::cell::UnsafeCell;

use guest_runtime::exception::attempt;
use guest_runtime::machine::Machine;
use guest_runtime::mmio::read32;
use guest_runtime::{gic, read_register, write_register};

use crate::report::{Outcome, number, whether};

/// 32 registers of up to 256 bytes.
#[repr(C, align(16))]
struct Registers(UnsafeCell<[u8; 32 * 256]>);

// SAFETY: used by the boot CPU alone.
unsafe impl Sync for Registers {}

static BEFORE: Registers = Registers(UnsafeCell::new([0; 32 * 256]));
static AFTER: Registers = Registers(UnsafeCell::new([0; 32 * 256]));

/// Loads or stores v0 to v31, or z0 to z31, of `$size` as the assembler has it.
macro_rules! all_registers {
    ($extension:literal, $instruction:literal, $register:literal, $suffix:literal, $memory:expr) => {
        asm!(
            concat!(".arch_extension ", $extension),
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            concat!($instruction, " ", $register, "\\n, [{0}", $suffix),
            ".endr",
            concat!(".arch_extension no", $extension),
            in(reg) $memory,
            options(nostack)
        )
    };
}

/// Probes.
pub fn probe(machine: &Machine) {
    /// CPACR_EL1.FPEN and ZEN.
    const FP: u64 = 3 << 20;
    const SVE: u64 = 3 << 16;
    let before = read_register!("cpacr_el1");
    // SAFETY: lets this program use the registers, which nothing of it does but this file.
    unsafe {
        write_register!("cpacr_el1", before | FP | SVE);
        asm!("isb", options(nostack));
    }
    simd(machine);
    if read_register!("id_aa64pfr0_el1") >> 32 & 0xf != 0 {
        sve(machine);
    }
    // SAFETY: as it was; use then traps, which is probed too.
    unsafe {
        write_register!("cpacr_el1", before & !(FP | SVE));
        asm!("isb", options(nostack));
    }
    let trapped = attempt(|| read_register!("S3_3_C4_C4_0"));
    crate::report::line("FP off: fpcr", Outcome::from(trapped));
}

/// Whatever leaves a guest: an emulated device, a call, an interrupt to itself.
fn leave(machine: &Machine) {
    if let Some(gic) = gic::get() {
        for _ in 0..4 {
            // SAFETY: GICD_TYPER.
            let _ = unsafe { read32(gic.distributor() + 4) };
            gic.send_sgi(7, guest_runtime::cpu::mpidr(), gic.interface());
        }
        gic.enable(7);
        while let Some(taken) = gic.acknowledge() {
            gic.end(taken);
        }
        gic.disable(7);
    }
    if machine.psci.is_some() {
        // SAFETY: PSCI_VERSION.
        let _ = unsafe { guest_runtime::power::call(0x8400_0000, 0, 0, 0) };
    }
    let _ = attempt(|| read_register!("S3_4_C1_C1_0"));
}

fn fill(size: usize) {
    // SAFETY: nothing else refers to the memory.
    for (index, byte) in unsafe { &mut *BEFORE.0.get() }[..32 * size].iter_mut().enumerate() {
        *byte = (index * 7 + index / 256 + 1) as u8;
    }
}

fn is_kept(size: usize) -> bool {
    // SAFETY: nothing else refers to the memory.
    let (before, after) = unsafe { (&*BEFORE.0.get(), &*AFTER.0.get()) };
    before[..32 * size] == after[..32 * size]
}

fn simd(machine: &Machine) {
    fill(16);
    // SAFETY: registers that nothing else uses, and memory that is large enough.
    unsafe {
        write_register!("S3_3_C4_C4_0", 0x0300_0000u64);
        write_register!("S3_3_C4_C4_1", 0x0800_0015u64);
        all_registers!("simd", "ldr", "q", ", #16 * \\n]", BEFORE.0.get());
    }
    leave(machine);
    // SAFETY: as above.
    unsafe { all_registers!("simd", "str", "q", ", #16 * \\n]", AFTER.0.get()) };
    whether("SIMD registers are kept", is_kept(16));
    number("fpcr is kept", read_register!("S3_3_C4_C4_0"));
    number("fpsr is kept", read_register!("S3_3_C4_C4_1"));
}

fn sve(machine: &Machine) {
    for length in [0u64, 1, 3, 7, 15] {
        // SAFETY: ZCR_EL1, of registers that nothing else uses.
        unsafe {
            write_register!("S3_0_C1_C2_0", length);
            asm!("isb", options(nostack));
        }
        let bytes: u64;
        // SAFETY: RDVL changes one register.
        unsafe {
            asm!(".arch_extension sve", "rdvl {}, #1", ".arch_extension nosve", out(reg) bytes, options(nostack));
        }
        number(format_args!("SVE: vector length for {length}"), bytes);
        fill(bytes as usize);
        // SAFETY: memory for 32 registers of the longest vectors.
        unsafe { all_registers!("sve", "ldr", "z", ", #\\n, mul vl]", BEFORE.0.get()) };
        leave(machine);
        // SAFETY: as above.
        unsafe { all_registers!("sve", "str", "z", ", #\\n, mul vl]", AFTER.0.get()) };
        whether(format_args!("SVE: registers are kept for {length}"), is_kept(bytes as usize));
        let [first, last]: [u64; 2];
        let (before_p0, before_p15): (u64, u64);
        // SAFETY: predicates, which nothing else uses.
        unsafe {
            asm!(".arch_extension sve", "ptrue p0.b, vl7", "ptrue p15.s, vl3", "cntp {0}, p0, p0.b",
                "cntp {1}, p15, p15.s", ".arch_extension nosve",
                out(reg) before_p0, out(reg) before_p15, options(nostack));
        }
        leave(machine);
        // SAFETY: as above.
        unsafe {
            let (a, b): (u64, u64);
            asm!(".arch_extension sve", "cntp {0}, p0, p0.b", "cntp {1}, p15, p15.s", ".arch_extension nosve",
                out(reg) a, out(reg) b, options(nostack));
            [first, last] = [a, b];
        }
        whether(
            format_args!("SVE: predicates are kept for {length}"),
            (first, last) == (before_p0, before_p15),
        );
    }
}
