// SPDX-License-Identifier: Apache-2.0 OR MIT
//! No plan that passes gives one CPU, frame, interrupt or device to two owners, whatever is asked for.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::{NodeId, Tree};
use proptest::prelude::*;
use support::{assert_disjoint, board, edited_board, image, linux_image, overlay, pack, small_bundle, taken};

#[derive(Clone, Debug)]
struct Wish {
    cpus: Vec<u32>,
    /// In units of 64 KiB: the address, if one is given, and the size.
    memory: Vec<(Option<u32>, u32)>,
    identity_mapped: bool,
    linux: bool,
    ramdisk: bool,
    uart: bool,
    devices: Vec<&'static str>,
    primary: bool,
    /// Of the memory in a node: its size, and whether it may be written to and executed from.
    node: Option<(u32, bool, bool)>,
}

const DEVICES: &[&str] = &[
    "/pl031@9010000",
    "/pl061@9030000",
    "/fw-cfg@9020000",
    "/flash@0",
    "serial0",
    "/virtio_mmio@a000000",
    "/intc@8000000",
    "/pmu",
    "/memory@40000000",
];

/// The size of an image that can fill memory in a node, in the units of a [`Wish`].
const ROM_UNITS: u32 = 1;

/// What could be planned is most of what is asked for; the rest provokes.
fn wish() -> impl Strategy<Value = Wish> {
    let size = prop_oneof![3 => 16..0x800u32, 1 => 1..0x9000u32];
    let address = prop_oneof![
        4 => Just(None),
        4 => (0x4000..0xc000u32).prop_map(Some),
        1 => (0..0x10000u32).prop_map(Some),
    ];
    let devices = prop_oneof![
        3 => Just(vec![]),
        1 => prop::collection::vec(prop::sample::select(DEVICES), 1..3),
        1 => Just(vec!["/pl031@9010000"]),
    ];
    let flags = (
        prop::bool::weighted(0.3),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::weighted(
            0.3,
            (prop_oneof![2 => Just(ROM_UNITS), 1 => 1..64u32], any::<bool>(), any::<bool>()),
        ),
    );
    (prop::collection::vec(0..4u32, 1..3), prop::collection::vec((address, size), 1..3), devices, flags)
        .prop_map(|(cpus, memory, devices, (identity_mapped, linux, ramdisk, uart, primary, node))| Wish {
            cpus,
            memory,
            identity_mapped,
            linux,
            ramdisk,
            uart,
            devices,
            primary,
            node,
        })
}

fn configuration(wishes: &[Wish]) -> Vec<u8> {
    let mut tree = Tree::new();
    let fragment = tree.add_node(NodeId::ROOT, "fragment@0");
    tree.set_string(fragment, "target-path", "/");
    let content = tree.add_node(fragment, "__overlay__");
    let parent = tree.add_node(content, "partitions");
    tree.set_string(parent, "compatible", "bulkhead,partitions");
    tree.set_cells(parent, "#address-cells", &[2]);
    tree.set_cells(parent, "#size-cells", &[2]);
    for (number, wish) in wishes.iter().enumerate() {
        let node = tree.add_node(parent, format!("p{number}"));
        tree.set_string(node, "compatible", "bulkhead,partition");
        if wish.primary {
            tree.set(node, "primary", vec![]);
        } else {
            tree.set_cells(node, "cpus", &wish.cpus);
        }
        if let Some((size, write, execute)) = wish.node {
            let memory = tree.add_node(node, "memory@30000000");
            tree.set_cells(memory, "reg", &[0, 0x3000_0000, size << 16]);
            for (name, allowed) in [("read-only", write), ("no-execute", execute)] {
                if !allowed {
                    tree.set(memory, name, vec![]);
                }
            }
        }
        // One size alone is the only form without an address.
        let cells: Vec<u32> = match wish.memory.as_slice() {
            [(None, size)] => vec![0, size << 16],
            ranges => ranges
                .iter()
                .flat_map(|(address, size)| [0, address.unwrap_or(0x4000) << 16, size >> 16, size << 16])
                .collect(),
        };
        if !wish.primary {
            tree.set_cells(node, "memory", &cells);
        }
        if !wish.linux && matches!(wish.node, Some((ROM_UNITS, false, true))) {
            tree.set_string(node, "kernel", "rom");
            tree.set_cells(node, "load-address", &[0x3000_0000]);
        } else {
            tree.set_string(node, "kernel", if wish.linux { "debian-12" } else { "ticker" });
        }
        if wish.ramdisk {
            tree.set_string(node, "ramdisk", "busybox-initrd");
        }
        if wish.identity_mapped {
            tree.set(node, "identity-mapped", vec![]);
        }
        tree.set_string(node, "console", if wish.uart { "uart" } else { "none" });
        if !wish.devices.is_empty() && !wish.primary {
            tree.set_strings(node, "devices", &wish.devices);
        }
    }
    tree.to_blob()
}

#[test]
fn what_is_planned_is_disjoint() {
    let boards = [board(2), board(3)];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let wishes = prop::collection::vec(wish(), 1..4);
    let [accepted, primaries, in_place] = [0; 3].map(std::cell::Cell::new);
    runner
        .run(&wishes, |wishes| {
            let file = pack(vec![
                image("debian-12", "kernel", linux_image()[..128].to_vec()),
                image("busybox-initrd", "ramdisk", vec![7; 100]),
                image("ticker", "kernel", vec![1; 64]),
                image("rom", "standalone", vec![1; (ROM_UNITS as usize) << 16]),
                image("partitions", "flat_dt", configuration(&wishes)),
            ]);
            let bundle = Bundle::parse(&file, software_crc32).expect("the bundle is well formed");
            let place =
                taken().into_iter().find(|(_, what)| *what == "the bundle").expect("it lies somewhere").0;
            let bundle = bundle.lying_at(place.start());
            for board in &boards {
                if let Ok(planned) = plan_board(board, &bundle, taken()) {
                    accepted.set(accepted.get() + 1);
                    let memory = planned.plan.partitions.iter().flat_map(|partition| &partition.memory);
                    in_place.set(in_place.get() + memory.filter(|memory| memory.in_place).count());
                    primaries.set(primaries.get() + usize::from(wishes.iter().any(|wish| wish.primary)));
                    assert_disjoint(&planned);
                    support::assert_trees_are_strict(&planned);
                    assert_eq!(planned.plan.partitions.len(), wishes.len());
                }
            }
            Ok(())
        })
        .unwrap();
    let planned = accepted.get();
    assert!(planned > 500, "only {planned} were accepted: the property says little");
    assert!(primaries.get() > 50, "only {} had a primary partition", primaries.get());
    assert!(in_place.get() > 10, "only {} images were left in place", in_place.get());
}

/// 64 partitions of two CPUs each on a board of 128.
#[test]
fn a_large_board_is_planned() {
    let board = support::large_board(128);
    let file = small_bundle(support::many_partitions(64));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(planned.plan.partitions.len(), 64);
    assert_disjoint(&planned);
}

#[test]
fn memory_without_an_address_starts_where_qemus_does() {
    let source = "/dts-v1/; /plugin/; &{/} { partitions { compatible = \"bulkhead,partitions\"; \
        #address-cells = <2>; #size-cells = <1>; a { compatible = \"bulkhead,partition\"; cpus = <3>; \
        memory = <0x8000000>; kernel = \"ticker\"; }; }; };";
    let (board, file) = (board(3), small_bundle(overlay(source)));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    let [partition] = planned.plan.partitions.as_slice() else { panic!("one partition") };
    assert_eq!(partition.memory.first().map(|memory| memory.guest.0), Some(0x4000_0000));
    // A raw image lies where memory starts, so the tree cannot; U-Boot's can.
    assert!(partition.tree.at.0 > 0x4000_0000);
}

#[test]
fn what_is_legal_but_odd_is_warned_of() {
    let source = "/dts-v1/; /plugin/; &{/} { partitions { compatible = \"bulkhead,partitions\"; \
        #address-cells = <2>; #size-cells = <2>; a { compatible = \"bulkhead,partition\"; cpus = <3>; \
        memory = <0x0 0x40001000 0x0 0x8000000>; kernel = \"ticker\"; console = \"none\"; }; }; };";
    let silent = [("stdout-path = ", "no-path = "), ("serial0 = ", "port = ")];
    let (board, file) = (edited_board(&silent), small_bundle(overlay(source)));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = planned.plan.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}

/// The warnings of one partition of Linux with this ramdisk, and other properties.
fn warnings_of_linux(ramdisk: &[u8], properties: &str) -> String {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; a {{ compatible = \"bulkhead,partition\"; cpus = <0 1 2 3>; \
         memory = <0x0 0x40000000 0x0 0x8000000>; kernel = \"linux\"; ramdisk = \"initrd\"; {properties} }}; }}; }};"
    );
    let board = board(3);
    let file = pack(vec![
        image("linux", "kernel", linux_image()),
        image("initrd", "ramdisk", ramdisk.to_vec()),
        image("partitions", "flat_dt", overlay(&source)),
    ]);
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    planned.plan.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn a_ramdisk_that_linux_does_not_unpack_is_warned_of() {
    let begins: [&[u8]; 10] = [
        b"070701",
        b"070702",
        b"\x00\x00\x00\x00070701",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\x5d\0\0",
        b"\xfd7zXZ\0",
        b"\x89LZO",
        b"\x02\x21\x4c\x18",
        b"\x28\xb5\x2f\xfd",
    ];
    for begin in begins {
        assert_eq!(warnings_of_linux(begin, ""), "", "{begin:x?}");
    }
    let rule = "/partitions/a: ramdisk = \"initrd\": Linux does not unpack this: it is neither a cpio archive (newc) nor \
                compressed with gzip, bzip2, lzma, xz, lzo, lz4 or zstd.";
    let warned = |ramdisk: &[u8], advice: &str| {
        assert_eq!(warnings_of_linux(ramdisk, ""), format!("{rule} {advice}.\n"), "{ramdisk:x?}");
    };
    warned(b"\x7fELF", "A folder becomes one with: find . | cpio -o -H newc | gzip");
    warned(b"", "A folder becomes one with: find . | cpio -o -H newc | gzip");
    warned(b"070707", "Linux takes cpio in the newc format only: cpio -o -H newc");
    warned(b"\x04\x22\x4d\x18", "Linux takes lz4 in its legacy format only: lz4 -l");
    warned(b"\x27\x05\x19\x56", "It is a uImage: take off U-Boot's header with tail -c +65 FILE");
    warned(&linux_image()[..128], "It is an arm64 Image: name it by kernel");
    // A file system may be the root file system.
    assert_eq!(warnings_of_linux(b"hsqs", "bootargs = \"root=/dev/ram0 ro\";"), "");
}

#[test]
fn a_console_that_the_uart_is_not_is_warned_of() {
    let warnings = |bootargs: &str| warnings_of_linux(b"070701", &format!("bootargs = \"{bootargs}\";"));
    assert_eq!(
        warnings("quiet console=ttyS0,115200"),
        "/partitions/a: bootargs = \"quiet console=ttyS0,115200\": Linux calls the partition's UART, a PL011, ttyAMA0: the \
         partition has no ttyS port to print to. Write console=ttyAMA0.\n"
    );
    for right in
        ["console=ttyAMA0", "console=ttyS0 console=ttyAMA0", "console=ttySAC0", "earlycon", "xconsole=ttyS0"]
    {
        assert_eq!(warnings(right), "", "{right}");
    }
    let without = warnings_of_linux(
        b"070701",
        "console = \"none\"; bootargs = \"console=ttyS0\"; devices = \"/pl031@9010000\";",
    );
    assert!(!without.contains("ttyAMA0"), "{without}");
}
