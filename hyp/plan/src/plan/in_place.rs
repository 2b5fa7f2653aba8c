// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images that need no copy: what fills read-only memory stays where it lies in the bundle.
//!
//! Memory that a guest may write to needs a copy, for the next start needs the image as it was. And a copy in
//! blocks of 2 MiB takes fewer translations than pages in the bundle, so only memory of the image's own size
//! is exchanged: its whole pages, each of them for one partition alone.

use alloc::vec::Vec;

use bulkhead_types::{Hpa, PAGE_SIZE, Range, align_down, align_up};

use super::contents::Planner;
use super::{Load, Memory};

impl Planner<'_, '_, '_> {
    /// Exchanges read-only memory that a load fills for the pages of the bundle, and gives its frames back.
    pub(super) fn leave_in_place(&mut self, memory: &mut Vec<Memory>, loads: &mut Vec<Load>) {
        if self.spec.identity_mapped {
            return;
        }
        for load in loads.iter_mut() {
            let size = load.bytes.len() as u64;
            let pages = align_down(size, PAGE_SIZE);
            let filled = |memory: &Memory| {
                memory.guest == load.to
                    && !memory.access.write
                    && align_up(size, PAGE_SIZE) == Some(memory.frames.size())
            };
            let start = self.inputs.bundle.at().and_then(|at| at.checked_add(load.bytes.start as u64));
            let start = start.filter(|start| start.is_aligned(PAGE_SIZE));
            let whole =
                start.and_then(|start| Range::<Hpa>::new(start, pages)).filter(|whole| !whole.is_empty());
            let (Some(whole), Some(piece)) = (whole, memory.iter_mut().find(|memory| filled(memory))) else {
                continue;
            };
            if self.lent.iter().any(|lent| lent.overlaps(&whole)) {
                continue;
            }
            self.lent.push(whole);
            let (first, rest) = piece.frames.split_at(pages);
            self.free.give(first);
            load.to = load.to.checked_add(pages).unwrap_or(load.to);
            load.bytes.start = load.bytes.start.saturating_add(pages as usize);
            let rest = Memory { guest: load.to, frames: rest, ..*piece };
            *piece = Memory { frames: whole, in_place: true, ..*piece };
            if !rest.frames.is_empty() {
                memory.push(rest);
            }
        }
        loads.retain(|load| !load.bytes.is_empty());
    }
}
