//! Classification against trees laid out as kernels lay out sysfs on the boards that we know.

use std::os::unix::fs::symlink;

use super::*;

/// A sysfs with the disks of several boards.
struct Sysfs {
    dir: tempfile::TempDir,
}

impl Sysfs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("block")).unwrap();
        std::fs::create_dir_all(dir.path().join("dev/block")).unwrap();
        Self { dir }
    }

    fn block(&self) -> PathBuf {
        self.dir.path().join("block")
    }

    /// Adds a disk at its way below `devices`, with attributes and its device number.
    fn add(&self, way: &str, number: &str, attributes: &[(&str, &str)]) -> PathBuf {
        let disk = self.dir.path().join("devices").join(way);
        for (name, value) in attributes {
            let path = disk.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        let name = disk.file_name().unwrap();
        symlink(&disk, self.block().join(name)).unwrap();
        symlink(&disk, self.dir.path().join("dev/block").join(number)).unwrap();
        disk
    }
}

const USB: &str = "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb2/2-1/2-1:1.0";

#[test]
fn a_card_and_soldered_flash_are_told_apart_by_their_type() {
    let sys = Sysfs::new();
    let card = [("size", "62333952"), ("device/type", "SD"), ("device/name", "SC32G"), ("removable", "0")];
    sys.add("platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "179:0", &card);
    sys.add(
        "platform/soc/mmc1/mmc1:0001/block/mmcblk1",
        "179:32",
        &[("size", "1000"), ("device/type", "MMC")],
    );
    let facts = facts_of_disk(&sys.block(), "mmcblk0").unwrap();
    assert_eq!(facts.kind, DiskKind::Sd);
    assert_eq!((facts.model.as_str(), facts.size_bytes), ("SC32G", 31_914_983_424));
    assert_eq!(classify(&sys.block(), "mmcblk1"), DiskKind::Emmc);
}

#[test]
fn a_usb_disk_is_an_ssd_whatever_rotational_says() {
    let sys = Sysfs::new();
    let ssd = [
        ("size", "488397168"),
        ("device/model", "Portable SSD    "),
        ("removable", "0"),
        ("queue/rotational", "1"),
    ];
    sys.add(&format!("{USB}/host0/target0:0:0/0:0:0:0/block/sda"), "8:0", &ssd);
    let facts = facts_of_disk(&sys.block(), "sda").unwrap();
    assert_eq!((facts.kind, facts.model.as_str()), (DiskKind::UsbSsd, "Portable SSD"));
}

#[test]
fn a_removable_usb_disk_is_a_stick_unless_its_bridge_speaks_uas() {
    let sys = Sysfs::new();
    sys.add(
        &format!("{USB}/host0/target0:0:0/0:0:0:0/block/sdb"),
        "8:16",
        &[("size", "100"), ("removable", "1")],
    );
    assert_eq!(classify(&sys.block(), "sdb"), DiskKind::UsbStick);
    let drivers = sys.dir.path().join("bus/usb/drivers/uas");
    std::fs::create_dir_all(&drivers).unwrap();
    symlink(&drivers, sys.dir.path().join("devices").join(USB).join("driver")).unwrap();
    assert_eq!(classify(&sys.block(), "sdb"), DiskKind::UsbSsd);
}

#[test]
fn other_ways_of_attachment_are_known() {
    let sys = Sysfs::new();
    sys.add(
        "pci0000:00/0000:00:01.0/nvme/nvme0/nvme0n1",
        "259:0",
        &[("size", "8"), ("device/model", "NVMe X")],
    );
    sys.add("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sdc", "8:32", &[("size", "8")]);
    sys.add("pci0000:00/0000:00:04.0/virtio1/block/vda", "254:0", &[("size", "8")]);
    sys.add("pci0000:00/0000:00:05.0/virtio2/host2/target2:0:0/2:0:0:0/block/sdd", "8:48", &[("size", "8")]);
    sys.add("virtual/block/loop0", "7:0", &[("size", "8")]);
    assert_eq!(classify(&sys.block(), "nvme0n1"), DiskKind::Nvme);
    assert_eq!(classify(&sys.block(), "sdc"), DiskKind::Sata);
    assert_eq!(classify(&sys.block(), "vda"), DiskKind::Virtual);
    assert_eq!(classify(&sys.block(), "sdd"), DiskKind::Virtual);
    assert_eq!(classify(&sys.block(), "loop0"), DiskKind::Other);
    assert!(facts_of_disk(&sys.block(), "sdz").is_none());
}

#[test]
fn a_partition_leads_to_its_disk() {
    let sys = Sysfs::new();
    let disk = sys.add(&format!("{USB}/host0/target0:0:0/0:0:0:0/block/sda"), "8:0", &[("size", "8")]);
    std::fs::create_dir_all(disk.join("sda1")).unwrap();
    std::fs::write(disk.join("sda1/partition"), "1\n").unwrap();
    symlink(disk.join("sda1"), sys.dir.path().join("dev/block/8:1")).unwrap();
    assert_eq!(whole_disk_of(sys.dir.path(), 8, 1).as_deref(), Some("sda"));
    assert_eq!(whole_disk_of(sys.dir.path(), 8, 0).as_deref(), Some("sda"));
    assert_eq!(whole_disk_of(sys.dir.path(), 0, 45), None);
}

#[test]
fn the_room_of_a_folder_here_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let disk = LinuxDisk::of_folder(dir.path()).unwrap();
    let space = disk.space().unwrap();
    assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0);
    assert!(disk.is_present());
    assert!(LinuxDisk::of_folder(&dir.path().join("absent")).is_err());
}
