// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From one kernel to another (Linux, `kexec_load`; what a kernel wants at entry: `Documentation/arch/arm64/booting`).

use core::arch::global_asm;
use core::ffi::CStr;

use crate::ensure;
use crate::system::{File, call, number};

// Linux leaves the registers to who is entered: the tree's address in x0, zeros behind it.
global_asm!(
    ".balign 8",
    "springboard: ldr x0, 1f",
    "ldr x4, 2f",
    "mov x1, xzr",
    "mov x2, xzr",
    "mov x3, xzr",
    "br x4",
    "1: .quad 0",
    "2: .quad 0"
);

unsafe extern "C" {
    /// Three words of code, then where the tree and the kernel are.
    static springboard: [u64; 5];
}

/// Where a kernel's start must be a multiple of; the other pieces may be there too.
const ALIGN: usize = 2 << 20;
const PAGE: usize = 4096;

/// `struct kexec_segment`.
#[repr(C)]
struct Segment {
    from: *const u8,
    bytes: usize,
    to: usize,
    size: usize,
}

impl Segment {
    /// What is put at `to`, with zeros up to `size` bytes.
    fn new(from: &[u8], to: usize, size: usize) -> Self {
        Self { from: from.as_ptr(), bytes: from.len(), to, size: size.next_multiple_of(PAGE) }
    }

    /// The next place for a kernel behind it.
    fn behind(&self) -> usize {
        (self.to + self.size).next_multiple_of(ALIGN)
    }
}

/// An address that the tree says, in one cell or two.
fn address(path: &CStr) -> usize {
    let cells = File::open(path).content();
    cells.iter().fold(0, |address, byte| address << 8 | usize::from(*byte))
}

/// Loads the kernel and goes over to it, with the tree that this one was given: so its ramdisk must lie where this one's
/// ramdisk lay, and its command line is this one's.
pub fn go_over(kernel: &CStr, ramdisk: &CStr) {
    const ARM64: usize = 183 << 16;
    const MAGIC: [usize; 2] = [0xfee1_dead, 0x2812_1969];
    const KEXEC: usize = 0x4558_4543;
    let [start, end] =
        [c"/proc/device-tree/chosen/linux,initrd-start", c"/proc/device-tree/chosen/linux,initrd-end"]
            .map(address);
    let ramdisk = File::open(ramdisk).content();
    ensure!(ramdisk.len() <= end - start, "the ramdisk is larger than this kernel's");
    let ramdisk = Segment::new(ramdisk, start / PAGE * PAGE, end - start);
    let image = File::open(kernel).content();
    let room = image[16..24].iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
    let kernel = Segment::new(image, ramdisk.behind(), room);
    let tree = File::open(c"/sys/firmware/fdt").content();
    let tree = Segment::new(tree, kernel.behind(), tree.len());
    // SAFETY: the words above.
    let mut words = unsafe { springboard };
    words[3] = tree.to as u64;
    words[4] = kernel.to as u64;
    let bytes = words.map(u64::to_le_bytes);
    let entry = Segment::new(bytes.as_flattened(), tree.behind(), PAGE);
    let at = entry.to;
    let segments = [ramdisk, kernel, tree, entry];
    // SAFETY: the first call reads the segments; the second does not return.
    unsafe {
        call(number::KEXEC_LOAD, [at, segments.len(), segments.as_ptr() as usize, ARM64, 0, 0]);
        call(number::REBOOT, [MAGIC[0], MAGIC[1], KEXEC, 0, 0, 0]);
    }
}
