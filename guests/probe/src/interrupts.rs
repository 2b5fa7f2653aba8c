// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts that the guest makes itself: SGIs and both timers.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_runtime::machine::Machine;
use guest_runtime::{cpu, exception, gic, read_register, timer, write_register};

use crate::report::Report;

static COUNTS: [AtomicU32; 32] = [const { AtomicU32::new(0) }; 32];

/// How often private interrupt `intid` was taken, on any CPU.
pub fn count(intid: u32) -> u32 {
    COUNTS[intid as usize].load(Ordering::SeqCst)
}

/// Counts private interrupts from here on.
pub fn prepare() {
    exception::set_interrupt_handler(handle);
    cpu::unmask_interrupts();
}

fn handle(intid: u32) {
    if let Some(count) = COUNTS.get(intid as usize) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    // A timer's line stays up until it is stopped.
    timer::stop();
    // SAFETY: the physical timer is this program's own.
    unsafe { write_register!("cntp_ctl_el0", 0) };
}

/// Waits up to `milliseconds` for `done`.
pub fn wait_until(milliseconds: u64, done: impl Fn() -> bool) -> bool {
    let end = timer::now() + timer::frequency() * milliseconds / 1000;
    while timer::now() < end {
        if done() {
            return true;
        }
    }
    done()
}

pub fn probe(report: &mut Report, machine: &Machine) {
    let Some(gic) = gic::get() else { return report.check("gic", false, "the tree has none") };
    for number in 0..16 {
        gic.enable(number);
        let before = count(number);
        gic.send_sgi(number, cpu::mpidr(), gic.interface());
        let taken = wait_until(100, || count(number) == before + 1);
        if !taken || number == 15 {
            report.check("sgi_to_self", taken, (number, count(number)));
        }
    }
    let soon = timer::frequency() / 1000;
    if let Some(intid) = machine.virtual_timer {
        gic.enable(intid);
        let before = count(intid);
        timer::set_deadline(timer::now() + soon);
        report.check("virtual_timer", wait_until(100, || count(intid) == before + 1), count(intid));
    }
    if let Some(intid) = machine.physical_timer {
        gic.enable(intid);
        let before = count(intid);
        // SAFETY: the physical timer is this program's own.
        unsafe {
            write_register!("cntp_tval_el0", soon);
            write_register!("cntp_ctl_el0", 1);
        }
        report.check("physical_timer", wait_until(100, || count(intid) == before + 1), count(intid));
    }
    if let Some(intid) = machine.virtual_timer {
        let before = count(intid);
        timer::set_deadline(timer::now() + soon);
        while count(intid) == before {
            cpu::without_interrupts(|| {
                if count(intid) == before {
                    cpu::wait_for_interrupt();
                }
            });
        }
        report.equal("wait_for_interrupt", count(intid), before + 1);
    }
    report.equal("no_fiq_or_irq_left", read_register!("isr_el1"), 0);
}
