// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupt vectors that do the least a kernel must: acknowledge, quieten the source, end. They note the
//! count at each step in registers that the interrupted code sets aside, and save nothing.
//!
//! | register | on entry | on return |
//! | --- | --- | --- |
//! | x9 | | the count at the handler's first instruction |
//! | x10 | | INTID, with a GICv2 SGI's sender |
//! | x11 | interrupts so far | one more |
//! | x12, x13 | | the count before and after the interrupt was ended |
//! | x14 | base of GICC (GICv2) | |
//! | x15, x16 | see [`Source`] | |

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::{read_register, write_register};

/// What a handler does to quieten its interrupt's source.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Nothing: an SGI, or an interrupt that a write made pending.
    Latch,
    /// The virtual timer: it is stopped.
    Timer,
    /// A device: w15 is written to the address in x16.
    Device,
    /// An SGI from another CPU, which waits for the count in the memory at x15.
    Mailbox,
}

/// Where all but interrupts goes on: the vectors of the runtime.
#[unsafe(no_mangle)]
static RUNTIME_VECTORS: AtomicU64 = AtomicU64::new(0);

/// Runs `f` with the lean vectors in place of the runtime's. Interrupts are masked; `f` unmasks them in
/// assembly that sets x9 to x16 aside.
pub fn with<T>(version: u32, source: Source, f: impl FnOnce() -> T) -> T {
    let runtime = read_register!("vbar_el1");
    RUNTIME_VECTORS.store(runtime, Ordering::Relaxed);
    set(table(version, source));
    let result = f();
    set(runtime);
    result
}

/// Puts the lean vectors in place for good. They are for code that sets x9 to x16 aside.
pub fn install(version: u32, source: Source) {
    RUNTIME_VECTORS.store(read_register!("vbar_el1"), Ordering::Relaxed);
    set(table(version, source));
}

fn set(vectors: u64) {
    // SAFETY: both tables of this program are whole; interrupts are masked while ours is set.
    unsafe {
        asm!("msr daifset, #0x3", options(nostack));
        write_register!("vbar_el1", vectors);
        asm!("isb", options(nostack));
    }
}

macro_rules! tables {
    ($($version:literal $source:ident $name:ident: $acknowledge:literal, $quieten:literal, $end:literal, $tell:literal;)*) => {
        unsafe extern "C" {
            $(static $name: u8;)*
        }

        fn table(version: u32, source: Source) -> u64 {
            match (version, source) {
                $(($version, Source::$source) => &raw const $name as u64,)*
                _ => panic!("no vectors for GICv{version}"),
            }
        }

        $(global_asm!(concat!(
            ".section .text.vectors, \"ax\"\n .balign 0x800\n .global ", stringify!($name), "\n",
            stringify!($name), ":\n .irp slot, 0, 1, 2, 3, 4\n to_runtime \\slot\n .endr\n .balign 0x80\n",
            "mrs x9, cntvct_el0\n", $acknowledge, "\n", $quieten, "\n mrs x12, cntvct_el0\n",
            $end, "\n mrs x13, cntvct_el0\n", $tell, "\n add x11, x11, #1\n eret\n",
            ".irp slot, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n to_runtime \\slot\n .endr\n",
        ));)*
    };
}

global_asm!(
    r#"
    .macro to_runtime slot
    .balign 0x80
    adrp    x9, RUNTIME_VECTORS
    ldr     x9, [x9, :lo12:RUNTIME_VECTORS]
    add     x9, x9, #0x80 * \slot
    br      x9
    .endm
"#
);

// GICC_IAR and GICC_EOIR are at 0xc and 0x10 (IHI 0048B 4.4); ICC_IAR1_EL1 is S3_0_C12_C12_0 and
// ICC_EOIR1_EL1 is S3_0_C12_C12_1 (IHI 0069H 12.2).
tables! {
    2 Latch vectors_2_latch: "ldr w10, [x14, #0xc]", "", "str w10, [x14, #0x10]", "";
    2 Timer vectors_2_timer: "ldr w10, [x14, #0xc]", "msr cntv_ctl_el0, xzr", "str w10, [x14, #0x10]", "";
    2 Device vectors_2_device: "ldr w10, [x14, #0xc]", "str w15, [x16]", "str w10, [x14, #0x10]", "";
    2 Mailbox vectors_2_mailbox: "ldr w10, [x14, #0xc]", "", "str w10, [x14, #0x10]", "str x9, [x15]";
    3 Latch vectors_3_latch: "mrs x10, S3_0_C12_C12_0", "", "msr S3_0_C12_C12_1, x10", "";
    3 Timer vectors_3_timer: "mrs x10, S3_0_C12_C12_0", "msr cntv_ctl_el0, xzr", "msr S3_0_C12_C12_1, x10", "";
    3 Device vectors_3_device: "mrs x10, S3_0_C12_C12_0", "str w15, [x16]", "msr S3_0_C12_C12_1, x10", "";
    3 Mailbox vectors_3_mailbox: "mrs x10, S3_0_C12_C12_0", "", "msr S3_0_C12_C12_1, x10", "str x9, [x15]";
}
