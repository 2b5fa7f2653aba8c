// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens to nodes and properties. Every text has a reading; every step takes a token, so that it ends.

mod fragments;
mod stream;
#[cfg(test)]
mod tests;
mod values;

use super::lexer::Kind;
use super::{Document, FileId, Fragment, Node, Place, Property, Sources};
use fragments::{root_fragments, target_of};
use stream::{Parser, collect};
use values::join;

/// Nodes deeper than this are read as if they were at this depth.
const MAX_DEPTH: usize = 64;

/// Reads a file, with all that it includes.
pub fn parse(sources: &mut Sources, file: FileId) -> Document {
    let mut stream = Vec::new();
    collect(sources, file, 0, &mut stream);
    let references = stream
        .iter()
        .filter_map(|(token, file)| match &token.kind {
            Kind::Reference(name) => Some((name.clone(), Place { file: *file, span: token.span.clone() })),
            _ => None,
        })
        .collect();
    let mut parser = Parser::new(&stream, file);
    Document { fragments: parser.document(), references }
}

impl Parser<'_> {
    fn labels(&mut self) -> Vec<String> {
        let mut labels = Vec::new();
        while let (Some(Kind::Word(label)), true) = (self.peek(0), self.is_mark(1, b':')) {
            labels.push(label.clone());
            self.take();
            self.take();
        }
        labels
    }

    fn document(&mut self) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        // dtc numbers the fragments that it makes of `&target { }` from 0.
        let mut number = 0_usize;
        loop {
            let labels = self.labels();
            let Some((kind, place)) = self.take() else { return fragments };
            match kind {
                Kind::Mark(b'/') if self.is_mark(0, b'{') => {
                    let root = self.node("/".into(), place.clone(), labels, 0);
                    root_fragments(root, place, &mut fragments);
                }
                Kind::Reference(target) if self.is_mark(0, b'{') => {
                    let name = Some(format!("fragment@{number}"));
                    number += 1;
                    let node = self.node(String::new(), place.clone(), labels, 0);
                    fragments.push(Fragment { name, target: target_of(&target), place, node });
                }
                Kind::Directive(_) => self.skip_statement(),
                _ => {}
            }
        }
    }

    /// What stands between the braces of a node, and the semicolon behind them.
    fn node(&mut self, name: String, place: Place, labels: Vec<String>, depth: usize) -> Node {
        let mut node = Node { name, place, labels, properties: Vec::new(), children: Vec::new() };
        self.take_mark(b'{');
        // Levels beyond the deepest are not nested but counted.
        let mut flattened = 0_usize;
        loop {
            let labels = self.labels();
            match self.peek(0) {
                None => return node,
                Some(Kind::Mark(b'}')) => {
                    self.take();
                    self.take_mark(b';');
                    if flattened == 0 {
                        return node;
                    }
                    flattened -= 1;
                }
                Some(Kind::Word(_)) => {
                    let Some((Kind::Word(name), place)) = self.take() else { return node };
                    if !self.is_mark(0, b'{') {
                        node.properties.push(self.property(name, place));
                    } else if depth < MAX_DEPTH {
                        node.children.push(self.node(name, place, labels, depth + 1));
                    } else {
                        self.take();
                        flattened += 1;
                    }
                }
                Some(Kind::Directive("omit-if-no-ref")) => {
                    self.take();
                }
                // A name that is missing in front of its equals sign, and the like.
                Some(_) => {
                    self.take();
                    self.skip_statement();
                }
            }
        }
    }

    /// The value behind a property's name, and the semicolon. A missing semicolon is put where the next
    /// statement begins.
    fn property(&mut self, name: String, place: Place) -> Property {
        let mut property = Property { name, place, value: None, elements: Vec::new() };
        if !self.take_mark(b'=') {
            if !self.take_mark(b';') && !matches!(self.peek(0), Some(Kind::Word(_) | Kind::Mark(b'}'))) {
                self.skip_statement();
            }
            return property;
        }
        let mut value: Option<Place> = None;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark(b';') => {
                    self.take();
                    break;
                }
                Kind::Mark(b'}' | b'{') => break,
                Kind::Word(_) if self.is_mark(1, b'=') || self.is_mark(1, b'{') => break,
                _ => {}
            }
            let Some((kind, place)) = self.take() else { break };
            self.element(kind, place.clone(), &mut property.elements);
            value = Some(join(value, &place, &self.end));
        }
        property.value = value;
        property
    }
}
