//! One program in one scenario: starts it behind the shim and is the world to it.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use platform::sim::{SimNtpReply, SimNtpServer};
use timeguard::trial::{START_US, Scenario};

use crate::SPAN_US;
use crate::host::Host;
use crate::message::{self, Answer, Said, Start, State};
use crate::outcome::{Claim, Outcome};
use crate::program::Program;

/// How long the shim may say nothing before the run has failed: on a loaded machine, far more than the milliseconds
/// that a whole run takes.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// STA_UNSYNC of adjtimex(2): the clock is not synchronised.
const STA_UNSYNC: i64 = 0x40;

/// A program that ends with its run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a program through a scenario.
///
/// Fails when it ends early or the shim says something odd; what the program wrote is in the error then.
pub fn run(host: &Host, program: Program, scenario: &Scenario) -> Result<Outcome> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let log = folder.path().join("log");
    let mut command = program.command(host, scenario, folder.path())?;
    let (mut near, far) = UnixStream::pair().context("no socket pair")?;
    near.set_read_timeout(Some(SILENCE_MAX))?;
    command.stdin(Stdio::from(OwnedFd::from(far))).stdout(Stdio::null());
    command.stderr(File::create(&log).with_context(|| format!("cannot make {}", log.display()))?);
    let mut running = Running(command.spawn().with_context(|| format!("cannot start {program:?}"))?);
    // The child's end of the socket is open here until the command is gone: its end would not be noticed.
    drop(command);
    let outcome = be_the_world(&mut near, scenario).and_then(|outcome| {
        let status = running.0.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(outcome)
    });
    outcome.with_context(|| {
        let said = fs::read_to_string(&log).unwrap_or_default();
        format!("{program:?} in scenario {}; it wrote:\n{said}", scenario.seed)
    })
}

fn be_the_world(stream: &mut UnixStream, scenario: &Scenario) -> Result<Outcome> {
    let start = Start {
        true_ns: START_US * 1_000,
        off_ns: scenario.clock_off_us * 1_000,
        drift_ppb: scenario.drift_ppb,
        span_ns: SPAN_US * 1_000,
        seed: scenario.seed,
    };
    message::start(stream, start)?;
    let servers = scenario.sim_servers();
    let mut outcome = Outcome::default();
    loop {
        match message::hear(stream)? {
            Some(Said::State(state)) => {
                outcome.see(state.true_ns / 1_000 - START_US, clock_off_us(state), claim(state));
            }
            Some(Said::Ask { true_ns, address }) => {
                message::answer(stream, ask(&servers, scenario.seed, address, true_ns)?)?;
            }
            Some(Said::End) => return Ok(outcome),
            None => bail!("it ended before its time"),
        }
    }
}

fn clock_off_us(state: State) -> i64 {
    (state.real_ns - state.true_ns) / 1_000
}

/// What any program on the machine would be told by the kernel.
fn claim(state: State) -> Option<Claim> {
    let synchronised = state.status & STA_UNSYNC == 0;
    synchronised.then_some(Claim { error_us: clock_off_us(state), bound_us: state.max_error_us })
}

/// Asks the server at an address. Which server has the first address depends on the seed, so that liars, which come first
/// in a scenario, are not always those that a program asks first.
fn ask(servers: &[SimNtpServer], seed: u64, address: usize, true_ns: i64) -> Result<Answer> {
    let turn = usize::try_from(seed % 4)?;
    let server = servers.iter().cycle().nth(turn + address).context("no such server")?;
    Ok(match server.ask(true_ns / 1_000) {
        SimNtpReply::Silence => Answer::Silence,
        SimNtpReply::Kiss { .. } => bail!("no scenario has a kiss-o'-death"),
        SimNtpReply::Time { server_us, after, root_distance_us, leap } => Answer::Time {
            after_ns: i64::try_from(after.as_nanos())?,
            server_ns: server_us * 1_000 + true_ns % 1_000,
            root_distance_us: i64::try_from(root_distance_us)?,
            leap,
        },
    })
}
