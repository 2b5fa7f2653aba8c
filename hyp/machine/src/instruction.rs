// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The A64 loads and stores that a device answers but a syndrome does not describe (ISV clear): with
//! write-back, of pairs, and of FP and SIMD registers (Arm ARM, C4.1.94, "Loads and Stores").
//!
//! What is not here gets an external abort, as from a board whose bus does not do it: exclusives and
//! atomics, SVE, structures (LD1 and its like), memory copies (FEAT_MOPS), DC ZVA; and all of A32 and T32, which only a
//! process that maps an emulated device could use. Unaligned accesses to Device
//! memory never come here: stage 1 refuses them first.

#[cfg(test)]
mod tests;

use crate::syndrome::{Access, Size, bit, bits};

/// Which registers an instruction loads or stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// W0 to W30 or X0 to X30; 31 is the zero register.
    General {
        /// Whether a load extends the sign.
        signed: bool,
        /// Whether the registers are X.
        wide: bool,
    },
    /// V0 to V31. A load zeroes what it does not fill.
    Vector,
}

/// How the address comes from the base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The base and so many bytes.
    Offset(i64),
    /// The same, and the base register becomes it.
    Pre(i64),
    /// The base, to which so many bytes are added afterwards.
    Post(i64),
    /// The base and another register: the syndrome's address has to be believed.
    Register,
}

/// One load or store, of one register or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Whether it stores.
    pub is_store: bool,
    /// The bank of its registers.
    pub bank: Bank,
    /// The first register, and the second of a pair.
    pub registers: (u8, Option<u8>),
    /// log2 of the bytes of one register: 0 to 4.
    pub scale: u8,
    /// The base register; 31 is the stack pointer.
    pub base: u8,
    /// The address.
    pub index: Index,
}

impl Transfer {
    /// The load or store that this instruction is, if it is one of those above. Of those that the syndrome
    /// describes some are decoded too.
    #[must_use]
    pub fn decode(instruction: u32) -> Option<Self> {
        let field = |lsb, width| bits(u64::from(instruction), lsb, width);
        let signed = |lsb, width: u32| {
            let unused = 64_u32.wrapping_sub(width);
            (field(lsb, width).wrapping_shl(unused) as i64).wrapping_shr(unused)
        };
        let is_vector = field(26, 1) == 1;
        let high = field(30, 2);
        // Bits 29:27 tell pairs from single registers, and bit 25 both from all else.
        let (bank, scale, is_store, second, index) = match (field(27, 3), field(25, 1)) {
            (0b101, 0) => {
                let mode = field(23, 2);
                let (bank, scale) = pair(is_vector, high, mode)?;
                let is_store = field(22, 1) == 0;
                if is_store && bank == LDPSW {
                    // STGP, which stores tags as well.
                    return None;
                }
                let offset = signed(15, 7).wrapping_shl(u32::from(scale));
                let index = match mode {
                    0b01 => Index::Post(offset),
                    0b11 => Index::Pre(offset),
                    _ => Index::Offset(offset),
                };
                (bank, scale, is_store, Some(field(10, 5) as u8), index)
            }
            (0b111, 0) => {
                let (bank, scale, is_store) = single(is_vector, high, field(22, 2))?;
                let index = match (field(24, 1), field(21, 1), field(10, 2)) {
                    (1, ..) => Index::Offset((field(10, 12) as i64).wrapping_shl(u32::from(scale))),
                    (_, 0, 0b00) => Index::Offset(signed(12, 9)),
                    (_, 0, 0b01) => Index::Post(signed(12, 9)),
                    (_, 0, 0b11) => Index::Pre(signed(12, 9)),
                    // Extending from less than a word (bit 14 clear) is unallocated.
                    (_, 1, 0b10) if field(14, 1) == 1 => Index::Register,
                    _ => return None,
                };
                (bank, scale, is_store, None, index)
            }
            _ => return None,
        };
        let registers = (field(0, 5) as u8, second);
        Some(Self { is_store, bank, registers, scale, base: field(5, 5) as u8, index })
    }

    /// The registers: the first, and the second of a pair.
    pub fn each_register(&self) -> impl Iterator<Item = u8> {
        [Some(self.registers.0), self.registers.1].into_iter().flatten()
    }

    /// Bytes accessed in all.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        1_u64.wrapping_shl((self.scale as u32).wrapping_add(self.registers.1.is_some() as u32))
    }

    /// Whether it accesses `address` with this in its base register. Bits 63:56, which may be a tag, do
    /// not count.
    #[must_use]
    pub const fn is_at(&self, address: u64, base: u64) -> bool {
        let start = match self.index {
            Index::Offset(bytes) | Index::Pre(bytes) => base.wrapping_add(bytes as u64),
            Index::Post(_) => base,
            Index::Register => return true,
        };
        (start ^ address) << 8 == 0
    }

    /// What the base register becomes.
    #[must_use]
    pub const fn written_back(&self, base: u64) -> Option<u64> {
        match self.index {
            Index::Pre(bytes) | Index::Post(bytes) => Some(base.wrapping_add(bytes as u64)),
            Index::Offset(_) | Index::Register => None,
        }
    }

    /// The accesses that a bus of eight bytes sees, each with its distance from the first byte. They load
    /// and store not the registers named above but slots: two for each register, from 0.
    pub fn accesses(&self) -> impl Iterator<Item = (u64, Access)> + use<> {
        let this = *self;
        let (signed, wide) = match this.bank {
            Bank::General { signed, wide } => (signed, wide),
            Bank::Vector => (false, true),
        };
        let size = Size::of_power(u32::from(this.scale.min(3)));
        let pieces = if this.scale > 3 { 2 } else { 1 };
        (0..2_u8).filter(move |n| *n == 0 || this.registers.1.is_some()).flat_map(move |n| {
            (0..pieces).map(move |piece| {
                let offset = u64::from(n).wrapping_shl(u32::from(this.scale)) | u64::from(piece) << 3;
                (offset, Access::new(size, n << 1 | piece, this.is_store, signed, wide))
            })
        })
    }
}

/// The bank of LDPSW.
const LDPSW: Bank = Bank::General { signed: true, wide: true };

/// Bank and scale of a pair: V, opc and the kind of index.
fn pair(is_vector: bool, opc: u64, mode: u64) -> Option<(Bank, u8)> {
    match (is_vector, opc) {
        (true, 0..3) => Some((Bank::Vector, (opc as u8).wrapping_add(2))),
        (false, 0b00) => Some((Bank::General { signed: false, wide: false }, 2)),
        // There is no non-temporal LDPSW.
        (false, 0b01) if mode != 0 => Some((LDPSW, 2)),
        (false, 0b10) => Some((Bank::General { signed: false, wide: true }, 3)),
        _ => None,
    }
}

/// Bank, scale and direction of a single register: size, V and opc. Prefetches are none.
fn single(is_vector: bool, size: u64, opc: u64) -> Option<(Bank, u8, bool)> {
    let scale = size as u8;
    match (is_vector, opc) {
        (true, 0b00 | 0b01) => Some((Bank::Vector, scale, opc == 0)),
        (true, _) if size == 0 => Some((Bank::Vector, 4, !bit(opc, 0))),
        (false, 0b00 | 0b01) => Some((Bank::General { signed: false, wide: size == 3 }, scale, opc == 0)),
        (false, 0b10) if size < 3 => Some((Bank::General { signed: true, wide: true }, scale, false)),
        (false, 0b11) if size < 2 => Some((Bank::General { signed: true, wide: false }, scale, false)),
        _ => None,
    }
}
