//! Recognises partition tables and file systems by their first bytes.
//!
//! Pure: bytes in, names out. It must recognise what people have on their disks, so that nobody is asked to give up
//! "something"; what it does not know stays [`Content::Unknown`](super::Content::Unknown), never blank.

use super::attached::FileSystem;

/// How much of a disk's or partition's start [`file_system`] wants, bytes: btrfs, the farthest, has its superblock at 64 KiB.
pub const HEAD_BYTES: usize = 128 * 1024;

/// Most bytes of a GPT's entries that are read: 128 entries of 128 bytes are usual, 4 times that is allowed for.
pub const GPT_ENTRIES_BYTES_MAX: usize = 64 * 1024;

fn bytes(from: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    from.get(at..at.checked_add(length)?)
}

fn has(from: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes(from, at, magic.len()) == Some(magic)
}

fn array<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    bytes(from, at, N)?.try_into().ok()
}

fn le16(from: &[u8], at: usize) -> Option<u16> {
    array(from, at).map(u16::from_le_bytes)
}

fn le32(from: &[u8], at: usize) -> Option<u32> {
    array(from, at).map(u32::from_le_bytes)
}

fn le64(from: &[u8], at: usize) -> Option<u64> {
    array(from, at).map(u64::from_le_bytes)
}

/// Text up to the first NUL, without trailing blanks.
fn text(from: &[u8], at: usize, length: usize) -> String {
    let raw = bytes(from, at, length).unwrap_or_default();
    let end = raw.iter().position(|byte| *byte == 0).unwrap_or(raw.len());
    String::from_utf8_lossy(raw.get(..end).unwrap_or_default()).trim_end().to_owned()
}

/// A UUID in the order of its bytes.
fn uuid(from: &[u8], at: usize) -> String {
    array::<16>(from, at).map(dashed).unwrap_or_default()
}

fn dashed(raw: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (position, byte) in raw.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// A GUID as GPT stores it: the first three fields are little-endian (UEFI 2.10, appendix A).
fn guid(from: &[u8], at: usize) -> Option<String> {
    let mut raw = array::<16>(from, at)?;
    for field in [0..4, 4..6, 6..8] {
        raw.get_mut(field)?.reverse();
    }
    Some(dashed(raw))
}

/// Recognises a file system by its first [`HEAD_BYTES`]; fewer are allowed at the end of a small partition.
///
/// Offsets from each format's own description; for ext4 the kernel's `Documentation/filesystems/ext4/super.rst`.
#[must_use]
pub fn file_system(head: &[u8]) -> Option<FileSystem> {
    ext(head).or_else(|| fat(head)).or_else(|| by_magic(head))
}

/// ext2, ext3 and ext4: superblock at 1024.
fn ext(head: &[u8]) -> Option<FileSystem> {
    const SUPERBLOCK: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    /// What ext3 knows of the incompatible features: filetype, needs-recovery, meta_bg.
    const INCOMPAT_EXT3: u32 = 0x2 | 0x4 | 0x10;
    let superblock = head.get(SUPERBLOCK..)?;
    if le16(superblock, 0x38)? != 0xEF53 {
        return None;
    }
    let (compat, incompat) = (le32(superblock, 0x5C)?, le32(superblock, 0x60)?);
    let kind = match (incompat & !INCOMPAT_EXT3, compat & HAS_JOURNAL) {
        (0, 0) => "ext2",
        (0, _) => "ext3",
        _ => "ext4",
    };
    Some(FileSystem {
        kind: kind.to_owned(),
        label: text(superblock, 0x78, 16),
        uuid: uuid(superblock, 0x68),
    })
}

/// FAT12, FAT16 and FAT32, by the words that every formatter writes into the boot sector.
fn fat(head: &[u8]) -> Option<FileSystem> {
    if !has(head, 510, &[0x55, 0xAA]) {
        return None;
    }
    let (serial_at, label_at) = if has(head, 82, b"FAT32") {
        (67, 71)
    } else if has(head, 54, b"FAT1") {
        (39, 43)
    } else {
        return None;
    };
    let serial = le32(head, serial_at)?;
    let label = text(head, label_at, 11);
    Some(FileSystem {
        kind: "vfat".to_owned(),
        label: if label == "NO NAME" { String::new() } else { label },
        uuid: format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF),
    })
}

/// A file system that is known by fixed bytes at a fixed place.
struct Magic {
    kind: &'static str,
    at: usize,
    magic: &'static [u8],
    /// Where its 16-byte UUID is.
    uuid_at: Option<usize>,
    /// Where its label is, and how long.
    label_at: Option<(usize, usize)>,
}

const fn magic(kind: &'static str, at: usize, magic: &'static [u8]) -> Magic {
    Magic { kind, at, magic, uuid_at: None, label_at: None }
}

const MAGICS: &[Magic] = &[
    magic("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    magic("exfat", 3, b"EXFAT   "),
    magic("ntfs", 3, b"NTFS    "),
    magic("BitLocker", 3, b"-FVE-FS-"),
    Magic {
        uuid_at: Some(0x1_0020),
        label_at: Some((0x1_012B, 256)),
        ..magic("btrfs", 0x1_0040, b"_BHRfS_M")
    },
    Magic { uuid_at: Some(32), label_at: Some((108, 12)), ..magic("xfs", 0, b"XFSB") },
    Magic { uuid_at: Some(1024 + 108), ..magic("f2fs", 1024, &0xF2F5_2010_u32.to_le_bytes()) },
    Magic {
        uuid_at: Some(1024 + 48),
        label_at: Some((1024 + 64, 16)),
        ..magic("erofs", 1024, &0xE0F5_E1E2_u32.to_le_bytes())
    },
    magic("squashfs", 0, b"hsqs"),
    Magic { uuid_at: Some(1036), label_at: Some((1052, 16)), ..magic("swap", 4086, b"SWAPSPACE2") },
    magic("swap", 4086, b"SWAP-SPACE"),
    Magic {
        uuid_at: Some(4096 + 16),
        label_at: Some((4096 + 32, 32)),
        ..magic("linux_raid_member", 4096, &0xA92B_4EFC_u32.to_le_bytes())
    },
    magic("linux_raid_member", 0, &0xA92B_4EFC_u32.to_le_bytes()),
    magic("LVM2_member", 512, b"LABELONE"),
    magic("apfs", 32, b"NXSB"),
    magic("hfsplus", 1024, b"H+"),
    magic("hfsplus", 1024, b"HX"),
    magic("iso9660", 0x8001, b"CD001"),
    magic("udf", 0x8001, b"BEA01"),
    magic(
        "bcachefs",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81],
    ),
];

fn by_magic(head: &[u8]) -> Option<FileSystem> {
    // ZFS has its marks beyond the head and stays unknown, which is as safe.
    let found = MAGICS.iter().find(|known| has(head, known.at, known.magic))?;
    let label = found.label_at.map(|(at, length)| text(head, at, length)).unwrap_or_default();
    let kind = found.kind.to_owned();
    Some(FileSystem { kind, label, uuid: found.uuid_at.map(|at| uuid(head, at)).unwrap_or_default() })
}

/// What a master boot record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mbr {
    /// The disk signature.
    pub signature: u32,
    /// The types of the four primary partitions; 0: the slot is free.
    pub types: [u8; 4],
}

impl Mbr {
    /// Reads the first sector. `None` when it is no partition table: no 55 AA at its end, a slot whose first byte is
    /// neither 0x00 nor 0x80, or four free slots.
    #[must_use]
    pub fn parse(sector: &[u8]) -> Option<Self> {
        if !has(sector, 510, &[0x55, 0xAA]) {
            return None;
        }
        let mut types = [0; 4];
        for (slot, kind) in types.iter_mut().enumerate() {
            let entry: [u8; 16] = array(sector, 446 + slot * 16)?;
            if entry[0] & 0x7F != 0 {
                return None;
            }
            *kind = entry[4];
        }
        let signature = le32(sector, 440)?;
        (types != [0; 4]).then_some(Self { signature, types })
    }

    /// Tells whether it only guards a GPT (type 0xEE).
    #[must_use]
    pub fn is_protective(&self) -> bool {
        self.types.contains(&0xEE)
    }

    /// Gives the PARTUUID of a partition as the kernel makes it.
    #[must_use]
    pub fn part_uuid(&self, number: u32) -> String {
        format!("{:08x}-{number:02x}", self.signature)
    }

    /// Gives the type of a primary partition.
    #[must_use]
    pub fn part_type(&self, number: u32) -> Option<String> {
        let slot = usize::try_from(number.checked_sub(1)?).ok()?;
        self.types.get(slot).map(|kind| format!("0x{kind:02x}"))
    }
}

/// The header of a GUID partition table (UEFI 2.10 section 5.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptHeader {
    /// The disk's GUID, lower case.
    pub guid: String,
    /// The block where its entries start.
    pub entries_block: u64,
    /// Bytes of all its entries, at most [`GPT_ENTRIES_BYTES_MAX`].
    pub entries_bytes: usize,
    entry_bytes: usize,
    entries_crc: u32,
}

/// One entry of a GUID partition table; a free one is `None` in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptEntry {
    /// Its type, lower case.
    pub part_type: String,
    /// Its own GUID, lower case: the PARTUUID.
    pub part_uuid: String,
    /// Its name.
    pub name: String,
}

impl GptHeader {
    /// Reads a header block; `None` when it is none or its checksum is wrong.
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Self> {
        /// Bytes of the header as of revision 1.0; later ones may be longer.
        const HEADER_BYTES_MIN: usize = 92;
        if !has(block, 0, b"EFI PART") {
            return None;
        }
        let header_bytes = usize::try_from(le32(block, 12)?).ok()?;
        if header_bytes < HEADER_BYTES_MIN {
            return None;
        }
        let mut header = block.get(..header_bytes)?.to_vec();
        header.get_mut(16..20)?.fill(0);
        if crc32(&header) != le32(block, 16)? {
            return None;
        }
        let entry_bytes = usize::try_from(le32(block, 84)?).ok()?;
        let entries_bytes = usize::try_from(le32(block, 80)?).ok()?.checked_mul(entry_bytes)?;
        if entry_bytes < 128 || entries_bytes > GPT_ENTRIES_BYTES_MAX {
            return None;
        }
        Some(Self {
            guid: guid(block, 56)?,
            entries_block: le64(block, 72)?,
            entries_bytes,
            entry_bytes,
            entries_crc: le32(block, 88)?,
        })
    }

    /// Reads the entries, partition 1 first; `None` when their checksum is wrong.
    #[must_use]
    pub fn entries(&self, raw: &[u8]) -> Option<Vec<Option<GptEntry>>> {
        let raw = raw.get(..self.entries_bytes)?;
        if crc32(raw) != self.entries_crc {
            return None;
        }
        let entry = |raw: &[u8]| {
            if raw.iter().take(16).all(|byte| *byte == 0) {
                return None;
            }
            let units = raw.get(56..128)?.chunks_exact(2).map(|unit| le16(unit, 0).unwrap_or(0));
            let name = char::decode_utf16(units.take_while(|unit| *unit != 0))
                .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            Some(GptEntry { part_type: guid(raw, 0)?, part_uuid: guid(raw, 16)?, name })
        };
        Some(raw.chunks_exact(self.entry_bytes).map(entry).collect())
    }
}

/// CRC-32 as GPT uses it (ISO 3309, reflected, polynomial 0x04C11DB7). By bits: at most 64 KiB are ever summed.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Tells whether a piece of a disk was never written: all zeros, or all ones as some erased flash reads.
#[must_use]
pub fn is_blank(piece: &[u8]) -> bool {
    match piece.first() {
        Some(first @ (0x00 | 0xFF)) => piece.iter().all(|byte| byte == first),
        Some(_) => false,
        None => true,
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
