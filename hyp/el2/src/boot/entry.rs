// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first instructions, of the boot CPU and of the others.
//!
//! The image begins with the header of the arm64 boot protocol (Linux,
//! Documentation/arch/arm64/booting.rst), so firmware enters it as it would enter Linux: MMU off,
//! x0 = the board's tree.

use crate::cpu::Cpu;
use bulkhead_types::Mpidr;
use core::arch::global_asm;

/// Bytes of the boot CPU's first stack, which planning runs on.
pub const BOOT_STACK_SIZE: usize = 64 * 1024;

/// The RES1 bits of SCTLR_EL2 with HCR_EL2.E2H 0: 4, 5, 11, 16, 18, 22, 23, 28, 29 (Arm ARM, SCTLR_EL2).
pub const SYSTEM_CONTROL_RES1: u64 = 0x30c5_0830;

/// Bytes of the stack that EL2's own faults are reported on.
pub const EMERGENCY_STACK_SIZE: usize = 8 * 1024;

global_asm!(
    r#"
    .section .text.header, "ax"
    .global _start
_start:
    b       primary                     // code0
    nop                                 // code1
    .quad   0                           // text_offset
    .quad   __image_size                // image_size
    .quad   0b1010                      // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"                   // magic
    .long   0

    // The boot CPU. x0 = tree. Nothing is known yet: not the exception level, not what the caches hold.
primary:
    adrp    x16, __image_start          // what to add to addresses: the image is linked at 0
    mov     x1, xzr
    b       prepare
    // The boot CPU once more, in the image that `move_image` copied. x0 = tree, x1 = where the image was: its addresses
    // are right for that place.
moved:
    adrp    x16, __image_start
    sub     x16, x16, x1
prepare:
    mov     x19, x0
    mov     x20, x1
    msr     daifset, #0b1111
    msr     spsel, #1
    mrs     x9, currentel
    cmp     x9, #(2 << 2)
    b.ne    11f                         // the console says so, once it can
    bl      init_el2                    // first of all: SCTLR_EL2 decides how memory is accessed
11:
    adrp    x9, boot_stack + {boot_stack_size}
    mov     sp, x9

    // Nothing of firmware's may come back from the caches over what is written past them now.
    bl      invalidate_image
    adrp    x9, __bss_start
    add     x9, x9, :lo12:__bss_start
    adrp    x10, __bss_end
1:  stp     xzr, xzr, [x9]
    stp     xzr, xzr, [x9, #16]
    stp     xzr, xzr, [x9, #32]
    stp     xzr, xzr, [x9, #48]
    add     x9, x9, #64
    cmp     x9, x10
    b.lo    1b

    // Relocate. An even entry of the table is where the next address stands, from the start of the image; an odd one
    // is a bitmap of which of the 63 words after that are addresses too (ELF, SHT_RELR).
    adrp    x9, __relr_start
    add     x9, x9, :lo12:__relr_start
    adrp    x10, __relr_end
    add     x10, x10, :lo12:__relr_end
    adrp    x11, __image_start
3:  cmp     x9, x10
    b.hs    7f
    ldr     x12, [x9], #8
    tbnz    x12, #0, 4f
    add     x13, x11, x12
    ldr     x14, [x13]
    add     x14, x14, x16
    str     x14, [x13], #8
    b       3b
4:  mov     x15, x13
5:  lsr     x12, x12, #1
    cbz     x12, 6f
    tbz     x12, #0, 8f
    ldr     x14, [x15]
    add     x14, x14, x16
    str     x14, [x15]
8:  add     x15, x15, #8
    b       5b
6:  add     x13, x13, #(63 * 8)
    b       3b
7:  mrs     x9, currentel
    cmp     x9, #(2 << 2)
    mov     x0, x19
    b.ne    {wrong_level}
    mrs     x9, hcr_el2
    tbz     x9, #34, 10f
    mov     x0, x19
    b       {wrong_level}
10:
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    b       {start}

    // Copies the image to x1, a page of free memory and what follows, and starts the copy. x0 = tree. The caches are off:
    // what they hold of the new place is dropped first, so that nothing is written back over the copy, nor found instead
    // of it later (Arm ARM, "Mismatched memory attributes"). No data access allocates meanwhile. Instructions are
    // invalidated before the first is fetched from there ("Ordering and completion of data and instruction cache
    // instructions"). Variables are as they were loaded, but for relocation: nothing has written to .data yet, and .bss
    // is zeroed again.
    .global move_image
move_image:
    adrp    x9, __image_start
    adrp    x10, __bss_start            // what is behind it, `prepare` drops as well, before it writes there
    add     x10, x10, :lo12:__bss_start
    sub     x10, x10, x9
    add     x10, x10, x1
    mrs     x11, ctr_el0
    ubfx    x11, x11, #16, #4           // DminLine: words, log2
    mov     x12, #4
    lsl     x12, x12, x11
    mov     x13, x1
1:  dc      ivac, x13
    add     x13, x13, x12
    cmp     x13, x10
    b.lo    1b
    dsb     sy
    mov     x13, x1
    mov     x14, x9
2:  ldp     x4, x5, [x14, #16]
    ldp     x6, x7, [x14, #32]
    ldp     x11, x12, [x14, #48]
    ldp     x2, x3, [x14], #64
    stp     x4, x5, [x13, #16]
    stp     x6, x7, [x13, #32]
    stp     x11, x12, [x13, #48]
    stp     x2, x3, [x13], #64
    cmp     x13, x10
    b.lo    2b
    dsb     sy
    ic      ialluis                     // the other CPUs will fetch from there, too
    dsb     sy
    isb
    adrp    x30, moved
    add     x30, x30, :lo12:moved
    sub     x30, x30, x9
    add     x30, x30, x1
    mov     x1, x9
    ret

    // Drops every line of the image behind the code, which is all that is written while the caches are off,
    // and completes all stores. Firmware has cleaned to the point of coherency what it loaded. Clobbers x9,
    // x10 and x12.
    .global invalidate_image
invalidate_image:
    dsb     sy
    mrs     x9, ctr_el0
    ubfx    x9, x9, #16, #4             // DminLine: words, log2
    mov     x10, #4
    lsl     x10, x10, x9
    adrp    x9, __rodata_start
    adrp    x12, __image_end
9:  dc      ivac, x9
    add     x9, x9, x10
    cmp     x9, x12
    b.lo    9b
    dsb     sy
    ret

    // What both kinds of CPU need before anything else at EL2: registers whose fields a reset leaves UNKNOWN, and firmware as it
    // likes. `machine::sysreg::EL2_REGISTERS` has all of them. Clobbers x9 and x10.
init_el2:
    mov     x9, #0x38                   // HCR_EL2.AMO, IMO, FMO: what is masked at EL2 ends its WFI
    orr     x9, x9, #(1 << 31)          // RW: EL1 is AArch64; E2H and TGE off
    msr     hcr_el2, x9
    isb                                 // E2H decides what the registers below are
    mov     x9, #{system_control_low}
    movk    x9, #{system_control_high}, lsl #16
    msr     sctlr_el2, x9               // its RES1 bits: little endian, MMU and caches off
    msr     amair_el2, xzr
    msr     hacr_el2, xzr
    msr     hstr_el2, xzr
    mov     x9, #3                      // CNTHCTL_EL2.EL1PCTEN, EL1PCEN: no traps, no event stream
    msr     cnthctl_el2, x9
    msr     cnthp_ctl_el2, xzr
    mrs     x9, id_aa64dfr0_el1         // MDCR_EL2: HPMN must not exceed the counters, nor be 0 if there are any
    ubfx    x9, x9, #8, #4              // PMUVer: 0 is none, 15 not the architecture's
    sub     x10, x9, #1
    mov     x9, xzr
    cmp     x10, #14
    b.hs    1f
    mrs     x9, pmcr_el0
    ubfx    x9, x9, #11, #5             // N
1:  msr     mdcr_el2, x9
    mrs     x9, id_aa64mmfr1_el1
    tst     x9, #(0xf << 40)            // HCX
    b.eq    1f
    msr     S3_4_C1_C2_2, xzr           // HCRX_EL2
1:  tst     x9, #(0xf << 8)             // VH
    b.eq    1f
    msr     S3_4_C14_C3_1, xzr          // CNTHV_CTL_EL2
1:  mrs     x9, S3_0_C0_C7_3            // ID_AA64MMFR3_EL1
    tst     x9, #0xf                    // TCRX
    b.eq    1f
    msr     S3_4_C2_C0_3, xzr           // TCR2_EL2
1:  tst     x9, #(0xf << 4)             // SCTLRX
    b.eq    1f
    msr     S3_4_C1_C0_3, xzr           // SCTLR2_EL2
1:  mrs     x9, id_aa64pfr1_el1
    tst     x9, #(0xf << 44)            // GCS
    b.eq    1f
    msr     S3_4_C2_C5_0, xzr           // GCSCR_EL2
1:  msr     tpidr_el2, xzr              // no `Cpu` yet
    mov     x9, #0x37ff                 // CPTR_EL2: its RES1 bits and TFP; EL2 uses no FP registers
    msr     cptr_el2, x9
    adrp    x9, vectors
    add     x9, x9, :lo12:vectors
    msr     vbar_el2, x9
    isb
    ret

    // The other CPUs. A spin table passes them nothing but the address of the entry (Devicetree
    // Specification, 3.8.1), so each finds its `Cpu` by its affinity, however it was started. What they
    // read here was cleaned to the point of coherency, because their caches are off.
    .global _secondary
_secondary:
    msr     daifset, #0b1111
    msr     spsel, #1
    bl      init_el2
    mrs     x9, hcr_el2
    tbnz    x9, #34, 2f                 // E2H: see `wrong_level`
    mrs     x9, mpidr_el1
    mov     x10, #{affinity_low}
    movk    x10, #{affinity_3}, lsl #32
    and     x9, x9, x10
    adrp    x10, {roster}
    add     x10, x10, :lo12:{roster}
    ldp     x0, x11, [x10]              // the first `Cpu`, the end of the last
1:  cmp     x0, x11
    b.hs    2f
    ldr     x12, [x0, #{cpu_mpidr}]
    cmp     x12, x9
    b.eq    3f
    add     x0, x0, #{cpu_size}
    b       1b
2:  wfe                                 // not in the board's tree, so it has no stack, or always a host: it waits for ever
    b       2b
3:  adrp    x10, {translation}
    add     x10, x10, :lo12:{translation}
    ldp     x11, x12, [x10]             // TTBR0_EL2, MAIR_EL2
    ldp     x13, x14, [x10, #16]        // TCR_EL2, SCTLR_EL2
    msr     ttbr0_el2, x11
    msr     mair_el2, x12
    msr     tcr_el2, x13
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x14
    isb
    ldr     x9, [x0, #{cpu_stack_top}]
    mov     sp, x9
    mov     x29, xzr
    mov     x30, xzr
    b       {secondary}

    .section .stacks, "aw", @nobits
    .balign 4096
    .space  4096                        // guard: never mapped
boot_stack:
    .space  {boot_stack_size}
    .balign 4096
    .space  4096                        // guard: never mapped
    .global emergency_stack
emergency_stack:
    .space  {emergency_stack_size}
    "#,
    system_control_low = const SYSTEM_CONTROL_RES1 & 0xffff,
    system_control_high = const SYSTEM_CONTROL_RES1 >> 16,
    boot_stack_size = const BOOT_STACK_SIZE,
    emergency_stack_size = const EMERGENCY_STACK_SIZE,
    affinity_low = const Mpidr::AFFINITY & 0xff_ffff,
    affinity_3 = const Mpidr::AFFINITY >> 32,
    roster = sym crate::cpu::ROSTER,
    cpu_mpidr = const Cpu::MPIDR_OFFSET,
    cpu_stack_top = const Cpu::STACK_TOP_OFFSET,
    cpu_size = const size_of::<Cpu>(),
    translation = sym crate::memory::TRANSLATION,
    start = sym super::start,
    wrong_level = sym super::wrong_level,
    secondary = sym crate::cpu::secondary,
);

unsafe extern "C" {
    /// Where the other CPUs enter.
    pub fn _secondary() -> !;
    /// Copies the image to free memory at `to`, a page boundary, and starts it there, with the place where it was. Only
    /// with translation off, before anything of the image but `.bss` and the stack was written to.
    pub fn move_image(tree: u64, to: u64) -> !;
    /// Drops every cache line of the image. Only while nothing of it was written through the caches.
    pub fn invalidate_image();
    static boot_stack: u8;
    static emergency_stack: u8;
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// Addresses of the image's parts, all multiples of the page size.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Code, from the start of the image.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Variables.
    pub data: u64,
    /// The first stack; the page before it stays unmapped.
    pub boot_stack: u64,
    /// The stack for EL2's own faults; the page before it stays unmapped.
    pub emergency_stack: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Where the image runs.
pub fn layout() -> Layout {
    Layout {
        text: (&raw const __image_start).addr() as u64,
        rodata: (&raw const __rodata_start).addr() as u64,
        data: (&raw const __data_start).addr() as u64,
        boot_stack: (&raw const boot_stack).addr() as u64,
        emergency_stack: (&raw const emergency_stack).addr() as u64,
        end: (&raw const __image_end).addr() as u64,
    }
}
