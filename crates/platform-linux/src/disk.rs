//! Disks as sysfs and statvfs describe them.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use platform::{DeviceError, Disk, DiskFacts, DiskKind, Space};

mod ask;
mod health;
mod list;
mod probe;
mod speed;
mod trim;
mod usage;

pub use health::{LinuxDiskHealth, written_bytes};
pub use list::LinuxDisks;
pub use speed::LinuxSpeedTest;
pub use trim::LinuxTrim;

/// Bytes of a sector in sysfs, whatever the disk's own sector is.
const SECTOR_BYTES: u64 = 512;

/// Largest sysfs attribute that is read, bytes: the kernel gives at most a page.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;

/// Why the disk of a folder cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum LinuxDiskError {
    /// The folder cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Stat {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Decides what sort of medium a whole disk is, from `/sys/block/NAME`.
///
/// By name and way of attachment; `queue/rotational` decides nothing, since USB bridges set it wrongly. A USB disk is
/// a stick when it is removable and its bridge speaks no UAS, else an SSD.
#[must_use]
pub fn classify(sys_block: &Path, name: &str) -> DiskKind {
    let disk = sys_block.join(name);
    if name.starts_with("nvme") {
        return DiskKind::Nvme;
    }
    if name.starts_with("mmcblk") {
        return match attribute(&disk, "device/type").as_deref() {
            Some("MMC") => DiskKind::Emmc,
            Some("SD") => DiskKind::Sd,
            _ => DiskKind::Other,
        };
    }
    if name.starts_with("vd") || name.starts_with("xvd") {
        return DiskKind::Virtual;
    }
    if !name.starts_with("sd") {
        return DiskKind::Other;
    }
    // The link of a disk names the whole way to it: .../usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sda
    let way = std::fs::canonicalize(&disk).unwrap_or_default();
    let parts: Vec<_> = way.components().filter_map(|part| part.as_os_str().to_str()).collect();
    if parts.iter().any(|part| part.starts_with("usb")) {
        let removable = attribute(&disk, "removable").as_deref() == Some("1");
        let uas = driver_above(&way, "uas");
        return if removable && !uas { DiskKind::UsbStick } else { DiskKind::UsbSsd };
    }
    if parts.iter().any(|part| part.starts_with("ata")) {
        return DiskKind::Sata;
    }
    if parts.iter().any(|part| part.starts_with("virtio")) {
        return DiskKind::Virtual;
    }
    DiskKind::Other
}

/// Describes a whole disk; `None` when there is no such disk.
#[must_use]
pub fn facts_of_disk(sys_block: &Path, name: &str) -> Option<DiskFacts> {
    let disk = sys_block.join(name);
    let sectors: u64 = attribute(&disk, "size")?.parse().ok()?;
    Some(DiskFacts {
        name: name.to_owned(),
        model: model(&disk).unwrap_or_default(),
        kind: classify(sys_block, name),
        size_bytes: sectors.saturating_mul(SECTOR_BYTES),
    })
}

/// What its maker calls a disk: MMC gives `name`, SCSI and NVMe give `model`; SCSI's `vendor` goes before it unless it
/// only names the bus.
fn model(disk: &Path) -> Option<String> {
    const NO_MAKERS: &[&str] = &["ATA", "USB", "SCSI", "Generic"];
    let model = attribute(disk, "device/model").or_else(|| attribute(disk, "device/name"))?;
    match attribute(disk, "device/vendor") {
        // A PCI or virtio device has a number here.
        Some(maker) if maker.starts_with("0x") || NO_MAKERS.contains(&maker.as_str()) => Some(model),
        Some(maker) if !model.starts_with(&maker) => Some(format!("{maker} {model}")),
        _ => Some(model),
    }
}

/// Finds the whole disk that a device number (major, minor) lies on, by `/sys/dev/block`; a partition leads to its
/// disk. `None` for what has no disk (tmpfs, overlay, network).
#[must_use]
pub fn whole_disk_of(sys: &Path, major: u64, minor: u64) -> Option<String> {
    let device = std::fs::canonicalize(sys.join("dev/block").join(format!("{major}:{minor}"))).ok()?;
    let disk = if device.join("partition").exists() { device.parent()? } else { &device };
    Some(disk.file_name()?.to_str()?.to_owned())
}

/// The disk that a folder lies on.
#[derive(Clone, Debug)]
pub struct LinuxDisk {
    folder: PathBuf,
    sys: PathBuf,
    name: Option<String>,
}

impl LinuxDisk {
    /// Looks up the disk of a folder once. A folder on no disk (tmpfs) is allowed and has no facts.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn of_folder(folder: &Path) -> Result<Self, LinuxDiskError> {
        let sys = PathBuf::from("/sys");
        let stat = nix::sys::stat::stat(folder)
            .map_err(|errno| LinuxDiskError::Stat { path: folder.to_owned(), source: errno.into() })?;
        let name =
            whole_disk_of(&sys, nix::sys::stat::major(stat.st_dev), nix::sys::stat::minor(stat.st_dev));
        Ok(Self { folder: folder.to_owned(), sys, name })
    }
}

impl Disk for LinuxDisk {
    fn is_present(&self) -> bool {
        match &self.name {
            Some(name) => self.sys.join("block").join(name).exists(),
            None => self.folder.exists(),
        }
    }

    fn facts(&self) -> Option<DiskFacts> {
        facts_of_disk(&self.sys.join("block"), self.name.as_deref()?)
    }

    fn space(&self) -> Result<Space, DeviceError> {
        let stat = statvfs(&self.folder)
            .map_err(|errno| DeviceError::new("data disk", "measure its room", errno.into()))?;
        let block_bytes = stat.fragment_size();
        Ok(Space {
            total_bytes: stat.blocks().saturating_mul(block_bytes),
            free_bytes: stat.blocks_available().saturating_mul(block_bytes),
        })
    }
}

/// Reads one attribute, trimmed; `None` when it is absent, empty or not text.
fn attribute(disk: &Path, name: &str) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(disk.join(name)).ok()?;
    file.take(ATTRIBUTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Tells whether a device on the way up to the root is bound to this driver.
fn driver_above(way: &Path, driver: &str) -> bool {
    way.ancestors().any(|device| {
        std::fs::read_link(device.join("driver"))
            .is_ok_and(|link| link.file_name().is_some_and(|name| name == driver))
    })
}

#[cfg(test)]
mod tests;
