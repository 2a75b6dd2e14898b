//! Writes a small file on the boot partition, which is mounted read-only but for this moment.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::durable::replace;

/// Replaces a file durably. On a file system that is mounted read-only this is lifted while it is written.
///
/// # Errors
/// When it cannot be written; the old content then stays.
pub fn replace_on_boot(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match replace(path, bytes) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        done => return done,
    }
    let place = mount_point(path.parent().unwrap_or(Path::new("/")))?;
    remount(&place, MsFlags::empty())?;
    let done = replace(path, bytes);
    let closed = remount(&place, MsFlags::MS_RDONLY);
    done.and(closed)
}

/// The flags that the boot partition has besides; a remount sets them anew.
fn remount(place: &Path, flags: MsFlags) -> io::Result<()> {
    let always = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(None::<&str>, place, None::<&str>, always | flags, None::<&str>)?;
    Ok(())
}

/// The topmost folder of the file system that holds a folder.
fn mount_point(folder: &Path) -> io::Result<PathBuf> {
    let device = fs::metadata(folder)?.dev();
    let mut place = folder;
    while let Some(above) = place.parent() {
        if fs::metadata(above)?.dev() != device {
            break;
        }
        place = above;
    }
    Ok(place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_file_system_takes_the_file_and_is_read_only_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        let in_own_namespace = move || {
            // Mounts of this thread alone; they go with it.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            mount(Some("none"), &place, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).unwrap();
            let path = place.join("perch-notes.toml");
            assert!(fs::write(&path, "x").is_err());
            replace_on_boot(&path, b"first").unwrap();
            replace_on_boot(&path, b"second").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"second");
            assert!(fs::write(&path, "x").is_err());
        };
        // Only root has mounts of its own.
        if nix::unistd::geteuid().is_root() {
            std::thread::spawn(in_own_namespace).join().unwrap();
        }
        let plain = folder.path().join("plain");
        replace_on_boot(&plain, b"x").unwrap();
        assert_eq!(fs::read(&plain).unwrap(), b"x");
    }
}
