//! Reads a CAR file from a blocking reader.

use super::{CarError, Decoder};
use crate::cid::Cid;
use bytes::Bytes;
use std::io::{ErrorKind, Read};

/// Bytes asked from the reader at once; a page cache read costs about the same from here on up.
const PIECE_BYTES: usize = 64 * 1024;

/// Iterates over the blocks of a CAR file, each checked against its CID; ends after the first error.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    decoder: Decoder,
    piece: Vec<u8>,
    ended: bool,
    failed: bool,
    first: Option<(Cid, Bytes)>,
}

impl<R: Read> Reader<R> {
    /// Reads the header, and the first block if there is one.
    pub fn new(source: R) -> Result<Self, CarError> {
        let piece = vec![0; PIECE_BYTES];
        let mut reader =
            Self { source, decoder: Decoder::new(), piece, ended: false, failed: false, first: None };
        reader.first = reader.read_block()?;
        Ok(reader)
    }

    /// Returns the roots that the header names.
    #[must_use]
    pub fn roots(&self) -> &[Cid] {
        self.decoder.roots().unwrap_or_default()
    }

    fn read_block(&mut self) -> Result<Option<(Cid, Bytes)>, CarError> {
        loop {
            if let Some(block) = self.decoder.next_block()? {
                return Ok(Some(block));
            }
            if self.ended {
                self.decoder.finish()?;
                return Ok(None);
            }
            match self.source.read(&mut self.piece) {
                Ok(0) => self.ended = true,
                Ok(length) => self.decoder.push(self.piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(CarError::Read(error)),
            }
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<(Cid, Bytes), CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(block) = self.first.take() {
            return Some(Ok(block));
        }
        if self.failed {
            return None;
        }
        let block = self.read_block();
        self.failed = block.is_err();
        block.transpose()
    }
}
