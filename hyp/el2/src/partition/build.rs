// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Building partitions from the plan, once, at boot.

use super::{GicFrames, Line, Partition, Uart, Vcpu, Watchdog};
use crate::boot::Refusal;
use crate::console::Transmit;
use crate::dump::Trace;
use crate::memory::TablePages;
use crate::world;
use alloc::boxed::Box;
use alloc::vec::Vec;
use alloc::{format, string::String};
use bulkhead_el2::life::{Life, Presence};
use bulkhead_el2::tables::{Geometry, Leaf, MapError, Tables, stage2, vmid};
use bulkhead_machine::gic::{self, Bank, Gic, Spi, Version};
use bulkhead_machine::psci::Power;
use bulkhead_machine::sysreg::OsLock;
use bulkhead_plan::board::{self, Board};
use bulkhead_plan::plan::{self, GuestGic, Plan};
use bulkhead_types::{Hpa, IntId, Ipa, PAGE_SIZE, PartitionId, Range, VcpuId};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use spin::Mutex;

/// A distributor of GICv3 takes 64 KiB, of GICv2 a page; each GICv3 redistributor two frames of 64 KiB.
const GICD_V3: u64 = 0x1_0000;
const GICD_V2: u64 = PAGE_SIZE;
const GICR: u64 = 0x2_0000;

/// VMID of a partition, VTTBR_EL2 bits 63:48 or, without VTCR_EL2.VS, 55:48.
const VMID: u32 = 48;

/// Builds every partition of the plan: tables, virtual interrupt controller, virtual devices.
///
/// `lines` is the board's GICD_TYPER.ITLinesNumber, which the guests see.
///
/// # Errors
/// A sentence that names the partition.
pub fn build(board: &Board, plan: Plan, lines: u8) -> Result<Vec<Partition>, Refusal> {
    let mut partitions = Vec::with_capacity(plan.partitions.len());
    for (partition, number) in plan.partitions.into_iter().zip(0_u16..) {
        let name = partition.name.clone();
        partitions.push(
            one(board, partition, PartitionId(number), lines)
                .map_err(|sentence| Refusal::from(format!("partition {name}: {sentence}")))?,
        );
    }
    Ok(partitions)
}

fn one(board: &Board, plan: plan::Partition, id: PartitionId, lines: u8) -> Result<Partition, String> {
    let geometry = Geometry::stage2(world::physical_bits());
    let tables = map(board, &plan, geometry).map_err(|error| format!("no stage-2 tables ({error:?})"))?;
    let vcpus = plan.cpus.iter().zip(0_u16..);
    let vcpus: Vec<Vcpu> = vcpus
        .map(|(&cpu, number)| Vcpu {
            id: VcpuId(number),
            cpu,
            power: Power::default(),
            presence: Presence::default(),
            trace: Trace::default(),
            stuck: AtomicU32::new(0),
            os_lock: Mutex::new(OsLock::RESET),
            asked: AtomicBool::new(false),
        })
        .collect();
    let (version, frames) = match plan.interrupt_controller {
        GuestGic::V2 { distributor, .. } => (Version::V2, frames(distributor, GICD_V2, distributor, 0)),
        GuestGic::V3 { distributor, redistributors } => {
            let size = GICR.saturating_mul(vcpus.len() as u64);
            (Version::V3, frames(distributor, GICD_V3, redistributors, size))
        }
    };
    let uart = plan.uart.and_then(|planned| {
        let line = Line::new();
        Some(Uart {
            frame: Range::<Ipa>::new(planned.base, PAGE_SIZE)?,
            interrupt: planned.interrupt,
            glance: AtomicU32::new(line.uart.glance()),
            device: Mutex::new(line),
        })
    });
    let watchdog = plan.watchdog.and_then(|control| {
        let frames = Range::<Ipa>::new(control, 2 * PAGE_SIZE)?;
        Some(Watchdog { frames, device: Mutex::default() })
    });
    Ok(Partition {
        id,
        name: Box::leak(plan.name.clone().into_boxed_str()),
        gic: interrupt_controller(
            board,
            &plan,
            gic::Config { lines, ..gic::Config::new(version) },
            vcpus.len(),
        )?,
        frames: frames.ok_or("its interrupt controller leaves the address space")?,
        vcpus,
        uart,
        transmit: Transmit::default(),
        watchdog,
        input_bits: geometry.input_bits,
        tables: tables.root().0 | vmid(id).0 << VMID,
        walker: tables,
        life: Life::default(),
        start_due: AtomicU64::new(0),
        row: AtomicU32::new(0),
        starts: AtomicU32::new(0),
        since: AtomicU64::new(0),
        limiter: Mutex::default(),
        drawn: Mutex::default(),
        plan,
    })
}

fn frames(distributor: Ipa, size: u64, redistributors: Ipa, redistributors_size: u64) -> Option<GicFrames> {
    Some(GicFrames {
        distributor: Range::<Ipa>::new(distributor, size)?,
        redistributors: Range::<Ipa>::new(redistributors, redistributors_size)?,
    })
}

/// Stage 2: memory, devices, and for GICv2 the virtual CPU interface where the guest expects its own.
fn map(board: &Board, plan: &plan::Partition, geometry: Geometry) -> Result<Tables<TablePages>, MapError> {
    let mut tables = Tables::new(TablePages, geometry)?;
    for memory in &plan.memory {
        let attributes = stage2::memory(memory.access.write && !memory.in_place, memory.access.execute);
        tables.map(memory.guest.0, memory.frames.start(), memory.frames.size(), attributes)?;
    }
    for registers in plan.devices.iter().flat_map(|device| &device.registers) {
        map_device(&mut tables, Ipa(registers.start().0), *registers)?;
    }
    if let (GuestGic::V2 { cpu_interface, .. }, board::Gic::V2 { virtual_cpu_interface, .. }) =
        (plan.interrupt_controller, &board.gic)
    {
        map_device(&mut tables, cpu_interface, *virtual_cpu_interface)?;
    }
    Ok(tables)
}

fn map_device(tables: &mut Tables<TablePages>, guest: Ipa, registers: Range<Hpa>) -> Result<(), MapError> {
    let pages = registers.page_aligned();
    let guest = bulkhead_types::align_down(guest.0, PAGE_SIZE);
    tables.map(guest, pages.start(), pages.size(), stage2::DEVICE)
}

/// The virtual interrupt controller, with the partition's own interrupts tied to the physical ones.
fn interrupt_controller(
    board: &Board,
    plan: &plan::Partition,
    config: gic::Config,
    vcpus: usize,
) -> Result<Gic<'static>, String> {
    let private =
        [Some(board.timer.physical), Some(board.timer.virtual_timer), board.counters.map(|(id, _)| id)];
    let devices = plan.devices.iter().flat_map(|device| &device.interrupts).map(|(id, _)| *id);
    let owned: Vec<IntId> = private.into_iter().flatten().chain(devices).collect();
    // As many shared interrupts as it takes to number the highest, and 32 at least.
    let uart = plan.uart.map(|uart| uart.interrupt);
    let highest = owned.iter().copied().chain(uart).map(IntId::get).max().unwrap_or(0);
    let banks = (highest as usize / 32).max(1);
    let spis = banks.saturating_mul(32).min(usize::from(IntId::END_SHARED - IntId::FIRST_SHARED));
    let vcpus = (0..vcpus as u16).map(|vcpu| gic::Vcpu::new(VcpuId(vcpu)));
    Gic::new(
        config,
        leak(vcpus),
        leak((0..spis).map(|_| Spi::new())),
        leak((0..banks).map(|_| Bank::new())),
        &owned,
    )
    .map_err(|misfit| format!("no virtual interrupt controller ({misfit:?})"))
}

/// Storage that lives as long as the hypervisor.
fn leak<T>(items: impl Iterator<Item = T>) -> &'static [T] {
    Box::leak(items.collect::<Vec<T>>().into_boxed_slice())
}

impl Partition {
    /// The pages of the bundle that it reads in place, for the audit.
    pub fn lent(&self) -> impl Iterator<Item = Range<Hpa>> {
        self.plan.memory.iter().filter(|memory| memory.in_place).map(|memory| memory.frames)
    }

    /// Calls `visit` with every leaf of its stage-2 tables, for the audit.
    pub fn leaves(&self, visit: &mut dyn FnMut(Leaf)) {
        self.walker.leaves(visit);
    }
}
