//! TRIM on a file system of our own: ext4 on a loop device, which frees blocks by punching holes.

use std::process::Command;

use super::*;

/// An ext4 on a loop device, mounted; all taken away again at the end, however the test ends.
struct LoopDisk {
    dir: tempfile::TempDir,
    device: Option<String>,
    mounted: bool,
}

/// Runs a program; its output, or what it said.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl LoopDisk {
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = dir.path().join("image");
        File::create(&image).and_then(|file| file.set_len(256 << 20)).map_err(|error| error.to_string())?;
        std::fs::create_dir(dir.path().join("mount")).map_err(|error| error.to_string())?;
        let mut disk = Self { dir, device: None, mounted: false };
        let image = image.to_str().unwrap_or_default();
        // Not lazily: the kernel's own thread would clear blocks of inode tables meanwhile.
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image])?;
        let device = run("losetup", &["--find", "--show", image])?;
        disk.device = Some(device.clone());
        run("mount", &[&device, disk.mount().to_str().unwrap_or_default()])?;
        disk.mounted = true;
        Ok(disk)
    }

    fn mount(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn node(&self) -> PathBuf {
        PathBuf::from(self.device.clone().unwrap())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            run("umount", &[self.mount().to_str().unwrap()]).unwrap();
        }
        if let Some(device) = &self.device {
            run("losetup", &["--detach", device]).unwrap();
        }
    }
}

#[test]
fn a_disk_that_frees_the_right_blocks_is_proven_and_left_clean() {
    let disk = LoopDisk::new().unwrap();
    assert_eq!(LinuxTrim::default().test(&disk.mount(), &disk.node()).unwrap(), ScratchResult::Cleared);
    let left = std::fs::read_dir(disk.mount()).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["lost+found"]);
    assert!(LinuxTrim::default().trim(&disk.mount()).unwrap() > 0);
}

#[test]
fn a_disk_that_does_nothing_refuses_or_clears_too_much_is_found_out() {
    let disk = LoopDisk::new().unwrap();
    let verdict = |free: &dyn Fn(&File, &Extent) -> io::Result<()>| {
        scratch_test(&disk.mount(), &disk.node(), free).unwrap()
    };
    assert_eq!(verdict(&|_, _| Ok(())), ScratchResult::Unchanged);
    assert_eq!(verdict(&|_, _| Err(Errno::EOPNOTSUPP.into())), ScratchResult::Refused);
    let clear_too_much = |_: &File, _: &Extent| {
        let after = extents(&File::open(disk.mount().join(".perch-trim-after"))?)?;
        let node = File::options().write(true).open(disk.node())?;
        node.write_all_at(&[0; 4096], after[0].physical)?;
        node.sync_all()
    };
    assert_eq!(verdict(&clear_too_much), ScratchResult::Damaged);
}

#[test]
fn a_test_that_meets_another_disk_ends_without_a_verdict() {
    let disk = LoopDisk::new().unwrap();
    let other = disk.dir.path().join("other");
    File::create(&other).unwrap().set_len(256 << 20).unwrap();
    assert!(LinuxTrim::default().test(&disk.mount(), &other).is_err());
}

#[test]
fn a_file_system_without_trim_refuses() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(LinuxTrim::default().trim(dir.path()).is_err());
}

#[test]
fn pages_come_from_sysfs_and_the_switch_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("sys/block/sda/device");
    std::fs::create_dir_all(device.join("scsi_disk/0:0:0:0")).unwrap();
    std::fs::create_dir_all(dir.path().join("sys/block/sda/queue")).unwrap();
    std::fs::write(dir.path().join("sys/block/sda/queue/discard_max_bytes"), "0\n").unwrap();
    let mut limits = vec![0, 0xB0, 0, 0x3C];
    limits.resize(64, 0);
    limits[20..24].copy_from_slice(&8_u32.to_be_bytes());
    std::fs::write(device.join("vpd_pgb0"), limits).unwrap();
    std::fs::write(device.join("vpd_pgb2"), [0, 0xB2, 0, 4, 0, 0x80, 2, 0]).unwrap();
    std::fs::create_dir_all(dir.path().join("dev")).unwrap();
    std::fs::write(dir.path().join("sys/block/sda/size"), "8\n").unwrap();
    let disks = platform::Disks::list(&crate::LinuxDisks::below(dir.path())).unwrap();
    let trim = LinuxTrim::below(dir.path());
    assert!(trim.pages(&disks[0]).unwrap().promise() && !trim.kernel_discards(&disks[0]));
    trim.set_unmap(&disks[0], true).unwrap();
    let mode = std::fs::read_to_string(device.join("scsi_disk/0:0:0:0/provisioning_mode")).unwrap();
    assert_eq!(mode, "unmap");
}
