// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens to nodes and properties. Every text has a reading; every step takes a token, so that it ends.

use super::lexer::{Kind, Token, tokens};
use super::{Document, Element, ElementKind, FileId, Fragment, Node, Place, Property, Sources, Target};
use std::path::Path;

/// Nodes deeper than this are read as if they were at this depth.
const MAX_DEPTH: usize = 64;
/// Files that include each other for ever are cut off here.
const MAX_INCLUDED: usize = 64;

/// Reads a file, with all that it includes.
pub fn parse(sources: &mut Sources, file: FileId) -> Document {
    let mut stream = Vec::new();
    collect(sources, file, 0, &mut stream);
    let references = stream
        .iter()
        .filter_map(|(token, file)| match &token.kind {
            Kind::Reference(name) => Some((name.clone(), Place { file: *file, span: token.span.clone() })),
            _ => None,
        })
        .collect();
    let mut parser = Parser { stream: &stream, at: 0, end: Place { file, span: 0..0 } };
    Document { fragments: parser.document(), references }
}

/// The tokens of a file; `/include/ "name"` gives those of that file instead.
fn collect(sources: &mut Sources, file: FileId, depth: usize, stream: &mut Vec<(Token, FileId)>) {
    let mut tokens = tokens(&sources.file(file).text).into_iter().peekable();
    while let Some(token) = tokens.next() {
        if token.kind != Kind::Directive("include") {
            stream.push((token, file));
            continue;
        }
        let Some(Token { kind: Kind::Text(name), .. }) =
            tokens.next_if(|next| matches!(next.kind, Kind::Text(_)))
        else {
            continue;
        };
        let folder = sources.file(file).path.parent().unwrap_or(Path::new("")).to_path_buf();
        if depth < MAX_INCLUDED
            && sources.files().len() < MAX_INCLUDED
            && let Some(included) = sources.read(&folder.join(name))
        {
            collect(sources, included, depth + 1, stream);
        }
    }
}

struct Parser<'s> {
    stream: &'s [(Token, FileId)],
    at: usize,
    /// The place of the token taken last.
    end: Place,
}

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> Option<&Kind> {
        self.stream.get(self.at + ahead).map(|(token, _)| &token.kind)
    }

    fn is_mark(&self, ahead: usize, mark: u8) -> bool {
        self.peek(ahead) == Some(&Kind::Mark(mark))
    }

    fn take(&mut self) -> Option<(Kind, Place)> {
        let (token, file) = self.stream.get(self.at)?;
        self.at += 1;
        self.end = Place { file: *file, span: token.span.clone() };
        Some((token.kind.clone(), self.end.clone()))
    }

    fn take_mark(&mut self, mark: u8) -> bool {
        let found = self.is_mark(0, mark);
        if found {
            self.take();
        }
        found
    }

    /// Goes behind the next semicolon of this level; stops in front of a brace that closes it.
    fn skip_statement(&mut self) {
        let mut open = 0_usize;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark(b'}') if open == 0 => return,
                Kind::Mark(b'{') => open += 1,
                Kind::Mark(b'}') => open -= 1,
                Kind::Mark(b';') if open == 0 => {
                    self.take();
                    return;
                }
                _ => {}
            }
            self.take();
        }
    }

    fn labels(&mut self) -> Vec<String> {
        let mut labels = Vec::new();
        while let (Some(Kind::Word(label)), true) = (self.peek(0), self.is_mark(1, b':')) {
            labels.push(label.clone());
            self.take();
            self.take();
        }
        labels
    }

    fn document(&mut self) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        // dtc numbers the fragments that it makes of `&target { }` from 0.
        let mut number = 0_usize;
        loop {
            let labels = self.labels();
            let Some((kind, place)) = self.take() else { return fragments };
            match kind {
                Kind::Mark(b'/') if self.is_mark(0, b'{') => {
                    let root = self.node("/".into(), place.clone(), labels, 0);
                    root_fragments(root, place, &mut fragments);
                }
                Kind::Reference(target) if self.is_mark(0, b'{') => {
                    let name = Some(format!("fragment@{number}"));
                    number += 1;
                    let node = self.node(String::new(), place.clone(), labels, 0);
                    fragments.push(Fragment { name, target: target_of(&target), place, node });
                }
                Kind::Directive(_) => self.skip_statement(),
                _ => {}
            }
        }
    }

    /// What stands between the braces of a node, and the semicolon behind them.
    fn node(&mut self, name: String, place: Place, labels: Vec<String>, depth: usize) -> Node {
        let mut node = Node { name, place, labels, properties: Vec::new(), children: Vec::new() };
        self.take_mark(b'{');
        // Levels beyond the deepest are not nested but counted.
        let mut flattened = 0_usize;
        loop {
            let labels = self.labels();
            match self.peek(0) {
                None => return node,
                Some(Kind::Mark(b'}')) => {
                    self.take();
                    self.take_mark(b';');
                    if flattened == 0 {
                        return node;
                    }
                    flattened -= 1;
                }
                Some(Kind::Word(_)) => {
                    let Some((Kind::Word(name), place)) = self.take() else { return node };
                    if !self.is_mark(0, b'{') {
                        node.properties.push(self.property(name, place));
                    } else if depth < MAX_DEPTH {
                        node.children.push(self.node(name, place, labels, depth + 1));
                    } else {
                        self.take();
                        flattened += 1;
                    }
                }
                Some(Kind::Directive("omit-if-no-ref")) => {
                    self.take();
                }
                // A name that is missing in front of its equals sign, and the like.
                Some(_) => {
                    self.take();
                    self.skip_statement();
                }
            }
        }
    }

    /// The value behind a property's name, and the semicolon. A missing semicolon is put where the next
    /// statement begins.
    fn property(&mut self, name: String, place: Place) -> Property {
        let mut property = Property { name, place, value: None, elements: Vec::new() };
        if !self.take_mark(b'=') {
            if !self.take_mark(b';') && !matches!(self.peek(0), Some(Kind::Word(_) | Kind::Mark(b'}'))) {
                self.skip_statement();
            }
            return property;
        }
        let mut value: Option<Place> = None;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark(b';') => {
                    self.take();
                    break;
                }
                Kind::Mark(b'}' | b'{') => break,
                Kind::Word(_) if self.is_mark(1, b'=') || self.is_mark(1, b'{') => break,
                _ => {}
            }
            let Some((kind, place)) = self.take() else { break };
            self.element(kind, place.clone(), &mut property.elements);
            value = Some(join(value, &place, &self.end));
        }
        property.value = value;
        property
    }

    fn element(&mut self, kind: Kind, place: Place, elements: &mut Vec<Element>) {
        match kind {
            Kind::Text(text) => elements.push(Element { kind: ElementKind::Text(text), place }),
            Kind::Reference(name) => elements.push(Element { kind: ElementKind::Reference(name), place }),
            Kind::Mark(b'<') => self.cells(elements),
            Kind::Mark(b'[') => {
                while let Some(kind) = self.peek(0) {
                    if matches!(kind, Kind::Mark(b';' | b'}')) {
                        break;
                    }
                    if matches!(self.take(), Some((Kind::Mark(b']'), _))) {
                        break;
                    }
                }
                elements.push(Element {
                    kind: ElementKind::Other,
                    place: join(Some(place.clone()), &place, &self.end),
                });
            }
            Kind::Directive(_) => elements.push(Element { kind: ElementKind::Other, place }),
            _ => {}
        }
    }

    /// The cells up to `>`; an expression in parentheses is one.
    fn cells(&mut self, elements: &mut Vec<Element>) {
        while let Some(kind) = self.peek(0) {
            if matches!(kind, Kind::Mark(b';' | b'}')) {
                return;
            }
            let Some((kind, place)) = self.take() else { return };
            let (kind, place) = match kind {
                Kind::Mark(b'>') => return,
                Kind::Word(word) => (ElementKind::Cell(number(&word)), place),
                Kind::Character(byte) => (ElementKind::Cell(Some(u64::from(byte))), place),
                Kind::Reference(name) => (ElementKind::Reference(name), place),
                Kind::Mark(b'(') => {
                    self.expression();
                    (ElementKind::Cell(None), join(None, &place, &self.end))
                }
                _ => continue,
            };
            elements.push(Element { kind, place });
        }
    }

    fn expression(&mut self) {
        let mut open = 1_usize;
        while open > 0 {
            match self.peek(0) {
                Some(Kind::Mark(b'(')) => open += 1,
                Some(Kind::Mark(b')')) => open -= 1,
                None | Some(Kind::Mark(b';' | b'{' | b'}')) => return,
                Some(_) => {}
            }
            self.take();
        }
    }
}

/// From the start of `first` (or of `so_far`) to the end of `last`, as far as they are in one file.
fn join(so_far: Option<Place>, first: &Place, last: &Place) -> Place {
    let start = so_far.unwrap_or_else(|| first.clone());
    if start.file != last.file || last.span.end < start.span.start {
        return start;
    }
    Place { file: start.file, span: start.span.start..last.span.end }
}

/// A number as dtc reads it: decimal, octal or hexadecimal, with C's suffixes.
fn number(word: &str) -> Option<u64> {
    let word = word.trim_end_matches(['u', 'U', 'l', 'L']);
    let lower = word.to_ascii_lowercase();
    match lower.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower, 8).ok(),
        None => lower.parse().ok(),
    }
}

fn target_of(reference: &str) -> Target {
    match reference.strip_prefix('{') {
        Some(path) => Target::Path(path.strip_suffix('}').unwrap_or(path).into()),
        None => Target::Label(reference.into()),
    }
}

/// `/ { }`: fragments written out (with `__overlay__`), and what is the root's own.
fn root_fragments(mut root: Node, place: Place, fragments: &mut Vec<Fragment>) {
    let (written_out, own) = root.children.into_iter().partition(|child: &Node| overlay_of(child).is_some());
    root.children = own;
    if !root.children.is_empty() || !root.properties.is_empty() || Vec::is_empty(&written_out) {
        fragments.push(Fragment { name: None, target: Target::Path("/".into()), place, node: root });
    }
    for fragment in written_out {
        let property = fragment.property("target-path").or_else(|| fragment.property("target"));
        let target = match property.and_then(|property| property.elements.first()) {
            Some(Element { kind: ElementKind::Text(path), .. }) => Target::Path(path.clone()),
            Some(Element { kind: ElementKind::Reference(reference), .. }) => target_of(reference),
            _ => Target::Unknown,
        };
        let place =
            property.and_then(|property| property.value.clone()).unwrap_or_else(|| fragment.place.clone());
        let name = Some(fragment.name.clone());
        if let Some(node) = overlay_of(&fragment).cloned() {
            fragments.push(Fragment { name, target, place, node });
        }
    }
}

fn overlay_of(node: &Node) -> Option<&Node> {
    node.children.iter().find(|child| child.name == "__overlay__")
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let all: Vec<_> =
            document.fragments.iter().map(|it| (it.name.as_deref(), it.target.clone())).collect();
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
}
