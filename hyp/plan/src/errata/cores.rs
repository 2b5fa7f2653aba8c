// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cores by implementer and part number, as bits of MIDR_EL1.

pub(super) const A53: u64 = 0x4100_d030;
pub(super) const A55: u64 = 0x4100_d050;
pub(super) const A57: u64 = 0x4100_d070;
pub(super) const A72: u64 = 0x4100_d080;
pub(super) const A73: u64 = 0x4100_d090;
pub(super) const A76: u64 = 0x4100_d0b0;
pub(super) const N1: u64 = 0x4100_d0c0;
pub(super) const A77: u64 = 0x4100_d0d0;
pub(super) const V1: u64 = 0x4100_d400;
pub(super) const A78: u64 = 0x4100_d410;
pub(super) const X1: u64 = 0x4100_d440;
pub(super) const A510: u64 = 0x4100_d460;
pub(super) const A710: u64 = 0x4100_d470;
pub(super) const X2: u64 = 0x4100_d480;
pub(super) const N2: u64 = 0x4100_d490;
pub(super) const A78C: u64 = 0x4100_d4b0;
pub(super) const X1C: u64 = 0x4100_d4c0;
pub(super) const A715: u64 = 0x4100_d4d0;
pub(super) const X3: u64 = 0x4100_d4e0;
pub(super) const V2: u64 = 0x4100_d4f0;
pub(super) const A520: u64 = 0x4100_d800;
pub(super) const A720: u64 = 0x4100_d810;
pub(super) const X4: u64 = 0x4100_d820;
pub(super) const V3: u64 = 0x4100_d840;
pub(super) const X925: u64 = 0x4100_d850;
pub(super) const A725: u64 = 0x4100_d870;
pub(super) const N3: u64 = 0x4100_d8e0;
pub(super) const THUNDERX: u64 = 0x4300_0a10;
pub(super) const THUNDERX_81: u64 = 0x4300_0a20;
pub(super) const THUNDERX_83: u64 = 0x4300_0a30;
pub(super) const THUNDERX2: u64 = 0x4300_0af0;
pub(super) const OCTX2_98: u64 = 0x4300_0b10;
pub(super) const OCTX2_96: u64 = 0x4300_0b20;
pub(super) const OCTX2_95: u64 = 0x4300_0b30;
pub(super) const OCTX2_95N: u64 = 0x4300_0b40;
pub(super) const OCTX2_95MM: u64 = 0x4300_0b50;
pub(super) const OCTX2_95O: u64 = 0x4300_0b60;
pub(super) const VULCAN: u64 = 0x4200_5160;
pub(super) const A64FX: u64 = 0x4600_0010;
pub(super) const COBALT_100: u64 = 0x6d00_d490;
pub(super) const CARMEL: u64 = 0x4e00_0040;
pub(super) const ORYON_X1: u64 = 0x5100_0010;
pub(super) const KRYO: u64 = 0x5100_2000;
pub(super) const FALKOR_V1: u64 = 0x5100_8000;
pub(super) const KRYO_2XX_SILVER: u64 = 0x5100_8010;
pub(super) const KRYO_4XX_GOLD: u64 = 0x5100_8040;
pub(super) const KRYO_4XX_SILVER: u64 = 0x5100_8050;
pub(super) const FALKOR: u64 = 0x5100_c000;
pub(super) const BRAHMA_B53: u64 = 0x4200_1000;
pub(super) const AMPERE_1: u64 = 0xc000_ac30;
pub(super) const AMPERE_1A: u64 = 0xc000_ac40;

/// The names of the cores.
pub(super) const MODELS: &[(&str, u64)] = &[
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
