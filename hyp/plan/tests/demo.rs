// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The demo configuration, planned on QEMU's virt board.

mod support;

use bulkhead_plan::board::{Conduit, Gic, Start};
use bulkhead_plan::plan::{GuestGic, Load};
use bulkhead_plan::tree::Tree;
use bulkhead_plan::{bundle, plan_board};
use bulkhead_types::{CpuIndex, IntId, Ipa};
use support::{board, demo_bundle, guest_source, taken};

#[test]
fn the_demo_is_planned_on_both_gics() {
    for gic in [2, 3] {
        let board = board(gic);
        let file = demo_bundle();
        let bundle = bundle::Bundle::parse(&file, bundle::software_crc32).unwrap();
        let planned = plan_board(&board, &bundle, taken()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(planned.board.cpus.len(), 4);
        assert!(planned.board.cpus.iter().all(|cpu| cpu.start == Some(Start::Psci)));
        assert_eq!(planned.board.psci, Some(Conduit::Smc));
        assert_eq!(matches!(planned.board.gic, Gic::V2 { .. }), gic == 2);
        assert_eq!(planned.board.gic.maintenance(), IntId::ppi(9));
        assert_eq!(planned.board.timer.virtual_timer, IntId::ppi(11));

        let names: Vec<&str> = planned.plan.partitions.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["linux-a", "linux-b", "ticker"]);
        let [a, b, ticker] = planned.plan.partitions.as_slice() else { panic!("three partitions") };
        assert_eq!(a.cpus, [CpuIndex(0), CpuIndex(1)]);
        assert_eq!(ticker.cpus, [CpuIndex(3)]);
        assert_eq!(a.memory.iter().map(|memory| memory.frames.size()).sum::<u64>(), 512 << 20);
        for partition in [a, b, ticker] {
            for memory in &partition.memory {
                assert!(memory.frames.start().is_aligned(2 << 20), "{memory:?}");
            }
        }
        // The same image, given twice: both copies come from the same bytes.
        assert_eq!(a.loads[0], Load { to: Ipa(0x4000_0000), bytes: bundle.place("debian-12").unwrap() });
        assert_eq!(a.loads[0], b.loads[0]);
        assert_eq!(ticker.entry, Ipa(0x4000_0000));
        assert_eq!(a.uart.map(|uart| (uart.base, uart.interrupt.get())), Some((Ipa(0x0900_0000), 33)));
        match a.interrupt_controller {
            GuestGic::V2 { distributor, cpu_interface } => {
                assert_eq!((gic, distributor, cpu_interface), (2, Ipa(0x0800_0000), Ipa(0x0801_0000)));
            }
            GuestGic::V3 { distributor, redistributors } => {
                assert_eq!((gic, distributor, redistributors), (3, Ipa(0x0800_0000), Ipa(0x080a_0000)));
            }
        }
        assert!(a.tree.kaslr_seed.is_some() && a.tree.rng_seed.is_some());
        insta::assert_snapshot!(format!("linux_a_gicv{gic}"), guest_source(&a.tree.blob));
        let tree = Tree::parse(&a.tree.blob, "linux-a's tree").unwrap();
        assert_eq!(tree.by_path("/chosen").unwrap().string("stdout-path"), Some("/serial@9000000"));
    }
}
