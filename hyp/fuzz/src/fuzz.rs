// SPDX-License-Identifier: Apache-2.0 OR MIT
//! libFuzzer's program: the target is the one that `BULKHEAD_FUZZ` names. `scripts/fuzz` builds and runs it.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<bulkhead_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("BULKHEAD_FUZZ").unwrap_or_default();
    let target = bulkhead_fuzz::TARGETS.iter().find(|(other, _)| *other == name);
    target.map_or_else(|| panic!("BULKHEAD_FUZZ={name}: no such target"), |(_, run)| *run)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
