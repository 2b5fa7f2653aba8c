// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a probe prints.

use core::fmt::{self, Display, Formatter};
use core::sync::atomic::{AtomicU32, Ordering};

use guest_runtime::exception::Taken;
use guest_runtime::println;

static LINES: AtomicU32 = AtomicU32::new(0);

/// How many probes have spoken.
pub fn lines() -> u32 {
    LINES.load(Ordering::Relaxed)
}

/// Prints a probe's line.
pub fn line(name: impl Display, value: impl Display) {
    LINES.fetch_add(1, Ordering::Relaxed);
    println!("{name}: {value}");
}

/// Prints a number, in hexadecimal.
pub fn number(name: impl Display, value: impl Into<u64>) {
    line(name, format_args!("{:#x}", value.into()));
}

/// A number, or the exception that was there instead.
#[derive(Clone, Copy)]
pub struct Outcome(pub Result<u64, Taken>);

impl From<(u64, Option<Taken>)> for Outcome {
    fn from((value, taken): (u64, Option<Taken>)) -> Self {
        Self(taken.map_or(Ok(value), Err))
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(value) => write!(f, "{value:#x}"),
            Err(taken) => Syndrome(taken.esr).fmt(f),
        }
    }
}

/// ESR_EL1, in words where it is one of the usual.
#[derive(Clone, Copy)]
pub struct Syndrome(pub u64);

impl Display for Syndrome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNDEFINED: u64 = 1 << 25;
        match self.0 {
            UNDEFINED => f.write_str("undefined"),
            esr => write!(f, "exception {esr:#x}"),
        }
    }
}

/// Prints what is or is not so.
pub fn whether(name: impl Display, is_so: bool) {
    line(name, if is_so { "yes" } else { "no" });
}

/// Several numbers, in hexadecimal.
pub struct Numbers<'a>(pub &'a [u64]);

impl Display for Numbers<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, number) in self.0.iter().enumerate() {
            write!(f, "{}{number:#x}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
