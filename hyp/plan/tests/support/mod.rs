// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests share: boards from QEMU, overlays through dtc, bundles.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod raspberry_pi;
#[path = "../../../../scripts/src/bundle.rs"]
pub mod writer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_plan::Planned;
use bulkhead_plan::bundle::software_crc32;
use bulkhead_plan::plan::Partition;
use bulkhead_plan::tree::Tree;
use bulkhead_types::{Hpa, Ipa, Range};
use writer::{Configuration, Contents, Image, write};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compiles source to a blob, or the other way round.
pub fn dtc(from: &str, to: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("dtc")
        .args(["-q", "-@", "-I", from, "-O", to, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need dtc: scripts/setup installs it");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("dtc runs");
    writer.join().expect("the writer ends").expect("dtc reads its input");
    assert!(output.status.success(), "dtc: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn overlay(source: &str) -> Vec<u8> {
    dtc("dts", "dtb", source.as_bytes())
}

pub fn guest_source(blob: &[u8]) -> String {
    String::from_utf8(dtc("dtb", "dts", blob)).expect("dtc writes UTF-8")
}

/// QEMU's virt board with this GIC, four CPUs and 2 GiB.
pub fn board(gic: u32) -> Vec<u8> {
    let source = root().join(format!("hyp/plan/tests/boards/qemu-virt-gicv{gic}.dts"));
    overlay(&std::fs::read_to_string(source).expect("the board is there"))
}

/// QEMU's board with a GICv3 and edits to its source.
pub fn edited_board(edits: &[(&str, &str)]) -> Vec<u8> {
    let source = root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts");
    let mut source = std::fs::read_to_string(source).unwrap();
    for (from, to) in edits {
        assert!(source.contains(from), "{from}");
        source = source.replacen(from, to, 1);
    }
    overlay(&source)
}

/// The source of one node of a board's root, with its braces.
pub fn node_source(board: &str, name: &str) -> String {
    let source = root().join(format!("hyp/plan/tests/boards/{board}.dts"));
    let source = std::fs::read_to_string(source).unwrap();
    let start = source.find(&format!("\t{name} {{\n")).expect("the node is there");
    let end = source[start..].find("\n\t};").expect("it ends");
    source[start..start + end].to_owned() + "\n\t};"
}

/// A kernel as Linux's header describes it: 40 MiB of memory, less in the file.
pub fn linux_image() -> Vec<u8> {
    let mut image = vec![0; 3 << 20];
    image[16..24].copy_from_slice(&(40u64 << 20).to_le_bytes());
    image[24..32].copy_from_slice(&0xau64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

pub fn image(name: &str, kind: &str, data: Vec<u8>) -> Image {
    Image { name: name.into(), kind: kind.into(), hash: "crc32".into(), data }
}

pub fn bundle(overlay: Vec<u8>) -> Vec<u8> {
    pack(vec![
        image("debian-12", "kernel", linux_image()),
        image("busybox-initrd", "ramdisk", vec![7; 100_000]),
        image("ticker", "kernel", vec![1; 8192]),
        image("partitions", "flat_dt", overlay),
    ])
}

/// The same names with little data, for tests that pack thousands.
pub fn small_bundle(overlay: Vec<u8>) -> Vec<u8> {
    small_bundle_with(overlay, own_tree())
}

/// Likewise, with this as a guest's tree.
pub fn small_bundle_with(overlay: Vec<u8>, tree: Vec<u8>) -> Vec<u8> {
    let mut linux = linux_image();
    linux.truncate(128);
    pack(vec![
        image("debian-12", "kernel", linux),
        image("busybox-initrd", "ramdisk", vec![7; 100]),
        image("ticker", "kernel", vec![1; 64]),
        image("tree", "flat_dt", tree),
        image("partitions", "flat_dt", overlay),
    ])
}

pub fn pack(images: Vec<Image>) -> Vec<u8> {
    let contents = Contents {
        description: "test".into(),
        timestamp: 0,
        images,
        configurations: vec![Configuration {
            name: "default".into(),
            description: "any board".into(),
            compatible: vec![],
            overlays: vec!["partitions".into()],
        }],
    };
    write(&contents, software_crc32).expect("the test's bundle is well formed")
}

pub fn demo_bundle() -> Vec<u8> {
    let source = root().join("guests/demo/demo.dtso");
    bundle(overlay(&std::fs::read_to_string(source).expect("the demo is there")))
}

/// Every feature at once: devices with clocks, identity-mapped memory, several ranges, labels.
pub fn device_overlay() -> Vec<u8> {
    overlay(
        r#"/dts-v1/; /plugin/;
        / { fragment@9 { target-path = "/"; __overlay__ { extra: extra { test-device = <&extra>; }; }; }; };
        &{/} {
            partitions {
                compatible = "bulkhead,partitions";
                #address-cells = <2>;
                #size-cells = <2>;
                clock {
                    compatible = "bulkhead,partition";
                    cpus = <0 1>;
                    memory = <0x0 0x40000000 0x0 0x10000000>, <0x1 0x0 0x0 0x400000>;
                    kernel = "debian-12";
                    ramdisk = "busybox-initrd";
                    bootargs = "console=ttyAMA0";
                    devices = "/pl031@9010000", "/pl061@9030000";
                };
                disk {
                    compatible = "bulkhead,partition";
                    identity-mapped;
                    cpus = <2>;
                    memory = <0x0 0x60000000 0x0 0x8000000>;
                    kernel = "debian-12";
                    load-address = <0x0 0x60200000>;
                    devices = "/virtio_mmio@a000000", "/virtio_mmio@a000200", "/virtio_mmio@a000400",
                              "/virtio_mmio@a000600", "/virtio_mmio@a000800", "/virtio_mmio@a000a00",
                              "/virtio_mmio@a000c00", "/virtio_mmio@a000e00";
                    restart = "always";
                    restart-limit = <3>;
                    restart-delay-ms = <0>;
                    watchdog;
                };
                bare {
                    compatible = "bulkhead,partition";
                    cpus = <3>;
                    memory = <0x0 0x200000>;
                    kernel = "ticker";
                    entry = <0x40000004>;
                    console = "none";
                };
            };
        };"#,
    )
}

/// What `device_overlay` has no room for: a primary partition, memory with fewer rights, a tree of one's own.
pub fn primary_overlay() -> Vec<u8> {
    overlay(
        r#"/dts-v1/; /plugin/;
        &{/} {
            partitions {
                compatible = "bulkhead,partitions";
                #address-cells = <2>;
                #size-cells = <2>;
                linux {
                    compatible = "bulkhead,partition";
                    primary;
                    kernel = "debian-12";
                    ramdisk = "busybox-initrd";
                };
                bare {
                    compatible = "bulkhead,partition";
                    cpus = <3>;
                    kernel = "ticker";
                    device-tree = "tree";
                    devices = "/pl031@9010000";
                    #address-cells = <1>;
                    #size-cells = <1>;
                    memory@40000000 { reg = <0x40000000 0x200000>; };
                    memory@50000000 { reg = <0x50000000 0x1000>; read-only; };
                    memory@50001000 { reg = <0x50001000 0x1000>; no-execute; };
                };
            };
        };"#,
    )
}

/// A tree of a guest's own.
pub fn own_tree() -> Vec<u8> {
    overlay(
        "/dts-v1/; / { #address-cells = <1>; #size-cells = <1>; chosen { kaslr-seed = <0 0>; }; \
         memory@40000000 { device_type = \"memory\"; reg = <0x40000000 0x200000>; }; };",
    )
}

/// An overlay on the tree that a guest would have had.
pub fn tree_overlay() -> Vec<u8> {
    overlay("/dts-v1/; /plugin/; &{/chosen} { a: a { b = <&a>; }; };")
}

/// The virt board with a GICv3 and more CPUs, in clusters of 16.
pub fn large_board(cpus: u32) -> Vec<u8> {
    let small = board(3);
    let mut tree = Tree::parse(&small, "board").expect("the board is well formed");
    let parent = tree.by_path("/cpus").expect("it has CPUs").id();
    for cpu in 4..cpus {
        let affinity = ((cpu / 16) << 8) | (cpu % 16);
        let node = tree.add_node(parent, format!("cpu@{affinity:x}"));
        tree.set_string(node, "device_type", "cpu");
        tree.set_string(node, "compatible", "arm,cortex-a72");
        tree.set_cells(node, "reg", &[affinity]);
        tree.set_string(node, "enable-method", "psci");
    }
    // The second range of redistributors that QEMU has for CPUs from 123 on.
    let gic = tree.by_path("/intc@8000000").expect("it has a GIC").id();
    tree.set_cells(gic, "#redistributor-regions", &[2]);
    tree.set_cells(
        gic,
        "reg",
        &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000, 0x40, 0, 0, 0x400_0000],
    );
    tree.to_blob()
}

/// This many partitions with two CPUs and 16 MiB each.
pub fn many_partitions(count: u32) -> Vec<u8> {
    let affinity = |cpu: u32| ((cpu / 16) << 8) | (cpu % 16);
    let nodes = (0..count).fold(String::new(), |all, number| {
        let (first, second) = (affinity(2 * number), affinity(2 * number + 1));
        all + &format!(
            "p{number} {{ compatible = \"bulkhead,partition\"; cpus = <{first} {second}>; \
             memory = <0x0 0x40000000 0x0 0x1000000>; kernel = \"ticker\"; }};\n"
        )
    });
    overlay(&format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; {nodes} }}; }};"
    ))
}

/// No frame, CPU, interrupt or device register has two owners, nor one and the hypervisor.
pub fn assert_disjoint(planned: &Planned) {
    assert_disjoint_beside(planned, &taken());
}

/// Likewise, with other memory of the hypervisor's.
pub fn assert_disjoint_beside(planned: &Planned, taken: &[(Range<Hpa>, &str)]) {
    let (board, plan) = (&planned.board, &planned.plan);
    let mut frames: Vec<Range<Hpa>> = taken.iter().map(|(range, _)| *range).collect();
    frames.extend(plan.reserved.iter().map(|(range, _)| *range));
    let mut cpus = std::collections::HashSet::new();
    let mut pages: Vec<Range<Hpa>> = board.gic.registers();
    pages.extend(board.console.as_ref().map(|console| console.registers.page_aligned()));
    let mut interrupts = std::collections::HashMap::new();
    let mut lent: Vec<Range<Hpa>> = Vec::new();
    for (number, partition) in plan.partitions.iter().enumerate() {
        assert!(!partition.cpus.is_empty());
        for cpu in &partition.cpus {
            assert!(usize::from(cpu.0) < board.cpus.len());
            assert!(cpus.insert(*cpu), "{cpu:?} has two owners");
        }
        for memory in &partition.memory {
            assert!(memory.frames.start().is_aligned(4096) && memory.frames.size() % 4096 == 0);
            assert!(memory.guest.is_aligned(4096));
            assert!(board.memory.iter().any(|bank| bank.covers(&memory.frames)), "{memory:?} is not RAM");
            if memory.in_place {
                assert!(!memory.access.write && !partition.identity_mapped);
                let bundle = taken.iter().find(|(_, what)| *what == "the bundle").expect("it lies somewhere");
                assert!(bundle.0.covers(&memory.frames), "{memory:?} is not in the bundle");
                assert!(!lent.iter().any(|lent| lent.overlaps(&memory.frames)), "{memory:?} has two readers");
                lent.push(memory.frames);
                continue;
            }
            assert!(!frames.iter().any(|taken| taken.overlaps(&memory.frames)), "{memory:?} has two owners");
            assert!(!partition.identity_mapped || memory.guest.0 == memory.frames.start().0);
            frames.push(memory.frames);
        }
        for device in &partition.devices {
            for range in &device.registers {
                assert!(!board.memory.iter().any(|bank| bank.overlaps(range)), "{range:?} is RAM");
                assert!(!pages.iter().any(|taken| taken.overlaps(range)), "{range:?} has two owners");
                pages.push(*range);
            }
            for (id, _) in &device.interrupts {
                assert!(partition.primary || !id.is_private());
                assert_eq!(*interrupts.entry(*id).or_insert(number), number, "{id:?} has two owners");
                assert!(
                    board
                        .console
                        .as_ref()
                        .and_then(|c| c.interrupt)
                        .is_none_or(|(console, _)| console != *id)
                );
            }
        }
        assert_address_map(partition);
    }
}

/// Nothing in a guest's address map lies on anything else, and what is loaded lies in memory.
fn assert_address_map(partition: &Partition) {
    let size = |size: usize| u64::try_from(size).expect("64 bits");
    let range = |start, size| Range::<Ipa>::new(start, size).expect("it fits");
    let memory: Vec<Range<Ipa>> =
        partition.memory.iter().map(|memory| range(memory.guest, memory.frames.size())).collect();
    let mut map = memory.clone();
    map.extend(
        partition.interrupt_controller.registers(partition.cpus.len()).iter().map(|(range, _)| *range),
    );
    map.extend(partition.uart.and_then(|uart| uart.registers()));
    map.extend(
        partition
            .devices
            .iter()
            .flat_map(|d| &d.registers)
            .map(|pages| range(Ipa(pages.start().0), pages.size())),
    );
    map.sort_by_key(Range::start);
    assert!(map.windows(2).all(|pair| !pair[0].overlaps(&pair[1])), "{map:x?}");

    let mut loads: Vec<Range<Ipa>> =
        partition.loads.iter().map(|load| range(load.to, size(load.bytes.len()))).collect();
    let tree = range(partition.tree.at, size(partition.tree.blob.len()));
    assert_eq!(tree.start().0 >> 21, (tree.end().0 - 1) >> 21, "the tree crosses 2 MiB");
    loads.push(tree);
    loads.sort_by_key(Range::start);
    assert!(loads.windows(2).all(|pair| !pair[0].overlaps(&pair[1])), "{loads:x?}");
    // Ranges that touch are one for the guest.
    for load in loads {
        let covered: u64 = memory
            .iter()
            .map(|memory| {
                let (start, end) = (memory.start().max(load.start()).0, memory.end().min(load.end()).0);
                end.saturating_sub(start)
            })
            .sum();
        assert_eq!(covered, load.size(), "{load:x?} is not in memory");
    }
    assert!(memory.iter().any(|memory| memory.contains(partition.entry)));
    for seed in [&partition.tree.kaslr_seed, &partition.tree.rng_seed].into_iter().flatten() {
        assert!(partition.tree.blob[seed.clone()].iter().all(|byte| *byte == 0));
    }
    Tree::parse(&partition.tree.blob, "its tree").expect("a guest's tree is well formed");
}

/// Guests' trees obey the specification to the letter where the board's does, and another reader agrees.
pub fn assert_trees_are_strict(planned: &Planned) {
    for partition in &planned.plan.partitions {
        dtoolkit::fdt::Fdt::new(&partition.tree.blob).expect("a guest's tree obeys the specification");
    }
}

pub fn taken() -> Vec<(Range<Hpa>, &'static str)> {
    let range = |start, size| Range::<Hpa>::new(Hpa(start), size).expect("it fits");
    vec![
        (range(0x4008_0000, 0x40_0000), "the hypervisor"),
        (range(0x4800_0000, 0x10_0000), "the board's tree"),
        (range(0x4820_0000, 0x400_0000), "the bundle"),
    ]
}
