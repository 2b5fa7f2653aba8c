// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exceptions: interrupts go to the handler of the guest, expected faults to whoever expects them, and
//! anything else is printed and ends the guest.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::{gic, println, read_register, smp, write_register};

/// The registers at the moment of an exception; the handler's changes are loaded on return.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// ELR_EL1: where to return to.
    pub elr: u64,
    /// SPSR_EL1: the state to return to.
    pub spsr: u64,
    /// Keeps the stack aligned.
    reserved: u64,
}

/// A synchronous exception or an SError that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1, where the exception class defines it.
    pub far: u64,
    /// ELR_EL1: the instruction.
    pub elr: u64,
}

impl Taken {
    /// The exception class (Arm ARM, D24.2, ESR_EL1).
    #[must_use]
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }
}

/// ESR_EL1.EC of a software step from the level it is taken to.
const SOFTWARE_STEP: u64 = 0x33;
/// SPSR_EL1.IL.
const ILLEGAL_STATE: u64 = 1 << 20;

static INTERRUPT_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Names the function that gets every interrupt's ID, on every CPU, with interrupts masked. The
/// interrupt is ended when it returns.
pub fn set_interrupt_handler(handler: fn(u32)) {
    INTERRUPT_HANDLER.store(handler as *mut (), Ordering::Release);
}

/// Runs `f`; a synchronous exception in it skips the instruction and is handed back, as an SError is (the last one,
/// if there are several). An instruction that faulted leaves its destination as it was.
pub fn attempt<T>(f: impl FnOnce() -> T) -> (T, Option<Taken>) {
    let cpu = smp::this_cpu();
    cpu.expect_exceptions(true);
    let result = f();
    // SAFETY: a barrier only: an external abort reported late still belongs to `f`.
    unsafe { asm!("dsb sy", "isb", options(nostack)) };
    (result, cpu.expect_exceptions(false))
}

#[unsafe(no_mangle)]
extern "C" fn handle_exception(frame: &mut Frame, vector: u64) {
    match vector & 3 {
        0 => synchronous(frame, vector),
        1 | 2 => interrupt(),
        _ => error(frame, vector),
    }
}

fn taken(frame: &Frame) -> Taken {
    Taken { esr: read_register!("esr_el1"), far: read_register!("far_el1"), elr: frame.elr }
}

/// An SError: if it was expected, the program goes on where it was.
fn error(frame: &Frame, vector: u64) {
    if !smp::this_cpu().take_exception(taken(frame)) {
        dump("SError", frame, vector);
    }
}

fn synchronous(frame: &mut Frame, vector: u64) {
    let taken = taken(frame);
    if smp::this_cpu().take_exception(taken) {
        if taken.class() == SOFTWARE_STEP {
            // The instruction was executed; no more of them one by one.
            let mdscr = read_register!("mdscr_el1");
            // SAFETY: MDSCR_EL1.SS only decides whether steps are taken.
            unsafe { write_register!("mdscr_el1", mdscr & !1) };
        } else {
            frame.elr += 4;
        }
        // Otherwise an illegal execution state would follow us back.
        frame.spsr &= !ILLEGAL_STATE;
    } else {
        dump("synchronous exception", frame, vector);
    }
}

fn interrupt() {
    let Some(gic) = gic::get() else { return };
    while let Some(acknowledged) = gic.acknowledge() {
        let handler = INTERRUPT_HANDLER.load(Ordering::Acquire);
        if !handler.is_null() {
            // SAFETY: only `set_interrupt_handler` writes the pointer, from a `fn(u32)`.
            let handler: fn(u32) = unsafe { core::mem::transmute(handler) };
            handler(acknowledged.intid());
        }
        gic.end(acknowledged);
    }
}

fn dump(what: &str, frame: &Frame, vector: u64) -> ! {
    println!("{what} through vector {vector} on CPU {:#x}", crate::cpu::mpidr().affinity());
    println!(
        "ESR {:#x} FAR {:#x} ELR {:#x} SPSR {:#x}, image at {:#x}",
        read_register!("esr_el1"),
        read_register!("far_el1"),
        frame.elr,
        frame.spsr,
        crate::load_address(),
    );
    for (number, pair) in frame.x.chunks(4).enumerate() {
        println!("x{:<2} {pair:#018x?}", number * 4);
    }
    panic!("{what}");
}

/// Unmasks SError so that an asynchronous abort shows where it happens.
pub(crate) fn unmask_serror() {
    // SAFETY: the vectors are installed; an SError prints and ends the guest.
    unsafe { asm!("msr daifclr, #4", options(nostack)) };
}

/// This CPU's number in the runtime, kept in TPIDR_EL1.
pub(crate) fn set_cpu_number(number: usize) {
    // SAFETY: TPIDR_EL1 is software's own; nothing else of this program uses it.
    unsafe { write_register!("tpidr_el1", number) };
}

global_asm!(
    r#"
    .macro vector number
    .balign 0x80
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       exception
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector  \number
    .endr

exception:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    bl      handle_exception
    ldr     x3, [sp, #256]
    ldp     x30, x2, [sp, #240]
    msr     spsr_el1, x3
    msr     elr_el1, x2
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
"#
);
