// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole workloads: Debian's kernel up to `/init`, and jobs in user space, natively and in a partition.
//!
//! The kernel stamps its messages with its clock, the counter, in microseconds: so in thousands of instructions.

use super::boards::Bench;
use anyhow::{Context, Result};
use regex::Regex;

/// What the shell runs: a mark in the kernel's log, then a job, each time.
const JOBS: &str = "mark() { echo mark $1 >/dev/kmsg; }; \
    mark cpu; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/tmp/f bs=64k count=128 2>/dev/null; \
    mark fork; i=0; while [ $i -lt 200 ]; do /bin/busybox true; i=$((i+1)); done; \
    mark pipe; dd if=/dev/zero bs=4k count=2000 2>/dev/null | cat >/dev/null; \
    mark end; poweroff -f";

/// The workloads, and what begins and ends each in the kernel's log.
const WORKLOADS: [(&str, &str, &str); 4] = [
    ("kernel to /init", "Booting Linux", "Run /init"),
    ("CPU and memory", "mark cpu", "mark fork"),
    ("fork and exec", "mark fork", "mark pipe"),
    ("pipe", "mark pipe", "mark end"),
];

/// Each workload's thousands of instructions natively and in a partition, as a table.
///
/// # Errors
/// When Linux is not there, cannot be run, or does not do the jobs.
pub fn table(bench: &Bench<'_>) -> Result<String> {
    let arguments = format!("console=ttyAMA0 bulkhead.run=\"{JOBS}\"");
    let native = bench.native_linux(&arguments)?;
    let guest = bench.guest_linux(&arguments)?;
    let mut text = format!(
        "{}\n\n| workload | native | guest | guest / native |\n| --- | ---: | ---: | ---: |\n",
        bench.name()
    );
    for (name, begin, end) in WORKLOADS {
        let time = |log| Ok::<_, anyhow::Error>(stamp(log, end)? - stamp(log, begin)?);
        let (native, guest) = (time(&native)?, time(&guest)?);
        text += &format!("| {name} | {native:.0} | {guest:.0} | {:.4} |\n", guest / native);
    }
    Ok(text)
}

/// Microseconds of the first message that begins with `text`: the command line, which is one, has it too.
fn stamp(log: &str, text: &str) -> Result<f64> {
    let pattern = Regex::new(&format!(r"\[ *(\d+\.\d{{6}})\] {}", regex::escape(text)))?;
    let found = pattern.captures(log).with_context(|| format!("the kernel did not say {text}:\n{log}"))?;
    Ok(found[1].parse::<f64>()? * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found() {
        let log = "[linux] [    0.000000] Booting Linux on\n[    0.1] x Run /init\n[    1.250000] Run /init as init process\n";
        assert_eq!(stamp(log, "Run /init").unwrap() - stamp(log, "Booting Linux").unwrap(), 1_250_000.0);
        assert!(stamp(log, "mark end").is_err());
    }
}
