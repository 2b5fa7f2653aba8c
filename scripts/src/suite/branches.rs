// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's code as it was built: from a guest's exit on, no branch goes to an address out of a register
//! before `predictor::cleanse` has been called (`hyp/el2/src/predictor.rs` says why).

use super::Scenario;
use super::lab::Lab;
use crate::{build, flatten};
use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};
use std::collections::{BTreeMap, HashSet};
use std::{fs, iter};

/// It is about the image, and needs no board.
pub const ALL: &[Scenario] = &[Scenario { name: "no-guest-steers-a-branch", run: |lab| walk(lab) }];

/// Where an instruction leads (Arm ARM, C4.1.94).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// To the next one.
    On,
    /// There, and nowhere else.
    To(usize),
    /// There, or on.
    Either(usize),
    /// There, and on once that returns.
    Call(usize),
    /// Back to the caller.
    Return,
    /// To an address out of a register.
    Indirect,
    /// Nowhere: to the guest, or into a fault.
    End,
}

fn flow(word: u32, at: usize) -> Flow {
    /// `bits` of the word from `low` on: a signed number of words from here.
    fn target(word: u32, at: usize, low: u32, bits: u32) -> usize {
        let unused = 32 - bits;
        let offset = (word >> low << unused) as i32 >> unused;
        at.wrapping_add_signed(offset as isize * 4)
    }
    match word {
        _ if word >> 26 == 0b0_00101 => Flow::To(target(word, at, 0, 26)),
        _ if word >> 26 == 0b1_00101 => Flow::Call(target(word, at, 0, 26)),
        // B.cond, CBZ and CBNZ, TBZ and TBNZ.
        _ if word >> 24 == 0x54 => Flow::Either(target(word, at, 5, 19)),
        _ if word >> 25 & 0x3f == 0b01_1010 => Flow::Either(target(word, at, 5, 19)),
        _ if word >> 25 & 0x3f == 0b01_1011 => Flow::Either(target(word, at, 5, 14)),
        // RET to x30, ERET, then every other branch to a register.
        0xd65f_03c0 => Flow::Return,
        0xd69f_03e0 => Flow::End,
        _ if word >> 25 == 0b110_1011 => Flow::Indirect,
        // BRK, UDF.
        _ if word & 0xffe0_001f == 0xd420_0000 || word >> 16 == 0 => Flow::End,
        _ => Flow::On,
    }
}

struct Walk<'c> {
    code: &'c [u8],
    cleanse: usize,
    /// Each function that was come to, and whether it is known to return without a call of `cleanse` on some way.
    functions: BTreeMap<usize, bool>,
    /// The function that called or branched to each of these first.
    callers: BTreeMap<usize, usize>,
    /// Branches to registers that were come to, each with its function.
    found: BTreeMap<usize, usize>,
}

impl Walk<'_> {
    /// Walks all functions until nothing more is known of any.
    fn all(&mut self) -> Result<()> {
        loop {
            let before = self.functions.clone();
            for start in before.keys() {
                let returns = self.function(*start)?;
                self.functions.insert(*start, returns);
            }
            if self.functions == before {
                return Ok(());
            }
        }
    }

    /// Whether the function at `start` returns so, given what is known of those that it calls.
    fn function(&mut self, start: usize) -> Result<bool> {
        let (mut returns, mut seen, mut pending) = (false, HashSet::new(), vec![start]);
        while let Some(at) = pending.pop() {
            if !seen.insert(at) {
                continue;
            }
            let word = self.code.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            let word = word.with_context(|| format!("a branch out of the image, to {at:#x}"))?;
            match flow(u32::from_le_bytes(word), at) {
                Flow::To(there) | Flow::Call(there) if there == self.cleanse => {}
                Flow::On => pending.push(at + 4),
                Flow::To(there) => pending.push(there),
                Flow::Either(there) => pending.extend([there, at + 4]),
                Flow::Call(there) => {
                    self.callers.entry(there).or_insert(start);
                    pending.extend(self.functions.entry(there).or_default().then_some(at + 4))
                }
                Flow::Return => returns = true,
                Flow::Indirect => _ = self.found.insert(at, start),
                Flow::End => {}
            }
        }
        Ok(returns)
    }

    /// The names of a function and of those that lead to it, from the vectors on last.
    fn chain<'n>(&self, function: usize, name: &impl Fn(&usize) -> &'n str) -> Vec<&'n str> {
        let mut met = HashSet::new();
        let up = |at: &usize| self.callers.get(at).copied();
        iter::successors(Some(function), up).take_while(|at| met.insert(*at)).map(|at| name(&at)).collect()
    }
}

fn walk(lab: &mut Lab) -> Result<()> {
    build::hypervisor(lab.project(), false)?;
    let elf = fs::read(build::hypervisor_program(lab.project()))?;
    let code = flatten::flatten(&elf)?.bytes;
    let file = ElfFile64::<Endianness>::parse(&*elf)?;
    let named = file
        .symbols()
        .filter_map(|symbol| Some((usize::try_from(symbol.address()).ok()?, symbol.name().ok()?)));
    let names: BTreeMap<usize, &str> =
        named.filter(|(_, name)| !name.is_empty() && !name.starts_with('$')).collect();
    let place = |part: &str| {
        let found = names.iter().find(|(_, name)| name.contains(part)).map(|(at, _)| *at);
        found.with_context(|| format!("the image has no symbol {part}"))
    };
    let vectors = place("vectors")?;
    let mut walk = Walk {
        code: &code,
        cleanse: place("9predictor7cleanse")?,
        // From a lower exception level in AArch64 and in AArch32 (Arm ARM, D1.3.1.5).
        functions: (vectors + 0x400..vectors + 0x800).step_by(0x80).map(|entry| (entry, false)).collect(),
        callers: BTreeMap::new(),
        found: BTreeMap::new(),
    };
    walk.all()?;
    ensure!(walk.functions.len() > 50, "only {} functions were come to", walk.functions.len());
    let name = |at: &usize| names.range(..=at).next_back().map_or("?", |(_, name)| *name);
    let places: Vec<_> = walk
        .found
        .iter()
        .map(|(at, start)| {
            format!("{at:#x} in {}, come to by {}", name(at), walk.chain(*start, &name).join(" < "))
        })
        .collect();
    ensure!(
        places.is_empty(),
        "a guest could steer these branches to addresses in registers; call by name, or call predictor::cleanse \
         before:\n  {}",
        places.join("\n  ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_told_apart() {
        let words = [
            (0x1400_0002, Flow::To(0x108)),
            (0x97ff_ffff, Flow::Call(0xfc)),
            (0x54ff_ffe1, Flow::Either(0xfc)),  // b.ne .-4
            (0xb400_0040, Flow::Either(0x108)), // cbz x0, .+8
            (0x3707_fff0, Flow::Either(0xfc)),  // tbnz w16, #0, .-4
            (0xd65f_03c0, Flow::Return),
            (0xd61f_0040, Flow::Indirect), // br x2
            (0xd63f_0040, Flow::Indirect), // blr x2
            (0xd65f_0020, Flow::Indirect), // ret x1
            (0xd69f_03e0, Flow::End),
            (0xd420_0020, Flow::End), // brk #1
            (0xd503_201f, Flow::On),  // nop
            (0xd51c_c000, Flow::On),  // msr vbar_el2, x0
        ];
        for (word, expected) in words {
            assert_eq!(flow(word, 0x100), expected, "{word:#x}");
        }
    }
}
