// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A node's interrupts, as the GIC numbers them (Devicetree Specification, 2.4; Linux's
//! `interrupt-controller/arm,gic.yaml` and `arm,gic-v3.yaml`).

use alloc::format;
use alloc::vec::Vec;

use bulkhead_types::{IntId, Trigger};

use crate::error::Problem;
use crate::tree::{Cells, Node};

/// `compatible` strings of GICs of version 2.
pub(crate) const GIC_V2: &[&str] =
    &["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,eb11mp-gic"];
/// `compatible` strings of GICs of version 3, and of version 4 working as such.
pub(crate) const GIC_V3: &[&str] = &["arm,gic-v3"];

/// The first cell of an interrupt specifier: which block of IDs the second one counts in.
const SPI: u32 = 0;
const PPI: u32 = 1;
const EXTENDED_SPI: u32 = 2;
const EXTENDED_PPI: u32 = 3;

/// Whether a node is the interrupt controller of a board that Bulkhead runs on.
pub(crate) fn is_gic(node: Node<'_, '_>) -> bool {
    node.is_compatible_with_any(GIC_V2) || node.is_compatible_with_any(GIC_V3)
}

/// The interrupts of `node`, all of which must go to the GIC directly.
///
/// # Errors
/// A specifier that is malformed, or an interrupt that goes to another controller.
pub(crate) fn interrupts(node: Node<'_, '_>) -> Result<Vec<(IntId, Trigger)>, Problem> {
    if node.has("interrupts-extended") {
        return extended(node);
    }
    let mut cells = node.cells("interrupts");
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let controller = interrupt_parent(node).ok_or_else(|| {
        Problem::new(node.path(), "no interrupt-parent leads to the controller of this interrupt")
            .property("interrupts")
    })?;
    let width = specifier_width(node, controller, "interrupts")?;
    let mut found = Vec::with_capacity(cells.len() / 3);
    while !cells.is_empty() {
        found.push(specifier(node, &mut cells, width, "interrupts")?);
    }
    Ok(found)
}

fn extended(node: Node<'_, '_>) -> Result<Vec<(IntId, Trigger)>, Problem> {
    let property = "interrupts-extended";
    let mut cells = node.cells(property);
    let mut found = Vec::new();
    while let Some(phandle) = cells.next() {
        let controller = node.tree().by_phandle(phandle).ok_or_else(|| {
            Problem::new(node.path(), "no node has this phandle")
                .property(property)
                .value(format!("<{phandle:#x}>"))
        })?;
        let width = specifier_width(node, controller, property)?;
        found.push(specifier(node, &mut cells, width, property)?);
    }
    Ok(found)
}

/// The GIC's interrupts in an `interrupt-map`: those of the devices behind a bus (Devicetree
/// Specification, 2.4.3). What is malformed, or leads elsewhere, is left out.
pub(crate) fn mapped_interrupts(node: Node<'_, '_>) -> Vec<(IntId, Trigger)> {
    let mut cells = node.cells("interrupt-map");
    let child_cells = node.address_cells().saturating_add(node.u32("#interrupt-cells").unwrap_or(1));
    let mut found: Vec<(IntId, Trigger)> = Vec::new();
    while !cells.is_empty() {
        let entry = cells.skip_cells(child_cells).and_then(|()| cells.next());
        let controller = entry.and_then(|phandle| node.tree().by_phandle(phandle));
        let Some(controller) = controller else { break };
        let Some(width) = controller.u32("#interrupt-cells").filter(|width| *width > 0) else { break };
        // Without #address-cells an interrupt controller's unit address has none (2.4.3.1).
        let unit = controller.u32("#address-cells").unwrap_or(0);
        if cells.skip_cells(unit).is_none() {
            break;
        }
        if !is_gic(controller) {
            if cells.skip_cells(width).is_none() {
                break;
            }
            continue;
        }
        match specifier(node, &mut cells, width.max(3), "interrupt-map") {
            Ok(interrupt) if !found.contains(&interrupt) => found.push(interrupt),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

/// The controller that `interrupts` of this node goes to.
pub(crate) fn interrupt_parent<'t, 'a>(node: Node<'t, 'a>) -> Option<Node<'t, 'a>> {
    let mut at = node;
    // Every step goes nearer to the root or to a controller; the bound is for trees that loop.
    for _ in 0..crate::tree::MAX_DEPTH {
        at = match at.u32("interrupt-parent") {
            Some(phandle) => node.tree().by_phandle(phandle)?,
            None => at.parent()?,
        };
        if at.has("interrupt-controller") || at.has("interrupt-map") {
            return Some(at);
        }
    }
    None
}

fn specifier_width(
    node: Node<'_, '_>,
    controller: Node<'_, '_>,
    property: &'static str,
) -> Result<u32, Problem> {
    if !is_gic(controller) {
        return Err(Problem::new(
            node.path(),
            format!(
                "its interrupt goes to {}, and only those that go straight to the GIC are supported yet",
                controller.path()
            ),
        )
        .property(property));
    }
    match controller.u32("#interrupt-cells") {
        Some(width @ 3..=4) => Ok(width),
        _ => {
            Err(Problem::new(controller.path(), "a GIC has 3 or 4 interrupt cells")
                .property("#interrupt-cells"))
        }
    }
}

fn specifier(
    node: Node<'_, '_>,
    cells: &mut Cells<'_>,
    width: u32,
    property: &'static str,
) -> Result<(IntId, Trigger), Problem> {
    let (Some(block), Some(number), Some(flags), Some(())) =
        (cells.next(), cells.next(), cells.next(), cells.skip_cells(width.saturating_sub(3)))
    else {
        return Err(
            Problem::new(node.path(), format!("an interrupt takes {width} cells here")).property(property)
        );
    };
    let bad = |rule| {
        Problem::new(node.path(), rule).property(property).value(format!("<{block} {number} {flags:#x}>"))
    };
    let id = match block {
        SPI => IntId::spi(number),
        PPI if number < 16 => Some(IntId::ppi(number as u8)),
        EXTENDED_SPI | EXTENDED_PPI => return Err(bad("extended interrupt ranges are not supported yet")),
        _ => None,
    };
    let trigger = match flags & 0xf {
        1 | 2 => Trigger::Edge,
        4 | 8 => Trigger::Level,
        _ => return Err(bad("the trigger must be one of 1 and 2 (edges) and 4 and 8 (levels)")),
    };
    Ok((id.ok_or_else(|| bad("the GIC has no such interrupt"))?, trigger))
}
