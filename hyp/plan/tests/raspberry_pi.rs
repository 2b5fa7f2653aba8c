// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4: its memory, consoles and power manager; and partitions that its firmware merges into the
//! board's tree with `dtoverlay=`, which give the plan that the bundle's overlays give.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_plan::board::{Board, Conduit, Gic, Start};
use bulkhead_plan::bundle::{Bundle, Contents, NewConfiguration, software_crc32, write};
use bulkhead_plan::early::{ConsoleKind, Outline};
use bulkhead_plan::error::Problem;
use bulkhead_plan::tree::{NodeId, Tree};
use bulkhead_plan::{Planned, plan_board};
use bulkhead_types::{Hpa, Range};
use support::{guest_source, image, linux_image, overlay, root};

/// The model with 8 GiB.
fn board() -> Vec<u8> {
    overlay(&fs::read_to_string(root().join("hyp/plan/tests/boards/raspberry-pi-4.dts")).unwrap())
}

/// The same with other memory.
fn with_memory(cells: &[u32]) -> Vec<u8> {
    let board = board();
    let mut tree = Tree::parse(&board, "board").unwrap();
    let memory = tree.by_path("/memory@0").unwrap().id();
    tree.set_cells(memory, "reg", cells);
    tree.to_blob()
}

fn demo() -> Vec<u8> {
    overlay(&fs::read_to_string(root().join("guests/demo/demo.dtso")).unwrap())
}

/// The demo's images with these overlays.
fn bundle(overlays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut images = vec![
        image("debian-12", "kernel", linux_image()),
        image("busybox-initrd", "ramdisk", vec![7; 100_000]),
        image("ticker", "kernel", vec![1; 8192]),
    ];
    images.extend(overlays.iter().map(|(name, blob)| image(name, "flat_dt", blob.clone())));
    write(
        &Contents {
            description: "test".into(),
            timestamp: 0,
            images,
            configurations: vec![NewConfiguration {
                name: "default".into(),
                description: "any board".into(),
                compatible: vec![],
                overlays: overlays.iter().map(|(name, _)| (*name).into()).collect(),
            }],
        },
        software_crc32,
    )
    .unwrap()
}

/// What libfdt, which the Pi's firmware merges with, makes of the two.
fn merged(board: &[u8], overlay: &[u8]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware-merge");
    fs::create_dir_all(&folder).unwrap();
    let place = |name: &str| folder.join(name);
    fs::write(place("board.dtb"), board).unwrap();
    fs::write(place("demo.dtbo"), overlay).unwrap();
    let status = Command::new("fdtoverlay")
        .arg("-i")
        .arg(place("board.dtb"))
        .arg("-o")
        .arg(place("merged.dtb"))
        .arg(place("demo.dtbo"))
        .status()
        .expect("this test needs fdtoverlay: scripts/setup installs device-tree-compiler");
    assert!(status.success());
    fs::read(place("merged.dtb")).unwrap()
}

/// What of a plan a guest or another partition could notice, by name. The bundle's layout and the places of
/// nodes in the merged tree are not among it. Nor is the order of the partitions, by which the console numbers
/// them: libfdt puts each new node before the others, so that the last of an overlay comes first.
fn essence(planned: &Planned) -> Vec<String> {
    let one = |partition: &bulkhead_plan::plan::Partition| {
        let devices: Vec<_> =
            partition.devices.iter().map(|device| (&device.path, &device.registers)).collect();
        format!(
            "{} {:?} {:?} {:?} {devices:?} {:?} {:?} {}",
            partition.name,
            partition.cpus,
            partition.memory,
            partition.interrupt_controller,
            partition.entry,
            partition.restart,
            guest_source(&partition.tree.blob),
        )
    };
    let mut partitions: Vec<String> = planned.plan.partitions.iter().map(one).collect();
    partitions.sort();
    partitions
}

#[test]
fn firmwares_merge_and_ours_give_one_plan() {
    let (board, demo) = (board(), demo());
    let ours = bundle(&[("demo.dtbo", demo.clone())]);
    let ours = Bundle::parse(&ours, software_crc32).unwrap();
    let ours = plan_board(&board, &ours, vec![]).unwrap();
    let merged = merged(&board, &demo);
    let images = bundle(&[]);
    let images = Bundle::parse(&images, software_crc32).unwrap();
    let firmwares = plan_board(&merged, &images, vec![]).unwrap();
    assert_eq!(essence(&ours).len(), 3);
    assert_eq!(essence(&firmwares), essence(&ours));
}

#[test]
fn without_partitions_anywhere_there_is_a_sentence() {
    let (board, images) = (board(), bundle(&[]));
    let images = Bundle::parse(&images, software_crc32).unwrap();
    let errors = plan_board(&board, &images, vec![]).unwrap_err().0;
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(text[0].contains("unless the board's tree has /partitions"), "{text:?}");
}

fn range(start: u64, size: u64) -> Range<Hpa> {
    Range::<Hpa>::new(Hpa(start), size).unwrap()
}

#[test]
fn the_board_is_read() {
    let blob = board();
    let tree = Tree::parse(&blob, "board").unwrap();
    let board = Board::read(&tree).unwrap();
    assert_eq!(
        board.memory,
        [range(0, 0x3b40_0000), range(0x4000_0000, 0xbc00_0000), range(1 << 32, 4 << 30)]
    );
    let starts: Vec<_> = board.cpus.iter().map(|cpu| cpu.start).collect();
    assert_eq!(starts, [0xd8, 0xe0, 0xe8, 0xf0].map(|at| Some(Start::SpinTable(Hpa(at)))));
    assert!(matches!(board.gic, Gic::V2 { distributor, .. } if distributor == range(0xff84_1000, 0x1000)));
    let console = board.console.unwrap();
    assert_eq!((console.kind, console.registers), (ConsoleKind::MiniUart, range(0xfe21_5040, 0x40)));
    assert_eq!(console.interrupt.map(|(id, _)| id.get()), Some(32 + 93));
}

#[test]
fn early_boot_finds_console_and_power() {
    let blob = board();
    let outline = Outline::new(&blob).unwrap();
    let console = outline.console().unwrap();
    assert_eq!((console.kind, console.registers), (ConsoleKind::MiniUart, range(0xfe21_5040, 0x40)));
    assert_eq!(outline.power_manager(), Some(range(0xfe10_0000, 0x114)));
    // The firmware's page with the spin table stays free.
    let working = outline.free_range(&[], 1 << 20, 4096).unwrap();
    assert_eq!(working.start(), Hpa(0x1000));
}

/// Each model's memory, as large as it may be: all but the VideoCore's share and what is reserved.
#[test]
fn every_model_has_its_memory() {
    const GIB: u64 = 1 << 30;
    let models: [(&[u32], u64); 4] = [
        (&[0, 0, 0x3b40_0000], GIB),
        (&[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0x4000_0000], 2 * GIB),
        (&[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000], 4 * GIB),
        (
            &[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000, 1, 0, 0x8000_0000, 1, 0x8000_0000, 0x8000_0000],
            8 * GIB,
        ),
    ];
    for (cells, size) in models {
        let blob = with_memory(cells);
        let tree = Tree::parse(&blob, "board").unwrap();
        let board = Board::read(&tree).unwrap();
        let whole: u64 = board.memory.iter().map(Range::size).sum();
        assert!(whole < size && whole > size - size / 8, "{size:#x}: {whole:#x}");
        // As much as is left in whole mebibytes, in one partition, from several banks.
        let wanted = (whole >> 20) - 8;
        let source = format!(
            "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
             #address-cells = <2>; #size-cells = <2>; all {{ compatible = \"bulkhead,partition\"; \
             cpus = <0 1 2 3>; memory = <0x0 0x40000000 {:#x} {:#x}>; kernel = \"ticker\"; }}; }}; }};",
            (wanted << 20) >> 32,
            (wanted << 20) & 0xffff_ffff,
        );
        let bundle = bundle(&[("all.dtbo", overlay(&source))]);
        let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
        let planned = plan_board(&blob, &bundle, vec![(range(0x20_0000, 0x10_0000), "the image")]).unwrap();
        let memory = &planned.plan.partitions[0].memory;
        assert!(memory.iter().all(|piece| !piece.frames.overlaps(&range(0, 0x1000))), "{memory:x?}");
        assert!(
            memory.iter().all(|piece| !piece.frames.overlaps(&range(0x3b3f_0000, 0x1000))),
            "{memory:x?}"
        );
    }
}

/// A small partition with these properties.
fn partition(properties: &str) -> String {
    format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; one {{ compatible = \"bulkhead,partition\"; cpus = <0>; \
         kernel = \"ticker\"; {properties} }}; }}; }};"
    )
}

fn plan(source: &str) -> Result<Planned, Vec<String>> {
    let bundle = bundle(&[("one.dtbo", overlay(source))]);
    let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
    plan_board(&board(), &bundle, vec![]).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

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
        let of = |warning: &&Problem| warning.value.as_deref() == Some(&*format!("\"{path}\""));
        warnings.iter().filter(of).any(|warning| warning.rule.contains("has no memory"))
    };
    assert!(told("/emmc2bus/mmc@7e340000") && !told("/scb/ethernet@7d580000"), "{warnings:?}");
}

/// What early boot and the whole plan have for a console where the tree says so: the same.
#[test]
fn the_console_is_what_stdout_path_names() {
    let ports = [
        ("serial0:115200n8", Some((ConsoleKind::Pl011, 0xfe20_1000, 121))),
        ("serial1", Some((ConsoleKind::MiniUart, 0xfe21_5040, 93))),
        ("serial3:9600", Some((ConsoleKind::Pl011, 0xfe20_1600, 121))),
        ("/soc/serial@7e201400", Some((ConsoleKind::Pl011, 0xfe20_1400, 121))),
        ("/soc/serial@7e201800:115200", Some((ConsoleKind::Pl011, 0xfe20_1800, 121))),
        ("/soc/serial@7e201a00", Some((ConsoleKind::Pl011, 0xfe20_1a00, 121))),
        ("/soc/gpio@7e200000", None),
        ("serial9", None),
    ];
    for (stdout, expected) in ports {
        let blob = board();
        let mut tree = Tree::parse(&blob, "board").unwrap();
        let chosen = tree.by_path("/chosen").unwrap().id();
        tree.set_string(chosen, "stdout-path", stdout);
        let aliases = tree.by_path("/aliases").unwrap().id();
        tree.set_string(aliases, "serial3", "/soc/serial@7e201600");
        let blob = tree.to_blob();
        let early = Outline::new(&blob).unwrap().console();
        let early = early.map(|console| (console.kind, console.registers.start().0));
        assert_eq!(early, expected.map(|(kind, at, _)| (kind, at)), "{stdout}");
        let console = Board::read(&tree).unwrap().console;
        let console = console.map(|console| {
            (console.kind, console.registers.start().0, console.interrupt.unwrap().0.get() - 32)
        });
        assert_eq!(console, expected, "{stdout}");
    }
}

/// The tree as Trusted Firmware-A passes it on (its `rpi4_setup.c`): PSCI by SMC, its own memory reserved in place of
/// the spin table's page, the console on `serial0`.
fn changed_by_trusted_firmware() -> Vec<u8> {
    let blob = board();
    let mut tree = Tree::parse(&blob, "board").unwrap();
    tree.reservations.clear();
    let psci = tree.add_node(NodeId::ROOT, "psci");
    tree.set_strings(psci, "compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
    tree.set_string(psci, "method", "smc");
    for cpu in 0..4 {
        let cpu = tree.by_path(&format!("/cpus/cpu@{cpu}")).unwrap().id();
        tree.set_string(cpu, "enable-method", "psci");
    }
    let reserved = tree.by_path("/reserved-memory").unwrap().id();
    let own = tree.add_node(reserved, "atf@0");
    tree.set_cells(own, "reg", &[0, 0, 0x8_0000]);
    tree.set(own, "no-map", vec![]);
    let chosen = tree.by_path("/chosen").unwrap().id();
    tree.set_string(chosen, "stdout-path", "serial0");
    tree.to_blob()
}

#[test]
fn trusted_firmware_starts_the_cpus() {
    let blob = changed_by_trusted_firmware();
    let tree = Tree::parse(&blob, "board").unwrap();
    let board = Board::read(&tree).unwrap();
    assert_eq!((board.psci, Outline::new(&blob).unwrap().psci()), (Some(Conduit::Smc), board.psci));
    assert!(board.cpus.iter().all(|cpu| cpu.start == Some(Start::Psci)));
    assert_eq!(board.console.unwrap().registers.start(), Hpa(0xfe20_1000));
    let working = Outline::new(&blob).unwrap().free_range(&[], 1 << 20, 4096).unwrap();
    assert_eq!(working.start(), Hpa(0x8_0000), "the firmware's own memory stays free");
}

/// PSCI before version 0.2 has no function numbers that are known.
#[test]
fn psci_of_old_is_none() {
    let blob = changed_by_trusted_firmware();
    let mut tree = Tree::parse(&blob, "board").unwrap();
    let psci = tree.by_path("/psci").unwrap().id();
    tree.set_string(psci, "compatible", "arm,psci");
    assert!(Board::read(&tree).unwrap_err().to_string().contains("no usable psci node"));
    assert_eq!(Outline::new(&tree.to_blob()).unwrap().psci(), None);
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
