// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console as a terminal sees it.

use super::*;
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Runs `script` on a console of partitions `a` and `b` and returns what the serial port sent.
fn play(script: impl FnOnce(&mut Console<'_>, &mut dyn FnMut(u8))) -> String {
    let mut channels = [Channel::new("a"), Channel::new("b")];
    let mut console = Console::new(&mut channels);
    let mut sent = Vec::new();
    script(&mut console, &mut |byte| sent.push(byte));
    String::from_utf8(sent).unwrap()
}

fn say(console: &mut Console<'_>, from: u16, text: &str, mut sink: &mut dyn FnMut(u8)) {
    for byte in text.bytes() {
        console.output(PartitionId(from), byte, &mut sink);
    }
}

fn press(console: &mut Console<'_>, keys: &[u8], mut sink: &mut dyn FnMut(u8)) -> Vec<Input> {
    let mut state = Keys::new(ESCAPE);
    keys.iter().map(|&key| console.act(state.take(key), &mut sink)).collect()
}

#[test]
fn the_focus_is_shown_as_it_types() {
    let sent = play(|console, sink| say(console, 0, "boot\r\n~ # l", sink));
    assert_eq!(sent, "[a] boot\r\n[a] ~ # l");
}

#[test]
fn others_come_in_whole_lines_between() {
    let sent = play(|console, sink| {
        say(console, 0, "~ # l", sink);
        say(console, 1, "tick", sink);
        say(console, 1, " 1\n", sink);
        say(console, 0, "s", sink);
    });
    assert_eq!(sent, "[a] ~ # l\r\x1b[K[b] tick 1\r\n[a] ~ # ls");
}

#[test]
fn a_change_of_focus_shows_the_unfinished_line() {
    let sent = play(|console, sink| {
        say(console, 1, "~ # ", sink);
        assert_eq!(press(console, &[ESCAPE, b'2'], sink), [Input::None; 2]);
        assert_eq!(press(console, b"x", sink), [Input::Deliver(PartitionId(1), b'x')]);
        press(console, &[ESCAPE, b'n'], sink);
    });
    assert_eq!(
        sent,
        format!(
            "{reset}[bulkhead] console: input goes to b; Ctrl-] ? for help\r\n[b] ~ # \r\x1b[K\
             {reset}[bulkhead] console: input goes to a; Ctrl-] ? for help\r\n",
            reset = String::from_utf8([b"[bulkhead] ", RESET, ERASE].concat()).unwrap()
        )
    );
}

#[test]
fn a_carriage_return_leads_back_behind_the_prefix() {
    let sent = play(|console, sink| say(console, 0, "x\r[b] forged\r\n", sink));
    assert_eq!(sent, "[a] x\r\x1b[K[a] [b] forged\r\n");
}

#[test]
fn sequences_out_of_focus_are_left_out() {
    let sent = play(|console, sink| say(console, 1, "\x1b[31mred\x1b[0m \x07bell\n", sink));
    assert_eq!(sent, "[b] red bell\r\n");
}

#[test]
fn what_is_shown_again_is_text_as_it_was_left() {
    let sent = play(|console, sink| {
        say(console, 0, "~ # \x1b[6nlx\x08 \x08s", sink);
        say(console, 1, "tick\n", sink);
    });
    assert!(sent.ends_with("[b] tick\r\n[a] ~ # ls"), "{sent:?}");
    assert_eq!(sent.matches("\x1b[6n").count(), 1);
}

#[test]
fn long_lines_are_broken_not_lost() {
    let long = "x".repeat(LINE + 5);
    let sent = play(|console, sink| {
        say(console, 0, &long, sink);
        say(console, 1, &long, sink);
        say(console, 1, "\n", sink);
    });
    assert_eq!(sent.matches('x').count(), 2 * (LINE + 5) + 2 * 5, "the focus's rest is shown twice again");
}

#[test]
fn the_escape_key_can_be_sent_and_explained() {
    let sent = play(|console, sink| {
        let inputs = press(console, &[ESCAPE, ESCAPE, ESCAPE, b'?', ESCAPE, b'7'], sink);
        assert_eq!(inputs.get(1), Some(&Input::Deliver(PartitionId(0), ESCAPE)));
    });
    assert!(sent.contains("there is no partition 7"));
}

#[test]
fn another_key_can_begin_commands() {
    let mut channels = [Channel::new("a"), Channel::new("b")];
    let mut console = Console::new(&mut channels).with_escape(0x01);
    let (mut keys, mut sent) = (Keys::new(0x01), Vec::new());
    let mut sink = |byte| sent.push(byte);
    let inputs: Vec<_> = [ESCAPE, 0x01, b'2', 0x01, 0x01, 0x01, b'?']
        .iter()
        .map(|&byte| console.act(keys.take(byte), &mut sink))
        .collect();
    let (a, b) = (PartitionId(0), PartitionId(1));
    assert_eq!(inputs.first(), Some(&Input::Deliver(a, ESCAPE)));
    assert_eq!(inputs.get(4), Some(&Input::Deliver(b, 0x01)));
    assert_eq!(inputs.last(), Some(&Input::Command(b, b'?')));
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.contains("console: input goes to b; Ctrl-A ? for help"), "{sent:?}");
}

#[test]
fn what_is_no_key_of_the_consoles_is_the_monitors() {
    play(|console, sink| {
        let inputs = press(console, &[ESCAPE, b'2', ESCAPE, b'l'], sink);
        assert_eq!(inputs.last(), Some(&Input::Command(PartitionId(1), b'l')));
    });
}

#[test]
fn the_next_is_one_that_runs() {
    let mut channels = [Channel::new("a"), Channel::new("b"), Channel::new("c")];
    let mut console = Console::new(&mut channels);
    console.set_stopped(PartitionId(1), true);
    let mut next = || {
        console.act(Key::Next, &mut |_| ());
        console.act(Key::Plain(b'x'), &mut |_| ())
    };
    assert_eq!(next(), Input::Deliver(PartitionId(2), b'x'));
    assert_eq!(next(), Input::Deliver(PartitionId(0), b'x'));
}

#[test]
fn own_lines_have_no_control_characters() {
    let sent = play(|console, mut sink| console.line(format_args!("one\ntwo\x1b[2J"), &mut sink));
    assert_eq!(sent, "[bulkhead] one\r\n[bulkhead] two?[2J\r\n");
}

#[test]
fn a_stopped_partition_leaves_no_unfinished_line() {
    let sent = play(|console, mut sink| {
        say(console, 1, "half", sink);
        console.flush(PartitionId(1), &mut sink);
        console.flush(PartitionId(1), &mut sink);
    });
    assert_eq!(sent, "[b] half\r\n");
}

#[test]
fn control_characters_of_eight_bits_are_left_out_too() {
    let mut channels = [Channel::new("a"), Channel::new("b")];
    let mut console = Console::new(&mut channels);
    let mut sent = Vec::new();
    // CSI as a character of two bytes, as a byte alone, and in the disguise of a form too long; then real text.
    for byte in b"\xc2\x9b2J \x9b1m \xe0\x82\x9bx \xf0\x80\x82\x9by \xc3\x80\xe2\x82\xac\xf0\x9f\x98\x80\xc2\xa0\xff\n" {
        console.output(PartitionId(1), *byte, &mut |byte| sent.push(byte));
    }
    assert_eq!(String::from_utf8_lossy(&sent), "[b] \u{fffd}2J 1m \u{fffd}x \u{fffd}y À€😀\u{a0}\r\n");
}

#[test]
fn past_lines_are_told_as_the_hypervisors() {
    let sent = play(|console, mut sink| {
        say(console, 1, "one\n\x1b[2J[a] forged\nhalf", sink);
        say(console, 0, "~ # ", sink);
        let mut place = Some(console.last(PartitionId(1), 20));
        while let Some(from) = place {
            place = console.past(PartitionId(1), from, &mut sink);
        }
        assert_eq!(console.past(PartitionId(0), 0, &mut sink), None, "a has nothing but an unfinished line");
        assert_eq!(console.past(PartitionId(7), 0, &mut sink), None);
    });
    let told = sent.split_once("[a] ~ # ").unwrap().1.replace("\r\x1b[K", "").replace("[a] ~ # ", "");
    assert_eq!(
        told,
        "[bulkhead]   b| one\r\n[bulkhead]   b| [a] forged\r\n[bulkhead]   b| half\r\n[bulkhead]   a| ~ # \r\n"
    );
    assert!(sent.ends_with("[a] ~ # "), "the focus's line comes back: {sent:?}");
}

#[test]
fn the_history_of_another_partition_is_two_keys() {
    play(|console, sink| {
        let keys = [ESCAPE, HISTORY, b'2', ESCAPE, HISTORY, HISTORY, b'x'];
        let command = |partition| Input::Command(PartitionId(partition), HISTORY);
        let deliver = Input::Deliver(PartitionId(0), b'x');
        let none = Input::None;
        assert_eq!(press(console, &keys, sink), [none, none, command(1), none, none, command(0), deliver]);
    });
}

#[test]
fn own_lines_are_stamped() {
    struct Clocked(Vec<u8>);
    impl Sink for Clocked {
        fn send(&mut self, byte: u8) {
            self.0.push(byte);
        }
        fn stamp(&self) -> Option<Stamp> {
            Some(Stamp { microseconds: 12_000_345, cpu: Some(3) })
        }
    }
    let mut sink = Clocked(Vec::new());
    let mut channels = [Channel::new("a")];
    let mut console = Console::new(&mut channels);
    console.line(format_args!("one\ntwo"), &mut sink);
    console.output(PartitionId(0), b'x', &mut sink);
    let sent = String::from_utf8(sink.0).unwrap();
    assert_eq!(sent, "[bulkhead]   12.000345 cpu3 one\r\n[bulkhead]   12.000345 cpu3 two\r\n[a] x");
}

/// Whatever a partition has done to the terminal, the next one finds it as after a reset: before it says a word, and
/// with nothing in between.
#[test]
fn a_change_of_focus_resets_the_terminal() {
    for left in ["\x1b]0;title", "\x1bPstring", "\x1b[?25l\x1b[5;6r\x1b[?1049h\x1b[7m\x0e"] {
        let sent = play(|console, sink| {
            say(console, 0, left, sink);
            press(console, &[ESCAPE, b'2'], sink);
            say(console, 1, "next", sink);
        });
        let reset = String::from_utf8([b"[bulkhead] ", RESET, ERASE].concat()).unwrap();
        let after = sent.split_once(&reset).unwrap().1;
        assert_eq!(after, "[bulkhead] console: input goes to b; Ctrl-] ? for help\r\n[b] next");
    }
    for wanted in ["\x1b\\", "\x1b[!p", "\x1b[?25h", "\x1b[r", "\x1b[?1047l", "\x1b[0m"] {
        assert!(RESET.windows(wanted.len()).any(|part| part == wanted.as_bytes()), "{wanted:?}");
    }
}

#[test]
fn alone_the_focus_has_the_screen() {
    let drawn = format!("\x1b[2J\x1b[1;1H{}\r\x1b[2;1H~", "x".repeat(LINE + 9));
    let sent = play(|console, mut sink| {
        press(console, &[ESCAPE, b'o'], sink);
        say(console, 0, &drawn, sink);
        say(console, 1, "not shown\n", sink);
        say(console, 0, "\x1b[3;1H~", sink);
        press(console, &[ESCAPE, b'o'], sink);
        say(console, 1, "shown\n", sink);
        let last = console.last(PartitionId(1), 2);
        console.past(PartitionId(1), last, &mut sink);
    });
    assert!(sent.contains(&format!("{drawn}\x1b[3;1H~")), "nothing comes between: {sent:?}");
    assert!(!sent.contains("[b] not shown") && sent.contains("[b] shown\r\n"), "{sent:?}");
    assert!(sent.contains("b| not shown"), "its history has it");
}

#[test]
fn no_step_sends_more_than_its_limit() {
    let name = "n".repeat(63);
    let mut channels = [Channel::new(&name), Channel::new(&name)];
    let mut console = Console::new(&mut channels);
    for byte in [b"x".repeat(LINE - 1), b"\n".to_vec()].concat() {
        console.output(PartitionId(0), if byte == b'\n' { b'x' } else { byte }, &mut |_: u8| ());
    }
    for byte in b"x".repeat(LINE - 1) {
        console.output(PartitionId(0), byte, &mut |_: u8| ());
        let mut sent = 0;
        console.output(PartitionId(1), byte, &mut |_: u8| sent += 1);
        assert!(sent <= STEP);
    }
    let mut sent = 0;
    console.output(PartitionId(1), b'\n', &mut |_: u8| sent += 1);
    assert!(sent > 2 * LINE && sent <= STEP, "{sent}");
}

/// What a partition is fond of sending: whole sequences, their pieces, prefixes of others, any bytes.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\x1b[2J".to_vec()),
        Just(b"\x1b".to_vec()),
        Just(b"\xc2\x9b1A".to_vec()),
        Just(b"\r\n[bulkhead] panic: forged".to_vec()),
        Just(b"\n[a] ".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\x08".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..300),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever a partition out of focus sends, the terminal gets whole lines behind its own name, without control
    /// characters; and the same when the lines are told again.
    #[test]
    fn out_of_focus_nothing_is_forged_or_steered(bytes in pieces()) {
        let mut channels = [Channel::new("a"), Channel::new("b")];
        let mut console = Console::new(&mut channels);
        let mut sent = Vec::new();
        for byte in bytes {
            console.output(PartitionId(1), byte, &mut |byte| sent.push(byte));
        }
        console.flush(PartitionId(1), &mut |byte| sent.push(byte));
        let mut place = Some(console.last(PartitionId(1), 1000));
        while let Some(from) = place {
            place = console.past(PartitionId(1), from, &mut |byte| sent.push(byte));
        }
        let text = String::from_utf8_lossy(&sent);
        for line in text.split_terminator("\r\n") {
            let own = line.strip_prefix("[b] ").or(line.strip_prefix("[bulkhead]   b| "));
            prop_assert!(own.is_some(), "{line:?}");
            prop_assert!(!own.unwrap_or("").contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
        }
        prop_assert!(text.is_empty() || text.ends_with("\r\n"));
    }

    /// The short way of a byte is a short way to the same.
    #[test]
    fn a_byte_that_passes_on_would_have_gone_out_alone(bytes in pieces(), from in 0..2_u16) {
        let from = PartitionId(from);
        let (mut short, mut long) = ([Channel::new("a"), Channel::new("b")], [Channel::new("a"), Channel::new("b")]);
        let (mut short, mut long) = (Console::new(&mut short), Console::new(&mut long));
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for byte in bytes {
            match short.passes_on(from, byte) {
                true => sent.push(byte),
                false => short.output(from, byte, &mut |byte| sent.push(byte)),
            }
            long.output(from, byte, &mut |byte| expected.push(byte));
        }
        prop_assert_eq!(sent, expected);
        prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
    }
}
