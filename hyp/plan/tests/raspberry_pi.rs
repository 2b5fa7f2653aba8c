// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4: its memory, consoles and power manager; and partitions that its firmware merges into the
//! board's tree with `dtoverlay=`, which give the plan that the bundle's overlays give.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_plan::board::{Board, Gic, Start};
use bulkhead_plan::bundle::{Bundle, Contents, NewConfiguration, software_crc32, write};
use bulkhead_plan::early::{self, ConsoleKind};
use bulkhead_plan::tree::{Blob, Tree};
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
    let blob = Blob::new(&blob).unwrap();
    let console = early::console(&blob).unwrap();
    assert_eq!((console.kind, console.registers), (ConsoleKind::MiniUart, range(0xfe21_5040, 0x40)));
    assert_eq!(early::power_manager(&blob), Some(range(0xfe10_0000, 0x114)));
    // The firmware's page with the spin table stays free.
    let working = early::free_range(&blob, &[], 1 << 20, 4096).unwrap();
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

/// What is wrong with a small partition that has this device.
fn errors_with(device: &str) -> Vec<String> {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; one {{ compatible = \"bulkhead,partition\"; cpus = <0>; \
         memory = <0x0 0x40000000 0x0 0x200000>; kernel = \"ticker\"; devices = \"{device}\"; }}; }}; }};"
    );
    let bundle = bundle(&[("one.dtbo", overlay(&source))]);
    let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
    let planned = plan_board(&board(), &bundle, vec![]).map(drop);
    planned.err().map(|errors| errors.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// The mini UART's page and interrupt are those of two SPI controllers too.
#[test]
fn what_shares_the_consoles_page_is_refused() {
    let errors = errors_with("/soc/spi@7e215080");
    assert!(errors.iter().any(|error| error.contains("its registers share a page")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("that of the hypervisor's console too")), "{errors:?}");
}

/// The VideoCore serves the mailbox's owner, and reaches all memory.
#[test]
fn the_mailbox_masters_the_bus() {
    let errors = errors_with("/soc/mailbox@7e00b880");
    assert!(errors.iter().any(|error| error.contains("it can master the bus")), "{errors:?}");
    assert!(errors_with("/soc/watchdog@7e100000").is_empty());
}
