// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What of the board's memory the hypervisor will keep: its image, its working memory, the bundle and the
//! tree, where the firmware will have put them.
//!
//! QEMU's rules (`hw/arm/boot.c`; a test measures them): the image goes 2 MiB above the start of memory; the
//! ramdisk, our bundle, where the tree says, which is at half the memory or at 128 MiB, whichever is lower;
//! the tree follows at the next multiple of 2 MiB. The hypervisor moves its image to the top of memory and finds its
//! working memory below it, with the function that is used here. So a check with QEMU's tree plans around the same ranges
//! as the boot.
//!
//! Other firmware has other rules. For a tree that comes from a file QEMU's are assumed: then as much memory
//! is taken, if not the same.

use crate::project::Project;
use bulkhead_plan::early::Outline;
use bulkhead_types::{Hpa, PAGE_SIZE, Range, align_up};
use std::fs::File;
use std::io::Read;

/// Kernels and trees go to multiples of this.
const ALIGN: u64 = 2 << 20;
/// The furthest that a ramdisk lies above the start of memory.
const FURTHEST: u64 = 128 << 20;
/// What the hypervisor's image is taken to need before it has been built: more than it does.
const UNKNOWN_IMAGE: u64 = 2 << 20;

/// What the bundle's range is called.
pub const BUNDLE: &str = "the bundle";

/// A range, and what to call it in errors.
pub type Taken = (Range<Hpa>, &'static str);

/// The ranges that are taken on a board with these banks of `memory`, `tree` and `bundle` being sizes in bytes.
///
/// # Errors
/// Why the board cannot boot at all: a sentence, the hypervisor's own where it lives to say one.
pub fn taken(
    project: &Project,
    board: &Outline<'_>,
    memory: &[Range<Hpa>],
    tree: usize,
    bundle: usize,
) -> Result<Vec<Taken>, String> {
    let Some(bank) = memory.first() else { return Ok(Vec::new()) };
    let too_little = || {
        format!("the board's first bank of memory ({bank}) has no room for a bundle of {} MiB", bundle >> 20)
    };
    let range = |start: Option<u64>, size: u64| {
        let range = Range::<Hpa>::new(Hpa(start?), size)?;
        bank.covers(&range).then_some(range)
    };
    let start = bank.start().0;
    let loaded = range(start.checked_add(ALIGN), image_size(project)).ok_or_else(too_little)?;
    let announced = board.bundle().map(|bundle| bundle.start().0);
    let bundle_start = announced.or_else(|| start.checked_add(FURTHEST.min(bank.size() / 2)));
    let bundle = range(bundle_start, bundle as u64).ok_or_else(too_little)?;
    let tree = range(align_up(bundle.end().0, ALIGN), tree as u64).ok_or_else(too_little)?;

    // Without a bundle that the tree announces, it lies where it will: keep clear of it as the hypervisor does.
    let image = board.free_range(&[loaded, tree, bundle], loaded.size(), PAGE_SIZE).unwrap_or(loaded);
    let size = board.working_size();
    let working = board.free_range(&[image, tree, bundle], size, PAGE_SIZE).ok_or_else(|| {
        format!(
            "too little memory: the hypervisor needs {} KiB in one piece, and the board has not so much free",
            size >> 10
        )
    })?;
    Ok(vec![
        (image, "the hypervisor's image"),
        (working, "the hypervisor's working memory"),
        (tree, "the board's tree"),
        (bundle, BUNDLE),
    ])
}

/// `image_size` in the header of the hypervisor as it was built last (Linux, arm64/booting.rst).
fn image_size(project: &Project) -> u64 {
    let mut header = [0; 64];
    let read = File::open(project.hypervisor_image()).and_then(|mut file| file.read_exact(&mut header));
    let field = header[16..24].try_into().map_or(0, u64::from_le_bytes);
    if read.is_ok() && &header[56..60] == b"ARM\x64" && field > 0 { field } else { UNKNOWN_IMAGE }
}
