// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::vec::Vec;

mod controls;
mod own;

use proptest::prelude::*;

use super::*;
use bulkhead_types::IntId;

/// What a guest sees of a CPU whose every ID register reads as `value`.
fn all(value: u64, options: &Options) -> IdTable {
    IdTable::new(|_| value, options)
}

const OPTIONS: Options =
    Options { gic_system_registers: true, physical_address_bits: 40, extended_controls: true };

fn named(name: &str) -> Register {
    ID_REGISTERS.iter().find(|id| id.name == name).expect("the table has it").register
}

fn every_register() -> impl Iterator<Item = Register> {
    (0..=u16::MAX).map(of_instruction)
}

/// The register that bits 20:5 of MRS and MSR name.
fn of_instruction(bits: u16) -> Register {
    let field = |lsb: u32, width: u32| (bits >> lsb & ((1 << width) - 1)) as u8;
    Register::new(field(14, 2), field(11, 3), field(7, 4), field(3, 4), field(0, 3))
}

#[test]
fn access_does_what_the_table_says() {
    let ids = all(u64::MAX, &OPTIONS);
    for register in every_register() {
        let read = access(&ids, register, Operation::Read);
        let write = access(&ids, register, Operation::Write(7));
        match row(register).map(|row| row.verdict) {
            Some(Verdict::Sanitised) => {
                assert_eq!(read, Outcome::Value(ids.get(register)), "{register}");
                assert_eq!(write, Outcome::Undefined, "{register}");
            }
            Some(Verdict::Emulated) => {
                assert_eq!(read, Outcome::Undefined, "{register}");
                let deactivated = IntId::new(7).map_or(Outcome::Done, Outcome::Deactivate);
                let right = matches!(write, Outcome::SendSgi { value: 7, .. }) || write == deactivated;
                assert!(right, "{register}");
            }
            Some(Verdict::Empty) => {
                assert_eq!((read, write), (Outcome::Value(0), Outcome::Done), "{register}");
            }
            Some(Verdict::Fixed) => {
                let is_constant = matches!(read, Outcome::Value(_)) && write == Outcome::Done;
                assert!(is_constant, "{register}");
            }
            // `OsLock` answers.
            Some(Verdict::Virtual) => {
                assert_eq!((read, write), (Outcome::Undefined, Outcome::Undefined), "{register}");
            }
            // What is given does not trap; if it does all the same, there is no such register.
            Some(Verdict::Given | Verdict::Undefined) | None => {
                assert_eq!((read, write), (Outcome::Undefined, Outcome::Undefined), "{register}");
            }
        }
    }
}

#[test]
fn every_line_of_the_table_counts() {
    let mut reached = std::vec![false; TRAPS.len()];
    for register in every_register() {
        if let Some(index) = TRAPS.iter().position(|row| row.encodings.contains(register)) {
            reached[index] = true;
        }
    }
    for (line, reached) in TRAPS.iter().zip(reached) {
        assert!(reached, "{} is behind other lines", line.name);
        assert!(!line.reason.is_empty() && !line.control.is_empty(), "{}", line.name);
    }
}

/// What acts beyond EL1 and EL0 of its own CPU, by the Arm ARM, either traps or has the reason why it does no harm.
#[test]
fn what_acts_at_el2_traps_or_says_why_not() {
    let mut met = std::collections::BTreeSet::new();
    let lines = include_str!("tests/reach.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, encoding) = line.split_once(' ').expect("a name and an encoding");
        let fields: Vec<u8> = encoding.split('_').map(|field| field.parse().expect("a field")).collect();
        let register = Register::new(fields[0], fields[1], fields[2], fields[3], fields[4]);
        let row = row(register).unwrap_or_else(|| panic!("{name} has no line"));
        let is_given = row.verdict == Verdict::Given;
        assert!(!is_given || matches!(row.reach, Reach::Further(why) if !why.is_empty()), "{name}");
        met.insert(row.name);
    }
    for row in TRAPS {
        assert_eq!(row.reach == Reach::Trapped, row.verdict != Verdict::Given, "{}", row.name);
        assert!(!matches!(row.reach, Reach::Further(_)) || met.contains(row.name), "{}", row.name);
    }
    assert!(met.len() > 12, "{met:?}");
}

#[test]
fn the_id_space_is_what_tid3_traps() {
    for register in every_register() {
        let [op0, op1, crn, crm, _] = register.fields();
        assert_eq!(register.is_id(), (op0, op1, crn) == (3, 0, 0) && (1..8).contains(&crm), "{register}");
    }
}

#[test]
fn fields_do_not_overlap_and_rules_have_reasons() {
    for id in ID_REGISTERS {
        let verdict = row(id.register).map(|row| row.verdict);
        assert!(matches!(verdict, Some(Verdict::Sanitised | Verdict::Fixed)), "{}", id.name);
        let (Contents::Fields(fields) | Contents::Aarch32(fields)) = id.contents else { continue };
        let mut seen = 0u64;
        for field in fields {
            assert_eq!(seen & field.mask(), 0, "{}.{}", id.name, field.name);
            assert_eq!(field.lsb % 4, 0, "{}.{}", id.name, field.name);
            seen |= field.mask();
            assert_eq!(field.rule == Rule::Keep, field.reason.is_empty(), "{}.{}", id.name, field.name);
        }
    }
    let mut registers: Vec<_> = ID_REGISTERS.iter().map(|id| id.register).collect();
    registers.sort_unstable();
    registers.dedup();
    assert_eq!(registers.len(), ID_REGISTERS.len());
    let mut places: Vec<_> = ID_REGISTERS.iter().map(|id| id.register.id_index()).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), ID_REGISTERS.len());
}

#[test]
fn reserved_encodings_read_as_zero() {
    let ids = all(u64::MAX, &OPTIONS);
    for crm in 1..8 {
        for op2 in 0..8 {
            let register = Register::new(3, 0, 0, crm, op2);
            if !ID_REGISTERS.iter().any(|id| id.register == register) {
                assert_eq!(access(&ids, register, Operation::Read), Outcome::Value(0), "{register}");
            }
        }
    }
}

#[test]
fn what_needs_el2_or_reaches_others_is_hidden() {
    let ids = all(u64::MAX, &OPTIONS);
    for (name, field) in [
        ("ID_AA64PFR0_EL1", "EL2"),
        ("ID_AA64PFR0_EL1", "MPAM"),
        ("ID_AA64PFR0_EL1", "AMU"),
        ("ID_AA64PFR1_EL1", "MTE"),
        ("ID_AA64PFR1_EL1", "SME"),
        ("ID_AA64DFR0_EL1", "PMSVer"),
        ("ID_AA64DFR0_EL1", "TraceVer"),
        ("ID_AA64DFR0_EL1", "TraceBuffer"),
        ("ID_AA64MMFR1_EL1", "VH"),
        ("ID_AA64MMFR2_EL1", "NV"),
    ] {
        let id = ID_REGISTERS.iter().find(|id| id.name == name).expect("the table has it");
        let Contents::Fields(fields) = id.contents else { panic!("{name} has fields") };
        let field = fields.iter().find(|entry| entry.name == field).expect("the register has it");
        assert_eq!(ids.get(id.register) & field.mask(), 0, "{name}.{}", field.name);
    }
    let pfr0 = ids.get(named("ID_AA64PFR0_EL1"));
    assert_eq!(pfr0 >> 4 & 0xf, 1, "EL1 is AArch64 only");
    assert_eq!(pfr0 & 0xf, 0xf, "EL0 is as the CPU has it");
    assert_eq!(ids.get(named("ID_AA64PFR1_EL1")) & 0xff, 0xff, "BTI and SSBS stay");
    assert_eq!(ids.get(named("ID_AA64ISAR0_EL1")), 0xffff_ffff_f0ff_fff0);
}

#[test]
fn a_cortex_a72_keeps_what_it_has() {
    let cortex_a72 = |register: Register| match register.name() {
        Some("ID_AA64PFR0_EL1") => 0x0000_0000_0100_2222,
        Some("ID_AA64DFR0_EL1") => 0x1030_5106,
        Some("ID_AA64ISAR0_EL1") => 0x0001_1120,
        Some("ID_AA64MMFR0_EL1") => 0x0000_1124,
        _ => 0,
    };
    let v3 = IdTable::new(cortex_a72, &OPTIONS);
    // EL2 goes, EL1 loses AArch32, EL0 and EL3 stay; the GIC's field is there for GICv3 alone.
    assert_eq!(v3.get(named("ID_AA64PFR0_EL1")), 0x0100_2012);
    assert_eq!(v3.get(named("ID_AA64DFR0_EL1")), 0x1030_5106);
    assert_eq!(v3.get(named("ID_AA64ISAR0_EL1")), 0x0001_1120);
    assert_eq!(v3.get(named("ID_AA64MMFR0_EL1")), 0x0000_1122, "40 bits, as stage 2 translates");
    let v2 = IdTable::new(cortex_a72, &Options { gic_system_registers: false, ..OPTIONS });
    assert_eq!(v2.get(named("ID_AA64PFR0_EL1")), 0x0000_2012);
    assert_eq!(access(&v2, ICC_SGI1R_EL1, Operation::Write(0)), Outcome::Undefined);
}

#[test]
fn a_counter_does_not_see_another_cpu() {
    let dfr0 = named("ID_AA64DFR0_EL1");
    assert_eq!(all(1 << 48, &OPTIONS).get(dfr0) >> 48 & 0xf, 0xf);
    assert_eq!(all(0, &OPTIONS).get(dfr0) >> 48 & 0xf, 0);
}

#[test]
fn mops_needs_the_extended_controls() {
    let without = Options { extended_controls: false, ..OPTIONS };
    let isar2 = named("ID_AA64ISAR2_EL1");
    assert_eq!(all(1 << 16, &OPTIONS).get(isar2), 1 << 16);
    assert_eq!(all(1 << 16, &without).get(isar2), 0);
}

#[test]
fn the_physical_address_range_is_never_more_than_stage_2s() {
    let bits = [32, 36, 40, 42, 44, 48, 52];
    for width in 32..=52u8 {
        let options = Options { physical_address_bits: width, ..OPTIONS };
        let range = all(6, &options).get(named("ID_AA64MMFR0_EL1")) & 0xf;
        let shown = bits[range as usize];
        assert!(
            shown <= width && bits.iter().all(|more| *more <= shown || *more > width),
            "{width}: {shown}"
        );
    }
}

#[test]
fn the_controls_are_what_the_table_relies_on() {
    use configuration::{HCR_EL2, cptr_el2, mdcr_el2};
    assert_eq!(HCR_EL2, 0x0400_0318_803d_003b);
    assert_eq!(cptr_el2(true), 0x4010_32ff);
    assert_eq!(cptr_el2(false), 0x4010_33ff);
    // cortex-a72: PMUv3, 6 counters, no profiling, no trace filter.
    assert_eq!(mdcr_el2(6, 1, 0, 0), 6 | 1 << 10);
    assert_eq!(mdcr_el2(6, 6, 1, 1), 6 | 1 << 10 | 1 << 17 | 1 << 23 | 1 << 14 | 1 << 19);
    assert_eq!(mdcr_el2(31, 0, 0, 0), 1 << 10, "no PMU, no counters");
}

proptest! {
    #[test]
    fn any_access_is_answered(bits: u16, value: u64, cpu: u64, is_read: bool) {
        let ids = all(cpu, &OPTIONS);
        let operation = if is_read { Operation::Read } else { Operation::Write(value) };
        let _ = access(&ids, of_instruction(bits), operation);
    }

    #[test]
    fn a_field_is_never_more_than_the_cpu_has(cpu: u64) {
        let ids = all(cpu, &OPTIONS);
        for id in ID_REGISTERS {
            let (Contents::Fields(fields) | Contents::Aarch32(fields)) = id.contents else { continue };
            for field in fields.iter().filter(|field| !matches!(field.rule, Rule::Fixed(_) | Rule::Absent)) {
                let shift = field.lsb;
                prop_assert!(ids.get(id.register) >> shift & 0xf <= cpu >> shift & 0xf, "{}.{}", id.name, field.name);
            }
        }
    }
}
