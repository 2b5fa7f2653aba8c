// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual interrupt controller with several vCPUs: any register accesses, devices, acknowledgements and ends.
//!
//! The board under it is the one of the machine's own tests, which checks what hardware calls unpredictable.

#[path = "../../machine/tests/gic/board.rs"]
#[expect(dead_code, reason = "it serves the machine's tests too")]
mod board;

use crate::Input;
use board::Machine;
use bulkhead_machine::gic::{AccessSize, Frame, Version};
use bulkhead_types::VcpuId;
use std::cell::RefCell;
use std::collections::HashMap;

/// The most steps of one input.
const STEPS: usize = 256;

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let shape = input.u8();
    let version = if shape & 1 == 0 { Version::V2 } else { Version::V3 };
    let (cpus, lists) = (1 + usize::from(shape >> 1 & 3), [1, 2, 4, 16][usize::from(shape >> 3 & 3)]);
    let machine = machine(version, cpus, lists);
    machine.board.split.set(shape & 0x20 != 0);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = input.u8();
        let cpu = usize::from(step >> 4) % cpus;
        match step & 0xf {
            0..8 => access(machine, cpu, step, &mut input),
            8 | 9 => {
                let id = [27, 30, 40, 41, 42, 43, 44, 45, 46, 47, 70][usize::from(input.u8()) % 11];
                machine.board.drive(cpu, board::int(id), step & 1 != 0);
            }
            _ => machine.settle(),
        }
    }
    machine.settle();
}

thread_local! {
    /// Machines from earlier inputs: their storage lives for ever.
    static MACHINES: RefCell<HashMap<(bool, usize, usize), &'static Machine>> = RefCell::default();
}

/// A machine after its partition was started again.
fn machine(version: Version, cpus: usize, lists: usize) -> &'static Machine {
    let new = || &*Box::leak(Box::new(Machine::new(version, cpus, lists)));
    let machine = MACHINES.with_borrow_mut(|machines| {
        *machines.entry((version == Version::V3, cpus, lists)).or_insert_with(new)
    });
    let each = |f: &dyn Fn(VcpuId, &board::On<'_>)| {
        (0..cpus).for_each(|cpu| f(VcpuId(cpu as u16), &machine.board.on(cpu)));
    };
    each(&|vcpu, hardware| machine.gic.vcpu_off(vcpu, hardware));
    each(&|vcpu, hardware| machine.gic.reset_vcpu(vcpu, hardware));
    machine.gic.reset(&machine.board.on(0));
    machine.board.clear();
    each(&|vcpu, hardware| machine.gic.vcpu_on(vcpu, hardware));
    machine.write(0, 0, 3);
    machine.settle();
    machine
}

fn access(machine: &Machine, cpu: usize, step: u8, input: &mut Input<'_>) {
    let size = [AccessSize::Byte, AccessSize::Half, AccessSize::Word, AccessSize::Double]
        [usize::from(step >> 1 & 3)];
    let place = input.u16();
    let frame = if place & 0x8000 != 0 && machine.version == Version::V3 {
        Frame::Redistributor
    } else {
        Frame::Distributor
    };
    // The dense first 4 KiB of a frame, or anywhere in it.
    let offset = match frame {
        Frame::Distributor => u64::from(place & 0x7fff),
        Frame::Redistributor => u64::from(place & 0xfff) | u64::from(place >> 12 & 7) << 16,
    };
    let hardware = machine.board.on(cpu);
    // A fault is an answer too.
    if step & 1 == 0 {
        let _ = board::seat(&machine.gic, cpu as u16).read(frame, offset, size, &hardware);
    } else {
        let _ = board::seat(&machine.gic, cpu as u16).write(frame, offset, size, input.u64(), &hardware);
    }
}
