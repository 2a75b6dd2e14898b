//! A partition of an image file as a file of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use crate::layout::PartitionPlace;

/// Bytes that are read at once: FAT is asked entry by entry, four bytes each.
const BLOCK_BYTES: usize = 4096;

/// The bytes of one partition; nothing outside can be read or written through it.
#[derive(Debug)]
pub struct Part<'a> {
    image: &'a File,
    place: PartitionPlace,
    at: u64,
    /// What was read last, and where it begins.
    block: Vec<u8>,
    block_at: u64,
}

impl<'a> Part<'a> {
    /// Opens a partition of an image.
    #[must_use]
    pub fn new(image: &'a File, place: PartitionPlace) -> Self {
        Self { image, place, at: 0, block: Vec::new(), block_at: 0 }
    }

    /// How many of `wanted` bytes are left in the partition.
    fn left(&self, wanted: usize) -> usize {
        let left = self.place.size_bytes.saturating_sub(self.at);
        usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
    }

    /// What the block holds from here on.
    fn in_block(&mut self) -> &mut [u8] {
        let skip = self.at.checked_sub(self.block_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.block.get_mut(skip..)).unwrap_or_default()
    }

    fn fill_block(&mut self) -> io::Result<()> {
        self.block_at = self.at;
        self.block.resize(self.left(BLOCK_BYTES), 0);
        let read = self.image.read_at(&mut self.block, self.place.start_bytes + self.at)?;
        self.block.truncate(read);
        Ok(())
    }

    fn went(&mut self, bytes: usize) -> usize {
        self.at = self.at.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        bytes
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.in_block().is_empty() {
            self.fill_block()?;
        }
        let mut from = &*self.in_block();
        let read = from.read(buffer)?;
        Ok(self.went(read))
    }
}

impl Write for Part<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let buffer = buffer.get(..self.left(buffer.len())).unwrap_or_default();
        let written = self.image.write_at(buffer, self.place.start_bytes + self.at)?;
        if self.at < self.block_at {
            self.block.clear();
        } else {
            for (known, new) in self.in_block().iter_mut().zip(buffer.iter().take(written)) {
                *known = *new;
            }
        }
        Ok(self.went(written))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.image.flush()
    }
}

impl Seek for Part<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.place.size_bytes.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_is_not_old_after_a_write() {
        let image = tempfile::tempfile().unwrap();
        image.set_len(1 << 20).unwrap();
        let place = PartitionPlace { number: 1, kind: 0, start_bytes: 512, size_bytes: 10_000 };
        let mut part = Part::new(&image, place);
        let mut buffer = [9; 8];
        part.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, [0; 8]);
        for at in [4, 4090, 0] {
            part.seek(SeekFrom::Start(at)).unwrap();
            part.write_all(&[7; 12]).unwrap();
            part.seek(SeekFrom::Start(at)).unwrap();
            part.read_exact(&mut buffer).unwrap();
            assert_eq!(buffer, [7; 8], "at {at}");
        }
        let mut whole = Vec::new();
        part.seek(SeekFrom::Start(0)).unwrap();
        part.read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len(), 10_000, "it ends where the partition ends");
        let mut expected = vec![0; 10_000];
        expected[..16].fill(7);
        expected[4090..4102].fill(7);
        assert!(whole == expected);
        part.seek(SeekFrom::End(-4)).unwrap();
        assert!(part.write_all(&[1; 5]).is_err(), "nothing is written behind it");
    }
}
