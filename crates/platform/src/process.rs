//! Child processes and the watchdog, as the supervisor needs them: started with few rights, never waited for.
//!
//! Only the supervisor holds these. Nothing here starts a process; `platform-linux` does.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::DeviceError;

/// The number of a running child. It is used only while the child has not been reaped, so that it cannot be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The signal that ends a program whose sandbox it ran against: SIGSYS (signal(7), the same on our machines).
const FORBIDDEN_CALL: i32 = 31;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel, because its memory limit was reached.
    OutOfMemory,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(0) => f.write_str("ended by itself"),
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(FORBIDDEN_CALL) => f.write_str("tried what it must never do and was ended"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("took more memory than it may"),
        }
    }
}

/// A right of root that a child may keep (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Set the clock.
    SysTime,
    /// Configure interfaces, addresses and routes.
    NetAdmin,
    /// Open raw sockets: DHCP before there is an address.
    NetRaw,
    /// Bind ports below 1024.
    NetBindService,
}

/// Memory that a child may take. Absent limits are no limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Above this the kernel takes memory back first and slows the child down, bytes (`memory.high`).
    pub high_bytes: Option<u64>,
    /// Above this the child is ended, bytes (`memory.max`).
    pub max_bytes: Option<u64>,
    /// Who goes first when the machine runs out: -1000 never, 1000 first (`oom_score_adj`, proc(5)).
    pub oom_score: i16,
}

/// How to start a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name: of its control group and in the log. Letters, digits, `-` and spaces.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The user and group that it runs as; `None` is root, whose rights are then cut down to `keeps`.
    pub user: Option<Ids>,
    /// The rights of root that it keeps, through `exec` and with no others to be had.
    pub keeps: Vec<Capability>,
    /// Device files that its group may use and no other: a path, or with `*` at its end all that have a number there.
    pub devices: Vec<PathBuf>,
    /// What it may take.
    pub memory: MemoryLimits,
    /// Open files that it may have.
    pub open_files_max: u64,
    /// Processes and threads that its user may have.
    pub tasks_max: u64,
}

/// A user and its group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A child that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Its number.
    pub pid: ProcessId,
    /// The end of the pipe from which its standard output and error are read; it must be read, or the child stands
    /// still when the pipe is full.
    pub log: OwnedFd,
}

/// Starts children and says when they end. No method waits.
pub trait Processes: Send + fmt::Debug {
    /// Starts a child.
    ///
    /// # Errors
    /// When the program, its user or its limits cannot be had.
    fn spawn(&mut self, launch: &Launch) -> Result<Spawned, DeviceError>;

    /// Lends a child those of its devices that are there: at its start, and again for what was plugged in later.
    fn lend(&mut self, launch: &Launch);

    /// Gives the children that ended since the last question.
    fn ended(&mut self) -> Vec<(ProcessId, Exit)>;

    /// Asks a child to end in order (SIGTERM). One that has ended already is no error.
    fn terminate(&mut self, pid: ProcessId);

    /// Ends a child and everything it started (its control group; without one the child alone).
    fn kill(&mut self, pid: ProcessId);
}

/// Resets the machine when nobody feeds it.
pub trait Watchdog: Send + fmt::Debug {
    /// Puts the reset off.
    ///
    /// # Errors
    /// When the device no longer takes it.
    fn feed(&mut self) -> Result<(), DeviceError>;

    /// Switches it off: the last thing before the power, so that a slow switch-off is not cut.
    ///
    /// # Errors
    /// When the device cannot be switched off, which is then as well.
    fn disarm(&mut self) -> Result<(), DeviceError>;
}
