// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port: the hypervisor's console.

use crate::mmio::Registers;

/// Where a kind of port keeps what, as far as a console needs it.
#[derive(Debug)]
pub struct Model {
    /// Bytes of the registers used here. Boards have several ports in a page.
    pub size: usize,
    /// Received and sent bytes.
    pub data: usize,
    /// What is set with a received byte that is none.
    pub errors: u32,
    /// The port's state.
    pub status: usize,
    /// Of the following bits those that are set where it is not so.
    pub inverted: u32,
    /// There is room for a byte to send.
    pub room: u32,
    /// The last bit of the last byte has been sent.
    pub idle: u32,
    /// A byte has been received.
    pub received: u32,
    /// What lets the receiver interrupt, and where.
    pub enable: (usize, u32),
    /// What lowers its interrupts, and where; `None` where they are as high as the FIFO.
    pub clear: Option<(usize, u32)>,
}

/// A port as the firmware left it: rate and pins are its business, and it printed through it already.
pub struct Serial {
    model: &'static Model,
    registers: Registers,
    #[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
    line: slow::Line,
}

impl Serial {
    /// The port whose registers are at `base`.
    ///
    /// # Safety
    /// The registers of a port of this model ([`Model::size`] bytes) are mapped at `base`, as Device memory or with
    /// translation off, for as long as the `Serial` lives. A second one on the same port may tear lines, and no more.
    #[must_use]
    pub const unsafe fn new(model: &'static Model, base: usize) -> Self {
        // SAFETY: the caller promises mapped registers. Neither port writes to memory: a PL011 has no bus
        // master, and asks a DMA controller only where UARTDMACR is set, which nothing here does.
        let registers = unsafe { Registers::new(base, model.size) };
        Self {
            model,
            registers,
            #[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
            line: slow::Line { empty_at: 0 },
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
        if (0..100_000).any(|_| self.has_room()) {
            self.write(byte);
        }
    }

    /// Waits until all has left the port, for as long as a full FIFO takes at 9,600 baud: before the power
    /// goes, and the last words with it.
    pub fn drain(&self) {
        _ = (0..1_000_000).any(|_| self.is_idle());
    }

    /// Takes a received byte. Those that came with a line error, or after one was lost, are dropped.
    pub fn receive(&mut self) -> Option<u8> {
        // As many as a receiver can hold.
        for _ in 0..32 {
            if !self.is(self.model.received) {
                break;
            }
            let data = self.registers.read32(self.model.data);
            if data & self.model.errors == 0 {
                return Some(data as u8);
            }
        }
        None
    }

    /// Lets the receiver interrupt: upon a PL011's trigger level, and upon a pause with data waiting.
    pub fn enable_receive_interrupt(&mut self) {
        self.clear_receive_interrupt();
        let (register, bits) = self.model.enable;
        self.registers.write32(register, bits);
    }

    /// Lowers the receive interrupts that have been served.
    pub fn clear_receive_interrupt(&mut self) {
        if let Some((register, bits)) = self.model.clear {
            self.registers.write32(register, bits);
        }
    }

    #[inline(always)]
    fn is(&self, bit: u32) -> bool {
        (self.registers.read32(self.model.status) ^ self.model.inverted) & bit != 0
    }

    /// Whether there is room for a byte to send.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self) -> bool {
        #[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
        if !self.line.has_room() {
            return false;
        }
        self.is(self.model.room)
    }

    fn is_idle(&self) -> bool {
        #[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
        if !self.line.is_idle() {
            return false;
        }
        self.is(self.model.idle)
    }

    /// Sends a byte, for which there is room ([`Self::has_room`]).
    #[inline(always)]
    pub fn write(&mut self, byte: u8) {
        #[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
        self.line.send();
        self.registers.write32(self.model.data, u32::from(byte));
    }
}

/// A line of 115,200 baud behind a port that has none, as an emulator's, which never says that its FIFO is full: for tests.
#[cfg(all(feature = "slow-port", target_arch = "aarch64"))]
mod slow {
    /// Bytes that the transmit FIFO holds.
    const DEPTH: u64 = 16;
    /// Bytes of ten bits in a second.
    const RATE: u64 = 11_520;

    /// When the last byte has left, by the physical counter.
    pub(super) struct Line {
        pub(super) empty_at: u64,
    }

    fn now() -> u64 {
        let value;
        // SAFETY: reads the physical counter (Arm ARM, CNTPCT_EL0).
        unsafe { core::arch::asm!("isb", "mrs {}, cntpct_el0", out(reg) value, options(nomem, nostack)) };
        value
    }

    fn frequency() -> u64 {
        let value;
        // SAFETY: reads the counter's frequency (Arm ARM, CNTFRQ_EL0).
        unsafe { core::arch::asm!("mrs {}, cntfrq_el0", out(reg) value, options(nomem, nostack)) };
        value
    }

    impl Line {
        fn byte() -> u64 {
            frequency() / RATE
        }

        pub(super) fn has_room(&self) -> bool {
            self.empty_at.saturating_sub(now()) <= Self::byte().saturating_mul(DEPTH - 1)
        }

        pub(super) fn is_idle(&self) -> bool {
            self.empty_at <= now()
        }

        pub(super) fn send(&mut self) {
            self.empty_at = self.empty_at.max(now()).saturating_add(Self::byte());
        }
    }
}
