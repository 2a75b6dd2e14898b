//! The Merkle search tree of a repository: keys `collection/rkey`, values record CIDs, one root CID.
//!
//! `Tree` changes a tree and loads only the nodes that a change touches; `Walk` and `diff` stream over stored trees;
//! `Builder` makes a tree from sorted keys in one pass. All of them read nodes through `NodeSource`, and check every
//! node that they read: hash, canonical bytes, layer of each key, order of keys. So a cyclic, damaged or crafted set
//! of blocks gives an error, and recursion is bounded by the 128 layers that a SHA-256 can have.
//!
//! Shape (atproto specification "Repository", section "MST Structure"): the layer of a key is the number of leading
//! zero bits of its SHA-256, divided by two. A node holds the keys of one layer between two keys of higher layers; its
//! children are exactly one layer lower, if need be as nodes without keys; the root has keys, except in the empty tree.

mod build;
mod cursor;
mod diff;
mod node;
mod proof;
mod tree;
mod walk;

pub use build::{BuildError, Builder, build_sorted};
pub use diff::{Diff, RecordOp, diff};
pub use node::NodeError;
pub use tree::{Committed, Tree};
pub use walk::{Step, Walk};

use crate::cid::Cid;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hash::BuildHasher;

/// Longest key, in bytes: an NSID has at most 317, a record key 512, and the reference refuses beyond 1,024.
pub const KEY_BYTES_MAX: usize = 1024;
/// Keys in one node.
///
/// Three of four keys fall into the lowest layer, so a node of honest keys has about four and 512 have a chance of
/// 10^-64. A client that picks keys of one layer could otherwise grow a node that every later commit must rewrite.
pub const NODE_ENTRIES_MAX: usize = 512;
/// Encoded node, in bytes: `NODE_ENTRIES_MAX` entries with keys of `KEY_BYTES_MAX` and two links each fit.
pub const NODE_BYTES_MAX: usize = 600_000;

/// Where encoded nodes come from: a table, a CAR file in memory, a cache.
///
/// The bytes need not be trusted; whoever reads a node checks it against its CID.
pub trait NodeSource {
    /// Why the place cannot be read at all, as opposed to not having the node.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the encoded node that `cid` names, or `None` when it is not there.
    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Self::Error>;
}

impl<S: NodeSource + ?Sized> NodeSource for &S {
    type Error = S::Error;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Self::Error> {
        (**self).node(cid)
    }
}

impl<H: BuildHasher> NodeSource for HashMap<Cid, Bytes, H> {
    type Error = Infallible;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Infallible> {
        Ok(self.get(cid).cloned())
    }
}

impl NodeSource for BTreeMap<Cid, Bytes> {
    type Error = Infallible;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Infallible> {
        Ok(self.get(cid).cloned())
    }
}

/// Why a tree could not be read or changed; the tree is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum MstError<E: std::error::Error + 'static> {
    #[error("cannot read MST node {cid}")]
    Source {
        cid: Cid,
        #[source]
        source: E,
    },
    #[error("MST node {0} is missing")]
    Missing(Cid),
    #[error("MST node {cid} is not acceptable")]
    Node {
        cid: Cid,
        #[source]
        source: NodeError,
    },
    #[error("not a repository path")]
    Key(#[from] KeyError),
    #[error("a node of the tree would exceed {NODE_ENTRIES_MAX} keys")]
    NodeFull,
    #[error("the tree has changes that are not committed")]
    Uncommitted,
}

/// Why text is not a key of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a repository path has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    #[error("a repository path is `collection/rkey`, of letters, digits and . - _ : ~")]
    Shape,
}

/// Checks that `key` is `collection/rkey`: two non-empty parts of the characters that both allow.
///
/// The parts' own syntax is checked where records are written; a tree only guards its own shape.
pub fn validate_key(key: &str) -> Result<(), KeyError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'~');
    match key.split_once('/') {
        Some((collection, rkey))
            if !collection.is_empty()
                && !rkey.is_empty()
                && collection.bytes().all(allowed)
                && rkey.bytes().all(allowed) =>
        {
            Ok(())
        }
        _ => Err(KeyError::Shape),
    }
}

/// Returns the layer of a key: leading zero bits of its SHA-256, two to a layer (0 to 128).
#[must_use]
pub fn layer_of(key: &str) -> u8 {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut zeros = 0u8;
    for byte in digest {
        let here = u8::try_from(byte.leading_zeros()).unwrap_or(8);
        // A digest of zeros alone has 256 bits: count half bits to stay in a byte.
        zeros = zeros.saturating_add(here / 2);
        if byte != 0 {
            break;
        }
    }
    zeros
}

#[cfg(test)]
mod tests;
