// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads and stores to the devices that are not there: the interrupt controller and the UART.

use super::{done, skip, skip_access};
use crate::cpu::Guest;
use crate::interrupts::Lines;
use crate::partition::Uart;
use crate::vectors::Frame;
use crate::{console, read_register, timer};
use bulkhead_el2::exception::{self, AARCH32, MIXED_ENDIAN};
use bulkhead_machine::gic;
use bulkhead_machine::syndrome::Access;
use bulkhead_machine::{uart, virtio};
use bulkhead_platform::gic::InterruptController;
use bulkhead_types::{Ipa, Range};
use core::sync::atomic::Ordering::Relaxed;

/// Carries out an access to a page that stage 2 does not map, and goes on behind it. False if no device
/// answers, or not this kind of access: an external abort.
///
/// All that it calls is where it ends, so it needs no stack.
#[inline(always)]
pub fn access(frame: &mut Frame, esr: u64, access: Access) -> bool {
    let pstate = read_register!("spsr_el2");
    // HPFAR_EL2.FIPA, bits 43:4, is bits 51:12 of the address (Arm ARM, HPFAR_EL2).
    let page = (read_register!("hpfar_el2") & 0x0fff_ffff_fff0) << 8;
    let ipa = Ipa(page | read_register!("far_el2") & 0xfff);
    if pstate & AARCH32 != 0 || read_register!("sctlr_el1") & MIXED_ENDIAN != 0 {
        return unusual(frame, esr, ipa, access);
    }
    let guest = frame.guest;
    let Some(offset) = offset(ipa, guest.distributor) else {
        return elsewhere(frame, pstate, ipa, access);
    };
    if access.is_word_load()
        && let Some(value) = guest.seat.read_constant(offset)
    {
        frame.set(access.register(), value.into());
        skip(pstate, 4);
        return true;
    }
    if !access.is_word_store() {
    } else if let Some(word) = gic::enable_register(offset) {
        return enable(frame, pstate, word, access);
    } else if offset == gic::GICD_SGIR {
        return send_sgi(frame, pstate, access);
    } else if let Some(word) = gic::disable_register(offset) {
        return disable(frame, pstate, word, access);
    }
    interrupt_controller(frame, pstate, gic::Frame::Distributor, offset, access)
}

/// As [`access`], from AArch32 or from a guest some of whose data are big-endian.
#[cold]
#[inline(never)]
fn unusual(frame: &mut Frame, esr: u64, ipa: Ipa, access: Access) -> bool {
    let is_done = answer(frame, ipa, access);
    if is_done {
        skip_access(esr);
    }
    is_done
}

/// As [`access`], with all that it says as arguments, and without going on behind it.
#[cold]
pub fn answer(frame: &mut Frame, ipa: Ipa, access: Access) -> bool {
    if !is_big_endian() {
        return answer_in_order(frame, ipa, access);
    }
    // The bytes as the device, which is little-endian, sees them; the sign comes after.
    let plain = Access::new(access.size(), 0, access.is_write(), false, true);
    let mut slot = Frame { x: [0; 32], guest: frame.guest };
    slot.set(0, access.size().swap_bytes(frame.get(access.register())));
    let is_done = answer_in_order(&mut slot, ipa, plain);
    if is_done && !access.is_write() {
        frame.set(access.register(), access.loaded(access.size().swap_bytes(slot.get(0))));
    }
    is_done
}

/// Whether the data that the guest loads and stores now are big-endian.
pub fn is_big_endian() -> bool {
    exception::is_big_endian(read_register!("spsr_el2"), read_register!("sctlr_el1"))
}

fn answer_in_order(frame: &mut Frame, ipa: Ipa, access: Access) -> bool {
    let guest = frame.guest;
    if let Some(offset) = offset(ipa, guest.distributor) {
        gic_access(frame, gic::Frame::Distributor, offset, access)
    } else if let Some(offset) = offset(ipa, guest.partition.frames.redistributors) {
        gic_access(frame, gic::Frame::Redistributor, offset, access)
    } else if let Some((uart, offset)) = uart_at(guest, ipa) {
        uart_access(frame, uart, offset, access)
    } else {
        seldom(frame, ipa, access)
    }
}

/// How far behind the start of `range` the address is, if it is inside: one comparison, because a
/// range never wraps and an address before it gives an offset beyond its size.
#[inline(always)]
fn offset(ipa: Ipa, range: Range<Ipa>) -> Option<u64> {
    let offset = ipa.0.wrapping_sub(range.start().0);
    (offset < range.size()).then_some(offset)
}

fn uart_at(guest: &Guest, ipa: Ipa) -> Option<(&'static Uart, u64)> {
    let uart = guest.partition.uart.as_ref()?;
    Some((uart, offset(ipa, uart.frame)?))
}

#[inline(always)]
fn elsewhere(frame: &mut Frame, pstate: u64, ipa: Ipa, access: Access) -> bool {
    let guest = frame.guest;
    if let Some((uart, offset)) = uart_at(guest, ipa) {
        // It answers everything.
        skip(pstate, 4);
        uart_access(frame, uart, offset, access)
    } else if let Some(offset) = offset(ipa, guest.partition.frames.redistributors) {
        interrupt_controller(frame, pstate, gic::Frame::Redistributor, offset, access)
    } else {
        last(frame, pstate, ipa, access)
    }
}

/// The devices that are looked for last.
#[cold]
#[inline(never)]
fn last(frame: &mut Frame, pstate: u64, ipa: Ipa, access: Access) -> bool {
    let is_done = seldom(frame, ipa, access);
    if is_done {
        skip(pstate, 4);
    }
    is_done
}

#[inline(never)]
fn enable(frame: &mut Frame, pstate: u64, word: u32, access: Access) -> bool {
    let guest = frame.guest;
    let bits = frame.get(access.register()) as u32;
    guest.seat.enable(word, bits, &guest.partition.lines(guest.system));
    skip(pstate, 4);
    done()
}

#[inline(never)]
fn disable(frame: &mut Frame, pstate: u64, word: u32, access: Access) -> bool {
    let guest = frame.guest;
    let bits = frame.get(access.register()) as u32;
    guest.seat.disable(word, bits, &guest.partition.lines(guest.system));
    skip(pstate, 4);
    done()
}

/// A software generated interrupt through the distributor: GICv2's, for GICv3 has nothing there.
#[inline(never)]
fn send_sgi(frame: &mut Frame, pstate: u64, access: Access) -> bool {
    let guest = frame.guest;
    let value = frame.get(access.register()) as u32;
    let is_sent = match &guest.system.controller {
        InterruptController::V2(controller) => {
            guest.seat.send_to_self_v2(value, &Lines::new(controller, guest.partition))
        }
        InterruptController::V3(_) => {
            return interrupt_controller(frame, pstate, gic::Frame::Distributor, gic::GICD_SGIR, access);
        }
    };
    skip(pstate, 4);
    is_sent || send_sgi_elsewhere(guest, value)
}

#[inline(never)]
fn send_sgi_elsewhere(guest: &Guest, value: u32) -> bool {
    guest.seat.send_sgi_v2(value, &guest.partition.lines(guest.system));
    done()
}

#[inline(never)]
fn interrupt_controller(
    frame: &mut Frame,
    pstate: u64,
    which: gic::Frame,
    offset: u64,
    access: Access,
) -> bool {
    let is_done = gic_access(frame, which, offset, access);
    if is_done {
        skip(pstate, 4);
    }
    is_done
}

#[inline(always)]
fn gic_access(frame: &mut Frame, which: gic::Frame, offset: u64, access: Access) -> bool {
    let guest = frame.guest;
    let lines = guest.partition.lines(guest.system);
    if access.is_write() {
        let value = access.stored(frame.get(access.register()));
        guest.seat.write(which, offset, access.size(), value, &lines).is_ok()
    } else {
        let value = guest.seat.read(which, offset, access.size(), &lines);
        value.map(|value| frame.set(access.register(), access.loaded(value))).is_ok()
    }
}

#[inline(always)]
fn uart_access(frame: &mut Frame, uart: &'static Uart, offset: u64, access: Access) -> bool {
    let glance = uart.glance.load(Relaxed);
    if offset == uart::FR && access.is_narrow_load() {
        frame.set(access.register(), (glance & 0xff).into());
        return true;
    }
    if offset == uart::DR && access.is_narrow_store() && glance & uart::PASSES_ON != 0 {
        return uart_output(frame.guest, frame.get(access.register()) as u8);
    }
    uart_locked(frame, uart, offset, access)
}

#[inline(never)]
fn uart_output(guest: &Guest, byte: u8) -> bool {
    console::output(guest, byte);
    done()
}

#[inline(never)]
fn uart_locked(frame: &mut Frame, uart: &'static Uart, offset: u64, access: Access) -> bool {
    let guest = frame.guest;
    let mut device = uart.device.lock();
    let mut sent = None;
    if access.is_write() {
        sent = device.uart.write(offset, access.size(), access.stored(frame.get(access.register())));
    } else {
        frame.set(access.register(), access.loaded(device.uart.read(offset, access.size())));
    }
    device.refill();
    guest.partition.tell_uart(guest.system, guest.cpu, uart, &device);
    drop(device);
    if let Some(byte) = sent {
        console::output(guest, byte);
    }
    done()
}

/// The devices that no guest uses often.
#[cold]
fn seldom(frame: &mut Frame, ipa: Ipa, access: Access) -> bool {
    watchdog(frame, ipa, access) || empty_transport(frame, ipa, access)
}

#[cold]
fn empty_transport(frame: &mut Frame, ipa: Ipa, access: Access) -> bool {
    let Some(place) = frame.guest.partition.plan.empty_transports else { return false };
    let Some(offset) = offset(ipa, place) else { return false };
    if access.is_write() {
        return virtio::write_empty(offset, access.size());
    }
    let value = virtio::read_empty(offset, access.size());
    value.map(|value| frame.set(access.register(), access.loaded(value))).is_some()
}

#[cold]
fn watchdog(frame: &mut Frame, ipa: Ipa, access: Access) -> bool {
    let guest = frame.guest;
    let Some(watchdog) = &guest.partition.watchdog else { return false };
    let Some(offset) = offset(ipa, watchdog.frames) else { return false };
    if access.is_write() {
        let value = access.stored(frame.get(access.register()));
        watchdog.device.lock().write(offset, value, timer::now());
        // By interrupt, which looks when something is due and finds out what.
        timer::set(guest.system, guest.cpu, 0);
    } else {
        let value = watchdog.device.lock().read(offset, access.size());
        frame.set(access.register(), access.loaded(value));
    }
    true
}
