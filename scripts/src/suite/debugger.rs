// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A debugger on QEMU's stub for one (GDB's manual, appendix E): stops all CPUs, and changes what they have in
//! registers and in memory. CPUs count from 0.

use super::lab::Lab;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The stub's numbers of registers (QEMU's `aarch64-core.xml`), after x0 to x30.
pub const SP: u8 = 31;
pub const PC: u8 = 32;
pub const CPSR: u8 = 33;

/// EL2 with its own stack pointer and everything masked.
pub const EL2: u64 = 0x3c9;

/// A debugger. While it holds the board, no clock of the board's goes on.
pub struct Debugger(BufReader<UnixStream>);

/// Where the stub listens: a short path, for a socket's cannot be long.
pub struct Stub(PathBuf);

impl Stub {
    /// Has the lab's board listen.
    pub fn new(lab: &mut Lab) -> Self {
        // Tests of one process may run side by side.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bulkhead-debugger-{}-{number}", std::process::id()));
        lab.board.extra.extend(["-gdb".into(), format!("unix:{},server=on,wait=off", path.display()).into()]);
        Self(path)
    }

    /// Waits for a board that stands still from the start (`-S`).
    ///
    /// # Errors
    /// When the stub does not answer.
    pub fn attach_first(&self) -> Result<Debugger> {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.0.exists() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        self.attach()
    }

    /// Stops the board, which has said something already.
    ///
    /// # Errors
    /// When the stub does not answer.
    pub fn attach(&self) -> Result<Debugger> {
        let stream = UnixStream::connect(&self.0).context("QEMU's stub for a debugger cannot be reached")?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut debugger = Debugger(BufReader::new(stream));
        debugger.ask("?")?;
        debugger.order("Qqemu.PhyMemMode:1")?;
        Ok(debugger)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Debugger {
    fn send(&mut self, packet: &str) -> Result<()> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        Ok(write!(self.0.get_mut(), "${packet}#{sum:02x}")?)
    }

    fn receive(&mut self) -> Result<String> {
        let mut byte = || -> Result<u8> {
            let mut byte = [0];
            self.0.read_exact(&mut byte).context("QEMU's stub for a debugger does not answer")?;
            Ok(byte[0])
        };
        // Before a packet come acknowledgements, behind it two digits.
        while byte()? != b'$' {}
        let mut packet = String::new();
        loop {
            match byte()? {
                b'#' => break,
                other => packet.push(char::from(other)),
            }
        }
        let _sum = [byte()?, byte()?];
        self.0.get_mut().write_all(b"+")?;
        Ok(packet)
    }

    fn ask(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.receive()
    }

    fn order(&mut self, packet: &str) -> Result<()> {
        let answer = self.ask(packet)?;
        ensure!(answer == "OK", "QEMU's stub for a debugger answers {packet} with {answer:?}");
        Ok(())
    }

    /// A register of a CPU.
    ///
    /// # Errors
    /// When the stub does not answer.
    pub fn register(&mut self, cpu: usize, number: u8) -> Result<u64> {
        self.order(&format!("Hg{:x}", cpu + 1))?;
        number_of(&self.ask(&format!("p{number:x}"))?)
    }

    /// Changes a register of a CPU.
    ///
    /// # Errors
    /// When the stub does not answer.
    pub fn set_register(&mut self, cpu: usize, number: u8, value: u64) -> Result<()> {
        self.order(&format!("Hg{:x}", cpu + 1))?;
        let size = if number == CPSR { 4 } else { 8 };
        self.order(&format!("P{number:x}={}", digits(&value.to_le_bytes()[..size])))
    }

    /// A word of physical memory.
    ///
    /// # Errors
    /// When there is none.
    pub fn word(&mut self, at: u64) -> Result<u32> {
        Ok(number_of(&self.ask(&format!("m{at:x},4"))?)? as u32)
    }

    /// Changes a word of physical memory.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_word(&mut self, at: u64, value: u32) -> Result<()> {
        self.order(&format!("M{at:x},4:{}", digits(&value.to_le_bytes())))
    }

    /// Lets these CPUs run until one comes to this virtual address, and says which.
    ///
    /// # Errors
    /// When none does.
    pub fn run_to(&mut self, at: u64, cpus: &[usize]) -> Result<usize> {
        self.order(&format!("Z1,{at:x},4"))?;
        self.let_run(cpus)?;
        let stopped = self.receive()?;
        self.order(&format!("z1,{at:x},4"))?;
        let thread = stopped.split_once("thread:").map(|(_, rest)| rest.split_terminator(';').next());
        let thread = thread.flatten().with_context(|| format!("no CPU stopped: {stopped}"))?;
        // With several groups of CPUs it is `pGROUP.THREAD`.
        let thread = thread.rsplit('.').next().unwrap_or(thread);
        Ok(usize::from_str_radix(thread, 16)? - 1)
    }

    /// Lets these CPUs run, and the others not.
    ///
    /// # Errors
    /// When the stub cannot be reached.
    pub fn let_run(&mut self, cpus: &[usize]) -> Result<()> {
        let mut packet = String::from("vCont");
        cpus.iter().try_for_each(|cpu| write!(packet, ";c:{:x}", cpu + 1))?;
        self.send(&packet)
    }

    /// Stops the board again.
    ///
    /// # Errors
    /// When the stub does not answer.
    pub fn stop(&mut self) -> Result<()> {
        self.0.get_mut().write_all(&[3])?;
        self.receive()?;
        Ok(())
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |all, byte| all + &format!("{byte:02x}"))
}

/// A number whose lowest byte comes first.
fn number_of(digits: &str) -> Result<u64> {
    ensure!(matches!(digits.len(), 2 | 4 | 8 | 16), "no number: {digits}");
    let number = u64::from_str_radix(digits, 16).with_context(|| format!("no number: {digits}"))?;
    Ok(number.swap_bytes() >> (64 - 4 * digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_lowest_byte_first() {
        assert_eq!(number_of("0100005a").unwrap(), 0x5a00_0001);
        assert_eq!(number_of("1032547698badcfe").unwrap(), 0xfedc_ba98_7654_3210);
        assert_eq!(digits(&0x5a00_0001_u32.to_le_bytes()), "0100005a");
        assert!(number_of("E01").is_err());
    }
}
