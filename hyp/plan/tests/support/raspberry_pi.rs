// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4's tree, and small configurations for it.

use std::fs;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::tree::{NodeId, Tree};
use bulkhead_plan::{Planned, plan_board};

use super::writer::{Configuration, Contents, write};
use super::{image, linux_image, overlay, root};

/// The model with 8 GiB.
pub fn board() -> Vec<u8> {
    overlay(&fs::read_to_string(root().join("hyp/plan/tests/boards/raspberry-pi-4.dts")).unwrap())
}

/// The demo's images with these overlays.
pub fn bundle(overlays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut images = vec![
        image("debian-12", "kernel", linux_image()),
        image("busybox-initrd", "ramdisk", vec![7; 100_000]),
        image("ticker", "kernel", vec![1; 8192]),
    ];
    images.extend(overlays.iter().map(|(name, blob)| image(name, "flat_dt", blob.clone())));
    write(
        &Contents {
            description: "test".into(),
            timestamp: 0,
            images,
            configurations: vec![Configuration {
                name: "default".into(),
                description: "any board".into(),
                compatible: vec![],
                overlays: overlays.iter().map(|(name, _)| (*name).into()).collect(),
            }],
        },
        software_crc32,
    )
    .unwrap()
}

/// A small partition with these properties.
pub fn partition(properties: &str) -> String {
    format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; one {{ compatible = \"bulkhead,partition\"; cpus = <0>; \
         kernel = \"ticker\"; {properties} }}; }}; }};"
    )
}

pub fn plan(source: &str) -> Result<Planned, Vec<String>> {
    let bundle = bundle(&[("one.dtbo", overlay(source))]);
    let bundle = Bundle::parse(&bundle, software_crc32).unwrap();
    plan_board(&board(), &bundle, vec![]).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

/// The tree as Trusted Firmware-A passes it on (its `rpi4_setup.c`): PSCI by SMC, its own memory reserved in place of
/// the spin table's page, the console on `serial0`.
pub fn changed_by_trusted_firmware() -> Vec<u8> {
    let blob = board();
    let mut tree = Tree::parse(&blob, "board").unwrap();
    tree.reservations.clear();
    let psci = tree.add_node(NodeId::ROOT, "psci");
    tree.set_strings(psci, "compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
    tree.set_string(psci, "method", "smc");
    for cpu in 0..4 {
        let cpu = tree.by_path(&format!("/cpus/cpu@{cpu}")).unwrap().id();
        tree.set_string(cpu, "enable-method", "psci");
    }
    let reserved = tree.by_path("/reserved-memory").unwrap().id();
    let own = tree.add_node(reserved, "atf@0");
    tree.set_cells(own, "reg", &[0, 0, 0x8_0000]);
    tree.set(own, "no-map", vec![]);
    let chosen = tree.by_path("/chosen").unwrap().id();
    tree.set_string(chosen, "stdout-path", "serial0");
    tree.to_blob()
}
