// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A partition's life: running, ending as each of its CPUs hears of it, ended, run again.
//!
//! Its CPUs hear of the end by interrupt, take their vCPU off if it is on, reset what is theirs, and
//! [`Life::depart`]. Whoever departs last is alone with the partition and does what the end asks for.
//! Nobody waits for anybody.

#[cfg(not(feature = "loom"))]
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst, fence};
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst, fence};

/// Why a partition ends, and thereby what happens once all its CPUs have departed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It asked to be powered off.
    Off = 1,
    /// It asked to be reset.
    Restart = 2,
    /// It could not go on.
    Crash = 3,
    /// The operator asked for it.
    Stop = 4,
}

/// Being built for the first time, or torn down, or built again by the one who departed last. It does not count as
/// stopped: the board must not power off before everybody has started.
const ALONE: u8 = 0;
const STOPPED: u8 = 0x10;
const RUNNING: u8 = 0x20;

/// The life of one partition. It begins as being built, by whoever calls [`Life::run`] or [`Life::stop`] next.
#[derive(Debug, Default)]
pub struct Life {
    /// [`STOPPED`], [`ALONE`], [`RUNNING`], or an [`Ending`] that not all CPUs have departed for.
    state: AtomicU8,
    /// CPUs that have not departed.
    present: AtomicUsize,
    /// It is to stop as soon as it runs, or ends for another reason.
    unwanted: AtomicBool,
}

/// One CPU's part in it: it is not present before the partition runs.
#[derive(Debug, Default)]
pub struct Presence(AtomicBool);

impl Life {
    /// Starts to run with these CPUs. Called by whoever is alone with the partition: at boot, or after
    /// an ending.
    pub fn run<'a>(&self, cpus: impl Iterator<Item = &'a Presence>) {
        let mut count = 0_usize;
        for cpu in cpus {
            cpu.0.store(true, SeqCst);
            count = count.saturating_add(1);
        }
        self.present.store(count, SeqCst);
        self.state.store(RUNNING, SeqCst);
    }

    /// The partition stays stopped. Called by whoever is alone with it.
    pub fn stop(&self) {
        self.state.store(STOPPED, SeqCst);
    }

    /// Claims a stopped partition, to start it: whoever gets true is alone with it. An older wish that it stop is void.
    pub fn claim(&self) -> bool {
        self.unwanted.store(false, SeqCst);
        self.state.compare_exchange(STOPPED, ALONE, SeqCst, SeqCst).is_ok()
    }

    /// Whether it runs.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.state.load(SeqCst) == RUNNING
    }

    /// Whether it is stopped for good.
    pub fn is_stopped(&self) -> bool {
        self.state.load(SeqCst) == STOPPED
    }

    /// What it is about to end for.
    #[inline]
    fn ending(&self) -> Option<Ending> {
        match self.state.load(SeqCst) {
            1 => Some(Ending::Off),
            2 => Some(Ending::Restart),
            3 => Some(Ending::Crash),
            4 => Some(Ending::Stop),
            _ => None,
        }
    }

    /// Asks every CPU to depart. Only the first of several endings counts; says whether this was it.
    pub fn end(&self, ending: Ending) -> bool {
        self.state.compare_exchange(RUNNING, ending as u8, SeqCst, SeqCst).is_ok()
    }

    /// Asks every CPU to depart for [`Ending::Stop`], as [`Life::end`] does; if the partition is being ended or built
    /// again, it is not later than when that is over. Says whether it was now.
    pub fn stop_soon(&self) -> bool {
        // Either this sees that it runs, or whoever runs it sees the wish (`heed`). The fences are for loom, which
        // takes a SeqCst access for less.
        self.unwanted.store(true, SeqCst);
        fence(SeqCst);
        let now = self.end(Ending::Stop);
        if now {
            self.unwanted.store(false, SeqCst);
        }
        now
    }

    /// Called behind [`Life::run`]: asks every CPU to depart again if that was wished meanwhile, and says so.
    pub fn heed(&self) -> bool {
        // If it ends for another reason by now, the wish is for whoever departs last.
        fence(SeqCst);
        let now = self.unwanted.load(SeqCst) && self.end(Ending::Stop);
        if now {
            self.unwanted.store(false, SeqCst);
        }
        now
    }

    /// What the calling CPU must depart for. The order of the two questions matters: while a CPU is
    /// present the partition cannot be run again, so the ending that it then sees is of this life.
    #[inline]
    pub fn must_depart(&self, cpu: &Presence) -> Option<Ending> {
        if cpu.0.load(SeqCst) { self.ending() } else { None }
    }

    /// The calling CPU, whose vCPU is off, departs if it must. Returns the ending to the last one, who
    /// is alone until it calls [`Life::run`] or [`Life::stop`].
    pub fn depart(&self, cpu: &Presence) -> Option<Ending> {
        let ending = self.must_depart(cpu)?;
        cpu.0.store(false, SeqCst);
        if self.present.fetch_sub(1, SeqCst) != 1 {
            return None;
        }
        self.state.store(ALONE, SeqCst);
        let unwanted = self.unwanted.load(SeqCst) && self.unwanted.swap(false, SeqCst);
        Some(if unwanted { Ending::Stop } else { ending })
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    #[test]
    fn the_last_to_depart_finishes() {
        let (life, cpus) = (Life::default(), [Presence::default(), Presence::default()]);
        assert!(!life.is_stopped(), "it has yet to start");
        life.run(cpus.iter());
        assert_eq!(life.depart(&cpus[0]), None, "nobody departs from a running partition");
        assert!(life.end(Ending::Off) && !life.end(Ending::Restart));
        assert_eq!(life.depart(&cpus[0]), None);
        assert_eq!(life.depart(&cpus[0]), None, "a CPU departs once");
        assert_eq!(life.depart(&cpus[1]), Some(Ending::Off));
        assert!(!life.is_running() && !life.is_stopped(), "it is being torn down");
        assert_eq!(life.depart(&cpus[1]), None);
        life.stop();
        assert!(life.is_stopped() && !life.end(Ending::Crash));
        assert!(life.claim() && !life.claim() && !life.is_stopped(), "one alone may start it again");
    }

    /// CPUs look again and again, each ends the partition at will: each ending is finished exactly
    /// once, and only when every CPU is out.
    #[test]
    fn each_ending_is_finished_once_and_alone() {
        const ROUNDS: u32 = 2_000;
        let life = Life::default();
        let cpus: [Presence; 4] = Default::default();
        let (running, finished) = (AtomicUsize::new(0), AtomicU32::new(0));
        life.run(cpus.iter());
        thread::scope(|scope| {
            for cpu in &cpus {
                scope.spawn(|| {
                    while finished.load(SeqCst) < ROUNDS {
                        if life.is_running() {
                            running.fetch_add(1, SeqCst);
                            life.end(Ending::Restart);
                            running.fetch_sub(1, SeqCst);
                        }
                        if let Some(ending) = life.depart(cpu) {
                            assert_eq!((ending, running.load(SeqCst)), (Ending::Restart, 0));
                            match finished.fetch_add(1, SeqCst) + 1 {
                                ROUNDS => life.stop(),
                                _ => life.run(cpus.iter()),
                            }
                        }
                        thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(finished.load(SeqCst), ROUNDS);
        assert!(life.is_stopped());
    }
}
