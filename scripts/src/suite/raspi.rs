// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Raspberry Pi 4, as far as QEMU plays it: the same image, and what is special to the board.

use super::Scenario;
use super::lab::{Lab, Partition, overlay};
use super::scenarios::finish;
use super::shell::{command, power_off, prompt, wait};
use super::{fixed, lone, newest, refusals, scenarios, watchdog};
use crate::config::Config;
use crate::qemu::{self, BoardName};
use crate::{pack, raspi, sdcard};
use anyhow::{Context, Result, ensure};
use bulkhead_plan::tree::Tree;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;

const DEBIAN: &str = "debian-12";

/// What runs here besides the virt board's scenarios that [`chosen`] names.
const OWN: &[Scenario] = &[
    Scenario { name: "20-boots-with-every-cpu", run: many_boots },
    Scenario { name: "cpus-off-and-on", run: cpus_off_and_on },
    Scenario { name: "10000-sleeps", run: sleeps },
    newest::ON_1_CPU,
    Scenario { name: "primary", run: primary },
    Scenario { name: "console-on-pl011", run: console_on_pl011 },
    Scenario { name: "console-on-serial0", run: console_on_serial0 },
    Scenario { name: "watchdog-of-a-guest", run: watchdog_of_a_guest },
    Scenario { name: "trusted-firmware", run: trusted_firmware },
    Scenario { name: "one-image", run: one_image },
    Scenario { name: "card", run: |lab| card(lab, false) },
    Scenario { name: "card-with-dtoverlay", run: |lab| card(lab, true) },
];

/// Scenarios that need nothing of the virt board.
const SHARED: &[&str] = &["demo", "probe", "power-off-alone", "reboot-10-times"];

/// The board.
pub fn board() -> qemu::Options {
    qemu::Options { board: BoardName::Raspi4b, ..qemu::Options::default() }
}

/// Every scenario that runs on the board, the long ones if `full`.
pub fn chosen(full: bool) -> impl Iterator<Item = &'static Scenario> {
    let shared = scenarios::ALL.iter().filter(|scenario| SHARED.contains(&scenario.name));
    let long = if full { newest::LONG } else { &[] };
    let own = OWN.iter().chain(fixed::RASPI).chain(lone::EACH_GIC);
    own.chain(watchdog::ALL).chain(shared).chain(newest::ALL).chain(long).chain(refusals::ALL)
}

/// Every CPU leaves the spin table, however the board's CPUs happen to interleave.
fn many_boots(lab: &mut Lab) -> Result<()> {
    const TIMES: usize = 20;
    let bundle = lab.pack(&[scenarios::quick(lab, 0..4)?])?;
    let mut whole = 0;
    for _ in 0..TIMES {
        let mut machine = lab.boot_bundle(Some(&bundle))?;
        // A partition with a CPU that did not come up is never started, so it cannot power off.
        whole += usize::from(finish(&mut machine).is_ok());
    }
    ensure!(whole == TIMES, "all four CPUs came up in {whole} of {TIMES} boots");
    Ok(())
}

/// Linux turns each of its four CPUs off and on, ten times. Off, it waits in the hypervisor, for the board has
/// no firmware to go back to.
fn cpus_off_and_on(lab: &mut Lab) -> Result<()> {
    const SCRIPT: &str = "cd /sys/devices/system/cpu; for i in 1 2 3 4 5 6 7 8 9 10; do for c in 0 1 2 3; do \
         echo 0 >cpu$c/online && echo 1 >cpu$c/online || echo \"round $i, CPU $c\"; done; done; cat online";
    let mut machine = lab.boot(&[Partition::linux("linux", DEBIAN, 0..4, 512)])?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    let online = command(&mut machine, "linux", SCRIPT, 120)?;
    ensure!(online == ["0-3"], "after ten rounds: {online:?}");
    let complaints = "dmesg | grep -E 'WARN|BUG|stall|lockup|Oops|Call trace' | head -n 20";
    let complaints = command(&mut machine, "linux", complaints, 30)?;
    ensure!(complaints.is_empty(), "the kernel complains: {}", complaints.join("\n"));
    power_off(&mut machine, "linux")?;
    finish(&mut machine)
}

/// A guest is woken by its virtual timer every time, and at most one of its ticks of 100 µs late. By QEMU's
/// instruction count, so that the host's other work is not counted.
fn sleeps(lab: &mut Lab) -> Result<()> {
    const TICK: u64 = 100_000;
    lab.board.extra = ["-icount", "shift=0,sleep=off"].map(Into::into).into();
    // Its other CPUs sleep in the hypervisor; at their spin table they would take time from the counted one.
    let sleeper = Partition { name: "sleeper", kernel: "sleeper", cpus: 0..4, ..Partition::ticker(0) };
    let mut machine = lab.boot(&[sleeper])?;
    let said =
        wait(&mut machine, "sleeper", r"(\d+) sleeps, (\d+) woken early, the latest by (\d+) ns", 120)?;
    let latest: u64 = said[3].parse()?;
    ensure!(said[1] == "10000" && said[2] == "0" && latest <= TICK, "{}", said[0]);
    finish(&mut machine)
}

/// Trusted Firmware-A, as Debian builds it for the board, in place of the stub: it enters the hypervisor at EL2 with a
/// tree that it changed, starts the CPUs by PSCI, tells guests of its workarounds, and powers the board off.
fn trusted_firmware(lab: &mut Lab) -> Result<()> {
    const KERNEL: u32 = 0x20_0000;
    const TREE: u32 = 0x200_0000;
    const BUNDLE: u32 = 0x800_0000;
    const MEMORY: u32 = 0x3c00_0000;
    let bundle = lab.pack(&[Partition::linux("linux", DEBIAN, 0..3, 256), Partition::ticker(3)])?;
    // What the Pi's own firmware does: memory and ramdisk into the tree; and into the stub, whose magic number it
    // clears, where tree and kernel are (TF-A, docs/plat/rpi4.rst and plat/rpi/rpi4/aarch64/armstub8_header.S).
    let end = BUNDLE + u32::try_from(bundle.len())?;
    changed_tree(lab, |tree| {
        let node =
            |path: &str| Ok::<_, anyhow::Error>(tree.by_path(path).with_context(|| path.to_owned())?.id());
        let (chosen, memory) = (node("/chosen")?, node("/memory@0")?);
        tree.set_cells(chosen, "linux,initrd-start", &[BUNDLE]);
        tree.set_cells(chosen, "linux,initrd-end", &[end]);
        tree.set_cells(memory, "reg", &[0, 0, MEMORY]);
        Ok(())
    })?;
    let mut stub = lab.guest_software("tf-a-rpi4")?;
    for (at, word) in [(0xf0, 0), (0xf8, TREE), (0xfc, KERNEL)] {
        let place = stub.get_mut(at..at + 4).context("the firmware is cut short")?;
        place.copy_from_slice(&word.to_le_bytes());
    }
    let (stub, bundle) = (lab.file("tf-a.bin", &stub)?, lab.file("bundle.itb", &bundle)?);
    let tree = lab.board.dtb.clone().context("the tree was changed")?;
    let image = lab.project().hypervisor_image();
    let files = [(&stub, 0), (&image, KERNEL), (&tree, TREE), (&bundle, BUNDLE)];
    let mut machine = lab.run(raspi::from_reset(&files.map(|(file, at)| (file.as_path(), at.into()))))?;
    prompt(&mut machine, "linux")?;
    command(&mut machine, "linux", "dmesg -n 1", 20)?;
    // Without the firmware's word, the last two are "Vulnerable".
    let cycle = "cd /sys/devices/system/cpu; for c in 0 1 2; do echo 0 >cpu$c/online; echo 1 >cpu$c/online; done; \
         cat online vulnerabilities/spectre_v2 vulnerabilities/spec_store_bypass";
    let found = command(&mut machine, "linux", cycle, 60)?;
    let expected = ["0-2", "Mitigation: Branch predictor hardening, BHB", "Not affected"];
    ensure!(found == expected, "CPUs, and what the firmware does for guests: {found:?}");
    machine.type_line("linux", "reboot -f")?;
    machine.forget("linux");
    prompt(&mut machine, "linux")?;
    power_off(&mut machine, "linux")?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

/// Nodes whose registers QEMU does not model: Linux's drivers die of the external abort that comes of it, natively too.
const NOT_IN_QEMU: &[&str] = &[
    "clock@7ef00000",
    "interrupt-controller@7ef00100",
    "hdmi@7ef00700",
    "i2c@7ef04500",
    "hdmi@7ef05700",
    "i2c@7ef09500",
];

/// The board's tree with what `change` does to it.
///
/// # Errors
/// When there is no tree, or none of a board.
pub fn changed_tree(lab: &mut Lab, change: impl FnOnce(&mut Tree<'_>) -> Result<()>) -> Result<()> {
    let blob = fs::read(raspi::tree(lab.project(), &lab.board)?)?;
    let mut tree = Tree::parse(&blob, "the board's tree").map_err(|problem| anyhow::anyhow!("{problem}"))?;
    change(&mut tree)?;
    lab.board.dtb = Some(lab.file("changed.dtb", &tree.to_blob())?);
    Ok(())
}

/// Linux with three CPUs and all that the ticker on the fourth has not, on the board's own tree.
fn primary(lab: &mut Lab) -> Result<()> {
    changed_tree(lab, |tree| {
        for name in NOT_IN_QEMU {
            let node =
                tree.by_path(&format!("/soc/{name}")).with_context(|| format!("there is no {name}"))?;
            tree.set_string(node.id(), "status", "disabled");
        }
        Ok(())
    })?;
    // Without `memory` and `cpus`: the rest.
    let linux = "linux { compatible = \"bulkhead,partition\"; primary; kernel = \"debian-12\"; \
         ramdisk = \"busybox-initrd\"; bootargs = \"console=ttyAMA1 hostname=linux\"; };";
    let source = overlay(&[Partition::ticker(3)]).replacen("ticker {", &format!("{linux}\n\t\tticker {{"), 1);
    let config = lab.file("config.dtso", source.as_bytes())?;
    let bundle =
        pack::pack(lab.project(), &Config::open(config.parent().context("a file is in a folder")?)?)?;
    let mut machine = lab.boot_bundle(Some(&bundle))?;
    prompt(&mut machine, "linux")?;
    let online = command(&mut machine, "linux", "nproc; cat /proc/device-tree/model; echo", 20)?;
    ensure!(online == ["3", "Raspberry Pi 4 Model B"], "CPUs and model: {online:?}");
    // The VideoCore answers by interrupt; the port that is not the console's is Linux's own; what the
    // hypervisor drives is disabled; the console's number is that of the port that it stands for.
    let check = "grep -q 'GIC.* 65 .*mailbox' /proc/interrupts && ls -d /sys/bus/amba/devices/fe201000.serial \
         && ls /sys/bus/platform/devices | grep -cE '^fe100000|^fe215040'; \
         tr -d '\\0' </proc/device-tree/aliases/serial1; echo; cat /sys/class/tty/ttyAMA1/iomem_base";
    let found = command(&mut machine, "linux", check, 20)?;
    let expected = ["/sys/bus/amba/devices/fe201000.serial", "0", "/serial@fe215000", "0xFE215000"];
    ensure!(found == expected, "devices: {found:?}");
    power_off(&mut machine, "linux")?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

/// Moves the board's console to the PL011.
///
/// # Errors
/// When there is no tree, or none of a board.
pub fn move_console_to_pl011(lab: &mut Lab) -> Result<()> {
    changed_tree(lab, |tree| {
        let chosen = tree.by_path("/chosen").context("the board's tree has no /chosen")?.id();
        tree.set_string(chosen, "stdout-path", "serial0:115200n8");
        Ok(())
    })
}

/// With `stdout-path` on the PL011 the console is there, in both directions.
fn console_on_pl011(lab: &mut Lab) -> Result<()> {
    move_console_to_pl011(lab)?;
    let mut machine = lab.boot(&[Partition::ticker(1)])?;
    wait(&mut machine, "ticker", "^tick 1", 60)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

/// Where `stdout-path` leads nowhere the console is the port of the alias `serial0`, and no address of another board.
fn console_on_serial0(lab: &mut Lab) -> Result<()> {
    changed_tree(lab, |tree| {
        let chosen = tree.by_path("/chosen").context("the board's tree has no /chosen")?.id();
        tree.set_string(chosen, "stdout-path", "/no-such-port");
        Ok(())
    })?;
    let mut machine = lab.boot(&[Partition::ticker(1)])?;
    wait(&mut machine, "ticker", "^tick 1", 60)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}

/// A partition may have the power manager, and with it the watchdog: the hypervisor then leaves it alone.
fn watchdog_of_a_guest(lab: &mut Lab) -> Result<()> {
    let owner = Partition {
        more: "devices = \"/soc/watchdog@7e100000\";".into(),
        ..Partition::linux("linux", DEBIAN, 0..1, 256)
    };
    let mut machine = lab.boot(&[owner])?;
    prompt(&mut machine, "linux")?;
    let node = "ls -d /proc/device-tree/watchdog@fe100000";
    command(&mut machine, "linux", node, 20)?;
    Ok(power_off(&mut machine, "linux")?)
}

/// The same files, byte for byte, boot both boards: the hypervisor's image and the bundle.
fn one_image(lab: &mut Lab) -> Result<()> {
    let bundle = lab.pack(&[scenarios::quick(lab, 0..4)?])?;
    let image = lab.project().hypervisor_image();
    let bytes = fs::read(&image)?;
    let copy = lab.file("bulkhead.img", &bytes)?;
    let bundle = lab.file("bundle.itb", &bundle)?;
    for board in [board(), qemu::Options::default()] {
        lab.board = board;
        finish(&mut lab.boot_files(&copy, Some(&bundle))?)?;
    }
    ensure!(fs::read(copy)? == bytes && fs::read(image)? == bytes, "the image changed");
    Ok(())
}

/// A card with what the board would refuse is not made, unless asked for.
fn refused_card(lab: &Lab, options: &sdcard::Options) -> Result<()> {
    let config = lab.file("refused/refused.dtso", overlay(&[Partition::ticker(9)]).as_bytes())?;
    let image = config.with_file_name("refused.img");
    let options = sdcard::Options { config, output: Some(image.clone()), ..options.clone() };
    let error = sdcard::make(lab.project(), &options).err().context("a card for a CPU that a Pi has not")?;
    ensure!(format!("{error:#}").contains("raspi4b: 1 error") && !image.exists(), "{error:#}");
    let large = Partition { memory: 1500, ..Partition::ticker(1) };
    lab.file("refused/refused.dtso", overlay(&[large]).as_bytes())?;
    let error = sdcard::make(lab.project(), &options)
        .err()
        .context("a card for memory that a Pi of 1 GiB has not")?;
    ensure!(format!("{error:#}").contains("raspi4b: 1 error") && !image.exists(), "{error:#}");
    let enough = sdcard::Options { memory: 4096, ..options.clone() };
    sdcard::make(lab.project(), &enough).context("a Pi of 4 GiB has that memory")?;
    sdcard::make(lab.project(), &sdcard::Options { unchecked: true, ..options }).map(drop)
}

/// `--to` puts the same files into a folder, again and again, but never over another's settings.
fn same_in_a_folder(lab: &Lab, options: sdcard::Options, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let other = lab.file("boot/other", b"")?;
    let folder = other.parent().context("a file is in a folder")?;
    let options = sdcard::Options { output: None, to: Some(folder.into()), ..options };
    for _ in 0..2 {
        sdcard::make(lab.project(), &options)?;
        for (name, bytes) in files {
            ensure!(fs::read(folder.join(name))? == *bytes, "{name} is not as on the card");
        }
    }
    fs::write(folder.join("config.txt"), "dtparam=audio=on\n")?;
    let refused = sdcard::make(lab.project(), &options).err().context("another's config.txt was replaced")?;
    ensure!(format!("{refused:#}").contains("did not write"), "{refused:#}");
    Ok(())
}

/// A card's kernel, tree and bundle, read back from its file system, boot as the Pi's firmware would pass them:
/// with `dtoverlay=` in the tree that libfdt merges.
fn card(lab: &mut Lab, dtoverlay: bool) -> Result<()> {
    let config = lab.file("config/config.dtso", overlay(&[Partition::ticker(1)]).as_bytes())?;
    let image = config.with_file_name("pi4.img");
    let options = sdcard::Options {
        config,
        output: Some(image.clone()),
        to: None,
        dtoverlay,
        dtb: None,
        memory: 1024,
        unchecked: false,
    };
    refused_card(lab, &options)?;
    sdcard::make(lab.project(), &options)?;
    let files = sdcard::read(&File::open(&image)?)?;
    same_in_a_folder(lab, options, &files)?;
    let mut paths = BTreeMap::new();
    for (name, bytes) in files {
        paths.insert(name.clone(), lab.file(&format!("card/{name}"), &bytes)?);
    }
    let path = |name: &str| paths.get(name).with_context(|| format!("the card has no {name}"));
    let same = fs::read(path(sdcard::KERNEL)?)? == fs::read(lab.project().hypervisor_image())?;
    ensure!(same, "the card's kernel is not the hypervisor's image");
    let mut tree = path(raspi::TREE)?.clone();
    if dtoverlay {
        let merged = tree.with_extension("merged");
        let overlay = path("overlays/config.dtbo")?;
        let fdtoverlay =
            Command::new("fdtoverlay").arg("-i").arg(&tree).arg("-o").arg(&merged).arg(overlay).status();
        ensure!(fdtoverlay.context("fdtoverlay cannot be run")?.success(), "fdtoverlay cannot merge");
        tree = merged;
    }
    lab.board.dtb = Some(tree);
    let mut machine = lab.boot_files(path(sdcard::KERNEL)?, Some(path(sdcard::BUNDLE)?))?;
    wait(&mut machine, "ticker", "^tick 1", 60)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}
