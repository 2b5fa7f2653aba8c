// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Linux's system calls, as far as this program makes them (arm64 numbers them as `asm-generic/unistd.h`).

use core::arch::asm;
use core::ffi::CStr;
use core::fmt::{self, Write};

/// Numbers of calls.
pub mod number {
    pub const FCNTL: usize = 25;
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const TIMERFD_CREATE: usize = 85;
    pub const TIMERFD_SETTIME: usize = 86;
    pub const EXIT_GROUP: usize = 94;
    pub const KEXEC_LOAD: usize = 104;
    pub const CLOCK_GETTIME: usize = 113;
    pub const PTRACE: usize = 117;
    pub const SCHED_SETAFFINITY: usize = 122;
    pub const SCHED_GETAFFINITY: usize = 123;
    pub const KILL: usize = 129;
    pub const RT_SIGACTION: usize = 134;
    pub const REBOOT: usize = 142;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const MMAP: usize = 222;
    pub const PERF_EVENT_OPEN: usize = 241;
    pub const WAIT4: usize = 260;
}

pub const SIGKILL: usize = 9;
pub const SIGCHLD: usize = 17;
pub const CLOCK_MONOTONIC: usize = 1;
pub const NANOSECONDS: u64 = 1_000_000_000;

/// Tells what is wrong, and ends the process.
#[macro_export]
macro_rules! fail {
    ($($words:tt)*) => {{
        $crate::system::say(format_args!($($words)*));
        $crate::system::exit(1)
    }};
}

/// Fails unless it is so.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($words:tt)*) => {
        if !$condition {
            $crate::fail!($($words)*)
        }
    };
}

/// A call that may fail: its result, or the number of the error.
///
/// # Safety
///
/// What the call does with its arguments must not break this program's memory.
pub unsafe fn attempt(number: usize, arguments: [usize; 6]) -> Result<usize, i32> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller's promise; the kernel keeps all registers but x0.
    unsafe {
        asm!("svc #0", in("x8") number, inout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, in("x5") f, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

/// A call that must not fail.
///
/// # Safety
///
/// As for [`attempt`].
pub unsafe fn call(number: usize, arguments: [usize; 6]) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { attempt(number, arguments) } {
        Ok(value) => value,
        Err(error) => fail!("system call {number} fails: error {error}"),
    }
}

/// Ends this process.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: nothing comes after it.
        let _ = unsafe { attempt(number::EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// A line, written in one piece.
struct Line([u8; 256], usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.0.get_mut(self.1).ok_or(fmt::Error)? = byte;
            self.1 += 1;
        }
        Ok(())
    }
}

/// Prints a line; what is too long for it is cut off.
pub fn say(words: fmt::Arguments<'_>) {
    let mut line = Line([b'\n'; 256], 0);
    let _ = line.write_fmt(words);
    let length = (line.1 + 1).min(line.0.len());
    // SAFETY: the buffer is as long.
    let _ = unsafe { attempt(number::WRITE, [1, line.0.as_ptr() as usize, length, 0, 0, 0]) };
}

/// The monotonic clock, in nanoseconds.
pub fn clock() -> u64 {
    let mut time = [0_u64; 2];
    // SAFETY: the call writes seconds and nanoseconds.
    unsafe { call(number::CLOCK_GETTIME, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    time[0] * NANOSECONDS + time[1]
}

/// Splits this process; 0 in the child.
pub fn fork() -> usize {
    // SAFETY: the child has a copy of all memory, the stack included.
    unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) }
}

/// Waits for a child to stop or end; gives its wait status.
pub fn wait(child: usize) -> u32 {
    let mut status = 0_u32;
    // SAFETY: the call writes a word.
    unsafe { call(number::WAIT4, [child, &raw mut status as usize, 0, 0, 0, 0]) };
    status
}

/// Ends a child.
pub fn kill(child: usize) {
    // SAFETY: it is our own child.
    unsafe { call(number::KILL, [child, SIGKILL, 0, 0, 0, 0]) };
}

/// Words of a set of CPUs.
const WORDS: usize = 16;

/// The CPUs that this process may run on.
pub fn cpus() -> impl Iterator<Item = usize> + Clone {
    let mut set = [0_u64; WORDS];
    // SAFETY: the call writes the set, at most so many bytes.
    unsafe { call(number::SCHED_GETAFFINITY, [0, WORDS * 8, set.as_mut_ptr() as usize, 0, 0, 0]) };
    (0..WORDS * 64).filter(move |cpu| set[cpu / 64] >> (cpu % 64) & 1 != 0)
}

/// Moves a process, this one if it is 0, to one CPU.
pub fn run_on(process: usize, cpu: usize) {
    let mut set = [0_u64; WORDS];
    set[cpu / 64] = 1 << (cpu % 64);
    // SAFETY: the call reads the set.
    unsafe { call(number::SCHED_SETAFFINITY, [process, WORDS * 8, set.as_ptr() as usize, 0, 0, 0]) };
}

/// The address of fresh zeros, readable and writable.
pub fn map(size: usize, kind: usize) -> usize {
    const ACCESS: usize = 3;
    // SAFETY: memory that nobody has yet.
    unsafe { call(number::MMAP, [0, size, ACCESS, kind, usize::MAX, 0]) }
}

/// An open file.
#[derive(Clone, Copy)]
pub struct File(pub usize);

impl File {
    /// Opens a file for reading.
    pub fn open(path: &CStr) -> Self {
        const HERE: usize = -100_isize as usize;
        // SAFETY: the call reads the path.
        Self(unsafe { call(number::OPENAT, [HERE, path.as_ptr() as usize, 0, 0, 0, 0]) })
    }

    /// All that is in it.
    pub fn content(self) -> &'static [u8] {
        const MOST: usize = 256 << 20;
        /// Of no file and private, memory only where it is touched.
        const KIND: usize = 0x4022;
        let address = map(MOST, KIND);
        let mut length = 0;
        loop {
            // SAFETY: the mapping has so much room left, is ours alone and stays.
            let count = unsafe { call(number::READ, [self.0, address + length, MOST - length, 0, 0, 0]) };
            length += count;
            if count == 0 {
                // SAFETY: as above, and from now on nobody writes to it.
                return unsafe { core::slice::from_raw_parts(address as *const u8, length) };
            }
        }
    }

    /// Two ends of a pipe: to read from, to write to.
    pub fn pipe() -> (Self, Self) {
        let mut ends = [0_u32; 2];
        // SAFETY: the call writes two words.
        unsafe { call(number::PIPE2, [ends.as_mut_ptr() as usize, 0, 0, 0, 0, 0]) };
        (Self(ends[0] as usize), Self(ends[1] as usize))
    }

    /// Reads a number of eight bytes; `None` at the end of the file.
    pub fn read(self) -> Option<u64> {
        let mut value = 0_u64;
        // SAFETY: the call writes at most eight bytes.
        (unsafe { call(number::READ, [self.0, &raw mut value as usize, 8, 0, 0, 0]) } == 8).then_some(value)
    }

    /// Writes a number of eight bytes.
    pub fn write(self, value: u64) {
        // SAFETY: the call reads eight bytes.
        unsafe { call(number::WRITE, [self.0, &raw const value as usize, 8, 0, 0, 0]) };
    }

    /// Closes it.
    pub fn close(self) {
        // SAFETY: no memory is behind it.
        unsafe { call(number::CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }
}
