// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Figures of the hypervisor as a whole: from its entry to its guests', its memory, its image.

use super::boards::{Bench, stamp_partition};
use super::figures::{Figures, Operation};
use super::trace;
use crate::flatten;
use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::fs;

/// How many partitions the boot is measured with for the budgets.
const PARTITIONS: [u16; 2] = [1, 4];

/// What a boot says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Instructions from the hypervisor's entry to the first instruction of its last guest.
    pub entry: u64,
    /// Bytes of memory that the hypervisor uses: its image with its stacks, and of its heap what is used.
    pub memory: u64,
}

/// The boot with one partition and with four, memory in all and for each further partition, and the image.
///
/// # Errors
/// When something cannot be built or run.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Operation>> {
    let stamp = bench.image("stamp")?;
    let [one, four] = [boot(bench, PARTITIONS[0], 1, 2, &stamp)?, boot(bench, PARTITIONS[1], 1, 2, &stamp)?];
    let elf = fs::read(bench.hypervisor_elf()).context("cannot read the hypervisor")?;
    let sizes = flatten::flatten(&elf)?.sizes;
    let further = four.memory.saturating_sub(one.memory) / u64::from(PARTITIONS[1] - PARTITIONS[0]);
    let figures = [
        ("planning-demo", planning(bench)?),
        ("boot-1-partition", one.entry),
        ("boot-4-partitions", four.entry),
        ("memory-1-partition", one.memory),
        ("memory-further-partition", further),
        ("image-text-and-constants", sizes.text + sizes.rodata),
    ];
    let whole = |(name, value): (&str, u64)| Operation {
        name: name.into(),
        native: None,
        guest: Some(Figures::once(value)),
    };
    Ok(figures.into_iter().map(whole).collect())
}

/// Reading the board, the bundle and the overlay, and planning, for the demo.
fn planning(bench: &Bench<'_>) -> Result<u64> {
    let path = bench.folder().join("demo.trace");
    bench.traced_demo(&path)?;
    let instructions = trace::planning(&path)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(instructions)
}

/// Boots so many partitions with so many CPUs each, with `mib` of memory and `image` in it.
///
/// # Errors
/// As for [`measure`].
pub fn boot(bench: &Bench<'_>, partitions: u16, cpus: u16, mib: u64, image: &[u8]) -> Result<Boot> {
    let node = |number| stamp_partition(bench.board().gic, number * cpus..(number + 1) * cpus, mib);
    let nodes: Vec<_> = (0..partitions).map(node).collect();
    let memory = 512 + u32::try_from(mib)? * u32::from(partitions);
    let said = bench.partitions(partitions * cpus, memory, &nodes.join("\n"), &[("stamp", image)], &[])?;
    // A line may begin behind the unfinished one of another partition, which is erased.
    let entries = captures(&said, r"(?m)(?:^|\x1b\[K)(?:\[p\d+\] )?([0-9a-f]{16})\s*$", 16)?;
    ensure!(
        entries.len() == usize::from(partitions),
        "{} of {partitions} partitions told when they started:\n{said}",
        entries.len()
    );
    let kib =
        |pattern| captures(&said, pattern, 10).map(|found| found.first().copied().unwrap_or_default() << 10);
    let [heap, image] = [kib(r"heap (\d+) of \d+ KiB used")?, kib(r"(\d+) KiB image")?];
    ensure!(heap > 0 && image > 0, "the hypervisor did not tell its memory:\n{said}");
    Ok(Boot { entry: entries.into_iter().max().unwrap_or_default(), memory: heap + image })
}

fn captures(text: &str, pattern: &str, radix: u32) -> Result<Vec<u64>> {
    let pattern = Regex::new(pattern)?;
    pattern.captures_iter(text).map(|found| Ok(u64::from_str_radix(&found[1], radix)?)).collect()
}
