// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::smccc::{Context, NoEntropy, Told};

/// A partition of four CPUs in two clusters, with memory from 0x4000_0000 to 0x4800_0000.
struct Partition {
    power: Vec<Power>,
}

const AFFINITIES: [u64; 4] = [0x0, 0x1, 0x100, 0x101];
const ENTRY: u64 = 0x4008_0000;

impl Partition {
    /// CPU 0 is on, the others are off.
    fn new() -> Self {
        let partition = Self { power: AFFINITIES.iter().map(|_| Power::default()).collect() };
        partition.turn_on(0);
        partition
    }

    fn turn_on(&self, cpu: usize) {
        self.power[cpu].try_turn_on(Entry { address: Ipa(ENTRY), context: 0 }).expect("it was off");
        self.power[cpu].take_entry().expect("it was turned on");
    }

    fn call(&self, function: u32, arguments: [u64; 3]) -> Outcome {
        let context = Context { caller: VcpuId(0), cpus: self, told: &Told::NOTHING, entropy: &NoEntropy };
        crate::smccc::handle(&Call { function, arguments, immediate: 0 }, &context)
    }

    fn error(&self, function: u32, arguments: [u64; 3], error: ErrorCode) {
        assert_eq!(self.call(function, arguments), Outcome::Return(error.to_register()), "{arguments:x?}");
    }
}

impl Cpus for Partition {
    fn count(&self) -> u16 {
        self.power.len() as u16
    }
    fn find(&self, mpidr: Mpidr) -> Option<VcpuId> {
        AFFINITIES.iter().position(|affinity| *affinity == mpidr.affinity()).map(|index| VcpuId(index as u16))
    }
    fn mpidr(&self, vcpu: VcpuId) -> Mpidr {
        Mpidr::from_register(AFFINITIES[usize::from(vcpu.0)])
    }
    fn state(&self, vcpu: VcpuId) -> PowerState {
        self.power[usize::from(vcpu.0)].state()
    }
    fn try_turn_on(&self, vcpu: VcpuId, entry: Entry) -> Result<(), ErrorCode> {
        self.power[usize::from(vcpu.0)].try_turn_on(entry)
    }
    fn has_memory(&self, address: Ipa) -> bool {
        (0x4000_0000..0x4800_0000).contains(&address.0)
    }
}

#[test]
fn cpu_on_starts_a_cpu_at_its_entry() {
    for (function, context) in [(CPU_ON | WIDE, 0x1_0000_0007), (CPU_ON, 0x7)] {
        let partition = Partition::new();
        assert_eq!(partition.call(function, [0x100, ENTRY, 0x1_0000_0007]), Outcome::Started(VcpuId(2)));
        assert_eq!(partition.power[2].take_entry(), Some(Entry { address: Ipa(ENTRY), context }));
        assert_eq!(partition.state(VcpuId(2)), PowerState::On);
    }
}

#[test]
fn cpu_on_refuses_a_target_that_is_not_there() {
    let partition = Partition::new();
    for target in [2, 0x200, 0x102, 1 << 32, 0xff_00ff_ffff] {
        partition.error(CPU_ON | WIDE, [target, ENTRY, 0], ErrorCode::InvalidParameters);
    }
    // MPIDR_EL1 as it reads: bit 31 is RES1, and MT and U are not affinity.
    for bit in [24, 30, 31, 40, 63] {
        partition.error(CPU_ON | WIDE, [1 | 1 << bit, ENTRY, 0], ErrorCode::InvalidParameters);
    }
    assert!(
        AFFINITIES
            .iter()
            .skip(1)
            .enumerate()
            .all(|(index, _)| { partition.state(VcpuId(index as u16 + 1)) == PowerState::Off })
    );
}

#[test]
fn the_32_bit_cpu_on_sees_32_bits() {
    let partition = Partition::new();
    // The upper halves are not arguments: the target is 1, the entry ENTRY.
    let outcome = partition.call(CPU_ON, [0xdead_0000_0000_0001, 0xbeef_0000_0000_0000 | ENTRY, 0]);
    assert_eq!(outcome, Outcome::Started(VcpuId(1)));
}

#[test]
fn cpu_on_of_a_cpu_that_is_on() {
    let partition = Partition::new();
    partition.error(CPU_ON | WIDE, [0, ENTRY, 0], ErrorCode::AlreadyOn);
    assert_eq!(partition.call(CPU_ON | WIDE, [1, ENTRY, 0]), Outcome::Started(VcpuId(1)));
    partition.error(CPU_ON | WIDE, [1, ENTRY, 0], ErrorCode::OnPending);
    let _ = partition.power[1].take_entry();
    partition.error(CPU_ON | WIDE, [1, ENTRY, 0], ErrorCode::AlreadyOn);
    partition.power[1].turn_off();
    assert_eq!(partition.call(CPU_ON | WIDE, [1, ENTRY, 0]), Outcome::Started(VcpuId(1)));
}

#[test]
fn cpu_on_refuses_an_entry_outside_memory_or_between_instructions() {
    let partition = Partition::new();
    for entry in [0, 0x0900_0000, 0x4800_0000, u64::MAX, ENTRY + 1, ENTRY + 2, 1 << 63 | ENTRY] {
        partition.error(CPU_ON | WIDE, [1, entry, 0], ErrorCode::InvalidAddress);
        assert_eq!(partition.state(VcpuId(1)), PowerState::Off);
    }
}

#[test]
fn affinity_info_tells_the_truth() {
    let partition = Partition::new();
    let info = |target, level| partition.call(AFFINITY_INFO | WIDE, [target, level, 0]);
    assert_eq!(info(0, 0), Outcome::Return(0));
    assert_eq!(info(1, 0), Outcome::Return(1));
    assert_eq!(partition.call(CPU_ON | WIDE, [1, ENTRY, 0]), Outcome::Started(VcpuId(1)));
    assert_eq!(info(1, 0), Outcome::Return(2));
    let _ = partition.power[1].take_entry();
    assert_eq!(info(1, 0), Outcome::Return(0));
    partition.power[1].turn_off();
    assert_eq!(info(1, 0), Outcome::Return(1));
}

#[test]
fn affinity_info_of_a_cluster_is_on_if_any_cpu_is() {
    let partition = Partition::new();
    let info = |target, level| partition.call(AFFINITY_INFO | WIDE, [target, level, 0]);
    // Cluster 0 has CPU 0; the affinity below the level does not count.
    assert_eq!(info(0x01, 1), Outcome::Return(0));
    assert_eq!(info(0x100, 1), Outcome::Return(1));
    assert_eq!(partition.call(CPU_ON | WIDE, [0x101, ENTRY, 0]), Outcome::Started(VcpuId(3)));
    assert_eq!(info(0x1ff, 1), Outcome::Return(2));
    assert_eq!(info(0, 3), Outcome::Return(0));
    partition.error(AFFINITY_INFO | WIDE, [0x200, 1, 0], ErrorCode::InvalidParameters);
    partition.error(AFFINITY_INFO | WIDE, [0, 4, 0], ErrorCode::InvalidParameters);
    partition.error(AFFINITY_INFO | WIDE, [7, 0, 0], ErrorCode::InvalidParameters);
    partition.error(AFFINITY_INFO | WIDE, [1 << 31, 0, 0], ErrorCode::InvalidParameters);
}

#[test]
fn off_and_reset_are_the_partitions() {
    let partition = Partition::new();
    assert_eq!(partition.call(CPU_OFF, [0; 3]), Outcome::CpuOff);
    assert_eq!(partition.call(SYSTEM_OFF, [0; 3]), Outcome::SystemOff);
    assert_eq!(partition.call(SYSTEM_RESET, [0; 3]), Outcome::SystemReset);
}

#[test]
fn suspend_waits_or_powers_down() {
    let partition = Partition::new();
    let entry = Entry { address: Ipa(ENTRY), context: 9 };
    assert_eq!(partition.call(CPU_SUSPEND | WIDE, [0, 0, 0]), Outcome::Suspend(Wake::Return));
    assert_eq!(partition.call(CPU_SUSPEND | WIDE, [0xffff, 0, 0]), Outcome::Suspend(Wake::Return));
    assert_eq!(
        partition.call(CPU_SUSPEND | WIDE, [0x1_0000, ENTRY, 9]),
        Outcome::Suspend(Wake::Enter(entry))
    );
    partition.error(CPU_SUSPEND | WIDE, [0x1_0000, 0, 0], ErrorCode::InvalidAddress);
    // A deeper power level, and reserved bits.
    for state in [1 << 24, 1 << 17, 1 << 30, 1 << 31] {
        partition.error(CPU_SUSPEND | WIDE, [state, ENTRY, 0], ErrorCode::InvalidParameters);
    }
    assert_eq!(
        partition.call(CPU_DEFAULT_SUSPEND | WIDE, [ENTRY, 9, 0]),
        Outcome::Suspend(Wake::Enter(entry))
    );
    partition.error(CPU_DEFAULT_SUSPEND | WIDE, [1, 9, 0], ErrorCode::InvalidAddress);
}

#[test]
fn system_suspend_is_the_last_cpus_to_ask() {
    let partition = Partition::new();
    let entry = Entry { address: Ipa(ENTRY), context: 9 };
    assert_eq!(partition.call(SYSTEM_SUSPEND | WIDE, [ENTRY, 9, 0]), Outcome::Suspend(Wake::Enter(entry)));
    partition.error(SYSTEM_SUSPEND | WIDE, [3, 9, 0], ErrorCode::InvalidAddress);
    assert_eq!(partition.call(CPU_ON | WIDE, [1, ENTRY, 0]), Outcome::Started(VcpuId(1)));
    partition.error(SYSTEM_SUSPEND | WIDE, [ENTRY, 9, 0], ErrorCode::Denied);
    let _ = partition.power[1].take_entry();
    partition.error(SYSTEM_SUSPEND | WIDE, [ENTRY, 9, 0], ErrorCode::Denied);
}

#[test]
fn a_frozen_cpu_is_off_until_it_is_turned_on() {
    let partition = Partition::new();
    assert_eq!(partition.call(CPU_FREEZE, [0; 3]), Outcome::CpuOff);
    partition.power[0].turn_off();
    assert_eq!(partition.call(AFFINITY_INFO | WIDE, [0, 0, 0]), Outcome::Return(1));
}

#[test]
fn node_hw_state_is_of_a_cpu() {
    let partition = Partition::new();
    for (on, off) in [(NODE_HW_STATE, NODE_HW_STATE | WIDE), (NODE_HW_STATE | WIDE, NODE_HW_STATE)] {
        assert_eq!(partition.call(on, [0, 0, 0]), Outcome::Return(0));
        assert_eq!(partition.call(off, [1, 0, 0]), Outcome::Return(1));
        // There is no power level above the CPU, and no other CPU.
        partition.error(on, [0, 1, 0], ErrorCode::InvalidParameters);
        partition.error(on, [2, 0, 0], ErrorCode::InvalidParameters);
        partition.error(on, [1 << 31, 0, 0], ErrorCode::InvalidParameters);
    }
}

/// Every 32-bit call sees the lower halves of its arguments, and no more.
#[test]
fn thirty_two_bit_calls_see_thirty_two_bits() {
    let functions = [CPU_ON, CPU_SUSPEND, AFFINITY_INFO, NODE_HW_STATE];
    let entries = [CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND];
    let all = functions.map(|function| (function, [1, ENTRY, 7]));
    for (function, arguments) in all.into_iter().chain(entries.map(|function| (function, [ENTRY, 7, 0]))) {
        let clean = Partition::new().call(function, arguments);
        let dirty = Partition::new().call(function, arguments.map(|argument| argument | 0xffff_fffe << 32));
        assert_eq!(clean, dirty, "{function:#x}");
    }
    let dirty = Partition::new().call(PSCI_FEATURES, [0xffff_ffff_8400_0000, 0, 0]);
    assert_eq!(dirty, Outcome::Return(0));
}

#[test]
fn version_and_migration() {
    let partition = Partition::new();
    assert_eq!(partition.call(PSCI_VERSION, [0; 3]), Outcome::Return(0x1_0001));
    assert_eq!(partition.call(MIGRATE_INFO_TYPE, [0; 3]), Outcome::Return(2));
}

#[test]
fn features_says_what_is_there_and_nothing_else_is() {
    let partition = Partition::new();
    let functions = (0x8400_0000..=0x8400_001fu32).chain(0xc400_0000..=0xc400_001f);
    for function in functions {
        let features = partition.call(PSCI_FEATURES, [u64::from(function), 0, 0]);
        let answer = partition.call(function, [0x8000_0000, ENTRY, 0]);
        if is_implemented(function) {
            assert_eq!(features, Outcome::Return(0), "{function:#x}");
            assert_ne!(answer, Outcome::Return(u64::MAX), "{function:#x}");
        } else {
            assert_eq!(features, Outcome::Return(u64::MAX), "{function:#x}");
            assert_eq!(answer, Outcome::Return(u64::MAX), "{function:#x}");
        }
    }
    assert_eq!(partition.call(PSCI_FEATURES, [0x8000_0000, 0, 0]), Outcome::Return(0));
    for other in [0, 1, 0x8600_ff01, 0x8400_0050] {
        assert_eq!(partition.call(PSCI_FEATURES, [other, 0, 0]), Outcome::Return(u64::MAX));
    }
}

#[test]
fn of_two_that_turn_a_cpu_on_at_once_one_does() {
    const ROUNDS: u64 = 2000;
    let power = Power::default();
    let starts = AtomicU64::new(0);
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for caller in 0..2u64 {
            let (power, starts, barrier) = (&power, &starts, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    let context = round << 1 | caller;
                    let entry = Entry { address: Ipa(context << 2), context };
                    match power.try_turn_on(entry) {
                        Ok(()) => {
                            starts.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => assert_ne!(power.state(), PowerState::Off),
                    }
                    barrier.wait();
                }
            });
        }
        for round in 0..ROUNDS {
            barrier.wait();
            let entry = loop {
                if let Some(entry) = power.take_entry() {
                    break entry;
                }
                std::thread::yield_now();
            };
            // Both halves are of one caller, and of this round.
            assert_eq!(entry.address.0, entry.context << 2);
            assert_eq!(entry.context >> 1, round);
            barrier.wait();
            power.turn_off();
        }
    });
    assert_eq!(starts.load(Ordering::Relaxed), ROUNDS);
}

proptest! {
    #[test]
    fn any_call_is_answered(low in 0u32..0x20, wide: bool, first: u64, second: u64, third: u64) {
        let partition = Partition::new();
        let function = 0x8400_0000 | low | if wide { 1 << 30 } else { 0 };
        let _ = partition.call(function, [first, second, third]);
    }

    #[test]
    fn whoever_starts_does_so_in_memory(target in 0u64..0x300, address: u64, context: u64) {
        let partition = Partition::new();
        if let Outcome::Started(vcpu) = partition.call(CPU_ON | WIDE, [target, address, context]) {
            let entry = partition.power[usize::from(vcpu.0)].take_entry().expect("it was started");
            prop_assert!(partition.has_memory(entry.address));
            prop_assert_eq!(entry, Entry { address: Ipa(address), context });
        }
    }
}
