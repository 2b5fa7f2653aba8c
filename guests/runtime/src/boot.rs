// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the loader's jump to Rust: the arm64 Image header, the way down from EL2, relocation, stack.

use core::arch::global_asm;

// The header is that of Linux's Documentation/arch/arm64/booting.rst: text_offset 0, flags 0xa
// (little endian, 4 KiB pages, anywhere in memory).
//
// Loader and firmware leave the MMU and the data cache off, so what this code writes goes to memory
// behind lines that may be cached; those are dropped before the writes and again before the MMU is on.
global_asm!(
    r#"
    .section .text.header, "ax"
    .global image_start_code
image_start_code:
    b       primary_entry
    .long   0
    .quad   0
    .quad   image_size
    .quad   0xa
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"
primary_entry:
    mrs     x21, cntpct_el0
    mov     x20, x0
    bl      enter_el1

    adrp    x0, image_start
    add     x0, x0, :lo12:image_start
    adrp    x1, image_end
    add     x1, x1, :lo12:image_end
    bl      invalidate_data_cache

    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b

    // R_AARCH64_RELATIVE (1027) is the only relocation of a static position-independent image.
2:  adrp    x0, relocations_start
    add     x0, x0, :lo12:relocations_start
    adrp    x1, relocations_end
    add     x1, x1, :lo12:relocations_end
    adrp    x2, image_start
    add     x2, x2, :lo12:image_start
3:  cmp     x0, x1
    b.hs    5f
    ldp     x3, x4, [x0], #16
    ldr     x5, [x0], #8
    cmp     w4, #1027
    b.ne    4f
    add     x5, x5, x2
    str     x5, [x2, x3]
    b       3b
4:  wfi
    b       4b

5:  adrp    x0, stack_end
    add     x0, x0, :lo12:stack_end
    mov     sp, x0
    bl      install_vectors
    mov     x0, x20
    bl      build_tables

    adrp    x0, image_start
    add     x0, x0, :lo12:image_start
    adrp    x1, image_end
    add     x1, x1, :lo12:image_end
    bl      invalidate_data_cache
    bl      enable_mmu
    mov     x0, x20
    mov     x1, x21
    mov     x29, xzr
    mov     x30, xzr
    b       start

    // PSCI enters here with x0 = address of a `smp::Start`: stack, function, argument.
    .global secondary_entry
secondary_entry:
    mov     x20, x0
    bl      enter_el1
    bl      install_vectors
    bl      enable_mmu
    ldp     x1, x2, [x20]
    ldr     x0, [x20, #16]
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    br      x2

install_vectors:
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    isb
    ret

    // x0..x1; clobbers x2, x3.
invalidate_data_cache:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

    // Natively on a board with EL2, firmware enters there: give EL1 what a hypervisor would and go down.
enter_el1:
    mrs     x0, CurrentEL
    cmp     x0, #8
    b.eq    1f
    ret
1:  mov     x0, #(1 << 31)
    msr     hcr_el2, x0
    mov     x0, #3
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4
    mov     x1, xzr
    cbz     x0, 2f
    cmp     x0, #15
    b.eq    2f
    mrs     x1, pmcr_el0
    ubfx    x1, x1, #11, #5
2:  msr     mdcr_el2, x1
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbz     x0, 3f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2: SRE and Enable
    mov     x1, #9
    orr     x0, x0, x1
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
3:  mov     x0, #0x0800
    movk    x0, #0x30d0, lsl #16
    msr     sctlr_el1, x0
    mov     x0, #0x3c5
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
"#
);
