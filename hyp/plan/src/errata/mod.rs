// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errata of cores that concern a hypervisor: which cores have them, and what is done.
//!
//! Revisions are those that Linux (`arch/arm64/kernel/cpu_errata.c`, `arch/arm64/kernel/cpufeature.c`,
//! `Documentation/arch/arm64/silicon-errata.rst`) gives from the vendors' notices. `docs/errata.md` describes each row.

mod cores;
mod table;
#[cfg(test)]
mod tests;

pub use table::ERRATA;

use Disposition::{Handled, Refuse};
use cores::{KRYO, MODELS};
use table::TWICE;

/// The property of the node of all partitions that accepts errata which are refused otherwise.
pub(crate) const ACCEPT: &str = "accept-errata";

/// What identifies a core's errata: MIDR_EL1 and REVIDR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    /// MIDR_EL1.
    pub midr: u64,
    /// REVIDR_EL1: what is fixed in this revision.
    pub revidr: u64,
}

impl Core {
    /// Implementer and part number, as bits of MIDR_EL1. Of Qualcomm's first Kryo the part number's low eight bits vary.
    const fn model(self) -> u64 {
        let model = self.midr & 0xff00_fff0;
        if model & 0xff00_f000 == KRYO { KRYO } else { model }
    }

    /// Variant and revision: 0xMN is rMpN.
    #[must_use]
    pub const fn revision(self) -> u8 {
        (self.midr >> 16 & 0xf0 | self.midr & 0xf) as u8
    }

    /// Its name, if the table knows it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        MODELS.iter().find(|(_, model)| *model == self.model()).map(|(name, _)| *name)
    }
}

/// What Bulkhead does about an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// A guest can stop the core or worse, and nothing at EL2 prevents it: the core is not used unless the plan accepts it.
    Refuse(&'static str),
    /// The core is used, and the console says what may happen.
    Warn(&'static str),
    /// Bulkhead works around it.
    Handled(&'static str),
    /// Bulkhead never does what it takes, or a guest's own kernel works around it for itself.
    NotReached(&'static str),
}

/// One erratum of one kind of core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Erratum {
    /// Its number, as the vendor gives it.
    pub number: &'static str,
    /// Implementer and part number.
    model: u64,
    /// First and last revision that have it.
    revisions: (u8, u8),
    /// In the last of these revisions, a bit of REVIDR_EL1 that says that it is fixed.
    fixed: u64,
    /// What is done.
    pub disposition: Disposition,
}

impl Erratum {
    /// Whether `core` has it.
    #[must_use]
    pub const fn affects(&self, core: Core) -> bool {
        let (first, last) = self.revisions;
        let revision = core.revision();
        self.model == core.model()
            && first <= revision
            && revision <= last
            && !(revision == last && core.revidr & self.fixed != 0)
    }
}

/// The errata that `core` has.
pub fn of(core: Core) -> impl Iterator<Item = &'static Erratum> {
    ERRATA.iter().filter(move |erratum| erratum.affects(core))
}

/// Whether `core` may complete an invalidation too early, so that each is to be done twice.
#[must_use]
pub fn invalidates_twice(core: Core) -> bool {
    of(core).any(|erratum| erratum.disposition == Handled(TWICE))
}

/// The numbers of those that are refused unless accepted.
pub fn refused() -> impl Iterator<Item = &'static str> {
    let is_refused = |erratum: &&Erratum| matches!(erratum.disposition, Refuse(_));
    ERRATA.iter().filter(is_refused).map(|erratum| erratum.number)
}

/// Which refused errata a configuration accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted(u32);

impl Accepted {
    /// Those of the numbers that are refused otherwise.
    pub(crate) fn new<'n>(numbers: impl IntoIterator<Item = &'n str>) -> Self {
        let bit = |number| refused().position(|known| known == number).unwrap_or(32) as u32;
        Self(numbers.into_iter().fold(0, |all, number| all | 1_u32.checked_shl(bit(number)).unwrap_or(0)))
    }

    /// Whether this number is among them.
    #[must_use]
    pub fn has(self, number: &str) -> bool {
        refused().position(|known| known == number).is_some_and(|bit| self.0 >> bit & 1 == 1)
    }
}

/// The first erratum for which `core` is not used: its number and what a guest can do.
#[must_use]
pub fn refusal(core: Core, accepted: Accepted) -> Option<(&'static str, &'static str)> {
    of(core).find_map(|erratum| match erratum.disposition {
        Refuse(why) if !accepted.has(erratum.number) => Some((erratum.number, why)),
        _ => None,
    })
}
