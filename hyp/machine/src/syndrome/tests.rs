// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::string::ToString;

use bulkhead_types::Ipa;
use proptest::prelude::*;

use super::*;

fn syndrome(class: u64, iss: u64) -> Syndrome {
    Syndrome { esr: class << 26 | 1 << 25 | iss, far: 0xffff_8000_0900_0018, hpfar: 0x9000 << 4 }
}

fn abort(iss: u64) -> DataAbort {
    match Exit::decode(&syndrome(0x24, iss)) {
        Exit::DataAbort(abort) => abort,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_to_a_device_is_decoded_in_full() {
    // str w3, [x?]: ISV, SAS word, SRT 3, WnR, translation fault level 3.
    let abort = abort(1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 0x07);
    assert_eq!(abort.ipa, Some(Ipa(0x0900_0018)));
    assert_eq!(abort.va, Some(0xffff_8000_0900_0018));
    assert_eq!(abort.fault, Fault { kind: FaultKind::Translation(3), on_walk: false });
    let access = abort.access.expect("the syndrome is valid");
    assert_eq!((access.size(), access.register(), access.is_write()), (Size::Word, 3, true));
    assert_eq!(access.stored(0x1_2345_6789), 0x2345_6789);
}

#[test]
fn bytes_are_swapped_within_their_size() {
    let value = 0x1122_3344_5566_7788;
    for (size, swapped) in [
        (Size::Byte, value),
        (Size::Half, 0x8877),
        (Size::Word, 0x8877_6655),
        (Size::Double, 0x8877_6655_4433_2211),
    ] {
        assert_eq!(size.swap_bytes(value), swapped, "{size:?}");
    }
}

#[test]
fn loads_extend_as_the_instruction_says() {
    // (SAS, SSE, SF, what the device gave, what the register holds)
    for (sas, sse, sf, raw, expected) in [
        (0, 0, 0, 0xff80, 0x80),
        (0, 1, 0, 0x80, 0xffff_ff80),
        (0, 1, 1, 0x80, 0xffff_ffff_ffff_ff80),
        (1, 1, 1, 0x8000, 0xffff_ffff_ffff_8000),
        (1, 0, 1, 0x1_8000, 0x8000),
        (2, 0, 0, 0xffff_ffff_8000_0000, 0x8000_0000),
        (2, 1, 1, 0x8000_0000, 0xffff_ffff_8000_0000),
        (3, 0, 1, u64::MAX, u64::MAX),
    ] {
        let access = abort(1 << 24 | sas << 22 | sse << 21 | sf << 15 | 7).access.expect("valid");
        assert_eq!(access.loaded(raw), expected, "SAS {sas} SSE {sse} SF {sf}");
    }
}

#[test]
fn without_a_valid_syndrome_there_is_no_access() {
    // The fields that would be an access are set, ISV is not.
    let abort = abort(3 << 22 | 1 << 21 | 5 << 16 | 1 << 15 | 1 << 6 | 7);
    assert_eq!(abort.access, None);
    assert!(abort.is_write);
}

#[test]
fn a_fault_on_the_walk_gives_the_page_of_the_table() {
    let abort = abort(1 << 7 | 0x06);
    assert!(abort.fault.on_walk);
    assert_eq!(abort.ipa, Some(Ipa(0x0900_0000)));
}

#[test]
fn a_permission_fault_has_an_address_only_on_the_walk() {
    assert_eq!(abort(0x0f).ipa, None);
    assert_eq!(abort(1 << 7 | 0x0f).ipa, Some(Ipa(0x0900_0000)));
}

#[test]
fn an_external_abort_may_have_no_address() {
    assert_eq!(abort(1 << 10 | 0x10).va, None);
    assert_eq!(abort(0x10).va, Some(0xffff_8000_0900_0018));
    assert_eq!(abort(0x10).ipa, None);
}

#[test]
fn the_whole_physical_address_is_used() {
    let syndrome = Syndrome { esr: 0x24 << 26 | 7, far: 0xfff, hpfar: 0xfff_ffff_fff0 };
    let Exit::DataAbort(abort) = Exit::decode(&syndrome) else { panic!("class 0x24") };
    assert_eq!(abort.ipa, Some(Ipa(0xf_ffff_ffff_ffff)));
}

#[test]
fn system_register_fields_are_in_their_places() {
    // mrs x7, id_aa64pfr0_el1: op0 3, op1 0, CRn 0, CRm 4, op2 0.
    let iss = 3 << 20 | 7 << 5 | 4 << 1 | 1;
    let expected = SystemAccess { register: Register::new(3, 0, 0, 4, 0), rt: 7, is_read: true };
    assert_eq!(Exit::decode(&syndrome(0x18, iss)), Exit::SystemRegister(expected));
    // msr icc_sgi1r_el1, x0: op0 3, op1 0, CRn 12, CRm 11, op2 5.
    let iss = 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
    let expected = SystemAccess { register: Register::new(3, 0, 12, 11, 5), rt: 0, is_read: false };
    assert_eq!(Exit::decode(&syndrome(0x18, iss)), Exit::SystemRegister(expected));
}

#[test]
fn every_class_has_its_exit() {
    for (class, exit) in [
        (0x00, Exit::Undefined),
        (0x01, Exit::Wfx(Wfx::Wfi)),
        (0x07, Exit::FpTrap),
        (0x08, Exit::VmrsTrap),
        (0x09, Exit::PointerAuthTrap),
        (0x0a, Exit::LoadStore64Trap),
        (0x0e, Exit::IllegalState),
        (0x11, Exit::Aarch32Call(Aarch32Call::Svc)),
        (0x12, Exit::Aarch32Call(Aarch32Call::Hvc)),
        (0x13, Exit::Aarch32Call(Aarch32Call::Smc)),
        (0x16, Exit::Hvc { immediate: 0 }),
        (0x17, Exit::Smc { immediate: 0 }),
        (0x19, Exit::SveTrap),
        (0x1a, Exit::EretTrap),
        (0x1d, Exit::SmeTrap),
        (0x22, Exit::Misaligned(Misaligned::Pc)),
        (0x26, Exit::Misaligned(Misaligned::Sp)),
        (0x2f, Exit::SError),
        (0x30, Exit::Debug(DebugException::Breakpoint)),
        (0x32, Exit::Debug(DebugException::Step)),
        (0x34, Exit::Debug(DebugException::Watchpoint)),
        (0x3a, Exit::Debug(DebugException::VectorCatch)),
        (0x3c, Exit::Debug(DebugException::Instruction)),
        (0x3f, Exit::Unknown { class: 0x3f }),
    ] {
        assert_eq!(Exit::decode(&syndrome(class, 0)), exit, "class {class:#x}");
    }
    for (iss, wfx) in [Wfx::Wfi, Wfx::Wfe, Wfx::Wfit, Wfx::Wfet].into_iter().enumerate() {
        assert_eq!(Exit::decode(&syndrome(0x01, iss as u64)), Exit::Wfx(wfx));
    }
    for (class, coprocessor, is_double) in
        [(3, 15, false), (4, 15, true), (5, 14, false), (6, 14, false), (0xc, 14, true)]
    {
        let expected = CoprocessorTrap { coprocessor, is_read: true, is_double };
        assert_eq!(Exit::decode(&syndrome(class, 1)), Exit::Coprocessor(expected));
    }
}

#[test]
fn a_dump_reads_as_a_sentence() {
    assert_eq!(
        syndrome(0x24, 1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 0x07).to_string(),
        "data abort: 4-byte store from w3 at guest physical address 0x9000018, virtual 0xffff800009000018: \
         translation fault, level 3 (ESR_EL2 0x93830047: class 0x24, 32-bit instruction, ISS 0x1830047)"
    );
    assert_eq!(
        Exit::decode(&syndrome(0x18, 3 << 20 | 7 << 5 | 4 << 1 | 1)).to_string(),
        "read of ID_AA64PFR0_EL1 (S3_0_C0_C4_0) into x7"
    );
    assert_eq!(
        Exit::decode(&syndrome(0x18, 2 << 20 | 1 << 14 | 31 << 5)).to_string(),
        "write of x31 to S2_1_C0_C0_0"
    );
}

proptest! {
    #[test]
    fn any_syndrome_is_decoded_and_described(esr: u64, far: u64, hpfar: u64) {
        let syndrome = Syndrome { esr, far, hpfar };
        prop_assert!(!syndrome.to_string().is_empty());
        if let Exit::DataAbort(DataAbort { access: Some(access), .. }) = Exit::decode(&syndrome) {
            prop_assert!(access.register() < 32);
            prop_assert_eq!(access.stored(far) & !access.size().mask(), 0);
        }
    }
}

#[test]
fn what_el2_did_itself_is_told_in_words() {
    for (esr, words) in [
        (
            0x8600_0004,
            "instruction abort at 0x10: translation fault, level 0 (ESR_EL2 0x86000004: class 0x21)",
        ),
        (
            0x9600_0007,
            "data abort: load at 0x10: translation fault, level 3 (ESR_EL2 0x96000007: class 0x25)",
        ),
        (
            0x9600_004f,
            "data abort: store at 0x10: permission fault, level 3 (ESR_EL2 0x9600004f: class 0x25)",
        ),
        (0x9a00_0000, "SP not aligned (ESR_EL2 0x9a000000: class 0x26, 32-bit instruction, ISS 0x0)"),
    ] {
        assert_eq!(Own(Syndrome { esr, far: 0x10, hpfar: 0 }).to_string(), words);
    }
}

#[test]
fn the_state_of_a_guest_is_told_in_words() {
    for (pstate, words) in [
        (0x3c5, "EL1, masked FIAD"),
        (0x6000_0000, "EL0 CZ"),
        (0x8030_0084, "EL1 with SP_EL0 N, masked I, illegal state, single step"),
        (0x1d0, "AArch32, masked FIA"),
    ] {
        assert_eq!(Pstate(pstate).to_string(), words);
    }
}
