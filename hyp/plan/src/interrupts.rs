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

/// What is wrong with a phandle that leads nowhere.
const NO_PHANDLE: &str = "no node has this phandle";

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
    let extended = node.has("interrupts-extended");
    let property = if extended { "interrupts-extended" } else { "interrupts" };
    let mut cells = node.cells(property);
    let problem = |rule| Problem::new(node.path(), rule).property(property);
    let parent = if extended || cells.is_empty() {
        None
    } else {
        let missing = || match dangling_parent(node) {
            Some(dangling) => dangling,
            None => problem("no interrupt-parent leads to the controller of this interrupt"),
        };
        Some(interrupt_parent(node).ok_or_else(missing)?)
    };
    let mut found = Vec::with_capacity(cells.len() / 3);
    while !cells.is_empty() {
        let controller = match parent {
            Some(parent) => parent,
            None => {
                let phandle = cells.next().unwrap_or(0);
                let missing = || problem(NO_PHANDLE).value(format!("<{phandle:#x}>"));
                node.tree().by_phandle(phandle).ok_or_else(missing)?
            }
        };
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
    let mut next = || {
        cells.skip_cells(child_cells)?;
        let controller = node.tree().by_phandle(cells.next()?)?;
        let width = controller.u32("#interrupt-cells").filter(|width| *width > 0)?;
        // Without #address-cells an interrupt controller's unit address has none (2.4.3.1).
        cells.skip_cells(controller.u32("#address-cells").unwrap_or(0))?;
        if is_gic(controller) {
            specifier(node, &mut cells, width.max(3), "interrupt-map").ok().map(Some)
        } else {
            cells.skip_cells(width).map(|()| None)
        }
    };
    while let Some(interrupt) = next() {
        let new = interrupt.filter(|interrupt| !found.contains(interrupt));
        found.extend(new);
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

/// The `interrupt-parent` that holds for this node, if it leads nowhere.
fn dangling_parent(node: Node<'_, '_>) -> Option<Problem> {
    let mut up = core::iter::once(node).chain(node.ancestors());
    let (at, phandle) = up.find_map(|at| Some((at, at.u32("interrupt-parent")?)))?;
    let problem = Problem::new(at.path(), NO_PHANDLE).property("interrupt-parent");
    node.tree().by_phandle(phandle).is_none().then(|| problem.value(format!("<{phandle:#x}>")))
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
