// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boards whose memory is more than one bank of RAM: a primary partition's Linux finds it as it would natively.

use super::Scenario;
use super::lab::Lab;
use super::scenarios::finish;
use super::shell::{command, power_off, prompt};
use crate::config::Config;
use crate::machine::Machine;
use crate::pack;
use anyhow::{Context, Result, ensure};

/// Every board.
pub const ALL: &[Scenario] =
    &[Scenario { name: "primary-pool", run: pool }, Scenario { name: "primary-numa", run: numa }];

/// A Linux that has the whole board, whose tree has these nodes more.
fn boot(lab: &Lab, nodes: &str) -> Result<Machine> {
    let source = format!(
        "/dts-v1/;\n/plugin/;\n&{{/}} {{\n{nodes}\npartitions {{ compatible = \"bulkhead,partitions\";\n\
         #address-cells = <2>; #size-cells = <2>;\nlinux {{ compatible = \"bulkhead,partition\"; primary;\n\
         kernel = \"debian-12\"; ramdisk = \"busybox-initrd\";\n\
         bootargs = \"console=ttyAMA0 hostname=linux\"; }}; }}; }};\n"
    );
    let file = lab.file("config.dtso", source.as_bytes())?;
    let folder = file.parent().context("a file is in a folder")?;
    let mut machine = lab.boot_bundle(Some(&pack::pack(lab.project(), &Config::open(folder)?)?))?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    Ok(machine)
}

/// Linux uses a pool as memory until a device asks for it: EL2 has to map it.
fn pool(lab: &mut Lab) -> Result<()> {
    let mut machine = boot(
        lab,
        "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;\n\
         pool@b0000000 { compatible = \"shared-dma-pool\"; reg = <0x0 0xb0000000 0x0 0x8000000>; reusable;\n\
         linux,cma-default; }; };",
    )?;
    let found = command(&mut machine, "linux", "grep CmaTotal /proc/meminfo", 20)?;
    ensure!(found.join(" ").split_whitespace().eq(["CmaTotal:", "131072", "kB"]), "the pool: {found:?}");
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// Each bank of memory, and each CPU, is on the node where the board has it.
fn numa(lab: &mut Lab) -> Result<()> {
    let nodes = [
        "-object",
        "memory-backend-ram,id=m0,size=1G",
        "-object",
        "memory-backend-ram,id=m1,size=1G",
        "-numa",
        "node,memdev=m0,cpus=0-1,nodeid=0",
        "-numa",
        "node,memdev=m1,cpus=2-3,nodeid=1",
    ];
    lab.board.extra.extend(nodes.map(Into::into));
    let mut machine = boot(lab, "")?;
    let look = "cd /sys/devices/system/node; cat online node0/cpulist node1/cpulist; grep -c MemTotal node*/meminfo; \
                dmesg | grep -cE 'NUMA: Warning|Faking a node' || true";
    let found = command(&mut machine, "linux", look, 20)?;
    ensure!(
        found == ["0-1", "0-1", "2-3", "node0/meminfo:1", "node1/meminfo:1", "0"],
        "nodes, their CPUs and memory, and complaints: {found:?}"
    );
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}
