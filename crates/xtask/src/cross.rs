//! `cargo xtask cross`: every program of the box for 64-bit ARM, by Debian's cross tools.
//!
//! Debian ships Rust's standard library for arm64; rustup would have to download it, so its toolchain is not used here.
//! The result links glibc dynamically: programs that resolve names should, and Debian's and Buildroot's glibc are newer
//! than the one that is asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bench::server::{Kind, Server};

use crate::{
    install::{self, Debian},
    shell::{command, run, say},
};

/// The machine that is built for: Pi 3, 4, 5 and Zero 2 W in 64-bit mode.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Debian's Rust, its standard library for the target, and a C compiler for SQLite and ring.
const TOOLS: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev:arm64",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
];

/// Packages and their examples that tests start in the guest of the test machine (`crates/testbed/tests/device`, `powercut`).
const PROBES: &[(&str, &str)] = &[
    ("platform-linux", "front_probe"),
    ("platform-linux", "clock_probe"),
    ("platform-linux", "intruder"),
    ("timeguard", "trust_probe"),
    ("appliance", "storage_probe"),
];

/// Programs that stay on the developer's machine.
const TOOLS_OF_OURS: &[&str] = &["xtask", "bench", "crashfs", "testbed", "powercut", "image"];

/// What the emulated program links. `libc6:arm64` and not the copy for cross compilers: a threaded program that is
/// run with that one spins for ever in `pthread_create` under QEMU 7.2 and 10.0.
const LIBRARIES: &[&str] = &["libc6:arm64", "libgcc-s1:arm64"];

/// The emulator of one program.
const EMULATOR: &str = "qemu-aarch64-static";

/// How much the compiler should try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What is shipped.
    Release,
    /// The `quick` profile: the same code, compiled faster; for tests.
    Quick,
}

/// Builds all programs and returns the folder they are in.
pub(crate) fn build(root: &Path, effort: Effort) -> Result<PathBuf> {
    let mut arguments = vec!["--workspace", "--bins"];
    arguments.extend(TOOLS_OF_OURS.iter().flat_map(|tool| ["--exclude", tool]));
    let programs = build_some(root, effort, &arguments)?;
    say(format_args!("aarch64 programs are in {}", programs.display()));
    Ok(programs)
}

/// Builds programs that only tests of the test machine run, and returns the folder they are in.
///
/// They are examples, so that no image ever has one.
pub(crate) fn build_probes(root: &Path) -> Result<PathBuf> {
    let arguments: Vec<&str> =
        PROBES.iter().flat_map(|(package, example)| ["--package", package, "--example", example]).collect();
    Ok(build_some(root, Effort::Quick, &arguments)?.join("examples"))
}

fn build_some(root: &Path, effort: Effort, what: &[&str]) -> Result<PathBuf> {
    install::debian(root, &Debian { packages: TOOLS, backports: false })?;
    let profile = match effort {
        Effort::Release => "release",
        Effort::Quick => "quick",
    };
    let folder = root.join("target/cross");
    let mut cargo = command(root, "/usr/bin/cargo", ["build", "--locked"]);
    cargo.args(what);
    cargo.args(["--target", TARGET, "--profile", profile]);
    // Only Debian's programs: its cargo with rustup's rustc finds no standard library for the target.
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("CARGO") || name.starts_with("RUST"))
    {
        cargo.env_remove(name);
    }
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        cargo.env("CARGO_HOME", home);
    }
    cargo
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", "/usr/bin/rustc")
        .env("CARGO_TARGET_DIR", &folder)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .env("AR_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-ar");
    run(&mut cargo)?;
    Ok(folder.join(TARGET).join(profile))
}

/// Runs the aarch64 `perch` in `programs` under QEMU's user emulation and checks it as a native one.
pub(crate) fn first_light(root: &Path, programs: &Path) -> Result<u32> {
    install::debian(root, &Debian { packages: LIBRARIES, backports: false })?;
    install::debian(root, &Debian { packages: &["qemu-user-static"], backports: true })?;
    let kind = Kind::Perch { binary: programs.join("perch"), runner: vec![EMULATOR.to_owned()] };
    check(root, &kind, "first-light-aarch64")
}

/// Runs the native `perch` and checks it.
pub(crate) fn first_light_native(root: &Path) -> Result<u32> {
    let kind = Kind::Perch { binary: root.join("target/release/perch"), runner: Vec::new() };
    check(root, &kind, "first-light")
}

fn check(root: &Path, kind: &Kind, name: &str) -> Result<u32> {
    let data = empty_folder(root, name)?;
    let mut server = Server::start(kind, &data, &[])?;
    let start = server.start_time()?;
    let checks = bench::first_light::check(&mut server)
        .with_context(|| format!("first light failed; the log is {}.log", data.display()))?;
    server.stop()?;
    say(format_args!("first light: {checks} checks, first answer after {} ms", start.as_millis()));
    Ok(checks)
}

/// An empty folder `target/run/NAME`.
pub(crate) fn empty_folder(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = root.join("target/run").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
