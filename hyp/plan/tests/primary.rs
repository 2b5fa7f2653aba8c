// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The primary partition: the board's own tree, less what others have.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan::{Partition, Plan};
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{Planned, plan_board};
use bulkhead_types::Range;
use support::{assert_disjoint, board, bundle, guest_source, overlay, root, taken};

fn planned(board: &[u8], partitions: &str) -> Planned {
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

const PRIMARY: &str = "linux { compatible = \"bulkhead,partition\"; primary; kernel = \"debian-12\"; ramdisk = \"busybox-initrd\"; };";

fn beside(content: &str) -> String {
    format!("{PRIMARY} other {{ compatible = \"bulkhead,partition\"; kernel = \"ticker\"; {content} }};")
}

fn primary(plan: &Plan) -> &Partition {
    plan.partitions.iter().find(|partition| partition.primary).expect("one is primary")
}

fn warnings(planned: &Planned) -> String {
    planned.plan.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn it_has_everything_that_nobody_claims() {
    for gic in [2, 3] {
        let planned = planned(
            &board(gic),
            &beside("cpus = <1>; memory = <0 0x40000000 0 0x200000>; devices = \"/pl031@9010000\";"),
        );
        assert!(planned.plan.idle_cpus.is_empty() && planned.plan.free.is_empty());
        let own = primary(&planned.plan);
        assert_eq!(own.cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>(), [0, 2, 3]);
        let total: u64 = own.memory.iter().map(|memory| memory.frames.size()).sum();
        let hypervisors: u64 = taken().iter().map(|(range, _)| range.size()).sum();
        assert_eq!(total, (2 << 30) - (2 << 20) - hypervisors);
        // Kernel and ramdisk find room between what others have.
        assert_eq!(own.entry.0, 0x4080_0000);

        let device = |path: &str| own.devices.iter().find(|device| device.path == path);
        let pcie = device("/pcie@10000000").expect("the bus is there");
        let sizes: Vec<u64> = pcie.registers.iter().map(Range::size).collect();
        assert_eq!(sizes, [0x1000_0000, 0x1_0000, 0x2eff_0000, 0x80_0000_0000]);
        assert_eq!(pcie.interrupts.len(), 4);
        assert!(device("/pl031@9010000").is_none());
        // Eight transports share a page, which is mapped once.
        let transports = own.devices.iter().filter(|device| device.path.starts_with("/virtio_mmio@"));
        let pages: usize = transports.clone().map(|device| device.registers.len()).sum();
        assert_eq!((transports.count(), pages), (32, 4));
        // Its console is where the hypervisor's is, and the board's node describes it.
        assert_eq!(own.uart.map(|uart| (uart.base.0, uart.interrupt.get())), Some((0x900_0000, 33)));
        assert!(warnings(&planned).contains("The primary partition must be trusted"));
    }
}

#[test]
fn its_tree_is_the_boards() {
    for gic in [2, 3] {
        let board = board(gic);
        let planned = planned(
            &board,
            &beside("cpus = <1>; memory = <0 0x40000000 0 0x200000>; devices = \"/pl031@9010000\";"),
        );
        let blob = &primary(&planned.plan).tree.blob;
        let tree = Tree::parse(blob, "guest").unwrap();
        let node = |path: &str| tree.by_path(path).unwrap_or_else(|| panic!("{path} is missing"));
        assert!(tree.by_path("/partitions").is_none());
        let cpus = node("/cpus").children().filter(|node| node.base_name() == "cpu");
        let cpus: Vec<_> = cpus.map(|cpu| (cpu.name().to_owned(), cpu.u32("reg").unwrap())).collect();
        assert_eq!(cpus, [("cpu@0".into(), 0), ("cpu@1".into(), 1), ("cpu@2".into(), 2)]);
        assert!(tree.by_path("/cpus/cpu-map").is_none(), "a map without all of its CPUs");
        assert_eq!(node("/psci").string("method"), Some("hvc"));
        assert!(!node("/psci").has("cpu_on"));
        assert_eq!(node("/pl031@9010000").string("status"), Some("disabled"));
        assert_eq!(node("/pl011@9000000").string("status"), None);
        assert_eq!(node("/chosen").string("stdout-path"), Some("/pl011@9000000"));
        assert!(node("/chosen").has("linux,initrd-start"));
        let controller = node("/intc@8000000");
        assert_eq!(controller.children().count(), 0);
        let parts: Vec<(u64, u64)> = controller.reg().unwrap();
        match gic {
            2 => assert_eq!(parts, [(0x800_0000, 0x1000), (0x801_0000, 0x2000)]),
            _ => assert_eq!(parts, [(0x800_0000, 0x1_0000), (0x80a_0000, 0x6_0000)]),
        }
        let bus = node("/pcie@10000000");
        assert!(bus.has("interrupt-map") && !bus.has("msi-map"));
        let memory = tree.nodes().filter(|node| node.base_name() == "memory");
        let memory: u64 = memory.flat_map(|node| node.registers().unwrap()).map(|range| range.size()).sum();
        let own = primary(&planned.plan).memory.iter().map(|memory| memory.frames.size()).sum::<u64>();
        assert_eq!(memory, own);

        // Every other node is the board's, byte for byte.
        let before = Tree::parse(&board, "board").unwrap();
        for old in before.nodes() {
            let path = old.path();
            let changed = ["/cpus", "/psci", "/intc", "/chosen", "/memory", "/pl031", "/pcie"];
            if path != "/" && !changed.iter().any(|changed| path.starts_with(changed)) {
                assert_eq!(node(&path).properties(), old.properties(), "{path}");
            }
        }
        dtc_finds_nothing_wrong(blob);
    }
}

/// dtc checks references, addresses and interrupts of a whole tree.
fn dtc_finds_nothing_wrong(blob: &[u8]) {
    assert!(guest_source(blob).contains("/ {"));
}

#[test]
fn what_shares_a_page_or_an_interrupt_with_another_owner_is_left_alone() {
    let source = root().join("hyp/plan/tests/boards/spin-table.dts");
    let source = std::fs::read_to_string(source).unwrap();
    // The hypervisor's console is a mini UART, with a device on its page; another has an interrupt of edge's.
    let source = source.replace(
        "wide: edge@30000 {",
        "neighbour: spi@15080 { reg = <0x15080 0x40>; interrupts = <0 93 4>; };
         twin: twin@38000 { reg = <0x38000 0x1000>; interrupts = <0 40 4>; };
         perf { interrupts = <0 16 4>, <0 17 4>; interrupt-affinity = <&one &other>; };
         wide: edge@30000 {",
    );
    let source =
        source.replace("cpu@0 {", "one: cpu@0 {").replace("cpu@100000002 {", "other: cpu@100000002 {");
    let planned = planned(
        &overlay(&source),
        &beside("cpus = <0x01000002>; memory = <0 0x40000000 0 0x200000>; devices = \"/soc/inner/outer\";"),
    );
    let own = primary(&planned.plan);
    let paths: Vec<&str> = own.devices.iter().map(|device| device.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/soc/inner@7e200000/perf", "/soc/inner@7e200000/edge@30000", "/soc/inner@7e200000/shared@30800"]
    );
    let warnings = warnings(&planned);
    assert!(
        warnings.contains(
            "/partitions/linux: primary: the partition does not get /soc/inner@7e200000/spi@15080: its registers"
        ),
        "{warnings}"
    );
    assert!(
        warnings.contains(
            "/partitions/linux: primary: the partition does not get /soc/inner@7e200000/twin@38000: its interrupt"
        ),
        "{warnings}"
    );

    let tree = Tree::parse(&own.tree.blob, "guest").unwrap();
    for path in ["serial@15040", "spi@15080", "twin@38000", "iommu@50000", "outer@40000"] {
        let node = tree.by_path(&format!("/soc/inner@7e200000/{path}")).unwrap();
        assert_eq!(node.string("status"), Some("disabled"), "{path}");
    }
    // An interrupt for each CPU: those of its own are left.
    let perf = tree.by_path("/soc/inner@7e200000/perf").unwrap();
    assert_eq!(perf.cells("interrupts").collect::<Vec<_>>(), [0, 16, 4]);
    assert_eq!(perf.cells("interrupt-affinity").count(), 1);
    let perf = own.devices.iter().find(|device| device.path.ends_with("/perf")).unwrap();
    assert_eq!(perf.interrupts.iter().map(|(id, _)| id.get()).collect::<Vec<_>>(), [48]);
    // A board without PSCI: the guest has one. A console that is no PL011: the guest's has a node of its own.
    assert_eq!(tree.by_path("/psci").unwrap().string("method"), Some("hvc"));
    let cpu = tree.by_path("/cpus/cpu@0").unwrap();
    assert_eq!((cpu.string("enable-method"), cpu.has("cpu-release-addr")), (Some("psci"), false));
    assert_eq!(cpu.cells("reg").collect::<Vec<_>>(), [0, 0]);
    let uart = own.uart.unwrap();
    assert_eq!((uart.base.0, uart.interrupt.get()), (0xfe21_5000, 125), "not on the console's page");
    let path = format!("/serial@{:x}", uart.base.0);
    assert_eq!(tree.by_path("/chosen").unwrap().string("stdout-path"), Some(path.as_str()));
    let uart = tree.by_path(&path).unwrap();
    assert_eq!(
        uart.cells("reg").collect::<Vec<_>>(),
        [0, uart.registers().unwrap()[0].start().0 as u32, 0x1000]
    );
    assert!(tree.reservations.is_empty());
    assert!(
        tree.by_path("/__symbols__").unwrap().string("other").is_none(),
        "the label of a CPU that is gone"
    );
}

#[test]
fn it_may_ask_for_less() {
    let planned = planned(
        &board(3),
        "linux { compatible = \"bulkhead,partition\"; primary; cpus = <2>; memory = <0 0x60000000 0 0x10000000>;
         kernel = \"debian-12\"; console = \"none\"; bootargs = \"quiet\"; };",
    );
    let own = primary(&planned.plan);
    assert_eq!((own.cpus.len(), own.memory.len(), own.entry.0), (1, 1, 0x6000_0000));
    assert_eq!(planned.plan.idle_cpus.len(), 3);
    let tree = Tree::parse(&own.tree.blob, "guest").unwrap();
    assert_eq!(tree.by_path("/pl011@9000000").unwrap().string("status"), Some("disabled"));
    assert!(!tree.by_path("/chosen").unwrap().has("stdout-path"));
    assert_eq!(tree.by_path("/chosen").unwrap().string("bootargs"), Some("quiet"));
}
