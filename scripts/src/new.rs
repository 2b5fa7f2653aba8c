// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead new`: a configuration to start from.

use crate::project::write_whole;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::{Path, PathBuf};

/// What `new` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The folder to make; its last part names the partition as well
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,
}

/// The starting point, `@NAME@` standing for the name and `@OTHER@` for the second partition's.
const TEMPLATE: &str = include_str!("new.dtso");

/// The second partition, and the guest that it runs.
const OTHER: &str = "ticker";

/// The longest name of a node (Devicetree Specification, 2.2.1).
const LONGEST: usize = 31;

/// Makes the folder with its overlay, and says what to do with it.
///
/// # Errors
/// As for [`write()`].
pub fn new(folder: &Path) -> Result<()> {
    let (overlay, shown) = (write(folder)?, folder.display());
    println!("Wrote {}.\n", overlay.display());
    println!("  cargo bulkhead check {shown}    is it right?");
    println!("  cargo bulkhead show {shown}     who gets what");
    println!("  cargo bulkhead run {shown}      boot it under QEMU");
    Ok(())
}

/// Makes the folder with its overlay; returns the overlay's path.
///
/// # Errors
/// When there is something of that name, or the name cannot be a partition's.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte);
    ensure!(
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.len() <= LONGEST
            && name != "bulkhead"
            && name.bytes().all(fits),
        "\"{name}\" cannot name a partition: at most {LONGEST} of a-z A-Z 0-9 , . _ + -, a letter first, and not \"bulkhead\""
    );
    ensure!(!folder.exists(), "there is a {shown} already");
    let overlay = folder.join(format!("{name}.dtso"));
    write_whole(&overlay, text(name).as_bytes())?;
    Ok(overlay)
}

fn text(name: &str) -> String {
    let other = if name == OTHER { "counter" } else { OTHER };
    TEMPLATE.replace("@NAME@", name).replace("@OTHER@", other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_suit_a_node_and_be_new() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| write(&folder.path().join(name));
        let overlay = make("my-board").unwrap();
        let text = std::fs::read_to_string(overlay).unwrap();
        assert!(text.contains("\tmy-board {") && !text.contains("@NAME@"));
        assert!(make("my-board").unwrap_err().to_string().contains("already"));
        for plausible in
            ["ticker", "counter", "debian-12", "busybox-initrd", "partitions", "cpus", "memory", "linux-a"]
        {
            let overlay = crate::config::compile(&make(plausible).unwrap()).unwrap();
            let references = crate::config::image_references(&overlay).unwrap();
            let mut partitions: Vec<_> = references.into_iter().map(|it| it.unwrap().partition).collect();
            partitions.dedup();
            let other = if plausible == "ticker" { "counter" } else { "ticker" };
            assert_eq!(partitions, [plausible, other]);
        }
        for bad in ["1st", "with space", "a@0", &"x".repeat(32)] {
            assert!(make(bad).unwrap_err().to_string().contains("cannot name a partition"), "{bad}");
        }
    }
}
