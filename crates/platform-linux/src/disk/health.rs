//! Asks disks about their health.

use std::path::{Path, PathBuf};

use platform::disk::health::{self, AtaIdentity, DiskHealth, Health};
use platform::{AttachedDisk, DeviceError, DiskKind};

use super::ask::{self, AtaRead};
use super::{SECTOR_BYTES, attribute};

/// Where ATA keeps its statistics: the log, its general page and its page for SSDs.
const STATISTICS_LOG: u8 = 4;
const GENERAL_PAGE: u8 = 1;
const SSD_PAGE: u8 = 7;

/// Asks the disks of this machine: eMMC by sysfs, NVMe by its admin command, SATA (behind USB too) by SMART in SCSI
/// commands. The bridges of NVMe disks behind USB have each their own way, and are not asked.
#[derive(Clone, Debug)]
pub struct LinuxDiskHealth {
    sys: PathBuf,
}

impl Default for LinuxDiskHealth {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl LinuxDiskHealth {
    /// Takes `sys` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { sys: root.join("sys") }
    }

    fn emmc(&self, disk: &AttachedDisk) -> Health {
        let folder = self.sys.join("block").join(&disk.name);
        let text = |name: &str| attribute(&folder, name).unwrap_or_default();
        health::emmc(&text("device/life_time"), &text("device/pre_eol_info"))
    }
}

impl DiskHealth for LinuxDiskHealth {
    fn health(&self, disk: &AttachedDisk) -> Result<Health, DeviceError> {
        let failed = |error| DeviceError::new("disk", "ask for its health", error);
        match disk.kind {
            DiskKind::Emmc => Ok(self.emmc(disk)),
            DiskKind::Nvme => {
                let file = ask::open(&disk.node).map_err(failed)?;
                let log = ask::nvme_smart_log(&file).map_err(failed)?;
                Ok(health::nvme(&log).unwrap_or_default())
            }
            DiskKind::UsbSsd | DiskKind::Sata => {
                let file = ask::open(&disk.node).map_err(failed)?;
                // What does not know the question is no ATA disk, or a bridge that passes nothing on.
                Ok(ata(&file).unwrap_or_default())
            }
            DiskKind::Sd | DiskKind::UsbStick | DiskKind::Virtual | DiskKind::Other => Ok(Health::default()),
        }
    }

    fn written_bytes(&self, disk: &AttachedDisk) -> Option<u64> {
        written_bytes(&self.sys.join("block"), &disk.name)
    }
}

fn ata(file: &std::fs::File) -> Option<Health> {
    let identity = AtaIdentity::parse(&ask::ata_read(file, AtaRead::IDENTIFY).ok()?)?;
    if !identity.smart {
        return None;
    }
    let data = ask::ata_read(file, AtaRead::SMART_DATA).ok()?;
    let thresholds = ask::ata_read(file, AtaRead::SMART_THRESHOLDS).map_or(Vec::new(), |page| page.to_vec());
    let mut health = health::ata_attributes(&data, &thresholds, Some(&identity)).unwrap_or_default();
    let log = |number, page| ask::ata_read(file, AtaRead::log(number, page)).ok();
    let has_statistics =
        identity.logs && log(0, 0).is_some_and(|directory| health::log_has_pages(&directory, STATISTICS_LOG));
    if has_statistics {
        let (general, ssd) = (log(STATISTICS_LOG, GENERAL_PAGE), log(STATISTICS_LOG, SSD_PAGE));
        health::add_ata_statistics(
            &mut health,
            general.as_ref().map(<[u8; 512]>::as_slice),
            ssd.as_ref().map(<[u8; 512]>::as_slice),
        );
    }
    Some(health)
}

/// Gives the bytes that the kernel wrote to a disk since it was plugged in, from `/sys/block/NAME/stat`.
#[must_use]
pub fn written_bytes(sys_block: &Path, name: &str) -> Option<u64> {
    /// The seventh figure: sectors of 512 bytes written (Documentation/block/stat.rst).
    const SECTORS_WRITTEN: usize = 6;
    let stat = attribute(&sys_block.join(name), "stat")?;
    let sectors: u64 = stat.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()?;
    Some(sectors.saturating_mul(SECTOR_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_the_seventh_figure() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sda")).unwrap();
        let stat = "  1183 120 94832 650  733 512 20480 1210 0 1500 1900 0 0 0 0 12 40\n";
        std::fs::write(dir.path().join("sda/stat"), stat).unwrap();
        assert_eq!(written_bytes(dir.path(), "sda"), Some(20_480 * 512));
        assert_eq!(written_bytes(dir.path(), "sdb"), None);
    }
}
