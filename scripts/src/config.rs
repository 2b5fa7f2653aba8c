// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A configuration as the user writes it: overlays in source form, compiled by `dtc`, and the images they name.

use crate::check::compile;
use anyhow::{Context, Result, bail, ensure};
use bulkhead_plan::tree::{Node, Tree};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The properties of a partition whose value is the name of an image.
const IMAGE_PROPERTIES: [&str; 3] = ["kernel", "ramdisk", "device-tree"];

const PARTITION: &str = "bulkhead,partition";

/// What a flattened tree, and so a bundle, begins with (Devicetree Specification, 5.2).
const TREE_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Overlays in source form, in the order in which they apply.
    Overlays {
        /// The folder in which images are looked for first.
        folder: PathBuf,
        /// The `.dtso` files.
        files: Vec<PathBuf>,
    },
    /// A bundle that was packed before.
    Bundle(PathBuf),
}

/// A compiled overlay.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The file's name without `.dtso`.
    pub name: String,
    /// The overlay as a flattened device tree.
    pub blob: Vec<u8>,
}

/// A place where a configuration names an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The partition's name.
    pub partition: String,
    /// The property.
    pub property: String,
    /// The image's name.
    pub image: String,
}

/// Source is wanted, so that what is said of it has a place.
const COMPILED: &str =
    "overlays are taken in source form: dtc -I dtb -O dts FILE.dtbo -o FILE.dtso turns this one into it";

impl Config {
    /// Looks at what `path` is: a folder with overlays, one overlay, or a bundle.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let about = fs::metadata(path).with_context(|| format!("there is no configuration {shown}"))?;
        if about.is_dir() {
            let files = files_with_extension(path, "dtso")?;
            // One beside its source is what somebody made of that.
            let has_source = |file: &&PathBuf| files.contains(&file.with_extension("dtso"));
            if let Some(compiled) = files_with_extension(path, "dtbo")?.iter().find(|file| !has_source(file))
            {
                bail!("{}: {COMPILED}", compiled.display());
            }
            ensure!(
                !files.is_empty(),
                "{shown} has no overlay: a configuration is a folder with *.dtso files"
            );
            return Ok(Self::Overlays { folder: path.to_path_buf(), files });
        }
        if path.extension().is_some_and(|extension| extension == "dtso") {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Self::Overlays { folder: folder.to_path_buf(), files: vec![path.to_path_buf()] });
        }
        ensure!(path.extension().is_none_or(|extension| extension != "dtbo"), "{shown}: {COMPILED}");
        let mut magic = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
        ensure!(
            read.is_ok() && magic == TREE_MAGIC,
            "{shown} is neither a folder, nor an overlay in source form (*.dtso), nor a packed bundle"
        );
        Ok(Self::Bundle(path.to_path_buf()))
    }

    /// The configuration's own session, which `run` plays where there is no terminal.
    ///
    /// # Errors
    /// When there are several.
    pub fn session(&self) -> Result<Option<PathBuf>> {
        let Self::Overlays { folder, .. } = self else { return Ok(None) };
        let mut sessions = files_with_extension(folder, "play")?;
        ensure!(
            sessions.len() < 2,
            "{} has several *.play sessions: say which with --play",
            folder.display()
        );
        Ok(sessions.pop())
    }
}

/// The files of that kind in a folder, by name.
fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

/// Compiles an overlay with `dtc`.
///
/// # Errors
/// What `dtc` says of it, with file and line.
pub fn compile(file: &Path) -> Result<Overlay> {
    try_compile(file)?.map_err(|complaints| {
        let explained = compile::explained(file, &complaints);
        anyhow::anyhow!("{} does not compile:\n{}", file.display(), explained.trim_end())
    })
}

/// Compiles an overlay with `dtc`, or gives what `dtc` says of it as it stands.
///
/// # Errors
/// When `dtc` cannot be run.
pub fn try_compile(file: &Path) -> Result<std::result::Result<Overlay, String>> {
    let mut command = Command::new("dtc");
    command.args(["-@", "-q", "-I", "dts", "-O", "dtb", "-o", "-"]);
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        command.arg("-i").arg(folder);
    }
    let output = match command.arg("--").arg(file).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("dtc, the device tree compiler, is not in PATH; scripts/setup installs it")
        }
        Err(error) => return Err(error).context("dtc cannot be run"),
    };
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Ok(Overlay { name, blob: output.stdout }))
}

/// Every place in the overlay where a partition names an image; an error in it for each that is no string.
///
/// # Errors
/// When the blob is no device tree.
pub fn image_references(overlay: &Overlay) -> Result<Vec<Result<ImageReference>>> {
    let tree = Tree::parse(&overlay.blob, &overlay.name)?;
    let mut references = Vec::new();
    collect(tree.root(), false, &mut references);
    Ok(references)
}

/// The partitions that are disabled once all overlays have been applied: they need no image.
#[must_use]
pub fn disabled(overlays: &[Overlay]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for overlay in overlays {
        if let Ok(tree) = Tree::parse(&overlay.blob, &overlay.name) {
            note_status(tree.root(), false, &mut names);
        }
    }
    names
}

fn note_status(node: Node<'_, '_>, in_partitions: bool, disabled: &mut BTreeSet<String>) {
    let name = node.name();
    if in_partitions && let Some(status) = node.property("status") {
        match status {
            b"disabled\0" => _ = disabled.insert(name.to_owned()),
            // What else it may be, the plan says.
            _ => _ = disabled.remove(name),
        }
    }
    for child in node.children() {
        note_status(child, name == "partitions", disabled);
    }
}

/// A partition is told by its `compatible`, or by its place under `partitions`: an overlay may add to one
/// that another overlay describes.
fn collect(node: Node<'_, '_>, in_partitions: bool, references: &mut Vec<Result<ImageReference>>) {
    let name = node.name();
    if in_partitions || node.is_compatible(PARTITION) {
        for property in IMAGE_PROPERTIES {
            let Some(value) = node.property(property) else { continue };
            let image = value.strip_suffix(b"\0").and_then(|text| std::str::from_utf8(text).ok());
            let image = image.filter(|text| !text.is_empty() && !text.contains('\0'));
            let image = image
                .with_context(|| format!("partition {name}: {property} must be one string, an image's name"));
            references.push(image.map(|image| ImageReference {
                partition: name.to_owned(),
                property: property.into(),
                image: image.into(),
            }));
        }
    }
    for child in node.children() {
        collect(child, name == "partitions", references);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

    fn node(name: &str, properties: &[(&str, &str)], children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
        let mut node = DeviceTreeNode::new(name).unwrap();
        for (name, value) in properties {
            node.add_property(DeviceTreeProperty::new(*name, *value).unwrap());
        }
        for child in children {
            node.add_child(child);
        }
        node
    }

    fn overlay(content: DeviceTreeNode) -> Overlay {
        let mut tree = DeviceTree::new();
        tree.root.add_child(node("fragment@0", &[], vec![node("__overlay__", &[], vec![content])]));
        Overlay { name: "test".into(), blob: tree.to_dtb() }
    }

    #[test]
    fn images_are_found_where_partitions_name_them() {
        let full = node("a", &[("compatible", PARTITION), ("kernel", "k"), ("ramdisk", "r")], vec![]);
        let addition = node("b", &[("kernel", "k2")], vec![node("inner", &[("kernel", "no image")], vec![])]);
        let found = image_references(&overlay(node("partitions", &[], vec![full, addition]))).unwrap();
        let mut found = found.into_iter().collect::<Result<Vec<_>>>().unwrap();
        found.sort_by(|one, other| one.image.cmp(&other.image));
        let found: Vec<_> = found.iter().map(|it| (&*it.partition, &*it.property, &*it.image)).collect();
        assert_eq!(found, [("a", "kernel", "k"), ("b", "kernel", "k2"), ("a", "ramdisk", "r")]);
    }

    #[test]
    fn the_last_overlay_says_whether_a_partition_is_disabled() {
        let status =
            |name, status| overlay(node("partitions", &[], vec![node(name, &[("status", status)], vec![])]));
        let overlays =
            [status("a", "disabled"), status("b", "disabled"), status("a", "okay"), status("c", "okay")];
        assert_eq!(disabled(&overlays), BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn an_image_name_that_is_no_string_is_refused() {
        let overlay = overlay(node("partitions", &[], vec![node("a", &[("kernel", "")], vec![])]));
        let error = image_references(&overlay).unwrap().remove(0).unwrap_err().to_string();
        assert_eq!(error, "partition a: kernel must be one string, an image's name");
    }

    #[test]
    fn a_configuration_is_a_folder_a_file_or_a_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(Config::open(&path("x")).unwrap_err().to_string().contains("there is no configuration"));
        assert!(Config::open(folder.path()).unwrap_err().to_string().contains("has no overlay"));
        for name in ["b.dtso", "a.dtso", "s.play", "c.itb"] {
            fs::write(path(name), "").unwrap();
        }
        let config = Config::open(folder.path()).unwrap();
        assert_eq!(config.session().unwrap(), Some(path("s.play")));
        let Config::Overlays { files, .. } = config else { panic!("not overlays") };
        assert_eq!(files, [path("a.dtso"), path("b.dtso")]);
        assert!(Config::open(&path("c.itb")).unwrap_err().to_string().contains("nor a packed bundle"));
        fs::write(path("c.itb"), TREE_MAGIC).unwrap();
        assert_eq!(Config::open(&path("c.itb")).unwrap(), Config::Bundle(path("c.itb")));
        fs::write(path("a.dtbo"), TREE_MAGIC).unwrap();
        assert!(Config::open(folder.path()).is_ok(), "its source is beside it");
        fs::write(path("d.dtbo"), TREE_MAGIC).unwrap();
        for config in [path("d.dtbo"), folder.path().to_path_buf()] {
            let error = Config::open(&config).unwrap_err().to_string();
            assert!(error.contains("d.dtbo: overlays are taken in source form"), "{error}");
        }
        fs::write(path("t.play"), "").unwrap();
        assert!(Config::open(&path("a.dtso")).unwrap().session().is_err());
    }
}
