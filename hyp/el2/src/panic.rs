// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's last words. Nothing a guest does leads here; a fault of ours does, and then nothing
//! is known to hold any more: say where and why, and stop the board.

use crate::console::last_words;
use crate::vectors::{Fault, rows};
use crate::{alive, cpu, predictor, read_register, system};
use bulkhead_machine::syndrome::{Own, Syndrome};
use bulkhead_plan::early::STACK_SIZE;
use bulkhead_plan::partition::OnPanic;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// MPIDR_EL1 of the CPU that panicked first, whose bit 31 is one (Arm ARM, MPIDR_EL1); zero before.
static FIRST: AtomicU64 = AtomicU64::new(0);

/// Set once that CPU panics again, while it tells why.
static AGAIN: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    match info.location() {
        Some(at) => last_words(format_args!("panic: {} ({}:{})", info.message(), at.file(), at.line())),
        None => last_words(format_args!("panic: {}", info.message())),
    }
    who();
    let frame: u64;
    // SAFETY: reads the frame pointer, which this build keeps (.cargo/config.toml).
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    backtrace(frame);
    end_board()
}

/// Stops the board for a reason that is no panic in the code's sense.
#[cold]
pub fn stop(reason: &str) -> ! {
    begin();
    last_words(format_args!("panic: {reason}"));
    who();
    end_board()
}

/// An exception that EL2 took itself: from the vectors, on the emergency stack.
pub extern "C" fn fault(kind: u64, registers: &Fault) -> ! {
    begin();
    let syndrome = Syndrome {
        esr: read_register!("esr_el2"),
        far: read_register!("far_el2"),
        hpfar: read_register!("hpfar_el2"),
    };
    let what = match kind {
        0..=3 => "exception with SP_EL0 selected",
        4 => "synchronous exception",
        5 | 6 => "interrupt",
        _ => "SError",
    };
    let elr = read_register!("elr_el2");
    let base = crate::boot::entry::layout().text;
    last_words(format_args!("panic: {what} at EL2: ELR {elr:#x} (image + {:#x})", elr.wrapping_sub(base)));
    last_words(format_args!("  {}", Own(syndrome)));
    last_words(format_args!("  FAR {:#x}, SP {:#x}", syndrome.far, registers.sp));
    who();
    for (row, registers) in rows(&registers.x).enumerate() {
        last_words(format_args!("  x{:<2} {}", row.wrapping_mul(4), registers));
    }
    backtrace(registers.x.get(29).copied().unwrap_or(0));
    end_board()
}

/// The first panic goes on; that of any other CPU stops that one. So does every other CPU as it takes the kick. A panic of
/// the first CPU while it tells why ends the board without another word, and one while it does that stops the CPU.
fn begin() {
    let me = read_register!("mpidr_el1");
    match FIRST.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(first) if first == me && !AGAIN.swap(true, Ordering::Relaxed) => {
            predictor::cleanse();
            end_board()
        }
        Err(_) => halt_cpu(),
    }
    if cpu::is_known() {
        let system = system::get();
        for other in system.cpus.iter().filter(|other| other.is_online()) {
            crate::interrupts::kick(system, other.index);
        }
    }
}

/// Whether a CPU has panicked, so that all must stop.
pub fn is_panicking() -> bool {
    FIRST.load(Ordering::Relaxed) != 0
}

/// Prints on which CPU, and whose it is.
fn who() {
    if !cpu::is_known() {
        return last_words(format_args!("  on the boot CPU, before the guests"));
    }
    let cpu = cpu::current();
    let owner = cpu.guest().map_or("no partition", |guest| guest.partition.name);
    last_words(format_args!("  on CPU {} of {owner}", cpu.index));
}

/// Prints return addresses as offsets into the image, for `addr2line`. Follows frame records
/// (AAPCS64, 6.2.3) as long as they lie on a stack of this CPU's and lead up it.
fn backtrace(mut frame: u64) {
    let image = crate::boot::entry::layout();
    let boots = image.boot_stack..image.boot_stack.saturating_add(crate::boot::entry::BOOT_STACK_SIZE as u64);
    let top = if cpu::is_known() { cpu::current().stack_top() } else { 0 };
    let stacks = [boots, top.saturating_sub(STACK_SIZE)..top];
    for _ in 0..32 {
        // A register may hold anything, and a fault in here would keep the board from its end.
        if !frame.is_multiple_of(16) || !stacks.iter().any(|stack| stack.contains(&frame)) {
            return;
        }
        // SAFETY: aligned, and on a stack, which is mapped; stacks end at multiples of 16, so all of it is.
        let [next, link] = unsafe { core::ptr::with_exposed_provenance::<[u64; 2]>(frame as usize).read() };
        if link < image.text || link >= image.rodata {
            return;
        }
        last_words(format_args!("  from image + {:#x}", link.wrapping_sub(image.text)));
        if next <= frame {
            return;
        }
        frame = next;
    }
}

/// After the last word: what the configuration says.
fn end_board() -> ! {
    let policy = if cpu::is_known() { system::get().policy.on_panic } else { OnPanic::PowerOff };
    match policy {
        OnPanic::PowerOff => halt_board(),
        OnPanic::Reset => {
            crate::console::drain();
            alive::end(system::get());
            system::get().power.system_reset();
        }
        OnPanic::Halt => {
            if let Some(manager) = alive::end(system::get()) {
                manager.stop_watchdog();
            }
        }
    }
    halt_cpu()
}

/// Stops the board: powers it off where that can be done, else stops this CPU.
pub fn halt_board() -> ! {
    crate::console::drain();
    let power = if cpu::is_known() {
        alive::end(system::get());
        Some(system::get().power)
    } else {
        crate::boot::power::early()
    };
    if let Some(power) = power {
        power.system_off();
    }
    halt_cpu()
}

/// Stops this CPU for ever.
pub fn halt_cpu() -> ! {
    loop {
        // SAFETY: masks interrupts and waits.
        unsafe { core::arch::asm!("msr daifset, #0b1111", "wfi", options(nostack)) };
    }
}
