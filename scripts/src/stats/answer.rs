// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the monitor says to `l` and `t` (hyp/el2/src/monitor/tables.rs), line by line.

use regex::Regex;
use std::sync::LazyLock;

/// A row about a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// Its number on the console, from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// `runs`, `stopped`, `waits` to be started again, `changes` from one to another.
    pub state: String,
    /// For how long that has been so, or until it starts.
    pub seconds: f64,
    /// How often it has been started again.
    pub restarts: u64,
    /// Its CPUs.
    pub cpus: Vec<u16>,
    /// Whether input goes there.
    pub focus: bool,
}

/// A row about a vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its partition's name.
    pub partition: String,
    /// Its number in it.
    pub number: u16,
    /// The CPU that it owns.
    pub cpu: u16,
    /// Its exits, as the columns are named.
    pub counts: Vec<u64>,
}

/// What has come of the answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// A row each.
    pub partitions: Vec<Partition>,
    /// What the counts are of.
    pub reasons: Vec<String>,
    /// A row each.
    pub vcpus: Vec<Vcpu>,
    /// How many rows there are to be of each.
    expected: [Option<usize>; 2],
}

static PARTITION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let row = r"^  (\d+) (\S+) +([a-z]+) +(\d+\.\d{3}) s  restarts (\d+) +CPUs((?: \d+)+)(?: \(input goes here\))?$";
    Regex::new(row).ok()
});
static VCPU: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^  (\S+) +(\d+) +(\d+)((?: +\d+)+)$").ok());

impl Answer {
    /// Whether all rows are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.expected == [Some(self.partitions.len()), Some(self.vcpus.len())]
    }

    /// Takes a line of the hypervisor's.
    pub fn line(&mut self, line: &str) {
        let count = |before: &str, after: &str| line.strip_prefix(before)?.strip_suffix(after)?.parse().ok();
        if let Some(count) = count("", " partitions:") {
            self.expected[0] = Some(count);
            self.partitions.clear();
        } else if let Some(count) = count("exits of ", " vCPUs:") {
            self.expected[1] = Some(count);
            self.vcpus.clear();
        } else if let Some(reasons) = line.strip_prefix("  partition        vCPU  CPU ") {
            self.reasons = reasons.split_whitespace().map(Into::into).collect();
        } else if let Some(partition) = partition(line) {
            self.partitions.push(partition);
        } else if let Some(vcpu) = vcpu(line) {
            self.vcpus.push(vcpu);
        }
    }
}

fn partition(line: &str) -> Option<Partition> {
    let (_, [number, name, state, seconds, restarts, cpus]) = PARTITION.as_ref()?.captures(line)?.extract();
    Some(Partition {
        number: number.parse().ok()?,
        name: name.into(),
        state: state.into(),
        seconds: seconds.parse().ok()?,
        restarts: restarts.parse().ok()?,
        cpus: cpus.split_whitespace().map_while(|cpu| cpu.parse().ok()).collect(),
        focus: line.ends_with(')'),
    })
}

fn vcpu(line: &str) -> Option<Vcpu> {
    let (_, [partition, number, cpu, counts]) = VCPU.as_ref()?.captures(line)?.extract();
    Some(Vcpu {
        partition: partition.into(),
        number: number.parse().ok()?,
        cpu: cpu.parse().ok()?,
        counts: counts.split_whitespace().map_while(|count| count.parse().ok()).collect(),
    })
}
