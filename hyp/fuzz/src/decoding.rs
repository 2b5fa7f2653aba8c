// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an exception told: any syndrome, any system register, any instruction.

use crate::Input;
use bulkhead_machine::instruction::Transfer;
use bulkhead_machine::syndrome::{Access, Exit, Syndrome, SystemAccess};
use bulkhead_machine::sysreg::{self, IdTable, Operation, Options, Outcome};
use std::sync::LazyLock;

/// Of a CPU that has everything.
static TABLES: LazyLock<[IdTable; 2]> = LazyLock::new(|| {
    [true, false]
        .map(|gic_system_registers| IdTable::new(|_| u64::MAX, &Options { gic_system_registers, ..OPTIONS }))
});

const OPTIONS: Options =
    Options { gic_system_registers: true, physical_address_bits: 40, extended_controls: true };

pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let syndrome = Syndrome { esr: input.u64(), far: input.u64(), hpfar: input.u64() };
    let value = input.u64();
    assert!(!syndrome.to_string().is_empty());
    let _ = Exit::decode(&syndrome);
    if let Some(access) = Access::to_device(syndrome.esr) {
        assert!(access.register() < 32 && access.size().bytes() <= 8);
        let _ = (access.loaded(value), access.stored(value));
    }
    let access = SystemAccess::decode(syndrome.esr);
    let operation = if access.is_read { Operation::Read } else { Operation::Write(value) };
    for table in &*TABLES {
        let outcome = sysreg::access(table, access.register, operation);
        assert!(access.is_read || !matches!(outcome, Outcome::Value(_)), "a write returned a value");
    }
    if let Some(transfer) = Transfer::decode(value as u32) {
        assert!(transfer.scale <= 4 && transfer.base < 32);
        assert!(transfer.each_register().all(|register| register < 32));
    }
}
