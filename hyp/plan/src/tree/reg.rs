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
    if [child_cells, parent_cells, size_cells] == [0, 0, 0] {
        return None;
    }
    let mut cells = Cells::new(ranges);
    while !cells.is_empty() {
        // A PCI address has three cells, and its first one tells the space: no memory address.
        if child_cells > 2 {
            return None;
        }
        let child = cells.take_number(child_cells)?;
        let parent = cells.take_number(parent_cells)?;
        let length = cells.take_number(size_cells)?;
        if child <= address && last <= child.saturating_add(length) {
            return address.checked_sub(child)?.checked_add(parent);
        }
    }
    None
}

impl Node<'_, '_> {
    /// The addresses and sizes in `reg`, in the addresses of the bus that the node is on.
    ///
    /// # Errors
    /// A `reg` whose size does not fit the bus's `#address-cells` and `#size-cells`.
    pub fn reg(&self) -> Result<Vec<(u64, u64)>, Problem> {
        let Some(bus) = self.parent() else { return Ok(Vec::new()) };
        let (address_cells, size_cells) = (bus.address_cells(), bus.size_cells());
        let mut cells = self.cells("reg");
        let whole = cells.is_whole();
        let mut entries = Vec::with_capacity(1);
        while !cells.is_empty() {
            match (cells.take_number(address_cells), cells.take_number(size_cells)) {
                (Some(address), Some(size)) if whole && address_cells > 0 => entries.push((address, size)),
                _ => {
                    return Err(Problem::new(
                        self.path(),
                        format!("reg does not divide into addresses of {address_cells} cells and sizes of {size_cells}"),
                    )
                    .property("reg"));
                }
            }
        }
        Ok(entries)
    }

    /// The ranges in `reg` as the CPUs see them, through the `ranges` of every bus above.
    ///
    /// # Errors
    /// A malformed `reg`, or an address that a bus on the way does not pass on.
    pub fn registers(&self) -> Result<Vec<Range<Hpa>>, Problem> {
        self.reg()?.into_iter().map(|(address, size)| self.translated(address, size)).collect()
    }

    /// What a PCI host bridge passes on to its bus, as the CPUs see it (IEEE Std 1275's PCI bus binding,
    /// "ranges"; Linux's `pci/host-generic-pci.yaml`). None for other nodes.
    ///
    /// # Errors
    /// A malformed `ranges`, or a window that a bus on the way does not pass on.
    pub fn pci_windows(&self) -> Result<Vec<Range<Hpa>>, Problem> {
        let Some(bus) = self.parent().filter(|_| self.string("device_type") == Some("pci")) else {
            return Ok(Vec::new());
        };
        let mut cells = self.cells("ranges");
        let mut windows = Vec::new();
        while !cells.is_empty() {
            let window = cells.skip_cells(self.address_cells()).and_then(|()| {
                Some((cells.take_number(bus.address_cells())?, cells.take_number(self.size_cells())?))
            });
            let (address, size) = window.ok_or_else(|| {
                Problem::new(self.path(), "ranges does not divide into PCI addresses, addresses and sizes")
                    .property("ranges")
            })?;
            windows.push(self.translated(address, size)?);
        }
        Ok(windows)
    }

    /// What a bus passes on from its devices to its parent: addresses of the parent and sizes in `dma-ranges`, as far
    /// as that is well-formed (Devicetree Specification, 2.3.9).
    pub(crate) fn dma_windows(&self) -> Vec<(u64, u64)> {
        let mut cells = self.cells("dma-ranges");
        let mut next = || {
            cells.skip_cells(self.address_cells())?;
            Some((cells.take_number(self.parent()?.address_cells())?, cells.take_number(self.size_cells())?))
        };
        let mut windows = Vec::new();
        // Without cells an entry takes none of the property, and there is no end of them.
        while let Some(window) = next().filter(|(_, size)| *size > 0) {
            windows.push(window);
        }
        windows
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
