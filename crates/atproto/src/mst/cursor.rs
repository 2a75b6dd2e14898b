//! A position in a stored tree, moving in key order; what `Walk` and `diff` are made of.

use super::node::{Entry, Link, Node, NodeError};
use super::tree::{below, fetch};
use super::{MstError, NodeSource};
use crate::cid::Cid;
use bytes::Bytes;

/// A key and its value.
pub(super) type Record = (Box<str>, Cid);

/// What comes next in key order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'c> {
    /// A subtree that has not been opened; its layer is unknown for the root alone.
    Subtree {
        cid: Cid,
        layer: Option<u8>,
    },
    Record {
        key: &'c str,
    },
}

/// Holds one node for each layer on the path: memory is bounded by 129 nodes of `NODE_BYTES_MAX`.
#[derive(Debug)]
pub(super) struct Cursor<'s, S> {
    src: &'s S,
    root: Option<Cid>,
    path: Vec<Level>,
    last_key: Box<str>,
}

#[derive(Debug)]
struct Level {
    cid: Cid,
    layer: u8,
    /// The child that comes before the next entry.
    child: Option<Cid>,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
}

impl<'s, S: NodeSource> Cursor<'s, S> {
    /// Starts before the first key of the tree that `root` names; `None` is a tree of no nodes.
    pub(super) fn new(src: &'s S, root: Option<Cid>) -> Self {
        Self { src, root, path: Vec::new(), last_key: Box::default() }
    }

    /// Returns what comes next without moving.
    pub(super) fn peek(&mut self) -> Option<Item<'_>> {
        if let Some(cid) = self.root {
            return Some(Item::Subtree { cid, layer: None });
        }
        while self
            .path
            .last_mut()
            .is_some_and(|level| level.child.is_none() && level.entries.peek().is_none())
        {
            self.path.pop();
        }
        let level = self.path.last_mut()?;
        match level.child {
            Some(cid) => Some(Item::Subtree { cid, layer: Some(below(level.layer)) }),
            None => level.entries.peek().map(|entry| Item::Record { key: &entry.key }),
        }
    }

    /// Passes by the subtree that is next.
    pub(super) fn skip(&mut self) {
        if self.root.take().is_none()
            && let Some(level) = self.path.last_mut()
        {
            level.child = None;
        }
    }

    /// Goes into the subtree that is next and returns its top node; `None` if a record or the end is next.
    pub(super) fn open(&mut self) -> Result<Option<(Cid, Bytes)>, MstError<S::Error>> {
        let Some(Item::Subtree { cid, layer }) = self.peek() else { return Ok(None) };
        let (node, block) = fetch(self.src, cid, layer)?;
        self.skip();
        let Node { layer, left, entries, .. } = node;
        self.path.push(Level { cid, layer, child: left.cid(), entries: entries.into_iter().peekable() });
        Ok(Some((cid, block)))
    }

    /// Passes by the record that is next and returns it; `None` if a subtree or the end is next.
    ///
    /// Fails when its key is not greater than all keys before it.
    pub(super) fn record(&mut self) -> Result<Option<Record>, MstError<S::Error>> {
        let Some(Item::Record { .. }) = self.peek() else { return Ok(None) };
        let Some(level) = self.path.last_mut() else { return Ok(None) };
        let Some(Entry { key, value, right }) = level.entries.next() else { return Ok(None) };
        if key <= self.last_key {
            return Err(MstError::Node { cid: level.cid, source: NodeError::Order });
        }
        level.child = match right {
            Link::Stored(cid) => Some(cid),
            Link::None | Link::Loaded(_) => None,
        };
        self.last_key.clone_from(&key);
        Ok(Some((key, value)))
    }
}
