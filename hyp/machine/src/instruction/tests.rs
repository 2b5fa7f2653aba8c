// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const W: Bank = Bank::General { signed: false, wide: false };
const X: Bank = Bank::General { signed: false, wide: true };
const SIGNED_W: Bank = Bank::General { signed: true, wide: false };
const V: Bank = Bank::Vector;
const STORE: bool = true;
const LOAD: bool = false;
use Index::{Offset, Post, Pre};

/// The fields of a [`Transfer`] in their order, behind the instruction.
type Row = (u32, bool, Bank, u8, (u8, Option<u8>), u8, Index);

/// Encodings as an assembler gives them.
#[rustfmt::skip]
const LOADS_AND_STORES: &[Row] = &[
    (0xb840_4441, LOAD, W, 2, (1, None), 2, Post(4)),               // ldr w1, [x2], #4
    (0xf85f_8c83, LOAD, X, 3, (3, None), 4, Pre(-8)),               // ldr x3, [x4, #-8]!
    (0xb800_4cc5, STORE, W, 2, (5, None), 6, Pre(4)),               // str w5, [x6, #4]!
    (0xf801_07e7, STORE, X, 3, (7, None), 31, Post(16)),            // str x7, [sp], #16
    (0x385f_f441, LOAD, W, 0, (1, None), 2, Post(-1)),              // ldrb w1, [x2], #-1
    (0x7800_2c41, STORE, W, 1, (1, None), 2, Pre(2)),               // strh w1, [x2, #2]!
    (0x3880_1441, LOAD, LDPSW, 0, (1, None), 2, Post(1)),           // ldrsb x1, [x2], #1
    (0x38c0_1441, LOAD, SIGNED_W, 0, (1, None), 2, Post(1)),        // ldrsb w1, [x2], #1
    (0x7880_2441, LOAD, LDPSW, 1, (1, None), 2, Post(2)),           // ldrsh x1, [x2], #2
    (0x78c0_2441, LOAD, SIGNED_W, 1, (1, None), 2, Post(2)),        // ldrsh w1, [x2], #2
    (0xb880_4c41, LOAD, LDPSW, 2, (1, None), 2, Pre(4)),            // ldrsw x1, [x2, #4]!
    (0xb94f_fc41, LOAD, W, 2, (1, None), 2, Offset(4092)),          // ldr w1, [x2, #4092]
    (0xf850_0041, LOAD, X, 3, (1, None), 2, Offset(-256)),          // ldur x1, [x2, #-256]
    (0xb823_585f, STORE, W, 2, (31, None), 2, Index::Register),     // str wzr, [x2, w3, uxtw #2]
    (0xf863_6841, LOAD, X, 3, (1, None), 2, Index::Register),       // ldr x1, [x2, x3]
    (0x2940_0861, LOAD, W, 2, (1, Some(2)), 3, Offset(0)),          // ldp w1, w2, [x3]
    (0xa9ff_0861, LOAD, X, 3, (1, Some(2)), 3, Pre(-16)),           // ldp x1, x2, [x3, #-16]!
    (0xa881_0be1, STORE, X, 3, (1, Some(2)), 31, Post(16)),         // stp x1, x2, [sp], #16
    (0x2920_7c61, STORE, W, 2, (1, Some(31)), 3, Offset(-256)),     // stp w1, wzr, [x3, #-256]
    (0x68c1_0861, LOAD, LDPSW, 2, (1, Some(2)), 3, Post(8)),        // ldpsw x1, x2, [x3], #8
    (0xa840_8861, LOAD, X, 3, (1, Some(2)), 3, Offset(8)),          // ldnp x1, x2, [x3, #8]
    (0x2801_0861, STORE, W, 2, (1, Some(2)), 3, Offset(8)),         // stnp w1, w2, [x3, #8]
    (0x3c40_1441, LOAD, V, 0, (1, None), 2, Post(1)),               // ldr b1, [x2], #1
    (0x7c00_2c41, STORE, V, 1, (1, None), 2, Pre(2)),               // str h1, [x2, #2]!
    (0xbd40_0841, LOAD, V, 2, (1, None), 2, Offset(8)),             // ldr s1, [x2, #8]
    (0xfc23_7841, STORE, V, 3, (1, None), 2, Index::Register),      // str d1, [x2, x3, lsl #3]
    (0x3dc0_0441, LOAD, V, 4, (1, None), 2, Offset(16)),            // ldr q1, [x2, #16]
    (0x3c9f_07df, STORE, V, 4, (31, None), 30, Post(-16)),          // str q31, [x30], #-16
    (0x3cdf_f041, LOAD, V, 4, (1, None), 2, Offset(-1)),            // ldur q1, [x2, #-1]
    (0x2d40_0861, LOAD, V, 2, (1, Some(2)), 3, Offset(0)),          // ldp s1, s2, [x3]
    (0x6d81_0861, STORE, V, 3, (1, Some(2)), 3, Pre(16)),           // stp d1, d2, [x3, #16]!
    (0xacc1_0861, LOAD, V, 4, (1, Some(2)), 3, Post(32)),           // ldp q1, q2, [x3], #32
    (0xac00_0861, STORE, V, 4, (1, Some(2)), 3, Offset(0)),         // stnp q1, q2, [x3]
];

#[test]
fn decodes_what_an_assembler_encodes() {
    for &(word, is_store, bank, scale, registers, base, index) in LOADS_AND_STORES {
        let expected = Transfer { is_store, bank, registers, scale, base, index };
        assert_eq!(Transfer::decode(word), Some(expected), "{word:#010x}");
    }
}

#[test]
fn leaves_alone_what_is_no_plain_load_or_store() {
    for (word, name) in [
        (0x885f_7c41, "ldxr w1, [x2]"),
        (0xc801_fc62, "stlxr w1, x2, [x3]"),
        (0xc87f_8861, "ldaxp x1, x2, [x3]"),
        (0x88df_fc41, "ldar w1, [x2]"),
        (0x88a1_7c62, "cas w1, w2, [x3]"),
        (0xb821_0062, "ldadd w1, w2, [x3]"),
        (0xf821_8062, "swp x1, x2, [x3]"),
        (0x38bf_c041, "ldaprb w1, [x2]"),
        (0xf980_0020, "prfm pldl1keep, [x1]"),
        (0xf880_0020, "prfum pldl1keep, [x1]"),
        (0xf8a2_6820, "prfm pldl1keep, [x1, x2]"),
        (0xb840_0841, "ldtr w1, [x2]"),
        (0x4c40_7c20, "ld1 { v0.2d }, [x1]"),
        (0x4c9f_a820, "st1 { v0.4s, v1.4s }, [x1], #32"),
        (0x5800_0041, "ldr x1, #8"),
        (0x6900_0861, "stgp x1, x2, [x3]"),
        (0xd920_0841, "stg x1, [x2]"),
        (0xf820_0441, "ldraa x1, [x2]"),
        (0x8580_4020, "ldr z0, [x1]"),
        (0x1901_0440, "cpyfp [x0]!, [x1]!, x2!"),
        (0xf83f_d100, "ld64b x0, [x8]"),
        (0xd50b_7421, "dc zva, x1"),
        (0xd503_201f, "nop"),
        (0x8b02_0020, "add x0, x1, x2"),
        (0, "udf #0"),
        (u32::MAX, "unallocated"),
    ] {
        assert_eq!(Transfer::decode(word), None, "{name}");
    }
}

fn accesses(word: u32) -> Vec<(u64, u8, u64)> {
    let transfer = Transfer::decode(word).expect("a load or store");
    transfer.accesses().map(|(at, access)| (at, access.register(), access.size().bytes())).collect()
}

#[test]
fn each_register_has_two_slots_of_eight_bytes() {
    assert_eq!(accesses(0x385f_f441), [(0, 0, 1)], "ldrb");
    assert_eq!(accesses(0x6d81_0861), [(0, 0, 8), (8, 2, 8)], "stp d1, d2");
    assert_eq!(accesses(0x2940_0861), [(0, 0, 4), (4, 2, 4)], "ldp w1, w2");
    assert_eq!(accesses(0x3dc0_0441), [(0, 0, 8), (8, 1, 8)], "ldr q1");
    assert_eq!(accesses(0xacc1_0861), [(0, 0, 8), (8, 1, 8), (16, 2, 8), (24, 3, 8)], "ldp q1, q2");
}

#[test]
fn loads_extend_as_their_registers_do() {
    let loaded = |word: u32, value| {
        let transfer = Transfer::decode(word).expect("a load");
        transfer.accesses().next().map(|(_, access)| access.loaded(value))
    };
    assert_eq!(loaded(0x3880_1441, 0x1ff), Some(u64::MAX), "ldrsb x1");
    assert_eq!(loaded(0x38c0_1441, 0x1ff), Some(0xffff_ffff), "ldrsb w1");
    assert_eq!(loaded(0x68c1_0861, 0x8000_0000), Some(0xffff_ffff_8000_0000), "ldpsw");
    assert_eq!(loaded(0xb840_4441, u64::MAX), Some(0xffff_ffff), "ldr w1");
    assert_eq!(loaded(0x3c40_1441, u64::MAX), Some(0xff), "ldr b1");
}

#[test]
fn the_address_is_checked_and_written_back() {
    let is = |word, base, address| Transfer::decode(word).map(|transfer| transfer.is_at(address, base));
    let back = |word, base| Transfer::decode(word).and_then(|transfer| transfer.written_back(base));
    // ldr w1, [x2], #4
    assert_eq!((is(0xb840_4441, 0x1000, 0x1000), back(0xb840_4441, 0x1000)), (Some(true), Some(0x1004)));
    assert_eq!(is(0xb840_4441, 0x1000, 0x1004), Some(false));
    // ldr x3, [x4, #-8]!
    assert_eq!((is(0xf85f_8c83, 0x1000, 0xff8), back(0xf85f_8c83, 0x1000)), (Some(true), Some(0xff8)));
    assert_eq!(back(0xf85f_8c83, 0), Some(u64::MAX - 7), "wraps as the CPU does");
    // ldr x1, [x2, x3]: whatever the syndrome says. stnp: no write-back.
    assert_eq!((is(0xf863_6841, 0, 0x77), back(0xf863_6841, 0)), (Some(true), None));
    assert_eq!((is(0xac00_0861, 0x10, 0x10), back(0xac00_0861, 0x10)), (Some(true), None));
    // A tag in the upper byte is no part of the address.
    assert_eq!(is(0xb840_4441, 0xab00_0000_0000_1000, 0x1000), Some(true));
}

proptest! {
    /// Whatever the word: what is decoded fits into the slots and covers its bytes once, in order.
    #[test]
    fn any_word_is_decoded_or_not(word: u32) {
        let Some(transfer) = Transfer::decode(word) else { return Ok(()) };
        let mut next = 0;
        for (offset, access) in transfer.accesses() {
            prop_assert_eq!(offset, next);
            prop_assert!(access.register() < 4 && access.is_write() == transfer.is_store);
            next += access.size().bytes();
        }
        prop_assert_eq!(next, transfer.bytes());
        prop_assert!(next <= 32 && transfer.base < 32 && transfer.each_register().all(|register| register < 32));
    }
}
