// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arm's PrimeCell UART (DDI 0183G), as far as a console needs it: rate and pins are as the firmware left them.

use crate::mmio::Registers;

/// The data register: a byte, and what was wrong with it (3.3.1).
const DATA: usize = 0x00;
const DATA_ERRORS: u32 = 0xf00;
const FLAGS: usize = 0x18;
const FLAGS_BUSY: u32 = 1 << 3;
const FLAGS_NOTHING_RECEIVED: u32 = 1 << 4;
const FLAGS_NO_ROOM: u32 = 1 << 5;
const INTERRUPT_MASK: usize = 0x38;
const INTERRUPT_CLEAR: usize = 0x44;
/// The receiver's: its FIFO is as full as set, or bytes wait in it and no more came for a while.
const RECEIVE: u32 = 1 << 4 | 1 << 6;

/// Bytes of the registers used here. Boards have several ports in a page.
pub const SIZE: usize = 0x48;

/// Bytes that the receiver can hold.
const FIFO: usize = 32;

/// The port.
pub struct Pl011 {
    registers: Registers,
}

impl Pl011 {
    /// The port with these registers.
    #[must_use]
    pub const fn new(registers: Registers) -> Self {
        Self { registers }
    }

    fn flag(&self, flag: u32) -> bool {
        self.registers.read32(FLAGS) & flag != 0
    }

    /// Whether there is room for a byte to send.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.flag(FLAGS_NO_ROOM)
    }

    /// Whether the last bit of the last byte has been sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.flag(FLAGS_BUSY)
    }

    /// Sends a byte; there is room for it.
    pub fn write(&mut self, byte: u8) {
        self.registers.write32(DATA, u32::from(byte));
    }

    /// Takes a received byte. Those that came with a line error, or after one was lost, are dropped.
    pub fn read(&mut self) -> Option<u8> {
        for _ in 0..FIFO {
            if self.flag(FLAGS_NOTHING_RECEIVED) {
                break;
            }
            let data = self.registers.read32(DATA);
            if data & DATA_ERRORS == 0 {
                return Some(data as u8);
            }
        }
        None
    }

    /// Lets the receiver interrupt: upon the trigger level, and upon a pause with data waiting.
    pub fn enable_receive_interrupt(&mut self) {
        self.clear_receive_interrupt();
        self.registers.write32(INTERRUPT_MASK, RECEIVE);
    }

    /// Lowers the receiver's interrupts.
    pub fn clear_receive_interrupt(&mut self) {
        self.registers.write32(INTERRUPT_CLEAR, RECEIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    #[test]
    fn bytes_go_where_the_flags_allow() {
        let fake = Fake::<{ SIZE / 4 }>::new();
        let mut port = Pl011::new(fake.registers());
        fake.set(FLAGS, FLAGS_BUSY | FLAGS_NOTHING_RECEIVED | FLAGS_NO_ROOM);
        assert!(!port.has_room() && !port.is_idle());
        assert_eq!(port.read(), None);
        fake.set(FLAGS, 0);
        assert!(port.has_room() && port.is_idle());
        fake.set(DATA, 0x41);
        assert_eq!(port.read(), Some(0x41));
        port.write(b'x');
        assert_eq!(fake.get(DATA), 0x78);
        // A break, for ever: no byte, and an end.
        fake.set(DATA, 1 << 10);
        assert_eq!(port.read(), None);
        port.enable_receive_interrupt();
        assert_eq!([INTERRUPT_MASK, INTERRUPT_CLEAR].map(|at| fake.get(at)), [0x50, 0x50]);
        assert_eq!(fake.get(0x30), 0, "rate and format are the firmware's");
    }
}
