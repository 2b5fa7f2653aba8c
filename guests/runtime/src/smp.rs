// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CPUs beyond the first, and what the runtime keeps for each.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bulkhead_types::Mpidr;

use crate::cpu::{clean_to_memory, unmask_interrupts};
use crate::exception::{Taken, set_cpu_number, unmask_serror};
use crate::{gic, power, read_register};

/// The most CPUs that the runtime has stacks for.
pub const MAX_CPUS: usize = 16;
const STACK_SIZE: usize = 16 * 1024;
/// CPU_ON for a 64-bit caller.
const CPU_ON: u32 = 0xc400_0003;

/// What the runtime keeps of one CPU; only that CPU writes it.
#[derive(Debug)]
pub struct Cpu {
    expecting: AtomicBool,
    was_taken: AtomicBool,
    taken: [AtomicU64; 3],
}

impl Cpu {
    const fn new() -> Self {
        Self {
            expecting: AtomicBool::new(false),
            was_taken: AtomicBool::new(false),
            taken: [const { AtomicU64::new(0) }; 3],
        }
    }

    /// Begins (true) or ends (false) a stretch in which synchronous exceptions are expected.
    pub(crate) fn expect_exceptions(&self, expect: bool) -> Option<Taken> {
        self.expecting.store(expect, Ordering::SeqCst);
        let [esr, far, elr] = [0, 1, 2].map(|field| self.taken[field].load(Ordering::SeqCst));
        self.was_taken.swap(false, Ordering::SeqCst).then_some(Taken { esr, far, elr })
    }

    /// Records an exception; false if none was expected.
    pub(crate) fn take_exception(&self, taken: Taken) -> bool {
        if !self.expecting.load(Ordering::SeqCst) {
            return false;
        }
        for (place, value) in self.taken.iter().zip([taken.esr, taken.far, taken.elr]) {
            place.store(value, Ordering::SeqCst);
        }
        self.was_taken.store(true, Ordering::SeqCst);
        true
    }
}

static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];

/// This CPU's entry.
#[must_use]
pub fn this_cpu() -> &'static Cpu {
    &CPUS[this_number()]
}

/// This CPU's number: 0 for the one that booted, otherwise as given to `start`.
#[must_use]
pub fn this_number() -> usize {
    read_register!("tpidr_el1") as usize % MAX_CPUS
}

/// What `secondary_entry` (boot.rs) reads: stack, function, its argument.
#[repr(C, align(64))]
struct Start {
    stack: u64,
    function: u64,
    argument: u64,
    main: u64,
}

#[repr(C, align(64))]
struct Secondary {
    start: Start,
    stack: [u8; STACK_SIZE],
}

struct Secondaries(UnsafeCell<[Secondary; MAX_CPUS]>);

// SAFETY: an entry is written by `start` while its CPU is off, and used by that CPU alone afterwards.
unsafe impl Sync for Secondaries {}

static SECONDARIES: Secondaries = Secondaries(UnsafeCell::new(
    [const { Secondary { start: Start { stack: 0, function: 0, argument: 0, main: 0 }, stack: [0; STACK_SIZE] } };
        MAX_CPUS],
));

unsafe extern "C" {
    fn secondary_entry();
}

/// The address at which PSCI must enter a CPU for `secondary_entry`'s sake.
#[must_use]
pub fn entry_address() -> u64 {
    secondary_entry as *const () as u64
}

/// Turns on the CPU with affinity `target` as number `number` (1 to `MAX_CPUS` - 1), to run `main` with its
/// vectors, MMU, interrupts and GIC interface ready; when `main` returns, it turns itself off.
///
/// # Errors
///
/// PSCI's error code.
pub fn start(number: usize, target: Mpidr, main: fn(usize)) -> Result<(), i64> {
    assert!((1..MAX_CPUS).contains(&number), "CPU numbers are 1 to {}", MAX_CPUS - 1);
    let secondary = SECONDARIES.0.get().cast::<Secondary>().wrapping_add(number);
    // SAFETY: `number` is inside the array, and the CPU that uses this entry is off.
    let start = unsafe { &mut (*secondary).start };
    start.stack = secondary.wrapping_add(1) as u64;
    start.function = run as *const () as u64;
    start.argument = number as u64;
    start.main = main as *const () as u64;
    clean_to_memory(start as *const Start as *const u8, size_of::<Start>());
    // SAFETY: the CPU enters `secondary_entry` with a `Start` that nobody else writes.
    match unsafe { power::call(CPU_ON, target.affinity(), entry_address(), start as *const Start as u64) } {
        0 => Ok(()),
        error => Err(error),
    }
}

/// The context ID with which `secondary_entry` enters CPU `number` once more as it was started.
#[must_use]
pub fn context(number: usize) -> u64 {
    SECONDARIES.0.get().cast::<Secondary>().wrapping_add(number % MAX_CPUS) as u64
}

extern "C" fn run(number: usize) -> ! {
    set_cpu_number(number);
    unmask_serror();
    if let Some(gic) = gic::get() {
        gic.init_cpu();
    }
    // SAFETY: `start` wrote this CPU's entry before turning it on, `main` from a `fn(usize)`.
    let main: fn(usize) = unsafe {
        let secondary = SECONDARIES.0.get().cast::<Secondary>().wrapping_add(number);
        core::mem::transmute((*secondary).start.main as *const ())
    };
    unmask_interrupts();
    main(number);
    power::cpu_off();
    panic!("CPU_OFF returned on CPU {number}");
}
