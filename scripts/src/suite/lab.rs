// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where one test works: its folder, its board, the configurations that it writes.

use crate::config::Config;
use crate::display::{Display, Lines};
use crate::machine::Machine;
use crate::project::{Project, write_whole};
use crate::{build, pack, qemu};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No test takes this long unless it hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// The place and the board of one test.
pub struct Lab {
    project: Project,
    folder: PathBuf,
    /// The board that it runs on; a scenario may change it before it boots.
    pub board: qemu::Options,
}

impl Lab {
    /// An empty folder for the test `name`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(project: &Project, name: &str, board: qemu::Options) -> Result<Self> {
        let folder = project.target().join("system-tests").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { project: project.clone(), folder, board })
    }

    /// Removes the folder, when nothing in it is worth a look.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// From now on time passes with instructions, and at once when all sleep: how busy this machine is does not show.
    pub fn count_time_by_instructions(&mut self) {
        self.board.extra.extend(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"].map(Into::into));
    }

    /// The checkout.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// An image that `scripts/setup` fetched.
    ///
    /// # Errors
    /// When it is not there.
    pub fn guest_software(&self, name: &str) -> Result<Vec<u8>> {
        let places = self.project.guest_software();
        let file = places.iter().map(|place| place.join(name)).find(|file| file.is_file());
        let file = file.with_context(|| format!("no guest software {name}: scripts/setup brings it"))?;
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Where what the console says is kept.
    pub fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Writes a file into the configuration's folder, and says where it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        write_whole(&path, bytes)?;
        Ok(path)
    }

    /// Packs the partitions.
    ///
    /// # Errors
    /// As for [`pack::pack`].
    pub fn pack(&self, partitions: &[Partition]) -> Result<Vec<u8>> {
        let mut source = overlay(partitions);
        // QEMU's is r1p0, which is refused otherwise.
        if self.board.cpu == "cortex-a57" {
            source = source.replacen("partitions {", "partitions {\n\t\taccept-errata = \"832075\";", 1);
        }
        self.file("config.dtso", source.as_bytes())?;
        pack::pack(&self.project, &Config::open(&self.folder)?)
    }

    /// Packs an overlay as it stands with our ticker as the only image.
    ///
    /// # Errors
    /// When the overlay does not compile or the ticker cannot be built.
    pub fn pack_with_ticker(&self, source: &str) -> Result<Vec<u8>> {
        self.file("config.dtso", source.as_bytes())?;
        let ticker = fs::read(build::guest(&self.project, "ticker", false)?)?;
        pack::with_images(&self.folder.join("config.dtso"), &[("ticker", &ticker)])
    }

    /// Boots a bundle, or none.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn boot_bundle(&self, bundle: Option<&[u8]>) -> Result<Machine> {
        let path = self.folder.join("bundle.itb");
        if let Some(bytes) = bundle {
            write_whole(&path, bytes)?;
        }
        self.start(bundle.map(|_| path.as_path()))
    }

    /// Packs and boots the partitions.
    ///
    /// # Errors
    /// As for [`Lab::pack`] and [`Lab::boot_bundle`].
    pub fn boot(&self, partitions: &[Partition]) -> Result<Machine> {
        self.boot_bundle(Some(&self.pack(partitions)?))
    }

    fn start(&self, bundle: Option<&Path>) -> Result<Machine> {
        self.boot_files(&self.project.hypervisor_image(), bundle)
    }

    /// Boots a hypervisor's image and a bundle that are files already.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn boot_files(&self, image: &Path, bundle: Option<&Path>) -> Result<Machine> {
        self.run(qemu::command(&self.project, &self.board, image, bundle)?)
    }

    /// Boots as this command line says.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn run(&self, command: Command) -> Result<Machine> {
        let log = File::create(self.log()).context("cannot write the console's log")?;
        let log: Box<dyn Display> = Box::new(Lines::timed(BufWriter::new(log)));
        Machine::start(command, self.board.smp, Some(LIMIT), vec![log], |_| ())
    }
}

/// A partition as the tests describe it.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its name.
    pub name: &'static str,
    /// Its CPUs.
    pub cpus: Range<u32>,
    /// Its memory in MiB, from guest address 0x4000_0000 if it is not identity-mapped.
    pub memory: u32,
    /// Its kernel image.
    pub kernel: &'static str,
    /// Its ramdisk image, if it has one.
    pub ramdisk: Option<&'static str>,
    /// Further properties, as they stand in source.
    pub more: String,
}

impl Partition {
    /// A Linux with a shell on its console.
    pub fn linux(name: &'static str, kernel: &'static str, cpus: Range<u32>, memory: u32) -> Self {
        let more = format!("bootargs = \"console=ttyAMA0 hostname={name}\";");
        Self { name, cpus, memory, kernel, ramdisk: Some("busybox-initrd"), more }
    }

    /// The guest of ours that counts seconds.
    pub fn ticker(cpu: u32) -> Self {
        Self {
            name: "ticker",
            cpus: cpu..cpu + 1,
            memory: 2,
            kernel: "ticker",
            ramdisk: None,
            more: String::new(),
        }
    }
}

/// The overlay in source form.
pub fn overlay(partitions: &[Partition]) -> String {
    let mut text = String::from(
        "/dts-v1/;\n/plugin/;\n&{/} {\n\tpartitions {\n\t\tcompatible = \"bulkhead,partitions\";\n\
         \t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n",
    );
    for Partition { name, cpus, memory, kernel, ramdisk, more } in partitions {
        let cpus: Vec<_> = cpus.clone().map(|cpu| cpu.to_string()).collect();
        let ramdisk = ramdisk.map(|image| format!("ramdisk = \"{image}\"; ")).unwrap_or_default();
        let _ = writeln!(
            text,
            "\t\t{name} {{\n\t\t\tcompatible = \"bulkhead,partition\";\n\t\t\tcpus = <{}>;\n\
             \t\t\tmemory = <0x0 {:#x}>;\n\t\t\tkernel = \"{kernel}\";\n\t\t\t{ramdisk}{more}\n\t\t}};",
            cpus.join(" "),
            u64::from(*memory) << 20,
        );
    }
    text.push_str("\t};\n};\n");
    text
}
