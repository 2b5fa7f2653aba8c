// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting, typing, playing and the verdicts, on a script that speaks the hypervisor's console protocol.

use bulkhead_host::board::Fault;
use bulkhead_host::machine::{Failure, Machine, Message};
use bulkhead_host::player::{Ending, play};
use bulkhead_host::{play, transcript};
use regex::Regex;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

fn board(kind: &str, limit: Option<Duration>) -> Machine {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-board"));
    command.arg(kind);
    Machine::start(command, 1, limit, Vec::new(), |_| ()).expect("the fake board starts")
}

fn wait(machine: &mut Machine, owner: &str, pattern: &str) -> transcript::Found {
    machine.wait(owner, &Regex::new(pattern).unwrap(), SOON).unwrap()
}

fn session(machine: &mut Machine, text: &str) -> Result<Ending, Failure> {
    play(machine, &play::parse(text).unwrap(), "test.play")
}

#[test]
fn a_session_to_the_good_end() {
    let text = r#"
        wait linux /# $/
        type linux say seventeen characters
        wait linux /^sev(en)teen/
        type linux reboot
        wait-restart linux
        type ticker say in the other one
        wait ticker in the other one
        expect-none ticker /BUG/
        type linux exit
        wait-end linux
        key ticker q
    "#;
    let mut machine = board("", None);
    assert_eq!(session(&mut machine, text), Ok(Ending::PoweredOff));
    assert_eq!(machine.board().find("linux").map(|partition| partition.restarts), Some(1));
}

#[test]
fn the_echo_is_no_answer() {
    let mut machine = board("", None);
    wait(&mut machine, "linux", "# $");
    machine.type_line("linux", "say seventeen").unwrap();
    assert_eq!(wait(&mut machine, "linux", "seventeen").line, "seventeen");
    machine.type_line("linux", "quiet").unwrap();
    machine.type_line("linux", "say unseen").unwrap();
    assert_eq!(wait(&mut machine, "linux", "unseen").line, "unseen");
}

#[test]
fn a_wait_in_vain_tells_what_was_said() {
    let mut machine = board("", None);
    let failure =
        session(&mut machine, "wait linux \"# \"\nwait linux login: within 0.2").unwrap_err().to_string();
    assert!(
        failure.starts_with("test.play, line 2, `wait linux login: within 0.2`: waiting for /login:/"),
        "{failure}"
    );
    assert!(failure.ends_with("linux said last:\n  [linux] # "), "{failure}");
}

#[test]
fn a_wait_without_the_focus_says_that_a_prompt_shows_only_there() {
    let mut machine = board("", None);
    let failure = session(&mut machine, "wait ticker \"# \" within 0.2\n").unwrap_err().to_string();
    let expected = "(the console's focus is on linux, and a prompt, a line that has no end yet, shows only in focus: \
                    `focus ticker` before the wait shows it)";
    assert!(failure.contains(expected), "{failure}");
    let failure = session(&mut machine, "wait linux never within 0.2\n").unwrap_err().to_string();
    assert!(!failure.contains("focus"), "{failure}");
}

#[test]
fn a_focus_that_is_lost_is_sent_again() {
    let mut machine = board("deaf", None);
    machine.focus("ticker").unwrap();
    assert_eq!(machine.board().focus(), Some("ticker"));
}

#[test]
fn a_crash_is_told_at_the_end() {
    let mut machine = board("", None);
    let failure = session(&mut machine, "type linux crash\nkey ticker q").unwrap_err();
    let fault = Failure::Fault(Fault::Stopped("linux".into(), "stage-2 fault at 0x0".into()));
    assert_eq!(failure, fault);
}

#[test]
fn waiting_for_a_partition_that_is_off_is_given_up() {
    let mut machine = board("", None);
    let start = Instant::now();
    let failure =
        session(&mut machine, "type linux exit\nwait linux more within 50").unwrap_err().to_string();
    assert!(failure.contains("the partition powered itself off"), "{failure}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_panic_ends_every_wait() {
    let mut machine = board("", None);
    let failure = session(&mut machine, "type linux panic\nwait ticker never").unwrap_err().to_string();
    assert!(failure.ends_with("the hypervisor panicked: at vcpu.rs:7: no such exit"), "{failure}");
    assert_eq!(machine.said("bulkhead").last(1), ["x0 0"]);
}

#[test]
fn a_refused_configuration() {
    let mut machine = board("refused", None);
    let errors = vec!["/partitions/linux: cpus: 9 is not a CPU of this board".to_owned()];
    assert_eq!(machine.finish(None), Err(Failure::Fault(Fault::Refused(errors))));
}

#[test]
fn a_board_that_dies() {
    let failure = board("dies", None).finish(None).unwrap_err().to_string();
    assert_eq!(failure, "QEMU ended (exit status: 3); linux was still running\n  out of paper");
}

#[test]
fn the_time_is_over() {
    let limit = Duration::from_millis(300);
    let mut machine = board("silent", Some(limit));
    assert_eq!(machine.finish(None), Err(Failure::Timeout(limit, Vec::new())));
}

#[test]
fn a_signal_ends_the_run() {
    let mut machine = board("silent", None);
    machine.sender().send(Message::Signal(15)).unwrap();
    assert_eq!(session(&mut machine, "sleep 30"), Err(Failure::Signal(15)));
}

#[test]
fn quit_ends_a_session_with_success() {
    let mut machine = board("", None);
    assert_eq!(session(&mut machine, "wait linux \"# \"\nquit"), Ok(Ending::Quit));
}

#[test]
fn no_such_partition() {
    let mut machine = board("", None);
    let failure = machine.focus("mac").unwrap_err().to_string();
    assert_eq!(failure, "there is no partition mac; there are linux, ticker");
}
