// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The PL011 of `stdout-path` (DDI 0183): output by polling, input by interrupt.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

use crate::cpu::without_interrupts;
use crate::machine::Machine;
use crate::mmio::{read32, write32};

const DR: usize = 0x00;
const FR: usize = 0x18;
const LCR_H: usize = 0x2c;
const CR: usize = 0x30;
const IMSC: usize = 0x38;
const ICR: usize = 0x44;

const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_BUSY: u32 = 1 << 3;
/// Eight bits, no parity, FIFOs on.
const LCR_H_8N1_FIFO: u32 = 0x70;
/// UART, transmitter and receiver on.
const CR_ON: u32 = 0x301;
/// Receive and receive timeout.
const RECEIVE_INTERRUPTS: u32 = 0x50;

static BASE: AtomicUsize = AtomicUsize::new(0);
static OUTPUT: Mutex<()> = Mutex::new(());

/// Takes the console's UART into use. The baud rate stays as firmware set it.
pub(crate) fn init(machine: &Machine) {
    let Some((registers, _)) = machine.console else { return };
    // SAFETY: the tree says that a PL011's registers are here, and nothing else of this program uses them.
    unsafe {
        write32(registers.base + IMSC, 0);
        write32(registers.base + LCR_H, LCR_H_8N1_FIFO);
        write32(registers.base + CR, CR_ON);
    }
    BASE.store(registers.base, Ordering::Release);
}

/// Lets the UART interrupt when a byte comes in. The interrupt itself is enabled at the GIC.
pub fn enable_input() {
    if let Some(base) = base() {
        // SAFETY: `init` found a PL011 at this address.
        unsafe { write32(base + IMSC, RECEIVE_INTERRUPTS) };
    }
}

/// The next byte that was typed, if there is one.
#[must_use]
pub fn read() -> Option<u8> {
    let base = base()?;
    // SAFETY: `init` found a PL011 at this address.
    unsafe {
        if read32(base + FR) & FR_RXFE != 0 {
            write32(base + ICR, RECEIVE_INTERRUPTS);
            return None;
        }
        Some(read32(base + DR) as u8)
    }
}

/// Prints; `\n` becomes a carriage return and a line feed. One call is not torn by another CPU's.
pub fn print(arguments: fmt::Arguments<'_>) {
    without_interrupts(|| {
        let _guard = OUTPUT.lock();
        let _ = Output.write_fmt(arguments);
    });
}

/// Prints from a panic, which may have interrupted a `print`.
pub(crate) fn print_unlocked(arguments: fmt::Arguments<'_>) {
    let _ = Output.write_fmt(arguments);
}

/// Waits until the last byte is on the wire.
pub fn flush() {
    if let Some(base) = base() {
        // SAFETY: `init` found a PL011 at this address.
        while unsafe { read32(base + FR) } & FR_BUSY != 0 {}
    }
}

fn base() -> Option<usize> {
    Some(BASE.load(Ordering::Acquire)).filter(|base| *base != 0)
}

struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(base) = base() else { return Ok(()) };
        for byte in text.bytes() {
            if byte == b'\n' {
                put(base, b'\r');
            }
            put(base, byte);
        }
        Ok(())
    }
}

fn put(base: usize, byte: u8) {
    // SAFETY: `init` found a PL011 at this address.
    unsafe {
        while read32(base + FR) & FR_TXFF != 0 {}
        write32(base + DR, u32::from(byte));
    }
}

/// Prints on the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(::core::format_args!($($argument)*)) };
}

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(::core::format_args!("\n")) };
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}
