// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which properties refer to other nodes, and how (dt-schema's core schemas and Linux's bindings).

use alloc::vec::Vec;

use crate::tree::Node;

/// How the entries of a property are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// Phandles alone.
    Phandles,
    /// Phandles, each with as many cells behind it as this property of its target says.
    Specifiers(&'static str),
    /// Phandles, each with this many cells behind it.
    Followed(u32),
    /// A phandle, and cells of the binding's own behind it (a register's offset in a system controller).
    First,
    /// A map from identifiers to specifiers, or what only the guest's own controllers may have: it is not copied.
    Map,
}

use Layout::{First, Followed, Map, Phandles, Specifiers};

/// Properties by their names.
const NAMES: &[(&str, Layout)] = &[
    ("assigned-clock-parents", Specifiers("#clock-cells")),
    ("assigned-clocks", Specifiers("#clock-cells")),
    ("clocks", Specifiers("#clock-cells")),
    ("cooling-device", Specifiers("#cooling-cells")),
    ("dmas", Specifiers("#dma-cells")),
    ("extcon", Phandles),
    ("gpio-ranges", Followed(3)),
    ("gpios", Specifiers("#gpio-cells")),
    ("hwlocks", Specifiers("#hwlock-cells")),
    ("interconnects", Specifiers("#interconnect-cells")),
    ("interrupt-affinity", Phandles),
    ("interrupt-map", Map),
    ("io-channels", Specifiers("#io-channel-cells")),
    ("iommu-map", Map),
    ("iommus", Specifiers("#iommu-cells")),
    ("mboxes", Specifiers("#mbox-cells")),
    ("mdio-parent-bus", Phandles),
    ("memory-region", Phandles),
    ("msi-map", Map),
    ("msi-parent", Specifiers("#msi-cells")),
    ("mux-controls", Specifiers("#mux-control-cells")),
    ("mux-states", Specifiers("#mux-state-cells")),
    ("next-level-cache", Phandles),
    ("nvmem", Phandles),
    ("nvmem-cells", Specifiers("#nvmem-cell-cells")),
    ("operating-points-v2", Phandles),
    ("pcs-handle", Specifiers("#pcs-cells")),
    ("performance-domains", Specifiers("#performance-domain-cells")),
    ("phy", Phandles),
    ("phy-device", Phandles),
    ("phy-handle", Phandles),
    ("phys", Specifiers("#phy-cells")),
    ("power-domains", Specifiers("#power-domain-cells")),
    ("pwms", Specifiers("#pwm-cells")),
    ("remote-endpoint", Phandles),
    ("required-opps", Phandles),
    ("resets", Specifiers("#reset-cells")),
    ("sfp", Phandles),
    ("sound-dai", Specifiers("#sound-dai-cells")),
    ("syscon", First),
    ("thermal-sensors", Specifiers("#thermal-sensor-cells")),
    ("trip", Phandles),
];

/// Properties by the ends of their names.
const ENDS: &[(&str, Layout)] =
    &[("-gpio", Specifiers("#gpio-cells")), ("-gpios", Specifiers("#gpio-cells")), ("-supply", Phandles)];

/// How a property refers to other nodes; `None` if it does not.
pub(super) fn layout(name: &str) -> Option<Layout> {
    let is_pin_state = name.strip_prefix("pinctrl-").is_some_and(|state| state.parse::<u8>().is_ok());
    if is_pin_state {
        return Some(Phandles);
    }
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.or_else(|| ENDS.iter().find(|(end, _)| name.ends_with(end))).map(|(_, layout)| *layout)
}

/// The property with the names of another one's entries, which goes where that goes.
pub(super) fn names_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "clocks" => "clock-names",
        "dmas" => "dma-names",
        "interconnects" => "interconnect-names",
        "io-channels" => "io-channel-names",
        "mboxes" => "mbox-names",
        "memory-region" => "memory-region-names",
        "nvmem-cells" => "nvmem-cell-names",
        "phys" => "phy-names",
        "pinctrl-0" => "pinctrl-names",
        "power-domains" => "power-domain-names",
        "pwms" => "pwm-names",
        "resets" => "reset-names",
        "assigned-clocks" => "assigned-clock-rates",
        _ => return None,
    })
}

/// One entry: the node that it refers to, if there is one, and the cells behind the phandle.
pub(super) struct Entry<'t, 'a> {
    pub(super) phandle: u32,
    pub(super) target: Option<Node<'t, 'a>>,
    pub(super) cells: Vec<u32>,
}

/// The entries of a property of this layout. The last one has no target where its layout is unknown: nothing behind it
/// can be read.
pub(super) fn entries<'t, 'a>(node: Node<'t, 'a>, name: &str, layout: Layout) -> Vec<Entry<'t, 'a>> {
    let mut cells = node.cells(name);
    let mut entries = Vec::new();
    while let Some(phandle) = cells.next() {
        let target = node.tree().by_phandle(phandle);
        let width = match (layout, target) {
            (Phandles, _) => Some(0),
            (Followed(width), _) => Some(width),
            (First, _) => u32::try_from(cells.len()).ok(),
            (Specifiers(property), Some(target)) => {
                // These two came without cells before they had any.
                let old = matches!(property, "#nvmem-cell-cells" | "#msi-cells").then_some(0);
                target.u32(property).or(old)
            }
            // An empty entry.
            (Specifiers(_), None) if phandle == 0 => Some(0),
            (Specifiers(_), None) | (Map, _) => None,
        };
        let taken = width.filter(|width| cells.len() >= *width as usize);
        let Some(width) = taken else {
            entries.push(Entry { phandle, target: None, cells: Vec::new() });
            break;
        };
        let cells = cells.by_ref().take(width as usize).collect();
        entries.push(Entry { phandle, target, cells });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_order() {
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn references_are_known_by_name_and_by_ending() {
        assert_eq!(layout("phy-handle"), Some(Phandles));
        assert_eq!(layout("reset-gpios"), Some(Specifiers("#gpio-cells")));
        assert_eq!(layout("vdd-supply"), Some(Phandles));
        assert_eq!(layout("pinctrl-1"), Some(Phandles));
        assert_eq!(layout("pinctrl-names"), None);
        assert_eq!(layout("cpus"), None);
        assert_eq!(layout("gpio-ranges"), Some(Followed(3)));
        assert_eq!(layout("phy-mode"), None);
    }
}
