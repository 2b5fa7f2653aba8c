// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configurations with a mistake each, for the check on the desk and for the boot.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A title behind `# `, then the children of `partitions`, or a whole overlay.
const CASES: &str = include_str!("broken.txt");

/// What stands for what in a case: properties that are right.
const SHORT: [(&str, &str); 3] = [
    ("@cpus", "cpus = <0>;"),
    ("@memory", "memory = <0x0 0x40000000  0x0 0x8000000>;"),
    ("@kernel", "kernel = \"linux\";"),
];

/// What is wrong, and the source.
pub fn cases() -> Vec<(&'static str, String)> {
    let cases = CASES.strip_prefix("# ").unwrap_or(CASES).split("\n# ");
    cases.filter_map(|case| case.split_once('\n')).map(|(title, source)| (title, expand(source))).collect()
}

fn expand(source: &str) -> String {
    let long =
        |text: &str| SHORT.iter().fold(text.to_owned(), |text, (short, long)| text.replace(short, long));
    if source.starts_with('/') {
        return long(source);
    }
    let mut text = String::from(
        "/dts-v1/;\n/plugin/;\n\n&{/} {\n\tpartitions {\n\t\tcompatible = \"bulkhead,partitions\";\n\
         \t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n",
    );
    for line in long(source).lines().filter(|line| !line.is_empty()) {
        let (name, content) = line.split_once(" { ").unwrap_or((line, "};"));
        let content = content.strip_suffix("};").unwrap_or(content).trim_end();
        text += &format!("\n\t\t{name} {{\n\t\t\tcompatible = \"bulkhead,partition\";\n");
        for property in content.split_inclusive("; ") {
            text += &format!("\t\t\t{}\n", property.trim_end());
        }
        text += "\t\t};\n";
    }
    text + "\t};\n};\n"
}

/// Writes the images that the cases name.
///
/// # Errors
/// When a file cannot be written.
pub fn write_images(folder: &Path) -> Result<()> {
    /// The kernel says that it needs 40 MiB.
    const MEMORY: u64 = 40 << 20;
    let mut linux = vec![0; 4096];
    linux[16..24].copy_from_slice(&MEMORY.to_le_bytes());
    linux[24] = 0xa;
    linux[56..60].copy_from_slice(b"ARM\x64");
    let mut big_endian = linux.clone();
    big_endian[24] |= 1;
    let mut elf = b"\x7fELF\x01\x01".to_vec();
    elf.resize(64, 0);
    let images = [
        ("linux", linux),
        ("big-endian", big_endian),
        ("arm32-elf", elf),
        ("raw", vec![1; 8192]),
        ("initrd", vec![7; 100_000]),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in images {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write the image {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::project::Project;
    use crate::qemu;
    use regex::Regex;
    use std::fmt::Write;
    use std::process::Command;

    #[test]
    fn every_mistake_is_shown_where_it_stands() {
        let project = Project::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_images(folder.path()).unwrap();
        let board = project.root().join("hyp/plan/tests/boards/qemu-virt-gicv3.dts");
        let compiled = Command::new("dtc")
            .args(["-q", "-O", "dtb", "-o"])
            .arg(path("board.dtb"))
            .arg(board)
            .status()
            .unwrap();
        assert!(compiled.success());
        let board = qemu::Options { dtb: Some(path("board.dtb")), ..qemu::Options::default() };

        let mut shown = String::new();
        for (title, source) in cases() {
            fs::write(path("broken.dtso"), source).unwrap();
            let examined = check::examine(&project, &path("broken.dtso"), &board).unwrap();
            assert!(!examined.is_good(), "{title}: accepted");
            assert!(examined.findings.iter().all(|finding| !finding.message.is_empty()), "{title}");
            let text = check::text(&examined.sources, &examined.findings).unwrap();
            let _ = writeln!(shown, "## {title}\n\n{text}");
        }
        // What depends on where we are, on the versions of dtc, or on the size of the hypervisor.
        let shown = shown.replace(&format!("{}/", folder.path().display()), "");
        let neutral = [
            (r"\(0x[0-9a-f]+\.\.0x[0-9a-f]+\)", "(RANGE)"),
            (r"\d+ MiB are left", "N MiB are left"),
            (r"looked for ([a-z.]+) .*", "looked for $1 ..."),
        ];
        let shown = neutral.iter().fold(shown, |text, (pattern, by)| {
            Regex::new(pattern).unwrap().replace_all(&text, *by).into_owned()
        });
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn there_are_enough_and_each_differs() {
        let titles: std::collections::BTreeSet<_> = cases().into_iter().map(|(title, _)| title).collect();
        assert_eq!(titles.len(), cases().len());
        assert!(titles.len() >= 60, "{}", titles.len());
    }
}
