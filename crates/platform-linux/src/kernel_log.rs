//! The kernel's log from `/dev/kmsg`, without blocking.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use platform::{DeviceError, KernelLog, KernelRecord};

/// Where the log is.
const KMSG: &str = "/dev/kmsg";
/// Largest record, bytes: the kernel refuses reads into less than a record and makes none longer than 8 KiB.
const RECORD_BYTES_MAX: usize = 8192;

/// The kernel's log from its beginning on.
#[derive(Debug)]
pub struct LinuxKernelLog {
    file: File,
}

fn failed(error: std::io::Error) -> DeviceError {
    DeviceError::new("kernel log", "read it", error)
}

impl LinuxKernelLog {
    /// Opens it at its oldest record.
    ///
    /// # Errors
    /// When this process may not read it: it takes root or CAP_SYSLOG.
    pub fn open() -> Result<Self, DeviceError> {
        Self::open_at(Path::new(KMSG))
    }

    fn open_at(path: &Path) -> Result<Self, DeviceError> {
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        Ok(Self { file: file.map_err(failed)? })
    }
}

impl KernelLog for LinuxKernelLog {
    fn next(&mut self, limit: Duration) -> Result<Option<KernelRecord>, DeviceError> {
        let mut record = [0; RECORD_BYTES_MAX];
        let mut waited = false;
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(None),
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(record.get(..bytes).unwrap_or_default());
                    if let Some(record) = KernelRecord::parse(&text) {
                        return Ok(Some(record));
                    }
                }
                // Overwritten before it was read: the next read gives the oldest that is left.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if waited {
                        return Ok(None);
                    }
                    waited = true;
                    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
                    nix::poll::poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout)
                        .map_err(|errno| failed(errno.into()))?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_read_to_its_end_without_blocking() {
        // A machine that hides its log (a container) is one of the cases.
        let Ok(mut log) = LinuxKernelLog::open() else { return };
        let mut records = 0;
        while log.next(Duration::ZERO).unwrap().is_some() {
            records += 1;
            assert!(records < 1_000_000);
        }
        assert!(LinuxKernelLog::open_at(Path::new("/dev/absent")).is_err());
    }
}
