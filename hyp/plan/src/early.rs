// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What boot must know before there is a heap: the console, the number of CPUs, where the bundle is,
//! and where a free range of memory is. Nothing here allocates.

use bulkhead_types::{Hpa, PAGE_SIZE, Range, align_down, align_up};

use crate::board::Conduit;
use crate::tree::{Blob, BlobNode, Cells, Strings, through};

/// The deepest path of a console, in nodes, and the deepest node that is looked for.
const MAX_PATH: usize = 16;

/// How many nodes of RAM are found once and for all. A board with more has them looked for each time.
const MEMORY_NODES: usize = 8;

/// The alias of a board's first serial port.
pub(crate) const FIRST_SERIAL: &str = "serial0";

/// An entry of a spin table: one address (Devicetree Specification, 3.8.1).
pub(crate) const SPIN_TABLE_SIZE: u64 = 8;

/// Bytes of a CPU's stack at EL2.
pub const STACK_SIZE: u64 = 16 << 10;
/// Bytes of heap for planning and for all that lives on: a share for the board, one for each CPU (vCPU state, stage-2
/// tables, guest tree), and for each byte of the structure of the board's tree, which is read into nodes and properties.
const HEAP: u64 = 1 << 20;
const HEAP_PER_CPU: u64 = 128 << 10;
const HEAP_PER_BYTE: u64 = 8;

/// One past the highest address that EL2's own tables reach: 48 bits. More need FEAT_LPA2's descriptors.
const REACHED: Hpa = Hpa(1 << 48);

/// Bytes of all stacks with their guard pages.
#[must_use]
pub const fn stacks_size(cpus: usize) -> u64 {
    STACK_SIZE.saturating_add(PAGE_SIZE).saturating_mul(cpus as u64)
}

/// Which driver a console takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleKind {
    /// Arm's PrimeCell UART (DDI 0183), or the subset of it in the Base System Architecture.
    Pl011,
    /// The auxiliary UART of Broadcom's BCM2835 and its successors.
    MiniUart,
}

/// `compatible` strings of the consoles that Bulkhead can drive.
const CONSOLES: &[(&str, ConsoleKind)] = &[
    ("arm,pl011", ConsoleKind::Pl011),
    ("arm,sbsa-uart", ConsoleKind::Pl011),
    ("brcm,bcm2835-aux-uart", ConsoleKind::MiniUart),
];

/// `compatible` of the power manager (Linux's `soc/bcm/brcm,bcm2835-pm.yaml`).
pub(crate) const POWER_MANAGER: &str = "brcm,bcm2835-pm-wdt";

impl ConsoleKind {
    /// The driver for the first `compatible` string that has one.
    pub(crate) fn of<'t>(mut compatible: impl Iterator<Item = &'t str>) -> Option<Self> {
        compatible.find_map(|string| CONSOLES.iter().find(|(name, _)| *name == string).map(|(_, kind)| *kind))
    }
}

/// The board's console, as far as writing to it needs. Its interrupt is in [`crate::board::Console`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Console {
    /// Which driver it takes.
    pub kind: ConsoleKind,
    /// Its registers.
    pub registers: Range<Hpa>,
}

/// The path in `stdout-path`, without the options behind a colon (Devicetree Specification, 3.6).
pub(crate) fn without_options(stdout: &str) -> &str {
    stdout.split_once(':').map_or(stdout, |(path, _)| path)
}

/// The board's tree, and the nodes at its root that are asked for again and again: to find one takes reading all before it.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    blob: Blob<'a>,
    chosen: Option<BlobNode<'a>>,
    aliases: Option<BlobNode<'a>>,
    cpus: Option<BlobNode<'a>>,
    reserved_memory: Option<BlobNode<'a>>,
    /// The first nodes that describe RAM.
    memory: [Option<BlobNode<'a>>; MEMORY_NODES],
    /// The root with only the nodes behind those, where there is no room for more.
    beyond: Option<BlobNode<'a>>,
}

impl<'a> Outline<'a> {
    /// `None` if there is no tree, or its header names what is not in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let blob = Blob::new(bytes)?;
        let [mut chosen, mut aliases, mut cpus, mut reserved_memory] = [None; 4];
        let (mut memory, mut beyond) = ([None; MEMORY_NODES], None);
        let mut free = memory.iter_mut();
        let mut rest = blob.root();
        while let Some(node) = rest.next_child() {
            for (name, place) in [
                ("chosen", &mut chosen),
                ("aliases", &mut aliases),
                ("cpus", &mut cpus),
                ("reserved-memory", &mut reserved_memory),
            ] {
                if place.is_none() && node.is_called(name) {
                    *place = Some(node);
                }
            }
            if beyond.is_none() && is_memory(&node) {
                if let Some(place) = free.next() {
                    *place = Some(node);
                }
                beyond = (free.len() == 0).then_some(rest);
            }
        }
        Some(Self { blob, chosen, aliases, cpus, reserved_memory, memory, beyond })
    }

    /// Bytes of working memory that the hypervisor takes on this board: stacks, each with a guard page, and heap.
    #[must_use]
    pub fn working_size(&self) -> u64 {
        let cpus = self.cpu_count().max(1);
        let tree = HEAP_PER_BYTE.saturating_mul(self.blob.structure_size() as u64);
        let heap = HEAP.saturating_add(HEAP_PER_CPU.saturating_mul(cpus as u64)).saturating_add(tree);
        align_up(heap, PAGE_SIZE).unwrap_or(heap).saturating_add(stacks_size(cpus))
    }

    /// The console that `/chosen/stdout-path` names; where it names none that can be driven, the port of the alias
    /// `serial0`. `None` if that cannot be driven either: then nobody speaks, for no address can be guessed.
    #[must_use]
    pub fn console(&self) -> Option<Console> {
        let named = self.chosen.and_then(|chosen| {
            string(&chosen, "stdout-path").or_else(|| string(&chosen, "linux,stdout-path"))
        });
        let named = named.and_then(|stdout| self.port(without_options(stdout), false));
        named.or_else(|| self.port(FIRST_SERIAL, true))
    }

    /// The port that is called so, a path or an alias. Memory is none, whatever the node says.
    fn port(&self, name: &str, must_be_available: bool) -> Option<Console> {
        let path = if name.starts_with('/') { name } else { string(&self.aliases?, name)? };

        let mut chain: [Option<BlobNode<'_>>; MAX_PATH] = [None; MAX_PATH];
        let mut node = self.blob.root();
        let mut slots = chain.iter_mut();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            *slots.next()? = Some(node);
            node = node.child(part)?;
        }
        let kind = ConsoleKind::of(Strings::new(node.property("compatible")?))?;
        let registers = first_registers(&node, || chain.iter().rev().flatten())?;
        let is_usable = !must_be_available || is_available(&node);
        (is_usable && !self.banks().any(|bank| bank.overlaps(&registers)))
            .then_some(Console { kind, registers })
    }

    /// The banks of RAM as the tree lists them.
    fn banks(&self) -> impl Iterator<Item = Range<Hpa>> + use<'a> {
        let root = self.blob.root();
        let beyond = self.beyond.into_iter().flat_map(|rest| rest.children()).filter(is_memory);
        self.memory.into_iter().flatten().chain(beyond).flat_map(move |node| ranges(&root, &node))
    }

    /// Whether all of this is RAM.
    #[must_use]
    pub fn is_memory(&self, range: &Range<Hpa>) -> bool {
        let overlap = |bank: Range<Hpa>| {
            bank.end().min(range.end()).0.saturating_sub(bank.start().max(range.start()).0)
        };
        self.banks().map(overlap).fold(0, u64::saturating_add) >= range.size()
    }

    /// How the firmware's power interface is called: as [`crate::board::Board::psci`]. None where that would be by
    /// HVC, which from EL2 leads to EL2.
    #[must_use]
    pub fn psci(&self) -> Option<Conduit> {
        let found = find(&self.blob.root(), MAX_PATH, &|node| conduit(|name| node.property(name)));
        found.filter(|conduit| *conduit == Conduit::Smc)
    }

    /// The power manager of Broadcom's BCM2835 family, which resets a board without PSCI and powers it off:
    /// a device on one of the buses at the root. All boards of the family name it at the root (Linux's
    /// `arm/bcm/bcm2835.yaml`), so no other is searched.
    #[must_use]
    pub fn power_manager(&self) -> Option<Range<Hpa>> {
        let root = self.blob.root();
        if !Strings::new(root.property("compatible")?).any(|name| name.starts_with("brcm,")) {
            return None;
        }
        root.children().find_map(|bus| {
            let is_manager = |node: &BlobNode<'_>| {
                node.property("compatible")
                    .is_some_and(|names| Strings::new(names).any(|name| name == POWER_MANAGER))
            };
            let node = bus.children().find(|node| is_manager(node) && is_available(node))?;
            first_registers(&node, || [&bus, &root].into_iter())
        })
    }

    /// How many CPUs the tree lists, usable or not: enough to size per-CPU memory.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        // Beside CPUs there may be a `cpu-map`, caches and idle states.
        let is_cpu =
            |node: &BlobNode<'_>| node.is_called("cpu") || node.property("device_type") == Some(b"cpu\0");
        self.cpus.map_or(0, |cpus| cpus.children().filter(is_cpu).count())
    }

    /// Where the firmware put the initial ramdisk, which is the bundle.
    #[must_use]
    pub fn bundle(&self) -> Option<Range<Hpa>> {
        let address = |name| Cells::new(self.chosen?.property(name)?).number();
        let start = address("linux,initrd-start")?;
        let end = address("linux,initrd-end")?;
        let size = end.checked_sub(start)?;
        if size == 0 { None } else { Range::<Hpa>::new(Hpa(start), size) }
    }

    /// The same with one byte more: some loaders name the last byte for the end, and the FIT itself shows it later.
    #[must_use]
    pub fn room_of_bundle(&self) -> Option<Range<Hpa>> {
        let bundle = self.bundle()?;
        Range::<Hpa>::new(bundle.start(), bundle.size().checked_add(1)?)
    }

    /// Where the hypervisor's image goes, which the firmware put at `loaded`: as high as possible. Guests are linked for
    /// the start of memory, and on a Raspberry Pi most devices reach the low gigabyte only. The bytes that it leaves
    /// behind are those of the file, no secret: they are zeroed like all memory, or with `zero-at-boot = "off"` a guest
    /// may read them.
    #[must_use]
    pub fn place_for_image(&self, loaded: Range<Hpa>, tree: Range<Hpa>) -> Option<Range<Hpa>> {
        self.free_range(&[loaded, tree, self.room_of_bundle().unwrap_or(loaded)], loaded.size(), PAGE_SIZE)
    }

    /// The highest free range of `size` bytes of memory, aligned to `align` (a power of two), that touches
    /// neither a memory reservation nor anything in `taken`, and that EL2's tables reach.
    #[must_use]
    pub fn free_range(&self, taken: &[Range<Hpa>], size: u64, align: u64) -> Option<Range<Hpa>> {
        let mut best: Option<Range<Hpa>> = None;
        for bank in self.banks() {
            let found = self.free_in(taken, bank, size, align);
            best = best.into_iter().chain(found).max_by_key(|range| range.start());
        }
        best
    }

    fn free_in(&self, taken: &[Range<Hpa>], bank: Range<Hpa>, size: u64, align: u64) -> Option<Range<Hpa>> {
        let mut end = bank.end().min(REACHED);
        loop {
            let found = Range::<Hpa>::new(Hpa(align_down(end.0.checked_sub(size)?, align)), size)?;
            if !bank.covers(&found) {
                return None;
            }
            // The lowest start of what is in the way: every round moves down, so there are no more rounds
            // than reservations.
            let mut start: Option<Hpa> = None;
            let mut mark = |range: Range<Hpa>| {
                if range.overlaps(&found) {
                    start = Some(start.map_or(range.start(), |start| start.min(range.start())));
                }
            };
            taken.iter().copied().for_each(&mut mark);
            self.for_each_reservation(mark);
            match start {
                None => return Some(found),
                Some(start) => end = start,
            }
        }
    }

    fn for_each_reservation(&self, mut visit: impl FnMut(Range<Hpa>)) {
        for (start, size) in self.blob.reservations() {
            if let Some(range) = Range::<Hpa>::new(Hpa(start), size) {
                visit(range);
            }
        }
        if let Some(parent) = self.reserved_memory {
            for node in parent.children().filter(is_available) {
                ranges(&parent, &node).for_each(&mut visit);
            }
        }
        // CPUs that wait at a spin table read it until they are started.
        for cpu in self.cpus.iter().flat_map(|cpus| cpus.children()) {
            let address = cpu.property("cpu-release-addr").and_then(|value| Cells::new(value).number());
            if let Some(table) = address.and_then(|address| Range::<Hpa>::new(Hpa(address), SPIN_TABLE_SIZE))
            {
                visit(table);
            }
        }
    }
}

/// What `wanted` says of the first node below `parent` that it has an answer for: siblings before what is below them. `depth` bounds the stack.
fn find<'a, T>(
    parent: &BlobNode<'a>,
    depth: usize,
    wanted: &impl Fn(&BlobNode<'a>) -> Option<T>,
) -> Option<T> {
    let depth = depth.checked_sub(1)?;
    let here = parent.children().find_map(|node| wanted(&node));
    here.or_else(|| parent.children().find_map(|node| find(&node, depth, wanted)))
}

/// The first range in `reg` as the CPUs see it. `buses` are the nodes above, the nearest first.
fn first_registers<'n, 't: 'n, B>(node: &BlobNode<'t>, buses: impl Fn() -> B) -> Option<Range<Hpa>>
where
    B: Iterator<Item = &'n BlobNode<'t>>,
{
    let bus = buses().next()?;
    let mut reg = Cells::new(node.property("reg")?).entries(0, [address_cells(bus), size_cells(bus)]);
    let [mut address, size] = reg.next()?;
    for (bus, above) in buses().zip(buses().skip(1)) {
        let cells = [address_cells(bus), address_cells(above), size_cells(bus)];
        address = through(bus.property("ranges")?, cells, address, size)?;
    }
    Range::<Hpa>::new(Hpa(address), size)
}

/// How a node's properties say that PSCI is called (Linux's `arm/psci.yaml`), if that is what the node describes.
/// Before version 0.2 each firmware had function numbers of its own.
pub(crate) fn conduit<'t>(property: impl Fn(&str) -> Option<&'t [u8]>) -> Option<Conduit> {
    // First what hardly any other node has.
    let method = property("method")?;
    let available = property("status").is_none_or(|status| matches!(status, b"okay\0" | b"ok\0"));
    let standard =
        Strings::new(property("compatible")?).any(|name| matches!(name, "arm,psci-1.0" | "arm,psci-0.2"));
    match method {
        b"smc\0" if standard && available => Some(Conduit::Smc),
        b"hvc\0" if standard && available => Some(Conduit::Hvc),
        _ => None,
    }
}

/// Every range in `reg`, in the addresses of the bus.
fn ranges<'a>(bus: &BlobNode<'a>, node: &BlobNode<'a>) -> impl Iterator<Item = Range<Hpa>> + use<'a> {
    let reg = Cells::new(node.property("reg").unwrap_or(&[]));
    let entries = reg.entries(0, [address_cells(bus), size_cells(bus)]);
    entries.filter_map(|[start, size]| Range::<Hpa>::new(Hpa(start), size))
}

fn string<'a>(node: &BlobNode<'a>, name: &str) -> Option<&'a str> {
    Strings::new(node.property(name)?).next()
}

fn is_memory(node: &BlobNode<'_>) -> bool {
    node.property("device_type") == Some(b"memory\0") && is_available(node)
}

fn is_available(node: &BlobNode<'_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status, b"okay\0" | b"ok\0"))
}

fn address_cells(node: &BlobNode<'_>) -> u32 {
    node.property("#address-cells").and_then(|value| Cells::new(value).u32()).unwrap_or(2)
}

fn size_cells(node: &BlobNode<'_>) -> u32 {
    node.property("#size-cells").and_then(|value| Cells::new(value).u32()).unwrap_or(1)
}
