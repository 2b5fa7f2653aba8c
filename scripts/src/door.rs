// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A socket beside a running board, on which other programs hear the console line by line and press keys: what
//! `cargo bulkhead stats` comes in by.

use crate::machine::Message;
use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

/// The socket, until it is dropped.
#[derive(Debug)]
pub struct Door(PathBuf);

impl Door {
    /// Opens one for this process; whoever comes is sent to the machine.
    ///
    /// # Errors
    /// When there can be none, as where the checkout's path is longer than a socket's may be.
    pub fn open(project: &Project, sender: Sender<Message>) -> Result<Self> {
        let folder = folder(project);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}.sock", process::id()));
        let _ = fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
        thread::spawn(move || {
            for visitor in listener.incoming().map_while(Result::ok) {
                // A visitor who does not listen must not hold the board up.
                let _ = visitor.set_write_timeout(Some(Duration::from_millis(100)));
                if sender.send(Message::Visitor(visitor)).is_err() {
                    break;
                }
            }
        });
        Ok(Self(path))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn folder(project: &Project) -> PathBuf {
    project.target().join("run")
}

/// Goes in by the door of the one board that `cargo bulkhead run` runs.
///
/// # Errors
/// When there is none, or more than one.
pub fn enter_only(project: &Project) -> Result<UnixStream> {
    let paths = fs::read_dir(folder(project)).into_iter().flatten().flatten().map(|entry| entry.path());
    // One that was left by a run that was killed lets nobody in.
    let mut open: Vec<_> = paths.filter_map(|path| Some((UnixStream::connect(&path).ok()?, path))).collect();
    let names: Vec<_> = open.iter().map(|(_, path)| project.short(path).display().to_string()).collect();
    ensure!(open.len() < 2, "more than one board runs: give one of {}", names.join(", "));
    let only =
        open.pop().context("no board runs (`cargo bulkhead run`); a serial port is given by its path")?;
    Ok(only.0)
}

/// Whether a path is a socket's.
#[must_use]
pub fn is_door(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
