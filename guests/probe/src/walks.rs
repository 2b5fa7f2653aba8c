// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Walks of the guest's own translation tables that end where no memory is.

use core::arch::asm;

use dtoolkit::Node;
use guest_runtime::exception::attempt;
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::read32;
use guest_runtime::read_register;

use crate::memory;
use crate::report::{CLASS_DATA_ABORT, Report};

/// A gigabyte of virtual addresses that nothing uses, and a block in it.
const SLOT: usize = 300;
const BLOCK: usize = 256;
const TABLE: u64 = 0b11;

#[repr(C, align(4096))]
struct Table([u64; 512]);

static mut LEVEL_2: Table = Table([0; 512]);

pub fn probe(report: &mut Report, machine: &Machine, hypervisor: bool) {
    let hole = memory::hole(machine);
    let level_1 = (read_register!("ttbr0_el1") & 0x0000_ffff_ffff_f000) as *mut u64;
    let alias = SLOT << 30 | BLOCK << 21;
    // SAFETY: the slot maps nothing that this program uses.
    let slot = unsafe { level_1.add(SLOT) };
    let unused = set(slot, hole as u64 | TABLE);
    // SAFETY: nothing is there, and nothing tells what would be.
    let (_, taken) = attempt(|| unsafe { read32(alias) });
    set(slot, unused);
    let right = taken.is_some_and(|taken| {
        taken.class() == CLASS_DATA_ABORT && taken.esr & 0x3c == 0x14 && taken.far == alias as u64
    });
    report.check("table_in_no_memory", right, taken);
    if let (true, Some(device), Some(gic)) = (hypervisor, firmware_device(machine), &machine.gic) {
        let (GicKind::V2 { distributor, .. } | GicKind::V3 { distributor, .. }) = gic;
        vanishing(report, slot, device | TABLE, distributor.base);
    }
}

/// Changes a descriptor; what was there.
fn set(slot: *mut u64, descriptor: u64) -> u64 {
    // SAFETY: `probe` has the only reference, and what depends on it is invalidated.
    unsafe {
        let before = slot.read_volatile();
        slot.write_volatile(descriptor);
        asm!("dsb ishst", "tlbi vmalle1", "dsb ish", "isb", options(nostack));
        before
    }
}

/// QEMU's firmware configuration, if it is this partition's: a page with registers at its start, whose
/// rest answers with external aborts.
fn firmware_device(machine: &Machine) -> Option<u64> {
    machine.tree.root().child("fw-cfg")?.reg().ok()??.next()?.address().ok()
}

/// Code whose own translation leads into such a device by the time that the hypervisor looks for the
/// instruction: the TLB still has it. The hypervisor's walk ends in an exception of its own.
fn vanishing(report: &mut Report, slot: *mut u64, bad: u64, device: usize) {
    let code: usize;
    // SAFETY: an address.
    unsafe { asm!("adr {}, vanishing_code", out(reg) code, options(nomem, nostack)) };
    let level_2 = &raw mut LEVEL_2;
    let (block, offset) = (code & !0x1f_ffff, code & 0x1f_ffff);
    // SAFETY: the block that the code is in, once more: normal memory, accessed, inner shareable, not for EL0.
    unsafe { (*level_2).0[BLOCK] = block as u64 | 1 << 54 | 1 << 10 | 0b11 << 8 | 1 << 2 | 1 };
    let good = level_2 as u64 | TABLE;
    let unused = set(slot, good);
    let (_, taken) = attempt(|| {
        // SAFETY: the code is where `slot` says, changes the slot for the moment, and reads a register.
        unsafe {
            asm!("blr {code}", code = in(reg) SLOT << 30 | BLOCK << 21 | offset, in("x0") slot, in("x1") bad,
                in("x2") good, in("x3") device, out("x4") _, out("x30") _, options(nostack));
        }
    });
    set(slot, unused);
    // What cannot be decoded gets an external abort. A CPU without a hypervisor needs no second look.
    report.external_abort("instruction_that_cannot_be_fetched_again", device, taken);
}

core::arch::global_asm!(
    r#"
    .section .text.vanishing, "ax"
    .balign 64
vanishing_code:
    ldr     w4, [x3]
    str     x1, [x0]
    dsb     sy
    mov     x4, x3
    ldr     wzr, [x4], #4
    str     x2, [x0]
    dsb     sy
    ret
"#
);
