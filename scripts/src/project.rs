// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things lie in the checkout.

use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkout of Bulkhead.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    target: PathBuf,
}

impl Project {
    /// The checkout around the current directory, else the one that this program was built from.
    ///
    /// # Errors
    /// When neither is a checkout any more.
    pub fn find() -> Result<Self> {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf);
        let here = env::current_dir().context("the current directory cannot be read")?;
        let root = here
            .ancestors()
            .map(Path::to_path_buf)
            .chain(built_from)
            .find(|folder| folder.join("hyp/el2/Cargo.toml").is_file())
            .context("this is not a checkout of Bulkhead: no folder from here upwards has hyp/el2")?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => here.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that cargo builds into: `target`, or `CARGO_TARGET_DIR`.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The hypervisor as firmware loads it.
    #[must_use]
    pub fn hypervisor_image(&self) -> PathBuf {
        self.target.join("bulkhead.img")
    }

    /// Where our own guests are put once they are built.
    #[must_use]
    pub fn built_guests(&self) -> PathBuf {
        self.target.join("guest-software")
    }

    /// Where guest images are found: our own, and what `scripts/setup` fetched.
    #[must_use]
    pub fn guest_software(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.built_guests(), self.root.join("target/guest-software")];
        folders.dedup();
        folders
    }

    /// The demo's configuration.
    #[must_use]
    pub fn demo(&self) -> PathBuf {
        self.root.join("guests/demo")
    }

    /// The path as a user in the checkout would write it.
    #[must_use]
    pub fn short<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// Writes `bytes` to `path` in one step: a reader sees the old file or the new one, never half of it.
///
/// # Errors
/// When the file cannot be written; names it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        // What is left of it where the disk is full is of no use.
        .inspect_err(|_| _ = fs::remove_file(&temporary))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("by a folder")).unwrap();
        write_whole(&taken, b"x").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
