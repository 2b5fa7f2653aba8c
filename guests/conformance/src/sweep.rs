// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every encoding there is: reads of all system registers with their values, writes to all of them, and all
//! system instructions.

use core::fmt::Display;

use guest_runtime::println;

use crate::code::{Direction, Encoding, GROUP, Group};
use crate::report::{Outcome, line};

/// Registers that tell time, place or luck: only that they can be read is told.
const VOLATILE: &[[u8; 5]] = &[
    [3, 0, 1, 0, 0],  // SCTLR_EL1: the runtime has set it
    [3, 0, 2, 0, 0],  // TTBR0_EL1
    [3, 0, 2, 0, 1],  // TTBR1_EL1
    [3, 0, 2, 0, 2],  // TCR_EL1
    [3, 0, 4, 0, 0],  // SPSR_EL1
    [3, 0, 4, 0, 1],  // ELR_EL1
    [3, 0, 4, 1, 0],  // SP_EL0
    [3, 0, 5, 2, 0],  // ESR_EL1
    [3, 0, 6, 0, 0],  // FAR_EL1
    [3, 0, 12, 0, 0], // VBAR_EL1
    [3, 0, 13, 0, 4], // TPIDR_EL1
    [3, 3, 2, 4, 0],  // RNDR
    [3, 3, 2, 4, 1],  // RNDRRS
    [3, 3, 4, 2, 0],  // NZCV
    [3, 3, 14, 0, 1], // CNTPCT_EL0
    [3, 3, 14, 0, 2], // CNTVCT_EL0
    [3, 3, 14, 0, 5], // CNTPCTSS_EL0
    [3, 3, 14, 0, 6], // CNTVCTSS_EL0
    [3, 3, 14, 2, 0], // CNTP_TVAL_EL0
    [3, 3, 14, 3, 0], // CNTV_TVAL_EL0
];

/// Registers whose write would not be harmless even if it changed nothing.
const NOT_WRITTEN: &[[u8; 5]] = &[
    [2, 0, 1, 0, 4], // OSLAR_EL1: changes what later probes find
    [2, 0, 1, 3, 4], // OSDLR_EL1
];

/// What [`spoil`] leaves alone: the program runs on these, or a write is an order rather than a value.
const NOT_SPOILED: &[[u8; 5]] = &[
    [3, 0, 1, 0, 0],   // SCTLR_EL1
    [3, 0, 2, 0, 0],   // TTBR0_EL1
    [3, 0, 2, 0, 2],   // TCR_EL1
    [3, 0, 10, 2, 0],  // MAIR_EL1
    [3, 0, 12, 0, 0],  // VBAR_EL1
    [3, 0, 13, 0, 4],  // TPIDR_EL1
    [3, 0, 4, 2, 0],   // SPSel
    [3, 3, 4, 2, 1],   // DAIF
    [3, 0, 12, 8, 1],  // ICC_EOIR0_EL1
    [3, 0, 12, 12, 1], // ICC_EOIR1_EL1
    [3, 0, 12, 11, 1], // ICC_DIR_EL1
    [3, 0, 12, 11, 5], // ICC_SGI1R_EL1
    [3, 0, 12, 11, 6], // ICC_ASGI1R_EL1
    [3, 0, 12, 11, 7], // ICC_SGI0R_EL1
];

/// Calls `each` with every encoding of a register that EL1 can name: with op1 0 to 3 and 7.
fn for_every_register(direction: Direction, mut each: impl FnMut(&Group, usize)) {
    for op0 in [2, 3] {
        for op1 in [0, 1, 2, 3, 7] {
            for crn in 0..16 {
                let group = Group::assemble(op0, op1, crn, direction);
                (0..GROUP).for_each(|index| each(&group, index));
            }
        }
    }
}

/// Prints every register that can be read and whose value does not tell time, place or luck, `birth` in front of each.
pub fn print_births() {
    for_every_register(Direction::Read, |group, index| {
        let encoding = group.encoding(index);
        // SAFETY: no register of this machine loses anything by being read at this point.
        let outcome = unsafe { group.run(index, 0) };
        if outcome.0.is_ok() && !is_among(encoding, VOLATILE) {
            println!("birth {encoding}: {outcome}");
        }
    });
}

/// Writes `value` to every register but those that the program runs on.
pub fn spoil(value: u64) {
    for_every_register(Direction::Write, |group, index| {
        if !is_among(group.encoding(index), NOT_SPOILED) {
            // SAFETY: an exception is expected; a reset follows.
            let _ = unsafe { group.run(index, value) };
        }
    });
}

fn is_among(encoding: Encoding, list: &[[u8; 5]]) -> bool {
    list.contains(&encoding.0)
}

/// A word for each way in which an instruction may end.
fn told(outcome: &Outcome) -> impl Display {
    match outcome.0 {
        Ok(_) => "done",
        Err(_) => "exception",
    }
}

/// Sweeps.
pub fn probe() {
    for op0 in [2, 3] {
        for op1 in 0..8 {
            for crn in 0..16 {
                registers(op0, op1, crn);
            }
        }
    }
    for op1 in 0..8 {
        for crn in 0..16 {
            instructions(op1, crn);
        }
    }
}

/// Reads of registers, then writes: of what was read where there was something, of zero elsewhere. Nothing is
/// said of what is UNDEFINED.
fn registers(op0: u8, op1: u8, crn: u8) {
    let mut values = [None; GROUP];
    let group = Group::assemble(op0, op1, crn, Direction::Read);
    for (index, value) in values.iter_mut().enumerate() {
        let encoding = group.encoding(index);
        // SAFETY: no register of this machine loses anything by being read at this point.
        let outcome = unsafe { group.run(index, 0) };
        *value = outcome.0.ok();
        match outcome.0 {
            Ok(_) if is_among(encoding, VOLATILE) => line(format_args!("read {encoding}"), "done"),
            Err(taken) if taken.class() == 0 => {}
            _ => line(format_args!("read {encoding}"), outcome),
        }
    }
    let group = Group::assemble(op0, op1, crn, Direction::Write);
    for (index, value) in values.iter().enumerate() {
        let encoding = group.encoding(index);
        if is_among(encoding, NOT_WRITTEN) {
            continue;
        }
        // SAFETY: what is there already, or zero to a register that cannot be read: no such one acts on zero
        // in a way that this program feels.
        let outcome = unsafe { group.run(index, value.unwrap_or(0)) };
        if !matches!(outcome.0, Err(taken) if taken.class() == 0) {
            line(format_args!("write {encoding}"), told(&outcome));
        }
    }
}

#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

/// What the instructions that take an address are given.
static mut SCRATCH: Page = Page { _bytes: [0; 4096] };

/// System instructions with an address in x0: maintenance of caches and translations, address translation,
/// prediction restrictions. What takes a set and way or an ASID finds bits of that address.
fn instructions(op1: u8, crn: u8) {
    let group = Group::assemble(1, op1, crn, Direction::Write);
    for index in 0..GROUP {
        // SAFETY: the address is that of memory which nothing else uses.
        let outcome = unsafe { group.run(index, &raw mut SCRATCH as u64) };
        if !matches!(outcome.0, Err(taken) if taken.class() == 0) {
            line(format_args!("do {}", group.encoding(index)), told(&outcome));
        }
    }
}
