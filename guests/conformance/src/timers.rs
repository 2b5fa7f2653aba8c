// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both timers of EL1 (Arm ARM, D12.2).

use core::arch::asm;

use guest_runtime::machine::Machine;
use guest_runtime::{cpu, read_register, timer, write_register};

use crate::interface::{ICENABLER, ISENABLER, ISPENDR, Interface};
use crate::report::{number, whether};

const ENABLE: u64 = 1;
const MASKED: u64 = 2;

/// A timer's registers.
struct Timer {
    name: &'static str,
    interrupt: Option<u32>,
    count: fn() -> u64,
    control: fn() -> u64,
    set_control: fn(u64),
    compare: fn() -> u64,
    set_compare: fn(u64),
    value: fn() -> u64,
    set_value: fn(u64),
}

macro_rules! timer {
    ($name:literal, $interrupt:expr, $count:literal, $control:literal, $compare:literal, $value:literal) => {
        Timer {
            name: $name,
            interrupt: $interrupt,
            count: || read_register!($count),
            control: || read_register!($control),
            set_control: |value| set!($control, value),
            compare: || read_register!($compare),
            set_compare: |value| set!($compare, value),
            value: || read_register!($value),
            set_value: |value| set!($value, value),
        }
    };
}

macro_rules! set {
    ($register:literal, $value:expr) => {
        // SAFETY: the timer is this program's own, and its interrupt is masked.
        unsafe {
            write_register!($register, $value);
            asm!("isb", options(nostack));
        }
    };
}

/// Probes.
pub fn probe(machine: &Machine) {
    let Some(gic) = Interface::new(machine) else { return };
    number("cntfrq_el0", read_register!("cntfrq_el0"));
    let timers = [
        timer!(
            "virtual timer",
            machine.virtual_timer,
            "cntvct_el0",
            "cntv_ctl_el0",
            "cntv_cval_el0",
            "cntv_tval_el0"
        ),
        timer!(
            "physical timer",
            machine.physical_timer,
            "cntpct_el0",
            "cntp_ctl_el0",
            "cntp_cval_el0",
            "cntp_tval_el0"
        ),
    ];
    for timer in &timers {
        number(format_args!("{}: INTID", timer.name), timer.interrupt.unwrap_or(0));
        registers(timer);
        if let Some(id) = timer.interrupt {
            interrupt(&gic, timer, id);
        }
    }
    let counts = [read_register!("cntpct_el0"), timer::now(), read_register!("cntpct_el0")];
    whether("the virtual count is not beyond the physical", counts[1] <= counts[2]);
    whether("the physical count goes on", counts[0] <= counts[2]);
}

fn registers(timer: &Timer) {
    let name = timer.name;
    (timer.set_control)(0);
    for value in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
        (timer.set_compare)(value);
        number(format_args!("{name}: CVAL <- {value:#x}"), (timer.compare)());
    }
    let far = (timer.count)() + (1 << 40);
    (timer.set_compare)(far);
    for value in [ENABLE, ENABLE | MASKED, u64::MAX] {
        (timer.set_control)(value);
        number(format_args!("{name}: far, CTL <- {value:#x}"), (timer.control)());
    }
    (timer.set_compare)(0);
    for value in [ENABLE | MASKED, ENABLE | MASKED | 4] {
        (timer.set_control)(value);
        number(format_args!("{name}: past, CTL <- {value:#x}"), (timer.control)());
    }
    // TVAL is 32 bits with a sign: CVAL is the count and TVAL.
    let before = (timer.count)();
    (timer.set_value)(0x7fff_ffff);
    let compare = (timer.compare)();
    let after = (timer.count)();
    whether(
        format_args!("{name}: TVAL forward"),
        before + 0x7fff_ffff <= compare && compare <= after + 0x7fff_ffff,
    );
    number(format_args!("{name}: TVAL forward, CTL"), (timer.control)());
    whether(format_args!("{name}: TVAL reads less"), (timer.value)() <= 0x7fff_ffff);
    let before = (timer.count)();
    (timer.set_value)(0x8000_0000);
    let compare = (timer.compare)();
    let after = (timer.count)();
    let back = 1 << 31;
    whether(
        format_args!("{name}: TVAL backward"),
        before.wrapping_sub(back) <= compare || after.wrapping_sub(back) >= compare,
    );
    (timer.set_value)(u64::MAX);
    number(format_args!("{name}: TVAL <- -1, CTL"), (timer.control)());
    whether(format_args!("{name}: TVAL reads as 32 bits"), (timer.value)() >> 32 == 0);
    (timer.set_control)(0);
}

/// The timer's line, which is level: it is high as long as the condition is met and not masked.
fn interrupt(gic: &Interface, timer: &Timer, id: u32) {
    let name = timer.name;
    let pending = |what: &str| whether(format_args!("{name}: {what}: pending"), gic.is_set(ISPENDR, id));
    gic.set_priority(id, 0xa0);
    pending("off");
    (timer.set_compare)(0);
    (timer.set_control)(ENABLE);
    pending("past, disabled at the GIC");
    (timer.set_control)(ENABLE | MASKED);
    pending("masked");
    (timer.set_control)(ENABLE);
    pending("not masked");
    (timer.set_control)(0);
    pending("off again");
    gic.set(ISENABLER, id);
    number(format_args!("{name}: off, IAR"), gic.acknowledge());
    (timer.set_control)(ENABLE);
    pending("on");
    let first = gic.acknowledge();
    number(format_args!("{name}: on, IAR"), first);
    pending("active");
    gic.end(first);
    pending("ended with its line high");
    let second = gic.acknowledge();
    number(format_args!("{name}: IAR again"), second);
    (timer.set_control)(0);
    gic.end(second);
    number(format_args!("{name}: IAR after it is off"), gic.acknowledge());
    // It ends a wait.
    (timer.set_value)(read_register!("cntfrq_el0") / 1000);
    (timer.set_control)(ENABLE);
    let mut waits = 0;
    while (timer.control)() & 4 == 0 && waits < 1000 {
        cpu::wait_for_interrupt();
        waits += 1;
    }
    whether(format_args!("{name}: ends a wait"), waits < 1000);
    let third = gic.acknowledge();
    number(format_args!("{name}: IAR after the wait"), third);
    (timer.set_control)(0);
    gic.end(third);
    // What is pending when the interrupt is disabled comes when it is enabled, unless the line fell.
    gic.set(ICENABLER, id);
    (timer.set_control)(ENABLE);
    number(format_args!("{name}: disabled, IAR"), gic.acknowledge());
    (timer.set_control)(0);
    gic.set(ISENABLER, id);
    number(format_args!("{name}: fell while disabled, IAR"), gic.acknowledge());
    gic.set(ICENABLER, id);
}
