// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files of the boot partition.

use super::Options;
use crate::config::{self, Config};
use crate::project::Project;
use crate::{pack, qemu, raspi};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Names, with `/` between folders, and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What the firmware reads first.
pub const CONFIG: &str = "config.txt";

/// The hypervisor.
pub const KERNEL: &str = "kernel8.img";

/// The images, and the overlays unless the firmware merges them.
pub const BUNDLE: &str = "bulkhead.itb";

/// How a [`CONFIG`] of ours begins.
pub const OURS: &str = "# Written by `bulkhead sdcard`.";

/// What the Pi 4's boot ROM looks for; it has the first stage in its own flash memory.
pub const FIRMWARE: &[&str] = &["start4.elf", "fixup4.dat"];

/// Other models with the same system on a chip, which `[pi4]` matches as well, and their trees.
const OTHER_MODELS: &[(&str, &str)] = &[("pi400", "bcm2711-rpi-400.dtb"), ("cm4", "bcm2711-rpi-cm4-io.dtb")];

/// Where `scripts/setup` has the trees of Debian's newest kernel from this maker.
const TREES: &str = "dtbs/broadcom";

/// Under which terms the firmware may be passed on.
const LICENCE: &str = "LICENCE.raspi-firmware";

/// The configuration as files for the card.
///
/// # Errors
/// When the configuration cannot be packed or a file cannot be read.
pub fn collect(project: &Project, config: &Config, hypervisor: &Path, options: &Options) -> Result<Files> {
    let board = qemu::Options { dtb: options.dtb.clone(), ..qemu::Options::default() };
    let tree = raspi::tree(project, &board)?;
    let mut files = Files::new();
    let mut overlays = Vec::new();
    let bundle = if options.dtoverlay {
        let Config::Overlays { files: sources, .. } = config else {
            bail!("--dtoverlay needs the configuration's overlays in source form, not a packed bundle");
        };
        for source in sources {
            let overlay = config::compile(source)?;
            files.insert(format!("overlays/{}.dtbo", overlay.name), overlay.blob);
            overlays.push(overlay.name);
        }
        pack::without_overlays(project, config)?
    } else {
        pack::pack(project, config)?
    };
    files.insert(KERNEL.into(), load(hypervisor)?);
    files.insert(BUNDLE.into(), bundle);
    files.insert(raspi::TREE.into(), load(&tree)?);
    let folders = project.guest_software();
    let mut models = Vec::new();
    // A tree of the user's is for the user's board.
    for (model, name) in OTHER_MODELS.iter().filter(|_| options.dtb.is_none()) {
        let tree = folders.iter().map(|place| place.join(TREES).join(name)).find(|file| file.is_file());
        if let Some(tree) = tree {
            files.insert((*name).into(), load(&tree)?);
            models.push((*model, *name));
        }
    }
    files.insert(CONFIG.into(), config_txt(&overlays, &models).into_bytes());
    let folder = folders.iter().map(|place| place.join("raspi-firmware")).find(|place| place.is_dir());
    if let Some(folder) = folder {
        for name in FIRMWARE.iter().chain(&[LICENCE]) {
            let file = folder.join(name);
            if file.is_file() {
                files.insert((*name).into(), load(&file)?);
            }
        }
    }
    Ok(files)
}

fn load(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where the firmware puts the bundle: far above the hypervisor and the tree, far below the VideoCore's
/// share at the top of the first gigabyte.
const BUNDLE_ADDRESS: u64 = 0x0800_0000;

/// The firmware's settings, each with its reason.
fn config_txt(overlays: &[String], models: &[(&str, &str)]) -> String {
    let mut text = format!(
        "{OURS} Lines are explained in docs/raspberry-pi.md.\n\
         \n\
         # Other models of the Pi skip what follows.\n\
         [pi4]\n\
         \n\
         # Start the CPUs in AArch64, at EL2.\n\
         arm_64bit=1\n\
         # The hypervisor, which looks like an arm64 Linux kernel.\n\
         kernel={KERNEL}\n\
         # The guests: the bundle comes as the initial ramdisk, here. The default place is right behind the\n\
         # kernel's file, and a kernel takes more room than its file.\n\
         initramfs {BUNDLE} {BUNDLE_ADDRESS:#010x}\n\
         # The board's tree, as Debian's kernel has it. The firmware adds memory and the bundle's place.\n\
         device_tree={}\n\
         # Interrupts through the GIC-400; the other controller knows no virtual machines.\n\
         enable_gic=1\n\
         # The mini UART on pins 8 and 10 (GPIO 14 and 15), 115,200 baud; and the VideoCore's core clock,\n\
         # which that rate comes from, held still.\n\
         enable_uart=1\n\
         # The firmware's own words on the same port: what it loads, what it misses.\n\
         uart_2ndstage=1\n",
        raspi::TREE
    );
    if !overlays.is_empty() {
        text.push_str("# The partitions, merged into the tree by the firmware.\n");
        for name in overlays {
            let _ = writeln!(text, "dtoverlay={name}");
        }
    }
    for (model, tree) in models {
        let _ = writeln!(
            text,
            "\n# A model with a tree of its own.\n[{model}]\n# Instead of the one above.\ndevice_tree={tree}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_reason() {
        let text = config_txt(&["demo".into()], &[("cm4", "cm4.dtb")]);
        let lines: Vec<&str> = text.lines().collect();
        for (before, line) in lines.iter().zip(&lines[1..]) {
            let setting = !line.is_empty() && !line.starts_with('#');
            assert!(!setting || line.starts_with('[') || before.starts_with('#'), "{line}");
            // The firmware reads no more of a line than this.
            assert!(line.len() <= 98, "{line}");
        }
        assert!(text.starts_with(OURS) && text.contains("dtoverlay=demo\n"));
        // What all models share stands before what one has alone.
        assert!(text.ends_with("[cm4]\n# Instead of the one above.\ndevice_tree=cm4.dtb\n"), "{text}");
    }
}
