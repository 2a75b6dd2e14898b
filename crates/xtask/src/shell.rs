//! Starting programs and printing lines: the only place of this crate that writes to standard output.
//!
//! Every failure names the program and what it was for, so that a red CI log can be read from its last lines.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Prints one line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
pub(crate) fn say(line: fmt::Arguments<'_>) {
    println!("{line}");
}

/// The folder of the workspace's `Cargo.toml`.
///
/// Fails when this crate was moved and the folder above it is no workspace any more.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("xtask must lie in crates/xtask")?.to_path_buf();
    if root.join("Cargo.lock").is_file() { Ok(root) } else { bail!("no workspace at {}", root.display()) }
}

/// A command with its arguments, to be run in `dir`.
pub(crate) fn command<'a>(
    dir: &Path,
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    command
}

/// The cargo that runs this command, without the variables that `cargo run` adds for its child.
pub(crate) fn cargo<'a>(root: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(root, &program, arguments);
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end with its output on ours; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown} ended with {status}") }
}

/// Runs a command to its end and returns what it wrote to standard output; what it says of errors is in ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command.output().with_context(|| format!("cannot start {shown}"))?;
    if !done.status.success() {
        bail!("{shown} ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("{shown} wrote no UTF-8"))
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a command, repeats each line of its standard output on ours, and hands it to `on_line` as well.
pub(crate) fn run_lines(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    let shown = show(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?;
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {shown} writes"))?;
            let line = String::from_utf8_lossy(&line);
            say(format_args!("{line}"));
            on_line(&line);
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown} ended with {status}") }
}

/// The command line as a person would type it, short enough for an error message.
fn show(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
