// SPDX-License-Identifier: Apache-2.0 OR MIT
//! U-Boot starts the hypervisor from a disk, as docs/u-boot.md has it.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::scenarios::finish;
use super::shell::wait;
use crate::console::HYPERVISOR;
use crate::{qemu, sdcard};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;

/// Both ways.
pub const ALL: &[Scenario] = &[
    Scenario { name: "u-boot-starts-it-with-a-uimage", run: |lab| start(lab, UIMAGE) },
    Scenario { name: "u-boot-starts-it-by-fdt-chosen", run: |lab| start(lab, CHOSEN) },
    Scenario { name: "refuses-a-ramdisk-beyond-memory", run: beyond },
];

const UIMAGE: &str = "load virtio 0:1 0x50000000 bulkhead.img
load virtio 0:1 0x60000000 demo.uimg
booti 0x50000000 0x60000000 ${fdtcontroladdr}
";

/// `fdt chosen` writes an end that is one byte too low.
const CHOSEN: &str = "load virtio 0:1 0x50000000 bulkhead.img
load virtio 0:1 0x60000000 demo.itb
fdt addr ${fdtcontroladdr}
fdt chosen 0x60000000 0x${filesize}
booti 0x50000000 - ${fdtcontroladdr}
";

/// A size that no memory of 2 GiB has behind that.
const BEYOND: &str = "load virtio 0:1 0x50000000 bulkhead.img
load virtio 0:1 0x60000000 demo.itb
fdt addr ${fdtcontroladdr}
fdt chosen 0x60000000 0x70000000
booti 0x50000000 - ${fdtcontroladdr}
";

/// U-Boot from flash memory, which finds this script on the disk.
fn boot(lab: &Lab, script: &str) -> Result<crate::machine::Machine> {
    let bundle = lab.pack(&[Partition::ticker(1)])?;
    let mkimage = |kind: &[&str], from: &[u8], name: &str| -> Result<Vec<u8>> {
        let from = lab.file(&format!("{name}.data"), from)?;
        let to = from.with_file_name(name);
        let status = Command::new("mkimage").args(kind).arg("-d").arg(&from).arg(&to).output()?.status;
        ensure!(status.success(), "mkimage cannot make {name}");
        Ok(fs::read(to)?)
    };
    let uimage =
        mkimage(&["-A", "arm64", "-T", "ramdisk", "-C", "none", "-n", "bundle"], &bundle, "demo.uimg")?;
    let script = mkimage(&["-A", "arm64", "-T", "script", "-C", "none"], script.as_bytes(), "boot.scr")?;
    let files = BTreeMap::from([
        ("boot.scr".into(), script),
        ("bulkhead.img".into(), fs::read(lab.project().hypervisor_image())?),
        ("demo.itb".into(), bundle),
        ("demo.uimg".into(), uimage),
    ]);
    let disk = lab.file("disk.img", b"")?;
    sdcard::write(&File::options().read(true).write(true).open(&disk)?, &files)?;
    let firmware = lab.file("u-boot.bin", &lab.guest_software("u-boot")?)?;
    lab.run(qemu::from_firmware(&lab.board, &firmware, &disk)?)
}

fn start(lab: &mut Lab, script: &str) -> Result<()> {
    let mut machine = boot(lab, script)?;
    wait(&mut machine, "ticker", "^tick 1$", 120).context("U-Boot does not start it")?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

fn beyond(lab: &mut Lab) -> Result<()> {
    let mut machine = boot(lab, BEYOND)?;
    let rule = r"^error: the initial ramdisk lies beyond the board's memory \(0x60000000\.\.";
    wait(&mut machine, HYPERVISOR, rule, 120)?;
    machine.kill();
    Ok(())
}
