//! The programs that are compared, as Debian ships and configures them.

use std::fs::{self, FileTimes};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use timeguard::trial::{START_US, Scenario};

use crate::host::Host;

/// A program that keeps the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// chronyd with Debian's configuration.
    Chrony,
    /// The same, and three sources must agree.
    ChronyThree,
    /// systemd-timesyncd with the four servers.
    Timesyncd,
}

/// All of them, in the table's order.
pub const PROGRAMS: [Program; 3] = [Program::Chrony, Program::ChronyThree, Program::Timesyncd];

/// Debian's `chrony.conf`, with a pool that leads to the scenario's servers and files in the scenario's folder. Left out
/// are further configuration, keys, NTS cookies and the table of leap seconds, none of which there is here.
const CHRONY: &str = "
pool 2.debian.pool.ntp.org iburst
driftfile {folder}/chrony.drift
pidfile {folder}/chrony.pid
maxupdateskew 100.0
rtcsync
makestep 1 3
cmdport 0
bindcmdaddress /
";

/// The cautious variant's additional line.
const CHRONY_THREE: &str = "minsources 3\n";

const TIMESYNCD: &str = "[Time]\nNTP=192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4\n";

impl Program {
    /// Names it for the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chrony => "chrony",
            Self::ChronyThree => "chrony, `minsources 3`",
            Self::Timesyncd => "systemd-timesyncd",
        }
    }

    /// Writes its files for a scenario into an empty folder and gives the command that starts it there.
    pub fn command(self, host: &Host, scenario: &Scenario, folder: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Chrony => chrony(host, folder, CHRONY)?,
            Self::ChronyThree => chrony(host, folder, &[CHRONY, CHRONY_THREE].concat())?,
            Self::Timesyncd => timesyncd(host, scenario, folder)?,
        };
        command.current_dir(folder).env_clear();
        command.env("LD_LIBRARY_PATH", &host.libraries).env("LD_PRELOAD", &host.shim);
        Ok(command)
    }
}

/// In the foreground, without its own system call filter, which knows nothing of the shim's socket.
fn chrony(host: &Host, folder: &Path, text: &str) -> Result<Command> {
    let file = folder.join("chrony.conf");
    let text = text.replace("{folder}", &folder.to_string_lossy());
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(host.program("usr/sbin/chronyd")?);
    command.args(["-d", "-U", "-u", "root", "-F", "0", "-f"]).arg(file);
    Ok(command)
}

/// Its file `clock`, whose date it takes for a time that has passed, is as old as the guard's floor.
fn timesyncd(host: &Host, scenario: &Scenario, folder: &Path) -> Result<Command> {
    let failed = || format!("cannot write to {}", folder.display());
    fs::write(folder.join("timesyncd.conf"), TIMESYNCD).with_context(failed)?;
    let floor_us = u64::try_from(START_US - scenario.floor_behind_us)?;
    let floor = SystemTime::UNIX_EPOCH + Duration::from_micros(floor_us);
    let clock = fs::File::create(folder.join("clock")).with_context(failed)?;
    clock.set_times(FileTimes::new().set_modified(floor)).with_context(failed)?;
    let mut command = Command::new(host.program("lib/systemd/systemd-timesyncd")?);
    // No message bus: it would ask this machine's.
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    Ok(command)
}
