// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links with the runtime's script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/image.ld");
    println!("cargo::rerun-if-changed={script}");
    for argument in ["-pie", "--no-dynamic-linker", "-znotext", &format!("-T{script}")] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
