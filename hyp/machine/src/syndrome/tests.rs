// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::string::{String, ToString};

use bulkhead_types::Ipa;
use proptest::prelude::*;

use super::*;

fn syndrome(class: u64, iss: u64) -> Syndrome {
    Syndrome { esr: class << 26 | 1 << 25 | iss, far: 0xffff_8000_0900_0018, hpfar: 0x9000 << 4 }
}

fn abort(iss: u64) -> Abort {
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
    assert_eq!(abort.fault, Fault { code: 0b00_0111, on_walk: false });
    let access = abort.access.expect("the syndrome is valid");
    assert_eq!((access.size(), access.register(), access.is_write()), (Size::Word, 3, true));
    assert_eq!(access.stored(0x1_2345_6789), 0x2345_6789);
}

#[test]
fn bytes_are_swapped_within_their_size() {
    let value = 0x1122_3344_5566_7788;
    for (size, swapped) in [
        (Size::Byte, 0x88),
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
    assert_eq!(SystemAccess::decode(syndrome(0x18, iss).esr), expected);
    // msr icc_sgi1r_el1, x0: op0 3, op1 0, CRn 12, CRm 11, op2 5.
    let iss = 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
    let expected = SystemAccess { register: Register::new(3, 0, 12, 11, 5), rt: 0, is_read: false };
    assert_eq!(SystemAccess::decode(syndrome(0x18, iss).esr), expected);
}

#[test]
fn the_class_tells_data_from_instructions() {
    for class in 0..64 {
        let exit = Exit::decode(&syndrome(class, 0x10));
        assert_eq!(matches!(exit, Exit::DataAbort(_)), class == 0x24);
        assert_eq!(matches!(exit, Exit::InstructionAbort(_)), class == 0x20);
    }
}

/// What a syndrome shows, without its numbers.
fn words(class: u64, iss: u64) -> String {
    let shown = syndrome(class, iss).to_string();
    shown.split_once(" (ESR_EL2 ").expect("numbers follow").0.into()
}

#[test]
fn every_class_has_its_words() {
    for (class, expected) in [
        (0x00, "undefined instruction"),
        (0x01, "WFI"),
        (0x07, "trapped FP or SIMD instruction"),
        (0x08, "trapped AArch32 VMRS"),
        (0x09, "trapped pointer authentication"),
        (0x0a, "trapped LD64B or ST64B"),
        (0x0e, "illegal execution state"),
        (0x11, "AArch32 SVC"),
        (0x12, "AArch32 HVC"),
        (0x13, "AArch32 SMC"),
        (0x16, "HVC #0x0"),
        (0x17, "SMC #0x0"),
        (0x19, "trapped SVE instruction"),
        (0x1a, "trapped ERET"),
        (0x1d, "trapped SME instruction or register"),
        (0x22, "PC not aligned"),
        (0x26, "SP not aligned"),
        (0x2f, "SError"),
        (0x30, "breakpoint"),
        (0x32, "software step"),
        (0x34, "watchpoint"),
        (0x38, "breakpoint instruction"),
        (0x3a, "vector catch"),
        (0x3c, "breakpoint instruction"),
        (0x3f, "exception class 0x3f, which is reserved"),
    ] {
        assert_eq!(words(class, 0), expected, "class {class:#x}");
    }
    for (iss, expected) in (0..).zip(["WFI", "WFE", "WFIT", "WFET"]) {
        assert_eq!(words(0x01, iss), expected);
    }
    assert_eq!(words(0x16, 0x1234), "HVC #0x1234");
    for (class, is_read, expected) in [
        (3, 1, "AArch32 32-bit read of coprocessor 15"),
        (4, 1, "AArch32 64-bit read of coprocessor 15"),
        (5, 0, "AArch32 32-bit write to coprocessor 14"),
        (6, 1, "AArch32 32-bit read of coprocessor 14"),
        (0xc, 0, "AArch32 64-bit write to coprocessor 14"),
    ] {
        assert_eq!(words(class, is_read), expected);
    }
}

#[test]
fn every_fault_has_its_words() {
    let shown = |code, on_walk| Fault { code, on_walk }.to_string();
    for (code, expected) in [
        (0x01, "address size fault, level 1"),
        (0x29, "address size fault, level -1"),
        (0x06, "translation fault, level 2"),
        (0x2b, "translation fault, level -1"),
        (0x0b, "access flag fault, level 3"),
        (0x0d, "permission fault, level 1"),
        (0x10, "external abort"),
        (0x13, "external abort on a table walk, level -1"),
        (0x14, "external abort on a table walk, level 0"),
        (0x18, "parity or ECC error"),
        (0x1b, "parity or ECC error on a table walk, level -1"),
        (0x1f, "parity or ECC error on a table walk, level 3"),
        (0x11, "tag check fault"),
        (0x21, "alignment fault"),
        (0x23, "granule protection fault"),
        (0x30, "TLB conflict"),
        (0x35, "exclusive or atomic access that the memory refuses"),
        (0x3f, "fault status 0x3f"),
    ] {
        assert_eq!(shown(code, false), expected, "{code:#x}");
    }
    assert_eq!(shown(0x04, true), "translation fault, level 0, on the guest's own table walk");
    assert_eq!(shown(0x12, true), "fault status 0x12, on the guest's own table walk");
    for code in 0..64 {
        let fault = Fault { code, on_walk: false };
        assert_eq!(fault.is_translation(), fault.to_string().starts_with("translation"));
    }
}

#[test]
fn a_dump_reads_as_a_sentence() {
    assert_eq!(
        syndrome(0x24, 1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 0x07).to_string(),
        "data abort: 4-byte store from w3 at guest physical address 0x9000018, virtual 0xffff800009000018: \
         translation fault, level 3 (ESR_EL2 0x93830047: class 0x24, 32-bit instruction, ISS 0x1830047)"
    );
    assert_eq!(words(0x18, 3 << 20 | 7 << 5 | 4 << 1 | 1), "read of ID_AA64PFR0_EL1 (S3_0_C0_C4_0) into x7");
    assert_eq!(words(0x18, 2 << 20 | 1 << 14 | 31 << 5), "write of x31 to S2_1_C0_C0_0");
    assert_eq!(
        words(0x24, 7 | 1 << 24 | 31 << 16 | 1 << 14 | 1 << 21),
        "data abort: 1-byte sign-extending load-acquire into wzr at guest physical address 0x9000018, virtual \
         0xffff800009000018: translation fault, level 3"
    );
    assert_eq!(
        words(0x24, 0x10 | 1 << 10),
        "data abort: load that the syndrome does not describe (a pair, write-back, atomic or vector) at an unrecorded \
         physical address: external abort"
    );
    assert_eq!(
        words(0x20, 1 << 7 | 0x05),
        "instruction abort: fetch at guest physical address 0x9000000, virtual 0xffff800009000018: translation fault, \
         level 1, on the guest's own table walk"
    );
}

proptest! {
    #[test]
    fn any_syndrome_is_decoded_and_described(esr: u64, far: u64, hpfar: u64) {
        let syndrome = Syndrome { esr, far, hpfar };
        prop_assert!(!syndrome.to_string().is_empty());
        if let Exit::DataAbort(Abort { access: Some(access), .. }) = Exit::decode(&syndrome) {
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

#[test]
fn narrow_accesses_are_told_apart() {
    for size in [Size::Byte, Size::Half, Size::Word, Size::Double] {
        let narrow = size != Size::Double;
        for (is_write, signed, wide) in
            [(false, false, false), (false, false, true), (false, true, true), (true, false, false)]
        {
            let access = Access::new(size, 7, is_write, signed, wide);
            assert_eq!(access.is_narrow_load(), narrow && !is_write && !signed, "{access}");
            assert_eq!(access.is_narrow_store(), narrow && is_write, "{access}");
        }
    }
}
