// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the monitor says to `l` and `t` (hyp/el2/src/monitor/tables.rs), line by line.

use regex::Regex;
use std::sync::LazyLock;

/// How many counts a vCPU has: exits of a second, and those of each reason (hyp/el2/src/counts.rs).
const REASONS: usize = 10;

/// What is said of a partition.
#[derive(Clone, Debug, Default, PartialEq)]
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

/// What is said of a vCPU.
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
    /// How many there are to be of each.
    expected: [Option<usize>; 2],
}

static HEAD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^  (\d+): (\S+)$").ok());
static STATE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^    ([a-z]+) (\d+\.\d{3}) s, restarts (\d+)(, in focus)?$").ok());
static CPUS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^    CPUs((?: \d+)+)$").ok());
static VCPU: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^  (\S+)/(\d+) on CPU (\d+):$").ok());
static COUNTS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^    ([a-z-]+) +(\d+)(?:  ([a-z-]+) +(\d+))?$").ok());

impl Answer {
    /// Whether all is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let [partitions, vcpus] = self.expected;
        let all = partitions == Some(self.partitions.len()) && vcpus == Some(self.vcpus.len());
        all && self.partitions.iter().all(|it| !it.cpus.is_empty())
            && self.vcpus.iter().all(|it| it.counts.len() == REASONS)
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
            self.reasons.clear();
        } else {
            // What is no row is a line between, and none of the answer's.
            let _ = self.row(line);
        }
    }

    /// Takes a row of the answer; `None` if it is none.
    fn row(&mut self, line: &str) -> Option<()> {
        if let Some(row) = HEAD.as_ref()?.captures(line) {
            let (number, name) = (row[1].parse().ok()?, row[2].into());
            self.partitions.push(Partition { number, name, ..Partition::default() });
        } else if let Some(row) = STATE.as_ref()?.captures(line) {
            let partition = self.partitions.last_mut()?;
            partition.state = row[1].into();
            partition.seconds = row[2].parse().ok()?;
            partition.restarts = row[3].parse().ok()?;
            partition.focus = row.get(4).is_some();
        } else if let Some(row) = CPUS.as_ref()?.captures(line) {
            let cpus = row[1].split_whitespace().map_while(|cpu| cpu.parse().ok());
            self.partitions.last_mut()?.cpus.extend(cpus.collect::<Vec<u16>>());
        } else if let Some(row) = VCPU.as_ref()?.captures(line) {
            let (number, cpu) = (row[2].parse().ok()?, row[3].parse().ok()?);
            self.vcpus.push(Vcpu { partition: row[1].into(), number, cpu, counts: Vec::new() });
        } else if let Some(row) = COUNTS.as_ref()?.captures(line) {
            let is_first = self.vcpus.len() == 1;
            let vcpu = self.vcpus.last_mut()?;
            for (reason, count) in [(1, 2), (3, 4)] {
                let (Some(reason), Some(count)) = (row.get(reason), row.get(count)) else { break };
                vcpu.counts.push(count.as_str().parse().ok()?);
                if is_first {
                    self.reasons.push(reason.as_str().into());
                }
            }
        }
        Some(())
    }
}
