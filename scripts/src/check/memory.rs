// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a board whose tree leaves it to firmware.

use crate::qemu::BoardMemory;
use anyhow::{Context, Result, anyhow, ensure};
use bulkhead_plan::tree::{NodeId, Tree};

/// The tree with this memory in place of its own. A size alone begins where the tree's first memory node does, as
/// firmware has it that fills in such a node.
///
/// # Errors
/// When the tree cannot be read, or does not say where memory begins.
pub fn supply(blob: &[u8], memory: &BoardMemory) -> Result<Vec<u8>> {
    let mut tree = Tree::parse(blob, "the board's tree").map_err(|problem| anyhow!("{problem}"))?;
    let root = tree.root();
    let own = || root.children().filter(|node| node.string("device_type") == Some("memory"));
    let start = || {
        let first = own().next()?.reg().ok()?;
        // A node that firmware fills in says where memory begins by its name at least.
        let by_name = || u64::from_str_radix(own().next()?.name().split_once('@')?.1, 16).ok();
        first.first().map(|(start, _)| *start).or_else(by_name)
    };
    let banks = match memory {
        BoardMemory::Banks(banks) => banks.clone(),
        BoardMemory::Size(mib) => {
            let start = start().context(
                "no memory node of the board's tree says where memory begins, so --memory must say where memory is: --memory MIB@ADDRESS, \
                 for several banks MIB@ADDRESS,MIB@ADDRESS",
            )?;
            vec![(*mib, start)]
        }
    };
    if let Some((mib, start)) =
        banks.iter().find(|(mib, start)| start.checked_add(u64::from(*mib) << 20).is_none())
    {
        return Err(anyhow!("--memory: {mib} MiB at {start:#x} go beyond the end of the address space"));
    }
    let (address_cells, size_cells) = (root.address_cells(), root.size_cells());
    let mut reg = Vec::new();
    // One cell for sizes holds less than 4 GiB.
    for (start, size) in banks.iter().flat_map(|(mib, start)| pieces(*start, u64::from(*mib) << 20)) {
        for (value, cells) in [(start, address_cells), (size, size_cells)] {
            match cells {
                1 => reg.push(u32::try_from(value).ok().with_context(|| {
                    format!(
                        "--memory: {value:#x} does not fit into the one cell that the board's tree has for it"
                    )
                })?),
                2 => reg.extend([(value >> 32) as u32, value as u32]),
                _ => {
                    return Err(anyhow!(
                        "the board's tree has {cells} cells for an address or a size: 1 or 2 fit"
                    ));
                }
            }
        }
    }
    ensure!(!reg.is_empty(), "--memory names no bank");
    let gone: Vec<NodeId> = own().map(|node| node.id()).collect();
    for node in gone {
        tree.set_string(node, "status", "disabled");
    }
    let first = banks.first().map_or(0, |(_, start)| *start);
    let name = format!("memory@{first:x}");
    let taken = tree.root().children().find(|node| node.name() == name).map(|node| node.id());
    let node = taken.unwrap_or_else(|| tree.add_node(NodeId::ROOT, name));
    tree.set_string(node, "status", "okay");
    tree.set_string(node, "device_type", "memory");
    tree.set_cells(node, "reg", &reg);
    Ok(tree.to_blob())
}

/// A bank in pieces of 2 GiB at most.
fn pieces(start: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    const MOST: u64 = 2 << 30;
    (0..size.div_ceil(MOST)).map(move |piece| (start + piece * MOST, MOST.min(size - piece * MOST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_plan::tree::Node;

    /// A tree with one cell for sizes, and a memory node that is to be filled in, unless `bare`.
    fn board(bare: bool) -> Vec<u8> {
        let mut tree = Tree::new();
        tree.set_cells(NodeId::ROOT, "#address-cells", &[2]);
        tree.set_cells(NodeId::ROOT, "#size-cells", &[1]);
        if !bare {
            let node = tree.add_node(NodeId::ROOT, "memory@80000000");
            tree.set_string(node, "device_type", "memory");
            tree.set_cells(node, "reg", &[0, 0x8000_0000, 0]);
        }
        tree.to_blob()
    }

    fn banks(blob: &[u8]) -> Vec<(u64, u64)> {
        let tree = Tree::parse(blob, "the board's tree").unwrap();
        let is_memory =
            |node: &Node<'_, '_>| node.string("device_type") == Some("memory") && node.is_available();
        tree.root().children().filter(is_memory).flat_map(|node| node.reg().unwrap()).collect()
    }

    #[test]
    fn a_size_begins_where_the_tree_has_memory() {
        let tree = supply(&board(false), &BoardMemory::Size(1024)).unwrap();
        assert_eq!(banks(&tree), [(0x8000_0000, 1 << 30)]);
        let beyond = BoardMemory::Banks(vec![(4096, 0xffff_ffff_c000_0000)]);
        assert!(supply(&board(true), &beyond).unwrap_err().to_string().contains("beyond the end"));
        let error = supply(&board(true), &BoardMemory::Size(1024)).unwrap_err().to_string();
        assert!(error.contains("--memory MIB@ADDRESS"), "{error}");
    }

    #[test]
    fn banks_take_the_place_of_all_others() {
        let two: BoardMemory = "948@0x0,1024@0x1_0000_0000".parse().unwrap();
        for bare in [false, true] {
            let tree = supply(&board(bare), &two).unwrap();
            assert_eq!(banks(&tree), [(0, 948 << 20), (1 << 32, 1 << 30)]);
        }
        let tree = supply(&board(true), &BoardMemory::Banks(vec![(5120, 0)])).unwrap();
        assert_eq!(banks(&tree), [(0, 2 << 30), (2 << 30, 2 << 30), (4 << 30, 1 << 30)]);
    }
}
