//! All disks that are plugged in, from sysfs, `/dev` and `/proc`.

use std::fs::File;
use std::path::{Path, PathBuf};

use platform::disk::{AttachedDisk, Content, DiskId, Partition, UsbDriver, UsbLink};
use platform::{DeviceError, Disks};

use super::probe::{self, Area, Found};
use super::usage::Usage;
use super::{SECTOR_BYTES, attribute, classify, driver_above, model};

/// Block devices that are no disks of their own.
const NOT_DISKS: &[&str] = &["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

/// Block size of a disk that does not tell, bytes.
const BLOCK_BYTES_USUAL: u32 = 512;

/// The disks of this machine.
#[derive(Clone, Debug)]
pub struct LinuxDisks {
    sys: PathBuf,
    dev: PathBuf,
    proc: PathBuf,
    also: Vec<String>,
}

impl Default for LinuxDisks {
    fn default() -> Self {
        Self::new()
    }
}

impl LinuxDisks {
    /// Takes the kernel's own trees.
    #[must_use]
    pub fn new() -> Self {
        Self::below(Path::new("/"))
    }

    /// Takes `sys`, `dev` and `proc` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { sys: root.join("sys"), dev: root.join("dev"), proc: root.join("proc"), also: Vec::new() }
    }

    /// Lists this device too although it is no disk of its own, such as a test's loop device.
    #[must_use]
    pub fn including(mut self, name: &str) -> Self {
        self.also.push(name.to_owned());
        self
    }

    fn is_listed(&self, name: &str, folder: &Path) -> bool {
        let own = !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix));
        // mmcblk0boot0 and mmcblk0rpmb are areas of an eMMC; a hidden NVMe path belongs to another name.
        let whole = !(name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb")));
        let hidden = attribute(folder, "hidden").as_deref() == Some("1");
        (own && whole && !hidden || self.also.iter().any(|also| also == name))
            && number::<u64>(folder, "size").unwrap_or(0) > 0
    }

    fn describe(&self, name: &str, usage: &Usage) -> AttachedDisk {
        let block = self.sys.join("block");
        let folder = std::fs::canonicalize(block.join(name)).unwrap_or_else(|_| block.join(name));
        let node = self.dev.join(name);
        let size_bytes = number::<u64>(&folder, "size").unwrap_or(0).saturating_mul(SECTOR_BYTES);
        let logical_block_bytes = number(&folder, "queue/logical_block_size").unwrap_or(BLOCK_BYTES_USUAL);
        let file = File::open(&node).ok();
        let area = file.as_ref().map(|file| Area { file, start_bytes: 0, size_bytes });
        let found = area.as_ref().map(|area| probe::table(area, u64::from(logical_block_bytes)));
        let table = found.as_ref().and_then(|found| found.as_ref().ok()?.as_ref());
        let partitions = self.partitions(&folder, file.as_ref(), table, usage);
        let content = match (&area, &found) {
            (None, _) | (_, None | Some(Err(_))) => Content::Unreadable,
            // A boot sector of FAT may look like a table: what the kernel found no partition in is asked as a file system.
            (Some(area), Some(Ok(Some(found @ Found::Mbr(_))))) if partitions.is_empty() => {
                match probe::content(area) {
                    known @ Content::FileSystem { .. } => known,
                    _ => Content::Table { table: found.table() },
                }
            }
            (_, Some(Ok(Some(found)))) => Content::Table { table: found.table() },
            (Some(area), Some(Ok(None))) => probe::content(area),
        };
        AttachedDisk {
            id: identity(&folder, size_bytes),
            kind: classify(&block, name),
            usb: usb_link(&folder),
            removable: attribute(&folder, "removable").as_deref() == Some("1"),
            read_only: attribute(&folder, "ro").as_deref() == Some("1"),
            logical_block_bytes,
            physical_block_bytes: number(&folder, "queue/physical_block_size").unwrap_or(logical_block_bytes),
            content,
            partitions,
            mounted_at: usage.mounted_at(&attribute(&folder, "dev").unwrap_or_default(), &node),
            held: is_held(&folder) || usage.is_swap(&node),
            boots: false,
            name: name.to_owned(),
            node,
        }
    }

    fn partitions(
        &self,
        folder: &Path,
        disk: Option<&File>,
        table: Option<&Found>,
        usage: &Usage,
    ) -> Vec<Partition> {
        let mut partitions: Vec<_> = names(folder)
            .into_iter()
            .filter_map(|name| {
                let folder = folder.join(&name);
                let number: u32 = number(&folder, "partition")?;
                let node = self.dev.join(&name);
                let start_bytes = number_of_bytes(&folder, "start")?;
                let size_bytes = number_of_bytes(&folder, "size")?;
                let (part_uuid, part_type, part_name) =
                    table.map(|table| table.names(number)).unwrap_or_default();
                // Through its own node, whose cache a mounted file system writes to; images have no such nodes.
                let own = File::open(&node).ok();
                let content = match (&own, disk) {
                    (Some(file), _) => probe::content(&Area { file, start_bytes: 0, size_bytes }),
                    (None, Some(file)) => probe::content(&Area { file, start_bytes, size_bytes }),
                    (None, None) => Content::Unreadable,
                };
                let mounted_at = usage.mounted_at(&attribute(&folder, "dev").unwrap_or_default(), &node);
                let held = is_held(&folder) || usage.is_swap(&node);
                Some(Partition {
                    name,
                    node,
                    number,
                    start_bytes,
                    size_bytes,
                    part_uuid,
                    part_type,
                    part_name,
                    content,
                    mounted_at,
                    held,
                })
            })
            .collect();
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }
}

impl Disks for LinuxDisks {
    fn list(&self) -> Result<Vec<AttachedDisk>, DeviceError> {
        let block = self.sys.join("block");
        let failed = |error| DeviceError::new("disks", "list them", error);
        std::fs::read_dir(&block).map_err(failed)?;
        let usage = Usage::read(&self.proc);
        let mut listed: Vec<_> =
            names(&block).into_iter().filter(|name| self.is_listed(name, &block.join(name))).collect();
        listed.sort();
        let mut disks: Vec<_> = listed.iter().map(|name| self.describe(name, &usage)).collect();
        let surest = disks.iter().map(|disk| usage.boots(disk)).max().unwrap_or(0);
        for disk in &mut disks {
            disk.boots = surest > 0 && usage.boots(disk) == surest;
        }
        Ok(disks)
    }
}

/// The names in a folder; what cannot be read counts as empty, since disks go at any moment.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn number<T: std::str::FromStr>(folder: &Path, name: &str) -> Option<T> {
    attribute(folder, name)?.parse().ok()
}

/// An attribute that counts sectors.
fn number_of_bytes(folder: &Path, name: &str) -> Option<u64> {
    Some(number::<u64>(folder, name)?.saturating_mul(SECTOR_BYTES))
}

/// Whether dm-crypt, RAID or LVM sits on it.
fn is_held(folder: &Path) -> bool {
    !names(&folder.join("holders")).is_empty()
}

/// What names a disk. `folder` is its true place below `devices`.
fn identity(folder: &Path, size_bytes: u64) -> DiskId {
    let usb_serial = || attribute(usb_device(folder)?, "serial");
    // virtio-blk has `serial` beside the disk, MMC and NVMe below `device`.
    let serial = attribute(folder, "device/serial")
        .or_else(|| attribute(folder, "serial"))
        .or_else(|| unit_serial(&std::fs::read(folder.join("device/vpd_pg80")).ok()?))
        .or_else(usb_serial);
    let wwid = attribute(folder, "wwid")
        .or_else(|| attribute(folder, "device/wwid"))
        .or_else(|| attribute(folder, "device/cid"));
    DiskId {
        model: model(folder).unwrap_or_default(),
        serial: serial.unwrap_or_default(),
        wwid: wwid.unwrap_or_default(),
        size_bytes,
    }
}

/// Reads the unit serial number page (SPC-5 section 7.7.14: length in bytes 2 and 3, text from byte 4).
fn unit_serial(page: &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(page.get(2..4)?.try_into().ok()?);
    let text = page.get(4..)?.get(..usize::from(length))?;
    let text = String::from_utf8_lossy(text).trim_matches(['\0', ' ']).to_owned();
    (page.get(1) == Some(&0x80) && !text.is_empty()).then_some(text)
}

/// The USB device on the way to a disk.
fn usb_device(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|device| device.join("idVendor").exists())
}

fn usb_link(folder: &Path) -> Option<UsbLink> {
    let device = usb_device(folder)?;
    let id = |name: &str| u16::from_str_radix(&attribute(device, name)?, 16).ok();
    let driver = if driver_above(folder, "uas") {
        UsbDriver::Uas
    } else if driver_above(folder, "usb-storage") {
        UsbDriver::UsbStorage
    } else {
        UsbDriver::Other
    };
    let words: Vec<_> =
        ["manufacturer", "product"].iter().filter_map(|name| attribute(device, name)).collect();
    Some(UsbLink {
        vendor: id("idVendor")?,
        product: id("idProduct")?,
        text: words.join(" "),
        port: device.file_name()?.to_str()?.to_owned(),
        speed_mbps: number(device, "speed"),
        driver,
    })
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
