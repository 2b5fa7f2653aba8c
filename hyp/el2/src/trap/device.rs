// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loads and stores to the devices that are not there: the interrupt controller and the UART.

use crate::cpu::Guest;
use crate::interrupts::Lines;
use crate::vectors::Frame;
use crate::{console, with_controller};
use bulkhead_machine::gic::{self, AccessSize};
use bulkhead_machine::syndrome::{Access, Size};
use bulkhead_types::{Ipa, Range};

/// No device answers, or not this kind of access: an external abort.
pub struct Fault;

/// Carries out an access at `ipa`, and puts a load's value into its register.
#[inline(always)]
pub fn access(frame: &mut Frame, ipa: Ipa, access: Access) -> Result<(), Fault> {
    let guest = frame.guest;
    let frames = &guest.partition.frames;
    if let Some(offset) = offset(ipa, frames.distributor) {
        interrupt_controller(guest, gic::Frame::Distributor, offset, access, frame)
    } else if let Some(offset) = offset(ipa, frames.redistributors) {
        interrupt_controller(guest, gic::Frame::Redistributor, offset, access, frame)
    } else {
        uart(guest, ipa, access, frame)
    }
}

/// How far behind the start of `range` the address is, if it is inside: one comparison, because a
/// range never wraps and an address before it gives an offset beyond its size.
#[inline(always)]
fn offset(ipa: Ipa, range: Range<Ipa>) -> Option<u64> {
    let offset = ipa.0.wrapping_sub(range.start().0);
    (offset < range.size()).then_some(offset)
}

#[inline(always)]
fn interrupt_controller(
    guest: &Guest,
    which: gic::Frame,
    offset: u64,
    access: Access,
    frame: &mut Frame,
) -> Result<(), Fault> {
    let size = match access.size() {
        Size::Byte => AccessSize::Byte,
        Size::Half => AccessSize::Half,
        Size::Word => AccessSize::Word,
        Size::Double => AccessSize::Double,
    };
    let gic = &guest.partition.gic;
    with_controller!(guest.system, |controller| {
        let lines = Lines::new(controller, guest.partition);
        if access.is_write() {
            let value = access.stored(frame.get(access.register()));
            gic.write(guest.vcpu.id, which, offset, size, value, &lines).map_err(|gic::Fault| Fault)
        } else {
            let value = gic.read(guest.vcpu.id, which, offset, size, &lines).map_err(|gic::Fault| Fault)?;
            frame.set(access.register(), access.loaded(value));
            Ok(())
        }
    })
}

#[inline(never)]
fn uart(guest: &Guest, ipa: Ipa, access: Access, frame: &mut Frame) -> Result<(), Fault> {
    let uart = guest.partition.uart.as_ref().ok_or(Fault)?;
    let offset = offset(ipa, uart.frame).ok_or(Fault)?;
    let mut device = uart.device.lock();
    let before = device.uart.interrupt_line();
    let mut sent = None;
    if access.is_write() {
        sent = device.uart.write(offset, access.size(), access.stored(frame.get(access.register())));
    } else {
        frame.set(access.register(), access.loaded(device.uart.read(offset, access.size())));
    }
    device.refill();
    let after = device.uart.interrupt_line();
    if before != after {
        guest.partition.set_uart_line(guest.system, guest.cpu, uart, after);
    }
    drop(device);
    if let Some(byte) = sent {
        console::output(guest.partition.id, byte);
    }
    Ok(())
}
