//! Reads the few pieces of a disk that tell what is on it.
//!
//! Only reads. What the bytes mean is said by `platform::disk::content`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use platform::disk::content::{self, GptEntry, GptHeader, HEAD_BYTES, Mbr};
use platform::disk::{Content, Table};

/// What is read at both ends before a disk counts as blank, bytes: partition tables, and every file system's first
/// superblock, lie in it.
const END_BYTES: u64 = 1024 * 1024;
/// Samples between the ends, and their size in bytes: a wiped table alone must not make a full disk look blank.
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 4096;

/// A part of a device or image file.
#[derive(Debug)]
pub(super) struct Area<'file> {
    pub(super) file: &'file File,
    pub(super) start_bytes: u64,
    pub(super) size_bytes: u64,
}

impl Area<'_> {
    /// Reads up to `length` bytes at `at`, cut at the end of the area.
    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.size_bytes.saturating_sub(at));
        let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut piece, self.start_bytes.saturating_add(at))?;
        Ok(piece)
    }

    fn head(&self) -> io::Result<Vec<u8>> {
        self.read(0, HEAD_BYTES as u64)
    }

    fn is_blank(&self) -> io::Result<bool> {
        let ends = [(0, END_BYTES), (self.size_bytes.saturating_sub(END_BYTES), END_BYTES)];
        let step = (self.size_bytes / (SAMPLES + 1)).next_multiple_of(SAMPLE_BYTES);
        let samples = (1..=SAMPLES).map(|number| (number.saturating_mul(step), SAMPLE_BYTES));
        for (at, length) in ends.into_iter().chain(samples) {
            if !content::is_blank(&self.read(at, length)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A table with what is needed to name its partitions.
#[derive(Debug)]
pub(super) enum Found {
    Gpt { guid: String, entries: Vec<Option<GptEntry>> },
    Mbr(Mbr),
}

impl Found {
    pub(super) fn table(&self) -> Table {
        match self {
            Self::Gpt { guid, .. } => Table::Gpt { guid: guid.clone() },
            Self::Mbr(mbr) => Table::Mbr { signature: mbr.signature },
        }
    }

    /// Gives PARTUUID, type and name of a partition.
    pub(super) fn names(&self, number: u32) -> (Option<String>, Option<String>, String) {
        match self {
            Self::Mbr(mbr) => (Some(mbr.part_uuid(number)), mbr.part_type(number), String::new()),
            Self::Gpt { entries, .. } => {
                let at = number.checked_sub(1).and_then(|at| usize::try_from(at).ok());
                match at.and_then(|at| entries.get(at)?.clone()) {
                    Some(entry) => (Some(entry.part_uuid), Some(entry.part_type), entry.name),
                    None => (None, None, String::new()),
                }
            }
        }
    }
}

/// Looks for a partition table as the kernel does: GPT, its backup copy at the end, then MBR.
pub(super) fn table(disk: &Area<'_>, block_bytes: u64) -> io::Result<Option<Found>> {
    let sector = disk.read(0, 512)?;
    let mbr = Mbr::parse(&sector);
    for block in [1, (disk.size_bytes / block_bytes.max(1)).saturating_sub(1)] {
        let Some(header) = GptHeader::parse(&disk.read(block.saturating_mul(block_bytes), block_bytes)?)
        else {
            continue;
        };
        let length = u64::try_from(header.entries_bytes).unwrap_or(0);
        let raw = disk.read(header.entries_block.saturating_mul(block_bytes), length)?;
        if let Some(entries) = header.entries(&raw) {
            return Ok(Some(Found::Gpt { guid: header.guid.clone(), entries }));
        }
    }
    Ok(mbr.map(Found::Mbr))
}

/// Says what a disk without a partition table, or a partition, starts with.
pub(super) fn content(area: &Area<'_>) -> Content {
    let look = || -> io::Result<Content> {
        if let Some(file_system) = content::file_system(&area.head()?) {
            return Ok(Content::FileSystem { file_system });
        }
        Ok(if area.is_blank()? { Content::Blank } else { Content::Unknown })
    };
    look().unwrap_or(Content::Unreadable)
}
