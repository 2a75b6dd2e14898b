//! Reads a CAR file from bytes as they arrive.

use super::{BLOCK_BYTES_MAX, CarError, CarFault, HEADER_BYTES_MAX, ROOTS_MAX, VERSION};
use crate::cbor;
use crate::cid::{CID_BYTES, Cid, CidError};
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the longest length that is read: 28 bits are far above `BLOCK_BYTES_MAX`.
const LENGTH_BYTES_MAX: usize = 4;

/// Takes a CAR file in pieces of any size and gives out its blocks, each checked against its CID.
///
/// Push a piece, then call `next_block` until it gives `None`: then at most one unfinished block is held, besides the
/// piece itself. After an error the file is lost; every later call fails the same way or gives `None`.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Offset of the start of `buffer` in the file.
    at: u64,
    roots: Option<Vec<Cid>>,
}

impl Decoder {
    /// Starts at the beginning of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the file.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Returns the roots, once the header has been read by `next_block`.
    #[must_use]
    pub fn roots(&self) -> Option<&[Cid]> {
        self.roots.as_deref()
    }

    /// Returns the next block, or `None` until more bytes are pushed.
    pub fn next_block(&mut self) -> Result<Option<(Cid, Bytes)>, CarError> {
        if !self.read_header()? {
            return Ok(None);
        }
        let longest = CID_BYTES + BLOCK_BYTES_MAX;
        let Some((prefix, length)) = self.section(longest)? else { return Ok(None) };
        let section = self.buffer.get(prefix..prefix + length).unwrap_or_default();
        let (cid, block) = section
            .split_at_checked(CID_BYTES)
            .ok_or_else(|| self.malformed(CarFault::Cid(CidError::Length(section.len()))))?;
        let cid = Cid::from_bytes(cid).map_err(|source| self.malformed(CarFault::Cid(source)))?;
        if !cid.names(block) {
            return Err(self.malformed(CarFault::Hash(cid)));
        }
        // A copy, because a slice of the buffer would keep all of it alive for as long as one small block is kept.
        let block = Bytes::copy_from_slice(block);
        self.advance(prefix + length);
        Ok(Some((cid, block)))
    }

    /// Makes sure that the file has ended where it may: after the header or a whole block.
    pub fn finish(&self) -> Result<(), CarError> {
        if self.roots.is_some() && self.buffer.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(CarFault::Truncated))
        }
    }

    fn read_header(&mut self) -> Result<bool, CarError> {
        if self.roots.is_some() {
            return Ok(true);
        }
        let Some((prefix, length)) = self.section(HEADER_BYTES_MAX)? else { return Ok(false) };
        let header = self.buffer.get(prefix..prefix + length).unwrap_or_default();
        let roots = parse_header(header).map_err(|why| self.malformed(why))?;
        self.roots = Some(roots);
        self.advance(prefix + length);
        Ok(true)
    }

    /// Returns the size of the next length and what it says, when all of that has arrived.
    fn section(&self, longest: usize) -> Result<Option<(usize, usize)>, CarError> {
        let mut length = 0usize;
        for (at, byte) in self.buffer.iter().take(LENGTH_BYTES_MAX).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 != 0 {
                continue;
            }
            if *byte == 0 && at > 0 {
                return Err(self.malformed(CarFault::Length));
            }
            if length > longest {
                return Err(self.malformed(CarFault::TooLong));
            }
            let prefix = at + 1;
            return Ok((self.buffer.len() - prefix >= length).then_some((prefix, length)));
        }
        if self.buffer.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(self.malformed(CarFault::TooLong)) }
    }

    fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes.min(self.buffer.len()));
        self.at = self.at.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn malformed(&self, why: CarFault) -> CarError {
        CarError::Malformed { at: self.at, why }
    }
}

fn parse_header(bytes: &[u8]) -> Result<Vec<Cid>, CarFault> {
    let mut decoder = cbor::Decoder::new(bytes);
    let expected =
        |at, what| CarFault::Header(cbor::DecodeError { at, why: cbor::Malformed::Expected(what) });
    if decoder.map().map_err(CarFault::Header)? != 2 {
        return Err(expected(0, "a header of two fields"));
    }
    decoder.key("roots").map_err(CarFault::Header)?;
    let count = decoder.list().map_err(CarFault::Header)?;
    if count > ROOTS_MAX {
        return Err(CarFault::TooManyRoots);
    }
    let roots = (0..count).map(|_| decoder.link()).collect::<Result<_, _>>().map_err(CarFault::Header)?;
    decoder.key("version").map_err(CarFault::Header)?;
    if decoder.uint().map_err(CarFault::Header)? != VERSION {
        return Err(CarFault::Version);
    }
    decoder.finish().map_err(CarFault::Header)?;
    Ok(roots)
}
