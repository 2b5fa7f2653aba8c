// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device-tree source as far as errors need it: which node and which property stands where in which file.
//!
//! `dtc` is the compiler; this reads the same text beside it, only to point into it. So it takes every
//! text, makes of a broken one what can be made, and evaluates no expressions.

mod lexer;
mod parse;

use std::ops::Range;
use std::path::PathBuf;

pub use lexer::{Kind, Token, tokens};
pub use parse::parse;

/// A file, by its place in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub usize);

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The bytes.
    pub span: Range<usize>,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is, as the user named it.
    pub path: PathBuf,
    /// What is in it. Bytes that are no UTF-8 are replaced one by one, so that places stay right.
    pub text: String,
}

/// Files, and how to get at those that they include.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<File>,
}

impl Sources {
    /// Adds a file that was read.
    pub fn add(&mut self, path: PathBuf, bytes: &[u8]) -> FileId {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => {
                bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect()
            }
        };
        self.files.push(File { path, text });
        FileId(self.files.len() - 1)
    }

    /// Reads a file, once. `None` if it cannot be read.
    pub fn read(&mut self, path: &std::path::Path) -> Option<FileId> {
        if let Some(known) = self.files.iter().position(|file| file.path == path) {
            return Some(FileId(known));
        }
        let bytes = std::fs::read(path).ok()?;
        Some(self.add(path.to_path_buf(), &bytes))
    }

    /// A file that was added before.
    #[must_use]
    pub fn file(&self, id: FileId) -> &File {
        &self.files[id.0]
    }

    /// All files, in the order of their IDs.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The text at a place.
    #[must_use]
    pub fn text(&self, place: &Place) -> &str {
        self.file(place.file).text.get(place.span.clone()).unwrap_or("")
    }
}

/// An overlay's source, or a whole tree's.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// What the text puts somewhere, in order: the parts of the root, and each `&target { }`.
    pub fragments: Vec<Fragment>,
    /// Every reference in it, with its place.
    pub references: Vec<(String, Place)>,
}

/// Content for one node of another tree.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The name of its node in the compiled overlay; `None` for what stands in `/ { }` itself.
    pub name: Option<String>,
    /// Where it goes.
    pub target: Target,
    /// Where the target is named.
    pub place: Place,
    /// What goes there.
    pub node: Node,
}

/// How a fragment says where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path, or an alias.
    Path(String),
    /// A label.
    Label(String),
    /// It does not say so in a way that is understood here.
    Unknown,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its properties, in order.
    pub properties: Vec<Property>,
    /// Its children, in order.
    pub children: Vec<Node>,
}

/// A property.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// Where its value stands, all of it; `None` if it has none.
    pub value: Option<Place>,
    /// The parts of the value.
    pub elements: Vec<Element>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub kind: ElementKind,
    /// Where it stands.
    pub place: Place,
}

/// What a part of a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementKind {
    /// A string.
    Text(String),
    /// A cell, if it is a plain number.
    Cell(Option<u64>),
    /// A reference to a node, in a cell or as a path.
    Reference(String),
    /// Bytes, an included file, and so on.
    Other,
}

impl Node {
    /// The property of that name; of several the last, which is the one that counts.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().rev().find(|property| property.name == name)
    }

    /// The value of a property that is one string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.property(name)?.elements.as_slice() {
            [Element { kind: ElementKind::Text(text), .. }] => Some(text),
            _ => None,
        }
    }
}
