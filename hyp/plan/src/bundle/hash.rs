// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hashes of a FIT image's images: `hash` nodes with `algo` and `value`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::Digest;

use crate::error::Problem;
use crate::tree::Node;

/// Continues the CRC-32 of IEEE 802.3 (as zlib's `crc32`) of earlier bytes, 0 for none, over more bytes.
pub type Crc32 = fn(u32, &[u8]) -> u32;

/// CRC-32 of each byte: IEEE 802.3's polynomial, bits reversed.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut left: &mut [u32] = &mut table;
    while let Some((entry, rest)) = left.split_first_mut() {
        let mut crc: u32 = byte;
        let mut bit = 0;
        while bit < u8::BITS {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
            bit += 1;
        }
        *entry = crc;
        byte += 1;
        left = rest;
    }
    table
};

/// [`Crc32`] in software, for CPUs without instructions for it.
#[must_use]
pub fn software_crc32(earlier: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!earlier, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ TABLE.get(usize::from(low ^ byte)).copied().unwrap_or(0)
    })
}

/// The hashes that are known, by their name in a FIT image.
const ALGORITHMS: &str = "crc32, sha256 and sha1";

/// Computes a hash by its name; `None` if it is not known.
#[must_use]
pub fn compute(algorithm: &str, data: &[u8], crc32: Crc32) -> Option<Vec<u8>> {
    Some(match algorithm {
        "crc32" => crc32(0, data).to_be_bytes().to_vec(),
        "sha256" => sha2::Sha256::digest(data).to_vec(),
        "sha1" => sha1::Sha1::digest(data).to_vec(),
        _ => return None,
    })
}

/// Checks every hash of an image; there must be one.
pub(super) fn check(image: Node<'_, '_>, data: &[u8], crc32: Crc32) -> Result<(), Problem> {
    let hashes =
        || image.children().filter(|node| matches!(node.base_name().trim_end_matches(numbering), "hash"));
    if hashes().next().is_none() {
        return Err(Problem::new(at(image), "an image that is used needs a hash")
            .advice("Add a node hash-1 { algo = \"crc32\"; }; before packing"));
    }
    for hash in hashes() {
        let algorithm = hash.string("algo").unwrap_or_default();
        let found = compute(algorithm, data, crc32).ok_or_else(|| {
            Problem::new(at(hash), "this hash is not known")
                .property("algo")
                .value(format!("\"{algorithm}\""))
                .advice(format!("Known are {ALGORITHMS}"))
        })?;
        let expected = hash.property("value").unwrap_or(&[]);
        if found != expected {
            return Err(Problem::new(
                at(hash),
                format!("the {algorithm} of the data is {}, so the bundle is damaged", hex(&found)),
            )
            .property("value")
            .value(hex(expected))
            .advice("Copy or pack it again"));
        }
    }
    Ok(())
}

/// What tells several hashes of one image apart: `hash-1`, `hash@1`, `hash1`.
fn numbering(character: char) -> bool {
    character == '-' || character.is_ascii_digit()
}

fn at(node: Node<'_, '_>) -> String {
    format!("bundle, {}", node.path())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_the_standard_ones() {
        assert_eq!(software_crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(software_crc32(software_crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
        let hash = |algorithm| hex(&compute(algorithm, b"abc", software_crc32).expect("a known hash"));
        assert_eq!(hash("sha1"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hash("sha256"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(compute("md5", b"abc", software_crc32), None);
    }
}
