// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The audit of the finished tables: what was built is walked as the hardware would walk it, and
//! nothing starts if two owners reach one frame.
//!
//! It trusts neither the plan nor the code that mapped it: its only input is the leaves themselves.

use crate::tables::{Leaf, stage1, stage2};
use alloc::vec::Vec;
use bulkhead_types::{Hpa, PartitionId, Range};
use core::fmt;

/// Whose frames they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A partition, by its stage-2 tables.
    Partition(PartitionId),
    /// The hypervisor: its image, heap and stacks, the tree and the bundle, and the devices it drives.
    Hypervisor,
}

/// What the audit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Two owners reach the frame at this address.
    Shared(Hpa, Owner, Owner),
    /// A device's page that a guest could execute from.
    ExecutableDevice(Hpa, Owner),
    /// A page that EL2 can write and execute.
    WritableCode(Hpa),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(id) => write!(f, "partition {}", id.0.saturating_add(1)),
            Self::Hypervisor => f.write_str("the hypervisor"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(at, one, other) => {
                write!(f, "the frame at {at} can be reached by {one} and by {other}")
            }
            Self::ExecutableDevice(at, owner) => write!(f, "{owner} could execute the device page at {at}"),
            Self::WritableCode(at) => write!(f, "EL2 can write and execute the page at {at}"),
        }
    }
}

/// The frames collected so far, and by whom they can be reached.
#[derive(Default)]
pub struct Audit {
    claims: Vec<(Range<Hpa>, Owner)>,
    banked: Option<Range<Hpa>>,
    finding: Option<Finding>,
}

impl Audit {
    /// Nothing collected yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { claims: Vec::new(), banked: None, finding: None }
    }

    /// Names registers of which every CPU sees its own (GICv2's virtual CPU interface, IHI 0048B.b,
    /// 5.5): several partitions may map them, and none reaches another's.
    pub const fn banked(&mut self, registers: Range<Hpa>) {
        self.banked = Some(registers);
    }

    /// Takes frames that `owner` holds without a leaf to show for it.
    pub fn claim(&mut self, range: Range<Hpa>, owner: Owner) {
        match self.claims.last_mut() {
            // Leaves come in order, so a run of blocks is one claim.
            Some((last, whose)) if *whose == owner && last.end() == range.start() => {
                if let Some(longer) =
                    Range::<Hpa>::new(last.start(), last.size().saturating_add(range.size()))
                {
                    *last = longer;
                }
            }
            _ => self.claims.push((range, owner)),
        }
    }

    /// Takes a leaf of a partition's stage 2.
    pub fn stage2(&mut self, leaf: Leaf, id: PartitionId) {
        let owner = Owner::Partition(id);
        if stage2::is_device(leaf.attributes) && leaf.attributes & stage2::EXECUTE_NEVER == 0 {
            self.finding.get_or_insert(Finding::ExecutableDevice(leaf.output, owner));
        }
        let Some(range) = Range::<Hpa>::new(leaf.output, leaf.size) else { return };
        let banked = self.banked.is_some_and(|banked| banked.covers(&range));
        if !(banked && stage2::is_device(leaf.attributes)) {
            self.claim(range, owner);
        }
    }

    /// Takes a leaf of EL2's own tables, whose frames are thereby the hypervisor's.
    pub fn stage1(&mut self, leaf: Leaf) {
        if leaf.attributes & (stage1::READ_ONLY | stage1::EXECUTE_NEVER) == 0 {
            self.finding.get_or_insert(Finding::WritableCode(leaf.output));
        }
        if let Some(range) = Range::<Hpa>::new(leaf.output, leaf.size) {
            self.claim(range, Owner::Hypervisor);
        }
    }

    /// The verdict.
    ///
    /// # Errors
    /// The first [`Finding`], by address where frames are shared.
    pub fn finish(mut self) -> Result<(), Finding> {
        if let Some(finding) = self.finding {
            return Err(finding);
        }
        self.claims.sort_unstable_by_key(|(range, _)| range.start());
        // The claim seen so far that reaches furthest; sorted by start, only it can overlap the next.
        let mut furthest: Option<(Range<Hpa>, Owner)> = None;
        for (range, owner) in self.claims {
            if let Some((before, other)) = furthest
                && before.overlaps(&range)
                && (owner != other || owner != Owner::Hypervisor)
            {
                return Err(Finding::Shared(range.start(), other, owner));
            }
            if furthest.is_none_or(|(before, _)| range.end() > before.end()) {
                furthest = Some((range, owner));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PartitionId = PartitionId(0);
    const B: PartitionId = PartitionId(1);

    fn leaf(output: u64, size: u64, attributes: u64) -> Leaf {
        Leaf { input: 0, output: Hpa(output), size, attributes }
    }

    #[test]
    fn disjoint_owners_pass() {
        let mut audit = Audit::new();
        audit.stage2(leaf(0x20_0000, 0x20_0000, stage2::MEMORY), A);
        audit.stage2(leaf(0x40_0000, 0x20_0000, stage2::MEMORY), B);
        audit.stage1(leaf(0x1000, 0x1000, stage1::TEXT));
        assert_eq!(audit.finish(), Ok(()));
    }

    #[test]
    fn a_frame_of_two_partitions_is_found_behind_a_long_claim() {
        let mut audit = Audit::new();
        audit.stage2(leaf(0, 1 << 30, stage2::MEMORY), A);
        audit.stage2(leaf(0x1000_0000, 0x1000, stage2::MEMORY), B);
        assert_eq!(
            audit.finish(),
            Err(Finding::Shared(Hpa(0x1000_0000), Owner::Partition(A), Owner::Partition(B)))
        );
    }

    #[test]
    fn the_hypervisors_frames_are_out_of_reach() {
        let mut audit = Audit::new();
        audit.stage1(leaf(0x5000, 0x1000, stage1::DATA));
        audit.stage2(leaf(0x4000, 0x2000, stage2::MEMORY), B);
        assert!(matches!(audit.finish(), Err(Finding::Shared(_, Owner::Partition(B), Owner::Hypervisor))));
    }

    #[test]
    fn a_frame_twice_in_one_partition_is_found() {
        let mut audit = Audit::new();
        audit.stage2(leaf(0x4000, 0x1000, stage2::MEMORY), A);
        audit.stage2(leaf(0x4000, 0x1000, stage2::MEMORY), A);
        assert!(audit.finish().is_err());
    }

    #[test]
    fn banked_registers_may_be_mapped_by_several_as_a_device_only() {
        for (attributes, passes) in [(stage2::DEVICE, true), (stage2::MEMORY, false)] {
            let mut audit = Audit::new();
            audit.banked(Range::<Hpa>::new(Hpa(0x4000), 0x2000).unwrap());
            audit.stage2(leaf(0x4000, 0x1000, attributes), A);
            audit.stage2(leaf(0x4000, 0x1000, attributes), B);
            assert_eq!(audit.finish().is_ok(), passes);
        }
    }

    #[test]
    fn attributes_are_checked() {
        let mut audit = Audit::new();
        audit.stage2(leaf(0x4000, 0x1000, stage2::DEVICE & !stage2::EXECUTE_NEVER), A);
        assert_eq!(audit.finish(), Err(Finding::ExecutableDevice(Hpa(0x4000), Owner::Partition(A))));
        let mut audit = Audit::new();
        audit.stage1(leaf(0x4000, 0x1000, stage1::DATA & !stage1::EXECUTE_NEVER));
        assert_eq!(audit.finish(), Err(Finding::WritableCode(Hpa(0x4000))));
    }
}
