//! CAR files, version 1: a header with root CIDs, then blocks, each behind its length and its CID.
//!
//! Written by appending to a buffer, so that an export never holds more than one block; read either from a blocking
//! reader or by pushing bytes as a body arrives. Reading bounds every length before it makes room, and checks every
//! block against its CID. Source: IPLD "CAR v1" specification; atproto specification "Repository", "CAR File Serialization".

mod decoder;
mod reader;

pub use decoder::Decoder;
pub use reader::Reader;

use crate::cbor::{self, DecodeError};
use crate::cid::{CID_BYTES, Cid, CidError};
use std::collections::HashSet;

/// Largest block that is read, in bytes.
///
/// Records have at most 1,000,000 bytes and all blocks of one commit event 2,000,000; a longer block is no part of
/// any repository that could have been announced.
pub const BLOCK_BYTES_MAX: usize = 2_000_000;
/// Largest header, in bytes: the roots and a version are under 100 for a repository.
pub const HEADER_BYTES_MAX: usize = 1024;
/// Root CIDs in a header. A repository has one, a slice without a commit none.
pub const ROOTS_MAX: usize = 16;
const VERSION: u64 = 1;

/// Why bytes are not a CAR file of repository blocks.
#[derive(Debug, thiserror::Error)]
pub enum CarError {
    /// The reader failed; the file itself may be sound.
    #[error("cannot read the CAR file")]
    Read(#[source] std::io::Error),
    /// The file is malformed at a byte offset from its start.
    #[error("byte {at} of the CAR file")]
    Malformed {
        at: u64,
        #[source]
        why: CarFault,
    },
}

/// What is wrong with a CAR file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarFault {
    #[error("the file ends inside its header or a block")]
    Truncated,
    #[error("a length is not written in its shortest form")]
    Length,
    #[error("a block or header is longer than is read ({BLOCK_BYTES_MAX} and {HEADER_BYTES_MAX} bytes)")]
    TooLong,
    #[error("the header is not one of CAR version 1")]
    Header(#[source] DecodeError),
    #[error("the header names another version")]
    Version,
    #[error("the header has more than {ROOTS_MAX} roots")]
    TooManyRoots,
    #[error("a block is shorter than its CID or has none of this protocol")]
    Cid(#[source] CidError),
    #[error("the block {0} has another hash")]
    Hash(Cid),
}

/// Appends the header. A repository has one root, its commit; a slice of blocks has none.
pub fn write_header(out: &mut Vec<u8>, roots: &[Cid]) {
    let mut header = Vec::with_capacity(64);
    cbor::write_map(&mut header, 2);
    cbor::write_text(&mut header, "roots");
    cbor::write_list(&mut header, roots.len());
    for root in roots {
        cbor::write_link(&mut header, root);
    }
    cbor::write_text(&mut header, "version");
    cbor::write_uint(&mut header, VERSION);
    write_length(out, header.len());
    out.extend_from_slice(&header);
}

/// Appends a block.
pub fn write_block(out: &mut Vec<u8>, cid: &Cid, block: &[u8]) {
    write_length(out, CID_BYTES + block.len());
    out.extend_from_slice(cid.as_bytes());
    out.extend_from_slice(block);
}

/// Returns how many bytes `write_block` appends for a block of `length` bytes.
#[must_use]
pub fn block_bytes(length: usize) -> usize {
    let bits = usize::BITS - (CID_BYTES + length).leading_zeros();
    // Seven bits to a byte; a u32 of at most 64 fits everywhere.
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX) + CID_BYTES + length
}

/// Writes a whole file, each block once, in the order given.
pub fn to_vec<'b>(roots: &[Cid], blocks: impl IntoIterator<Item = (Cid, &'b [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut written = HashSet::new();
    write_header(&mut out, roots);
    for (cid, block) in blocks {
        if written.insert(cid) {
            write_block(&mut out, &cid, block);
        }
    }
    out
}

/// Appends an unsigned LEB128 number.
fn write_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(low & 0x7f);
            break;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests;
