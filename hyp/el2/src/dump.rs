// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person needs to see why a vCPU is where it is.

use crate::console;
use crate::cpu::Guest;
use crate::vectors::Frame;
use crate::{read_register, timer};
use bulkhead_machine::syndrome::{Pstate, Syndrome};
use core::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, Release},
};

/// A line about `guest`, with its vCPU's number: dumps of several may come at once.
fn line(guest: &Guest, text: core::fmt::Arguments<'_>) {
    console::line(format_args!("{}/{}:   {text}", guest.partition.name, guest.vcpu.id.0));
}

/// How many exits a vCPU remembers.
const KEPT: usize = 16;

/// The last exits of a vCPU that no hot path answered. Only its own CPU writes.
#[derive(Default)]
pub struct Trace {
    count: AtomicUsize,
    exits: [[AtomicU64; 5]; KEPT],
}

impl Trace {
    /// Forgets all.
    pub fn clear(&self) {
        self.count.store(0, Relaxed);
    }

    /// Remembers an exit that has just come.
    pub fn note(&self, syndrome: &Syndrome) {
        let count = self.count.load(Relaxed);
        let exit = [timer::now(), read_register!("elr_el2"), syndrome.esr, syndrome.far, syndrome.hpfar];
        for (place, value) in self.exits.get(count % KEPT).into_iter().flatten().zip(exit) {
            place.store(value, Relaxed);
        }
        self.count.store(count.wrapping_add(1), Relaxed);
    }

    fn print(&self, guest: &Guest) {
        let count = self.count.load(Relaxed);
        if count > 0 {
            line(guest, format_args!("its last exits that were not routine, of {count}:"));
        }
        for number in count.saturating_sub(KEPT)..count {
            let Some(exit) = self.exits.get(number % KEPT) else { return };
            let [at, pc, esr, far, hpfar] = exit.each_ref().map(|value| value.load(Relaxed));
            let ms = timer::milliseconds(at.saturating_sub(guest.partition.started_at()));
            line(guest, format_args!("{ms:>8} ms  PC {pc:#x}: {}", Syndrome { esr, far, hpfar }));
        }
    }
}

/// Prints the registers of the vCPU that left this CPU last. `syndrome` is of the exit, if that was synchronous;
/// else the frame lacks x19 to x29.
pub fn print(guest: &Guest, frame: &Frame, syndrome: Option<&Syndrome>) {
    let pstate = Pstate(read_register!("spsr_el2"));
    line(guest, format_args!("PC {:#x}, PSTATE {:#x}: {pstate}", read_register!("elr_el2"), pstate.0));
    if let Some(syndrome) = syndrome {
        let ipa = (syndrome.hpfar & 0x0fff_ffff_fff0) << 8;
        line(guest, format_args!("{syndrome}"));
        line(guest, format_args!("FAR {:#x}, HPFAR {:#x}: IPA page {ipa:#x}", syndrome.far, syndrome.hpfar));
    }
    macro_rules! registers {
        ($($name:literal)*) => {
            line(guest, format_args!(concat!($($name, " {:#x} "),*), $(read_register!($name)),*))
        };
    }
    registers!("vbar_el1" "sctlr_el1" "tcr_el1" "mair_el1");
    registers!("ttbr0_el1" "ttbr1_el1" "sp_el1" "sp_el0");
    registers!("esr_el1" "elr_el1" "far_el1" "spsr_el1");
    // Without a syndrome, x30 stands in x19's place and the rest was not saved.
    let rows = if syndrome.is_some() { usize::MAX } else { 5 };
    for (row, registers) in (0_usize..).zip(frame.rows()).take(rows) {
        let last = if row == 4 && syndrome.is_none() { " (x16 to x18, x30)" } else { "" };
        line(guest, format_args!("x{:<2} {registers}{last}", row.wrapping_mul(4)));
    }
    guest.vcpu.trace.print(guest);
}

/// Prints them because the operator asked for them. `frame`: the vCPU is on.
#[cold]
pub fn asked(guest: &Guest, frame: Option<&Frame>) {
    let (vcpu, cpu) = (guest.vcpu.id.0, guest.cpu.index);
    match frame {
        Some(frame) => {
            line(guest, format_args!("vCPU {vcpu} on CPU {cpu} runs; x19 to x28 are not known here"));
            print(guest, frame, None);
        }
        None => line(guest, format_args!("vCPU {vcpu} on CPU {cpu} is off or suspended")),
    }
    // Now the next vCPU is asked.
    guest.vcpu.asked.store(false, Release);
}
