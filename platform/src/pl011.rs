// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arm's PrimeCell UART (DDI 0183G), as far as a console needs it: rate and pins are as the firmware left them.

use crate::serial::Model;

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

/// The port.
pub static PL011: Model = Model {
    size: 0x48,
    data: DATA,
    errors: DATA_ERRORS,
    status: FLAGS,
    inverted: FLAGS_BUSY | FLAGS_NOTHING_RECEIVED | FLAGS_NO_ROOM,
    room: FLAGS_NO_ROOM,
    idle: FLAGS_BUSY,
    received: FLAGS_NOTHING_RECEIVED,
    enable: (INTERRUPT_MASK, RECEIVE),
    clear: Some((INTERRUPT_CLEAR, RECEIVE)),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::Fake;

    #[test]
    fn bytes_go_where_the_flags_allow() {
        let fake = Fake::<{ PL011.size / 4 }>::new();
        let mut port = fake.port(&PL011);
        // Nothing is received, and what is sent waits for room, and is given up.
        fake.set(FLAGS, FLAGS_BUSY | FLAGS_NOTHING_RECEIVED | FLAGS_NO_ROOM);
        fake.set(DATA, 0x41);
        assert_eq!(port.receive(), None);
        port.send(b'x');
        assert_eq!(fake.get(DATA), 0x41);
        fake.set(FLAGS, 0);
        assert_eq!(port.receive(), Some(0x41));
        port.send(b'x');
        assert_eq!(fake.get(DATA), 0x78);
        // A break, for ever: no byte, and an end.
        fake.set(DATA, 1 << 10);
        assert_eq!(port.receive(), None);
        port.enable_receive_interrupt();
        assert_eq!([INTERRUPT_MASK, INTERRUPT_CLEAR].map(|at| fake.get(at)), [0x50, 0x50]);
        assert_eq!(fake.get(0x30), 0, "rate and format are the firmware's");
    }
}
