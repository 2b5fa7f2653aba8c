// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds the hypervisor and our own guests for the bare-metal target.

use crate::flatten::{Sizes, flatten};
use crate::project::{Project, write_whole};
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the hypervisor and the guests run on.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

const HYPERVISOR: &str = "bulkhead-el2";

/// Builds the hypervisor into [`Project::hypervisor_image`].
///
/// # Errors
/// When cargo fails (it has said why), or what it built cannot be flattened.
pub fn hypervisor(project: &Project, verbose: bool) -> Result<PathBuf> {
    let image = project.hypervisor_image();
    let sizes = bare_metal(project, HYPERVISOR, HYPERVISOR, &image)?;
    report(project, &image, sizes, verbose);
    Ok(image)
}

/// Builds a hypervisor for tests whose serial port has a line rate, as emulators' have not. It has a folder of its own, so that
/// the other one stays as it is.
///
/// # Errors
/// As for [`hypervisor`].
pub fn slow_port_hypervisor(project: &Project) -> Result<PathBuf> {
    let target = project.target().join("slow-port");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(project.root()).env("CARGO_TARGET_DIR", &target);
    command.args(["build", "--quiet", "--release", "--target", TARGET, "--package", HYPERVISOR]);
    command.args(["--bin", HYPERVISOR, "--features", "slow-port"]);
    ensure!(command.status().context("cargo cannot be run")?.success(), "cargo could not build {HYPERVISOR}");
    let image = target.join("bulkhead.img");
    flatten_into(&target.join(TARGET).join("release").join(HYPERVISOR), &image)?;
    Ok(image)
}

/// The names of our own guests: the crates under `guests` that have a program.
#[must_use]
pub fn guest_names(project: &Project) -> Vec<String> {
    let Ok(folder) = fs::read_dir(project.root().join("guests")) else { return Vec::new() };
    let mut names: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_guest(project, name))
        .collect();
    names.sort();
    names
}

/// Whether `name` is one of our own guests.
#[must_use]
pub fn is_guest(project: &Project, name: &str) -> bool {
    let folder = project.root().join("guests").join(name);
    folder.join("Cargo.toml").is_file() && folder.join("src/main.rs").is_file()
}

/// Our guest `name` as it was built last, if nothing that it is made of has changed since.
#[must_use]
pub fn fresh_guest(project: &Project, name: &str) -> Option<PathBuf> {
    let program = program_file(project, name);
    let built = fs::metadata(program.with_extension("built")).ok()?.modified().ok()?;
    // cargo lists every source file of the program in a rule for make.
    let rule = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = rule.split_once(": ")?;
    let listed = sources.trim_end().replace("\\ ", "\u{0}");
    let listed = listed.split(' ').map(|file| PathBuf::from(file.replace('\u{0}', " ")));
    let settings = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"].map(|file| project.root().join(file));
    let crate_file = project.root().join("guests").join(name).join("Cargo.toml");
    let older =
        |file: PathBuf| fs::metadata(file).and_then(|file| file.modified()).is_ok_and(|time| time <= built);
    if !listed.chain(settings).chain([crate_file]).all(older) {
        return None;
    }
    let image = project.built_guests().join(name);
    flatten_into(&program, &image).ok()?;
    Some(image)
}

/// The hypervisor as it was linked, with its symbols.
#[must_use]
pub fn hypervisor_program(project: &Project) -> PathBuf {
    program_file(project, HYPERVISOR)
}

fn program_file(project: &Project, program: &str) -> PathBuf {
    project.target().join(TARGET).join("release").join(program)
}

/// Builds our guest `name` (the crate `guests/NAME`, package `guest-NAME`, program `NAME`).
///
/// # Errors
/// As for [`hypervisor`].
pub fn guest(project: &Project, name: &str, verbose: bool) -> Result<PathBuf> {
    let image = project.built_guests().join(name);
    let sizes = bare_metal(project, &format!("guest-{name}"), name, &image)?;
    report(project, &image, sizes, verbose);
    Ok(image)
}

fn report(project: &Project, image: &Path, sizes: Sizes, verbose: bool) {
    if verbose {
        let bytes = fs::metadata(image).map_or(0, |file| file.len());
        eprintln!("{}: {bytes} bytes; {sizes}", project.short(image).display());
    }
}

/// Builds our program `name` for Linux guests (the crate `guests/NAME`), and says where its ELF file is.
///
/// # Errors
/// When cargo fails: it has said why.
pub fn linux_program(project: &Project, name: &str) -> Result<PathBuf> {
    compile(project, &format!("guest-{name}"), name)
}

fn bare_metal(project: &Project, package: &str, program: &str, image: &Path) -> Result<Sizes> {
    flatten_into(&compile(project, package, program)?, image)
}

/// Builds a program; gives its ELF file.
fn compile(project: &Project, package: &str, program: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(project.root()).env("CARGO_TARGET_DIR", project.target());
    command.args(["build", "--release", "--target", TARGET, "--package", package, "--bin", program]);
    if !stderr().is_terminal() {
        command.arg("--quiet");
    }
    let elf = program_file(project, program);
    let (begun, stamp) = (elf.with_extension("begun"), elf.with_extension("built"));
    let _ = write_whole(&begun, b"when the last successful build began");
    let status = command.status().context("cargo cannot be run")?;
    ensure!(
        status.success(),
        "cargo could not build {package} for {TARGET}; \
         if the target is missing, scripts/setup brings it"
    );
    let _ = fs::rename(begun, stamp);
    Ok(elf)
}

/// Makes the program an image; an image that is right already is not touched.
fn flatten_into(elf: &Path, image: &Path) -> Result<Sizes> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let flat = flatten(&bytes).with_context(|| format!("cannot flatten {}", elf.display()))?;
    if fs::read(image).ok().as_deref() != Some(&flat.bytes) {
        write_whole(image, &flat.bytes)?;
    }
    Ok(flat.sizes)
}
