// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead stats`: asks the monitor of a running board, and shows what it answers.

mod answer;

use crate::console::{HYPERVISOR, Parser};
use crate::display;
use crate::door;
use crate::machine::ESCAPE;
use crate::project::Project;
use crate::show::Table;
use crate::transcript::Transcript;
use answer::Answer;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What `stats` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A serial port, or the socket of a board that `run` runs [default: the only one]
    pub place: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    pub json: bool,
    /// The serial port's rate
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    pub speed: u32,
    /// The plan's `escape-key`
    #[arg(long, value_name = "KEY", default_value = "^]", value_parser = control)]
    pub escape_key: u8,
    /// Ask again each time so many seconds have passed, until Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    pub every: Option<u32>,
}

/// A control character in caret notation.
fn control(text: &str) -> Result<u8, String> {
    match *text.as_bytes() {
        [b'^', key @ b'A'..=b'_'] => Ok(key ^ 0x40),
        _ => Err("a control character is written as ^A to ^_".into()),
    }
}

/// How long the answer may take: some hundred lines at 115,200 baud, under an emulator whose host is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, and prints the answer; again and again if that is wanted.
///
/// # Errors
/// When nobody answers.
pub fn stats(project: &Project, options: &Options) -> Result<()> {
    let board = match &options.place {
        None => File::from(OwnedFd::from(door::enter_only(project)?)),
        Some(path) if door::is_door(path) => {
            let door =
                UnixStream::connect(path).with_context(|| format!("cannot enter {}", path.display()))?;
            File::from(OwnedFd::from(door))
        }
        Some(path) => serial(path, options.speed)?,
    };
    let mut line = Line::new((board.try_clone()?, board)).with_escape(options.escape_key);
    loop {
        let answer = line.ask()?;
        let shown = if options.json { format!("{:#}\n", json(&answer)) } else { text(&answer) };
        display::print(&shown)?;
        let Some(seconds) = options.every else { return Ok(()) };
        thread::sleep(Duration::from_secs(seconds.into()));
        display::print("\n")?;
    }
}

/// Opens a serial port for reading and for writing, raw and at `speed`.
fn serial(path: &Path, speed: u32) -> Result<File> {
    let name = || format!("the serial port {}", path.display());
    let port = OpenOptions::new().read(true).write(true).open(path).with_context(name)?;
    let mut settings = tcgetattr(&port).with_context(name)?;
    settings.make_raw();
    settings.set_speed(speed).with_context(|| format!("{speed} baud"))?;
    tcsetattr(&port, OptionalActions::Now, &settings).with_context(name)?;
    Ok(port)
}

/// The way to a board's monitor and back.
pub struct Line<W> {
    to: W,
    heard: Receiver<Vec<u8>>,
    parser: Parser,
    transcript: Transcript,
    escape: u8,
}

impl<W: Write> Line<W> {
    /// A line that is read from the first and written to by the second.
    pub fn new((mut from, to): (impl Read + Send + 'static, W)) -> Self {
        let (sender, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = from.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { to, heard, parser: Parser::default(), transcript: Transcript::default(), escape: ESCAPE }
    }

    /// The same, where commands begin with another key.
    #[must_use]
    pub fn with_escape(self, escape: u8) -> Self {
        Self { escape, ..self }
    }

    /// Presses the monitor's keys and reads until the answer is complete.
    ///
    /// # Errors
    /// When it does not come.
    pub fn ask(&mut self) -> Result<Answer> {
        let keys = self.to.write_all(&[self.escape, b'l', self.escape, b't']).and_then(|()| self.to.flush());
        keys.context("cannot ask the monitor")?;
        let mut answer = Answer::default();
        let deadline = Instant::now() + PATIENCE;
        while !answer.is_complete() {
            let bytes = match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => bytes,
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the line was closed before the monitor answered")
                }
                Err(RecvTimeoutError::Timeout) => bail!("the monitor does not answer"),
            };
            for event in self.parser.feed(&bytes) {
                if let Some((HYPERVISOR, line)) = self.transcript.event(&event, Duration::ZERO) {
                    ensure!(!line.text.starts_with("monitor: disabled"), "the {}", line.text);
                    answer.line(&line.text);
                }
            }
        }
        Ok(answer)
    }
}

/// As tables.
fn text(answer: &Answer) -> String {
    let mut partitions = Table::new(&["partition", "state", "seconds", "restarts", "CPUs", ""]);
    for it in &answer.partitions {
        let cpus: Vec<_> = it.cpus.iter().map(ToString::to_string).collect();
        let focus = if it.focus { "input goes here" } else { "" };
        partitions.row([
            format!("{} {}", it.number, it.name),
            it.state.clone(),
            format!("{:.3}", it.seconds),
            it.restarts.to_string(),
            cpus.join(" "),
            focus.into(),
        ]);
    }
    let heads: Vec<_> =
        ["vCPU", "CPU"].into_iter().chain(answer.reasons.iter().map(String::as_str)).collect();
    let mut vcpus = Table::new(&heads);
    for it in &answer.vcpus {
        let counts = it.counts.iter().map(ToString::to_string);
        vcpus.row([format!("{}/{}", it.partition, it.number), it.cpu.to_string()].into_iter().chain(counts));
    }
    format!("{}\nexits\n{}", partitions.text(), vcpus.text())
}

/// For machines.
fn json(answer: &Answer) -> Value {
    let partitions = answer.partitions.iter().map(|it| {
        let own = answer.vcpus.iter().filter(|vcpu| vcpu.partition == it.name);
        let vcpus = own.map(|vcpu| {
            let exits = answer.reasons.iter().cloned().zip(vcpu.counts.iter().map(|count| json!(count)));
            json!({ "vcpu": vcpu.number, "cpu": vcpu.cpu, "exits": exits.collect::<serde_json::Map<_, _>>() })
        });
        json!({
            "number": it.number,
            "name": it.name,
            "state": it.state,
            "seconds": it.seconds,
            "restarts": it.restarts,
            "focus": it.focus,
            "cpus": it.cpus,
            "vcpus": vcpus.collect::<Vec<_>>(),
        })
    });
    json!({ "partitions": partitions.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::os::unix::ffi::OsStrExt;

    /// As the monitor answers, with other lines between, and one that only looks like an answer.
    const SAID: &str = concat!(
        "[ticker] tick 3\r\n",
        "[bulkhead]    4.000001 cpu0 2 partitions:\r\n",
        "[bulkhead]    4.000001 cpu0   1: linux-a\r\n",
        "[bulkhead]    4.000001 cpu0     runs 3.901 s, restarts 0, in focus\r\n",
        "[bulkhead]    4.000001 cpu0     CPUs 0 1\r\n",
        "[bulkhead]    4.000001 cpu3   ticker| 2: ticker\r\n",
        "[bulkhead]    4.000001 cpu0   2: ticker\r\n",
        "[bulkhead]    4.000001 cpu0     waits 0.250 s, restarts 12\r\n",
        "[bulkhead]    4.000001 cpu0     CPUs 3\r\n",
        "[bulkhead]    4.000001 cpu0 exits of 3 vCPUs:\r\n",
        "[bulkhead]    4.000001 cpu0   linux-a/0 on CPU 0:\r\n",
        "[bulkhead]    4.000001 cpu0     per-second        1000  calls              123\r\n",
        "[bulkhead]    4.000001 cpu0     registers            0  devices              0\r\n",
        "[linux-a] ~ # \r\x1b[K[bulkhead]    4.000001 cpu0     other                0  interrupts          45\r\n",
        "[bulkhead]    4.000001 cpu3 ticker: started\r\n",
        "[bulkhead]    4.000001 cpu0     errors               0  kicks                0\r\n",
        "[bulkhead]    4.000001 cpu0     refills              0  own                  0\r\n",
        "[bulkhead]    4.000001 cpu0   linux-a/1 on CPU 1:\r\n",
        "[bulkhead]    4.000001 cpu0     per-second           0  calls                7\r\n",
        "[bulkhead]    4.000001 cpu0     registers            0  devices              0\r\n",
        "[bulkhead]    4.000001 cpu0     other                0  interrupts           0\r\n",
        "[bulkhead]    4.000001 cpu0     errors               0  kicks                0\r\n",
        "[bulkhead]    4.000001 cpu0     refills              0  own                  0\r\n",
        "[bulkhead]    4.000001 cpu0   ticker/0 on CPU 3:\r\n",
        "[bulkhead]    4.000001 cpu0     per-second          10  calls                1\r\n",
        "[bulkhead]    4.000001 cpu0     registers            0  devices              0\r\n",
        "[bulkhead]    4.000001 cpu0     other                0  interrupts          99\r\n",
        "[bulkhead]    4.000001 cpu0     errors               0  kicks                0\r\n",
        "[bulkhead]    4.000001 cpu0     refills              0  own                  0\r\n",
        "[linux-a] ~ # "
    );

    #[test]
    fn an_answer_becomes_tables() {
        let mut asked = Vec::new();
        let answer = Line::new((SAID.as_bytes(), &mut asked)).ask().unwrap();
        assert_eq!(asked, b"\x1dl\x1dt");
        insta::assert_snapshot!(text(&answer));
        insta::assert_snapshot!(format!("{:#}", json(&answer)));
    }

    #[test]
    fn a_board_that_says_no_is_quoted() {
        let no = b"[bulkhead]    4.000001 cpu0 monitor: disabled by the configuration (no-monitor)\r\n";
        let error = Line::new((no.as_slice(), Vec::new())).ask().unwrap_err().to_string();
        assert_eq!(error, "the monitor: disabled by the configuration (no-monitor)");
        let error = Line::new((b"[a] x\r\n".as_slice(), Vec::new())).ask().unwrap_err().to_string();
        assert_eq!(error, "the line was closed before the monitor answered");
    }

    #[test]
    fn a_serial_port_is_asked_raw() {
        let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&board).unwrap();
        unlockpt(&board).unwrap();
        let name = ptsname(&board, Vec::new()).unwrap();
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let port = serial(&path, 9600).unwrap();
        let mut board = File::from(board);
        let asked = thread::spawn(move || {
            let mut keys = [0; 8];
            for half in keys.chunks_mut(4) {
                board.read_exact(half).unwrap();
                board.write_all(SAID.as_bytes()).unwrap();
            }
            (keys, board)
        });
        let mut line = Line::new((port.try_clone().unwrap(), port));
        for _ in 0..2 {
            let answer = line.ask().unwrap();
            assert_eq!((answer.partitions.len(), answer.vcpus.len()), (2, 3));
        }
        assert_eq!(asked.join().unwrap().0, *b"\x1dl\x1dt\x1dl\x1dt");
    }
}
