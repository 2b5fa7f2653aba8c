// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a guest finds its device tree.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use bulkhead_types::Ipa;
use support::{board, overlay, small_bundle, taken};

/// The first address of the tree of a partition with 64 MiB from 0x4000_0000 on, or what is wrong.
fn tree_at(kernel: &str, more: &str) -> Result<Ipa, String> {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>; a {{ compatible = \"bulkhead,partition\"; cpus = <0>;\n\
         memory = <0x0 0x40000000 0x0 0x4000000>; kernel = \"{kernel}\"; {more} }}; }}; }};"
    );
    let file = small_bundle(overlay(&source));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board(3), &bundle, taken()).map_err(|errors| errors.to_string())?;
    Ok(planned.plan.partitions[0].tree.at)
}

#[test]
fn the_tree_is_at_the_start_of_memory_or_where_the_partition_asks_for_it() {
    for (kernel, more, address) in [
        ("ticker", "load-address = <0x40080000>;", 0x4000_0000),
        ("ticker", "load-address = <0x40080000>; device-tree-address = <0x41000000>;", 0x4100_0000),
        ("ticker", "device-tree-address = <0x0 0x43000008>;", 0x4300_0008),
        ("debian-12", "device-tree-address = <0x43000000>;", 0x4300_0000),
        // Where the ramdisk would lie otherwise.
        ("debian-12", "ramdisk = \"busybox-initrd\"; device-tree-address = <0x43ffe000>;", 0x43ff_e000),
    ] {
        assert_eq!(tree_at(kernel, more), Ok(Ipa(address)), "{kernel}: {more}");
    }
}

#[test]
fn a_place_that_is_not_free_names_what_lies_there() {
    for (more, expected) in [
        ("device-tree-address = <0x40000000>;", "where the kernel lies"),
        ("device-tree-address = <0x43fffff8>;", "not all in the partition's memory"),
        ("device-tree-address = <0x30000000>;", "not all in the partition's memory"),
        ("device-tree-address = <0x41000004>;", "a multiple of 8 bytes"),
    ] {
        let said = tree_at("ticker", more).expect_err(more);
        assert!(said.contains(expected) && said.contains("device-tree-address"), "{more}: {said}");
    }
}
