// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errata of the calling CPU: whether it is used, and what the console says of it.

use crate::console::line;
use crate::cpu::Cpu;
use crate::read_register;
use crate::system::System;
use bulkhead_plan::errata::{self, Core, Disposition};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The kinds of core that were described, by MIDR_EL1; a board with more describes some twice.
static DESCRIBED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Whether a CPU has come up that may complete an invalidation too early. Set before it has part in any.
static INVALIDATE_TWICE: AtomicBool = AtomicBool::new(false);

/// Whether each invalidation is to be done twice.
#[inline(always)]
pub fn invalidate_twice() -> bool {
    INVALIDATE_TWICE.load(Ordering::Relaxed)
}

/// Whether the calling CPU, `cpu`, can run guests. Says why not, and for each kind of core what concerns it.
pub fn accepts(system: &System, cpu: &Cpu) -> bool {
    let core = Core { midr: read_register!("midr_el1"), revidr: read_register!("revidr_el1") };
    if errata::invalidates_twice(core) {
        INVALIDATE_TWICE.store(true, Ordering::Relaxed);
    }
    let place = (cpu.index, cpu.mpidr);
    if let Some((number, why)) = errata::refusal(core, system.policy.accepted_errata) {
        line(format_args!(
            "error: CPU {} ({:?}): {} has erratum {number}: {why}; it is not used unless the partitions' node says \
             accept-errata = \"{number}\"",
            place.0,
            place.1,
            Name(core)
        ));
        return false;
    }
    if is_new(core.midr) {
        describe(core, cpu);
    }
    true
}

/// Whether a core of this kind has not been described.
fn is_new(midr: u64) -> bool {
    for slot in &DESCRIBED {
        match slot.compare_exchange(0, midr, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(known) if known == midr => return false,
            Err(_) => {}
        }
    }
    true
}

/// Says which errata concern the core.
fn describe(core: Core, cpu: &Cpu) {
    if errata::of(core).next().is_some() {
        line(format_args!("CPU {}: {}, errata{}", cpu.index, Name(core), Numbers(core)));
    }
    for erratum in errata::of(core) {
        match erratum.disposition {
            Disposition::Warn(why) | Disposition::Refuse(why) => line(format_args!(
                "warning: CPU {}: {} has erratum {}: {why}",
                cpu.index,
                Name(core),
                erratum.number
            )),
            Disposition::Handled(_) | Disposition::NotReached(_) => {}
        }
    }
}

/// A core's name and revision.
struct Name(Core);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.0.revision();
        match self.0.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "core {:#010x}", self.0.midr)?,
        }
        write!(f, " r{}p{}", revision >> 4, revision & 0xf)
    }
}

/// The numbers of a core's errata.
struct Numbers(Core);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        errata::of(self.0).try_for_each(|erratum| write!(f, " {}", erratum.number))
    }
}
