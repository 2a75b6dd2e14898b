//! Every disk that is plugged in: what it is, what is on it, what uses it.
//!
//! Plain data and the trait that lists it. Who may format or use a disk is decided by the storage policy, which
//! compares what it finds here with what the owner agreed to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DiskFacts, DiskKind};
use crate::DeviceError;

/// What names one disk among all, wherever and whenever it is plugged in.
///
/// All four together: USB bridges of one maker may share one serial number, and kernel names change with the order
/// of plugging.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskId {
    /// Maker's model text, trimmed; empty when the disk gives none.
    pub model: String,
    /// Maker's serial number: of the disk itself where it tells, else of its USB bridge; empty when neither tells.
    pub serial: String,
    /// World-wide name (NVMe EUI-64 or NGUID, SCSI designator, the CID of a card); empty when there is none.
    pub wwid: String,
    /// Size of the whole disk.
    pub size_bytes: u64,
}

/// The USB device that a disk sits behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsbLink {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// Maker's and product's text of the bridge or enclosure; may be empty.
    pub text: String,
    /// The kernel's name of the port, such as `2-1.4`: what is unbound and bound to try another driver.
    pub port: String,
    /// Speed of the link, Mbit/s (12, 480, 5000, ...), when told.
    pub speed_mbps: Option<u32>,
    /// The driver that moves the blocks.
    pub driver: UsbDriver,
}

/// How blocks travel over USB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsbDriver {
    /// USB attached SCSI: several commands at once; some bridges fail at it.
    Uas,
    /// Bulk-only transport: one command at a time; slower and never wrong.
    UsbStorage,
    /// Another, or none.
    Other,
}

/// The kind of a file system, and its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// As `mount` calls it: `ext4`, `vfat`, `exfat`, `ntfs`, `btrfs`; also `swap`, `crypto_LUKS`, `LVM2_member`.
    pub kind: String,
    /// Its label; empty when it has none.
    pub label: String,
    /// Its UUID or serial, as `blkid` writes it; empty where not known.
    pub uuid: String,
}

/// What a disk or a partition starts with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Content {
    /// Nothing but zeros (or nothing but ones, as erased flash reads) at its start, its end and in samples between.
    Blank,
    /// A partition table.
    Table {
        /// Which one, with its own name.
        table: Table,
    },
    /// A file system, or another thing that has a name.
    FileSystem {
        /// Which one.
        file_system: FileSystem,
    },
    /// Something: it must be taken for somebody's data.
    Unknown,
    /// It cannot be read: a locked or failing disk. It must be taken for somebody's data.
    Unreadable,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Table {
    /// A master boot record.
    Mbr {
        /// Its disk signature: the first half of each PARTUUID.
        signature: u32,
    },
    /// A GUID partition table.
    Gpt {
        /// The disk's GUID, in lower case.
        guid: String,
    },
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Kernel name, such as `sda1`, `nvme0n1p1`.
    pub name: String,
    /// Its node, such as `/dev/sda1`.
    pub node: PathBuf,
    /// Its number in the table, from 1.
    pub number: u32,
    /// Where it starts on the disk.
    pub start_bytes: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Its PARTUUID as `blkid` writes it (lower case), when the table gives one.
    pub part_uuid: Option<String>,
    /// GPT: the type's GUID in lower case; MBR: the type as `0x0c`; `None` for a logical partition.
    pub part_type: Option<String>,
    /// GPT: its name; empty otherwise.
    pub part_name: String,
    /// What is on it; never a table.
    pub content: Content,
    /// Where it is mounted, all places.
    pub mounted_at: Vec<PathBuf>,
    /// True when it is swap in use, or a part of something that is (dm-crypt, RAID, LVM).
    pub held: bool,
}

/// A whole disk that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedDisk {
    /// Kernel name, such as `mmcblk0`, `sda`: until it is unplugged.
    pub name: String,
    /// Its node, such as `/dev/sda`.
    pub node: PathBuf,
    /// What names it among all disks.
    pub id: DiskId,
    /// What sort of medium it is.
    pub kind: DiskKind,
    /// Its USB device, when it is behind one.
    pub usb: Option<UsbLink>,
    /// The kernel's `removable` flag: the medium may be changed in a reader. Says nothing about unplugging.
    pub removable: bool,
    /// True when the kernel takes no writes: a card's switch, a disk at the end of its life.
    pub read_only: bool,
    /// The smallest piece that it addresses: 512 or 4096.
    pub logical_block_bytes: u32,
    /// The smallest piece that it writes without reading first, as far as it tells.
    pub physical_block_bytes: u32,
    /// What it starts with.
    pub content: Content,
    /// Its partitions by number, as the kernel sees them.
    pub partitions: Vec<Partition>,
    /// Where the whole disk (without a table) is mounted.
    pub mounted_at: Vec<PathBuf>,
    /// True when the whole disk is swap in use or a part of something that is.
    pub held: bool,
    /// True when this machine booted from it, by any evidence: the firmware's word in the device tree, `root=`, or
    /// what is mounted at `/`, `/boot` and below. Wrongly true is harmless, wrongly false is not.
    pub boots: bool,
}

impl AttachedDisk {
    /// Tells whether nothing at all is on it: no table, no file system, no stray bytes in any sample.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.content == Content::Blank && self.partitions.is_empty()
    }

    /// Tells whether anything on it is mounted or otherwise in use.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.held
            || !self.mounted_at.is_empty()
            || self.partitions.iter().any(|partition| partition.held || !partition.mounted_at.is_empty())
    }

    /// Gives the facts that pages show.
    #[must_use]
    pub fn facts(&self) -> DiskFacts {
        DiskFacts {
            name: self.name.clone(),
            model: self.id.model.clone(),
            kind: self.kind,
            size_bytes: self.id.size_bytes,
        }
    }

    /// Finds the partition with this PARTUUID, in any letter case.
    #[must_use]
    pub fn partition(&self, part_uuid: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| {
            partition.part_uuid.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(part_uuid))
        })
    }
}

/// All disks of the machine.
pub trait Disks: Send + Sync + std::fmt::Debug {
    /// Lists the whole disks that are plugged in, by name. Not listed: loop devices, RAM disks, what is put together
    /// from other disks, the boot areas of eMMC, readers without a card.
    ///
    /// It reads up to 3 MiB of each disk and 128 KiB of each partition: call it when something was plugged, not by
    /// the second.
    ///
    /// # Errors
    /// When the system cannot list its disks at all. A disk that does not answer is listed as unreadable.
    fn list(&self) -> Result<Vec<AttachedDisk>, DeviceError>;
}
