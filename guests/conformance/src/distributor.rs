// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The registers of the interrupt controller in memory, at every size.

use core::fmt::{self, Display, Formatter};

use guest_runtime::exception::attempt;
use guest_runtime::gic;
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::{read8, read16, read32, read64, write8, write16, write32, write64};

use crate::report::{Outcome, line};

/// From a redistributor's first frame to its SGI and PPI frame.
const SGI_FRAME: usize = 0x1_0000;
const ITARGETSR: usize = 0x800;

/// Probes whichever frames there are.
pub fn probe(machine: &Machine) {
    let Some(gic) = gic::get() else { return };
    match machine.gic {
        Some(GicKind::V2 { distributor, cpu_interface }) => {
            // QEMU keeps shared interrupts pending only where they have a target.
            for register in 8..16 {
                let _ = write(distributor.base + ITARGETSR + 4 * register, 4, 0x0101_0101);
            }
            frame("gicd", distributor.base, &[(0, 0x1000)], LEAVE_V2);
            frame("gicc", cpu_interface.base, &[(0, 0x1000)], LEAVE_INTERFACE);
        }
        Some(GicKind::V3 { distributor, .. }) => {
            frame("gicd", distributor.base, &[(0, 0x1000), (0x6000, 0x6200), (0xff00, 0x1_0000)], LEAVE_V3);
            let private = gic.private_base();
            frame("gicr", private - SGI_FRAME, &[(0, 0x200), (0xff00, 0x1_0000)], LEAVE_REDISTRIBUTOR);
            frame("gics", private, &[(0, 0x1000), (0xff00, 0x1_0000)], LEAVE_V3);
        }
        None => {}
    }
}

/// Registers that act when they are written, so that ones are not simply written and read back; they are
/// read, and [`crate::interrupts`] has the rest.
const LEAVE_V2: &[usize] = &[0x000, 0xf00];
const LEAVE_V3: &[usize] = &[0x000, 0x040, 0x048, 0x050, 0x058, 0xf00];
const LEAVE_REDISTRIBUTOR: &[usize] = &[0x000, 0x014];
/// GICC_CTLR, IAR, EOIR, AIAR, AEOIR, and the active priorities.
const LEAVE_INTERFACE: &[usize] =
    &[0x000, 0x00c, 0x010, 0x020, 0x024, 0x0d0, 0x0d4, 0x0d8, 0x0dc, 0x0e0, 0x0e4, 0x0e8, 0x0ec];

/// Families that show one bit of state in two registers: set by the first, cleared by the second.
const PAIRS: &[(usize, usize)] = &[(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)];

/// Every word of a frame, and of it every size.
fn frame(name: &str, base: usize, ranges: &[(usize, usize)], leave: &[usize]) {
    for &(start, end) in ranges {
        for offset in (start..end).step_by(4).filter(|offset| !depends_on_lines(*offset)) {
            word(name, base, offset, leave);
        }
    }
    for (what, offset, size) in [("half", 0x101, 2), ("word", 0x102, 4), ("double", 0x104, 8)] {
        line(format_args!("{name} unaligned {what}"), read(base + offset, size));
    }
}

/// Whether the registers at this offset of a distributor are about shared interrupts beyond the first 32. How many
/// there are is a matter of the board's devices, so only those below 64 and from 640 are probed.
fn depends_on_lines(offset: usize) -> bool {
    let first_interrupt = match offset {
        0x080..0x400 => (offset & 0x7f) * 8,
        0x400..0xc00 => offset & 0x3ff,
        0xc00..0xe00 => (offset & 0xff) * 4,
        _ => return false,
    };
    (64..640).contains(&first_interrupt)
}

fn word(name: &str, base: usize, offset: usize, leave: &[usize]) {
    let address = base + offset;
    let before = Sizes::read(address);
    if !before.is_nothing() {
        line(format_args!("{name}+{offset:#05x}"), &before);
    }
    if leave.contains(&offset) {
        return;
    }
    for size in [1, 2, 4, 8] {
        if !address.is_multiple_of(size) {
            continue;
        }
        let written = write(address, size, u64::MAX);
        let seen = read(address, if address.is_multiple_of(8) { 8 } else { 4 });
        let seen = if let Ok(0) = seen.0 { read(address, 4) } else { seen };
        restore(base, offset, &before);
        let changed = !matches!((seen.0, before.value()), (Ok(seen), before) if seen & 0xffff_ffff == before);
        if written.0.is_err() || changed {
            line(format_args!("{name}+{offset:#05x} ones/{size}"), Written(written, seen));
        }
    }
}

struct Written(Outcome, Outcome);

impl Display for Written {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            Ok(_) => self.1.fmt(f),
            Err(_) => write!(f, "{}, {}", self.0, self.1),
        }
    }
}

/// Puts a word back as it was, both ways where there is one register to set and one to clear.
fn restore(base: usize, offset: usize, before: &Sizes) {
    let family = offset & !0x7f;
    for (set, clear) in PAIRS {
        if family == *set || family == *clear {
            let number = offset & 0x7f;
            // The neighbour too: a double word may have reached it.
            let _ = write(base + clear + number, 4, u64::MAX);
            if offset.is_multiple_of(8) {
                let _ = write(base + clear + number + 4, 4, u64::MAX);
            }
            return;
        }
    }
    if (0xf10..0xf30).contains(&offset) && base_is_distributor(base) {
        // GICv2's SPENDSGIR and CPENDSGIR.
        for register in (0..16).step_by(4) {
            let _ = write(base + 0xf10 + register, 4, u64::MAX);
        }
        return;
    }
    let _ = write(base + offset, 4, before.value());
    if offset.is_multiple_of(8) {
        let _ = write(base + offset + 4, 4, before.upper());
    }
}

fn base_is_distributor(base: usize) -> bool {
    gic::get().is_some_and(|gic| gic.distributor() == base)
}

/// What a place reads as at each size: a byte, a half word, a word, a double word where it is aligned.
struct Sizes([Option<Outcome>; 4], u64);

impl Sizes {
    fn read(address: usize) -> Self {
        let upper = if address.is_multiple_of(8) { read(address + 4, 4).0.unwrap_or(0) } else { 0 };
        Self([1, 2, 4, 8].map(|size| address.is_multiple_of(size).then(|| read(address, size))), upper)
    }

    fn value(&self) -> u64 {
        self.0[2].and_then(|word| word.0.ok()).unwrap_or(0)
    }

    fn upper(&self) -> u64 {
        self.1
    }

    fn is_nothing(&self) -> bool {
        self.0.iter().flatten().all(|outcome| matches!(outcome.0, Ok(0)))
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, outcome) in self.0.iter().flatten().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            outcome.fmt(f)?;
        }
        Ok(())
    }
}

/// A load of `size` bytes.
pub fn read(address: usize, size: usize) -> Outcome {
    Outcome::from(attempt(|| {
        // SAFETY: the address is one of the interrupt controller, whose registers lose nothing by being read,
        // or the exception is what is asked about.
        unsafe {
            match size {
                1 => read8(address).into(),
                2 => read16(address).into(),
                4 => read32(address).into(),
                _ => read64(address),
            }
        }
    }))
}

/// A store of `size` bytes.
pub fn write(address: usize, size: usize, value: u64) -> Outcome {
    Outcome::from(attempt(|| {
        // SAFETY: as for `read`; interrupts are masked and this program's own.
        unsafe {
            match size {
                1 => write8(address, value as u8),
                2 => write16(address, value as u16),
                4 => write32(address, value as u32),
                _ => write64(address, value),
            }
        }
        0
    }))
}
