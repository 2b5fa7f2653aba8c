// SPDX-License-Identifier: Apache-2.0 OR MIT
//! References by phandle in the copies of devices: to what the guest has they are kept right, others are left out.

mod support;

use bulkhead_plan::Planned;
use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use bulkhead_plan::tree::{Node, Tree};
use support::{assert_disjoint, bundle, edited_board, overlay, taken};

/// Plans a partition with these devices on QEMU's board with these nodes beside its clock.
fn planned(nodes: &str, devices: &str) -> Planned {
    let board = edited_board(&[("\tpl031@9010000 {", &format!("{nodes}\n\tpl031@9010000 {{"))]);
    let source = format!(
        "/dts-v1/; /plugin/; &{{/}} {{ partitions {{ compatible = \"bulkhead,partitions\"; \
         #address-cells = <2>; #size-cells = <2>; net {{ compatible = \"bulkhead,partition\"; identity-mapped; \
         cpus = <0>; memory = <0 0x1000000>; kernel = \"ticker\"; devices = {devices}; }}; }}; }};"
    );
    let file = bundle(overlay(&source));
    let bundle = Bundle::parse(&file, software_crc32).unwrap();
    let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_disjoint(&planned);
    planned
}

fn tree(planned: &Planned) -> Tree<'_> {
    Tree::parse(&planned.plan.partitions[0].tree.blob, "guest").unwrap()
}

/// The path of the node that the first cell of a property refers to.
fn target(tree: &Tree<'_>, node: Node<'_, '_>, property: &str) -> Option<String> {
    tree.by_phandle(node.cells(property).next()?).map(|node| node.path())
}

fn warnings(planned: &Planned) -> String {
    planned.plan.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

/// An Ethernet controller with a PHY of its own, as a Raspberry Pi 4's GENET. `PHY` is the PHY's phandle.
const ETHERNET: &str = "ethernet@9040000 { compatible = \"an,ethernet\"; reg = <0 0x9040000 0 0x1000>; \
     interrupts = <0 40 4>; phy-handle = <PHY>; phy-mode = \"rgmii\"; \
     mdio { #address-cells = <1>; #size-cells = <0>; \
            ethernet-phy@1 { reg = <1>; phandle = <PHY>; interrupts = <0 41 4>; reset-gpios = <0x9100 3 1>; }; }; };";

#[test]
fn a_reference_inside_a_device_leads_to_the_copy() {
    // As large as QEMU's phandles, or one that the guest's tree has for its own GIC and clock.
    for phandle in ["0x9000", "1", "2", "3"] {
        let planned = planned(&ETHERNET.replace("PHY", phandle), "\"/ethernet@9040000\"");
        let tree = tree(&planned);
        let ethernet = tree.by_path("/ethernet@9040000").expect("it is copied");
        let phy = target(&tree, ethernet, "phy-handle");
        assert_eq!(phy.as_deref(), Some("/ethernet@9040000/mdio/ethernet-phy@1"), "{phandle}");
        let phandles: Vec<u32> = tree.nodes().filter_map(|node| node.phandle()).collect();
        let unique: std::collections::BTreeSet<&u32> = phandles.iter().collect();
        assert_eq!(unique.len(), phandles.len(), "{phandles:x?}");
    }
}

#[test]
fn a_node_inside_a_device_has_its_own_interrupt() {
    let planned = planned(&ETHERNET.replace("PHY", "1"), "\"/ethernet@9040000\"");
    let tree = tree(&planned);
    let phy = tree.by_path("/ethernet@9040000/mdio/ethernet-phy@1").unwrap();
    assert_eq!(phy.cells("interrupts").collect::<Vec<_>>(), [0, 41, 4]);
    assert_eq!(phy.u32("reg"), Some(1), "an address of its own bus");
    let interrupts = &planned.plan.partitions[0].devices[0].interrupts;
    assert_eq!(interrupts.iter().map(|(id, _)| id.get()).collect::<Vec<_>>(), [72, 73]);
}

#[test]
fn what_leads_to_what_stays_behind_is_left_out_with_a_warning() {
    let ports = "gpio@9050000 { compatible = \"a,gpio\"; reg = <0 0x9050000 0 0x1000>; gpio-controller; \
                 #gpio-cells = <2>; phandle = <0x9100>; };";
    let ethernet = ETHERNET.replace("PHY", "1");
    let lacking = planned(&format!("{ports} {ethernet}"), "\"/ethernet@9040000\"");
    let phy = "/ethernet@9040000/mdio/ethernet-phy@1";
    assert!(!tree(&lacking).by_path(phy).unwrap().has("reset-gpios"));
    let rule = format!("{phy}: the guest's copy of this node lacks reset-gpios");
    assert!(warnings(&lacking).contains(&rule), "{}", warnings(&lacking));

    // Given with its controller it keeps them, in whichever order they are named.
    for devices in ["\"/ethernet@9040000\", \"/gpio@9050000\"", "\"/gpio@9050000\", \"/ethernet@9040000\""] {
        let both = planned(&format!("{ports} {ethernet}"), devices);
        let tree = tree(&both);
        let node = tree.by_path(phy).unwrap();
        assert_eq!(target(&tree, node, "reset-gpios").as_deref(), Some("/gpio@9050000"));
        assert_eq!(node.cells("reset-gpios").skip(1).collect::<Vec<_>>(), [3, 1]);
        assert!(!warnings(&both).contains("reset-gpios"), "{}", warnings(&both));
    }
}

#[test]
fn inner_nodes_have_their_clocks_and_supplies() {
    let nodes = "osc: osc { compatible = \"fixed-clock\"; #clock-cells = <0>; clock-frequency = <25000000>; phandle = <2>; };
                 reg: fixed { compatible = \"regulator-fixed\"; regulator-name = \"3v3\"; vin-supply = <4>; phandle = <3>; };
                 in: input { compatible = \"regulator-fixed\"; regulator-name = \"5v\"; phandle = <4>; };
                 bus@9040000 { compatible = \"a,bus\"; reg = <0 0x9040000 0 0x1000>;
                               inner { clocks = <2>; clock-names = \"ref\"; vdd-supply = <3>; }; };";
    let planned = planned(nodes, "\"/bus@9040000\"");
    let tree = tree(&planned);
    let inner = tree.by_path("/bus@9040000/inner").unwrap();
    let clock = tree.by_phandle(inner.u32("clocks").unwrap()).unwrap();
    assert_eq!((clock.u32("clock-frequency"), inner.string("clock-names")), (Some(25_000_000), Some("ref")));
    let supply = tree.by_phandle(inner.u32("vdd-supply").unwrap()).unwrap();
    assert_eq!(supply.string("regulator-name"), Some("3v3"));
    // What a regulator is fed from goes along, too.
    let input = tree.by_phandle(supply.u32("vin-supply").unwrap()).unwrap();
    assert_eq!(input.string("regulator-name"), Some("5v"));
}

#[test]
fn entries_are_as_wide_as_their_targets_say() {
    // Cells that look like phandles are none: each target says how many stand behind its own.
    let nodes = "one: one { compatible = \"a,pwm\"; #pwm-cells = <3>; phandle = <0x9000>; };
                 pins@9060000 { compatible = \"a,pins\"; reg = <0 0x9060000 0 0x1000>; gpio-controller; #gpio-cells = <2>;
                                phandle = <0x9001>; gpio-ranges = <0x9001 0 0x9000 54>; gpios = <0x9001 5 0>, <0>, <0x9001 6 1>; };
                 fan@9040000 { compatible = \"a,fan\"; reg = <0 0x9040000 0 0x1000>; pwms = <0x9000 0x9001 0 0>;
                               pwm-names = \"fan\"; cpus = <0x9001>; };";
    let planned = planned(nodes, "\"/pins@9060000\", \"/fan@9040000\"");
    let tree = tree(&planned);
    let pins = tree.by_path("/pins@9060000").unwrap();
    let own = pins.phandle().expect("it refers to itself");
    assert_eq!(pins.cells("gpio-ranges").collect::<Vec<_>>(), [own, 0, 0x9000, 54]);
    assert_eq!(pins.cells("gpios").collect::<Vec<_>>(), [own, 5, 0, 0, own, 6, 1]);
    let fan = tree.by_path("/fan@9040000").unwrap();
    assert!(!fan.has("pwms") && !fan.has("pwm-names"), "names go with what they name");
    assert_eq!(fan.u32("cpus"), Some(0x9001), "of unknown meaning: as it was, and no phandle of the guest's");
    assert!(tree.by_phandle(0x9001).is_none());
}
