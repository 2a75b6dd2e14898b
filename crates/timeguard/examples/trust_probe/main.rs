//! Run in the guest by tests: asks as a reader of the verdict does, sets the clock as a foreign hand does, and talks to the
//! guard's socket.
//!
//! It must never run on a machine that is not a guest: it refuses where the guest's agent is not.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use control::request::Request;
use control::{VerdictFile, socket};
use platform::Clock;
use platform::time::ClockControl;
use platform_linux::{KernelWritesChip, LinuxClock, LinuxClockControl};

/// What only the guest has.
const AGENT: &str = "/sbin/testbed-agent";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(line) => {
            say(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

fn act(words: &[&str]) -> Result<String> {
    if !Path::new(AGENT).exists() {
        bail!("not a guest: nothing is done");
    }
    match words {
        ["now", verdict] => Ok(answer(&reader(verdict)?)),
        // In one process, so that nobody can act between the step and the question.
        ["step-and-ask", delta_us, verdict] => {
            let reader = reader(verdict)?;
            step(delta_us)?;
            Ok(answer(&reader))
        }
        ["step", delta_us] => step(delta_us).map(|()| "done".to_owned()),
        ["network-up", path] => ask(path, &Request::NetworkUp),
        ["accept", unix_us, path] => ask(path, &Request::AcceptTime { unix_us: unix_us.parse()? }),
        _ => bail!("now VERDICT, step-and-ask US VERDICT, step US, network-up SOCKET, accept US SOCKET"),
    }
}

/// The clock as the PDS has it.
fn reader(verdict: &str) -> Result<Clock> {
    let boot = LinuxClock::new().context("reading the clocks")?;
    Ok(Clock::new(Arc::new(boot), Arc::new(VerdictFile::new(verdict.into()))))
}

fn answer(reader: &Clock) -> String {
    match reader.now() {
        Ok(now) => format!("trusted unix_us={} bound_us={}", now.unix_micros(), now.error_bound_us()),
        Err(refused) => format!("refused {refused}"),
    }
}

fn step(delta_us: &str) -> Result<()> {
    let control = LinuxClockControl::take_over(KernelWritesChip::Unknown).context("taking the clock")?;
    control.step(delta_us.parse()?).context("setting the clock")
}

fn ask(path: &str, request: &Request) -> Result<String> {
    Ok(format!("{:?}", socket::ask(Path::new(path), request)?))
}
