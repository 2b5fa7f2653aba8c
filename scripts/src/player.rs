// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plays a session on a running board.

use crate::board::{Board, Fault};
use crate::machine::{Failure, Machine};
use crate::play::{Action, DEFAULT_LIMIT, Session};
use std::collections::BTreeMap;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every step is done and the board has come to a good end.
    PoweredOff,
    /// The session ended it by `quit`.
    Quit,
}

/// Plays every step, then expects the board to come to its end.
///
/// # Errors
/// The step that failed, with its line, or what ended the board before its time.
pub fn play(machine: &mut Machine, session: &Session, name: &str) -> Result<Ending, Failure> {
    let mut player = Player { machine, restarts: BTreeMap::new() };
    for step in &session.steps {
        if matches!(step.action, Action::Quit) {
            player.machine.kill();
            return Ok(Ending::Quit);
        }
        player.act(&step.action).map_err(|failure| match failure {
            // What the board came to grief of has nothing to do with the step.
            Failure::Signal(_) | Failure::Fault(Fault::Panic(_) | Fault::Refused(_)) => failure,
            other => Failure::Other(format!("{name}, line {}, `{}`: {other}", step.line, step.source)),
        })?;
    }
    let limit = player.machine.patience(DEFAULT_LIMIT);
    player.machine.finish(Some(limit)).map(|()| Ending::PoweredOff)
}

struct Player<'m> {
    machine: &'m mut Machine,
    /// How often each partition had been started again when it was last typed into or waited for.
    restarts: BTreeMap<String, usize>,
}

impl Player<'_> {
    fn act(&mut self, action: &Action) -> Result<(), Failure> {
        let machine = &mut *self.machine;
        match action {
            Action::Wait(name, pattern, limit) => {
                let limit = machine.patience(*limit);
                machine.wait(name, pattern, limit).map(drop)
            }
            Action::WaitEnd(name, limit) => {
                let limit = machine.patience(*limit);
                machine.wait_off(name, limit)
            }
            Action::WaitRestart(name, limit) => {
                let limit = machine.patience(*limit);
                let before = self.restarts.get(name).copied().unwrap_or(0);
                let count = |board: &Board| board.find(name).map_or(0, |it| it.restarts);
                machine.wait_until(name, "the restart", limit, |board| count(board) > before)?;
                self.restarts.insert(name.clone(), before + 1);
                Ok(())
            }
            Action::Type(name, text) => {
                self.count_restarts(name);
                self.machine.type_line(name, text)
            }
            Action::Key(name, keys) => {
                self.count_restarts(name);
                self.machine.type_keys(name, keys)
            }
            Action::Focus(name) => machine.focus(name),
            Action::ExpectNone(name, pattern) => {
                match machine.said(name).lines().iter().find(|line| pattern.is_match(&line.text)) {
                    Some(line) => Err(Failure::Other(format!("{name} has said: {}", line.text))),
                    None => Ok(()),
                }
            }
            Action::Sleep(time) => machine.sleep(*time),
            Action::Quit => Ok(()),
        }
    }

    fn count_restarts(&mut self, name: &str) {
        let count = self.machine.board().find(name).map_or(0, |partition| partition.restarts);
        self.restarts.insert(name.to_owned(), count);
    }
}
