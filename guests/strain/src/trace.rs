// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Debug registers through `ptrace` (Linux, `Documentation/arch/arm64` and `asm/ptrace.h`): a child runs in a
//! circle, and its parent stops it by watchpoint, by breakpoint and step by step.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use crate::ensure;
use crate::system::{call, cpus, fork, kill, number, run_on, say, wait};

// x0 and x1 are the addresses of two words; the second is watched.
global_asm!(
    "circle:",
    "str xzr, [x0]",
    "ldr x2, [x1]",
    "circle_store: str xzr, [x1]",
    "ldr x2, [x0]",
    "circle_load: ldr x2, [x1]",
    "nop",
    "circle_break: nop",
    "b circle_landing",
    "nop",
    "circle_landing: cbz xzr, 1f",
    "1: nop",
    "ret"
);

unsafe extern "C" {
    fn circle(near: *mut u64, watched: *mut u64);
    static circle_store: u32;
    static circle_load: u32;
    static circle_break: u32;
    static circle_landing: u32;
}

struct Words(UnsafeCell<[u64; 2]>);

// SAFETY: this program has one thread.
unsafe impl Sync for Words {}

static WORDS: Words = Words(UnsafeCell::new([0; 2]));

const TRACEME: usize = 0;
const CONT: usize = 7;
const SINGLESTEP: usize = 9;
const SETOPTIONS: usize = 0x4200;
const GETSIGINFO: usize = 0x4202;
const GETREGSET: usize = 0x4204;
const SETREGSET: usize = 0x4205;
/// The child dies with its tracer.
const EXITKILL: usize = 0x10_0000;

const SIGSTOP: usize = 19;
const SIGTRAP: u32 = 5;
const TRAP_TRACE: u32 = 2;
const TRAP_HWBKPT: u32 = 4;

/// Register sets: NT_PRSTATUS, NT_ARM_HW_BREAK, NT_ARM_HW_WATCH.
#[derive(Clone, Copy)]
enum Set {
    General = 1,
    Breakpoints = 0x402,
    Watchpoints = 0x403,
}

/// `struct user_hwdebug_state`: how many there are, then address and control of each.
const MOST: usize = 16;
type Debug = [u64; 1 + 2 * MOST];

/// Control: enabled, at EL0; what it is for, how many bytes.
const ON: u64 = 1 | 2 << 1;
const LOADS: u64 = ON | 1 << 3 | 0xff << 5;
const STORES: u64 = ON | 2 << 3 | 0xff << 5;
const FETCHES: u64 = ON | 0xf << 5;

struct Child(usize);

impl Child {
    fn request(&self, what: usize, address: usize, data: usize) {
        // SAFETY: what is read and written is the child's, or a buffer of the size that goes with the request.
        unsafe { call(number::PTRACE, [what, self.0, address, data, 0, 0]) };
    }

    /// Reads or writes a register set; gives how many bytes it took.
    fn registers(&self, what: usize, set: Set, buffer: &mut [u64]) -> usize {
        let mut vector = [buffer.as_mut_ptr() as usize, size_of_val(buffer)];
        self.request(what, set as usize, vector.as_mut_ptr() as usize);
        vector[1]
    }

    fn pc(&self) -> u64 {
        let mut general = [0_u64; 34];
        self.registers(GETREGSET, Set::General, &mut general);
        general[32]
    }

    /// How many of the kind there are.
    fn count(&self, set: Set) -> usize {
        let mut state: Debug = [0; _];
        self.registers(GETREGSET, set, &mut state);
        (state[0] & 0xff) as usize
    }

    /// Sets number `index`, and clears those before it.
    fn arm(&self, set: Set, index: usize, address: u64, control: u64) {
        let mut state: Debug = [0; _];
        state[1 + 2 * index] = address;
        state[2 + 2 * index] = control;
        self.registers(SETREGSET, set, &mut state[..3 + 2 * index]);
    }

    /// Lets it run until it stops, which must be for this reason and here.
    fn stops(&self, how: usize, code: u32, pc: u64, at: u64) {
        self.request(how, 0, 0);
        let status = wait(self.0);
        ensure!(status == SIGTRAP << 8 | 0x7f, "the child's wait status is {status:#x}");
        let mut information = [0_u64; 16];
        self.request(GETSIGINFO, 0, information.as_mut_ptr() as usize);
        let told = (information[1] as u32, self.pc(), information[2]);
        ensure!(told == (code, pc, at), "stops with {told:x?}, not {:x?}", (code, pc, at));
    }
}

/// Stops a child in each way on every CPU.
pub fn stop() {
    let [near, watched] = [0, 1].map(|index| WORDS.0.get().cast::<u64>().wrapping_add(index));
    let [store, load, break_, landing] =
        [&raw const circle_store, &raw const circle_load, &raw const circle_break, &raw const circle_landing]
            .map(|address| address as u64);
    let child = Child(fork());
    if child.0 == 0 {
        // SAFETY: traced by its parent, it stops here; then it works with the two words.
        unsafe {
            call(number::PTRACE, [TRACEME, 0, 0, 0, 0, 0]);
            call(number::KILL, [call(number::GETPID, [0; 6]), SIGSTOP, 0, 0, 0, 0]);
            loop {
                circle(near, watched);
            }
        }
    }
    wait(child.0);
    child.request(SETOPTIONS, 0, EXITKILL);
    let [breakpoints, watchpoints] = [Set::Breakpoints, Set::Watchpoints].map(|set| child.count(set));
    ensure!(breakpoints >= 2 && watchpoints >= 1, "{breakpoints} breakpoints, {watchpoints} watchpoints");
    let address = watched as u64;
    for cpu in cpus() {
        run_on(child.0, cpu);
        for round in 0..breakpoints.max(watchpoints) {
            let index = round % watchpoints;
            child.arm(Set::Watchpoints, index, address, STORES);
            // Its own memory is at the same address, and not watched.
            // SAFETY: the words are this program's.
            unsafe { watched.write_volatile(1) };
            child.stops(CONT, TRAP_HWBKPT, store, address);
            child.arm(Set::Watchpoints, index, address, LOADS);
            child.stops(CONT, TRAP_HWBKPT, load, address);
            child.arm(Set::Watchpoints, index, 0, 0);
            let index = round % breakpoints;
            child.arm(Set::Breakpoints, index, break_, FETCHES);
            child.stops(CONT, TRAP_HWBKPT, break_, break_);
            child.arm(Set::Breakpoints, index, 0, 0);
            for pc in [break_ + 4, landing, landing + 4, landing + 8] {
                child.stops(SINGLESTEP, TRAP_TRACE, pc, pc);
            }
        }
        say(format_args!(
            "trace: CPU {cpu}: each of {breakpoints} breakpoints and {watchpoints} watchpoints, and steps"
        ));
    }
    kill(child.0);
    wait(child.0);
}
