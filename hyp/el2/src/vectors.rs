// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The exception vectors of EL2 (Arm ARM, D1.3.1.5), and the way back into a guest.
//!
//! While a guest runs, SP_EL2 points at the [`Frame`] on top of its CPU's stack. What a handler cannot
//! clobber need not be saved: by the procedure call standard (AAPCS64, 6.1.1) it keeps x19 to x29. So all
//! registers are saved only where the guest's instruction names a high one, and for
//! [`crate::trap::rare`]. FP and EL1 registers stay where they are.

use crate::counts;
use crate::cpu::{Cpu, Guest};
use core::arch::global_asm;
use core::fmt;

/// The guest's general registers, at the top of its CPU's stack.
#[repr(C, align(16))]
pub struct Frame {
    /// x0 to x30, and the zero register. Unless all were saved, x19 to x30 are stale: they stayed in the
    /// registers, but for x30, which waits in x19's place.
    pub x: [u64; 32],
    /// Whose they are.
    pub guest: &'static Guest,
}

impl Frame {
    /// Register `n` as an instruction names it, modulo 32: 31 is the zero register.
    #[inline(always)]
    pub fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n & 31)).copied().unwrap_or(0)
    }

    /// Sets register `n`; writes to register 31 are lost.
    #[inline(always)]
    pub fn set(&mut self, n: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(n & 31)) {
            *register = value;
        }
        let [.., zero] = &mut self.x;
        *zero = 0;
    }

    /// The frame of the vCPU of `cpu`.
    ///
    /// # Safety
    /// Called on that CPU, for an exception of that vCPU, and nobody holds the frame to change it.
    pub unsafe fn of(cpu: &Cpu) -> &Self {
        let place = (cpu.stack_top() as usize).saturating_sub(FRAME_SIZE);
        // SAFETY: the frame is at the top of the CPU's stack (`Partition::enter_if_started`), and complete since
        // the vCPU runs.
        unsafe { &*core::ptr::with_exposed_provenance(place) }
    }

    /// All of them, four a row.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        rows(&self.x)
    }
}

/// Registers in hexadecimal, in brackets. As a slice shows itself, but without the code that it has for `{:#?}`.
pub struct Row<'f>(&'f [u64]);

/// Registers, four a row.
pub fn rows(x: &[u64]) -> impl Iterator<Item = Row<'_>> {
    x.chunks(4).map(Row)
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "[";
        for value in self.0 {
            write!(f, "{before}{value:x}")?;
            before = ", ";
        }
        f.write_str("]")
    }
}

/// Bytes of a frame.
pub const FRAME_SIZE: usize = size_of::<Frame>();
const _: () = assert!(FRAME_SIZE == 272, "the assembly below counts on it");

/// What an exception at EL2 leaves on the emergency stack.
#[repr(C)]
pub struct Fault {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL2 as the exception found it.
    pub sp: u64,
}

global_asm!(
    r#"
    .macro fatal kind
    .balign 128
    // EL2 itself took an exception, perhaps for want of stack: report it on a stack of its own. Registers of
    // the guest's serve as scratch; it will not run again.
    msr     sp_el0, x0
    mov     x0, sp
    msr     tpidrro_el0, x0
    msr     tpidr_el0, x1
    msr     tpidr_el1, x2
    mov     x0, #\kind
    b       report_fault
    .endm

    // Stores or loads what a call may clobber, x0 and x1 aside.
    .macro clobbered operation
    \operation x2, x3, [sp, #16]
    \operation x4, x5, [sp, #32]
    \operation x6, x7, [sp, #48]
    \operation x8, x9, [sp, #64]
    \operation x10, x11, [sp, #80]
    \operation x12, x13, [sp, #96]
    \operation x14, x15, [sp, #112]
    \operation x16, x17, [sp, #128]
    \operation x18, x30, [sp, #144]
    .endm

    // Likewise what a call keeps. With x30 in its own place.
    .macro kept operation
    \operation x29, x30, [sp, #232]
    \operation x27, x28, [sp, #216]
    \operation x25, x26, [sp, #200]
    \operation x23, x24, [sp, #184]
    \operation x21, x22, [sp, #168]
    \operation x19, x20, [sp, #152]
    .endm

    // Saves what a call may clobber, and counts an exit of the vCPU, whose `Guest` the register then points at.
    .macro save guest, reason
    clobbered stp
    ldr     \guest, [sp, #256]
    ldr     x3, [\guest, #{exits} + 8 * \reason]
    add     x3, x3, #1
    str     x3, [\guest, #{exits} + 8 * \reason]
    .endm

    // Back into the guest. No speculation past that with the guest's registers in EL2's hands.
    .macro resume
    eret
    dsb     nsh
    isb
    .endm

    .macro return
    clobbered ldp
    ldp     x0, x1, [sp]
    resume
    .endm

    // Tries a handler that needs no more than the register that the instruction names, which is not a high one.
    .macro serve handler, reason
    save    x2, \reason
    mov     x0, sp
    bl      \handler
    tbz     w0, #0, guest_rest
    return
    .endm

    .macro serve_high handler, reason
    save    x2, \reason
    kept    stp
    mov     x0, sp
    bl      \handler
    tbnz    w0, #0, return_from_all
    b       guest_rare
    .endm

    // The call that guests make most is answered here: SMCCC_VERSION by HVC #0 from AArch64
    // (ESR_EL2 0x5a000000; DEN 0028), which Linux also makes to tell whether there are more.
    .macro synchronous
    .balign 128
    stp     x0, x1, [sp]
    mrs     x1, esr_el2
    mov     x0, #0x5a000000
    cmp     x0, x1
    b.ne    guest_synchronous
    ldr     w0, [sp]
    eor     w0, w0, #0x80000000
    cbnz    w0, guest_call
    mov     x0, #({smccc_version} & 0xffff)
    movk    x0, #({smccc_version} >> 16), lsl #16
    ldr     x1, [sp, #8]
    resume
    .endm

    // From AArch32, which is at EL0 and makes no calls to EL2.
    .macro synchronous_32
    .balign 128
    stp     x0, x1, [sp]
    mrs     x1, esr_el2
    b       guest_synchronous
    .endm

    .macro asynchronous handler, reason
    .balign 128
    stp     x0, x1, [sp]
    save    x0, \reason
    bl      \handler
    return
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global vectors
vectors:
    fatal   0
    fatal   1
    fatal   2
    fatal   3

    .balign 128
    // Of all that runs at EL2 only `translate` may be refused: see `trap::emulate`, which keeps the guest's
    // registers that serve as scratch here.
    msr     sp_el0, x0
    msr     tpidrro_el0, x1
    mrs     x0, elr_el2
    adr     x1, translate
    cmp     x0, x1
    b.eq    translate_refused
    mrs     x1, tpidrro_el0
    mrs     x0, sp_el0
    b       fatal_synchronous

    fatal   5
    fatal   6

    .balign 128
    // Of all that runs at EL2 only `drain_error` lets an SError in.
    msr     sp_el0, x0
    msr     tpidrro_el0, x1
    mrs     x0, elr_el2
    adr     x1, drain_error_window
    sub     x0, x0, x1
    cmp     x0, #8
    b.ls    error_drained
    mrs     x1, tpidrro_el0
    mrs     x0, sp_el0
    b       fatal_error

    synchronous
    asynchronous {interrupt}, {interrupts}
    asynchronous {interrupt}, {interrupts}
    asynchronous {error}, {errors}

    synchronous_32
    asynchronous {interrupt}, {interrupts}
    asynchronous {interrupt}, {interrupts}
    asynchronous {error}, {errors}

    .section .text.exits, "ax"
fatal_synchronous:
    fatal   4
fatal_error:
    fatal   7

    // drain_error() -> whether an SError was pending, which is gone now. The barrier has accesses before it signal their error
    // (Arm ARM, D1.3.5); one that is pending is taken at the first context synchronization event at which it is not masked.
    .global drain_error
drain_error:
    mov     x0, xzr
    dsb     sy
    msr     daifclr, #0b0100
drain_error_window:
    isb
    nop
drain_error_end:
    msr     daifset, #0b0100
    ret
error_drained:
    adr     x0, drain_error_end
    msr     elr_el2, x0
    mov     x0, #1
    eret

    // translate(va) -> PAR_EL1 of a read by EL1, or 1 (PAR_EL1.F) where the walk itself ends in an exception
    // (an external abort, a conflict in the TLB; Arm ARM, C5.3, AT S1E1R).
    .global translate
translate:
    at      s1e1r, x0
    isb
    mrs     x0, par_el1
    ret
translate_refused:
    adr     x0, 1f
    msr     elr_el2, x0
    eret
1:  mov     x0, #1
    ret

    // x1 is ESR_EL2; the lines behind a class are where it names the instruction's general register.
guest_synchronous:
    lsr     x0, x1, #26
    cmp     x0, #0x24                   // data abort
    b.ne    1f
    tbnz    x1, #20, 3f                 // SRT is x16 or above
    serve {load_or_store}, {devices}
1:  cmp     x0, #0x18                   // system register
    b.ne    2f
    tbnz    x1, #9, 4f                  // Rt is x16 or above
    serve {system_register}, {registers}
2:  and     x0, x0, #0x3e
    cmp     x0, #0x16                   // HVC, SMC
    b.ne    5f
guest_call:
    save    x2, {calls}
    mov     x0, sp
    bl      {call}
    return
3:  serve_high {load_or_store}, {devices}
4:  serve_high {system_register}, {registers}
5:  save    x2, {other}
    kept    stp
    b       guest_rare

guest_rest:
    ldr     x30, [sp, #152]
    kept    stp
guest_rare:
    mov     x0, sp
    bl      {rare}
return_from_all:
    kept    ldp
    str     x30, [sp, #152]
    return

    // There is one emergency stack, for the CPU that faults first: the board stops for it. If that one faults again, as it
    // tells why, it starts over on the same stack, once; any other only stops. Before translation is on, exclusives may
    // not work (Arm ARM, B2.12.5), and the boot CPU is alone.
report_fault:
    mrs     x1, sctlr_el2
    tbz     x1, #0, 2f
    adrp    x1, emergency_stack_owner
    add     x1, x1, :lo12:emergency_stack_owner
    msr     far_el1, x3
1:  mrs     x3, mpidr_el1               // not 0, for bit 31 is RES1
    ldaxr   x2, [x1]
    cbz     x2, 4f
    cmp     x2, x3
    b.ne    3f
    mov     x3, #-1                     // nobody's: not a third time
4:  stxr    w2, x3, [x1]
    cbnz    w2, 1b
    mrs     x3, far_el1
2:  adrp    x1, emergency_stack + {emergency_stack_size} - 256
    add     x1, x1, :lo12:emergency_stack + {emergency_stack_size} - 256
    mov     sp, x1
    .irp    n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    str     x\n, [sp, #8 * \n]
    .endr
    mrs     x1, sp_el0
    mrs     x2, tpidr_el0
    stp     x1, x2, [sp]
    mrs     x1, tpidr_el1
    str     x1, [sp, #16]
    mrs     x1, tpidrro_el0
    str     x1, [sp, #248]
    mov     x1, sp
    b       {fault}
3:  wfi
    b       3b

    .pushsection .data.emergency, "aw"
    .balign 8
emergency_stack_owner:
    .quad   0
    .popsection

    // enter_guest(frame, entry, pstate, x0) -> !: a fresh start, with nothing of EL2's or of a former
    // life left in the registers. The FP registers are given to the guest, so they are cleared too.
    .global enter_guest
enter_guest:
    mov     sp, x0
    str     xzr, [sp, #248]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    mov     x0, x3
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, xzr
    .endr
    .arch_extension simd
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\n\().2d, #0
    .endr
    msr     fpcr, xzr
    msr     fpsr, xzr
    .arch_extension nosimd
    isb
    resume

    // leave_guest(stack_top) -> !: the vCPU is off; its CPU waits in EL2 on an empty stack.
    .global leave_guest
leave_guest:
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    b       {idle}
    "#,
    emergency_stack_size = const crate::boot::entry::EMERGENCY_STACK_SIZE,
    smccc_version = const bulkhead_machine::smccc::VERSION,
    load_or_store = sym crate::trap::load_or_store,
    system_register = sym crate::trap::system_register,
    call = sym crate::trap::call,
    rare = sym crate::trap::rare,
    interrupt = sym crate::trap::interrupt,
    error = sym crate::trap::error,
    fault = sym crate::panic::fault,
    idle = sym crate::cpu::idle,
    exits = const Guest::EXITS_OFFSET,
    calls = const counts::CALLS,
    registers = const counts::REGISTERS,
    devices = const counts::DEVICES,
    other = const counts::OTHER,
    interrupts = const counts::INTERRUPTS,
    errors = const counts::ERRORS,
);

unsafe extern "C" {
    /// Starts the guest at `entry` with `pstate` and `argument` in x0. `frame` is where the next
    /// exception saves registers, [`FRAME_SIZE`] below the top of this CPU's stack.
    pub fn enter_guest(frame: u64, entry: u64, pstate: u64, argument: u64) -> !;
    /// Translates a guest's virtual address by its own tables: PAR_EL1, with bit 0 set
    /// where nothing is there. Changes PAR_EL1, and where it is refused ELR_EL2, SPSR_EL2, SP_EL0, TPIDRRO_EL0.
    pub fn translate(va: u64) -> u64;
    /// Takes an SError that is pending, and says whether one was. Changes ELR_EL2, SPSR_EL2, SP_EL0 and TPIDRRO_EL0 then.
    pub fn drain_error() -> bool;
    /// Drops the stack and waits for orders: see [`crate::cpu::idle`].
    pub fn leave_guest(stack_top: u64) -> !;
}
