// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host side of Bulkhead: what `cargo bulkhead` does on a developer's desk.
//!
//! | module | its one concern |
//! | --- | --- |
//! | [`project`] | where things lie in the checkout |
//! | [`build`], [`flatten`] | sources to bootable images |
//! | [`errata`] | sequences of instructions that a CPU executes wrongly, and their removal |
//! | [`config`], [`images`], [`pack`], [`bundle`] | a configuration to a bundle |
//! | [`check`], [`dts`] | a configuration to a plan, or to mistakes with their places |
//! | [`show`], [`new`] | a plan to tables and pictures; a configuration to start from |
//! | [`qemu`] | QEMU's command line, and its process |
//! | [`console`] | the bytes of the one serial line to lines with an owner |
//! | [`transcript`], [`board`] | what each partition said; what the hypervisor said of each |
//! | [`machine`] | a running board: wait, type, end, and the verdict |
//! | [`play`], [`player`] | the session language and its interpreter |
//! | [`display`], [`terminal`] | what the user sees and types |
//! | [`door`], [`stats`] | a way in to a board that runs, and what its monitor answers |
//! | [`svg`] | pictures |
//! | [`run`], [`suite`], [`mod@bench`] | the commands `run`, `test` and `attack`, and `bench` |

#![forbid(unsafe_code)]

pub mod bench;
pub mod board;
pub mod build;
pub mod bundle;
pub mod check;
pub mod config;
pub mod console;
pub mod display;
pub mod door;
pub mod dts;
pub mod errata;
pub mod flatten;
pub mod images;
pub mod machine;
pub mod new;
pub mod pack;
pub mod play;
pub mod player;
pub mod project;
pub mod qemu;
pub mod raspi;
pub mod run;
pub mod sdcard;
pub mod show;
pub mod stats;
pub mod suite;
pub mod svg;
pub mod terminal;
pub mod transcript;
pub mod unpack;
