// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtio transports of QEMU's virt board, at its fixed addresses, without devices.

use core::fmt::{self, Display, Formatter};

use crate::distributor::{read, write};
use crate::report::{Numbers, Outcome, line};

const BASE: usize = 0x0a00_0000;
const COUNT: usize = 32;
const TRANSPORT_SIZE: usize = 0x200;
const MAGIC: u64 = 0x7472_6976;

/// Probes them, where the first is one.
pub fn probe() {
    if read(BASE, 4).0.ok() != Some(MAGIC) {
        return;
    }
    for number in 0..COUNT {
        let registers =
            [0, 4, 8, 12].map(|at| read(BASE + number * TRANSPORT_SIZE + at, 4).0.unwrap_or(u64::MAX));
        line(format_args!("transport {number}"), Numbers(&registers));
    }
    for at in (0..TRANSPORT_SIZE).step_by(4) {
        for size in [1, 2, 4, 8].into_iter().filter(|size| at.is_multiple_of(*size)) {
            let written = write(BASE + at, size, u64::MAX);
            line(format_args!("transport+{at:#05x}/{size}"), Pair(written, read(BASE + at, size)));
        }
    }
    for (at, size) in [(1, 1), (2, 2), (0x101, 1)] {
        line(format_args!("transport+{at:#05x}/{size}"), read(BASE + at, size));
    }
    // What follows the last is nothing's.
    line("transport behind the last", read(BASE + COUNT * TRANSPORT_SIZE, 4));
}

/// How a store went, and what a load finds after it.
struct Pair(Outcome, Outcome);

impl Display for Pair {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} then {}", self.0, self.1)
    }
}
