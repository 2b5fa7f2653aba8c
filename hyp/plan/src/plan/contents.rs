// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What lies in a partition's memory when it starts: kernel, ramdisk, device tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range as Bytes;

use bulkhead_types::{CpuIndex, Hpa, Ipa, Range, align_down};

use super::frames::Free;
use super::reserved::{Missing, Reserved};
use super::room::Room;
use super::{Device, GuestTree, GuestUart, Inputs, Load, Memory, Partition, map, odd};
use crate::bundle::Bundle;
use crate::error::{Errors, Problem};
use crate::guest_tree::{self, Guest};
use crate::image::{self, Kind, Placed, Segment, Wishes};
use crate::partition::{ADDRESS_BITS, Access, Spec};
use crate::sorted::Map;
use crate::tree::NodeId;

/// The kernel maps the tree in blocks of this size, which it must not leave (booting.rst).
const TREE_BLOCK: u64 = 2 << 20;
/// Kernels before 4.2 find the tree only so near to them (booting.rst).
const OLD_TREE_WINDOW: u64 = 512 << 20;
/// Kernel and ramdisk lie in a window of this size, which starts at a multiple of 1 GiB (booting.rst).
const RAMDISK_WINDOW: u64 = 32 << 30;
const RAMDISK_WINDOW_ALIGN: u64 = 1 << 30;

/// An image in the bundle and its bytes, once its hashes have been checked.
type Checked<'a> = (Bytes<usize>, &'a [u8]);

/// The images of the bundle that have been used so far: the hashes of each are checked once.
pub(super) struct Images<'i, 'a> {
    bundle: &'i Bundle<'a>,
    checked: Map<String, Option<Checked<'a>>>,
}

/// What GNU ld and LLD do where no linker script says otherwise: the segment starts below the first section.
const HEADERS_IN_SEGMENT: &str = "Its first segment holds the ELF file's own headers, in front of the code: link \
    with -n (--nmagic), or name the segments by PHDRS without FILEHDR";

impl<'i, 'a> Images<'i, 'a> {
    pub(super) fn new(bundle: &'i Bundle<'a>) -> Self {
        Self { bundle, checked: Map::new() }
    }

    /// An image for a property of a partition. `None` if what is wrong has been said already.
    fn get(
        &mut self,
        spec: &Spec<'_>,
        property: &'static str,
        name: &str,
    ) -> Result<Option<Checked<'a>>, Problem> {
        if let Some(checked) = self.checked.get(name) {
            return Ok(checked.clone());
        }
        if self.bundle.place(name).is_none() {
            let problem = Problem::new(spec.path.clone(), "the bundle has no image of this name")
                .property(property)
                .value(format!("\"{name}\""));
            if name.is_empty() {
                return Err(problem.rule("the name is empty"));
            }
            return Err(problem.or_near(name, &self.bundle.names_for_partitions(), "It has"));
        }
        let image = self.bundle.image(name);
        _ = self.checked.add(name.into(), image.as_ref().ok().cloned());
        image.map(Some)
    }
}

/// Plans one partition, its CPUs, memory and devices being known.
pub(super) struct Planner<'p, 'i, 'a> {
    pub(super) inputs: &'p Inputs<'i, 'a>,
    pub(super) spec: &'p Spec<'p>,
    pub(super) images: &'p mut Images<'i, 'a>,
    pub(super) free: &'p mut Free,
    /// Pages of the bundle that are a partition's memory.
    pub(super) lent: &'p mut Vec<Range<Hpa>>,
    /// The nodes of the board's tree that the primary partition must leave alone.
    pub(super) not_primarys: &'p [NodeId],
    /// The board's reserved memory.
    pub(super) reserved: &'p Reserved,
    /// What of it the primary partition does not have.
    pub(super) missing: &'p Missing,
    pub(super) warnings: &'p mut Vec<Problem>,
}

impl Planner<'_, '_, '_> {
    fn problem(&self, rule: impl Into<alloc::borrow::Cow<'static, str>>) -> Problem {
        Problem::new(self.spec.path.clone(), rule)
    }

    pub(super) fn partition(
        &mut self,
        cpus: Vec<CpuIndex>,
        mut memory: Vec<Memory>,
        devices: Vec<Device>,
    ) -> Result<Partition, Errors> {
        let spec = self.spec;
        let board = self.inputs.board;
        let mut errors = Errors::new();
        let mut image = |property, name: &str| errors.note(self.images.get(spec, property, name)).flatten();
        let kernel = spec.kernel.and_then(|name| image("kernel", name));
        let ramdisk = spec.ramdisk.and_then(|name| image("ramdisk", name));
        let own_tree = spec.device_tree.map(|name| (name, image("device-tree", name)));

        // vCPUs as asked for, not as found: a missing one is an error already.
        let vcpus = spec.cpus.len().max(cpus.len());
        let gic = map::gic(board, spec.identity_mapped);
        let mut map = map::occupied(&gic, vcpus, &memory, &devices);
        if let Some(rule) = map::overlap(&map) {
            errors.push(
                self.problem(rule).property("memory").advice("Move the memory with an address of its own"),
            );
        }
        if spec.identity_mapped {
            // What is virtual keeps clear of all RAM of the board.
            let ram = board.memory.iter().filter_map(map::identical);
            map.extend(ram.map(|range| (range, String::new())));
        }
        let uart = if spec.uart {
            let at_console = if spec.primary { map::uart_at_console(board, &map) } else { None };
            at_console.or_else(|| map::uart(&map, &devices))
        } else {
            None
        };
        if spec.uart && uart.is_none() {
            errors.push(self.problem("there is no free place for the virtual UART").property("console"));
        }
        let mut watchdog = None;
        if spec.watchdog {
            if board.timer.hypervisor.is_none() {
                let rule = "a watchdog needs EL2's timer, whose interrupt the board's tree does not name";
                let advice = "Add it to /timer, interrupts: the fourth (arm,arch_timer.yaml)";
                errors.push(self.problem(rule).property("watchdog").advice(advice));
            }
            map.extend(uart.as_ref().and_then(GuestUart::registers).map(|range| (range, String::new())));
            watchdog = map::place(&map, map::WATCHDOG, map::WATCHDOG_SIZE);
            if watchdog.is_none() {
                errors.push(self.problem("there is no free place for the watchdog").property("watchdog"));
            }
        }
        let mut room = Room::new(&memory);
        if spec.primary {
            // Its system takes the pools out of its memory before it looks at what lies there.
            let pools = self.reserved.pools().filter_map(|pool| map::identical(&pool));
            pools.for_each(|pool| room.keep_clear(pool, "a pool of /reserved-memory"));
        }
        // Looked at even where memory is wrong, and a tree even where the kernel is, so that all is said at once.
        let placed = kernel
            .and_then(|(place, bytes)| Some((place, errors.note(self.recognise(bytes, &memory, &room))?)))
            .filter(|_| !memory.is_empty())
            .filter(|(_, kernel)| errors.note(self.place_kernel(kernel, &mut room)).is_some());
        if placed.as_ref().is_some_and(|(_, kernel)| kernel.kind == Kind::Linux) {
            let linux = odd::Linux { spec, tree: self.inputs.tree, devices: &devices };
            self.warnings.extend(ramdisk.as_ref().and_then(|(_, data)| linux.ramdisk(data)));
            self.warnings.extend(uart.as_ref().and_then(|_| linux.console()));
        }
        // The ramdisk may lie anywhere.
        if let Some(place) = spec.device_tree_address.and_then(|at| Range::<Ipa>::new(at, TREE_BLOCK)) {
            room.keep_clear(place, TREE);
        }
        let initrd = placed.as_ref().zip(ramdisk).and_then(|((_, kernel), (bytes, data))| {
            let at = errors.note(self.place_ramdisk(data.len() as u64, kernel, &mut room))?;
            Some((at, bytes))
        });
        let guest = Guest {
            board,
            tree: self.inputs.tree,
            name: spec.name,
            bootargs: spec.bootargs,
            cpus: &cpus,
            memory: &memory,
            devices: &devices,
            gic: &gic,
            uart: uart.as_ref(),
            watchdog,
            initrd: initrd.as_ref().map(|(at, _)| *at),
            not_primarys: spec.primary.then_some(self.not_primarys),
            missing: &self.missing.nodes,
            without_memory: &self.missing.users,
        };
        let tree = match own_tree {
            Some((name, blob)) => blob.filter(|_| !memory.is_empty()).and_then(|(_, blob)| {
                let tree = guest_tree::own(&guest, blob, name, self.warnings);
                errors.note(tree.map_err(|problem| problem.node(spec.path.clone())))
            }),
            None => Some(guest_tree::write(&guest, self.warnings)),
        };
        let (Some((place, kernel)), Some(written)) = (placed, tree) else { return Err(errors) };
        let size = written.blob.len() as u64;
        let Some(at) = errors.note(self.place_tree(size, &kernel, &mut room)) else { return Err(errors) };
        let guest_tree::GuestBlob { blob, kaslr_seed, rng_seed } = written;
        let segments = kernel.segments.iter();
        let mut loads: Vec<Load> =
            segments.clone().filter_map(|segment| load(segment.to, &segment.bytes, &place)).collect();
        let initrd_place = initrd.as_ref().map(|(at, _)| *at);
        loads.extend(initrd.map(|(at, bytes)| Load { to: at.start(), bytes }));
        // Linux clears its own.
        let zeros = segments.filter(|_| kernel.kind == Kind::Elf).filter_map(Segment::zeros).collect();
        self.leave_in_place(&mut memory, &mut loads);
        errors.or(Partition {
            name: spec.name.into(),
            cpus,
            memory,
            devices,
            loads,
            zeros,
            entry: kernel.entry,
            ramdisk: initrd_place,
            tree: GuestTree { at: at.start(), blob, kaslr_seed, rng_seed },
            interrupt_controller: gic,
            uart,
            restart: spec.restart,
            zero_at_boot: spec.zero_at_boot,
            watchdog,
            empty_transports: map::transports(spec.identity_mapped),
            identity_mapped: spec.identity_mapped,
            primary: spec.primary,
        })
    }

    /// A mistake in where the kernel lies: `load-address` is to blame where there is one.
    fn about_kernels_place(&self, rule: String, kind: Kind) -> Problem {
        match self.spec.load_address {
            Some(address) => {
                let problem = self.problem(rule).property("load-address").value(format!("<{address}>"));
                problem.advice(match kind {
                    // Raw bytes do not say where they are linked, and may run there only.
                    Kind::Raw => {
                        "Give the partition memory there, or link the image for an address in its memory"
                    }
                    _ => "Leave load-address out: the place follows from the image",
                })
            }
            None => self.about_kernel(rule).advice("Give the partition more memory, or move it"),
        }
    }

    fn about_kernel(&self, rule: String) -> Problem {
        self.problem(rule).property("kernel").value(format!("\"{}\"", self.spec.kernel.unwrap_or_default()))
    }

    /// What the kernel is, and where it goes: to the first memory range, or where memory is what others
    /// left, to the first range that it fits into.
    fn recognise(&self, kernel: &[u8], memory: &[Memory], room: &Room) -> Result<Placed, Problem> {
        let at = |memory: Ipa| {
            let wishes = Wishes { load_address: self.spec.load_address, entry: self.spec.entry, memory };
            image::place(kernel, &wishes).map_err(|(rule, advice)| {
                // Nothing else is wrong with an image that could lie elsewhere.
                let elsewhere = Wishes { load_address: None, ..wishes };
                let problem = match image::place(kernel, &elsewhere) {
                    Ok(placed) => self.about_kernels_place(rule, placed.kind),
                    Err(_) => self.about_kernel(rule),
                };
                match advice {
                    Some(advice) => problem.advice(advice),
                    None => problem,
                }
            })
        };
        let fits = |placed: &Placed| {
            let ranges = placed.segments.iter().map(|segment| Range::<Ipa>::new(segment.to, segment.size));
            ranges.into_iter().all(|range| range.is_some_and(|range| room.is_free(&range)))
        };
        let first = at(memory.first().map_or(map::MEMORY, |memory| memory.guest))?;
        if !self.spec.primary || fits(&first) {
            return Ok(first);
        }
        Ok(room.starts().filter_map(|start| at(start).ok()).find(fits).unwrap_or(first))
    }

    fn place_kernel(&self, kernel: &Placed, room: &mut Room) -> Result<(), Problem> {
        for segment in &kernel.segments {
            let range = Range::<Ipa>::new(segment.to, segment.size)
                .ok_or_else(|| self.about_kernel("it does not fit into the address space".into()))?;
            room.claim(range, "the kernel").map_err(|rule| {
                let problem = self.about_kernels_place(rule, kernel.kind);
                if kernel.kind == Kind::Elf && segment.bytes.start == 0 {
                    return problem.advice(HEADERS_IN_SEGMENT);
                }
                problem
            })?;
        }
        let linux = kernel.segments.first().filter(|_| kernel.kind == Kind::Linux);
        if linux.is_some_and(|image| room.access(image.to) != Some(Access::ALL)) {
            let rule = "an arm64 Image lies in memory that it may write to and execute from";
            return Err(self.about_kernel(rule.into()).advice("Give the partition ordinary memory first"));
        }
        if !room.access(kernel.entry).is_some_and(|access| access.execute) {
            let rule = match room.access(kernel.entry) {
                None => format!("the kernel's entry, {}, is not in the partition's memory", kernel.entry),
                Some(_) => format!("the kernel's entry, {}, is in memory with no-execute", kernel.entry),
            };
            return Err(match self.spec.entry {
                Some(entry) => self.problem(rule).property("entry").value(format!("<{entry}>")),
                None => self.about_kernel(rule),
            });
        }
        Ok(())
    }

    /// High in the memory that the kernel is in, inside the window that it may use.
    fn place_ramdisk(&self, size: u64, kernel: &Placed, room: &mut Room) -> Result<Range<Ipa>, Problem> {
        let name = self.spec.ramdisk.unwrap_or_default();
        let found = windows(kernel, room).into_iter().find_map(|window| room.highest(size, window, None));
        let about_it = |rule: String| self.problem(rule).property("ramdisk").value(format!("\"{name}\""));
        let place = found.ok_or_else(|| {
            about_it(format!("no room is left beside the kernel for its {size} bytes"))
                .advice("Give the partition more memory")
        })?;
        room.claim(place, "the ramdisk").map_err(about_it)?;
        Ok(place)
    }

    /// Where the partition wants it. Else for Linux as the ramdisk; for others at the start of memory, as QEMU places it
    /// and U-Boot looks for it, if that is free.
    fn place_tree(&self, size: u64, kernel: &Placed, room: &mut Room) -> Result<Range<Ipa>, Problem> {
        if let Some(address) = self.spec.device_tree_address {
            room.release(TREE);
            return self.place_tree_at(address, size, room);
        }
        let start =
            kernel.segments.first().and_then(|segment| room.around(segment.to)).map(|memory| memory.start());
        let writable = start.and_then(|start| room.access(start)) == Some(Access::ALL);
        if kernel.kind != Kind::Linux && writable {
            let first = start.and_then(|start| Range::<Ipa>::new(start, size));
            if let Some(first) = first.filter(|first| room.claim(*first, "the device tree").is_ok()) {
                return Ok(first);
            }
        }
        let found =
            windows(kernel, room).into_iter().find_map(|window| room.highest(size, window, Some(TREE_BLOCK)));
        let place = found.ok_or_else(|| {
            self.problem(format!("no room is left beside the kernel for a device tree of {size} bytes"))
                .property("memory")
                .advice("Give the partition more memory")
        })?;
        room.claim(place, "the device tree").map_err(|rule| self.problem(rule))?;
        Ok(place)
    }

    /// At an address of the partition's choice.
    fn place_tree_at(&self, address: Ipa, size: u64, room: &mut Room) -> Result<Range<Ipa>, Problem> {
        let wrong =
            |rule: String| self.problem(rule).property("device-tree-address").value(format!("<{address}>"));
        // Devicetree Specification 0.4, 5.1.
        if !address.0.is_multiple_of(8) {
            return Err(wrong("a device tree lies at a multiple of 8 bytes".into()));
        }
        let place = Range::<Ipa>::new(address, size)
            .ok_or_else(|| wrong("a device tree there does not fit into the address space".into()))?;
        room.claim(place, "the device tree").map_err(|rule| {
            wrong(rule).advice("Choose an address in the partition's memory that the kernel leaves free")
        })?;
        if room.access(address) != Some(Access::ALL) {
            let rule = "a guest may write to its device tree, and this memory is read-only or no-execute";
            return Err(wrong(rule.into()));
        }
        Ok(place)
    }
}

/// What a place is kept clear for.
const TREE: &str = "the device tree";

/// Where to look for room for what goes with a kernel, best first.
fn windows(kernel: &Placed, room: &Room) -> Vec<Range<Ipa>> {
    let start = kernel.segments.first().map_or(kernel.entry, |segment| segment.to);
    let window = |start: u64, size: u64| {
        Range::<Ipa>::new(Ipa(start), size.min((1u64 << ADDRESS_BITS).saturating_sub(start)))
    };
    let near = window(align_down(start.0, TREE_BLOCK), OLD_TREE_WINDOW);
    let far = window(align_down(start.0, RAMDISK_WINDOW_ALIGN), RAMDISK_WINDOW);
    // The same stretch of memory as the kernel's, before any other in the window.
    let own = room.around(start);
    let both = |window: Range<Ipa>| {
        let own = own?;
        let start = own.start().max(window.start());
        let end = own.end().min(window.end());
        Range::<Ipa>::new(start, end.0.checked_sub(start.0)?)
    };
    [near.and_then(both), far.and_then(both), far].into_iter().flatten().collect()
}

fn load(to: Ipa, part: &Bytes<usize>, image: &Bytes<usize>) -> Option<Load> {
    let bytes = image.start.checked_add(part.start)?..image.start.checked_add(part.end)?;
    (!bytes.is_empty()).then_some(Load { to, bytes })
}
