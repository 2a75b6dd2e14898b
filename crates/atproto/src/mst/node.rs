//! One node: in memory, and its only valid encoding.
//!
//! Encoded as `{e: [{k: key suffix, p: bytes shared with the key before, t: child after, v: value}], l: first child}`.

use super::{KEY_BYTES_MAX, KeyError, NODE_BYTES_MAX, NODE_ENTRIES_MAX, layer_of, validate_key};
use crate::cbor::{self, DecodeError, Decoder};
use crate::cid::Cid;
use bytes::Bytes;
use std::sync::Arc;

/// Why the bytes of a node are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("its bytes have another hash")]
    Hash,
    #[error("it has more than {NODE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it has more than {NODE_ENTRIES_MAX} keys")]
    TooManyEntries,
    #[error("it is not the encoding of a node")]
    Cbor(#[from] DecodeError),
    #[error("a key is not a repository path")]
    Key(#[from] KeyError),
    #[error("a key shares more or fewer bytes with the key before it than it says")]
    Prefix,
    #[error("its keys are not in order or not where the parent puts them")]
    Order,
    #[error("a key does not belong on layer {0}")]
    Layer(u8),
    #[error("a node on the lowest layer has a child")]
    ChildBelowLowest,
    #[error("a child link names raw bytes")]
    RawChild,
    #[error("it has neither keys nor children, or is a root without keys")]
    Hollow,
}

/// A child: absent, known by name, or in memory.
#[derive(Debug, Clone, Default)]
pub(super) enum Link {
    #[default]
    None,
    Stored(Cid),
    Loaded(Arc<Node>),
}

impl Link {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the CID, unless the child has changed since it was last encoded.
    pub(super) fn cid(&self) -> Option<Cid> {
        match self {
            Self::None => None,
            Self::Stored(cid) => Some(*cid),
            Self::Loaded(node) => node.cid,
        }
    }
}

impl From<Option<Cid>> for Link {
    fn from(cid: Option<Cid>) -> Self {
        cid.map_or(Self::None, Self::Stored)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) value: Cid,
    pub(super) right: Link,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The name of the encoding; `None` while the node or one below it has changes.
    pub(super) cid: Option<Cid>,
    pub(super) layer: u8,
    pub(super) left: Link,
    pub(super) entries: Vec<Entry>,
}

/// The keys between which a node must lie, both exclusive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range<'k> {
    pub(super) after: Option<&'k str>,
    pub(super) before: Option<&'k str>,
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left.is_none()
    }

    /// Finds `key`: its position, or the gap in which it lies.
    pub(super) fn search(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.key.as_bytes().cmp(key.as_bytes()))
    }

    /// Returns the child before entry `at` (after the last one when `at` is their number) and its range.
    pub(super) fn gap<'n>(&'n mut self, at: usize, outer: Range<'n>) -> (&'n mut Link, Range<'n>) {
        let at = at.min(self.entries.len());
        let (before, after) = self.entries.split_at_mut(at);
        let upper = after.first().map(|entry| &*entry.key).or(outer.before);
        match before.last_mut() {
            None => (&mut self.left, Range { after: outer.after, before: upper }),
            Some(Entry { key, right, .. }) => (right, Range { after: Some(key), before: upper }),
        }
    }

    /// Puts a child before entry `at`.
    pub(super) fn set_gap(&mut self, at: usize, child: Link) {
        *self.gap(at, Range::default()).0 = child;
    }

    /// Checks that all keys lie in `range`; they are known to be in order among themselves.
    pub(super) fn check_range(&self, range: Range<'_>) -> Result<(), NodeError> {
        let low = self.entries.first().zip(range.after).is_none_or(|(first, after)| *first.key > *after);
        let high = self.entries.last().zip(range.before).is_none_or(|(last, before)| *last.key < *before);
        if low && high { Ok(()) } else { Err(NodeError::Order) }
    }

    /// Appends the encoding. All children must have a CID.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        cbor::write_map(out, 2);
        cbor::write_text(out, "e");
        cbor::write_list(out, self.entries.len());
        let mut previous: &str = "";
        for entry in &self.entries {
            let shared = shared_prefix(previous, &entry.key);
            cbor::write_map(out, 4);
            cbor::write_text(out, "k");
            cbor::write_bytes(out, entry.key.as_bytes().get(shared..).unwrap_or_default());
            cbor::write_text(out, "p");
            cbor::write_uint(out, u64::try_from(shared).unwrap_or(u64::MAX));
            cbor::write_text(out, "t");
            write_link_or_null(out, entry.right.cid());
            cbor::write_text(out, "v");
            cbor::write_link(out, &entry.value);
            previous = &entry.key;
        }
        cbor::write_text(out, "l");
        write_link_or_null(out, self.left.cid());
    }

    /// Decodes a node that lies on `layer`, or a root when that is `None`.
    ///
    /// Accepts only what `encode` would have written for a node in its right place; its hash and its parent's range
    /// are checked by the caller.
    pub(super) fn decode(cid: Cid, bytes: &[u8], layer: Option<u8>) -> Result<Self, NodeError> {
        if bytes.len() > NODE_BYTES_MAX {
            return Err(NodeError::TooLarge);
        }
        let mut decoder = Decoder::new(bytes);
        fields(&mut decoder, 2, "a node of two fields")?;
        decoder.key("e")?;
        let length = decoder.list()?;
        if length > NODE_ENTRIES_MAX {
            return Err(NodeError::TooManyEntries);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(length);
        for _ in 0..length {
            let previous = entries.last().map_or("", |entry| &*entry.key);
            let entry = decode_entry(&mut decoder, previous)?;
            entries.push(entry);
        }
        decoder.key("l")?;
        let left = child(decoder.link_or_null()?)?;
        decoder.finish()?;

        let own_layer = entries.first().map(|entry| layer_of(&entry.key));
        let layer = match (layer, own_layer) {
            (Some(layer), None) if !left.is_none() => layer,
            // Only the empty tree's root has nothing at all.
            (None, None) if left.is_none() => 0,
            (_, None) => return Err(NodeError::Hollow),
            (layer, Some(own)) => layer.unwrap_or(own),
        };
        if entries.iter().any(|entry| layer_of(&entry.key) != layer) {
            return Err(NodeError::Layer(layer));
        }
        if layer == 0 && !(left.is_none() && entries.iter().all(|entry| entry.right.is_none())) {
            return Err(NodeError::ChildBelowLowest);
        }
        Ok(Self { cid: Some(cid), layer, left, entries })
    }

    /// Memory that the node takes, roughly, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let keys: usize = self.entries.iter().map(|entry| entry_bytes(&entry.key)).sum();
        NODE_OVERHEAD_BYTES + keys
    }
}

/// An `Arc` with its counters and the node itself, plus the allocators' bookkeeping.
const NODE_OVERHEAD_BYTES: usize = size_of::<Node>() + 48;

/// Memory that one entry takes, roughly, in bytes.
pub(super) fn entry_bytes(key: &str) -> usize {
    size_of::<Entry>() + key.len() + 16
}

fn decode_entry(decoder: &mut Decoder<'_>, previous: &str) -> Result<Entry, NodeError> {
    fields(decoder, 4, "an entry of four fields")?;
    decoder.key("k")?;
    let suffix = decoder.bytes()?;
    decoder.key("p")?;
    let shared = usize::try_from(decoder.uint()?).map_err(|_| NodeError::Prefix)?;
    decoder.key("t")?;
    let right = child(decoder.link_or_null()?)?;
    decoder.key("v")?;
    let value = decoder.link()?;

    let prefix = previous.get(..shared).ok_or(NodeError::Prefix)?;
    let suffix = std::str::from_utf8(suffix).map_err(|_| KeyError::Shape)?;
    if prefix.len() + suffix.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong.into());
    }
    let mut key = String::with_capacity(prefix.len() + suffix.len());
    key.push_str(prefix);
    key.push_str(suffix);
    validate_key(&key)?;
    if *previous >= *key {
        return Err(NodeError::Order);
    }
    if shared_prefix(previous, &key) != shared {
        return Err(NodeError::Prefix);
    }
    Ok(Entry { key: key.into_boxed_str(), value, right })
}

fn fields(decoder: &mut Decoder<'_>, count: usize, what: &'static str) -> Result<(), DecodeError> {
    let at = decoder.at();
    if decoder.map()? == count {
        Ok(())
    } else {
        Err(DecodeError { at, why: cbor::Malformed::Expected(what) })
    }
}

fn child(cid: Option<Cid>) -> Result<Link, NodeError> {
    if cid.is_some_and(|cid| cid.is_raw()) { Err(NodeError::RawChild) } else { Ok(cid.into()) }
}

fn write_link_or_null(out: &mut Vec<u8>, cid: Option<Cid>) {
    match cid {
        Some(cid) => cbor::write_link(out, &cid),
        None => cbor::write_null(out),
    }
}

/// Counts the bytes that two keys have in common at their start.
pub(super) fn shared_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Encodes a node and names it.
pub(super) fn encode_named(node: &Node, scratch: &mut Vec<u8>) -> (Cid, Bytes) {
    scratch.clear();
    node.encode(scratch);
    (Cid::for_dag_cbor(scratch), Bytes::copy_from_slice(scratch))
}
