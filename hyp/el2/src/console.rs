// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port as everybody's console.

mod input;
mod lines;

pub use input::{focus, open_input, receive, receive_again};
pub use lines::{drain, early_words, flush, has_room, last_words, line, lose, notice, past};

use crate::cpu::{self, Cpu, Guest};
use crate::partition::Partition;
use crate::system::System;
use crate::timer;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bulkhead_machine::console::{Channel, Console, Ring, Sink, Stamp};
use bulkhead_platform::serial::{Model, Serial};
use bulkhead_types::PartitionId;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use spin::mutex::{TicketMutex, TicketMutexGuard};
use spin::relax::RelaxStrategy;
use spin::{Mutex, Once};

/// Bytes that go to the port, or are made known to the console, by one who holds its lock.
const BURST: u32 = 32;
/// A partition's bytes are taken while fewer than these wait for the port: partitions take turns by lines.
const LOW: usize = 32;
/// What a partition's ring holds, and from how many bytes on its UART shows a full FIFO. There is room behind that for what a
/// driver sends without another look at UARTFR.
const RING: usize = 1024;
const BEHIND: usize = RING - 64;

/// The port with what stands on it.
struct Port {
    serial: Option<Serial>,
    /// What the port has no room for yet.
    waiting: Ring<4096>,
    console: Console<'static>,
    /// Bytes that its holder may still send.
    credit: u32,
    /// When a byte left last while others waited.
    moved_at: u64,
    /// Lines of the hypervisor's own for which there was no room, and nobody has said so yet.
    lost: u32,
}

impl Port {
    /// Gives `use_it` the console and a way to send.
    #[inline(always)]
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Console<'static>, &mut Wire<'_>) -> R) -> R {
        let Self { serial, waiting, console, credit, .. } = self;
        use_it(console, &mut Wire { serial, waiting, credit })
    }

    /// Sends a byte that nothing else goes out with, if the port has room for it: the most frequent case, at its least.
    #[inline(always)]
    fn pass_on(&mut self, from: PartitionId, byte: u8) -> bool {
        let Some(serial) = &mut self.serial else { return false };
        let passes = serial.has_room() && self.console.passes_on(from, byte);
        if passes {
            serial.write(byte);
        }
        passes
    }

    /// Moves what waits to the port as far as that has room, and its holder has credit. A port whose line has stood still for a
    /// second is dead: nobody waits for that.
    fn pump(&mut self) {
        let Some(serial) = &mut self.serial else { return self.waiting.clear() };
        while self.credit > 0 && !self.waiting.is_empty() {
            if !serial.has_room() {
                let now = timer::now();
                match self.moved_at {
                    0 => self.moved_at = now,
                    moved if now.saturating_sub(moved) > timer::counts(1000) => self.waiting.clear(),
                    _ => {}
                }
                return;
            }
            if let Some(byte) = self.waiting.pop() {
                serial.write(byte);
            }
            (self.credit, self.moved_at) = (self.credit.saturating_sub(1), 0);
        }
    }

    /// Sends all that waits, and waits for room: at boot, and for last words.
    fn finish(&mut self) {
        while let Some(byte) = self.waiting.pop() {
            if let Some(serial) = &mut self.serial {
                serial.send(byte);
            }
        }
    }

    /// Takes from a partition's ring what the port can take, a line of output at most.
    fn drain(&mut self, from: PartitionId, ring: &mut Ring<RING>) {
        self.pump();
        for _ in 0..BURST {
            if self.waiting.len() >= LOW {
                return;
            }
            let Some(byte) = ring.pop() else { return };
            self.with(|console, wire| console.output(from, byte, wire));
        }
    }
}

/// Sends to the port what it has room for, and the rest later. A type and no `dyn`: see [`crate::predictor`].
struct Wire<'p> {
    serial: &'p mut Option<Serial>,
    waiting: &'p mut Ring<4096>,
    credit: &'p mut u32,
}

impl Wire<'_> {
    #[inline(never)]
    fn wait(&mut self, byte: u8) {
        if self.serial.is_some() {
            self.waiting.push(byte);
        }
    }
}

impl Sink for Wire<'_> {
    #[inline]
    fn send(&mut self, byte: u8) {
        if let Some(serial) = self.serial
            && *self.credit > 0
            && self.waiting.is_empty()
            && serial.has_room()
        {
            *self.credit = self.credit.saturating_sub(1);
            return serial.write(byte);
        }
        self.wait(byte);
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(stamp())
    }
}

fn stamp() -> Stamp {
    Stamp { microseconds: timer::microseconds(), cpu: cpu::is_known().then(|| cpu::current().index.0) }
}

/// Held while a FIFO's worth of bytes is written, and a line is copied: no longer, whatever the port's rate. Partitions
/// only ever try it: whoever fails leaves its bytes in its own ring, for its own timer. What waits for it comes first come,
/// first served.
static PORT: TicketMutex<Port, Yield> = TicketMutex::new(Port {
    serial: None,
    waiting: Ring::new(),
    console: Console::new(&mut []),
    credit: 0,
    moved_at: 0,
    lost: 0,
});

/// How a CPU waits for the port: YIELD says that others have something better to do (Arm ARM, C6.2, YIELD; Linux's
/// `cpu_relax`). An emulator that runs its CPUs in turn goes on to the next.
pub(crate) struct Yield;

impl RelaxStrategy for Yield {
    #[inline(always)]
    fn relax() {
        // SAFETY: a hint.
        unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
    }
}

/// Whether the CPUs serve interrupts, so that what the port has no room for can wait for a timer.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// What a partition has said and the console has not taken yet. Only its own CPUs lock it.
#[derive(Default)]
pub struct Transmit {
    ring: Mutex<Ring<RING>>,
    /// How many bytes wait.
    level: AtomicUsize,
}

/// The port's model, and where its registers are.
pub type Place = (&'static Model, usize);

/// Of a partition that does wrong it is told only that it ends.
pub const ERROR: u8 = 0;
/// Warnings as well.
pub const WARN: u8 = 1;
/// Its registers as well.
pub const INFO: u8 = 2;
/// How much is told.
pub static LEVEL: AtomicU8 = AtomicU8::new(INFO);

/// The key that begins a command.
pub static ESCAPE: AtomicU8 = AtomicU8::new(bulkhead_machine::console::ESCAPE);

/// Where the port is, for last words past a lock that is never let go.
static PLACE: Once<Place> = Once::new();

/// The port, once whoever holds it lets it go, which is soon.
fn lock() -> TicketMutexGuard<'static, Port, Yield> {
    let mut port = PORT.lock();
    port.credit = BURST;
    port
}

/// Starts the console on the port at `place`, which is mapped.
///
/// # Safety
/// As for [`Serial::new`]; called once.
pub unsafe fn start(place: Place) {
    // SAFETY: the caller's promise.
    PORT.lock().serial = Some(unsafe { Serial::new(place.0, place.1) });
    PLACE.call_once(|| place);
}

/// Gives every partition its channel, in order, and takes `escape` for the key that begins a command. Boot only.
pub fn open_channels(names: impl Iterator<Item = &'static str>, escape: u8) {
    let channels: Vec<Channel<'static>> = names.map(Channel::new).collect();
    PORT.lock().console = Console::new(Box::leak(channels.into_boxed_slice())).with_escape(escape);
    ESCAPE.store(escape, Relaxed);
}

/// Sends a byte of a partition, on one of its CPUs.
#[inline(always)]
pub fn output(guest: &Guest, byte: u8) {
    let Partition { id, transmit, .. } = guest.partition;
    if transmit.level.load(Relaxed) == 0
        && let Some(mut port) = PORT.try_lock()
        && port.waiting.is_empty()
    {
        if !port.pass_on(*id, byte) {
            output_now(guest, port, byte);
        }
        return;
    }
    output_later(guest, byte);
}

/// Sends a byte, and what the console has to send with it, for which the port may have no room.
#[inline(never)]
fn output_now(guest: &Guest, mut port: TicketMutexGuard<'_, Port, Yield>, byte: u8) {
    port.credit = BURST;
    port.with(|console, wire| console.output(guest.partition.id, byte, wire));
    let (mark, later) = (port.waiting.written(), !port.waiting.is_empty());
    drop(port);
    if later {
        timer::set_console(guest.system, guest.cpu, mark);
    }
}

#[inline(never)]
fn output_later(guest: &Guest, byte: u8) {
    let transmit = &guest.partition.transmit;
    let mut ring = transmit.ring.lock();
    // As a real FIFO, it loses what does not fit: whoever looks at UARTFR waits.
    ring.push(byte);
    go_on(guest, &mut ring);
    drop(ring);
    guest.partition.tell_transmitter(guest.system, guest.cpu);
    if guest.system.timer.is_none() {
        // A board without EL2's timer: whoever prints waits.
        (0..100_000)
            .take_while(|_| transmit.level.load(Relaxed) > 0)
            .for_each(|_| serve(guest.system, guest.cpu));
    }
}

/// Takes from the ring what the port can take, and comes back by this CPU's timer for the rest.
fn go_on(guest: &Guest, ring: &mut Ring<RING>) {
    let mut mark = 0;
    let mut later = true;
    if let Some(mut port) = PORT.try_lock() {
        port.credit = BURST;
        port.drain(guest.partition.id, ring);
        (mark, later) = (port.waiting.written(), !port.waiting.is_empty());
    }
    guest.partition.transmit.level.store(ring.len(), Relaxed);
    if later || !ring.is_empty() {
        timer::set_console(guest.system, guest.cpu, mark);
    }
}

/// Goes on where this CPU has left bytes behind: its timer has come for that.
#[inline(never)]
pub fn serve(system: &System, cpu: &'static Cpu) {
    if let Some(mut port) = PORT.try_lock() {
        port.credit = BURST;
        port.pump();
        let mark = cpu.console_mark.load(Relaxed);
        if !port.waiting.has_passed(mark) {
            timer::set_console(system, cpu, mark);
        }
    } else {
        timer::set_console(system, cpu, 0);
    }
    if let Some(guest) = cpu.guest()
        && guest.partition.transmit.level.load(Relaxed) > 0
    {
        let mut ring = guest.partition.transmit.ring.lock();
        go_on(guest, &mut ring);
        drop(ring);
    }
    if let Some(guest) = cpu.guest() {
        guest.partition.tell_transmitter(system, cpu);
    }
}

impl Transmit {
    /// Whether the UART shows a full FIFO, if it did so `before`.
    pub fn is_behind(&self, before: bool) -> bool {
        self.level.load(Relaxed) >= if before { BEHIND / 2 } else { BEHIND }
    }
}

/// Notes whether a partition has stopped.
pub fn set_stopped(partition: PartitionId, stopped: bool) {
    lock().console.set_stopped(partition, stopped);
}
