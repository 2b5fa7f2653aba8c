// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port: the hypervisor's console.

use crate::mini_uart::{self, MiniUart};
use crate::mmio::Registers;
use crate::pl011::{self, Pl011};

/// Which driver a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Arm's PrimeCell UART (DDI 0183).
    Pl011,
    /// The auxiliary UART of Broadcom's BCM2835 family.
    MiniUart,
}

/// A port as the firmware left it: rate and pins are its business, and it printed through it already.
pub enum Serial {
    /// A PL011.
    Pl011(Pl011),
    /// A mini UART.
    MiniUart(MiniUart),
}

impl Serial {
    /// The port whose registers are at `base`.
    ///
    /// # Safety
    /// The registers of a port of this model ([`pl011::SIZE`] or [`mini_uart::SIZE`] bytes) are mapped at
    /// `base`, as Device memory or with translation off, for as long as the `Serial` lives. A second one on
    /// the same port may tear lines, and no more.
    #[must_use]
    pub const unsafe fn new(model: Model, base: usize) -> Self {
        // SAFETY: the caller promises mapped registers. Neither port writes to memory: a PL011 has no bus
        // master, and asks a DMA controller only where UARTDMACR is set, which nothing here does.
        unsafe {
            match model {
                Model::Pl011 => Self::Pl011(Pl011::new(Registers::new(base, pl011::SIZE))),
                Model::MiniUart => Self::MiniUart(MiniUart::new(Registers::new(base, mini_uart::SIZE))),
            }
        }
    }

    /// Sends a byte, waiting for room. A transmitter that never drains is given up after a while, so
    /// that a dead port cannot stop the board.
    #[inline(always)]
    pub fn send(&mut self, byte: u8) {
        if self.has_room() { self.write(byte) } else { self.wait_and_send(byte) }
    }

    #[inline(never)]
    fn wait_and_send(&mut self, byte: u8) {
        // At 115,200 baud a byte leaves in 87 µs; a register read takes 50 ns or more.
        for _ in 0..100_000 {
            if self.has_room() {
                return self.write(byte);
            }
        }
    }

    /// Waits until all has left the port, for as long as a full FIFO takes at 9,600 baud: before the power
    /// goes, and the last words with it.
    pub fn drain(&self) {
        for _ in 0..1_000_000 {
            let idle = match self {
                Self::Pl011(uart) => uart.is_idle(),
                Self::MiniUart(uart) => uart.is_idle(),
            };
            if idle {
                return;
            }
        }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Pl011(uart) => uart.has_room(),
            Self::MiniUart(uart) => uart.has_room(),
        }
    }

    fn write(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => uart.write(byte),
            Self::MiniUart(uart) => uart.write(byte),
        }
    }

    /// Takes a received byte; line errors are dropped with their byte.
    pub fn receive(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.read(),
            Self::MiniUart(uart) => uart.read(),
        }
    }

    /// Lets the receiver interrupt: upon a PL011's trigger level, and upon a pause with data waiting.
    pub fn enable_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.enable_receive_interrupt(),
            Self::MiniUart(uart) => uart.enable_receive_interrupt(),
        }
    }

    /// Lowers the receive interrupts that have been served.
    pub fn clear_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.clear_receive_interrupt(),
            // Its interrupt is the level of its FIFO.
            Self::MiniUart(_) => {}
        }
    }
}
