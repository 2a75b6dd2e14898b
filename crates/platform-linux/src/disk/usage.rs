//! Who uses a block device: mounts, swap, and what the machine booted from.
//!
//! Reads `/proc` and the device tree once per listing. It says what it found and judges nothing.

use std::path::{Path, PathBuf};

use platform::DiskKind;
use platform::disk::{AttachedDisk, Content, Partition};

/// Values of `/chosen/bootloader/boot-mode` (Raspberry Pi documentation, BOOT_ORDER): where the firmware found the
/// kernel.
const BOOT_MODE_SD: u32 = 1;
const BOOT_MODE_USB: u32 = 4;
const BOOT_MODE_USB_BCM: u32 = 5;
const BOOT_MODE_NVME: u32 = 6;

/// One line of `/proc/self/mountinfo`.
#[derive(Debug)]
struct Mount {
    /// Device number, as `8:1`.
    number: String,
    /// What was mounted, such as `/dev/sda1`.
    source: String,
    place: PathBuf,
}

/// What uses block devices now.
#[derive(Debug, Default)]
pub(super) struct Usage {
    mounts: Vec<Mount>,
    swaps: Vec<PathBuf>,
    /// The value of `root=`.
    root: Option<String>,
    boot_mode: Option<u32>,
    boot_partition: Option<u32>,
}

impl Usage {
    /// Reads what there is; what cannot be read counts as nothing.
    pub(super) fn read(proc: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
        let word = |name: &str| {
            let raw = std::fs::read(proc.join("device-tree/chosen/bootloader").join(name)).ok()?;
            Some(u32::from_be_bytes(raw.get(..4)?.try_into().ok()?))
        };
        let swaps = text("swaps");
        let cmdline = text("cmdline");
        let root = cmdline.split_whitespace().filter_map(|word| word.strip_prefix("root=")).next_back();
        Self {
            mounts: text("self/mountinfo").lines().filter_map(mount).collect(),
            swaps: swaps
                .lines()
                .skip(1)
                .filter_map(|line| Some(unescape(line.split_whitespace().next()?)))
                .collect(),
            root: root.map(str::to_owned),
            boot_mode: word("boot-mode"),
            boot_partition: word("partition"),
        }
    }

    /// Gives the places where a device is mounted, by its number (`8:1`) or its node: btrfs shows numbers of its own.
    pub(super) fn mounted_at(&self, number: &str, node: &Path) -> Vec<PathBuf> {
        let of =
            self.mounts.iter().filter(|mount| mount.number == number || Path::new(&mount.source) == node);
        of.map(|mount| mount.place.clone()).collect()
    }

    /// Tells whether a device is swap in use.
    pub(super) fn is_swap(&self, node: &Path) -> bool {
        self.swaps.iter().any(|swap| swap == node)
    }

    /// How surely the machine booted from this disk; 0 says that nothing speaks for it.
    ///
    /// What is mounted is known. The firmware's word comes before `root=`: two disks that were flashed with one image
    /// have the same ids, so that `root=` names both.
    pub(super) fn boots(&self, disk: &AttachedDisk) -> u8 {
        let partitions = || disk.partitions.iter();
        let mut places =
            disk.mounted_at.iter().chain(partitions().flat_map(|partition| &partition.mounted_at));
        if places.any(|place| place == Path::new("/") || place.starts_with("/boot")) {
            3
        } else if self.firmware_found(disk) {
            2
        } else {
            u8::from(self.root.as_deref().is_some_and(|root| is_root(root, disk)))
        }
    }

    /// Whether the firmware's word fits: the way of booting, and a FAT partition of the number that it names.
    fn firmware_found(&self, disk: &AttachedDisk) -> bool {
        let fits = match self.boot_mode {
            Some(BOOT_MODE_SD) => matches!(disk.kind, DiskKind::Sd | DiskKind::Emmc),
            Some(BOOT_MODE_USB | BOOT_MODE_USB_BCM) => disk.usb.is_some(),
            Some(BOOT_MODE_NVME) => disk.kind == DiskKind::Nvme,
            _ => false,
        };
        let is_fat = |partition: &Partition| matches!(&partition.content, Content::FileSystem { file_system } if file_system.kind == "vfat");
        // 0 means that the firmware chose by itself: then any FAT partition will do.
        let numbered = |partition: &Partition| {
            self.boot_partition.is_none_or(|number| number == 0 || number == partition.number)
        };
        fits && disk.partitions.iter().any(|partition| is_fat(partition) && numbered(partition))
    }
}

/// Whether `root=` names this disk or a part of it. Labels are not asked: any disk may carry any label.
fn is_root(root: &str, disk: &AttachedDisk) -> bool {
    if let Some(part_uuid) = root.strip_prefix("PARTUUID=") {
        // `PARTUUID=X/PARTNROFF=N` names a partition beside X, on the same disk.
        return disk.partition(part_uuid.split('/').next().unwrap_or_default()).is_some();
    }
    let uuid_of = |content: &Content| match content {
        Content::FileSystem { file_system } => Some(file_system.uuid.clone()),
        _ => None,
    };
    if let Some(uuid) = root.strip_prefix("UUID=") {
        let mut contents =
            std::iter::once(&disk.content).chain(disk.partitions.iter().map(|part| &part.content));
        return contents.any(|content| uuid_of(content).is_some_and(|own| own.eq_ignore_ascii_case(uuid)));
    }
    let node = Path::new(root);
    disk.node == node || disk.partitions.iter().any(|partition| partition.node == node)
}

/// Reads one line: `36 35 98:0 /root /place opts tags - type source options` (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let number = left.nth(2)?.to_owned();
    let place = unescape(left.nth(1)?);
    let source = unescape(right.split(' ').nth(1)?).to_str()?.to_owned();
    Some(Mount { number, source, place })
}

/// Undoes the octal escapes of `/proc` (space, tab, line feed, backslash).
fn unescape(text: &str) -> PathBuf {
    let out = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain));
    PathBuf::from(out)
}
