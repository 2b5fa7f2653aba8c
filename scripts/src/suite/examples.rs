// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ready-made configurations under `guests`, each driven by its own session.

use super::Scenario;
use super::lab::Lab;
use crate::config::Config;
use crate::qemu::Gic;
use crate::{pack, play, player};
use anyhow::{Context, Result};
use std::fs;

/// Every example with a session, but the demo.
pub const ALL: &[Scenario] = &[
    Scenario { name: "primary", run: |lab| session(lab, "primary") },
    Scenario { name: "virtio", run: virtio },
    Scenario { name: "root-disk", run: root_disk },
    Scenario { name: "own-tree", run: own_tree },
];

/// Boots `guests/NAME` and plays its session.
fn session(lab: &mut Lab, name: &str) -> Result<()> {
    let config = Config::open(&lab.project().root().join("guests").join(name))?;
    let path = config.session()?.with_context(|| format!("guests/{name} has no session"))?;
    let session = play::parse(&fs::read_to_string(&path)?)?;
    let mut machine = lab.boot_bundle(Some(&pack::pack(lab.project(), &config)?))?;
    player::play(&mut machine, &session, name)?;
    Ok(())
}

/// An empty disk.
fn add_disk(lab: &mut Lab) -> Result<()> {
    const SIZE: usize = 16 << 20;
    let disk = lab.file("disk.img", &vec![0; SIZE])?;
    let drive = format!("file={},format=raw,if=none,id=disk", disk.display());
    let arguments = ["-drive".into(), drive, "-device".into(), "virtio-blk-device,drive=disk".into()];
    lab.board.extra.extend(arguments.map(Into::into));
    Ok(())
}

/// With an empty disk, which the guest formats, and QEMU's user network.
fn virtio(lab: &mut Lab) -> Result<()> {
    add_disk(lab)?;
    let network = ["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"];
    lab.board.extra.extend(network.map(Into::into));
    session(lab, "virtio")
}

/// The guest puts a system on an empty disk, and boots from it.
fn root_disk(lab: &mut Lab) -> Result<()> {
    add_disk(lab)?;
    session(lab, "root-disk")
}

/// The tree that it brings is for a GICv3.
fn own_tree(lab: &mut Lab) -> Result<()> {
    lab.board.gic = Gic::V3;
    session(lab, "own-tree")
}
