//! Starts a PDS with its PLC directory on free ports of loopback, and ends it.
//!
//! The same for Perch and for the reference, so that a measurement need not know which it drives.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    http::Http,
    process::{self, LOOK_INTERVAL},
};

/// By how much the thresholds of the rate limiters are raised on both servers. They stay on: each request is counted.
pub const RATE_LIMIT_MULTIPLIER: &str = "10000";

/// Longest wait for a server to answer. The reference takes 2-3 s on an idle machine, an emulated Perch longer.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Which PDS, and how it is started.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Perch, with its built-in directory.
    Perch {
        /// The program `perch`.
        binary: PathBuf,
        /// What runs it, such as an emulator; empty for the machine itself.
        runner: Vec<String>,
    },
    /// The reference PDS from npm, with an in-memory directory as its own process.
    Reference {
        /// The Node to run it with.
        node: PathBuf,
        /// The folder with its packages and start scripts.
        folder: PathBuf,
    },
}

/// A running PDS and its directory.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    data: PathBuf,
    pds_port: u16,
    panel_port: u16,
    plc_port: u16,
    /// The directory, when it is a process of its own. It keeps running over restarts: it forgets everything at its end.
    plc: Option<Child>,
    pds: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The server's own process; not `child` when that is a tracer or the like.
    pid: u32,
    start: Duration,
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// Waits until `GET path` is answered with 200; fails when `child` ends before.
fn wait_healthy(child: &mut Child, port: u16, path: &str) -> Result<()> {
    let end = Instant::now() + START_TIMEOUT;
    let address = format!("127.0.0.1:{port}");
    loop {
        if let Ok(mut http) = Http::connect(&address) {
            let request = http.request("GET", path, None, None);
            if http.send(&request).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
        }
        if let Some(status) = child.try_wait().context("cannot look at a server")? {
            bail!("the server ended with {status} before it answered");
        }
        if Instant::now() > end {
            bail!("no answer from {address}{path} within {} s", START_TIMEOUT.as_secs());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

impl Server {
    /// Starts a PDS whose data lies in `data`, an empty folder or one of an earlier run of the same kind.
    ///
    /// Its output goes to `data` with `.log` appended. `tracer` is put before the server's command line.
    pub fn start(kind: &Kind, data: &Path, tracer: &[String]) -> Result<Self> {
        let mut server = Self {
            kind: kind.clone(),
            data: data.to_path_buf(),
            pds_port: free_port()?,
            panel_port: free_port()?,
            plc_port: free_port()?,
            plc: None,
            pds: None,
        };
        server.start_plc()?;
        server.start_pds(tracer)?;
        Ok(server)
    }

    /// Where XRPC is answered, `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.pds_port)
    }

    /// The PDS's address for clients.
    #[must_use]
    pub fn pds_url(&self) -> String {
        format!("http://localhost:{}", self.pds_port)
    }

    /// The directory's address for clients.
    #[must_use]
    pub fn plc_url(&self) -> String {
        format!("http://localhost:{}", self.plc_port)
    }

    /// The server's process.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.pds.as_ref().context("the server is not running")?.pid)
    }

    /// Time from starting the program to its first healthy answer.
    pub fn start_time(&self) -> Result<Duration> {
        Ok(self.pds.as_ref().context("the server is not running")?.start)
    }

    /// Ends the PDS and starts it again on the same data and ports.
    pub fn restart(&mut self) -> Result<()> {
        self.stop_pds()?;
        self.start_pds(&[])
    }

    /// Ends the PDS by SIGTERM and waits for its end; its directory goes on.
    pub fn stop_pds(&mut self) -> Result<()> {
        match self.pds.take() {
            Some(mut running) => process::stop(&mut running.child, running.pid),
            None => Ok(()),
        }
    }

    /// Ends everything.
    pub fn stop(mut self) -> Result<()> {
        self.stop_all()
    }

    fn stop_all(&mut self) -> Result<()> {
        let pds = self.stop_pds();
        if let Some(mut plc) = self.plc.take() {
            let pid = plc.id();
            process::stop(&mut plc, pid)?;
        }
        pds
    }

    fn log_path(&self) -> PathBuf {
        let mut path = self.data.clone().into_os_string();
        path.push(".log");
        path.into()
    }

    fn log(&self) -> Result<(Stdio, Stdio)> {
        let path = self.log_path();
        let open = || File::options().create(true).append(true).open(&path);
        let file = open().with_context(|| format!("cannot write {}", path.display()))?;
        let other = file.try_clone().context("cannot share a log file")?;
        Ok((file.into(), other.into()))
    }

    fn start_plc(&mut self) -> Result<()> {
        let Kind::Reference { node, folder } = &self.kind else { return Ok(()) };
        let (out, err) = self.log()?;
        let mut command = Command::new(node);
        command.arg("plc.mjs").current_dir(folder).env("PLC_PORT", self.plc_port.to_string());
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", node.display()))?;
        let healthy = wait_healthy(&mut child, self.plc_port, "/_health");
        self.plc = Some(child);
        healthy
    }

    fn command(&self, tracer: &[String]) -> Result<Command> {
        let mut words: Vec<String> = tracer.to_vec();
        let ports = [self.pds_port, self.panel_port, self.plc_port].map(|port| port.to_string());
        let [pds_port, panel_port, plc_port] = &ports;
        match &self.kind {
            Kind::Perch { binary, runner } => {
                words.extend(runner.iter().cloned());
                words.push(binary.to_string_lossy().into_owned());
                words.extend(["--headless", "--data"].map(str::to_owned));
                words.push(self.data.to_string_lossy().into_owned());
                for (flag, value) in [("--pds-port", pds_port), ("--panel-port", panel_port)] {
                    words.extend([flag.to_owned(), value.clone()]);
                }
                words.extend(["--plc", "builtin", "--plc-port", plc_port].map(str::to_owned));
            }
            Kind::Reference { node, .. } => {
                words.extend([node.to_string_lossy().into_owned(), "pds.mjs".to_owned()]);
            }
        }
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().context("an empty command")?);
        command.args(words);
        match &self.kind {
            Kind::Perch { .. } => {
                command.env("PERCH_RATE_LIMIT_MULTIPLIER", RATE_LIMIT_MULTIPLIER);
            }
            Kind::Reference { folder, .. } => {
                command.current_dir(folder).env("RATE_LIMIT_MULTIPLIER", RATE_LIMIT_MULTIPLIER);
                command.env("PDS_PORT", pds_port).env("PDS_DID_PLC_URL", self.plc_url());
                command.env("PDS_DATA_DIRECTORY", &self.data);
            }
        }
        Ok(command)
    }

    fn start_pds(&mut self, tracer: &[String]) -> Result<()> {
        let (out, err) = self.log()?;
        let log_start = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        let mut command = self.command(tracer)?;
        // Perch takes commands on standard input: the pipe stays open as long as `child` lives.
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let began = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let healthy = wait_healthy(&mut child, self.pds_port, "/xrpc/_health");
        let start = began.elapsed();
        let own = child.id();
        let pid = if tracer.is_empty() { Ok(own) } else { process::only_child(own) };
        self.pds = Some(Running { child, pid: *pid.as_ref().unwrap_or(&own), start });
        let ready = healthy.and_then(|()| self.wait_ready(log_start));
        ready.with_context(|| format!("its log is {}.log", self.data.display()))?;
        pid.map(|_| ())
    }

    /// Waits until the server's log says READY after `log_start`: then all serve, and the clock is trusted.
    fn wait_ready(&self, log_start: u64) -> Result<()> {
        let end = Instant::now() + START_TIMEOUT;
        let start = usize::try_from(log_start).context("a very large log")?;
        loop {
            let log = fs::read(self.log_path()).context("cannot read the server's log")?;
            let new = String::from_utf8_lossy(log.get(start..).unwrap_or_default());
            if new.lines().any(|line| line.starts_with("READY ")) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("no READY within {} s", START_TIMEOUT.as_secs());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Server {
    /// No server outlives a benchmark that failed.
    fn drop(&mut self) {
        for child in
            [self.pds.as_mut().map(|running| &mut running.child), self.plc.as_mut()].into_iter().flatten()
        {
            // Both may have ended already, and there is nobody to tell.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
