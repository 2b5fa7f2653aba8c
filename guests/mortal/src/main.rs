// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that dies in the way that its command line names, so that one can see what becomes of it and of its
//! neighbours: `die=` with
//!
//! - `off`, `reset`, `call`: powers off, asks for a reset, says by call that it cannot go on
//! - `vectors`: takes an exception with its vectors where no memory is
//! - `stack`: takes one with its stack where no memory is
//! - `watchdog`: pets its watchdog three times and then no more; `spin`: never again does anything
//! - `wrong`: reads a register that no CPU has a thousand times, and powers off
//! - `flood`: prints numbered lines without end, as fast as it can; `ask`: with a question to the terminal in each
//!
//! With `read=ADDRESS`, hexadecimal, it prints the doubleword there first.

#![no_std]
#![no_main]

use core::arch::asm;

use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use guest_runtime::machine::Machine;
use guest_runtime::mmio::{read32, write32};
use guest_runtime::{exception, power, println, timer, write_register};

guest_runtime::entry!(main);

/// The hypervisor's call for a guest that cannot go on, and a code that says why.
const CRASH: u32 = 0x8600_0001;
const CODE: u64 = 0xdead;
const SYSTEM_RESET: u32 = 0x8400_0009;
/// Above all memory and every device of a partition that has 40 bits of address.
const NOWHERE: u64 = 0x7f_0000_0000;

fn main(machine: &'static Machine) {
    let chosen = machine.tree.root().child("chosen");
    let line = chosen.and_then(|chosen| chosen.property("bootargs"));
    let line = line.and_then(|line| line.value_as::<&str>().ok()).unwrap_or_default();
    let manner = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("die=")).unwrap_or("off");
    let address = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("read=0x"));
    if let Some(address) = address.and_then(|digits| usize::from_str_radix(digits, 16).ok()) {
        // SAFETY: whoever starts this guest names an aligned address in its memory, which nothing else uses.
        let found = unsafe { core::ptr::with_exposed_provenance::<u64>(address).read_volatile() };
        println!("mortal: {address:#x} has {found:#x}");
    }
    println!("mortal: {manner}");
    match manner {
        "reset" => call(SYSTEM_RESET, 0),
        "call" => call(CRASH, CODE),
        // SAFETY: an exception follows that nobody returns from; that it is taken badly is what is wanted.
        "vectors" => unsafe {
            write_register!("vbar_el1", NOWHERE);
            // With the MMU on, it would be the guest's own tables that have nothing there.
            asm!(
                "mrs {0}, sctlr_el1",
                "bic {0}, {0}, #1",
                "msr sctlr_el1, {0}",
                "isb",
                "brk #1",
                out(reg) _,
                options(nostack)
            );
        },
        // SAFETY: as above.
        "stack" => unsafe { asm!("mov sp, {}", "brk #1", in(reg) NOWHERE) },
        "watchdog" => watchdog(machine),
        "wrong" => wrong(),
        "spin" => spin(),
        "flood" => flood(""),
        "ask" => flood("\x1b[6n"),
        _ => power::system_off(),
    }
}

fn call(function: u32, code: u64) {
    // SAFETY: ends this guest, or is refused.
    let refused = unsafe { power::call(function, code, 0, 0) };
    println!("mortal: {function:#x} was refused: {refused}");
}

fn flood(question: &str) -> ! {
    let mut number = 0_u64;
    loop {
        println!("{question}flood {number}");
        number += 1;
    }
}

fn wrong() {
    // SAFETY: reads a register, or takes an exception that `attempt` returns from.
    let read = || unsafe { asm!("mrs {}, s3_0_c11_c0_0", out(reg) _, options(nomem, nostack)) };
    let refused = (0..1000).filter(|_| exception::attempt(read).1.is_some()).count();
    println!("mortal: {refused} of 1000 refused");
    power::system_off();
}

fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Each stage takes three seconds; it is petted every tenth of one. Nothing is printed meanwhile, for others may hold
/// the console.
fn watchdog(machine: &'static Machine) {
    const WCS: usize = 0;
    const WOR: usize = 8;
    const WRR: usize = 0x1000;
    let node = machine.tree.root().children().find(|node| node.is_compatible("arm,sbsa-gwdt"));
    let region = node.and_then(|node| node.reg().ok()??.next()).expect("the tree has a watchdog");
    let base: u64 = region.address().expect("an address of 64 bits");
    let base = base as usize;
    let wait = || {
        let end = timer::now() + timer::frequency() / 10;
        while timer::now() < end {}
    };
    // SAFETY: the tree says that a generic watchdog is here.
    unsafe {
        write32(base + WOR, (timer::frequency() * 3) as u32);
        write32(base + WCS, 1);
        let petted = [(); 3].map(|()| {
            wait();
            write32(base + WRR, 0);
            read32(base + WCS)
        });
        while read32(base + WCS) == 1 {}
        println!("mortal: petted, status {petted:?}; one stage has passed, status {}", read32(base + WCS));
    }
    spin();
}
