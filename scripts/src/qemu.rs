// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU: the boards it plays, its command line, and its process, which never outlives this one.

use crate::project::Project;
use crate::raspi;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The program, looked for in PATH.
const PROGRAM: &str = "qemu-system-aarch64";

/// Older ones lack boards that we support.
const OLDEST: u32 = 9;

/// How long QEMU may take to end on SIGTERM before it is killed: when every CPU sleeps and no timer is
/// armed it can spin and ignore the signal.
const GRACE: Duration = Duration::from_secs(2);

/// How many lines of its standard error are kept: with `-d` there is no end to them.
const MOST_COMPLAINTS: usize = 20;

/// A board that QEMU plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BoardName {
    /// QEMU's own paravirtual board, `-M virt`.
    #[default]
    QemuVirt,
    /// The Raspberry Pi 4 Model B, `-M raspi4b`.
    Raspi4b,
}

/// A version of Arm's Generic Interrupt Controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Gic {
    /// GICv2, at most 8 CPUs.
    #[value(name = "2")]
    V2,
    /// GICv3.
    #[default]
    #[value(name = "3")]
    V3,
}

/// The board to run on.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Options {
    /// The board that QEMU plays
    #[arg(long, value_enum, default_value_t)]
    pub board: BoardName,
    /// The version of the interrupt controller
    #[arg(long, value_enum, default_value_t)]
    pub gic: Gic,
    /// The CPU model, as QEMU's -cpu takes it (cortex-a53, cortex-a72, max, ...)
    #[arg(long, value_name = "MODEL", default_value = "cortex-a72")]
    pub cpu: String,
    /// The number of CPUs
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub smp: u16,
    /// The board's memory in MiB [default: 2048, or what the tree of --dtb says]; where that says nothing,
    /// MIB@ADDRESS, or MIB@ADDRESS,MIB@ADDRESS and so on
    #[arg(long, value_name = "MIB")]
    pub memory: Option<BoardMemory>,
    /// The board's device tree, for a board that QEMU makes none for [default: scripts/setup's]
    #[arg(long, value_name = "FILE")]
    pub dtb: Option<PathBuf>,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGS")]
    pub extra: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        let board = BoardName::default();
        let (gic, cpu) = (Gic::default(), "cortex-a72".into());
        Self { board, gic, cpu, smp: 4, memory: None, dtb: None, extra: Vec::new() }
    }
}

/// How much memory a board has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardMemory {
    /// So many MiB, where the board has its memory.
    Size(u32),
    /// Banks: MiB and first address.
    Banks(Vec<(u32, u64)>),
}

impl FromStr for BoardMemory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mib = |text: &str| {
            let mib = text.parse().ok().filter(|mib| *mib > 0);
            mib.ok_or_else(|| format!("{text:?} is not a number of MiB, at least 1"))
        };
        if !text.contains('@') {
            return mib(text).map(Self::Size);
        }
        let bank = |bank: &str| {
            let (size, at) = bank.split_once('@').ok_or_else(|| format!("{bank:?} is not MIB@ADDRESS"))?;
            let digits = at.replace('_', "");
            let address = digits.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let address = address.ok_or_else(|| format!("{at:?} is not an address such as 0x80000000"))?;
            Ok((mib(size)?, address))
        };
        text.split(',').map(bank).collect::<Result<_, String>>().map(Self::Banks)
    }
}

impl Options {
    /// Memory of a board that QEMU makes, in MiB.
    ///
    /// # Errors
    /// When banks are asked for: QEMU's boards have theirs where they have it.
    pub fn mib(&self) -> Result<u32> {
        match &self.memory {
            None => Ok(2048),
            Some(BoardMemory::Size(mib)) => Ok(*mib),
            Some(BoardMemory::Banks(_)) => {
                bail!("--memory with addresses is for a board of --dtb; QEMU's board takes a number of MiB")
            }
        }
    }

    /// What tells one tested board from another.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.board, self.gic) {
            (BoardName::Raspi4b, _) => "raspi4b".into(),
            (BoardName::QemuVirt, Gic::V2) => format!("gicv2-{}", self.cpu),
            (BoardName::QemuVirt, Gic::V3) => format!("gicv3-{}", self.cpu),
        }
    }
}

/// The command line that boots `image` with `bundle`, if there is one.
///
/// # Errors
/// When the board cannot be as the options want it.
pub fn command(project: &Project, options: &Options, image: &Path, bundle: Option<&Path>) -> Result<Command> {
    let mut command = bare();
    match options.board {
        BoardName::QemuVirt => virt(&mut command, options)?,
        BoardName::Raspi4b => raspi::arguments(&mut command, project, options)?,
    }
    command.arg("-kernel").arg(image);
    if let Some(bundle) = bundle {
        command.arg("-initrd").arg(bundle);
    }
    command.args(&options.extra);
    Ok(command)
}

/// The command line by which the virt board starts `firmware` in flash memory, at EL2, with `disk` on virtio.
///
/// # Errors
/// As for [`command`].
pub fn from_firmware(options: &Options, firmware: &Path, disk: &Path) -> Result<Command> {
    let mut command = bare();
    virt(&mut command, options)?;
    let disk = disk.display().to_string().replace(',', ",,");
    command.arg("-bios").arg(firmware);
    command.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
    command.args(["-device", "virtio-blk-device,drive=disk"]);
    Ok(command)
}

/// QEMU with its console on our pipes, and no board yet.
pub fn bare() -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot"]);
    command.args(["-chardev", "stdio,id=console,signal=off"]);
    command
}

fn virt(command: &mut Command, options: &Options) -> Result<()> {
    let gic = match options.gic {
        Gic::V2 => 2,
        Gic::V3 => 3,
    };
    command.arg("-M").arg(format!("virt,virtualization=on,gic-version={gic}"));
    command.args(["-cpu", &options.cpu, "-smp", &options.smp.to_string()]);
    command.args(["-m", &options.mib()?.to_string()]);
    if let Some(tree) = &options.dtb {
        command.arg("-dtb").arg(tree);
    }
    command.args(["-serial", "chardev:console"]);
    Ok(())
}

/// Finds QEMU in PATH and checks its version.
///
/// # Errors
/// A sentence that says what to do when it is missing or too old.
pub fn check_version() -> Result<()> {
    let output = match Command::new(PROGRAM).arg("--version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{PROGRAM} is not in PATH; scripts/setup installs it (QEMU {OLDEST} or later)")
        }
        Err(error) => return Err(error).context(format!("{PROGRAM} cannot be run")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version =
        version(&text).with_context(|| format!("`{PROGRAM} --version` gives no version: {text}"))?;
    ensure!(
        major(version) >= OLDEST,
        "QEMU {version} is too old: {OLDEST} or later is needed; scripts/setup installs one"
    );
    Ok(())
}

/// The version in what `--version` prints.
fn version(text: &str) -> Option<&str> {
    text.lines().next()?.split_once("version ")?.1.split_whitespace().next()
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// A running QEMU. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    complaints: Arc<Mutex<Vec<String>>>,
    /// Disconnected once its standard error has been read to the end.
    all_said: Receiver<()>,
}

impl Process {
    /// Starts it with its console on pipes: what goes in, what comes out. `complain` gets every line that it
    /// writes on its standard error.
    ///
    /// It is a process group of its own, so that a Ctrl-C in the terminal reaches us alone and we end
    /// it in order; and the kernel kills it should we die without a chance to. The latter binds it to
    /// the calling thread, which must live as long.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: Command, complain: fn(&str)) -> Result<(Self, ChildStdin, ChildStdout)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut command = bound_to_us(command);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("{program} was started without its pipes");
        };
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaints);
        let (saying, all_said) = mpsc::channel();
        thread::spawn(move || {
            let _disconnected_at_the_end: Sender<()> = saying;
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                // That it ends because we asked is no news.
                if line.contains("terminating on signal") {
                    continue;
                }
                complain(&line);
                if let Ok(mut kept) = kept.lock()
                    && kept.len() < MOST_COMPLAINTS
                {
                    kept.push(line);
                }
            }
        });
        Ok((Self { child, complaints, all_said }, input, output))
    }

    /// The first lines that it has written on its standard error; it has ended, so the last ones are on their way.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let _ = self.all_said.recv_timeout(GRACE);
        self.complaints.lock().map(|kept| kept.clone()).unwrap_or_default()
    }

    /// How it ended, or `None` if it still runs after `patience`.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() >= patience {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it: asks, then kills.
    pub fn end(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // Not yet waited for, so the number is still that child's.
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if asked.is_ok() && matches!(self.wait(GRACE), Ok(Some(_))) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The same command, under util-linux's `setpriv` where there is one: the kernel then kills it with us.
fn bound_to_us(command: Command) -> Command {
    let present =
        Command::new("setpriv").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !present.is_ok_and(|status| status.success()) {
        return command;
    }
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_size_or_banks() {
        assert_eq!("512".parse(), Ok(BoardMemory::Size(512)));
        assert_eq!("948@0x0,1@0x1_0000_0000".parse(), Ok(BoardMemory::Banks(vec![(948, 0), (1, 1 << 32)])));
        for wrong in ["", "0", "12x", "1@", "1@80000000", "0@0x0", "1@0x0,", "1,2@0x0"] {
            assert!(wrong.parse::<BoardMemory>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_read() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(version(debian), Some("10.0.2"));
        assert_eq!(major("10.0.2"), 10);
        assert_eq!(major("7.2"), 7);
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn the_command_line_follows_the_options() {
        let options = Options { gic: Gic::V2, smp: 8, extra: vec!["-s".into()], ..Options::default() };
        let project = Project::find().unwrap();
        let command = command(&project, &options, Path::new("k"), Some(Path::new("b"))).unwrap();
        let line: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let line = line.join(" ");
        assert!(
            line.contains(
                "gic-version=2 -cpu cortex-a72 -smp 8 -m 2048 -serial chardev:console -kernel k -initrd b -s"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]);
        let (mut process, _input, output) = Process::start(command, |_| ()).unwrap();
        BufReader::new(output).read_line(&mut String::new()).unwrap();
        let start = Instant::now();
        process.end();
        assert!(start.elapsed() >= GRACE);
        assert!(process.wait(Duration::ZERO).unwrap().is_some());
    }
}
