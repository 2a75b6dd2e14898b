//! What each of the box's programs may do to the machine, once it has begun to serve: data and no decisions.
//!
//! The three lists stand in one file so that they can be read in one go. `platform-linux` turns them into Landlock rules
//! and system-call filters (`docs/design/012-sandbox.md`); what it could not enforce it says as [`Gap`]s.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a program may do from now on. Whatever is not named is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Folders and files that it may read. One that is not there is left out.
    pub reads: Vec<PathBuf>,
    /// Folders in which it may read, make, change and remove files and folders.
    pub writes: Vec<PathBuf>,
    /// Folders whose device files it may open and command, as far as their owners and modes let it.
    pub devices: Vec<PathBuf>,
    /// TCP ports that it may still listen on; what it listens on already it keeps.
    pub listens: Vec<u16>,
    /// What it may do in the network beyond answering on the sockets that it has.
    pub network: Network,
    /// What it may do to the machine's clock.
    pub clock: KernelClock,
    /// Whether a system call that nobody thought of ends it, where usually the call is refused.
    pub strict: bool,
}

/// Whether a program shuts itself in, as its command line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// It does.
    #[default]
    On,
    /// It does, and ends at a system call that nobody thought of: for tests, which must notice.
    Strict,
    /// It does not, and says so: for debuggers, and machines whose libraries need what we do not know of.
    Off,
}

/// Why a word says nothing about a sandbox.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write on, off or strict")]
pub struct SandboxWord;

impl FromStr for Sandbox {
    type Err = SandboxWord;

    fn from_str(word: &str) -> Result<Self, SandboxWord> {
        match word {
            "on" => Ok(Self::On),
            "strict" => Ok(Self::Strict),
            "off" => Ok(Self::Off),
            _ => Err(SandboxWord),
        }
    }
}

impl Confinement {
    /// Gives what is to be enforced when a person wants it so; nothing when it is switched off.
    #[must_use]
    pub fn when(self, sandbox: Sandbox) -> Option<Self> {
        match sandbox {
            Sandbox::On => Some(self),
            Sandbox::Strict => Some(Self { strict: true, ..self }),
            Sandbox::Off => None,
        }
    }
}

/// What a program may do in the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Answer on the sockets that it has: none is connected to anybody.
    #[default]
    Answers,
    /// Connect to others as well.
    Connects,
}

/// What a program may do to the kernel's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelClock {
    /// Read it.
    #[default]
    Reads,
    /// Set it, if it has the right of root to do so.
    Sets,
}

/// What every program reads: the C library's settings and libraries (a resolver's plug-in is loaded at its first
/// question), names of the network, and what the kernel tells about the process itself. On the device nothing below
/// `/etc` is secret; elsewhere files' modes protect what is.
const READ_BY_ALL: &[&str] = &[
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/dev/null",
    "/dev/urandom",
    "/proc/self",
    "/proc/sys/kernel",
    // How many processors there are, as the standard library asks.
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];

fn read_by_all() -> Vec<PathBuf> {
    READ_BY_ALL.iter().map(PathBuf::from).collect()
}

/// The folder of a file: files are replaced by renaming, after which a rule about the old one holds for nothing.
fn folder_of(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Where the PDS has its things.
#[derive(Clone, Debug, Default)]
pub struct PdsPlaces {
    /// Its data folder.
    pub data: PathBuf,
    /// The file that takes its status.
    pub status: Option<PathBuf>,
    /// The time guard's verdict.
    pub verdict: Option<PathBuf>,
    /// The file that tells of the network.
    pub network: Option<PathBuf>,
    /// The file with the name servers, by its real name.
    pub name_servers: Option<PathBuf>,
    /// The port of the figures for Prometheus, which is opened late.
    pub metrics: Option<u16>,
}

/// The PDS: strangers from the whole internet talk to it, and it to strangers. It writes its data folder and its status.
#[must_use]
pub fn pds(places: &PdsPlaces) -> Confinement {
    let mut reads = read_by_all();
    reads.extend(places.verdict.as_deref().map(folder_of));
    reads.extend(places.network.as_deref().map(folder_of));
    reads.extend(places.name_servers.as_deref().map(folder_of));
    let mut writes = vec![places.data.clone()];
    writes.extend(places.status.as_deref().map(folder_of));
    Confinement {
        reads,
        writes,
        listens: places.metrics.into_iter().collect(),
        network: Network::Connects,
        ..Confinement::default()
    }
}

/// Where the time guard has its things.
#[derive(Clone, Debug, Default)]
pub struct GuardPlaces {
    /// Verdict, status and socket.
    pub run: PathBuf,
    /// The last trusted time.
    pub data: PathBuf,
    /// The file with the web's roots, where one is set.
    pub roots: Option<PathBuf>,
    /// The file with the name servers, by its real name.
    pub name_servers: Option<PathBuf>,
    /// Whether it sets clock and clock chip.
    pub sets_clock: bool,
}

/// The time guard: it asks strangers for the time, and alone may set it. Device files are root's to lend: of all below
/// `/dev` it can open what its user was given, the clock chip and its bus.
#[must_use]
pub fn guard(places: &GuardPlaces) -> Confinement {
    let mut reads = read_by_all();
    reads.extend(places.roots.as_deref().map(folder_of));
    reads.extend(places.name_servers.as_deref().map(folder_of));
    // Chips are found by their names there.
    reads.push("/sys/class/rtc".into());
    reads.push("/sys/devices".into());
    let (devices, clock) = if places.sets_clock {
        (vec!["/dev".into()], KernelClock::Sets)
    } else {
        (Vec::new(), KernelClock::Reads)
    };
    Confinement {
        reads,
        writes: vec![places.run.clone(), places.data.clone()],
        devices,
        network: Network::Connects,
        clock,
        ..Confinement::default()
    }
}

/// The panel: the home network talks to it. It reads what the supervisor shows and answers; it writes nothing and
/// connects to nobody.
#[must_use]
pub fn panel(live: &Path) -> Confinement {
    let mut reads = read_by_all();
    reads.push(folder_of(live));
    Confinement { reads, ..Confinement::default() }
}

/// Something that would hold a program in and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fence {
    /// Files outside its folders stay shut (Landlock, Linux 5.19 and later).
    Folders,
    /// Files outside its folders cannot be emptied (Landlock ABI 3, Linux 6.2).
    Truncation,
    /// TCP ports other than its own stay shut (Landlock ABI 4, Linux 6.7).
    Ports,
    /// Device files outside its folders take no commands (Landlock ABI 5, Linux 6.10).
    DeviceCommands,
    /// No signals and no abstract sockets to others (Landlock ABI 6, Linux 6.12).
    Signals,
    /// Only the system calls that it needs (seccomp).
    Calls,
}

impl Fence {
    /// Gives the words that pages show for what is then possible.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Folders => "files outside its folders are not shut off",
            Self::Truncation => "files outside its folders could be emptied",
            Self::Ports => "network ports are not shut off",
            Self::DeviceCommands => "commands to devices are not shut off",
            Self::Signals => "signals to other programs are not shut off",
            Self::Calls => "system calls are not filtered",
        }
    }
}

/// A fence that is missing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The fence.
    pub fence: Fence,
    /// Why it is missing.
    pub why: String,
}

impl Gap {
    /// A fence that is missing.
    #[must_use]
    pub fn new(fence: Fence, why: impl Into<String>) -> Self {
        Self { fence, why: why.into() }
    }

    /// What is missing where a person switched the sandbox off.
    #[must_use]
    pub fn switched_off() -> Vec<Self> {
        let why = "it was started with --sandbox off";
        vec![Self::new(Fence::Folders, why), Self::new(Fence::Calls, why)]
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fence.words(), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pds_places() -> PdsPlaces {
        PdsPlaces {
            data: "/data/pds".into(),
            status: Some("/run/perch/pds/status.json".into()),
            verdict: Some("/run/perch/timeguard/verdict.json".into()),
            network: Some("/run/perch/network/network.json".into()),
            name_servers: Some("/run/perch/network/resolv.conf".into()),
            metrics: Some(9_100),
        }
    }

    #[test]
    fn each_program_writes_its_own_folders_and_only_the_guard_touches_clock_and_devices() {
        let pds = pds(&pds_places());
        assert_eq!(pds.writes, [PathBuf::from("/data/pds"), "/run/perch/pds".into()]);
        assert!(pds.reads.contains(&"/run/perch/timeguard".into()));
        assert_eq!(pds.listens, [9_100]);
        let run = GuardPlaces {
            run: "/run/perch/timeguard".into(),
            data: "/data/timeguard".into(),
            sets_clock: true,
            ..GuardPlaces::default()
        };
        let guard_sets = guard(&run);
        assert_eq!(guard_sets.writes, [PathBuf::from("/run/perch/timeguard"), "/data/timeguard".into()]);
        assert_eq!(guard_sets.clock, KernelClock::Sets);
        let panel = panel(Path::new("/run/perch/appliance/live.json"));
        assert!(panel.writes.is_empty());
        assert_eq!(panel.network, Network::Answers);
        let watcher = guard(&GuardPlaces { sets_clock: false, ..run });
        for program in [&pds, &panel, &watcher] {
            assert_eq!(program.clock, KernelClock::Reads);
            assert!(program.devices.is_empty());
        }
        for program in [&pds, &guard_sets, &panel] {
            let open = ["/", "/boot", "/data", "/run", "/run/perch", "/proc", "/dev"].map(PathBuf::from);
            assert!(!program.reads.iter().chain(&program.writes).any(|path| open.contains(path)));
        }
    }

    #[test]
    fn a_file_in_the_working_folder_opens_that_folder_and_not_everything() {
        assert_eq!(folder_of(Path::new("status.json")), PathBuf::from("."));
    }
}
