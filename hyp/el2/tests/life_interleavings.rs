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
            life: Life::default(),
            cpus: [Presence::default(), Presence::default()],
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

/// The operator wants it stopped while its CPU, or the operator, ends it to run it again: whenever the wish comes, it is stopped in the
/// end, and not run any more.
#[test]
fn a_wish_to_stop_is_not_lost() {
    loom::model(|| {
        let partition = Arc::new((Life::default(), [Presence::default()]));
        partition.0.run(partition.1.iter());
        let look = |partition: &(Life, [Presence; 1])| {
            let (life, cpus) = partition;
            match life.depart(&cpus[0]) {
                None => {}
                Some(Ending::Stop) => life.stop(),
                Some(_) => {
                    life.run(cpus.iter());
                    life.heed();
                }
            }
        };
        let other = partition.clone();
        let cpu = thread::spawn(move || {
            other.0.end(Ending::Restart);
            look(&other);
        });
        // Twice in a row, as from the monitor: restart, and then stop after all.
        partition.0.end(Ending::Restart);
        partition.0.stop_soon();
        cpu.join().expect("no panic");
        look(&partition);
        look(&partition);
        assert!(partition.0.is_stopped());
        assert!(partition.0.claim() && !partition.0.is_stopped(), "and can be started again");
        partition.0.run(partition.1.iter());
        assert!(!partition.0.heed(), "without an old wish");
    });
}
