// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual Generic Interrupt Controller: distributor, redistributors, and what goes into the list
//! registers. GICv3 (IHI 0069H, one security state, affinity routing always on, no LPIs) or GICv2
//! (IHI 0048B; the CPU interface is the hardware's GICV).
//!
//! # How an interrupt travels
//!
//! A vCPU owns its physical CPU, so only one CPU ever touches a vCPU's list registers, and an interrupt
//! in a list register stays there until the guest is done with it. Each interrupt is thus in one place:
//! in software (`Bank`: line, latch, active), or in a list register of one vCPU, its holder. Moving it
//! into a list register moves the latch with it.
//!
//! The fast paths (a physical interrupt, a software generated one to oneself or by kick) find a ready-made
//! value, an empty list register, and write the one to the other. Everything else changes the
//! software state and then lets the holder's CPU *look at* the interrupt (`Local::look`): one
//! function that compares what the list register holds with what it should. Another CPU is asked to look by a
//! post and a kick.
//!
//! An owned interrupt in a list register is tied to the physical one (HW=1): physically active until the
//! guest deactivates it. Taken back from there, a level is deactivated (its line keeps it pending) and an edge made
//! physically pending first, so it is neither lost nor doubled.
//!
//! # What reads of other vCPUs' state tell
//!
//! ISPENDR and ISACTIVER show the calling vCPU's list registers as they are. Where another vCPU holds the
//! interrupt, that one is kicked to tell and the reader waits, for at most `Config::patience` rounds;
//! after that the read shows what the holder told last.
//!
//! # Where it cannot be exact
//!
//! - A physical level interrupt that EL2 has put into a list register stays pending there if its line
//!   falls before the guest acknowledges it: a spurious interrupt, as after a late fall on hardware.
//! - A physical level interrupt that software made pending (ISPENDR) with its line low loses that if it is withdrawn
//!   (disabled, re-routed) before the guest acknowledges it.
//! - With more active interrupts than list registers, EOImode 0 and interrupts made active through ISACTIVER among
//!   them, an end that names none in a list register is taken to be of the highest priority.
//! - A shared interrupt that one vCPU acknowledged and another deactivates through its own ICC_DIR_EL1 or GICV_DIR (EOImode 1)
//!   stays active: the virtual CPU interface looks in its own list registers only. ICACTIVER frees it.
//! - What one vCPU writes to ISACTIVER and ICACTIVER of an interrupt that another holds takes effect when the kick
//!   gets there. So does disabling, which GICD_CTLR.RWP and GICR_CTLR.RWP show.
//!
//! # Accesses that hardware leaves open
//!
//! An unaligned access is a [`Fault`]. On GICv3 an access of a size that the register does not have, and any to a
//! reserved register, reads as zero and ignores writes (IHI 0069, "GIC memory-mapped register access", permits it). On GICv2
//! every register can be read and written in parts or pairs.

mod attention;
mod bits;
mod deliver;
mod distributor;
mod hardware;
mod list;
mod lists;
mod look;
mod map;
mod power;
mod queue;
mod reads;
mod redistributor;
mod registers;
mod route;
mod sgi;
mod state;
mod writes;

pub use crate::syndrome::Size as AccessSize;
pub use hardware::Hardware;
pub use list::{ListRegister, Maintenance};
pub use map::{disable_register, enable_register};
pub use sgi::{GICD_SGIR, SgiRegister};
pub use state::{Bank, Spi, Vcpu};

use bulkhead_types::{IntId, VcpuId};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use hardware::confined;
use spin::mutex::SpinMutex;
use state::{NOBODY, SHADOW_ID};

/// The version of the architecture that the guest sees: the board's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2 (IHI 0048).
    V2,
    /// GICv3 (IHI 0069).
    V3,
}

/// Which of the GIC's frames an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// GICD: 64 KiB for GICv3, 4 KiB for GICv2.
    Distributor,
    /// GICR: 128 KiB for each vCPU, RD_base then SGI_base, in the order of their numbers. GICv3 only.
    Redistributor,
}

/// The access ends in an external abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

/// What a virtual GIC is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The architecture's version.
    pub version: Version,
    /// Priority bits that IPRIORITYR keeps, from the top: 4 to 8. Delivery tells the top five apart, as every
    /// virtual CPU interface does.
    pub priority_bits: u8,
    /// GICD_TYPER.ITLinesNumber, 0 to 31, if that is more than the interrupts that there are: a guest may take the number of
    /// the board that it was built for. The rest are interrupts that the implementation does not have, whose fields
    /// read as zero and ignore writes (IHI 0048B and IHI 0069, GICD_TYPER).
    pub lines: u8,
    /// Rounds of [`Hardware::relax`] to wait for another vCPU to tell of its list registers.
    pub patience: u32,
}

impl Config {
    /// The usual: five priority bits, patience of a few hundred microseconds.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self { version, priority_bits: 5, lines: 0, patience: 4096 }
    }
}

/// Why [`Gic::new`] refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misfit {
    /// No vCPU, more than eight for GICv2, or more than 512 for GICv3.
    Vcpus,
    /// `spis` is not 32 times as long as `banks` (or 988 of them to 31 banks).
    Spis,
    /// `priority_bits` is not 4 to 8.
    PriorityBits,
    /// An owned interrupt is software generated, or beyond the shared interrupts that there are.
    Owned,
}

/// The virtual GIC of one partition. See the module's documentation.
pub struct Gic<'a> {
    version: Version,
    patience: u32,
    /// The bits of a priority that are kept, in each byte.
    priority_mask: u32,
    /// GICD_TYPER and GICD_IIDR.
    type_register: u32,
    implementer: u32,
    vcpus: &'a [Vcpu],
    spis: &'a [Spi],
    banks: &'a [Bank],
    /// GICD_CTLR's group enables, bits 1:0.
    groups: AtomicU32,
    /// Indexed by bits 63:60 of a list register: whether such a template may be delivered. Both the
    /// interrupt's enable and its group's in one test.
    open: AtomicU32,
    /// How many vCPUs have been asked to look at something and have not finished: GICD_CTLR.RWP.
    unsettled: AtomicU32,
    /// Held while a change to shared interrupts reaches both the software state and the physical
    /// GIC, so that the two agree whatever two vCPUs write at once. Never while walking more than the
    /// interrupts of one register, never by delivery.
    changes: SpinMutex<()>,
}

impl<'a> Gic<'a> {
    /// A virtual GIC over storage in the state after reset, for vCPUs that are all off.
    ///
    /// `banks.len()` is GICD_TYPER.ITLinesNumber, unless the configuration's is more; `owned` are the interrupts tied to the physical
    /// ones of the same IDs (a private one is owned by every vCPU).
    ///
    /// # Errors
    /// The storage or the configuration does not fit: see [`Misfit`].
    pub fn new(
        config: Config,
        vcpus: &'a [Vcpu],
        spis: &'a [Spi],
        banks: &'a [Bank],
        owned: &[IntId],
    ) -> Result<Self, Misfit> {
        let most = if config.version == Version::V2 { 8 } else { 512 };
        if vcpus.is_empty() || vcpus.len() > most {
            return Err(Misfit::Vcpus);
        }
        if banks.len() > 31 || spis.len() != banks.len().saturating_mul(32).min(988) {
            return Err(Misfit::Spis);
        }
        if !(4..=8).contains(&config.priority_bits) {
            return Err(Misfit::PriorityBits);
        }
        let lines = banks.len().max(usize::from(config.lines.min(31)));
        let kept = 0xff00u32.wrapping_shr(u32::from(config.priority_bits)) & 0xff;
        let (type_register, implementer) = distributor::identity(config.version, vcpus.len(), lines);
        let gic = Self {
            version: config.version,
            patience: config.patience,
            priority_mask: kept.wrapping_mul(0x0101_0101),
            type_register,
            implementer,
            vcpus,
            spis,
            banks,
            groups: AtomicU32::new(0),
            open: AtomicU32::new(0),
            unsettled: AtomicU32::new(0),
            changes: SpinMutex::new(()),
        };
        for &id in owned {
            let mask = bits::bit(id.get());
            if id.is_sgi() {
                return Err(Misfit::Owned);
            } else if id.is_private() {
                vcpus.iter().for_each(|vcpu| _ = vcpu.bank.owned.fetch_or(mask, Relaxed));
            } else if gic.spi(id).is_some() {
                gic.shared_bank(id).ok_or(Misfit::Spis)?.owned.fetch_or(mask, Relaxed);
            } else {
                return Err(Misfit::Owned);
            }
        }
        gic.clear_shared();
        vcpus.iter().for_each(|vcpu| gic.clear_private(vcpu));
        Ok(gic)
    }

    /// The vCPUs with their numbers. A range that ends is counted without a check for overflow.
    #[inline]
    fn numbered(&self) -> impl Iterator<Item = (u16, &'a Vcpu)> {
        (0..self.vcpus.len() as u16).zip(self.vcpus)
    }

    #[inline]
    fn vcpu(&self, number: u16) -> Option<&'a Vcpu> {
        self.vcpus.get(usize::from(number))
    }

    #[inline]
    fn spi(&self, id: IntId) -> Option<&'a Spi> {
        self.spis.get((id.get() as usize).wrapping_sub(32))
    }

    #[inline]
    fn shared_bank(&self, id: IntId) -> Option<&'a Bank> {
        self.banks.get(((id.get() >> 5) as usize).wrapping_sub(1))
    }

    /// The interrupts that exist among `32 * word ..`.
    fn implemented(&self, word: usize) -> u32 {
        match word {
            31 if self.banks.len() == 31 => 0x0fff_ffff,
            word if word <= self.banks.len() => u32::MAX,
            _ => 0,
        }
    }

    /// Whether an interrupt with this template is enabled, and its group too.
    #[inline]
    fn is_open(&self, template: u64) -> bool {
        self.open.load(Relaxed).wrapping_shr((template >> 60) as u32) & 1 != 0
    }

    fn set_groups(&self, groups: u32) {
        // Of bits 63:60 active must be clear and pending (enabled) set; bit 61 (hardware) may be
        // either; bit 60 is the group.
        const DELIVERABLE: [u32; 4] = [0, 0b0101_0000, 0b1010_0000, 0b1111_0000];
        self.groups.store(groups & 3, SeqCst);
        self.open.store(DELIVERABLE.get((groups & 3) as usize).copied().unwrap_or(0), SeqCst);
    }

    /// The place of a vCPU.
    #[must_use]
    #[inline]
    pub fn seat(&self, vcpu: VcpuId) -> Option<Seat<'_>> {
        Some(Seat { gic: self, this: self.vcpu(vcpu.0)?, me: vcpu.0 })
    }

    /// The view of the vCPU on whose CPU this code runs.
    #[inline]
    fn local<'g, H: Hardware>(&'g self, vcpu: VcpuId, hw: &'g H) -> Option<Local<'g, H>> {
        Some(self.seat(vcpu)?.with(hw))
    }
}

/// A vCPU's place at its virtual GIC, looked up once: what is frequent starts from here. To be used on the
/// vCPU's own CPU.
#[derive(Clone, Copy)]
pub struct Seat<'g> {
    gic: &'g Gic<'g>,
    this: &'g Vcpu,
    me: u16,
}

impl<'g> Seat<'g> {
    #[inline(always)]
    fn with<H>(self, hw: &'g H) -> Local<'g, H> {
        Local { gic: self.gic, this: self.this, me: self.me, hw }
    }
}

/// A vCPU as seen from its own CPU, which alone reaches its list registers.
struct Local<'g, H> {
    gic: &'g Gic<'g>,
    this: &'g Vcpu,
    me: u16,
    hw: &'g H,
}

impl<H: Hardware> Local<'_, H> {
    fn id(&self) -> VcpuId {
        VcpuId(self.me)
    }

    /// The bank of one of this vCPU's private interrupts, or of a shared one.
    #[inline]
    fn bank(&self, id: IntId) -> Option<&Bank> {
        if id.is_private() { Some(&self.this.bank) } else { self.gic.shared_bank(id) }
    }

    /// A shared interrupt of the guest's choice, if there is one.
    #[inline]
    fn shared(&self, id: IntId) -> Option<(IntId, &Spi, &Bank)> {
        let number = confined::<H>(id.get().wrapping_sub(32), self.gic.spis.len())?;
        let id = IntId::spi(number)?;
        Some((id, self.gic.spi(id)?, self.gic.shared_bank(id)?))
    }

    /// Whether this vCPU gets the interrupt: its own private one, or a shared one that is routed here.
    #[inline]
    fn is_target(&self, id: IntId) -> bool {
        match self.gic.spi(id) {
            Some(spi) => spi.target.load(SeqCst) == self.me,
            None => id.is_private(),
        }
    }

    /// The list registers in use, one bit each.
    #[inline]
    fn used_lists(&self) -> u32 {
        let all = u32::MAX.wrapping_shr(32u32.wrapping_sub(self.hw.list_registers() as u32));
        all & !self.hw.empty_lists()
    }

    /// The list register that the interrupt is in.
    #[inline]
    fn listed(&self, id: IntId) -> Option<usize> {
        bits::Bits(self.used_lists())
            .map(|n| n as usize)
            .find(|&n| self.shadow(n) & SHADOW_ID == id.get() as u16)
    }

    #[inline]
    fn shadow(&self, n: usize) -> u16 {
        self.this.shadow.get(n).map_or(SHADOW_ID, |shadow| shadow.load(Relaxed))
    }

    #[inline]
    fn set_shadow(&self, n: usize, value: u16) {
        if let Some(shadow) = self.this.shadow.get(n) {
            shadow.store(value, Relaxed);
        }
    }

    #[inline]
    fn holder(&self, id: IntId) -> u16 {
        match self.gic.spi(id) {
            Some(spi) => spi.holder.load(SeqCst),
            None => self.me,
        }
    }

    /// Whether the interrupt is pending or active in software, or may be in a list register or in the queue somewhere.
    fn is_eventful(&self, id: IntId) -> bool {
        let in_software = self.bank(id).is_some_and(|bank| bank.eventful() & bits::bit(id.get()) != 0);
        in_software || self.holder(id) != NOBODY
    }

    /// Nobody holds the interrupt any more, if this vCPU did.
    #[inline]
    fn release(&self, id: IntId) {
        if let Some(spi) = self.gic.spi(id) {
            _ = spi.holder.compare_exchange(self.me, NOBODY, SeqCst, SeqCst);
        }
    }
}
