//! The project's commands: `test`, `tidy`, `cross`, `bench`, `torture`.
//!
//! They only start other programs and judge what these say. Nothing here is part of what runs on the box, and
//! no service may depend on this crate.

mod tidy;

mod ci;
mod install;
mod shell;

use std::process::ExitCode;

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
    }
}
