// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The audit of the finished tables: what was built is walked as the hardware would walk it, and
//! nothing starts if two owners reach one frame.
//!
//! It trusts neither the plan nor the code that mapped it: its only input is the leaves themselves.

use crate::tables::{Leaf, stage1, stage2};
use alloc::vec::Vec;
use bulkhead_plan::sorted::sort_by_key;
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
    /// A page that EL2 can execute, and that is not its code.
    ForeignCode(Hpa),
    /// Attributes that nothing is to be mapped with: a wrong memory type or shareability, a reserved bit.
    Attributes(Hpa, Owner, u64),
    /// EL2 reaches this frame at another address than its own: a window that was left open.
    Window(Hpa),
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
            Self::ForeignCode(at) => write!(f, "EL2 could execute the page at {at}, which is not its code"),
            Self::Attributes(at, owner, attributes) => {
                write!(f, "{owner} maps the page at {at} with attributes {attributes:#x}, which nothing has")
            }
            Self::Window(at) => write!(f, "EL2 sees the frame at {at} through a window"),
        }
    }
}

/// The frames collected so far, and by whom they can be reached.
pub struct Audit {
    claims: Vec<(Range<Hpa>, Owner)>,
    code: Range<Hpa>,
    banked: Option<Range<Hpa>>,
    lent: Vec<(Range<Hpa>, PartitionId)>,
    finding: Option<Finding>,
}

impl Audit {
    /// Nothing collected yet. `code` is where EL2's own is.
    #[must_use]
    pub const fn new(code: Range<Hpa>) -> Self {
        Self { claims: Vec::new(), code, banked: None, lent: Vec::new(), finding: None }
    }

    /// Names registers of which every CPU sees its own (GICv2's virtual CPU interface, IHI 0048B.b,
    /// 5.5): several partitions may map them, and none reaches another's.
    pub const fn banked(&mut self, registers: Range<Hpa>) {
        self.banked = Some(registers);
    }

    /// Names constants of EL2's that one partition may read: an image in the bundle. Before any leaf.
    pub fn lend(&mut self, frames: Range<Hpa>, to: PartitionId) {
        if let Some((_, other)) = self.lent.iter().find(|(lent, _)| lent.overlaps(&frames)) {
            let (one, other) = (Owner::Partition(*other), Owner::Partition(to));
            self.finding.get_or_insert(Finding::Shared(frames.start(), one, other));
        }
        self.lent.push((frames, to));
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
        let Leaf { output, attributes, .. } = leaf;
        let rights = [(true, true), (true, false), (false, true), (false, false)];
        if stage2::is_device(attributes) && attributes & stage2::EXECUTE_NEVER == 0 {
            self.finding.get_or_insert(Finding::ExecutableDevice(output, owner));
        } else if attributes != stage2::DEVICE
            && !rights.iter().any(|&(write, execute)| attributes == stage2::memory(write, execute))
        {
            self.finding.get_or_insert(Finding::Attributes(output, owner, attributes));
        }
        let Some(range) = Range::<Hpa>::new(output, leaf.size) else { return };
        let banked = self.banked.is_some_and(|banked| banked.covers(&range));
        let read_only = [true, false].map(|execute| stage2::memory(false, execute)).contains(&attributes);
        let lent = self.lent.iter().any(|(frames, to)| *to == id && frames.covers(&range));
        if !(banked && stage2::is_device(attributes) || lent && read_only) {
            self.claim(range, owner);
        }
    }

    /// Takes a leaf of EL2's own tables, whose frames are thereby the hypervisor's.
    pub fn stage1(&mut self, leaf: Leaf) {
        use stage1::{CONSTANT, DATA, DEVICE, EXECUTE_NEVER, READ_ONLY, TEXT};
        let Leaf { input, output, size, attributes } = leaf;
        let Some(range) = Range::<Hpa>::new(output, size) else { return };
        let finding = if attributes & (READ_ONLY | EXECUTE_NEVER) == 0 {
            Some(Finding::WritableCode(output))
        } else if attributes & EXECUTE_NEVER == 0 && !self.code.covers(&range) {
            Some(Finding::ForeignCode(output))
        } else if ![TEXT, CONSTANT, DATA, DEVICE].contains(&attributes) {
            Some(Finding::Attributes(output, Owner::Hypervisor, attributes))
        } else if input != output.0 {
            Some(Finding::Window(output))
        } else {
            None
        };
        let lent = self.lent.iter().find(|(frames, _)| attributes != CONSTANT && frames.overlaps(&range));
        let shared = lent.map(|(_, to)| Finding::Shared(output, Owner::Partition(*to), Owner::Hypervisor));
        self.finding = self.finding.or(finding).or(shared);
        self.claim(range, Owner::Hypervisor);
    }

    /// The verdict.
    ///
    /// # Errors
    /// The first [`Finding`], by address where frames are shared.
    pub fn finish(mut self) -> Result<(), Finding> {
        if let Some(finding) = self.finding {
            return Err(finding);
        }
        sort_by_key(&mut self.claims, |(range, _)| range.start().0);
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

    fn code() -> Range<Hpa> {
        Range::<Hpa>::new(Hpa(0x1000), 0x1000).unwrap()
    }

    /// Input and output are the same, as in EL2's tables.
    fn leaf(output: u64, size: u64, attributes: u64) -> Leaf {
        Leaf { input: output, output: Hpa(output), size, attributes }
    }

    #[test]
    fn disjoint_owners_pass() {
        let mut audit = Audit::new(code());
        audit.stage2(leaf(0x20_0000, 0x20_0000, stage2::MEMORY), A);
        audit.stage2(leaf(0x40_0000, 0x20_0000, stage2::MEMORY), B);
        audit.stage1(leaf(0x1000, 0x1000, stage1::TEXT));
        assert_eq!(audit.finish(), Ok(()));
    }

    #[test]
    fn a_frame_of_two_partitions_is_found_behind_a_long_claim() {
        let mut audit = Audit::new(code());
        audit.stage2(leaf(0, 1 << 30, stage2::MEMORY), A);
        audit.stage2(leaf(0x1000_0000, 0x1000, stage2::MEMORY), B);
        assert_eq!(
            audit.finish(),
            Err(Finding::Shared(Hpa(0x1000_0000), Owner::Partition(A), Owner::Partition(B)))
        );
    }

    #[test]
    fn the_hypervisors_frames_are_out_of_reach() {
        let mut audit = Audit::new(code());
        audit.stage1(leaf(0x5000, 0x1000, stage1::DATA));
        audit.stage2(leaf(0x4000, 0x2000, stage2::MEMORY), B);
        assert!(matches!(audit.finish(), Err(Finding::Shared(_, Owner::Partition(B), Owner::Hypervisor))));
    }

    #[test]
    fn a_frame_twice_in_one_partition_is_found() {
        let mut audit = Audit::new(code());
        audit.stage2(leaf(0x4000, 0x1000, stage2::MEMORY), A);
        audit.stage2(leaf(0x4000, 0x1000, stage2::MEMORY), A);
        assert!(audit.finish().is_err());
    }

    #[test]
    fn banked_registers_may_be_mapped_by_several_as_a_device_only() {
        for (attributes, passes) in [(stage2::DEVICE, true), (stage2::MEMORY, false)] {
            let mut audit = Audit::new(code());
            audit.banked(Range::<Hpa>::new(Hpa(0x4000), 0x2000).unwrap());
            audit.stage2(leaf(0x4000, 0x1000, attributes), A);
            audit.stage2(leaf(0x4000, 0x1000, attributes), B);
            assert_eq!(audit.finish().is_ok(), passes);
        }
    }

    /// Lent to A, mapped by somebody with some attributes, and by EL2 with others.
    #[test]
    fn constants_may_be_read_by_the_partition_they_are_lent_to() {
        let read_only = |execute| stage2::memory(false, execute);
        for (id, attributes, own, passes) in [
            (A, read_only(true), stage1::CONSTANT, true),
            (A, read_only(false), stage1::CONSTANT, true),
            (A, stage2::MEMORY, stage1::CONSTANT, false),
            (A, stage2::DEVICE, stage1::CONSTANT, false),
            (A, read_only(true), stage1::DATA, false),
            (B, read_only(true), stage1::CONSTANT, false),
        ] {
            let mut audit = Audit::new(code());
            audit.lend(Range::<Hpa>::new(Hpa(0x5000), 0x1000).unwrap(), A);
            audit.stage1(leaf(0x4000, 0x4000, own));
            audit.stage2(leaf(0x5000, 0x1000, attributes), id);
            assert_eq!(audit.finish().is_ok(), passes, "{id:?} {attributes:#x} {own:#x}");
        }
        for (start, passes) in [(0x5000, false), (0x6000, true)] {
            let mut audit = Audit::new(code());
            audit.lend(Range::<Hpa>::new(Hpa(0x5000), 0x1000).unwrap(), A);
            audit.lend(Range::<Hpa>::new(Hpa(start), 0x1000).unwrap(), B);
            assert_eq!(audit.finish().is_ok(), passes);
        }
        let mut audit = Audit::new(code());
        audit.lend(Range::<Hpa>::new(Hpa(0x5000), 0x1000).unwrap(), A);
        audit.stage1(leaf(0x4000, 0x4000, stage1::CONSTANT));
        audit.stage2(leaf(0x5000, 0x2000, read_only(true)), A);
        assert!(audit.finish().is_err(), "a page more than was lent");
    }

    /// Any bit that is not as it should be: memory type, shareability, access flag, rights, reserved.
    #[test]
    fn a_leaf_of_a_partition_that_is_wrong_is_found() {
        let owner = Owner::Partition(A);
        let memory = |write, execute| stage2::memory(write, execute);
        let right = [
            stage2::DEVICE,
            memory(true, true),
            memory(true, false),
            memory(false, true),
            memory(false, false),
        ];
        for bit in (2..12).chain(50..64).map(|bit| 1_u64 << bit) {
            for attributes in right.map(|right| right ^ bit) {
                let mut audit = Audit::new(code());
                audit.stage2(leaf(0x4000, 0x1000, attributes), A);
                assert_eq!(audit.finish().is_ok(), right.contains(&attributes), "{attributes:#x}");
            }
        }
        let mut audit = Audit::new(code());
        audit.stage2(leaf(0x4000, 0x1000, stage2::DEVICE & !stage2::EXECUTE_NEVER), A);
        assert_eq!(audit.finish(), Err(Finding::ExecutableDevice(Hpa(0x4000), owner)));
    }

    #[test]
    fn a_leaf_of_el2_that_is_wrong_is_found() {
        use stage1::{CONSTANT, DATA, DEVICE, EXECUTE_NEVER, TEXT};
        let at = |address| Hpa(address);
        let odd = DATA ^ 1 << 8;
        for (leaf, finding) in [
            (leaf(0x4000, 0x1000, DATA & !EXECUTE_NEVER), Finding::WritableCode(at(0x4000))),
            (leaf(0x4000, 0x1000, DEVICE & !EXECUTE_NEVER), Finding::WritableCode(at(0x4000))),
            (leaf(0x4000, 0x1000, TEXT), Finding::ForeignCode(at(0x4000))),
            (leaf(0x1000, 0x2000, TEXT), Finding::ForeignCode(at(0x1000))),
            (leaf(0x4000, 0x1000, odd), Finding::Attributes(at(0x4000), Owner::Hypervisor, odd)),
            (Leaf { input: 1 << 47, ..leaf(0x4000, 0x1000, CONSTANT) }, Finding::Window(at(0x4000))),
        ] {
            let mut audit = Audit::new(code());
            audit.stage1(leaf);
            assert_eq!(audit.finish(), Err(finding));
        }
    }

    /// The builder's own tables, with one descriptor after another broken in place.
    #[test]
    fn a_broken_table_is_found() {
        use crate::tables::{Geometry, Tables, tests::Pages};
        let mut one = Tables::new(Pages::new(64), Geometry::stage2(40)).unwrap();
        let mut other = Tables::new(Pages::new(64), Geometry::stage2(40)).unwrap();
        one.map(0x4000_0000, Hpa(0x8000_0000), 0x40_1000, stage2::MEMORY).unwrap();
        other.map(0x4000_0000, Hpa(0x9000_0000), 0x40_1000, stage2::MEMORY).unwrap();
        let judge = |one: &Tables<Pages>, other: &Tables<Pages>| {
            let mut audit = Audit::new(code());
            one.leaves(&mut |leaf| audit.stage2(leaf, A));
            other.leaves(&mut |leaf| audit.stage2(leaf, B));
            audit.finish()
        };
        assert_eq!(judge(&one, &other), Ok(()));
        other.map(0x4040_1000, Hpa(0x8040_0000), 0x1000, stage2::MEMORY).unwrap();
        assert!(matches!(judge(&one, &other), Err(Finding::Shared(Hpa(0x8040_0000), ..))));
    }
}
