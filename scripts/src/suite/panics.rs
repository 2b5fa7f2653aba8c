// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hypervisor's own faults, made by a debugger: a board that stops for one says where and why, once, and then
//! does what the configuration says.

use super::Scenario;
use super::debugger::{CPSR, Debugger, EL2, PC, SP, Stub};
use super::lab::{Lab, Partition, overlay};
use super::shell::{regex, wait};
use crate::build;
use crate::console::HYPERVISOR;
use crate::machine::{ESCAPE, Failure, Machine};
use anyhow::{Context, Result, ensure};
use bulkhead_plan::early::STACK_SIZE;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "panic-and-power-off", run: power_off },
    Scenario { name: "panic-and-reset", run: reset },
    Scenario { name: "panic-and-halt", run: halt },
    Scenario { name: "two-panics-at-once", run: two },
    Scenario { name: "panic-within-a-panic", run: within },
    Scenario { name: "stack-overflow", run: stack_overflow },
];

/// Nothing is mapped there at EL2.
const NOWHERE: u64 = 0x10;
/// QEMU's virt board loads the image 2 MiB above the start of memory, behind code of QEMU's own.
pub const LOADED: u64 = START_OF_MEMORY + 0x20_0000;
const START_OF_MEMORY: u64 = 0x4000_0000;

/// Where the image runs: it moves to the top of memory.
pub fn image(lab: &Lab) -> Result<u64> {
    let header = fs::read(lab.project().hypervisor_image())?;
    let size = header.get(16..24).and_then(|size| size.try_into().ok()).context("the image has no header")?;
    Ok(START_OF_MEMORY + (u64::from(lab.board.mib()?) << 20) - u64::from_le_bytes(size))
}

/// All of the board's.
const CPUS: &[usize] = &[0, 1, 2, 3];

/// Two guests that count, on CPU 0 and on CPU 1; the board is stopped.
fn start(lab: &mut Lab, properties: &str) -> Result<(Machine, Debugger)> {
    let stub = Stub::new(lab);
    let second = Partition { name: "second", ..Partition::ticker(1) };
    let source = overlay(&[Partition::ticker(0), second]).replacen(
        "\t\tticker {",
        &format!("\t\t{properties}\n\t\tticker {{"),
        1,
    );
    let bundle = lab.pack_with_ticker(&source)?;
    let mut machine = lab.boot_bundle(Some(&bundle))?;
    wait(&mut machine, "ticker", "^tick 1", 60)?;
    wait(&mut machine, "second", "^tick 1", 60)?;
    let debugger = stub.attach()?;
    Ok((machine, debugger))
}

/// Has the first of these CPUs whose guest comes to EL2 go on there where nothing is; says which.
fn derail(lab: &Lab, debugger: &mut Debugger, cpus: &[usize]) -> Result<usize> {
    // A synchronous exception from a lower level (Arm ARM, D1.3.1.5). A CPU that a debugger moves to EL2 itself would
    // go on with the translation of EL1.
    let cpu = debugger.run_to(image(lab)? + symbol(lab, "vectors")? + 0x400, cpus)?;
    ensure!(debugger.register(cpu, CPSR)? & EL2 == EL2, "CPU {cpu} is not at EL2");
    debugger.set_register(cpu, PC, NOWHERE)?;
    Ok(cpu)
}

/// Waits for these lines, one after the other.
fn expect(machine: &mut Machine, lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| wait(machine, HYPERVISOR, line, 20).map(|_| ()))
}

/// What is said of a jump to [`NOWHERE`] from CPU `cpu`. The guest's registers are no stack of the hypervisor's, so there
/// is nothing to trace back.
fn expect_panic(machine: &mut Machine, cpu: usize) -> Result<()> {
    let who = format!("^  on CPU {cpu} of {}$", ["ticker", "second"][cpu]);
    expect(
        machine,
        &[
            r"^panic: synchronous exception at EL2: ELR 0x10 \(image \+ 0x[0-9a-f]+\)",
            r"^  instruction abort at 0x10: translation fault, level \d \(ESR_EL2 0x86[0-9a-f]+: class 0x21\)",
            r"^  FAR 0x10, SP 0x[0-9a-f]+",
            &who,
            r"^  x0  \[[0-9a-f, ]+\]",
            r"^  x28 \[",
        ],
    )
}

/// QEMU has ended by itself, as it does when the board powers off, and `not` was not said before.
fn ended(machine: &mut Machine, not: &str) -> Result<()> {
    let limit = machine.patience(Duration::from_secs(30));
    match machine.wait(HYPERVISOR, &regex(not)?, limit) {
        Err(Failure::Waited(_, _, why, _)) if why == "QEMU has ended" => Ok(()),
        other => anyhow::bail!("the board is to end: {other:?}"),
    }
}

fn power_off(lab: &mut Lab) -> Result<()> {
    let (mut machine, mut debugger) = start(lab, "")?;
    let cpu = derail(lab, &mut debugger, CPUS)?;
    debugger.let_run(CPUS)?;
    expect_panic(&mut machine, cpu)?;
    ended(&mut machine, "^(panic|  from)")
}

/// The board boots again.
fn reset(lab: &mut Lab) -> Result<()> {
    lab.board.extra.extend(["-action", "reboot=reset"].map(Into::into));
    let (mut machine, mut debugger) = start(lab, "on-panic = \"reset\";")?;
    let cpu = derail(lab, &mut debugger, CPUS)?;
    debugger.let_run(CPUS)?;
    expect_panic(&mut machine, cpu)?;
    // Its first line may stand behind the unfinished one of a guest that was stopped in the middle of it.
    expect(&mut machine, &["^board: ", "^second: started"])?;
    machine.kill();
    Ok(())
}

/// Every CPU stands still at EL2, with everything masked, and the board stays.
fn halt(lab: &mut Lab) -> Result<()> {
    let (mut machine, mut debugger) = start(lab, "on-panic = \"halt\";")?;
    let cpu = derail(lab, &mut debugger, CPUS)?;
    debugger.let_run(CPUS)?;
    expect_panic(&mut machine, cpu)?;
    let end = Instant::now() + machine.patience(Duration::from_secs(30));
    loop {
        debugger.stop()?;
        let states = [debugger.register(0, CPSR)?, debugger.register(1, CPSR)?];
        if states.iter().all(|state| state & 0x3cf == EL2) {
            machine.kill();
            return Ok(());
        }
        ensure!(Instant::now() < end, "the CPUs do not halt: CPSR {states:#x?}");
        debugger.let_run(CPUS)?;
        thread::sleep(Duration::from_millis(100));
    }
}

/// One report, whole, of the one that came first; the other CPU stops without a word.
fn two(lab: &mut Lab) -> Result<()> {
    let (mut machine, mut debugger) = start(lab, "")?;
    let first = derail(lab, &mut debugger, CPUS)?;
    derail(lab, &mut debugger, &[1 - first])?;
    debugger.let_run(CPUS)?;
    expect(
        &mut machine,
        &[r"^panic: synchronous exception at EL2: ELR 0x10 ", r"^  on CPU [01] of ", r"^  x28 \["],
    )?;
    ended(&mut machine, "^(panic|  from)")
}

/// What tells of a fault has one, too: nothing more is told, and the board does what the configuration says all the same.
fn within(lab: &mut Lab) -> Result<()> {
    let (mut machine, mut debugger) = start(lab, "")?;
    let cpu = derail(lab, &mut debugger, CPUS)?;
    let again = debugger.run_to(image(lab)? + symbol(lab, "5lines10last_words")?, &[cpu])?;
    ensure!(again == cpu, "CPU {again} tells of it, not CPU {cpu}");
    debugger.set_register(cpu, PC, NOWHERE)?;
    debugger.let_run(CPUS)?;
    ended(&mut machine, "^panic")
}

/// A function of the hypervisor's comes to the end of its stack: it faults on the guard page, and what called it is told.
fn stack_overflow(lab: &mut Lab) -> Result<()> {
    let (mut machine, mut debugger) = start(lab, "")?;
    let command = symbol(lab, "7monitor7command")?;
    machine.send(&[ESCAPE, b'l'])?;
    let cpu = debugger.run_to(image(lab)? + command, CPUS)?;
    // Not far below its top now, so just above its end then, or already below.
    let sp = debugger.register(cpu, SP)?;
    debugger.set_register(cpu, SP, sp - STACK_SIZE + 0x400)?;
    debugger.let_run(CPUS)?;
    let said =
        wait(&mut machine, HYPERVISOR, r"^  data abort: store at 0x([0-9a-f]+): translation fault", 20)?;
    let fault = u64::from_str_radix(&said[1], 16)?;
    ensure!(
        (sp - STACK_SIZE - 0x1000..sp - STACK_SIZE + 0x1000).contains(&fault),
        "SP {sp:#x}, fault at {fault:#x}"
    );
    expect(
        &mut machine,
        &[&format!("^  on CPU {cpu} of "), r"^  x28 \[", r"^  from image \+ 0x", r"^  from image \+ 0x"],
    )?;
    ended(&mut machine, "^panic")
}

/// Where in the image a function is.
pub fn symbol(lab: &Lab, part: &str) -> Result<u64> {
    let elf = fs::read(build::hypervisor_program(lab.project()))?;
    let file = ElfFile64::<Endianness>::parse(&*elf)?;
    // The shortest: a name of assembly's is also part of the names in a module that is called like it.
    let named = file.symbols().filter(|symbol| symbol.name().is_ok_and(|name| name.contains(part)));
    let found = named.min_by_key(|symbol| symbol.name().map_or(0, str::len));
    Ok(found.with_context(|| format!("the image has no symbol {part}"))?.address())
}
