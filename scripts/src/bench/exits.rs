// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exits while a job runs, from QEMU's log of exceptions (`-d int`) and of what is written to the board's UART.
//!
//! The job's name stands on the console, `begin NAME` and `end NAME`, each byte an access in the log.

use super::trace::class_name;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::BufRead;

/// How often a guest left to EL2, by reason.
pub type Exits = BTreeMap<String, usize>;

/// UARTDR of QEMU's virt board.
const BYTE: &str = " addr 0x9000000 value 0x";

/// The exits of each job.
///
/// # Errors
/// When the log cannot be read.
pub fn read(mut log: impl BufRead) -> Result<BTreeMap<String, Exits>> {
    let mut jobs = BTreeMap::new();
    let mut running: Option<(String, Exits)> = None;
    // What is on the console's line so far, and the exits since its first byte: they belong to the line and to no job.
    let (mut console, mut of_line) = (String::new(), Exits::new());
    let mut exception = Exception::default();
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        let text = line.trim_end();
        if let Some(reason) = exception.read(text) {
            let counts = if console.is_empty() { running.as_mut().map(|(_, exits)| exits) } else { None };
            *counts.unwrap_or(&mut of_line).entry(reason).or_default() += 1;
        } else if let Some(byte) = written(text) {
            match byte {
                b'\n' => {
                    match mark(&console) {
                        Some(("begin", name)) => running = Some((name.to_owned(), Exits::new())),
                        Some(("end", name)) => {
                            if let Some((_, exits)) = running.take().filter(|(job, _)| job == name) {
                                jobs.insert(name.to_owned(), exits);
                            }
                        }
                        _ => {}
                    }
                    console.clear();
                    of_line.clear();
                }
                b'\r' => {}
                byte => console.push(char::from(byte)),
            }
        }
        line.clear();
    }
    Ok(jobs)
}

/// `begin NAME` or `end NAME`, behind the partition's name. Lines of the kernel's log have a time there.
fn mark(line: &str) -> Option<(&str, &str)> {
    let (owner, mark) = line.split_once(' ')?;
    let is_owner = owner.len() > 2 && owner.starts_with('[') && owner.ends_with(']');
    mark.split_once(' ').filter(|(_, name)| is_owner && !name.contains(' '))
}

/// The byte of a line that tells of a write to the UART.
fn written(line: &str) -> Option<u8> {
    let (_, rest) = line.strip_prefix("memory_region_ops_write")?.split_once(BYTE)?;
    u8::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// An exception, of which QEMU tells line by line.
#[derive(Default)]
struct Exception {
    reason: String,
    is_exit: bool,
}

impl Exception {
    /// The reason, with the line that completes an exit: the syndrome's, or an interrupt's target.
    fn read(&mut self, line: &str) -> Option<String> {
        if let Some(rest) = line.strip_prefix("Taking exception ") {
            let name = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            self.reason = name.map_or("", |(name, _)| name).to_owned();
        } else if line.starts_with("...from EL") {
            self.is_exit = line.ends_with(" to EL2") && !line.starts_with("...from EL2");
            return (self.is_exit && self.reason == "IRQ").then(|| self.reason.clone());
        } else if self.is_exit
            && self.reason != "IRQ"
            && let Some(rest) = line.strip_prefix("...with ESR 0x")
        {
            let class = rest.split('/').next().and_then(|class| u8::from_str_radix(class, 16).ok());
            return Some(class.and_then(class_name).unwrap_or(&self.reason).to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_of_a_job_are_counted_and_those_of_its_marks_are_not() {
        let byte = |byte: u8| {
            format!(
                "Taking exception 4 [Data Abort] on CPU 0\n...from EL1 to EL2\n...with ESR 0x24/0x93000046\n\
                 memory_region_ops_write cpu 0 mr 0x1 addr 0x9000000 value {byte:#x} size 4 name 'pl011'\n"
            )
        };
        let say = |text: &str| text.bytes().map(byte).collect::<String>();
        let interrupt = "Taking exception 5 [IRQ] on CPU 0\n...from EL0 to EL2\n...with ESR 0x0/0x0\n\
                         Taking exception 2 [SVC] on CPU 0\n...from EL0 to EL1\n...with ESR 0x15/0x56000000\n";
        let call = "Taking exception 11 [Hypervisor Call] on CPU 0\n...from EL1 to EL2\n...with ESR 0x16/0x5a000000\n";
        let printed_again = say("[linux] [    1.000000] begin pipe\r\n[linux] [    1.100000] end pipe\r\n");
        let log = [
            &say("[linux] begin pipe\r\n"),
            interrupt,
            call,
            interrupt,
            &say("[linux] end pipe\r\n"),
            interrupt,
        ];
        let jobs = read((log.concat() + &printed_again).as_bytes()).unwrap();
        let wanted =
            Exits::from([("IRQ".to_owned(), 2), ("HVC".to_owned(), 1), ("data abort".to_owned(), 1)]);
        // The first byte of the line behind it is written in an exit that began before.
        assert_eq!(jobs, BTreeMap::from([("pipe".to_owned(), wanted)]));
    }
}
