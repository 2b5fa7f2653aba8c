// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What our bare-metal test guests need before their `main`.
//!
//! A guest is one position-independent image that boots wherever Linux would: natively under firmware
//! or `qemu-system-aarch64 -kernel`, and as a guest of a hypervisor. Everything it knows of the machine comes from
//! the device tree. It runs at EL1 with the MMU on, without FP, without a heap.
//!
//! A guest crate's `build.rs` passes this crate's `image.ld` to the linker, and its `main.rs` says
//! `guest_runtime::entry!(main)`.

#![no_std]

#[cfg(target_os = "none")]
mod boot;
pub mod console;
pub mod cpu;
pub mod exception;
pub mod gic;
pub mod machine;
pub mod mmio;
mod paging;
pub mod power;
pub mod smp;
pub mod timer;

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dtoolkit::fdt::Fdt;
use spin::Once;

use crate::machine::{Conduit, Machine};

/// Names the guest's main function, a `fn(&'static Machine)`. The guest powers off when it returns.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main(machine: &'static $crate::machine::Machine) {
            let main: fn(&'static $crate::machine::Machine) = $main;
            main(machine)
        }
    };
}

static MACHINE: Once<Machine> = Once::new();

unsafe extern "Rust" {
    safe fn guest_main(machine: &'static Machine);
}

/// Where this image was loaded; addresses of its ELF file count from here.
#[must_use]
pub fn load_address() -> usize {
    unsafe extern "C" {
        /// The image's first byte, by the linker script.
        static image_start: u8;
    }
    &raw const image_start as usize
}

static ENTRY_COUNT: AtomicU64 = AtomicU64::new(0);

/// The physical count at this image's first instruction.
#[must_use]
pub fn entry_count() -> u64 {
    ENTRY_COUNT.load(Ordering::Relaxed)
}

/// PSCI's conduit, once the tree was read.
#[must_use]
pub fn conduit() -> Option<Conduit> {
    MACHINE.get().and_then(|machine| machine.psci)
}

/// Where the boot code enters, with the MMU on.
///
/// # Safety
///
/// Called once, by the boot code, with the address of the device tree and the physical count at entry.
#[unsafe(no_mangle)]
unsafe extern "C" fn start(tree: *const u8, entry_count: u64) -> ! {
    ENTRY_COUNT.store(entry_count, Ordering::Relaxed);
    exception::set_cpu_number(0);
    // SAFETY: the boot protocol promises a device tree at this address; `from_raw` checks it.
    match unsafe { Fdt::from_raw(tree) } {
        Ok(tree) => {
            let machine = MACHINE.call_once(|| Machine::read(tree));
            console::init(machine);
            exception::unmask_serror();
            gic::init(machine);
            guest_main(machine);
        }
        // Without a tree there is no console to say so on.
        Err(_) => loop {
            cpu::wait_for_event();
        },
    }
    power::system_off()
}

static PANICKED: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !PANICKED.swap(true, Ordering::SeqCst) {
        console::print_unlocked(format_args!("guest {info}\n"));
    }
    power::system_off()
}
