// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest that is alone on its board: nobody else's interrupts wake its CPU by the way.

use super::Scenario;
use super::lab::{Lab, Partition};
use super::scenarios::finish;
use super::shell::wait;
use crate::qemu::BoardName;
use anyhow::Result;

/// Scenarios for each GIC, and for the Raspberry Pi.
pub const EACH_GIC: &[Scenario] = &[Scenario { name: "line-high-at-its-end", run: line_high }];

/// Every interrupt comes whose line is high again when the guest ends the one before. QEMU's GICv2 does not signal it
/// by itself: see `platform::gic::v2_qemu`.
fn line_high(lab: &mut Lab) -> Result<()> {
    if lab.board.board != BoardName::Raspi4b {
        lab.board.smp = 1;
    }
    let ticker = Partition { more: "bootargs = \"high=2000\";".into(), ..Partition::ticker(0) };
    let mut machine = lab.boot(&[ticker])?;
    wait(&mut machine, "ticker", "^ticker: 2000 interrupts of a line that stayed high, 2000 at 1 kHz$", 60)?;
    wait(&mut machine, "ticker", "^tick 1$", 20)?;
    machine.type_keys("ticker", b"q")?;
    finish(&mut machine)
}
