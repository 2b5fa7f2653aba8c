// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The partition's watchdog: any accesses at any time.

use crate::Input;
use bulkhead_machine::syndrome::Size;
use bulkhead_machine::watchdog::{Due, Watchdog};

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let (mut watchdog, mut now) = (Watchdog::default(), 0_u64);
    while !input.is_empty() {
        let step = input.u8();
        let size = [Size::Byte, Size::Half, Size::Word, Size::Double][usize::from(step >> 2 & 3)];
        // The registers of both frames, or anywhere.
        let offset = match step >> 4 {
            place @ 0..8 => u64::from(place) * 4,
            8..12 => 0x1000,
            _ => u64::from(input.u16()),
        };
        match step & 3 {
            0 => assert_eq!(watchdog.read(offset, size) & !size.mask(), 0, "more than was asked for"),
            1 => watchdog.write(offset, input.u64(), now),
            _ => now = now.saturating_add(u64::from(input.u32()) << (step >> 4)),
        }
        if let Due::At(then) = watchdog.look(now) {
            assert!(then >= now || then == u64::MAX, "it would be looked at for ever");
        }
    }
}
