//! A GUID partition table with one partition of ours (UEFI 2.10, section 5.3). Pure: numbers in, bytes out.

use platform::disk::content::crc32;

/// Type of a partition that holds Perch's data, as `blkid` writes it: chosen at random, used by nobody else.
pub(crate) const DATA_TYPE: &str = "6e0d9c1f-52b7-4c0e-9a43-70657263680a";

/// Partitions start and end at multiples of this, bytes: the largest erase block of usual flash.
pub(crate) const ALIGN_BYTES: u64 = 4 * 1024 * 1024;

const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
const HEADER_BYTES: u32 = 92;

/// What is written where, from the disk's start.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Offset in bytes, and the bytes.
    pub(crate) pieces: Vec<(u64, Vec<u8>)>,
    /// Where the partition begins, bytes.
    pub(crate) start_bytes: u64,
    /// How large it is, bytes.
    pub(crate) size_bytes: u64,
}

/// Lays out a disk; `None` when it is too small or an id is no GUID.
pub(crate) fn one_partition(
    disk_bytes: u64,
    block_bytes: u64,
    disk_guid: &str,
    part_guid: &str,
) -> Option<Layout> {
    let blocks = disk_bytes.checked_div(block_bytes)?;
    let table_bytes = u64::from(ENTRIES * ENTRY_BYTES);
    let table_blocks = table_bytes.div_ceil(block_bytes);
    let last_usable = blocks.checked_sub(2 + table_blocks)?;
    let align_blocks = ALIGN_BYTES.checked_div(block_bytes)?;
    let first = align_blocks;
    let last = ((last_usable + 1) / align_blocks * align_blocks).checked_sub(1)?;
    if last <= first {
        return None;
    }
    let mut table = vec![0_u8; usize::try_from(table_blocks * block_bytes).ok()?];
    let mut entry = Vec::new();
    entry.extend(guid(DATA_TYPE)?);
    entry.extend(guid(part_guid)?);
    entry.extend(first.to_le_bytes());
    entry.extend(last.to_le_bytes());
    entry.extend(0_u64.to_le_bytes());
    entry.extend("perch-data".encode_utf16().flat_map(u16::to_le_bytes));
    table.get_mut(..entry.len())?.copy_from_slice(&entry);
    let table_crc = crc32(table.get(..usize::try_from(table_bytes).ok()?)?);
    let header = |own: u64, other: u64, table_at: u64| -> Option<Vec<u8>> {
        let mut header = Vec::new();
        header.extend(b"EFI PART");
        header.extend(0x0001_0000_u32.to_le_bytes());
        header.extend(HEADER_BYTES.to_le_bytes());
        header.extend([0; 8]);
        header.extend(own.to_le_bytes());
        header.extend(other.to_le_bytes());
        header.extend((2 + table_blocks).to_le_bytes());
        header.extend(last_usable.to_le_bytes());
        header.extend(guid(disk_guid)?);
        header.extend(table_at.to_le_bytes());
        header.extend(ENTRIES.to_le_bytes());
        header.extend(ENTRY_BYTES.to_le_bytes());
        header.extend(table_crc.to_le_bytes());
        let crc = crc32(&header);
        header.get_mut(16..20)?.copy_from_slice(&crc.to_le_bytes());
        header.resize(usize::try_from(block_bytes).ok()?, 0);
        Some(header)
    };
    let end = blocks.checked_sub(1)?;
    let end_table = end.checked_sub(table_blocks)?;
    // The protective MBR goes last: before it the disk has no table that anybody follows.
    Some(Layout {
        pieces: vec![
            (end_table * block_bytes, table.clone()),
            (end * block_bytes, header(end, 1, end_table)?),
            (2 * block_bytes, table),
            (block_bytes, header(1, end, 2)?),
            (0, protective(blocks)),
        ],
        start_bytes: first * block_bytes,
        size_bytes: (last + 1 - first) * block_bytes,
    })
}

/// The MBR that tells old programs that the disk is taken (UEFI 2.10, section 5.2.3).
fn protective(blocks: u64) -> Vec<u8> {
    let mut sector = vec![0_u8; 446];
    sector.extend([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    sector.extend(1_u32.to_le_bytes());
    sector.extend(u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX).to_le_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// A GUID as it lies in a table: the first three groups with their lowest byte first.
fn guid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|letter| *letter != '-').collect();
    let mut bytes = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32)?.to_be_bytes();
    bytes.get_mut(0..4)?.reverse();
    bytes.get_mut(4..6)?.reverse();
    bytes.get_mut(6..8)?.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use platform::disk::content::GptHeader;

    use super::*;

    #[test]
    fn what_is_laid_out_is_read_back_with_its_type_and_id_at_both_block_sizes() {
        let own = "0123abcd-4567-489a-8bcd-0123456789ab";
        for block in [512_u64, 4096] {
            let layout = one_partition(64 << 20, block, "11111111-2222-4333-8444-555555555555", own).unwrap();
            let at = |offset: u64| &layout.pieces.iter().find(|(at, _)| *at == offset).unwrap().1;
            let header = GptHeader::parse(at(block)).unwrap();
            let entries = header.entries(at(2 * block)).unwrap();
            let entry = entries.first().unwrap().as_ref().unwrap();
            assert!(format!("{entry:?}").contains(own), "{entry:?}");
            assert!(GptHeader::parse(at((64 << 20) - block)).is_some(), "the second header");
        }
        assert!(one_partition(4 << 20, 512, own, own).is_none(), "no room");
    }
}
