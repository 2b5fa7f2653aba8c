// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual PL011, revision r1p5, as its technical reference manual (DDI 0183G) has it.
//!
//! What a line would take time for takes none here as long as the board's port keeps up: a byte written is sent at
//! once, so the transmit FIFO is empty; where the port is behind, it shows full; and the receive timeout has always just elapsed, so no byte waits unannounced. The receive
//! interrupt comes with the first byte, whatever the trigger level (UARTIFLS), as QEMU's does: a guest that enables it
//! without the timeout interrupt sees short lines, too. As on
//! a board whose firmware left the port on, bytes go both ways whatever UARTCR says.

mod fifo;
#[cfg(test)]
mod tests;

use fifo::{Fifo, Received};

use crate::syndrome::Size;

pub use offset::{DR, FR};

/// Register offsets (DDI 0183G, table 3-1).
mod offset {
    /// UARTDR: data.
    pub const DR: u64 = 0x000;
    pub const RSR_ECR: u64 = 0x004;
    /// UARTFR: flags, all in the lowest byte.
    pub const FR: u64 = 0x018;
    pub const ILPR: u64 = 0x020;
    pub const LCR_H: u64 = 0x02c;
    pub const CR: u64 = 0x030;
    pub const IFLS: u64 = 0x034;
    pub const IMSC: u64 = 0x038;
    pub const RIS: u64 = 0x03c;
    pub const MIS: u64 = 0x040;
    pub const ICR: u64 = 0x044;
    /// From here on there is none that holds anything.
    pub const NONE: u64 = 0x060;
    pub const PERIPH_ID0: u64 = 0xfe0;
}

/// The registers from UARTILPR on that hold what is written to them, by place: the bits that they have. As many as the
/// bits of a place can name, so that none that a guest names is behind them, wrongly predicted or not (Spectre v1).
const BITS: [u32; 16] = [
    0xff,   // ILPR
    0xffff, // IBRD
    0x3f,   // FBRD
    0xff,   // LCR_H
    0xff87, // CR: bits 6:3 are reserved
    0x3f,   // IFLS
    0x7ff,  // IMSC
    0,      // RIS
    0,      // MIS
    0,      // ICR
    7,      // DMACR
    0, 0, 0, 0, 0,
];
const LCR_H: usize = place(offset::LCR_H);
const CR: usize = place(offset::CR);
const IFLS: usize = place(offset::IFLS);
const IMSC: usize = place(offset::IMSC);

const fn place(offset: u64) -> usize {
    (offset.wrapping_sub(offset::ILPR) >> 2 & 0xf) as usize
}

/// UARTPeriphID0 to UARTPCellID3. Part number 0x011, designer Arm (0x41), revision 3 (r1p5): FIFOs of 32.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

const FR_RECEIVE_EMPTY: u32 = 1 << 4;
const FR_RECEIVE_FULL: u32 = 1 << 6;
/// Of UARTFR, and so of [`Uart::glance`]: there is no room in the transmit FIFO.
pub const TRANSMIT_FULL: u32 = 1 << 5;
const FR_BUSY: u32 = 1 << 3;
const FR_TRANSMIT_EMPTY: u32 = 1 << 7;

/// Of [`Uart::glance`]: a byte written to UARTDR goes out and changes nothing here. So it is as long as nobody clears the
/// transmit interrupt.
pub const PASSES_ON: u32 = 1 << 31;

const LCR_H_FIFOS: u32 = 1 << 4;

/// LBE: what is transmitted is received.
const CR_LOOPBACK: u32 = 1 << 7;
/// Transmitter and receiver on, the UART itself off.
const CR_RESET: u32 = 0x0300;

/// Transmit and receive FIFO, both half full.
const IFLS_RESET: u32 = 0x12;

const INTERRUPT_RECEIVE: u32 = 1 << 4;
const INTERRUPT_TRANSMIT: u32 = 1 << 5;
const INTERRUPT_RECEIVE_TIMEOUT: u32 = 1 << 6;
const INTERRUPT_OVERRUN: u32 = 1 << 10;

const RSR_OVERRUN: u32 = 1 << 3;

/// The UART. Whoever owns it serialises the calls.
#[derive(Debug)]
pub struct Uart {
    receive: Fifo,
    /// Characters were lost since the last one that found room.
    overrun: bool,
    /// RSR: the overrun alone; there is no line that could have other errors.
    receive_status: u32,
    /// As [`BITS`] lists them.
    held: [u32; BITS.len()],
    /// RIS, less the receive timeout, which follows the FIFO.
    raised: u32,
    /// The line is behind: the transmit FIFO shows full.
    is_behind: bool,
}

impl Default for Uart {
    /// A UART after reset.
    fn default() -> Self {
        let mut held = [0; BITS.len()];
        held[CR] = CR_RESET;
        held[IFLS] = IFLS_RESET;
        Self {
            receive: Fifo::default(),
            overrun: false,
            receive_status: 0,
            held,
            raised: 0,
            is_behind: false,
        }
    }
}

impl Uart {
    /// A load of `size` at `offset` bytes from the start of its page. Registers are 32 bits wide; a
    /// narrower load gets its part of one, a wider load two of them. What is no register reads as zero.
    pub fn read(&mut self, offset: u64, size: Size) -> u64 {
        if size == Size::Double {
            let low = self.read_register(offset & !7);
            let high = self.read_register(offset & !7 | 4);
            return u64::from(high) << 32 | u64::from(low);
        }
        let lane = (offset & 3) as u32;
        let value = self.read_register(offset & !3);
        u64::from(value).wrapping_shr(lane.wrapping_mul(8)) & size.mask()
    }

    /// A store of `size` at `offset`. Returns the byte that goes out, if one does. A store that does not
    /// begin at a register is lost.
    pub fn write(&mut self, offset: u64, size: Size, value: u64) -> Option<u8> {
        if offset & 3 != 0 {
            return None;
        }
        let sent = self.write_register(offset, (value & size.mask()) as u32);
        if size == Size::Double {
            return sent.or(self.write_register(offset | 4, (value >> 32) as u32));
        }
        sent
    }

    /// A byte arrives. False, and an overrun, if there is no room for it: it is lost.
    pub fn receive(&mut self, byte: u8) -> bool {
        // The overrun is told with the next character that finds room (2.4.3).
        if !self.receive.push(Received { byte, overrun: self.overrun }, self.depth()) {
            self.overrun = true;
            self.receive_status |= RSR_OVERRUN;
            self.raised |= INTERRUPT_OVERRUN;
            return false;
        }
        self.overrun = false;
        self.raised |= INTERRUPT_RECEIVE;
        true
    }

    /// Whether the transmit FIFO shows full.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Notes whether the line is behind with what the guest sends: then the transmit FIFO shows full, and its interrupt
    /// is low until the line has caught up, when the FIFO's level falls through the trigger (2.8.2). There is still room
    /// for what a driver sends without another look at UARTFR, half a FIFO.
    pub const fn set_behind(&mut self, is_behind: bool) {
        if is_behind {
            self.raised &= !INTERRUPT_TRANSMIT;
        } else if self.is_behind {
            self.raised |= INTERRUPT_TRANSMIT;
        }
        self.is_behind = is_behind;
    }

    /// How many bytes can arrive before one is lost.
    #[must_use]
    pub fn room(&self) -> usize {
        self.depth().saturating_sub(self.receive.len())
    }

    /// What a driver needs for each byte that it sends, for whoever does not want to wait for its turn: UARTFR in the
    /// lowest byte, and [`PASSES_ON`].
    #[must_use]
    pub fn glance(&self) -> u32 {
        let passes_on =
            self.raised & INTERRUPT_TRANSMIT != 0 && !self.is_behind && self.held[CR] & CR_LOOPBACK == 0;
        self.flags() | if passes_on { PASSES_ON } else { 0 }
    }

    /// Whether UARTINTR, the combined interrupt, is asserted.
    #[must_use]
    pub fn interrupt_line(&self) -> bool {
        self.raw_interrupts() & self.held[IMSC] != 0
    }

    fn raw_interrupts(&self) -> u32 {
        self.raised | if self.receive.is_empty() { 0 } else { INTERRUPT_RECEIVE_TIMEOUT }
    }

    /// Characters that the receive FIFO holds: one, with FIFOs off (3.3.7).
    fn depth(&self) -> usize {
        if self.held[LCR_H] & LCR_H_FIFOS != 0 { fifo::DEPTH } else { 1 }
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        match offset {
            offset::DR => self.read_data(),
            offset::RSR_ECR => self.receive_status,
            offset::FR => self.flags(),
            offset::RIS => self.raw_interrupts(),
            offset::MIS => self.raw_interrupts() & self.held[IMSC],
            offset::PERIPH_ID0..0x1000 => {
                IDENTIFICATION.get((offset >> 2 & 7) as usize).map_or(0, |byte| u32::from(*byte))
            }
            offset::ILPR..offset::NONE => self.held.get(place(offset)).copied().unwrap_or(0),
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) -> Option<u8> {
        match offset {
            offset::DR => return self.write_data(value as u8),
            offset::RSR_ECR => self.receive_status = 0,
            offset::LCR_H => self.write_line_control(value & BITS[LCR_H]),
            offset::ICR => self.raised &= !value,
            offset::ILPR..offset::NONE => {
                if let (Some(held), Some(bits)) = (self.held.get_mut(place(offset)), BITS.get(place(offset)))
                {
                    *held = value & bits;
                }
            }
            _ => {}
        }
        None
    }

    /// UARTDR, read: the oldest character with its errors in bits 11:8; zero if there is none.
    fn read_data(&mut self) -> u32 {
        let Some(received) = self.receive.pop() else { return 0 };
        let overrun = if received.overrun { RSR_OVERRUN } else { 0 };
        if self.receive.is_empty() {
            self.raised &= !INTERRUPT_RECEIVE;
        }
        overrun << 8 | u32::from(received.byte)
    }

    /// UARTDR, written: the byte leaves at once, and as it leaves the FIFO's level falls through every
    /// trigger, which raises the transmit interrupt (2.8.2).
    fn write_data(&mut self, byte: u8) -> Option<u8> {
        if !self.is_behind {
            self.raised |= INTERRUPT_TRANSMIT;
        }
        if self.held[CR] & CR_LOOPBACK != 0 {
            self.receive(byte);
            return None;
        }
        Some(byte)
    }

    fn flags(&self) -> u32 {
        let mut flags = if self.is_behind { TRANSMIT_FULL | FR_BUSY } else { FR_TRANSMIT_EMPTY };
        if self.receive.is_empty() {
            flags |= FR_RECEIVE_EMPTY;
        }
        if self.room() == 0 {
            flags |= FR_RECEIVE_FULL;
        }
        flags
    }

    /// Turning the FIFOs on or off empties them (3.3.7).
    fn write_line_control(&mut self, value: u32) {
        if (self.held[LCR_H] ^ value) & LCR_H_FIFOS != 0 {
            self.receive.clear();
            self.raised &= !INTERRUPT_RECEIVE;
        }
        self.held[LCR_H] = value;
    }
}
