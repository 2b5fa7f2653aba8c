// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's own lines.

use super::{Sink, send_all, send_prefix};
use core::fmt::{self, Write};

/// The hypervisor's name on the console.
pub const OWN_NAME: &str = "bulkhead";

/// When and where a line was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the board's counter was zero.
    pub microseconds: u64,
    /// The CPU, if it is known yet.
    pub cpu: Option<u16>,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}.{:06} ", self.microseconds / 1_000_000, self.microseconds % 1_000_000)?;
        self.cpu.map_or(Ok(()), |cpu| write!(f, "cpu{cpu} "))
    }
}

/// Puts the hypervisor's prefix before each line of a text.
pub(super) struct OwnLines<'a, S> {
    pub(super) sink: &'a mut S,
    stamp: Option<Stamp>,
    start: bool,
}

impl<'a, S: Sink> OwnLines<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { stamp: sink.stamp(), sink, start: true }
    }

    /// Begins a line, if that is still to do.
    pub(super) fn begin(&mut self) {
        if core::mem::take(&mut self.start) {
            send_prefix(OWN_NAME, self.sink);
            if let Some(stamp) = self.stamp {
                // The writer never fails.
                let _ = write!(self, "{stamp}");
            }
        }
    }
}

impl<S: Sink> Write for OwnLines<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.start && !text.bytes().any(|byte| byte.is_ascii_control()) {
            send_all(text.as_bytes(), self.sink);
            return Ok(());
        }
        for &byte in text.as_bytes() {
            self.begin();
            match byte {
                b'\n' => {
                    send_all(b"\r\n", self.sink);
                    self.start = true;
                }
                // Text may carry what a guest or a configuration wrote: no control characters.
                0..=0x1f | 0x7f => send_all(b"?", self.sink),
                _ => send_all(&[byte], self.sink),
            }
        }
        Ok(())
    }
}
