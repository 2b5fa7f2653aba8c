// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A model of what walkers and TLBs may still hold of a descriptor, as each store, barrier and invalidation leaves it. It
//! finds what works on an emulator and not on silicon.

use super::maintenance::{Maintenance, Step, close, open, publish};
use super::tests::Pages;
use super::*;
use std::collections::BTreeMap;

/// What is known of one descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Valid in memory; walkers may not see it yet.
    Stored,
    /// Valid, and visible to walkers; this CPU may have fetched ahead.
    Visible,
    /// Valid, and to be used.
    Live,
    /// Invalid in memory; walkers may see the old one.
    Removed,
    /// Invalid and visible; TLBs hold the old one until so many more invalidations are complete.
    Cached(u32),
    /// Invalidation is under way, and so many more must follow.
    Invalidating(u32),
    /// Gone; this CPU may have fetched ahead with it.
    Gone,
}

/// Tables whose every change is checked.
struct Checked {
    pages: Pages,
    states: BTreeMap<(u64, usize), State>,
    /// The address that descriptor 0 of the window's table translates.
    base: u64,
    window: Hpa,
    violations: Vec<String>,
    /// How many invalidations it takes on this core.
    invalidations: u32,
    /// Which operation is left out, if any, and how many there were.
    left_out: Option<usize>,
    done: usize,
}

impl Checked {
    fn new(twice: bool, left_out: Option<usize>) -> Self {
        let mut pages = Pages::new(200);
        let window = pages.allocate(1).unwrap();
        let (states, violations) = (BTreeMap::new(), Vec::new());
        let invalidations = 1 + u32::from(twice);
        Self { pages, states, base: 1 << 47, window, violations, invalidations, left_out, done: 0 }
    }

    /// Whether this operation is the one to leave out.
    fn skips(&mut self) -> bool {
        self.done += 1;
        self.left_out == Some(self.done - 1)
    }

    /// The CPU uses the translation of a page of the window.
    fn access(&mut self, index: usize) {
        let state = self.states.get(&(self.window.0, index));
        if state != Some(&State::Live) {
            self.violations.push(format!("page {index} is used while its descriptor is {state:?}"));
        }
    }

    /// Nothing may be under way.
    fn finish(mut self) -> Vec<String> {
        for (place, state) in &self.states {
            if *state != State::Live {
                self.violations.push(format!("{place:x?} is left {state:?}"));
            }
        }
        self.violations
    }
}

impl TableMemory for &mut Checked {
    fn allocate(&mut self, pages: usize) -> Option<Hpa> {
        self.pages.allocate(pages)
    }
    fn read(&self, table: Hpa, index: usize) -> u64 {
        self.pages.read(table, index)
    }
    fn write(&mut self, table: Hpa, index: usize, descriptor: u64) {
        if self.skips() {
            return;
        }
        self.pages.write(table, index, descriptor);
        let place = (table.0, index);
        let state = self.states.get(&place).copied();
        let valid = descriptor & 1 == 1;
        match state {
            None if valid => _ = self.states.insert(place, State::Stored),
            Some(State::Stored | State::Visible | State::Live) if !valid => {
                self.states.insert(place, State::Removed);
            }
            Some(state) if valid => {
                self.violations.push(format!("{place:x?} is made without a break: it is {state:?}"));
            }
            _ => {}
        }
    }
}

impl Maintenance for &mut Checked {
    fn step(&mut self, step: Step) {
        if self.skips() {
            return;
        }
        let (base, window, invalidations) = (self.base, self.window, self.invalidations);
        let reaches = |(table, index): (u64, usize)| match step {
            Step::InvalidatePage(at) => table == window.0 && at == base + index as u64 * PAGE_SIZE,
            _ => true,
        };
        self.states.retain(|place, state| {
            *state = match (*state, step) {
                (State::Stored, Step::DsbStores | Step::Dsb) => State::Visible,
                (State::Visible, Step::Isb) => State::Live,
                (State::Removed, Step::DsbStores | Step::Dsb) => State::Cached(invalidations),
                (State::Cached(times), Step::InvalidatePage(_) | Step::InvalidateAll) if reaches(*place) => {
                    State::Invalidating(times - 1)
                }
                // Only a DSB that waits for more than stores completes an invalidation (Arm ARM, D8.17.3).
                (State::Invalidating(0), Step::Dsb) => State::Gone,
                (State::Invalidating(times), Step::Dsb) => State::Cached(times),
                (State::Gone, Step::Isb) => return false,
                (state, _) => state,
            };
            true
        });
    }
}

/// Opens the window on `pages` pages, uses each, and closes it, as EL2 does.
fn show(tables: &mut Checked, pages: usize, alone: bool, twice: bool) {
    let (window, base) = (tables.window, tables.base);
    open(&mut &mut *tables, window, Hpa(0x4000_0000), pages, stage1::UNCACHED);
    (0..pages).for_each(|page| tables.access(page));
    let scope = if alone { Step::InvalidatePage(base) } else { Step::InvalidateAll };
    close(&mut &mut *tables, window, pages, scope, twice);
}

#[test]
fn windows_are_opened_and_closed_by_the_rules() {
    for twice in [false, true] {
        let mut tables = Checked::new(twice, None);
        for (pages, alone) in [(1, true), (512, false), (1, true), (3, false), (511, false)] {
            show(&mut tables, pages, alone, twice);
        }
        assert_eq!(tables.finish(), [""; 0]);
    }
}

/// Whichever store, barrier or invalidation is left out, the model says so.
#[test]
fn every_operation_left_out_is_found() {
    for (pages, alone, twice) in
        [(1, true, false), (1, true, true), (1, false, true), (3, false, false), (3, false, true)]
    {
        let run = |left_out| {
            let mut tables = Checked::new(twice, left_out);
            show(&mut tables, pages, alone, twice);
            show(&mut tables, pages, alone, twice);
            // A descriptor that stays valid breaks no rule, but leaves the window open.
            let open = (0..pages).filter(|&page| tables.pages.read(tables.window, page) != 0).count();
            if open > 0 {
                tables.violations.push(format!("{open} pages are left open"));
            }
            (tables.done, tables.finish())
        };
        let (operations, none) = run(None);
        assert_eq!(none, [""; 0]);
        assert!(operations >= 2 * (2 * pages + if twice { 8 } else { 6 }), "{operations}");
        for left_out in 0..operations {
            assert_ne!(run(Some(left_out)).1, [""; 0], "operation {left_out} of {operations} is not missed");
        }
    }
}

#[test]
fn other_breaches_are_found() {
    let breach = |act: fn(&mut Checked, Hpa, u64)| {
        let mut tables = Checked::new(true, None);
        let (window, base) = (tables.window, tables.base);
        act(&mut tables, window, base);
        tables.finish()
    };
    let page = |frame| page_descriptor(Hpa(frame), stage1::UNCACHED);
    let (first, second) = (page(0x1000), page(0x2000));
    assert_ne!(first, second);
    // Another page without a break.
    assert_ne!(
        breach(|tables, window, _| {
            open(&mut &mut *tables, window, Hpa(0x1000), 1, stage1::UNCACHED);
            open(&mut &mut *tables, window, Hpa(0x2000), 1, stage1::UNCACHED);
        }),
        [""; 0]
    );
    // One page is invalidated of two.
    assert_ne!(
        breach(|tables, window, base| {
            open(&mut &mut *tables, window, Hpa(0x1000), 2, stage1::UNCACHED);
            close(&mut &mut *tables, window, 2, Step::InvalidatePage(base), true);
        }),
        [""; 0]
    );
    // One invalidation where it takes two.
    assert_ne!(
        breach(|tables, window, base| {
            open(&mut &mut *tables, window, Hpa(0x1000), 1, stage1::UNCACHED);
            close(&mut &mut *tables, window, 1, Step::InvalidatePage(base), false);
        }),
        [""; 0]
    );
    // The invalidation before the barrier that makes the store visible.
    assert_ne!(
        breach(|mut tables, window, _| {
            open(&mut tables, window, Hpa(0x1000), 1, stage1::UNCACHED);
            tables.write(window, 0, 0);
            for step in [Step::InvalidateAll, Step::Dsb, Step::InvalidateAll, Step::Dsb, Step::Isb] {
                tables.step(step);
            }
        }),
        [""; 0]
    );
}

proptest::proptest! {
    /// Trees that grow while they are walked, as EL2's own does at boot, and stage 2 before its first walk.
    #[test]
    fn maps_only_make_what_was_invalid(
        maps in proptest::collection::vec((0_u64..1 << 20, 0_u64..1 << 20, 1_u64..1024), 1..8),
        at_el2: bool,
    ) {
        let mut memory = Checked::new(false, None);
        let geometry = if at_el2 { Geometry::EL2 } else { Geometry::stage2(40) };
        let mut tables = Tables::new(&mut memory, geometry).unwrap();
        for (input, output, pages) in maps {
            let (input, output, size) = (input * PAGE_SIZE, output * PAGE_SIZE, pages * PAGE_SIZE);
            // One that fails may be there in part.
            _ = tables.map(input, Hpa(output), size, stage1::DATA);
            publish(&mut tables.memory);
        }
        assert_eq!(memory.finish(), [""; 0]);
    }
}
