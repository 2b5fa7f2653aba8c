// SPDX-License-Identifier: Apache-2.0 OR MIT
//! HVC and SMC: any calls from any of a partition's CPUs, which start and stop by them.

use crate::Input;
use bulkhead_machine::psci::{Cpus, Entry, ErrorCode, Power, PowerState};
use bulkhead_machine::smccc::{self, Call, Context, NoEntropy, Outcome, Told};
use bulkhead_types::{Ipa, Mpidr, VcpuId};

struct Partition {
    power: [Power; 4],
}

const RAM: core::ops::Range<u64> = 0x4000_0000..0x4800_0000;

impl Cpus for Partition {
    fn count(&self) -> u16 {
        self.power.len() as u16
    }
    fn find(&self, mpidr: Mpidr) -> Option<VcpuId> {
        (0..self.count()).map(VcpuId).find(|vcpu| vcpu.mpidr() == mpidr)
    }
    fn mpidr(&self, vcpu: VcpuId) -> Mpidr {
        vcpu.mpidr()
    }
    fn state(&self, vcpu: VcpuId) -> PowerState {
        self.power[usize::from(vcpu.0)].state()
    }
    fn try_turn_on(&self, vcpu: VcpuId, entry: Entry) -> Result<(), ErrorCode> {
        assert!(RAM.contains(&entry.address.0) && entry.address.0.is_multiple_of(4), "{entry:x?}");
        self.power[usize::from(vcpu.0)].try_turn_on(entry)
    }
    fn has_memory(&self, address: Ipa) -> bool {
        RAM.contains(&address.0)
    }
}

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let partition = Partition { power: std::array::from_fn(|_| Power::default()) };
    let turn_on = |cpu: usize| {
        let entry = Entry { address: Ipa(RAM.start), context: 0 };
        let _ = partition.power[cpu].try_turn_on(entry);
        let _ = partition.power[cpu].take_entry();
    };
    turn_on(0);
    let told = Told { workaround_1: 0, workaround_2: -2, workaround_3: 1, soc: Some((1, 2)) };
    while !input.is_empty() {
        let kind = input.u8();
        let caller = usize::from(kind & 3);
        if partition.power[caller].state() != PowerState::On {
            // A CPU that was asked for comes up.
            let _ = partition.power[caller].take_entry();
            continue;
        }
        let function = match kind >> 6 {
            0 => 0x8400_0000 | u32::from(kind >> 2 & 1) << 30 | u32::from(input.u8() & 0x7f),
            1 => 0x8000_0000 | u32::from(input.u16()),
            _ => input.u32(),
        };
        let argument = |input: &mut Input<'_>| match input.u8() {
            0 => u64::from(input.u8()),
            1 => RAM.start + u64::from(input.u32()),
            2 => 0x8400_0000 | u64::from(input.u8()),
            _ => input.u64(),
        };
        let arguments = [argument(&mut input), argument(&mut input), argument(&mut input)];
        let immediate = if kind & 0x38 == 0x38 { input.u16() } else { 0 };
        let context =
            Context { caller: VcpuId(caller as u16), cpus: &partition, told: &told, entropy: &NoEntropy };
        match smccc::handle(&Call { function, arguments, immediate }, &context) {
            Outcome::CpuOff => partition.power[caller].turn_off(),
            Outcome::Started(vcpu) => {
                assert_eq!(partition.state(vcpu), PowerState::OnPending, "started, and not to come up");
            }
            Outcome::SystemOff | Outcome::SystemReset => {
                partition.power.iter().for_each(Power::turn_off);
                turn_on(0);
            }
            _ => {}
        }
    }
}
