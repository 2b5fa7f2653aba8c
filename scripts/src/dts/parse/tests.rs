// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Readings of texts, good and broken.

use super::super::{Document, ElementKind, Node, Place, Sources, Target};
use super::parse;
use proptest::prelude::*;

fn read(text: &str) -> (Sources, Document) {
    let mut sources = Sources::default();
    let file = sources.add("test.dtso".into(), text.as_bytes());
    let document = parse(&mut sources, file);
    (sources, document)
}

#[test]
fn an_overlay_gives_its_nodes_and_places() {
    let text = "/dts-v1/;\n/plugin/;\n&{/} {\n\tpartitions {\n\t\ta: one {\n\t\t\tcpus = <0 0x1>, <(1 + 1) &x>;\n\
                \t\t\tflag;\n\t\t\tdevices = \"/p\", \"q\"; /* ; */\n\t\t};\n\t};\n};\n&uart0 { status = \"okay\"; };";
    let (sources, document) = read(text);
    let [first, second] = document.fragments.as_slice() else { panic!("{document:#?}") };
    assert_eq!((first.name.as_deref(), &first.target), (Some("fragment@0"), &Target::Path("/".into())));
    assert_eq!(
        (second.name.as_deref(), &second.target),
        (Some("fragment@1"), &Target::Label("uart0".into()))
    );
    let one = &first.node.children[0].children[0];
    assert_eq!((one.name.as_str(), one.labels.as_slice()), ("one", ["a".to_owned()].as_slice()));
    let cpus = one.property("cpus").unwrap();
    assert_eq!(sources.text(cpus.value.as_ref().unwrap()), "<0 0x1>, <(1 + 1) &x>");
    let kinds: Vec<_> = cpus.elements.iter().map(|element| element.kind.clone()).collect();
    let reference = ElementKind::Reference("x".into());
    assert_eq!(
        kinds,
        [ElementKind::Cell(Some(0)), ElementKind::Cell(Some(1)), ElementKind::Cell(None), reference]
    );
    assert!(one.property("flag").unwrap().value.is_none());
    let devices = one.property("devices").unwrap();
    assert_eq!(sources.text(&devices.elements[1].place), "\"q\"");
    assert_eq!(document.references.len(), 3);
}

#[test]
fn fragments_written_out_are_fragments() {
    let text = "/ { fragment@7 { target-path = \"/soc\"; __overlay__ { x; }; };\n\
                other { target = <&label>; __overlay__ { }; }; own { }; };";
    let (sources, document) = read(text);
    let all: Vec<_> = document.fragments.iter().map(|it| (it.name.as_deref(), it.target.clone())).collect();
    assert_eq!(
        all,
        [
            (None, Target::Path("/".into())),
            (Some("fragment@7"), Target::Path("/soc".into())),
            (Some("other"), Target::Label("label".into()))
        ]
    );
    assert_eq!(sources.text(&document.fragments[1].place), "\"/soc\"");
}

#[test]
fn a_missing_semicolon_loses_nothing_else() {
    let (_, document) =
        read("&{/} { a { cpus = <0 1>\n\tmemory = <2>;\n\tflag\n\tlast = \"x\" } b { c = <1; }; };");
    let nodes = &document.fragments[0].node.children;
    let names = |node: &Node| node.properties.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&nodes[0]), ["cpus", "memory", "flag", "last"]);
    assert_eq!(names(&nodes[1]), ["c"]);
}

#[test]
fn included_files_are_read_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("inner.dtsi"), "inner { /include/ \"outer.dtso\" x = <1>; };").unwrap();
    std::fs::write(path("outer.dtso"), "&{/} { /include/ \"inner.dtsi\" /include/ \"none\" };").unwrap();
    let mut sources = Sources::default();
    let file = sources.read(&path("outer.dtso")).unwrap();
    let document = parse(&mut sources, file);
    let inner = &document.fragments[0].node.children[0];
    assert_eq!(inner.name, "inner");
    assert_eq!(sources.file(inner.place.file).path, path("inner.dtsi"));
}

#[test]
fn deep_nodes_end() {
    let text = "a { ".repeat(100_000);
    let (_, document) = read(&format!("/ {{ {text}"));
    assert_eq!(document.fragments.len(), 1);
    read(&format!("/ {{ {} }};", "a { b = <1>; };".repeat(1000)));
}

const PIECES: &[&str] = &[
    "&{/} ",
    "&x ",
    "/ ",
    "{ ",
    "}; ",
    "}",
    ";",
    "a",
    "a: ",
    "cpus ",
    "= ",
    "<",
    ">",
    "0x1 ",
    "(",
    ")",
    "\"s\"",
    "\"",
    "'",
    "[",
    "]",
    "/include/ ",
    "/plugin/",
    "/*",
    "*/",
    "//",
    "\n",
    "&",
    "&{",
    "\\",
    "é",
    "# 1",
    ",",
    "\u{0}",
];

fn check(text: &str) {
    fn places(node: &Node, visit: &mut impl FnMut(&Place)) {
        visit(&node.place);
        for property in &node.properties {
            visit(&property.place);
            property.value.iter().for_each(&mut *visit);
            property.elements.iter().for_each(|element| visit(&element.place));
        }
        node.children.iter().for_each(|child| places(child, visit));
    }
    let (sources, document) = read(text);
    for fragment in &document.fragments {
        places(&fragment.node, &mut |place| {
            let text = &sources.file(place.file).text;
            assert!(text.get(place.span.clone()).is_some(), "{place:?} in {text:?}");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_text_is_too_broken(text in "\\PC*") {
        check(&text);
    }

    #[test]
    fn no_order_of_tokens_is_too_strange(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..80)) {
        check(&pieces.concat());
    }
}
