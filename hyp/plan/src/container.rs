// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that are known not to be code for this machine: kernels in containers, other machines' kernels, ramdisks, text.

use alloc::format;
use alloc::string::String;

/// A kind of file that is never entered as a kernel.
struct Container {
    /// Where its magic number stands.
    offset: usize,
    /// Its magic number.
    magic: &'static [u8],
    /// What the image is.
    what: &'static str,
    /// How to get a kernel out of it, or what to give instead.
    advice: &'static str,
}

const fn container(
    offset: usize,
    magic: &'static [u8],
    what: &'static str,
    advice: &'static str,
) -> Container {
    Container { offset, magic, what, advice }
}

/// Magic numbers by their formats' own documents: RFC 1952, RFC 8878, the LZ4 frame and legacy formats, the .xz and
/// .lzma formats, bzip2, U-Boot's include/image.h, Linux's drivers/firmware/efi/libstub/zboot-header.S and x86/boot.rst.
/// What is more specific comes first.
const CONTAINERS: &[Container] = &[
    container(
        0,
        b"\x1f\x8b",
        "compressed with gzip",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means, gunzip does",
    ),
    container(
        4,
        b"zimg",
        "an EFI zboot image, in which the kernel is compressed",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means, cut the payload out with dd (its \
         offset and size are the words at 8 and 12, the compression's name stands at 24) and unpack it, or take the \
         Image from the kernel's build",
    ),
    container(
        0,
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: zstd -d < FILE > Image",
    ),
    container(
        0,
        b"\x04\x22\x4d\x18",
        "compressed with lz4",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: lz4 -d FILE Image",
    ),
    container(
        0,
        b"\x02\x21\x4c\x18",
        "compressed with lz4",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: lz4 -d FILE Image",
    ),
    container(
        0,
        b"\xfd7zXZ\0",
        "compressed with xz",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: xz -d < FILE > Image",
    ),
    container(
        0,
        b"\x5d\0\0",
        "compressed with lzma",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: xz --format=lzma -d < FILE > Image",
    ),
    container(
        0,
        b"BZh",
        "compressed with bzip2",
        "`cargo bulkhead pack` unpacks it; for a bundle made by other means: bzip2 -d < FILE > Image",
    ),
    container(0, b"\x89LZO\0", "compressed with lzop", "Unpack it: lzop -d < FILE > Image"),
    container(
        0,
        b"\x27\x05\x19\x56",
        "a uImage of U-Boot",
        "`cargo bulkhead pack` unpacks one of an arm64 kernel; by hand: dumpimage -T kernel -p 0 -o Image FILE",
    ),
    container(
        0,
        b"\xd0\x0d\xfe\xed",
        "a device tree or a FIT image",
        "Take the kernel out of a FIT image: dumpimage -T flat_dt -p 0 -o Image FILE",
    ),
    container(
        514,
        b"HdrS",
        "a kernel for x86 (bzImage)",
        "Give one for arm64, an Image: arch/arm64/boot/Image of the kernel's build",
    ),
    container(
        36,
        b"\x18\x28\x6f\x01",
        "a kernel for 32-bit Arm (zImage)",
        "Give one for arm64, an Image: arch/arm64/boot/Image of the kernel's build",
    ),
    container(0, b"070701", "a ramdisk (a cpio archive)", "Name it by ramdisk, and a kernel by kernel"),
    container(0, b"070702", "a ramdisk (a cpio archive)", "Name it by ramdisk, and a kernel by kernel"),
    container(0, b"hsqs", "a squashfs file system", "Name it by ramdisk, and a kernel by kernel"),
    container(257, b"ustar", "a tar archive", "Unpack it: tar -xf FILE"),
    container(0, b"PK\x03\x04", "a zip archive", "Unpack it: unzip FILE"),
];

/// How much of an image is looked at for text.
const TEXT: usize = 256;
/// Less than this may be code whose bytes happen to be letters.
const SHORTEST_TEXT: usize = 32;

/// The rule that an image breaks by being no code, and advice; nothing for what may be code.
///
/// An arm64 `Image` is to be looked for first: it may be an EFI executable too.
#[must_use]
pub(crate) fn refuse(image: &[u8]) -> Option<(String, Option<&'static str>)> {
    let is = |kind: &&Container| image.get(kind.offset..).is_some_and(|rest| rest.starts_with(kind.magic));
    if let Some(kind) = CONTAINERS.iter().find(is) {
        let rule = format!("the image is {}, and in a bundle a kernel lies as it is to run", kind.what);
        return Some((rule, Some(kind.advice)));
    }
    if is_portable_executable(image) {
        let rule = String::from("the image is an EFI executable without the header of an arm64 Image");
        return Some((rule, Some("Give the Image that it was made of, or firmware that starts it")));
    }
    if is_text(image) {
        let rule = String::from("the image is text");
        return Some((rule, Some("Give a kernel: an arm64 Image, an ELF file, or raw instructions")));
    }
    None
}

/// `MZ`, and at the offset that the word at 60 gives `PE` (PE format, section "Signature").
fn is_portable_executable(image: &[u8]) -> bool {
    let offset = image.get(60..64).and_then(|word| <[u8; 4]>::try_from(word).ok()).map(u32::from_le_bytes);
    let signature = offset.and_then(|offset| image.get(offset as usize..)?.get(..4));
    image.starts_with(b"MZ") && signature == Some(b"PE\0\0")
}

fn is_text(image: &[u8]) -> bool {
    let start = image.get(..TEXT).unwrap_or(image);
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    image.len() >= SHORTEST_TEXT && start.iter().all(is_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn every_container_is_refused_by_its_name_and_with_advice() {
        for kind in CONTAINERS {
            let mut image: Vec<u8> = vec![0; 1024];
            image[kind.offset..kind.offset + kind.magic.len()].copy_from_slice(kind.magic);
            let (rule, advice) = refuse(&image).unwrap();
            assert!(rule.contains(kind.what), "{rule}");
            assert_eq!(advice, Some(kind.advice));
        }
    }

    #[test]
    fn text_and_efi_executables_are_refused_and_code_is_not() {
        assert!(refuse(b"#!/bin/sh\n# A script is no kernel.\nexit 1\n").unwrap().0.contains("text"));
        let mut image = vec![0; 128];
        image[..2].copy_from_slice(b"MZ");
        image[60] = 64;
        image[64..68].copy_from_slice(b"PE\0\0");
        assert!(refuse(&image).unwrap().0.contains("EFI executable"));
        assert!(refuse(&0x1400_0000_u32.to_le_bytes()).is_none());
        assert!(refuse(&[0; 4096]).is_none() && refuse(b"MZ").is_none());
    }
}
