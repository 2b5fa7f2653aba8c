// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the hypervisor's instructions of an operation are: by function, as the source has it, inlined or not.

use super::trace::Window;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use addr2line::{Context as Lines, demangle_auto};
use anyhow::{Context, Result};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader, Sym};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A path longer than this is read for what takes the most, not for its course.
const SHORT: usize = 2000;

type Slice<'e> = EndianSlice<'e, LittleEndian>;

/// The functions of an executable.
pub struct Symbols<'e> {
    lines: Lines<Slice<'e>>,
    /// Address and name of every symbol, ascending: for assembly, which has no debug information.
    names: Vec<(u64, String)>,
}

impl<'e> Symbols<'e> {
    /// Of an ELF file with debug information.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read(elf: &'e [u8]) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(elf).context("not an ELF file of 64 bits")?;
        let endian = header.endian()?;
        let sections = header.sections(endian, elf)?;
        let load = |id: SectionId| -> Result<Slice<'e>> {
            let section = sections.section_by_name(endian, id.name().as_bytes());
            let bytes =
                section.map(|(_, section)| section.data(endian, elf)).transpose()?.unwrap_or_default();
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        let symbols = sections.symbols(endian, elf, object::elf::SHT_SYMTAB)?;
        let mut names: Vec<_> = symbols
            .iter()
            .filter(|symbol| symbol.st_shndx(endian) != object::elf::SHN_UNDEF)
            .filter_map(|symbol| {
                let name = symbol.name(endian, symbols.strings()).ok()?;
                let name = String::from_utf8_lossy(name).into_owned();
                (!name.is_empty() && !name.starts_with('$')).then(|| (symbol.st_value(endian), name))
            })
            .collect();
        names.sort();
        Ok(Self { lines: Lines::from_dwarf(Dwarf::load(load)?)?, names })
    }

    /// The function whose code the address is in, and the one that the source has there, if it was inlined.
    fn function(&self, address: u64) -> Place {
        let mut frames = Vec::new();
        if let Ok(mut found) = self.lines.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = found.next() {
                let name = frame.function.and_then(|name| Some(short(&name.demangle().ok()?)));
                frames.extend(name);
            }
        }
        let outer = frames.pop().unwrap_or_else(|| self.symbol(address));
        let inlined = if frames.is_empty() { None } else { Some(frames.swap_remove(0)) };
        Place { outer, inlined }
    }

    fn symbol(&self, address: u64) -> String {
        let next = self.names.partition_point(|(start, _)| *start <= address);
        let found = next.checked_sub(1).and_then(|index| self.names.get(index));
        let name = found.map(|(_, name)| short(&demangle_auto(name.into(), None)));
        name.unwrap_or_else(|| format!("{address:#x}"))
    }

    /// One line a function with its instructions, and below it what is inlined in it. In the order in which
    /// the path meets them; what is longer than [`SHORT`] has the most first.
    #[must_use]
    pub fn list(&self, window: &Window) -> String {
        let mut known: BTreeMap<u64, Place> = BTreeMap::new();
        for address in &window.instructions {
            known.entry(*address).or_insert_with(|| self.function(*address));
        }
        let mut functions: BTreeMap<&str, Function<'_>> = BTreeMap::new();
        for (index, place) in window.instructions.iter().filter_map(|address| known.get(address)).enumerate()
        {
            let function = functions
                .entry(&place.outer)
                .or_insert_with(|| Function { first: index, ..Function::default() });
            function.count += 1;
            if let Some(inlined) = &place.inlined {
                *function.inlined.entry(inlined).or_default() += 1;
            }
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        let is_long = window.instructions.len() > SHORT;
        functions.sort_by_key(|(_, function)| {
            if is_long { Reverse(function.count) } else { Reverse(usize::MAX - function.first) }
        });
        let mut text = String::new();
        for (name, function) in functions {
            let _ = writeln!(text, "{:8}  {name}", function.count);
            let mut inlined: Vec<_> = function.inlined.into_iter().collect();
            inlined.sort_by_key(|(_, count)| Reverse(*count));
            for (name, count) in inlined {
                let _ = writeln!(text, "{:8}  {count:7}  {name}", "");
            }
        }
        text
    }
}

/// Where an instruction is.
struct Place {
    outer: String,
    inlined: Option<String>,
}

/// A function on a path.
#[derive(Default)]
struct Function<'p> {
    /// The number of its first instruction on the path.
    first: usize,
    /// Its instructions, with those of what is inlined in it.
    count: usize,
    inlined: BTreeMap<&'p str, usize>,
}

/// Without the hash, and without the names of our own crates.
fn short(name: &str) -> String {
    let hashed = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16);
    let name = hashed.map_or(name, |(name, _)| name);
    name.replace("bulkhead_", "")
}
