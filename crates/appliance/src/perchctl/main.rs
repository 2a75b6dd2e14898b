//! `perchctl`: says how the box is, on its console or from a computer beside the simulation, and switches it off.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use appliance::live::{self, LiveFile};
use appliance::report;
use clap::{Parser, Subcommand};
use control::request::{Reply, Request};
use control::{Status, socket};
use platform::time::BootClock;
use platform_linux::LinuxClock;

/// How long a panel may take to answer.
const WAIT: Duration = Duration::from_secs(3);

/// The largest answer that is read, bytes; a status is about 4 KiB.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "perchctl", version, about = "Says how this Perch is, and what to do about what is wrong.")]
struct Cli {
    /// What to say.
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    live: LiveFile,
    /// Asks the status page of a running Perch instead, such as 127.0.0.1:8080.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    panel: Option<String>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// The whole state on one screen.
    Status,
    /// Each problem: what it is, what it means and what to do.
    Doctor,
    /// Switches the box off in order; at its console, as root.
    Off,
    /// Restarts the box in order; at its console, as root.
    Restart,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let said = match cli.what {
        What::Status => status(&cli).map(|status| report::status(&status)),
        What::Doctor => status(&cli).map(|status| report::doctor(&status)),
        What::Off => {
            tell(&cli, &Request::PowerOff, "The box ends everything in order and switches itself off.")
        }
        What::Restart => tell(&cli, &Request::Restart, "The box ends everything in order and restarts."),
    };
    let (text, code) = match said {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("perchctl: {error:#}\n"), ExitCode::FAILURE),
    };
    // A closed output is no failure.
    let _closed = std::io::stdout().lock().write_all(text.as_bytes()).is_err();
    code
}

/// Asks the supervisor for something; the socket lies beside the file that it writes.
fn tell(cli: &Cli, request: &Request, done: &str) -> Result<String> {
    if cli.panel.is_some() {
        bail!("this works at the console of the box only, not by its status page");
    }
    match socket::ask(&cli.live.path.with_file_name("control.sock"), request)? {
        Reply::Done => Ok(format!("{done}\n")),
        Reply::Refused { why } => bail!("{why}"),
        Reply::Proofs { .. } => bail!("the box asks for a proof; use its button or its status page"),
    }
}

fn status(cli: &Cli) -> Result<Status> {
    if let Some(panel) = &cli.panel {
        return ask(panel).with_context(|| format!("asking the status page at {panel}"));
    }
    let stamped = live::read(&cli.live.path)?;
    let Some(stamped) = stamped else {
        bail!(
            "{} is not there: the box's supervisor does not run here. A simulation is asked with --panel",
            cli.live.path.display()
        )
    };
    let clock = LinuxClock::new()?;
    if !stamped.is_fresh(clock.boot_id(), clock.boottime_ns()) {
        bail!(
            "the box's supervisor has said nothing for more than 15 seconds; the watchdog will restart the box"
        )
    }
    Ok(stamped.status.status)
}

/// Fetches `/status.json` with a request that any HTTP/1.0 server answers and then closes.
fn ask(panel: &str) -> Result<Status> {
    let address = panel.to_socket_addrs()?.next().context("it has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    write!(stream, "GET /status.json HTTP/1.0\r\nHost: {panel}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer is no HTTP") };
    if head.split(' ').nth(1) != Some("200") {
        bail!("it answered {:?}", head.lines().next().unwrap_or_default());
    }
    serde_json::from_str(body).context("its status cannot be read; is it another version?")
}
