// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A flattened tree (Devicetree Specification, chapter 5) as it lies in memory, read without a heap.
//!
//! Hardly anything is checked ahead: where the blob is damaged, reading ends.

use core::ffi::CStr;
use core::ops::Range;

use super::Cells;
use super::node::is_called;

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

/// How much of the blob that begins with `header` is read: what is behind the last of its blocks is room to grow, most of
/// the mebibyte that QEMU hands over. `None` if there is no flattened tree.
#[must_use]
pub fn blob_used(header: &[u8]) -> Option<usize> {
    let end = |start, size| word(header, start)?.checked_add(word(header, size)?);
    let used = usize::try_from(end(8, 36)?.max(end(12, 32)?)).ok()?;
    // The reservations have no size in the header. They come before the structure, by the Devicetree Specification.
    Some(used.min(blob_size(header)?))
}

/// Where in `whole` a slice of it lies; `None` if it is none.
#[must_use]
pub fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
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
                rest: block(8)?.get(..word(bytes, 36)? as usize)?.as_chunks().0,
                // Checked once here, and not with each name.
                strings: core::str::from_utf8(block(12)?.get(..word(bytes, 32)? as usize)?).ok()?,
            },
        })
    }

    /// Bytes of the structure block.
    pub fn structure_size(&self) -> usize {
        size_of_val(self.tokens.rest)
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
            Some(Token::Begin(name)) => BlobNode { name, tokens },
            _ => BlobNode { name: &[], tokens: Tokens { rest: &[], strings: "" } },
        }
    }

    /// The memory reservation block: address and size of each entry (Devicetree Specification, 5.3).
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let entries = Cells::new(self.reservations).entries(0, [2, 2]);
        entries.map(|[address, size]| (address, size)).take_while(|entry| *entry != (0, 0))
    }
}

/// A node of a [`Blob`].
#[derive(Clone, Copy, Debug)]
pub struct BlobNode<'a> {
    /// Its name with the unit address, and NULs behind it.
    name: &'a [u8],
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
        core::iter::from_fn(move || tokens.child())
    }

    /// Takes the first child away: what is left has only those behind it.
    pub(crate) fn next_child(&mut self) -> Option<Self> {
        self.tokens.child()
    }

    /// The first child of this name; a name without a unit address also finds a child that has one.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children().find(|child| child.is_called(name))
    }

    /// Whether this is its name; one without a unit address is also that of a node that has one.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        is_called(self.name, name)
    }
}

/// A piece of the structure block.
pub(super) enum Token<'a> {
    /// A node of this name, with NULs behind it, begins.
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
        // Most names differ here.
        if rest.first() != name.as_bytes().first() {
            return false;
        }
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The name; `None` where no NUL ends it.
    pub(super) fn get(&self) -> Option<&'a str> {
        let rest = self.strings.get(self.at as usize..)?;
        rest.get(..CStr::from_bytes_until_nul(rest.as_bytes()).ok()?.count_bytes())
    }
}

/// The structure block in words, consumed from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [[u8; 4]],
    strings: &'a str,
}

impl<'a> Tokens<'a> {
    /// The next token; `None` where the blob is damaged.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            return match self.word()? {
                NOP => continue,
                BEGIN_NODE => {
                    let words = self.rest.iter().position(|word| has_nul(*word))?.checked_add(1)?;
                    Some(Token::Begin(self.words(words)?))
                }
                PROPERTY => {
                    let size = self.word()? as usize;
                    let name = PropertyName { strings: self.strings, at: self.word()? };
                    Some(Token::Property(name, self.words(size.div_ceil(4))?.get(..size)?))
                }
                END_NODE | END => Some(Token::End),
                _ => None,
            };
        }
    }

    /// The next child of the node that began last; `None` behind its last one.
    #[inline(never)]
    fn child(&mut self) -> Option<BlobNode<'a>> {
        loop {
            match self.next()? {
                Token::Begin(name) => {
                    let child = BlobNode { name, tokens: *self };
                    self.leave();
                    return Some(child);
                }
                Token::Property(..) => {}
                Token::End => {
                    self.rest = &[];
                    return None;
                }
            }
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
        let (head, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*head))
    }

    #[inline(always)]
    fn words(&mut self, count: usize) -> Option<&'a [u8]> {
        let (words, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(words.as_flattened())
    }
}

/// Whether one of four bytes is 0: only below such a one does the subtraction borrow from a top bit that was not set.
const fn has_nul(word: [u8; 4]) -> bool {
    let word = u32::from_ne_bytes(word);
    word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080 != 0
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().copied().map(u32::from_be_bytes)
}
