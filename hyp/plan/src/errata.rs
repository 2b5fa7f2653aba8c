// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errata of cores that concern a hypervisor: which cores have them, and what is done.
//!
//! Revisions are those that Linux (`arch/arm64/kernel/cpu_errata.c`, `arch/arm64/kernel/cpufeature.c`,
//! `Documentation/arch/arm64/silicon-errata.rst`) gives from the vendors' notices. `docs/errata.md` describes each row.

/// The property of the node of all partitions that accepts errata which are refused otherwise.
pub(crate) const ACCEPT: &str = "accept-errata";

/// What identifies a core's errata: MIDR_EL1 and REVIDR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    /// MIDR_EL1.
    pub midr: u64,
    /// REVIDR_EL1: what is fixed in this revision.
    pub revidr: u64,
}

impl Core {
    /// Implementer and part number, as bits of MIDR_EL1. Of Qualcomm's first Kryo the part number's low eight bits vary.
    const fn model(self) -> u64 {
        let model = self.midr & 0xff00_fff0;
        if model & 0xff00_f000 == KRYO { KRYO } else { model }
    }

    /// Variant and revision: 0xMN is rMpN.
    #[must_use]
    pub const fn revision(self) -> u8 {
        (self.midr >> 16 & 0xf0 | self.midr & 0xf) as u8
    }

    /// Its name, if the table knows it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        MODELS.iter().find(|(_, model)| *model == self.model()).map(|(name, _)| *name)
    }
}

/// What Bulkhead does about an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// A guest can stop the core or worse, and nothing at EL2 prevents it: the core is not used unless the plan accepts it.
    Refuse(&'static str),
    /// The core is used, and the console says what may happen.
    Warn(&'static str),
    /// Bulkhead works around it.
    Handled(&'static str),
    /// Bulkhead never does what it takes, or a guest's own kernel works around it for itself.
    NotReached(&'static str),
}
use Disposition::{Handled, NotReached, Refuse, Warn};

/// One erratum of one kind of core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Erratum {
    /// Its number, as the vendor gives it.
    pub number: &'static str,
    /// Implementer and part number.
    model: u64,
    /// First and last revision that have it.
    revisions: (u8, u8),
    /// In the last of these revisions, a bit of REVIDR_EL1 that says that it is fixed.
    fixed: u64,
    /// What is done.
    pub disposition: Disposition,
}

impl Erratum {
    /// Whether `core` has it.
    #[must_use]
    pub const fn affects(&self, core: Core) -> bool {
        let (first, last) = self.revisions;
        let revision = core.revision();
        self.model == core.model()
            && first <= revision
            && revision <= last
            && !(revision == last && core.revidr & self.fixed != 0)
    }
}

const A53: u64 = 0x4100_d030;
const A55: u64 = 0x4100_d050;
const A57: u64 = 0x4100_d070;
const A72: u64 = 0x4100_d080;
const A73: u64 = 0x4100_d090;
const A76: u64 = 0x4100_d0b0;
const N1: u64 = 0x4100_d0c0;
const A77: u64 = 0x4100_d0d0;
const V1: u64 = 0x4100_d400;
const A78: u64 = 0x4100_d410;
const X1: u64 = 0x4100_d440;
const A510: u64 = 0x4100_d460;
const A710: u64 = 0x4100_d470;
const X2: u64 = 0x4100_d480;
const N2: u64 = 0x4100_d490;
const A78C: u64 = 0x4100_d4b0;
const X1C: u64 = 0x4100_d4c0;
const A715: u64 = 0x4100_d4d0;
const X3: u64 = 0x4100_d4e0;
const V2: u64 = 0x4100_d4f0;
const A520: u64 = 0x4100_d800;
const A720: u64 = 0x4100_d810;
const X4: u64 = 0x4100_d820;
const V3: u64 = 0x4100_d840;
const X925: u64 = 0x4100_d850;
const A725: u64 = 0x4100_d870;
const N3: u64 = 0x4100_d8e0;
const THUNDERX: u64 = 0x4300_0a10;
const THUNDERX_81: u64 = 0x4300_0a20;
const THUNDERX_83: u64 = 0x4300_0a30;
const THUNDERX2: u64 = 0x4300_0af0;
const OCTX2_98: u64 = 0x4300_0b10;
const OCTX2_96: u64 = 0x4300_0b20;
const OCTX2_95: u64 = 0x4300_0b30;
const OCTX2_95N: u64 = 0x4300_0b40;
const OCTX2_95MM: u64 = 0x4300_0b50;
const OCTX2_95O: u64 = 0x4300_0b60;
const VULCAN: u64 = 0x4200_5160;
const A64FX: u64 = 0x4600_0010;
const COBALT_100: u64 = 0x6d00_d490;
const CARMEL: u64 = 0x4e00_0040;
const ORYON_X1: u64 = 0x5100_0010;
const KRYO: u64 = 0x5100_2000;
const FALKOR_V1: u64 = 0x5100_8000;
const KRYO_2XX_SILVER: u64 = 0x5100_8010;
const KRYO_4XX_GOLD: u64 = 0x5100_8040;
const KRYO_4XX_SILVER: u64 = 0x5100_8050;
const FALKOR: u64 = 0x5100_c000;
const BRAHMA_B53: u64 = 0x4200_1000;
const AMPERE_1: u64 = 0xc000_ac30;
const AMPERE_1A: u64 = 0xc000_ac40;

/// The names of the cores.
const MODELS: &[(&str, u64)] = &[
    ("Cortex-A53", A53),
    ("Cortex-A55", A55),
    ("Cortex-A57", A57),
    ("Cortex-A72", A72),
    ("Cortex-A73", A73),
    ("Cortex-A76", A76),
    ("Neoverse-N1", N1),
    ("Cortex-A77", A77),
    ("Cortex-A510", A510),
    ("Cortex-A520", A520),
    ("Cortex-A710", A710),
    ("Cortex-X2", X2),
    ("Neoverse-N2", N2),
    ("Cortex-A715", A715),
    ("Cortex-A720", A720),
    ("Cortex-A725", A725),
    ("Cortex-A78", A78),
    ("Cortex-A78C", A78C),
    ("Cortex-X1", X1),
    ("Cortex-X1C", X1C),
    ("Cortex-X3", X3),
    ("Cortex-X4", X4),
    ("Cortex-X925", X925),
    ("Neoverse-N3", N3),
    ("Neoverse-V1", V1),
    ("Neoverse-V2", V2),
    ("Neoverse-V3", V3),
    ("ThunderX", THUNDERX),
    ("ThunderX 81xx", THUNDERX_81),
    ("ThunderX 83xx", THUNDERX_83),
    ("ThunderX2", THUNDERX2),
    ("OCTEON TX2 98xx", OCTX2_98),
    ("OCTEON TX2 96xx", OCTX2_96),
    ("OCTEON TX2 95xx", OCTX2_95),
    ("OCTEON TX2 95xxN", OCTX2_95N),
    ("OCTEON TX2 95xxMM", OCTX2_95MM),
    ("OCTEON TX2 95xxO", OCTX2_95O),
    ("Vulcan", VULCAN),
    ("A64FX", A64FX),
    ("Azure Cobalt 100", COBALT_100),
    ("Carmel", CARMEL),
    ("Kryo", KRYO),
    ("Kryo 2xx Silver", KRYO_2XX_SILVER),
    ("Kryo 4xx Gold", KRYO_4XX_GOLD),
    ("Kryo 4xx Silver", KRYO_4XX_SILVER),
    ("Falkor v1", FALKOR_V1),
    ("Falkor", FALKOR),
    ("Oryon X1", ORYON_X1),
    ("Brahma-B53", BRAHMA_B53),
    ("AmpereOne", AMPERE_1),
    ("AmpereOne AC04", AMPERE_1A),
];

const ALL: (u8, u8) = (0, 0xff);
const IMAGE: &str = "the image has no such sequence of instructions";
const OWN_CODE: &str = "EL2 does none of it, and a guest's kernel works around it for itself";
const TWICE: &str = "EL2 invalidates its translations twice";
const ONE_VCPU: &str =
    "a CPU has one partition's tables for ever, and forgets its translations before each start";
const HIDDEN: &str = "guests have no trace or statistical profiling";
const ACKNOWLEDGED: &str = "an interrupt may be acknowledged wrongly (ICC_IAR1_EL1)";
const SIBLING: &str = "a guest's write to its translation registers may be used by its sibling thread";
const NO_NFD: &str = "EL2 has no TCR_ELx.NFD0 and NFD1, and a guest's kernel works around it for itself";
const NO_UPDATES: &str = "EL2 does not let hardware manage the access flag and the dirty state";
const MMU_STAYS_ON: &str = "EL2 never turns its translation off";
const CLEAN: &str = "EL2 cleans data caches with DC CIVAC alone";

/// A row of the table.
const fn row(number: &'static str, model: u64, revisions: (u8, u8), disposition: Disposition) -> Erratum {
    Erratum { number, model, revisions, fixed: 0, disposition }
}

/// Every erratum, by core.
pub const ERRATA: &[Erratum] = &[
    row("819472", A53, (0, 0x01), NotReached(CLEAN)),
    row("824069", A53, (0, 0x02), NotReached(CLEAN)),
    row("826319", A53, (0, 0x02), NotReached(CLEAN)),
    row("827319", A53, (0, 0x02), NotReached(CLEAN)),
    Erratum { fixed: 1 << 7, ..row("835769", A53, (0, 0x04), Handled(IMAGE)) },
    Erratum { fixed: 1 << 8, ..row("843419", A53, (0, 0x04), Handled(IMAGE)) },
    row("845719", A53, (0, 0x04), NotReached(OWN_CODE)),
    row("1530924", A53, ALL, Handled(ONE_VCPU)),
    row("843419", BRAHMA_B53, (0, 0), Handled(IMAGE)),
    row("845719", BRAHMA_B53, (0, 0), NotReached(OWN_CODE)),
    row("1024718", A55, ALL, NotReached(NO_UPDATES)),
    row("1530923", A55, (0, 0x20), Handled(ONE_VCPU)),
    row("2441007", A55, ALL, Handled(TWICE)),
    row(
        "832075",
        A57,
        (0, 0x12),
        Refuse(
            "a guest can deadlock the core, and with it the board, by exclusive or acquiring loads from a device",
        ),
    ),
    row("834220", A57, (0, 0x12), Warn("a guest's own translation fault may be reported as one of stage 2")),
    row("852523", A57, ALL, NotReached("guests have no AArch32 at EL1")),
    row("1319537", A57, ALL, Handled(ONE_VCPU)),
    row("1742098", A57, (0x01, 0xff), NotReached(OWN_CODE)),
    row("853709", A72, (0, 0x03), NotReached("guests have no AArch32 at EL1")),
    row("1319367", A72, ALL, Handled(ONE_VCPU)),
    row("1655431", A72, ALL, NotReached(OWN_CODE)),
    row(
        "858921",
        A73,
        ALL,
        NotReached("EL2 reads the counter twice nowhere, and a guest's kernel works around it for itself"),
    ),
    row("1165522", A76, (0, 0x20), Handled(ONE_VCPU)),
    row("1286807", A76, (0, 0x30), Handled(TWICE)),
    row("1418040", A76, (0, 0x31), NotReached(OWN_CODE)),
    row("1463225", A76, (0, 0x31), NotReached("EL2 runs without debug exceptions")),
    row("3324349", A76, ALL, NotReached(OWN_CODE)),
    row("1349291", N1, ALL, NotReached("EL2 takes an SError as it comes and waits for none at a switch")),
    row("1418040", N1, (0, 0x31), NotReached(OWN_CODE)),
    row(
        "1542419",
        N1,
        ALL,
        NotReached("EL2 changes no code; a guest's kernel and the firmware work around it"),
    ),
    row("3324349", N1, ALL, NotReached(OWN_CODE)),
    row(
        "1508412",
        A77,
        (0, 0x10),
        Refuse(
            "a guest can deadlock the core by a store-exclusive or a read of PAR_EL1 near loads from a device",
        ),
    ),
    row("3324348", A77, ALL, NotReached(OWN_CODE)),
    row("3324344", A78, ALL, NotReached(OWN_CODE)),
    row("3324346", A78C, ALL, NotReached(OWN_CODE)),
    row("3324344", X1, ALL, NotReached(OWN_CODE)),
    row("3324346", X1C, ALL, NotReached(OWN_CODE)),
    row("1902691", A510, (0, 0x01), NotReached(HIDDEN)),
    row("2038923", A510, (0, 0x02), NotReached(HIDDEN)),
    row("2051678", A510, (0, 0x02), NotReached(NO_UPDATES)),
    row("2064142", A510, (0, 0x02), NotReached(HIDDEN)),
    row(
        "2077057",
        A510,
        (0, 0x02),
        NotReached("EL2 steps no guest, and a guest that steps itself stays at EL1"),
    ),
    row("2441009", A510, (0, 0x11), Handled(TWICE)),
    row("2457168", A510, (0, 0x11), NotReached("guests have no activity monitors")),
    Erratum { fixed: 1 << 25, ..row("2658417", A510, (0, 0x11), NotReached(OWN_CODE)) },
    row("3117295", A510, ALL, NotReached(OWN_CODE)),
    row("2966298", A520, (0, 0x01), NotReached(OWN_CODE)),
    row("2054223", A710, ALL, NotReached(HIDDEN)),
    row("2119858", A710, ALL, NotReached(HIDDEN)),
    row("2224489", A710, ALL, NotReached(HIDDEN)),
    row("3324338", A710, ALL, NotReached(OWN_CODE)),
    row("2119858", X2, (0, 0x20), NotReached(HIDDEN)),
    row("2224489", X2, (0, 0x20), NotReached(HIDDEN)),
    row("3324338", X2, ALL, NotReached(OWN_CODE)),
    row("3324335", X3, ALL, NotReached(OWN_CODE)),
    row("3194386", X4, ALL, NotReached(OWN_CODE)),
    row("3324334", X925, ALL, NotReached(OWN_CODE)),
    row("2067961", N2, ALL, NotReached(HIDDEN)),
    row("2139208", N2, ALL, NotReached(HIDDEN)),
    row("2253138", N2, ALL, NotReached(HIDDEN)),
    row("3324339", N2, ALL, NotReached(OWN_CODE)),
    row("3456111", N3, ALL, NotReached(OWN_CODE)),
    row("3324341", V1, ALL, NotReached(OWN_CODE)),
    row("3324336", V2, ALL, NotReached(OWN_CODE)),
    row("3312417", V3, ALL, NotReached(OWN_CODE)),
    row(
        "2645198",
        A715,
        ALL,
        NotReached("EL2 never changes the rights of a page; a guest's kernel works around it"),
    ),
    row("3456084", A715, ALL, NotReached(OWN_CODE)),
    row("3456091", A720, ALL, NotReached(OWN_CODE)),
    row("3456106", A725, ALL, NotReached(OWN_CODE)),
    row("23154", THUNDERX, ALL, Warn(ACKNOWLEDGED)),
    row("23154", THUNDERX_81, ALL, Warn(ACKNOWLEDGED)),
    row("23154", THUNDERX_83, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_98, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_96, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_95, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_95N, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_95MM, ALL, Warn(ACKNOWLEDGED)),
    row("23154", OCTX2_95O, ALL, Warn(ACKNOWLEDGED)),
    row("27456", THUNDERX, (0, 0x11), NotReached(OWN_CODE)),
    row("27456", THUNDERX_81, (0, 0), NotReached(OWN_CODE)),
    row(
        "30115",
        THUNDERX,
        (0, 0x12),
        Warn("a guest can keep interrupts from its core by its group-1 interrupt enable"),
    ),
    row(
        "30115",
        THUNDERX_81,
        (0, 0x02),
        Warn("a guest can keep interrupts from its core by its group-1 interrupt enable"),
    ),
    row(
        "30115",
        THUNDERX_83,
        (0, 0),
        Warn("a guest can keep interrupts from its core by its group-1 interrupt enable"),
    ),
    row("219", THUNDERX2, ALL, Warn(SIBLING)),
    row("219", VULCAN, ALL, Warn(SIBLING)),
    row("E#010001", A64FX, (0, 0), NotReached(NO_NFD)),
    row("E#010001", A64FX, (0x10, 0x10), NotReached(NO_NFD)),
    row("2067961", COBALT_100, ALL, NotReached(HIDDEN)),
    row("2139208", COBALT_100, ALL, NotReached(HIDDEN)),
    row("2253138", COBALT_100, ALL, NotReached(HIDDEN)),
    row("3324339", COBALT_100, ALL, NotReached(OWN_CODE)),
    row(
        "CNP",
        CARMEL,
        ALL,
        NotReached("EL2's own tables and those of stage 2 are not common to CPUs (CnP is 0)"),
    ),
    row("E1003", KRYO, ALL, NotReached(OWN_CODE)),
    row("E1009", KRYO, ALL, Handled(TWICE)),
    row("845719", KRYO_2XX_SILVER, (0xa4, 0xa4), NotReached(OWN_CODE)),
    row("1286807", KRYO_4XX_GOLD, (0xce, 0xfe), Handled(TWICE)),
    row("1418040", KRYO_4XX_GOLD, (0xce, 0xff), NotReached(OWN_CODE)),
    row("1463225", KRYO_4XX_GOLD, (0xce, 0xff), NotReached("EL2 runs without debug exceptions")),
    row("1024718", KRYO_4XX_SILVER, (0xde, 0xde), NotReached(NO_UPDATES)),
    row("1530923", KRYO_4XX_SILVER, (0xde, 0xde), Handled(ONE_VCPU)),
    row("E1003", FALKOR_V1, (0, 0), NotReached(OWN_CODE)),
    row("E1009", FALKOR_V1, (0, 0), Handled(TWICE)),
    row("E1041", FALKOR_V1, ALL, NotReached(MMU_STAYS_ON)),
    row("E1041", FALKOR, ALL, NotReached(MMU_STAYS_ON)),
    row(
        "CNTVOFF",
        ORYON_X1,
        ALL,
        Warn("CNTVOFF_EL2 is broken: a guest's virtual counter may not begin at its start"),
    ),
    row("AC03_CPU_38", AMPERE_1, ALL, NotReached(NO_UPDATES)),
    row("AC04_CPU_10", AMPERE_1A, ALL, NotReached(NO_UPDATES)),
    row("AC04_CPU_23", AMPERE_1A, ALL, Handled("EL2 writes HCR_EL2 between barriers")),
];

/// The errata that `core` has.
pub fn of(core: Core) -> impl Iterator<Item = &'static Erratum> {
    ERRATA.iter().filter(move |erratum| erratum.affects(core))
}

/// Whether `core` may complete an invalidation too early, so that each is to be done twice.
#[must_use]
pub fn invalidates_twice(core: Core) -> bool {
    of(core).any(|erratum| erratum.disposition == Handled(TWICE))
}

/// The numbers of those that are refused unless accepted.
pub fn refused() -> impl Iterator<Item = &'static str> {
    let is_refused = |erratum: &&Erratum| matches!(erratum.disposition, Refuse(_));
    ERRATA.iter().filter(is_refused).map(|erratum| erratum.number)
}

/// Which refused errata a configuration accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted(u32);

impl Accepted {
    /// Those of the numbers that are refused otherwise.
    pub(crate) fn new<'n>(numbers: impl IntoIterator<Item = &'n str>) -> Self {
        let bit = |number| refused().position(|known| known == number).unwrap_or(32) as u32;
        Self(numbers.into_iter().fold(0, |all, number| all | 1_u32.checked_shl(bit(number)).unwrap_or(0)))
    }

    /// Whether this number is among them.
    #[must_use]
    pub fn has(self, number: &str) -> bool {
        refused().position(|known| known == number).is_some_and(|bit| self.0 >> bit & 1 == 1)
    }
}

/// The first erratum for which `core` is not used: its number and what a guest can do.
#[must_use]
pub fn refusal(core: Core, accepted: Accepted) -> Option<(&'static str, &'static str)> {
    of(core).find_map(|erratum| match erratum.disposition {
        Refuse(why) if !accepted.has(erratum.number) => Some((erratum.number, why)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn numbers(midr: u64, revidr: u64) -> Vec<&'static str> {
        of(Core { midr, revidr }).map(|erratum| erratum.number).collect()
    }

    #[test]
    fn cores_are_found_by_model_revision_and_what_is_fixed() {
        // MIDR_EL1 of Cortex-A53 r0p4, r0p3 and r0p5: only r0p4 says in REVIDR_EL1 what is fixed.
        assert_eq!(numbers(0x410f_d034, 0), ["835769", "843419", "845719", "1530924"]);
        assert_eq!(numbers(0x410f_d034, 0x100), ["835769", "845719", "1530924"]);
        assert_eq!(numbers(0x410f_d034, 0x180), ["845719", "1530924"]);
        assert_eq!(numbers(0x410f_d033, 0x180), ["835769", "843419", "845719", "1530924"]);
        assert_eq!(numbers(0x410f_d035, 0), ["1530924"]);
        // Cortex-A76 r3p0 and r3p1.
        assert_eq!(numbers(0x413f_d0b0, 0), ["1286807", "1418040", "1463225", "3324349"]);
        assert_eq!(numbers(0x413f_d0b1, 0), ["1418040", "1463225", "3324349"]);
        // Cortex-A510 r1p1, with and without what REVIDR_EL1[25] says, and Cortex-A57 r0p0 and r0p1.
        assert!(numbers(0x411f_d461, 0).contains(&"2658417"));
        assert!(!numbers(0x411f_d461, 1 << 25).contains(&"2658417"));
        assert!(!numbers(0x410f_d070, 0).contains(&"1742098"));
        assert!(numbers(0x410f_d071, 0).contains(&"1742098"));
        // Kryo's part number says a revision as well; Falkor's and Kryo 4xx's do not.
        assert_eq!(numbers(0x511f_2052, 0), ["E1003", "E1009"]);
        assert_eq!(numbers(0x511f_2112, 0), ["E1003", "E1009"]);
        assert_eq!(numbers(0x51cf_804e, 0), ["1286807", "1418040", "1463225"]);
        assert_eq!(numbers(0x51ff_804f, 0), ["1418040", "1463225"]);
        assert_eq!(numbers(0x511f_c000, 0), ["E1041"]);
        // Another implementer's core with Arm's part number.
        assert_eq!(numbers(0x420f_d034, 0), [""; 0]);
        assert_eq!(Core { midr: 0x414f_d0b1, revidr: 0 }.name(), Some("Cortex-A76"));
        assert_eq!(Core { midr: 0x414f_d0b1, revidr: 0 }.revision(), 0x41);
    }

    #[test]
    fn cores_that_a_guest_can_deadlock_are_refused_unless_accepted() {
        let none = Accepted::default();
        let both = Accepted::new(["1508412", "832075"]);
        for (midr, number) in [(0x411f_d070, "832075"), (0x411f_d072, "832075"), (0x411f_d0d0, "1508412")] {
            let core = Core { midr, revidr: 0 };
            assert_eq!(refusal(core, none).map(|(number, _)| number), Some(number), "{midr:#x}");
            assert_eq!(refusal(core, Accepted::new([number])), None, "{midr:#x}");
            assert_eq!(refusal(core, both), None, "{midr:#x}");
            let other = refused().filter(|other| *other != number);
            assert!(refusal(core, Accepted::new(other)).is_some(), "{midr:#x}");
        }
        for midr in [0x411f_d073, 0x411f_d0d1, 0x410f_d083, 0x410f_d034] {
            assert_eq!(refusal(Core { midr, revidr: 0 }, none), None, "{midr:#x}");
        }
        assert_eq!(Accepted::new(["834220"]), none);
    }

    #[test]
    fn cores_that_complete_invalidations_early_invalidate_twice() {
        // Cortex-A76 r3p0, Cortex-A55 r2p0, Cortex-A510 r1p1; Cortex-A76 r4p0, Cortex-A53 r0p4, Cortex-A72 r0p3.
        for midr in [0x413f_d0b0, 0x412f_d050, 0x411f_d461] {
            assert!(invalidates_twice(Core { midr, revidr: 0 }), "{midr:#x}");
        }
        for midr in [0x414f_d0b0, 0x410f_d034, 0x410f_d083] {
            assert!(!invalidates_twice(Core { midr, revidr: 0 }), "{midr:#x}");
        }
    }

    #[test]
    fn every_erratum_is_documented() {
        let page = include_str!("../../../docs/errata.md");
        for erratum in ERRATA {
            let name = Core { midr: erratum.model, revidr: 0 }.name().expect("every core has a name");
            let row = page.lines().find(|line| {
                line.starts_with(&format!("| {name} ")) && line.contains(&format!("| {} |", erratum.number))
            });
            let row =
                row.unwrap_or_else(|| panic!("docs/errata.md has no row for {name} {}", erratum.number));
            let (word, why) = match erratum.disposition {
                Refuse(why) => ("refused", why),
                Warn(why) => ("warning", why),
                Handled(why) => ("worked around", why),
                NotReached(why) => ("not reached", why),
            };
            assert!(row.contains(&format!("| {word} | {why} |")), "{row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |")).count();
        assert_eq!(rows, ERRATA.len() + 2, "one row each, beside the table's head");
    }
}
