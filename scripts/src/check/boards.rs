// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The board's tree on the desk: the one that QEMU hands over at boot, kept from one call to the next.

use super::memory;
use crate::project::{Project, write_whole};
use crate::qemu::{self, BoardName};
use crate::raspi;
use anyhow::{Context, Result, ensure};
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A board to plan for.
#[derive(Clone, Debug)]
pub struct BoardTree {
    /// What to call it.
    pub name: String,
    /// Its flattened tree, as the firmware hands it over.
    pub blob: Vec<u8>,
    /// Whether it can have more CPUs by an option.
    pub grows: bool,
}

/// The tree of the board that `options` describe: the file that `--dtb` names for a board that QEMU does not
/// play, else QEMU's own.
///
/// # Errors
/// When the file cannot be read, or QEMU cannot be run or does not make such a board.
pub fn tree(project: &Project, options: &qemu::Options) -> Result<BoardTree> {
    if let (Some(file), BoardName::QemuVirt) = (&options.dtb, options.board) {
        let blob = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let blob = match &options.memory {
            Some(memory) => memory::supply(&blob, memory).with_context(|| format!("{}", file.display()))?,
            None => blob,
        };
        return Ok(BoardTree { name: file.display().to_string(), blob, grows: false });
    }
    if let (Some(memory), BoardName::Raspi4b) = (&options.memory, options.board) {
        let board = tree(project, &qemu::Options { memory: None, ..options.clone() })?;
        let blob = memory::supply(&board.blob, &raspi::memory(memory)?)?;
        return Ok(BoardTree { blob, ..board });
    }
    let (name, grows) = match options.board {
        BoardName::QemuVirt => ("qemu-virt", true),
        BoardName::Raspi4b => ("raspi4b", false),
    };
    let mib = options.mib()?;
    let folder = project.target().join("boards");
    let mut command = dump(project, options, &folder)?;
    let kept = folder.join(format!("{name}-{:016x}.dtb", fingerprint(&command)));
    if let Ok(blob) = fs::read(&kept) {
        return Ok(BoardTree { name: name.into(), blob, grows });
    }
    let fresh = folder.join(format!("{}.dtb", std::process::id()));
    command.arg("-machine").arg(format!("dumpdtb={}", fresh.display()));
    qemu::check_version()?;
    let output = command.stdin(Stdio::null()).output().context("QEMU cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let blob = fs::read(&fresh).ok().filter(|_| output.status.success());
    let _ = fs::remove_file(&fresh);
    let blob = blob.with_context(|| {
        let cpus = options.smp;
        format!("QEMU does not make this board ({cpus} CPUs, {mib} MiB): {}", said.trim())
    })?;
    ensure!(!blob.is_empty(), "QEMU made an empty tree of this board: {}", said.trim());
    write_whole(&kept, &blob)?;
    Ok(BoardTree { name: name.into(), blob, grows })
}

/// The command line that boots the board, with a kernel and a ramdisk that stand in for ours: where the
/// ramdisk goes then stands in the tree.
fn dump(project: &Project, options: &qemu::Options, folder: &Path) -> Result<Command> {
    let (kernel, ramdisk) = (folder.join("kernel"), folder.join("ramdisk"));
    if !(kernel.exists() && ramdisk.exists()) {
        write_whole(&kernel, &empty_kernel())?;
        write_whole(&ramdisk, &[0; 4096])?;
    }
    qemu::command(project, options, &kernel, Some(&ramdisk))
}

/// An arm64 `Image` that is nothing but its header: 4 KiB of memory, at a multiple of 2 MiB (Linux,
/// arm64/booting.rst).
fn empty_kernel() -> Vec<u8> {
    let mut image = vec![0; 64];
    image[16..24].copy_from_slice(&4096_u64.to_le_bytes());
    image[24] = 0xa;
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Differs where the command line, QEMU itself, or a file that the command line names does.
fn fingerprint(command: &Command) -> u64 {
    let mut hasher = DefaultHasher::new();
    let program = in_path(Path::new(command.get_program()));
    let named = command.get_args().map(PathBuf::from);
    for file in program.into_iter().chain(named) {
        if let Ok(about) = fs::metadata(&file)
            && about.is_file()
        {
            (about.len(), about.modified().ok()).hash(&mut hasher);
        }
    }
    command.get_args().for_each(|argument| argument.hash(&mut hasher));
    hasher.finish()
}

fn in_path(program: &Path) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|file| file.is_file())
}
