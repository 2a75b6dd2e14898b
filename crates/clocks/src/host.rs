//! What is taken from this machine: Debian's packages, the C compiler. Nothing is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testbed::Programs;

/// The programs, and libraries that a bare Debian lacks.
const PACKAGES: [&str; 12] = [
    "chrony",
    "systemd-timesyncd",
    "libsystemd-shared",
    "libnettle8",
    "libhogweed6",
    "libgnutls30",
    "libseccomp2",
    "libcap2",
    "libip4tc2",
    "libkmod2",
    "libssl3",
    "libgcrypt20",
];

/// What the shim is made of, in the repository.
const SOURCES: [&str; 2] = ["tests/clocks/shim.c", "tests/clocks/kernel.c"];

/// Debian's programs, and the shim before them.
#[derive(Clone, Debug)]
pub struct Host {
    programs: Programs,
    /// The shim, a shared object.
    pub shim: PathBuf,
    /// Where the programs find their libraries.
    pub libraries: OsString,
}

impl Host {
    /// Fetches the packages, once, and builds the shim below `folder`.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let programs = Programs::fetch(&PACKAGES).context("cannot fetch Debian's packages")?;
        let shim = folder.join("shim.so");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&shim);
        compiler.args(SOURCES.map(|source| root.join(source))).arg("-lm");
        let done = compiler.output().context("cannot start the C compiler cc")?;
        ensure!(
            done.status.success(),
            "the shim does not compile:\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let libraries =
            std::env::join_paths(programs.libraries()).context("a colon in the path of the packages")?;
        Ok(Self { programs, shim, libraries })
    }

    /// Gives the path of a program of the packages, such as `usr/sbin/chronyd`.
    pub fn program(&self, path: &str) -> Result<PathBuf> {
        Ok(self.programs.file(path)?)
    }
}
