// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A flattened tree (Devicetree Specification, chapter 5) as it lies in memory, read without a heap.
//!
//! Hardly anything is checked ahead: where the blob is damaged, reading ends.

use core::ffi::CStr;

use super::Cells;

const MAGIC: u32 = 0xd00d_feed;
const HEADER_SIZE: usize = 40;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The size that the header at the start of `bytes` claims for its blob; `None` if there is no
/// flattened tree.
#[must_use]
pub fn blob_size(bytes: &[u8]) -> Option<usize> {
    if word(bytes, 0)? == MAGIC { usize::try_from(word(bytes, 4)?).ok() } else { None }
}

/// A blob whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    reservations: &'a [u8],
    tokens: Tokens<'a>,
}

impl<'a> Blob<'a> {
    /// Reads the header. `None` if there is none, or it names what is not in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.get(..blob_size(bytes)?)?;
        let block = |field| bytes.get(word(bytes, field)? as usize..).filter(|_| bytes.len() >= HEADER_SIZE);
        Some(Self {
            reservations: block(16)?,
            tokens: Tokens {
                rest: block(8)?.get(..word(bytes, 36)? as usize)?,
                // Checked once here, and not with each name.
                strings: core::str::from_utf8(block(12)?.get(..word(bytes, 32)? as usize)?).ok()?,
            },
        })
    }

    /// The tokens of the structure block.
    pub(super) fn tokens(&self) -> Tokens<'a> {
        self.tokens
    }

    /// The root node, empty if there is none.
    #[must_use]
    pub fn root(&self) -> BlobNode<'a> {
        let mut tokens = self.tokens;
        match tokens.next() {
            Some(Token::Begin(_)) => BlobNode { name: "", tokens },
            _ => BlobNode { name: "", tokens: Tokens { rest: &[], strings: "" } },
        }
    }

    /// The memory reservation block: address and size of each entry (Devicetree Specification, 5.3).
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let mut cells = Cells::new(self.reservations);
        core::iter::from_fn(move || Some((cells.take_number(2)?, cells.take_number(2)?)))
            .take_while(|entry| *entry != (0, 0))
    }
}

/// A node of a [`Blob`].
#[derive(Clone, Copy, Debug)]
pub struct BlobNode<'a> {
    /// Its name with the unit address.
    pub name: &'a str,
    /// What follows its name.
    tokens: Tokens<'a>,
}

impl<'a> BlobNode<'a> {
    /// The value of the property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        let mut tokens = self.tokens;
        loop {
            match tokens.next()? {
                Token::Property(found, value) if found.is(name) => return Some(value),
                Token::Property(..) => {}
                _ => return None,
            }
        }
    }

    /// Its children, in the order of the blob.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        let mut tokens = self.tokens;
        core::iter::from_fn(move || {
            loop {
                match tokens.next()? {
                    Token::Begin(name) => {
                        let child = Self { name: core::str::from_utf8(name).ok()?, tokens };
                        tokens.leave();
                        return Some(child);
                    }
                    Token::Property(..) => {}
                    Token::End => {
                        tokens.rest = &[];
                        return None;
                    }
                }
            }
        })
    }

    /// The first child of this name; a name without a unit address also finds a child that has one.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children().find(|child| super::node::is_called(child.name, name))
    }
}

/// A piece of the structure block.
pub(super) enum Token<'a> {
    /// A node of this name begins.
    Begin(&'a [u8]),
    /// A property of the node that began last, and its value.
    Property(PropertyName<'a>, &'a [u8]),
    /// A node ends; or the tree, where no node is left to end.
    End,
}

/// The name of a property: what the strings block has from there up to a NUL. Most are passed over unread.
pub(super) struct PropertyName<'a> {
    strings: &'a str,
    at: u32,
}

impl<'a> PropertyName<'a> {
    fn is(&self, name: &str) -> bool {
        let rest = self.strings.as_bytes().get(self.at as usize..).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The name; `None` where no NUL ends it.
    pub(super) fn get(&self) -> Option<&'a str> {
        let rest = self.strings.get(self.at as usize..)?;
        rest.get(..CStr::from_bytes_until_nul(rest.as_bytes()).ok()?.count_bytes())
    }
}

/// The structure block, consumed from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    strings: &'a str,
}

impl<'a> Tokens<'a> {
    /// The next token; `None` where the blob is damaged.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            return match self.word()? {
                NOP => continue,
                BEGIN_NODE => {
                    let name = CStr::from_bytes_until_nul(self.rest).ok()?.to_bytes();
                    self.bytes(name.len().checked_add(1)?)?;
                    Some(Token::Begin(name))
                }
                PROPERTY => {
                    let size = self.word()?;
                    let name = PropertyName { strings: self.strings, at: self.word()? };
                    Some(Token::Property(name, self.bytes(size as usize)?))
                }
                END_NODE | END => Some(Token::End),
                _ => None,
            };
        }
    }

    /// Goes on behind the node that began last.
    fn leave(&mut self) {
        let mut depth = 1u32;
        while depth > 0 {
            depth = match self.next() {
                Some(Token::Begin(_)) => depth.saturating_add(1),
                Some(Token::Property(..)) => depth,
                Some(Token::End) => depth.saturating_sub(1),
                None => return,
            };
        }
    }

    #[inline(always)]
    fn word(&mut self) -> Option<u32> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*head))
    }

    /// Takes `size` bytes and the padding to the next multiple of four behind them.
    #[inline(always)]
    fn bytes(&mut self, size: usize) -> Option<&'a [u8]> {
        let bytes = self.rest.get(..size)?;
        self.rest = self.rest.get(size.checked_add(3)? & !3..)?;
        Some(bytes)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().copied().map(u32::from_be_bytes)
}
