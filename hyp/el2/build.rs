// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hands the linker the image's layout.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=image.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{directory}/image.ld");
        println!("cargo::rustc-link-arg-bins=-pie");
        println!("cargo::rustc-link-arg-bins=--no-dynamic-linker");
        println!("cargo::rustc-link-arg-bins=-znotext");
        println!("cargo::rustc-link-arg-bins=--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=--pack-dyn-relocs=relr");
        // Erratum 843419 of Cortex-A53; of erratum 835769 the image's builder takes care (docs/errata.md).
        println!("cargo::rustc-link-arg-bins=--fix-cortex-a53-843419");
    }
}
