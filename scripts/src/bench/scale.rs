// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How figures grow with what a board and its partitions have: events not at all, the boot linearly.

use super::boards::{Bench, Shape};
use super::figures::{self, Printed};
use super::wholes::{Boot, boot};
use crate::qemu::Gic;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// CPUs of a large board; 123 fit into the first region of redistributors.
const LARGE: u16 = 128;

/// By how much an event may exceed what it takes at an axis's least: in percent, and one instruction.
const TOLERANCE: u64 = 2;

/// Events that grow along an axis by what they are, and the most that they may take there.
const GROWING: [(&str, &str, u64); 2] = [
    // A storm meets interrupts of devices only where the partition has them: another load, not a dearer event.
    ("storm-", INTERRUPTS, u64::MAX),
    // A GICv2 has eight CPUs at most; the write looks at each. With one CPU, the target of every second write is none.
    ("target-write", CPUS, 1500),
];

const CPUS: &str = "CPUs";
const PARTITIONS: &str = "partitions";
const INTERRUPTS: &str = "interrupts owned";
const MEMORY: &str = "MiB of memory";

/// One thing that grows, and each event's figures with so much of it.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What grows.
    pub name: &'static str,
    /// How much of it, ascending, and what the guest printed.
    pub points: Vec<(u64, Printed)>,
}

/// What `--scale` shows.
#[derive(Clone, Debug)]
pub struct Scale {
    /// What is varied, and the boot.
    pub boots: Vec<(String, Boot)>,
    /// How events grow.
    pub events: Vec<Axis>,
}

/// Which shapes are measured along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Points {
    All,
    /// The least and the most.
    Ends,
}

/// Boots with 1 to 16 partitions (8 with a GICv2), with up to 64 on a board of 128 CPUs, with 128 MiB to 8 GiB of guest memory, and with images of up to 32 MiB;
/// and runs the bench with more of everything.
///
/// # Errors
/// When something cannot be built or run.
pub fn measure(bench: &Bench<'_>) -> Result<Scale> {
    let stamp = bench.image("stamp")?;
    let most = most_cpus(bench);
    let mut boots = Vec::new();
    for partitions in [1, 2, 4, 8, 16].into_iter().filter(|count| *count <= most) {
        boots.push((format!("partitions: {partitions}"), boot(bench, partitions, 1, 2, &stamp)?));
    }
    for partitions in [2, 4, 8, 16, 32, 64].into_iter().filter(|_| bench.board().gic == Gic::V3) {
        boots.push((format!("128 CPUs, partitions: {partitions}"), divided(bench, partitions)?));
    }
    for mib in [128, 512, 2048, 8192] {
        boots.push((format!("MiB of memory: {mib}"), boot(bench, 1, 1, mib, &stamp)?));
    }
    for mib in [1, 8, 32] {
        let mut image = stamp.clone();
        image.resize(mib << 20, 0);
        boots.push((format!("MiB of image: {mib}"), boot(bench, 1, 1, 64, &image)?));
    }
    Ok(Scale { boots, events: events(bench, Points::All)? })
}

/// Whether each event costs the same at the ends of each axis.
///
/// # Errors
/// As for [`measure`], and when one does not: names each.
pub fn is_steady(bench: &Bench<'_>) -> Result<()> {
    let grown = grown(&events(bench, Points::Ends)?);
    ensure!(grown.is_empty(), "{} grow:\n  {}", bench.name(), grown.join("\n  "));
    Ok(())
}

/// Boots a board of [`LARGE`] CPUs, divided between so many partitions.
fn divided(bench: &Bench<'_>, partitions: u16) -> Result<Boot> {
    boot(bench, partitions, LARGE / partitions, 2, &bench.image("stamp")?)
}

/// Whether the 64th partition of a large board costs as much as the 17th: planned, built, audited, started.
///
/// # Errors
/// As for [`measure`], and when it costs a quarter more.
pub fn grows_linearly(bench: &Bench<'_>) -> Result<()> {
    let [few, more, most] = [16, 32, 64].map(|partitions| divided(bench, partitions));
    let [few, more, most] = [few?.entry, more?.entry, most?.entry];
    let (early, late) = (more.saturating_sub(few) / 16, most.saturating_sub(more) / 32);
    ensure!(
        late <= early + early / 4,
        "the first partitions cost {early} instructions each, the last {late}"
    );
    Ok(())
}

/// CPUs of the largest board, [`LARGE`] aside: a GICv2 knows no more than eight.
fn most_cpus(bench: &Bench<'_>) -> u16 {
    if bench.board().gic == Gic::V2 { 8 } else { 32 }
}

/// Runs the bench at the points of each axis; the shape where axes meet only once.
fn events(bench: &Bench<'_>, points: Points) -> Result<Vec<Axis>> {
    let usual = Shape::default();
    let (most, sixteen) = (most_cpus(bench), most_cpus(bench).min(17) - 1);
    let doubled =
        |most: u16| (0..).map(|power| 1 << power).take_while(move |count| *count < most).chain([most]);
    let shapes: [(_, Vec<(u64, Shape)>); 4] = [
        (CPUS, doubled(most).map(|cpus| (cpus.into(), Shape { cpus, ..usual })).collect()),
        (
            PARTITIONS,
            doubled(sixteen).map(|count| (count.into(), Shape { others: count - 1, ..usual })).collect(),
        ),
        // The clock's, and those of the virtio transports, eight to a page.
        (
            INTERRUPTS,
            [0, 8, 16, 32]
                .map(|transports| (1 + u64::from(transports), Shape { transports, ..usual }))
                .to_vec(),
        ),
        (MEMORY, [16, 128, 1024, 8192].map(|mib| (mib.into(), Shape { mib, ..usual })).to_vec()),
    ];
    let mut known = BTreeMap::new();
    let mut axes = Vec::new();
    for (name, mut shapes) in shapes {
        if points == Points::Ends {
            shapes.drain(1..shapes.len() - 1);
        }
        let mut points = Vec::new();
        for (amount, shape) in shapes {
            let printed = match known.get(&shape) {
                Some(printed) => Printed::clone(printed),
                None => figures::parse(&bench.guest(&shape)?)?,
            };
            known.insert(shape, printed.clone());
            points.push((amount, printed));
        }
        axes.push(Axis { name, points });
    }
    Ok(axes)
}

impl Axis {
    /// The names of the events.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        // With one CPU there are fewer.
        self.points.last().into_iter().flat_map(|(_, printed)| printed.iter().map(|(name, _)| name.as_str()))
    }

    /// An event's medians, each with how much there was.
    pub fn medians(&self, name: &str) -> Vec<(u64, u64)> {
        let median = |printed: &Printed| {
            let (_, figures) = printed.iter().find(|(found, _)| found == name)?;
            Some((*figures)?.median)
        };
        self.points.iter().filter_map(|(amount, printed)| Some((*amount, median(printed)?))).collect()
    }

    /// The least and the most of an event's medians; none where the event does not exist.
    pub fn range(&self, name: &str) -> Option<[u64; 2]> {
        let medians: Vec<_> = self.medians(name).into_iter().map(|(_, median)| median).collect();
        Some([*medians.iter().min()?, *medians.iter().max()?])
    }
}

/// Each event that grows along an axis, in words.
#[must_use]
pub fn grown(axes: &[Axis]) -> Vec<String> {
    let mut grown = Vec::new();
    for axis in axes {
        for name in axis.names() {
            let medians = axis.medians(name);
            let (Some((_, first)), Some(most)) =
                (medians.first(), medians.iter().map(|(_, median)| median).max())
            else {
                continue;
            };
            let known =
                GROWING.iter().find(|(event, along, _)| name.starts_with(event) && *along == axis.name);
            let limit = known.map_or(first * (100 + TOLERANCE) / 100 + 1, |(_, _, limit)| *limit);
            if *most > limit {
                grown.push(format!("{name} with {}: from {first} to {most} instructions", axis.name));
            }
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::*;

    #[test]
    fn what_grows_is_named() {
        let printed =
            |value| vec![("eoi".to_owned(), Some(Figures::once(value))), ("storm-4".to_owned(), None)];
        let axis = |most| Axis { name: CPUS, points: vec![(1, printed(100)), (32, printed(most))] };
        assert!(grown(&[axis(103), axis(50)]).is_empty());
        assert_eq!(grown(&[axis(104)]), ["eoi with CPUs: from 100 to 104 instructions"]);
    }
}
