// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot heap. It closes before the first guest starts: nothing is allocated or freed after.

use crate::boot::refuse_early;
use alloc::alloc::Layout;
use bulkhead_types::{Hpa, PAGE_SIZE};
use core::alloc::GlobalAlloc;
use core::ptr::{null_mut, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Memory in the order in which it is asked for. Most of what boot builds lives for ever, so nothing is given
/// back: that takes fewer instructions, and the code that would drop things is not even there.
struct BootHeap {
    size: AtomicUsize,
    next: AtomicUsize,
    end: AtomicUsize,
}

#[global_allocator]
static HEAP: BootHeap =
    BootHeap { size: AtomicUsize::new(0), next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

// SAFETY: each block starts behind the end of the one before, aligned, and ends inside the memory that
// `start` was given. Only the boot CPU allocates: the others run after `seal`, when nothing is left.
unsafe impl GlobalAlloc for BootHeap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align().wrapping_sub(1);
        let next = self.next.load(Ordering::Relaxed).wrapping_add(align) & !align;
        match next.checked_add(layout.size()) {
            Some(end) if end <= self.end.load(Ordering::Relaxed) => {
                self.next.store(end, Ordering::Relaxed);
                with_exposed_provenance_mut(next)
            }
            _ => self.exhausted(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The last block grows where it is.
        if pointer.addr().wrapping_add(layout.size()) == self.next.load(Ordering::Relaxed) {
            match pointer.addr().checked_add(size) {
                Some(end) if end <= self.end.load(Ordering::Relaxed) => {
                    self.next.store(end, Ordering::Relaxed);
                    return pointer;
                }
                _ => return self.exhausted(),
            }
        }
        // SAFETY: the caller of `realloc` promises a size that is not zero and fits the alignment; the old
        // block is `layout.size()` bytes, the new one at least as many as are copied, and they are apart.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(pointer, new, layout.size().min(size));
            }
            new
        }
    }
}

impl BootHeap {
    /// At boot what is described is too much. Later nothing allocates, and whoever does is a mistake of ours.
    #[cold]
    fn exhausted(&self) -> *mut u8 {
        match self.size.load(Ordering::Relaxed) {
            0 => null_mut(),
            size => refuse_early(format_args!(
                "the hypervisor's heap of {} KiB is too small for this board and its partitions: describe fewer \
                 devices, ranges of memory and nodes",
                size >> 10
            )),
        }
    }
}

/// Gives the heap its memory.
///
/// # Safety
/// `start..start + size` is mapped read-write, and nothing else uses it from now on.
pub unsafe fn start(start: usize, size: usize) {
    HEAP.size.store(size, Ordering::Relaxed);
    HEAP.next.store(start, Ordering::Relaxed);
    HEAP.end.store(start.saturating_add(size), Ordering::Relaxed);
}

/// Whether the heap has memory.
pub fn is_ready() -> bool {
    HEAP.end.load(Ordering::Relaxed) != 0
}

/// Ends allocation for ever: a later one fails, which stops the board with a sentence.
pub fn seal() {
    HEAP.end.store(HEAP.next.load(Ordering::Relaxed), Ordering::Relaxed);
    HEAP.size.store(0, Ordering::Relaxed);
}

/// Bytes that were asked for, and bytes in all. Before [`seal`].
pub fn used() -> (usize, usize) {
    let [size, next, end] = [&HEAP.size, &HEAP.next, &HEAP.end].map(|number| number.load(Ordering::Relaxed));
    (size.saturating_sub(end.saturating_sub(next)), size)
}

/// `pages` zeroed pages in a row, aligned to their size rounded up to a power of two. They come from the
/// heap's end, so that no alignment leaves a gap between what is small.
pub fn zeroed_pages(pages: usize) -> Option<Hpa> {
    let size = pages.checked_mul(PAGE_SIZE as usize)?;
    let align = size.checked_next_power_of_two()?;
    let start = HEAP.end.load(Ordering::Relaxed).checked_sub(size)? & !align.wrapping_sub(1);
    if size == 0 || start < HEAP.next.load(Ordering::Relaxed) {
        return None;
    }
    HEAP.end.store(start, Ordering::Relaxed);
    // SAFETY: inside the memory that `start` was given, above all blocks and below all pages so far.
    unsafe { with_exposed_provenance_mut::<u8>(start).write_bytes(0, size) };
    Some(Hpa(start as u64))
}
