// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reserved memory of the board, and NUMA nodes: who has them, and what the guests' trees say of them.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan::Partition;
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{Planned, plan_board};
use bulkhead_types::{Hpa, Range};
use support::{assert_disjoint, bundle, edited_board, overlay, taken};

const PRIMARY: &str = "linux { compatible = \"bulkhead,partition\"; primary; kernel = \"debian-12\"; };";

/// Plans QEMU's board with these nodes in `/reserved-memory` and these beside it at the root.
fn planned(regions: &str, beside: &str, partitions: &str) -> Planned {
    plan_on(
        &format!(
            "reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {regions} }}; {beside}"
        ),
        partitions,
    )
}

fn plan_on(nodes: &str, partitions: &str) -> Planned {
    let board = edited_board(&[("\tpl031@9010000 {", &format!("{nodes}\n\tpl031@9010000 {{"))]);
    plan(&board, partitions)
}

fn plan(board: &[u8], partitions: &str) -> Planned {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; {partitions} }}; }};"
    );
    let file = bundle(overlay(&source));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_disjoint(&planned);
    planned
}

fn partition<'p>(planned: &'p Planned, name: &str) -> &'p Partition {
    planned.plan.partitions.iter().find(|partition| partition.name == name).expect("it is planned")
}

fn range(start: u64, size: u64) -> Range<Hpa> {
    Range::<Hpa>::new(Hpa(start), size).unwrap()
}

/// How much of these frames a partition has, and whether all of that is kept as the firmware left it.
fn had(partition: &Partition, wanted: Range<Hpa>) -> (u64, bool) {
    let parts = partition.memory.iter().filter(|memory| memory.frames.overlaps(&wanted));
    let size = |frames: &Range<Hpa>| frames.end().min(wanted.end()).0 - frames.start().max(wanted.start()).0;
    (
        parts.clone().map(|memory| size(&memory.frames)).sum(),
        parts.clone().count() > 0 && parts.clone().all(|memory| memory.kept),
    )
}

fn tree(partition: &Partition) -> Tree<'_> {
    Tree::parse(&partition.tree.blob, "guest").unwrap()
}

fn warnings(planned: &Planned) -> String {
    planned.plan.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

/// The bytes of `/memory` nodes that overlap a range.
fn described(tree: &Tree<'_>, wanted: Range<Hpa>) -> bool {
    let banks = tree.root().children().filter(|node| node.string("device_type") == Some("memory"));
    banks.flat_map(|bank| bank.registers().unwrap()).any(|bank| bank.overlaps(&wanted))
}

const POOL: &str = "pool@b0000000 { compatible = \"shared-dma-pool\"; reg = <0 0xb0000000 0 0x8000000>; reusable; \
                    linux,cma-default; };";

#[test]
fn a_pool_is_the_primary_partitions_memory() {
    let planned = planned(POOL, "", PRIMARY);
    let linux = partition(&planned, "linux");
    let pool = range(0xb000_0000, 0x800_0000);
    assert_eq!(had(linux, pool), (pool.size(), false));
    let tree = tree(linux);
    assert!(tree.by_path("/reserved-memory/pool@b0000000").is_some() && described(&tree, pool));
    // Nothing lies in it that the system would find in use.
    let loads = linux.loads.iter().map(|load| load.to.0).chain([linux.tree.at.0]);
    assert!(!loads.clone().any(|to| (0xb000_0000..0xb800_0000).contains(&to)), "{loads:x?}");
    assert!(!warnings(&planned).contains("pool@"), "{}", warnings(&planned));
}

#[test]
fn a_pool_that_another_partition_has_a_part_of_goes_from_the_tree() {
    let other = "other { compatible = \"bulkhead,partition\"; identity-mapped; cpus = <1>; kernel = \"ticker\"; \
                 memory = <0 0xb0000000 0 0x200000>; };";
    let board = edited_board(&[(
        "\tpl031@9010000 {",
        &format!(
            "reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {POOL} }};\n\tpl031@9010000 {{"
        ),
    )]);
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; {PRIMARY} {other} }}; }};"
    );
    let file = bundle(overlay(&source));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    // A pool is left to a primary partition that has all the rest.
    let refused = plan_board(&board, &bundle, taken()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("/reserved-memory/pool@b0000000 is there"), "{refused}");

    // One that asks for memory elsewhere has no pool: the node goes, with a warning.
    let less = PRIMARY.replace("primary;", "primary; memory = <0 0x60000000 0 0x10000000>;");
    let planned = plan(&board, &less);
    assert!(tree(partition(&planned, "linux")).by_path("/reserved-memory/pool@b0000000").is_none());
    assert!(warnings(&planned).contains("/reserved-memory/pool@b0000000"), "{}", warnings(&planned));
}

const BUFFER: &str =
    "buffer: buffer@70000000 { reg = <0 0x70000000 0 0x100000>; NO_MAP phandle = <0x9000>; };";
const CODEC: &str =
    "codec@9040000 { compatible = \"a,codec\"; reg = <0 0x9040000 0 0x1000>; memory-region = <0x9000>; };";

#[test]
fn a_fixed_region_goes_to_the_owner_of_its_device_and_is_kept() {
    let frames = range(0x7000_0000, 0x10_0000);
    for no_map in ["", "no-map;"] {
        let region = BUFFER.replace("NO_MAP", no_map);
        // The primary partition's.
        let own = planned(&region, CODEC, PRIMARY);
        let linux = partition(&own, "linux");
        assert_eq!(had(linux, frames), (frames.size(), true), "never zeroed, nothing loaded");
        let copy = tree(linux);
        assert_eq!(copy.by_path("/codec@9040000").unwrap().u32("memory-region"), Some(0x9000));
        assert!(copy.by_path("/reserved-memory/buffer@70000000").is_some());
        assert!(described(&copy, frames) && own.plan.reserved.is_empty());

        // Another's, who sees it where it is.
        let given = planned(
            &region,
            CODEC,
            &format!(
                "{PRIMARY} media {{ compatible = \"bulkhead,partition\"; identity-mapped; cpus = <1>; \
                 kernel = \"ticker\"; memory = <0 0x200000>; devices = \"/codec@9040000\"; }};"
            ),
        );
        let (linux, media) = (partition(&given, "linux"), partition(&given, "media"));
        assert_eq!((had(linux, frames).0, had(media, frames)), (0, (frames.size(), true)));
        assert!(tree(linux).by_path("/reserved-memory/buffer@70000000").is_none());
        let copy = tree(media);
        let region = copy.by_phandle(copy.by_path("/codec@9040000").unwrap().u32("memory-region").unwrap());
        let region = region.expect("the copy refers to a node");
        assert_eq!(region.path(), "/reserved-memory/buffer@70000000");
        assert_eq!(region.registers().unwrap(), [frames]);
        assert_eq!(region.has("no-map"), !no_map.is_empty());
        assert!(!described(&copy, frames), "it is not called memory");

        // One whose owner cannot see it there is nobody's.
        let lacking = planned(
            &region_of(no_map),
            CODEC,
            &format!(
                "{PRIMARY} media {{ compatible = \"bulkhead,partition\"; cpus = <1>; kernel = \"ticker\"; \
                 memory = <0 0x40000000 0 0x200000>; devices = \"/codec@9040000\"; }};"
            ),
        );
        for partition in &lacking.plan.partitions {
            assert_eq!(had(partition, frames).0, 0);
        }
        assert!(!tree(partition(&lacking, "media")).by_path("/codec@9040000").unwrap().has("memory-region"));
        let warnings = warnings(&lacking);
        assert!(
            warnings.contains("/codec@9040000: the guest's copy of this node lacks memory-region"),
            "{warnings}"
        );
        assert!(warnings.contains("the owner of its device is not identity-mapped"), "{warnings}");
    }
}

fn region_of(no_map: &str) -> String {
    BUFFER.replace("NO_MAP", no_map)
}

#[test]
fn what_nothing_refers_to_stays_unmapped() {
    let regions = "secure@60000000 { reg = <0 0x60000000 0 0x200000>; no-map; };
                   firmware@61000000 { reg = <0 0x61000000 0 0x1000>; };
                   off@62000000 { reg = <0 0x62000000 0 0x1000>; status = \"disabled\"; };
                   oops@63000000 { compatible = \"ramoops\"; reg = <0 0x63000000 0 0x10000>; };";
    let planned = planned(regions, "", PRIMARY);
    let linux = partition(&planned, "linux");
    let (secure, firmware) = (range(0x6000_0000, 0x20_0000), range(0x6100_0000, 0x1000));
    assert_eq!((had(linux, secure).0, had(linux, firmware).0), (0, 0));
    let reserved: Vec<Range<Hpa>> = planned.plan.reserved.iter().map(|(range, _)| *range).collect();
    assert_eq!(reserved, [secure, firmware]);
    let copy = tree(linux);
    for (path, frames) in [("secure@60000000", secure), ("firmware@61000000", firmware)] {
        assert!(copy.by_path(&format!("/reserved-memory/{path}")).is_none(), "{path}");
        assert!(!described(&copy, frames), "{path}");
        let warning =
            format!("/reserved-memory/{path}: the primary partition's tree does not have this memory");
        assert!(warnings(&planned).contains(&warning), "{}", warnings(&planned));
    }
    // A region that is a device itself is the primary partition's; a disabled one is none.
    assert_eq!(had(linux, range(0x6300_0000, 0x1_0000)), (0x1_0000, true));
    assert_eq!(had(linux, range(0x6200_0000, 0x1000)), (0x1000, false));
}

#[test]
fn the_memory_reservation_block_stays_unmapped() {
    let board = edited_board(&[("/dts-v1/;", "/dts-v1/;\n/memreserve/ 0x60000000 0x2000;")]);
    let planned = plan(&board, PRIMARY);
    let frames = range(0x6000_0000, 0x2000);
    let linux = partition(&planned, "linux");
    assert_eq!(had(linux, frames).0, 0);
    let tree = tree(linux);
    assert!(tree.reservations.is_empty() && !described(&tree, frames));
    assert_eq!(planned.plan.reserved, [(frames, "memory reservation block".into())]);
}

#[test]
fn a_frame_buffer_in_chosen_stays_if_its_memory_is_the_partitions() {
    let buffer = "#address-cells = <2>; #size-cells = <2>; ranges; framebuffer@60000000 { \
                  compatible = \"simple-framebuffer\"; reg = <0 0x60000000 0 0x100000>; };";
    let property = "kaslr-seed = <0x581bb517 0x282cfe52>;";
    let board = edited_board(&[(property, &format!("{property} {buffer}"))]);
    let own = plan(&board, PRIMARY);
    let path = "/chosen/framebuffer@60000000";
    assert!(tree(partition(&own, "linux")).by_path(path).is_some());
    let other = "other { compatible = \"bulkhead,partition\"; identity-mapped; cpus = <1>; kernel = \"ticker\"; \
                 memory = <0 0x60000000 0 0x200000>; };";
    let lacking = plan(&board, &format!("{PRIMARY} {other}"));
    assert!(tree(partition(&lacking, "linux")).by_path(path).is_none());
    assert!(warnings(&lacking).contains(path), "{}", warnings(&lacking));
}

#[test]
fn registers_in_ram_that_another_partition_has_are_not_the_primarys() {
    let device = "mailbox@60000000 { compatible = \"a,mailbox\"; reg = <0 0x60000000 0 0x1000>; };";
    let other = "other { compatible = \"bulkhead,partition\"; identity-mapped; cpus = <1>; kernel = \"ticker\"; \
                 memory = <0 0x60000000 0 0x200000>; };";
    let planned = plan_on(device, &format!("{PRIMARY} {other}"));
    let tree = tree(partition(&planned, "linux"));
    assert_eq!(tree.by_path("/mailbox@60000000").unwrap().string("status"), Some("disabled"));
    assert!(
        warnings(&planned).contains("lie in RAM that the partition does not have"),
        "{}",
        warnings(&planned)
    );
}

#[test]
fn memory_nodes_keep_their_numa_nodes() {
    let banks = "memory@40000000 { device_type = \"memory\"; numa-node-id = <0>; reg = <0 0x40000000 0 0x40000000>; };
                 memory@80000000 { device_type = \"memory\"; numa-node-id = <1>; reg = <0 0x80000000 0 0x40000000>; };
                 distance-map { compatible = \"numa-distance-map-v1\"; \
                 distance-matrix = <0 0 10>, <0 1 20>, <1 0 20>, <1 1 10>; };";
    let old = support::node_source("qemu-virt-gicv3", "memory@40000000");
    let board = edited_board(&[(old.as_str(), &format!("\t{banks}"))]);
    let planned = plan(&board, PRIMARY);
    let tree = tree(partition(&planned, "linux"));
    let nodes = tree.root().children().filter(|node| node.string("device_type") == Some("memory"));
    let mut sizes = [0, 0];
    for node in nodes {
        let numa = node.u32("numa-node-id").expect("every bank has one");
        for range in node.registers().unwrap() {
            assert_eq!(u64::from(numa), u64::from(range.start().0 >= 0x8000_0000), "{range}");
            sizes[numa as usize] += range.size();
        }
    }
    let taken: u64 = taken().iter().map(|(range, _)| range.size()).sum();
    assert_eq!(sizes.iter().sum::<u64>(), (2 << 30) - taken);
    assert!(sizes.iter().all(|size| *size > 0x3000_0000), "{sizes:x?}");
}

#[test]
fn a_generated_tree_has_no_numa_nodes() {
    let old = support::node_source("qemu-virt-gicv3", "memory@40000000");
    let bank = "memory@40000000 { device_type = \"memory\"; numa-node-id = <1>; reg = <0 0x40000000 0 0x80000000>; };";
    let board = edited_board(&[(old.as_str(), &format!("\t{bank}"))]);
    let planned = plan(
        &board,
        "other { compatible = \"bulkhead,partition\"; cpus = <1>; kernel = \"ticker\"; \
         memory = <0 0x40000000 0 0x200000>; };",
    );
    let tree = tree(partition(&planned, "other"));
    assert!(tree.nodes().all(|node| !node.has("numa-node-id")));
}
