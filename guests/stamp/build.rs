// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links at 0 with nothing before the first instruction.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/image.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
