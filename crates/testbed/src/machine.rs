//! Boots the machine and is the handle of the running guest.
//!
//! It starts one QEMU process, talks to the agent in it, and ends it; what a test does in the guest is the test's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Done, Setup, TestbedError,
    agent::{Agent, NoAnswer},
    host::{cache, make_folder, read},
    i2c, initramfs,
};

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";

/// Wait for the agent: 4 s on an idle machine, several times that on two cores that eight builds share.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// Wait for a command that names no limit of its own; emulation is 10 to 50 times slower than the host.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// How often a wait looks whether QEMU still lives.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The kernel wants an archive behind another to begin at a multiple of this, bytes (buffer-format.rst).
const ARCHIVE_ALIGN: usize = 4;

/// Lines of the serial log that an error shows.
const LOG_LINES_SHOWN: usize = 40;

/// Where the simulated GPIO chip shows its lines.
const GPIO_CHIP: &str = "/sys/devices/platform/gpio-sim.0/gpiochip*";

/// Machines that this process has started: part of the name of each one's folder.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running guest. Dropping it is a power cut.
#[derive(Debug)]
pub struct Machine {
    qemu: Mutex<Child>,
    agent: Agent,
    folder: PathBuf,
    booted_after: Duration,
}

/// A script that is running in the guest.
#[derive(Debug)]
#[must_use = "ask how it ended, or stop it"]
pub struct Job {
    id: u64,
    script: String,
}

impl Machine {
    /// Boots a machine and waits until it takes commands.
    ///
    /// # Errors
    /// When something cannot be fetched or started, or the guest does not come up within four minutes; the error then
    /// holds the end of the serial log.
    pub fn boot(setup: &Setup) -> Result<Self, TestbedError> {
        let files = match &setup.system {
            None => initramfs::prepare(setup.gpio)?,
            Some(files) => files.clone(),
        };
        let folder = own_folder()?;
        let initramfs = folder.join("initramfs.cpio");
        let mut image = read(&files.initramfs)?;
        image.resize(image.len().next_multiple_of(ARCHIVE_ALIGN), 0);
        if setup.system.is_some() {
            image.extend(initramfs::agent_archive()?);
        }
        image.extend(setup.extra_archive()?);
        fs::write(&initramfs, image).map_err(TestbedError::file("write", &initramfs))?;

        let agent_socket = folder.join("agent");
        let listener =
            UnixListener::bind(&agent_socket).map_err(TestbedError::file("listen at", &agent_socket))?;
        let mut arguments = setup.arguments(&files.kernel, &initramfs, &folder);
        if let Some(bus) = &setup.i2c {
            let socket = folder.join("i2c");
            // The thread ends with the connection, which ends with QEMU.
            drop(i2c::listen(bus.clone(), &socket)?);
            arguments.extend(i2c_arguments(&socket));
        }
        let began = Instant::now();
        let log = fs::File::create(folder.join("qemu.log"))
            .map_err(TestbedError::file("make", folder.join("qemu.log")))?;
        let mut qemu = Command::new(QEMU)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C is for whoever runs the machine, which then switches it off in order.
            .process_group(0)
            .spawn()
            .map_err(|source| TestbedError::Program { program: QEMU.to_owned(), source })?;
        match connect(&listener, &mut qemu, &folder) {
            Ok(agent) => {
                let booted_after = began.elapsed();
                let machine = Self { qemu: Mutex::new(qemu), agent, folder, booted_after };
                machine.wait_until_ready(setup)?;
                Ok(machine)
            }
            Err(error) => {
                let _killed = qemu.kill();
                let _waited = qemu.wait();
                Err(error)
            }
        }
    }

    /// How long it took from the start of QEMU until the agent listened.
    #[must_use]
    pub fn booted_after(&self) -> Duration {
        self.booted_after
    }

    /// Runs a shell script in the guest and gives how it ended, whatever its exit code.
    ///
    /// # Errors
    /// When the guest does not answer within three minutes or is gone.
    pub fn run(&self, script: &str) -> Result<Done, TestbedError> {
        self.run_within(script, RUN_LIMIT)
    }

    /// As [`Machine::run`], with a limit of the caller's; the script is stopped when it is over.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn run_within(&self, script: &str, limit: Duration) -> Result<Done, TestbedError> {
        let job = self.start(script)?;
        let done = self.wait(&job, limit);
        if matches!(done, Err(TestbedError::Late { .. })) {
            self.agent.stop(job.id)?;
        }
        done
    }

    /// Runs a script that must succeed and gives its standard output without the line end.
    ///
    /// # Errors
    /// As [`Machine::run`], and when it ends with another code than 0.
    pub fn sh(&self, script: &str) -> Result<String, TestbedError> {
        let done = self.run(script)?;
        if done.code == 0 {
            return Ok(done.text().trim_end().to_owned());
        }
        let (stdout, stderr) = (done.text(), done.error_text());
        Err(TestbedError::Failed { script: script.to_owned(), code: done.code, stdout, stderr })
    }

    /// Starts a script and does not wait.
    ///
    /// # Errors
    /// When the guest is gone.
    pub fn start(&self, script: &str) -> Result<Job, TestbedError> {
        Ok(Job { id: self.agent.run(script)?, script: script.to_owned() })
    }

    /// Waits for the end of a script that was started.
    ///
    /// # Errors
    /// When it takes longer than the limit (it runs on), or the guest is gone.
    pub fn wait(&self, job: &Job, limit: Duration) -> Result<Done, TestbedError> {
        let answer = self.agent.wait_done(job.id, limit);
        answer.map_err(|why| self.no_answer(why, &job.script, limit))
    }

    /// Ends a script and what it started, by SIGKILL, and gives what it had written.
    ///
    /// # Errors
    /// When the guest is gone.
    pub fn stop(&self, job: &Job) -> Result<Done, TestbedError> {
        self.agent.stop(job.id)?;
        let answer = self.agent.wait_done(job.id, RUN_LIMIT);
        answer.map_err(|why| self.no_answer(why, &job.script, RUN_LIMIT))
    }

    /// Writes a file in the guest, with its permission bits; folders above it are made.
    ///
    /// # Errors
    /// When the guest cannot write it.
    pub fn write_file(&self, path: &str, mode: u32, content: &[u8]) -> Result<(), TestbedError> {
        let id = self.agent.put(path, mode, content)?;
        let what = format!("write {path}");
        let done =
            self.agent.wait_done(id, RUN_LIMIT).map_err(|why| self.no_answer(why, &what, RUN_LIMIT))?;
        if done.code == 0 {
            return Ok(());
        }
        let (stdout, stderr) = (done.text(), done.error_text());
        Err(TestbedError::Failed { script: what, code: done.code, stdout, stderr })
    }

    /// Copies a file of the host into the guest.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy_in(&self, host: &Path, guest: &str, mode: u32) -> Result<(), TestbedError> {
        self.write_file(guest, mode, &read(host)?)
    }

    /// Reads a file of the guest.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, TestbedError> {
        let script = format!("cat '{path}'");
        let done = self.run(&script)?;
        if done.code == 0 {
            return Ok(done.stdout);
        }
        let stderr = done.error_text();
        Err(TestbedError::Failed { script, code: done.code, stdout: String::new(), stderr })
    }

    /// Runs a condition, a script, again and again until it succeeds.
    ///
    /// # Errors
    /// When it has not within the limit, or the guest is gone.
    pub fn wait_for(&self, condition: &str, limit: Duration) -> Result<(), TestbedError> {
        // In the guest, so that no round trip is between two looks.
        let script = format!("until {{ {condition}\n}} >/dev/null 2>&1; do usleep 50000; done");
        self.run_within(&script, limit).map(drop)
    }

    /// Waits until the guest has started again and takes commands; for one that [`Setup::restarts`]. What ran before is
    /// gone, and nothing may be asked of the guest meanwhile.
    ///
    /// # Errors
    /// When it has not within the limit and four minutes for the boot, or QEMU ended.
    pub fn wait_restart(&self, limit: Duration) -> Result<(), TestbedError> {
        let limit = limit + BOOT_LIMIT;
        self.agent.wait_hello(limit).map(drop).map_err(|why| self.no_answer(why, "a restart", limit))
    }

    /// Waits for the end of QEMU: the guest has switched itself off.
    ///
    /// # Errors
    /// When it has not within the limit.
    pub fn wait_end(&self, limit: Duration) -> Result<(), TestbedError> {
        let until = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() > until {
                return Err(self.no_answer(NoAnswer::Late, "switch itself off", limit));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Cuts the power: QEMU is killed this instant, and nothing in the guest may do anything more.
    ///
    /// What the guest had handed to its disks survives in the host's page cache; to lose unflushed writes as well, the
    /// disk must be one that forgets them.
    pub fn cut_power(self) {
        drop(self);
    }

    /// Switches the guest off in order and waits for the end of QEMU.
    ///
    /// # Errors
    /// When it does not end within the limit of a command.
    pub fn switch_off(self) -> Result<(), TestbedError> {
        let _job = self.start("sync; poweroff -f")?;
        self.wait_end(RUN_LIMIT)
    }

    /// Tells whether QEMU still runs: a guest that reboots or switches off ends it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut qemu = self.qemu.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(qemu.try_wait(), Ok(None))
    }

    /// What the kernel and the scripts wrote to the serial line.
    #[must_use]
    pub fn serial_log(&self) -> String {
        serial_log(&self.folder)
    }

    /// The machine's folder on the host: sockets and logs, removed with the machine.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Pulls a device out by the id it was given, at once and without asking the guest (USB) or with its help (PCI).
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn unplug(&self, id: &str) -> Result<(), TestbedError> {
        self.monitor(&format!(r#"{{"execute":"device_del","arguments":{{"id":"{id}"}}}}"#)).map(drop)
    }

    /// Plugs a device in, as QEMU's `-device` line says it.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug(&self, device: &str) -> Result<(), TestbedError> {
        let line = format!("device_add {device}");
        let command =
            format!(r#"{{"execute":"human-monitor-command","arguments":{{"command-line":"{line}"}}}}"#);
        let answer = self.monitor(&command)?;
        // The human monitor answers with what it would print: nothing when all went well.
        if answer.contains(r#""return": """#) {
            return Ok(());
        }
        Err(TestbedError::Refused { command: line, answer })
    }

    /// Sends one command of QEMU's machine protocol (QMP), one line of JSON, and gives the answer.
    ///
    /// # Errors
    /// When QEMU refuses or does not answer.
    pub fn monitor(&self, command: &str) -> Result<String, TestbedError> {
        let socket = self.folder.join("qmp");
        let talk = TestbedError::talk;
        let mut stream = UnixStream::connect(&socket).map_err(talk("reach QEMU's monitor"))?;
        stream.set_read_timeout(Some(RUN_LIMIT)).map_err(talk("reach QEMU's monitor"))?;
        let mut reader = BufReader::new(stream.try_clone().map_err(talk("reach QEMU's monitor"))?);
        let mut lines = vec![r#"{"execute":"qmp_capabilities"}"#, command].into_iter();
        let mut line = String::new();
        // The greeting comes first; then each command has one line of answer, with events between.
        let mut answer = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).map_err(talk("hear QEMU's monitor"))? == 0 {
                return Err(TestbedError::Gone);
            }
            if line.contains(r#""error""#) {
                return Err(TestbedError::Refused { command: command.to_owned(), answer: line });
            }
            if line.contains(r#""QMP""#) || line.contains(r#""return""#) {
                line.trim().clone_into(&mut answer);
                let Some(next) = lines.next() else { return Ok(answer) };
                stream.write_all(format!("{next}\n").as_bytes()).map_err(talk("ask QEMU's monitor"))?;
            }
        }
    }

    fn wait_until_ready(&self, setup: &Setup) -> Result<(), TestbedError> {
        if setup.i2c.is_some() {
            self.wait_for("[ -e /dev/i2c-0 ]", RUN_LIMIT)?;
        }
        Ok(())
    }

    /// Pulls a line of the GPIO chip down, as a button between the line and ground does, and lets it go after so many
    /// milliseconds; for a machine with [`Setup::gpio`]. On a busy computer it takes longer.
    ///
    /// # Errors
    /// When there is no such line, or nobody in the guest uses it.
    pub fn press(&self, line: u32, milliseconds: u32) -> Result<(), TestbedError> {
        let microseconds = u64::from(milliseconds) * 1_000;
        self.sh(&format!(
            "cd {GPIO_CHIP}/sim_gpio{line} && echo pull-down >pull && usleep {microseconds} && echo pull-up >pull"
        ))
        .map(drop)
    }

    /// Pulls a line `up` or `down` until it is pulled again.
    ///
    /// # Errors
    /// As [`Machine::press`].
    pub fn pull(&self, line: u32, to: &str) -> Result<(), TestbedError> {
        self.sh(&format!("cd {GPIO_CHIP}/sim_gpio{line} && echo pull-{to} >pull")).map(drop)
    }

    /// Tells whether a line of the GPIO chip is high.
    ///
    /// # Errors
    /// As [`Machine::press`].
    pub fn is_high(&self, line: u32) -> Result<bool, TestbedError> {
        Ok(self.sh(&format!("cat {GPIO_CHIP}/sim_gpio{line}/value"))? == "1")
    }

    fn no_answer(&self, why: NoAnswer, what: &str, limit: Duration) -> TestbedError {
        match why {
            NoAnswer::Gone => TestbedError::Gone,
            NoAnswer::Late => TestbedError::Late {
                what: what.to_owned(),
                limit,
                log: last_lines(&self.serial_log(), LOG_LINES_SHOWN),
            },
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut qemu = self.qemu.lock().unwrap_or_else(PoisonError::into_inner);
        let _killed = qemu.kill();
        let _waited = qemu.wait();
        if thread::panicking() {
            tracing::warn!(folder = %self.folder.display(), "the test failed: its serial log is kept");
        } else {
            let _removed = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits for QEMU to connect and for the agent's first word.
fn connect(listener: &UnixListener, qemu: &mut Child, folder: &Path) -> Result<Agent, TestbedError> {
    let until = Instant::now() + BOOT_LIMIT;
    let failed = |qemu: &mut Child| {
        let status = qemu.try_wait().ok().flatten().map_or("no status".to_owned(), |s| s.to_string());
        let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
        let log = last_lines(&serial_log(folder), LOG_LINES_SHOWN);
        TestbedError::Ended { status: format!("{status}; {}", said.trim()), log }
    };
    listener.set_nonblocking(true).map_err(TestbedError::talk("wait for QEMU"))?;
    let stream = loop {
        if let Ok((stream, _)) = listener.accept() {
            break stream;
        }
        if !matches!(qemu.try_wait(), Ok(None)) || Instant::now() > until {
            return Err(failed(qemu));
        }
        thread::sleep(LOOK_EVERY);
    };
    stream.set_nonblocking(false).map_err(TestbedError::talk("wait for QEMU"))?;
    let agent = Agent::new(stream)?;
    match agent.wait_hello(until.saturating_duration_since(Instant::now())) {
        Ok(uptime) => {
            tracing::info!(uptime, "the guest listens");
            Ok(agent)
        }
        Err(NoAnswer::Gone) => {
            let _waited = qemu.wait();
            Err(failed(qemu))
        }
        Err(NoAnswer::Late) => {
            let log = last_lines(&serial_log(folder), LOG_LINES_SHOWN);
            Err(TestbedError::Late { what: "boot".to_owned(), limit: BOOT_LIMIT, log })
        }
    }
}

/// An own folder, short enough that a socket's path in it has no more than the 107 bytes that the kernel takes.
fn own_folder() -> Result<PathBuf, TestbedError> {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    make_folder(&cache())?;
    let base = fs::canonicalize(cache()).map_err(TestbedError::file("find", cache()))?;
    let folder = base.join(format!("m{}-{number}", std::process::id()));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(TestbedError::file("remove", &folder))?;
    }
    make_folder(&folder)?;
    Ok(folder)
}

pub(crate) fn i2c_arguments(socket: &Path) -> Vec<String> {
    let socket = format!("socket,id=i2c,path={}", socket.display());
    ["-chardev", &socket, "-device", "usb-redir,chardev=i2c,bus=usb.0"].map(str::to_owned).into()
}

fn serial_log(folder: &Path) -> String {
    fs::read(folder.join("serial.log"))
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .unwrap_or_default()
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
