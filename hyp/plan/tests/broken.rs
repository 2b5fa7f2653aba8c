// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Broken configurations, and the sentences that they are refused with.

mod support;

use std::fmt::Write as _;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use support::writer::Image;
use support::{board, image, linux_image, overlay, pack, taken};

const FIRST: &str = "cpus = <0>; memory = <0x0 0x40000000 0x0 0x8000000>; kernel = \"linux\";";

const BIG_TREE: &str = "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; \
    memory@40000000 { device_type = \"memory\"; reg = <0 0x40000000 1 0>; }; };";

/// The content of one partition, in place of a property of the good one.
fn one(replace: &[(&str, &str)]) -> String {
    let mut lines = vec![
        ("cpus", "cpus = <0>;".to_owned()),
        ("memory", "memory = <0x0 0x40000000 0x0 0x8000000>;".to_owned()),
        ("kernel", "kernel = \"linux\";".to_owned()),
    ];
    for (name, line) in replace {
        match lines.iter_mut().find(|(candidate, _)| candidate == name) {
            Some((_, old)) => *old = (*line).into(),
            None => lines.push((name, (*line).into())),
        }
    }
    lines.iter().fold(String::new(), |all, (_, line)| all + line + " ")
}

fn with(name: &str, line: &str) -> String {
    partitions(&[("a", &one(&[(name, line)]))])
}

fn partitions(list: &[(&str, &str)]) -> String {
    let nodes = list.iter().fold(String::new(), |all, (name, content)| {
        all + &format!("{name} {{ compatible = \"bulkhead,partition\"; {content} }};\n")
    });
    format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; {nodes} }}; }};"
    )
}

fn two(second: &str) -> String {
    partitions(&[("a", FIRST), ("b", second)])
}

fn escape_key(value: &str) -> String {
    partitions(&[("a", FIRST)]).replacen("a {", &format!("escape-key = {value}; a {{"), 1)
}

/// An executable as a linker makes it by default: its only segment begins with the file's headers, a page below the code.
fn elf_with_headers() -> Vec<u8> {
    let mut elf = vec![0; 0x1000];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut number = |at: usize, value: u64, size: usize| {
        elf[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    };
    number(18, 183, 2); // EM_AARCH64
    number(24, 0x4000_0000, 8); // e_entry
    number(32, 64, 8); // e_phoff
    number(54, 56, 2); // e_phentsize
    number(56, 1, 2); // e_phnum
    number(64, 1, 4); // PT_LOAD, from offset 0
    number(64 + 16, 0x3fff_f000, 8); // p_vaddr
    number(64 + 24, 0x3fff_f000, 8); // p_paddr
    number(64 + 32, 0x1000, 8); // p_filesz
    number(64 + 40, 0x2000, 8); // p_memsz
    elf
}

fn images(overlay: Vec<u8>) -> Vec<Image> {
    let mut big_endian = linux_image();
    big_endian[24] |= 1;
    let mut huge = linux_image();
    huge[16..24].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let mut elf = b"\x7fELF\x01\x01".to_vec();
    elf.resize(64, 0);
    vec![
        image("linux", "kernel", linux_image()),
        image("initrd", "ramdisk", vec![7; 100_000]),
        image("raw", "kernel", vec![1; 8192]),
        image("empty", "kernel", vec![]),
        image("big-endian", "kernel", big_endian),
        image("huge", "kernel", huge),
        image("arm32-elf", "kernel", elf),
        image("gzip", "kernel", vec![0x1f, 0x8b, 8, 0]),
        image("elf-with-headers", "kernel", elf_with_headers()),
        image("zstd", "kernel", b"\x28\xb5\x2f\xfd\x04\x58".to_vec()),
        image("uimage", "kernel", b"\x27\x05\x19\x56\0\0".to_vec()),
        image("script", "kernel", b"#!/bin/sh\n# This is no kernel at all.\nexit 1\n".to_vec()),
        image("big-tree", "flat_dt", support::overlay(BIG_TREE)),
        image("misfit", "flat_dt", support::overlay("/dts-v1/; /plugin/; &{/soc} { };")),
        image("partitions", "flat_dt", overlay),
    ]
}

fn answer(gic: u32, bundle: &[u8]) -> String {
    let board = board(gic);
    let planned =
        Bundle::parse(bundle, software_crc32).and_then(|bundle| plan_board(&board, &bundle, taken()));
    match planned {
        Ok(_) => "ACCEPTED".into(),
        Err(errors) => errors.to_string(),
    }
}

fn refuse(source: &str) -> String {
    answer(3, &pack(images(overlay(source))))
}

/// Source, by what is wrong with it.
fn configurations() -> Vec<(&'static str, String)> {
    let many_cpus = (0..130).map(|cpu| format!("{cpu:#x} ")).collect::<String>();
    vec![
        // CPUs
        ("cpus missing", with("cpus", "")),
        ("cpus empty", with("cpus", "cpus;")),
        ("cpus not cells", with("cpus", "cpus = \"0\";")),
        ("cpus in a string as long as cells", with("cpus", "cpus = \"2 3\";")),
        ("cpus in words", with("cpus", "cpus = \"all\";")),
        ("a reference to a CPU's node", with("cpus", "cpus = <&{/cpus/cpu@1}>;")),
        ("a reference to a label of the CPU", with("cpus", "cpus = <0 &cpu1>;")),
        ("a CPU that is not there", with("cpus", "cpus = <0 7>;")),
        ("a CPU twice in a partition", with("cpus", "cpus = <1 1>;")),
        ("CPUs of 64 bits", with("cpus", "cpus = /bits/ 64 <0 1>;")),
        ("a CPU in two partitions", two(FIRST)),
        ("more CPUs than the GIC can name", with("cpus", &format!("cpus = <{many_cpus}>;"))),
        // memory
        ("memory missing", with("memory", "")),
        ("memory with half a pair", with("memory", "memory = <0x0 0x40000000 0x0>;")),
        ("memory of one cell", with("memory", "memory = <0x40000000>;")),
        (
            "memory whose last size is forgotten",
            with("memory", "memory = <0x0 0x40000000 0x0 0x8000000>, <0x0 0x60000000>;"),
        ),
        ("an address alone, which is a size", with("memory", "identity-mapped; memory = <0x0 0x80000000>;")),
        ("memory of no bytes", with("memory", "memory = <0x0 0x40000000 0x0 0x0>;")),
        ("memory not of whole pages", with("memory", "memory = <0x0 0x40000000 0x0 0x8000800>;")),
        ("memory not at a page", with("memory", "memory = <0x0 0x40000200 0x0 0x8000000>;")),
        ("memory beyond guest addresses", with("memory", "memory = <0xff 0xf0000000 0x0 0x80000000>;")),
        ("memory that wraps", with("memory", "memory = <0xffffffff 0xfffff000 0x0 0x2000>;")),
        ("memory of one cell for each number", with("memory", "memory = <0x40000000 0x10000000>;")),
        (
            "memory with the halves of its numbers swapped",
            with("memory", "memory = <0x40000000 0x0 0x10000000 0x0>;"),
        ),
        ("more memory than the board has", with("memory", "memory = <0x0 0x40000000 0x1 0x0>;")),
        (
            "ranges of memory that overlap",
            with("memory", "memory = <0x0 0x40000000 0x0 0x8000000>, <0x0 0x44000000 0x0 0x8000000>;"),
        ),
        ("memory over the GIC", with("memory", "memory = <0x0 0x00000000 0x0 0x10000000>;")),
        (
            "two partitions too large together",
            partitions(&[
                ("a", "cpus = <0>; memory = <0x0 0x40000000 0x0 0x40000000>; kernel = \"linux\";"),
                ("b", "cpus = <1>; memory = <0x0 0x40000000 0x0 0x40000000>; kernel = \"linux\";"),
            ]),
        ),
        (
            "identity-mapped memory over the hypervisor",
            with("memory", "identity-mapped; memory = <0x0 0x40000000 0x0 0x8000000>;"),
        ),
        (
            "identity-mapped memory that is not RAM",
            with("memory", "identity-mapped; memory = <0x4 0x40000000 0x0 0x8000000>;"),
        ),
        (
            "identity-mapped memory of two partitions",
            partitions(&[
                (
                    "a",
                    "identity-mapped; cpus = <0>; memory = <0x0 0x60000000 0x0 0x8000000>; kernel = \"linux\";",
                ),
                (
                    "b",
                    "identity-mapped; cpus = <1>; memory = <0x0 0x64000000 0x0 0x8000000>; kernel = \"linux\";",
                ),
            ]),
        ),
        ("identity-mapped with a value", with("identity-mapped", "identity-mapped = <1>;")),
        // images
        ("kernel missing", with("kernel", "")),
        ("kernel not a string", with("kernel", "kernel = <1>;")),
        ("a kernel without a name", with("kernel", "kernel = \"\";")),
        ("a ramdisk without a name", with("ramdisk", "ramdisk = \"\";")),
        ("two kernels", with("kernel", "kernel = \"linux\", \"raw\";")),
        ("a kernel that is not in the bundle", with("kernel", "kernel = \"linus\";")),
        ("a kernel that is nothing like any in the bundle", with("kernel", "kernel = \"zephyr-rtos\";")),
        ("a ramdisk that is not in the bundle", with("ramdisk", "ramdisk = \"initrd.img\";")),
        ("an empty kernel", with("kernel", "kernel = \"empty\";")),
        ("a big-endian kernel", with("kernel", "kernel = \"big-endian\";")),
        ("a compressed kernel", with("kernel", "kernel = \"gzip\";")),
        ("a kernel compressed with zstd", with("kernel", "kernel = \"zstd\";")),
        ("a kernel in a uImage", with("kernel", "kernel = \"uimage\";")),
        ("a script as kernel", with("kernel", "kernel = \"script\";")),
        ("an executable whose headers are loaded", with("kernel", "kernel = \"elf-with-headers\";")),
        ("a 32-bit executable", with("kernel", "kernel = \"arm32-elf\";")),
        ("a kernel too large for its memory", with("memory", "memory = <0x0 0x40000000 0x0 0x400000>;")),
        ("a kernel of a terabyte", with("kernel", "kernel = \"huge\";")),
        (
            "no room for the ramdisk",
            partitions(&[(
                "a",
                "cpus = <0>; memory = <0x0 0x40000000 0x0 0x2800000>; kernel = \"linux\"; ramdisk = \"initrd\";",
            )]),
        ),
        (
            "no room for the tree",
            partitions(&[("a", "cpus = <0>; memory = <0x0 0x40000000 0x0 0x2000>; kernel = \"raw\";")]),
        ),
        ("the hypervisor's name", partitions(&[("bulkhead", &one(&[]))])),
        (
            "a watchdog on a board without EL2's timer",
            with("restart", "watchdog;") + " &{/timer} { interrupts = <1 13 4 1 14 4 1 11 4>; };",
        ),
        ("an Image at an odd place", with("load-address", "load-address = <0x40001000>;")),
        (
            "a raw image outside memory",
            partitions(&[(
                "a",
                &one(&[("kernel", "kernel = \"raw\";"), ("load-address", "load-address = <0x30000000>;")]),
            )]),
        ),
        (
            "an entry outside memory",
            partitions(&[(
                "a",
                &one(&[("kernel", "kernel = \"raw\";"), ("entry", "entry = <0x0 0x30000000>;")]),
            )]),
        ),
        ("a load address of three cells", with("load-address", "load-address = <0 0 0>;")),
        ("a tree at an odd place", with("tree", "device-tree-address = <0x40100004>;")),
        ("an entry beyond guest addresses", with("entry", "entry = <0xffffffff 0>;")),
        ("bootargs not a string", with("bootargs", "bootargs = <1>;")),
        // other properties
        ("an unknown property", with("kernal", "kernal = \"linux\";")),
        ("an unknown property unlike any", with("colour", "colour = \"red\";")),
        ("the hypervisor's property in a partition", with("w", "watchdog-timeout-sec = <10>;")),
        ("zeroing neither on nor off", with("zero-at-boot", "zero-at-boot = \"yes\";")),
        ("an unknown console", with("console", "console = \"uatr\";")),
        ("a console of no known kind", with("console", "console = \"virtio\";")),
        ("an unknown restart", with("restart", "restart = \"on-crahs\";")),
        ("a restart limit of two cells", with("restart-limit", "restart-limit = <0 3>;")),
        ("an unknown status", with("status", "status = \"off\";")),
        // primary
        (
            "two primaries",
            two("cpus = <1>; kernel = \"linux\"; primary;").replace(FIRST, "kernel = \"linux\"; primary;"),
        ),
        ("primary with a value", with("primary", "primary = \"yes\";")),
        (
            "primary with devices",
            partitions(&[("a", "primary; kernel = \"linux\"; devices = \"/pl031@9010000\";")]),
        ),
        (
            "no CPU for the primary",
            partitions(&[
                ("a", &one(&[("cpus", "cpus = <0 1 2 3>;")])),
                ("b", "primary; kernel = \"linux\";"),
            ]),
        ),
        ("no memory that the primary asks for", with("primary", "primary;")),
        // a tree of one's own
        ("a tree that is not there", with("device-tree", "device-tree = \"big-trees\";")),
        ("a tree that is none", with("device-tree", "device-tree = \"raw\";")),
        ("a tree with more memory", with("device-tree", "device-tree = \"big-tree\";")),
        (
            "a mistake in each image",
            partitions(&[(
                "a",
                &one(&[
                    ("kernel", "kernel = \"gzip\";"),
                    ("ramdisk", "ramdisk = \"initrb\";"),
                    ("tree", "device-tree = \"big-tree\";"),
                ]),
            )]),
        ),
        ("an overlay that does not fit", with("device-tree", "device-tree = \"misfit\";")),
        // memory with fewer rights
        ("another node inside a partition", with("child", "child { };")),
        (
            "memory that is disabled, which only partitions are",
            with("child", "memory@50000000 { reg = <0x0 0x50000000 0x1000>; status = \"disabled\"; };"),
        ),
        ("a memory node without reg", with("child", "memory@50000000 { read-only; };")),
        (
            "a memory node with too few cells",
            with(
                "child",
                "#address-cells = <2>; #size-cells = <2>; memory@50000000 { reg = <0 0x50000000>; };",
            ),
        ),
        (
            "a memory node with a mistyped right",
            with("child", "memory@50000000 { reg = <0 0x50000000 0x1000>; readonly; };"),
        ),
        (
            "a memory node over memory",
            with("child", "memory@40000000 { reg = <0 0x40000000 0x1000>; read-only; };"),
        ),
        (
            "Linux in memory that it may not write to",
            partitions(&[(
                "a",
                "cpus = <0>; kernel = \"linux\"; memory@40000000 { reg = <0 0x40000000 0x8000000>; read-only; };",
            )]),
        ),
        (
            "an entry that may not be executed",
            partitions(&[(
                "a",
                "cpus = <0>; kernel = \"raw\"; memory@40000000 { reg = <0 0x40000000 0x200000>; no-execute; };",
            )]),
        ),
        // names and the nodes around
        ("a partition with a unit address", partitions(&[("a@0", FIRST)])),
        (
            "a partition of another compatible",
            partitions(&[("a", FIRST)]).replace("\"bulkhead,partition\"", "\"bulkhead,partitoin\""),
        ),
        ("no partition", partitions(&[])),
        ("every partition disabled", with("status", "status = \"disabled\";")),
        ("no partitions node", "/dts-v1/; /plugin/; &{/} { partition { }; };".into()),
        (
            "two nodes of partitions",
            "/dts-v1/; /plugin/; &{/} { p1 { compatible = \"bulkhead,partitions\"; }; \
             p2 { compatible = \"bulkhead,partitions\"; }; };"
                .into(),
        ),
        (
            "partitions below another node",
            "/dts-v1/; /plugin/; &{/chosen} { partitions { compatible = \"bulkhead,partitions\"; }; };"
                .into(),
        ),
        ("no cells", partitions(&[("a", FIRST)]).replace("#address-cells = <2>; #size-cells = <2>;", "")),
        (
            "three address cells",
            partitions(&[("a", FIRST)]).replace("#address-cells = <2>", "#address-cells = <3>"),
        ),
        (
            "a partition's property around partitions",
            partitions(&[("a", FIRST)])
                .replace("#address-cells = <2>;", "#address-cells = <2>; restart = \"always\";"),
        ),
        (
            "an unknown property around partitions",
            partitions(&[("a", FIRST)]).replace("#address-cells = <2>;", "#address-cells = <2>; ranges;"),
        ),
        ("an escape key that is Enter", escape_key("\"^M\"")),
        ("an escape key that is a letter", escape_key("\"q\"")),
        ("an escape key that is a number", escape_key("<29>")),
        (
            "a watchdog that the board has not",
            partitions(&[("a", FIRST)]).replacen("a {", "watchdog-timeout-sec = <10>; a {", 1),
        ),
        (
            "an erratum that is not refused",
            partitions(&[("a", FIRST)]).replacen("a {", "accept-errata = \"1319367\"; a {", 1),
        ),
        (
            "everything at once",
            partitions(&[
                (
                    "a",
                    "cpus = <9>; memory = <0x0 0x40000000 0x0 0x8000000>; kernel = \"linus\"; bootrags = \"x\"; restart = \"maybe\";",
                ),
                (
                    "b",
                    "cpus = <0>; memory = <0x0 0x40000000 0x8 0x0>; kernel = \"gzip\"; ramdisk = \"initrb\"; devices = \"/nowhere\";",
                ),
            ]),
        ),
        // devices
        ("a device that is not there", with("devices", "devices = \"/pl031@9010001\";")),
        ("a device by another name, at its address", with("devices", "devices = \"/rtc@9010000\";")),
        ("a device on a bus, without the bus", with("devices", "devices = \"/its@08080000\";")),
        ("an alias that is not there", with("devices", "devices = \"serial7\";")),
        (
            "an alias that leads nowhere",
            with("devices", "devices = \"lost/child\";") + " &{/aliases} { lost = \"/nosuch\"; };",
        ),
        ("a reference among devices", with("devices", "devices = <&{/pl031@9010000}>;")),
        (
            "an interrupt-parent that leads nowhere",
            with("devices", "devices = \"/pl031@9010000\";")
                + " &{/pl031@9010000} { interrupt-parent = <0x7777>; };",
        ),
        ("devices not strings", with("devices", "devices = <1>;")),
        ("the interrupt controller", with("devices", "devices = \"/intc@8000000\";")),
        ("a part of the interrupt controller", with("devices", "devices = \"/intc@8000000/its@8080000\";")),
        ("the hypervisor's console", with("devices", "devices = \"serial0\";")),
        ("a device twice", with("devices", "devices = \"/pl031@9010000\", \"/pl031\";")),
        (
            "a device of two partitions",
            partitions(&[
                ("a", &one(&[("devices", "devices = \"/pl031@9010000\";")])),
                ("b", &one(&[("cpus", "cpus = <1>;"), ("devices", "devices = \"/pl031@9010000\";")])),
            ]),
        ),
        (
            "a page shared with devices of nobody",
            with("devices", "identity-mapped; devices = \"/virtio_mmio@a000000\";")
                .replace("0x40000000", "0x60000000"),
        ),
        ("a bus master without identity mapping", with("devices", "devices = \"/virtio_mmio@a000000\";")),
        ("memory as a device", with("devices", "devices = \"/memory@40000000\";")),
        ("a CPU as a device", with("devices", "devices = \"/cpus/cpu@0\";")),
        ("a device without anything", with("devices", "devices = \"/psci\";")),
        ("private interrupts", with("devices", "devices = \"/timer\";")),
        (
            "memory over a device",
            with("memory", "memory = <0x0 0x9000000 0x0 0x8000000>; devices = \"/pl031@9010000\";"),
        ),
        ("a bus", with("devices", "devices = \"/platform-bus@c000000\";")),
        // the board, as the overlays leave it
        ("firmware called by HVC", with("a", "") + " &{/psci} { method = \"hvc\"; };"),
        (
            "redistributors for too few CPUs",
            with("a", "") + " &{/intc@8000000} { reg = <0 0x8000000 0 0x10000 0 0x80a0000 0 0x20000>; };",
        ),
        // overlays
        ("a label that the board does not have", "/dts-v1/; /plugin/; &uart { };".into()),
        ("a path that the board does not have", "/dts-v1/; /plugin/; &{/soc} { };".into()),
        ("no overlay at all", "/dts-v1/; / { partitions { }; };".into()),
    ]
}

#[test]
fn every_broken_configuration_is_refused_with_a_sentence() {
    let mut out = String::new();
    for (what, source) in configurations() {
        let sentences = refuse(&source);
        assert_ne!(sentences, "ACCEPTED", "{what}");
        let _ = writeln!(
            out,
            "{what}\n{}",
            sentences.lines().fold(String::new(), |all, line| all + "  " + line + "\n")
        );
    }
    insta::assert_snapshot!(out);
}

#[test]
fn every_broken_bundle_is_refused_with_a_sentence() {
    let good = images(overlay(&partitions(&[("a", FIRST)])));
    let file = pack(good.clone());
    assert_eq!(answer(3, &file), "ACCEPTED");
    let mut out = String::new();
    let mut say = |what: &str, bytes: &[u8]| {
        let _ = writeln!(out, "{what}\n  {}\n", answer(3, bytes).replace('\n', "\n  "));
    };
    let last = Bundle::parse(&file, software_crc32).unwrap().place("partitions").unwrap();
    let kernel = Bundle::parse(&file, software_crc32).unwrap().place("linux").unwrap();
    say("nothing", &[]);
    say("text", b"this is a text, not a bundle");
    say("a device tree that is no bundle", &board(3));
    say("cut in the tree", &file[..1000]);
    say("cut in the last image", &file[..last.end - 1]);
    let mut damaged = file.clone();
    damaged[kernel.start + 1000] ^= 4;
    say("a damaged kernel", &damaged);
    let mut damaged = file.clone();
    damaged[last.start + 10] ^= 4;
    say("a damaged overlay", &damaged);
    let unknown = file.windows(6).position(|window| window == b"crc32\0").unwrap();
    let mut damaged = file.clone();
    damaged[unknown..unknown + 5].copy_from_slice(b"crc64");
    say("an unknown hash", &damaged);
    let names: Vec<Image> = good.iter().filter(|image| image.name != "partitions").cloned().collect();
    say("the overlay missing", &pack(names));
    let mut renamed = file.clone();
    let hash = file.windows(7).position(|window| window == b"hash-1\0").unwrap();
    renamed[hash..hash + 4].copy_from_slice(b"hush");
    say("no hash", &renamed);
    insta::assert_snapshot!(out);
}

#[test]
fn a_gicv2_has_eight_cpus_at_most() {
    let source = with("cpus", "cpus = <0 1 2 3 4 5 6 7 8>;");
    let sentences = answer(2, &pack(images(overlay(&source))));
    assert!(sentences.contains("at most 8 CPUs on a board with a GICv2"), "{sentences}");
}
