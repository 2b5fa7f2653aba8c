// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's exceptions, from the vectors: decoded once, answered by the virtual machine, and the
//! outcome put into the guest's registers.
//!
//! [`call`], [`load_or_store`] and [`system_register`] serve what is frequent, with no more of the guest's registers in the
//! frame than x0 to x18 and the one that the instruction names. An answer of false leaves the exception to [`rare`],
//! and has changed nothing. What they end with is out of line and gets plain arguments, so that they need no stack.

mod calls;
mod device;
mod emulate;

use crate::cpu::Guest;
use crate::debug::OwnRegisters;
use crate::interrupts::{self, Lines};
use crate::vectors::Frame;
use crate::{console, dump, read_register, world, write_register};
use bulkhead_el2::exception::{AARCH32, BIG_ENDIAN_EL1, Cause, Context, advance_it, condition_holds, take};
use bulkhead_el2::life::Ending;
use bulkhead_machine::gic::SgiRegister;
use bulkhead_machine::stage1::Stage1;
use bulkhead_machine::syndrome::{Abort, Access, Exit, Syndrome, SystemAccess};
use bulkhead_machine::sysreg::{self, Operation, Outcome};
use bulkhead_platform::gic::InterruptController;
use bulkhead_types::IntId;
use core::sync::atomic::Ordering::Relaxed;

/// HVC or SMC from AArch64.
pub extern "C" fn call(frame: &mut Frame, esr: u64) {
    // Bit 26 tells the two apart (Arm ARM, ESR_EL2.EC 0x17). A trapped SMC has not executed: the
    // guest goes on behind it (D1.3.2).
    if esr & 1 << 26 != 0 {
        skip_instruction();
    }
    calls::answer(frame, esr as u16);
}

/// A data abort from EL1 or EL0: an access to an emulated device, else false.
pub extern "C" fn load_or_store(frame: &mut Frame, esr: u64) -> bool {
    Access::to_device(esr).is_some_and(|access| device::access(frame, esr, access))
}

/// An IRQ or FIQ while a guest runs.
pub extern "C" fn interrupt(guest: &'static Guest) {
    interrupts::handle(guest);
}

/// An SError while a guest runs. What caused it cannot be told, but it came while this guest had the
/// CPU, and a bare board would have given it to the guest as well.
pub extern "C" fn error(guest: &'static Guest) {
    let esr = read_register!("esr_el2");
    guest.partition.report(guest.vcpu, format_args!("SError passed on to it (ESR {esr:#x})"));
    world::inject_error(esr);
}

/// Everything that a well-behaved guest does not do, or not often. The frame has all registers.
#[cold]
pub extern "C" fn rare(frame: &mut Frame) {
    let syndrome = Syndrome {
        esr: read_register!("esr_el2"),
        far: read_register!("far_el2"),
        hpfar: read_register!("hpfar_el2"),
    };
    match Exit::decode(&syndrome) {
        // A board does nothing where a cache line is maintained that no memory answers for.
        Exit::DataAbort(abort) if abort.is_maintenance && !abort.fault.on_walk => skip_instruction(),
        Exit::DataAbort(abort) => {
            let Abort { is_write: write, is_maintenance: maintenance, .. } = abort;
            if abort.access.is_none() && emulate::access(frame, &syndrome, &abort).is_some() {
                return skip_instruction();
            }
            let walk = level_of_walk(frame.guest, &syndrome, &abort);
            inject(frame, Cause::DataAbort { write, maintenance, walk }, &syndrome);
        }
        Exit::InstructionAbort(abort) => instruction_abort(frame, abort, &syndrome),
        _ if !condition_holds(read_register!("spsr_el2"), syndrome.esr) => skip_access(syndrome.esr),
        _ if is_debug(syndrome.esr) && debug_register(frame, syndrome.esr) => {}
        // What the virtual machine does not have is UNDEFINED, as on a CPU without it.
        _ => inject(frame, Cause::Undefined, &syndrome),
    }
}

/// A fetch that stage 2 refused. A guest whose exception vector cannot be fetched would come here for
/// ever: it is stopped.
fn instruction_abort(frame: &Frame, abort: Abort, syndrome: &Syndrome) {
    let vectors = read_register!("vbar_el1") & !0x7ff;
    if abort.va.is_some_and(|va| va.wrapping_sub(vectors) < 0x800) {
        frame.guest.vcpu.trace.note(syndrome);
        crash(frame, format_args!("its exception vectors cannot be fetched"), Some(syndrome));
    }
    let walk = level_of_walk(frame.guest, syndrome, &abort);
    inject(frame, Cause::InstructionAbort { walk }, syndrome);
}

/// Where it is the walk of the guest's own tables that stage 2 refused: at which level.
fn level_of_walk(guest: &Guest, syndrome: &Syndrome, abort: &Abort) -> Option<i8> {
    let table = abort.ipa.filter(|_| abort.fault.on_walk)?;
    let tables = Stage1 {
        control: read_register!("tcr_el1"),
        roots: [read_register!("ttbr0_el1"), read_register!("ttbr1_el1")],
        big_endian: read_register!("sctlr_el1") & BIG_ENDIAN_EL1 != 0,
    };
    Some(tables.level(syndrome.far, table, |at| emulate::peek(guest, at)))
}

/// A trapped MRS, MSR or system instruction.
pub extern "C" fn system_register(frame: &mut Frame, esr: u64) -> bool {
    let SystemAccess { register, rt, is_read } = SystemAccess::decode(esr);
    let guest = frame.guest;
    let operation = if is_read { Operation::Read } else { Operation::Write(frame.get(rt)) };
    match sysreg::access(&guest.id_registers, register, operation) {
        Outcome::Value(value) => frame.set(rt, value),
        Outcome::SendSgi { register, value } => {
            let InterruptController::V3(controller) = &guest.system.controller else { return false };
            if !guest.seat.send_to_self(register, value, &Lines::new(controller, guest.partition)) {
                skip_instruction();
                return send_sgi(guest, register, value);
            }
        }
        Outcome::Deactivate(id) => {
            skip_instruction();
            return deactivate(guest, id);
        }
        Outcome::Done => {}
        Outcome::Undefined => return false,
    }
    skip_instruction();
    true
}

/// Whether a trapped access of A64 (class 0x18) names a debug register, whose op0 is 2.
fn is_debug(esr: u64) -> bool {
    const OP0: u64 = 0b11 << 20;
    esr >> CLASS == 0x18 && esr & OP0 == 2 << 20
}

/// Answers an access to the OS lock, or to a debug register while that is locked. False where there is no such register.
#[cold]
fn debug_register(frame: &mut Frame, esr: u64) -> bool {
    let SystemAccess { register, rt, is_read } = SystemAccess::decode(esr);
    let guest = frame.guest;
    let operation = if is_read { Operation::Read } else { Operation::Write(frame.get(rt)) };
    let outcome = guest.vcpu.os_lock.lock().access(&guest.id_registers, register, operation, &OwnRegisters);
    match outcome {
        Outcome::Value(value) => frame.set(rt, value),
        Outcome::Undefined => return false,
        _ => {}
    }
    skip_instruction();
    true
}

/// Where ESR_EL2 has the exception class.
const CLASS: u32 = 26;

#[inline(never)]
fn send_sgi(guest: &Guest, register: SgiRegister, value: u64) -> bool {
    guest.seat.send_sgi(register, value, &guest.partition.lines(guest.system));
    done()
}

#[cold]
#[inline(never)]
fn deactivate(guest: &Guest, id: IntId) -> bool {
    guest.partition.gic.deactivate(guest.vcpu.id, id, &guest.partition.lines(guest.system));
    done()
}

/// True, unknown to the compiler: it would not jump to a function that always returns the same, but call it.
#[inline(always)]
fn done() -> bool {
    let done: u64;
    // SAFETY: changes the named register only.
    unsafe { core::arch::asm!("mov {}, #1", out(reg) done, options(pure, nomem, nostack, preserves_flags)) };
    done & 1 != 0
}

/// Makes the guest take an exception, and says so.
#[cold]
fn inject(frame: &Frame, cause: Cause, syndrome: &Syndrome) {
    let guest = frame.guest;
    guest.vcpu.trace.note(syndrome);
    let pc = read_register!("elr_el2");
    guest.partition.report(guest.vcpu, format_args!("{} at PC {pc:#x}: {syndrome}", told(cause)));
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
    // Each vector has room for 32 instructions (Arm ARM, D1.3.1.5).
    if guest.vcpu.is_stuck(pc.wrapping_sub(entry.pc) < 0x80) {
        crash(frame, format_args!("its exception vector takes exceptions, again and again"), Some(syndrome));
    }
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

/// Stops a partition that cannot go on, with what a person needs to see why. `syndrome` as for [`dump::print`].
#[cold]
pub fn crash(frame: &Frame, reason: core::fmt::Arguments<'_>, syndrome: Option<&Syndrome>) -> ! {
    let guest = frame.guest;
    // First of all, for its other CPUs to stop, and for one of them alone to tell. It cannot start again before
    // this CPU has left.
    if guest.partition.end(guest.system, Ending::Crash) {
        tell(frame, reason, syndrome);
    }
    guest.partition.leave(guest.system, guest.vcpu)
}

/// Tells why a partition ends.
pub fn tell(frame: &Frame, reason: core::fmt::Arguments<'_>, syndrome: Option<&Syndrome>) {
    let guest = frame.guest;
    let partition = guest.partition;
    console::flush(partition);
    console::line(format_args!("{}: stopped: {reason} (vCPU {})", partition.name, guest.vcpu.id.0));
    if partition.may_speak() && console::LEVEL.load(Relaxed) >= console::INFO {
        dump::print(guest, frame, syndrome);
    }
}

/// Goes on behind the trapped instruction, which is of A64.
#[inline(always)]
fn skip_instruction() {
    skip(read_register!("spsr_el2"), 4);
}

/// Goes on behind the instruction that this syndrome is of. In AArch32 bit IL tells four bytes from two, and the next
/// instruction of an IT block is the next.
fn skip_access(esr: u64) {
    let pstate = read_register!("spsr_el2");
    if pstate & AARCH32 == 0 {
        return skip(pstate, 4);
    }
    let length = if esr & 1 << 25 != 0 { 4 } else { 2 };
    // SAFETY: how the guest goes on is the guest's affair.
    unsafe {
        write_register!("spsr_el2", advance_it(pstate) & !SINGLE_STEP);
        write_register!("elr_el2", read_register!("elr_el2").wrapping_add(length));
    }
}

/// PSTATE.SS and PSTATE.BTYPE, which a completed instruction clears (Arm ARM, "Software Step exceptions"; "PSTATE.BTYPE").
const SINGLE_STEP: u64 = 1 << 21;
const BRANCH_TYPE: u64 = 0b11 << 10;

#[inline(always)]
fn skip(pstate: u64, length: u64) {
    // Both and what lies between them, mostly zeros: one instruction tests them all.
    const AROUND: u64 = (SINGLE_STEP << 1) - (1 << 10);
    // SAFETY: where EL2 returns to is the guest's affair.
    unsafe {
        write_register!("elr_el2", read_register!("elr_el2").wrapping_add(length));
        if pstate & AROUND != 0 {
            write_register!("spsr_el2", pstate & !(SINGLE_STEP | BRANCH_TYPE));
        }
    }
}
