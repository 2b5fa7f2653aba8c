// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The counter around instructions: nothing stands between its two reads but what is measured.
//!
//! Hints 96 and 97, which are NOPs on every CPU (Arm ARM, C6.2, HINT), stand before and behind, so that
//! who reads an execution trace finds the place; hint 98 tells of the next operation.

/// Tells a reader of the trace that the next operation begins.
pub fn mark_operation() {
    // SAFETY: an unallocated hint does nothing.
    unsafe { core::arch::asm!("hint #98", options(nostack)) };
}

/// The counts before and after the instructions.
///
/// The barriers keep a CPU from reading the count early (Arm ARM, D12.1.2); exception entry and ERET do so too.
/// The instructions must be harmless, and may change no register that the operands do not name.
macro_rules! counts {
    ($($instruction:literal),*; $($operands:tt)*) => {{
        let (start, end): (u64, u64);
        // SAFETY: the instructions are the caller's, in the program's text beside the operands they use.
        unsafe {
            ::core::arch::asm!(
                "hint #96", "isb", "mrs {start}, cntvct_el0",
                $($instruction,)*
                "isb", "mrs {end}, cntvct_el0", "hint #97",
                start = out(reg) start, end = out(reg) end,
                $($operands)*
                options(nostack)
            )
        };
        [start, end]
    }};
}

/// Ticks that the instructions take, as for [`counts!`], whose own cost is in it.
macro_rules! timed {
    ($($all:tt)*) => {{
        let [start, end] = $crate::count::counts!($($all)*);
        end - start
    }};
}

/// The counts of an interrupt's way: when it was caused, and what the handler noted.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Before its cause.
    pub start: u64,
    /// At the handler's first instruction.
    pub arrival: u64,
    /// Before and after the interrupt was ended.
    pub ending: [u64; 2],
    /// Behind the interrupted code's next instruction but one.
    pub end: u64,
}

/// Runs the first instructions, then between two reads of the counter the others, which cause interrupts, and
/// waits until the lean vectors have handled `count` of them. None if they do not come. x14, x15 and x16 are
/// what the vectors want.
macro_rules! interrupted {
    ($($first:literal),*; $($instruction:literal),*; $count:expr, [$x14:expr, $x15:expr, $x16:expr]; $($operands:tt)*) => {{
        let (start, arrival, before, after, end, came): (u64, u64, u64, u64, u64, u64);
        // SAFETY: the instructions are the caller's; x9 to x17 are set aside for the lean vectors.
        unsafe {
            ::core::arch::asm!(
                "mov x11, #0",
                "mov x17, #0x1000000",
                $($first,)*
                "hint #96", "isb", "mrs {start}, cntvct_el0",
                $($instruction,)*
                "2: cmp x11, {count}", "b.hs 3f", "subs x17, x17, #1", "b.ne 2b",
                "3: isb", "mrs {end}, cntvct_el0", "hint #97",
                "msr daifset, #2",
                start = out(reg) start, end = out(reg) end, count = in(reg) $count as u64,
                out("x9") arrival, out("x10") _, out("x11") came, out("x12") before, out("x13") after,
                in("x14") $x14, in("x15") $x15, in("x16") $x16, out("x17") _,
                $($operands)*
                options(nostack)
            )
        };
        (came == $count as u64).then_some($crate::count::Way { start, arrival, ending: [before, after], end })
    }};
}

pub(crate) use {counts, interrupted, timed};
