// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual machine's address map: where a guest finds its interrupt controller and its UART.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, IntId, Ipa, Range};

use super::{Device, GuestGic, GuestUart, Memory};
use crate::board::{Board, Gic};
use crate::partition::ADDRESS_BITS;
use crate::sorted::sort_by_key;

// What QEMU's virt board shows, so that images built for it run unmodified.
const DISTRIBUTOR: Ipa = Ipa(0x0800_0000);
const CPU_INTERFACE: Ipa = Ipa(0x0801_0000);
const REDISTRIBUTORS: Ipa = Ipa(0x080a_0000);
const UART: Ipa = Ipa(0x0900_0000);
const UART_INTERRUPT: u32 = 33;
/// Where memory starts if the configuration does not say.
pub(super) const MEMORY: Ipa = Ipa(0x4000_0000);

/// GICD of version 2 (IHI 0048B, "Distributor register map"). A GIC-400 has its CPU interface right behind it.
const DISTRIBUTOR_SIZE_V2: u64 = 0x1000;
/// GICD of version 3 (IHI 0069, "The GIC Distributor register map").
const DISTRIBUTOR_SIZE_V3: u64 = 0x1_0000;
/// GICC of version 2 ends with GICC_DIR at 0x1000 (IHI 0048B, "CPU interface register map").
const CPU_INTERFACE_SIZE: u64 = 0x2000;
/// What QEMU's virt board describes for each of the two, registers or not: some guests take no less.
const REGION_SIZE_V2: u64 = 0x1_0000;
/// RD_base and SGI_base, 64 KiB each (IHI 0069, "The GIC Redistributor register map").
const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
const UART_SIZE: u64 = 0x1000;
/// Steps in which a free place for a virtual device is looked for.
const STEP: u64 = 0x1_0000;
/// A generic watchdog, where QEMU has nothing: its control frame and its refresh frame.
pub(super) const WATCHDOG: Ipa = Ipa(0x090e_0000);
pub(super) const WATCHDOG_SIZE: u64 = 0x2000;

/// Where the virt board has its virtio transports, and what they take: 32 of 0x200 bytes.
const TRANSPORTS: Ipa = Ipa(0x0a00_0000);
const TRANSPORTS_SIZE: u64 = 0x4000;

/// How many vCPUs a GICv2 can tell apart (IHI 0048B, GICD_TYPER.CPUNumber).
const MAX_VCPUS_V2: usize = 8;
/// As many redistributors as fit below the UART.
const MAX_VCPUS_V3: usize = ((UART.0 - REDISTRIBUTORS.0) / REDISTRIBUTOR_SIZE) as usize;

/// How many vCPUs a partition can have on this board, and the version of its GIC, which sets that.
pub(super) fn most_vcpus(board: &Board) -> (usize, u32) {
    match board.gic {
        Gic::V2 { .. } => (MAX_VCPUS_V2, 2),
        Gic::V3 { .. } => (MAX_VCPUS_V3, 3),
    }
}

/// The interrupt controller that a guest sees: at the board's own place if it is identity-mapped.
pub(super) fn gic(board: &Board, identity_mapped: bool) -> GuestGic {
    let own = |range: &Range<Hpa>, usual| {
        if identity_mapped { Ipa(range.start().0) } else { usual }
    };
    match &board.gic {
        Gic::V2 { distributor, cpu_interface, .. } => GuestGic::V2 {
            distributor: own(distributor, DISTRIBUTOR),
            cpu_interface: own(cpu_interface, CPU_INTERFACE),
        },
        Gic::V3 { distributor, redistributors, .. } => GuestGic::V3 {
            distributor: own(distributor, DISTRIBUTOR),
            redistributors: redistributors.first().map_or(REDISTRIBUTORS, |first| own(first, REDISTRIBUTORS)),
        },
    }
}

impl GuestGic {
    /// The register ranges that a guest with `vcpus` vCPUs sees, with their names.
    #[must_use]
    pub fn registers(&self, vcpus: usize) -> Vec<(Range<Ipa>, &'static str)> {
        let frames = (vcpus as u64).saturating_mul(REDISTRIBUTOR_SIZE);
        let parts = match *self {
            Self::V2 {
                distributor: distributor @ DISTRIBUTOR,
                cpu_interface: cpu_interface @ CPU_INTERFACE,
            } => [
                (distributor, REGION_SIZE_V2, "the GIC's distributor"),
                (cpu_interface, REGION_SIZE_V2, "the GIC's CPU interface"),
            ],
            Self::V2 { distributor, cpu_interface } => [
                (distributor, DISTRIBUTOR_SIZE_V2, "the GIC's distributor"),
                (cpu_interface, CPU_INTERFACE_SIZE, "the GIC's CPU interface"),
            ],
            Self::V3 { distributor, redistributors } => [
                (distributor, DISTRIBUTOR_SIZE_V3, "the GIC's distributor"),
                (redistributors, frames, "the GIC's redistributors"),
            ],
        };
        parts
            .into_iter()
            .filter_map(|(start, size, name)| Some((Range::<Ipa>::new(start, size)?, name)))
            .collect()
    }
}

impl GuestUart {
    /// Its registers.
    #[must_use]
    pub fn registers(&self) -> Option<Range<Ipa>> {
        Range::<Ipa>::new(self.base, UART_SIZE)
    }
}

/// Everything in a partition's address map that must not overlap, but the UART.
pub(super) fn occupied(
    gic: &GuestGic,
    vcpus: usize,
    memory: &[Memory],
    devices: &[Device],
) -> Vec<(Range<Ipa>, String)> {
    let mut map: Vec<(Range<Ipa>, String)> =
        gic.registers(vcpus).into_iter().map(|(range, name)| (range, name.into())).collect();
    for device in devices {
        let pages = device.registers.iter().filter_map(identical);
        map.extend(pages.map(|range| (range, device.path.clone())));
    }
    let memory = memory.iter().filter_map(Memory::range);
    map.extend(memory.map(|range| (range, format!("the memory at {}", range.start()))));
    sort_by_key(&mut map, |(range, _)| range.start().0);
    map
}

/// A physical range at the same guest addresses.
pub(super) fn identical(range: &Range<Hpa>) -> Option<Range<Ipa>> {
    Range::<Ipa>::new(Ipa(range.start().0), range.size())
}

/// The first pair in a sorted map that overlaps.
pub(super) fn overlap(map: &[(Range<Ipa>, String)]) -> Option<String> {
    map.windows(2).find_map(|pair| match pair {
        [(a, first), (b, second)] if a.overlaps(b) => {
            Some(format!("{first} ({a}) and {second} ({b}) overlap"))
        }
        _ => None,
    })
}

/// The virtual UART of the primary partition stands on the page of the hypervisor's console, which the guest
/// cannot reach otherwise. If that is a PL011, the board's own node describes it.
pub(super) fn uart_at_console(board: &Board, occupied: &[(Range<Ipa>, String)]) -> Option<GuestUart> {
    let console = board.console.as_ref()?;
    let (interrupt, _) = console.interrupt.filter(|(interrupt, _)| !interrupt.is_private())?;
    let base = Ipa(console.registers.page_aligned().start().0);
    let registers = Range::<Ipa>::new(base, UART_SIZE)?;
    let is_free = !occupied.iter().any(|(other, _)| other.overlaps(&registers));
    is_free.then_some(GuestUart { base, interrupt })
}

/// The place of empty virtio transports. An identity-mapped partition sees the board, which has its own or none.
/// Memory and devices there hide them page by page, for an access to what stage 2 maps goes there.
pub(super) fn transports(identity_mapped: bool) -> Option<Range<Ipa>> {
    Range::<Ipa>::new(TRANSPORTS, TRANSPORTS_SIZE).filter(|_| !identity_mapped)
}

/// A place for a virtual device: `base` if it is free, else the next that is.
pub(super) fn place(occupied: &[(Range<Ipa>, String)], mut base: Ipa, size: u64) -> Option<Ipa> {
    loop {
        let range = Range::<Ipa>::new(base, size).filter(|range| range.end().0 <= 1 << ADDRESS_BITS)?;
        let in_the_way = occupied.iter().filter(|(other, _)| other.overlaps(&range));
        match in_the_way.map(|(other, _)| other.end()).max() {
            None => return Some(base),
            Some(end) => base = Ipa(bulkhead_types::align_up(end.0, STEP)?),
        }
    }
}

/// A place and an interrupt for the virtual UART: QEMU's if they are free, else the next ones that are.
pub(super) fn uart(occupied: &[(Range<Ipa>, String)], devices: &[Device]) -> Option<GuestUart> {
    let base = place(occupied, UART, UART_SIZE)?;
    let taken: Vec<u32> =
        devices.iter().flat_map(|device| &device.interrupts).map(|(id, _)| id.get()).collect();
    let free = (UART_INTERRUPT..u32::from(IntId::END_SHARED)).find(|id| !taken.contains(id))?;
    Some(GuestUart { base, interrupt: IntId::new(free)? })
}
