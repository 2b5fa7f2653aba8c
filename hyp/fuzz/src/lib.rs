// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz targets: every place where a stranger's bytes come in. A target must neither panic nor hang, and checks
//! what must hold whatever the input.
//!
//! `scripts/fuzz` runs them with libFuzzer; `cargo test -p bulkhead-fuzz` replays `corpus/TARGET/`.

#![forbid(unsafe_code)]

mod calls;
mod configuration;
mod console;
mod decoding;
mod interrupts;
mod uart;
mod watchdog;

/// What takes an input. A panic is a finding.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 8] = [
    ("bundle", configuration::bundle),
    ("plan", configuration::plan),
    ("decoding", decoding::fuzz),
    ("uart", uart::fuzz),
    ("watchdog", watchdog::fuzz),
    ("console", console::fuzz),
    ("gic", interrupts::fuzz),
    ("calls", calls::fuzz),
];

/// Numbers out of the input, zeros once it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let count = N.min(self.0.len());
        let (now, later) = self.0.split_at(count);
        bytes[..count].copy_from_slice(now);
        self.0 = later;
        bytes
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
