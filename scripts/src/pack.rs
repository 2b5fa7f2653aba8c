// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A configuration as one bundle: overlays and images in a FIT image.

use crate::bundle::{self, Configuration, Contents, Image};
use crate::config::{self, Config, ImageReference, Overlay};
use crate::images;
use crate::project::{Project, write_whole};
use crate::unpack;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What guards a bundle's images against damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// Against damage; a CPU computes it with instructions of its own
    #[default]
    Crc32,
    /// Against a forger too, where whoever loads the bundle checks a signature of its tree; slower at boot
    Sha256,
}

/// What goes into a bundle.
#[derive(Debug)]
pub struct Gathered {
    overlays: Vec<Overlay>,
    images: Images,
    /// Names of images that have no file, with the place that names them first, and why.
    pub missing: Vec<(ImageReference, anyhow::Error)>,
}

/// Images by name.
type Images = BTreeMap<String, Loaded>;

/// An image, and the property that named it first.
#[derive(Debug)]
struct Loaded {
    bytes: Vec<u8>,
    property: String,
}

impl Loaded {
    /// What FIT calls it.
    fn kind(&self) -> &'static str {
        let (offset, magic) = ARM64_MAGIC;
        match self.property.as_str() {
            "ramdisk" => "ramdisk",
            "device-tree" => "flat_dt",
            _ if self.bytes.get(offset..offset + magic.len()) == Some(magic) => "kernel",
            _ => "standalone",
        }
    }
}

/// Packs the configuration, or passes a bundle through as it is.
///
/// # Errors
/// When an overlay does not compile, an image is missing, or a file cannot be read.
pub fn pack(project: &Project, config: &Config) -> Result<Vec<u8>> {
    pack_with(project, config, None)
}

/// Packs the configuration with a hash of one's choice.
///
/// # Errors
/// As for [`pack`], and for a hash where a bundle was packed before, which keeps its own.
pub fn pack_with(project: &Project, config: &Config, hash: Option<Hash>) -> Result<Vec<u8>> {
    let (folder, files) = match config {
        Config::Bundle(_) if hash.is_some() => {
            bail!("a packed bundle keeps the hashes it has: give the configuration in source form");
        }
        Config::Bundle(file) => {
            return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        }
        Config::Overlays { folder, files } => (folder, files),
    };
    let gathered = complete(project, folder, files)?;
    write(&gathered.overlays, &gathered.images, hash.unwrap_or_default())
}

/// Packs the images alone, for a board whose firmware merges the overlays itself.
///
/// # Errors
/// As for [`pack`]; a bundle that was packed before has its overlays in it.
pub fn without_overlays(project: &Project, config: &Config) -> Result<Vec<u8>> {
    let Config::Overlays { folder, files } = config else {
        bail!("a packed bundle has its overlays in it: give the configuration in source form");
    };
    let gathered = complete(project, folder, files)?;
    write(&[], &gathered.images, Hash::default())
}

/// Compiles the overlays and reads the images that they name, all of them.
fn complete(project: &Project, folder: &Path, files: &[PathBuf]) -> Result<Gathered> {
    let overlays: Vec<Overlay> = files.iter().map(|file| config::compile(file)).collect::<Result<_>>()?;
    for overlay in &overlays {
        config::image_references(overlay)?.into_iter().collect::<Result<Vec<_>>>()?;
    }
    let mut gathered = gather(project, folder, overlays);
    if gathered.missing.is_empty() { Ok(gathered) } else { Err(gathered.missing.remove(0).1) }
}

/// Reads the images that the overlays name. A property that should name one and does not is left to the plan.
#[must_use]
pub fn gather(project: &Project, folder: &Path, overlays: Vec<Overlay>) -> Gathered {
    let (mut images, mut missing) = (Images::new(), Vec::<(ImageReference, anyhow::Error)>::new());
    let disabled = config::disabled(&overlays);
    for overlay in &overlays {
        // An overlay that cannot be read has images for nobody: the plan says what is wrong with it.
        for reference in config::image_references(overlay).into_iter().flatten().flatten() {
            if disabled.contains(&reference.partition) {
                continue;
            }
            let known = |(other, _): &(ImageReference, _)| other.image == reference.image;
            if images.contains_key(&reference.image) || missing.iter().any(known) {
                continue;
            }
            match load(project, folder, &reference) {
                Ok(bytes) => {
                    images.insert(reference.image, Loaded { bytes, property: reference.property });
                }
                Err(error) => missing.push((reference, error)),
            }
        }
    }
    Gathered { overlays, images, missing }
}

fn load(project: &Project, folder: &Path, reference: &ImageReference) -> Result<Vec<u8>> {
    let file = images::resolve(project, folder, reference)?;
    unpack::read(&file, &reference.property)
}

impl Gathered {
    /// The bundle, of what there is.
    ///
    /// # Errors
    /// When the bundle cannot be made of it.
    pub fn write(&self) -> Result<Vec<u8>> {
        write(&self.overlays, &self.images, Hash::default())
    }
}

/// Packs an overlay with images at hand, whatever the overlay names: how tests make bundles that lack something.
///
/// # Errors
/// When the overlay does not compile.
pub fn with_images(overlay: &Path, images: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let load = |(name, bytes): &(&str, &[u8])| {
        ((*name).to_owned(), Loaded { bytes: bytes.to_vec(), property: "kernel".into() })
    };
    write(&[config::compile(overlay)?], &images.iter().map(load).collect(), Hash::default())
}

/// Packs the configuration to where `run` takes it from; a bundle stays where it is.
///
/// # Errors
/// As for [`pack`].
pub fn for_run(project: &Project, path: &Path, config: &Config) -> Result<PathBuf> {
    if let Config::Bundle(file) = config {
        return Ok(file.clone());
    }
    let name = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let bundle = project.target().join("bundles").join(format!("{name}.itb"));
    write_whole(&bundle, &pack(project, config)?)?;
    Ok(bundle)
}

/// What marks an uncompressed arm64 kernel and where it stands (Linux, arm64/booting.rst).
const ARM64_MAGIC: (usize, &[u8]) = (56, b"ARM\x64");

/// CRC-32 by the fastest means of this computer.
pub fn crc32(earlier: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(earlier);
    hasher.update(bytes);
    hasher.finalize()
}

fn write(overlays: &[Overlay], images: &Images, hash: Hash) -> Result<Vec<u8>> {
    let hash = match hash {
        Hash::Crc32 => "crc32",
        Hash::Sha256 => "sha256",
    };
    let image = |name: &str, kind: &str, data: &[u8]| Image {
        name: name.into(),
        kind: kind.into(),
        hash: hash.into(),
        data: data.into(),
    };
    let overlay_name = |overlay: &Overlay| format!("{}.dtbo", overlay.name);
    let packed = overlays.iter().map(|overlay| image(&overlay_name(overlay), "flat_dt", &overlay.blob));
    let loaded = images.iter().map(|(name, loaded)| image(name, loaded.kind(), &loaded.bytes));
    let contents = Contents {
        description: "Bulkhead configuration".into(),
        // Nothing that depends on the clock: the same configuration gives the same bundle.
        timestamp: 0,
        images: packed.chain(loaded).collect(),
        configurations: vec![Configuration {
            name: "default".into(),
            description: "any board".into(),
            compatible: Vec::new(),
            overlays: overlays.iter().map(overlay_name).collect(),
        }],
    };
    bundle::write(&contents, crc32).map_err(|problem| anyhow::anyhow!("{problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_plan::bundle::Bundle;

    #[test]
    fn an_image_that_two_partitions_use_is_packed_once() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("k.bin", "kernel");
        file("r", "ramdisk");
        let partition = |name: &str| {
            format!("{name} {{ compatible = \"bulkhead,partition\"; kernel = \"k\"; ramdisk = \"r\"; }};")
        };
        let both = format!("{} {}", partition("a"), partition("b"));
        file("one.dtso", &format!("/dts-v1/; /plugin/; &{{/}} {{ partitions {{ {both} }}; }};"));
        let bytes = pack(&project, &Config::open(folder.path()).unwrap()).unwrap();
        let bundle = Bundle::parse(&bytes, crc32).unwrap();
        let mut names: Vec<_> = bundle.image_names().collect();
        names.sort_unstable();
        assert_eq!(names, ["k", "one.dtbo", "r"]);
        let strong = pack_with(&project, &Config::open(folder.path()).unwrap(), Some(Hash::Sha256)).unwrap();
        assert!(strong.windows(6).filter(|bytes| bytes == b"sha256").count() == 3, "one hash an image");
        let bundle = Bundle::parse(&strong, crc32).unwrap();
        assert_eq!(bundle.image("k").unwrap().1, b"kernel");
        let path = folder.path().join("one.itb");
        fs::write(&path, &strong).unwrap();
        let packed = Config::open(&path).unwrap();
        assert_eq!(pack_with(&project, &packed, None).unwrap(), strong);
        let refused = pack_with(&project, &packed, Some(Hash::Crc32)).unwrap_err().to_string();
        assert!(refused.contains("keeps the hashes"), "{refused}");
    }

    #[test]
    fn a_mistake_in_an_overlay_is_told_with_file_and_line() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.dtso");
        fs::write(&path, "/dts-v1/;\n/plugin/;\n&{/} { partitions { cpus = <0 1; }; };\n").unwrap();
        let error = pack(&project, &Config::open(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("bad.dtso does not compile") && error.contains("bad.dtso:3"), "{error}");
    }
}
