// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Input to the partitions: the console's focus, and lines typed at a pace that a guest's FIFO can take.

use super::{Failure, Machine, Pumped, SILENCE};
use crate::board::Board;
use crate::console::HYPERVISOR;
use crate::transcript::Mark;
use std::io::Write;
use std::time::{Duration, Instant};

/// How much is typed before the echo is looked for: half of a PL011's FIFO.
const CHUNK: usize = 8;

impl Machine {
    /// Sends bytes to the hypervisor's console as they are.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.keyboard.write_all(bytes).and_then(|()| self.keyboard.flush());
        sent.map_err(|_| self.died())
    }

    /// Directs input to the partition, with the hypervisor's escape key.
    ///
    /// # Errors
    /// When there is no such partition or the hypervisor does not answer.
    pub fn focus(&mut self, name: &str) -> Result<(), Failure> {
        let limit = self.patience(Duration::from_secs(30));
        self.wait_until(HYPERVISOR, "its first word on the console's focus", limit, |board| {
            board.focus().is_some()
        })?;
        if self.board.focus() == Some(name) {
            return Ok(());
        }
        let Some(number) = self.board.find(name).map(|partition| partition.number) else {
            let known: Vec<_> =
                self.board.partitions().iter().map(|partition| partition.name.as_str()).collect();
            return Err(Failure::Other(format!(
                "there is no partition {name}; there are {}",
                known.join(", ")
            )));
        };
        // A digit reaches nine; further ones are reached one by one.
        let direct = u8::try_from(number).ok().filter(|number| (1..=9).contains(number));
        let deadline = Instant::now() + limit;
        let what = format!("the focus on {name}");
        loop {
            let changes = self.board.focus_changes();
            self.send(&[self.board.escape(), direct.map_or(b'n', |digit| b'0' + digit)])?;
            let moved = |board: &Board| board.focus_changes() > changes;
            match self.wait_until(HYPERVISOR, &what, SILENCE.min(limit), moved) {
                // What is pressed before the console listens is lost.
                Err(Failure::Waited(..)) if Instant::now() < deadline => {}
                outcome => outcome?,
            }
            if self.board.focus() == Some(name) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::Other(format!("the console's focus cannot be moved to {name}")));
            }
        }
    }

    /// Types a line into the partition, at the pace of its echo where it echoes, and then Enter. The next
    /// wait looks behind the echo.
    ///
    /// # Errors
    /// As for [`Machine::focus`].
    pub fn type_line(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        self.focus(name)?;
        let mut start = self.said(name).end();
        let mut typed = String::new();
        let mut echoes = true;
        for chunk in text.as_bytes().chunks(CHUNK) {
            self.send(chunk)?;
            typed.push_str(&String::from_utf8_lossy(chunk));
            echoes = echoes && self.echo(name, start, &typed)?;
        }
        // What it says before Enter is the echo; an answer can only come behind it.
        if echoes && !text.is_empty() {
            start = self.said(name).end();
        }
        self.marks.insert(name.to_owned(), start);
        self.send(b"\r")
    }

    fn echo(&mut self, name: &str, start: Mark, typed: &str) -> Result<bool, Failure> {
        let deadline = Instant::now() + self.patience(Duration::from_secs(2));
        while !self.said(name).run_together(start).contains(typed) {
            match self.pump(deadline)? {
                Pumped::Quiet => return Ok(false),
                Pumped::Closed => return Err(self.died()),
                Pumped::Output | Pumped::Keys(_) => {}
            }
        }
        Ok(true)
    }

    /// Sends keys to the partition without Enter.
    ///
    /// # Errors
    /// As for [`Machine::focus`].
    pub fn type_keys(&mut self, name: &str, keys: &[u8]) -> Result<(), Failure> {
        self.focus(name)?;
        self.forget(name);
        self.send(keys)
    }
}
