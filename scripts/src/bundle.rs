// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writing a bundle. The planner's own tests use this file too (hyp/plan/tests/support).

use bulkhead_plan::bundle::{Crc32, compute};
use bulkhead_plan::error::Problem;
use bulkhead_plan::tree::{NodeId, Tree};

/// Image data starts at multiples of this, so that a page-aligned image can be mapped where it lies.
const DATA_ALIGN: usize = 4096;

/// What goes into a bundle.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Shown by tools that list the bundle.
    pub description: String,
    /// Seconds since 1970, shown by tools. A fixed one makes bundles reproducible.
    pub timestamp: u32,
    /// The images.
    pub images: Vec<Image>,
    /// The configurations; the first is the default.
    pub configurations: Vec<Configuration>,
}

/// An image to pack.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name that partitions use for it.
    pub name: String,
    /// FIT's type: "kernel", "ramdisk", "flat_dt", "standalone".
    pub kind: String,
    /// Its hash: "crc32", "sha256" or "sha1".
    pub hash: String,
    /// The bytes.
    pub data: Vec<u8>,
}

/// A configuration to pack.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: String,
    /// Shown by tools that list the bundle.
    pub description: String,
    /// The boards that it is for; empty for any, as the default.
    pub compatible: Vec<String>,
    /// Names of the overlays, in the order in which they apply.
    pub overlays: Vec<String>,
}

/// Packs a FIT image: the tree, then the data of the images, each at a multiple of 4 KiB, in the layout
/// that `mkimage -E -p` gives (`data-position`), which `mkimage -l` lists and U-Boot loads.
///
/// # Errors
/// An image with a hash that is not known; more than 4 GiB.
pub fn write(contents: &Contents, crc32: Crc32) -> Result<Vec<u8>, Problem> {
    // The positions depend on the size of the tree, which does not depend on the positions.
    let size = tree(contents, &vec![0; contents.images.len()], crc32)?.len();
    let mut end = size;
    let mut positions = Vec::with_capacity(contents.images.len());
    for image in &contents.images {
        let start = end.next_multiple_of(DATA_ALIGN);
        positions.push(u32::try_from(start).unwrap_or(u32::MAX));
        end = start.saturating_add(image.data.len());
    }
    if u32::try_from(end).is_err() {
        return Err(Problem::new("bundle", "a bundle can be at most 4 GiB").value(format!("{end} bytes")));
    }
    let mut file = tree(contents, &positions, crc32)?;
    file.reserve(end.saturating_sub(size));
    for image in &contents.images {
        file.resize(file.len().next_multiple_of(DATA_ALIGN), 0);
        file.extend_from_slice(&image.data);
    }
    Ok(file)
}

fn tree(contents: &Contents, positions: &[u32], crc32: Crc32) -> Result<Vec<u8>, Problem> {
    let mut tree = Tree::new();
    tree.set_string(NodeId::ROOT, "description", &contents.description);
    tree.set_cells(NodeId::ROOT, "timestamp", &[contents.timestamp]);
    tree.set_cells(NodeId::ROOT, "#address-cells", &[1]);
    let images = tree.add_node(NodeId::ROOT, "images");
    for (image, position) in contents.images.iter().zip(positions) {
        let node = tree.add_node(images, image.name.clone());
        tree.set_string(node, "description", &image.name);
        tree.set_string(node, "type", &image.kind);
        tree.set_string(node, "arch", "arm64");
        tree.set_string(node, "compression", "none");
        if image.kind == "kernel" || image.kind == "ramdisk" {
            tree.set_string(node, "os", "linux");
        }
        if image.kind == "kernel" {
            // Demanded of kernels by mkimage; the plan decides the real addresses.
            tree.set_cells(node, "load", &[0]);
            tree.set_cells(node, "entry", &[0]);
        }
        tree.set_cells(node, "data-size", &[u32::try_from(image.data.len()).unwrap_or(u32::MAX)]);
        tree.set_cells(node, "data-position", &[*position]);
        let hash = tree.add_node(node, "hash-1");
        let value = compute(&image.hash, &image.data, crc32).ok_or_else(|| {
            Problem::new(format!("bundle, /images/{}", image.name), "this hash is not known")
                .property("algo")
                .value(format!("\"{}\"", image.hash))
        })?;
        tree.set(hash, "value", value);
        tree.set_string(hash, "algo", &image.hash);
    }
    let configurations = tree.add_node(NodeId::ROOT, "configurations");
    if let Some(first) = contents.configurations.first() {
        tree.set_string(configurations, "default", &first.name);
    }
    for configuration in &contents.configurations {
        let node = tree.add_node(configurations, configuration.name.clone());
        tree.set_string(node, "description", &configuration.description);
        if !configuration.compatible.is_empty() {
            let compatible: Vec<&str> = configuration.compatible.iter().map(String::as_str).collect();
            tree.set_strings(node, "compatible", &compatible);
        }
        let overlays: Vec<&str> = configuration.overlays.iter().map(String::as_str).collect();
        tree.set_strings(node, "fdt", &overlays);
    }
    Ok(tree.to_blob())
}
