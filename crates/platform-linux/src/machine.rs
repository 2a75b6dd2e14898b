//! The machine itself: its watchdog and its power.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::reboot::{RebootMode, reboot};
use platform::{DeviceError, Power, PowerRequest, Watchdog};

/// The kernel's watchdog (Documentation/watchdog/watchdog-api.rst).
#[derive(Debug)]
pub struct LinuxWatchdog {
    device: File,
}

mod ioctl {
    // WDIOC_SETTIMEOUT of linux/watchdog.h: seconds in, the seconds that the device can do out.
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
}

impl LinuxWatchdog {
    /// Opens the watchdog, which starts it, and sets its life. Gives it with the life that it really has, in seconds;
    /// a device that cannot be set keeps its own.
    ///
    /// # Errors
    /// When there is none, or it is in use.
    pub fn open(path: &Path, life_s: u32) -> Result<(Self, Option<u32>), DeviceError> {
        let device = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|source| DeviceError::new("watchdog", "open", source))?;
        let mut seconds = libc::c_int::try_from(life_s).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "an ioctl")]
        // SAFETY: the descriptor lives and the pointer is to an integer of this function.
        let set = unsafe { ioctl::set_timeout(device.as_raw_fd(), &raw mut seconds) };
        let life_s = set.ok().and_then(|_| u32::try_from(seconds).ok());
        Ok((Self { device }, life_s))
    }
}

impl Watchdog for LinuxWatchdog {
    fn feed(&mut self) -> Result<(), DeviceError> {
        // Any byte but `V` feeds.
        self.device.write_all(b"\0").map_err(|source| DeviceError::new("watchdog", "feed", source))
    }

    fn disarm(&mut self) -> Result<(), DeviceError> {
        // The magic character: the device then stops when it is closed, unless it was built never to.
        self.device.write_all(b"V").map_err(|source| DeviceError::new("watchdog", "switch it off", source))
    }
}

/// Restarts or switches this machine off, through the kernel and at once: whoever asks has ended everything before.
#[derive(Debug, Default)]
pub struct LinuxPower;

impl Power for LinuxPower {
    fn request(&mut self, request: PowerRequest) -> Result<(), DeviceError> {
        let mode = match request {
            PowerRequest::Restart => RebootMode::RB_AUTOBOOT,
            PowerRequest::Off => RebootMode::RB_POWER_OFF,
        };
        let Err(errno) = reboot(mode);
        Err(DeviceError::new("power", "switch", io::Error::from(errno)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_fed_and_switched_off_by_its_bytes() {
        // A plain file takes the bytes and refuses the ioctl, as a device does whose life cannot be set.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, b"").unwrap();
        let (mut watchdog, life_s) = LinuxWatchdog::open(&path, 20).unwrap();
        assert_eq!(life_s, None);
        watchdog.feed().unwrap();
        watchdog.disarm().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0V");
        assert!(LinuxWatchdog::open(&folder.path().join("none"), 20).is_err());
    }
}
