// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Samples, and what is printed of them.

use core::cell::RefCell;

use guest_runtime::{println, timer};

/// How often each operation is measured, at most.
const SAMPLES: usize = 65;

/// The most operations.
const OPERATIONS: usize = 64;

/// The results, kept until all is measured: a console that is printing could disturb.
pub struct Report {
    lines: RefCell<[Option<Line>; OPERATIONS]>,
    /// Nanoseconds in a tick of the counter; under QEMU's `-icount shift=0` instructions in a tick.
    scale: u64,
    samples: usize,
}

#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    /// Median, minimum and maximum; none if the operation does not exist here.
    figures: Option<[u64; 3]>,
}

impl Report {
    /// An empty one, for `samples` measurements of each operation.
    pub fn new(samples: usize) -> Self {
        let scale = 1_000_000_000 / timer::frequency().max(1);
        Self { lines: RefCell::new([None; OPERATIONS]), scale, samples: samples.clamp(1, SAMPLES) }
    }

    /// Adds an operation: each call of `sample` gives one measurement in ticks. `cost` is that of the
    /// counter's reads in it. If a sample is none, the operation does not exist here.
    pub fn measure(&self, name: &'static str, cost: u64, mut sample: impl FnMut() -> Option<u64>) {
        crate::count::mark_operation();
        let mut samples = [0; SAMPLES];
        let samples = &mut samples[..self.samples];
        let complete = samples.iter_mut().all(|place| {
            let Some(ticks) = sample() else { return false };
            *place = ticks.saturating_sub(cost) * self.scale;
            true
        });
        samples.sort_unstable();
        let figures = complete.then(|| [samples[samples.len() / 2], samples[0], samples[samples.len() - 1]]);
        self.add(Line { name, figures });
    }

    fn add(&self, line: Line) {
        let mut lines = self.lines.borrow_mut();
        let place = lines.iter_mut().find(|line| line.is_none()).expect("more operations than places");
        *place = Some(line);
    }

    /// Prints every line, as the host command reads them.
    pub fn print(&self) {
        println!("bench: counter {} Hz, {} ns a tick", timer::frequency(), self.scale);
        for Line { name, figures } in self.lines.borrow().iter().flatten() {
            match figures {
                Some([median, least, most]) => println!("bench: {name} {median} {least} {most}"),
                None => println!("bench: {name} absent"),
            }
        }
    }
}
