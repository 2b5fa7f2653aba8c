// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a kernel image is, told from its content, and where it wants to lie.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::container;
use bulkhead_types::{Ipa, align_up};

/// Kernels are placed relative to a multiple of this (Linux's Documentation/arch/arm64/booting.rst).
const KERNEL_ALIGN: u64 = 2 << 20;
/// What a Linux of before 3.17, which leaves its size out, is offset by (booting.rst).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// The kinds of image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An arm64 `Image`, with the header of Linux.
    Linux,
    /// An ELF executable for AArch64.
    Elf,
    /// Anything else: bytes to be entered at their start.
    Raw,
}

/// A part of an image, and where it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it goes.
    pub to: Ipa,
    /// Its bytes, counted from the start of the image.
    pub bytes: Range<usize>,
    /// The memory that it takes there; what its bytes do not fill is zero.
    pub size: u64,
}

impl Segment {
    /// The memory behind its bytes, if it has any.
    pub(crate) fn zeros(&self) -> Option<bulkhead_types::Range<Ipa>> {
        let bytes = self.bytes.len() as u64;
        let size = self.size.checked_sub(bytes).filter(|size| *size > 0)?;
        bulkhead_types::Range::<Ipa>::new(self.to.checked_add(bytes)?, size)
    }
}

/// An image with every address known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// What it is.
    pub kind: Kind,
    /// Its parts, none empty.
    pub segments: Vec<Segment>,
    /// Where it is entered.
    pub entry: Ipa,
}

/// Where the configuration wants an image, and where memory starts.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// `load-address`.
    pub load_address: Option<Ipa>,
    /// `entry`.
    pub entry: Option<Ipa>,
    /// The start of the partition's first memory range.
    pub memory: Ipa,
}

/// Finds out what an image is, and where it goes. An error is the rule that it breaks, and advice.
///
/// # Errors
/// An image that cannot be used as a kernel, or not at the address that is wished for.
pub fn place(image: &[u8], wishes: &Wishes) -> Result<Placed, (String, Option<&'static str>)> {
    if image.is_empty() {
        return Err(("the image is empty".into(), None));
    }
    if image.get(56..60) == Some(b"ARM\x64") {
        linux(image, wishes)
    } else if image.starts_with(b"\x7fELF") {
        elf(image, wishes)
    } else if let Some(refusal) = container::refuse(image) {
        Err(refusal)
    } else {
        raw(image, wishes)
    }
}

fn raw(image: &[u8], wishes: &Wishes) -> Result<Placed, (String, Option<&'static str>)> {
    let to = wishes.load_address.unwrap_or(wishes.memory);
    let segment = Segment { to, bytes: 0..image.len(), size: image.len() as u64 };
    Ok(Placed { kind: Kind::Raw, segments: alloc::vec![segment], entry: wishes.entry.unwrap_or(to) })
}

/// The header is described in booting.rst, section "Call the kernel image".
fn linux(image: &[u8], wishes: &Wishes) -> Result<Placed, (String, Option<&'static str>)> {
    let field = |at: usize| little_endian(image, at, 8).unwrap_or(0);
    let (text_offset, image_size, flags) = (field(8), field(16), field(24));
    if flags & 1 != 0 {
        return Err(("the kernel is big-endian".into(), Some("Build it for little-endian")));
    }
    let (text_offset, size) = match image_size {
        0 => (OLD_TEXT_OFFSET, image.len() as u64),
        size => (text_offset, size.max(image.len() as u64)),
    };
    let too_high = || (String::from("the kernel's place leaves the address space"), None);
    let base = align_up(wishes.memory.0, KERNEL_ALIGN).ok_or_else(too_high)?;
    let to = match wishes.load_address {
        None => base.checked_add(text_offset).map(Ipa).ok_or_else(too_high)?,
        Some(wish) if wish.0.wrapping_sub(text_offset) % KERNEL_ALIGN == 0 => wish,
        Some(_) => {
            return Err((
                format!(
                    "an arm64 Image must lie at a multiple of 2 MiB plus its text offset, {text_offset:#x}"
                ),
                Some("Leave load-address out: the place follows from the image"),
            ));
        }
    };
    let segment = Segment { to, bytes: 0..image.len(), size };
    Ok(Placed { kind: Kind::Linux, segments: alloc::vec![segment], entry: wishes.entry.unwrap_or(to) })
}

const ELF_64: u8 = 2;
const ELF_LITTLE_ENDIAN: u8 = 1;
const ELF_AARCH64: u64 = 183;
const SEGMENT_LOAD: u64 = 1;
const PROGRAM_HEADER_SIZE: u64 = 56;
/// More parts than any real executable has.
const MAX_SEGMENTS: u64 = 64;

/// The loadable segments, at their physical addresses (ELF-64 object file format, 1.5, figures 2 and 7).
fn elf(image: &[u8], wishes: &Wishes) -> Result<Placed, (String, Option<&'static str>)> {
    let damaged = || (String::from("the ELF file is damaged or cut short"), None);
    if image.get(4..6) != Some(&[ELF_64, ELF_LITTLE_ENDIAN])
        || little_endian(image, 18, 2) != Some(ELF_AARCH64)
    {
        return Err(("the ELF file is not for 64-bit little-endian Arm".into(), None));
    }
    if wishes.load_address.is_some() {
        return Err((
            "an ELF file says itself where it goes".into(),
            Some("Leave load-address out, or make it a raw binary with objcopy -O binary"),
        ));
    }
    let entry = little_endian(image, 24, 8).ok_or_else(damaged)?;
    let table = little_endian(image, 32, 8).ok_or_else(damaged)?;
    let count = little_endian(image, 56, 2).ok_or_else(damaged)?;
    if count > MAX_SEGMENTS || little_endian(image, 54, 2) != Some(PROGRAM_HEADER_SIZE) {
        return Err(damaged());
    }
    let mut segments = Vec::with_capacity(count as usize);
    let mut entry_at = None;
    for number in 0..count {
        let header = number.checked_mul(PROGRAM_HEADER_SIZE).and_then(|offset| offset.checked_add(table));
        let header = header.and_then(|at| usize::try_from(at).ok()).ok_or_else(damaged)?;
        let header = image.get(header..).ok_or_else(damaged)?;
        let field = |at, size| little_endian(header, at, size).ok_or_else(damaged);
        let (offset, address, physical) = (field(8, 8)?, field(16, 8)?, field(24, 8)?);
        let (in_file, size) = (field(32, 8)?, field(40, 8)?);
        if field(0, 4)? != SEGMENT_LOAD || size == 0 {
            continue;
        }
        let end = offset.checked_add(in_file).filter(|end| *end <= image.len() as u64 && in_file <= size);
        let end = end.ok_or_else(damaged)?;
        // The entry is a virtual address; memory is entered with translation off.
        if entry_at.is_none() && entry.wrapping_sub(address) < size {
            entry_at = physical.checked_add(entry.wrapping_sub(address));
        }
        segments.push(Segment { to: Ipa(physical), bytes: offset as usize..end as usize, size });
    }
    if segments.is_empty() {
        return Err(("the ELF file has nothing to load".into(), None));
    }
    Ok(Placed { kind: Kind::Elf, segments, entry: wishes.entry.unwrap_or(Ipa(entry_at.unwrap_or(entry))) })
}

fn little_endian(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..)?.get(..size)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const WISHES: Wishes = Wishes { load_address: None, entry: None, memory: Ipa(0x4000_1000) };

    fn linux_image(text_offset: u64, image_size: u64) -> Vec<u8> {
        let mut image = vec![0; 128];
        image[8..16].copy_from_slice(&text_offset.to_le_bytes());
        image[16..24].copy_from_slice(&image_size.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    fn elf_image() -> Vec<u8> {
        let mut image = vec![0; 64 + 56 + 8];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[18..20].copy_from_slice(&183u16.to_le_bytes());
        image[24..32].copy_from_slice(&0xffff_0000_0000_0004u64.to_le_bytes());
        image[32..40].copy_from_slice(&64u64.to_le_bytes());
        image[54..56].copy_from_slice(&56u16.to_le_bytes());
        image[56..58].copy_from_slice(&1u16.to_le_bytes());
        let header = &mut image[64..];
        header[..4].copy_from_slice(&1u32.to_le_bytes());
        header[8..16].copy_from_slice(&120u64.to_le_bytes());
        header[16..24].copy_from_slice(&0xffff_0000_0000_0000u64.to_le_bytes());
        header[24..32].copy_from_slice(&0x4020_0000u64.to_le_bytes());
        header[32..40].copy_from_slice(&8u64.to_le_bytes());
        header[40..48].copy_from_slice(&0x3000u64.to_le_bytes());
        image
    }

    #[test]
    fn an_arm64_image_goes_to_the_next_2_mib_and_its_offset() {
        let placed = place(&linux_image(0x8_0000, 0x20_0000), &WISHES).unwrap();
        assert_eq!(placed.kind, Kind::Linux);
        assert_eq!(placed.entry, Ipa(0x4028_0000));
        assert_eq!(placed.segments, [Segment { to: Ipa(0x4028_0000), bytes: 0..128, size: 0x20_0000 }]);
    }

    #[test]
    fn a_misplaced_or_big_endian_image_is_refused() {
        let wishes = Wishes { load_address: Some(Ipa(0x4010_0000)), ..WISHES };
        assert!(place(&linux_image(0, 0x1000), &wishes).is_err());
        let mut image = linux_image(0, 0x1000);
        image[24] = 1;
        assert!(place(&image, &WISHES).unwrap_err().0.contains("big-endian"));
    }

    #[test]
    fn an_elf_file_is_entered_at_the_physical_address() {
        let placed = place(&elf_image(), &WISHES).unwrap();
        assert_eq!(placed.entry, Ipa(0x4020_0004));
        assert_eq!(placed.segments, [Segment { to: Ipa(0x4020_0000), bytes: 120..128, size: 0x3000 }]);
        let bss = bulkhead_types::Range::<Ipa>::new(Ipa(0x4020_0008), 0x2ff8);
        assert_eq!(placed.segments[0].zeros(), bss);
    }

    #[test]
    fn no_cut_of_an_elf_file_is_accepted() {
        let image = elf_image();
        for size in 5..image.len() {
            assert!(place(&image[..size], &WISHES).is_err(), "{size}");
        }
    }

    #[test]
    fn raw_bytes_go_to_the_start_of_memory() {
        let placed = place(b"\x14raw", &WISHES).unwrap();
        assert_eq!((placed.kind, placed.entry), (Kind::Raw, Ipa(0x4000_1000)));
        assert_eq!(placed.segments[0].zeros(), None);
    }

    #[test]
    fn a_gzipped_image_is_refused_with_advice() {
        let (rule, advice) = place(&[0x1f, 0x8b, 8], &WISHES).unwrap_err();
        assert!(rule.contains("compressed with gzip") && advice.unwrap().contains("gunzip"));
    }
}
