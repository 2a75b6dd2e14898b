//! The project's commands: `test`, `tidy`, `cross`, `qemu`, `bench`, `torture`, `image`, `image-lint`.
//!
//! They only start other programs and judge what these say. Nothing here is part of what runs on the box, and
//! no service may depend on this crate.

mod benchmark;
mod ci;
mod clients;
mod cross;
mod emulate;
mod image;
mod install;
mod parity;
mod shell;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Commands for people who work on Perch.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs the whole of CI, in order, and stops at the first failure.
    Test {
        /// Runs only these steps (see --list); may be repeated.
        #[arg(long, value_name = "STEP")]
        only: Vec<String>,
        /// Prints the names of the steps and ends.
        #[arg(long)]
        list: bool,
    },
    /// Checks the invariants of the design, after checking that each check can fail.
    Tidy,
    /// Builds all programs for aarch64 with Debian's cross tools.
    Cross {
        /// Compiles faster and optimises less, as CI does.
        #[arg(long)]
        quick: bool,
        /// Then runs `perch` under emulation and checks it.
        #[arg(long)]
        first_light: bool,
    },
    /// Makes the file that people flash, and what goes beside it.
    Image(image::Options),
    /// Looks an unpacked image over as the firmware of each model would.
    ImageLint {
        /// The image.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Boots the whole box in an emulated ARM machine and serves it on this computer until Ctrl-C.
    Qemu(emulate::Options),
    /// Measures Perch and the reference PDS in turn and writes docs/benchmarks.md.
    Bench(benchmark::Options),
    /// Cuts the power at thousands of places and checks what is left.
    Torture {
        /// Number of crash states.
        #[arg(long, default_value_t = 5_000)]
        states: u32,
        /// Seed of the first; the same seed gives the same states.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Below the file system of an emulated machine, instead of below SQLite.
        #[arg(long)]
        block: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            shell::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` means that it did its work and found something wrong.
fn run(task: Task) -> Result<bool> {
    let root = shell::workspace_root()?;
    match task {
        Task::Test { list: true, .. } => {
            ci::list();
            Ok(true)
        }
        Task::Test { only, list: false } => ci::run(&root, &only),
        Task::Tidy => tidy::run(&root),
        Task::Cross { quick, first_light } => {
            let effort = if quick { cross::Effort::Quick } else { cross::Effort::Release };
            let programs = cross::build(&root, effort)?;
            if first_light {
                cross::first_light(&root, &programs)?;
            }
            Ok(true)
        }
        Task::Image(options) => image::run(&root, &options).map(|_| true),
        Task::ImageLint { file } => image::lint(&root, &file),
        Task::Qemu(options) => emulate::run(&root, &options).map(|()| true),
        Task::Bench(options) => benchmark::run(&root, &options).map(|()| true),
        Task::Torture { states, seed, block: false } => ci::torture(&root, states, seed).map(|()| true),
        Task::Torture { states, seed, block: true } => ci::block_cuts(&root, states, seed).map(|()| true),
    }
}
