// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptors of the VMSAv8-64 format with the 4 KiB granule: where they lead, and the attributes of those that are the last.

use bulkhead_types::Hpa;

/// Descriptors in one page.
pub(super) const ENTRIES: usize = 512;
/// The level whose descriptors are pages.
pub(super) const LAST_LEVEL: u32 = 3;
/// Bit 0: the descriptor is valid. Bit 1: table (levels 0 to 2) or page (level 3), else block.
pub(super) const VALID: u64 = 0b01;
pub(super) const TABLE_OR_PAGE: u64 = 0b11;
/// Output address of a descriptor, bits 47:12.
pub(super) const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Bits of input address that a descriptor of this level leaves untranslated.
pub(super) const fn shift(level: u32) -> u32 {
    12_u32.saturating_add(9_u32.saturating_mul(LAST_LEVEL.saturating_sub(level)))
}

/// Bytes that one descriptor of this level covers.
pub(super) const fn span(level: u32) -> u64 {
    1 << shift(level)
}

/// The last-level descriptor that maps the page at `output`.
#[must_use]
pub const fn page_descriptor(output: Hpa, attributes: u64) -> u64 {
    output.0 & ADDRESS | attributes | TABLE_OR_PAGE
}

/// One mapping, as the hardware walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First input address.
    pub input: u64,
    /// First output address.
    pub output: Hpa,
    /// Bytes: 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    /// Attribute bits of the descriptor: all but its type and address.
    pub attributes: u64,
}

/// What a valid descriptor leads to.
pub(super) enum Entry {
    Table(Hpa),
    Leaf(Leaf),
}

impl Entry {
    /// What `descriptor` leads to, if it is valid: one of `level`, which translates from `input` on.
    pub(super) fn decode(descriptor: u64, level: u32, input: u64) -> Option<Self> {
        let output = Hpa(descriptor & ADDRESS);
        let attributes = descriptor & !(ADDRESS | TABLE_OR_PAGE);
        match descriptor & TABLE_OR_PAGE {
            TABLE_OR_PAGE if level < LAST_LEVEL => Some(Self::Table(output)),
            TABLE_OR_PAGE | VALID => Some(Self::Leaf(Leaf { input, output, size: span(level), attributes })),
            _ => None,
        }
    }
}

/// Attributes of stage-2 leaves (Arm ARM, D8.3.2 and D8.6.6; FEAT_S2FWB off).
pub mod stage2 {
    /// Access flag set: no access-flag faults.
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    const READ_WRITE: u64 = 0b11 << 6;
    /// S2AP\[1\]: the guest may write.
    const WRITE: u64 = 0b10 << 6;
    const WRITE_BACK: u64 = 0b1111 << 2;
    /// Device-nGnRE: a guest's stage 1 may make it stronger, never weaker (Arm ARM, D8.6.8).
    const DEVICE_NGNRE: u64 = 0b0001 << 2;
    /// XN\[1:0\] = 0b10: no execution at EL1 nor EL0.
    pub const EXECUTE_NEVER: u64 = 0b10 << 53;
    /// Memory of a guest.
    pub const MEMORY: u64 = ACCESSED | INNER_SHAREABLE | READ_WRITE | WRITE_BACK;
    /// Registers of a device.
    pub const DEVICE: u64 = ACCESSED | READ_WRITE | DEVICE_NGNRE | EXECUTE_NEVER;

    /// Memory of a guest that it may read, and write to and execute from only if so said.
    #[must_use]
    pub const fn memory(write: bool, execute: bool) -> u64 {
        let writable = if write { MEMORY } else { MEMORY & !WRITE };
        if execute { writable } else { writable | EXECUTE_NEVER }
    }

    /// Whether a leaf with these attributes is a device's.
    #[must_use]
    pub const fn is_device(attributes: u64) -> bool {
        attributes & WRITE_BACK != WRITE_BACK
    }
}

/// Attributes of EL2's own leaves (Arm ARM, D8.3.1, D8.4 and D8.6.1); MAIR_EL2 is [`stage1::MAIR`].
pub mod stage1 {
    const ACCESSED: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    /// AP\[2\]: read-only.
    pub const READ_ONLY: u64 = 1 << 7;
    /// AP\[1\] is RES1 in a translation regime with one exception level.
    const RES1: u64 = 1 << 6;
    const DEVICE_INDEX: u64 = 1 << 2;
    const UNCACHED_INDEX: u64 = 2 << 2;
    /// XN: no execution at EL2.
    pub const EXECUTE_NEVER: u64 = 1 << 54;

    /// Attribute 0: Normal, inner and outer write-back, allocating. Attribute 1: Device-nGnRE. Attribute 2:
    /// Normal, non-cacheable.
    pub const MAIR: u64 = 0x44_04ff;

    /// Code: read and execute.
    pub const TEXT: u64 = ACCESSED | INNER_SHAREABLE | RES1 | READ_ONLY;
    /// Constants, the board's tree and the bundle: read.
    pub const CONSTANT: u64 = TEXT | EXECUTE_NEVER;
    /// Variables, stacks and heap: read and write.
    pub const DATA: u64 = ACCESSED | INNER_SHAREABLE | RES1 | EXECUTE_NEVER;
    /// A guest's memory: read and write, past the caches.
    pub const UNCACHED: u64 = ACCESSED | RES1 | UNCACHED_INDEX | EXECUTE_NEVER;
    /// Registers of a device: read and write.
    pub const DEVICE: u64 = ACCESSED | RES1 | DEVICE_INDEX | EXECUTE_NEVER;
}
