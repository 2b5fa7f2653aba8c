// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways of interrupts: SGIs to this CPU and another, the virtual timer, a device, many at once.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::gic::{self, Gic};
use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::mmio::read32;
use guest_runtime::{smp, timer};

use crate::count::{Way, counts, interrupted};
use crate::devices::{Clock, ICR, MR};
use crate::figures::Report;
use crate::vectors::{self, Source};

const GICD_TYPER: usize = 0x004;
const ISPENDR: usize = 0x200;
const GICD_SGIR: usize = 0xf00;

/// Which SGI is sent.
const SGI: u64 = 1;
/// Ticks from setting the timer to its deadline.
const AHEAD: u64 = 3000;

/// What all of them need: the controller, the addresses of its parts, the cost of the counter.
pub struct Bench<'a> {
    gic: &'a Gic,
    cpu_interface: usize,
    report: &'a Report,
    /// Of a `timed!` without instructions.
    cost: u64,
    /// Of a read of the counter alone.
    read_cost: u64,
}

impl<'a> Bench<'a> {
    /// On this machine.
    pub fn new(gic: &'a Gic, machine: &Machine, report: &'a Report, cost: u64) -> Self {
        let cpu_interface = match machine.gic {
            Some(GicKind::V2 { cpu_interface, .. }) => cpu_interface.base,
            _ => 0,
        };
        CPU_INTERFACE.store(cpu_interface as u64, Ordering::Release);
        Self { gic, cpu_interface, report, cost, read_cost: cost.saturating_sub(1) }
    }

    /// Adds a line of what `part` takes of the way of an interrupt.
    fn way(
        &self,
        name: &'static str,
        sample: &mut dyn FnMut() -> Option<Way>,
        part: fn(&Way) -> (u64, Cost),
    ) {
        self.report.measure(name, 0, || {
            let (ticks, cost) = part(&sample()?);
            let cost = match cost {
                Cost::Read => self.read_cost,
                Cost::Timed => self.cost,
            };
            Some(ticks.saturating_sub(cost))
        });
    }

    /// An SGI to the CPU itself: until its handler runs, and until the code behind the send does.
    pub fn self_sgi(&self) {
        self.gic.enable(SGI as u32);
        vectors::with(self.gic.version(), Source::Latch, || {
            let sample = &mut || self.send_to_self();
            self.way("sgi-self-handled", sample, |way| (way.arrival - way.start, Cost::Read));
            self.way("sgi-self", sample, |way| (way.end - way.start, Cost::Timed));
            self.way("eoi", sample, |way| (way.ending[1] - way.ending[0], Cost::Read));
        });
    }

    fn send_to_self(&self) -> Option<Way> {
        let [x14, x15, x16] = [self.cpu_interface, 0, 0];
        if self.gic.version() == 2 {
            // GICD_SGIR.TargetListFilter = 2: the sender alone (IHI 0048B 4.3.15).
            let register = self.gic.distributor() + GICD_SGIR;
            interrupted!(
                "msr daifclr, #2"; "str w2, [{register}]"; 1, [x14, x15, x16];
                in("x2") 2 << 24 | SGI, register = in(reg) register,
            )
        } else {
            let value = sgi1r(guest_runtime::cpu::mpidr());
            interrupted!(
                "msr daifclr, #2"; "msr S3_0_C12_C11_5, x2", "isb"; 1, [x14, x15, x16];
                in("x2") value,
            )
        }
    }

    /// An SGI to another CPU, which waits in WFI: until the sender runs on, and until it is handled there.
    pub fn other_sgi(&self, machine: &Machine) {
        let Some(target) = machine.cpus().nth(1) else { return };
        if smp::start(1, target, receive).is_err() {
            return;
        }
        while READY.load(Ordering::Acquire) == 0 {
            give_way();
        }
        let (register, value) = if self.gic.version() == 2 {
            (self.gic.distributor() + GICD_SGIR, READY.load(Ordering::Acquire) | SGI)
        } else {
            (0, sgi1r(target))
        };
        for (name, of) in [("sgi-other-sent", 0), ("sgi-other-handled", 1)] {
            self.report.measure(name, 0, || {
                timer::delay(20);
                MAILBOX.store(0, Ordering::SeqCst);
                let [start, sent] = self.send_to_other(register, value);
                while MAILBOX.load(Ordering::SeqCst) == 0 {
                    give_way();
                }
                let handled = MAILBOX.load(Ordering::SeqCst);
                Some(
                    [sent.saturating_sub(start + self.cost), handled.saturating_sub(start + self.read_cost)]
                        [of],
                )
            });
        }
    }

    /// Sends, and gives the CPU away with a YIELD, which an emulator that runs one CPU at a time heeds.
    fn send_to_other(&self, register: usize, value: u64) -> [u64; 2] {
        let (start, sent): (u64, u64);
        macro_rules! send {
            ($instruction:literal, $($operands:tt)*) => {
                // SAFETY: sends an SGI to a CPU that waits for it.
                unsafe {
                    core::arch::asm!(
                        "dsb ish", "hint #96", "isb", "mrs {start}, cntvct_el0",
                        $instruction,
                        "isb", "mrs {sent}, cntvct_el0", "yield", "hint #97",
                        start = out(reg) start, sent = out(reg) sent, in("x2") value, $($operands)*
                        options(nostack)
                    )
                }
            };
        }
        if self.gic.version() == 2 {
            send!("str w2, [{register}]", register = in(reg) register,);
        } else {
            send!("msr S3_0_C12_C11_5, x2",);
        }
        [start, sent]
    }

    /// The virtual timer: from the deadline to the handler while the CPU spins, or waits in WFI; and
    /// from the deadline to the instruction behind WFI with interrupts masked.
    pub fn timer(&self, intid: u32) {
        self.gic.enable(intid);
        vectors::with(self.gic.version(), Source::Timer, || {
            let after = |way: Way, deadline| way.arrival.saturating_sub(deadline);
            self.report.measure("timer-spinning", 0, || {
                let deadline = timer::now() + AHEAD;
                timer::set_deadline(deadline);
                let way = interrupted!(
                    "msr daifclr, #2"; ; 1, [self.cpu_interface, 0, 0];
                )?;
                Some(after(way, deadline))
            });
            self.report.measure("timer-wfi-handled", 0, || {
                let deadline = timer::now() + AHEAD;
                timer::set_deadline(deadline);
                let way = interrupted!(
                    "msr daifclr, #2"; "wfi"; 1, [self.cpu_interface, 0, 0];
                )?;
                Some(after(way, deadline))
            });
            self.report.measure("timer-wfi", 0, || {
                let deadline = timer::now() + AHEAD;
                timer::set_deadline(deadline);
                let [_, woken] = counts!("wfi";);
                interrupted!("msr daifclr, #2"; ; 1, [self.cpu_interface, 0, 0];)?;
                Some(woken.saturating_sub(deadline + self.cost))
            });
        });
        self.gic.disable(intid);
    }

    /// A device's interrupt: from the store that raises it to the handler, and until all is done.
    pub fn device(&self, clock: Clock) {
        self.gic.enable(clock.intid);
        vectors::with(self.gic.version(), Source::Device, || {
            let sample = &mut || {
                let now = clock.arm();
                let way = interrupted!(
                    "msr daifclr, #2"; "str {now:w}, [{alarm}]"; 1, [self.cpu_interface, 1, clock.base + ICR];
                    now = in(reg) now, alarm = in(reg) clock.base + MR,
                );
                clock.disarm();
                way
            };
            self.way("spi-handled", sample, |way| (way.arrival - way.start, Cost::Read));
            self.way("spi-completed", sample, |way| (way.end - way.start, Cost::Timed));
        });
        self.gic.disable(clock.intid);
    }

    /// Many interrupts that become pending together: from the writes that make them pending to the last
    /// one's end.
    pub fn storm(&self) {
        let base = self.gic.distributor();
        // SAFETY: a register of the GIC.
        let words = unsafe { read32(base + GICD_TYPER) } as usize & 0x1f;
        let intids = 32..(32 * (words as u32 + 1)).min(96);
        intids.clone().for_each(|intid| self.gic.enable(intid));
        vectors::with(self.gic.version(), Source::Latch, || {
            for (name, count) in [("storm-1", 1), ("storm-4", 4), ("storm-16", 16), ("storm-64", 64)] {
                // From INTID 48: a partition that has QEMU's virtio devices owns those from 48 to 79.
                let in_order = (48..96).chain(32..48);
                let (mut low, mut high) = (0u32, 0u32);
                for intid in in_order.take(count) {
                    *(if intid < 64 { &mut low } else { &mut high }) |= 1 << (intid % 32);
                }
                let exist = words >= 2 || high == 0;
                self.report.measure(name, self.cost, || exist.then(|| self.pend(count, low, high)).flatten());
            }
        });
        intids.for_each(|intid| self.gic.disable(intid));
    }

    fn pend(&self, count: usize, low: u32, high: u32) -> Option<u64> {
        let register = self.gic.distributor() + ISPENDR + 4;
        let way = interrupted!(
            ; "str {low:w}, [{register}]", "cbz {high:w}, 4f", "str {high:w}, [{register}, #4]",
            "4: msr daifclr, #2"; count, [self.cpu_interface, 0, 0];
            low = in(reg) low, high = in(reg) high, register = in(reg) register,
        )?;
        Some(way.end - way.start)
    }
}

/// What the counter's own reads add to a part of a [`Way`].
enum Cost {
    Read,
    Timed,
}

/// Lets an emulator that runs one CPU at a time run the next.
fn give_way() {
    // SAFETY: YIELD is a hint.
    unsafe { core::arch::asm!("yield", options(nostack)) };
}

/// ICC_SGI1R_EL1 for [`SGI`] to the one CPU (IHI 0069H 12.2.21).
fn sgi1r(target: bulkhead_types::Mpidr) -> u64 {
    let level = |level| u64::from(target.level(level));
    level(3) << 48 | level(2) << 32 | SGI << 24 | level(1) << 16 | 1 << level(0)
}

static MAILBOX: AtomicU64 = AtomicU64::new(0);
/// The receiver's bit in GICD_SGIR.CPUTargetList, or anything but 0.
static READY: AtomicU64 = AtomicU64::new(0);

/// What the receiver of SGIs does, for ever.
fn receive(_: usize) {
    let gic = gic::get().expect("there is a GIC");
    gic.enable(SGI as u32);
    vectors::install(gic.version(), Source::Mailbox);
    let cpu_interface = CPU_INTERFACE.load(Ordering::Acquire);
    READY.store(1 << (16 + gic.interface()), Ordering::Release);
    // SAFETY: x9 to x16 are set aside for the lean vectors.
    unsafe {
        core::arch::asm!(
            "msr daifclr, #2", "2: wfi", "b 2b",
            out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            in("x14") cpu_interface, in("x15") MAILBOX.as_ptr(), in("x16") 0,
            options(nostack)
        );
    }
}

/// GICC for the receiver.
static CPU_INTERFACE: AtomicU64 = AtomicU64::new(0);
