// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The book holds together: SUMMARY.md lists every page once, and every link in a Markdown file of the
//! repository leads to something that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join(".ci").exists())
        .unwrap()
        .into()
}

/// Every Markdown file of the repository.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 10, "only {} Markdown files below {}", found.len(), root().display());
    found
}

/// A page's lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of inline links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](")
        .filter_map(|(at, mark)| line[at + mark.len()..].split_once(')'))
        .map(|(target, _)| target)
}

/// The anchor of a heading, as forges and mdBook make it: lower case, blanks to hyphens, punctuation dropped.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|heading| anchor(heading.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            for target in
                targets(line).filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
            {
                links += 1;
                let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
                let place = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
                let leads = match fs::read_to_string(&place) {
                    Ok(text) => fragment.is_empty() || anchors(&text).contains(fragment),
                    Err(_) => place.is_dir() && fragment.is_empty(),
                };
                if !leads {
                    broken.push(format!("{}:{number}: {target}", page.display()));
                }
            }
        }
    }
    assert!(links > 50, "only {links} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page_once() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut listed: Vec<_> =
        prose(&summary).flat_map(|(_, line)| targets(line)).map(|file| docs.join(file)).collect();
    listed.sort();
    let mut there: Vec<_> = pages().into_iter().filter(|page| page.parent() == Some(&docs)).collect();
    there.retain(|page| page.file_name().unwrap() != "SUMMARY.md");
    there.sort();
    assert_eq!(listed, there, "left: SUMMARY.md, right: docs/");
}

/// Prose is wrapped; a row of a table has no other place to go on.
#[test]
fn lines_are_at_most_120_characters() {
    let mut long = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let too_long = prose(&text).filter(|(_, line)| line.chars().count() > 120 && !line.starts_with('|'));
        long.extend(too_long.map(|(number, _)| format!("{}:{number}", page.display())));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
