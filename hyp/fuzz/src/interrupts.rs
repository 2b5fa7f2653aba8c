// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual interrupt controller with several vCPUs: any register accesses, devices, acknowledgements and ends.
//!
//! The board under it is the one of the machine's own tests, which checks what hardware calls unpredictable.

#[path = "../../machine/tests/gic/board.rs"]
mod board;
#[path = "../../machine/tests/gic/machine.rs"]
#[expect(dead_code, reason = "it serves the machine's tests too")]
mod machine;

use crate::Input;
use bulkhead_machine::gic::{AccessSize, Frame, SgiRegister, Version};
use bulkhead_types::VcpuId;
use machine::{Machine, int, seat, send_sgi};
use std::cell::RefCell;
use std::collections::HashMap;

/// The most steps of one input.
const STEPS: usize = 256;

/// The step that turns a vCPU off, or on again.
const TURN: u8 = 14;

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let shape = input.u8();
    let version = if shape & 1 == 0 { Version::V2 } else { Version::V3 };
    let (cpus, lists) = (1 + usize::from(shape >> 1 & 3), [1, 2, 4, 16][usize::from(shape >> 3 & 3)]);
    let machine = machine(version, cpus, lists);
    machine.board.split.set(shape & 0x20 != 0);
    let (mut active, mut on) = (Vec::new(), vec![true; cpus]);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = input.u8();
        let cpu = usize::from(step >> 4) % cpus;
        if step & 0xf == TURN {
            turn(machine, cpu, &mut on);
        }
        if !on[cpu] {
            continue;
        }
        match step & 0xf {
            0..6 => access(machine, cpu, step, &mut input),
            6 | 7 => sgi(machine, cpu, &mut input),
            8 | 9 => {
                let id = [27, 30, 40, 41, 42, 43, 44, 45, 46, 47, 70][usize::from(input.u8()) % 11];
                machine.board.drive(cpu, int(id), step & 1 != 0);
            }
            // A virtual device's line; its CPU may be another's.
            10 => machine.set_line((step & 0x80 == 0).then_some(cpu), 33, input.u8() & 1 != 0),
            11 | 12 => {
                if let Some((id, _)) = machine.board.acknowledge(cpu) {
                    active.push((cpu, id));
                }
            }
            13 => {
                // What was acknowledged, in any order; or an interrupt that is not active.
                let (n, deactivates) = (input.u8(), input.u8() & 1 != 0);
                let of_this_cpu = active.iter().rposition(|(owner, _)| *owner == cpu && n & 7 != 7);
                let id = of_this_cpu.map_or_else(|| u32::from(n), |found| active.swap_remove(found).1);
                machine.board.end(&machine.gic, cpu, id, deactivates);
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
        let _ = seat(&machine.gic, cpu as u16).read(frame, offset, size, &hardware);
    } else {
        let _ = seat(&machine.gic, cpu as u16).write(frame, offset, size, input.u64(), &hardware);
    }
}

/// Turns a vCPU off, unless it is the last one, or on.
fn turn(machine: &Machine, cpu: usize, on: &mut [bool]) {
    let (vcpu, hardware) = (VcpuId(cpu as u16), machine.board.on(cpu));
    if !on[cpu] {
        machine.board.reset_interface(cpu);
        machine.gic.vcpu_on(vcpu, &hardware);
        on[cpu] = true;
    } else if on.iter().filter(|&&on| on).count() > 1 {
        machine.gic.vcpu_off(vcpu, &hardware);
        on[cpu] = false;
    }
}

/// Sends an SGI through a system register; GICv2's guests do it by an access.
fn sgi(machine: &Machine, cpu: usize, input: &mut Input<'_>) {
    if machine.version == Version::V3 {
        let register =
            [SgiRegister::Sgi0, SgiRegister::Sgi1, SgiRegister::Asgi1][usize::from(input.u8()) % 3];
        let value =
            u64::from(input.u16()) | u64::from(input.u8()) << 16 | u64::from(input.u16() & 0x1ff) << 24;
        let value = value & !(1 << 32) | (value & 1 << 32) << 8;
        send_sgi(&machine.gic, VcpuId(cpu as u16), register, value, &machine.board.on(cpu));
    }
}
