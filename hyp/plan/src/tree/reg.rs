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

    /// What a PCI host bridge passes on to its bus, as the CPUs see it (IEEE Std 1275's PCI bus binding,
    /// "ranges"; Linux's `pci/host-generic-pci.yaml`). None for other nodes.
    ///
    /// # Errors
    /// A malformed `ranges`, or a window that a bus on the way does not pass on.
    pub fn pci_windows(&self) -> Result<Vec<Range<Hpa>>, Problem> {
        let Some(bus) = self.parent().filter(|_| self.string("device_type") == Some("pci")) else {
            return Ok(Vec::new());
        };
        let windows =
            self.entries("ranges", self.address_cells(), [bus.address_cells(), self.size_cells()])?;
        windows.into_iter().map(|(address, size)| self.translated(address, size)).collect()
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
