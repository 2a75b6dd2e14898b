//! A disk as the storage policy and the screen see it.

use serde::{Deserialize, Serialize};

use crate::DeviceError;

pub mod attached;
pub mod content;
pub mod endurance;
pub mod health;
pub mod speed;
pub mod trim;

pub use attached::{AttachedDisk, Content, DiskId, Disks, FileSystem, Partition, Table, UsbDriver, UsbLink};

/// What sort of medium a disk is, by how it is attached and never by its `rotational` flag alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// An SD card in a slot.
    Sd,
    /// Soldered eMMC.
    Emmc,
    /// An SSD or a hard disk behind a USB bridge.
    UsbSsd,
    /// A USB stick: removable flash without an SSD's controller.
    UsbStick,
    /// NVMe on PCIe.
    Nvme,
    /// SATA without a USB bridge (a laptop or server).
    Sata,
    /// A disk of a virtual machine.
    Virtual,
    /// Anything else, named by what the kernel calls it.
    Other,
}

impl DiskKind {
    /// Gives the words that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Sd => "SD card",
            Self::Emmc => "eMMC",
            Self::UsbSsd => "USB SSD",
            Self::UsbStick => "USB stick",
            Self::Nvme => "NVMe",
            Self::Sata => "SATA disk",
            Self::Virtual => "virtual disk",
            Self::Other => "disk",
        }
    }
}

/// What does not change while a disk stays plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Kernel name of the whole disk, such as `mmcblk0` or `sda`.
    pub name: String,
    /// Maker's model text, trimmed; empty when the disk gives none.
    pub model: String,
    /// What sort of medium it is.
    pub kind: DiskKind,
    /// Size of the whole disk.
    pub size_bytes: u64,
}

/// Room on the file system that holds the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Size of the file system.
    pub total_bytes: u64,
    /// What an ordinary user may still write.
    pub free_bytes: u64,
}

/// The disk that holds the data.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Tells whether the disk is plugged in and answers.
    fn is_present(&self) -> bool;

    /// Describes the disk; `None` when it is gone or unknown.
    fn facts(&self) -> Option<DiskFacts>;

    /// Measures the room on it.
    ///
    /// # Errors
    /// When the disk is gone or does not answer.
    fn space(&self) -> Result<Space, DeviceError>;
}
