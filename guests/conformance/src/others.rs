// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A second CPU: how it comes and goes, and interrupts between the two.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bulkhead_types::Mpidr;
use guest_runtime::machine::Machine;
use guest_runtime::power::call;
use guest_runtime::{cpu, gic, read_register, smp, timer};
use spin::Once;

use crate::interface::{ICACTIVER, ICENABLER, ISACTIVER, ISENABLER, ISPENDR, Interface};
use crate::report::{line, number};

const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;

/// What the second CPU is to do next, and what came of it.
static ORDER: AtomicU64 = AtomicU64::new(0);
static ANSWER: AtomicU64 = AtomicU64::new(0);
static INTERFACE: Once<Option<Interface>> = Once::new();
static MACHINE: Once<&'static Machine> = Once::new();
static FIRST: AtomicU64 = AtomicU64::new(0);
static START: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

const TAKE: u64 = 1;
const SEND_BACK: u64 = 2;
const GO_OFF: u64 = 3;
/// As `TAKE`, without the end.
const KEEP: u64 = 4;
/// CPU_SUSPEND until its own timer.
const SLEEP: u64 = 5;

/// Probes.
pub fn probe(machine: &'static Machine) {
    let own = cpu::mpidr();
    let Some(target) = machine.cpus().find(|mpidr| *mpidr != own).filter(|_| machine.psci.is_some()) else {
        return;
    };
    let Some(gic) = Interface::new(machine) else { return };
    MACHINE.call_once(|| machine);
    FIRST.store(own.affinity(), SeqCst);
    number("second CPU: AFFINITY_INFO before", info(target));
    for round in 1..3 {
        if let Err(error) = smp::start(1, target, |_| second()) {
            return line("second CPU: CPU_ON", error);
        }
        order(0);
        number(format_args!("second CPU: round {round}: AFFINITY_INFO"), info(target));
        // SAFETY: refused, for it is on.
        let again = unsafe { call(CPU_ON, target.affinity(), smp::entry_address(), 0) };
        number(format_args!("second CPU: round {round}: CPU_ON again"), again as u64);
        for (name, value) in ["level", "DAIF", "SCTLR", "MPIDR"].iter().zip(&START) {
            number(format_args!("second CPU: round {round}: {name}"), value.load(SeqCst));
        }
        interrupts(&gic, target, round);
        anyone(&gic, round);
        // Last of all: a CPU interface that a CPU's reset does not reach stays at this priority.
        let id = (round == 2).then_some(52);
        if let Some(id) = id {
            activate(&gic, target, id);
            suspend(&gic, id);
        }
        go_off(target, round);
        if let Some(id) = id {
            active(&gic, id);
        }
    }
}

fn go_off(target: Mpidr, round: u32) {
    ORDER.store(GO_OFF, SeqCst);
    cpu::send_event();
    let end = timer::now() + timer::frequency();
    while info(target) != 1 && timer::now() < end {}
    number(format_args!("second CPU: round {round}: AFFINITY_INFO after CPU_OFF"), info(target));
}

/// A shared interrupt for any of the CPUs: one takes it.
fn anyone(gic: &Interface, round: u32) {
    let id = 51;
    if !gic.is_v3() {
        return;
    }
    gic.set_priority(id, 0xa0);
    gic.set_edge(id, true);
    gic.set(ISENABLER, id);
    gic.route(id, Some(1 << 31));
    for shot in 0..4 {
        gic.set(ISPENDR, id);
        timer::delay(2000);
        let here = gic.acknowledge();
        if here == u64::from(id) {
            gic.end(here);
        }
        let there = order(TAKE);
        let taken = u64::from(here == u64::from(id)) + u64::from(there == u64::from(id));
        number(format_args!("second CPU: round {round}: 1 of N, shot {shot}: taken by"), taken);
    }
    gic.route(id, None);
}

/// Has the second CPU acknowledge a shared interrupt, and not end it.
fn activate(gic: &Interface, target: Mpidr, id: u32) {
    gic.set_priority(id, 0xa0);
    gic.set_edge(id, true);
    gic.set(ISENABLER, id);
    gic.route(id, Some(if gic.is_v3() { target.affinity() } else { 2 }));
    gic.set(ISPENDR, id);
    number("second CPU: IAR of what stays active", order(KEEP));
}

/// The second CPU suspends itself. That this one looks at an interrupt which that one holds does not wake it.
fn suspend(gic: &Interface, id: u32) {
    ANSWER.store(u64::MAX, SeqCst);
    ORDER.store(SLEEP, SeqCst);
    cpu::send_event();
    let end = timer::now() + timer::frequency() / 100;
    while timer::now() < end {
        let _ = gic.is_set(ISACTIVER, id);
    }
    number("second CPU: suspended until its timer", order(0));
}

/// On the second CPU. 1 if the timer had come to its end when the call returned, 0 if not, or the call's error.
fn sleep(gic: &Interface, id: u32) -> u64 {
    const CPU_SUSPEND: u32 = 0xc400_0001;
    gic.set_priority(id, 0x40);
    gic.set(ISENABLER, id);
    let deadline = timer::now() + timer::frequency() / 50;
    timer::set_deadline(deadline);
    // SAFETY: standby: everything stays as it is.
    let error = unsafe { call(CPU_SUSPEND, 0, 0, 0) };
    let is_over = timer::now() >= deadline;
    timer::stop();
    gic.set(ICENABLER, id);
    if error == 0 { u64::from(is_over) } else { error as u64 }
}

/// It is active, and the CPU that acknowledged it is off.
fn active(gic: &Interface, id: u32) {
    let step = |name: &str, value: u64| number(format_args!("active on a CPU that is off: {name}"), value);
    step("active", gic.is_set(ISACTIVER, id).into());
    gic.set(ISPENDR, id);
    step("pending", gic.is_set(ISPENDR, id).into());
    gic.route(id, None);
    step("IAR once it is routed here", gic.acknowledge());
    gic.set(ICACTIVER, id);
    let taken = gic.acknowledge();
    step("IAR after ICACTIVER", taken);
    gic.end(taken);
    step("active at last", gic.is_set(ISACTIVER, id).into());
}

fn info(target: Mpidr) -> u64 {
    // SAFETY: only asks.
    unsafe { call(AFFINITY_INFO, target.affinity(), 0, 0) as u64 }
}

/// Has the second CPU do something and waits for its answer, for a second at most.
fn order(what: u64) -> u64 {
    const NONE: u64 = u64::MAX;
    if what != 0 {
        ANSWER.store(NONE, SeqCst);
        ORDER.store(what, SeqCst);
        cpu::send_event();
    }
    let end = timer::now() + timer::frequency();
    while (ORDER.load(SeqCst) != 0 || START[3].load(SeqCst) == 0) && timer::now() < end {}
    ANSWER.load(SeqCst)
}

fn interrupts(gic: &Interface, target: Mpidr, round: u32) {
    let Some(controller) = gic::get() else { return };
    let step = |name: &str, value: u64| number(format_args!("second CPU: round {round}: {name}"), value);
    // What another CPU does takes its time.
    let here = || {
        timer::delay(2000);
        gic.acknowledge()
    };
    gic.set(ISENABLER, 4);
    step("IAR with nothing pending", order(TAKE));
    controller.send_sgi(4, target, 1);
    step("IAR after an SGI", order(TAKE));
    controller.send_sgi(4, target, 1);
    controller.send_sgi(5, target, 1);
    step("IAR after two SGIs", order(TAKE));
    step("IAR after two SGIs, then", order(TAKE));
    step("IAR at last", order(TAKE));
    // All but this CPU.
    gic.send(if gic.is_v3() { 1 << 40 | 4 << 24 } else { 1 << 24 | 4 });
    step("IAR after an SGI to all others", order(TAKE));
    step("own IAR after it", here());
    // Both by list.
    let both = if gic.is_v3() { u64::from(target.level(1)) << 16 | 4 << 24 | 0b11 } else { 0b11 << 16 | 4 };
    gic.send(both);
    step("IAR after an SGI to both", order(TAKE));
    let taken = here();
    step("own IAR after it is sent to both", taken);
    gic.end(taken);
    // Nobody.
    gic.send(if gic.is_v3() { 0x55 << 16 | 4 << 24 | 1 } else { 0x80 << 16 | 4 });
    step("IAR after an SGI to nobody", order(TAKE));
    step("own IAR after an SGI to nobody", here());
    order(SEND_BACK);
    let taken = here();
    step("own IAR after an SGI from it", taken);
    gic.end(taken);
    // A shared interrupt.
    let id = 50;
    gic.set_priority(id, 0xa0);
    gic.set_edge(id, true);
    gic.set(ISENABLER, id);
    gic.route(id, Some(if gic.is_v3() { target.affinity() } else { 2 }));
    gic.set(ISPENDR, id);
    step("own IAR after an SPI to it", here());
    step("IAR after an SPI", order(TAKE));
    gic.set(ISPENDR, id);
    gic.route(id, None);
    // The other CPU may have to hand it over.
    let end = timer::now() + timer::frequency();
    while gic.pending_here() == 1023 && timer::now() < end {}
    let taken = gic.acknowledge();
    step("own IAR after the pending SPI is moved", taken);
    if taken < 1020 {
        gic.end(taken);
    }
    step("IAR after the pending SPI is moved", order(TAKE));
}

/// What the second CPU runs, with its interrupts masked.
fn second() {
    // SAFETY: masks interrupts, which are polled for.
    unsafe { core::arch::asm!("msr daifset, #3", options(nostack)) };
    if let (Some(machine), None) = (MACHINE.get(), INTERFACE.get()) {
        INTERFACE.call_once(|| Interface::new(machine));
    }
    if let Some(gic) = INTERFACE.get().and_then(Option::as_ref) {
        gic.set(ISENABLER, 4);
        gic.set(ISENABLER, 5);
    }
    for (place, value) in START.iter().zip([
        cpu::exception_level(),
        read_register!("daif"),
        read_register!("sctlr_el1"),
        read_register!("mpidr_el1"),
    ]) {
        place.store(value, SeqCst);
    }
    loop {
        let answer = match ORDER.load(SeqCst) {
            // An interrupt from another CPU takes its time.
            what @ (TAKE | KEEP) => INTERFACE.get().and_then(Option::as_ref).map_or(0, |gic| {
                timer::delay(2000);
                let taken = gic.acknowledge();
                if what == TAKE && taken & 0x3ff < 1020 {
                    gic.end(taken);
                }
                taken
            }),
            SLEEP => match (INTERFACE.get().and_then(Option::as_ref), MACHINE.get()) {
                (Some(gic), Some(machine)) => machine.virtual_timer.map_or(0, |id| sleep(gic, id)),
                _ => 0,
            },
            SEND_BACK => {
                if let (Some(gic), Some(first)) = (gic::get(), Mpidr::from_affinity(FIRST.load(SeqCst))) {
                    gic.send_sgi(4, first, 0);
                }
                0
            }
            GO_OFF => break,
            _ => {
                core::hint::spin_loop();
                continue;
            }
        };
        ANSWER.store(answer, SeqCst);
        ORDER.store(0, SeqCst);
    }
    ORDER.store(0, SeqCst);
    START[3].store(0, SeqCst);
}
