//! Lends device files to a child: its group may read and write them, and nobody else but root.
//!
//! A device node is root's to give; a link or a file of its name is not followed and not changed.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Root and the group read and write; others nothing.
const LENT_MODE: u32 = 0o660;

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

/// Lends what is there of `devices` to a group; what is not there comes with a later call.
pub(super) fn lend(devices: &[PathBuf], gid: u32) {
    for device in devices.iter().flat_map(|device| meant_by(device)) {
        // A device that went away meanwhile is lent to nobody.
        let _gone = lend_one(&device, gid).is_err();
    }
}

/// The devices that a path means: itself, or with `*` at its end those that have a number there.
fn meant_by(device: &Path) -> Vec<PathBuf> {
    let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (Some(start), Some(folder)) = (name.strip_suffix('*'), device.parent()) else {
        return vec![device.to_owned()];
    };
    let numbered = |name: &str| {
        let number = name.strip_prefix(start).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(numbered))
        .map(|entry| entry.path())
        .collect()
}

fn lend_one(device: &Path, gid: u32) -> io::Result<()> {
    // Held by a descriptor that opens nothing, so that what is looked at is what is changed.
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(device)?;
    let facts = held.metadata()?;
    if !facts.file_type().is_char_device() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if facts.gid() == gid && facts.mode() & PERMISSIONS == LENT_MODE {
        return Ok(());
    }
    let held = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    chown(&held, Some(0), Some(gid))?;
    fs::set_permissions(&held, Permissions::from_mode(LENT_MODE))
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};

    use super::*;

    /// A group that nobody else has.
    const GROUP: u32 = 64_790;

    fn mode_and_group(path: &Path) -> (u32, u32) {
        let facts = fs::symlink_metadata(path).unwrap();
        (facts.mode() & PERMISSIONS, facts.gid())
    }

    #[test]
    fn devices_are_lent_to_one_group_and_nothing_else_of_their_name_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let node = |name: &str| {
            // The null device, whatever its name.
            mknod(&path(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(0o666)).unwrap();
        };
        for name in ["rtc0", "rtc12", "rtc", "rtc-old", "i2c-1", "i2c-2"] {
            node(name);
        }
        fs::write(path("rtc7"), "no device").unwrap();
        fs::set_permissions(path("rtc7"), Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(path("i2c-2"), path("rtc8")).unwrap();
        let lent = [path("rtc*"), path("i2c-1"), path("i2c-9")];
        lend(&lent, GROUP);
        for name in ["rtc0", "rtc12", "i2c-1"] {
            assert_eq!(mode_and_group(&path(name)), (0o660, GROUP), "{name}");
        }
        for name in ["rtc", "rtc-old", "i2c-2"] {
            assert_eq!(mode_and_group(&path(name)), (0o666, 0), "{name}");
        }
        assert_eq!(mode_and_group(&path("rtc7")), (0o644, 0));
        // One that appears later, at the next call.
        node("rtc1");
        lend(&lent, GROUP);
        assert_eq!(mode_and_group(&path("rtc1")), (0o660, GROUP));
    }
}
