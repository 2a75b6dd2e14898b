//! `cargo xtask qemu`: the whole box in an emulated ARM machine, for a person to look at.
//!
//! It installs and builds what that takes and then becomes the example `whole_box` of `testbed`, so that signals reach it.

use std::{os::unix::process::CommandExt, path::Path};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    cross,
    install::{self, Debian},
    shell::{cargo, run as run_command},
};

/// Where the box is reached.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The port of this computer that leads to the PDS.
    #[arg(long, default_value_t = 2583)]
    pds_port: u16,
    /// The port of this computer that leads to the status page.
    #[arg(long, default_value_t = 8080)]
    panel_port: u16,
}

/// Installs what the emulated machine takes: the emulator, and what puts its kernel, modules and disks together.
pub(crate) fn install_machine(root: &Path) -> Result<()> {
    install::program(root, &["mkfs.ext4", "-V"], "e2fsprogs")?;
    install::program(root, &["make", "--version"], "make")?;
    install::debian(root, &Debian { packages: &["kmod", "xz-utils"], backports: false })?;
    install::debian(root, &Debian { packages: &["qemu-system-arm"], backports: true })?;
    install::foreign_architecture(root, "arm64")
}

/// Serves the box until SIGTERM or Ctrl-C. Its card is in `target/qemu`, and a fresh one each time.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    install_machine(root)?;
    let programs = cross::build(root, cross::Effort::Quick)?;
    let example = ["--locked", "--package", "testbed", "--example", "whole_box"];
    run_command(&mut cargo(root, [&["build"], &example[..]].concat()))?;
    let mut command = cargo(root, [&["run", "--quiet"], &example[..], &["--"]].concat());
    command.arg("--programs").arg(programs).arg("--folder").arg(root.join("target/qemu"));
    command.args(["--pds-port", &options.pds_port.to_string()]);
    command.args(["--panel-port", &options.panel_port.to_string()]);
    Err(command.exec()).context("cannot start the emulated box")
}
