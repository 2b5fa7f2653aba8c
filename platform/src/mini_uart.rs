// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mini UART of Broadcom's BCM2835 family (BCM2711 ARM Peripherals, 2.2.2), the Raspberry Pi's
//! console where Bluetooth has the PL011.
//!
//! Its registers resemble a 16550's, 32 bits apart. It takes its rate from the VideoCore's core clock,
//! which the firmware holds still with `enable_uart=1`, and which nobody but the firmware knows: the rate
//! and the pins stay as they were left.

use crate::serial::Model;

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

/// The port.
pub static MINI_UART: Model = Model {
    size: 0x40,
    data: IO,
    errors: 0,
    status: LINE_STATUS,
    inverted: 0,
    room: LINE_STATUS_ROOM,
    idle: LINE_STATUS_IDLE,
    received: LINE_STATUS_RECEIVED,
    enable: (INTERRUPT_ENABLE, INTERRUPT_ENABLE_RECEIVE),
    // Taking the last byte lowers the interrupt: nothing else does.
    clear: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    #[test]
    fn bytes_go_where_the_status_allows() {
        let fake = Fake::<{ MINI_UART.size / 4 }>::new();
        let mut port = fake.port(&MINI_UART);
        // Nothing is received, and what is sent waits for room, and is given up.
        fake.set(IO, 0xffff_ff41);
        assert_eq!(port.receive(), None);
        port.send(b'x');
        assert_eq!(fake.get(IO), 0xffff_ff41);
        fake.set(LINE_STATUS, LINE_STATUS_ROOM | LINE_STATUS_RECEIVED);
        assert_eq!(port.receive(), Some(0x41));
        port.send(b'x');
        assert_eq!(fake.get(IO), 0x78);
        fake.set(LINE_STATUS, LINE_STATUS_IDLE);
        port.drain();
        port.enable_receive_interrupt();
        assert_eq!(fake.get(INTERRUPT_ENABLE), 0b1101);
    }
}
