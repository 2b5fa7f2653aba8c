// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a partition has said last.

/// Bytes that are kept.
const SIZE: usize = 4096;

/// Whole lines, the newest in place of the oldest. A place in it is the number of bytes written before.
#[derive(Debug)]
pub(super) struct History {
    bytes: [u8; SIZE],
    written: usize,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; SIZE], written: 0 }
    }

    /// Adds a line, which is shorter than all that is kept.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.write(line);
        self.write(b"\n");
    }

    fn write(&mut self, bytes: &[u8]) {
        let start = self.written % SIZE;
        let (head, tail) = bytes.split_at(bytes.len().min(SIZE.saturating_sub(start)));
        for (part, at) in [(head, start), (tail, 0)] {
            if let Some(place) = self.bytes.get_mut(at..at.saturating_add(part.len())) {
                place.copy_from_slice(part);
            }
        }
        self.written = self.written.wrapping_add(bytes.len());
    }

    fn get(&self, at: usize) -> u8 {
        self.bytes.get(at % SIZE).copied().unwrap_or(b'\n')
    }

    /// Where the last `lines` lines begin.
    pub(super) fn last(&self, lines: usize) -> usize {
        let ends = (self.oldest()..self.written).rev().filter(|&at| self.get(at) == b'\n');
        ends.map(|end| end.wrapping_add(1)).nth(lines).unwrap_or_else(|| self.oldest())
    }

    /// The oldest byte that is kept.
    fn oldest(&self) -> usize {
        self.written.saturating_sub(SIZE)
    }

    /// The bytes of the line at `from`, without its end; none if it is not complete. What is not kept any more
    /// is passed over.
    pub(super) fn line(&self, from: usize) -> impl Iterator<Item = u8> {
        (from.max(self.oldest())..self.written).map(|at| self.get(at)).take_while(|&byte| byte != b'\n')
    }

    /// Where the line behind the one at `from` begins, if there is one at `from`.
    pub(super) fn after(&self, from: usize) -> Option<usize> {
        let from = from.max(self.oldest());
        (from < self.written).then(|| from.wrapping_add(self.line(from).count()).wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn lines(history: &History, from: usize) -> Vec<String> {
        let starts = std::iter::successors(Some(from), |&at| history.after(at));
        let whole = starts.filter(|&at| history.after(at).is_some());
        whole.map(|at| String::from_utf8(history.line(at).collect()).unwrap()).collect()
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let mut history = History::new();
        assert!(lines(&history, history.last(3)).is_empty());
        for number in 0..5 {
            history.add(format!("line {number}").as_bytes());
        }
        assert_eq!(lines(&history, history.last(2)), ["line 3", "line 4"]);
        assert_eq!(lines(&history, history.last(9)).len(), 5);
        history.add(b"");
        assert_eq!(lines(&history, history.last(2)), ["line 4", ""]);
    }

    #[test]
    fn a_full_history_forgets_its_beginning() {
        let mut history = History::new();
        for number in 0..1000 {
            history.add(format!("line {number:06}").as_bytes());
        }
        let from = history.last(3);
        assert_eq!(lines(&history, from), ["line 000997", "line 000998", "line 000999"]);
        // 12 bytes a line: the oldest is cut.
        let all = lines(&history, history.last(usize::MAX));
        assert_eq!((all.len(), all[1].as_str()), (SIZE / 12 + 1, "line 000659"));
        // A reader who is slower than the writer goes on with what there is.
        for number in 1000..2000 {
            history.add(format!("line {number:06}").as_bytes());
        }
        assert_eq!(lines(&history, from).last().map(String::as_str), Some("line 001999"));
        assert_eq!(lines(&history, from).len(), SIZE / 12 + 1);
    }
}
