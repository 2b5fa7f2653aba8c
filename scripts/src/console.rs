// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of the board's one serial line, taken apart into lines that have an owner.
//!
//! The hypervisor sends every line as `[NAME] text\r\n`, NAME a partition or `bulkhead`; its own text begins with time
//! and CPU. The unfinished
//! line of the partition in focus (a prompt, an echo) comes as it grows; when another line has to come
//! between, the hypervisor takes it back with `\r\x1b[K` and sends it again, prefix and all, behind
//! that line. Before the hypervisor speaks, firmware may send lines without a prefix.

/// The owner of the hypervisor's own lines.
pub const HYPERVISOR: &str = "bulkhead";

const LONGEST_NAME: usize = 63;

/// A line of the hypervisor without its time and CPU: `   0.012345 cpu0 text`; until the CPU is known, without that.
#[must_use]
pub fn unstamped(line: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((time, rest)) = line.trim_start().split_once(' ') else { return line };
    if !time.split_once('.').is_some_and(|(seconds, rest)| digits(seconds) && rest.len() == 6 && digits(rest))
    {
        return line;
    }
    match rest.strip_prefix("cpu").and_then(|cpu| cpu.split_once(' ')) {
        Some((number, text)) if digits(number) => text,
        _ => rest,
    }
}

/// What the next bytes mean. A line is `Begin`, any number of `Text`, and `End` or `Erase`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line begins: its owner, or `None` for a line without a prefix.
    Begin(Option<String>),
    /// More of the line, as the guest sent it: any bytes, not always whole UTF-8 characters.
    Text(Vec<u8>),
    /// The line is complete.
    End,
    /// The line so far is taken back.
    Erase,
}

/// Takes the stream apart. It can be cut anywhere between two calls of [`Parser::feed`].
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// The beginning of `\r\n` or `\r\x1b[K`, until it is known which, or neither.
    held: Vec<u8>,
    /// The owner of the line that was just taken back. A guest may send `\r\x1b[K` as well; then no
    /// prefix follows, and the line is still its own.
    owner: Option<String>,
    events: Vec<Event>,
}

#[derive(Debug)]
enum State {
    /// At the start of a line; what has come of its prefix.
    Prefix(Vec<u8>),
    /// Behind the prefix.
    Text,
}

impl Default for State {
    fn default() -> Self {
        Self::Prefix(Vec::new())
    }
}

impl Parser {
    /// Takes the next bytes and returns what they mean.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        for &byte in bytes {
            self.byte(byte);
        }
        std::mem::take(&mut self.events)
    }

    /// The stream has ended: returns what was held back.
    pub fn finish(&mut self) -> Vec<Event> {
        self.release();
        if let State::Prefix(prefix) = std::mem::take(&mut self.state)
            && !prefix.is_empty()
        {
            self.begin(prefix);
        }
        std::mem::take(&mut self.events)
    }

    fn byte(&mut self, byte: u8) {
        match (self.held.as_slice(), byte) {
            (b"\r", b'\n') => {
                self.held.clear();
                self.end();
            }
            (b"\r\x1b[", b'K') => {
                self.held.clear();
                self.erase();
            }
            // A terminal's line discipline turns a guest's own `\r\n` into `\r\r\n`.
            (b"\r", b'\r') => {}
            (b"", b'\r') | (b"\r", b'\x1b') | (b"\r\x1b", b'[') => self.held.push(byte),
            (b"", _) => self.plain(byte),
            _ => {
                self.release();
                self.byte(byte);
            }
        }
    }

    /// Gives up holding: it was text after all.
    fn release(&mut self) {
        for byte in std::mem::take(&mut self.held) {
            self.plain(byte);
        }
    }

    fn plain(&mut self, byte: u8) {
        match &mut self.state {
            _ if byte == b'\n' => self.end(),
            State::Prefix(prefix) => {
                prefix.push(byte);
                if !may_be_prefix(prefix) || prefix.ends_with(b"] ") {
                    let prefix = std::mem::take(prefix);
                    self.begin(prefix);
                }
            }
            State::Text => match self.events.last_mut() {
                Some(Event::Text(text)) => text.push(byte),
                _ => self.events.push(Event::Text(vec![byte])),
            },
        }
    }

    fn begin(&mut self, prefix: Vec<u8>) {
        self.state = State::Text;
        let named = owner(&prefix);
        let is_text = named.is_none() && !prefix.is_empty();
        self.owner = named.or(self.owner.take());
        self.events.push(Event::Begin(self.owner.clone()));
        if is_text {
            self.events.push(Event::Text(prefix));
        }
    }

    fn end(&mut self) {
        if let State::Prefix(prefix) = std::mem::take(&mut self.state) {
            self.begin(prefix);
            self.state = State::default();
        }
        self.owner = None;
        self.events.push(Event::End);
    }

    fn erase(&mut self) {
        if let State::Prefix(prefix) = std::mem::take(&mut self.state)
            && !prefix.is_empty()
        {
            self.begin(prefix);
            self.state = State::default();
        }
        self.events.push(Event::Erase);
    }
}

/// Whether `[NAME] ` may still begin so.
fn may_be_prefix(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"[") else { return false };
    let name = rest.strip_suffix(b" ").and_then(|rest| rest.strip_suffix(b"]"));
    let name = name.or_else(|| rest.strip_suffix(b"]")).unwrap_or(rest);
    name.len() <= LONGEST_NAME
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte))
}

/// The name in a whole prefix; `[NAME]` with nothing behind it is an empty line.
fn owner(prefix: &[u8]) -> Option<String> {
    let name = prefix.strip_prefix(b"[")?;
    let name = name.strip_suffix(b"] ").or_else(|| name.strip_suffix(b"]"))?;
    if name.is_empty() { None } else { String::from_utf8(name.to_vec()).ok() }
}

/// What a terminal would show of a line: escape sequences left out, backspaces and carriage returns
/// carried out, bytes that are no UTF-8 replaced.
#[must_use]
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: Vec<char> = Vec::new();
    let mut column = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\x08' => column = column.saturating_sub(1),
            '\x1b' => {
                if characters.next_if_eq(&'[').is_some() {
                    let last = characters.find(|c| ('\x40'..='\x7e').contains(c));
                    if last == Some('K') || last == Some('J') {
                        shown.truncate(column);
                    }
                } else {
                    characters.next();
                }
            }
            '\t' => put(&mut shown, &mut column, '\t'),
            control if control.is_control() => {}
            other => put(&mut shown, &mut column, other),
        }
    }
    shown.into_iter().collect()
}

fn put(shown: &mut Vec<char>, column: &mut usize, character: char) {
    match shown.get_mut(*column) {
        Some(place) => *place = character,
        None => shown.push(character),
    }
    *column += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(name: &str) -> Event {
        Event::Begin(Some(name.into()))
    }

    fn text(text: &str) -> Event {
        Event::Text(text.into())
    }

    /// Feeds the stream whole, then cut at every place: the meaning must not depend on the cuts.
    fn parse(stream: &[u8]) -> Vec<Event> {
        let run = |pieces: &[&[u8]]| {
            let mut parser = Parser::default();
            let mut events: Vec<Event> = pieces.iter().flat_map(|piece| parser.feed(piece)).collect();
            events.extend(parser.finish());
            joined(events)
        };
        let whole = run(&[stream]);
        for cut in 0..stream.len() {
            assert_eq!(run(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(run(&stream.chunks(1).collect::<Vec<_>>()), whole);
        whole
    }

    fn joined(events: Vec<Event>) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        for event in events {
            match (all.last_mut(), event) {
                (Some(Event::Text(text)), Event::Text(more)) => text.extend(more),
                (_, event) => all.push(event),
            }
        }
        all
    }

    #[test]
    fn lines_have_owners() {
        assert_eq!(
            parse(b"[bulkhead] up\r\n[linux-a] \r\n[ticker]\r\n"),
            [
                begin("bulkhead"),
                text("up"),
                Event::End,
                begin("linux-a"),
                Event::End,
                begin("ticker"),
                Event::End
            ]
        );
    }

    #[test]
    fn a_line_taken_back_is_erased() {
        assert_eq!(
            parse(b"[a] ~ # ls\r\x1b[K[b] tick\r\n[a] ~ # ls"),
            [
                begin("a"),
                text("~ # ls"),
                Event::Erase,
                begin("b"),
                text("tick"),
                Event::End,
                begin("a"),
                text("~ # ls")
            ]
        );
    }

    #[test]
    fn a_guest_that_erases_its_own_line_keeps_it() {
        assert_eq!(
            parse(b"[a] 10%\r\x1b[K20%\r\n"),
            [begin("a"), text("10%"), Event::Erase, begin("a"), text("20%"), Event::End]
        );
    }

    #[test]
    fn a_stamp_is_taken_off() {
        assert_eq!(unstamped("   0.012345 cpu0 a: started"), "a: started");
        assert_eq!(unstamped("99999.000001 cpu15   b| 1.000000 cpu1 x"), "  b| 1.000000 cpu1 x");
        assert_eq!(unstamped("   0.012345 Bulkhead 0.1.0"), "Bulkhead 0.1.0");
        for other in ["a: started", "  a| x", "1.5 cpu0 x", "", "0.012345", "x.012345 cpu0 y"] {
            assert_eq!(unstamped(other), other);
        }
    }

    #[test]
    fn what_only_looks_like_a_prefix_is_text() {
        let none = || Event::Begin(None);
        assert_eq!(
            parse(b"[    0.1] x\r\nSeaBIOS\n[]\r\n\r\n[open"),
            [
                none(),
                text("[    0.1] x"),
                Event::End,
                none(),
                text("SeaBIOS"),
                Event::End,
                none(),
                text("[]"),
                Event::End,
                none(),
                Event::End,
                none(),
                text("[open")
            ]
        );
        let long = format!("[{}] x", "n".repeat(LONGEST_NAME + 1));
        assert_eq!(parse(long.as_bytes()), [none(), text(&long)]);
    }

    #[test]
    fn carriage_returns_and_escapes_of_a_guest_pass() {
        assert_eq!(
            parse(b"[a] x\r\r\n[a] 1\r2\x1b[1mb\r\x1b[Jc"),
            [begin("a"), text("x"), Event::End, begin("a"), text("1\r2\x1b[1mb\r\x1b[Jc")]
        );
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        assert_eq!(
            parse(b"[a] \xff\xc3\xa9\r\n"),
            [begin("a"), Event::Text(b"\xff\xc3\xa9".to_vec()), Event::End]
        );
    }

    #[test]
    fn a_line_is_cleaned_as_a_terminal_would_show_it() {
        assert_eq!(clean(b"~ # \x1b[6n"), "~ # ");
        assert_eq!(clean(b"\x1b[1;31mred\x1b[0m"), "red");
        assert_eq!(clean(b"in  2 \x08\x08\x08 1 "), "in  1 ");
        assert_eq!(clean(b"12345\rab\x1b[Kc"), "abc");
        assert_eq!(clean(b"a\x07b\x1bMc \xff\xc3\xa9"), "abc \u{fffd}\u{e9}");
    }
}
