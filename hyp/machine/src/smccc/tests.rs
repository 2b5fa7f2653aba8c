// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::cell::Cell;

use bulkhead_types::{Ipa, Mpidr};
use proptest::prelude::*;

use super::*;
use crate::psci::{Entry, ErrorCode, PowerState};

/// A partition of one CPU.
struct Alone;

impl Cpus for Alone {
    fn count(&self) -> u16 {
        1
    }
    fn find(&self, mpidr: Mpidr) -> Option<VcpuId> {
        (mpidr.affinity() == 0).then_some(VcpuId(0))
    }
    fn mpidr(&self, _: VcpuId) -> Mpidr {
        Mpidr::from_register(0)
    }
    fn state(&self, _: VcpuId) -> PowerState {
        PowerState::On
    }
    fn try_turn_on(&self, _: VcpuId, _: Entry) -> Result<(), ErrorCode> {
        Err(ErrorCode::AlreadyOn)
    }
    fn has_memory(&self, _: Ipa) -> bool {
        true
    }
}

/// Gives all-ones words until it runs dry.
struct Words(Cell<u32>);

impl Entropy for Words {
    fn is_present(&self) -> bool {
        true
    }
    fn random(&self) -> Option<u64> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(u64::MAX)
    }
}

fn call_with(function: u32, first: u64, told: Told, entropy: &impl Entropy) -> Outcome {
    let context = Context { caller: VcpuId(0), cpus: &Alone, told: &told, entropy };
    handle(&Call::new([u64::from(function), first, 2, 3], 0), &context)
}

fn call(function: u32, first: u64) -> Outcome {
    call_with(function, first, Told::NOTHING, &NoEntropy)
}

fn random(function: u32, bits: u64, words: u32) -> Outcome {
    call_with(function, bits, Told::NOTHING, &Words(Cell::new(words)))
}

#[test]
fn the_function_is_w0() {
    let context = Context { caller: VcpuId(0), cpus: &Alone, told: &Told::NOTHING, entropy: &NoEntropy };
    let call = Call::new([0xdead_beef_8000_0000, 0, 0, 0], 0);
    assert_eq!(handle(&call, &context), Outcome::Return(0x1_0002));
    let immediate = Call { immediate: 1, ..call };
    assert_eq!(handle(&immediate, &context), Outcome::Return(NOT_SUPPORTED));
}

#[test]
fn features_tells_what_firmware_said() {
    let told = Told { workaround_1: 0, workaround_2: -2, workaround_3: 1, soc: None };
    let features = |id: u32| call_with(SMCCC_ARCH_FEATURES, u64::from(id), told, &NoEntropy);
    assert_eq!(features(SMCCC_VERSION), Outcome::Return(0));
    assert_eq!(features(SMCCC_ARCH_FEATURES), Outcome::Return(0));
    assert_eq!(features(SMCCC_ARCH_WORKAROUND_1), Outcome::Return(0));
    assert_eq!(features(SMCCC_ARCH_WORKAROUND_2), Outcome::Return(-2i64 as u64));
    assert_eq!(features(SMCCC_ARCH_WORKAROUND_3), Outcome::Return(1));
    assert_eq!(features(0x8000_0002), Outcome::Return(NOT_SUPPORTED), "SOC_ID");

    let workaround = |id| call_with(id, 1, told, &NoEntropy);
    let mitigate = Outcome::Mitigate { function: SMCCC_ARCH_WORKAROUND_1 };
    assert_eq!(workaround(SMCCC_ARCH_WORKAROUND_1), mitigate);
    assert_eq!(workaround(SMCCC_ARCH_WORKAROUND_2), Outcome::Return(NOT_SUPPORTED));
    assert_eq!(workaround(SMCCC_ARCH_WORKAROUND_3), Outcome::Return(0));
}

#[test]
fn the_system_on_chip_is_the_boards() {
    let soc = |id, which| {
        let told = Told { soc: Some((0x043b_0123, 7)), ..Told::NOTHING };
        call_with(id, which, told, &NoEntropy)
    };
    assert_eq!(soc(SMCCC_ARCH_FEATURES, SMCCC_ARCH_SOC_ID.into()), Outcome::Return(0));
    assert_eq!(soc(SMCCC_ARCH_SOC_ID, 0), Outcome::Return(0x043b_0123));
    assert_eq!(soc(SMCCC_ARCH_SOC_ID, 1), Outcome::Return(7));
    assert_eq!(soc(SMCCC_ARCH_SOC_ID, 2), Outcome::Return(-3i64 as u64));
    assert_eq!(call(SMCCC_ARCH_SOC_ID, 0), Outcome::Return(NOT_SUPPORTED));
}

#[test]
fn without_entropy_there_is_no_trng() {
    for function in [0x8400_0050, 0x8400_0051, 0x8400_0052, 0x8400_0053, 0xc400_0053] {
        assert_eq!(call(function, 32), Outcome::Return(NOT_SUPPORTED));
    }
}

#[test]
fn random_bits_are_as_many_as_asked_for() {
    let ones = |bits: u32| u64::MAX >> (64 - bits);
    assert_eq!(random(0x8400_0050, 0, 0), Outcome::Return(0x1_0000));
    assert_eq!(random(0x8400_0051, 0xc400_0053, 0), Outcome::Return(0));
    assert_eq!(random(0x8400_0051, 0xc400_0054, 0), Outcome::Return(NOT_SUPPORTED));
    assert_eq!(random(0xc400_0053, 1, 3), Outcome::Return4([0, 0, 0, 1]));
    assert_eq!(random(0xc400_0053, 65, 3), Outcome::Return4([0, 0, 1, u64::MAX]));
    assert_eq!(random(0xc400_0053, 192, 3), Outcome::Return4([0, u64::MAX, u64::MAX, u64::MAX]));
    assert_eq!(random(0x8400_0053, 33, 3), Outcome::Return4([0, 0, 1, ones(32)]));
    assert_eq!(random(0x8400_0053, 96, 3), Outcome::Return4([0, ones(32), ones(32), ones(32)]));
    for (function, bits) in [(0xc400_0053, 0), (0xc400_0053, 193), (0x8400_0053, 97), (0x8400_0053, 0)] {
        assert_eq!(random(function, bits, 3), Outcome::Return4([-2i64 as u64, 0, 0, 0]));
    }
    assert_eq!(random(0xc400_0053, 128, 1), Outcome::Return4([-3i64 as u64, 0, 0, 0]));
}

/// However often it calls, a partition does not keep the source, which all partitions share, from the others.
#[test]
fn a_partition_draws_no_more_than_its_tokens() {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NOW: AtomicU64 = AtomicU64::new(1000);
    struct Counted(Cell<u64>);
    impl Entropy for Counted {
        fn is_present(&self) -> bool {
            true
        }
        fn random(&self) -> Option<u64> {
            self.0.set(self.0.get() + 1);
            Some(0)
        }
    }
    let (source, buckets) = (Counted(Cell::new(0)), [(); 2].map(|()| spin::Mutex::default()));
    let draw = |bucket| {
        let now = || NOW.load(Relaxed);
        let metered = Metered { source: &source, bucket: &buckets[bucket], now, burst: 6, period: 10 };
        call_with(0xc400_0053, 192, Told::NOTHING, &metered)
    };
    let dry = Outcome::Return4([-3i64 as u64, 0, 0, 0]);
    let drawn = Outcome::Return4([0; 4]);
    assert_eq!([draw(0), draw(0), draw(0)], [drawn, drawn, dry]);
    for _ in 0..1000 {
        assert_eq!(draw(0), dry);
    }
    assert_eq!(source.0.get(), 6, "a call without a token does not reach the source");
    assert_eq!(draw(1), drawn, "another partition has tokens of its own");
    NOW.fetch_add(30, Relaxed);
    assert_eq!([draw(0), draw(0)], [drawn, dry]);
}

#[test]
fn the_hypervisor_names_itself() {
    let Outcome::Return4(uid) = call(HYPERVISOR_UID, 0) else { panic!("four registers") };
    assert_eq!(uid, HYPERVISOR_UUID);
    assert!(uid.iter().all(|word| *word <= 0xffff_ffff) && uid[0] != 0xffff_ffff);
    assert_eq!(call(HYPERVISOR_REVISION, 0), Outcome::Return4([0, 1, 2, 3]));
}

#[test]
fn what_is_unknown_is_not_supported() {
    // SIP, OEM, trusted OS and trusted application calls; yielding calls; arch, standard and vendor gaps.
    for function in [
        0x8200_0000,
        0xc200_0001,
        0x8300_0000,
        0xb000_0000,
        0xb200_0000,
        0xf200_0000,
        0x0000_0000,
        0x0200_0000,
        0x8000_0003,
        0xc000_0000,
        0x8400_0020,
        0x8400_ff01,
        0x8500_0020,
        0x8600_0000,
        0x8600_ff00,
        0xffff_ffff,
    ] {
        assert_eq!(call(function, 0), Outcome::Return(NOT_SUPPORTED), "{function:#x}");
    }
}

proptest! {
    #[test]
    fn any_call_is_answered(registers: [u64; 4], immediate: u16, words in 0u32..4) {
        let told = Told { workaround_1: 0, workaround_2: 0, workaround_3: 0, soc: None };
        let entropy = Words(Cell::new(words));
        let context = Context { caller: VcpuId(0), cpus: &Alone, told: &told, entropy: &entropy };
        let outcome = handle(&Call::new(registers, immediate), &context);
        // Nothing but a workaround ever reaches firmware.
        if let Outcome::Mitigate { function } = outcome {
            let known = [SMCCC_ARCH_WORKAROUND_1, SMCCC_ARCH_WORKAROUND_3];
            prop_assert!(known.contains(&function));
        }
    }
}
