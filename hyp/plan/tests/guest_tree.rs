// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trees that users bring, and memory with fewer rights.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan::{Access, Partition};
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::Tree;
use support::{assert_disjoint, board, image, linux_image, overlay, pack, taken};

fn plan(content: &str, tree: &str) -> Partition {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; a {{ compatible = \"bulkhead,partition\"; cpus = <0>; {content} }}; }}; }};"
    );
    let file = pack(vec![
        image("linux", "kernel", linux_image()),
        image("raw", "kernel", vec![1; 8192]),
        image("initrd", "ramdisk", vec![7; 100_000]),
        image("tree", "flat_dt", overlay(tree)),
        image("partitions", "flat_dt", overlay(&source)),
    ]);
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board(3), &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_disjoint(&planned);
    support::assert_trees_are_strict(&planned);
    planned.plan.partitions.into_iter().next().unwrap()
}

const LINUX: &str = "memory = <0 0x40000000 0 0x10000000>; kernel = \"linux\"; ramdisk = \"initrd\"; \
    bootargs = \"quiet\"; device-tree = \"tree\";";

#[test]
fn a_whole_tree_is_used_as_it_is() {
    let source = "/dts-v1/; / { #address-cells = <1>; #size-cells = <1>; model = \"mine\"; \
        chosen { rng-seed = [01 02 03 04]; bootargs = \"loud\"; mine; }; \
        memory@40000000 { device_type = \"memory\"; reg = <0x40000000 0x8000000>; }; nodes { of = \"mine\"; }; };";
    let partition = plan(LINUX, source);
    let tree = Tree::parse(&partition.tree.blob, "guest").unwrap();
    let chosen = tree.by_path("/chosen").unwrap();
    assert_eq!(chosen.string("bootargs"), Some("quiet"));
    assert!(chosen.has("mine") && chosen.has("linux,initrd-start") && !chosen.has("stdout-path"));
    // Stale entropy is none: it is filled anew where the tree has room for it.
    assert_eq!(chosen.property("rng-seed"), Some(&[0; 4][..]));
    let seed = partition.tree.rng_seed.clone().unwrap();
    assert_eq!((seed.len(), partition.tree.kaslr_seed.clone()), (4, None));
    let source = overlay(source);
    let mine = Tree::parse(&source, "mine").unwrap();
    for old in mine.nodes().filter(|node| node.name() != "chosen") {
        assert_eq!(tree.by_path(&old.path()).unwrap().properties(), old.properties());
    }
}

#[test]
fn an_overlay_applies_to_the_generated_tree() {
    let partition = plan(
        LINUX,
        "/dts-v1/; /plugin/; &{/} { model = \"mine\"; leds { compatible = \"gpio-leds\"; }; }; \
         &{/chosen} { linux,usable-memory-range = <0 0x40000000 0 0x8000000>; };",
    );
    let tree = Tree::parse(&partition.tree.blob, "guest").unwrap();
    assert_eq!(tree.root().string("model"), Some("mine"));
    assert!(tree.by_path("/leds").is_some() && tree.by_path("/serial@9000000").is_some());
    let chosen = tree.by_path("/chosen").unwrap();
    assert!(chosen.has("linux,usable-memory-range") && chosen.has("linux,initrd-start"));
    assert!(partition.tree.rng_seed.is_some());
}

#[test]
fn memory_with_fewer_rights_is_not_called_memory() {
    let partition = plan(
        "kernel = \"raw\"; #address-cells = <1>; #size-cells = <1>;
         memory@40000000 { reg = <0x40000000 0x200000>; read-only; };
         memory@40200000 { reg = <0x40200000 0x200000>, <0x50000000 0x1000>; no-execute; };
         memory@60000000 { reg = <0x60000000 0x200000>; };",
        "/dts-v1/; / { };",
    );
    let rights: Vec<(u64, bool, bool)> = partition
        .memory
        .iter()
        .map(|memory| (memory.guest.0, memory.access.write, memory.access.execute))
        .collect();
    assert_eq!(
        rights,
        [
            (0x4000_0000, false, true),
            (0x4020_0000, true, false),
            (0x5000_0000, true, false),
            (0x6000_0000, true, true)
        ]
    );
    // The image may lie in what is read-only to the guest; the tree lies where the guest may write.
    assert_eq!(partition.entry.0, 0x4000_0000);
    let home = partition.memory.iter().find(|memory| {
        (memory.guest.0..memory.guest.0 + memory.frames.size()).contains(&partition.tree.at.0)
    });
    assert_eq!(home.unwrap().access, Access::ALL);

    let tree = Tree::parse(&partition.tree.blob, "guest").unwrap();
    let node = |path: &str| tree.by_path(path).unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!(node("/rom@40000000").string("compatible"), Some("mtd-rom"));
    assert!(tree.by_path("/memory@40000000").is_none());
    assert_eq!(node("/memory@40200000").string("device_type"), Some("memory"));
    let reserved = node("/reserved-memory/no-execute@50000000").registers().unwrap();
    assert_eq!((reserved[0].start().0, reserved[0].size()), (0x5000_0000, 0x1000));
    assert!(tree.by_path("/reserved-memory/no-execute@60000000").is_none());
}
