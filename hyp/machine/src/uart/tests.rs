// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const IBRD: u64 = 0x24;
const FBRD: u64 = 0x28;
const DMACR: u64 = 0x48;
const INTERRUPT_BITS: u32 = 0x7ff;

impl Uart {
    fn get(&mut self, offset: u64) -> u32 {
        self.read(offset, Size::Word) as u32
    }

    fn set(&mut self, offset: u64, value: u32) -> Option<u8> {
        self.write(offset, Size::Word, u64::from(value))
    }

    fn with_fifos() -> Self {
        let mut uart = Self::default();
        uart.set(offset::LCR_H, 0x70);
        uart
    }
}

#[test]
fn a_byte_that_is_passed_on_changes_nothing() {
    let passes_on = |uart: &Uart| uart.glance() & PASSES_ON != 0;
    let mut uart = Uart::default();
    assert!(!passes_on(&uart), "the first byte raises the transmit interrupt");
    uart.set(DR, b'a'.into());
    assert!(passes_on(&uart));
    let registers = |uart: &mut Uart| [FR, offset::RIS, offset::MIS].map(|offset| uart.get(offset));
    let before = registers(&mut uart);
    assert_eq!(uart.set(DR, b'b'.into()), Some(b'b'));
    assert_eq!(registers(&mut uart), before);
    uart.set(offset::CR, 0x301 | CR_LOOPBACK);
    assert!(!passes_on(&uart), "it comes back");
    uart.set(offset::CR, 0x301);
    uart.set(offset::ICR, INTERRUPT_TRANSMIT);
    assert!(!passes_on(&uart), "the next byte raises the interrupt again");
}

#[test]
fn a_glance_shows_the_flags() {
    let mut uart = Uart::default();
    uart.receive(b'a');
    for size in [Size::Byte, Size::Half, Size::Word] {
        assert_eq!(uart.read(FR, size), u64::from(uart.glance() & 0xff));
    }
}

#[test]
fn linux_finds_an_arm_pl011() {
    let mut uart = Uart::default();
    let word = |uart: &mut Uart, base: u64| {
        (0..4u32).fold(0, |id, index| id | uart.get(base + 4 * u64::from(index)) << (8 * index))
    };
    // drivers/amba: part, designer, revision; and the PrimeCell's class.
    assert_eq!(word(&mut uart, 0xfe0), 0x0034_1011);
    assert_eq!(word(&mut uart, 0xff0), 0xb105_f00d);
}

#[test]
fn reset_values_are_the_manuals() {
    let mut uart = Uart::default();
    for (offset, value) in [
        (offset::RSR_ECR, 0),
        (offset::FR, 0x90),
        (offset::ILPR, 0),
        (IBRD, 0),
        (FBRD, 0),
        (offset::LCR_H, 0),
        (offset::CR, 0x300),
        (offset::IFLS, 0x12),
        (offset::IMSC, 0),
        (offset::RIS, 0),
        (offset::MIS, 0),
        (DMACR, 0),
        (0x80, 0),
        (0xfdc, 0),
    ] {
        assert_eq!(uart.get(offset), value, "{offset:#x}");
    }
    assert!(!uart.interrupt_line());
}

#[test]
fn registers_keep_the_bits_that_they_have() {
    let mut uart = Uart::default();
    for (offset, value) in [
        (offset::ILPR, 0xff),
        (IBRD, 0xffff),
        (FBRD, 0x3f),
        (offset::LCR_H, 0xff),
        (offset::CR, 0xff87),
        (offset::IFLS, 0x3f),
        (offset::IMSC, 0x7ff),
        (DMACR, 7),
    ] {
        uart.set(offset, u32::MAX);
        assert_eq!(uart.get(offset), value, "{offset:#x}");
    }
}

#[test]
fn what_is_written_goes_out_and_raises_the_transmit_interrupt() {
    let mut uart = Uart::with_fifos();
    // Enabled before anything is written: no interrupt yet (DDI 0183G, 2.8.2).
    uart.set(offset::IMSC, INTERRUPT_TRANSMIT);
    assert!(!uart.interrupt_line());
    assert_eq!(uart.set(offset::DR, 0x141), Some(b'A'));
    assert_eq!(uart.get(offset::FR), 0x90, "and the FIFO is empty again");
    assert_eq!(uart.get(offset::MIS), INTERRUPT_TRANSMIT);
    assert!(uart.interrupt_line());
    // Linux has no more to send: it masks; later it unmasks, and the interrupt is still there.
    uart.set(offset::IMSC, 0);
    assert!(!uart.interrupt_line());
    uart.set(offset::IMSC, INTERRUPT_TRANSMIT);
    assert!(uart.interrupt_line());
    uart.set(offset::ICR, INTERRUPT_TRANSMIT);
    assert!(!uart.interrupt_line());
}

/// As QEMU's does, whatever the trigger level: there are guests that enable it without the timeout interrupt.
#[test]
fn the_receive_interrupt_comes_with_the_first_byte() {
    for levels in 0..8 {
        let mut uart = Uart::with_fifos();
        uart.set(offset::IFLS, levels << 3);
        uart.set(offset::IMSC, INTERRUPT_RECEIVE);
        assert!(uart.receive(1) && uart.interrupt_line(), "level {levels}");
        assert!(uart.receive(2));
        assert_eq!(uart.get(offset::DR), 1);
        assert!(uart.interrupt_line(), "level {levels}: one is left");
        uart.set(offset::IFLS, 4 << 3);
        assert!(uart.interrupt_line(), "a new level changes nothing");
        assert_eq!(uart.get(offset::DR), 2);
        assert!(!uart.interrupt_line(), "level {levels}: none is left");
    }
}

#[test]
fn a_single_byte_is_announced_by_the_timeout() {
    let mut uart = Uart::with_fifos();
    uart.set(offset::IMSC, INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT);
    assert!(uart.receive(b'q'));
    assert!(uart.interrupt_line());
    assert_eq!(uart.get(offset::MIS), INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT);
    // Cleared with the byte still there, it elapses again: no byte is forgotten.
    uart.set(offset::ICR, INTERRUPT_BITS);
    assert!(uart.interrupt_line());
    assert_eq!(uart.get(offset::DR), u32::from(b'q'));
    assert!(!uart.interrupt_line());
    assert_eq!(uart.get(offset::FR), 0x90);
}

#[test]
fn a_line_that_is_behind_shows_a_full_fifo() {
    let mut uart = Uart::with_fifos();
    uart.set(offset::IMSC, INTERRUPT_TRANSMIT);
    uart.set(DR, b'a'.into());
    assert!(uart.interrupt_line());
    uart.set_behind(true);
    assert_eq!(uart.get(FR), TRANSMIT_FULL | FR_BUSY | FR_RECEIVE_EMPTY);
    assert!(!uart.interrupt_line() && uart.glance() & PASSES_ON == 0);
    // Whoever sends all the same is heard as far as there is room, but the interrupt stays low.
    assert_eq!(uart.set(DR, b'b'.into()), Some(b'b'));
    assert!(!uart.interrupt_line());
    uart.set_behind(false);
    assert!(uart.interrupt_line() && uart.get(FR) == FR_TRANSMIT_EMPTY | FR_RECEIVE_EMPTY);
    assert!(uart.glance() & PASSES_ON != 0);
    // It was not behind: nothing falls.
    uart.set(offset::ICR, INTERRUPT_TRANSMIT);
    uart.set_behind(false);
    assert!(!uart.interrupt_line());
}

#[test]
fn without_fifos_one_byte_fits() {
    let mut uart = Uart::default();
    uart.set(offset::IMSC, INTERRUPT_RECEIVE);
    assert!(uart.receive(1));
    assert!(uart.interrupt_line());
    assert_eq!(uart.get(offset::FR), 0xc0, "receive full, transmit empty");
    assert_eq!(uart.room(), 0);
    assert!(!uart.receive(2));
    assert_eq!(uart.get(offset::DR), 1);
    assert_eq!(uart.room(), 1);
}

#[test]
fn what_does_not_fit_is_lost_and_told() {
    let mut uart = Uart::with_fifos();
    uart.set(offset::IMSC, INTERRUPT_OVERRUN);
    for byte in 0..32 {
        assert!(uart.receive(byte));
    }
    assert!(!uart.interrupt_line());
    assert!(!uart.receive(32));
    assert!(uart.interrupt_line());
    assert_eq!(uart.get(offset::RSR_ECR), RSR_OVERRUN);
    uart.set(offset::RSR_ECR, 0);
    assert_eq!(uart.get(offset::RSR_ECR), 0);
    uart.set(offset::ICR, INTERRUPT_OVERRUN);
    assert!(!uart.interrupt_line());
    // The next byte that finds room carries the news.
    assert_eq!(uart.get(offset::DR), 0);
    assert!(uart.receive(33));
    for byte in 1..32 {
        assert_eq!(uart.get(offset::DR), byte);
    }
    assert_eq!(uart.get(offset::DR), 0x800 | 33);
    assert_eq!(uart.get(offset::DR), 0, "empty");
}

#[test]
fn turning_fifos_on_or_off_empties_them() {
    let mut uart = Uart::with_fifos();
    uart.set(offset::IMSC, INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT);
    for byte in 0..20 {
        assert!(uart.receive(byte));
    }
    assert!(uart.interrupt_line());
    uart.set(offset::LCR_H, 0x60);
    assert!(!uart.interrupt_line());
    assert_eq!(uart.room(), 1);
    // Writing it again, as Linux does to latch the baud rate, loses nothing.
    assert!(uart.receive(7));
    uart.set(offset::LCR_H, 0x60);
    assert_eq!(uart.get(offset::DR), 7);
}

#[test]
fn loopback_receives_what_is_sent() {
    let mut uart = Uart::with_fifos();
    uart.set(offset::CR, 0x381);
    assert_eq!(uart.set(offset::DR, u32::from(b'x')), None);
    assert_eq!(uart.get(offset::DR), u32::from(b'x'));
}

#[test]
fn accesses_of_every_size() {
    let mut uart = Uart::with_fifos();
    uart.write(IBRD, Size::Half, 0xffff_1234);
    assert_eq!(uart.read(IBRD, Size::Byte), 0x34);
    assert_eq!(uart.read(IBRD + 1, Size::Byte), 0x12);
    assert_eq!(uart.read(IBRD + 2, Size::Half), 0);
    assert_eq!(uart.read(IBRD & !7, Size::Double), 0x1234 << 32);
    assert_eq!(uart.write(offset::DR, Size::Byte, 0xffff_ff41), Some(b'A'));
    assert_eq!(uart.write(offset::DR + 1, Size::Byte, 0x41), None);
    assert_eq!(uart.write(offset::DR, Size::Double, 0x42), Some(b'B'));
    assert_eq!(uart.read(u64::MAX, Size::Double), 0);
    assert_eq!(uart.write(u64::MAX - 3, Size::Double, 0), None);
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, Size),
    Write(u64, Size, u64),
    Receive(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![Just(Size::Byte), Just(Size::Half), Just(Size::Word), Just(Size::Double)];
    let offset = prop_oneof![0u64..0x50, 0u64..0x1000, any::<u64>()];
    let step = prop_oneof![
        (offset.clone(), size.clone()).prop_map(|(offset, size)| Step::Read(offset, size)),
        (offset, size, any::<u64>()).prop_map(|(offset, size, value)| Step::Write(offset, size, value)),
        any::<u8>().prop_map(Step::Receive),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn no_sequence_confuses_it(steps in steps()) {
        let mut uart = Uart::default();
        for step in steps {
            match step {
                Step::Read(offset, size) => prop_assert_eq!(uart.read(offset, size) & !size.mask(), 0),
                Step::Write(offset, size, value) => {
                    let _ = uart.write(offset, size, value);
                }
                Step::Receive(byte) => {
                    let room = uart.room();
                    prop_assert_eq!(uart.receive(byte), room > 0);
                }
            }
            let masked = uart.get(offset::MIS);
            prop_assert_eq!(masked, uart.get(offset::RIS) & uart.get(offset::IMSC));
            prop_assert_eq!(uart.interrupt_line(), masked != 0);
            prop_assert_eq!(uart.get(offset::FR) & FR_RECEIVE_FULL != 0, uart.room() == 0);
        }
    }

    #[test]
    fn bytes_come_out_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut uart = Uart::with_fifos();
        let mut seen = Vec::new();
        for byte in &bytes {
            while uart.room() == 0 {
                seen.push(uart.get(offset::DR) as u8);
            }
            prop_assert!(uart.receive(*byte));
        }
        while uart.get(offset::FR) & FR_RECEIVE_EMPTY == 0 {
            seen.push(uart.get(offset::DR) as u8);
        }
        prop_assert_eq!(seen, bytes);
    }
}
