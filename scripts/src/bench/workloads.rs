// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole workloads: Debian's kernel up to `/init`, and jobs in user space, natively and in a partition.
//!
//! Both see the same machine: natively Linux gets the device tree that the partition has. Nothing is random, and every job is
//! done several times in one boot, so that the ticks fall elsewhere each time; medians are compared.
//!
//! The kernel stamps its messages with its clock, the counter, in microseconds: so in thousands of instructions. What the
//! hypervisor does in that time, a log of exceptions tells.

use super::boards::Bench;
use super::exits::{self, Exits};
use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::fs::{self, File};
use std::io::BufReader;

/// The jobs: a name, what the shell does, how often, and what the guest may take at most of the native figure.
const JOBS: [(&str, &str, usize, f64); 3] = [
    (
        "cpu",
        "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/tmp/f bs=64k count=128 2>/dev/null",
        5,
        1.001,
    ),
    ("fork", "i=0; while [ $i -lt 200 ]; do /bin/busybox true; i=$((i+1)); done", 5, 1.002),
    ("pipe", "dd if=/dev/zero bs=4k count=2000 2>/dev/null | cat >/dev/null", 21, 1.002),
];

/// The kernel's way, what begins and ends it in its log, and what the guest may take at most of the native figure.
const KERNEL: (&str, &str, &str, f64) = ("kernel to /init", "Booting Linux", "Run /init", 1.005);

/// What there is to say of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Thousands of instructions natively, each time that it was done, ascending.
    pub native: Vec<f64>,
    /// The same in a partition.
    pub guest: Vec<f64>,
    /// Exits of the partition by reason, all times together; of the kernel none are counted.
    pub exits: Exits,
    /// The most that the guest may take of the native figure.
    pub most: f64,
}

impl Workload {
    /// The guest's median as a part of the native one.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(&self.guest) / median(&self.native)
    }
}

/// The middle one of ascending values.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Runs Linux natively and in a partition, with all jobs.
///
/// # Errors
/// When Linux is not there, cannot be run, or does not do the jobs.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Workload>> {
    let log = bench.folder().join("exceptions.log");
    let [native, guest] = bench.linux(&arguments(), &log)?;
    let mut exits = exits::read(BufReader::new(File::open(&log).context("QEMU wrote no log")?))?;
    fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    let (name, begin, end, most) = KERNEL;
    let kernel = |said| Ok::<_, anyhow::Error>(vec![one(said, end)? - one(said, begin)?]);
    let mut workloads =
        vec![Workload { name, native: kernel(&native)?, guest: kernel(&guest)?, exits: Exits::new(), most }];
    for (name, _, times, most) in JOBS {
        let exits = exits.remove(name).with_context(|| format!("the log has no {name}"))?;
        let [native, guest] = [job(&native, name, times)?, job(&guest, name, times)?];
        workloads.push(Workload { name, native, guest, exits, most });
    }
    Ok(workloads)
}

/// For the system tests: no workload may take more of the native figure than it may.
///
/// # Errors
/// As for [`measure`], and when one does: names each.
pub fn check(bench: &Bench<'_>) -> Result<()> {
    let workloads = measure(bench)?;
    let over = |workload: &&Workload| workload.ratio() > workload.most;
    let told = |workload: &Workload| format!("{}: {:.4} of native", workload.name, workload.ratio());
    let over: Vec<_> = workloads.iter().filter(over).map(told).collect();
    ensure!(over.is_empty(), "{}: {}", bench.name(), over.join(", "));
    Ok(())
}

/// The kernel's command line. Each time that a job begins and ends is stamped in the kernel's log, which then is not printed;
/// the first beginning and the last end are told on the console, for a reader of the log of exceptions.
fn arguments() -> String {
    let jobs: String = JOBS.iter().map(|(name, job, ..)| format!("{name}() {{ {job}; }}; ")).collect();
    let all: String = JOBS.iter().map(|(name, _, times, _)| format!("all {name} {times}; ")).collect();
    format!(
        "console=ttyAMA0 nokaslr norandmaps bulkhead.run=\"dmesg -n 1; {jobs}\
         all() {{ echo begin $1 >/dev/console; n=$2; while [ $n -gt 0 ]; do \
         echo begin $1 >/dev/kmsg; $1; echo end $1 >/dev/kmsg; n=$((n-1)); done; echo end $1 >/dev/console; }}; \
         {all}dmesg | grep -E 'begin|end'; poweroff -f\""
    )
}

/// How long a job took each time, ascending.
fn job(said: &str, name: &str, times: usize) -> Result<Vec<f64>> {
    let [begins, ends] = [stamps(said, &format!("begin {name}"))?, stamps(said, &format!("end {name}"))?];
    ensure!(
        begins.len() == times && ends.len() == times,
        "{name} was begun {} and ended {} times, not {times}:\n{said}",
        begins.len(),
        ends.len()
    );
    let mut took: Vec<_> = begins.iter().zip(&ends).map(|(begin, end)| end - begin).collect();
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn one(said: &str, text: &str) -> Result<f64> {
    let found = stamps(said, text)?.first().copied();
    found.with_context(|| format!("the kernel did not say {text}:\n{said}"))
}

/// Microseconds of every message that begins with `text`: the command line, which is one, has it too.
fn stamps(said: &str, text: &str) -> Result<Vec<f64>> {
    let pattern = Regex::new(&format!(r"\[ *(\d+\.\d{{6}})\] {}", regex::escape(text)))?;
    pattern.captures_iter(said).map(|found| Ok(found[1].parse::<f64>()? * 1e6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found() {
        let said = "[linux] [    0.000000] Booting Linux on\n[    0.1] x Run /init\n[    1.250000] Run /init as init process\n";
        assert_eq!(one(said, "Run /init").unwrap() - one(said, "Booting Linux").unwrap(), 1_250_000.0);
        assert!(one(said, "begin cpu").is_err());
    }

    #[test]
    fn the_command_line_is_not_too_long_for_linux() {
        // COMMAND_LINE_SIZE of arm64, with the byte that ends it.
        assert!(arguments().len() < 2048, "{}", arguments().len());
    }
}
