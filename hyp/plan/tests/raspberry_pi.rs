// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4: its memory, consoles and what starts its CPUs; and partitions that its firmware merges into the
//! board's tree with `dtoverlay=`, which give the plan that the bundle's overlays give.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_plan::board::{Board, Conduit, Gic, Start};
use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::early::{ConsoleKind, Outline};
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{Planned, plan_board};
use bulkhead_types::{Hpa, Range};
use support::raspberry_pi::{board, bundle, changed_by_trusted_firmware};
use support::{guest_source, overlay, root};

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
    // At the top of memory: a kernel that is linked for its start finds it free.
    let working = outline.free_range(&[], 1 << 20, 4096).unwrap();
    let end = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap().memory.last().unwrap().end();
    assert_eq!(working.end(), end);
}

/// The tree that comes with the firmware has room for the memory, and the firmware fills it in.
#[test]
fn a_tree_that_the_firmware_has_not_filled_in_is_refused() {
    let blob = with_memory(&[0, 0, 0]);
    let error = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap_err().to_string();
    assert!(error.contains("describes no memory. Where firmware fills it in"), "{error}");
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

/// What early boot and the whole plan have for a console: the same, what stdout-path names, or else serial0.
#[test]
fn the_console_is_what_stdout_path_names() {
    let ports = [
        ("serial0:115200n8", Some((ConsoleKind::Pl011, 0xfe20_1000, 121))),
        ("serial1", Some((ConsoleKind::MiniUart, 0xfe21_5040, 93))),
        ("serial3:9600", Some((ConsoleKind::Pl011, 0xfe20_1600, 121))),
        ("/soc/serial@7e201400", Some((ConsoleKind::Pl011, 0xfe20_1400, 121))),
        ("/soc/serial@7e201800:115200", Some((ConsoleKind::Pl011, 0xfe20_1800, 121))),
        ("/soc/serial@7e201a00", Some((ConsoleKind::Pl011, 0xfe20_1a00, 121))),
        ("/soc/gpio@7e200000", Some((ConsoleKind::Pl011, 0xfe20_1000, 121))),
        ("serial9", Some((ConsoleKind::Pl011, 0xfe20_1000, 121))),
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

#[test]
fn trusted_firmware_starts_the_cpus() {
    let blob = changed_by_trusted_firmware();
    let tree = Tree::parse(&blob, "board").unwrap();
    let board = Board::read(&tree).unwrap();
    assert_eq!((board.psci, Outline::new(&blob).unwrap().psci()), (Some(Conduit::Smc), board.psci));
    assert!(board.cpus.iter().all(|cpu| cpu.start == Some(Start::Psci)));
    assert_eq!(board.console.unwrap().registers.start(), Hpa(0xfe20_1000));
    let all_but_the_start: Vec<_> = board
        .memory
        .iter()
        .filter_map(|bank| {
            Range::<Hpa>::new(bank.start().max(Hpa(0x10_0000)), bank.end().0 - bank.start().0.max(0x10_0000))
        })
        .collect();
    let outline = Outline::new(&blob).unwrap();
    let working = outline.free_range(&all_but_the_start, 1 << 19, 4096).unwrap();
    assert_eq!(working.start(), Hpa(0x8_0000), "the firmware's own memory stays free");
    assert_eq!(outline.free_range(&all_but_the_start, 1 << 20, 4096), None);
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
