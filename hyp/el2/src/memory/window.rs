// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each CPU's window on guest memory: the only way EL2 ever sees it, open while images are loaded and
//! closed again.
//!
//! A window is 2 MiB of addresses above every physical one, with a table of its own, so opening it
//! takes neither memory nor a lock, and two CPUs never touch the same descriptors.
//!
//! It goes past the caches, as the guest does when it starts. Through the caches, a line could be fetched
//! on speculation between its cleaning and the end of the mapping, and hide what the guest stores before
//! it turns its caches on: after a reset a CPU's caches hold nothing (Arm ARM, B2.8 on mismatched
//! attributes).

use super::{TABLES, TablePages};
use crate::registers::dsb_sy;
use crate::{cpu, errata, read_register};
use alloc::vec::Vec;
use bulkhead_el2::tables::maintenance::{Step, close, open, publish};
use bulkhead_el2::tables::{MapError, stage1};
use bulkhead_types::{CpuIndex, Hpa, PAGE_SIZE, Range};
use spin::Once;

/// Where the windows are: in the upper half of EL2's 48 bits, where nothing is mapped one to one.
const BASE: u64 = 1 << 47;
/// Bytes of one window: what one last-level table maps.
const SIZE: u64 = 512 * PAGE_SIZE;

/// Last-level table of each CPU's window.
static WINDOWS: Once<Vec<Hpa>> = Once::new();

/// Makes the tables of `cpus` windows. Boot only.
///
/// # Errors
/// [`MapError::NoMemory`].
pub fn prepare(cpus: usize) -> Result<(), MapError> {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(MapError::NoMemory)?;
    let mut windows = Vec::with_capacity(cpus);
    for cpu in 0..cpus as u64 {
        windows.push(tables.last_table(BASE.saturating_add(cpu.saturating_mul(SIZE)))?);
    }
    publish(&mut TablePages);
    WINDOWS.call_once(|| windows);
    Ok(())
}

/// Reads the doubleword at `at` for a guest that runs on this CPU, as the guest's CPUs see it in memory.
///
/// The window is open for this one read, past the caches: a line that came into one by speculation could
/// later hide what a guest without caches stores. What the guest has in a cache is written back first, so
/// that memory is right (Arm ARM, B2.8, on mismatched attributes).
///
/// # Safety
/// `at` is aligned to eight bytes and lies in memory, not in a device; this CPU has no [`Window`] open.
pub unsafe fn peek(at: Hpa) -> Option<u64> {
    let CpuIndex(cpu) = cpu::current().index;
    let table = *WINDOWS.get()?.get(usize::from(cpu))?;
    let page = Hpa(at.0 & !PAGE_SIZE.wrapping_sub(1));
    let base = BASE.saturating_add(u64::from(cpu).saturating_mul(SIZE));
    let here = base | (at.0 % PAGE_SIZE);
    open(&mut TablePages, table, page, 1, stage1::UNCACHED | stage1::READ_ONLY);
    let word: u64;
    // SAFETY: mapped just now, read-only, and aligned, which the caller promises. The maintenance loses nothing.
    unsafe {
        core::arch::asm!("dc civac, {at}", "dsb sy", "ldr {word}, [{at}]",
            at = in(reg) here, word = out(reg) word, options(nostack, preserves_flags));
    }
    // The load is done with the translation before a store that follows it can be seen by any walk, and the DSB behind the
    // invalidation waits for it.
    close(&mut TablePages, table, 1, Step::InvalidatePage(base), errata::invalidate_twice());
    Some(word)
}

/// A piece of guest memory, visible to this CPU for as long as this lives.
pub struct Window {
    table: Hpa,
    base: u64,
    size: u64,
    pages: usize,
}

impl Window {
    /// Opens this CPU's window on the start of `frames`, on 2 MiB at most. What of it was in a cache is
    /// written back first, or it could be later, over what is stored here.
    ///
    /// # Safety
    /// The frames belong to a partition none of whose vCPUs runs, and no other window shows them.
    pub unsafe fn open(frames: Range<Hpa>) -> Option<Self> {
        let CpuIndex(cpu) = cpu::current().index;
        let table = *WINDOWS.get()?.get(usize::from(cpu))?;
        let offset = frames.start().0 % PAGE_SIZE;
        let size = frames.size().min(SIZE.saturating_sub(offset));
        let pages = offset.saturating_add(size).div_ceil(PAGE_SIZE) as usize;
        let first = frames.start().0.saturating_sub(offset);
        open(&mut TablePages, table, Hpa(first), pages, stage1::UNCACHED);
        let base = BASE.saturating_add(u64::from(cpu).saturating_mul(SIZE)).saturating_add(offset);
        super::clean(base, size);
        Some(Self { table, base, size, pages })
    }

    /// Stores `word` at the start in one piece, as somebody reads who does not wait (Arm ARM, B2.2.1: an
    /// aligned store of a register is single-copy atomic). `None` if the window is too small or not aligned.
    pub fn store_word(&mut self, word: u64) -> Option<()> {
        if self.size < size_of::<u64>() as u64 || !self.base.is_multiple_of(align_of::<u64>() as u64) {
            return None;
        }
        // SAFETY: mapped read-write by `open`, aligned and large enough, as was just checked.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(self.base as usize).write_volatile(word) };
        Some(())
    }

    /// Fills it with zeros.
    pub fn zero(&mut self) {
        // DCZID_EL0.BS, in words, log2; EL2 may always use it (Arm ARM, D24.2.32 and C5.3.9, DC ZVA).
        let block = 4_u64 << (read_register!("dczid_el0") & 0xf);
        if !self.base.is_multiple_of(block) || !self.size.is_multiple_of(block) {
            return self.bytes().fill(0);
        }
        for at in (self.base..self.base.saturating_add(self.size)).step_by(block as usize) {
            // SAFETY: mapped read-write by `open` as Normal memory, all of the block; the slice of `bytes` is none now.
            unsafe { core::arch::asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
        }
    }

    /// The bytes shown.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped read-write by `open`, whose caller promised that nothing else uses the frames;
        // `&mut self` makes this the only slice.
        unsafe {
            core::slice::from_raw_parts_mut(
                core::ptr::with_exposed_provenance_mut(self.base as usize),
                self.size as usize,
            )
        }
    }
}

impl Drop for Window {
    /// Completes what was stored, and closes the window.
    fn drop(&mut self) {
        dsb_sy();
        // All CPUs share these tables and may have walked them speculatively, hence the Inner Shareable form.
        close(&mut TablePages, self.table, self.pages, Step::InvalidateAll, errata::invalidate_twice());
    }
}
