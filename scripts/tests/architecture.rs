// SPDX-License-Identifier: Apache-2.0 OR MIT
//! docs/architecture.md is what the manifests and the sources say: which crate may depend on which, and which
//! forbid unsafe code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join(".ci").exists())
        .unwrap()
        .into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words between backquotes that name a crate of ours.
fn crates(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).filter(|word| word.starts_with("bulkhead-")).map(str::to_owned)
}

/// The page's table of crates: folder and allowed dependencies of each.
fn documented() -> (BTreeMap<String, String>, Arrows) {
    let (mut folders, mut arrows) = (BTreeMap::new(), Arrows::new());
    for row in read("docs/architecture.md").lines().filter(|line| line.starts_with("| `bulkhead-")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [name, _, may] = cells[..] else { panic!("three columns: {row}") };
        let own = crates(name).next().unwrap();
        let folder = name.split('`').nth(3).unwrap().to_owned();
        folders.insert(own.clone(), folder);
        arrows.insert(own, crates(may).collect());
    }
    (folders, arrows)
}

/// What a manifest depends on, tests aside.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut counts = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            counts = line.contains("dependencies]") && !line.contains("dev-dependencies");
        } else if counts && line.starts_with("bulkhead-") {
            found.insert(line.split(['.', ' ', '=']).next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn crates_depend_on_what_the_page_allows() {
    let (folders, allowed) = documented();
    let members: BTreeSet<_> = read("Cargo.toml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .filter(|member| !member.starts_with("guests/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(members, folders.values().cloned().collect(), "left: Cargo.toml, right: docs/architecture.md");
    for (name, folder) in folders {
        let actual = dependencies(&read(&format!("{folder}/Cargo.toml")));
        assert_eq!(actual, allowed[&name], "{name}: left: its manifest, right: docs/architecture.md");
    }
}

#[test]
fn arrows_go_one_way() {
    let (_, mut arrows) = documented();
    // Crates that nothing left depends on fall away, until none is left or a circle is.
    while !arrows.is_empty() {
        let free: Vec<_> =
            arrows.iter().filter(|(_, to)| to.is_empty()).map(|(name, _)| name.clone()).collect();
        assert!(!free.is_empty(), "a circle among {:?}", arrows.keys());
        arrows.retain(|name, _| !free.contains(name));
        arrows.values_mut().for_each(|to| to.retain(|name| !free.contains(name)));
    }
}

#[test]
fn the_planner_and_the_machine_forbid_unsafe_code() {
    for library in ["hyp/plan/src/lib.rs", "hyp/machine/src/lib.rs", "hyp/types/src/lib.rs"] {
        assert!(read(library).contains("#![forbid(unsafe_code)]"), "{library}");
    }
}
