// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads and stores to emulated devices that the syndrome does not describe (ISV clear): the guest's
//! instruction is fetched, decoded, and carried out as one or more accesses of eight bytes at most.

use super::device;
use crate::cpu::Guest;
use crate::vectors::{Frame, translate};
use crate::{memory, predictor, read_register, write_register};
use bulkhead_machine::instruction::{Bank, Transfer};
use bulkhead_machine::syndrome::{Abort, Syndrome};
use bulkhead_types::{Hpa, Ipa, PAGE_SIZE};
use core::arch::global_asm;

/// SPSR_EL2: in AArch32; EL1 with its own stack pointer.
const AARCH32: u64 = 1 << 4;
const EL1H: u64 = 0b0101;

/// Carries out the load or store that aborted. `None`, with no register of the guest changed, if it is not one
/// that a device answers.
pub fn access(frame: &mut Frame, syndrome: &Syndrome, abort: &Abort) -> Option<()> {
    if !abort.fault.is_translation() || abort.fault.on_walk {
        return None;
    }
    let ipa = abort.ipa?;
    let transfer = Transfer::decode(fetch(frame.guest)?)?;
    let base = base(frame, transfer.base);
    // Another vCPU may have put another instruction there meanwhile: it would have to do the same access.
    // A pair that leaves the page may have begun in memory.
    if transfer.is_store != abort.is_write
        || !transfer.is_at(syndrome.far, base)
        || ipa.0 % PAGE_SIZE > PAGE_SIZE.saturating_sub(transfer.bytes())
    {
        return None;
    }
    // The registers change only once every access was answered.
    let mut slots = Frame { x: [0; 32], guest: frame.guest };
    if transfer.is_store {
        for (n, register) in (0..).zip(transfer.each_register()) {
            let (low, high) = match transfer.bank {
                Bank::General { .. } => (frame.get(register), 0),
                Bank::Vector => vector(register),
            };
            slots.set(n << 1, low);
            slots.set(n << 1 | 1, high);
        }
    }
    // Of 16 bytes the half that comes first is the upper one, for data that are big-endian.
    let first_half = if transfer.scale == 4 && device::is_big_endian() { 8 } else { 0 };
    for (offset, access) in transfer.accesses() {
        let offset = offset ^ first_half;
        device::answer(&mut slots, Ipa(ipa.0.wrapping_add(offset)), access).then_some(())?;
    }
    if !transfer.is_store {
        for (n, register) in (0..).zip(transfer.each_register()) {
            let (low, high) = (slots.get(n << 1), slots.get(n << 1 | 1));
            match transfer.bank {
                Bank::General { .. } => frame.set(register, low),
                Bank::Vector => set_vector(register, low, high),
            }
        }
    }
    if let Some(value) = transfer.written_back(base) {
        set_base(frame, transfer.base, value);
    }
    Some(())
}

/// The instruction that the guest's PC points at, if that is A64 and in the partition's memory. The tables
/// may have changed since the guest fetched it: then it is another one, or none.
fn fetch(guest: &Guest) -> Option<u32> {
    let (pc, pstate) = (read_register!("elr_el2"), read_register!("spsr_el2"));
    if pstate & AARCH32 != 0 {
        return None;
    }
    let (par, sp, tpidrro) =
        (read_register!("par_el1"), read_register!("sp_el0"), read_register!("tpidrro_el0"));
    // SAFETY: what the translation changes of the guest's and of the way back to it is put back.
    let result = unsafe {
        let result = translate(pc);
        write_register!("par_el1", par);
        write_register!("sp_el0", sp);
        write_register!("tpidrro_el0", tpidrro);
        write_register!("elr_el2", pc);
        write_register!("spsr_el2", pstate);
        result
    };
    if result & 1 != 0 {
        return None;
    }
    // PAR_EL1: F in bit 0, the page in bits 51:12.
    let pair = peek(guest, Ipa(result & 0x000f_ffff_ffff_f000 | pc & 0xff8))?;
    Some(if pc & 4 == 0 { pair as u32 } else { (pair >> 32) as u32 })
}

/// The doubleword at an aligned address, as the guest's CPUs see it, if that is in memory of the partition.
pub fn peek(guest: &Guest, at: Ipa) -> Option<u64> {
    let (frames, offset) = guest.partition.plan.memory.iter().find_map(|memory| {
        let offset = at.0.wrapping_sub(memory.guest.0);
        (offset < memory.frames.size()).then_some((memory.frames, offset))
    })?;
    // SAFETY: aligned, and in memory of this partition. Nobody who runs a guest's exit has a window open.
    unsafe { memory::peek(Hpa(frames.start().0.wrapping_add(offset))) }
}

/// A base register: 31 is the stack pointer in use.
fn base(frame: &Frame, register: u8) -> u64 {
    match register {
        31 if is_el1h() => read_register!("sp_el1"),
        31 => read_register!("sp_el0"),
        _ => frame.get(register),
    }
}

fn set_base(frame: &mut Frame, register: u8, value: u64) {
    // SAFETY: the guest's stack pointers, of which EL2 uses none.
    unsafe {
        match register {
            31 if is_el1h() => write_register!("sp_el1", value),
            31 => write_register!("sp_el0", value),
            _ => frame.set(register, value),
        }
    }
}

fn is_el1h() -> bool {
    read_register!("spsr_el2") & 0b1111 == EL1H
}

/// The halves of a SIMD register of the guest's: they stay in the CPU, for EL2 itself uses none.
fn vector(register: u8) -> (u64, u64) {
    let mut halves = [0; 2];
    predictor::cleanse();
    // SAFETY: stores 16 bytes to where there is room for them.
    unsafe { store_vector(&raw mut halves, u64::from(register & 31)) };
    (halves[0], halves[1])
}

fn set_vector(register: u8, low: u64, high: u64) {
    predictor::cleanse();
    // SAFETY: the guest's register, and 16 bytes to load it from. The rest of its SVE register becomes zero,
    // as with the guest's own load.
    unsafe { load_vector(&raw const *&[low, high], u64::from(register & 31)) };
}

global_asm!(
    r#"
    .arch_extension simd
    .macro vectors name operation
    .global \name
\name:
    adr     x2, 1f
    add     x2, x2, x1, lsl #3
    br      x2
1:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \operation q\n, [x0]
    ret
    .endr
    .endm
    .section .text
    vectors load_vector ldr
    vectors store_vector str
    .arch_extension nosimd
    "#
);

unsafe extern "C" {
    fn load_vector(from: *const [u64; 2], register: u64);
    fn store_vector(to: *mut [u64; 2], register: u64);
}
