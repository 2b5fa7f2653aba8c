// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A board with everything that QEMU's virt board has not.

mod support;

use bulkhead_plan::board::{Board, Conduit, Gic, Start};
use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::early::{ConsoleKind, Outline};
use bulkhead_plan::plan::GuestGic;
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::Tree;
use bulkhead_types::{Hpa, IntId, Ipa, Mpidr, Range, Trigger};
use support::{assert_disjoint_beside, dtc, overlay, root, small_bundle};

fn source() -> String {
    std::fs::read_to_string(root().join("hyp/plan/tests/boards/spin-table.dts")).unwrap()
}

fn blob() -> Vec<u8> {
    overlay(&source())
}

fn range(start: u64, size: u64) -> Range<Hpa> {
    Range::<Hpa>::new(Hpa(start), size).unwrap()
}

#[test]
fn the_board_is_read() {
    let blob = blob();
    let board = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap();
    assert_eq!(board.compatible, ["test,board", "test,soc"]);
    assert_eq!(
        board.memory,
        [range(0, 0x3b40_0000), range(0x4000_0000, 0x8000_0000), range(0x1_0000_0000, 0x4000_0000)]
    );
    let reserved: Vec<Range<Hpa>> = board.reserved.iter().map(|(range, _)| *range).collect();
    assert_eq!(
        reserved,
        [range(0, 0x1000), range(0x3800_0000, 0x100_0000), range(0xd8, 8), range(0x2000_0000, 8)]
    );
    let cpus: Vec<_> = board.cpus.iter().map(|cpu| (cpu.mpidr, cpu.start)).collect();
    let affinity = |value| Mpidr::from_affinity(value).unwrap();
    assert_eq!(
        cpus,
        [
            (affinity(0), Some(Start::SpinTable(Hpa(0xd8)))),
            (affinity(0x1_0000_0002), Some(Start::SpinTable(Hpa(0x2000_0000)))),
        ]
    );
    assert_eq!(board.psci, None);
    assert_eq!(
        board.gic,
        Gic::V2 {
            distributor: range(0xff84_1000, 0x1000),
            cpu_interface: range(0xff84_2000, 0x2000),
            hypervisor_interface: range(0xff84_4000, 0x2000),
            virtual_cpu_interface: range(0xff84_6000, 0x2000),
            maintenance: IntId::ppi(9),
        }
    );
    assert_eq!((board.timer.virtual_timer, board.timer.flags), (IntId::ppi(11), 8));
    let console = board.console.unwrap();
    assert_eq!((console.kind, console.registers), (ConsoleKind::MiniUart, range(0xfe21_5040, 0x40)));
    assert_eq!(console.interrupt, Some((IntId::spi(93).unwrap(), Trigger::Level)));
    assert!(board.entropy.rng_seed.is_empty());
}

#[test]
fn early_boot_agrees_without_a_heap() {
    let blob = blob();
    let outline = Outline::new(&blob).unwrap();
    let console = outline.console().unwrap();
    assert_eq!((console.kind, console.registers), (ConsoleKind::MiniUart, range(0xfe21_5040, 0x40)));
    assert_eq!(outline.cpu_count(), 3);
    assert_eq!(outline.bundle(), Some(range(0x1000_0000, 0x20_0000)));

    let find = |taken: &[Range<Hpa>], size| outline.free_range(taken, size, 0x20_0000);
    // From the top of the highest bank.
    let high = range(0x4000_0000, 0x1_0000_0000);
    assert_eq!(find(&[], 0x20_0000), Some(range(0x1_3fe0_0000, 0x20_0000)));
    assert_eq!(find(&[range(0x1_3fff_f000, 0x1000)], 0x20_0000), Some(range(0x1_3fc0_0000, 0x20_0000)));
    assert_eq!(find(&[], 0x4020_0000), Some(range(0x7fe0_0000, 0x4020_0000)));
    assert_eq!(find(&[], 0x9000_0000), None);
    assert_eq!(find(&[high], 0x20_0000), Some(range(0x3b20_0000, 0x20_0000)));
    // What the firmware keeps is not free, nor is it where a CPU waits at a spin table, nor the first page.
    let above = range(0x3900_0000, 0x240_0000);
    assert_eq!(find(&[high, above], 0x20_0000), Some(range(0x37e0_0000, 0x20_0000)));
    assert_eq!(find(&[high, range(0x2020_0000, 0x1c00_0000)], 0x1000), Some(range(0x1fe0_0000, 0x1000)));
    assert_eq!(find(&[high, range(0x20_0000, 0x3c00_0000)], 0x1000), None);
}

#[test]
fn memory_that_el2_does_not_reach_is_not_taken() {
    let banks = |source: &str| {
        let blob = overlay(&format!(
            "/dts-v1/; /memreserve/ 0xfffffff00000 0x100000; / {{ #address-cells = <2>; #size-cells = <2>; {source} }};"
        ));
        let loaded = range(0x20_0000, 0x8_0000);
        Outline::new(&blob).unwrap().place_for_image(loaded, range(0x80_0000, 0x1_0000))
    };
    let low = "memory@0 { device_type = \"memory\"; reg = <0 0 0 0x40000000>; };";
    assert_eq!(banks(low), Some(range(0x3ff8_0000, 0x8_0000)));
    // A bank that ends behind 48 bits, and one that lies there.
    let across = "memory@ffff80000000 { device_type = \"memory\"; reg = <0xffff 0x80000000 1 0>; };";
    assert_eq!(banks(&format!("{low} {across}")), Some(range(0xffff_ffe8_0000, 0x8_0000)));
    let beyond = "memory@1000000000000 { device_type = \"memory\"; reg = <0x10000 0 1 0>; };";
    assert_eq!(banks(&format!("{low} {beyond}")), Some(range(0x3ff8_0000, 0x8_0000)));
}

#[test]
fn the_ends_of_the_ramdisk_have_one_cell_or_two() {
    let wide = source()
        .replace("linux,initrd-start = <0x10000000>", "linux,initrd-start = <0x1 0x10000000>")
        .replace("linux,initrd-end = <0x10200000>", "linux,initrd-end = <0x1 0x10200000>");
    let blob = overlay(&wide);
    assert_eq!(Outline::new(&blob).unwrap().bundle(), Some(range(0x1_1000_0000, 0x20_0000)));
    for (start, end) in [("<0x10200000>", "<0x10200000>"), ("<0x10300000>", "<0x10200000>"), ("\"x\"", "<9>")]
    {
        let broken = source()
            .replace("<0x10000000>;", &format!("{start};"))
            .replace("<0x10200000>;", &format!("{end};"));
        let blob = overlay(&broken);
        assert_eq!(Outline::new(&blob).unwrap().bundle(), None, "{start} {end}");
    }
}

fn plan(partitions: &str) -> Result<bulkhead_plan::Planned, String> {
    let blob = blob();
    let file = small_bundle(overlay(&format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; {partitions} }}; }};"
    )));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&blob, &bundle, vec![]).map_err(|errors| errors.to_string())?;
    assert_disjoint_beside(&planned, &[]);
    Ok(planned)
}

const HEAD: &str = "compatible = \"bulkhead,partition\"; kernel = \"debian-12\";";

#[test]
fn a_device_comes_with_what_it_needs() {
    let planned = plan(&format!(
        "a {{ {HEAD} cpus = <0x01000002 0>; memory = <0x0 0x40000000 0x0 0x10000000>; \
         devices = \"serial0\", \"/soc/inner/edge\", \"/soc/inner/shared\"; }};"
    ))
    .unwrap();
    let [partition] = planned.plan.partitions.as_slice() else { panic!("one partition") };
    assert_eq!(partition.cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>(), [1, 0]);
    let registers: Vec<_> = partition.devices.iter().map(|device| device.registers.clone()).collect();
    assert_eq!(
        registers,
        [
            vec![range(0xfe20_1000, 0x1000)],
            // The third of its ranges is in a page that the second has.
            vec![range(0xfe23_0000, 0x1000), range(0xfe23_2000, 0x2000)],
            // On a page that the device before it has already.
            vec![],
        ]
    );
    let interrupts: Vec<_> = partition.devices.iter().flat_map(|device| device.interrupts.clone()).collect();
    let spi = |number| IntId::spi(number).unwrap();
    assert_eq!(interrupts, [(spi(121), Trigger::Level), (spi(33), Trigger::Edge), (spi(34), Trigger::Level)]);

    let tree = Tree::parse(&partition.tree.blob, "guest").unwrap();
    let uart = tree.by_path("/serial@fe201000").unwrap();
    assert_eq!(uart.reg().unwrap(), [(0xfe20_1000, 0x200)]);
    assert_eq!(uart.cells("interrupts").collect::<Vec<_>>(), [0, 121, 4]);
    assert!(uart.is_available() && !uart.has("resets"));
    let clocks: Vec<_> =
        uart.cells("clocks").map(|phandle| tree.by_phandle(phandle).unwrap().path()).collect();
    assert_eq!(clocks, ["/clock", "/clock"]);
    assert_eq!(tree.by_path("/clock").unwrap().u32("clock-frequency"), Some(48_000_000));
    let supply = tree.by_phandle(uart.u32("vdd-supply").unwrap()).unwrap();
    assert_eq!(supply.string("regulator-name"), Some("3v3"));
    assert_eq!(uart.child("child").unwrap().u32("reg"), Some(7));
    let warnings: Vec<String> = planned.plan.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/partitions/a: devices = \"/soc/inner@7e200000/serial@1000\": /soc/inner@7e200000/serial@1000 is not enabled \
             on this board (status). Check that the board has it, and enable it in an overlay.",
            "/soc/inner@7e200000/serial@1000: the guest's copy of this node lacks resets, which refer to what the guest does not have."
        ]
    );
    // The virtual UART, SPI 1, and the real one are two.
    assert_eq!(tree.root().children().filter(|node| node.is_compatible("arm,pl011")).count(), 2);
}

#[test]
fn an_identity_mapped_partition_sees_the_boards_addresses() {
    let planned = plan(&format!(
        "a {{ {HEAD} cpus = <0>; identity-mapped; memory = <0x0 0x8000000 0x0 0x8000000>; }};
         b {{ {HEAD} cpus = <0x01000002>; identity-mapped; memory = <0x0 0x40000000>; }};"
    ))
    .unwrap();
    let [a, b] = planned.plan.partitions.as_slice() else { panic!("two partitions") };
    assert_eq!(a.memory[0].frames, range(0x800_0000, 0x800_0000));
    assert_eq!(
        a.interrupt_controller,
        GuestGic::V2 { distributor: Ipa(0xff84_1000), cpu_interface: Ipa(0xff84_2000) }
    );
    // Not at 0x0900_0000, which is RAM here, but behind the first bank.
    assert_eq!(a.uart.unwrap().base, Ipa(0x3b40_0000));
    assert_eq!(b.memory[0].guest.0, b.memory[0].frames.start().0);
    assert_eq!(b.memory[0].frames.start().0 % (1 << 30), 0);
}

#[test]
fn large_memory_is_put_together_from_banks() {
    let planned =
        plan(&format!("a {{ {HEAD} cpus = <0>; memory = <0x0 0x40000000 0x0 0xd0000000>; }};")).unwrap();
    let [partition] = planned.plan.partitions.as_slice() else { panic!("one partition") };
    assert!(partition.memory.len() > 1);
    assert_eq!(partition.memory.iter().map(|memory| memory.frames.size()).sum::<u64>(), 0xd000_0000);
    let tree = Tree::parse(&partition.tree.blob, "guest").unwrap();
    let memory: Vec<_> = tree.root().children().filter(|node| node.base_name() == "memory").collect();
    assert_eq!(memory.len(), 1, "it is one for the guest");
    assert_eq!(memory[0].reg().unwrap(), [(0x4000_0000, 0xd000_0000)]);
}

#[test]
fn what_cannot_be_given_away_is_refused() {
    let refuse = |devices: &str| {
        let memory = "memory = <0x0 0x40000000 0x0 0x10000000>;";
        plan(&format!("a {{ {HEAD} cpus = <0>; {memory} devices = {devices}; }};")).map(drop).unwrap_err()
    };
    assert!(refuse("\"serial1\"").contains("the hypervisor's console"));
    let sentence = refuse("\"/soc/inner/edge@30000\"");
    assert!(sentence.contains("share a page with /soc/inner@7e200000/shared@30800"), "{sentence}");
    let sentence = refuse("\"/soc/lost/device\"");
    assert!(sentence.contains("the bus /soc/lost does not pass this address on"), "{sentence}");
    let sentence = refuse("\"/soc/inner/iommu\"");
    assert!(sentence.contains("who programs an IOMMU"), "{sentence}");
    let sentence = plan(&format!(
        "a {{ {HEAD} cpus = <0>; memory = <0x0 0x10000000>; devices = \"/soc/inner/outer\"; }};
         b {{ {HEAD} cpus = <0x01000002>; memory = <0x0 0x10000000>; devices = \"/soc/inner/outer/inner\"; }};"
    ))
    .map(drop)
    .unwrap_err();
    assert!(sentence.contains("it is part of /soc/inner@7e200000/outer@40000"), "{sentence}");
    let sentence = refuse("\"serial3\"");
    assert!(sentence.contains("Did you mean \"serial0\"?"), "{sentence}");
}

#[test]
fn everything_that_a_board_lacks_is_said() {
    let broken = source()
        .replace("device_type = \"memory\"", "device_type = \"nothing\"")
        .replace("arm,gic-400", "acme,pic")
        .replace("arm,armv8-timer", "acme,timer")
        .replace("device_type = \"cpu\"", "device_type = \"gpu\"")
        .replace("cpu@", "gpu@");
    let blob = overlay(&broken);
    let errors = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap_err().to_string();
    insta::assert_snapshot!(errors);
}

/// What would have EL2 reach past an interrupt controller's registers, or look for redistributors for ever.
#[test]
fn interrupt_controllers_have_all_their_registers() {
    let gicv3 = std::fs::read_to_string(root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts")).unwrap();
    let regions = "#redistributor-regions = <0x01>;";
    for (source, from, to, rule) in [
        (source(), "<0x40042000 0x2000>", "<0x40042000 0x1000>", "takes 8 KiB"),
        (source(), "<0x40046000 0x2000>", "<0x40046000 0x1000>", "takes 8 KiB"),
        (gicv3.clone(), "0x8000000 0x00 0x10000", "0x8000000 0x00 0x1000", "takes 64 KiB"),
        (gicv3.clone(), "0x80a0000 0x00 0xf60000", "0x80a0000 0x00 0x10000", "128 KiB"),
        (gicv3.clone(), regions, &format!("{regions} redistributor-stride = <0 0>;"), "64 KiB apart"),
        (gicv3, regions, &format!("{regions} redistributor-stride = <0x28000>;"), "64 KiB apart"),
    ] {
        let broken = source.replace(from, to);
        assert_ne!(broken, source);
        let blob = overlay(&broken);
        let errors = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap_err().to_string();
        assert!(errors.contains(rule), "{to}: {errors}");
    }
}

/// Every configuration in `guests` is planned on QEMU's virt board.
#[test]
fn the_examples_are_planned() {
    let image = |name: &str, kind: &str| support::image(name, kind, vec![1; 4096]);
    let mut count = 0;
    for folder in std::fs::read_dir(root().join("guests")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).into_iter().flatten() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "dtso") {
                continue;
            }
            count += 1;
            let source = std::fs::read_to_string(&path).unwrap();
            let mut images: Vec<_> = source
                .split("kernel = \"")
                .skip(1)
                .chain(source.split("ramdisk = \"").skip(1))
                .filter_map(|rest| rest.split('"').next())
                .collect();
            images.sort_unstable();
            images.dedup();
            let mut images: Vec<_> = images.into_iter().map(|name| image(name, "kernel")).collect();
            // A tree of the guest's own lies beside the overlay.
            if let Some(name) =
                source.split("device-tree = \"").nth(1).and_then(|rest| rest.split('"').next())
            {
                let own = std::fs::read_to_string(path.with_file_name(format!("{name}.dts"))).unwrap();
                images.push(support::image(name, "flat_dt", overlay(&own)));
            }
            images.push(support::image("partitions", "flat_dt", overlay(&source)));
            let file = support::pack(images);
            let bundle = Bundle::parse(&file, software_crc32).unwrap();
            let board = support::large_board(8);
            let planned = plan_board(&board, &bundle, support::taken());
            let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
            support::assert_disjoint(&planned);
        }
    }
    assert!(count >= 5, "only {count} examples were found");
}

/// What an overlay on this board's root, beside one partition, gives.
fn with_overlay(source: &str, content: &str) -> Result<bulkhead_plan::Planned, String> {
    let blob = dtc("dts", "dtb", source.as_bytes());
    let file = small_bundle(overlay(&format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; a {{ {HEAD} primary; }}; }}; }}; {content}"
    )));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    plan_board(&blob, &bundle, vec![(range(0x5000_0000, 0x10_0000), "the hypervisor's working memory")])
        .map_err(|errors| errors.to_string())
}

/// A board with its PSCI and its PMU where the binding allows them.
const NESTED: &str = r#"/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    interrupt-parent = <&gic>;
    chosen { stdout-path = "/serial@9000000"; };
    aliases { serial0 = "/soc/serial@9040000"; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x80000000>; };
    firmware { psci { compatible = "arm,psci-1.0"; method = "smc"; }; };
    cpus {
        #address-cells = <1>;
        #size-cells = <0>;
        cpu@0 { device_type = "cpu"; compatible = "arm,cortex-a53"; reg = <0>; enable-method = "psci"; };
        cpu@1 { device_type = "cpu"; compatible = "arm,cortex-a53"; reg = <1>; enable-method = "psci"; };
    };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 8>, <1 14 8>, <1 11 8>, <1 10 8>; };
    gic: interrupt-controller@8000000 {
        compatible = "arm,gic-v3";
        #interrupt-cells = <3>;
        interrupt-controller;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x40000>;
        interrupts = <1 9 4>;
    };
    soc {
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        interconnect-pmu { compatible = "example,interconnect-pmu"; };
        pmu { compatible = "arm,cortex-a53-pmu"; interrupts = <1 7 4>; };
        serial@9040000 { compatible = "arm,pl011"; reg = <0 0x9040000 0 0x1000>; interrupts = <0 8 4>; };
    };
    serial@9000000 { compatible = "arm,pl011"; reg = <0 0x9000000 0 0x1000>; interrupts = <0 1 4>; };
};"#;

#[test]
fn nodes_are_found_by_compatible() {
    let planned = with_overlay(NESTED, "").unwrap();
    assert_eq!(planned.board.psci, Some(Conduit::Smc));
    assert_eq!(planned.board.counters.map(|(id, _)| id), Some(IntId::ppi(7)));
    let blob = dtc("dts", "dtb", NESTED.as_bytes());
    assert_eq!(Outline::new(&blob).unwrap().psci(), Some(Conduit::Smc));
}

#[test]
fn a_missing_enable_method_is_named() {
    let source = NESTED.replace(" enable-method = \"psci\";", "");
    let error = with_overlay(&source, "").unwrap_err();
    assert!(error.contains("(enable-method)") && error.contains("/cpus/cpu@0"), "{error}");
    assert!(!error.contains("the other partitions"), "{error}");
}

/// Early boot and the plan agree on the console: the named port, the first serial port, or none; never in RAM.
#[test]
fn no_console_is_guessed() {
    let consoles = |source: &str| {
        let blob = dtc("dts", "dtb", source.as_bytes());
        let early = Outline::new(&blob).unwrap().console().map(|console| console.registers);
        let read = Board::read(&Tree::parse(&blob, "board").unwrap()).unwrap();
        assert_eq!(early, read.console.map(|console| console.registers), "{source}");
        early
    };
    let (named, first) = (Some(range(0x900_0000, 0x1000)), Some(range(0x904_0000, 0x1000)));
    assert_eq!(consoles(NESTED), named);
    let unnamed = NESTED.replace("stdout-path = \"/serial@9000000\";", "");
    assert_eq!(consoles(&unnamed), first);
    assert_eq!(
        consoles(&NESTED.replace("stdout-path = \"/serial@9000000\"", "stdout-path = \"/none\"")),
        first
    );
    assert_eq!(
        consoles(&NESTED.replace("stdout-path = \"/serial@9000000\"", "stdout-path = \"/timer\"")),
        first
    );
    assert_eq!(consoles(&unnamed.replace("serial0 =", "serial1 =")), None);
    assert_eq!(
        consoles(&unnamed.replace("serial@9040000 {", "serial@9040000 { status = \"disabled\";")),
        None
    );
    let in_memory = unnamed.replace("reg = <0 0x9040000 0 0x1000>", "reg = <0 0x49040000 0 0x1000>");
    assert_eq!(consoles(&in_memory), None);
}

#[test]
fn overlays_cannot_change_what_boot_has_used() {
    for (content, said) in [
        ("&{/chosen} { stdout-path = \"/soc/serial@9040000\"; };", "stdout-path"),
        // Another driver, whatever the port.
        ("&{/serial@9000000} { compatible = \"brcm,bcm2835-aux-uart\"; };", "the board's console"),
        ("&{/firmware/psci} { status = \"disabled\"; };", "PSCI"),
        ("&{/cpus/cpu@1} { status = \"fail\"; };", "changes the board's CPUs"),
        ("&{/cpus/cpu@1} { enable-method = \"spin-table\"; cpu-release-addr = <0 0x41000000>; };", "CPUs"),
        ("&{/memory@40000000} { reg = <0 0x40000000 0 0x10000000>; };", "takes away memory"),
        (
            "&{/} { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; \
             mine@50000000 { reg = <0 0x50000000 0 0x1000>; }; }; };",
            "reserves memory in which the hypervisor's working memory is",
        ),
    ] {
        let error = with_overlay(NESTED, content).unwrap_err();
        assert!(error.contains(said), "{content}: {error}");
    }
    // What boot did not use may change.
    let elsewhere = "&{/} { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; \
        mine@60000000 { reg = <0 0x60000000 0 0x1000>; }; }; };";
    with_overlay(NESTED, elsewhere).unwrap();
    with_overlay(NESTED, "&{/chosen} { stdout-path = \"/serial@9000000:115200n8\"; };").unwrap();
}

/// U-Boot's `fdt chosen` writes the last byte instead of the end: the FIT's own size shows it.
#[test]
fn a_bundle_knows_its_own_size() {
    let file = small_bundle(overlay("/dts-v1/; /plugin/; &{/} { };"));
    let mut longer = file.clone();
    longer.extend([0; 5]);
    for bytes in [&file[..], &longer, &file[..file.len() - 1], &file[..file.len() - 100]] {
        assert_eq!(bulkhead_plan::bundle::size(bytes), Some(file.len()));
    }
    // A tree that is cut short itself has its header's word.
    let tree = bulkhead_plan::tree::blob_size(&file);
    assert!(tree.is_some_and(|size| size <= file.len()));
    assert_eq!(bulkhead_plan::bundle::size(&file[..64]), tree);
    assert_eq!(bulkhead_plan::bundle::size(&file[..4]), None);
    let error = Bundle::parse(&file[..file.len() - 1], software_crc32).unwrap_err().to_string();
    assert!(error.contains(&format!("{} bytes here", file.len() - 1)), "{error}");
}

#[test]
fn a_range_beyond_memory_is_known() {
    let blob = dtc("dts", "dtb", NESTED.as_bytes());
    let outline = Outline::new(&blob).unwrap();
    assert!(
        outline.is_memory(&range(0x4800_0000, 0x1000)) && outline.is_memory(&range(0x4000_0000, 0x8000_0000))
    );
    assert!(!outline.is_memory(&range(0xbfff_f000, 0x2000)) && !outline.is_memory(&range(0, 1)));
}
