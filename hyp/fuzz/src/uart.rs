// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual PL011: any accesses, any input.

use crate::Input;
use bulkhead_machine::syndrome::Size;
use bulkhead_machine::uart::Uart;

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let mut uart = Uart::default();
    while !input.is_empty() {
        let (step, offset, value) = (input.u8(), u64::from(input.u16()), u64::from(input.u32()));
        let size = [Size::Byte, Size::Half, Size::Word, Size::Double][usize::from(step >> 2 & 3)];
        match step & 3 {
            0 => {
                let read = uart.read(offset, size);
                assert_eq!(read & !size.mask(), 0, "more than was asked for");
            }
            1 => drop(uart.write(offset, size, value)),
            // DR and the registers that decide what becomes of it.
            2 => drop(uart.write(u64::from(step >> 4) * 4, size, value)),
            _ => {
                let room = uart.room();
                let taken = uart.receive(value as u8);
                assert!(uart.room() <= room && (!taken || uart.room() + 1 >= room));
            }
        }
        let _ = uart.interrupt_line();
        assert!(uart.room() <= 32);
    }
}
