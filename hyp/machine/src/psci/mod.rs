// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Power State Coordination Interface, 1.1, as a partition's firmware (Arm DEN 0022).
//!
//! Everything acts on the partition: CPU_OFF, SYSTEM_OFF and SYSTEM_RESET never reach the board. What is
//! implemented is in one list, [`is_implemented`], which PSCI_FEATURES reads too; whatever is not answers
//! NOT_SUPPORTED.

mod power;
#[cfg(test)]
mod tests;

pub use power::{Entry, Power, PowerState};

use bulkhead_types::{Ipa, Mpidr, VcpuId};

use crate::smccc::{Call, Outcome};

/// PSCI 1.1.
pub const VERSION: u32 = 1 << 16 | 1;

/// Function IDs (DEN 0022), of those with 64-bit arguments the 32-bit form: [`WIDE`] makes the other.
pub mod function {
    #![expect(missing_docs, reason = "each is named as in the specification")]
    pub const PSCI_VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const PSCI_FEATURES: u32 = 0x8400_000a;
    pub const CPU_FREEZE: u32 = 0x8400_000b;
    pub const CPU_DEFAULT_SUSPEND: u32 = 0x8400_000c;
    pub const NODE_HW_STATE: u32 = 0x8400_000d;
    pub const SYSTEM_SUSPEND: u32 = 0x8400_000e;
}
use function::*;

/// Bit 30 of a function ID: the arguments are 64 bits wide (DEN 0028).
pub const WIDE: u32 = 1 << 30;

/// Return codes (DEN 0022).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ErrorCode {
    /// The function does not exist.
    NotSupported = -1,
    /// An argument is wrong.
    InvalidParameters = -2,
    /// Not in this state of the system.
    Denied = -3,
    /// The CPU is on.
    AlreadyOn = -4,
    /// CPU_ON was called for the CPU, and it has not yet entered.
    OnPending = -5,
    /// The entry point cannot be one.
    InvalidAddress = -9,
}

impl ErrorCode {
    /// As a register holds it: sign-extended, so that it reads the same in 32 and in 64 bits.
    #[must_use]
    pub const fn to_register(self) -> u64 {
        self as i32 as u64
    }
}

/// How a suspended vCPU goes on once an interrupt wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Standby: the call returns SUCCESS, all state as it was.
    Return,
    /// Power down: as after a reset, at this entry.
    Enter(Entry),
}

/// The CPUs of a partition.
pub trait Cpus {
    /// How many there are; their IDs are below.
    fn count(&self) -> u16;
    /// The vCPU with this affinity, if the partition has one.
    fn find(&self, mpidr: Mpidr) -> Option<VcpuId>;
    /// The affinity of a vCPU, as its MPIDR_EL1 shows it.
    fn mpidr(&self, vcpu: VcpuId) -> Mpidr;
    /// Whether a vCPU is on.
    fn state(&self, vcpu: VcpuId) -> PowerState;
    /// Has a vCPU start, atomically ([`Power::try_turn_on`]). Does not yet tell its CPU.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::AlreadyOn`] or [`ErrorCode::OnPending`] if it is not off.
    fn try_turn_on(&self, vcpu: VcpuId, entry: Entry) -> Result<(), ErrorCode>;
    /// Whether the guest has memory at this address.
    fn has_memory(&self, address: Ipa) -> bool;
}

/// Whether a function is there. Optional ones that are not:
/// - MIGRATE, MIGRATE_INFO_UP_CPU: there is no Trusted OS to migrate, as MIGRATE_INFO_TYPE says.
/// - SYSTEM_RESET2: its warm reset promises to keep memory, which a partition that starts afresh does not.
/// - PSCI_SET_SUSPEND_MODE: CPU_SUSPEND is coordinated by the platform, as its features say, and takes
///   power_state in the original format (DEN 0022, CPU_SUSPEND).
/// - PSCI_STAT_RESIDENCY, PSCI_STAT_COUNT: a vCPU has no power states worth statistics.
/// - MEM_PROTECT, MEM_PROTECT_CHECK_RANGE: memory is another partition's never, reset or not.
#[must_use]
pub const fn is_implemented(function: u32) -> bool {
    match function & !WIDE {
        CPU_SUSPEND | CPU_ON | AFFINITY_INFO | CPU_DEFAULT_SUSPEND | NODE_HW_STATE | SYSTEM_SUSPEND => true,
        PSCI_VERSION | CPU_OFF | MIGRATE_INFO_TYPE | SYSTEM_OFF | SYSTEM_RESET | PSCI_FEATURES
        | CPU_FREEZE => function & WIDE == 0,
        _ => false,
    }
}

/// No Trusted OS, or one that need not migrate (MIGRATE_INFO_TYPE).
const MIGRATION_NOT_REQUIRED: u64 = 2;

/// Answers a call of vCPU `caller` in the PSCI range.
pub fn handle(call: &Call, caller: VcpuId, cpus: &impl Cpus) -> Outcome {
    let [first, second, third] = call.arguments_by_width();
    let result = match call.function & !WIDE {
        _ if !is_implemented(call.function) => Err(ErrorCode::NotSupported),
        PSCI_VERSION => Ok(Outcome::Return(VERSION as u64)),
        PSCI_FEATURES => features(first as u32),
        CPU_ON => cpu_on(cpus, first, second, third),
        // A frozen CPU differs in that interrupts may still be targeted at it: they wait in either case.
        CPU_OFF | CPU_FREEZE => Ok(Outcome::CpuOff),
        CPU_SUSPEND => cpu_suspend(cpus, first as u32, second, third),
        CPU_DEFAULT_SUSPEND => suspend(cpus, first, second),
        SYSTEM_SUSPEND => system_suspend(cpus, caller, first, second),
        NODE_HW_STATE => node_hw_state(cpus, first, second as u32),
        AFFINITY_INFO => affinity_info(cpus, first, second as u32),
        MIGRATE_INFO_TYPE => Ok(Outcome::Return(MIGRATION_NOT_REQUIRED)),
        SYSTEM_OFF => Ok(Outcome::SystemOff),
        SYSTEM_RESET => Ok(Outcome::SystemReset),
        _ => Err(ErrorCode::NotSupported),
    };
    result.unwrap_or_else(|error| Outcome::Return(error.to_register()))
}

/// PSCI_FEATURES: zero flags for all that is there, CPU_SUSPEND's original format among them.
fn features(function: u32) -> Result<Outcome, ErrorCode> {
    if is_implemented(function) || function == crate::smccc::function::SMCCC_VERSION {
        Ok(Outcome::Return(0))
    } else {
        Err(ErrorCode::NotSupported)
    }
}

/// NODE_HW_STATE: whether a CPU has power. There is no power level above.
fn node_hw_state(cpus: &impl Cpus, target: u64, level: u32) -> Result<Outcome, ErrorCode> {
    const HW_ON: u64 = 0;
    const HW_OFF: u64 = 1;
    let target = Mpidr::from_affinity(target).filter(|_| level == 0).and_then(|mpidr| cpus.find(mpidr));
    let state = cpus.state(target.ok_or(ErrorCode::InvalidParameters)?);
    Ok(Outcome::Return(if state == PowerState::Off { HW_OFF } else { HW_ON }))
}

/// CPU_ON. What is wrong with the target comes before what is wrong with the address.
fn cpu_on(cpus: &impl Cpus, target: u64, address: u64, context: u64) -> Result<Outcome, ErrorCode> {
    let target = Mpidr::from_affinity(target)
        .and_then(|mpidr| cpus.find(mpidr))
        .ok_or(ErrorCode::InvalidParameters)?;
    match cpus.state(target) {
        PowerState::On => return Err(ErrorCode::AlreadyOn),
        PowerState::OnPending => return Err(ErrorCode::OnPending),
        PowerState::Off => {}
    }
    cpus.try_turn_on(target, entry(cpus, address, context)?).map(|()| Outcome::Started(target))
}

/// An entry point must be an A64 instruction in the guest's memory.
fn entry(cpus: &impl Cpus, address: u64, context: u64) -> Result<Entry, ErrorCode> {
    let address = Ipa(address);
    if address.is_aligned(4) && cpus.has_memory(address) {
        Ok(Entry { address, context })
    } else {
        Err(ErrorCode::InvalidAddress)
    }
}

/// Waits, and goes on at this entry.
fn suspend(cpus: &impl Cpus, address: u64, context: u64) -> Result<Outcome, ErrorCode> {
    entry(cpus, address, context).map(|entry| Outcome::Suspend(Wake::Enter(entry)))
}

/// CPU_SUSPEND, power_state in the original format: power level 25:24, type 16, state ID 15:0.
/// There is one power level, the CPU, and every state ID means the same.
fn cpu_suspend(cpus: &impl Cpus, power_state: u32, address: u64, context: u64) -> Result<Outcome, ErrorCode> {
    const STATE_ID: u32 = 0xffff;
    const POWER_DOWN: u32 = 1 << 16;
    if power_state & !(STATE_ID | POWER_DOWN) != 0 {
        return Err(ErrorCode::InvalidParameters);
    }
    if power_state & POWER_DOWN == 0 {
        return Ok(Outcome::Suspend(Wake::Return));
    }
    suspend(cpus, address, context)
}

/// SYSTEM_SUSPEND: the caller must be the last CPU that is on.
fn system_suspend(
    cpus: &impl Cpus,
    caller: VcpuId,
    address: u64,
    context: u64,
) -> Result<Outcome, ErrorCode> {
    let outcome = suspend(cpus, address, context)?;
    // Only a CPU that is on can turn another on: once all others are off they stay so.
    let others_off =
        (0..cpus.count()).map(VcpuId).all(|vcpu| vcpu == caller || cpus.state(vcpu) == PowerState::Off);
    if others_off { Ok(outcome) } else { Err(ErrorCode::Denied) }
}

/// AFFINITY_INFO: of all vCPUs below the node that `target` and `lowest_level` name, on if any is.
fn affinity_info(cpus: &impl Cpus, target: u64, lowest_level: u32) -> Result<Outcome, ErrorCode> {
    const ON: u64 = 0;
    const OFF: u64 = 1;
    const ON_PENDING: u64 = 2;
    let mask = match lowest_level {
        0 => Mpidr::AFFINITY,
        1 => Mpidr::AFFINITY & !0xff,
        2 => Mpidr::AFFINITY & !0xffff,
        3 => Mpidr::AFFINITY & !0xff_ffff,
        _ => return Err(ErrorCode::InvalidParameters),
    };
    let target = Mpidr::from_affinity(target).ok_or(ErrorCode::InvalidParameters)?;
    let below = (0..cpus.count())
        .map(VcpuId)
        .filter(|vcpu| (cpus.mpidr(*vcpu).affinity() ^ target.affinity()) & mask == 0);
    let mut info = None;
    for vcpu in below {
        let state = match cpus.state(vcpu) {
            PowerState::On => return Ok(Outcome::Return(ON)),
            PowerState::OnPending => ON_PENDING,
            PowerState::Off => OFF,
        };
        info = info.max(Some(state));
    }
    info.map(Outcome::Return).ok_or(ErrorCode::InvalidParameters)
}
