// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The physical CPUs, and where each waits while its vCPU is off.

use crate::console::line;
use crate::counts::Counts;
use crate::partition::{Partition, Vcpu};
use crate::predictor::Cleansing;
use crate::registers::{dsb_sy, isb};
use crate::system::{self, System};
use crate::vectors::leave_guest;
use crate::{errata, interrupts, memory, read_register, world, write_register};
use bulkhead_machine::gic::Seat;
use bulkhead_machine::smccc::Told;
use bulkhead_machine::smccc::function::*;
use bulkhead_machine::sysreg::IdTable;
use bulkhead_plan::board::Start;
use bulkhead_platform::firmware::Firmware;
use bulkhead_platform::gic::{Controller, InterruptController};
use bulkhead_types::{CpuIndex, Ipa, Mpidr, Range};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Once;

/// One CPU. TPIDR_EL2 of the CPU points here.
#[repr(C)]
pub struct Cpu {
    /// Top of its stack.
    stack_top: u64,
    /// Its place in the board's tree.
    pub index: CpuIndex,
    /// Its affinity.
    pub mpidr: Mpidr,
    /// How it is started; `None` if the board's tree does not say.
    pub start: Option<Start>,
    /// Whose it is: partition and number of the vCPU in it. `None` for a CPU that nobody claims.
    pub owner: Option<(usize, usize)>,
    /// Whether it has come up.
    online: AtomicBool,
    /// When it last came by at EL2, by the physical counter: see [`crate::alive`].
    pub beat: AtomicU64,
    /// When it goes on with the console, by the physical counter, and until what has left: see [`crate::timer::set_console`].
    pub console_due: AtomicU64,
    /// The latter: zero for nothing.
    pub console_mark: AtomicU64,
    /// What runs here: set as it comes up, if it has an owner and is fit for it.
    guest: Once<Guest>,
}

/// The vCPU that runs on a CPU, and all that the answers to its exits hang on: in this order, for pairs of words near the
/// start are loaded at once.
#[repr(C)]
pub struct Guest {
    /// Everything.
    pub system: &'static System,
    /// The CPU.
    pub cpu: &'static Cpu,
    /// Whose it is.
    pub partition: &'static Partition,
    /// The vCPU.
    pub vcpu: &'static Vcpu,
    /// What the firmware tells of this CPU.
    pub told: Told,
    /// Its place at the partition's virtual interrupt controller.
    pub seat: Seat<'static>,
    /// Where the guest sees the distributor.
    pub distributor: Range<Ipa>,
    /// What makes this CPU's branch predictor forget what the guest taught it.
    pub cleansing: Cleansing,
    /// The ID registers of this CPU as the guest sees them: where a board's CPUs differ, its vCPUs do.
    pub id_registers: IdTable,
    /// Its exits since boot.
    pub exits: Counts,
    /// How many they were when the monitor told of them last.
    pub exits_told: AtomicU64,
}

impl Guest {
    /// Where the vectors find the exits.
    pub const EXITS_OFFSET: usize = offset_of!(Self, exits);
}

impl Cpu {
    /// Where `_secondary` finds its affinity.
    pub const MPIDR_OFFSET: usize = offset_of!(Self, mpidr);
    /// Where `_secondary` finds the top of its stack.
    pub const STACK_TOP_OFFSET: usize = offset_of!(Self, stack_top);

    /// A CPU that has not come up.
    pub const fn new(
        index: CpuIndex,
        mpidr: Mpidr,
        start: Option<Start>,
        stack_top: u64,
        owner: Option<(usize, usize)>,
    ) -> Self {
        Self {
            stack_top,
            index,
            mpidr,
            start,
            owner,
            online: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            console_due: AtomicU64::new(0),
            console_mark: AtomicU64::new(0),
            guest: Once::new(),
        }
    }

    /// Top of its stack.
    pub const fn stack_top(&self) -> u64 {
        self.stack_top
    }

    /// What runs here, if it has an owner, has come up, and is fit for it.
    #[inline(always)]
    pub fn guest(&'static self) -> Option<&'static Guest> {
        self.guest.get()
    }

    /// Whether it has come up.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }
}

/// What `_secondary` looks its CPU up in: the addresses of the first `Cpu` and of the end of the last.
pub static ROSTER: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Lets the other CPUs find themselves. What they read before their caches are on must be in memory.
pub fn publish(cpus: &'static [Cpu]) {
    let range = cpus.as_ptr_range();
    let (start, end) = (range.start.expose_provenance() as u64, range.end.addr() as u64);
    let [first, last] = &ROSTER;
    first.store(start, Ordering::Relaxed);
    last.store(end, Ordering::Relaxed);
    memory::clean((&raw const ROSTER).addr() as u64, size_of_val(&ROSTER) as u64);
    memory::clean(start, end.saturating_sub(start));
}

/// The CPU that this runs on.
#[inline(always)]
pub fn current() -> &'static Cpu {
    let pointer = core::ptr::with_exposed_provenance::<Cpu>(read_register!("tpidr_el2") as usize);
    // SAFETY: `enter` set TPIDR_EL2 to a `Cpu` of the leaked system before anything here could run.
    unsafe { &*pointer }
}

/// Whether TPIDR_EL2 is set: not so early at boot.
pub fn is_known() -> bool {
    read_register!("tpidr_el2") != 0
}

/// Makes this CPU be `cpu`, and prepares its interrupts and its EL2 controls.
pub fn enter(system: &'static System, cpu: &'static Cpu) {
    // SAFETY: TPIDR_EL2 is ours alone; it points to a `Cpu` that lives for ever.
    unsafe { write_register!("tpidr_el2", (&raw const *cpu).expose_provenance() as u64) };
    if let Some(why) = system.controller.refusal() {
        // Without its interrupts it waits for ever; its partition misses it, and is not started.
        line(format_args!("error: CPU {} ({:?}): {why}", cpu.index, cpu.mpidr));
        cpu.online.store(true, Ordering::Release);
        return;
    }
    interrupts::start_cpu(system, cpu);
    let owner = cpu.owner.and_then(|(partition, vcpu)| {
        let partition = system.partitions.get(partition)?;
        let vcpu = partition.vcpus.get(vcpu)?;
        if !errata::accepts(system, cpu) {
            return None;
        }
        if let Some(why) = partition.unfit() {
            line(format_args!("error: CPU {} ({:?}): {why}", cpu.index, cpu.mpidr));
            return None;
        }
        let distributor = partition.frames.distributor;
        let (told, seat) = (told(system.firmware), partition.gic.seat(vcpu.id)?);
        let cleansing = Cleansing::of_this_cpu(&told);
        let id_registers = partition.id_registers(matches!(system.controller, InterruptController::V3(_)));
        let (exits, exits_told) = (Counts::default(), AtomicU64::new(0));
        Some(Guest {
            system,
            cpu,
            partition,
            vcpu,
            told,
            id_registers,
            cleansing,
            seat,
            distributor,
            exits,
            exits_told,
        })
    });
    if let Some(guest) = owner {
        guest.partition.configure_cpu(guest.vcpu);
        cpu.guest.call_once(|| guest);
    }
    cpu.online.store(true, Ordering::Release);
}

/// What the firmware tells of this CPU, which may be of another kind than the one that booted.
fn told(firmware: Firmware) -> Told {
    let soc = |which| u32::try_from(firmware.ask(SMCCC_ARCH_SOC_ID, which)).ok();
    // It is for all exception levels of this CPU, so no guest may switch it off.
    let workaround_2 = firmware.feature(SMCCC_ARCH_WORKAROUND_2);
    if workaround_2 == 0 {
        firmware.ask(SMCCC_ARCH_WORKAROUND_2, 1);
    }
    let has_soc = firmware.feature(SMCCC_ARCH_SOC_ID) >= 0;
    Told {
        workaround_1: firmware.feature(SMCCC_ARCH_WORKAROUND_1),
        workaround_2,
        workaround_3: firmware.feature(SMCCC_ARCH_WORKAROUND_3),
        soc: if has_soc { soc(0).zip(soc(1)) } else { None },
    }
}

/// Where the other CPUs come from `_secondary`, on their own stack and with translation on.
pub extern "C" fn secondary(cpu: &'static Cpu) -> ! {
    enter(system::get(), cpu);
    idle()
}

/// Leaves whatever runs on this CPU's stack for [`idle`].
pub fn abandon() -> ! {
    let stack_top = current().stack_top;
    // SAFETY: nothing on the stack is needed again: handlers hold no lock and own nothing here.
    unsafe { leave_guest(stack_top) }
}

/// Waits for orders: the vCPU's start, or work for the hypervisor.
pub extern "C" fn idle() -> ! {
    let system = system::get();
    let cpu = current();
    loop {
        if let Some(guest) = cpu.guest() {
            let Guest { partition, vcpu, .. } = *guest;
            partition.start_if_due(system, vcpu);
            partition.depart_if_ending(system, vcpu);
            partition.enter_if_started(guest);
        }
        // Interrupts are masked at EL2, and a pending one still ends the wait, as HCR_EL2 sends it to EL2 (Arm ARM,
        // "WFI wake-up events"; `init_el2`). The barrier lets stores that others wait for complete before this CPU sleeps.
        dsb_sy();
        // SAFETY: waits, and touches nothing.
        unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) };
        isb();
        interrupts::handle_idle(system, cpu);
        world::discard_error();
    }
}
