// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts of one CPU: order, preemption, masks, and every way to make one pending or active. All by polling
//! with interrupts masked, so that each step shows.

use guest_runtime::machine::Machine;
use guest_runtime::{read_register, write_register};

use crate::interface::{ICACTIVER, ICENABLER, ICPENDR, ISACTIVER, ISENABLER, ISPENDR, Interface};
use crate::report::{Numbers, line, number, whether};

/// Shared interrupts without a device: SPIs 8 to 29.
const FIRST: u32 = 40;
const COUNT: u32 = 12;
const SPURIOUS: u64 = 1023;

/// Probes.
pub fn probe(machine: &Machine) {
    let Some(gic) = Interface::new(machine) else { return };
    let gic = &gic;
    for id in (0..8).chain(FIRST..FIRST + COUNT) {
        gic.set_priority(id, 0xa0);
        gic.set(ISENABLER, id);
        if id >= 32 {
            gic.route(id, None);
        }
    }
    nothing(gic);
    order(gic);
    preemption(gic);
    mask(gic);
    split_end(gic);
    for edge in [true, false] {
        one(gic, edge);
    }
    software_states(gic);
    many(gic);
    if gic.is_v3() {
        group_0(gic);
    }
    for id in (0..8).chain(FIRST..FIRST + COUNT) {
        gic.set(ICENABLER, id);
    }
    nothing_left(gic);
}

/// Takes everything that is deliverable and ends it at once: INTIDs in order.
fn drain(gic: &Interface) -> ([u64; 16], usize) {
    let mut taken = [0; 16];
    let mut count = 0;
    for slot in &mut taken {
        let id = gic.acknowledge();
        if id & 0x3ff >= 1020 {
            break;
        }
        *slot = id;
        count += 1;
        gic.end(id);
    }
    (taken, count)
}

fn drained(gic: &Interface, name: &str) {
    let (taken, count) = drain(gic);
    line(format_args!("{name}: taken"), Numbers(&taken[..count]));
}

fn nothing(gic: &Interface) {
    number("interrupts: IAR with nothing pending", gic.acknowledge());
    number("interrupts: HPPIR with nothing pending", gic.pending_here());
    number("interrupts: RPR when idle", gic.running());
    gic.end(SPURIOUS);
    number("interrupts: RPR after the end of a spurious one", gic.running());
}

fn order(gic: &Interface) {
    for (id, priority) in [(1, 0xa0), (2, 0x80), (3, 0xc0), (4, 0x80), (5, 0x10)] {
        gic.set_priority(id, priority);
    }
    for id in [3, 1, 4, 2, 5] {
        gic.send_to_self(id);
    }
    gic.send_to_self(3);
    number("order: HPPIR", gic.pending_here());
    drained(gic, "order: SGIs by priority, then number");
    // A change of priority while pending.
    gic.send_to_self(1);
    gic.send_to_self(2);
    gic.set_priority(1, 0x40);
    drained(gic, "order: raised while pending");
    // Priorities that differ only in bits that no CPU interface need have.
    gic.set_priority(1, 0x81);
    gic.set_priority(2, 0x80);
    gic.send_to_self(1);
    gic.send_to_self(2);
    drained(gic, "order: close priorities");
    for id in 1..6 {
        gic.set_priority(id, 0xa0);
    }
}

fn preemption(gic: &Interface) {
    gic.set_priority(1, 0xa0);
    gic.set_priority(2, 0xc0);
    gic.set_priority(3, 0x80);
    gic.send_to_self(1);
    let first = gic.acknowledge();
    let mut seen = [0; 9];
    seen[0] = first;
    seen[1] = gic.running();
    gic.send_to_self(2);
    seen[2] = gic.acknowledge();
    seen[3] = gic.pending_here();
    gic.send_to_self(3);
    let second = gic.acknowledge();
    seen[4] = second;
    seen[5] = gic.running();
    gic.end(second);
    seen[6] = gic.running();
    gic.end(first);
    seen[7] = gic.running();
    seen[8] = gic.acknowledge();
    gic.end(seen[8]);
    line("preemption: IAR, RPR, IAR, HPPIR, IAR, RPR, RPR, RPR, IAR", Numbers(&seen));

    // One group of priorities: nothing preempts.
    let before = gic.binary_point();
    for point in [7, 6, 5] {
        gic.set_binary_point(point);
        gic.send_to_self(1);
        let first = gic.acknowledge();
        gic.send_to_self(3);
        let second = gic.acknowledge();
        let running = gic.running();
        if second < 1020 {
            gic.end(second);
        }
        gic.end(first);
        line(format_args!("preemption: binary point {point}"), Numbers(&[first, second, running]));
        drained(gic, ["preemption: then 7", "preemption: then 6", "preemption: then 5"][7 - point as usize]);
    }
    gic.set_binary_point(before);
    for id in 1..4 {
        gic.set_priority(id, 0xa0);
    }
}

fn mask(gic: &Interface) {
    gic.send_to_self(1);
    for mask in [0, 0x90, 0xa0, 0xa8] {
        gic.set_mask(mask);
        number(format_args!("mask {mask:#x}: HPPIR"), gic.pending_here());
        let id = gic.acknowledge();
        number(format_args!("mask {mask:#x}: IAR"), id);
        if id < 1020 {
            gic.end(id);
        }
    }
    gic.set_mask(0xff);
    drained(gic, "mask: then");
    gic.send_to_self(2);
    gic.set_groups(0);
    number("group off: IAR", gic.acknowledge());
    whether("group off: still pending", pending(gic, 2));
    gic.set_groups(if gic.is_v3() { 2 } else { 1 });
    drained(gic, "group on");
    gic.set_groups(if gic.is_v3() { 3 } else { 1 });
}

/// Whether an SGI or another interrupt is pending. ISPENDR tells it on both versions.
fn pending(gic: &Interface, id: u32) -> bool {
    gic.is_set(ISPENDR, id)
}

fn split_end(gic: &Interface) {
    gic.set_split_end(true);
    for id in [3, FIRST] {
        let raise = || if id < 16 { gic.send_to_self(id) } else { gic.set(ISPENDR, id) };
        raise();
        let first = gic.acknowledge();
        gic.end(first);
        number(format_args!("split end of {id}: RPR"), gic.running());
        whether(format_args!("split end of {id}: active"), gic.is_set(ISACTIVER, id));
        raise();
        whether(format_args!("split end of {id}: pending"), pending(gic, id));
        number(format_args!("split end of {id}: IAR while active"), gic.acknowledge());
        gic.deactivate(first);
        let second = gic.acknowledge();
        number(format_args!("split end of {id}: IAR after DIR"), second);
        gic.deactivate(second);
        gic.end(second);
        whether(format_args!("split end of {id}: active after DIR before EOIR"), gic.is_set(ISACTIVER, id));
        number(format_args!("split end of {id}: RPR after both"), gic.running());
    }
    gic.set_split_end(false);
}

/// One shared interrupt through its states.
fn one(gic: &Interface, edge: bool) {
    let id = FIRST + 1;
    let kind = if edge { "edge" } else { "level" };
    gic.set_edge(id, edge);
    let state = |step: &str| {
        let state = [ISENABLER, ISPENDR, ISACTIVER].map(|family| u64::from(gic.is_set(family, id)));
        line(format_args!("{kind}: {step}: enabled, pending, active"), Numbers(&state));
    };
    state("at rest");
    gic.set(ISPENDR, id);
    state("made pending");
    let first = gic.acknowledge();
    number(format_args!("{kind}: IAR"), first);
    state("acknowledged");
    gic.set(ISPENDR, id);
    state("pending again while active");
    gic.set(ICPENDR, id);
    state("no longer");
    gic.set(ISPENDR, id);
    gic.end(first);
    state("ended while pending");
    drained(gic, kind);
    state("drained");

    gic.set(ICENABLER, id);
    gic.set(ISPENDR, id);
    state("pending while disabled");
    number(format_args!("{kind}: IAR while disabled"), gic.acknowledge());
    gic.set(ISENABLER, id);
    state("enabled again");
    gic.set(ICENABLER, id);
    state("disabled while pending");
    number(format_args!("{kind}: IAR while disabled again"), gic.acknowledge());
    gic.set(ICPENDR, id);
    gic.set(ISENABLER, id);
    drained(gic, if edge { "edge: cleared while disabled" } else { "level: cleared while disabled" });

    gic.set(ISPENDR, id);
    let first = gic.acknowledge();
    gic.set(ICENABLER, id);
    state("disabled while active");
    gic.end(first);
    state("ended while disabled");
    gic.set(ISENABLER, id);
    drained(gic, if edge { "edge: enabled at last" } else { "level: enabled at last" });

    // Its trigger changes while it is pending.
    gic.set(ISPENDR, id);
    gic.set_edge(id, !edge);
    state("trigger changed while pending");
    gic.set_edge(id, edge);
    state("trigger changed back");
    gic.set(ICPENDR, id);
    drained(gic, if edge { "edge: after triggers" } else { "level: after triggers" });
}

/// Active and pending as software writes them.
fn software_states(gic: &Interface) {
    let id = FIRST + 2;
    gic.set_edge(id, true);
    gic.set(ISACTIVER, id);
    whether("made active: active", gic.is_set(ISACTIVER, id));
    number("made active: RPR", gic.running());
    gic.set(ISPENDR, id);
    number("made active: IAR", gic.acknowledge());
    gic.set(ICACTIVER, id);
    drained(gic, "made inactive");
    // Made inactive while it is being handled: its end finds nothing.
    gic.set(ISPENDR, id);
    let first = gic.acknowledge();
    gic.set(ICACTIVER, id);
    gic.set(ISPENDR, id);
    number("made inactive while handled: RPR", gic.running());
    number("made inactive while handled: IAR", gic.acknowledge());
    gic.end(first);
    number("made inactive while handled: RPR after the end", gic.running());
    drained(gic, "made inactive while handled");
    // Private ones.
    if gic.is_v3() {
        gic.set(ISPENDR, 6);
        whether("SGI made pending by ISPENDR", pending(gic, 6));
        drained(gic, "SGI made pending by ISPENDR");
        gic.send_to_self(6);
        gic.set(ICPENDR, 6);
        drained(gic, "SGI cleared by ICPENDR");
    }
    gic.set(ICENABLER, 7);
    whether("SGI after ICENABLER: enabled", gic.is_set(ISENABLER, 7));
    gic.send_to_self(7);
    drained(gic, "SGI after ICENABLER");
    gic.set(ISENABLER, 7);
    drained(gic, "SGI after ISENABLER");
    // Routed to nobody, and back.
    let id = FIRST + 3;
    gic.set_edge(id, true);
    gic.route(id, Some(if gic.is_v3() { 0x00ff_0000 } else { 0 }));
    gic.set(ISPENDR, id);
    number("routed to nobody: IAR", gic.acknowledge());
    gic.route(id, None);
    drained(gic, "routed back");
    gic.set(ISPENDR, id);
    gic.set(ICPENDR, id);
    gic.set(ISPENDR, id);
    gic.set(ISPENDR, id);
    drained(gic, "made pending twice");
    if gic.is_v3() {
        gic.route(id, Some(1 << 31));
        gic.set(ISPENDR, id);
        drained(gic, "1 of N");
        gic.route(id, None);
    }
}

/// More than any CPU interface holds at once, in order of priority.
fn many(gic: &Interface) {
    for index in 0..COUNT {
        gic.set_edge(FIRST + index, true);
        gic.set_priority(FIRST + index, (0xf0 - 0x10 * (index * 5 % COUNT)) as u8);
    }
    for index in 0..COUNT {
        gic.set(ISPENDR, FIRST + index);
    }
    drained(gic, "many: by priority");
    // Nested as deep as priorities go.
    let mut nested = [0; COUNT as usize];
    for (index, slot) in (0..COUNT).zip(&mut nested) {
        gic.set_priority(FIRST + index, (0xf0 - 0x10 * index) as u8);
        gic.set(ISPENDR, FIRST + index);
        *slot = gic.acknowledge();
    }
    line("many: nested", Numbers(&nested));
    number("many: RPR when nested", gic.running());
    for index in 0..COUNT {
        gic.set(ISPENDR, FIRST + index);
    }
    number("many: IAR when nested", gic.acknowledge());
    for id in nested.iter().rev().filter(|id| **id < 1020) {
        gic.end(*id);
    }
    number("many: RPR at last", gic.running());
    drained(gic, "many: again");
    for index in 0..COUNT {
        gic.set_priority(FIRST + index, 0xa0);
        whether(format_args!("many: {index} active at last"), gic.is_set(ISACTIVER, FIRST + index));
    }
}

/// GICv3 with one security state has group 0 too, as FIQs.
fn group_0(gic: &Interface) {
    gic.set_group(5, false);
    // SAFETY: ICC_IGRPEN0_EL1: FIQs are masked.
    unsafe { write_register!("S3_0_C12_C12_6", 1) };
    gic.send_to_self(5);
    number("group 0 by SGI1R: IAR1", gic.acknowledge());
    // ICC_SGI0R_EL1 with the own affinity's list.
    let own = guest_runtime::cpu::mpidr();
    let value = 5 << 24 | 1 << own.level(0);
    // SAFETY: an SGI to this CPU, which masks it.
    unsafe {
        write_register!("S3_0_C12_C11_7", value);
        core::arch::asm!("dsb sy", "isb", options(nostack));
    }
    number("group 0: HPPIR1", gic.pending_here());
    number("group 0: HPPIR0", read_register!("S3_0_C12_C8_2"));
    number("group 0: IAR1", gic.acknowledge());
    let pending_fiq = read_register!("isr_el1");
    number("group 0: ISR", pending_fiq);
    let taken = read_register!("S3_0_C12_C8_0");
    number("group 0: IAR0", taken);
    number("group 0: RPR", gic.running());
    if taken < 1020 {
        // SAFETY: ICC_EOIR0_EL1, of what was just taken.
        unsafe { write_register!("S3_0_C12_C8_1", taken) };
    }
    // ICC_ASGI1R_EL1: the other security state's group 1, which is empty where there is one state.
    for (group, name) in [(false, "group 0 by ASGI1R"), (true, "group 1 by ASGI1R")] {
        gic.set_group(5, group);
        // SAFETY: as above.
        unsafe {
            write_register!("S3_0_C12_C11_6", value);
            core::arch::asm!("dsb sy", "isb", options(nostack));
        }
        whether(name, pending(gic, 5));
        gic.set(ICPENDR, 5);
    }
    gic.send_to_self(5);
    number("group 1: ISR", read_register!("isr_el1"));
    drained(gic, "group 1 again");
    // SAFETY: ICC_IGRPEN0_EL1.
    unsafe { write_register!("S3_0_C12_C12_6", 0) };
}

fn nothing_left(gic: &Interface) {
    number("interrupts: RPR at the end", gic.running());
    number("interrupts: HPPIR at the end", gic.pending_here());
}
