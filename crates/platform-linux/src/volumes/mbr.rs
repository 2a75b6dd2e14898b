//! The partition table of the image: an MBR whose fourth partition, the last on the disk, is the place for data. Pure.
//!
//! Structure: UEFI 2.10, section 5.2.1. What the image has where: `docs/design/013-image.md`.

/// Bytes of a sector, and of the only block size that the image can be flashed to.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// The partition for the data.
pub(crate) const DATA_NUMBER: u32 = 4;

/// Its type: Linux.
pub(crate) const DATA_TYPE: u8 = 0x83;

/// Its type while its file system is made: what lies there then is ours, whatever it looks like after a cut.
///
/// 0x7F is set apart for individual use (the "Alt-OS-Development Partition Standard"); no system takes it as its own.
pub(crate) const MAKING_TYPE: u8 = 0x7f;

const SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const DATA_ENTRY: usize = 3;
/// Within an entry: type, first sector, number of sectors.
const TYPE_AT: usize = 4;
const START_AT: usize = 8;
const SECTORS_AT: usize = 12;

/// Why a disk is not prepared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MbrError {
    /// The table is another one.
    #[error("its partition table is not the image's: flash the card again")]
    NotOurs,
    /// The image is larger than the disk.
    #[error("it is too small for the image: use a larger card")]
    TooSmall,
}

/// The data partition as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataPlace {
    pub(crate) start_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// Gives the first sector with a new signature and the data partition up to the end of the disk, marked as being made.
///
/// One sector, so that a cut leaves the old one or the new one.
pub(crate) fn claimed(
    sector: &[u8],
    disk_bytes: u64,
    align_bytes: u64,
    signature: [u8; 4],
) -> Result<(Vec<u8>, DataPlace), MbrError> {
    let ours = platform::disk::content::Mbr::parse(sector).ok_or(MbrError::NotOurs)?;
    let is_place = ours.types.get(DATA_ENTRY).is_some_and(|kind| [DATA_TYPE, MAKING_TYPE].contains(kind));
    if ours.is_protective() || !is_place {
        return Err(MbrError::NotOurs);
    }
    let field = |entry: usize, at: usize| number(sector, entry, at).ok_or(MbrError::NotOurs);
    let (start, sectors) = (field(DATA_ENTRY, START_AT)?, field(DATA_ENTRY, SECTORS_AT)?);
    for entry in 0..DATA_ENTRY {
        if field(entry, START_AT)? + field(entry, SECTORS_AT)? > start {
            return Err(MbrError::NotOurs);
        }
    }
    let end = disk_bytes / align_bytes * align_bytes / SECTOR_BYTES;
    if start + sectors > disk_bytes / SECTOR_BYTES {
        return Err(MbrError::TooSmall);
    }
    // An MBR counts sectors in 32 bits: 2 TiB are the most.
    let sectors = end.saturating_sub(start).max(sectors).min(u64::from(u32::MAX));
    let mut claimed = sector.to_vec();
    // Zero means that there is none.
    let signature = if signature == [0; 4] { [1; 4] } else { signature };
    put(&mut claimed, SIGNATURE_AT, &signature)?;
    let entry = ENTRIES_AT + DATA_ENTRY * ENTRY_BYTES;
    put(&mut claimed, entry + TYPE_AT, &[MAKING_TYPE])?;
    let count = u32::try_from(sectors).map_err(|_| MbrError::NotOurs)?;
    put(&mut claimed, entry + SECTORS_AT, &count.to_le_bytes())?;
    let place = DataPlace { start_bytes: start * SECTOR_BYTES, size_bytes: sectors * SECTOR_BYTES };
    Ok((claimed, place))
}

/// Gives the first sector with the data partition marked as made.
pub(crate) fn finished(claimed: &[u8]) -> Result<Vec<u8>, MbrError> {
    let mut finished = claimed.to_vec();
    put(&mut finished, ENTRIES_AT + DATA_ENTRY * ENTRY_BYTES + TYPE_AT, &[DATA_TYPE])?;
    Ok(finished)
}

fn number(sector: &[u8], entry: usize, at: usize) -> Option<u64> {
    let from = ENTRIES_AT + entry * ENTRY_BYTES + at;
    let bytes: [u8; 4] = sector.get(from..from + 4)?.try_into().ok()?;
    Some(u64::from(u32::from_le_bytes(bytes)))
}

fn put(sector: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), MbrError> {
    sector.get_mut(at..at + bytes.len()).ok_or(MbrError::NotOurs)?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// The image's table (docs/design/013-image.md): FAT of 64 MiB, two slots of 256 MiB, data of 64 MiB.
    fn image() -> Vec<u8> {
        let mut sector = vec![0; 440];
        sector.extend([0xef, 0xbe, 0xad, 0xde, 0, 0]);
        for (kind, start, size) in [(0x0c, 4, 64), (0x0c, 68, 256), (0x0c, 324, 256), (0x83_u8, 580, 64)] {
            sector.extend([0, 0, 0, 0, kind, 0, 0, 0]);
            for mib in [start, size] {
                sector.extend(u32::to_le_bytes(mib * 2048));
            }
        }
        sector.extend([0x55, 0xaa]);
        sector
    }

    fn parse(sector: &[u8]) -> platform::disk::content::Mbr {
        platform::disk::content::Mbr::parse(sector).unwrap()
    }

    #[test]
    fn the_data_partition_grows_to_the_end_and_nothing_else_changes_but_the_signature() {
        let (claimed, place) = claimed(&image(), 1000 * MIB + 512, 4 * MIB, [1, 2, 3, 4]).unwrap();
        assert_eq!(place, DataPlace { start_bytes: 580 * MIB, size_bytes: 420 * MIB });
        assert_eq!(parse(&claimed).part_uuid(4), "04030201-04");
        assert_eq!(parse(&claimed).part_type(4).as_deref(), Some("0x7f"), "being made");
        let finished = finished(&claimed).unwrap();
        assert_eq!(parse(&finished).part_type(4).as_deref(), Some("0x83"));
        let differs: Vec<usize> = (0..512).filter(|at| finished[*at] != image()[*at]).collect();
        assert!(differs.iter().all(|at| (440..444).contains(at) || (506..510).contains(at)), "{differs:?}");
        // After a cut in between it begins again, with another signature and the same size.
        let (again, same) = super::claimed(&claimed, 1000 * MIB + 512, 4 * MIB, [0; 4]).unwrap();
        assert_eq!((same, parse(&again).signature), (place, 0x0101_0101));
    }

    #[test]
    fn other_tables_and_disks_that_are_too_small_are_refused() {
        let claim = |sector: &[u8], mib: u64| claimed(sector, mib * MIB, 4 * MIB, [1; 4]).unwrap_err();
        assert_eq!(claim(&image(), 640), MbrError::TooSmall);
        assert_eq!(claim(&[0; 512], 1000), MbrError::NotOurs);
        let mut other = image();
        other[446 + 3 * 16 + 4] = 0x05;
        assert_eq!(claim(&other, 1000), MbrError::NotOurs, "an extended partition");
        let mut other = image();
        other[446 + 3 * 16 + 8..][..4].copy_from_slice(&(100_u32 * 2048).to_le_bytes());
        assert_eq!(claim(&other, 1000), MbrError::NotOurs, "the last one is not the last on the disk");
        let mut other = image();
        other[446 + 4] = 0xee;
        assert_eq!(claim(&other, 1000), MbrError::NotOurs, "a GPT");
    }

    #[test]
    fn more_than_an_mbr_can_count_is_left_out() {
        let (_, place) = claimed(&image(), 4 << 40, 4 * MIB, [1; 4]).unwrap();
        assert_eq!(place.size_bytes, u64::from(u32::MAX) * 512);
    }
}
