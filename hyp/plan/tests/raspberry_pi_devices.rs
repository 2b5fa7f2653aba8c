// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4: which of its devices, and which memory for them, goes to whom.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::Tree;
use support::raspberry_pi::{board, bundle, changed_by_trusted_firmware, partition, plan};
use support::{assert_disjoint_beside, overlay};

/// What is wrong with a small partition that has these devices, remapped or identity-mapped.
fn errors_with(devices: &str, identity_mapped: bool) -> Vec<String> {
    let mapped = if identity_mapped { "identity-mapped;" } else { "" };
    let source = format!("memory = <0x0 0x20000000 0x0 0x200000>; devices = {devices}; {mapped}");
    plan(&partition(&source)).err().unwrap_or_default()
}

/// The mini UART's page and interrupt are those of two SPI controllers too.
#[test]
fn what_shares_the_consoles_page_is_refused() {
    let errors = errors_with("\"/soc/spi@7e215080\"", false);
    assert!(errors.iter().any(|error| error.contains("its registers share a page")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("that of the hypervisor's console too")), "{errors:?}");
}

/// The table of docs/raspberry-pi.md: to whom each device can be given. Without an SMMU a device that masters
/// the bus needs an owner whose memory is where the device sees it, and who is trusted.
#[test]
fn every_device_goes_to_whom_it_may() {
    const MASTER: Option<&str> = Some("it can master the bus");
    const BUS: Option<&str> = Some("buses, with the devices behind them, are not supported yet");
    const CONTROLLER: Option<&str> = Some("interrupt controllers behind the GIC are not supported yet");
    const PAGE: Option<&str> = Some("its registers share a page with");
    const UARTS: &str = "\"/soc/serial@7e201000\", \"/soc/serial@7e201400\", \"/soc/serial@7e201600\", \
         \"/soc/serial@7e201800\", \"/soc/serial@7e201a00\"";
    // What a remapped partition is told, and what an identity-mapped one.
    let table = [
        (UARTS, None, None),
        // UART0 is in use, and on the same page.
        ("\"/soc/serial@7e201400\"", PAGE, PAGE),
        ("\"/soc/i2c@7e804000\"", None, None),
        ("\"/soc/rng@7e104000\"", None, None),
        ("\"/soc/watchdog@7e100000\"", None, None),
        ("\"/soc/gpio@7e200000\"", CONTROLLER, CONTROLLER),
        ("\"/soc/mailbox@7e00b880\"", MASTER, None),
        ("\"/soc/dma-controller@7e007000\"", MASTER, None),
        ("\"/soc/usb@7e980000\"", MASTER, None),
        ("\"/emmc2bus/mmc@7e340000\"", MASTER, None),
        ("\"/scb/ethernet@7d580000\"", MASTER, None),
        ("\"/scb/usb@7e9c0000\"", MASTER, None),
        ("\"/scb/pcie@7d500000\"", MASTER, BUS),
    ];
    for (devices, remapped, identity_mapped) in table {
        for (mapped, expected) in [(false, remapped), (true, identity_mapped)] {
            let errors = errors_with(devices, mapped);
            match expected {
                None => assert!(errors.is_empty(), "{devices}: {errors:?}"),
                Some(rule) => {
                    assert!(errors.iter().any(|error| error.contains(rule)), "{devices}: {errors:?}")
                }
            }
        }
    }
}

/// The primary partition has all of them, and a warning says what that means.
#[test]
fn the_primary_partition_has_the_rest() {
    let linux = "linux { compatible = \"bulkhead,partition\"; primary; kernel = \"debian-12\"; };\nticker {";
    let beside = "memory = <0x0 0x40000000 0x0 0x200000>; devices = \"/soc/i2c@7e804000\";";
    let planned = plan(&partition(beside).replace("one {", linux)).unwrap();
    let own = planned.plan.partitions.iter().find(|partition| partition.primary).unwrap();
    let paths: Vec<&str> = own.devices.iter().map(|device| device.path.as_str()).collect();
    for path in
        ["/emmc2bus/mmc@7e340000", "/scb/pcie@7d500000", "/scb/ethernet@7d580000", "/soc/gpio@7e200000"]
    {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    // The console, with what shares its page; the power manager; what another has.
    for path in ["/soc/serial@7e215040", "/soc/spi@7e215080", "/soc/watchdog@7e100000", "/soc/i2c@7e804000"] {
        assert!(!paths.contains(&path), "{path} is among {paths:?}");
    }
    let warnings: String = planned.plan.warnings.iter().map(|warning| format!("{warning}\n")).collect();
    assert!(warnings.contains("The primary partition must be trusted"), "{warnings}");
    // The virtual UART has the number of the port that it stands for.
    let tree = Tree::parse(&own.tree.blob, "guest").unwrap();
    assert_eq!(tree.by_path("/aliases").unwrap().string("serial1"), Some("/serial@fe215000"));
    assert_eq!(tree.by_path("/aliases").unwrap().string("serial0"), Some("/soc/serial@7e201000"));
    // Every other node of a device is the board's, so that clocks, pins and interrupts stay right; but the PMUs' lacks
    // the other partition's CPU.
    assert_eq!(
        tree.by_path("/pmu").unwrap().cells("interrupts").collect::<Vec<_>>(),
        [0, 17, 4, 0, 18, 4, 0, 19, 4]
    );
    let blob = board();
    let before = Tree::parse(&blob, "board").unwrap();
    for path in paths.into_iter().filter(|path| *path != "/pmu") {
        let (old, new) = (before.by_path(path).unwrap(), tree.by_path(path).unwrap());
        assert_eq!(new.properties(), old.properties(), "{path}");
    }
}

/// Devices on the SoC's buses reach the first gigabyte alone: who needs none of it gets none, as long as there
/// is other memory.
#[test]
fn low_memory_is_left_to_those_who_need_it() {
    const GIB: u64 = 1 << 30;
    let end = |source: &str| {
        let planned = plan(&partition(source)).unwrap();
        planned.plan.partitions[0].memory.iter().map(|memory| memory.frames.end().0).max().unwrap()
    };
    assert!(end("memory = <0x0 0x40000000 0x0 0x10000000>;") > GIB);
    assert!(end("memory = <0x0 0x10000000>; identity-mapped; devices = \"/emmc2bus/mmc@7e340000\";") <= GIB);
}

/// Each partition has the PMUs' interrupts of its own CPUs, in the order of its vCPUs.
#[test]
fn counters_interrupt_the_cpus_that_they_count_on() {
    const MEMORY: &str = "memory = <0x0 0x40000000 0x0 0x200000>;";
    let second = format!(
        "two {{ compatible = \"bulkhead,partition\"; cpus = <3 1>; kernel = \"ticker\"; {MEMORY} }};"
    );
    let planned = plan(&partition(MEMORY).replacen("one {", &format!("{second} one {{"), 1)).unwrap();
    for (partition, spis) in planned.plan.partitions.iter().zip([&[19_u32, 17][..], &[16]]) {
        let blob = &partition.tree.blob;
        let tree = Tree::parse(blob, "guest").unwrap();
        let pmu = tree.by_path("/pmu").unwrap();
        let cells: Vec<u32> = spis.iter().flat_map(|spi| [0, *spi, 4]).collect();
        assert_eq!(pmu.cells("interrupts").collect::<Vec<_>>(), cells);
        let affine = pmu.cells("interrupt-affinity").map(|phandle| tree.by_phandle(phandle).unwrap().path());
        let cpus: Vec<_> = (0..spis.len()).map(|cpu| format!("/cpus/cpu@{cpu}")).collect();
        assert_eq!(affine.collect::<Vec<_>>(), cpus);
    }
    // The primary partition has the board's node itself, and still only its own CPUs' interrupts.
    let primary = partition("primary; memory = <0x1 0x0 0x0 0x4000000>;").replace("ticker", "debian-12");
    let planned = plan(&primary.replacen("one {", &format!("{second} one {{"), 1)).unwrap();
    let tree = Tree::parse(&planned.plan.partitions[0].tree.blob, "guest").unwrap();
    assert_eq!(tree.by_path("/pmu").unwrap().cells("interrupts").collect::<Vec<_>>(), [0, 19, 4, 0, 17, 4]);
}

/// Where a CPU's counters have an interrupt with another's, or with a device, a partition does without rather than with what
/// is another's too.
#[test]
fn counters_interrupts_have_one_owner() {
    const MEMORY: &str = "memory = <0x0 0x40000000 0x0 0x200000>;";
    let second = |properties: &str| {
        let two =
            format!("two {{ compatible = \"bulkhead,partition\"; kernel = \"ticker\"; {properties} }};");
        partition(MEMORY).replacen("one {", &format!("{two} one {{"), 1)
    };
    let own = format!("cpus = <1>; {MEMORY}");
    let i2c = format!("{own} devices = \"/soc/i2c@7e804000\";");
    // The counters' interrupts; the second partition; who has counters, and who is told that it has none.
    let table = [
        ([16, 17, 18, 19], &*own, "two one", ""),
        ([16, 16, 18, 19], &own, "", "one two"),
        ([18, 17, 18, 19], &own, "two", "one"),
        ([16, 16, 18, 19], "cpus = <1>; primary;", "", "one"),
        ([117, 17, 18, 19], &i2c, "two", "one"),
        // The console's.
        ([93, 17, 18, 19], &own, "two", "one"),
    ];
    for (spis, properties, with, without) in table {
        let blob = board();
        let mut tree = Tree::parse(&blob, "board").unwrap();
        let pmu = tree.by_path("/pmu").unwrap().id();
        tree.set_cells(pmu, "interrupts", &spis.map(|spi| [0, spi, 4]).concat());
        let blob = tree.to_blob();
        let bundle = bundle(&[("one.dtbo", overlay(&second(properties)))]);
        let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
        let planned = plan_board(&blob, &bundle, vec![]).unwrap();
        assert_disjoint_beside(&planned, &[]);
        for partition in &planned.plan.partitions {
            let counters = partition.devices.iter().any(|device| device.path == "/pmu");
            assert_eq!(counters, with.contains(&partition.name), "{spis:?} {}", partition.name);
            let told = format!(
                "/partitions/{}: the partition's CPUs have no interrupts of their counters",
                partition.name
            );
            let told = planned.plan.warnings.iter().any(|warning| warning.to_string().starts_with(&told));
            assert_eq!(told, without.contains(&partition.name), "{spis:?} {}", partition.name);
        }
    }
}

/// EMMC2 reaches the first gigabyte; GENET, on another bus, all of it.
#[test]
fn a_bus_masters_owner_has_memory_that_it_reaches() {
    let high = "memory = <0x1 0x0 0x0 0x200000>; identity-mapped;";
    let errors = plan(&partition(&format!("{high} devices = \"/emmc2bus/mmc@7e340000\";"))).unwrap_err();
    assert_eq!(
        errors,
        ["/partitions/one: devices = \"/emmc2bus/mmc@7e340000\": it masters the bus and reaches \
          0x0..0x40000000 alone (dma-ranges above it), where the partition has no memory. \
          Give the partition some memory there, with an address."]
    );
    plan(&partition(&format!("{high} devices = \"/scb/ethernet@7d580000\";"))).unwrap();
    let primary = partition("primary; memory = <0x1 0x0 0x0 0x4000000>;").replace("ticker", "debian-12");
    let warnings = plan(&primary).unwrap().plan.warnings;
    let told = |path: &str| {
        let start = format!("of its device {path}: ");
        warnings
            .iter()
            .any(|warning| warning.rule.starts_with(&start) && warning.rule.contains("has no memory"))
    };
    assert!(told("/emmc2bus/mmc@7e340000") && !told("/scb/ethernet@7d580000"), "{warnings:?}");
}

fn with_watchdog(seconds: &str, partition: &str) -> String {
    partition.replacen("one {", &format!("watchdog-timeout-sec = <{seconds}>; one {{"), 1)
}

#[test]
fn the_hypervisor_runs_the_boards_watchdog_if_asked_to() {
    const SMALL: &str = "memory = <0x0 0x40000000 0x0 0x200000>;";
    let dog = "devices = \"/soc/watchdog@7e100000\";";
    let asked =
        |seconds: &str, more: &str| plan(&with_watchdog(seconds, &partition(&format!("{SMALL} {more}"))));
    assert_eq!(plan(&partition(SMALL)).unwrap().plan.policy.watchdog, None);
    for seconds in [1, 15] {
        assert_eq!(asked(&seconds.to_string(), "").unwrap().plan.policy.watchdog, Some(seconds));
    }
    let range = "the board's watchdog counts from 1 to 15 seconds.";
    for (seconds, more, expected) in [
        ("0", "", format!("/partitions: watchdog-timeout-sec = <0>: {range}")),
        ("16", "", format!("/partitions: watchdog-timeout-sec = <16>: {range}")),
        ("1 2", "", "/partitions: watchdog-timeout-sec = <1 2>: this is one number, of one cell.".into()),
        (
            "10",
            dog,
            "/partitions/one: devices = \"/soc/watchdog@7e100000\": with watchdog-timeout-sec the hypervisor runs \
             the board's watchdog itself. Leave out one of the two."
                .into(),
        ),
    ] {
        assert_eq!(asked(seconds, more).unwrap_err(), [expected]);
    }
}

/// With PSCI the primary partition has the power manager, unless the hypervisor runs the watchdog.
#[test]
fn the_watchdog_has_one_owner() {
    let blob = changed_by_trusted_firmware();
    let primary = partition("primary;").replace("ticker", "debian-12");
    for (source, expected) in [(primary.clone(), true), (with_watchdog("10", &primary), false)] {
        let bundle = bundle(&[("one.dtbo", overlay(&source))]);
        let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
        let planned = plan_board(&blob, &bundle, vec![]).unwrap();
        let devices = &planned.plan.partitions[0].devices;
        assert_eq!(devices.iter().any(|device| device.path == "/soc/watchdog@7e100000"), expected);
    }
}
