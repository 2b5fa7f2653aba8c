// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4 as QEMU plays it (`-M raspi4b`): the board's tree comes from Debian's kernel package,
//! and the console is the port that the tree names.

use crate::project::Project;
use crate::qemu::{self, BoardMemory, Options};
use anyhow::{Context, Result, ensure};
use bulkhead_plan::early::{ConsoleKind, Outline};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The board's tree, as Debian's kernel package names it.
pub const TREE: &str = "bcm2711-rpi-4-b.dtb";

/// QEMU's model has exactly this.
const CPU: &str = "cortex-a72";
const CPUS: u16 = 4;
const MEMORY: u32 = 2048;

/// MiB and first address of each bank of memory that the firmware describes on boards of 1, 2, 4 and 8 GiB: the VideoCore
/// has the end of the first gigabyte, and devices that of the fourth.
const BANKS: [(u32, &[(u32, u64)]); 4] = [
    (1024, &[(948, 0)]),
    (2048, &[(948, 0), (1024, 0x4000_0000)]),
    (4096, &[(948, 0), (3008, 0x4000_0000)]),
    (8192, &[(948, 0), (3008, 0x4000_0000), (4096, 0x1_0000_0000)]),
];

/// The memory of a board with so many MiB, as its firmware describes it.
///
/// # Errors
/// For sizes that no Raspberry Pi 4 has.
pub fn memory(wanted: &BoardMemory) -> Result<BoardMemory> {
    let BoardMemory::Size(mib) = wanted else { return Ok(wanted.clone()) };
    let found = BANKS.iter().find(|(size, _)| size == mib);
    let (_, banks) = found
        .with_context(|| format!("--memory {mib}: a Raspberry Pi 4 has 1024, 2048, 4096 or 8192 MiB"))?;
    Ok(BoardMemory::Banks(banks.to_vec()))
}

/// The tree that the board boots with: the user's, or the one that `scripts/setup` fetched.
///
/// # Errors
/// When there is none.
pub fn tree(project: &Project, options: &Options) -> Result<PathBuf> {
    if let Some(tree) = &options.dtb {
        return Ok(tree.clone());
    }
    let places = project.guest_software();
    let found = places.iter().map(|place| place.join(TREE)).find(|file| file.is_file());
    found.with_context(|| format!("no device tree {TREE}: scripts/setup brings it, and --dtb names another"))
}

/// Adds what the board takes on QEMU's command line, the kernel and the ramdisk aside.
///
/// # Errors
/// When options ask for what this board has not, or the tree cannot be used.
pub fn arguments(command: &mut Command, project: &Project, options: &Options) -> Result<()> {
    ensure!(
        (options.cpu.as_str(), options.smp, options.mib()?) == (CPU, CPUS, MEMORY),
        "the Raspberry Pi 4 has {CPUS} CPUs of the model {CPU} and, in QEMU, {MEMORY} MiB of memory: \
         leave out --cpu, --smp and --memory"
    );
    let tree = tree(project, options)?;
    let console = console(&tree)?;
    command.args(["-M", "raspi4b", "-dtb"]).arg(&tree);
    // The first port that QEMU connects is the PL011, the second one the mini UART.
    if console == ConsoleKind::MiniUart {
        command.args(["-serial", "null"]);
    }
    command.args(["-serial", "chardev:console"]);
    Ok(())
}

/// The command line by which all CPUs start at address 0 and at EL3, as they do on a board whose own stages have put
/// `files` where they say. The console is the PL011.
pub fn from_reset(files: &[(&Path, u64)]) -> Command {
    let mut command = qemu::bare();
    command.args(["-M", "raspi4b", "-serial", "chardev:console"]);
    // The GIC-400 has two security states; QEMU's board leaves that out.
    command.args(["-global", "arm_gic.has-security-extensions=on"]);
    for (file, at) in files {
        let file = file.display().to_string().replace(',', ",,");
        command.args(["-device", &format!("loader,file={file},addr={at:#x},force-raw=on")]);
    }
    command
}

/// Which port the tree has the console on.
fn console(tree: &Path) -> Result<ConsoleKind> {
    let name = tree.display();
    let bytes = fs::read(tree).with_context(|| format!("cannot read the device tree {name}"))?;
    let outline = Outline::new(&bytes).with_context(|| format!("{name} is no device tree"))?;
    let console = outline.console().with_context(|| {
        format!(
            "{name}: /chosen/stdout-path names neither a PL011 nor the mini UART, so nothing could be seen"
        )
    })?;
    Ok(console.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_plan::tree::{NodeId, Tree};

    /// A board with both ports and its console on `stdout`.
    fn board(stdout: &str) -> Vec<u8> {
        let mut tree = Tree::new();
        let cells = |tree: &mut Tree<'_>, node| {
            tree.set_cells(node, "#address-cells", &[1]);
            tree.set_cells(node, "#size-cells", &[1]);
        };
        cells(&mut tree, NodeId::ROOT);
        let chosen = tree.add_node(NodeId::ROOT, "chosen");
        tree.set_string(chosen, "stdout-path", stdout);
        let soc = tree.add_node(NodeId::ROOT, "soc");
        cells(&mut tree, soc);
        tree.set_cells(soc, "ranges", &[0x7e00_0000, 0xfe00_0000, 0x0180_0000]);
        for (name, kind, at) in [
            ("serial@7e201000", "arm,pl011", 0x7e20_1000),
            ("serial@7e215040", "brcm,bcm2835-aux-uart", 0x7e21_5040),
        ] {
            let port = tree.add_node(soc, name);
            tree.set_string(port, "compatible", kind);
            tree.set_cells(port, "reg", &[at, 0x40]);
        }
        tree.to_blob()
    }

    fn line(stdout: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let tree = folder.path().join("pi.dtb");
        fs::write(&tree, board(stdout))?;
        let options = Options { dtb: Some(tree), ..Options::default() };
        let mut command = Command::new("qemu");
        arguments(&mut command, &Project::find()?, &options)?;
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn memory_is_in_banks_that_touch_no_device() {
        let Ok(BoardMemory::Banks(banks)) = memory(&BoardMemory::Size(8192)) else { panic!("no banks") };
        let last = banks[1].1 + (u64::from(banks[1].0) << 20);
        assert_eq!((banks.len(), last), (3, 0xfc00_0000));
        assert!(
            memory(&BoardMemory::Size(960)).unwrap_err().to_string().contains("1024, 2048, 4096 or 8192")
        );
    }

    #[test]
    fn the_console_is_the_port_that_the_tree_names() {
        assert!(line("/soc/serial@7e201000:115200n8").unwrap().ends_with("pi.dtb -serial chardev:console"));
        let mini = line("/soc/serial@7e215040").unwrap();
        assert!(mini.ends_with("pi.dtb -serial null -serial chardev:console"), "{mini}");
        let error = line("/soc").unwrap_err().to_string();
        assert!(error.contains("names neither"), "{error}");
    }

    #[test]
    fn what_the_board_has_not_is_refused() {
        let options = Options { smp: 8, ..Options::default() };
        let mut command = Command::new("qemu");
        let error = arguments(&mut command, &Project::find().unwrap(), &options).unwrap_err().to_string();
        assert!(error.contains("leave out --cpu, --smp and --memory"), "{error}");
    }
}
