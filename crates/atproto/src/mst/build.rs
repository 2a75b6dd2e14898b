//! Makes a tree from sorted keys in one pass, holding one unfinished node for each layer.

use super::node::{Entry, Link, Node, encode_named};
use super::{KeyError, NODE_ENTRIES_MAX, layer_of, validate_key};
use crate::cid::Cid;
use bytes::Bytes;

/// Why sorted keys cannot become a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("not a repository path")]
    Key(#[from] KeyError),
    #[error("the key {0:?} is not greater than the one before it")]
    Order(String),
    #[error("a node of the tree would exceed {NODE_ENTRIES_MAX} keys")]
    NodeFull,
}

/// Takes keys in byte order and gives out finished nodes.
///
/// Drain `finished` between pushes; what stays inside are the unfinished nodes, a few kilobytes for a million keys.
#[derive(Debug, Default)]
pub struct Builder {
    /// The unfinished node of each layer, lowest first.
    layers: Vec<Node>,
    finished: Vec<(Cid, Bytes)>,
    last_key: String,
    scratch: Vec<u8>,
}

impl Builder {
    /// Starts with no keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next key, which must be greater than the one before it.
    pub fn push(&mut self, key: &str, value: Cid) -> Result<(), BuildError> {
        validate_key(key)?;
        if *key <= *self.last_key {
            return Err(BuildError::Order(key.to_owned()));
        }
        self.last_key.clear();
        self.last_key.push_str(key);
        let layer = usize::from(layer_of(key));
        self.reach(layer);
        // All that lies below the new key and before it is complete.
        for lower in 0..layer {
            self.finish_layer(lower);
        }
        let Some(node) = self.layers.get_mut(layer) else { return Ok(()) };
        if node.entries.len() >= NODE_ENTRIES_MAX {
            return Err(BuildError::NodeFull);
        }
        node.entries.push(Entry { key: key.into(), value, right: Link::None });
        Ok(())
    }

    /// Gives out the nodes that are complete, children before parents.
    pub fn finished(&mut self) -> std::vec::Drain<'_, (Cid, Bytes)> {
        self.finished.drain(..)
    }

    /// Completes the tree: its root and the nodes not yet given out.
    #[must_use]
    pub fn finish(mut self) -> (Cid, Vec<(Cid, Bytes)>) {
        self.reach(0);
        // The highest layer was made for a key, so its node is the root; only the empty tree's has none.
        let top = self.layers.len().saturating_sub(1);
        for lower in 0..top {
            self.finish_layer(lower);
        }
        let root = self.layers.pop().unwrap_or_else(|| empty_node(top));
        let (cid, block) = encode_named(&root, &mut self.scratch);
        self.finished.push((cid, block));
        (cid, self.finished)
    }

    fn reach(&mut self, layer: usize) {
        while self.layers.len() <= layer {
            self.layers.push(empty_node(self.layers.len()));
        }
    }

    /// Encodes the node of a layer, if it has anything, and hangs it into the last gap of the layer above.
    fn finish_layer(&mut self, layer: usize) {
        let Some(slot) = self.layers.get_mut(layer) else { return };
        if slot.is_empty() {
            return;
        }
        let node = std::mem::replace(slot, empty_node(layer));
        let (cid, block) = encode_named(&node, &mut self.scratch);
        self.finished.push((cid, block));
        if let Some(above) = self.layers.get_mut(layer + 1) {
            let last = above.entries.len();
            above.set_gap(last, Link::Stored(cid));
        }
    }
}

fn empty_node(layer: usize) -> Node {
    let layer = u8::try_from(layer).unwrap_or(u8::MAX);
    Node { cid: None, layer, left: Link::None, entries: Vec::new() }
}

/// Builds a tree from keys in byte order, handing each node to `sink` as it is complete.
pub fn build_sorted<K: AsRef<str>>(
    records: impl IntoIterator<Item = (K, Cid)>,
    mut sink: impl FnMut(Cid, Bytes),
) -> Result<Cid, BuildError> {
    let mut builder = Builder::new();
    for (key, value) in records {
        builder.push(key.as_ref(), value)?;
        builder.finished().for_each(|(cid, block)| sink(cid, block));
    }
    let (root, rest) = builder.finish();
    rest.into_iter().for_each(|(cid, block)| sink(cid, block));
    Ok(root)
}
