// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A GIC as the architecture describes it: every interrupt's state in one place, no list registers.

use bulkhead_machine::gic::Version;

#[derive(Clone, Copy, Default, Debug)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub edge: bool,
    pub line: bool,
    pub latch: bool,
    /// GICv2: senders of a pending SGI.
    pub senders: u8,
    pub active: bool,
    pub priority: u8,
    pub target: Option<usize>,
    /// Shared, GICv3: any CPU that is on may get it, one at a time (GICD_IROUTER.Interrupt_Routing_Mode).
    pub anyone: bool,
}

impl Interrupt {
    pub fn is_pending(&self) -> bool {
        self.latch || self.senders != 0 || (self.line && !self.edge)
    }
}

pub struct Model {
    pub version: Version,
    pub groups: u8,
    pub on: Vec<bool>,
    pub private: Vec<[Interrupt; 32]>,
    pub shared: Vec<Interrupt>,
    /// For each CPU what it acknowledged and did not end: interrupt and priority.
    pub running: Vec<Vec<(u32, u8)>>,
    /// Ended (priority dropped) but not deactivated: EOImode 1.
    pub dropped: Vec<Vec<u32>>,
}

impl Model {
    pub fn new(version: Version, cpus: usize) -> Self {
        let first = if version == Version::V3 || cpus == 1 { Some(0) } else { None };
        let mut private = [Interrupt::default(); 32];
        for sgi in &mut private[..16] {
            sgi.edge = true;
            sgi.enabled = version == Version::V2;
        }
        Self {
            version,
            groups: 3,
            on: vec![true; cpus],
            private: vec![private; cpus],
            shared: vec![Interrupt { target: first, ..Interrupt::default() }; 128],
            running: vec![Vec::new(); cpus],
            dropped: vec![Vec::new(); cpus],
        }
    }

    pub fn get(&mut self, owner: usize, id: u32) -> &mut Interrupt {
        if id < 32 { &mut self.private[owner][id as usize] } else { &mut self.shared[id as usize] }
    }

    /// Pending and allowed at this CPU, its running priority aside.
    fn is_ready(&self, cpu: usize, id: u32) -> bool {
        let interrupt = if id < 32 { self.private[cpu][id as usize] } else { self.shared[id as usize] };
        interrupt.is_pending()
            && !interrupt.active
            && interrupt.enabled
            && self.groups >> u8::from(interrupt.group1) & 1 != 0
            && (id < 32 || interrupt.target == Some(cpu) || interrupt.anyone && self.on[cpu])
    }

    fn priority(&self, cpu: usize, id: u32) -> u8 {
        if id < 32 { self.private[cpu][id as usize].priority } else { self.shared[id as usize].priority }
    }

    /// The interrupts that the CPU may acknowledge now: those of its own with the highest priority, and those for any
    /// CPU, unless they are less urgent: another CPU may have been chosen for them.
    pub fn candidates(&self, cpu: usize) -> Vec<u32> {
        let running = self.running[cpu].iter().map(|&(_, priority)| priority).min().unwrap_or(u8::MAX);
        let mut ready: Vec<u32> = (0..128).filter(|&id| self.is_ready(cpu, id)).collect();
        ready.retain(|&id| self.priority(cpu, id) < running);
        let own = ready.iter().filter(|&&id| !self.is_for_anyone(id));
        if let Some(best) = own.map(|&id| self.priority(cpu, id)).min() {
            ready.retain(|&id| self.priority(cpu, id) <= best);
        }
        ready
    }

    pub fn is_for_anyone(&self, id: u32) -> bool {
        id >= 32 && self.shared[id as usize].anyone
    }

    pub fn acknowledge(&mut self, cpu: usize, id: u32, source: u8) {
        let priority = self.priority(cpu, id);
        let has_senders = self.version == Version::V2 && id < 16;
        let interrupt = self.get(cpu, id);
        if has_senders {
            assert!(interrupt.senders >> source & 1 != 0, "SGI {id} from {source}, who did not send it");
            interrupt.senders &= !(1 << source);
        }
        interrupt.latch = false;
        interrupt.active = true;
        self.running[cpu].push((id, priority));
    }

    /// What the CPU's next priority drop is for.
    pub fn innermost(&self, cpu: usize) -> Option<u32> {
        self.running[cpu].iter().min_by_key(|&&(_, priority)| priority).map(|&(id, _)| id)
    }

    pub fn end(&mut self, cpu: usize, id: u32, split: bool) {
        self.running[cpu].retain(|&(running, _)| running != id);
        if split {
            self.dropped[cpu].push(id);
        } else {
            self.get(cpu, id).active = false;
        }
    }

    pub fn deactivate(&mut self, cpu: usize, id: u32) {
        self.dropped[cpu].retain(|&dropped| dropped != id);
        self.get(cpu, id).active = false;
    }

    /// Whether the guest has acknowledged the interrupt, somewhere, and not deactivated it.
    pub fn is_in_service(&self, owner: usize, id: u32) -> bool {
        let serves = |cpu: usize| {
            self.running[cpu].iter().any(|&(running, _)| running == id) || self.dropped[cpu].contains(&id)
        };
        if id < 32 { serves(owner) } else { (0..self.on.len()).any(serves) }
    }
}
