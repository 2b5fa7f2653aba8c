// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every way in which a partition may differ from the bare board, and why.

/// A difference that is allowed, and that must occur.
pub struct Allowed {
    /// The boards on which it occurs, a pattern of `virt gicv3 cortex-a72`.
    pub on: &'static str,
    /// The probes' names, a pattern.
    pub name: &'static str,
    /// The bits of each number that may differ; all, if the values may be anything.
    pub bits: u64,
    /// Why.
    pub reason: &'static str,
}

impl Allowed {
    /// Whether it covers the difference between two values, which may be several numbers each: a register read in bytes,
    /// words and pairs.
    pub fn covers(&self, native: &str, guest: &str) -> bool {
        if self.bits == u64::MAX {
            return true;
        }
        let (native, guest) = (native.split_whitespace(), guest.split_whitespace());
        native.clone().count() == guest.clone().count()
            && native.zip(guest).all(|(native, guest)| match (number(native), number(guest)) {
                (Some(native), Some(guest)) => (native ^ guest) & !self.bits == 0,
                _ => native == guest,
            })
    }
}

fn number(value: &str) -> Option<u64> {
    u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()
}

const fn any(on: &'static str, name: &'static str, reason: &'static str) -> Allowed {
    Allowed { on, name, bits: u64::MAX, reason }
}

const fn bits(on: &'static str, name: &'static str, bits: u64, reason: &'static str) -> Allowed {
    Allowed { on, name, bits, reason }
}

/// The fields at these lowest bits.
const fn fields(lowest: &[u32]) -> u64 {
    let (mut mask, mut index) = (0, 0);
    while index < lowest.len() {
        mask |= 0xf << lowest[index];
        index += 1;
    }
    mask
}

const ALL: &str = ".*";
const VIRT: &str = "virt .*";
const PI: &str = "raspi4b .*";
const V2: &str = ".* gicv2 .*";
const V3: &str = ".* gicv3 .*";
const MAX: &str = ".* max";
const AARCH32_EL1: &str = ".* (cortex-a53|cortex-a57|cortex-a72|max)";
const N1_AND_A76: &str = ".* (neoverse-n1|cortex-a76)";

const HIDDEN: &str = "hidden, field by field with its reason in machine's ID_REGISTERS";
const HIGHEST: &str = "only at the highest exception level, which EL1 is not where there is a hypervisor";
const FIVE_BITS: &str = "virtual CPU interfaces have five bits of priority here, QEMU's physical ones eight";
const NO_LPIS: &str = "no LPIs and no ITS";
const NO_NMI: &str = "no non-maskable interrupts";
const CPUS_THAT_ARE: &str = "QEMU keeps bits of CPUs that are not there";
const OWN_IDENTITY: &str = "the virtual GIC is an Arm GIC-400 or GIC-500";

/// The list. The first entry that fits counts.
#[rustfmt::skip]
pub const ALLOWED: &[Allowed] = &[
    // System registers.
    any(ALL, "(read|write|do) S[13]_[0-7]_C1[15]_.*", "IMPLEMENTATION DEFINED: they control the board's caches and the core itself"),
    any(VIRT, "(read|write) S3_0_C12_C0_[12]", HIGHEST), // RVBAR_EL1, RMR_EL1
    any(VIRT, "write S3_3_C14_C0_0", HIGHEST), // CNTFRQ_EL0
    bits(MAX, "read S3_0_C0_C1_0", fields(&[16]), HIDDEN), // ID_PFR0_EL1: CSV2
    bits(AARCH32_EL1, "read S3_0_C0_C1_1", fields(&[0, 4, 12]), HIDDEN), // ID_PFR1_EL1: ProgMod, Security, Virtualization
    bits(MAX, "read S3_0_C0_C2_6", fields(&[8, 28]), HIDDEN), // ID_MMFR4_EL1: XNX, EVT
    bits(N1_AND_A76, "read S3_0_C0_C2_6", fields(&[8]), HIDDEN),
    bits(MAX, "read S3_0_C0_C3_5", fields(&[4]), HIDDEN), // ID_DFR1_EL1: HPMN0
    bits(AARCH32_EL1, "read S3_0_C0_C4_0", fields(&[4, 8, 28, 36, 56]), HIDDEN), // ID_AA64PFR0_EL1: EL1, EL2, RAS, SEL2, CSV2
    bits(MAX, "read S3_0_C0_C4_1", fields(&[8, 24, 36]), HIDDEN), // ID_AA64PFR1_EL1: MTE, SME, NMI
    any(MAX, "read S3_0_C0_C4_5", HIDDEN), // ID_AA64SMFR0_EL1
    bits(MAX, "read S3_0_C0_C5_0", fields(&[60]), HIDDEN), // ID_AA64DFR0_EL1: HPMN0
    bits(".* (cortex-a57|cortex-a72|neoverse-n1|max)", "read S3_0_C0_C7_0", fields(&[0, 32, 36, 40, 56, 60]), HIDDEN), // ID_AA64MMFR0_EL1
    bits(".* (neoverse-n1|cortex-a76|max)", "read S3_0_C0_C7_1", fields(&[4, 8, 16, 28, 32, 40]), HIDDEN), // ID_AA64MMFR1_EL1
    any(".* (neoverse-n1|cortex-a76|max)", "((read|write) )?S3_0_C10_C4_[01237]( <- .*)?", "LORegions are ranges of physical addresses"),
    bits(MAX, "read S3_0_C0_C7_2", fields(&[24, 40, 56]), HIDDEN), // ID_AA64MMFR2_EL1: NV, FWB, EVT
    any(MAX, "(read|write) S3_[03]_C13_C0_7", "SCXTNUM: CSV2 is shown as 1, without software context numbers"),
    any(MAX, "(read|write) S3_0_C1_C2_4", "SMPRI_EL1: SME is hidden"),
    any(MAX, "read S3_1_C0_C0_6", "SMIDR_EL1: SME is hidden"),
    any(MAX, "(read|write) S3_3_C13_C0_5", "TPIDR2_EL0: SME is hidden"),

    // The interrupt controller's registers.
    any(V3, r"gicd\+0x004", OWN_IDENTITY),
    bits(PI, r"gicd\+0x004", 0xe0, "GICD_TYPER.CPUNumber: the partition has two of the board's four CPUs"),
    any(V2, r"gicd\+0x00[08]", OWN_IDENTITY),
    any(V2, r"gicd\+0x8.. ones/.", CPUS_THAT_ARE),
    any(V2, r"gicd\+0xf2. ones/.", CPUS_THAT_ARE),
    any(V2, r"gicc\+0x0(00|04|08|18|1c).*", FIVE_BITS),
    any(ALL, r"gic[ds]\+0x4.. ones/.", FIVE_BITS),
    bits(V3, r"gicd\+0x61.. ones/4", 0x7f00_0000 | 0xffff_ff00, "QEMU keeps reserved bits of GICD_IROUTER"),
    bits(V3, r"gicd\+0x61.. ones/8", 0xffff_ff00_7f00_0000, "QEMU keeps reserved bits of GICD_IROUTER"),
    any(V3, r"gicr\+0x0(00|08)", NO_LPIS),
    any(V3, r"gicr\+0x07. ones/.", NO_LPIS),
    any(".* gicv3 max", r"gic[ds]\+0xf[89a]. ones/4", NO_NMI),

    // Interrupts.
    any(ALL, "order: SGIs by priority, then number: taken", "which of several with one priority comes first is IMPLEMENTATION DEFINED (IHI 0069H, 4.8)"),
    any(ALL, "order: close priorities: taken", FIVE_BITS),
    // The timers' interrupts and the PMU's.
    bits(V2, r"gicd\+0xc04 ones/.", 0x2080_8000, "a neighbour's trigger would change too: QEMU's GICv2 has one for all CPUs, and GIC-400 has it fixed"),
    any("virt gicv2 .*", "active on a CPU that is off: IAR (once it is routed here|after ICACTIVER)", "QEMU's GICv2 has a shared interrupt active for each CPU by itself"),
    any(V2, "routed back: taken", "QEMU's GICv2 forgets what is pending without a target"),

    // Exceptions.
    any(ALL, "debug: step over a (load from a device|trapped register)", "an instruction that EL2 carried out leaves the step active-pending, without a valid syndrome (Arm ARM, D2.12)"),
    any(ALL, "debug: breakpoint, (enabled while )?locked", "the OS lock suppresses debug exceptions (Arm ARM, OSLSR_EL1.OSLK); QEMU 10 asks for bit 0, and OSLK is bit 1"),
    any(ALL, "debug: watchpoint, a device", "the fault of stage 2 comes before the watchpoint"),
    any(V3, "device: (pair|pair, post-indexed|stored by a pair)", "QEMU makes one access of 64 bits, which this register has not, of a pair of words"),
    any(ALL, "device: (exclusive|atomic)(, .*)?", "whether a device's memory takes them is IMPLEMENTATION DEFINED: QEMU's does, an emulated device answers with an external abort"),
    any(ALL, "EL0: A32: (load with write-back|pair) from a device", "decoding A32 and T32 as well would serve only a 32-bit process that maps an emulated device; single registers need none, and AArch64 is decoded"),
    any(ALL, "SMC with a number that is none.*", "an SMC is UNDEFINED where there is no EL3, and a call of ours"),

    // Calls.
    any(PI, "(second CPU|active on a CPU that is off).*", "QEMU's Raspberry Pi 4 has no firmware that serves PSCI"),
    any(PI, "transport.*", "a remapped partition sees the virt board's empty virtio transports, where the Pi has memory"),
    any(PI, "PSCI.*", "QEMU's Raspberry Pi 4 has no firmware that serves PSCI"),
    any(VIRT, "PSCI: SMCCC (version|features)", "QEMU's firmware serves PSCI only"),
    any(MAX, "PSCI: TRNG version", "QEMU's firmware serves PSCI only"),
    any(VIRT, "PSCI: features of 0x(84|c4)00000[b-e]", "QEMU's firmware has no optional functions"),
    any(VIRT, "PSCI: (default suspend|node state, self|system suspend, bad entry)", "QEMU's firmware has no optional functions"),
    any(VIRT, "PSCI: affinity info, level 4", "QEMU's firmware does not look at the level"),
];
