// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is typed, on the CPU of the partition in focus.

use super::lines::{room, send};
use super::{BURST, ESCAPE, PLACE, RUNNING};
use crate::cpu::Cpu;
use crate::system::System;
use crate::{interrupts, predictor, timer};
use bulkhead_machine::console::{Input, Key, Keys};
use bulkhead_platform::serial::Serial;
use bulkhead_types::PartitionId;
use core::sync::atomic::{AtomicU16, Ordering::Relaxed};
use spin::mutex::TicketMutex;

/// The port's receiver.
struct Receiver {
    serial: Serial,
    keys: Keys,
    /// A key whose answer finds no room yet. What is typed behind it stays in the port.
    held: Option<Key>,
}

/// Nobody waits for it.
static INPUT: TicketMutex<Option<Receiver>> = TicketMutex::new(None);

/// The partition in focus, without the lock.
static FOCUS: AtomicU16 = AtomicU16::new(0);

/// The CPU that has a key to try again, by its timer.
static HELD_BY: AtomicU16 = AtomicU16::new(NOBODY);
const NOBODY: u16 = u16::MAX;

/// The partition that input goes to.
pub fn focus() -> PartitionId {
    PartitionId(FOCUS.load(Relaxed))
}

/// Says whose the input is, and lets it come: on a CPU of that partition.
pub fn open_input(system: &System) {
    if let Some(port) = room(0) {
        send(port, |console, wire| console.announce_focus(wire));
    }
    RUNNING.store(true, Relaxed);
    let Some(&(model, base)) = PLACE.get() else { return };
    // SAFETY: mapped by `start`. This one reads received bytes and serves the receive interrupt, which the other one does not.
    let mut serial = unsafe { Serial::new(model, base) };
    serial.enable_receive_interrupt();
    *INPUT.lock() = Some(Receiver { serial, keys: Keys::new(ESCAPE.load(Relaxed)), held: None });
    interrupts::route_console(system, focus());
}

/// Tries a key again that found no room for its answer, if this CPU has one.
pub fn receive_again(system: &System, cpu: &Cpu, deliver: impl FnMut(Input)) {
    if HELD_BY.load(Relaxed) == cpu.index.0 {
        HELD_BY.store(NOBODY, Relaxed);
        receive(system, cpu, deliver);
    }
}

/// Takes what the port received, a FIFO's worth at most, and hands it to `deliver`. The interrupt is cleared first, so that
/// a byte that comes after the last look, or is left, raises it again. Whoever finds another CPU here, as the
/// focus moves, leaves it to that.
pub fn receive(system: &System, cpu: &Cpu, mut deliver: impl FnMut(Input)) {
    let Some(mut input) = INPUT.try_lock() else { return };
    let Some(Receiver { serial, keys, held }) = &mut *input else { return };
    serial.clear_receive_interrupt();
    for _ in 0..BURST {
        let key = match held.take() {
            Some(key) => key,
            None => match serial.receive() {
                Some(byte) => keys.take(byte),
                None => return,
            },
        };
        match key {
            Key::Part => {}
            Key::Plain(byte) => deliver(Input::Deliver(focus(), byte)),
            key => {
                predictor::cleanse(); // Commands are answered with lines.
                // On a board without EL2's timer nothing would try again.
                let patience = if system.timer.is_none() { timer::counts(1000) } else { 0 };
                let Some(port) = room(patience) else {
                    *held = Some(key);
                    HELD_BY.store(cpu.index.0, Relaxed);
                    return timer::set_console(system, cpu, 0);
                };
                let (input, focus) = send(port, |console, wire| (console.act(key, wire), console.focus()));
                if FOCUS.swap(focus.0, Relaxed) != focus.0 {
                    interrupts::route_console(system, focus);
                }
                deliver(input);
            }
        }
    }
}
