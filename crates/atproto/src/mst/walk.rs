//! Streams over a stored tree: nodes and records in the order in which a CAR file wants them.

use super::cursor::{Cursor, Item};
use super::{MstError, NodeSource};
use crate::cid::Cid;
use bytes::Bytes;

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node, before everything in its subtree.
    Node { cid: Cid, block: Bytes },
    /// A key and its record, in key order.
    Record { key: Box<str>, value: Cid },
}

/// Walks a tree in pre-order with records interleaved; ends after the first error.
///
/// Holds the path alone, and checks each node and the order of all keys, so a walk that ends well has proven that
/// the tree is the one tree of its keys.
#[derive(Debug)]
pub struct Walk<'s, S> {
    cursor: Option<Cursor<'s, S>>,
}

impl<'s, S: NodeSource> Walk<'s, S> {
    /// Starts at the root.
    pub fn new(src: &'s S, root: Cid) -> Self {
        Self { cursor: Some(Cursor::new(src, Some(root))) }
    }

    /// Names the node that comes next, unread; `None` when a record or the end comes next.
    pub fn peek_node(&mut self) -> Option<Cid> {
        match self.cursor.as_mut()?.peek()? {
            Item::Subtree { cid, .. } => Some(cid),
            Item::Record { .. } => None,
        }
    }

    /// Passes by the node that comes next, with everything below it.
    pub fn skip_node(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.skip();
        }
    }
}

impl<S: NodeSource> Iterator for Walk<'_, S> {
    type Item = Result<Step, MstError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let cursor = self.cursor.as_mut()?;
        let step = match cursor.peek() {
            None => Ok(None),
            Some(Item::Subtree { .. }) => {
                cursor.open().map(|node| node.map(|(cid, block)| Step::Node { cid, block }))
            }
            Some(Item::Record { .. }) => {
                cursor.record().map(|record| record.map(|(key, value)| Step::Record { key, value }))
            }
        };
        if !matches!(step, Ok(Some(_))) {
            self.cursor = None;
        }
        step.transpose()
    }
}
