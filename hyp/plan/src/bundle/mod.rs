// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bundle: a FIT image (U-Boot's flattened image tree) with kernels, ramdisks and overlays.
//!
//! Image data lies in the tree (`data`) or behind it (`data-size` with `data-offset`, counted from the
//! end of the tree rounded up to four bytes, or with `data-position`, counted from the start).

mod hash;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use bulkhead_types::Hpa;

pub use hash::{Crc32, compute, software_crc32};

use crate::error::{Errors, Problem, listed};
use crate::sorted::Map;
use crate::tree::{Node, NodeId, Tree, blob_size, place_in};

/// What stands for the bundle's own tree in errors.
const BUNDLE: &str = "bundle";

/// A FIT image whose structure has been checked. Hashes are checked when an image is used.
#[derive(Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    tree: Tree<'a>,
    images: Map<&'a str, Image>,
    crc32: Crc32,
    at: Option<Hpa>,
}

#[derive(Debug)]
struct Image {
    node: NodeId,
    bytes: Range<usize>,
}

/// A configuration that has been chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: String,
    /// The overlays to apply to the board's tree, in order.
    pub overlays: Vec<String>,
}

impl<'a> Bundle<'a> {
    /// Reads the structure of a FIT image. `crc32` computes the hash of that name, so that the caller can
    /// use the CPU's own instructions; [`software_crc32`] works everywhere.
    ///
    /// # Errors
    /// What is no FIT image, is cut short, or has an image whose data is missing.
    pub fn parse(bytes: &'a [u8], crc32: Crc32) -> Result<Self, Errors> {
        let tree = Tree::parse(bytes, BUNDLE)?;
        let size = blob_size(bytes).unwrap_or(0);
        let parent = tree
            .by_path("/images")
            .map(|node| node.id())
            .ok_or_else(|| Problem::new(BUNDLE, "this is not a FIT image: its tree has no /images"))?;
        let mut errors = Errors::new();
        let mut images = Map::new();
        let names: Vec<(NodeId, &'a str)> = tree.children_named(parent);
        for (node, name) in names {
            if let Some(place) = errors.note(place(tree.node(node), bytes, size))
                && images.add(name, Image { node, bytes: place }).is_err()
            {
                errors
                    .push(Problem::new(BUNDLE, "two images have the same name").value(format!("\"{name}\"")));
            }
        }
        errors.or(Self { bytes, tree, images, crc32, at: None })
    }

    /// The same, lying there in the board's memory: images may be used where they are.
    #[must_use]
    pub fn lying_at(self, at: Hpa) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Where it lies in the board's memory, if that is known.
    pub(crate) fn at(&self) -> Option<Hpa> {
        self.at
    }

    /// Names of all images, sorted.
    pub fn image_names(&self) -> impl Iterator<Item = &'a str> {
        self.images.entries().iter().map(|(name, _)| *name)
    }

    /// Names of the images that are for partitions: all but the overlays of configurations, sorted.
    pub(crate) fn names_for_partitions(&self) -> Vec<&'a str> {
        let configurations =
            self.tree.by_path("/configurations").into_iter().flat_map(|node| node.children());
        let overlays: Vec<&str> = configurations.flat_map(|node| node.strings("fdt")).collect();
        self.image_names().filter(|name| !overlays.contains(name)).collect()
    }

    /// Whether there is a hash that CPUs have no instructions for, or that is not made use of here.
    #[must_use]
    pub fn is_slow_to_check(&self) -> bool {
        let mut hashes = self.images.values().flat_map(|image| self.tree.node(image.node).children());
        hashes.any(|hash| hash.string("algo").is_some_and(|algorithm| algorithm.starts_with("sha")))
    }

    /// Where the data of an image lies in the file, its hashes not checked.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.images.get(name).map(|image| image.bytes.clone())
    }

    /// An image and its place in the file, all its hashes checked. `user` names who wants it.
    ///
    /// # Errors
    /// No such image; one without a hash; a hash that is wrong or of an unknown kind.
    pub fn image(&self, name: &str) -> Result<(Range<usize>, &'a [u8]), Problem> {
        let image = self.images.get(name).ok_or_else(|| self.no_image(name))?;
        let data = self.bytes.get(image.bytes.clone()).unwrap_or(&[]);
        hash::check(self.tree.node(image.node), data, self.crc32)?;
        Ok((image.bytes.clone(), data))
    }

    fn no_image(&self, name: &str) -> Problem {
        Problem::new(BUNDLE, "the bundle has no image of this name").value(format!("\"{name}\"")).or_near(
            name,
            &self.image_names().collect::<Vec<_>>(),
            "It has",
        )
    }

    /// Chooses the configuration for a board: the one for the first (most specific) of the board's
    /// `compatible` strings that any configuration lists, else the default one.
    ///
    /// # Errors
    /// No configuration fits, or the one that fits is malformed.
    pub fn configuration(&self, compatible: &[String]) -> Result<Configuration, Problem> {
        let parent = self
            .tree
            .by_path("/configurations")
            .ok_or_else(|| Problem::new(BUNDLE, "it has no /configurations, so no overlay to apply"))?;
        let fitting =
            compatible.iter().find_map(|board| parent.children().find(|node| node.is_compatible(board)));
        let default = || {
            let name = parent.string("default")?;
            parent.children().find(|node| node.name() == name)
        };
        let node = fitting.or_else(default).ok_or_else(|| {
            Problem::new(
                "bundle, /configurations",
                "no configuration is for this board, and none is the default",
            )
            .value(listed(compatible))
            .advice(format!(
                "There are configurations for {}",
                listed(&parent.children().flat_map(|node| node.strings("compatible")).collect::<Vec<_>>())
            ))
        })?;
        let overlays = node.strings("fdt").map(String::from).collect();
        Ok(Configuration { name: node.name().into(), overlays })
    }

    /// The board's tree with the overlays of the fitting configuration applied. A configuration needs none
    /// where firmware has merged them: the board's tree has the partitions already.
    ///
    /// # Errors
    /// No configuration fits; an overlay is missing, damaged, or does not apply.
    pub fn merge(&self, board: Tree<'a>) -> Result<Tree<'a>, Errors> {
        self.merge_onto(board).map(|(board, _)| board)
    }

    /// The same, with whether an overlay changes the board.
    pub(crate) fn merge_onto(&self, mut board: Tree<'a>) -> Result<(Tree<'a>, bool), Errors> {
        let compatible: Vec<String> = board.root().strings("compatible").map(String::from).collect();
        let configuration = self.configuration(&compatible)?;
        if configuration.overlays.is_empty() && board.root().child("partitions").is_none() {
            return Err(Problem::new(
                format!("bundle, /configurations/{}", configuration.name),
                "a configuration needs the names of its overlays, unless the board's tree has /partitions",
            )
            .property("fdt")
            .into());
        }
        let mut changes_board = false;
        for name in &configuration.overlays {
            let (_, blob) = self.image(name)?;
            changes_board |= crate::overlay::apply(&mut board, blob, &format!("overlay {name}"))?;
        }
        Ok((board, changes_board))
    }
}

/// The size that a FIT image gives itself: where its tree and the data of all its images end. `None` if it cannot be read.
#[must_use]
pub fn size(bytes: &[u8]) -> Option<usize> {
    let tree_size = blob_size(bytes)?;
    // A tree that is cut short itself says no more.
    if tree_size > bytes.len() {
        return Some(tree_size);
    }
    let tree = Tree::parse(bytes, BUNDLE).ok()?;
    let ends = tree.by_path("/images")?.children().filter_map(|node| {
        let (start, size) = place_behind(node, tree_size).ok()?;
        start?.checked_add(size)
    });
    Some(ends.fold(tree_size, usize::max))
}

/// Where the data of an image lies in the file.
fn place(node: Node<'_, '_>, bytes: &[u8], tree_size: usize) -> Result<Range<usize>, Problem> {
    if let Some(data) = node.property("data") {
        return place_in(bytes, data).ok_or_else(|| of_image(node, "its data is not in the bundle"));
    }
    let (start, size) = place_behind(node, tree_size)?;
    let end = start.and_then(|start| start.checked_add(size));
    match (start, end) {
        (Some(start), Some(end)) if end <= bytes.len() => Ok(start..end),
        _ => Err(of_image(node, "the bundle is cut short: the data of this image lies past its end")
            .value(format!("{size} bytes"))
            .advice(format!(
                "The bundle has {} bytes here; copy the whole bundle, or pack it again",
                bytes.len()
            ))),
    }
}

fn of_image(node: Node<'_, '_>, rule: &'static str) -> Problem {
    Problem::new(format!("bundle, {}", node.path()), rule)
}

/// Start and size of an image's data behind the tree. No start where the numbers are too large.
fn place_behind(node: Node<'_, '_>, tree_size: usize) -> Result<(Option<usize>, usize), Problem> {
    let number = |name: &str| node.cells(name).number().and_then(|number| usize::try_from(number).ok());
    let size = number("data-size").ok_or_else(|| {
        of_image(node, "an image needs data, or data-size with data-offset or data-position")
    })?;
    let start = match (number("data-position"), number("data-offset")) {
        (Some(position), _) => Some(position),
        (None, Some(offset)) => {
            tree_size.checked_next_multiple_of(4).and_then(|base| base.checked_add(offset))
        }
        (None, None) => {
            return Err(of_image(node, "an image with data-size needs data-offset or data-position"));
        }
    };
    Ok((start, size))
}
