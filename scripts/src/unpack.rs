// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images as they go into a bundle: a kernel as it is to run, a device tree as a blob.

use crate::config;
use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use std::fs;
use std::io::Read;
use std::path::Path;

/// What gzip's files begin with (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The payload of an EFI zboot image that is compressed with gzip (Linux, drivers/firmware/efi/libstub/zboot-header.S):
/// `zimg` at 4, the payload's offset and size at 8 and 12, the compression's name at 24.
fn gzip_in_zboot(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let is_gzip = image.get(4..8)? == b"zimg" && image.get(24..)?.starts_with(b"gzip\0");
    let payload = image.get(word(8)?..)?.get(..word(12)?)?;
    (is_gzip && image.starts_with(b"MZ")).then_some(payload)
}

/// Reads the image that `property` of a partition names: a kernel that is compressed with gzip, in an EFI
/// zboot image too, is unpacked, a device tree in source form is compiled. A compressed ramdisk is the kernel's own affair.
///
/// # Errors
/// When the file cannot be read, unpacked or compiled.
pub fn read(file: &Path, property: &str) -> Result<Vec<u8>> {
    let is_source = file.extension().is_some_and(|extension| extension == "dts" || extension == "dtso");
    if property == "device-tree" && is_source {
        return Ok(config::compile(file)?.blob);
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let packed = if bytes.starts_with(GZIP) { Some(bytes.as_slice()) } else { gzip_in_zboot(&bytes) };
    let (Some(packed), "kernel") = (packed, property) else { return Ok(bytes) };
    let mut plain = Vec::new();
    MultiGzDecoder::new(packed)
        .read_to_end(&mut plain)
        .with_context(|| format!("{} is compressed with gzip, and damaged", file.display()))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn a_kernel_is_unpacked_and_a_ramdisk_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.gz");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"a kernel").unwrap();
        let packed = encoder.finish().unwrap();
        fs::write(&file, &packed).unwrap();
        assert_eq!(read(&file, "kernel").unwrap(), b"a kernel");
        assert_eq!(read(&file, "ramdisk").unwrap(), packed);
        fs::write(&file, &packed[..packed.len() - 5]).unwrap();
        let error = read(&file, "kernel").unwrap_err().to_string();
        assert!(error.contains("compressed with gzip, and damaged"), "{error}");
    }

    #[test]
    fn an_efi_zboot_image_of_gzip_is_unpacked() {
        const OFFSET: usize = 0x40;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vmlinuz");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"a kernel").unwrap();
        let packed = encoder.finish().unwrap();
        let mut image = vec![0; OFFSET];
        image[..8].copy_from_slice(b"MZ\0\0zimg");
        image[8..12].copy_from_slice(&u32::try_from(OFFSET).unwrap().to_le_bytes());
        image[12..16].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        image[24..29].copy_from_slice(b"gzip\0");
        image.extend(&packed);
        fs::write(&file, &image).unwrap();
        assert_eq!(read(&file, "kernel").unwrap(), b"a kernel");
        image[24..29].copy_from_slice(b"zstd\0");
        fs::write(&file, &image).unwrap();
        assert_eq!(read(&file, "kernel").unwrap(), image, "the plan refuses it by name");
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
