// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machines that the bench runs on: QEMU counting instructions, the same each time.
//!
//! With `-icount shift=0` an instruction takes a nanosecond of virtual time; `sleep=off` ends a wait by
//! going on to the next deadline; one thread runs all CPUs in turn. A counter of 1 GHz then counts instructions. What is random
//! comes from a fixed seed.

use super::trace::Images;
use crate::project::{Project, write_whole};
use crate::qemu::{self, BoardMemory, BoardName, Gic, Process};
use crate::{build, check, pack};
use anyhow::{Context, Result, bail, ensure};
use bulkhead_plan::early::Outline;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Where the bench guest lies on QEMU's virt board.
const GUEST: u64 = 0x5000_0000;

/// Nothing here takes so long, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// Memory of a Linux.
const LINUX_MIB: u32 = 512;

/// How often each operation is measured while a trace is written.
const TRACED_SAMPLES: u32 = 3;

/// One board to measure on.
#[derive(Debug)]
pub struct Bench<'p> {
    project: &'p Project,
    board: qemu::Options,
}

impl<'p> Bench<'p> {
    /// The board as a user names it.
    ///
    /// # Errors
    /// When the bench does not know the board.
    pub fn new(project: &'p Project, board: qemu::Options) -> Result<Self> {
        // The guest's devices and interrupts are those of QEMU's virt board, and so is a counter of 1 GHz.
        ensure!(
            board.board == BoardName::QemuVirt,
            "the bench runs on QEMU's virt board only: leave out --board"
        );
        Ok(Self { project, board })
    }

    /// The board.
    #[must_use]
    pub fn board(&self) -> &qemu::Options {
        &self.board
    }

    /// The checkout.
    #[must_use]
    pub fn project(&self) -> &Project {
        self.project
    }

    /// What the budgets call it: `gicv3 cortex-a72`.
    #[must_use]
    pub fn name(&self) -> String {
        let gic = if self.board.gic == Gic::V2 { 2 } else { 3 };
        format!("gicv{gic} {}", self.board.cpu)
    }

    /// Where its files go.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.project.target().join("bench").join(self.name().replace(' ', "-"))
    }

    /// The hypervisor with its symbols.
    #[must_use]
    pub fn hypervisor_elf(&self) -> PathBuf {
        self.project.target().join(build::TARGET).join("release/bulkhead-el2")
    }

    /// What the bench guest prints at EL1 of the bare board.
    ///
    /// # Errors
    /// When it cannot be built or run, or does not end.
    pub fn native(&self) -> Result<String> {
        let image = build::guest(self.project, "bench", false)?;
        // Later properties win: a board without EL2, whose PSCI is called by HVC as under a hypervisor.
        self.output(&self.counting(2, 512), &image, None, &["-machine", "virtualization=off"])
    }

    /// What it prints in a partition, on a board and with neighbours of this shape.
    ///
    /// # Errors
    /// As for [`Bench::native`].
    pub fn guest(&self, shape: &Shape) -> Result<String> {
        let nodes = shape.partitions(self.board.gic, "");
        let images = [("bench", &*self.image("bench")?)];
        self.partitions(shape.cpus + shape.others, 512 + shape.mib, &nodes, &images, &[])
    }

    /// The same with few measurements, and a trace of every instruction in a file.
    ///
    /// # Errors
    /// As for [`Bench::native`].
    pub fn traced(&self, trace: &Path) -> Result<String> {
        let overlay = Shape::default().partitions(self.board.gic, &format!("samples={TRACED_SAMPLES}"));
        let images = [("bench", &*self.image("bench")?)];
        self.partitions(2, 512, &overlay, &images, &tracing(trace)?)
    }

    /// A trace of the demo's boot, the stamp guest standing for each of its images: what is traced are neither
    /// copies nor hashes of megabytes.
    ///
    /// # Errors
    /// As for [`Bench::native`].
    pub fn traced_demo(&self, trace: &Path) -> Result<()> {
        let stamp = self.image("stamp")?;
        let images = ["debian-12", "busybox-initrd", "ticker"].map(|name| (name, &*stamp));
        let bundle = self.folder().join("demo.itb");
        let source =
            fs::read_to_string(self.project.demo().join("demo.dtso")).context("cannot read the demo")?;
        let overlay = self.folder().join("demo.dtso");
        write_whole(&overlay, without_zeroing(&source).as_bytes())?;
        write_whole(&bundle, &pack::with_images(&overlay, &images)?)?;
        let (board, image) = (self.counting(4, 2048), self.project.hypervisor_image());
        self.output(&board, &image, Some(&bundle), &tracing(trace)?).map(drop)
    }

    /// What Debian's Linux prints with one CPU, natively and in a partition. Natively it has the partition's own device tree,
    /// and its ramdisk where the partition has it: it sees the same machine. Exceptions of the second run, and what it
    /// writes to devices, are logged.
    ///
    /// # Errors
    /// As for [`Bench::native`], and when `scripts/setup` has not fetched it.
    pub fn linux(&self, arguments: &str, log: &Path) -> Result<[String; 2]> {
        let nodes = format!(
            "linux {{ compatible = \"bulkhead,partition\"; cpus = <0>; kernel = \"linux\"; ramdisk = \"initrd\";\n\
             memory = <0x0 0x40000000 0x0 {:#x}>; bootargs = \"{}\"; }};",
            u64::from(LINUX_MIB) << 20,
            arguments.replace('"', "\\\"")
        );
        let [kernel, ramdisk] = [self.software("debian-12")?, self.software("busybox-initrd")?];
        let images = [("linux", &*fs::read(&kernel)?), ("initrd", &*fs::read(&ramdisk)?)];
        let logging = ["-d", "int,trace:memory_region_ops_write", "-D", text(log)?];
        let guest = self.partitions(1, 2 * LINUX_MIB, &nodes, &images, &logging)?;

        let board = self.counting(1, 2 * LINUX_MIB);
        let examined = check::examine(self.project, &self.folder().join("bench.itb"), &board)?;
        let planned = examined.planned.context("the partition that just ran has no plan")?;
        let tree = &planned.plan.partitions.first().context("the plan has no partition")?.tree.blob;
        let start =
            Outline::new(tree).and_then(|tree| tree.bundle()).context("the tree has no ramdisk")?.start();
        let file = self.folder().join("linux.dtb");
        write_whole(&file, tree)?;
        let loader = format!("loader,file={},addr={start},force-raw=on", text(&ramdisk)?);
        let more = ["-machine", "virtualization=off", "-device", &loader];
        let board = qemu::Options { dtb: Some(file), ..self.counting(1, LINUX_MIB) };
        Ok([self.output(&board, &kernel, None, &more)?, guest])
    }

    fn software(&self, name: &str) -> Result<PathBuf> {
        let file =
            self.project.guest_software().iter().map(|place| place.join(name)).find(|file| file.is_file());
        file.with_context(|| format!("no guest software {name}: scripts/setup brings it"))
    }

    /// The bytes of one of our guests.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn image(&self, name: &str) -> Result<Vec<u8>> {
        let path = build::guest(self.project, name, false)?;
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// What a reader of a trace must know of the images.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn images(&self) -> Result<Images> {
        let hypervisor = fs::read(self.project.hypervisor_image()).context("cannot read the hypervisor")?;
        Ok(Images { hypervisor, guest: self.image("bench")?, guest_base: GUEST })
    }

    /// Everything that is printed by a board with `partitions` (nodes in source form) and these images.
    ///
    /// # Errors
    /// As for [`Bench::native`].
    pub fn partitions(
        &self,
        cpus: u16,
        memory: u32,
        partitions: &str,
        images: &[(&str, &[u8])],
        more: &[&str],
    ) -> Result<String> {
        let source = format!(
            "/dts-v1/;\n/plugin/;\n&{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\";\n\
             #address-cells = <2>; #size-cells = <2>;\n{} }}; }};\n",
            without_zeroing(partitions)
        );
        let overlay = self.folder().join("bench.dtso");
        write_whole(&overlay, source.as_bytes())?;
        let bundle = self.folder().join("bench.itb");
        write_whole(&bundle, &pack::with_images(&overlay, images)?)?;
        self.output(&self.counting(cpus, memory), &self.project.hypervisor_image(), Some(&bundle), more)
    }

    fn counting(&self, smp: u16, memory: u32) -> qemu::Options {
        let mut board = qemu::Options { smp, memory: Some(BoardMemory::Size(memory)), ..self.board.clone() };
        board.cpu.push_str(",cntfrq=1000000000");
        board
            .extra
            .extend(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-seed", "1"].map(Into::into));
        board
    }

    fn output(
        &self,
        board: &qemu::Options,
        image: &Path,
        bundle: Option<&Path>,
        more: &[&str],
    ) -> Result<String> {
        let mut command = qemu::command(self.project, board, image, bundle)?;
        if !more.contains(&"-accel") {
            command.args(["-accel", "tcg,thread=single"]);
        }
        output(command.args(more))
    }
}

/// The partitions, in source form, without the zeroing of memory before they start: a boot's figures are not those of
/// how much memory there is.
fn without_zeroing(partitions: &str) -> String {
    let node = "compatible = \"bulkhead,partition\";";
    partitions.replace(node, &format!("{node} zero-at-boot = \"off\";"))
}

/// What has QEMU write a trace of everything.
fn tracing(file: &Path) -> Result<[&str; 6]> {
    let events = "exec,nochain,int,trace:memory_region_ops_read,trace:memory_region_ops_write";
    Ok(["-accel", "tcg,thread=single,one-insn-per-tb=on", "-d", events, "-D", text(file)?])
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("the path {} is no text", path.display()))
}

/// Runs it to its end.
fn output(command: &mut Command) -> Result<String> {
    let whole = std::mem::replace(command, Command::new("true"));
    let (mut process, keyboard, mut console) = Process::start(whole, |_| ())?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = console.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = process.wait(LIMIT)?;
    process.end();
    drop(keyboard);
    let said = reader.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => bail!("QEMU ended with {status}: {}\n{said}", process.complaints().join("\n")),
        None => bail!("the bench did not end within {} s:\n{said}", LIMIT.as_secs()),
    }
}

/// What may make an event cost more, and must not: the size of the guest and of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// CPUs of the bench's partition. With one, nothing is sent to another.
    pub cpus: u16,
    /// Its memory.
    pub mib: u32,
    /// How many of QEMU's virtio transports it has, 32 at most and eight to a page: each has an interrupt.
    pub transports: u16,
    /// Other partitions, of one CPU each, which wait while the bench counts.
    pub others: u16,
}

impl Default for Shape {
    fn default() -> Self {
        Self { cpus: 2, mib: 16, transports: 32, others: 0 }
    }
}

impl Shape {
    /// The partitions in source form. Virtio transports may master the bus, so memory is identity-mapped.
    fn partitions(&self, gic: Gic, bootargs: &str) -> String {
        let cpus: Vec<_> = (0..self.cpus).map(|cpu| reg(gic, cpu)).collect();
        let mut devices = String::from("\"/pl031@9010000\"");
        for transport in 0..u32::from(self.transports) {
            let _ = write!(devices, ", \"/virtio_mmio@{:x}\"", 0xa00_0000 + 0x200 * transport);
        }
        let size = u64::from(self.mib) << 20;
        let mut text = format!(
            "bench {{ compatible = \"bulkhead,partition\"; cpus = <{}>; identity-mapped;\n\
             memory = <0x0 {GUEST:#x} {:#x} {:#x}>; kernel = \"bench\";\n\
             bootargs = \"{bootargs}\"; devices = {devices}; }};",
            cpus.join(" "),
            size >> 32,
            size & 0xffff_ffff
        );
        for cpu in self.cpus..self.cpus + self.others {
            let _ = write!(
                text,
                "\nn{cpu} {{ compatible = \"bulkhead,partition\"; cpus = <{}>; memory = <0x0 0x200000>;\n\
                 kernel = \"bench\"; bootargs = \"neighbour\"; }};",
                reg(gic, cpu)
            );
        }
        text
    }
}

/// A partition with the stamp guest, which says when it was entered and powers off.
pub fn stamp_partition(gic: Gic, cpus: Range<u16>, mib: u64) -> String {
    let first = cpus.start;
    let cpus: Vec<_> = cpus.map(|cpu| reg(gic, cpu)).collect();
    format!(
        "p{first} {{ compatible = \"bulkhead,partition\"; cpus = <{}>; kernel = \"stamp\";\n\
         memory = <0x0 0x40000000 {:#x} {:#x}>; }};",
        cpus.join(" "),
        (mib << 20) >> 32,
        (mib << 20) & 0xffff_ffff
    )
}

/// A CPU's `reg` on QEMU's virt board: clusters of 16 with a GICv3, of 8 with a GICv2.
fn reg(gic: Gic, cpu: u16) -> String {
    let cluster = if gic == Gic::V2 { 8 } else { 16 };
    format!("{:#x}", ((cpu / cluster) << 8) | (cpu % cluster))
}
