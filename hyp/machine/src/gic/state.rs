// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Storage of the virtual GIC, lent to it by the caller.
//!
//! Who may write what, on which the absence of locks rests:
//! - `Bank`: any CPU, by atomic read-modify-write. Bits that must agree with the physical GIC
//!   (`enabled`, `edge`, `priority`, `physical`, and the routes) change under the partition's lock for
//!   shared interrupts, and reach the physical GIC only from the vCPU's own CPU for private ones.
//! - `Vcpu`: "own" fields only from the vCPU's CPU, so plain loads and stores serve (`Relaxed`);
//!   "post" fields from any.
//! - A CPU that changes what another's list registers depend on writes the state first, then posts
//!   (`SeqCst`), then kicks. The other takes the post (`SeqCst`) before it reads the state. So the last
//!   change is always followed by a look at it.

use super::list::ListRegister;
use super::queue::Queue;
use bulkhead_types::{IntId, Mpidr, VcpuId};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};

/// No vCPU: an interrupt without target or without holder.
pub(super) const NOBODY: u16 = u16::MAX;

/// Most list registers a CPU can have (IHI 0069, ICH_VTR_EL2).
pub(super) const LISTS: usize = 16;

/// The state of 32 interrupts with consecutive IDs, one bit each.
pub struct Bank {
    /// Tied to the physical interrupts of the same IDs. Constant after `Gic::new`.
    pub(super) owned: AtomicU32,
    pub(super) enabled: AtomicU32,
    pub(super) group: AtomicU32,
    /// Edge triggered, else level sensitive.
    pub(super) edge: AtomicU32,
    /// The level of the line that a virtual device drives.
    pub(super) line: AtomicU32,
    /// Pending in software: an edge or a write to ISPENDR, or a message. For an owned interrupt: EL2 has
    /// acknowledged it, so that it is physically active, and owes it to the guest. Moves into the list
    /// register with the interrupt.
    pub(super) latch: AtomicU32,
    /// Active, but in no list register.
    pub(super) active: AtomicU32,
    /// Enabled at the physical GIC. Only owned interrupts.
    pub(super) physical: AtomicU32,
    /// Shared interrupts: 1 of N, so the target is ours to choose.
    pub(super) one_of_n: AtomicU32,
    /// Writes of the guest that whoever holds the interrupt has still to carry out, newest wins:
    /// no longer pending, pending (owned interrupts), no longer active, active; and, set last and taken
    /// first, whether there is any.
    pub(super) asked: AtomicU32,
    pub(super) drop_pending: AtomicU32,
    pub(super) raise: AtomicU32,
    pub(super) drop_active: AtomicU32,
    pub(super) activate: AtomicU32,
    /// Four interrupts a word, as in GICD_IPRIORITYR.
    pub(super) priority: [AtomicU32; 8],
}

impl Bank {
    /// A bank in the state after reset.
    #[must_use]
    pub const fn new() -> Self {
        const fn zero() -> AtomicU32 {
            AtomicU32::new(0)
        }
        Self {
            owned: zero(),
            enabled: zero(),
            group: zero(),
            edge: zero(),
            line: zero(),
            latch: zero(),
            active: zero(),
            physical: zero(),
            one_of_n: zero(),
            asked: zero(),
            drop_pending: zero(),
            raise: zero(),
            drop_active: zero(),
            activate: zero(),
            priority: [const { zero() }; 8],
        }
    }

    /// Back to the state after reset; what is owned and the lines of devices stay.
    pub(super) fn clear(&self, enabled: u32, edge: u32) {
        for word in [
            &self.group,
            &self.latch,
            &self.active,
            &self.physical,
            &self.one_of_n,
            &self.asked,
            &self.drop_pending,
            &self.raise,
            &self.drop_active,
            &self.activate,
        ] {
            word.store(0, SeqCst);
        }
        for word in &self.priority {
            word.store(0, SeqCst);
        }
        self.enabled.store(enabled, SeqCst);
        self.edge.store(edge, SeqCst);
    }

    /// The interrupts that a line holds pending.
    #[inline]
    pub(super) fn levels(&self) -> u32 {
        self.line.load(SeqCst) & !self.edge.load(SeqCst)
    }

    /// The interrupts that somebody must look at when a vCPU appears or a group opens.
    #[inline]
    pub(super) fn eventful(&self) -> u32 {
        self.levels() | self.latch.load(SeqCst) | self.active.load(SeqCst) | self.asked.load(SeqCst)
    }

    /// Leaves a request with the holder, and takes back what contradicts it.
    #[inline]
    pub(super) fn ask(&self, request: &AtomicU32, opposite: &AtomicU32, mask: u32) {
        opposite.fetch_and(!mask, SeqCst);
        request.fetch_or(mask, SeqCst);
        self.asked.fetch_or(mask, SeqCst);
    }

    /// The priority of interrupt `number` of the bank.
    #[inline]
    pub(super) fn priority_of(&self, number: u32) -> u8 {
        match self.priority.get((number >> 2 & 7) as usize) {
            Some(word) => super::bits::byte(word.load(SeqCst), number & 3),
            None => 0,
        }
    }

    /// The list register that would deliver the interrupt, pending where it is enabled.
    #[inline]
    pub(super) fn compose(&self, id: IntId) -> u64 {
        let mask = super::bits::bit(id.get());
        let is = |word: &AtomicU32| word.load(SeqCst) & mask != 0;
        ListRegister::idle(id, self.priority_of(id.get() & 31), is(&self.group), is(&self.owned))
            .with(ListRegister::PENDING, is(&self.enabled))
            .0
    }
}

impl Default for Bank {
    fn default() -> Self {
        Self::new()
    }
}

/// One shared interrupt.
pub struct Spi {
    /// The list register that delivers it, kept ready: pending if the interrupt is enabled, idle
    /// otherwise. Changes under the partition's lock.
    pub(super) template: AtomicU64,
    /// GICv3: Aff3 to Aff0 of GICD_IROUTER, a byte each. GICv2: the byte of GICD_ITARGETSR.
    pub(super) route: AtomicU32,
    /// The vCPU that gets it, chosen from `route`, or `NOBODY`.
    pub(super) target: AtomicU16,
    /// The vCPU that may have it in a list register, in its queue, or active; or `NOBODY`. A list
    /// register empties without anybody's knowledge, so a holder may hold nothing any more.
    pub(super) holder: AtomicU16,
}

impl Spi {
    /// A shared interrupt in the state after reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            template: AtomicU64::new(0),
            route: AtomicU32::new(0),
            target: AtomicU16::new(NOBODY),
            holder: AtomicU16::new(NOBODY),
        }
    }
}

impl Default for Spi {
    fn default() -> Self {
        Self::new()
    }
}

/// One vCPU: its private interrupts, its list registers, and what others ask of it.
pub struct Vcpu {
    /// What ICC_SGI1R_EL1 holds, the interrupt aside, when this vCPU sends to itself alone.
    pub(super) self_sgi: u64,
    pub(super) bank: Bank,

    // Own.
    /// As `Spi::template`, for the private interrupts.
    pub(super) templates: [AtomicU64; 32],
    /// Why the fast paths are closed: `GATE_OFF` and the like. 0 lets an interrupt straight in.
    pub(super) gate: AtomicU32,
    /// The interrupt last put in each list register, and `LATCHED`. Means nothing where
    /// `Hardware::empty_lists` says empty.
    pub(super) shadow: [AtomicU16; LISTS],
    /// The list register that each software generated interrupt was last put in.
    pub(super) slot: [AtomicU8; 16],
    /// GICv2: the senders of each software generated interrupt that is pending outside the list registers,
    /// a byte each, as in GICD_SPENDSGIR.
    pub(super) sources: [AtomicU32; 4],
    /// GICv2: the sender of each software generated interrupt that is active outside the list registers.
    pub(super) active_source: [AtomicU8; 16],
    pub(super) queue: Queue,
    /// What is active here but in no list register, by words.
    pub(super) displaced: [AtomicU32; 32],
    pub(super) displaced_words: AtomicU32,
    /// The causes last given to `Hardware::set_maintenance`.
    pub(super) maintenance: AtomicU32,
    /// What was in the list registers when this vCPU last told others: the interrupt, `TOLD_PENDING`,
    /// `TOLD_ACTIVE`.
    pub(super) told: [AtomicU16; LISTS],

    // Post.
    /// Runs, so that it takes kicks.
    pub(super) on: AtomicBool,
    /// GICR_WAKER.ProcessorSleep.
    pub(super) asleep: AtomicBool,
    /// Software generated interrupts from other vCPUs.
    pub(super) inbox: AtomicU32,
    /// GICv2: the senders of what is in the inbox, laid out as `sources`.
    pub(super) mail: [AtomicU32; 4],
    /// `WANTED`, `TELL`, `LOOK_AT_ALL`, and `BUSY` while they are being served.
    pub(super) attention: AtomicU32,
    /// The interrupts to look at, by words.
    pub(super) posted: [AtomicU32; 32],
    pub(super) posted_words: AtomicU32,
}

/// The shadow's interrupt ID; what lies above is flags.
pub(super) const SHADOW_ID: u16 = 0x3ff;
/// What is pending in the list register was latched: if withdrawn it must not be forgotten.
pub(super) const LATCHED: u16 = 1 << 15;

pub(super) const TOLD_PENDING: u16 = 1 << 14;
pub(super) const TOLD_ACTIVE: u16 = 1 << 15;

/// The vCPU does not run.
pub(super) const GATE_OFF: u32 = 1;
/// Interrupts wait for a list register.
pub(super) const GATE_QUEUE: u32 = 2;
/// Interrupts are active outside the list registers.
pub(super) const GATE_DISPLACED: u32 = 4;

pub(super) const WANTED: u32 = 1;
pub(super) const TELL: u32 = 2;
pub(super) const LOOK_AT_ALL: u32 = 4;
pub(super) const BUSY: u32 = 8;

impl Vcpu {
    /// The vCPU of this number, off, in the state after reset.
    #[must_use]
    pub const fn new(id: VcpuId) -> Self {
        Self {
            self_sgi: self_sgi(id.mpidr()),
            bank: Bank::new(),
            templates: [const { AtomicU64::new(0) }; 32],
            gate: AtomicU32::new(GATE_OFF),
            shadow: [const { AtomicU16::new(SHADOW_ID) }; LISTS],
            slot: [const { AtomicU8::new(0) }; 16],
            sources: [const { AtomicU32::new(0) }; 4],
            active_source: [const { AtomicU8::new(0) }; 16],
            queue: Queue::new(),
            displaced: [const { AtomicU32::new(0) }; 32],
            displaced_words: AtomicU32::new(0),
            maintenance: AtomicU32::new(0),
            told: [const { AtomicU16::new(0) }; LISTS],
            on: AtomicBool::new(false),
            asleep: AtomicBool::new(true),
            inbox: AtomicU32::new(0),
            mail: [const { AtomicU32::new(0) }; 4],
            attention: AtomicU32::new(0),
            posted: [const { AtomicU32::new(0) }; 32],
            posted_words: AtomicU32::new(0),
        }
    }
}

/// Aff3 to Aff0, a byte each, from their places in MPIDR_EL1 and GICD_IROUTER.
pub(super) const fn pack_affinity(value: u64) -> u32 {
    (value as u32 & 0x00ff_ffff) | ((value >> 8) as u32 & 0xff00_0000)
}

/// ICC_SGI1R_EL1's target fields for this one CPU (IHI 0069).
const fn self_sgi(mpidr: Mpidr) -> u64 {
    (mpidr.level(2) as u64) << 32 | (mpidr.level(1) as u64) << 16 | 1 << mpidr.level(0)
}

/// The inverse of [`pack_affinity`].
pub(super) const fn unpack_affinity(packed: u32) -> u64 {
    (packed as u64 & 0x00ff_ffff) | ((packed as u64 & 0xff00_0000) << 8)
}

/// Whether the mask has the interrupt's bit.
#[inline]
pub(super) fn has(word: &AtomicU32, mask: u32) -> bool {
    word.load(SeqCst) & mask != 0
}
