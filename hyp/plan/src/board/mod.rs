// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board, as its device tree describes it.

mod before;
mod read;

use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::{Hpa, IntId, Mpidr, Range, Trigger};

pub(crate) use before::BeforeOverlays;

use crate::early::ConsoleKind;
use crate::tree::NodeId;

/// A board that Bulkhead can run on.
#[derive(Clone, Debug)]
pub struct Board {
    /// `model` of the root, empty if there is none.
    pub model: String,
    /// `compatible` of the root, most specific first.
    pub compatible: Vec<String>,
    /// The banks of RAM, in ascending order, none empty, none overlapping another.
    pub memory: Vec<Range<Hpa>>,
    /// What of it must be left alone, and why (a path, or "memory reservation block").
    pub reserved: Vec<(Range<Hpa>, String)>,
    /// The CPUs in the order of `/cpus`; [`bulkhead_types::CpuIndex`] counts them.
    pub cpus: Vec<Cpu>,
    /// How the firmware's power interface is called, if there is one of version 0.2 or later.
    pub psci: Option<Conduit>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The node of the interrupt controller.
    pub gic_node: NodeId,
    /// The generic timer's interrupts.
    pub timer: Timer,
    /// The PMU's private interrupt and the last cell of its specifier, without the GICv2's CPU mask. None where
    /// each CPU has a shared one: those are devices of the partitions.
    pub counters: Option<(IntId, u32)>,
    /// The console that `/chosen/stdout-path` names, if it can be driven.
    pub console: Option<Console>,
    /// What the firmware left of fresh entropy.
    pub entropy: Entropy,
}

/// One CPU.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// Path of its node.
    pub path: String,
    /// Its affinity.
    pub mpidr: Mpidr,
    /// Its `compatible` strings.
    pub compatible: Vec<String>,
    /// How it is started; `None` if the tree does not say.
    pub start: Option<Start>,
}

/// How a CPU that waits in firmware is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// By PSCI's CPU_ON.
    Psci,
    /// By writing the entry address here and signalling an event (Devicetree Specification, 3.8.1).
    SpinTable(Hpa),
}

/// An instruction that calls firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// To EL3.
    Smc,
    /// To EL2: there is a hypervisor below Bulkhead already.
    Hvc,
}

/// The interrupt controller and where its parts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gic {
    /// Version 2 with the virtualization extensions (IHI 0048B).
    V2 {
        /// GICD.
        distributor: Range<Hpa>,
        /// GICC.
        cpu_interface: Range<Hpa>,
        /// GICH.
        hypervisor_interface: Range<Hpa>,
        /// GICV.
        virtual_cpu_interface: Range<Hpa>,
        /// The maintenance interrupt.
        maintenance: IntId,
    },
    /// Version 3 (IHI 0069H).
    V3 {
        /// GICD.
        distributor: Range<Hpa>,
        /// The regions of redistributors.
        redistributors: Vec<Range<Hpa>>,
        /// `redistributor-stride`, where frames are further apart than the architecture has them.
        stride: Option<u64>,
        /// The maintenance interrupt.
        maintenance: IntId,
    },
}

/// The private interrupts of the generic timer (Linux's `timer/arm,arch_timer.yaml`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// Secure EL1 physical timer.
    pub secure: Option<IntId>,
    /// Non-secure EL1 physical timer.
    pub physical: IntId,
    /// Virtual timer.
    pub virtual_timer: IntId,
    /// Non-secure EL2 physical timer.
    pub hypervisor: Option<IntId>,
    /// What all of them are triggered by.
    pub trigger: Trigger,
    /// The last cell of their specifiers, without the GICv2's CPU mask.
    pub flags: u32,
    /// Whether the timer keeps running in every power state.
    pub always_on: bool,
}

/// The board's console.
#[derive(Clone, Debug)]
pub struct Console {
    /// Its node.
    pub node: NodeId,
    /// Which driver it takes.
    pub kind: ConsoleKind,
    /// Its registers.
    pub registers: Range<Hpa>,
    /// Its interrupt, for input.
    pub interrupt: Option<(IntId, Trigger)>,
}

/// Random bytes in `/chosen`, empty where absent.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entropy {
    /// `rng-seed`.
    pub rng_seed: Vec<u8>,
    /// `kaslr-seed`.
    pub kaslr_seed: Vec<u8>,
}

impl Gic {
    /// The maintenance interrupt, a private one.
    #[must_use]
    pub fn maintenance(&self) -> IntId {
        match self {
            Self::V2 { maintenance, .. } | Self::V3 { maintenance, .. } => *maintenance,
        }
    }

    /// Every register range of it.
    #[must_use]
    pub fn registers(&self) -> Vec<Range<Hpa>> {
        match self {
            Self::V2 { distributor, cpu_interface, hypervisor_interface, virtual_cpu_interface, .. } => {
                alloc::vec![*distributor, *cpu_interface, *hypervisor_interface, *virtual_cpu_interface]
            }
            Self::V3 { distributor, redistributors, .. } => {
                core::iter::once(*distributor).chain(redistributors.iter().copied()).collect()
            }
        }
    }
}
