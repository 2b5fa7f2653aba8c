// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses: `reg`, and its way to the CPU through the `ranges` of every bus above
//! (Devicetree Specification, 2.3.6 and 2.3.8).

use alloc::format;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, Range};

use super::{Cells, Node};
use crate::error::Problem;

/// Takes `address` through one `ranges` property: from the bus's own addresses, `child_cells` wide, to
/// its parent's. Empty `ranges` are the identity. `None` if `size` bytes from there do not all pass.
pub(crate) fn through(
    ranges: &[u8],
    [child_cells, parent_cells, size_cells]: [u32; 3],
    address: u64,
    size: u64,
) -> Option<u64> {
    if ranges.is_empty() {
        return Some(address);
    }
    let last = address.checked_add(size)?;
    // A PCI address has three cells, and its first one tells the space: that is no memory address, and ends them.
    let mut entries = Cells::new(ranges).entries(0, [child_cells, parent_cells, size_cells]);
    entries.find_map(|[child, parent, length]| {
        let inside = child <= address && last <= child.saturating_add(length);
        address.checked_sub(child).filter(|_| inside)?.checked_add(parent)
    })
}

/// The pieces of a range that the windows of one `ranges` property pass on, in the addresses of the bus above.
fn window_pieces(
    ranges: &[u8],
    [child_cells, parent_cells, size_cells]: [u32; 3],
    (start, size): (u64, u64),
) -> Vec<(u64, u64)> {
    let end = start.saturating_add(size);
    let entries = Cells::new(ranges).entries(0, [child_cells, parent_cells, size_cells]);
    let piece = |[child, parent, length]: [u64; 3]| {
        let from = start.max(child);
        let to = end.min(child.saturating_add(length));
        let is_inside = if size == 0 { from == start && from <= to } else { from < to };
        is_inside
            .then(|| Some((parent.checked_add(from.checked_sub(child)?)?, to.checked_sub(from)?)))
            .flatten()
    };
    entries.filter_map(piece).collect()
}

impl Node<'_, '_> {
    /// The addresses and sizes in `reg`, in the addresses of the bus that the node is on.
    ///
    /// # Errors
    /// A `reg` whose size does not fit the bus's `#address-cells` and `#size-cells`.
    pub fn reg(&self) -> Result<Vec<(u64, u64)>, Problem> {
        let Some(bus) = self.parent() else { return Ok(Vec::new()) };
        self.entries("reg", 0, [bus.address_cells(), bus.size_cells()])
    }

    /// The entries of a property, an address and a size each, so many cells wide, behind as many to skip.
    fn entries(
        &self,
        name: &'static str,
        skip: u32,
        widths @ [address_cells, size_cells]: [u32; 2],
    ) -> Result<Vec<(u64, u64)>, Problem> {
        let cells = self.cells(name);
        let entry = skip.saturating_add(address_cells).saturating_add(size_cells) as usize;
        let whole = cells.is_whole() && cells.len().checked_rem(entry) == Some(0);
        let fits = cells.is_empty() || (whole && matches!(widths, [1..=2, 0..=2]));
        if !fits {
            let rule = format!(
                "{name} does not divide into addresses of {address_cells} cells and sizes of {size_cells}"
            );
            return Err(Problem::new(self.path(), rule).property(name));
        }
        Ok(cells.entries(skip, widths).map(|[address, size]| (address, size)).collect())
    }

    /// The ranges in `reg` as the CPUs see them, through the `ranges` of every bus above.
    ///
    /// # Errors
    /// A malformed `reg`, or an address that a bus on the way does not pass on.
    pub fn registers(&self) -> Result<Vec<Range<Hpa>>, Problem> {
        self.reg()?.into_iter().map(|(address, size)| self.translated(address, size)).collect()
    }

    /// The ranges in `reg` that reach the CPUs, in pieces where a bus passes them on in pieces. What is malformed or does
    /// not pass is added to `problems`. Addresses that are not in memory at all (I2C, PCI configuration space) are neither.
    pub(crate) fn reachable_registers(&self, problems: &mut Vec<Problem>) -> Vec<Range<Hpa>> {
        let is_mapped = |bus: &Self| bus.parent().is_none() || bus.has("ranges");
        if !self.has("reg") || self.ancestors().any(|bus| !is_mapped(&bus) || bus.address_cells() > 2) {
            return Vec::new();
        }
        match self.reg() {
            Ok(reg) => reg.iter().flat_map(|entry| self.pieces(*entry, "reg", problems)).collect(),
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        }
    }

    /// [`Node::pci_windows`] as far as they reach the CPUs; the rest is added to `problems`.
    pub(crate) fn reachable_pci_windows(&self, problems: &mut Vec<Problem>) -> Vec<Range<Hpa>> {
        match self.pci_ranges() {
            Ok(windows) => windows.iter().flat_map(|entry| self.pieces(*entry, "ranges", problems)).collect(),
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        }
    }

    /// What of a range on the node's bus reaches the CPUs, and where.
    fn pieces(
        &self,
        (start, size): (u64, u64),
        property: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Vec<Range<Hpa>> {
        let mut pieces = alloc::vec![(start, size)];
        let mut buses = self.ancestors().peekable();
        while let Some(bus) = buses.next() {
            let (Some(above), Some(ranges)) = (buses.peek(), bus.property("ranges")) else { break };
            if !ranges.is_empty() {
                let cells = [bus.address_cells(), above.address_cells(), bus.size_cells()];
                pieces = pieces.into_iter().flat_map(|piece| window_pieces(ranges, cells, piece)).collect();
            }
        }
        let passed = pieces.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        if pieces.is_empty() || passed < size {
            let rule = format!("the buses above pass {passed:#x} of these {size:#x} bytes on to the CPUs");
            let problem = Problem::new(self.path(), rule).property(property);
            problems.push(problem.value(format!("<{start:#x}>")));
        }
        pieces.into_iter().filter_map(|(start, size)| Range::<Hpa>::new(Hpa(start), size)).collect()
    }

    /// What a PCI host bridge passes on to its bus, as the CPUs see it (IEEE Std 1275's PCI bus binding,
    /// "ranges"; Linux's `pci/host-generic-pci.yaml`). None for other nodes.
    ///
    /// # Errors
    /// A malformed `ranges`, or a window that a bus on the way does not pass on.
    pub fn pci_windows(&self) -> Result<Vec<Range<Hpa>>, Problem> {
        self.pci_ranges()?.into_iter().map(|(address, size)| self.translated(address, size)).collect()
    }

    /// The windows of a PCI host bridge on its own bus.
    fn pci_ranges(&self) -> Result<Vec<(u64, u64)>, Problem> {
        let Some(bus) = self.parent().filter(|_| self.string("device_type") == Some("pci")) else {
            return Ok(Vec::new());
        };
        self.entries("ranges", self.address_cells(), [bus.address_cells(), self.size_cells()])
    }

    /// What a bus passes on from its devices to its parent: addresses of the parent and sizes in `dma-ranges`, as far
    /// as that is well-formed (Devicetree Specification, 2.3.9).
    pub(crate) fn dma_windows(&self) -> Vec<(u64, u64)> {
        let Some(bus) = self.parent() else { return Vec::new() };
        let entries =
            self.cells("dma-ranges").entries(self.address_cells(), [bus.address_cells(), self.size_cells()]);
        entries.map(|[address, size]| (address, size)).filter(|(_, size)| *size > 0).collect()
    }

    fn translated(&self, mut address: u64, size: u64) -> Result<Range<Hpa>, Problem> {
        let first = address;
        let lost = |bus: &Self| {
            Problem::new(
                self.path(),
                format!("the bus {} does not pass this address on to the CPUs", bus.path()),
            )
            .property("reg")
            .value(format!("<{first:#x}>"))
        };
        let mut buses = self.ancestors().peekable();
        while let Some(bus) = buses.next() {
            let Some(above) = buses.peek() else { break };
            let cells = [bus.address_cells(), above.address_cells(), bus.size_cells()];
            let ranges = bus.property("ranges").ok_or_else(|| lost(&bus))?;
            address = through(ranges, cells, address, size).ok_or_else(|| lost(&bus))?;
        }
        Range::<Hpa>::new(Hpa(address), size).ok_or_else(|| {
            Problem::new(self.path(), "the registers reach past the last address").property("reg")
        })
    }
}
