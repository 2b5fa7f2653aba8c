// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The identity map: what the tree calls memory is Normal write-back, everything else is device.
//!
//! Caches and exclusives only work architecturally with the MMU on, so no guest runs without it.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ptr::addr_of_mut;

use dtoolkit::Node;
use dtoolkit::fdt::Fdt;

const ENTRIES: usize = 512;
const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;

#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

/// The level 1 table and tables of 2 MiB blocks for the gigabytes that are only partly memory.
#[repr(C, align(4096))]
struct Tables {
    level1: Table,
    level2: [Table; 8],
}

#[repr(transparent)]
struct Shared(UnsafeCell<Tables>);

// SAFETY: written by `build_tables` alone, which runs once, on the boot CPU, before any other CPU starts.
unsafe impl Sync for Shared {}

#[unsafe(no_mangle)]
static TRANSLATION_TABLES: Shared = Shared(UnsafeCell::new(Tables {
    level1: Table([0; ENTRIES]),
    level2: [const { Table([0; ENTRIES]) }; 8],
}));

// Descriptors of the VMSAv8-64 stage 1 (Arm ARM, D8.3): access flag, inner shareable, execute never.
const BLOCK: u64 = 0b01;
const TABLE: u64 = 0b11;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const EXECUTE_NEVER: u64 = 3 << 53;
const DEVICE: u64 = BLOCK | ACCESSED | EXECUTE_NEVER;
const NORMAL: u64 = BLOCK | ACCESSED | INNER_SHAREABLE | (1 << 2) | (1 << 54);

/// Builds the tables from the tree's memory nodes. Runs with the MMU off.
///
/// # Safety
///
/// Called once, by the boot code, with the address of the device tree.
#[unsafe(no_mangle)]
unsafe extern "C" fn build_tables(tree: *const u8) {
    // SAFETY: the boot CPU is the only one running, and `build_tables` is called once: no other reference.
    let tables = unsafe { &mut *TRANSLATION_TABLES.0.get() };
    for (gib, entry) in (0u64..).zip(tables.level1.0.iter_mut()) {
        *entry = (gib * GIB) | DEVICE;
    }
    let mut used = 0;
    // SAFETY: the boot protocol promises a device tree at this address; `from_raw` checks it.
    let Ok(fdt) = (unsafe { Fdt::from_raw(tree) }) else { return };
    // The tree itself must be readable whatever it says of memory.
    map_normal(tables, &mut used, tree as u64, fdt.data().len() as u64);
    for node in fdt.root().children().filter(|node| node.name_without_address() == "memory") {
        let Ok(Some(regions)) = node.reg() else { continue };
        for region in regions {
            if let (Ok(start), Ok(size)) = (region.address::<u64>(), region.size::<u64>()) {
                map_normal(tables, &mut used, start, size);
            }
        }
    }
    let level2 = addr_of_mut!(tables.level2) as u64;
    for entry in &mut tables.level1.0 {
        if *entry & TABLE == TABLE {
            *entry = (level2 + (*entry >> 12) * 4096) | TABLE;
        }
    }
}

/// Marks `size` bytes from `start` as memory, in whole 2 MiB blocks. A level 1 entry that needs a table
/// holds its number in bits 63:12 until all ranges are in.
fn map_normal(tables: &mut Tables, used: &mut u64, start: u64, size: u64) {
    let end = start.saturating_add(size).min(ENTRIES as u64 * GIB);
    let mut address = start & !(MIB2 - 1);
    while address < end {
        let gib = address / GIB;
        let entry = &mut tables.level1.0[gib as usize];
        if address.is_multiple_of(GIB) && end - address >= GIB && *entry & TABLE != TABLE {
            *entry = address | NORMAL;
            address += GIB;
            continue;
        }
        if *entry == (gib * GIB) | DEVICE {
            if *used as usize == tables.level2.len() {
                *entry = (gib * GIB) | NORMAL;
            } else {
                for (index, block) in (0u64..).zip(tables.level2[*used as usize].0.iter_mut()) {
                    *block = (gib * GIB + index * MIB2) | DEVICE;
                }
                *entry = *used << 12 | TABLE;
                *used += 1;
            }
        }
        if *entry & TABLE == TABLE {
            let block = (address % GIB / MIB2) as usize;
            tables.level2[(*entry >> 12) as usize].0[block] = address | NORMAL;
        }
        address += MIB2;
    }
}

// MAIR: 0 is Device-nGnRE, 1 is Normal write-back. TCR: 39 bits, 4 KiB granule, write-back inner
// shareable walks, TTBR1 unused, output size as the CPU has it (at most 48 bits).
global_asm!(
    r#"
    .section .text.boot, "ax"
enable_mmu:
    mov     x0, #0xff04
    msr     mair_el1, x0
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf
    cmp     x1, #5
    mov     x2, #5
    csel    x1, x1, x2, lo
    mov     x0, #0x3519
    movk    x0, #0x0080, lsl #16
    bfi     x0, x1, #32, #3
    msr     tcr_el1, x0
    adrp    x0, TRANSLATION_TABLES
    add     x0, x0, :lo12:TRANSLATION_TABLES
    msr     ttbr0_el1, x0
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    mov     x0, #0x1805                 // RES1, I, C, M
    movk    x0, #0x30d0, lsl #16
    msr     sctlr_el1, x0
    isb
    ret
"#
);
