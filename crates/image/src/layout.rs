//! Where the partitions are: sizes from `board.toml`, written as an MBR and read back.
//!
//! The UEFI specification, section 5.2.1, describes the legacy MBR.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use platform::board::Partitions;

use crate::ImageError;

/// Bytes of a sector in an MBR.
pub const SECTOR_BYTES: u64 = 512;

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// The data partition before its first boot: room for a file system with a journal of 16 MiB, which it keeps when it
/// grows. Smaller would leave a large card with the journal of a tiny one.
pub const DATA_BYTES: u64 = 64 * MIB;

/// Where the four entries begin.
const ENTRIES_AT: usize = 446;

/// Bytes of an entry.
const ENTRY_BYTES: usize = 16;

/// Where the disk signature is.
const SIGNATURE_AT: usize = 440;

/// The type of FAT32 with LBA addresses: the boot ROM of a Pi 3 looks for it.
const TYPE_FAT32: u8 = 0x0C;

/// The type of a Linux file system.
const TYPE_LINUX: u8 = 0x83;

/// What the fields for cylinders, heads and sectors hold when only the LBA counts.
const NO_CHS: [u8; 3] = [0xFE, 0xFF, 0xFF];

/// Where one partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPlace {
    /// 1 to 4.
    pub number: u8,
    /// Its type in the table.
    pub kind: u8,
    /// First byte in the image.
    pub start_bytes: u64,
    /// Length.
    pub size_bytes: u64,
}

/// Where all partitions of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// p1: what the firmware reads first, and the owner's settings.
    pub boot: PartitionPlace,
    /// p2 and p3: the two slots.
    pub slots: [PartitionPlace; 2],
    /// p4: the data.
    pub data: PartitionPlace,
}

impl Layout {
    /// Lays a board's partitions out, each at the next multiple of its alignment.
    ///
    /// # Errors
    /// When they do not fit the 32 bits of sectors of an MBR.
    pub fn of(sizes: &Partitions) -> Result<Self, ImageError> {
        let align = u64::from(sizes.align_mib) * MIB;
        let mut next = align;
        let mut place = |number: u8, kind: u8, size_bytes: u64| {
            let place = PartitionPlace { number, kind, start_bytes: next, size_bytes };
            next = (next + size_bytes).next_multiple_of(align.max(1));
            place
        };
        let slot = u64::from(sizes.slot_mib) * MIB;
        let layout = Self {
            boot: place(1, TYPE_FAT32, u64::from(sizes.boot_mib) * MIB),
            slots: [place(2, TYPE_FAT32, slot), place(3, TYPE_FAT32, slot)],
            data: place(4, TYPE_LINUX, DATA_BYTES),
        };
        if u32::try_from(layout.size_bytes() / SECTOR_BYTES).is_err() {
            return Err(ImageError::TooLarge(layout.size_bytes() / MIB));
        }
        Ok(layout)
    }

    /// Length of the whole image.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.data.start_bytes + self.data.size_bytes
    }

    /// All four, in their order.
    #[must_use]
    pub fn all(&self) -> [PartitionPlace; 4] {
        let [a, b] = self.slots;
        [self.boot, a, b, self.data]
    }
}

/// Writes the partition table with this disk signature. The box replaces the signature at its first boot.
///
/// # Errors
/// When the image cannot be written.
pub fn write_table(image: &File, layout: &Layout, signature: u32) -> Result<(), ImageError> {
    let mut sector = Vec::with_capacity(512);
    sector.resize(SIGNATURE_AT, 0);
    sector.extend(signature.to_le_bytes());
    sector.resize(ENTRIES_AT, 0);
    for place in layout.all() {
        // No entry is active: no firmware of a Pi asks, and a PC should not try.
        sector.push(0);
        sector.extend(NO_CHS);
        sector.push(place.kind);
        sector.extend(NO_CHS);
        for number in [place.start_bytes, place.size_bytes] {
            let sectors = u32::try_from(number / SECTOR_BYTES);
            sector.extend(sectors.map_err(|_| ImageError::TooLarge(number / MIB))?.to_le_bytes());
        }
    }
    sector.extend([0x55, 0xAA]);
    let mut image = image;
    let write =
        image.seek(SeekFrom::Start(0)).and_then(|_| image.write_all(&sector)).and_then(|()| image.flush());
    write.map_err(ImageError::file("write the partition table"))
}

/// Reads the partitions that an image's table names, empty entries left out.
///
/// # Errors
/// When it cannot be read or is no MBR.
pub fn read_partitions(image: &File) -> Result<Vec<PartitionPlace>, ImageError> {
    let mut sector = [0_u8; 512];
    let mut file = image;
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut sector));
    read.map_err(ImageError::file("read the partition table"))?;
    if !sector.ends_with(&[0x55, 0xAA]) {
        return Err(ImageError::NoTable);
    }
    let entries = sector.get(ENTRIES_AT..).unwrap_or_default().chunks_exact(ENTRY_BYTES);
    Ok((1_u8..).zip(entries.take(4)).filter_map(|(number, entry)| partition(number, entry)).collect())
}

fn partition(number: u8, entry: &[u8]) -> Option<PartitionPlace> {
    let bytes = |at: usize| {
        let raw = entry.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(raw)) * SECTOR_BYTES)
    };
    let kind = *entry.get(4)?;
    let (start_bytes, size_bytes) = (bytes(8)?, bytes(12)?);
    (kind != 0 && size_bytes > 0).then_some(PartitionPlace { number, kind, start_bytes, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Partitions = Partitions { boot_mib: 64, slot_mib: 256, align_mib: 4 };

    #[test]
    fn partitions_are_aligned_and_do_not_overlap() {
        let layout = Layout::of(&SIZES).unwrap();
        let mut end = 0;
        for place in layout.all() {
            assert_eq!(place.start_bytes % (4 * MIB), 0, "{place:?}");
            assert!(place.start_bytes >= end, "{place:?} begins before {end}");
            end = place.start_bytes + place.size_bytes;
        }
        assert_eq!(end, layout.size_bytes());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let layout = Layout::of(&SIZES).unwrap();
        let image = tempfile::tempfile().unwrap();
        assert!(
            matches!(read_partitions(&image), Err(ImageError::File { .. })),
            "an empty file has no table"
        );
        image.set_len(4096).unwrap();
        assert!(matches!(read_partitions(&image), Err(ImageError::NoTable)));
        write_table(&image, &layout, 0x1234_5678).unwrap();
        assert_eq!(read_partitions(&image).unwrap(), layout.all());
    }

    #[test]
    fn a_table_has_no_room_for_more_than_two_tebibytes() {
        let sizes = Partitions { boot_mib: 64, slot_mib: 3 * 1024 * 1024, align_mib: 4 };
        assert!(matches!(Layout::of(&sizes), Err(ImageError::TooLarge(_))));
    }
}
