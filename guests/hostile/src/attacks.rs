// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The attacks, each a step of a few strikes or accesses. Which one comes next is chance, by weight.

use core::arch::asm;

use guest_runtime::machine::{GicKind, Machine};
use guest_runtime::{cpu, gic, power, read_register, smp, write_register};

use crate::armour::{AT_EL0, AT_EL0_A32, AT_EL1, Armour};
use crate::random::Random;
use crate::{paging, rescue, words};

/// One CPU that attacks.
pub struct Attacker {
    /// The machine.
    pub machine: &'static Machine,
    /// Where chance comes from.
    pub random: Random,
    /// What it strikes with.
    pub armour: &'static mut Armour,
    /// The next system register of the sweep.
    pub cursor: u16,
    /// Ticks of the counter after which a strike is broken off.
    pub limit: u64,
    /// Memory that may be written: 1 MiB, far from this program.
    pub scratch: u64,
}

/// An attack and how often it comes.
pub struct Attack {
    /// What it is called in the report.
    pub name: &'static str,
    weight: u64,
    run: fn(&mut Attacker),
}

/// Every attack.
pub const ATTACKS: [Attack; 14] = [
    Attack { name: "system registers", weight: 30, run: Attacker::sweep },
    Attack { name: "instructions", weight: 20, run: Attacker::instructions },
    Attack { name: "AArch32", weight: 5, run: Attacker::aarch32 },
    Attack { name: "calls", weight: 15, run: Attacker::calls },
    Attack { name: "accesses", weight: 20, run: Attacker::accesses },
    Attack { name: "interrupt controller", weight: 20, run: Attacker::controller },
    Attack { name: "SGIs", weight: 8, run: Attacker::sgis },
    Attack { name: "timers", weight: 6, run: Attacker::timers },
    Attack { name: "translation", weight: 8, run: Attacker::translation },
    Attack { name: "maintenance", weight: 5, run: Attacker::maintenance },
    Attack { name: "waiting", weight: 4, run: Attacker::waiting },
    Attack { name: "debug and PMU", weight: 8, run: Attacker::debug },
    Attack { name: "power", weight: 4, run: Attacker::power },
    Attack { name: "console", weight: 1, run: Attacker::console },
];

/// Once in how many chances something is done that ends this life of the partition.
const FATAL: u64 = 64;

impl Attacker {
    /// One step: an attack by chance. Says which.
    pub fn step(&mut self) -> usize {
        let sum = ATTACKS.iter().map(|attack| attack.weight).sum();
        let mut ticket = self.random.below(sum);
        for (index, attack) in ATTACKS.iter().enumerate() {
            match ticket.checked_sub(attack.weight) {
                Some(rest) => ticket = rest,
                None => {
                    (attack.run)(self);
                    return index;
                }
            }
        }
        0
    }

    /// Runs the words with what the registers hold now.
    fn strike(&mut self, words: &[u32], spsr: u64, mmu: bool) {
        // D, A and F as chance has it; interrupts are let in, or a strike might not end.
        self.armour.spsr = spsr ^ self.random.next() & 0x340;
        self.armour.sp = self.scratch + 0x8000;
        self.armour.strike(words, mmu, self.limit);
    }

    /// Fills all registers with values that break things and places worth touching.
    fn fill(&mut self) {
        for n in 0..31 {
            self.armour.x[n] = if self.random.one_in(2) { self.place() } else { self.random.value() };
        }
    }

    /// An address worth touching: never this program's memory.
    fn place(&mut self) -> u64 {
        let frames = self.frames();
        let near = self.random.below(16);
        match self.random.below(12) {
            0..4 => {
                let (base, size) = self.random.pick(&frames);
                let offset = if self.random.one_in(4) {
                    self.random.below(size)
                } else {
                    self.random.below(size) & !7
                };
                base + offset
            }
            4 => {
                let (base, size) = self.random.pick(&frames);
                (base + size).wrapping_sub(near)
            }
            5 => self.scratch + self.random.below(1 << 20),
            6 => self.random.below(1 << 20) << 12,
            7 => 0x5000_0000 + self.random.below(1 << 38),
            8 => (1 << self.random.pick(&[32_u32, 36, 39, 40, 42, 44, 48, 52])) - near,
            9 => u64::MAX << 47 | self.random.next(),
            10 => self.random.below(0x0800_0000),
            _ => 0x0a00_0000 + self.random.below(0x3000_0000),
        }
    }

    /// The frames of the devices that this machine has.
    fn frames(&self) -> [(u64, u64); 4] {
        let block =
            |registers: guest_runtime::machine::Registers| (registers.base as u64, registers.size as u64);
        let console = self.machine.console.map_or((0x900_0000, 0x1000), |(registers, _)| block(registers));
        match self.machine.gic {
            Some(GicKind::V2 { distributor, cpu_interface }) => {
                [block(distributor), block(cpu_interface), console, (0x901_0000, 0x1000)]
            }
            Some(GicKind::V3 { distributor, redistributors }) => {
                let first = redistributors[0].map_or((0x80a_0000, 0x2_0000), block);
                [block(distributor), first, console, (0x901_0000, 0x1000)]
            }
            None => [console; 4],
        }
    }

    /// The next encodings: read, and written. Written with the MMU off, so that translation registers may hold
    /// what they like.
    fn sweep(&mut self) {
        rescue::prepare(self.machine);
        for _ in 0..8 {
            let encoding = self.cursor;
            self.cursor = self.cursor.wrapping_add(1);
            self.fill();
            let mmu = self.random.one_in(2);
            self.strike(&[words::system(encoding, true, 3)], AT_EL1, mmu);
            self.strike(&[words::system(encoding, false, 3)], AT_EL1, false);
            if self.random.one_in(8) {
                let read = self.random.one_in(2);
                self.strike(&[words::system(encoding, read, 3)], AT_EL0, false);
            }
        }
    }

    fn instructions(&mut self) {
        rescue::prepare(self.machine);
        self.fill();
        let mut code = [0; 4];
        for word in &mut code {
            *word = words::any(&mut self.random);
        }
        let level = if self.random.one_in(3) { AT_EL0 } else { AT_EL1 };
        let length = 1 + self.random.below(4) as usize;
        let mmu = level == AT_EL1 && self.random.one_in(2);
        self.strike(&code[..length], level, mmu);
    }

    /// EL0 in AArch32, in all its modes of execution; and states that must not be: EL1 in AArch32, EL2, EL3.
    fn aarch32(&mut self) {
        rescue::prepare(self.machine);
        self.fill();
        let code = core::array::from_fn::<u32, 4, _>(|_| match self.random.below(4) {
            // MCR, MRC, MCRR, LDC, CP15 and CP14 first; then HVC, SMC, WFI.
            0 => 0xee00_0e10 | self.random.next() as u32 & 0x01ff_f1ef,
            1 => self.random.pick(&[0xe140_0070, 0xe160_0070, 0xe320_f003, 0xec40_0f00, 0xed00_5e00]),
            _ => self.random.next() as u32,
        });
        let state = if self.random.one_in(8) { self.random.next() & 0xffff_ffff & !0x80 } else { AT_EL0_A32 };
        let thumb = if self.random.one_in(3) { 0x20 } else { 0 };
        self.strike(&code, state | thumb, false);
    }

    /// HVC and SMC.
    fn calls(&mut self) {
        self.fill();
        let function = self.function();
        // SYSTEM_OFF would end the attack; a reset only this life.
        self.armour.x[0] = if function & 0xffff_ffff == 0x8400_0008 { 0x8400_0009 } else { function };
        rescue::prepare(self.machine);
        for n in 1..4 {
            if self.random.one_in(2) {
                self.armour.x[n] = match self.random.below(5) {
                    0 => cpu::mpidr().affinity(),
                    1 => self.random.below(16),
                    2 => self.scratch,
                    3 => 0x8400_0000 + self.random.below(0x20),
                    _ => smp::entry_address(),
                };
            }
        }
        if self.is_fatal() && !self.random.one_in(FATAL) {
            return;
        }
        let immediate = if self.random.one_in(4) { self.random.value() as u32 & 0xffff } else { 0 };
        let word = self.random.pick(&[0xd400_0002, 0xd400_0003]) | immediate << 5;
        let level = if self.random.one_in(8) { AT_EL0 } else { AT_EL1 };
        let mmu = level == AT_EL1 && self.random.one_in(2);
        self.strike(&[word], level, mmu);
    }

    /// A function of some service, or none (SMCCC, DEN 0028G, 6).
    fn function(&mut self) -> u64 {
        let service = self.random.below(8) << 24;
        let width = self.random.below(2) << 30;
        match self.random.below(8) {
            0..4 => 0x8400_0000 | width | self.random.below(0x24),
            4 => 0x8400_0050 | width | self.random.below(8),
            5 => {
                0x8000_0000
                    | service
                    | width
                    | self.random.pick(&[0, 1, 2, 0xff00, 0xff01, 0xff03, 0x7fff, 0xffff])
            }
            6 => 0x8000_0000 | service | width | self.random.below(0x1_0000),
            _ => self.random.value(),
        }
    }

    /// Whether the call would end this CPU's or this partition's life: off, reset, and starts at places where
    /// there is no program.
    fn is_fatal(&self) -> bool {
        let function = self.armour.x[0] & 0xffff_ffff & !(1 << 30);
        matches!(function, 0x8400_0001..=0x8400_0003 | 0x8400_0008 | 0x8400_0009 | 0x8400_000c..=0x8400_000e | 0x8400_0012)
    }

    /// Loads and stores of every form.
    fn accesses(&mut self) {
        self.fill();
        let code = [words::memory(&mut self.random), words::memory(&mut self.random)];
        let mmu = self.random.one_in(2);
        self.strike(&code, AT_EL1, mmu);
        self.armour.x[1] = self.place();
        self.armour.x[2] = self.random.value();
        let plain = words::plain(self.random.below(4) as u32, self.random.one_in(2));
        self.strike(&[plain], AT_EL1, false);
    }

    /// Registers of the interrupt controller, mostly as they are meant to be accessed.
    fn controller(&mut self) {
        let frames = self.frames();
        for _ in 0..8 {
            let (base, size) = frames[self.random.below(2) as usize];
            let log2 = self.random.pick(&[0, 2, 2, 2, 3]);
            // The dense part of a frame: enables, pending, active, priorities, routes.
            let offset = match self.random.below(4) {
                0 => self.random.below(size),
                1 => self.random.below(0x80),
                2 => self.random.below(0x1000),
                _ => 0x1_0000 % size + 0x80 + self.random.below(0xc00),
            };
            self.armour.x[1] = base + (offset & !((1 << log2) - 1));
            self.armour.x[2] = self.random.value();
            let word = words::plain(log2, self.random.one_in(4));
            self.strike(&[word], AT_EL1, true);
        }
    }

    /// SGIs to everybody, by every register that sends them.
    fn sgis(&mut self) {
        let v3 = matches!(self.machine.gic, Some(GicKind::V3 { .. }));
        for _ in 0..32 {
            let value = self.random.next();
            if v3 {
                // ICC_SGI1R, ICC_ASGI1R, ICC_SGI0R.
                let register = self.random.pick(&[0xc65d, 0xc65d, 0xc65d, 0xc65e, 0xc65f]);
                self.armour.x[3] = match self.random.below(3) {
                    0 => value,
                    1 => 1 << 40 | value & 0x0f00_0000,
                    _ => value & 0x0f00_000f,
                };
                self.strike(&[words::system(register, false, 3)], AT_EL1, true);
            } else {
                self.armour.x[1] = self.frames()[0].0 + 0xf00;
                self.armour.x[2] = if self.random.one_in(4) { value } else { value & 0x03ff_000f };
                self.strike(&[words::plain(2, false)], AT_EL1, true);
            }
        }
    }

    /// Timers whose time has always come, acknowledged and ended again and again.
    fn timers(&mut self) {
        let Some(gic) = gic::get() else { return };
        gic.init_cpu();
        for intid in 0..32 {
            gic.enable(intid);
        }
        // SAFETY: the timers are this program's, their interrupts masked at the CPU.
        unsafe {
            write_register!("cntv_cval_el0", 0);
            write_register!("cntp_cval_el0", self.random.pick(&[0, u64::MAX, 1 << 63]));
            write_register!("cntv_ctl_el0", 1);
            write_register!("cntp_ctl_el0", self.random.below(4));
            asm!("isb", options(nostack));
        }
        for _ in 0..16 {
            if let Some(acknowledged) = gic.acknowledge()
                && !self.random.one_in(16)
            {
                gic.end(acknowledged);
            }
        }
        // SAFETY: as above.
        unsafe {
            write_register!("cntv_ctl_el0", 0);
            write_register!("cntp_ctl_el0", 0);
        }
    }

    /// Stage-1 tables that point anywhere, walked by loads, stores, fetches and AT.
    fn translation(&mut self) {
        let address = paging::point_anywhere(&mut self.random, self.scratch);
        for _ in 0..4 {
            self.fill();
            for n in 1..4 {
                self.armour.x[n] = address | self.random.next() & 0x0000_007f_ffff_ffff;
            }
            let at = words::system(0x43c0 | self.random.below(8) as u16, false, 1);
            let dc = words::system(self.random.pick(&[0x5ba1, 0x5bd9, 0x5bf1, 0x43b1, 0x5bb1]), false, 1);
            let load = words::plain(self.random.below(4) as u32, true);
            let jump = 0xd61f_0020; // br x1
            let word = self.random.pick(&[at, dc, load, jump]);
            self.strike(&[word], AT_EL1, true);
        }
        paging::close();
    }

    /// TLB, instruction and data caches.
    fn maintenance(&mut self) {
        self.fill();
        for _ in 0..8 {
            let code = core::array::from_fn::<u32, 8, _>(|_| {
                // CRn 8 is TLBI, CRn 7 caches and AT; op1 0 is EL1's, 3 EL0's.
                let crn = self.random.pick(&[7, 8, 8, 9]);
                let operation = self.random.next() as u16 & 0x7f;
                let op1 = self.random.pick(&[0, 0, 3]);
                words::system(1 << 14 | op1 << 11 | crn << 7 | operation, false, self.random.next() as u32)
            });
            self.strike(&code, AT_EL1, true);
        }
    }

    /// WFI, WFE, SEV, YIELD, WFIT; exclusives that nobody closes.
    fn waiting(&mut self) {
        rescue::prepare(self.machine);
        self.fill();
        self.armour.x[1] = self.scratch + self.random.below(64) * 8;
        let code = core::array::from_fn::<u32, 6, _>(|_| {
            self.random.pick(&[
                0xd503_207f, // wfi
                0xd503_205f, // wfe
                0xd503_209f, // sev
                0xd503_20bf, // sevl
                0xd503_203f, // yield
                0xc85f_7c22, // ldxr x2, [x1]
                0xc87f_0c22, // ldxp x2, x3, [x1]
                0xc804_7c22, // stxr w4, x2, [x1]
                0xd503_1025, // wfit x5
                0xd503_1005, // wfet x5
            ])
        });
        let level = if self.random.one_in(3) { AT_EL0 } else { AT_EL1 };
        self.strike(&code, level, false);
    }

    /// Breakpoints, watchpoints, single step, and counters that overflow.
    fn debug(&mut self) {
        for _ in 0..8 {
            self.fill();
            for n in 2..6 {
                if self.random.one_in(2) {
                    // Addresses that the strike itself touches, and controls that enable.
                    self.armour.x[n] =
                        (&raw const *self.armour).addr() as u64 & !0xfff | self.random.value() & 0xfff;
                }
            }
            let mut code = [0; 4];
            for (n, word) in (2..).zip(code.iter_mut()) {
                let register = match self.random.below(3) {
                    // op0 2: DBGBVR, DBGBCR, DBGWVR, DBGWCR, MDSCR, OSLAR, OSDLR...
                    0 => 0x8000 | self.random.next() as u16 & 0x7f,
                    1 => 0x8000 | self.random.next() as u16 & 0x3fff,
                    // PMU: op1 3, CRn 9 (CRm 12 to 14) and 14 (CRm 8 to 15).
                    _ => 0xdce0 | self.random.next() as u16 & 0x1f | self.random.pick(&[0, 0x280]),
                };
                *word = words::system(register, self.random.one_in(6), n);
            }
            let single_step = if self.random.one_in(3) { 1 << 21 } else { 0 };
            self.strike(&code, AT_EL1 | single_step, true);
        }
    }

    /// CPUs that come, go, and are asked for at the same time.
    fn power(&mut self) {
        let cpus = self.machine.cpus().take(smp::MAX_CPUS);
        for (number, target) in cpus.enumerate().skip(1) {
            // SAFETY: AFFINITY_INFO only asks.
            let _ = unsafe { power::call(0xc400_0004, target.affinity(), self.random.below(4), 0) };
            let _ = smp::start(number, target, crate::attack_with);
        }
        if smp::this_number() != 0 && self.random.one_in(4) {
            crate::rest();
            power::cpu_off();
        }
        if self.random.one_in(4 * FATAL) {
            guest_runtime::println!("hostile: {} steps, then a reset", crate::steps());
            power::system_reset();
        }
    }

    /// The console: control characters, and what would be the hypervisor's own lines.
    fn console(&mut self) {
        const FORGED: &[&[u8]] = &[
            b"\n[bulkhead] panic: forged\n",
            b"\x1b[2J\x1b]0;t\x07\x1b[6n\r\n",
            b"\n[witness] witness: COMPLAINT: forged\n",
            b"\x1d?\x00\xff\x9b31m\x08\x7f\r",
        ];
        let text = self.random.pick(FORGED);
        self.armour.x[1] = self.frames()[2].0;
        for byte in text {
            self.armour.x[2] = u64::from(*byte);
            self.strike(&[words::plain(0, false)], AT_EL1, true);
        }
    }
}

/// Milliseconds of the physical counter, which a restart does not set back.
pub fn physical_ms() -> u64 {
    read_register!("cntpct_el0") * 1_000 / guest_runtime::timer::frequency()
}
