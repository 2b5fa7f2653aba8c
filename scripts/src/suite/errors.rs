// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A physical SError while a guest runs. No device of QEMU's signals one, so a debugger moves a CPU that comes to EL2
//! with an HVC from one vector to the other.

use super::Scenario;
use super::debugger::{CPSR, EL2, PC, Stub};
use super::lab::{Lab, Partition};
use super::panics::{image, symbol};
use super::shell::wait;
use crate::console::HYPERVISOR;
use anyhow::{Result, ensure};
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario { name: "serror", run: serror };

/// Vectors of exceptions from a lower level in AArch64: synchronous, SError (Arm ARM, VBAR_EL2).
const SYNCHRONOUS: u64 = 0x400;
const SERROR: u64 = 0x580;

/// Without FEAT_RAS, and with it: then EL2 says what the guest is told.
fn serror(lab: &mut Lab) -> Result<()> {
    let stub = Stub::new(lab);
    ["cortex-a72", "max"].iter().try_for_each(|cpu| {
        lab.board.cpu = (*cpu).into();
        passed_on(lab, &stub)
    })?;
    discarded(lab, &stub)
}

/// One that EL2 lets in while no vCPU is on is taken and forgotten; without one, nothing is. The debugger takes a CPU in EL2 to
/// the function, and to the vector of an SError of EL2's own as if it had been taken from there.
fn discarded(lab: &Lab, stub: &Stub) -> Result<()> {
    /// PSTATE.A, and the vector of an SError at EL2 (Arm ARM, VBAR_EL2).
    const A: u64 = 1 << 8;
    const OWN_SERROR: u64 = 0x380;
    /// Into `drain_error`, behind the instruction that lets SErrors in; into `enter_guest`, where ELR_EL2 is x1 and SPSR_EL2 x2.
    const WINDOW: u64 = 3 * 4;
    const SET_RETURN: [u64; 2] = [2 * 4, 4 * 4];
    let mut machine = lab.boot(&[Partition {
        name: "probe",
        memory: 16,
        more: "bootargs = \"errors=1\";".into(),
        kernel: "probe",
        ..Partition::ticker(0)
    }])?;
    wait(&mut machine, "probe", "^errors: waiting", 60)?;
    let mut debugger = stub.attach()?;
    let image = image(lab)?;
    let place = |name| symbol(lab, name).map(|at| image + at);
    let (vectors, drain, enter, landing) =
        (place("vectors")?, place("drain_error")?, place("enter_guest")?, place("leave_guest")?);
    debugger.run_to(vectors + SYNCHRONOUS, &[0])?;
    // Nothing is pending.
    debugger.set_register(0, 30, landing)?;
    debugger.set_register(0, PC, drain)?;
    debugger.run_to(landing, &[0])?;
    ensure!(debugger.register(0, 0)? == 0, "an SError that was not there");
    for (from, taken) in [(drain + WINDOW, 1), (drain + WINDOW + 8, 1)] {
        for (register, value) in [(1, from), (2, EL2 & !A), (PC, enter + SET_RETURN[0])] {
            debugger.set_register(0, register, value)?;
        }
        debugger.run_to(enter + SET_RETURN[1], &[0])?;
        debugger.set_register(0, 30, landing)?;
        debugger.set_register(0, PC, vectors + OWN_SERROR)?;
        debugger.run_to(landing, &[0])?;
        ensure!(debugger.register(0, 0)? == taken, "the SError is not noticed");
        ensure!(debugger.register(0, CPSR)? & A != 0, "SErrors stay unmasked");
    }
    machine.kill();
    Ok(())
}

/// The partition that had the CPU gets it, and what becomes of it is the guest's affair.
fn passed_on(lab: &Lab, stub: &Stub) -> Result<()> {
    let probe = Partition {
        name: "probe",
        memory: 16,
        kernel: "probe",
        more: "bootargs = \"errors=1\";".into(),
        ..Partition::ticker(0)
    };
    let mut machine = lab.boot(&[probe, Partition::ticker(1)])?;
    wait(&mut machine, "ticker", "^tick 1", 60)?;
    wait(&mut machine, "probe", "^errors: waiting", 60)?;
    let mut debugger = stub.attach()?;
    let vectors = image(lab)? + symbol(lab, "vectors")?;
    // Only the probe's CPU goes on: what comes from it now is its HVC.
    debugger.run_to(vectors + SYNCHRONOUS, &[0])?;
    debugger.set_register(0, PC, vectors + SERROR)?;
    debugger.let_run(&[0, 1, 2, 3])?;
    wait(&mut machine, HYPERVISOR, r"^warning: probe/0: SError passed on to it \(ESR 0x5a00005e\)", 20)?;
    let count = wait(&mut machine, "probe", r"^probe: (\d+) passed, (\d+) failed", 20)?;
    ensure!(&count[2] == "0" && &count[1] == "5", "the probe says {}", &count[0]);
    let limit = machine.patience(Duration::from_secs(20));
    machine.wait_off("probe", limit)?;
    wait(&mut machine, "ticker", "^tick", 20)?;
    machine.kill();
    Ok(())
}
