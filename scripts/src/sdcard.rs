// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead sdcard`: what a Raspberry Pi 4 boots from, as an image for a card or as files on a boot
//! partition that is there already.

mod files;
mod image;

use crate::config::Config;
use crate::project::Project;
use crate::qemu::{self, BoardMemory, BoardName};
use crate::{build, check};
use anyhow::{Context, Result, ensure};
use clap::Args;
use files::Files;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use files::{BUNDLE, KERNEL};
pub use image::{read, write};

/// What `sdcard` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A folder with overlays (*.dtso), one overlay, or a packed bundle
    #[arg(value_name = "BUNDLE-OR-CONFIG-DIR")]
    pub config: PathBuf,
    /// Write an image for a whole card
    #[arg(long, short, value_name = "FILE", required_unless_present = "to", conflicts_with = "to")]
    pub output: Option<PathBuf>,
    /// Write the files into a boot partition that is mounted here
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Have the Pi's firmware merge the overlays, by `dtoverlay=`, instead of Bulkhead
    #[arg(long)]
    pub dtoverlay: bool,
    /// The board's device tree [default: scripts/setup's]
    #[arg(long, value_name = "FILE")]
    pub dtb: Option<PathBuf>,
    /// The board's memory, which the configuration is checked for
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u32,
    /// Write it whatever the check says
    #[arg(long)]
    pub unchecked: bool,
}

/// Builds everything, writes it, reads it back, and says what is left to do.
///
/// # Errors
/// As for [`make`].
pub fn sdcard(project: &Project, options: &Options) -> Result<()> {
    report(options, &make(project, options)?);
    Ok(())
}

/// Builds everything, writes it and reads it back; gives what was written.
///
/// # Errors
/// When the configuration would not boot, or something cannot be built or written or does not read back as it was
/// written.
pub fn make(project: &Project, options: &Options) -> Result<Files> {
    let config = Config::open(&options.config)?;
    if !options.unchecked {
        let board = qemu::Options {
            board: BoardName::Raspi4b,
            dtb: options.dtb.clone(),
            memory: Some(BoardMemory::Size(options.memory)),
            ..qemu::Options::default()
        };
        check::insist(project, &options.config, &board)?;
    }
    let hypervisor = build::hypervisor(project, false)?;
    let files = files::collect(project, &config, &hypervisor, options)?;
    match (&options.output, &options.to) {
        (Some(image), _) => write_image(image, &files)?,
        (None, Some(folder)) => write_folder(folder, &files)?,
        (None, None) => {}
    }
    Ok(files)
}

/// Writes the image beside its final name, checks it, and moves it there: no half of one is ever found.
fn write_image(path: &Path, files: &Files) -> Result<()> {
    let shown = path.display();
    let temporary = path.with_added_extension(format!("{}.new", std::process::id()));
    let written = create(&temporary, files).and_then(|()| {
        fs::rename(&temporary, path).with_context(|| format!("cannot rename the image to {shown}"))
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot make the image {shown}"))
}

fn create(path: &Path, files: &Files) -> Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    image::write(&file, files)?;
    file.sync_all()?;
    let back = image::read(&File::open(path)?).context("it does not read back")?;
    ensure!(back == *files, "it does not read back as it was written: is the disk in order?");
    Ok(())
}

/// Writes the files into a folder. A `config.txt` that is not ours stays as it is.
fn write_folder(folder: &Path, files: &Files) -> Result<()> {
    let shown = folder.display();
    ensure!(folder.is_dir(), "{shown} is no folder: mount the card's boot partition and name it");
    let there = fs::read(folder.join(files::CONFIG)).unwrap_or_default();
    ensure!(
        there.is_empty() || there.starts_with(files::OURS.as_bytes()),
        "{shown} has a {} that Bulkhead did not write: rename it, or take an empty partition",
        files::CONFIG
    );
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let write = || -> Result<()> {
            fs::write(&path, bytes)?;
            File::open(&path)?.sync_all()?;
            ensure!(
                fs::read(&path)? == *bytes,
                "it does not read back as it was written: is the card in order?"
            );
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn report(options: &Options, files: &Files) {
    let place = options.output.as_ref().or(options.to.as_ref());
    let place = place.map(|path| path.display().to_string()).unwrap_or_default();
    let checked = if options.unchecked { "not checked" } else { "checked" };
    println!("{place}, {checked} for a board with {} MiB (--memory):", options.memory);
    for (name, bytes) in files {
        println!("  {:>9} {name}", bytes.len());
    }
    if let Some(image) = &options.output {
        println!("write it to a card with: sudo dd if={} of=/dev/sdX bs=4M conv=fsync", image.display());
    }
    let missing: Vec<_> =
        files::FIRMWARE.iter().filter(|name| !files.contains_key(**name)).copied().collect();
    if !missing.is_empty() {
        eprintln!(
            "bulkhead: the Pi's own firmware is not in it. Add {} to the boot partition: they are in Debian's \
             package raspi-firmware, and in the folder boot of github.com/raspberrypi/firmware",
            missing.join(" and ")
        );
    }
}
