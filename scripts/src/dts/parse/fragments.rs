// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an overlay puts where: `&target { }`, or a fragment written out.

use super::super::{Element, ElementKind, Fragment, Node, Place, Target};

pub(super) fn target_of(reference: &str) -> Target {
    match reference.strip_prefix('{') {
        Some(path) => Target::Path(path.strip_suffix('}').unwrap_or(path).into()),
        None => Target::Label(reference.into()),
    }
}

/// `/ { }`: fragments written out (with `__overlay__`), and what is the root's own.
pub(super) fn root_fragments(mut root: Node, place: Place, fragments: &mut Vec<Fragment>) {
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
