// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes of tables that a CPU walks, in the order of barriers and invalidations that the architecture asks for (Arm ARM,
//! D8.17: break before make; D8.2.5: a store to a table is seen by walks after a DSB). Host tests hold every change
//! against a model of that order.

use super::{TableMemory, page_descriptor};
use bulkhead_types::{Hpa, PAGE_SIZE};

/// A barrier or an invalidation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// DSB ISHST: stores before it are visible to every walker.
    DsbStores,
    /// DSB ISH: accesses, stores and invalidations before it are complete.
    Dsb,
    /// ISB: what follows is fetched and translated anew.
    Isb,
    /// TLBI VAE2IS: the translation of this address is gone.
    InvalidatePage(u64),
    /// TLBI ALLE2IS: all translations of EL2 are gone.
    InvalidateAll,
}

/// Tables that are walked while they change.
pub trait Maintenance: TableMemory {
    /// Does one step.
    fn step(&mut self, step: Step);
}

/// Makes new descriptors visible to the walkers of every CPU, and to this CPU's next instruction.
#[inline(always)]
pub fn publish(tables: &mut impl Maintenance) {
    tables.step(Step::DsbStores);
    tables.step(Step::Isb);
}

/// Maps `pages` pages from `frame` on by the first descriptors of a last-level table, all of which are invalid.
#[inline(always)]
pub fn open(tables: &mut impl Maintenance, table: Hpa, frame: Hpa, pages: usize, attributes: u64) {
    for page in 0..pages {
        let frame = Hpa(frame.0.saturating_add((page as u64).saturating_mul(PAGE_SIZE)));
        tables.write(table, page, page_descriptor(frame, attributes));
    }
    publish(tables);
}

/// Takes the first `pages` descriptors of a last-level table away again. `invalidate` says what they translated; `twice`
/// for cores whose first invalidation may complete before all accesses by the old translations have (Cortex-A76
/// 1286807 and others: `docs/errata.md`).
#[inline(always)]
pub fn close(tables: &mut impl Maintenance, table: Hpa, pages: usize, invalidate: Step, twice: bool) {
    for page in 0..pages {
        tables.write(table, page, 0);
    }
    tables.step(Step::DsbStores);
    tables.step(invalidate);
    tables.step(Step::Dsb);
    if twice {
        tables.step(invalidate);
        tables.step(Step::Dsb);
    }
    tables.step(Step::Isb);
}
