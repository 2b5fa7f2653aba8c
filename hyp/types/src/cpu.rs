// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CPUs, virtual CPUs and partitions by their numbers.

use core::fmt;

/// A physical CPU: its place in the board's `/cpus` node, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuIndex(pub u16);

/// A virtual CPU: its place in its partition's `cpus` property, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VcpuId(pub u16);

impl VcpuId {
    /// How many vCPUs share their higher affinities: the target list of an SGI has 16 bits
    /// (IHI 0069, ICC_SGI1R_EL1).
    const PER_CLUSTER: u16 = 16;

    /// The affinity that its guest sees: Aff0 counts to 15, Aff1 counts the groups of 16.
    #[must_use]
    pub const fn mpidr(self) -> Mpidr {
        let cluster = (self.0 / Self::PER_CLUSTER) as u64;
        let member = (self.0 % Self::PER_CLUSTER) as u64;
        Mpidr::from_register((cluster & 0xff) << 8 | member | (cluster >> 8) << 16)
    }

    /// The inverse of [`Self::mpidr`], if a number has this affinity.
    #[must_use]
    #[inline]
    pub const fn of(mpidr: Mpidr) -> Option<Self> {
        let cluster = (mpidr.affinity() >> 8) as u16;
        let id = Self(cluster.wrapping_mul(Self::PER_CLUSTER) | mpidr.level(0) as u16);
        if id.mpidr().affinity() == mpidr.affinity() { Some(id) } else { None }
    }
}

/// A partition: its place in the plan, from 0. Its VMID is one more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub u16);

/// The affinity fields of MPIDR_EL1, as PSCI and the device tree name a CPU: Aff3 in bits 39:32,
/// Aff2, Aff1 and Aff0 in bits 23:0, everything else zero (Arm ARM, MPIDR_EL1; DEN 0022, CPU_ON).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mpidr(u64);

impl Mpidr {
    /// The bits that are affinity.
    pub const AFFINITY: u64 = 0xff_00ff_ffff;

    /// Takes the affinity fields out of a register value.
    #[must_use]
    pub const fn from_register(value: u64) -> Self {
        Self(value & Self::AFFINITY)
    }

    /// Takes a value that must be nothing but affinity fields, as PSCI and `reg` require.
    #[must_use]
    pub const fn from_affinity(value: u64) -> Option<Self> {
        if value & !Self::AFFINITY == 0 { Some(Self(value)) } else { None }
    }

    /// The affinity fields in their places.
    #[must_use]
    pub const fn affinity(self) -> u64 {
        self.0
    }

    /// Affinity level `level`, 0 to 3; other levels read as 0.
    #[must_use]
    pub const fn level(self, level: u32) -> u8 {
        let shift = match level {
            0 => 0,
            1 => 8,
            2 => 16,
            3 => 32,
            _ => return 0,
        };
        (self.0 >> shift) as u8
    }
}

impl fmt::Debug for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpidr({:#x})", self.0)
    }
}

impl fmt::Display for CpuIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_form_clusters_of_sixteen() {
        assert_eq!([0, 15, 16, 127].map(|id| VcpuId(id).mpidr().affinity()), [0, 15, 0x100, 0x70f]);
        assert_eq!(VcpuId(u16::MAX).mpidr().affinity(), 0xf_ff0f);
    }

    #[test]
    fn affinity_leaves_out_what_is_not_affinity() {
        let mpidr = Mpidr::from_register(0x12_8103_0201);
        assert_eq!(mpidr.affinity(), 0x12_0003_0201);
        assert_eq!([0, 1, 2, 3].map(|level| mpidr.level(level)), [1, 2, 3, 0x12]);
        assert_eq!(Mpidr::from_affinity(0x8000_0000), None);
    }
}
