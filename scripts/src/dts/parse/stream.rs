// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tokens of a file with all that it includes, and how they are taken.

use super::super::lexer::{Kind, Token, tokens};
use super::super::{FileId, Place, Sources};
use std::path::Path;

/// Files that include each other for ever are cut off here.
const MAX_INCLUDED: usize = 64;

/// The tokens of a file; `/include/ "name"` gives those of that file instead.
pub(super) fn collect(sources: &mut Sources, file: FileId, depth: usize, stream: &mut Vec<(Token, FileId)>) {
    let mut tokens = tokens(&sources.file(file).text).into_iter().peekable();
    while let Some(token) = tokens.next() {
        if token.kind != Kind::Directive("include") {
            stream.push((token, file));
            continue;
        }
        let Some(Token { kind: Kind::Text(name), .. }) =
            tokens.next_if(|next| matches!(next.kind, Kind::Text(_)))
        else {
            continue;
        };
        let folder = sources.file(file).path.parent().unwrap_or(Path::new("")).to_path_buf();
        if depth < MAX_INCLUDED
            && sources.files().len() < MAX_INCLUDED
            && let Some(included) = sources.read(&folder.join(name))
        {
            collect(sources, included, depth + 1, stream);
        }
    }
}

/// Tokens, taken one by one.
pub(super) struct Parser<'s> {
    stream: &'s [(Token, FileId)],
    at: usize,
    /// The place of the token taken last.
    pub(super) end: Place,
}

impl<'s> Parser<'s> {
    /// At the beginning of what was read from `file`.
    pub(super) fn new(stream: &'s [(Token, FileId)], file: FileId) -> Self {
        Self { stream, at: 0, end: Place { file, span: 0..0 } }
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<&Kind> {
        self.stream.get(self.at + ahead).map(|(token, _)| &token.kind)
    }

    pub(super) fn is_mark(&self, ahead: usize, mark: u8) -> bool {
        self.peek(ahead) == Some(&Kind::Mark(mark))
    }

    pub(super) fn take(&mut self) -> Option<(Kind, Place)> {
        let (token, file) = self.stream.get(self.at)?;
        self.at += 1;
        self.end = Place { file: *file, span: token.span.clone() };
        Some((token.kind.clone(), self.end.clone()))
    }

    pub(super) fn take_mark(&mut self, mark: u8) -> bool {
        let found = self.is_mark(0, mark);
        if found {
            self.take();
        }
        found
    }

    /// Goes behind the next semicolon of this level; stops in front of a brace that closes it.
    pub(super) fn skip_statement(&mut self) {
        let mut open = 0_usize;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark(b'}') if open == 0 => return,
                Kind::Mark(b'{') => open += 1,
                Kind::Mark(b'}') => open -= 1,
                Kind::Mark(b';') if open == 0 => {
                    self.take();
                    return;
                }
                _ => {}
            }
            self.take();
        }
    }
}
