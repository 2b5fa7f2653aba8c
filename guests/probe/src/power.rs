// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PSCI: every error, and CPUs that come and go.

use core::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use bulkhead_types::Mpidr;
use guest_runtime::machine::Machine;
use guest_runtime::power::call;
use guest_runtime::{cpu, gic, smp, timer};

use crate::interrupts::{count, wait_until};
use crate::report::Report;

const CPU_ON: u32 = 0xc400_0003;
const CPU_SUSPEND: u32 = 0xc400_0001;
const NODE_HW_STATE: u32 = 0xc400_000d;
const POWER_DOWN: u64 = 1 << 16;
const SYSTEM_RESET2: u32 = 0xc400_0012;
const AFFINITY_INFO: u32 = 0xc400_0004;
const FEATURES: u32 = 0x8400_000a;

const ON: i64 = 0;
const OFF: i64 = 1;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const INVALID_ADDRESS: i64 = -9;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;

/// A function of PSCI's that only asks, or that must fail.
fn psci(function: u32, a: u64, b: u64, c: u64) -> i64 {
    // SAFETY: see above; a CPU that did start would enter `secondary_entry` without a `Start`, and fault.
    unsafe { call(function, a, b, c) }
}

fn info(target: Mpidr) -> i64 {
    psci(AFFINITY_INFO, target.affinity(), 0, 0)
}

pub fn probe(report: &mut Report, machine: &Machine, hypervisor: bool) {
    if machine.psci.is_none() {
        return report.check("psci", false, "the tree has none");
    }
    arguments(report, machine);
    // QEMU's own PSCI looks at neither entry points nor affinity levels.
    if hypervisor {
        more_arguments(report, machine);
    }
    let own = cpu::mpidr();
    let others = || machine.cpus().filter(move |mpidr| *mpidr != own).take(smp::MAX_CPUS - 1);
    for target in others() {
        report.equal("affinity_info_off", info(target), OFF);
    }
    for (number, target) in (1..).zip(others()) {
        come_and_go(report, number, target);
    }
    if let (true, Some(target)) = (hypervisor, others().next()) {
        sleep(report, machine, target);
    }
    let mut two = others();
    if let (Some(second), Some(third)) = (two.next(), two.next()) {
        race(report, second, third);
    }
}

fn arguments(report: &mut Report, machine: &Machine) {
    let entry = smp::entry_address();
    let own = cpu::mpidr().affinity();
    let missing = machine.cpus().map(Mpidr::affinity).max().unwrap_or(0) + 0x200;
    report.equal("cpu_on_missing", psci(CPU_ON, missing, entry, 0), INVALID_PARAMETERS);
    report.equal("cpu_on_res1_bit", psci(CPU_ON, own | 1 << 31, entry, 0), INVALID_PARAMETERS);
    report.equal("cpu_on_high_bits", psci(CPU_ON, own | 1 << 40, entry, 0), INVALID_PARAMETERS);
    report.equal("cpu_on_self", psci(CPU_ON, own, entry, 0), ALREADY_ON);
    report.equal("affinity_info_self", psci(AFFINITY_INFO, own, 0, 0), ON);
    report.equal("affinity_info_missing", psci(AFFINITY_INFO, missing, 0, 0), INVALID_PARAMETERS);
    report.equal("features_cpu_on", psci(FEATURES, CPU_ON.into(), 0, 0), 0);
    report.equal("features_unknown", psci(FEATURES, 0x8400_001f, 0, 0), NOT_SUPPORTED);
}

fn more_arguments(report: &mut Report, machine: &Machine) {
    let entry = smp::entry_address();
    let own = cpu::mpidr();
    report.equal("affinity_info_level", psci(AFFINITY_INFO, own.affinity(), 9, 0), INVALID_PARAMETERS);
    report.equal("suspend_reserved_bits", psci(CPU_SUSPEND, 1 << 31, entry, 0), INVALID_PARAMETERS);
    report.equal("suspend_bad_entry", psci(CPU_SUSPEND, 1 << 16, 1, 0), INVALID_ADDRESS);
    report.equal("node_hw_state_self", psci(NODE_HW_STATE, own.affinity(), 0, 0), ON);
    report.equal("node_hw_state_level", psci(NODE_HW_STATE, own.affinity(), 1, 0), INVALID_PARAMETERS);
    report.equal("reset2", psci(SYSTEM_RESET2, 0, 0, 0), NOT_SUPPORTED);
    if let Some(other) = machine.cpus().find(|mpidr| *mpidr != own) {
        let bad = |entry| psci(CPU_ON, other.affinity(), entry, 0);
        report.equal("cpu_on_entry_nowhere", bad(0x7f_ffff_f000), INVALID_ADDRESS);
        report.equal(
            "cpu_on_entry_in_device",
            bad(gic::get().map_or(0, gic::Gic::distributor) as u64),
            INVALID_ADDRESS,
        );
        report.equal("cpu_on_entry_odd", bad(entry + 2), INVALID_ADDRESS);
        report.equal("cpu_on_refused_stays_off", info(other), OFF);
        report.equal("node_hw_state_off", psci(NODE_HW_STATE, other.affinity(), 0, 0), OFF);
    }
}

static RUNNING: AtomicU32 = AtomicU32::new(0);
static INTERFACE: AtomicU32 = AtomicU32::new(0);
static LEAVE: AtomicU32 = AtomicU32::new(0);
const PING: u32 = 3;

/// A CPU that lets itself be rung once, and leaves when told to.
fn secondary(number: usize) {
    if let Some(gic) = gic::get() {
        gic.enable(PING);
        INTERFACE.store(gic.interface(), Ordering::SeqCst);
    }
    RUNNING.store(number as u32, Ordering::SeqCst);
    wait_until(2000, || LEAVE.load(Ordering::SeqCst) == number as u32);
}

fn come_and_go(report: &mut Report, number: usize, target: Mpidr) {
    for round in 0..10 {
        RUNNING.store(0, Ordering::SeqCst);
        LEAVE.store(0, Ordering::SeqCst);
        let started = smp::start(number, target, secondary);
        let runs = wait_until(1000, || RUNNING.load(Ordering::SeqCst) == number as u32);
        let is_on = info(target);
        let again = psci(CPU_ON, target.affinity(), smp::entry_address(), 0);
        let before = count(PING);
        if let Some(gic) = gic::get() {
            gic.send_sgi(PING, target, INTERFACE.load(Ordering::SeqCst));
        }
        let rung = wait_until(1000, || count(PING) == before + 1);
        LEAVE.store(number as u32, Ordering::SeqCst);
        let left = wait_until(1000, || info(target) == OFF);
        let right = started.is_ok() && runs && is_on == ON && again == ALREADY_ON && rung && left;
        if !right || round == 9 {
            let seen = (number, round, started, runs, is_on, again, rung, left);
            return report.check("cpu_on_and_off_ten_times", right, seen);
        }
    }
}

static TIMER: AtomicU32 = AtomicU32::new(0);
static FIRED: AtomicU32 = AtomicU32::new(0);
static ENTERED: AtomicU32 = AtomicU32::new(0);
static SUSPENDED: AtomicI64 = AtomicI64::new(i64::MIN);

/// Waits in standby for its timer, with interrupts masked; then powers down until it fires again, and finds
/// itself started anew with the interrupt pending.
fn sleeper(number: usize) {
    let intid = TIMER.load(Ordering::SeqCst);
    let soon = || timer::now() + timer::frequency() / 100;
    if let Some(gic) = gic::get() {
        gic.enable(intid);
    }
    if ENTERED.fetch_add(1, Ordering::SeqCst) == 0 {
        cpu::without_interrupts(|| {
            timer::set_deadline(soon());
            SUSPENDED.store(psci(CPU_SUSPEND, 0, 0, 0), Ordering::SeqCst);
            timer::set_deadline(soon());
            psci(CPU_SUSPEND, POWER_DOWN, smp::entry_address(), smp::context(number));
        });
    } else {
        // Suspended CPUs may wake early: the timer runs on.
        let before = FIRED.load(Ordering::SeqCst);
        wait_until(1000, || count(intid) != before);
    }
}

fn sleep(report: &mut Report, machine: &Machine, target: Mpidr) {
    let Some(intid) = machine.virtual_timer else { return };
    TIMER.store(intid, Ordering::SeqCst);
    let before = count(intid);
    FIRED.store(before, Ordering::SeqCst);
    let started = smp::start(1, target, sleeper);
    let fired = wait_until(1000, || count(intid) == before + 1);
    let left = wait_until(1000, || info(target) == OFF);
    let (standby, entered) = (SUSPENDED.load(Ordering::SeqCst), ENTERED.load(Ordering::SeqCst));
    let right = started.is_ok() && standby == 0 && entered == 2 && fired && left;
    report.check("cpu_suspend", right, (started, standby, entered, count(intid) - before, left));
}

static RACE: AtomicU32 = AtomicU32::new(0);
static OTHER_RESULT: AtomicI64 = AtomicI64::new(i64::MIN);
static THIRD: AtomicI64 = AtomicI64::new(0);
static STARTED: AtomicU32 = AtomicU32::new(0);

/// The second CPU: turns the third on at the same moment as the first does.
fn racer(_: usize) {
    let target = Mpidr::from_register(THIRD.load(Ordering::SeqCst) as u64);
    RACE.store(1, Ordering::SeqCst);
    wait_until(1000, || RACE.load(Ordering::SeqCst) == 2);
    let result = smp::start(2, target, arrived).err().unwrap_or(0);
    OTHER_RESULT.store(result, Ordering::SeqCst);
}

fn arrived(_: usize) {
    STARTED.fetch_add(1, Ordering::SeqCst);
    wait_until(100, || OTHER_RESULT.load(Ordering::SeqCst) != i64::MIN);
}

fn race(report: &mut Report, second: Mpidr, third: Mpidr) {
    THIRD.store(third.affinity() as i64, Ordering::SeqCst);
    let started = smp::start(1, second, racer);
    wait_until(1000, || RACE.load(Ordering::SeqCst) == 1);
    RACE.store(2, Ordering::SeqCst);
    let own = smp::start(2, third, arrived).err().unwrap_or(0);
    wait_until(1000, || OTHER_RESULT.load(Ordering::SeqCst) != i64::MIN);
    let other = OTHER_RESULT.load(Ordering::SeqCst);
    let off = wait_until(1000, || info(second) == OFF && info(third) == OFF);
    let lost = |result| result == ALREADY_ON || result == ON_PENDING;
    let one = (own == 0 && lost(other)) || (other == 0 && lost(own));
    let arrivals = STARTED.load(Ordering::SeqCst);
    let right = started.is_ok() && one && arrivals == 1 && off;
    report.check("cpu_on_race", right, (started, own, other, arrivals, off));
}
