// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's own lines. A CPU waits only for those of the partition it belongs to, and not for long: what finds no room by
//! then is counted, and the next line says so.

use super::{PLACE, PORT, Place, Port, RUNNING, Wire, Yield, lock, stamp};
use crate::partition::Partition;
use crate::{alive, cpu, predictor, timer};
use bulkhead_machine::console::{Console, STEP, Sink, Stamp};
use bulkhead_platform::serial::Serial;
use bulkhead_types::PartitionId;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use spin::mutex::TicketMutexGuard;
use spin::relax::RelaxStrategy;

/// What must be free before a line is begun: its own bytes, and those that say how many lines were lost.
const ROOM: usize = STEP + 128;
/// The longest that a CPU waits for a line, or for what its partition said last, in milliseconds.
const PATIENCE_MS: u64 = 1000;

/// The port, with room for a line; `None` if there is none within so many counts.
pub(super) fn room(patience: u64) -> Option<TicketMutexGuard<'static, Port, Yield>> {
    let mut end = None;
    loop {
        let mut port = lock();
        if port.waiting.room() < ROOM {
            port.pump();
        }
        if port.waiting.room() >= ROOM {
            return Some(port);
        }
        drop(port);
        let now = timer::now();
        if now >= *end.get_or_insert(now.saturating_add(patience)) {
            return None;
        }
        pause(now);
    }
}

/// Leaves the port to others until a byte may have left it.
fn pause(since: u64) {
    alive::come_by_here();
    let end = since.saturating_add(timer::counts(1) / 16);
    while timer::now() < end {
        Yield::relax();
    }
}

/// Has `use_it` send a line, for which there is room, and this CPU come back for what the port cannot take yet.
pub(super) fn send<R>(
    mut port: TicketMutexGuard<'static, Port, Yield>,
    use_it: impl FnOnce(&mut Console<'static>, &mut Wire<'_>) -> R,
) -> R {
    let lost = core::mem::take(&mut port.lost);
    let done = port.with(|console, wire| {
        if lost > 0 {
            console.line(format_args!("warning: {lost} lines of the hypervisor's are lost"), wire);
        }
        use_it(console, wire)
    });
    if !RUNNING.load(Relaxed) {
        port.finish();
    }
    let (mark, later) = (port.waiting.written(), !port.waiting.is_empty());
    drop(port);
    if later && cpu::is_known() {
        timer::set_console(crate::system::get(), cpu::current(), mark);
    }
    done
}

/// Counts a line for which there is no room; the next one says so.
pub fn lose() {
    let mut port = lock();
    port.lost = port.lost.saturating_add(1);
}

fn patience() -> u64 {
    timer::counts(PATIENCE_MS)
}

/// Sends a line of the hypervisor's own, about the partition of this CPU, which waits for room: a second at most.
#[inline(never)]
pub fn line(text: fmt::Arguments<'_>) {
    predictor::cleanse();
    match room(patience()) {
        Some(port) => send(port, |console, wire| console.line(text, wire)),
        None => lose(),
    }
    alive::come_by_here();
}

/// Whether there is room for a line.
pub fn has_room() -> bool {
    room(0).is_some()
}

/// Sends a line if there is room for it, and says whether there was: this CPU's partition has nothing to do with it.
#[inline(never)]
pub fn notice(text: fmt::Arguments<'_>) -> bool {
    predictor::cleanse();
    room(0).map(|port| send(port, |console, wire| console.line(text, wire))).is_some()
}

/// Sends the line that a partition said at `from`, or the first of its last `lines`, and returns where the next one is.
pub fn past(of: PartitionId, from: Option<usize>, lines: usize) -> Option<usize> {
    predictor::cleanse();
    let port = room(0)?;
    send(port, |console, wire| console.past(of, from.unwrap_or_else(|| console.last(of, lines)), wire))
}

/// Sends what a partition has said, which is about to stop, and ends its unfinished line. On its own CPU, which waits
/// for that a second at most, and then says how much is lost.
pub fn flush(from: &Partition) {
    // What is formatted below is that lines were lost.
    predictor::cleanse();
    let end = timer::now().saturating_add(patience());
    let mut ring = from.transmit.ring.lock();
    while !ring.is_empty() && timer::now() < end {
        let mut port = lock();
        port.drain(from.id, &mut ring);
        drop(port);
        if !ring.is_empty() {
            pause(timer::now());
        }
    }
    let lost = ring.len();
    ring.clear();
    from.transmit.level.store(0, Relaxed);
    drop(ring);
    match room(patience()) {
        Some(port) => send(port, |console, wire| console.flush(from.id, wire)),
        // On the terminal it stays as it is, and the next run begins a line of its own.
        None => lock().console.flush(from.id, &mut |_| {}),
    }
    if lost > 0 {
        line(format_args!("warning: {}: the last {lost} bytes of its output are lost", from.name));
    }
}

/// Sends on the port, and waits for room: for last words.
struct Direct {
    serial: Serial,
    /// Whether lines begin with time and CPU: not before this is known to be EL2.
    stamped: bool,
}

impl Sink for Direct {
    fn send(&mut self, byte: u8) {
        self.serial.send(byte);
    }

    fn stamp(&self) -> Option<Stamp> {
        self.stamped.then(stamp)
    }
}

/// Sends a line even if the lock is held for ever, as it is when its holder panicked.
pub fn last_words(text: fmt::Arguments<'_>) {
    predictor::cleanse();
    for _ in 0..10_000_000 {
        if let Some(mut port) = PORT.try_lock() {
            port.finish();
            port.credit = 0;
            port.with(|console, wire| console.line(text, wire));
            return port.finish();
        }
        core::hint::spin_loop();
    }
    let Some(&(model, base)) = PLACE.get() else { return };
    // SAFETY: the port there was mapped by `start`. Its lock was not let go for seconds, so its
    // holder is dead or stuck, and the board is about to stop: a garbled line is the worst outcome.
    let serial = unsafe { Serial::new(model, base) };
    Console::new(&mut []).line(text, &mut Direct { serial, stamped: true });
}

/// Prints `text` on a port before there is anything else: no lock, no heap, translation off.
///
/// # Safety
/// As for [`Serial::new`].
pub unsafe fn early_words((model, base): Place, text: fmt::Arguments<'_>) {
    // SAFETY: the caller's promise.
    let serial = unsafe { Serial::new(model, base) };
    let mut wire = Direct { serial, stamped: false };
    Console::new(&mut []).line(text, &mut wire);
    wire.serial.drain();
}

/// Waits until the last line has left the port, unless its lock is dead: the board is about to stop.
pub fn drain() {
    for _ in 0..10_000_000 {
        if let Some(mut port) = PORT.try_lock() {
            port.finish();
            if let Some(serial) = &port.serial {
                serial.drain();
            }
            return;
        }
        core::hint::spin_loop();
    }
}
