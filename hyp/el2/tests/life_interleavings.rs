// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every interleaving of CPUs that end a partition and depart from it:
//! `cargo test -p bulkhead-el2 --features loom --test life_interleavings`.

#![cfg(feature = "loom")]

use bulkhead_el2::life::{Ending, Life, Presence};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Partition {
    life: Life,
    cpus: [Presence; 2],
    /// What a vCPU uses while it runs and whoever is alone builds anew: loom fails the test at a race on it.
    memory: UnsafeCell<()>,
}

/// One CPU's look at its partition: it may end it, it leaves, and if it is the last it runs it again, once.
fn look(partition: &Partition, cpu: usize, ending: Option<Ending>) -> u32 {
    let Partition { life, cpus, memory } = partition;
    if let Some(ending) = ending
        && life.is_running()
    {
        memory.with(|_| ());
        life.end(ending);
    }
    if life.depart(&cpus[cpu]).is_none() {
        return 0;
    }
    memory.with_mut(|_| ());
    life.run(cpus.iter());
    1
}

/// Both CPUs end it: it is finished at most once a life, alone, by the last to depart.
#[test]
fn who_finishes_is_alone() {
    loom::model(|| {
        let partition = Arc::new(Partition {
            life: Life::new(),
            cpus: [Presence::new(), Presence::new()],
            memory: UnsafeCell::new(()),
        });
        partition.life.run(partition.cpus.iter());
        let other = partition.clone();
        let first = thread::spawn(move || look(&other, 0, Some(Ending::Restart)) + look(&other, 0, None));
        let second = look(&partition, 1, Some(Ending::Crash)) + look(&partition, 1, None);
        let finished = first.join().expect("no panic") + second;
        // Whatever is left to do, the next looks do it.
        let rest: u32 = [0, 1, 0, 1].into_iter().map(|cpu| look(&partition, cpu, None)).sum();
        assert!(partition.life.is_running() && (1..=2).contains(&(finished + rest)));
    });
}
