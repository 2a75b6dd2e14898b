//! Listing on trees laid out as kernels lay out `/sys`, `/dev` and `/proc`, with images for disks.

use std::os::unix::fs::{FileExt, symlink};

use platform::DiskKind;
use platform::disk::Table;

use super::*;

/// A machine in a folder: a card that it boots from, a USB SSD with data, whatever a test adds.
struct Machine {
    dir: tempfile::TempDir,
}

const MIB: u64 = 1024 * 1024;

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["sys/block", "dev", "proc/self", "proc/device-tree/chosen/bootloader"] {
            std::fs::create_dir_all(machine.dir.path().join(folder)).unwrap();
        }
        machine
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Adds a disk at its way below `devices`, with an empty image of its size.
    fn add(&self, way: &str, size_mib: u64, attributes: &[(&str, &str)]) -> File {
        let name = way.rsplit('/').next().unwrap();
        self.write(&format!("sys/devices/{way}/size"), format!("{}\n", size_mib * MIB / 512));
        for (attribute, value) in attributes {
            self.write(&format!("sys/devices/{way}/{attribute}"), format!("{value}\n"));
        }
        let root = self.dir.path();
        symlink(root.join("sys/devices").join(way), root.join("sys/block").join(name)).unwrap();
        self.image(name, size_mib)
    }

    fn image(&self, name: &str, size_mib: u64) -> File {
        let path = self.dir.path().join("dev").join(name);
        let image = File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap();
        image.set_len(size_mib * MIB).unwrap();
        image
    }

    fn add_partition(&self, way: &str, number: u32, dev: &str, start_mib: u64, size_mib: u64) {
        let disk = way.rsplit('/').next().unwrap();
        let mark = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        let folder = format!("sys/devices/{way}/{disk}{mark}{number}");
        for (name, value) in [
            ("partition", number.to_string()),
            ("start", (start_mib * MIB / 512).to_string()),
            ("size", (size_mib * MIB / 512).to_string()),
            ("dev", dev.to_owned()),
        ] {
            self.write(&format!("{folder}/{name}"), format!("{value}\n"));
        }
    }

    fn list(&self) -> Vec<AttachedDisk> {
        LinuxDisks::below(self.dir.path()).list().unwrap()
    }
}

const CARD: &str = "platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";
const USB_DEVICE: &str = "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb2/2-1";

/// The way of a USB disk behind a bridge that is described too.
fn add_bridge(machine: &Machine, driver: &str) -> String {
    for (name, value) in [
        ("idVendor", "152d"),
        ("idProduct", "0578"),
        ("manufacturer", "JMicron"),
        ("product", "USB to SATA"),
        ("serial", "0123456789ABCDEF"),
        ("speed", "5000"),
    ] {
        machine.write(&format!("sys/devices/{USB_DEVICE}/{name}"), format!("{value}\n"));
    }
    let drivers = machine.dir.path().join("sys/bus/usb/drivers").join(driver);
    std::fs::create_dir_all(&drivers).unwrap();
    let interface = machine.dir.path().join(format!("sys/devices/{USB_DEVICE}/2-1:1.0"));
    std::fs::create_dir_all(&interface).unwrap();
    symlink(&drivers, interface.join("driver")).unwrap();
    format!("{USB_DEVICE}/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda")
}

/// Writes a master boot record with this signature and one FAT and one Linux partition.
fn write_mbr(image: &File, signature: u32) {
    image.write_all_at(&signature.to_le_bytes(), 440).unwrap();
    image.write_all_at(&[0, 0, 0, 0, 0x0C], 446).unwrap();
    image.write_all_at(&[0, 0, 0, 0, 0x83], 462).unwrap();
    image.write_all_at(&[0x55, 0xAA], 510).unwrap();
}

fn write_fat(image: &File, at: u64) {
    image.write_all_at(&0x1234_ABCD_u32.to_le_bytes(), at + 67).unwrap();
    image.write_all_at(b"PERCH      FAT32   ", at + 71).unwrap();
    image.write_all_at(&[0x55, 0xAA], at + 510).unwrap();
}

fn write_ext4(image: &File, at: u64) {
    let superblock = at + 1024;
    image.write_all_at(&0xEF53_u16.to_le_bytes(), superblock + 0x38).unwrap();
    image.write_all_at(&0x40_u32.to_le_bytes(), superblock + 0x60).unwrap();
    image.write_all_at(&[7; 16], superblock + 0x68).unwrap();
}

fn add_card(machine: &Machine) {
    let cid = "035344534333324785a1b2c3d4014300";
    let card = [
        ("device/type", "SD"),
        ("device/name", "SC32G"),
        ("device/serial", "0xa1b2c3d4"),
        ("device/cid", cid),
    ];
    let image = machine.add(CARD, 64, &card);
    write_mbr(&image, 0xDEAD_BEEF);
    write_fat(&image, 4 * MIB);
    write_ext4(&image, 20 * MIB);
    machine.add_partition(CARD, 1, "179:1", 4, 16);
    machine.add_partition(CARD, 2, "179:2", 20, 40);
}

#[test]
fn a_card_is_listed_with_its_identity_and_what_is_on_it() {
    let machine = Machine::new();
    add_card(&machine);
    machine.write(
        "proc/self/mountinfo",
        "25 1 179:2 / /data\\040here rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n",
    );
    let disks = machine.list();
    let [card] = disks.as_slice() else { panic!("{disks:?}") };
    assert_eq!(
        (card.kind, card.id.model.as_str(), card.id.serial.as_str()),
        (DiskKind::Sd, "SC32G", "0xa1b2c3d4")
    );
    assert_eq!((card.id.size_bytes, card.id.wwid.len()), (64 * MIB, 32));
    assert_eq!(card.content, Content::Table { table: Table::Mbr { signature: 0xDEAD_BEEF } });
    let [fat, ext4] = card.partitions.as_slice() else { panic!("{card:?}") };
    assert_eq!(fat.part_uuid.as_deref(), Some("deadbeef-01"));
    assert_eq!((fat.part_type.as_deref(), fat.start_bytes), (Some("0x0c"), 4 * MIB));
    let Content::FileSystem { file_system } = &ext4.content else { panic!("{ext4:?}") };
    assert_eq!(file_system.kind, "ext4");
    assert_eq!(ext4.mounted_at, [Path::new("/data here")]);
    assert!(card.is_in_use() && !card.boots && !card.is_blank());
    assert_eq!(card.partition("DEADBEEF-02"), Some(ext4));
}

#[test]
fn the_disk_of_the_boot_is_known_by_each_evidence_alone() {
    let boots = |evidence: &[(&str, &[u8])]| {
        let machine = Machine::new();
        add_card(&machine);
        for (path, bytes) in evidence {
            machine.write(path, bytes);
        }
        machine.list()[0].boots
    };
    let mode = "proc/device-tree/chosen/bootloader/boot-mode";
    let partition = "proc/device-tree/chosen/bootloader/partition";
    assert!(!boots(&[]));
    assert!(boots(&[(mode, &[0, 0, 0, 1]), (partition, &[0, 0, 0, 1])]));
    assert!(!boots(&[(mode, &[0, 0, 0, 1]), (partition, &[0, 0, 0, 2])]), "partition 2 is no FAT");
    assert!(boots(&[(mode, &[0, 0, 0, 1]), (partition, &[0, 0, 0, 0])]));
    assert!(!boots(&[(mode, &[0, 0, 0, 4])]), "booted from USB");
    assert!(boots(&[("proc/cmdline", b"console=ttyS0 root=PARTUUID=DEADBEEF-02 rw")]));
    assert!(boots(&[("proc/cmdline", b"root=PARTUUID=deadbeef-01/PARTNROFF=1")]));
    assert!(boots(&[("proc/cmdline", b"root=UUID=07070707-0707-0707-0707-070707070707")]));
    assert!(!boots(&[("proc/cmdline", b"root=PARTUUID=deadbee0-02")]));
    let mount = b"25 1 179:1 / /boot/firmware ro - vfat /dev/mmcblk0p1 ro\n";
    assert!(boots(&[("proc/self/mountinfo", mount)]));
}

#[test]
fn a_usb_disk_is_named_with_its_bridge_and_the_serial_of_the_disk_itself() {
    let machine = Machine::new();
    let way = add_bridge(&machine, "uas");
    machine.add(
        &way,
        8,
        &[("device/vendor", "Samsung"), ("device/model", "SSD 870 EVO"), ("removable", "0")],
    );
    let disk = machine.list().remove(0);
    let usb = disk.usb.clone().unwrap();
    assert_eq!((usb.vendor, usb.product, usb.driver), (0x152D, 0x0578, UsbDriver::Uas));
    assert_eq!(
        (usb.port.as_str(), usb.text.as_str(), usb.speed_mbps),
        ("2-1", "JMicron USB to SATA", Some(5000))
    );
    assert_eq!((disk.kind, disk.id.model.as_str()), (DiskKind::UsbSsd, "Samsung SSD 870 EVO"));
    assert_eq!(disk.id.serial, "0123456789ABCDEF", "the bridge's, as long as the disk tells none");
    machine.write(&format!("sys/devices/{way}/device/vpd_pg80"), b"\x00\x80\x00\x0a S6PNNM0T0");
    assert_eq!(machine.list().remove(0).id.serial, "S6PNNM0T0");
}

#[test]
fn a_disk_is_blank_only_when_nothing_is_found_anywhere() {
    let machine = Machine::new();
    let way = add_bridge(&machine, "usb-storage");
    let image = machine.add(&way, 512, &[]);
    assert!(machine.list()[0].is_blank());
    image.write_all_at(b"somebody's", 512 * MIB - 600).unwrap();
    assert_eq!(machine.list()[0].content, Content::Unknown);
    image.write_all_at(&[0; 10], 512 * MIB - 600).unwrap();
    assert!(machine.list()[0].is_blank());
    // Old files without their table: most of a disk is full of them, so samples meet them.
    image.write_all_at(&vec![b'x'; 100 << 20], 300 * MIB).unwrap();
    assert_eq!(machine.list()[0].content, Content::Unknown);
}

#[test]
fn a_disk_whose_node_cannot_be_read_is_never_blank() {
    let machine = Machine::new();
    let way = add_bridge(&machine, "uas");
    machine.add(&way, 8, &[]);
    std::fs::remove_file(machine.dir.path().join("dev/sda")).unwrap();
    assert_eq!(machine.list()[0].content, Content::Unreadable);
    machine.image("sda", 1);
    assert_eq!(machine.list()[0].content, Content::Unreadable, "shorter than it says");
}

#[test]
fn only_disks_of_their_own_are_listed() {
    let machine = Machine::new();
    for name in ["loop0", "ram0", "zram0", "dm-0", "md0", "sr0"] {
        machine.add(&format!("virtual/block/{name}"), 1, &[]);
    }
    machine.add("platform/mmc/mmcblk1", 1, &[("device/type", "MMC")]);
    machine.add("platform/mmc/mmcblk1boot0", 1, &[]);
    machine.add("pci/usb9/empty/block/sdz", 0, &[]);
    machine.add("pci/nvme/nvme0/nvme0c0n1", 1, &[("hidden", "1")]);
    let names: Vec<_> = machine.list().into_iter().map(|disk| disk.name).collect();
    assert_eq!(names, ["mmcblk1"]);
    let with_loop = LinuxDisks::below(machine.dir.path()).including("loop0").list().unwrap();
    assert_eq!(with_loop.first().map(|disk| disk.name.as_str()), Some("loop0"));
}

#[test]
fn swap_and_what_is_put_together_from_disks_count_as_use() {
    let machine = Machine::new();
    let way = add_bridge(&machine, "uas");
    machine.add(&way, 8, &[]);
    machine.add_partition(&way, 1, "8:1", 1, 7);
    let node = machine.dir.path().join("dev/sda1");
    let swaps = format!("Filename Type Size Used Priority\n{} partition 7 0 -2\n", node.display());
    machine.write("proc/swaps", swaps);
    assert!(machine.list()[0].is_in_use());
    machine.write("proc/swaps", "Filename Type Size Used Priority\n");
    assert!(!machine.list()[0].is_in_use());
    machine.write(&format!("sys/devices/{way}/sda1/holders/dm-0"), "");
    assert!(machine.list()[0].is_in_use());
}

#[test]
fn the_backup_of_a_gpt_names_the_partitions_when_the_first_copy_is_damaged() {
    let machine = Machine::new();
    let way = add_bridge(&machine, "uas");
    let image = machine.add(&way, 8, &[]);
    write_gpt_backup(&image, 8 * MIB);
    machine.add_partition(&way, 1, "8:1", 1, 2);
    let disk = machine.list().remove(0);
    assert!(matches!(disk.content, Content::Table { table: Table::Gpt { .. } }), "{disk:?}");
    assert_eq!(disk.partitions[0].part_uuid.as_deref(), Some("04030201-0605-0807-090a-0b0c0d0e0f10"));
}

/// Writes entries and header at the end of the disk, and a protective record at its start.
fn write_gpt_backup(image: &File, size_bytes: u64) {
    use platform::disk::content::crc32;
    let mut entries = vec![0_u8; 128 * 128];
    entries[..16].fill(0xAB);
    entries[16..32].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let mut header = vec![0_u8; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[72..80].copy_from_slice(&(size_bytes / 512 - 33).to_le_bytes());
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    image.write_all_at(&entries, size_bytes - 33 * 512).unwrap();
    image.write_all_at(&header, size_bytes - 512).unwrap();
    image.write_all_at(&[0, 0, 0, 0, 0xEE], 446).unwrap();
    image.write_all_at(&[0x55, 0xAA], 510).unwrap();
}

#[test]
fn the_disks_of_this_machine_can_be_listed() {
    for disk in LinuxDisks::new().list().unwrap() {
        assert!(disk.id.size_bytes > 0 && !disk.name.is_empty());
    }
}
