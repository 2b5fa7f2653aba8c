// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The binding: what a `bulkhead,partition` node may say. `docs/binding.md` is its description for users.

mod properties;
mod read;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bulkhead_types::Ipa;

use crate::errata::Accepted;
use crate::tree::NodeId;
pub(crate) use read::{parent, policy, read};

/// `compatible` of the node that holds the partitions.
pub const PARTITIONS: &str = "bulkhead,partitions";
/// `compatible` of a partition.
pub const PARTITION: &str = "bulkhead,partition";
/// The property that has the hypervisor run the board's watchdog.
pub(crate) const ESCAPE_KEY: &str = "escape-key";
/// What it is unless it is given: Ctrl-].
pub(crate) const CTRL_BRACKET: u8 = 0x1d;
pub(crate) const WATCHDOG: &str = "watchdog-timeout-sec";
/// The guest-physical address space: 40 bits, which every CPU with EL2 can translate.
pub const ADDRESS_BITS: u32 = 40;

/// When a partition that stopped starts again by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restart {
    /// Only on its own request (PSCI SYSTEM_RESET).
    #[default]
    Never,
    /// Also after a fault that it cannot recover from.
    OnCrash,
    /// Also after it powered itself off.
    Always,
}

/// What the board does once the hypervisor itself has panicked and said why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnPanic {
    /// It powers off; where that is not possible, it halts.
    #[default]
    PowerOff,
    /// It is reset.
    Reset,
    /// Every CPU stops, and the registers stay for a debugger.
    Halt,
}

/// What the node of all partitions says of the hypervisor itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What follows a panic.
    pub on_panic: OnPanic,
    /// Whether the console has a monitor.
    pub monitor: bool,
    /// The control character that begins a command to the console.
    pub escape_key: u8,
    /// Seconds of the board's watchdog, if the hypervisor is to run it.
    pub watchdog: Option<u32>,
    /// Errata of cores that are refused otherwise.
    pub accepted_errata: Accepted,
}

/// When and how often a partition starts again by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestartPolicy {
    /// After what.
    pub when: Restart,
    /// How often in a row; a run of a minute ends the row.
    pub limit: u32,
    /// Milliseconds before the first restart of a row; each further one waits twice as long as the last,
    /// a minute at most.
    pub delay_ms: u32,
}

/// What a guest may do with memory beside reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Write to it.
    pub write: bool,
    /// Execute from it.
    pub execute: bool,
}

impl Access {
    /// Everything: ordinary memory.
    pub const ALL: Self = Self { write: true, execute: true };
}

/// A range of memory that a partition asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryWish {
    /// The guest address, if it says one.
    pub at: Option<Ipa>,
    /// Bytes, a positive multiple of the page size.
    pub size: u64,
    /// What the guest may do with it.
    pub access: Access,
}

impl MemoryWish {
    /// As it would stand in source, but for the cells of its numbers.
    pub(crate) fn shown(&self) -> String {
        let at = self.at.map_or_else(String::new, |at| format!("{at} "));
        format!("<{at}{:#x}>", self.size)
    }
}

/// What one node asks for; nothing is checked against the board yet. A property that is malformed is
/// as if it were not there, so that the rest can be checked all the same.
#[derive(Clone, Debug)]
pub struct Spec<'t> {
    /// The node.
    pub node: NodeId,
    /// Its path.
    pub path: String,
    /// The partition's name.
    pub name: &'t str,
    /// `reg` of the board's CPUs, in the order of the vCPUs.
    pub cpus: Vec<u32>,
    /// Memory, in the order given.
    pub memory: Vec<MemoryWish>,
    /// Whether guest addresses are physical addresses. Always so for the primary partition.
    pub identity_mapped: bool,
    /// Whether it gets everything that no other partition claims.
    pub primary: bool,
    /// Name of the kernel image; there is one if nothing is wrong.
    pub kernel: Option<&'t str>,
    /// Name of the initial ramdisk.
    pub ramdisk: Option<&'t str>,
    /// The kernel's command line.
    pub bootargs: Option<&'t str>,
    /// Name of a device tree of its own, or of an overlay on the generated one.
    pub device_tree: Option<&'t str>,
    /// Where its device tree lies.
    pub device_tree_address: Option<Ipa>,
    /// Where a raw image goes.
    pub load_address: Option<Ipa>,
    /// Where it is entered.
    pub entry: Option<Ipa>,
    /// Whether it gets a virtual UART.
    pub uart: bool,
    /// Paths or aliases of the board's nodes.
    pub devices: Vec<&'t str>,
    /// When it starts again.
    pub restart: RestartPolicy,
    /// Whether it has a watchdog.
    pub watchdog: bool,
    /// Whether memory that no image fills is zeroed at the first start as well.
    pub zero_at_boot: bool,
}
