// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The binding's schema in `docs/schema`: every example passes, what the planner refuses in a node of its own is
//! refused here too, and both know the same properties.
//!
//! The tool is `dtschema` from PyPI, in an environment of its own in `target/dtschema`, made when it is missing.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use support::{board, overlay, root, small_bundle, taken};

const TOOL: &str = "dtschema==2026.9";

/// Runs a program and gives what it says; a failure to run is the test's.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned() + if output.status.success() { "" } else { "(it failed)" }
}

/// The folder with the tool's programs.
fn tool() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let folder = root().join("target/dtschema");
    let marker = folder.join(TOOL);
    if !marker.exists() {
        let said = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        assert_eq!(said, "", "no environment for {TOOL}: scripts/setup installs python3-venv");
        let mut pip = Command::new(folder.join("bin/pip"));
        let said = run(pip.args(["install", "--quiet", "--disable-pip-version-check", TOOL]));
        assert!(!said.contains("(it failed)"), "{TOOL} did not come from PyPI: {said}");
        std::fs::write(marker, "").unwrap();
    }
    folder.join("bin")
}

fn schemas() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("docs/schema")).unwrap();
    folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect()
}

/// What the tool has to say of each overlay on QEMU's board: nothing, or complaints.
fn complaints(overlays: &[(String, String)]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schema-{}", overlays.len()));
    std::fs::create_dir_all(&folder).unwrap();
    let board = board(3);
    let mut files = Vec::new();
    for (number, (_, source)) in overlays.iter().enumerate() {
        let blob = overlay(source);
        let mut tree = bulkhead_plan::tree::Tree::parse(&board, "board").unwrap();
        bulkhead_plan::overlay::apply(&mut tree, &blob, "overlay").unwrap();
        let file = folder.join(format!("{number}.dtb"));
        std::fs::write(&file, tree.to_blob()).unwrap();
        files.push(file);
    }
    let mut command = Command::new(tool().join("dt-validate"));
    let said = run(command.args(["-l", "bulkhead", "-s"]).arg(root().join("docs/schema")).args(&files));
    let of = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        said.lines()
            .filter(|line| line.contains(&format!("/{name}: ")))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let each: Vec<String> = files.iter().map(of).collect();
    // Nothing may be said that belongs to no file.
    assert_eq!(said.is_empty(), each.iter().all(String::is_empty), "{said}");
    each
}

#[test]
fn the_schemas_are_well_formed() {
    let schemas = schemas();
    assert_eq!(schemas.len(), 2);
    assert_eq!(run(Command::new(tool().join("dt-doc-validate")).args(schemas)), "");
}

#[test]
fn every_example_passes_and_every_mistake_does_not() {
    let mut overlays = Vec::new();
    for folder in std::fs::read_dir(root().join("guests")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).into_iter().flatten() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "dtso") {
                overlays.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let examples = overlays.len();
    assert!(examples >= 8, "only {examples} examples were found");

    let one = |content: &str| {
        format!(
            "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; #address-cells = <2>; \
             #size-cells = <2>; a {{ compatible = \"bulkhead,partition\"; {content} }}; }}; }};"
        )
    };
    const GOOD: &str = "cpus = <0>; memory = <0 0x40000000 0 0x200000>; kernel = \"k\";";
    let memory = |content: &str| {
        one(&format!("{GOOD} #address-cells = <2>; #size-cells = <2>; memory@50000000 {{ {content} }};"))
    };
    overlays.push(("a partition".into(), one(GOOD)));
    overlays.push((
        "restarts".into(),
        one(&format!("{GOOD} restart = \"always\"; restart-limit = <3>; restart-delay-ms = <0>; watchdog;")),
    ));
    overlays.push(("a watchdog".into(), one(GOOD).replacen("a {", "watchdog-timeout-sec = <15>; a {", 1)));
    overlays.push(("an escape key".into(), one(GOOD).replacen("a {", "escape-key = \"^\\\\\"; a {", 1)));
    overlays.push(("memory".into(), memory("reg = <0 0x50000000 0 0x1000>; read-only; no-execute;")));
    let accepting = one(GOOD).replacen("a {", "accept-errata = \"832075\", \"1508412\"; a {", 1);
    overlays.push(("memory as it was".into(), one(&format!("{GOOD} zero-at-boot = \"off\";"))));
    overlays.push(("accepted errata".into(), accepting));
    let good = overlays.len();
    for (what, source) in [
        ("no kernel", one("cpus = <0>; memory = <0 0x40000000 0 0x200000>;")),
        ("Enter as escape key", one(GOOD).replacen("a {", "escape-key = \"^M\"; a {", 1)),
        ("a long watchdog", one(GOOD).replacen("a {", "watchdog-timeout-sec = <16>; a {", 1)),
        ("an erratum that none can accept", one(GOOD).replacen("a {", "accept-errata = \"1319367\"; a {", 1)),
        ("no CPU", one("memory = <0 0x40000000 0 0x200000>; kernel = \"k\";")),
        ("no memory", one("cpus = <0>; kernel = \"k\";")),
        ("an unknown property", one(&format!("{GOOD} colour = \"red\";"))),
        ("a console of another kind", one(&format!("{GOOD} console = \"vga\";"))),
        ("zeroing neither on nor off", one(&format!("{GOOD} zero-at-boot = \"yes\";"))),
        ("an unknown restart", one(&format!("{GOOD} restart = \"maybe\";"))),
        ("a flag with a value", one(&format!("{GOOD} identity-mapped = <1>;"))),
        ("an entry of three cells", one(&format!("{GOOD} entry = <0 0 0>;"))),
        ("devices of the primary", one("primary; kernel = \"k\"; devices = \"/pl031@9010000\";")),
        ("another status", one(&format!("{GOOD} status = \"reserved\";"))),
        ("a device twice", one(&format!("{GOOD} devices = \"serial1\", \"serial1\";"))),
        ("memory without reg", memory("read-only;")),
        ("memory with another right", memory("reg = <0 0x50000000 0 0x1000>; readonly;")),
        ("another node", one(&format!("{GOOD} child {{ }};"))),
        ("another compatible", one(GOOD).replace("bulkhead,partition\"", "bulkhead,partitioned\"")),
        ("three address cells", one(GOOD).replace("#address-cells = <2>", "#address-cells = <3>")),
        ("a property around partitions", one(GOOD).replace("#size-cells", "ranges; #size-cells")),
    ] {
        overlays.push((what.into(), source));
    }
    for (number, ((what, _), said)) in overlays.iter().zip(complaints(&overlays)).enumerate() {
        assert_eq!(said.is_empty(), number < good, "{what}: {said}");
    }
}

/// The planner lists the properties that it knows when it meets one like none of them.
#[test]
fn planner_and_schema_know_the_same_properties() {
    let (board, file) = (
        board(3),
        small_bundle(overlay(
            "/dts-v1/; /plugin/; &{/} { partitions { compatible = \"bulkhead,partitions\"; #address-cells = <2>; \
             #size-cells = <2>; a { compatible = \"bulkhead,partition\"; zzzzzzzzzzzz; }; }; };",
        )),
    );
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let errors = plan_board(&board, &bundle, taken()).unwrap_err().to_string();
    let (_, known) = errors.split_once("Known are ").expect("the properties are listed");
    let (known, _) = known.split_once(".\n").unwrap_or((known.trim_end_matches('.'), ""));
    // Every node may have a phandle.
    let mut known: Vec<&str> =
        known.split(", ").flat_map(|part| part.split(" and ")).filter(|name| *name != "phandle").collect();
    known.sort_unstable();

    let schema = std::fs::read_to_string(root().join("docs/schema/bulkhead,partition.yaml")).unwrap();
    let (_, properties) = schema.split_once("\nproperties:\n").unwrap();
    let (properties, _) = properties.split_once("\npatternProperties:").unwrap();
    let mut listed: Vec<&str> = properties
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with([' ', '#'])))
        .filter_map(|line| line.strip_suffix(':'))
        .map(|name| name.trim_matches('"'))
        .collect();
    listed.sort_unstable();
    assert_eq!(known, listed);
}
