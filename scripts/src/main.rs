// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `bulkhead`, the host command; `cargo bulkhead` within the checkout.

#![forbid(unsafe_code)]

use anyhow::Result;
use bulkhead_host::config::Config;
use bulkhead_host::machine::Failure;
use bulkhead_host::project::Project;
use bulkhead_host::{
    bench, build, check, display, new, pack, qemu, run, sdcard, show, stats, suite, terminal,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::stdout;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds Bulkhead, packs configurations, and boots them under QEMU
#[derive(Debug, Parser)]
#[command(name = "bulkhead", bin_name = "cargo bulkhead", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo bulkhead run                                  the demo: two Linux guests and a ticker
  cargo bulkhead run --gic 2 --cpu max                the same on another board
  cargo bulkhead run my-board/ --smp 8 --memory 4096  a configuration of one's own
  cargo bulkhead run --play my.play --timeout 300     typed from a file; ends after 300 s
  cargo bulkhead run -- -d guest_errors -D qemu.log   with further arguments for QEMU
  cargo bulkhead new my-board                         a configuration to start from
  cargo bulkhead check my-board/                      its mistakes, each where it stands
  cargo bulkhead show my-board/ --svg my-board.svg    who owns what of the board
  cargo bulkhead pack my-board/ -o my-board.itb       one file to boot with the hypervisor
  cargo bulkhead test reboot                          the system tests with `reboot` in the name";

const SHOW_HELP: &str = "\
Examples:
  cargo bulkhead show guests/demo                        a table
  cargo bulkhead show guests/demo --svg demo.svg         a picture
  cargo bulkhead show guests/demo --json | jq .free      for machines
  cargo bulkhead show guests/demo --guest-dts linux-a    the tree that a guest sees";

const CHECK_HELP: &str = "\
Compiles, merges and plans with the hypervisor's own code, for the board that `run` would boot with the same \
options, and shows every mistake where it stands. Exit status: 0 if it boots, 1 if not.

Examples:
  cargo bulkhead check guests/demo
  cargo bulkhead check my-board/ --smp 8 --memory 4096 --gic 2
  cargo bulkhead check my-board/ --board raspi4b
  cargo bulkhead check my-board/ --dtb my-board.dtb      a tree of one's own
  cargo bulkhead check my-board/ --json | jq .problems   for machines: docs/binding.md has the members";

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the hypervisor and our own guests
    #[command(after_help = "The hypervisor comes to target/bulkhead.img, guests to target/guest-software.")]
    Build {
        /// Print each image's size
        #[arg(long, short)]
        verbose: bool,
    },
    /// Pack a configuration into a bundle
    #[command(after_help = "\
Example:
  cargo bulkhead pack guests/demo -o demo.itb
  mkimage -l demo.itb

An image's name in a partition (kernel, ramdisk) stands for a file NAME or NAME.* in the configuration's \
folder or its images/, for our own guest of that name, or for target/guest-software/NAME.

What `check` would say is said for the board that the options describe, and the bundle is written all the same: \
it may be for another. Only where an overlay does not compile or an image is missing none is written.")]
    Pack {
        /// A folder with overlays (*.dtso), one overlay, or a bundle
        config: PathBuf,
        /// The bundle to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// What guards each image [default: crc32]
        #[arg(long, value_enum)]
        hash: Option<pack::Hash>,
        /// The board to plan for.
        #[command(flatten)]
        board: Box<qemu::Options>,
    },
    /// Make a card that a Raspberry Pi 4 boots a configuration from
    #[command(after_help = "\
Examples:
  cargo bulkhead sdcard guests/demo -o pi4.img          an image for a whole card
  cargo bulkhead sdcard guests/demo --to /media/boot    files on a boot partition that is there already

docs/raspberry-pi.md goes from an empty card to two guests on the serial port.")]
    Sdcard(sdcard::Options),
    /// Make a configuration to start from
    #[command(after_help = "\
Example:
  cargo bulkhead new my-board
  cargo bulkhead run my-board")]
    New(new::Options),
    /// Check a configuration without booting it
    #[command(after_help = CHECK_HELP)]
    Check(Box<check::Options>),
    /// Show who owns what of the board
    #[command(after_help = SHOW_HELP)]
    Show(Box<show::Options>),
    /// Print a script that completes this command's words in a shell
    #[command(after_help = "\
The script completes the word `bulkhead`, which an alias makes of `cargo bulkhead`. For bash:
  cargo bulkhead completions bash > ~/.local/share/bash-completion/completions/bulkhead
  echo \"alias bulkhead='cargo bulkhead'\" >> ~/.bashrc

In zsh and fish a function does it: bulkhead() { cargo bulkhead \"$@\" } and alias bulkhead 'cargo bulkhead'.")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Boot a configuration under QEMU
    #[command(after_help = "\
On a terminal the keyboard goes to the partition in focus. Ctrl-] and then
  a digit   moves the focus to the partition of that number
  n         moves it to the next one
  ?         explains the keys
  q         ends QEMU
  Ctrl-]    types a Ctrl-]
The plan's escape-key puts another key in place of Ctrl-].

Without a terminal the configuration's own *.play session is played, if it has one.
The exit status is 0 if every partition powered itself off.")]
    Run(Box<run::Options>),
    /// Ask the monitor of a running board who runs, and what for each vCPU leaves its guest
    #[command(after_help = "\
Examples:
  cargo bulkhead stats                         the board that `cargo bulkhead run` runs
  cargo bulkhead stats --every 2               again every two seconds
  cargo bulkhead stats /dev/ttyUSB0 --json     one at a serial port that no other program reads

It presses Ctrl-] l and Ctrl-] t; docs/operating.md explains the answer.")]
    Stats(stats::Options),
    /// Run the system tests
    #[command(after_help = "\
Each scenario runs on one board, taken in turn, so that every GIC version and CPU model occurs; with --full on all. \
What each test's console said is kept in target/system-tests/NAME/console.log.")]
    Test(suite::Options),
    /// Have a hostile guest attack, seed by seed, while a witness watches
    #[command(after_help = "\
Examples:
  cargo bulkhead attack --seeds 1000 --every-board       the campaign
  cargo bulkhead attack --first 17 --seeds 1 --gic 2     one seed again
  cargo bulkhead attack --threads                        with QEMU's threads, for other races

The console of a seed that fails is kept in target/system-tests/attack-SEED/console.log.")]
    Attack(Box<suite::attack::Options>),
    /// Count the instructions of everything that leaves a guest
    #[command(
        after_help = "The budgets are in scripts/data/budgets.json; docs/bench.md explains the method."
    )]
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = dispatch(Arguments::parse());
    terminal::restore();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bulkhead: {}", terminal::plain(&format!("{error:#}")));
            match error.downcast_ref() {
                Some(Failure::Signal(number)) => ExitCode::from(u8::try_from(128 + number).unwrap_or(1)),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<ExitCode> {
    let project = Project::find()?;
    match arguments.command {
        Command::Build { verbose } => {
            build::hypervisor(&project, verbose)?;
            for name in build::guest_names(&project) {
                build::guest(&project, &name, verbose)?;
            }
        }
        Command::Pack { config, output, hash, board } => {
            let bundle = pack::pack_with(&project, &Config::open(&config)?, hash)?;
            display::write_and_tell(
                &output,
                &bundle,
                "a bundle, to be booted as the initial ramdisk of target/bulkhead.img",
            )?;
            check::warn(&project, &config, &board);
        }
        Command::Sdcard(options) => sdcard::sdcard(&project, &options)?,
        Command::Check(options) => {
            if !check::check(&project, &options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::New(options) => new::new(&options.folder)?,
        Command::Show(options) => {
            if !show::show(&project, &options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "bulkhead", &mut stdout());
        }
        Command::Run(options) => run::run(&project, &options)?,
        Command::Stats(options) => stats::stats(&project, &options)?,
        Command::Test(options) => {
            if !suite::test(&project, &options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Attack(options) => {
            if !suite::attack::campaign(&project, &options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Bench(options) => {
            if !bench::run(&project, &options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
