// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a problem of the planner, which names node, property and value, to the places in the source.

use super::finding::Mark;
use crate::dts::{Document, Element, ElementKind, Fragment, Node, Place, Property, Target};
use bulkhead_plan::error::Problem;
use bulkhead_plan::tree::Tree;
use std::collections::BTreeMap;

/// An overlay's source, by the name that the bundle has for it.
#[derive(Debug)]
pub struct Overlay {
    /// The name in the bundle.
    pub name: String,
    /// The source.
    pub document: Document,
}

/// Which nodes of the source make up which node of the merged tree.
pub struct Locator<'s> {
    overlays: &'s [Overlay],
    tree: &'s Tree<'s>,
    /// By path, in the order in which they apply.
    nodes: BTreeMap<String, Vec<&'s Node>>,
}

impl<'s> Locator<'s> {
    /// `tree` is the board's, with the overlays merged in where they can be.
    #[must_use]
    pub fn new(overlays: &'s [Overlay], tree: &'s Tree<'s>) -> Self {
        let mut locator = Self { overlays, tree, nodes: BTreeMap::new() };
        let mut labels = BTreeMap::new();
        for fragment in overlays.iter().flat_map(|overlay| &overlay.document.fragments) {
            if let Some(path) = locator.path(&fragment.target, &labels) {
                locator.add(&fragment.node, path, &mut labels);
            }
        }
        locator
    }

    /// Where a fragment goes.
    fn path(&self, target: &Target, labels: &BTreeMap<&str, String>) -> Option<String> {
        match target {
            Target::Path(path) => Some(self.tree.find(path)?.path()),
            Target::Label(label) => match labels.get(label.as_str()) {
                Some(path) => Some(path.clone()),
                None => self.tree.by_path("/__symbols__")?.string(label).map(String::from),
            },
            Target::Unknown => None,
        }
    }

    fn add(&mut self, node: &'s Node, path: String, labels: &mut BTreeMap<&'s str, String>) {
        labels.extend(node.labels.iter().map(|label| (label.as_str(), path.clone())));
        for child in &node.children {
            let child_path =
                if path == "/" { format!("/{}", child.name) } else { format!("{path}/{}", child.name) };
            self.add(child, child_path, labels);
        }
        self.nodes.entry(path).or_default().push(node);
    }

    /// The places that a problem is about: the one to blame first; none if it is about no source.
    #[must_use]
    pub fn find(&self, problem: &Problem) -> Vec<Mark> {
        if let Some(rest) = problem.node.strip_prefix("overlay ") {
            return self.in_overlay(rest, problem);
        }
        if let Some(path) = problem.node.strip_prefix("bundle, /images/") {
            let image = path.split(['/', ',']).next().unwrap_or(path);
            return self.texts(&["kernel", "ramdisk", "device-tree"], |text| text == image);
        }
        let Some(nodes) = self.nodes.get(&problem.node) else {
            // A node of the board's: what names it is to blame.
            return self.texts(&["devices"], |text| {
                self.tree.find(text).is_some_and(|node| node.path() == problem.node)
            });
        };
        let Some(last) = nodes.last() else { return Vec::new() };
        let Some(name) = problem.property.as_deref() else {
            return vec![Mark::primary(last.place.clone(), "")];
        };
        let Some(property) = nodes.iter().rev().find_map(|node| node.property(name)) else {
            return vec![Mark::primary(last.place.clone(), format!("it has no {name}"))];
        };
        let mut marks = blamed(property, problem.value.as_deref());
        marks.extend(self.others_claim(problem));
        marks
    }

    /// `NAME` or `NAME, /FRAGMENT/...`.
    fn in_overlay(&self, rest: &str, problem: &Problem) -> Vec<Mark> {
        let (name, path) = rest.split_once(", /").unwrap_or((rest, ""));
        let Some(overlay) = self.overlays.iter().find(|overlay| overlay.name == name) else {
            return Vec::new();
        };
        let document = &overlay.document;
        let fragment = path.split('/').next().unwrap_or("");
        let named = |it: &&Fragment| !fragment.is_empty() && it.name.as_deref() == Some(fragment);
        if let Some(fragment) = document.fragments.iter().find(named) {
            return vec![Mark::primary(fragment.place.clone(), "")];
        }
        let label = problem.value.as_deref().and_then(|value| value.strip_prefix('&'));
        let references = document.references.iter().filter(|(name, _)| Some(name.as_str()) == label);
        let marks: Vec<Mark> = references.map(|(_, place)| Mark::primary(place.clone(), "")).collect();
        if !marks.is_empty() {
            return marks;
        }
        if problem.rule.contains("node name") {
            let mut long = Vec::new();
            document.fragments.iter().for_each(|fragment| too_long(&fragment.node, &mut long));
            if !long.is_empty() {
                return long;
            }
        }
        document.fragments.first().map(|first| Mark::primary(first.place.clone(), "")).into_iter().collect()
    }

    /// The strings in such properties, anywhere, that are meant.
    fn texts(&self, properties: &[&str], meant: impl Fn(&str) -> bool) -> Vec<Mark> {
        let properties = self.nodes.values().flatten().flat_map(|node| {
            node.properties.iter().filter(|property| properties.contains(&property.name.as_str()))
        });
        let elements = properties.flat_map(|property| &property.elements);
        let found =
            elements.filter(|element| matches!(&element.kind, ElementKind::Text(text) if meant(text)));
        found.map(|element| Mark::primary(element.place.clone(), "")).collect()
    }

    /// Where another partition claims the same, if the rule names one.
    fn others_claim<'p>(&self, problem: &'p Problem) -> Option<Mark> {
        let (parent, own) = problem.node.rsplit_once('/')?;
        let sibling = |name: &'p str| Some((name, self.nodes.get(&format!("{parent}/{name}"))?));
        let claims = [" has this", " owns it"].iter().find_map(|verb| problem.rule.split_once(verb));
        let owner = problem
            .rule
            .split_once("'s memory is there")
            .and_then(|(before, _)| before.split(' ').next_back());
        let name = claims.map(|(name, _)| name).or(owner).filter(|name| *name != own)?;
        let (name, nodes) = sibling(name)?;
        let property = nodes.iter().rev().find_map(|node| node.property(problem.property.as_deref()?))?;
        let place = blamed(property, problem.value.as_deref()).first()?.place.clone();
        Some(Mark::secondary(place, format!("this is {name}'s")))
    }
}

/// The nodes whose names are longer than a node's may be (Devicetree Specification, 2.2.1).
fn too_long(node: &Node, marks: &mut Vec<Mark>) {
    const LONGEST: usize = 31;
    let name = node.name.split('@').next().unwrap_or("");
    if name.len() > LONGEST {
        let text = format!("{} characters; {LONGEST} are allowed", name.len());
        marks.push(Mark::primary(node.place.clone(), text));
    }
    node.children.iter().for_each(|child| too_long(child, marks));
}

/// The part of a property that a value, as the planner writes it, stands for; all of it if none does.
fn blamed(property: &Property, value: Option<&str>) -> Vec<Mark> {
    let Some(value) = value else { return vec![Mark::primary(property.place.clone(), "")] };
    let whole = || property.value.clone().unwrap_or_else(|| property.place.clone());
    let text = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let places = match (text, numbers(value)) {
        (Some(text), _) => {
            let is_it = |element: &&Element| matches!(&element.kind, ElementKind::Text(own) if own == text);
            property
                .elements
                .iter()
                .rfind(is_it)
                .map(|element| vec![element.place.clone()])
                .unwrap_or_default()
        }
        (None, Some(numbers)) => cells(&property.elements, &numbers),
        (None, None) => Vec::new(),
    };
    if places.is_empty() {
        return vec![Mark::primary(whole(), "")];
    }
    places.into_iter().map(|place| Mark::primary(place, "")).collect()
}

/// The numbers in `<0x1 2>`.
fn numbers(value: &str) -> Option<Vec<u64>> {
    let inside = value.strip_prefix('<')?.strip_suffix('>')?;
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    inside.split_whitespace().map(number).collect()
}

/// Where these numbers stand: in a row, of one cell or of two each; else each for itself. Of several places
/// the last, for the first of two equal ones is in order.
fn cells(elements: &[Element], numbers: &[u64]) -> Vec<Place> {
    let cell = |element: &Element| match element.kind {
        ElementKind::Cell(cell) => cell,
        _ => None,
    };
    let row = |wanted: &[u64]| {
        let equal = |window: &&[Element]| {
            window.iter().zip(wanted).all(|(element, wanted)| cell(element) == Some(*wanted))
        };
        let window = elements.windows(wanted.len().max(1)).rev().find(equal)?;
        let (first, last) = (&window.first()?.place, &window.last()?.place);
        (first.file == last.file).then_some(Place { file: first.file, span: first.span.start..last.span.end })
    };
    let pairs: Vec<u64> = numbers.iter().flat_map(|number| [number >> 32, number & 0xffff_ffff]).collect();
    // Of several numbers the pairs come first: <0x40000000 0> is in <0 0x40000000 0 0>, too, beside its place.
    let several = (numbers.len() > 1).then(|| row(&pairs)).flatten();
    if let Some(place) = several.or_else(|| row(numbers)).or_else(|| row(&pairs)) {
        return vec![place];
    }
    let each = |number: &u64| elements.iter().rfind(|element| cell(element) == Some(*number));
    numbers.iter().filter_map(each).map(|element| element.place.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dts::{Sources, parse};

    const TEXT: &str = r#"
        &{/} {
            partitions {
                a { cpus = <0 1>; memory = <0x0 0x40000000 0x0 0x100000>; devices = "/uart@9000000"; };
                c { memory = <0x0 0x40000000 0x0 0x0>; };
                b { cpus = <1 7 8>; kernal = "x"; kernel = "linux"; };
            };
        };
        &nowhere { };
    "#;

    fn marked(problem: &Problem) -> Vec<String> {
        let mut sources = Sources::default();
        let file = sources.add("test.dtso".into(), TEXT.as_bytes());
        let overlays = [Overlay { name: "test.dtbo".into(), document: parse(&mut sources, file) }];
        let mut tree = Tree::new();
        let root = tree.root().id();
        tree.add_node(root, "uart@9000000");
        let marks = Locator::new(&overlays, &tree).find(problem);
        marks.iter().map(|mark| sources.text(&mark.place).to_owned()).collect()
    }

    fn problem(node: &str, property: &'static str, value: &str, rule: &'static str) -> Problem {
        Problem::new(node, rule).property(property).value(value)
    }

    #[test]
    fn values_are_found_as_cells_pairs_and_strings() {
        let taken = problem("/partitions/b", "cpus", "<0x1>", "a has this CPU already");
        assert_eq!(marked(&taken), ["1", "1"]);
        assert_eq!(marked(&problem("/partitions/b", "cpus", "<0x7>", "the board has no such a CPU")), ["7"]);
        assert_eq!(marked(&problem("/partitions/b", "cpus", "<0x7 0x8>", "no")), ["7 8"]);
        assert_eq!(marked(&problem("/partitions/b", "cpus", "<0x1 0x8>", "no")), ["1", "8"]);
        assert_eq!(
            marked(&problem("/partitions/a", "memory", "<0x40000000 0x100000>", "no")),
            ["0x0 0x40000000 0x0 0x100000"]
        );
        assert_eq!(
            marked(&problem("/partitions/c", "memory", "<0x40000000 0x0>", "no")),
            ["0x0 0x40000000 0x0 0x0"]
        );
        assert_eq!(marked(&problem("/partitions/b", "kernel", "\"linux\"", "no")), ["\"linux\""]);
        assert_eq!(marked(&problem("/partitions/b", "cpus", "3 CPUs", "no")), ["<1 7 8>"]);
    }

    #[test]
    fn names_nodes_targets_and_devices_are_found() {
        let unknown = Problem::new("/partitions/b", "unknown").property("kernal");
        assert_eq!(marked(&unknown), ["kernal"]);
        assert_eq!(marked(&Problem::new("/partitions/b", "missing").property("memory")), ["b"]);
        assert_eq!(marked(&Problem::new("/uart@9000000", "bad reg")), ["\"/uart@9000000\""]);
        assert_eq!(marked(&Problem::new("overlay test.dtbo, /fragment@1", "no target")), ["&nowhere"]);
        assert_eq!(marked(&Problem::new("overlay test.dtbo", "no label").value("&nowhere")), ["&nowhere"]);
        assert_eq!(marked(&Problem::new("bundle, /images/linux/hash-1", "wrong")), ["\"linux\""]);
        assert!(marked(&Problem::new("/cpus", "the board has none")).is_empty());
    }
}
