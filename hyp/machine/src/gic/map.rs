// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The register map that distributors of both versions and the redistributor's SGI_base share
//! (IHI 0069 and IHI 0048, the registers' own pages).

/// A family of registers with a bit for each interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// What stands at an offset. Numbers count registers from the family's first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    Control,
    Type,
    Implementer,
    SetSpi,
    ClearSpi,
    Bits(Field, u32),
    Priority(u32),
    Targets(u32),
    Config(u32),
    Router,
    Sgi,
    ClearSgiPending(u32),
    SetSgiPending(u32),
    Other,
}

impl Register {
    /// The register that holds the byte at `offset` of a distributor.
    #[inline]
    pub(super) const fn at(offset: u32) -> Self {
        let field = match offset >> 7 {
            0 => {
                return match offset >> 2 {
                    0 => Self::Control,
                    1 => Self::Type,
                    2 => Self::Implementer,
                    0x10 => Self::SetSpi,
                    0x12 => Self::ClearSpi,
                    _ => Self::Other,
                };
            }
            1 => Field::Group,
            2 => Field::SetEnable,
            3 => Field::ClearEnable,
            4 => Field::SetPending,
            5 => Field::ClearPending,
            6 => Field::SetActive,
            7 => Field::ClearActive,
            8..=15 => return Self::Priority((offset & 0x3ff) >> 2),
            16..=23 => return Self::Targets((offset & 0x3ff) >> 2),
            24 | 25 => return Self::Config((offset & 0xff) >> 2),
            30 => {
                return match offset >> 4 {
                    0xf0 if offset & 0xc == 0 => Self::Sgi,
                    0xf1 => Self::ClearSgiPending((offset & 0xf) >> 2),
                    0xf2 => Self::SetSgiPending((offset & 0xf) >> 2),
                    _ => Self::Other,
                };
            }
            194..=255 => return Self::Router,
            _ => return Self::Other,
        };
        Self::Bits(field, (offset & 0x7f) >> 2)
    }

    /// Which 32 interrupts it has the state of, if it has of any.
    pub(super) const fn word(self) -> Option<u32> {
        match self {
            Self::Bits(_, word) => Some(word),
            Self::Priority(n) => Some(n >> 3),
            Self::Config(n) => Some(n >> 1),
            _ => None,
        }
    }
}

/// The frame that an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Distributor,
    /// Whose.
    Redistributor(u16),
}

impl Place {
    /// The register that holds the byte at `offset`, of those that a distributor has: SGI_base, from 0x10000 in a
    /// redistributor, has them for private interrupts.
    #[inline(always)]
    pub(super) const fn register(self, offset: u32) -> Register {
        match (self, offset) {
            (Self::Distributor, _) => Register::at(offset),
            (Self::Redistributor(_), 0x1_0000..0x1_1000) => Register::at(offset & 0xfff),
            _ => Register::Other,
        }
    }
}

/// Which of GICD_ISENABLER<1> to <31> is at the offset, if one is: what guests write at each start of a device.
#[must_use]
#[inline(always)]
pub const fn enable_register(offset: u64) -> Option<u32> {
    if offset.wrapping_sub(0x104) < 0x7c && offset & 3 == 0 { Some((offset >> 2 & 31) as u32) } else { None }
}

/// As [`enable_register`], of GICD_ICENABLER.
#[must_use]
#[inline(always)]
pub const fn disable_register(offset: u64) -> Option<u32> {
    enable_register(offset.wrapping_sub(0x80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_that_of_the_specification() {
        use Register::*;
        for (offset, register) in [
            (0x000, Control),
            (0x004, Type),
            (0x008, Implementer),
            (0x00c, Other),
            (0x040, SetSpi),
            (0x048, ClearSpi),
            (0x050, Other),
            (0x080, Bits(Field::Group, 0)),
            (0x0fc, Bits(Field::Group, 31)),
            (0x104, Bits(Field::SetEnable, 1)),
            (0x180, Bits(Field::ClearEnable, 0)),
            (0x200, Bits(Field::SetPending, 0)),
            (0x280, Bits(Field::ClearPending, 0)),
            (0x300, Bits(Field::SetActive, 0)),
            (0x3fc, Bits(Field::ClearActive, 31)),
            (0x400, Priority(0)),
            (0x7f8, Priority(254)),
            (0x820, Targets(8)),
            (0xbf8, Targets(254)),
            (0xc00, Config(0)),
            (0xcfc, Config(63)),
            (0xd00, Other),
            (0xe00, Other),
            (0xf00, Sgi),
            (0xf04, Other),
            (0xf10, ClearSgiPending(0)),
            (0xf2c, SetSgiPending(3)),
            (0xf30, Other),
            (0xffc, Other),
            (0x60fc, Other),
            (0x6100, Router),
            (0x7fdc, Router),
            (0x8000, Other),
        ] {
            assert_eq!(Register::at(offset), register, "{offset:#x}");
        }
        let of_redistributor =
            [0x400, 0x1_0400, 0x1_6100].map(|offset| Place::Redistributor(0).register(offset));
        assert_eq!(of_redistributor, [Other, Priority(0), Other]);
    }
}
