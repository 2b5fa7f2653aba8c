// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A running board as a test or a session sees it: wait for what a partition says, type into it, see how
//! it all ends.

mod failure;
mod typing;

pub use failure::Failure;

use crate::board::{Board, State};
use crate::console::{Event, HYPERVISOR, Parser};
use crate::display::{Display, Lines};
use crate::qemu::Process;
use crate::transcript::{Found, Mark, Stream, Transcript};
use anyhow::Result;
use regex::Regex;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The key that the hypervisor takes for itself: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

/// After so long a silence a state is taken for what it is.
const SILENCE: Duration = Duration::from_secs(3);

/// How many last lines of a partition an error quotes.
const QUOTED: usize = 5;

/// What reaches the machine from outside.
#[derive(Debug)]
pub enum Message {
    /// Bytes from the board's serial line.
    Console(Vec<u8>),
    /// The serial line has ended, and QEMU with it.
    Closed,
    /// Bytes from the user's keyboard.
    Keys(Vec<u8>),
    /// This process was sent a signal.
    Signal(i32),
    /// Somebody wants to hear the console, and to press keys.
    Visitor(UnixStream),
    /// What a visitor pressed.
    Pressed(Vec<u8>),
}

/// What [`Machine::pump`] has seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The console said something.
    Output,
    /// The console has ended.
    Closed,
    /// The user typed something.
    Keys(Vec<u8>),
    /// Nothing, until the time was over.
    Quiet,
}

/// A board that is running. Dropping it ends it.
pub struct Machine {
    process: Process,
    keyboard: ChildStdin,
    messages: Receiver<Message>,
    sender: Sender<Message>,
    parser: Parser,
    transcript: Transcript,
    board: Board,
    displays: Vec<Box<dyn Display>>,
    started: Instant,
    limit: Option<Duration>,
    closed: bool,
    marks: BTreeMap<String, Mark>,
    vcpus: u16,
}

impl Machine {
    /// Starts QEMU. `vcpus` is how many CPUs it plays; `limit` ends the whole run; `complain` gets what
    /// QEMU itself has to say.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(
        command: Command,
        vcpus: u16,
        limit: Option<Duration>,
        displays: Vec<Box<dyn Display>>,
        complain: fn(&str),
    ) -> Result<Self> {
        let (process, keyboard, mut console) = Process::start(command, complain)?;
        let (sender, messages) = mpsc::channel();
        let to_us = sender.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = console.read(&mut buffer) {
                if count == 0 || to_us.send(Message::Console(buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            let _ = to_us.send(Message::Closed);
        });
        Ok(Self {
            process,
            keyboard,
            messages,
            sender,
            parser: Parser::default(),
            transcript: Transcript::default(),
            board: Board::default(),
            displays,
            started: Instant::now(),
            limit,
            closed: false,
            marks: BTreeMap::new(),
            vcpus,
        })
    }

    /// Where keys and signals are sent to reach [`Machine::pump`].
    #[must_use]
    pub fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// What the hypervisor has said of the partitions.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// What `owner` has said.
    #[must_use]
    pub fn said(&self, owner: &str) -> &Stream {
        self.transcript.of(owner)
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long to wait for what takes `base` on an idle machine with a CPU for each of QEMU's.
    #[must_use]
    pub fn patience(&self, base: Duration) -> Duration {
        let cpus = thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        base.mul_f64(((f64::from(self.vcpus) + load) / cpus).clamp(1.0, 8.0))
    }

    /// Waits until something happens, at the latest `until`.
    ///
    /// # Errors
    /// When the run's time is over or a signal came.
    pub fn pump(&mut self, until: Instant) -> Result<Pumped, Failure> {
        if self.closed {
            return Ok(Pumped::Closed);
        }
        let end = self.limit.map(|limit| self.started + limit);
        let next = end.map_or(until, |end| end.min(until));
        match self.messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Message::Console(bytes)) => {
                let events = self.parser.feed(&bytes);
                self.events(&events);
                Ok(Pumped::Output)
            }
            Ok(Message::Closed) | Err(RecvTimeoutError::Disconnected) => {
                self.close();
                Ok(Pumped::Closed)
            }
            Ok(Message::Keys(keys)) => Ok(Pumped::Keys(keys)),
            Ok(Message::Visitor(visitor)) => {
                self.let_in(visitor);
                Ok(Pumped::Output)
            }
            Ok(Message::Pressed(keys)) => self.send(&keys).map(|()| Pumped::Output),
            Ok(Message::Signal(number)) => Err(Failure::Signal(number)),
            Err(RecvTimeoutError::Timeout) => match self.limit {
                Some(limit) if self.started.elapsed() >= limit => {
                    Err(Failure::Timeout(limit, self.running()))
                }
                _ => Ok(Pumped::Quiet),
            },
        }
    }

    /// Shows the console to a visitor from now on, and passes on what comes from there.
    fn let_in(&mut self, visitor: UnixStream) {
        let Ok(mut keys) = visitor.try_clone() else { return };
        self.displays.push(Box::new(Lines::plain(visitor)));
        let sender = self.sender();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok(count) = keys.read(&mut buffer) {
                if count == 0 || sender.send(Message::Pressed(buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
        });
    }

    fn events(&mut self, events: &[Event]) {
        let at = self.started.elapsed();
        for event in events {
            for display in &mut self.displays {
                display.event(event, at);
            }
            if let Some((owner, line)) = self.transcript.event(event, at)
                && owner == HYPERVISOR
            {
                self.board.line(&line.text);
            }
        }
    }

    /// Shows a line of our own among the hypervisor's. It takes the unfinished line back, so the hypervisor
    /// must be about to say something, and to send that line again.
    pub fn show(&mut self, text: &str) {
        let line = [Event::Begin(Some(HYPERVISOR.into())), Event::Text(text.into()), Event::End];
        for display in &mut self.displays {
            for event in [Event::Erase].iter().chain(&line) {
                display.event(event, self.started.elapsed());
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        let events = self.parser.finish();
        self.events(&events);
        for display in &mut self.displays {
            display.finish();
        }
    }

    fn running(&self) -> Vec<String> {
        self.board.running().into_iter().map(str::to_owned).collect()
    }

    /// Waits for `pattern` in what `owner` says behind the last match and the last thing typed.
    ///
    /// # Errors
    /// When it does not come within `limit`, or cannot come any more.
    pub fn wait(&mut self, owner: &str, pattern: &Regex, limit: Duration) -> Result<Found, Failure> {
        let deadline = Instant::now() + limit;
        let what = format!("/{pattern}/");
        let mut mark = self.mark(owner);
        loop {
            if let Some(found) = self.said(owner).find(pattern, mark) {
                self.marks.insert(owner.to_owned(), found.end);
                return Ok(found);
            }
            mark = self.said(owner).searched(mark);
            self.go_on(owner, &what, deadline, limit)?;
        }
    }

    /// What a wait may have overlooked: the hypervisor shows a line without an end, a prompt, only in focus.
    fn out_of_focus(&self, owner: &str) -> String {
        match self.board.focus() {
            Some(other) if owner != HYPERVISOR && other != owner => format!(
                " (the console's focus is on {other}, and a prompt, a line that has no end yet, shows only in focus: \
                 `focus {owner}` before the wait shows it)"
            ),
            _ => String::new(),
        }
    }

    /// Lets the machine run on while something is awaited; says why it is awaited in vain.
    fn go_on(&mut self, owner: &str, what: &str, deadline: Instant, limit: Duration) -> Result<(), Failure> {
        let vain = |machine: &Self, why: String| {
            Failure::Waited(what.to_owned(), owner.to_owned(), why, machine.said(owner).last(QUOTED))
        };
        if self.board.fatal().is_some() && owner != HYPERVISOR {
            return Err(self.fault());
        }
        match self.pump(deadline.min(Instant::now() + SILENCE))? {
            Pumped::Closed if owner == HYPERVISOR => Err(vain(self, "QEMU has ended".into())),
            Pumped::Closed => {
                Err(self.verdict().err().unwrap_or_else(|| vain(self, "QEMU has ended".into())))
            }
            Pumped::Output | Pumped::Keys(_) => Ok(()),
            Pumped::Quiet if Instant::now() >= deadline => {
                let why = format!(
                    "it did not come within {:.0} s{}",
                    limit.as_secs_f64(),
                    self.out_of_focus(owner)
                );
                Err(vain(self, why))
            }
            Pumped::Quiet => match self.board.find(owner).map(|partition| partition.state.clone()) {
                Some(State::PoweredOff) => Err(vain(self, "the partition powered itself off".into())),
                Some(State::Stopped(reason)) => {
                    Err(vain(self, format!("the partition was stopped: {reason}")))
                }
                _ => Ok(()),
            },
        }
    }

    /// From where the next wait looks.
    #[must_use]
    pub fn mark(&self, owner: &str) -> Mark {
        self.marks.get(owner).copied().unwrap_or_default()
    }

    /// Lets the next wait look only at what is said from now on.
    pub fn forget(&mut self, owner: &str) {
        let end = self.said(owner).end();
        self.marks.insert(owner.to_owned(), end);
    }

    /// Waits until the hypervisor reports `wanted` of the partition.
    ///
    /// # Errors
    /// When that is not so within `limit`.
    pub fn wait_until(
        &mut self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Board) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        while !wanted(&self.board) {
            self.go_on(name, what, deadline, limit)?;
        }
        Ok(())
    }

    /// Waits until the partition has powered itself off.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_off(&mut self, name: &str, limit: Duration) -> Result<(), Failure> {
        self.wait_until(name, "the power off", limit, |board| {
            board.find(name).is_some_and(|partition| partition.state == State::PoweredOff)
        })
    }

    /// Lets the board run for `time`.
    ///
    /// # Errors
    /// When it ends meanwhile, or the hypervisor reports a fault of its own.
    pub fn sleep(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.pump(until)? == Pumped::Closed {
                return Err(self.died());
            }
        }
        match self.board.fatal() {
            Some(_) => Err(self.fault()),
            None => Ok(()),
        }
    }

    /// Lets the board run to its end, and gives the verdict. The end must come within `limit`, if one is given.
    ///
    /// # Errors
    /// When it is not a good end: some partition did not power itself off.
    pub fn finish(&mut self, limit: Option<Duration>) -> Result<(), Failure> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let pumped = self.pump(Instant::now() + SILENCE)?;
            if self.has_ended(&pumped) {
                return self.end();
            }
            if let (Some(limit), Some(deadline)) = (limit, deadline)
                && Instant::now() >= deadline
            {
                return Err(Failure::Timeout(limit, self.running()));
            }
        }
    }

    /// Whether the board has come to its end: it said so, or it is silent and nothing runs on it.
    #[must_use]
    pub fn has_ended(&self, pumped: &Pumped) -> bool {
        match pumped {
            Pumped::Closed => true,
            Pumped::Quiet if self.board.nothing_runs() => true,
            _ => self.board.all_off() || self.board.fatal().is_some(),
        }
    }

    /// The board has come to its end: hears the rest of it until it powers off, and gives the verdict.
    ///
    /// # Errors
    /// As for [`Machine::finish`].
    pub fn end(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience(Duration::from_secs(5));
        loop {
            match self.pump(deadline)? {
                Pumped::Closed => return self.verdict(),
                Pumped::Quiet if Instant::now() >= deadline => {
                    self.kill();
                    let late = || Failure::Other("the board did not power off after its last word".into());
                    return Err(self.board.fault().map_or_else(late, Failure::Fault));
                }
                _ => {}
            }
        }
    }

    /// The hypervisor has reported a fault of its own: hears the rest of it.
    fn fault(&mut self) -> Failure {
        let verdict = self.end();
        verdict.err().unwrap_or_else(|| Failure::Other("the board has powered off".into()))
    }

    /// Ends QEMU now.
    pub fn kill(&mut self) {
        self.process.end();
        self.drain();
    }

    fn drain(&mut self) {
        self.limit = None;
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.closed && matches!(self.pump(deadline), Ok(Pumped::Output | Pumped::Keys(_))) {}
        if !self.closed {
            self.close();
        }
    }

    /// How it was: only what the hypervisor said counts, and that QEMU ended well.
    fn verdict(&mut self) -> Result<(), Failure> {
        let status = self.process.wait(Duration::from_secs(5)).ok().flatten();
        if let Some(fault) = self.board.fault() {
            return Err(Failure::Fault(fault));
        }
        match status {
            Some(status) if status.success() && self.board.all_off() => Ok(()),
            _ => Err(self.died()),
        }
    }

    fn died(&mut self) -> Failure {
        if let Some(fault) = self.board.fault() {
            return Failure::Fault(fault);
        }
        let how = match self.process.wait(Duration::from_secs(2)) {
            Ok(Some(status)) => status.to_string(),
            _ => "its console was closed".to_owned(),
        };
        Failure::Died(how, self.process.complaints(), self.running())
    }
}
