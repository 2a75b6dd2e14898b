//! The disk that the box was started from, as the image is flashed to it: what is its place for data, and the steps that
//! make it this box's own.
//!
//! Each step leaves something that is known after a cut: the old table; the new one, whose place is marked as being made;
//! the file system and that mark; the file system alone.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use platform::disk::{AttachedDisk, Content, Partition, Table};

use super::{block, gpt, mbr};

/// How far the place for data is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its file system is being made: nothing in it counts.
    BeingMade,
    /// It holds what it holds.
    Made,
}

/// Tells whether a partition is the image's place for data. Only on the disk that was started from, and only in an MBR:
/// the fourth partition of somebody's GPT may be anything.
pub(super) fn place_of_image(disk: &AttachedDisk, partition: &Partition) -> Option<Place> {
    let is_mbr = matches!(disk.content, Content::Table { table: Table::Mbr { .. } });
    if !disk.boots || !is_mbr || partition.number != mbr::DATA_NUMBER {
        return None;
    }
    let is_type = |kind: u8| partition.part_type.as_deref() == Some(format!("0x{kind:02x}").as_str());
    if is_type(mbr::MAKING_TYPE) {
        Some(Place::BeingMade)
    } else {
        is_type(mbr::DATA_TYPE).then_some(Place::Made)
    }
}

/// What is written to the table, and when.
#[derive(Debug)]
pub(super) struct Steps {
    node: PathBuf,
    claimed: Vec<u8>,
    finished: Vec<u8>,
    place: mbr::DataPlace,
}

impl Steps {
    /// Reads the table and plans. Writes nothing.
    pub(super) fn plan(disk: &AttachedDisk, random: [u8; 16]) -> io::Result<Self> {
        if !matches!(disk.content, Content::Table { table: Table::Mbr { .. } }) {
            return Err(io::Error::other("it has a GPT, and the image has none: flash the card again"));
        }
        if u64::from(disk.logical_block_bytes) != mbr::SECTOR_BYTES {
            return Err(io::Error::other("its sectors have not 512 bytes, as the image needs them"));
        }
        let mut sector = vec![0; 512];
        OpenOptions::new().read(true).open(&disk.node)?.read_exact_at(&mut sector, 0)?;
        let [a, b, c, d, ..] = random;
        let planned = mbr::claimed(&sector, disk.id.size_bytes, gpt::ALIGN_BYTES, [a, b, c, d]);
        let (claimed, place) = planned.map_err(io::Error::other)?;
        let finished = mbr::finished(&claimed).map_err(io::Error::other)?;
        Ok(Self { node: disk.node.clone(), claimed, finished, place })
    }

    /// New signature, new size, marked as being made: one sector.
    pub(super) fn claim(&self) -> io::Result<()> {
        block::write_pieces(&self.node, &[(0, self.claimed.clone())])
    }

    /// Tells the kernel the size, which may have known it from before a cut.
    pub(super) fn tell_kernel(&self, known_bytes: u64) -> io::Result<()> {
        if known_bytes == self.place.size_bytes {
            return Ok(());
        }
        block::resize(&self.node, mbr::DATA_NUMBER, self.place.start_bytes, self.place.size_bytes)
    }

    /// The file system is there.
    pub(super) fn finish(&self) -> io::Result<()> {
        block::write_pieces(&self.node, &[(0, self.finished.clone())])
    }
}
