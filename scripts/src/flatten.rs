// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ELF executable's loadable segments as one flat image, the form in which firmware loads a kernel.

use crate::errata::veneers;
use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use std::fmt;

type Header = FileHeader64<Endianness>;

/// No image of ours is near this size; a larger one has a segment at a stray address.
const LARGEST: u64 = 256 << 20;

/// A flat image and what it is made of.
#[derive(Debug)]
pub struct Flat {
    /// The bytes from the lowest physical address of a segment to the end of the last one that has
    /// bytes in the file; gaps are zero.
    pub bytes: Vec<u8>,
    /// What the sections take.
    pub sizes: Sizes,
}

/// Bytes by kind of section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Instructions.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Initialised data.
    pub data: u64,
    /// Data that starts as zero and takes no room in the file.
    pub bss: u64,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, rodata, data, bss } = self;
        write!(f, "text {text} rodata {rodata} data {data} bss {bss}")
    }
}

/// Flattens a 64-bit little-endian ELF executable.
///
/// # Errors
/// When `elf` is no such file, is cut short, or its segments overlap or lie too far apart.
pub fn flatten(elf: &[u8]) -> Result<Flat> {
    let header = Header::parse(elf).context("not an ELF file of 64 bits")?;
    let endian = header.endian()?;
    ensure!(endian == Endianness::Little, "the ELF file is big-endian");
    let mut bytes = segments(header, endian, elf)?;
    veneers::insert(elf, &mut bytes)?;
    Ok(Flat { bytes, sizes: sizes(header, endian, elf)? })
}

fn segments(header: &Header, endian: Endianness, elf: &[u8]) -> Result<Vec<u8>> {
    let mut pieces = Vec::new();
    for segment in header.program_headers(endian, elf)? {
        if segment.p_type(endian) == PT_LOAD && segment.p_filesz(endian) > 0 {
            let bytes = segment.data(endian, elf).ok().context("a segment lies outside the file")?;
            pieces.push((segment.p_paddr(endian), bytes));
        }
    }
    pieces.sort_by_key(|(address, _)| *address);
    let Some((base, _)) = pieces.first().copied() else { bail!("nothing in it is to be loaded") };
    let mut image = Vec::new();
    for (address, bytes) in pieces {
        let offset = address - base;
        ensure!(offset < LARGEST, "a segment at {address:#x} lies {offset:#x} bytes after the first");
        let offset = usize::try_from(offset)?;
        ensure!(offset >= image.len(), "the segment at {address:#x} overlaps the one before it");
        image.resize(offset, 0);
        image.extend_from_slice(bytes);
    }
    Ok(image)
}

fn sizes(header: &Header, endian: Endianness, elf: &[u8]) -> Result<Sizes> {
    let mut sizes = Sizes::default();
    for section in header.sections(endian, elf)?.iter() {
        let flags = section.sh_flags(endian);
        let has = |flag| flags & flag == flag;
        let kind = match () {
            () if !has(SHF_ALLOC) => continue,
            () if section.sh_type(endian) == SHT_NOBITS => &mut sizes.bss,
            () if has(SHF_EXECINSTR) => &mut sizes.text,
            () if has(SHF_WRITE) => &mut sizes.data,
            () => &mut sizes.rodata,
        };
        *kind += section.sh_size(endian);
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minimal executable with the given segments: address, bytes in the file, size in memory.
    fn executable(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&[2, 0, 183, 0, 1, 0, 0, 0]); // EXEC, AArch64, version 1
        for word in [0u64, 64, 0] {
            file.extend_from_slice(&word.to_le_bytes()); // entry, program headers, section headers
        }
        file.extend_from_slice(&0u32.to_le_bytes());
        for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, bytes, in_memory) in segments {
            file.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
            let virtual_address = address + 0xffff_0000_0000_0000;
            for word in [offset, virtual_address, *address, bytes.len() as u64, *in_memory, 8] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            offset += bytes.len() as u64;
        }
        for (_, bytes, _) in segments {
            file.extend_from_slice(bytes);
        }
        file
    }

    #[test]
    fn gaps_are_zero_and_bss_is_left_out() {
        let elf = executable(&[(0x4008, b"data", 0x1000), (0x4000, b"text", 4)]);
        assert_eq!(flatten(&elf).unwrap().bytes, b"text\0\0\0\0data");
    }

    #[test]
    fn a_segment_of_bss_alone_adds_nothing() {
        let elf = executable(&[(0x1000, b"x", 1), (0x0, b"", 0x1000)]);
        assert_eq!(flatten(&elf).unwrap().bytes, b"x");
    }

    #[test]
    fn what_cannot_be_flattened_is_refused() {
        let refused = |elf: &[u8]| flatten(elf).unwrap_err().to_string();
        assert!(refused(b"MZ").contains("not an ELF file"));
        assert!(refused(&executable(&[])).contains("nothing in it"));
        assert!(refused(&executable(&[(0, b"abcd", 4), (2, b"x", 1)])).contains("overlaps"));
        assert!(refused(&executable(&[(0, b"a", 1), (1 << 40, b"x", 1)])).contains("bytes after the first"));
        let mut short = executable(&[(0, b"abcd", 4)]);
        short.truncate(short.len() - 1);
        assert!(refused(&short).contains("outside the file"));
    }
}
