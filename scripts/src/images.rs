// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which file an image's name stands for.

use crate::build;
use crate::config::ImageReference;
use crate::project::Project;
use anyhow::{Result, bail, ensure};
use bulkhead_plan::error::nearest;
use std::fs;
use std::path::{Path, PathBuf};

/// Files beside an image's name that are no image.
const NOT_IMAGES: [&str; 3] = ["dtso", "play", "itb"];

/// What `scripts/setup` writes beside the images.
const VERSIONS: &str = "versions";

/// The file for the image: in the configuration's folder or its `images`, as NAME or NAME.*; else our own
/// guest of that name, built on the spot; else what `scripts/setup` fetched.
///
/// # Errors
/// When there is none, or two; a sentence that names the partition, the property and the places.
pub fn resolve(project: &Project, folder: &Path, reference: &ImageReference) -> Result<PathBuf> {
    let ImageReference { partition, property, image } = reference;
    ensure!(
        !image.contains('/') && !image.starts_with('.'),
        "partition {partition}: {property} = \"{image}\" is no image's name: it must not have a slash or \
         begin with a dot"
    );
    let mut searched = vec![folder.to_path_buf(), folder.join("images")];
    for place in &searched {
        if let Some(file) = in_folder(place, reference)? {
            return Ok(file);
        }
    }
    if build::is_guest(project, image) {
        return build::fresh_guest(project, image).map_or_else(|| build::guest(project, image, false), Ok);
    }
    for place in project.guest_software() {
        let file = place.join(image);
        if file.is_file() {
            return Ok(file);
        }
        searched.push(place);
    }
    let names = names(project, folder);
    let near = nearest(image, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let near = near.map(|near| format!(". Did you mean \"{near}\"?"));
    let searched: Vec<_> = searched.iter().map(|place| project.short(place).display().to_string()).collect();
    bail!(
        "partition {partition}: {property} = \"{image}\", but there is no such image: looked for {image} and \
         {image}.* in {}; our own guests are {}; scripts/setup fetches {}{}",
        searched.join(", "),
        build::guest_names(project).join(", "),
        fetched(project).join(", "),
        near.unwrap_or_default()
    )
}

/// The images that `scripts/setup` fetched, by name.
fn fetched(project: &Project) -> Vec<String> {
    let files = project.guest_software().into_iter().flat_map(fs::read_dir).flatten();
    let files = files.filter_map(Result::ok).filter(|entry| entry.path().is_file());
    let mut names: Vec<_> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // Our own guests are built into the same folder.
    let own = build::guest_names(project);
    names.retain(|name| {
        name != VERSIONS && !name.starts_with('.') && !name.ends_with(".dtb") && !own.contains(name)
    });
    names.sort();
    names.dedup();
    names
}

/// Every name that stands for an image.
fn names(project: &Project, folder: &Path) -> Vec<String> {
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let own = [folder.to_path_buf(), folder.join("images")].into_iter().flat_map(fs::read_dir).flatten();
    let own = own.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        path.is_file() && !NOT_IMAGES.contains(&&*extension)
    });
    own.filter_map(stem).chain(build::guest_names(project)).chain(fetched(project)).collect()
}

fn in_folder(folder: &Path, reference: &ImageReference) -> Result<Option<PathBuf>> {
    let ImageReference { partition, property, image } = reference;
    let exact = folder.join(image);
    if exact.is_file() {
        return Ok(Some(exact));
    }
    let Ok(entries) = fs::read_dir(folder) else { return Ok(None) };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && is_called(path, image))
        .collect();
    files.sort();
    match files.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let several: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            bail!("partition {partition}: {property} = \"{image}\" could be {}", several.join(" or "))
        }
    }
}

/// Whether the file's name is the image's with an extension.
fn is_called(path: &Path, image: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = name.strip_prefix(image).and_then(|rest| rest.strip_prefix('.'));
    extension.is_some_and(|extension| !NOT_IMAGES.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(image: &str) -> ImageReference {
        ImageReference { partition: "linux".into(), property: "kernel".into(), image: image.into() }
    }

    #[test]
    fn the_configuration_comes_first_and_two_files_are_one_too_many() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::create_dir(file("images")).unwrap();
        for name in ["k.dtso", "k.img", "images/deep", "two.gz", "two.bin"] {
            fs::write(file(name), "").unwrap();
        }
        let find = |image: &str| resolve(&project, folder.path(), &reference(image));
        assert_eq!(find("k").unwrap(), file("k.img"));
        assert_eq!(find("deep").unwrap(), file("images/deep"));
        let error = find("two").unwrap_err().to_string();
        assert!(
            error.starts_with("partition linux: kernel = \"two\" could be") && error.contains("two.gz"),
            "{error}"
        );
        assert!(find("../k").unwrap_err().to_string().contains("is no image's name"));
        fs::write(file("two"), "").unwrap();
        assert_eq!(find("two").unwrap(), file("two"));
    }

    #[test]
    fn a_missing_image_is_told_with_the_places() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = resolve(&project, folder.path(), &reference("no-such-image")).unwrap_err().to_string();
        assert!(error.starts_with("partition linux: kernel = \"no-such-image\", but there is no such image"));
        assert!(error.contains(&folder.path().join("images").display().to_string()), "{error}");
        assert!(error.contains("guest-software") && error.contains("ticker"), "{error}");
        assert!(
            error.contains("scripts/setup fetches") && error.contains("busybox-initrd, debian-12"),
            "{error}"
        );
        fs::write(folder.path().join("firmware.elf"), "").unwrap();
        for (wrong, right) in [("tickr", "ticker"), ("firmwear", "firmware")] {
            let error = resolve(&project, folder.path(), &reference(wrong)).unwrap_err().to_string();
            assert!(error.ends_with(&format!("Did you mean \"{right}\"?")), "{error}");
        }
    }
}
