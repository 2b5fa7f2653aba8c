// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the guest survives itself: a strike runs a few instructions from a page of its own, with every
//! register, the exception level and the MMU as it likes, and comes back whatever they did.
//!
//! It comes back by a branch, by any exception, or by the virtual timer's interrupt; the way back trusts no
//! register and no table: it turns the MMU off (the map is the identity), finds this CPU's [`Armour`] by MPIDR_EL1
//! and puts everything back that the program lives on. What it cannot survive is a vector that cannot be fetched.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use guest_runtime::smp::MAX_CPUS;
use guest_runtime::{cpu, read_register};

/// Instructions of a strike, the way back included.
const CODE: usize = 16;
/// SPSR_EL1 for EL1 with its own stack pointer, D and A masked, interrupts let in.
pub const AT_EL1: u64 = 0x305;
/// For EL0 in AArch64, and in AArch32 (A32 instructions).
pub const AT_EL0: u64 = 0x300;
pub const AT_EL0_A32: u64 = 0x310;

/// SCTLR_EL1's RES1 bits, and with the MMU and the caches on: boot.rs and paging.rs of the runtime.
const MMU_OFF: u64 = 0x30d0_0800;
const MMU_ON: u64 = 0x30d0_1805;

/// What a strike starts with, what the way back needs, and what came of it.
#[repr(C, align(64))]
pub struct Armour {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL1 during the strike.
    pub sp: u64,
    start: u64,
    /// SPSR_EL1: where the instructions run.
    pub spsr: u64,
    control: u64,
    limit: u64,
    /// The vector that it came back by; 16 by the branch.
    pub vector: u64,
    /// ESR_EL1 then.
    pub esr: u64,
    saved: [u64; 13],
    /// TTBR0, TCR, MAIR, VBAR, TPIDR (all EL1).
    own: [u64; 5],
    code: [u32; CODE],
}
const SIZE: usize = 512;
const _: () = assert!(size_of::<Armour>() == SIZE);

#[repr(transparent)]
pub struct Armours(UnsafeCell<[Armour; MAX_CPUS]>);
// SAFETY: a CPU touches its own entry only.
unsafe impl Sync for Armours {}

static ARMOURS: Armours = Armours(UnsafeCell::new(
    [const {
        Armour {
            x: [0; 31],
            sp: 0,
            start: 0,
            spsr: 0,
            control: 0,
            limit: 0,
            vector: 0,
            esr: 0,
            saved: [0; 13],
            own: [0; 5],
            code: [0; CODE],
        }
    }; MAX_CPUS],
));

unsafe extern "C" {
    fn strike(armour: *mut Armour);
    fn strike_done();
}

impl Armour {
    /// This CPU's, for good.
    pub fn take() -> &'static mut Self {
        let number = cpu::mpidr().level(0) as usize % MAX_CPUS;
        // SAFETY: inside the array; only this CPU uses the entry, and takes it once in each of its runs.
        let armour = unsafe { &mut *ARMOURS.0.get().cast::<Self>().add(number) };
        armour.own = [
            read_register!("ttbr0_el1"),
            read_register!("tcr_el1"),
            read_register!("mair_el1"),
            read_register!("vbar_el1"),
            read_register!("tpidr_el1"),
        ];
        armour
    }

    /// Runs the instructions with the registers and `spsr` as they stand here, for at most `ticks` of the
    /// counter, the MMU on or off. True if they came to their end.
    pub fn strike(&mut self, words: &[u32], mmu: bool, ticks: u64) -> bool {
        self.start = (&raw const self.code).addr() as u64;
        self.control = if mmu { MMU_ON } else { MMU_OFF };
        self.limit = read_register!("cntvct_el0") + ticks;
        let mut length = 0;
        for (place, word) in self.code.iter_mut().zip(words.iter().take(CODE - 1)) {
            *place = *word;
            length += 1;
        }
        self.code[length] = match self.spsr & 0x1f {
            0 => 0xd400_0001,    // svc #0
            0x10 => 0xef00_0000, // svc #0 in A32
            _ => {
                let from = self.start + 4 * length as u64;
                let distance = (strike_done as *const () as u64).wrapping_sub(from) >> 2;
                0x1400_0000 | distance as u32 & 0x03ff_ffff // b strike_done
            }
        };
        // SAFETY: `strike` keeps to the procedure call standard whatever the instructions do, short of a
        // write to this program's memory, which their maker avoids.
        unsafe { strike(self) };
        self.vector == 16 || self.esr >> 26 == 0x15 || self.esr >> 26 == 0x11
    }
}

global_asm!(
    r#"
    // The armour leaves the caches: with the MMU off, memory is accessed past them. x0 to x0 + size.
    .macro flush_armour
    mov     x1, x0
    add     x2, x0, #{size}
1:  dc      civac, x1
    add     x1, x1, #64
    cmp     x1, x2
    b.lo    1b
    dsb     sy
    .endm

    .section .text.armour, "ax"
    .global strike
strike:
    stp     x19, x20, [x0, #{saved}]
    stp     x21, x22, [x0, #{saved} + 16]
    stp     x23, x24, [x0, #{saved} + 32]
    stp     x25, x26, [x0, #{saved} + 48]
    stp     x27, x28, [x0, #{saved} + 64]
    stp     x29, x30, [x0, #{saved} + 80]
    mov     x1, sp
    str     x1, [x0, #{saved} + 96]
    flush_armour
    ic      iallu
    dsb     sy
    isb
    adrp    x1, strike_vectors
    add     x1, x1, :lo12:strike_vectors
    msr     vbar_el1, x1
    ldp     x1, x2, [x0, #{start}]      // start, spsr
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x1, x2, [x0, #{start} + 16] // control, limit
    msr     cntv_cval_el0, x2
    mov     x2, #1
    msr     cntv_ctl_el0, x2
    mov     x2, #(3 << 20 | 3 << 16)    // FP, SVE; and SME
    orr     x2, x2, #(3 << 24)
    msr     cpacr_el1, x2
    msr     sctlr_el1, x1
    isb
    ldr     x1, [x0, #248]
    mov     sp, x1
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret

    .macro strike_vector number
    .balign 0x80
    mov     x28, #\number
    b       strike_end
    .endm

    .balign 0x800
strike_vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    strike_vector \number
    .endr

    .global strike_done
strike_done:
    mov     x28, #16
strike_end:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x0, #({off} & 0xffff)
    movk    x0, #({off} >> 16), lsl #16
    msr     sctlr_el1, x0
    isb
    mrs     x0, mpidr_el1
    and     x0, x0, #({cpus} - 1)
    mov     x1, #{size}
    adrp    x2, {armours}
    add     x2, x2, :lo12:{armours}
    madd    x0, x0, x1, x2
    mrs     x1, esr_el1
    stp     x28, x1, [x0, #{vector}]
    msr     cntv_ctl_el0, xzr
    msr     cntp_ctl_el0, xzr
    msr     mdscr_el1, xzr
    ldp     x1, x2, [x0, #{own}]
    msr     ttbr0_el1, x1
    msr     tcr_el1, x2
    ldp     x1, x2, [x0, #{own} + 16]
    msr     mair_el1, x1
    msr     vbar_el1, x2
    ldr     x1, [x0, #{own} + 32]
    msr     tpidr_el1, x1
    isb
    flush_armour
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    mov     x1, #({on} & 0xffff)
    movk    x1, #({on} >> 16), lsl #16
    msr     sctlr_el1, x1
    isb
    ldp     x19, x20, [x0, #{saved}]
    ldp     x21, x22, [x0, #{saved} + 16]
    ldp     x23, x24, [x0, #{saved} + 32]
    ldp     x25, x26, [x0, #{saved} + 48]
    ldp     x27, x28, [x0, #{saved} + 64]
    ldp     x29, x30, [x0, #{saved} + 80]
    ldr     x1, [x0, #{saved} + 96]
    mov     sp, x1
    ret
"#,
    size = const SIZE,
    saved = const core::mem::offset_of!(Armour, saved),
    start = const core::mem::offset_of!(Armour, start),
    vector = const core::mem::offset_of!(Armour, vector),
    own = const core::mem::offset_of!(Armour, own),
    off = const MMU_OFF,
    on = const MMU_ON,
    cpus = const MAX_CPUS,
    armours = sym ARMOURS,
);
