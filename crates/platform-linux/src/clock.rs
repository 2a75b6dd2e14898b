//! CLOCK_BOOTTIME, CLOCK_REALTIME and the boot id.

use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use platform::time::{BootClock, BootId, BootIdError};

/// Where the kernel names this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the kernel's clocks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinuxClockError {
    /// The boot id cannot be read.
    #[error("cannot read {BOOT_ID}")]
    ReadBootId(#[source] std::io::Error),
    /// The boot id is no UUID.
    #[error("{BOOT_ID} holds no boot id")]
    ParseBootId(#[source] BootIdError),
    /// A clock that every supported kernel has is missing.
    #[error("the kernel does not give CLOCK_BOOTTIME or CLOCK_REALTIME")]
    ReadClock(#[source] std::io::Error),
}

/// The clocks of this kernel.
#[derive(Clone, Debug)]
pub struct LinuxClock {
    boot_id: BootId,
}

impl LinuxClock {
    /// Reads the boot id, and both clocks once, so that they are known to work.
    ///
    /// # Errors
    /// [`LinuxClockError`], on a kernel older than any that we support or without `/proc`.
    pub fn new() -> Result<Self, LinuxClockError> {
        Self::with_boot_id_file(Path::new(BOOT_ID))
    }

    fn with_boot_id_file(path: &Path) -> Result<Self, LinuxClockError> {
        let text = std::fs::read_to_string(path).map_err(LinuxClockError::ReadBootId)?;
        let boot_id = BootId::parse(&text).map_err(LinuxClockError::ParseBootId)?;
        for id in [ClockId::CLOCK_BOOTTIME, ClockId::CLOCK_REALTIME] {
            clock_gettime(id).map_err(|errno| LinuxClockError::ReadClock(errno.into()))?;
        }
        Ok(Self { boot_id })
    }
}

impl BootClock for LinuxClock {
    fn boottime_ns(&self) -> u64 {
        nanoseconds(ClockId::CLOCK_BOOTTIME).and_then(|ns| u64::try_from(ns).ok()).unwrap_or_default()
    }

    fn realtime_us(&self) -> i64 {
        nanoseconds(ClockId::CLOCK_REALTIME).and_then(|ns| i64::try_from(ns / 1_000).ok()).unwrap_or_default()
    }

    fn boot_id(&self) -> BootId {
        self.boot_id
    }
}

/// Reads a clock, nanoseconds. `new` has seen it work; were it to fail, 0 makes every verdict untrusted.
fn nanoseconds(id: ClockId) -> Option<i128> {
    let time = clock_gettime(id).ok()?;
    Some(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_this_machine_run_forward() {
        let clock = LinuxClock::new().unwrap();
        let first = clock.boottime_ns();
        assert!(first > 0 && clock.realtime_us() > 0);
        assert!(clock.boottime_ns() >= first);
        assert_eq!(clock.boot_id(), LinuxClock::new().unwrap().boot_id());
    }

    #[test]
    fn a_missing_or_wrong_boot_id_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot_id");
        assert!(matches!(LinuxClock::with_boot_id_file(&path), Err(LinuxClockError::ReadBootId(_))));
        std::fs::write(&path, "not a uuid\n").unwrap();
        assert!(matches!(LinuxClock::with_boot_id_file(&path), Err(LinuxClockError::ParseBootId(_))));
    }
}
