// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Overlays give the same tree as `fdtoverlay`, libfdt's own tool.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use bulkhead_plan::overlay::apply;
use bulkhead_plan::tree::{Node, NodeId, Tree};
use proptest::prelude::*;
use support::dtc;

/// A tree as text in which the order of nodes and properties does not show.
fn canonical(tree: &Tree<'_>) -> String {
    fn lines(node: Node<'_, '_>, depth: usize, out: &mut String) {
        let _ = writeln!(out, "{:depth$}{} {{", "", node.name());
        let mut properties: Vec<String> = node
            .properties()
            .iter()
            .map(|property| format!("{} = {:02x?}", property.name, property.value))
            .collect();
        properties.sort();
        for property in properties {
            let _ = writeln!(out, "{:depth$} {property}", "");
        }
        let mut children: Vec<_> = node.children().collect();
        children.sort_by_key(|child| child.name());
        for child in children {
            lines(child, depth + 1, out);
        }
    }
    let mut out = String::new();
    lines(tree.root(), 0, &mut out);
    out
}

/// `fdtoverlay`'s result, or `None` where it refuses.
fn reference(base: &[u8], overlays: &[Vec<u8>]) -> Option<Vec<u8>> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overlay-{number}"));
    fs::create_dir_all(&folder).unwrap();
    let place = |name: &str| folder.join(name);
    fs::write(place("base.dtb"), base).unwrap();
    let mut command = Command::new("fdtoverlay");
    command.arg("-i").arg(place("base.dtb")).arg("-o").arg(place("out.dtb"));
    for (number, overlay) in overlays.iter().enumerate() {
        let path = place(&format!("{number}.dtbo"));
        fs::write(&path, overlay).unwrap();
        command.arg(path);
    }
    let output =
        command.output().expect("these tests need fdtoverlay: scripts/setup installs device-tree-compiler");
    let result = output.status.success().then(|| fs::read(place("out.dtb")).unwrap());
    fs::remove_dir_all(&folder).unwrap();
    result
}

fn ours<'a>(base: &'a [u8], overlays: &'a [Vec<u8>]) -> Result<Tree<'a>, String> {
    let mut tree = Tree::parse(base, "base").map_err(|problem| problem.to_string())?;
    for overlay in overlays {
        apply(&mut tree, overlay, "overlay").map_err(|problem| problem.to_string())?;
    }
    Ok(tree)
}

fn assert_same(base: &str, overlays: &[String]) {
    let base = dtc("dts", "dtb", base.as_bytes());
    let overlays: Vec<Vec<u8>> = overlays.iter().map(|source| dtc("dts", "dtb", source.as_bytes())).collect();
    let (reference, ours) = (reference(&base, &overlays), ours(&base, &overlays));
    match (reference, ours) {
        (Some(reference), Ok(ours)) => {
            let reference = Tree::parse(&reference, "reference").unwrap();
            assert_eq!(canonical(&ours), canonical(&reference));
            // What we write, others read.
            let blob = ours.to_blob();
            assert_eq!(canonical(&Tree::parse(&blob, "blob").unwrap()), canonical(&ours));
        }
        (None, Err(_)) => {}
        (reference, ours) => panic!("fdtoverlay accepts: {}, we: {:?}", reference.is_some(), ours.map(drop)),
    }
}

const BASE: &str = r#"/dts-v1/;
/ {
    aliases { serial = &uart; };
    soc: soc {
        #address-cells = <1>;
        uart: uart@1000 { reg = <0x1000>; clocks = <&clock 1 &clock 2>; status = "disabled"; };
        clock: clock { #clock-cells = <1>; };
    };
    lone: lone { };
};"#;

fn overlay(fragments: &str) -> String {
    format!("/dts-v1/; /plugin/; {fragments}")
}

#[test]
fn labels_paths_and_aliases_are_targets() {
    assert_same(BASE, &[overlay("&uart { status = \"okay\"; new { x; }; };")]);
    assert_same(BASE, &[overlay("&{/soc/clock} { rate = <1>; };")]);
    assert_same(BASE, &[overlay("/ { fragment@0 { target-path = \"serial\"; __overlay__ { x; }; }; };")]);
    assert_same(BASE, &[overlay("/ { fragment@0 { target-path = \"/soc/uart\"; __overlay__ { x; }; }; };")]);
    assert_same(BASE, &[overlay("&nowhere { x; };")]);
    assert_same(BASE, &[overlay("&{/nowhere} { x; };")]);
}

#[test]
fn references_within_and_to_the_base_are_kept() {
    let fragments = "&soc { a: a { b = <&a 7 &uart &clock &a>; c = <0 &c>; c: c { }; }; };";
    assert_same(BASE, &[overlay(fragments)]);
}

#[test]
fn later_overlays_see_what_earlier_ones_made() {
    let first = overlay("&soc { made: made { x = <&made>; }; };");
    assert_same(BASE, &[first.clone(), overlay("&made { y = <&uart>; z: z { w = <&z>; }; };")]);
    assert_same(BASE, &[first, overlay("&{/soc/made} { x = <2>; };")]);
}

#[test]
fn a_later_fragment_may_target_what_an_earlier_one_made() {
    let fragments = r#"/ {
        fragment@0 { target-path = "/soc"; __overlay__ { made { inner { }; }; }; };
        fragment@1 { target-path = "/soc/made/inner"; __overlay__ { found; }; };
    };"#;
    assert_same(BASE, &[overlay(fragments)]);
}

#[test]
fn a_node_without_unit_address_merges_into_the_one_with() {
    assert_same(BASE, &[overlay("&soc { uart { merged; }; };")]);
}

#[test]
fn what_is_no_overlay_is_refused() {
    let base = dtc("dts", "dtb", BASE.as_bytes());
    let problem = ours(&base, std::slice::from_ref(&base)).unwrap_err();
    assert!(problem.contains("not an overlay") && problem.contains("/plugin/"), "{problem}");
}

#[test]
fn labels_are_guessed() {
    let base = dtc("dts", "dtb", BASE.as_bytes());
    let overlays = [dtc("dts", "dtb", overlay("&urat { };").as_bytes())];
    let problem = ours(&base, &overlays).unwrap_err();
    assert_eq!(problem, "overlay: &urat: the board's tree has no node with this label. Did you mean &uart?");
}

/// Some properties and children, the latter two levels deep, from few names, so that they meet.
fn content() -> impl Strategy<Value = String> {
    let target = prop::sample::select(vec!["&uart", "&clock", "&soc"]);
    let property = (prop::sample::select(vec!["a", "b", "status", "reg"]), target, 0..99u32, any::<bool>())
        .prop_map(|(name, label, number, refers)| {
            if refers { format!("{name} = <{number} {label}>; ") } else { format!("{name} = <{number}>; ") }
        });
    let leaf = prop::collection::vec(property, 0..3).prop_map(|properties| {
        // dtc refuses a property that is there twice.
        let mut seen = std::collections::BTreeMap::new();
        for property in properties {
            seen.insert(property.split(' ').next().unwrap_or_default().to_owned(), property);
        }
        seen.into_values().collect::<String>()
    });
    let child = (prop::sample::select(vec!["uart@1000", "x", "y", "clock"]), leaf.clone())
        .prop_map(|(name, content)| (name, format!("{name} {{ {content} }}; ")));
    (leaf, prop::collection::vec(child, 0..3)).prop_map(|(leaf, children)| {
        let mut seen = std::collections::BTreeMap::new();
        seen.extend(children);
        leaf + &seen.into_values().collect::<String>()
    })
}

fn overlays() -> impl Strategy<Value = Vec<String>> {
    let target = prop::sample::select(vec!["&uart", "&soc", "&lone", "&{/soc/clock}", "&{/}"]);
    let fragment = (target, content()).prop_map(|(target, content)| format!("{target} {{ {content} }};\n"));
    let overlay = prop::collection::vec(fragment, 1..4).prop_map(|fragments| overlay(&fragments.concat()));
    prop::collection::vec(overlay, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn generated_overlays_apply_as_with_libfdt(overlays in overlays()) {
        assert_same(BASE, &overlays);
    }
}

#[test]
fn a_labelled_node_gets_a_phandle_that_the_overlay_does_not_use() {
    let mut base = Tree::new();
    base.add_node(NodeId::ROOT, "theirs");
    let symbols = base.add_node(NodeId::ROOT, "__symbols__");
    base.set_string(symbols, "theirs", "/theirs");
    let source = "/dts-v1/; /plugin/; &{/} { own: own { }; user { nodes = <&own &theirs>; }; };";
    let blob = dtc("dts", "dtb", source.as_bytes());
    apply(&mut base, &blob, "overlay").unwrap();
    let nodes = base.by_path("/user").unwrap().cells("nodes");
    let paths: Vec<_> = nodes.map(|phandle| base.by_phandle(phandle).unwrap().path()).collect();
    assert_eq!(paths, ["/own", "/theirs"]);
}

/// No compiler writes that, but libfdt has an answer.
#[test]
fn a_cell_that_refers_to_both_is_the_labels() {
    let overlay = "/dts-v1/; / { fragment@0 { target-path = \"/\"; __overlay__ { user { node = <1>; }; \
        own { phandle = <1>; }; }; }; __fixups__ { lone = \"/fragment@0/__overlay__/user:node:0\"; }; \
        __local_fixups__ { fragment@0 { __overlay__ { user { node = <0>; }; }; }; }; };";
    assert_same(BASE, &[overlay.into()]);
}

/// The path of the node that a property's first cell refers to.
fn referred(tree: &Tree<'_>, node: &str, property: &str) -> String {
    let phandle = tree.by_path(node).unwrap().cells(property).next().unwrap();
    tree.by_phandle(phandle).unwrap().path()
}

const LABELLED: &str = "/dts-v1/; / { interrupt-parent = <&gic>; gic: gic@1 { reg = <1>; }; old@2 { }; \
    third: third { linux,phandle = <0x30>; phandle = <0x30>; }; user { node = <0x30>; }; };";

#[test]
fn a_label_on_a_node_of_the_base_changes_no_phandle() {
    let base = dtc("dts", "dtb", LABELLED.as_bytes());
    let overlay = overlay(
        "&{/} { mine: gic@1 { #interrupt-cells = <3>; }; also: third { }; \
         new: new { interrupt-parent = <&mine>; third = <&also>; itself = <&new>; old = <&old>; }; old: old@2 { }; };",
    );
    let blob = dtc("dts", "dtb", overlay.as_bytes());
    let before = Tree::parse(&base, "base").unwrap();
    let overlays = [blob];
    let after = ours(&base, &overlays).unwrap();
    for path in ["/gic@1", "/third"] {
        let phandle = |tree: &Tree<'_>| tree.by_path(path).unwrap().phandle().unwrap();
        assert_eq!(phandle(&before), phandle(&after), "{path}");
    }
    assert_eq!(after.by_path("/third").unwrap().u32("linux,phandle"), Some(0x30));
    let pairs = [("interrupt-parent", "/gic@1"), ("third", "/third"), ("itself", "/new"), ("old", "/old@2")];
    for (property, path) in pairs {
        assert_eq!(referred(&after, "/new", property), path);
    }
    assert_eq!(referred(&after, "/", "interrupt-parent"), "/gic@1");
    assert_eq!(referred(&after, "/user", "node"), "/third");
}

/// Two fragments that label one node, new or not: both labels stand for it, whichever comes first.
#[test]
fn two_labels_of_two_fragments_stand_for_one_node() {
    let base = dtc("dts", "dtb", LABELLED.as_bytes());
    let overlay = overlay(
        "&{/} { user { first = <&b>; }; a: new { }; }; &{/} { b: new { }; user { second = <&a>; third = <&c>; }; }; \
         &gic { c: inner { }; };",
    );
    let blobs = [dtc("dts", "dtb", overlay.as_bytes())];
    let after = ours(&base, &blobs).unwrap();
    for (property, path) in [("first", "/new"), ("second", "/new"), ("third", "/gic@1/inner")] {
        assert_eq!(referred(&after, "/user", property), path);
    }
    let empty = dtc("dts", "dtb", b"/dts-v1/; / { user { }; };");
    let without_phandles = dtc(
        "dts",
        "dtb",
        self::overlay(
            "&{/} { user { first = <&b>; }; a: new { }; }; \
        &{/} { b: new { }; user { second = <&a>; }; };",
        )
        .as_bytes(),
    );
    let blobs = [without_phandles];
    let after = ours(&empty, &blobs).unwrap();
    for property in ["first", "second"] {
        assert_eq!(referred(&after, "/user", property), "/new");
    }
}

/// A reference is refused in a partition that an earlier overlay has begun as well, and advice names CPUs alone.
#[test]
fn references_in_place_of_numbers_are_refused_through_labels() {
    let board = support::overlay(
        "/dts-v1/; / { cpus { cpu1: cpu@1 { device_type = \"cpu\"; reg = <1>; }; }; uart: serial@9000 { reg = <0x9000>; }; };",
    );
    let first =
        support::overlay("/dts-v1/; /plugin/; &{/} { a: a { compatible = \"bulkhead,partition\"; }; };");
    for (reference, advice) in [("&cpu1", "Write its number: <0x1>"), ("&uart", "The board's are 0x1")] {
        let second = support::overlay(&format!("/dts-v1/; /plugin/; &a {{ cpus = <{reference}>; }};"));
        let mut tree = Tree::parse(&board, "board").unwrap();
        apply(&mut tree, &first, "first").unwrap();
        let error = apply(&mut tree, &second, "second").unwrap_err().to_string();
        assert!(error.starts_with("/a: cpus") && error.contains(advice), "{error}");
    }
}
