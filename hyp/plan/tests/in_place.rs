// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which images stay in the bundle, and which are copied.

mod support;

use bulkhead_plan::Planned;
use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan::Partition;
use bulkhead_plan::plan_board;
use bulkhead_types::{Hpa, Ipa};
use support::{board, image, overlay, pack, taken};

/// Where `support::taken` has the bundle.
const BUNDLE: Hpa = Hpa(0x4820_0000);
/// Two pages and a bit.
const SIZE: usize = 0x2010;

/// A partition on `cpu` with raw bytes in read-only memory of `size` bytes, and 2 MiB to work in.
fn partition(cpu: u32, size: u64, more: &str) -> String {
    format!(
        "p{cpu} {{ compatible = \"bulkhead,partition\"; cpus = <{cpu}>; kernel = \"rom\";\n\
         #address-cells = <1>; #size-cells = <1>; {more}\n\
         memory@60000000 {{ reg = <0x60000000 {size:#x}>; read-only; }};\n\
         memory@60400000 {{ reg = <0x60400000 0x200000>; }}; }};\n"
    )
}

fn plan(partitions: &str, at: Option<Hpa>) -> Planned {
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>; {partitions} }}; }};"
    );
    let file = pack(vec![
        image("before", "kernel", vec![3; 100]),
        image("rom", "standalone", vec![1; SIZE]),
        image("partitions", "flat_dt", overlay(&source)),
    ]);
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let bundle = match at {
        Some(at) => bundle.lying_at(at),
        None => bundle,
    };
    let planned = plan_board(&board(3), &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    support::assert_disjoint(&planned);
    planned
}

fn in_place(partition: &Partition) -> u64 {
    partition.memory.iter().filter(|memory| memory.in_place).map(|memory| memory.frames.size()).sum()
}

fn copied(partition: &Partition) -> usize {
    partition.loads.iter().map(|load| load.bytes.len()).sum()
}

#[test]
fn memory_is_zeroed_at_boot_unless_the_partition_says_otherwise() {
    for (property, expected) in
        [("", true), ("zero-at-boot = \"on\";", true), ("zero-at-boot = \"off\";", false)]
    {
        let planned = plan(&(partition(0, 0x3000, property) + &partition(1, 0x3000, "")), Some(BUNDLE));
        let zeroed: Vec<bool> =
            planned.plan.partitions.iter().map(|partition| partition.zero_at_boot).collect();
        assert_eq!(zeroed, [expected, true], "{property}");
    }
}

#[test]
fn whole_pages_that_fill_read_only_memory_are_not_copied() {
    let planned = plan(&partition(0, 0x3000, ""), Some(BUNDLE));
    let [partition] = planned.plan.partitions.as_slice() else { panic!("one partition") };
    let [whole, work, rest] = partition.memory.as_slice() else { panic!("{:?}", partition.memory) };
    assert!(whole.in_place && !rest.in_place && !work.in_place);
    assert_eq!((whole.guest, whole.frames.size()), (Ipa(0x6000_0000), 0x2000));
    assert_eq!((rest.guest, rest.frames.size()), (Ipa(0x6000_2000), 0x1000));
    assert_eq!(whole.access, rest.access);
    let [load] = partition.loads.as_slice() else { panic!("{:?}", partition.loads) };
    assert_eq!((load.to, load.bytes.len()), (rest.guest, 0x10));
    assert_eq!(partition.entry, whole.guest);
    // The frames that a copy would have had are nobody's.
    let board: u64 = planned.board.memory.iter().map(|bank| bank.size()).sum();
    let free: u64 = planned.plan.free.iter().map(|range| range.size()).sum();
    let taken: u64 = taken().iter().map(|(range, _)| range.page_aligned().size()).sum();
    assert_eq!(board - free - taken, 0x20_1000);
    // The guest is told of one piece of memory.
    let source = support::guest_source(&partition.tree.blob);
    assert!(source.contains("rom@60000000") && source.contains("0x60000000 0x00 0x3000"), "{source}");
}

#[test]
fn an_image_has_one_reader() {
    let both = partition(0, 0x3000, "") + &partition(1, 0x3000, "");
    let planned = plan(&both, Some(BUNDLE));
    let [first, second] = planned.plan.partitions.as_slice() else { panic!("two partitions") };
    assert_eq!((in_place(first), copied(first)), (0x2000, SIZE - 0x2000));
    assert_eq!((in_place(second), copied(second)), (0, SIZE));
}

#[test]
fn all_else_is_copied() {
    let raw = |size, more: &str| partition(0, size, more);
    for (why, partitions, at) in [
        ("memory that is larger", raw(0x20_0000, ""), Some(BUNDLE)),
        ("an image that is not at its start", raw(0x4000, "load-address = <0x60001000>;"), Some(BUNDLE)),
        ("memory that can be written to", raw(0x3000, "").replace("read-only;", ""), Some(BUNDLE)),
        ("identity-mapped memory", raw(0x3000, "identity-mapped;"), Some(BUNDLE)),
        ("a bundle that is not at a page", raw(0x3000, ""), Some(Hpa(BUNDLE.0 + 0x800))),
        ("a bundle that is nowhere yet", raw(0x3000, ""), None),
    ] {
        let planned = plan(&partitions, at);
        let [partition] = planned.plan.partitions.as_slice() else { panic!("one partition") };
        assert_eq!((in_place(partition), copied(partition)), (0, SIZE), "{why}");
    }
}
