// SPDX-License-Identifier: Apache-2.0 OR MIT
//! EL2's own address space: every address is its physical one, and each page has the least rights.

mod heap;
mod window;

pub use heap::{seal, used};
pub use window::{Window, peek, prepare as prepare_window};

use crate::boot::entry;
use crate::registers::{dsb_sy, isb};
use crate::{read_register, write_register};
use bulkhead_el2::tables::maintenance::{Maintenance, Step, publish};
use bulkhead_el2::tables::{Geometry, Leaf, MapError, TableMemory, Tables, stage1};
use bulkhead_plan::early::{STACK_SIZE, stacks_size};
use bulkhead_platform::mmio::Registers;
use bulkhead_types::{Hpa, PAGE_SIZE, Range};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::mutex::TicketMutex;

/// Table pages for the time before there is a heap: image, tree, console.
const EARLY_PAGES: usize = 16;

#[repr(C, align(4096))]
struct EarlyPages(UnsafeCell<[[u64; 512]; EARLY_PAGES]>);
// SAFETY: a page is handed out once (by `EARLY_USED`), and then belongs to the tables.
unsafe impl Sync for EarlyPages {}

static EARLY: EarlyPages = EarlyPages(UnsafeCell::new([[0; 512]; EARLY_PAGES]));
static EARLY_USED: AtomicUsize = AtomicUsize::new(0);

/// What the other CPUs load to share this address space: TTBR0_EL2, MAIR_EL2, TCR_EL2, SCTLR_EL2.
pub static TRANSLATION: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

static TABLES: TicketMutex<Option<Tables<TablePages>>> = TicketMutex::new(None);

/// Table pages out of the heap, or out of the early ones while there is no heap.
pub struct TablePages;

impl TableMemory for TablePages {
    fn allocate(&mut self, pages: usize) -> Option<Hpa> {
        if heap::is_ready() {
            return heap::zeroed_pages(pages);
        }
        // The boot CPU is alone, and exclusives may not work while its caches are off: load and store.
        let used = EARLY_USED.load(Ordering::Relaxed);
        if pages != 1 || used == EARLY_PAGES {
            return None;
        }
        EARLY_USED.store(used.checked_add(1)?, Ordering::Relaxed);
        Some(Hpa((EARLY.0.get().addr() as u64).checked_add((used as u64).saturating_mul(PAGE_SIZE))?))
    }

    fn read(&self, table: Hpa, index: usize) -> u64 {
        // SAFETY: `Tables` gives addresses that `allocate` returned and indexes within them; EL2 maps
        // its tables where they are. Volatile, because the walker reads and marks them as well.
        unsafe { core::ptr::with_exposed_provenance::<u64>(table.0 as usize).add(index).read_volatile() }
    }

    fn write(&mut self, table: Hpa, index: usize, descriptor: u64) {
        // SAFETY: as for reading.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u64>(table.0 as usize)
                .add(index)
                .write_volatile(descriptor);
        }
    }
}

/// Maps the image and `tree`, and turns on translation and caches.
///
/// # Errors
/// When the tables cannot be built: the tree overlaps the image, or needs too many of them.
pub fn start(tree: Range<Hpa>) -> Result<(), MapError> {
    let mut tables = Tables::new(TablePages, Geometry::EL2)?;
    let image = entry::layout();
    // Guard pages stay out: the one before each stack.
    let emergency_guard = image.emergency_stack.saturating_sub(PAGE_SIZE);
    let boot_guard = image.boot_stack.saturating_sub(PAGE_SIZE);
    for (start, end, attributes) in [
        (image.text, image.rodata, stage1::TEXT),
        (image.rodata, image.data, stage1::CONSTANT),
        (image.data, boot_guard, stage1::DATA),
        (image.boot_stack, emergency_guard, stage1::DATA),
        (image.emergency_stack, image.end, stage1::DATA),
        (tree.page_aligned().start().0, tree.page_aligned().end().0, stage1::CONSTANT),
    ] {
        tables.map(start, Hpa(start), end.saturating_sub(start), attributes)?;
    }

    // ID_AA64MMFR0_EL1.PARange goes into TCR_EL2.PS; more than 48 bits need FEAT_LPA2's tables.
    let physical_size = (read_register!("id_aa64mmfr0_el1") & 0xf).min(5);
    // T0SZ = 16 (48 bits), walks write-back inner shareable, 4 KiB granule; RES1: 23 and 31.
    let control = 16 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | physical_size << 16 | 1 << 23 | 1 << 31;
    // M, C, SA, I and WXN.
    let system_control = entry::SYSTEM_CONTROL_RES1 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;
    // SAFETY: the tables map what runs now at its own address with the rights it needs, so the next
    // instruction is fetched from where it is. All that the boot CPU wrote so far, these tables too, went
    // past the caches: a line fetched meanwhile would hide it from now on, and from the walker (Arm ARM,
    // B2.8 on mismatched attributes).
    unsafe {
        entry::invalidate_image();
        write_register!("mair_el2", stage1::MAIR);
        write_register!("tcr_el2", control);
        write_register!("ttbr0_el2", tables.root().0);
        isb();
        core::arch::asm!("tlbi alle2", "ic iallu", "dsb nsh", "isb", options(nostack, preserves_flags));
        write_register!("sctlr_el2", system_control);
        isb();
    }
    let registers = [tables.root().0, stage1::MAIR, control, system_control];
    TRANSLATION.iter().zip(registers).for_each(|(register, value)| register.store(value, Ordering::Relaxed));
    clean((&raw const TRANSLATION).addr() as u64, size_of_val(&TRANSLATION) as u64);
    *TABLES.lock() = Some(tables);
    Ok(())
}

/// Adds a mapping at the physical address. Boot only.
fn map(range: Range<Hpa>, attributes: u64) -> Result<(), MapError> {
    let range = range.page_aligned();
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(MapError::NoMemory)?;
    tables.map(range.start().0, range.start(), range.size(), attributes)?;
    publish(&mut TablePages);
    Ok(())
}

impl Maintenance for TablePages {
    #[inline(always)]
    fn step(&mut self, step: Step) {
        macro_rules! instruction {
            ($text:literal $(, $page:expr)?) => {
                core::arch::asm!($text, $(in(reg) $page,)? options(nostack, preserves_flags))
            };
        }
        // SAFETY: barriers, and invalidations, after which what is mapped is walked anew: nothing is lost.
        unsafe {
            match step {
                Step::DsbStores => instruction!("dsb ishst"),
                Step::Dsb => instruction!("dsb ish"),
                Step::Isb => instruction!("isb"),
                // VA[55:12] (Arm ARM, C5.5, TLBI VAE2IS).
                Step::InvalidatePage(at) => instruction!("tlbi vae2is, {}", at >> 12),
                Step::InvalidateAll => instruction!("tlbi alle2is"),
            }
        }
    }
}

/// Maps a device's registers.
///
/// # Errors
/// See [`MapError`].
pub fn map_device(range: Range<Hpa>) -> Result<Registers, MapError> {
    map_shared(range, stage1::DEVICE)?;
    // SAFETY: just mapped as Device memory, never unmapped, and the caller names a device's registers
    // from the board's tree, which lie outside memory that Rust uses (the audit checks it).
    Ok(unsafe { Registers::new(range.start().0 as usize, range.size() as usize) })
}

/// Maps what may share its first and last page with its like: two devices, the tree and the bundle. Pages
/// that are mapped with these attributes already are left alone.
fn map_shared(range: Range<Hpa>, attributes: u64) -> Result<(), MapError> {
    match map(range, attributes) {
        Err(MapError::Occupied) => {}
        other => return other,
    }
    let range = range.page_aligned();
    let mut at = range.start();
    while at < range.end() {
        let page = Range::<Hpa>::new(at, PAGE_SIZE).ok_or(MapError::OutOfRange)?;
        match map(page, attributes) {
            Err(MapError::Occupied) if attributes_at(at) == Some(attributes) => {}
            other => other?,
        }
        at = page.end();
    }
    Ok(())
}

/// The attributes that an address is mapped with.
fn attributes_at(address: Hpa) -> Option<u64> {
    TABLES.lock().as_ref()?.find(address.0).map(|leaf| leaf.attributes)
}

/// Maps memory that firmware left for us, read-only, and lends its bytes for ever.
///
/// # Errors
/// See [`MapError`].
pub fn map_constant(range: Range<Hpa>) -> Result<&'static [u8], MapError> {
    map_shared(range, stage1::CONSTANT)?;
    Ok(constant_bytes(range))
}

/// The bytes of a range that is mapped read-only for ever.
pub fn constant_bytes(range: Range<Hpa>) -> &'static [u8] {
    // SAFETY: mapped (by `start` or just now) read-only for EL2, and no guest may write to it (the audit
    // checks it), so nothing writes to it while the hypervisor runs.
    unsafe {
        core::slice::from_raw_parts(
            core::ptr::with_exposed_provenance(range.start().0 as usize),
            range.size() as usize,
        )
    }
}

/// Maps working memory and gives its first part to stacks, one a CPU with a guard page below each,
/// the rest to the heap. Returns the tops of the stacks' area, for [`stack_top`].
///
/// # Errors
/// See [`MapError`].
pub fn start_heap(working: Range<Hpa>, cpus: usize) -> Result<(), MapError> {
    let area = stacks_size(cpus);
    for cpu in 0..cpus {
        let top = stack_top(working, cpu);
        let bottom = Hpa(top.saturating_sub(STACK_SIZE));
        map(Range::<Hpa>::new(bottom, STACK_SIZE).ok_or(MapError::OutOfRange)?, stage1::DATA)?;
    }
    let start = working.start().checked_add(area).ok_or(MapError::OutOfRange)?;
    let size = working.size().checked_sub(area).ok_or(MapError::NoMemory)?;
    map(Range::<Hpa>::new(start, size).ok_or(MapError::OutOfRange)?, stage1::DATA)?;
    // SAFETY: mapped just now, free memory of the board that the plan gives to nobody.
    unsafe { heap::start(start.0 as usize, size as usize) };
    Ok(())
}

/// One past the last byte of the stack of CPU number `cpu`.
pub fn stack_top(working: Range<Hpa>, cpu: usize) -> u64 {
    working.start().0.saturating_add(stacks_size(cpu.saturating_add(1)))
}

/// Calls `visit` with every leaf of EL2's tables, for the audit.
pub fn leaves(visit: &mut dyn FnMut(Leaf)) {
    if let Some(tables) = TABLES.lock().as_ref() {
        tables.leaves(visit);
    }
}

/// Cleans and invalidates `size` bytes from `start` to the point of coherency, so that observers
/// without caches see them (Arm ARM, D7.5.9).
pub fn clean(start: u64, size: u64) {
    for_lines(start, size, |line| {
        // SAFETY: `dc civac` writes back what is cached of memory that EL2 has mapped; it loses nothing.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
    });
    dsb_sy();
}

/// Calls `each` with every cache line of the range.
fn for_lines(start: u64, size: u64, each: impl Fn(u64)) {
    // CTR_EL0.DminLine, bits 19:16: log2 of the words in the smallest data cache line.
    let line = 4_u64 << (read_register!("ctr_el0") >> 16 & 0xf);
    let end = start.saturating_add(size);
    let mut at = start & !(line.wrapping_sub(1));
    while at < end {
        each(at);
        at = at.saturating_add(line);
    }
}
