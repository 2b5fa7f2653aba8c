// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo bulkhead run`: a configuration on a board, on the user's screen.

use crate::board::Fault;
use crate::config::Config;
use crate::display::{Display, Lines, Terminal};
use crate::door::Door;
use crate::machine::{Failure, Machine, Message, Pumped};
use crate::play::{self, Session};
use crate::player;
use crate::project::Project;
use crate::terminal::{self, Keys, Raw, Typed};
use crate::{build, check, pack, qemu};
use anyhow::{Context, Result};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::io::{BufWriter, stdout};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// What `run` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A folder with overlays (*.dtso), one overlay, or a packed bundle [default: guests/demo]
    #[arg(value_name = "BUNDLE-OR-CONFIG-DIR")]
    pub config: Option<PathBuf>,
    /// End after so many seconds, with an error
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Write every line to a file, behind the seconds since the start
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Drive the consoles from a file: wait for this, type that
    #[arg(long, value_name = "SESSION", long_help = play::help())]
    pub play: Option<PathBuf>,
    /// The board to run on.
    #[command(flatten)]
    pub board: qemu::Options,
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse().context("not a number")?;
    Duration::try_from_secs_f64(seconds).context("not a time")
}

/// Who types.
enum Hands {
    Session(Session, String),
    User,
    Nobody,
}

/// Builds and packs what is needed, boots it, and stays until the board ends.
///
/// # Errors
/// When not every partition powered itself off: why, in a sentence.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    qemu::check_version()?;
    let path = options.config.clone().unwrap_or_else(|| project.demo());
    let config = Config::open(&path)?;
    let hands = hands(project, options, &config)?;
    let examined = match config {
        Config::Overlays { .. } => Some(check::insist(project, &path, &options.board)?),
        // The hypervisor says itself what is wrong with it.
        Config::Bundle(_) => check::examine(project, &path, &options.board).ok(),
    };
    if let (Hands::Session(session, name), Some(planned)) = (&hands, examined.and_then(|it| it.planned)) {
        let partitions: Vec<&str> = planned.plan.partitions.iter().map(|it| it.name.as_str()).collect();
        session.is_about(&partitions).with_context(|| format!("the session {name}"))?;
    }
    let log = options.log.as_deref().map(open_log).transpose()?;
    let image = build::hypervisor(project, false)?;
    let bundle = pack::for_run(project, &path, &config)?;

    let command = qemu::command(project, &options.board, &image, Some(&bundle))?;
    let mut displays = vec![screen()];
    displays.extend(log);
    let mut machine = Machine::start(command, options.board.smp, options.timeout, displays, |line| {
        eprintln!("qemu: {line}")
    })?;
    pass_signals(machine.sender())?;
    // Without it the board runs as well.
    let _door = Door::open(project, machine.sender()).map_err(|error| eprintln!("bulkhead: {error:#}"));
    let raw = matches!(hands, Hands::User).then(Raw::enter).transpose()?;
    if matches!(hands, Hands::Nobody) && options.timeout.is_none() {
        eprintln!(
            "bulkhead: nobody types: there is neither a terminal nor a session (--play), and no --timeout. \
             This ends when the board powers off, or by Ctrl-C."
        );
    }
    let result = match &hands {
        Hands::Session(session, name) => player::play(&mut machine, session, name).map(drop),
        Hands::User => interactive(&mut machine),
        Hands::Nobody => machine.finish(None),
    };
    machine.kill();
    drop(raw);
    result.map_err(|failure| unrepeated(failure).into())
}

/// The failure without what has been on the screen already.
fn unrepeated(failure: Failure) -> Failure {
    match failure {
        Failure::Fault(Fault::Refused(_)) => Failure::Fault(Fault::Refused(Vec::new())),
        Failure::Died(how, _, running) => Failure::Died(how, Vec::new(), running),
        other => other,
    }
}

fn hands(project: &Project, options: &Options, config: &Config) -> Result<Hands> {
    let session = match &options.play {
        Some(session) => Some(session.clone()),
        None if terminal::is_interactive() => return Ok(Hands::User),
        None => config.session()?,
    };
    let Some(path) = session else { return Ok(Hands::Nobody) };
    let name = project.short(&path).display().to_string();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read the session {name}"))?;
    let session = play::parse(&text).with_context(|| format!("the session {name}"))?;
    Ok(Hands::Session(session, name))
}

fn open_log(path: &Path) -> Result<Box<dyn Display>> {
    let file = File::create(path).with_context(|| format!("cannot write the log {}", path.display()))?;
    Ok(Box::new(Lines::timed(BufWriter::new(file))))
}

fn screen() -> Box<dyn Display> {
    use std::io::IsTerminal;
    if stdout().is_terminal() {
        Box::new(Terminal::new(stdout(), terminal::wants_colour()))
    } else {
        Box::new(Lines::plain(stdout()))
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP end the run in order.
fn pass_signals(sender: Sender<Message>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    thread::spawn(move || {
        for number in signals.forever() {
            if sender.send(Message::Signal(number)).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// The user types, until the board ends or the user has had enough.
fn interactive(machine: &mut Machine) -> Result<(), Failure> {
    const SILENCE: Duration = Duration::from_secs(3);
    terminal::listen(machine.sender());
    let mut keys = Keys::default();
    loop {
        let pumped = machine.pump(Instant::now() + SILENCE)?;
        if machine.has_ended(&pumped) {
            return machine.end();
        }
        let Pumped::Keys(typed) = pumped else { continue };
        let escape = machine.board().escape();
        match keys.take(&typed, escape) {
            Typed::Pass(bytes) => {
                if bytes.windows(2).any(|keys| keys == [escape, b'?']) {
                    machine.show(&format!("Ctrl-{} q: ends QEMU", char::from(escape ^ 0x40)));
                }
                machine.send(&bytes)?;
            }
            Typed::Quit => {
                let running = machine.board().running().into_iter().map(str::to_owned).collect();
                return Err(Failure::Quit(running));
            }
        }
    }
}
