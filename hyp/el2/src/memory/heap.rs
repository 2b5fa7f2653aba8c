// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot heap. It closes before the first guest starts: nothing is allocated or freed after.

use alloc::alloc::{Layout, alloc_zeroed};
use buddy_system_allocator::Heap;
use bulkhead_types::{Hpa, PAGE_SIZE};
use core::alloc::GlobalAlloc;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

struct BootHeap {
    heap: Mutex<Heap<32>>,
    ready: AtomicBool,
    sealed: AtomicBool,
}

#[global_allocator]
static HEAP: BootHeap =
    BootHeap { heap: Mutex::new(Heap::new()), ready: AtomicBool::new(false), sealed: AtomicBool::new(false) };

// SAFETY: `Heap` returns blocks that fit the layout and do not overlap; the lock makes calls exclusive.
unsafe impl GlobalAlloc for BootHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.sealed.load(Ordering::Relaxed) {
            return core::ptr::null_mut();
        }
        self.heap.lock().alloc(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let (false, Some(pointer)) = (self.sealed.load(Ordering::Relaxed), NonNull::new(pointer)) {
            // SAFETY: the caller of `dealloc` promises that `pointer` came from `alloc` with this layout.
            unsafe { self.heap.lock().dealloc(pointer, layout) };
        }
    }
}

/// Gives the heap its memory.
///
/// # Safety
/// `start..start + size` is mapped read-write, and nothing else uses it from now on.
pub unsafe fn start(start: usize, size: usize) {
    // SAFETY: the caller's promise.
    unsafe { HEAP.heap.lock().init(start, size) };
    HEAP.ready.store(true, Ordering::Release);
}

/// Whether the heap has memory.
pub fn is_ready() -> bool {
    HEAP.ready.load(Ordering::Acquire)
}

/// Ends allocation for ever: a later one fails, which stops the board with a sentence.
pub fn seal() {
    HEAP.sealed.store(true, Ordering::Release);
}

/// Bytes that were asked for and not given back, and bytes in all.
pub fn used() -> (usize, usize) {
    let heap = HEAP.heap.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}

/// `pages` zeroed pages in a row, aligned to their size rounded up to a power of two; never freed.
pub fn zeroed_pages(pages: usize) -> Option<Hpa> {
    let size = pages.checked_mul(PAGE_SIZE as usize)?;
    let layout = Layout::from_size_align(size, size.checked_next_power_of_two()?).ok()?;
    if size == 0 {
        return None;
    }
    // SAFETY: the layout's size is not zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).map(|pages| Hpa(pages.as_ptr().expose_provenance() as u64))
}
