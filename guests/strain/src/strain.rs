// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A static program for Linux on arm64 that needs no library. It uses what the kernel has of the machine, checks
//! what comes of it and ends with status 0, or tells what was wrong and ends with another.
//!
//! - `strain pmu`: counts instructions and cycles of a loop, and takes a signal at each overflow, on every CPU
//! - `strain trace`: stops a child by watchpoint, by breakpoint and by single step, on every CPU
//! - `strain load SECONDS`: timers, messages, processes and a counter that must not go back, on every CPU
//! - `strain kexec KERNEL RAMDISK`: goes over to another kernel, with the command line of this one

#![no_std]
#![no_main]

mod kexec;
mod load;
mod pmu;
mod system;
mod trace;

use core::arch::global_asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

// Linux enters with the count of arguments and their addresses on the stack.
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "b start");

/// The program's arguments, its name the first.
struct Arguments(*const usize);

impl Arguments {
    fn get(&self, index: usize) -> &'static CStr {
        // SAFETY: the kernel leaves a count and so many addresses of strings, which stay where they are.
        unsafe {
            if index >= *self.0 {
                fail!("an argument is missing");
            }
            CStr::from_ptr(*self.0.add(1 + index) as *const _)
        }
    }
}

/// Where the kernel enters.
///
/// # Safety
///
/// Called once, with the stack that the kernel made.
#[unsafe(no_mangle)]
unsafe extern "C" fn start(stack: *const usize) -> ! {
    let arguments = Arguments(stack);
    match arguments.get(1).to_bytes() {
        b"pmu" => pmu::count(),
        b"trace" => trace::stop(),
        b"load" => load::run(arguments.get(2)),
        b"kexec" => kexec::go_over(arguments.get(2), arguments.get(3)),
        _ => fail!("usage: strain pmu | trace | load SECONDS | kexec KERNEL RAMDISK"),
    }
    system::exit(0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail!("{info}")
}
