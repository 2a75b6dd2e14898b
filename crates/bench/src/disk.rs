//! A small disk of its own, so that every sector that is written to it can be counted.
//!
//! A sparse file with ext4, mounted through a loop device: the kernel counts what reaches the device, journal and
//! metadata included, and no other process writes there. Needs root.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Size of the disk in bytes: room for the reference, which writes hundreds of KiB per post.
const DISK_BYTES: u64 = 4 << 30;

/// The unit of the kernel's block statistics, whatever the device's own sector size is.
const SECTOR_BYTES: u64 = 512;

/// A mounted loop disk; unmounted when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    mount_point: PathBuf,
    /// Such as `loop0`.
    device: String,
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let done =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    if !done.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

impl LoopDisk {
    /// Makes an empty disk in `folder` and mounts it there.
    ///
    /// Fails without root, and where loop devices are not allowed.
    pub fn make(folder: &Path) -> Result<Self> {
        let (image, mount_point) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir_all(&mount_point).context("cannot make a mount point")?;
        File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).context("cannot make a disk image")?;
        let (image, mount) = (image.to_string_lossy(), mount_point.to_string_lossy());
        // Tables are written now: otherwise the kernel writes them later, in the middle of the measurement.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", now, &*image])?;
        run("mount", &["-o", "loop,noatime", &*image, &*mount])?;
        let source = run("findmnt", &["-n", "-o", "SOURCE", &*mount])?;
        let device = source.trim_start_matches("/dev/").to_owned();
        Ok(Self { mount_point, device })
    }

    /// The folder that lies on the disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.mount_point
    }

    /// Bytes written to the device so far, after everything waiting was written.
    pub fn written_bytes(&self) -> Result<u64> {
        run("sync", &["-f", &*self.mount_point.to_string_lossy()])?;
        let path = format!("/sys/block/{}/stat", self.device);
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let sectors: Option<u64> = stat.split_whitespace().nth(6).and_then(|field| field.parse().ok());
        Ok(sectors.with_context(|| format!("{path} has no count of sectors written"))? * SECTOR_BYTES)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // A folder that is still mounted is visible in `mount`; there is nobody to tell here.
        drop(run("umount", &[&*self.mount_point.to_string_lossy()]));
    }
}
