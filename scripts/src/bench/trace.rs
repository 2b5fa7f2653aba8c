// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The second witness: every instruction that QEMU executed (`-d exec` with one instruction a block), every
//! exception (`-d int`) and every access to a device, in one log.
//!
//! Hints in the guest's text, NOPs to any CPU, tell where a measured stretch begins and ends (guests/bench/src/count.rs).

use super::classes::{self, Classes};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// HINT #96, #97 and #98 (Arm ARM, C6.2, HINT).
const BEGIN: u32 = hint(96);
const END: u32 = hint(97);
const NEXT: u32 = hint(98);

const fn hint(number: u32) -> u32 {
    0xd503_201f | (number << 5)
}

/// What the stretch before the guest's first instruction is called.
pub const BOOT: &str = "boot";

/// How much memory belongs to the guest.
const GUEST_SIZE: u64 = 0x100_0000;

/// The images, to look up what is executed.
#[derive(Clone, Debug)]
pub struct Images {
    /// The hypervisor, flat.
    pub hypervisor: Vec<u8>,
    /// The bench guest, flat.
    pub guest: Vec<u8>,
    /// Where the guest lies.
    pub guest_base: u64,
}

/// One measured stretch.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Exceptions taken to EL2.
    pub exits: usize,
    /// The hypervisor's instructions in order, as offsets in its image.
    pub instructions: Vec<u64>,
    /// Those that cost more than others.
    pub classes: Classes,
    /// Accesses of the hypervisor to devices.
    pub devices: usize,
}

/// What a trace tells.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The boot, and each operation's last measurement, with an exit if any has one.
    pub windows: Vec<(String, Window)>,
    /// The instructions of each exit since the first guest began, by its reason.
    pub exits: BTreeMap<String, Vec<usize>>,
}

/// Reads a log. `names` are the operations in their order.
///
/// # Errors
/// When it cannot be read, or is no such log.
pub fn read(path: &Path, images: &Images, names: &[String]) -> Result<Trace> {
    let file = File::open(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    let mut reader = Reader::new(images, names);
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        reader.line(line.trim_end());
        line.clear();
    }
    ensure!(reader.trace.windows.len() > 1, "the trace shows nothing of the bench guest");
    Ok(reader.trace)
}

/// The instructions between the end of the first line on the console and the next line's first byte: with the
/// hypervisor's first word behind it and the board's description to come, all of it is planning.
///
/// # Errors
/// When it cannot be read, or there are no two lines on the console.
pub fn planning(path: &Path) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    let (mut lines, mut line) = (BufReader::with_capacity(1 << 20, file), String::new());
    let (mut instructions, mut line_has_ended) = (0, false);
    while lines.read_line(&mut line)? > 0 {
        if line.starts_with("Trace ") {
            instructions += u64::from(line_has_ended);
        } else if line.contains(" addr 0x9000000 value ") && line.starts_with("memory_region_ops_write") {
            if line_has_ended {
                return Ok(instructions);
            }
            line_has_ended = line.contains(" value 0xa ");
        }
        line.clear();
    }
    bail!("the trace shows no two lines on the console")
}

struct Reader<'a> {
    images: &'a Images,
    names: &'a [String],
    /// Where the hypervisor runs: first where it was loaded, at the first instruction behind QEMU's own loader.
    hypervisor: Option<u64>,
    cpu: usize,
    /// Each CPU's exit that is going on: its reason, and its instructions so far.
    exit: Vec<Option<(String, usize)>>,
    operations: usize,
    /// The stretch that is going on: at first, the boot.
    window: Option<Window>,
    trace: Trace,
}

impl<'a> Reader<'a> {
    fn new(images: &'a Images, names: &'a [String]) -> Self {
        Self {
            images,
            names,
            hypervisor: None,
            cpu: 0,
            exit: Vec::new(),
            operations: 0,
            window: Some(Window::default()),
            trace: Trace::default(),
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Trace ") {
            if let Some((cpu, pc)) = executed(rest) {
                self.cpu = cpu;
                self.instruction(pc);
            }
        } else if let Some(rest) = line.strip_prefix("Taking exception ") {
            self.cpu = rest.rsplit(' ').next().and_then(|cpu| cpu.parse().ok()).unwrap_or(self.cpu);
            let reason = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            *self.exit() = reason.map(|(reason, _)| (reason.to_owned(), 0));
        } else if let Some(rest) = line.strip_prefix("...with ESR 0x") {
            // QEMU names some exceptions by how it came to them; the class is what EL2 sees.
            let class = rest.split('/').next().and_then(|class| u8::from_str_radix(class, 16).ok());
            if let (Some((reason, 0)), Some(name)) = (self.exit(), class.and_then(class_name))
                && reason != "IRQ"
            {
                *reason = name.to_owned();
            }
        } else if line.starts_with("...from EL") {
            if line != "...from EL1 to EL2" && line != "...from EL0 to EL2" {
                *self.exit() = None;
            } else if let Some(window) = &mut self.window {
                window.exits += 1;
            }
        } else if line.starts_with("Exception return from AArch64 EL2") {
            if let Some((reason, length)) = self.exit().take() {
                self.trace.exits.entry(reason).or_default().push(length);
            }
        } else if line.starts_with("memory_region_ops")
            && (self.exit().is_some() || self.trace.windows.is_empty())
            && let Some(window) = &mut self.window
        {
            window.devices += 1;
        }
    }

    /// The exit of the CPU that runs.
    fn exit(&mut self) -> &mut Option<(String, usize)> {
        if self.exit.len() <= self.cpu {
            self.exit.resize(self.cpu + 1, None);
        }
        &mut self.exit[self.cpu]
    }

    fn instruction(&mut self, pc: u64) {
        let guest = self.images.guest_base;
        if (guest..guest + GUEST_SIZE).contains(&pc) {
            self.of_guest(pc - guest);
            return;
        }
        let Some(base) = self.base(pc) else { return };
        let offset = pc.wrapping_sub(base);
        if let Some((_, length)) = self.exit() {
            *length += 1;
        }
        if let Some(window) = &mut self.window {
            window.instructions.push(offset);
            window.classes +=
                word(&self.images.hypervisor, offset).map_or_else(Classes::default, classes::of);
        }
    }

    /// QEMU's loader is a few instructions at the start of memory; the hypervisor follows it at its text offset. Then
    /// it moves, and the copy is entered in its first page.
    fn base(&mut self, pc: u64) -> Option<u64> {
        let size = self.images.hypervisor.len() as u64;
        match self.hypervisor {
            None if pc & 0xf_ffff_f000 != 0x4000_0000 => self.hypervisor = Some(pc),
            Some(base) if self.trace.windows.is_empty() && !(base..base + size).contains(&pc) => {
                self.hypervisor = Some(pc & !0xfff);
            }
            _ => {}
        }
        self.hypervisor
    }

    fn of_guest(&mut self, offset: u64) {
        if self.trace.windows.is_empty() {
            let boot = self.window.take().unwrap_or_default();
            self.trace.windows.push((BOOT.to_owned(), boot));
        }
        match word(&self.images.guest, offset) {
            Some(NEXT) => {
                self.operations += 1;
                self.window = None;
            }
            Some(BEGIN) => self.window = Some(Window::default()),
            Some(END) => {
                let name = self.operations.checked_sub(1).and_then(|index| self.names.get(index));
                let (Some(window), Some(name)) = (self.window.take(), name) else { return };
                match self.trace.windows.last_mut() {
                    // A sample may have a second stretch that only cleans up behind it.
                    Some((last, place)) if last == name => {
                        if window.exits > 0 {
                            *place = window;
                        }
                    }
                    _ => self.trace.windows.push((name.clone(), window)),
                }
            }
            _ => {}
        }
    }
}

/// The names of the exception classes that guests cause (Arm ARM, D24.2, ESR_EL2.EC).
pub fn class_name(class: u8) -> Option<&'static str> {
    match class {
        0x01 => Some("WFI or WFE"),
        0x07 => Some("FP access"),
        0x16 => Some("HVC"),
        0x17 => Some("SMC"),
        0x18 => Some("system register"),
        0x20 => Some("instruction abort"),
        0x24 => Some("data abort"),
        _ => None,
    }
}

/// CPU and program counter of a line `CPU: HOST [BASE/PC/FLAGS/...]`.
fn executed(rest: &str) -> Option<(usize, u64)> {
    let (cpu, rest) = rest.split_once(':')?;
    let (_, place) = rest.split_once('[')?;
    let pc = place.split('/').nth(1)?;
    Some((cpu.parse().ok()?, u64::from_str_radix(pc, 16).ok()?))
}

fn word(image: &[u8], offset: u64) -> Option<u32> {
    let start = usize::try_from(offset).ok()?;
    let bytes = image.get(start..start.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_the_hints_is_counted() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let nop = 0xd503_201f;
        let images = Images {
            hypervisor: words(&[nop, 0xd503_3fdf, 0xd53c_5200]),
            guest: words(&[NEXT, BEGIN, nop, END]),
            guest_base: 0x5000_0000,
        };
        let names = ["one".to_owned()];
        let mut reader = Reader::new(&images, &names);
        let run = |pc: u64| format!("Trace 0: 0x7f00 [00000000/{pc:016x}/00000461/ff000000] ");
        let log = [
            run(0x4000_0000),
            run(0x4020_0000),
            // It has moved.
            run(0xbfff_0008),
            run(0x5000_0000),
            run(0x5000_0004),
            run(0x5000_0008),
            "Taking exception 11 [Hypervisor Call] on CPU 0".into(),
            "...from EL1 to EL2".into(),
            "...with ESR 0x16/0x5a000000".into(),
            run(0xbfff_0004),
            "memory_region_ops_read cpu 0 mr 0x1 addr 0x8000004 value 0x1 size 4 name 'gic'".into(),
            run(0xbfff_0008),
            "Exception return from AArch64 EL2 to AArch64 EL1 PC 0x5000000c".into(),
            "memory_region_ops_read cpu 0 mr 0x1 addr 0x8000004 value 0x1 size 4 name 'gic'".into(),
            run(0x5000_000c),
            run(0xbfff_0008),
        ];
        log.iter().for_each(|line| reader.line(line.trim_end()));
        let trace = reader.trace;
        let [(boot, before), (name, window)] = trace.windows.as_slice() else {
            panic!("{:?}", trace.windows)
        };
        assert_eq!((boot.as_str(), before.instructions.as_slice()), (BOOT, [0, 8].as_slice()));
        assert_eq!((name.as_str(), window.exits, window.devices), ("one", 1, 1));
        assert_eq!(window.instructions, [4, 8]);
        assert_eq!(window.classes, Classes { isb: 1, system_registers: 1, ..Classes::default() });
        assert_eq!(trace.exits["HVC"], [2]);
    }
}
