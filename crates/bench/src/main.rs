//! The program behind `cargo xtask bench`, which builds it and installs what it needs.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use bench::{
    first_light,
    server::{Kind, Server},
};
use clap::{Parser, Subcommand};

/// Measures a PDS from outside.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Starts the reference PDS and runs the first-light check on it.
    FirstLightReference {
        /// A Node of version 22 or newer.
        #[arg(long)]
        node: PathBuf,
        /// The folder with its packages and start scripts.
        #[arg(long)]
        folder: PathBuf,
        /// An empty folder for its data.
        #[arg(long)]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::FirstLightReference { node, folder, data } => {
            std::fs::create_dir_all(&data).context("cannot make the data folder")?;
            let mut server = Server::start(&Kind::Reference { node, folder }, &data, &[])?;
            let checks = first_light::check(&mut server)?;
            server.stop()?;
            say(format_args!("{checks} passed, 0 failed"));
            Ok(())
        }
    }
}
