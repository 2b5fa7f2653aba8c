// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port: the hypervisor's console.

use crate::mini_uart::{self, MiniUart};
use crate::mmio::Registers;
use arm_pl011_uart::{Interrupts, PL011Registers, Uart, UniqueMmioPointer};
use core::ptr::NonNull;

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
    Pl011(Uart<'static>),
    /// A mini UART.
    MiniUart(MiniUart),
}

impl Serial {
    /// The port whose registers are at `base`.
    ///
    /// # Safety
    /// The registers of a port of this model (4 KiB of a PL011, 64 bytes of a mini UART) are mapped at
    /// `base`, as Device memory or with translation off, for as long as the `Serial` lives, and no other
    /// `Serial` uses them at the same time.
    #[must_use]
    pub unsafe fn new(model: Model, base: usize) -> Option<Self> {
        match model {
            Model::Pl011 => {
                let registers = NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(base))?;
                // SAFETY: the caller promises mapped registers that nobody else uses.
                let registers = unsafe { UniqueMmioPointer::new(registers) };
                Some(Self::Pl011(Uart::new(registers)))
            }
            Model::MiniUart => {
                // SAFETY: the caller promises mapped registers, and the mini UART writes no memory.
                let registers = unsafe { Registers::new(base, mini_uart::SIZE) };
                Some(Self::MiniUart(MiniUart::new(registers)))
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
                Self::Pl011(uart) => !uart.is_busy(),
                Self::MiniUart(uart) => uart.is_idle(),
            };
            if idle {
                return;
            }
        }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Pl011(uart) => !uart.is_tx_fifo_full(),
            Self::MiniUart(uart) => uart.has_room(),
        }
    }

    fn write(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => uart.write_word(byte),
            Self::MiniUart(uart) => uart.write(byte),
        }
    }

    /// Takes a received byte; line errors are dropped with their byte.
    pub fn receive(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.read_word().ok().flatten(),
            Self::MiniUart(uart) => uart.read(),
        }
    }

    /// Lets the receiver interrupt: upon a PL011's trigger level, and upon a pause with data waiting.
    pub fn enable_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => {
                let receive = Interrupts::RXI | Interrupts::RTI;
                uart.clear_interrupts(receive);
                uart.set_interrupt_masks(receive);
            }
            Self::MiniUart(uart) => uart.enable_receive_interrupt(),
        }
    }

    /// Lowers the receive interrupts that have been served.
    pub fn clear_receive_interrupt(&mut self) {
        match self {
            Self::Pl011(uart) => uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI),
            // Its interrupt is the level of its FIFO.
            Self::MiniUart(_) => {}
        }
    }
}
