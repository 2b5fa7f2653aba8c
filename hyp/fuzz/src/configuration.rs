// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A bundle of any bytes; and any overlay in a bundle that is sound, merged into a board's tree and planned.

#[path = "../../plan/tests/support/mod.rs"]
mod support;

use bulkhead_plan::bundle::{Bundle, software_crc32};
use bulkhead_plan::plan_board;
use std::sync::LazyLock;

static BOARD: LazyLock<Vec<u8>> = LazyLock::new(|| support::board(3));

pub fn bundle(data: &[u8]) {
    match Bundle::parse(data, software_crc32) {
        Ok(bundle) => {
            for name in bundle.image_names() {
                let place = bundle.image(name).ok().map(|(place, _)| place);
                assert!(place.is_none_or(|place| place.end <= data.len()));
            }
            let _ = bundle.configuration(&["linux,dummy-virt".into()]);
            judge(&bundle);
        }
        Err(errors) => assert!(!errors.0.is_empty() && !errors.to_string().is_empty()),
    }
}

pub fn plan(data: &[u8]) {
    let mut overlay = data.to_vec();
    // The size in the header, so that what comes behind it is reached.
    let size = (overlay.len() as u32).to_be_bytes();
    if let Some(field) = overlay.get_mut(4..8) {
        field.copy_from_slice(&size);
    }
    let bundle = support::small_bundle(overlay);
    judge(&Bundle::parse(&bundle, software_crc32).expect("the bundle itself is sound"));
}

/// What is planned is disjoint; what is not says why.
fn judge(bundle: &Bundle<'_>) {
    match plan_board(&BOARD, bundle, support::taken()) {
        Ok(planned) => support::assert_disjoint(&planned),
        Err(errors) => assert!(!errors.0.is_empty() && !errors.to_string().is_empty()),
    }
}
