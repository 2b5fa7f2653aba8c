// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The CPU's own registers and hints.

use core::arch::asm;

use bulkhead_types::Mpidr;

/// Reads a system register by its assembler name (`mpidr_el1`, `S3_0_C0_C7_0`).
///
/// For registers whose read changes nothing but the register itself; an unimplemented one is UNDEFINED.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register touches no memory; the register's name is in the program's text.
        unsafe { ::core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}

/// Writes a system register by its assembler name. The caller answers for what the write does.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {
        ::core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value as u64, options(nostack))
    };
}

/// The affinity of this CPU.
#[must_use]
pub fn mpidr() -> Mpidr {
    Mpidr::from_register(read_register!("mpidr_el1"))
}

/// The exception level this code runs at.
#[must_use]
pub fn exception_level() -> u64 {
    read_register!("CurrentEL") >> 2 & 3
}

/// Waits until an interrupt is pending, masked or not.
pub fn wait_for_interrupt() {
    // SAFETY: WFI only waits; the barrier before it orders earlier writes to the interrupt controller.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Waits for SEV by another CPU, or any event.
pub fn wait_for_event() {
    // SAFETY: WFE only waits.
    unsafe { asm!("wfe", options(nostack)) };
}

/// Wakes CPUs that wait for an event.
pub fn send_event() {
    // SAFETY: SEV after a barrier changes nothing but the event registers.
    unsafe { asm!("dsb sy", "sev", options(nostack)) };
}

/// Lets IRQ and FIQ, SError and debug exceptions in.
pub fn unmask_interrupts() {
    // SAFETY: the vectors are in place since boot and save whatever they use.
    unsafe { asm!("msr daifclr, #0xf", options(nostack)) };
}

/// Keeps IRQ and FIQ out.
pub fn mask_interrupts() {
    // SAFETY: masking interrupts changes no memory.
    unsafe { asm!("msr daifset, #0x3", options(nostack)) };
}

/// Runs `f` with interrupts masked and puts the mask back as it was.
pub fn without_interrupts<T>(f: impl FnOnce() -> T) -> T {
    let daif = read_register!("daif");
    // SAFETY: masking interrupts changes no memory; the mask is put back below.
    unsafe { asm!("msr daifset, #0x3", options(nostack)) };
    let result = f();
    // SAFETY: restores the mask that was read above.
    unsafe { write_register!("daif", daif) };
    result
}

/// Cleans `size` bytes from `start` to the point of coherency, for CPUs whose caches are off.
pub fn clean_to_memory(start: *const u8, size: usize) {
    let line = 4usize << (read_register!("ctr_el0") >> 16 & 0xf);
    let mut address = start as usize & !(line - 1);
    while address < start as usize + size {
        // SAFETY: cleaning a line of mapped memory changes no value.
        unsafe { asm!("dc cvac, {}", in(reg) address, options(nostack)) };
        address += line;
    }
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("dsb sy", options(nostack)) };
}
