// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keeps erratum 835769 of Cortex-A53 out of a linked image: each multiply-accumulate that follows an access to memory
//! moves into a veneer, as GNU ld's `--fix-cortex-a53-835769` does. The toolchain's linker has no such option,
//! the compiler's feature is unstable, and the prebuilt `core` was compiled without it.

use super::is_835769;
use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use std::ops::Range;

/// The room that the linker script leaves.
const START: &str = "__veneers_start";
const END: &str = "__veneers_end";

/// The executable code of an ELF file: addresses of instructions, without the data among them.
///
/// # Errors
/// When the file cannot be read.
pub fn code(elf: &[u8]) -> Result<Vec<Range<u64>>> {
    let file = ElfFile64::<Endianness>::parse(elf)?;
    let section = file.section_by_name(".text").context("the program has no section .text")?;
    let (start, end) = (section.address(), section.address() + section.size());
    // Mapping symbols (Arm, ELF for the Arm 64-bit Architecture, 5.5.4): $x begins code, $d data.
    let mut marks: Vec<(u64, bool)> = file
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()))
        .filter_map(|symbol| {
            let name = symbol.name().ok()?;
            (name.starts_with("$x") || name.starts_with("$d"))
                .then(|| (symbol.address(), name.starts_with("$x")))
        })
        .collect();
    marks.sort_unstable();
    ensure!(marks.iter().any(|(_, code)| *code), "the program has no mapping symbols ($x): was it stripped?");
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([end]);
    Ok(marks
        .iter()
        .zip(ends)
        .filter(|((_, code), _)| *code)
        .map(|((at, _), to)| (*at).max(start)..to)
        .collect())
}

/// Moves what follows an access to memory and accumulates into veneers. A program without room for them
/// stays as it is.
///
/// # Errors
/// When the room does not suffice: the linker script (`hyp/el2/image.ld`) must leave more.
pub fn insert(elf: &[u8], image: &mut [u8]) -> Result<usize> {
    let Ok(file) = ElfFile64::<Endianness>::parse(elf) else { return Ok(0) };
    let place = |name| file.symbol_by_name(name).map(|symbol| symbol.address());
    let (Some(start), Some(end)) = (place(START), place(END)) else { return Ok(0) };
    let code: Vec<Range<u64>> = code(elf)?
        .into_iter()
        .map(|range| range.start..if range.contains(&start) { start } else { range.end })
        .collect();
    fill(image, &code, start..end)
}

/// The same, with all addresses as offsets into the image, which is linked at 0.
fn fill(image: &mut [u8], code: &[Range<u64>], room: Range<u64>) -> Result<usize> {
    let mut next = room.start;
    for range in code {
        for at in (range.start..range.end.saturating_sub(4)).step_by(4) {
            let (first, second) = (word(image, at)?, word(image, at + 4)?);
            if !is_835769(first, second) {
                continue;
            }
            ensure!(
                next + 8 <= room.end,
                "the room for the veneers of erratum 835769 is too small ({room:x?})"
            );
            put(image, next, second)?;
            put(image, next + 4, branch(next + 4, at + 8))?;
            put(image, at + 4, branch(at + 4, next))?;
            next += 8;
        }
    }
    Ok(usize::try_from((next - room.start) / 8)?)
}

/// B from one address to another (Arm ARM, C6.2: 26 bits of words; no image of ours is as large).
fn branch(from: u64, to: u64) -> u32 {
    0x1400_0000 | (to.wrapping_sub(from) >> 2) as u32 & 0x03ff_ffff
}

/// The instruction at an offset.
///
/// # Errors
/// When it lies outside the image.
pub fn word(image: &[u8], at: u64) -> Result<u32> {
    let at = usize::try_from(at)?;
    let bytes = image.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    Ok(u32::from_le_bytes(bytes.with_context(|| format!("code outside the image, at {at:#x}"))?))
}

fn put(image: &mut [u8], at: u64, word: u32) -> Result<()> {
    let at = usize::try_from(at)?;
    let bytes = image.get_mut(at..at + 4).with_context(|| format!("code outside the image, at {at:#x}"))?;
    bytes.copy_from_slice(&word.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LDR: u32 = 0xf940_0041; // ldr x1, [x2]
    const MADD: u32 = 0x9b05_1880; // madd x0, x4, x5, x6
    const RET: u32 = 0xd65f_03c0;

    fn image(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn an_accumulation_moves_into_a_veneer_and_comes_back() {
        let mut bytes = image(&[LDR, MADD, MADD, RET, 0, 0, 0, 0]);
        let code = std::slice::from_ref(&(0..16));
        assert_eq!(fill(&mut bytes, code, 16..32).unwrap(), 1);
        // b 0x10; b 0x8.
        assert_eq!(bytes, image(&[LDR, 0x1400_0003, MADD, RET, MADD, 0x17ff_fffd, 0, 0]));
        assert_eq!(fill(&mut bytes, code, 24..32).unwrap(), 0, "nothing is left");
    }

    #[test]
    fn room_that_does_not_suffice_is_an_error() {
        let mut bytes = image(&[LDR, MADD, LDR, MADD, RET, 0, 0]);
        let code = std::slice::from_ref(&(0..20));
        assert!(fill(&mut bytes, code, 20..28).unwrap_err().to_string().contains("too small"));
    }
}
