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

/// The property with the interrupts of the devices behind a bus.
const MAP: &str = "interrupt-map";

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
    let mut first = None;
    let found = each_interrupt(node, |problem| _ = first.get_or_insert(problem));
    match first {
        Some(Unread::Malformed(problem)) => Err(problem),
        Some(Unread::Elsewhere(controller)) => Err(Problem::new(
            node.path(),
            format!(
                "its interrupt goes to {}, and only those that go straight to the GIC are supported yet",
                controller.path()
            ),
        )
        .property(property(node))),
        None => Ok(found),
    }
}

/// The interrupts of `node` that go to the GIC directly. What is malformed is added to `problems`, with each controller
/// that another interrupt goes to, to `elsewhere`.
pub(crate) fn interrupts_at_gic<'t, 'a>(
    node: Node<'t, 'a>,
    problems: &mut Vec<Problem>,
    elsewhere: &mut Vec<Node<'t, 'a>>,
) -> Vec<(IntId, Trigger)> {
    each_interrupt(node, |unread| match unread {
        Unread::Malformed(problem) => problems.push(problem),
        Unread::Elsewhere(controller) => elsewhere.push(controller),
    })
}

/// Likewise, where there is nobody to warn.
pub(crate) fn understood_interrupts(node: Node<'_, '_>) -> Vec<(IntId, Trigger)> {
    each_interrupt(node, |_| ())
}

/// Why an interrupt is not the GIC's.
enum Unread<'t, 'a> {
    Malformed(Problem),
    Elsewhere(Node<'t, 'a>),
}

/// The property that holds for this node: the extended one takes precedence (Devicetree Specification, 2.4.1.2).
fn property(node: Node<'_, '_>) -> &'static str {
    if node.has("interrupts-extended") { "interrupts-extended" } else { "interrupts" }
}

/// The interrupts that are understood; `note` has each that is not. Behind a specifier of unknown width nothing is.
fn each_interrupt<'t, 'a>(node: Node<'t, 'a>, mut note: impl FnMut(Unread<'t, 'a>)) -> Vec<(IntId, Trigger)> {
    let property = property(node);
    let mut cells = node.cells(property);
    let problem = |rule| Problem::new(node.path(), rule).property(property);
    let mut found = Vec::with_capacity(cells.len() / 3);
    let mut parent = None;
    if property == "interrupts" && !cells.is_empty() {
        parent = interrupt_parent(node);
        if parent.is_none() {
            let missing = || problem("no interrupt-parent leads to the controller of this interrupt");
            note(Unread::Malformed(dangling_parent(node).unwrap_or_else(missing)));
            return found;
        }
    }
    while !cells.is_empty() {
        let controller = parent.or_else(|| {
            let phandle = cells.next()?;
            let controller = node.tree().by_phandle(phandle);
            if controller.is_none() {
                note(Unread::Malformed(problem(NO_PHANDLE).value(format!("<{phandle:#x}>"))));
            }
            controller
        });
        let Some(controller) = controller else { break };
        if !is_gic(controller) {
            note(Unread::Elsewhere(controller));
            // All of `interrupts` goes there.
            let width = controller.u32("#interrupt-cells").filter(|_| parent.is_none());
            match width.and_then(|width| cells.skip_cells(width)) {
                Some(()) => continue,
                None => break,
            }
        }
        let left = cells.len();
        let read = gic_width(controller).and_then(|width| specifier(node, &mut cells, width, property));
        match read {
            Ok(interrupt) => found.push(interrupt),
            Err(problem) => {
                note(Unread::Malformed(problem));
                if cells.is_empty() || cells.len() == left {
                    break;
                }
            }
        }
    }
    found
}

/// The GIC's interrupts in an `interrupt-map`: those of the devices behind a bus (Devicetree
/// Specification, 2.4.3). What is malformed is added to `problems`; what leads elsewhere is left out.
pub(crate) fn mapped_interrupts(node: Node<'_, '_>, problems: &mut Vec<Problem>) -> Vec<(IntId, Trigger)> {
    let mut cells = node.cells(MAP);
    let mut found: Vec<(IntId, Trigger)> = Vec::new();
    while !cells.is_empty() {
        let left = cells.len();
        match map_entry(node, &mut cells) {
            Ok(Some(interrupt)) if !found.contains(&interrupt) => found.push(interrupt),
            Ok(_) if cells.len() < left => {}
            Ok(_) => break,
            Err((problem, is_whole)) => {
                problems.push(problem);
                if !is_whole {
                    break;
                }
            }
        }
    }
    found
}

/// Takes one entry of an `interrupt-map`: its interrupt if that is the GIC's. An error comes with whether the entry's
/// end is known.
fn map_entry(node: Node<'_, '_>, cells: &mut Cells<'_>) -> Result<Option<(IntId, Trigger)>, (Problem, bool)> {
    let problem = |rule: &'static str| Problem::new(node.path(), rule).property(MAP);
    let short = || (problem("its last entry is cut short"), false);
    // The binding requires #interrupt-cells of a node with a map; most of those that forget it are PCI's, with one.
    let child_cells = node.address_cells().saturating_add(node.u32("#interrupt-cells").unwrap_or(1));
    let phandle = cells.skip_cells(child_cells).and_then(|()| cells.next()).ok_or_else(short)?;
    let missing = || (problem(NO_PHANDLE).value(format!("<{phandle:#x}>")), false);
    let controller = node.tree().by_phandle(phandle).ok_or_else(missing)?;
    // Without #address-cells an interrupt controller's unit address has none (2.4.3.1).
    cells.skip_cells(controller.u32("#address-cells").unwrap_or(0)).ok_or_else(short)?;
    if is_gic(controller) {
        let width = gic_width(controller).map_err(|problem| (problem, false))?;
        let is_whole = cells.len() >= width as usize;
        return specifier(node, cells, width, MAP).map(Some).map_err(|problem| (problem, is_whole));
    }
    let unknown = || {
        let rule = format!("it leads to {}, which has no #interrupt-cells", controller.path());
        (Problem::new(node.path(), rule).property(MAP), false)
    };
    let width = controller.u32("#interrupt-cells").ok_or_else(unknown)?;
    cells.skip_cells(width).ok_or_else(short)?;
    Ok(None)
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

/// The cells of a specifier at the GIC.
fn gic_width(gic: Node<'_, '_>) -> Result<u32, Problem> {
    match gic.u32("#interrupt-cells") {
        Some(width @ 3..=4) => Ok(width),
        _ => Err(Problem::new(gic.path(), "a GIC has 3 or 4 interrupt cells").property("#interrupt-cells")),
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
