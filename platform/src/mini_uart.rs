// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mini UART of Broadcom's BCM2835 family (BCM2711 ARM Peripherals, 2.2.2), the Raspberry Pi's
//! console where Bluetooth has the PL011.
//!
//! Its registers resemble a 16550's, 32 bits apart. It takes its rate from the VideoCore's core clock,
//! which the firmware holds still with `enable_uart=1`, and which nobody but the firmware knows: the rate
//! and the pins stay as they were left.

use crate::mmio::Registers;

/// Received and sent bytes.
const IO: usize = 0x00;
/// Interrupt enables. The document has the receiver's in bit 0 and says of bits 3:2 that interrupts
/// come only with them set.
const INTERRUPT_ENABLE: usize = 0x04;
const INTERRUPT_ENABLE_RECEIVE: u32 = 0b1101;
const LINE_STATUS: usize = 0x14;
const LINE_STATUS_RECEIVED: u32 = 1 << 0;
const LINE_STATUS_ROOM: u32 = 1 << 5;
const LINE_STATUS_IDLE: u32 = 1 << 6;

/// Bytes of its registers.
pub const SIZE: usize = 0x40;

/// The port.
pub struct MiniUart {
    registers: Registers,
}

impl MiniUart {
    /// The port with these registers, as the firmware left it.
    #[must_use]
    pub const fn new(registers: Registers) -> Self {
        Self { registers }
    }

    /// Whether there is room for a byte to send.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.registers.read32(LINE_STATUS) & LINE_STATUS_ROOM != 0
    }

    /// Whether the last bit of the last byte has been sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.registers.read32(LINE_STATUS) & LINE_STATUS_IDLE != 0
    }

    /// Sends a byte; there is room for it.
    pub fn write(&mut self, byte: u8) {
        self.registers.write32(IO, u32::from(byte));
    }

    /// Takes a received byte. That lowers the interrupt once none is left: nothing else does.
    pub fn read(&mut self) -> Option<u8> {
        let received = self.registers.read32(LINE_STATUS) & LINE_STATUS_RECEIVED != 0;
        // Bits 7:0 of the register are data.
        received.then(|| self.registers.read32(IO) as u8)
    }

    /// Lets the receiver interrupt whenever a byte waits.
    pub fn enable_receive_interrupt(&mut self) {
        self.registers.write32(INTERRUPT_ENABLE, INTERRUPT_ENABLE_RECEIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    #[test]
    fn bytes_go_where_the_status_allows() {
        let fake = Fake::<{ SIZE / 4 }>::new();
        let mut port = MiniUart::new(fake.registers());
        assert!(!port.has_room() && !port.is_idle());
        assert_eq!(port.read(), None);
        fake.set(LINE_STATUS, LINE_STATUS_ROOM | LINE_STATUS_RECEIVED);
        fake.set(IO, 0xffff_ff41);
        assert!(port.has_room());
        assert_eq!(port.read(), Some(0x41));
        port.write(b'x');
        assert_eq!(fake.get(IO), 0x78);
        fake.set(LINE_STATUS, LINE_STATUS_ROOM | LINE_STATUS_IDLE);
        assert!(port.is_idle());
        port.enable_receive_interrupt();
        assert_eq!(fake.get(INTERRUPT_ENABLE), 0b1101);
    }
}
