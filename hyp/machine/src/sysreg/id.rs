// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values of the ID registers that a guest sees, worked out once from the CPU's own.

use super::{ID_REGISTERS, Register};

/// What the virtual machine has beside what the CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The guest's GIC is version 3, its CPU interface in system registers.
    pub gic_system_registers: bool,
    /// Bits of a guest physical address that stage 2 translates (64 less VTCR_EL2.T0SZ).
    pub physical_address_bits: u8,
    /// HCRX_EL2 is there and holds [`super::configuration::HCRX_EL2`].
    pub extended_controls: bool,
}

/// What a guest sees of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What the CPU says.
    Keep,
    /// Zero: what it tells of is not there.
    Hide,
    /// What the CPU says, but no more than this.
    AtMost(u64),
    /// What the CPU says, but no more than this; 0b1111, which is IMPLEMENTATION DEFINED, is zero.
    VersionAtMost(u64),
    /// This, whatever the CPU says.
    Fixed(u64),
    /// Not implemented, which this field writes as 0b1111; a CPU that says 0 says so already.
    Absent,
    /// What the CPU says if the guest's GIC is version 3, otherwise zero.
    IfGicV3,
    /// What the CPU says if HCRX_EL2 enables it, otherwise zero.
    IfExtendedControls,
    /// What the CPU says (PARange), but no more than stage 2 translates.
    PhysicalAddresses,
}

/// A field of four bits.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the Arm ARM.
    pub name: &'static str,
    /// Its lowest bit.
    pub lsb: u32,
    /// What a guest sees.
    pub rule: Rule,
    /// Why, where it is not the CPU's value.
    pub reason: &'static str,
}

/// What is in an ID register. Bits on no list read as zero: a feature that this table does not know
/// may need EL2's help, so it is not there.
#[derive(Clone, Copy, Debug)]
pub enum Contents {
    /// Fields.
    Fields(&'static [Field]),
    /// The low 32 bits as the CPU says, save for these fields: an AArch32 register.
    Aarch32(&'static [Field]),
    /// All 64 bits as the CPU says.
    Whole,
    /// Zero, and why.
    Zero(&'static str),
}

/// An ID register.
#[derive(Clone, Copy, Debug)]
pub struct IdRegister {
    /// Its encoding.
    pub register: Register,
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub contents: Contents,
}

impl Field {
    /// The field's bits.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        0xfu64.wrapping_shl(self.lsb)
    }

    /// The field of `value` as a guest sees it, in its place.
    fn apply(&self, value: u64, options: &Options) -> u64 {
        let field = value.wrapping_shr(self.lsb) & 0xf;
        let seen = match self.rule {
            Rule::Hide => 0,
            Rule::IfGicV3 if !options.gic_system_registers => 0,
            Rule::IfExtendedControls if !options.extended_controls => 0,
            Rule::VersionAtMost(_) if field == 0xf => 0,
            Rule::Absent if field != 0 => 0xf,
            Rule::Keep | Rule::Absent | Rule::IfGicV3 | Rule::IfExtendedControls => field,
            Rule::AtMost(limit) | Rule::VersionAtMost(limit) => field.min(limit),
            Rule::PhysicalAddresses => field.min(physical_address_range(options.physical_address_bits)),
            Rule::Fixed(fixed) => fixed & 0xf,
        };
        seen.wrapping_shl(self.lsb)
    }
}

/// PARange's largest code for no more than `bits` bits (Arm ARM, ID_AA64MMFR0_EL1).
const fn physical_address_range(bits: u8) -> u64 {
    match bits {
        0..=35 => 0,
        36..=39 => 1,
        40..=41 => 2,
        42..=43 => 3,
        44..=47 => 4,
        48..=51 => 5,
        _ => 6,
    }
}

impl IdRegister {
    /// What a guest sees where the CPU says `value`.
    #[must_use]
    pub fn sanitise(&self, value: u64, options: &Options) -> u64 {
        let (fields, rest) = match self.contents {
            Contents::Whole => return value,
            Contents::Zero(_) => return 0,
            Contents::Fields(fields) => (fields, 0),
            Contents::Aarch32(fields) => (fields, value & 0xffff_ffff),
        };
        fields.iter().fold(rest, |seen, field| seen & !field.mask() | field.apply(value, options))
    }
}

/// Every ID register as a guest on this CPU sees it. A lookup is one load.
#[derive(Clone, Debug)]
pub struct IdTable {
    /// By op2 and CRm; encodings without a register are zero.
    values: [u64; 64],
    gic_system_registers: bool,
}

impl IdTable {
    /// Works the values out from the CPU's own, which `read` gives for each of [`ID_REGISTERS`]. Where CPUs differ,
    /// each has a table of its own.
    #[must_use]
    pub fn new(read: impl Fn(Register) -> u64, options: &Options) -> Self {
        let mut values = [0; 64];
        for id in ID_REGISTERS {
            if let Some(value) = values.get_mut(id.register.id_index()) {
                *value = id.sanitise(read(id.register), options);
            }
        }
        Self { values, gic_system_registers: options.gic_system_registers }
    }

    /// The value of an ID register; zero for a reserved one.
    #[must_use]
    #[inline]
    pub fn get(&self, register: Register) -> u64 {
        self.values.get(register.id_index()).copied().unwrap_or(0)
    }

    /// Whether the guest's GIC is version 3.
    #[must_use]
    #[inline]
    pub const fn gic_system_registers(&self) -> bool {
        self.gic_system_registers
    }
}
