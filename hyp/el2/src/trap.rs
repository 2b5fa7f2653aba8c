// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's exceptions, from the vectors: decoded once, answered by the virtual machine, and the
//! outcome put into the guest's registers.

mod calls;
mod device;
mod emulate;

use crate::cpu::Guest;
use crate::interrupts::{self, Lines};
use crate::vectors::Frame;
use crate::{read_register, with_controller, world, write_register};
use bulkhead_el2::exception::{AARCH32, Cause, Context, advance_it, take};
use bulkhead_el2::life::Ending;
use bulkhead_machine::syndrome::{Access, DataAbort, Exit, InstructionAbort, Syndrome, SystemAccess};
use bulkhead_machine::sysreg::{self, Operation, Outcome};
use bulkhead_types::Ipa;

/// Exception classes (ESR_EL2.EC; Arm ARM, D24.2.40).
const SMC: u64 = 0x17;
const SYSTEM_REGISTER: u64 = 0x18;
const DATA_ABORT: u64 = 0x24;

const fn class(esr: u64) -> u64 {
    esr >> 26 & 0x3f
}

/// HVC or SMC from AArch64.
pub extern "C" fn call(frame: &mut Frame) {
    let esr = read_register!("esr_el2");
    if class(esr) == SMC {
        // A trapped SMC has not executed: the guest goes on behind it (Arm ARM, D1.3.2).
        skip_instruction();
    }
    calls::answer(frame, esr as u16);
}

/// A synchronous exception from EL1 or EL0: the two that are frequent first, all others decoded in full.
pub extern "C" fn synchronous(frame: &mut Frame) {
    let esr = read_register!("esr_el2");
    match class(esr) {
        DATA_ABORT => match Access::to_device(esr) {
            Some(access) => device_access(frame, esr, access),
            None => rare(frame),
        },
        SYSTEM_REGISTER => system_register(frame, SystemAccess::decode(esr)),
        _ => rare(frame),
    }
}

/// An IRQ or FIQ while a guest runs.
pub extern "C" fn interrupt(frame: &mut Frame) {
    interrupts::handle(frame.guest);
}

/// An SError while a guest runs. What caused it cannot be told, but it came while this guest had the
/// CPU, and a bare board would have given it to the guest as well.
pub extern "C" fn error(frame: &mut Frame) {
    let guest = frame.guest;
    let esr = read_register!("esr_el2");
    guest.partition.report(guest.vcpu, 31, format_args!("SError passed on to it (ESR {esr:#x})"));
    world::inject_error(esr);
}

/// A load or store to a page that stage 2 does not map: an emulated device, or nothing at all.
#[inline(always)]
fn device_access(frame: &mut Frame, esr: u64, access: Access) {
    // HPFAR_EL2.FIPA, bits 43:4, is bits 51:12 of the address (Arm ARM, D24.2.66).
    let page = (read_register!("hpfar_el2") & 0x0fff_ffff_fff0) << 8;
    let ipa = Ipa(page | read_register!("far_el2") & 0xfff);
    match device::access(frame, ipa, access) {
        Ok(()) => skip_access(esr),
        Err(device::Fault) => rare(frame),
    }
}

/// Everything that a well-behaved guest does not do, or not often.
#[cold]
#[inline(never)]
fn rare(frame: &mut Frame) {
    let syndrome = Syndrome {
        esr: read_register!("esr_el2"),
        far: read_register!("far_el2"),
        hpfar: read_register!("hpfar_el2"),
    };
    let guest = frame.guest;
    match Exit::decode(&syndrome) {
        // A board does nothing where a cache line is maintained that no memory answers for.
        Exit::DataAbort(abort) if abort.is_maintenance && !abort.fault.on_walk => skip_instruction(),
        Exit::DataAbort(abort) => {
            let DataAbort { is_write: write, is_maintenance: maintenance, fault, .. } = abort;
            if abort.access.is_none() && emulate::access(frame, &syndrome, &abort).is_some() {
                return skip_instruction();
            }
            inject(guest, Cause::DataAbort { write, maintenance, on_walk: fault.on_walk }, &syndrome);
        }
        Exit::InstructionAbort(abort) => instruction_abort(frame, guest, abort, &syndrome),
        // What the virtual machine does not have is UNDEFINED, as on a CPU without it.
        _ => inject(guest, Cause::Undefined, &syndrome),
    }
}

/// A fetch that stage 2 refused. A guest whose exception vector cannot be fetched would come here for
/// ever: it is stopped.
fn instruction_abort(frame: &Frame, guest: &Guest, abort: InstructionAbort, syndrome: &Syndrome) {
    let vectors = read_register!("vbar_el1") & !0x7ff;
    if abort.va.is_some_and(|va| va.wrapping_sub(vectors) < 0x800) {
        crash(frame, guest, "its exception vectors cannot be fetched", syndrome);
    }
    inject(guest, Cause::InstructionAbort { on_walk: abort.fault.on_walk }, syndrome);
}

#[inline(always)]
fn system_register(frame: &mut Frame, access: SystemAccess) {
    let guest = frame.guest;
    let operation = if access.is_read { Operation::Read } else { Operation::Write(frame.get(access.rt)) };
    match sysreg::access(&guest.system.id_registers, access.register, operation) {
        Outcome::Value(value) => frame.set(access.rt, value),
        Outcome::SendSgi { register, value } => with_controller!(guest.system, |controller| {
            let lines = Lines::new(controller, guest.partition);
            guest.partition.gic.send_sgi_v3(guest.vcpu.id, register, value, &lines);
        }),
        Outcome::Deactivate(id) => with_controller!(guest.system, |controller| {
            let lines = Lines::new(controller, guest.partition);
            guest.partition.gic.deactivate(guest.vcpu.id, id, &lines);
        }),
        Outcome::Done => {}
        Outcome::Undefined => return rare(frame),
    }
    skip_instruction();
}

/// Makes the guest take an exception, and says so once for each class.
#[cold]
fn inject(guest: &Guest, cause: Cause, syndrome: &Syndrome) {
    let pc = read_register!("elr_el2");
    let class = (syndrome.esr >> 26) as u32;
    guest.partition.report(guest.vcpu, class, format_args!("{} at PC {pc:#x}: {syndrome}", told(cause)));
    let pstate = read_register!("spsr_el2");
    let context = Context {
        pstate,
        vectors: read_register!("vbar_el1"),
        control: read_register!("sctlr_el1"),
        // ID_AA64MMFR1_EL1.PAN, bits 23:20.
        has_pan: read_register!("id_aa64mmfr1_el1") >> 20 & 0xf != 0,
        // ID_AA64PFR1_EL1.MTE, bits 11:8, and NMI, bits 39:36.
        has_mte: read_register!("id_aa64pfr1_el1") >> 8 & 0xf != 0,
        has_nmi: read_register!("id_aa64pfr1_el1") >> 36 & 0xf != 0,
    };
    let entry = take(cause, context);
    // SAFETY: the registers that describe an exception to EL1, and where EL2 returns to: all of them
    // the guest's, whose exception this is.
    unsafe {
        write_register!("esr_el1", entry.syndrome);
        write_register!("elr_el1", pc);
        write_register!("spsr_el1", pstate);
        if !matches!(cause, Cause::Undefined) {
            write_register!("far_el1", syndrome.far);
        }
        write_register!("elr_el2", entry.pc);
        write_register!("spsr_el2", entry.pstate);
    }
}

const fn told(cause: Cause) -> &'static str {
    match cause {
        Cause::Undefined => "UNDEFINED",
        Cause::DataAbort { .. } | Cause::InstructionAbort { .. } => "external abort",
    }
}

/// Stops a partition that cannot go on, with what a person needs to see why.
#[cold]
fn crash(frame: &Frame, guest: &Guest, reason: &str, syndrome: &Syndrome) -> ! {
    let name = guest.partition.name;
    let line = crate::console::line;
    line(format_args!("{name}: stopped: {reason} (vCPU {})", guest.vcpu.id.0));
    line(format_args!("  {syndrome}"));
    line(format_args!(
        "  PC {:#x}, PSTATE {:#x}, FAR {:#x}, HPFAR {:#x}",
        read_register!("elr_el2"),
        read_register!("spsr_el2"),
        syndrome.far,
        syndrome.hpfar
    ));
    line(format_args!(
        "  VBAR_EL1 {:#x}, SCTLR_EL1 {:#x}, TTBR0_EL1 {:#x}, TTBR1_EL1 {:#x}, TCR_EL1 {:#x}",
        read_register!("vbar_el1"),
        read_register!("sctlr_el1"),
        read_register!("ttbr0_el1"),
        read_register!("ttbr1_el1"),
        read_register!("tcr_el1")
    ));
    line(format_args!(
        "  ESR_EL1 {:#x}, ELR_EL1 {:#x}, FAR_EL1 {:#x}, SPSR_EL1 {:#x}",
        read_register!("esr_el1"),
        read_register!("elr_el1"),
        read_register!("far_el1"),
        read_register!("spsr_el1")
    ));
    for (row, registers) in frame.x.chunks(4).enumerate() {
        line(format_args!("  x{:<2} {registers:x?}", row.wrapping_mul(4)));
    }
    guest.partition.end(guest.system, Ending::Crash);
    guest.partition.leave(guest.system, guest.vcpu)
}

/// Goes on behind the trapped instruction, which is of A64.
#[inline(always)]
fn skip_instruction() {
    skip(read_register!("spsr_el2"), 4);
}

/// Goes on behind the load or store that this syndrome is of.
#[inline(always)]
fn skip_access(esr: u64) {
    let pstate = read_register!("spsr_el2");
    if pstate & AARCH32 == 0 { skip(pstate, 4) } else { skip_aarch32(pstate, esr) }
}

/// Bit IL tells four bytes from two, and the next instruction of an IT block is the next.
#[cold]
fn skip_aarch32(pstate: u64, esr: u64) {
    // SAFETY: how the guest goes on is the guest's affair.
    unsafe { write_register!("spsr_el2", advance_it(pstate)) };
    skip(read_register!("spsr_el2"), if esr & 1 << 25 != 0 { 4 } else { 2 });
}

#[inline(always)]
fn skip(pstate: u64, length: u64) {
    // A completed instruction is one step (Arm ARM, D2.12.5): PSTATE.SS falls with it.
    const SINGLE_STEP: u64 = 1 << 21;
    // SAFETY: where EL2 returns to is the guest's affair.
    unsafe {
        write_register!("elr_el2", read_register!("elr_el2").wrapping_add(length));
        if pstate & SINGLE_STEP != 0 {
            write_register!("spsr_el2", pstate & !SINGLE_STEP);
        }
    }
}
