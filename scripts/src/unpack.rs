// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images as they go into a bundle: a kernel as it is to run, a device tree as a blob.

use crate::config;
use anyhow::{Context, Result, bail, ensure};
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;
use std::fs;
use std::io::Read;
use std::path::Path;

/// A kind of file that a kernel is unpacked from.
struct Packing {
    /// What it is, as an error calls it.
    name: &'static str,
    /// Where its magic number stands.
    offset: usize,
    /// Its magic number.
    magic: &'static [u8],
    unpack: fn(&[u8]) -> Result<Vec<u8>>,
}

/// By their formats' own documents: RFC 1952, RFC 8878, the LZ4 frame format and its legacy form, the .xz and .lzma
/// formats, bzip2, U-Boot's include/image.h, Linux's drivers/firmware/efi/libstub/zboot-header.S. What is left out
/// here, `bulkhead_plan::image` refuses by its name.
const PACKINGS: &[Packing] = &[
    Packing {
        name: "gzip",
        offset: 0,
        magic: b"\x1f\x8b",
        unpack: |bytes| whole(MultiGzDecoder::new(bytes)),
    },
    Packing { name: "EFI zboot", offset: 4, magic: b"zimg", unpack: zboot },
    Packing { name: "zstd", offset: 0, magic: b"\x28\xb5\x2f\xfd", unpack: zstd },
    Packing {
        name: "lz4",
        offset: 0,
        magic: b"\x04\x22\x4d\x18",
        unpack: |bytes| whole(FrameDecoder::new(bytes)),
    },
    Packing { name: "lz4", offset: 0, magic: LEGACY_LZ4, unpack: legacy_lz4 },
    // One stream: the payload of an EFI zboot image is followed by its size.
    Packing {
        name: "xz",
        offset: 0,
        magic: b"\xfd7zXZ\0",
        unpack: |bytes| whole(XzReader::new(bytes, false)),
    },
    Packing { name: "lzma", offset: 0, magic: b"\x5d\0\0", unpack: lzma },
    Packing { name: "bzip2", offset: 0, magic: b"BZh", unpack: |bytes| whole(MultiBzDecoder::new(bytes)) },
    Packing { name: "uImage", offset: 0, magic: b"\x27\x05\x19\x56", unpack: uimage },
];

/// A kernel in so many containers, one inside the other, is none that anybody made.
const DEEPEST: usize = 4;

/// Reads the image that `property` of a partition names: a kernel in a container is unpacked, a device tree in source
/// form is compiled. A compressed ramdisk is the kernel's own affair.
///
/// # Errors
/// When the file cannot be read, unpacked or compiled.
pub fn read(file: &Path, property: &str) -> Result<Vec<u8>> {
    let is_source = file.extension().is_some_and(|extension| extension == "dts" || extension == "dtso");
    if property == "device-tree" && is_source {
        return Ok(config::compile(file)?.blob);
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if property != "kernel" {
        return Ok(bytes);
    }
    kernel(bytes).with_context(|| format!("cannot unpack {}", file.display()))
}

/// The kernel as it is to run.
fn kernel(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    for _ in 0..DEEPEST {
        let is =
            |packing: &&Packing| bytes.get(packing.offset..).is_some_and(|it| it.starts_with(packing.magic));
        // An arm64 Image may be an EFI executable, and so begin as a zboot image does.
        let Some(packing) = PACKINGS.iter().find(is).filter(|_| !is_arm64_image(&bytes)) else {
            return Ok(bytes);
        };
        bytes = (packing.unpack)(&bytes)
            .with_context(|| format!("it is of kind {}, and damaged", packing.name))?;
    }
    bail!("it is packed more than {DEEPEST} times")
}

/// Linux, Documentation/arch/arm64/booting.rst, section "Call the kernel image".
fn is_arm64_image(bytes: &[u8]) -> bool {
    bytes.get(56..60) == Some(b"ARM\x64")
}

fn whole(mut reader: impl Read) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain)?;
    Ok(plain)
}

fn zstd(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = StreamingDecoder::new(bytes)?;
    let plain = whole(&mut decoder)?;
    let (stored, found) =
        (decoder.decoder.get_checksum_from_data(), decoder.decoder.get_calculated_checksum());
    ensure!(stored.is_none() || stored == found, "its checksum is wrong");
    Ok(plain)
}

fn lzma(bytes: &[u8]) -> Result<Vec<u8>> {
    whole(LzmaReader::new_mem_limit(bytes, u32::MAX, None)?)
}

const LEGACY_LZ4: &[u8] = b"\x02\x21\x4c\x18";

/// Blocks of at most 8 MiB, each behind its packed size (LZ4 frame format, section "Legacy frame"), as `lz4 -l` writes
/// them for Linux; whose build may append the size of the whole.
fn legacy_lz4(bytes: &[u8]) -> Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut plain = Vec::new();
    let mut rest = &bytes[LEGACY_LZ4.len()..];
    while !rest.is_empty() {
        let (size, behind) = rest.split_at_checked(4).context("it is cut short")?;
        rest = behind;
        let size = little_endian(size, 0)?;
        if size == plain.len() && rest.is_empty() {
            break;
        }
        let (block, behind) = rest.split_at_checked(size).context("it is cut short")?;
        plain.extend(lz4_flex::block::decompress(block, BLOCK)?);
        rest = behind;
    }
    Ok(plain)
}

/// The payload's offset and size stand at 8 and 12, the name of its compression at 24. The payload has its own magic.
fn zboot(bytes: &[u8]) -> Result<Vec<u8>> {
    let (offset, size) = (little_endian(bytes, 8)?, little_endian(bytes, 12)?);
    let payload =
        bytes.get(offset..).and_then(|rest| rest.get(..size)).context("its payload lies outside")?;
    let is = |packing: &&Packing| packing.offset == 0 && payload.starts_with(packing.magic);
    let packing = PACKINGS.iter().find(is).with_context(|| {
        let name: Vec<u8> = bytes.iter().skip(24).take(8).copied().take_while(|byte| *byte != 0).collect();
        format!("its compression, {}, is none that is known", String::from_utf8_lossy(&name))
    })?;
    (packing.unpack)(payload).with_context(|| format!("its payload is of kind {}", packing.name))
}

/// Header and checksum of U-Boot's include/image.h, big-endian; the payload may be compressed, which its magic says.
fn uimage(bytes: &[u8]) -> Result<Vec<u8>> {
    const HEADER: usize = 64;
    const ARM64: u8 = 22;
    const KERNEL: u8 = 2;
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).context("it is cut short")?;
        Ok::<u32, anyhow::Error>(u32::from_be_bytes(word.try_into()?))
    };
    let (size, checksum) = (word(12)? as usize, word(24)?);
    let payload = bytes.get(HEADER..).and_then(|rest| rest.get(..size)).context("it is cut short")?;
    ensure!(bytes[29] == ARM64, "it is for another architecture: mkimage's -A is to be arm64");
    ensure!(bytes[30] == KERNEL, "it holds no kernel: mkimage's -T is to be kernel");
    ensure!(crc32fast::hash(payload) == checksum, "its checksum is wrong");
    Ok(payload.to_vec())
}

fn little_endian(bytes: &[u8], at: usize) -> Result<usize> {
    let word = bytes.get(at..at + 4).context("it is cut short")?;
    Ok(u32::from_le_bytes(word.try_into()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const PLAIN: &[u8] = b"a kernel, twice: a kernel";
    /// What zstd, lz4, lz4 -l, xz, xz --format=lzma and bzip2 make of it.
    const PACKED: [&[u8]; 6] = [
        b"\x28\xb5\x2f\xfd\x04\x58\xc9\0\0a kernel, twice: a kernel\x74\xc3\x20\x5d",
        b"\x04\x22\x4d\x18\x64\x40\xa7\x19\0\0\x80a kernel, twice: a kernel\0\0\0\0\xf2\xa7\xbb\x3f",
        b"\x02\x21\x4c\x18\x1b\0\0\0\xf0\x0aa kernel, twice: a kernel",
        b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3\x01\0\x18a kernel, twice: a kernel\
          \0\0\0\0\xb0\x66\x54\xba\x2a\x2e\xa4\x74\0\x01\x31\x19\x59\x1a\xb0\x82\x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ",
        b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x30\x88\x09\x66\x94\x53\x74\xb6\x71\x69\xd8\x76\x7e\x2c\
          \x29\xdc\x61\x49\xe9\x9d\x63\x81\x53\xff\xff\xef\xba\x80\0",
        b"BZh91AY&SY\xe6\x3b\x3a\x2d\0\0\x03\x19\x80\x40\x04\0\x10\x2a\x2d\x14\x80\x20\0\x21\x2a\x62\x69\xea\x68\xc2\
          \x01\xa0\x07\x82\x3b\xc6\x94\xa8\xa2\xe4\x47\xc6\x1e\xf0\x5d\xc9\x14\xe1\x42\x43\x98\xec\xe8\xb4",
    ];

    fn gzip() -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(PLAIN).unwrap();
        encoder.finish().unwrap()
    }

    fn zboot_of(payload: &[u8]) -> Vec<u8> {
        const OFFSET: u32 = 0x40;
        let mut image = vec![0; OFFSET as usize];
        image[..8].copy_from_slice(b"MZ\0\0zimg");
        image[8..12].copy_from_slice(&OFFSET.to_le_bytes());
        image[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image[24..28].copy_from_slice(b"lzo2");
        image.extend(payload);
        image
    }

    fn uimage_of(payload: &[u8], architecture: u8) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..4].copy_from_slice(b"\x27\x05\x19\x56");
        image[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        image[24..28].copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
        (image[29], image[30]) = (architecture, 2);
        image.extend(payload);
        image
    }

    fn error(bytes: &[u8]) -> String {
        format!("{:#}", kernel(bytes.to_vec()).unwrap_err())
    }

    #[test]
    fn a_kernel_is_unpacked_and_a_ramdisk_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.gz");
        let packed = gzip();
        fs::write(&file, &packed).unwrap();
        assert_eq!(read(&file, "kernel").unwrap(), PLAIN);
        assert_eq!(read(&file, "ramdisk").unwrap(), packed);
        fs::write(&file, &packed[..packed.len() - 5]).unwrap();
        let error = format!("{:#}", read(&file, "kernel").unwrap_err());
        assert!(error.contains("image.gz: it is of kind gzip, and damaged"), "{error}");
    }

    #[test]
    fn every_packing_is_unpacked_alone_and_in_zboot_and_uimage() {
        let gzip = gzip();
        for packed in PACKED.into_iter().chain([gzip.as_slice()]) {
            for image in
                [packed.to_vec(), zboot_of(packed), uimage_of(packed, 22), uimage_of(&zboot_of(packed), 22)]
            {
                assert_eq!(kernel(image).unwrap(), PLAIN, "{packed:x?}");
            }
        }
        assert_eq!(kernel(uimage_of(PLAIN, 22)).unwrap(), PLAIN);
    }

    #[test]
    fn the_size_that_linux_appends_is_not_unpacked() {
        let size = u32::try_from(PLAIN.len()).unwrap().to_le_bytes();
        for packed in [PACKED[0], PACKED[2], PACKED[3], PACKED[4]] {
            assert_eq!(kernel(zboot_of(&[packed, &size].concat())).unwrap(), PLAIN);
        }
    }

    #[test]
    fn what_is_damaged_is_refused_by_its_kind() {
        for packed in PACKED {
            assert!(error(&packed[..packed.len() - 9]).contains("and damaged"), "{packed:x?}");
        }
        let mut packed = PACKED[0].to_vec();
        packed[20] ^= 1;
        assert!(
            error(&packed).ends_with("kind zstd, and damaged: its checksum is wrong"),
            "{}",
            error(&packed)
        );
        assert!(error(&zboot_of(b"\x89LZO\0")).contains("its compression, lzo2, is none"));
        assert!(error(&uimage_of(PLAIN, 2)).contains("another architecture"));
        let mut image = uimage_of(PLAIN, 22);
        image[70] ^= 1;
        assert!(error(&image).contains("checksum"));
    }

    #[test]
    fn an_arm64_image_stays_as_it_is() {
        let mut image = zboot_of(&gzip());
        image[56..60].copy_from_slice(b"ARM\x64");
        assert_eq!(kernel(image.clone()).unwrap(), image);
    }

    #[test]
    fn a_device_tree_is_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("board.dts");
        fs::write(&file, "/dts-v1/; / { model = \"mine\"; };").unwrap();
        let blob = read(&file, "device-tree").unwrap();
        assert!(blob.starts_with(&0xd00d_feed_u32.to_be_bytes()));
    }
}
