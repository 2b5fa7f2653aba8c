// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is legal in a partition, but odd: warnings.

use alloc::format;
use alloc::vec::Vec;

use super::Device;
use crate::board::Board;
use crate::error::Problem;
use crate::partition::Spec;
use crate::tree::{Node, Tree};

/// Of the board: that nobody will see what the hypervisor prints.
pub(super) fn board(board: &Board) -> Option<Problem> {
    let rule = "the board's tree names no console that the hypervisor can drive, so it prints nothing, and partitions \
                with a virtual UART are neither seen nor heard";
    let advice = "Have the firmware's tree name a PL011 or a BCM2835 mini UART in stdout-path, or by the alias serial0";
    board.console.is_none().then(|| Problem::new("/chosen", rule).property("stdout-path").advice(advice))
}

/// What can be seen in the configuration alone.
pub(super) fn partition(spec: &Spec<'_>) -> Vec<Problem> {
    const BLOCK: u64 = 2 << 20;
    let mut odd = Vec::new();
    if !spec.uart && spec.devices.is_empty() && !spec.primary {
        let rule = "with neither a console nor a device, nothing of this partition can be seen";
        odd.push(Problem::new(spec.path.clone(), rule).property("console"));
    }
    for wish in &spec.memory {
        if wish.size >= BLOCK
            && !(wish.size.is_multiple_of(BLOCK) && wish.at.is_none_or(|at| at.is_aligned(BLOCK)))
        {
            let rule = "memory that does not start and end at multiples of 2 MiB maps in part with pages of 4 KiB, which is slower";
            odd.push(Problem::new(spec.path.clone(), rule).property("memory").value(wish.shown()));
        }
    }
    odd
}

/// A partition whose kernel is an arm64 Image.
pub(super) struct Linux<'p> {
    pub(super) spec: &'p Spec<'p>,
    pub(super) tree: &'p Tree<'p>,
    pub(super) devices: &'p [Device],
}

/// How an archive begins that Linux unpacks: cpio, or compressed (Linux's init/initramfs.c and lib/decompress.c).
const ARCHIVES: [&[u8]; 10] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x1f\x9e",
    b"BZ",
    b"\x5d\x00",
    b"\xfd7",
    b"\x89L",
    b"\x02\x21",
    b"\x28\xb5",
];

/// What is taken for one, and what to do about it.
const NO_ARCHIVES: [(usize, &[u8], &str); 5] = [
    (0, b"\x04\x22\x4d\x18", "Linux takes lz4 in its legacy format only: lz4 -l"),
    (0, b"070707", "Linux takes cpio in the newc format only: cpio -o -H newc"),
    (0, b"\x27\x05\x19\x56", "It is a uImage: take off U-Boot's header with tail -c +65 FILE"),
    (56, b"ARM\x64", "It is an arm64 Image: name it by kernel"),
    (257, b"ustar", "It is a tar archive: make a cpio archive of its files with cpio -o -H newc"),
];

impl Linux<'_> {
    fn problem(&self, rule: &'static str) -> Problem {
        Problem::new(self.spec.path.clone(), rule)
    }

    /// A ramdisk that Linux says of: "Initramfs unpacking failed".
    pub(super) fn ramdisk(&self, data: &[u8]) -> Option<Problem> {
        let bootargs = self.spec.bootargs.unwrap_or_default();
        // It skips zeros.
        let start = data.iter().position(|byte| *byte != 0).unwrap_or(data.len());
        let content = data.get(start..).unwrap_or_default();
        let is_archive = ARCHIVES.iter().any(|magic| content.starts_with(magic));
        // A file system as a ramdisk is its root file system then (Linux's admin-guide/initrd.rst).
        if is_archive || bootargs.split_ascii_whitespace().any(|word| word.starts_with("root=/dev/ram")) {
            return None;
        }
        let rule = "Linux does not unpack this: it is neither a cpio archive (newc) nor compressed with gzip, bzip2, lzma, xz, lzo, lz4 or zstd";
        let problem = self
            .problem(rule)
            .property("ramdisk")
            .value(format!("\"{}\"", self.spec.ramdisk.unwrap_or_default()));
        let known = NO_ARCHIVES
            .iter()
            .find(|(offset, magic, _)| data.get(*offset..).is_some_and(|rest| rest.starts_with(magic)));
        Some(problem.advice(
            known.map_or("A folder becomes one with: find . | cpio -o -H newc | gzip", |(_, _, advice)| {
                advice
            }),
        ))
    }

    /// A console whose name only another driver than the virtual UART's gives, where there is nothing for that driver.
    pub(super) fn console(&self) -> Option<Problem> {
        let bootargs = self.spec.bootargs?;
        let consoles = || bootargs.split_ascii_whitespace().filter_map(|word| word.strip_prefix("console="));
        let wrong = consoles().any(|name| {
            name.strip_prefix("ttyS")
                .is_some_and(|rest| rest.as_bytes().first().is_some_and(u8::is_ascii_digit))
        });
        let right = consoles().any(|name| name.starts_with("ttyAMA"));
        let other = self.devices.iter().any(|device| is_other_port(self.tree.node(device.node)));
        if !wrong || right || other {
            return None;
        }
        let rule =
            "Linux calls the partition's UART, a PL011, ttyAMA0: the partition has no ttyS port to print to";
        let problem = self.problem(rule).property("bootargs").value(format!("\"{bootargs}\""));
        Some(problem.advice("Write console=ttyAMA0"))
    }
}

/// Whether a device is a serial port other than a PL011: Linux may call it `ttyS`.
fn is_other_port(node: Node<'_, '_>) -> bool {
    // In bytes: the search of core for strings, with what it may panic with, takes 5 KiB of the image.
    let has =
        |name: &str, word: &str| name.as_bytes().windows(word.len()).any(|part| part == word.as_bytes());
    let is_port = |name: &str| ["serial", "uart", "8250", "16550"].iter().any(|word| has(name, word));
    let is_one = is_port(node.base_name()) || node.strings("compatible").any(is_port);
    is_one && !node.is_compatible_with_any(&["arm,pl011", "arm,sbsa-uart"])
}
