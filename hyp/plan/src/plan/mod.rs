// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The plan: who owns what of a board, and what each guest sees.

mod contents;
mod cpus;
mod devices;
mod frames;
mod in_place;
mod map;
mod memory;
mod odd;
mod reserved;
mod room;
mod watchdog;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{CpuIndex, Hpa, IntId, Ipa, Range};

pub use crate::partition::Access;
pub(crate) use cpus::cpu_cell;
pub use devices::Device;
pub(crate) use devices::is_counters;
pub(crate) use room::stretches;

use crate::board::Board;
use crate::bundle::Bundle;
use crate::error::{Errors, Problem, listed};
use crate::partition::{self, Policy, RestartPolicy};
use crate::tree::Tree;

/// What a plan is made from.
pub struct Inputs<'i, 'a> {
    /// The board, read from `tree`.
    pub board: &'i Board,
    /// The board's tree with the overlays merged in.
    pub tree: &'i Tree<'a>,
    /// Where the images are.
    pub bundle: &'i Bundle<'a>,
    /// Physical memory that no guest may have, and what is there: the hypervisor, its heap, the
    /// bundle, the board's tree.
    pub taken: Vec<(Range<Hpa>, &'i str)>,
}

/// Who owns what. Checked: no CPU, frame, interrupt or device has two owners.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The partitions in the order of their nodes; [`bulkhead_types::PartitionId`] counts them.
    pub partitions: Vec<Partition>,
    /// CPUs that no partition claims.
    pub idle_cpus: Vec<CpuIndex>,
    /// Memory that nobody has.
    pub free: Vec<Range<Hpa>>,
    /// Reserved memory that stays unmapped for every guest, and what it is (a path, or "memory reservation block").
    pub reserved: Vec<(Range<Hpa>, String)>,
    /// What the hypervisor does about itself.
    pub policy: Policy,
    /// What is legal but odd.
    pub warnings: Vec<Problem>,
}

/// One partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// The physical CPU of each vCPU.
    pub cpus: Vec<CpuIndex>,
    /// Its memory. At a restart all that no load fills is zero; [`zero_at_boot`](Self::zero_at_boot) has the first start.
    pub memory: Vec<Memory>,
    /// The devices that it owns.
    pub devices: Vec<Device>,
    /// Images to copy before each start.
    pub loads: Vec<Load>,
    /// What of its memory an ELF file wants to be zero at the first start, whatever the configuration says.
    pub zeros: Vec<Range<Ipa>>,
    /// Where its first vCPU starts, with the address of the tree in x0.
    pub entry: Ipa,
    /// Where its initial ramdisk lies.
    pub ramdisk: Option<Range<Ipa>>,
    /// The device tree that it sees.
    pub tree: GuestTree,
    /// Its virtual interrupt controller.
    pub interrupt_controller: GuestGic,
    /// Its virtual UART.
    pub uart: Option<GuestUart>,
    /// When it starts again by itself.
    pub restart: RestartPolicy,
    /// The control frame of its watchdog, if it has one; the refresh frame is the page behind it.
    pub watchdog: Option<Ipa>,
    /// Whether memory that no image fills is zeroed at the first start as well.
    pub zero_at_boot: bool,
    /// Where it sees virtio transports without a device, but for the pages that memory or a device takes.
    pub empty_transports: Option<Range<Ipa>>,
    /// Whether guest addresses are physical addresses.
    pub identity_mapped: bool,
    /// Whether it has everything that no other partition claims.
    pub primary: bool,
}

/// A piece of a partition's memory, contiguous on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Where the guest sees it.
    pub guest: Ipa,
    /// Where it is.
    pub frames: Range<Hpa>,
    /// What the guest may do with it.
    pub access: Access,
    /// Whether the frames are pages of an image in the bundle, which nobody may write to: see docs/binding.md.
    pub in_place: bool,
    /// Whether it is a region of the board's `/reserved-memory`: it is never zeroed, nor is anything loaded there.
    pub kept: bool,
}

impl Memory {
    pub(crate) fn new(guest: Ipa, frames: Range<Hpa>, access: Access) -> Self {
        Self { guest, frames, access, in_place: false, kept: false }
    }

    /// All of it, where the guest sees it.
    #[must_use]
    pub fn range(&self) -> Option<Range<Ipa>> {
        Range::<Ipa>::new(self.guest, self.frames.size())
    }
}

/// Bytes to copy into a partition's memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Where to.
    pub to: Ipa,
    /// Where from: offsets into the bundle.
    pub bytes: core::ops::Range<usize>,
}

/// The device tree that a guest sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestTree {
    /// Where it goes.
    pub at: Ipa,
    /// The flattened tree.
    pub blob: Vec<u8>,
    /// Bytes of the blob to fill with fresh entropy at each start, if there is any to be had.
    pub kaslr_seed: Option<core::ops::Range<usize>>,
    /// Likewise.
    pub rng_seed: Option<core::ops::Range<usize>>,
}

/// The interrupt controller that a guest sees, of the board's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestGic {
    /// Version 2.
    V2 {
        /// GICD.
        distributor: Ipa,
        /// GICC, where GICV is mapped.
        cpu_interface: Ipa,
    },
    /// Version 3.
    V3 {
        /// GICD.
        distributor: Ipa,
        /// The first vCPU's redistributor; the others follow, 128 KiB apart.
        redistributors: Ipa,
    },
}

/// A virtual PL011.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestUart {
    /// Its registers, one page.
    pub base: Ipa,
    /// Its interrupt, a level.
    pub interrupt: IntId,
}

impl Plan {
    /// Makes the plan.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn new(inputs: &Inputs<'_, '_>) -> Result<Self, Errors> {
        let parent = partition::parent(inputs.tree)?;
        let mut errors = Errors::new();
        let specs = partition::read(parent, &mut errors);
        let policy = partition::policy(parent);
        let (cpus, idle_cpus) = cpus::assign(inputs.board, &specs, &mut errors);
        let reserved = reserved::Reserved::new(inputs, &specs);
        let (memory, mut free) = memory::assign(inputs, &specs, &reserved, &mut errors);
        let mut warnings: Vec<Problem> = odd::board(inputs.board).into_iter().collect();
        watchdog::check(inputs, parent, &policy, &mut errors);
        let devices = devices::assign(inputs, &specs, &cpus, &memory, &policy, &mut errors, &mut warnings);
        devices::check_reach(inputs.tree, &specs, &memory, &devices.owned, &mut errors, &mut warnings);

        let primary = specs.iter().zip(&memory).enumerate().find(|(_, (spec, _))| spec.primary);
        let missing =
            primary.map(|(number, (_, memory))| reserved.missing(inputs.tree, number, memory, &mut warnings));
        let missing = missing.unwrap_or_else(reserved::Missing::none);

        let mut images = contents::Images::new(inputs.bundle);
        let mut lent = Vec::new();
        let mut partitions = Vec::with_capacity(specs.len());
        for (((spec, cpus), memory), owned) in specs.iter().zip(cpus).zip(memory).zip(devices.owned) {
            let mut planner = contents::Planner {
                inputs,
                spec,
                images: &mut images,
                free: &mut free,
                lent: &mut lent,
                not_primarys: &devices.not_primarys,
                reserved: &reserved,
                missing: &missing,
                warnings: &mut warnings,
            };
            if let Some(partition) = errors.note_all(planner.partition(cpus, memory, owned)) {
                partitions.push(partition);
            }
        }
        warnings.extend(specs.iter().flat_map(odd::partition));
        if !idle_cpus.is_empty() {
            let cpus = idle_cpus.iter().filter_map(|cpu| inputs.board.cpus.get(usize::from(cpu.0)));
            let idle: Vec<&str> = cpus.map(|cpu| cpu.path.as_str()).collect();
            warnings.push(Problem::new(parent.path(), format!("no partition has {}", listed(&idle))));
        }
        errors.or(Self {
            partitions,
            idle_cpus,
            free: free.ranges().to_vec(),
            reserved: reserved.left,
            policy,
            warnings,
        })
    }
}
