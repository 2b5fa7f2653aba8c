// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What traps by itself: calls, identification registers, registers of the interrupt controller, the UART.

use guest_runtime::exception::attempt;
use guest_runtime::gic::Gic;
use guest_runtime::machine::Machine;
use guest_runtime::mmio::{read8, read32, write8, write32, write64};

use crate::count::timed;
use crate::devices::Clock;
use crate::figures::Report;

const SMCCC_VERSION: u64 = 0x8000_0000;
const PSCI_VERSION: u64 = 0x8400_0000;
/// In the range of PSCI, and no function of it.
const UNKNOWN: u64 = 0x8400_0fff;

const GICD_TYPER: usize = 0x004;
const GICD_IIDR: usize = 0x008;
const ISENABLER: usize = 0x100;
const ICENABLER: usize = 0x180;
const IPRIORITYR: usize = 0x400;
const ITARGETSR: usize = 0x800;
const IROUTER: usize = 0x6000;

const UART_DR: usize = 0x00;
const UART_FR: usize = 0x18;

macro_rules! call {
    ($instruction:literal, $function:expr) => {
        timed!(
            $instruction;
            inout("x0") $function => _, out("x1") _, out("x2") _, out("x3") _,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
            out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
        )
    };
}

/// Calls by HVC and SMC.
pub fn calls(report: &Report, cost: u64) {
    report.measure("hvc-smccc-version", cost, || Some(call!("hvc #0", SMCCC_VERSION)));
    report.measure("hvc-psci-version", cost, || Some(call!("hvc #0", PSCI_VERSION)));
    report.measure("hvc-unknown", cost, || Some(call!("hvc #0", UNKNOWN)));
    report.measure("smc-psci-version", cost, || {
        // Natively there may be no EL3 to call: UNDEFINED.
        let (ticks, undefined) = attempt(|| call!("smc #0", PSCI_VERSION));
        undefined.is_none().then_some(ticks)
    });
}

/// Identification registers.
pub fn registers(report: &Report, cost: u64) {
    report.measure("id-register-read", cost, || Some(timed!("mrs x2, id_aa64pfr0_el1"; out("x2") _,)));
}

/// The register that a load or store names is a low one, because a hypervisor may take a shorter way then:
/// "-x20" shows the other.
fn load(address: usize) -> u64 {
    timed!("ldr w2, [{address}]"; out("x2") _, address = in(reg) address,)
}

fn store(address: usize, value: u32) -> u64 {
    timed!("str w2, [{address}]"; in("x2") value, address = in(reg) address,)
}

fn store_byte(address: usize, value: u8) -> u64 {
    timed!("strb w2, [{address}]"; in("x2") u32::from(value), address = in(reg) address,)
}

/// Registers of the distributor, for shared interrupts and the interrupt of `clock`, which this guest owns.
pub fn distributor(report: &Report, cost: u64, gic: &Gic, clock: Clock) {
    let base = gic.distributor();
    report.measure("gicd-typer-read", cost, || Some(load(base + GICD_TYPER)));
    report.measure("gicd-typer-read-x20", cost, || {
        Some(timed!("ldr w20, [{address}]"; out("x20") _, address = in(reg) base + GICD_TYPER,))
    });
    report.measure("gicd-iidr-read", cost, || Some(load(base + GICD_IIDR)));
    report.measure("gicd-isenabler1-read", cost, || Some(load(base + ISENABLER + 4)));

    let word = 4 * (clock.intid as usize / 32);
    let bit = 1 << (clock.intid % 32);
    // SAFETY: registers of the GIC; no source of a shared interrupt is on.
    let write = |offset, value| unsafe { write32(base + offset, value) };
    report.measure("enable-one", cost, || {
        write(ICENABLER + word, bit);
        Some(store(base + ISENABLER + word, bit))
    });
    report.measure("enable-enabled", cost, || Some(store(base + ISENABLER + word, bit)));
    report.measure("disable-one", cost, || {
        write(ISENABLER + word, bit);
        Some(store(base + ICENABLER + word, bit))
    });
    report.measure("enable-32", cost, || {
        write(ICENABLER + 4, u32::MAX);
        Some(store(base + ISENABLER + 4, u32::MAX))
    });
    report.measure("disable-32", cost, || {
        write(ISENABLER + 4, u32::MAX);
        Some(store(base + ICENABLER + 4, u32::MAX))
    });
    let priority = base + IPRIORITYR + clock.intid as usize;
    // SAFETY: a register of the GIC.
    let before = unsafe { read8(priority) };
    let mut next = before;
    report.measure("priority-write", cost, || {
        next ^= 0x40;
        Some(store_byte(priority, next))
    });
    // SAFETY: as above.
    unsafe { write8(priority, before) };
    target(report, cost, gic, clock);
}

/// The CPU that an enabled interrupt goes to, CPU 0 and CPU 1 in turn.
fn target(report: &Report, cost: u64, gic: &Gic, clock: Clock) {
    gic.enable(clock.intid);
    let mut other = false;
    if gic.version() == 2 {
        let register = gic.distributor() + ITARGETSR + clock.intid as usize;
        report.measure("target-write", cost, || {
            other = !other;
            Some(store_byte(register, if other { 2 } else { 1 }))
        });
        // SAFETY: a register of the GIC.
        unsafe { write8(register, 1) };
    } else {
        let register = gic.distributor() + IROUTER + 8 * clock.intid as usize;
        report.measure("target-write", cost, || {
            other = !other;
            let value = u64::from(other);
            Some(timed!("str x2, [{address}]"; in("x2") value, address = in(reg) register,))
        });
        // SAFETY: a register of the GIC.
        unsafe { write64(register, 0) };
    }
    gic.disable(clock.intid);
}

/// Registers of this CPU's private interrupts.
pub fn private(report: &Report, cost: u64, gic: &Gic, intid: u32) {
    let base = gic.private_base();
    let bit = 1 << intid;
    report.measure("private-isenabler0-read", cost, || Some(load(base + ISENABLER)));
    report.measure("private-enable-one", cost, || {
        // SAFETY: a register of the GIC; the interrupt's source is off.
        unsafe { write32(base + ICENABLER, bit) };
        Some(store(base + ISENABLER, bit))
    });
    // SAFETY: as above.
    unsafe { write32(base + ICENABLER, bit) };
}

/// Bytes for the console: the write alone, and with the look for room before it.
pub fn console(report: &Report, cost: u64, machine: &Machine) {
    let Some((registers, _)) = machine.console else { return };
    let base = registers.base;
    let text = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let mut bytes = text.iter().cycle();
    let mut next = || u32::from(bytes.next().copied().unwrap_or(b'\n'));
    // SAFETY: a register of the console's PL011.
    let wait = || while unsafe { read32(base + UART_FR) } & 1 << 5 != 0 {};
    report.measure("uart-flags-read", cost, || Some(load(base + UART_FR)));
    report.measure("console-byte", cost, || {
        wait();
        Some(store(base + UART_DR, next()))
    });
    report.measure("console-byte-polled", cost, || {
        let byte = next();
        Some(timed!(
            "2: ldr w2, [{base}, #0x18]", "tbnz w2, #5, 2b", "str w3, [{base}]";
            out("x2") _, in("x3") byte, base = in(reg) base,
        ))
    });
    wait();
    store(base + UART_DR, u32::from(b'\n'));
}
