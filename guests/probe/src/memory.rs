// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Accesses to where nothing is, and odd accesses to devices.

use core::arch::asm;

use dtoolkit::Node;
use guest_runtime::exception::attempt;
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::{read8, read16, read32, read64, write8, write16, write32, write64};

use crate::report::Report;

const GICD_TYPER: usize = 0x004;
const GICD_RESERVED: usize = 0xf40;

pub fn probe(report: &mut Report, machine: &Machine) {
    let hole = hole(machine);
    nothing_there(report, hole);
    set_and_way(report);
    // SAFETY (of every access below): to a device's registers by their addresses in the tree; what the
    // device makes of an odd one is what is probed.
    if let Some(GicKind::V2 { distributor, .. } | GicKind::V3 { distributor, .. }) = machine.gic {
        distributor_accesses(report, distributor.base);
    }
    if let Some(GicKind::V3 { redistributors: [Some(redistributor), ..], .. }) = machine.gic {
        odd_accesses(report, "redistributor", redistributor.base + 8);
    }
    if let Some((uart, _)) = machine.console {
        // The fractional baud rate: nobody hears it.
        odd_accesses(report, "uart", uart.base + 0x28);
    }
}

/// A page that the tree says nothing of, below all memory and away from the devices.
pub fn hole(machine: &Machine) -> usize {
    // QEMU's virt and its like have nothing between the platform bus and PCI; any other machine has
    // nothing just below the top of the 39 bits that we map.
    let root = machine.tree.root();
    let is_virt = root.child("memory").is_some_and(|memory| {
        let first = memory.reg().ok().flatten().and_then(|mut reg| reg.next());
        first.and_then(|reg| reg.address::<u64>().ok()) == Some(0x4000_0000)
    });
    if is_virt { 0x0f80_0000 } else { 0x7f_ffff_f000 }
}

fn nothing_there(report: &mut Report, hole: usize) {
    macro_rules! load {
        ($name:literal, $access:expr) => {
            // SAFETY: nothing is there: the access must abort.
            let (_, taken) = attempt(|| unsafe { $access });
            report.external_abort($name, hole, taken);
        };
    }
    load!("unmapped_read8", read8(hole));
    load!("unmapped_read32", read32(hole));
    load!("unmapped_read64", read64(hole));
    load!("unmapped_write8", write8(hole, 0));
    load!("unmapped_write32", write32(hole, 0));
    load!("unmapped_load_pair", load_pair(hole));
    load!("unmapped_store_pair", store_pair(hole));
    load!("unmapped_post_indexed", load_post_indexed(hole));
}

/// Maintenance by set and way, as firmware does it that boots with its caches off: what is in memory and
/// in caches stays, invalidated or not.
fn set_and_way(report: &mut Report) {
    let mut pattern = [0_u64; 64];
    for (n, word) in (0..).zip(&mut pattern) {
        // SAFETY: an array of our own. Volatile, so that it is in the cache and not in a register.
        unsafe { (&raw mut *word).write_volatile(n) };
    }
    // SAFETY: DC ISW, CSW and CISW of set 0 and way 0 at level 1: beneath a hypervisor none loses a line.
    let (_, taken) = attempt(|| unsafe {
        asm!("dsb sy", "dc isw, xzr", "dc csw, xzr", "dc cisw, xzr", "dsb sy", options(nostack))
    });
    // SAFETY: as above.
    let kept = (0..).zip(&pattern).all(|(n, word)| unsafe { (&raw const *word).read_volatile() } == n);
    report.check("set_and_way_keep_lines", taken.is_none() && kept, taken);
}

fn distributor_accesses(report: &mut Report, base: usize) {
    // SAFETY: GICD_TYPER and a reserved word, read; the reserved word, written.
    unsafe {
        let (first, taken) = attempt(|| read32(base + GICD_TYPER));
        report.check("distributor_typer", taken.is_none() && first & 0x1f > 0, (first, taken));
        let (value, taken) = attempt(|| read32(base + GICD_RESERVED));
        report.check("distributor_reserved", taken.is_none() && value == 0, (value, taken));
        let (_, taken) = attempt(|| write32(base + GICD_RESERVED, u32::MAX));
        report.check("distributor_reserved_write", taken.is_none(), taken);
        let (value, taken) = attempt(|| load_post_indexed(base + GICD_TYPER));
        let same = value as u32 == first || taken.is_some();
        report.check("distributor_post_indexed_value", same, (value, first, taken));
    }
    odd_accesses(report, "distributor", base + GICD_TYPER);
}

/// Every size, a pair, write-back, misaligned: the device may answer or abort, and all goes on.
fn odd_accesses(report: &mut Report, device: &str, register: usize) {
    macro_rules! odd {
        ($name:literal, $access:expr) => {
            // SAFETY: a read-only register, or one whose value nobody uses.
            let (_, taken) = attempt(|| unsafe { $access });
            report.answered(format_args!(concat!("{}_", $name), device), taken);
        };
    }
    let aligned = register & !7;
    odd!("read8", read8(register));
    odd!("read8_inside", read8(register + 3));
    odd!("read16", read16(register));
    odd!("read64", read64(aligned));
    odd!("write8", write8(register, 0));
    odd!("write16", write16(register, 0));
    odd!("write64_reserved", write64((register & !0xfff) + GICD_RESERVED, 0));
    odd!("load_pair", load_pair(aligned));
    odd!("load_post_indexed", load_post_indexed(register));
    odd!("load_sign_extended", load_sign_extended(register));
    odd!("load_exclusive", load_exclusive(register));
    odd!("cache_clean", clean(register));
    // Device memory must be accessed aligned: the guest's own stage 1 says so, before anybody else.
    // SAFETY: as above.
    let (_, taken) = attempt(|| unsafe { read32(register + 1) });
    let right = taken.is_some_and(|taken| taken.esr & 0x3f == 0x21);
    report.check(format_args!("{device}_read_misaligned"), right, taken);
}

/// # Safety
///
/// As for [`read64`]: 16 bytes.
unsafe fn load_pair(address: usize) -> u64 {
    let (first, second): (u64, u64);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("ldp {:w}, {:w}, [{}]", out(reg) first, out(reg) second, in(reg) address, options(nostack))
    };
    first ^ second
}

/// # Safety
///
/// As for [`write64`]: 16 bytes.
unsafe fn store_pair(address: usize) {
    // SAFETY: the caller's promise.
    unsafe { asm!("stp xzr, xzr, [{}]", in(reg) address, options(nostack)) };
}

/// # Safety
///
/// As for [`read32`].
unsafe fn load_post_indexed(address: usize) -> u64 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("ldr {:w}, [{}], #4", out(reg) value, inout(reg) address => _, options(nostack)) };
    value
}

/// # Safety
///
/// As for [`read8`].
unsafe fn load_sign_extended(address: usize) -> u64 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("ldrsb {:x}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// # Safety
///
/// As for [`read32`].
unsafe fn load_exclusive(address: usize) -> u64 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("ldxr {:w}, [{}]", "clrex", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// # Safety
///
/// `address` is mapped.
unsafe fn clean(address: usize) {
    // SAFETY: the caller's promise.
    unsafe { asm!("dc cvac, {}", in(reg) address, options(nostack)) };
}
