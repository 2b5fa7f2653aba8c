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

/// Reads the image that `property` of a partition names: a kernel that is compressed with gzip is unpacked, a
/// device tree in source form is compiled. A compressed ramdisk is the kernel's own affair.
///
/// # Errors
/// When the file cannot be read, unpacked or compiled.
pub fn read(file: &Path, property: &str) -> Result<Vec<u8>> {
    let is_source = file.extension().is_some_and(|extension| extension == "dts" || extension == "dtso");
    if property == "device-tree" && is_source {
        return Ok(config::compile(file)?.blob);
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if property != "kernel" || !bytes.starts_with(GZIP) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes.as_slice())
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
    fn a_device_tree_is_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("board.dts");
        fs::write(&file, "/dts-v1/; / { model = \"mine\"; };").unwrap();
        let blob = read(&file, "device-tree").unwrap();
        assert!(blob.starts_with(&0xd00d_feed_u32.to_be_bytes()));
    }
}
