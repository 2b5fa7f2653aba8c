// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Virtio transports over MMIO without a device behind them, as QEMU's virt board shows them.
//!
//! Guests that are built for that board look for their devices at its fixed addresses. An empty transport has the
//! device ID 0, which a driver must ignore (Virtio 1.2, 4.2.3.1.1). What else it answers is what
//! `virtio_mmio_read` and `virtio_mmio_write` of QEMU (`hw/virtio/virtio-mmio.c`) do without a back end.

use crate::syndrome::Size;

/// Bytes of one transport. The next follows at once.
const TRANSPORT_SIZE: u64 = 0x200;

/// "virt", little-endian (Virtio 1.2, 4.2.2).
const MAGIC: u64 = 0x7472_6976;
/// The legacy interface, which is QEMU's default (4.2.4).
const VERSION: u64 = 1;
/// "QEMU", little-endian.
const VENDOR: u64 = 0x554d_4551;

/// A load from empty transports, `offset` bytes from the start of the first. `None` if it is not aligned, which
/// QEMU's bus refuses.
#[must_use]
pub const fn read_empty(offset: u64, size: Size) -> Option<u64> {
    if offset & size.bytes().wrapping_sub(1) != 0 {
        return None;
    }
    let register = offset & TRANSPORT_SIZE.wrapping_sub(1);
    // The bus splits a double word into two words. A part of a register that does not start it is none.
    let upper = match size {
        Size::Double => register_value(register | 4) << 32,
        _ => 0,
    };
    Some((register_value(register) | upper) & size.mask())
}

/// Whether a store to empty transports is accepted, which changes nothing.
#[must_use]
pub const fn write_empty(offset: u64, size: Size) -> bool {
    read_empty(offset, size).is_some()
}

const fn register_value(register: u64) -> u64 {
    match register {
        0x000 => MAGIC,
        0x004 => VERSION,
        0x00c => VENDOR,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_empty_transport_has_magic_version_and_vendor_and_no_device() {
        for transport in (0..0x4000).step_by(0x200) {
            let words: [_; 4] = [0, 4, 8, 12].map(|register| read_empty(transport + register, Size::Word));
            assert_eq!(words, [Some(0x7472_6976), Some(1), Some(0), Some(0x554d_4551)]);
            assert!((0x10..0x200).step_by(4).all(|at| read_empty(transport + at, Size::Word) == Some(0)));
        }
    }

    #[test]
    fn other_sizes_are_answered_as_qemu_answers_them() {
        assert_eq!(read_empty(0x200, Size::Byte), Some(0x76));
        assert_eq!(read_empty(0x201, Size::Byte), Some(0));
        assert_eq!(read_empty(0x200, Size::Half), Some(0x6976));
        assert_eq!(read_empty(0x202, Size::Half), Some(0));
        assert_eq!(read_empty(0x200, Size::Double), Some(0x1_7472_6976));
        assert_eq!(read_empty(0x208, Size::Double), Some(0x554d_4551_0000_0000));
    }

    #[test]
    fn what_is_not_aligned_is_refused() {
        assert_eq!(read_empty(2, Size::Word), None);
        assert!(!write_empty(4, Size::Double) && write_empty(8, Size::Double));
    }
}
