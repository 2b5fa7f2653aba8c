// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's serial port as everybody's console.

use crate::{alive, cpu, predictor, timer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bulkhead_machine::console::{Channel, Console, Input, Sink, Stamp};
use bulkhead_platform::serial::{Model, Serial};
use bulkhead_types::PartitionId;
use core::fmt;
use core::sync::atomic::AtomicU8;
use spin::Once;
use spin::mutex::TicketMutex;

/// The port with what stands on it.
struct Port {
    serial: Option<Serial>,
    console: Console<'static>,
}

impl Port {
    /// Gives `use_it` the console and a way to send.
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Console<'static>, &mut Wire<'_>) -> R) -> R {
        use_it(&mut self.console, &mut Wire { serial: &mut self.serial, stamped: true })
    }
}

/// Sends on the port, if there is one. A type and no `dyn`: see [`crate::predictor`].
struct Wire<'p> {
    serial: &'p mut Option<Serial>,
    /// Whether lines begin with time and CPU: not before this is known to be EL2.
    stamped: bool,
}

impl Sink for Wire<'_> {
    #[inline]
    fn send(&mut self, byte: u8) {
        if let Some(serial) = self.serial {
            serial.send(byte);
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        self.stamped.then(|| Stamp {
            microseconds: timer::microseconds(),
            cpu: cpu::is_known().then(|| cpu::current().index.0),
        })
    }
}

/// First come, first served: a partition that prints without end holds nobody up for more than a line.
static PORT: TicketMutex<Port> = TicketMutex::new(Port { serial: None, console: Console::new(&mut []) });

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

/// Where the port is, for last words past a lock that is never let go.
static PLACE: Once<Place> = Once::new();

/// Starts the console on the port at `place`, which is mapped.
///
/// # Safety
/// As for [`Serial::new`]; called once.
pub unsafe fn start(place: Place) {
    // SAFETY: the caller's promise.
    PORT.lock().serial = Some(unsafe { Serial::new(place.0, place.1) });
    PLACE.call_once(|| place);
}

/// Gives every partition its channel, in order. Boot only.
pub fn open_channels(names: impl Iterator<Item = &'static str>) {
    let channels: Vec<Channel<'static>> = names.map(Channel::new).collect();
    PORT.lock().console = Console::new(Box::leak(channels.into_boxed_slice()));
}

/// Says whose the input is, and lets it come.
pub fn open_input() {
    let mut port = PORT.lock();
    port.with(|console, send| console.announce_focus(send));
    if let Some(serial) = &mut port.serial {
        serial.enable_receive_interrupt();
    }
}

/// Sends a byte of a partition.
pub fn output(from: PartitionId, byte: u8) {
    PORT.lock().with(|console, send| console.output(from, byte, send));
}

/// Notes whether a partition has stopped.
pub fn set_stopped(partition: PartitionId, stopped: bool) {
    PORT.lock().console.set_stopped(partition, stopped);
}

/// The partition that input goes to.
pub fn focus() -> PartitionId {
    PORT.lock().console.focus()
}

/// Tells the last lines of a partition, each with the lock taken anew: whoever prints meanwhile waits for one.
pub fn tell_history(of: PartitionId, lines: usize) {
    predictor::cleanse();
    let mut place = Some(PORT.lock().console.last(of, lines));
    // The partition may go on; then what it says meanwhile is told in place of the oldest.
    for _ in 0..=lines {
        let Some(from) = place else { return };
        place = PORT.lock().with(|console, send| console.past(of, from, send));
        alive::come_by_here();
    }
}

/// Ends a partition's unfinished line.
pub fn flush(from: PartitionId) {
    PORT.lock().with(|console, send| console.flush(from, send));
}

/// Takes what the port received and hands it to `deliver`, without the port's lock. The interrupt is
/// cleared first, so that a byte that comes after the last look raises it again. The port's FIFO and
/// its line rate bound the work.
pub fn receive(mut deliver: impl FnMut(Input)) {
    predictor::cleanse(); // Commands are answered with lines.
    if let Some(serial) = &mut PORT.lock().serial {
        serial.clear_receive_interrupt();
    }
    for _ in 0..1024 {
        let mut port = PORT.lock();
        let Some(byte) = port.serial.as_mut().and_then(Serial::receive) else {
            break;
        };
        let input = port.with(|console, send| console.input(byte, send));
        drop(port);
        deliver(input);
    }
}

/// Sends a line of the hypervisor's own.
#[inline(never)]
pub fn line(text: fmt::Arguments<'_>) {
    predictor::cleanse();
    PORT.lock().with(|console, send| console.line(text, send));
    alive::come_by_here();
}

/// Sends a line even if the lock is held for ever, as it is when its holder panicked.
pub fn last_words(text: fmt::Arguments<'_>) {
    predictor::cleanse();
    for _ in 0..10_000_000 {
        if let Some(mut port) = PORT.try_lock() {
            return port.with(|console, send| console.line(text, send));
        }
        core::hint::spin_loop();
    }
    let Some(&(model, base)) = PLACE.get() else { return };
    // SAFETY: the port there was mapped by `start`. Its lock was not let go for seconds, so its
    // holder is dead or stuck, and the board is about to stop: a garbled line is the worst outcome.
    let serial = &mut Some(unsafe { Serial::new(model, base) });
    Console::new(&mut []).line(text, &mut Wire { serial, stamped: true });
}

/// Prints `text` on a port before there is anything else: no lock, no heap, translation off.
///
/// # Safety
/// As for [`Serial::new`].
pub unsafe fn early_words((model, base): Place, text: fmt::Arguments<'_>) {
    // SAFETY: the caller's promise.
    let serial = &mut Some(unsafe { Serial::new(model, base) });
    Console::new(&mut []).line(text, &mut Wire { serial, stamped: false });
    serial.as_ref().map(Serial::drain);
}

/// Waits until the last line has left the port, unless its lock is dead: the board is about to stop.
pub fn drain() {
    if let Some(Port { serial: Some(serial), .. }) = PORT.try_lock().as_deref() {
        serial.drain();
    }
}
