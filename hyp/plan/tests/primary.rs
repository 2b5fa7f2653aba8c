// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The primary partition: the board's own tree, less what others have.

mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan::{Partition, Plan};
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{Planned, plan_board};
use bulkhead_types::Range;
use support::{assert_disjoint, board, bundle, edited_board, guest_source, overlay, root, taken};

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
            2 => assert_eq!(parts, [(0x800_0000, 0x1_0000), (0x801_0000, 0x1_0000)]),
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

fn device<'p>(plan: &'p Plan, path: &str) -> &'p bulkhead_plan::plan::Device {
    primary(plan).devices.iter().find(|device| device.path == path).unwrap_or_else(|| panic!("{path}"))
}

fn ids(plan: &Plan, path: &str) -> Vec<u32> {
    device(plan, path).interrupts.iter().map(|(id, _)| id.get()).collect()
}

/// What stands between the braces of one node of QEMU's board.
fn node_edit<'s>(source: &'s str, name: &str) -> &'s str {
    let start = source.find(&format!("\t{name} {{\n")).expect("the node is there");
    let end = start + source[start..].find("\n\t};").expect("it ends");
    &source[start..end]
}

#[test]
fn interrupts_that_go_to_the_gic_are_kept_where_others_do_not() {
    let source = std::fs::read_to_string(root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts")).unwrap();
    let clock = node_edit(&source, "pl031@9010000");
    let interrupts = clock.lines().find(|line| line.contains("interrupts =")).expect("it has one").trim();
    let gic = node_edit(&source, "intc@8000000").lines().find(|line| line.contains("\tphandle =")).unwrap();
    let gic = gic.trim().trim_start_matches("phandle = <").trim_end_matches(">;");
    let ports = node_edit(&source, "pl061@9030000");
    let port = ports.lines().find(|line| line.contains("\tphandle =")).unwrap();
    let port = port.trim().trim_start_matches("phandle = <").trim_end_matches(">;");
    let controller = "gpio-controller; interrupt-controller; #interrupt-cells = <2>;";
    let extended = |list: &str| clock.replace(interrupts, &format!("interrupts-extended = {list};"));
    let board = |list: &str, beside: &str| {
        let ports = ports.replace("gpio-controller;", controller);
        edited_board(&[(clock, &extended(list)), (node_edit(&source, "pl061@9030000"), &(ports + beside))])
    };
    for list in [
        format!("<{gic} 0 2 4>, <{port} 3 1>"),
        format!("<{port} 3 1>, <{gic} 0 2 4>"),
        // One that the GIC cannot have costs no other.
        format!("<{gic} 0 2000 4>, <{gic} 0 2 4>"),
        format!("<{gic} 0 9 7>, <{gic} 0 2 4>"),
    ] {
        let planned = planned(&board(&list, ""), PRIMARY);
        assert_eq!(ids(&planned.plan, "/pl031@9010000"), [34], "{list}");
        let said = warnings(&planned);
        assert_eq!(
            said.contains("/pl031@9010000: interrupts-extended"),
            !list.contains(port),
            "{list}: {said}"
        );
    }
    // A controller that the partition does not have, and one whose numbers nobody knows.
    let planned =
        planned(&board(&format!("<{gic} 0 2 4>, <{port} 3 1>"), "\n\t\tstatus = \"disabled\";"), PRIMARY);
    let said = warnings(&planned);
    assert!(said.contains("/pl061@9030000: the primary partition does not have this"), "{said}");
    assert!(said.contains("Interrupts are missing of /pl031@9010000"), "{said}");
}

#[test]
fn registers_that_reach_the_cpus_are_kept_where_others_do_not() {
    let bus = "bus@b000000 { compatible = \"simple-bus\"; #address-cells = <1>; #size-cells = <1>;
        ranges = <0x0 0x0 0xb000000 0x10000>, <0x10000 0x0 0xb100000 0x10000>;
        half@0 { reg = <0x1000 0x1000>, <0x90000000 0x1000>; interrupts = <0 50 4>; };
        both@f000 { reg = <0xf000 0x2000>; };
        behind@1f000 { reg = <0x1f000 0x2000>; };
        bus2 { #address-cells = <1>; #size-cells = <0>; chip@50 { reg = <0x50>; }; }; };
        pl061@9030000 {";
    let planned = planned(&edited_board(&[("pl061@9030000 {", bus)]), PRIMARY);
    let pages = |name: &str| {
        let device = device(&planned.plan, &format!("/bus@b000000/{name}"));
        device.registers.iter().map(|range| (range.start().0, range.size())).collect::<Vec<_>>()
    };
    assert_eq!(pages("half@0"), [(0xb00_1000, 0x1000)]);
    assert_eq!(pages("both@f000"), [(0xb00_f000, 0x1000), (0xb10_0000, 0x1000)]);
    assert_eq!(pages("behind@1f000"), [(0xb10_f000, 0x1000)]);
    assert_eq!(ids(&planned.plan, "/bus@b000000/half@0"), [82]);
    let said = warnings(&planned);
    for value in ["half@0: reg = <0x90000000>", "behind@1f000: reg = <0x1f000>"] {
        assert!(said.contains(value), "{value}: {said}");
    }
    assert!(!said.contains("both@f000") && !said.contains("chip@50"), "{said}");
}

#[test]
fn an_interrupt_map_is_kept_as_far_as_it_is_understood() {
    let source = std::fs::read_to_string(root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts")).unwrap();
    let map =
        node_edit(&source, "pcie@10000000").lines().find(|line| line.contains("interrupt-map =")).unwrap();
    // The first entry names an interrupt that the GIC has not; the last names a controller that the tree has not.
    let spoilt = map.replacen("0x8005 0x00 0x00 0x00 0x03", "0x8005 0x00 0x00 0x00 0x7777", 1);
    let spoilt = spoilt.replace(">;", " 0x1800 0x00 0x00 0x04 0x7654 0x00 0x00 0x00 0x06 0x04>;");
    let planned = planned(&edited_board(&[(map, &spoilt)]), PRIMARY);
    assert_eq!(ids(&planned.plan, "/pcie@10000000"), [36, 37, 38, 35]);
    let said = warnings(&planned);
    assert!(
        said.contains("/pcie@10000000: interrupt-map = <0 30583 0x4>: the GIC has no such interrupt"),
        "{said}"
    );
    assert!(said.contains("/pcie@10000000: interrupt-map = <0x7654>: no node has this phandle"), "{said}");
}

#[test]
fn a_console_with_a_wake_up_elsewhere_keeps_its_input() {
    let source = std::fs::read_to_string(root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts")).unwrap();
    let console = node_edit(&source, "pl011@9000000");
    let ports = node_edit(&source, "pl061@9030000");
    let controller =
        ports.replace("gpio-controller;", "gpio-controller; interrupt-controller; #interrupt-cells = <2>;");
    for list in ["<0x8005 0 1 4>, <0x8007 3 1>", "<0x8007 3 1>, <0x8005 0 1 4>"] {
        let extended =
            console.replace("interrupts = <0x00 0x01 0x04>;", &format!("interrupts-extended = {list};"));
        let planned = planned(&edited_board(&[(console, &extended), (ports, &controller)]), PRIMARY);
        let console = planned.board.console.as_ref().expect("it is a PL011");
        assert_eq!(console.interrupt.map(|(id, _)| id.get()), Some(33), "{list}");
    }
}

#[test]
fn a_disabled_device_that_a_partition_names_is_warned_of() {
    let board = edited_board(&[("pl031@9010000 {", "pl031@9010000 { status = \"disabled\";")]);
    let planned = planned(
        &board,
        &beside("cpus = <1>; memory = <0 0x40000000 0 0x200000>; devices = \"/pl031@9010000\";"),
    );
    let said = warnings(&planned);
    assert!(
        said.contains("/partitions/other: devices = \"/pl031@9010000\": /pl031@9010000 is not enabled"),
        "{said}"
    );
}
