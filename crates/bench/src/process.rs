//! What the kernel says of a running process, and ending processes that we started.

use std::{
    fs,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Clock ticks per second in `/proc/PID/stat`; fixed for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Longest wait for a server to end after SIGTERM: the reference closes all its databases first.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at something that is awaited.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Counters of a process since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes that the process caused to be sent to storage.
    pub write_bytes: u64,
    /// Processor time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

impl Usage {
    /// Reads the counters of a process that we may look at.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}"))
                .with_context(|| format!("cannot read /proc/{pid}/{name}"))
        };
        let field = |text: &str, name: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value =
                line.and_then(|rest| rest.split_whitespace().next()).and_then(|value| value.parse().ok());
            value.with_context(|| format!("no {name} for process {pid}"))
        };
        let stat = read("stat")?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        Ok(Self {
            write_bytes: field(&read("io")?, "write_bytes:")?,
            cpu_seconds: ticks / TICKS_PER_SECOND,
            rss_kib: field(&read("status")?, "VmRSS:")?,
        })
    }
}

/// The only child of a process, such as what `strace` runs; waits a little for it to appear.
pub fn only_child(pid: u32) -> Result<u32> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next().and_then(|child| child.parse().ok()) {
            return Ok(child);
        }
        if Instant::now() > end {
            bail!("process {pid} started nothing");
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Asks `pid` to end and waits until `child` (itself, or what wraps it) has ended; kills it when it does not.
pub fn stop(child: &mut Child, pid: u32) -> Result<()> {
    let asked =
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().context("cannot start kill")?;
    let end = Instant::now() + STOP_TIMEOUT;
    while asked.success() && Instant::now() < end {
        if child.try_wait().context("cannot wait for a server")?.is_some() {
            return Ok(());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    child.kill().context("cannot kill a server")?;
    child.wait().context("cannot wait for a server")?;
    bail!("process {pid} did not end on SIGTERM within {} s and was killed", STOP_TIMEOUT.as_secs())
}
