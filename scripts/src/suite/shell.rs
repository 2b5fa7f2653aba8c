// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A Linux guest's shell, from a test.

use crate::machine::{Failure, Machine};
use anyhow::{Result, ensure};
use regex::Regex;
use std::time::Duration;

/// A pattern of the tests themselves.
///
/// # Errors
/// When the pattern is none: the test is wrong.
pub fn regex(pattern: &str) -> Result<Regex> {
    Ok(Regex::new(pattern)?)
}

/// Waits for a pattern, at most `seconds` on an idle machine.
///
/// # Errors
/// When it does not come.
pub fn wait(machine: &mut Machine, owner: &str, pattern: &str, seconds: u64) -> Result<Vec<String>> {
    let limit = machine.patience(Duration::from_secs(seconds));
    Ok(machine.wait(owner, &regex(pattern)?, limit)?.groups)
}

/// Waits until Linux is booted and its shell prompts.
///
/// # Errors
/// When it does not come so far.
pub fn prompt(machine: &mut Machine, name: &str) -> Result<()> {
    let limit = machine.patience(Duration::from_secs(120));
    machine.wait(name, &regex(&format!("^{name}: Linux"))?, limit)?;
    machine.focus(name)?;
    wait(machine, name, &format!("{name}# $"), 60)?;
    Ok(())
}

/// Runs a command in the shell; gives what it printed.
///
/// # Errors
/// When it does not end within `seconds`, or with another exit status than 0.
pub fn command(machine: &mut Machine, name: &str, command: &str, seconds: u64) -> Result<Vec<String>> {
    machine.type_line(name, &format!("{command}; echo \"<$?>\""))?;
    let before = machine.mark(name);
    let limit = machine.patience(Duration::from_secs(seconds));
    let found = machine.wait(name, &regex(r"^<(\d+)>")?, limit)?;
    let printed = machine.said(name).between(before, found.end);
    ensure!(
        found.groups[1] == "0",
        "{name}: `{command}` ended with status {}: {}",
        found.groups[1],
        printed.join("\n")
    );
    wait(machine, name, &format!("{name}# $"), 20)?;
    Ok(printed)
}

/// Types `poweroff -f` and waits for it.
///
/// # Errors
/// When the partition does not power off.
pub fn power_off(machine: &mut Machine, name: &str) -> Result<(), Failure> {
    machine.type_line(name, "poweroff -f")?;
    let limit = machine.patience(Duration::from_secs(30));
    machine.wait_off(name, limit)
}

/// The counts of one line of /proc/interrupts, CPU by CPU, summed over all lines in which `pattern` matches.
///
/// # Errors
/// When the pattern is none.
pub fn interrupts(table: &[String], pattern: &str, cpus: usize) -> Result<Vec<u64>> {
    let pattern = regex(pattern)?;
    let mut sums = vec![0; cpus];
    for line in table.iter().filter(|line| pattern.is_match(line)) {
        let counts = line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok());
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_counted_by_cpu() {
        let table: Vec<String> = [
            "           CPU0       CPU1",
            " 11:       2137       1803     GICv3  27 Level     arch_timer",
            "IPI0:       100        200       Rescheduling interrupts",
            "IPI1:        10          0       Function call interrupts",
            "Err:          0",
        ]
        .map(String::from)
        .into();
        assert_eq!(interrupts(&table, "arch_timer", 2).unwrap(), [2137, 1803]);
        assert_eq!(interrupts(&table, "^IPI", 2).unwrap(), [110, 200]);
    }
}
