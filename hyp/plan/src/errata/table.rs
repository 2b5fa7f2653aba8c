// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of errata, by core.

use super::Disposition::{Handled, NotReached, Refuse, Warn};
use super::cores::*;
use super::{Disposition, Erratum};

const ALL: (u8, u8) = (0, 0xff);
const IMAGE: &str = "the image has no such sequence of instructions";
const OWN_CODE: &str = "EL2 does none of it, and a guest's kernel works around it for itself";
pub(super) const TWICE: &str = "EL2 invalidates its translations twice";
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
