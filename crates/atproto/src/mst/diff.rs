//! What changed between two stored trees.

use super::cursor::{Cursor, Item};
use super::{MstError, NodeSource};
use crate::cid::Cid;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::HashSet;

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOp {
    pub key: Box<str>,
    /// The value before; `None` for a creation.
    pub old: Option<Cid>,
    /// The value after; `None` for a deletion.
    pub new: Option<Cid>,
}

/// The difference between two trees. Grows with the difference, not with the trees.
#[derive(Debug, Clone, Default)]
pub struct Diff {
    /// Nodes that only the new tree has, parents before children.
    pub created_nodes: Vec<(Cid, Bytes)>,
    /// Nodes that only the old tree has.
    pub deleted_nodes: Vec<Cid>,
    /// Keys with another value, in key order.
    pub ops: Vec<RecordOp>,
}

/// Compares two trees; `old` is `None` for a repository that did not exist.
///
/// Subtrees with the same name are passed by unread, so the cost is that of the changed paths.
pub fn diff<S: NodeSource>(src: &S, old: Option<Cid>, new: Cid) -> Result<Diff, MstError<S::Error>> {
    let mut diff = Diff::default();
    if old == Some(new) {
        return Ok(diff);
    }
    let mut old = Cursor::new(src, old);
    let mut new = Cursor::new(src, Some(new));
    loop {
        match next(&mut old, &mut new) {
            Next::End => break,
            Next::SkipBoth => {
                old.skip();
                new.skip();
            }
            Next::Open { in_old, in_new } => {
                if in_old && let Some((cid, _)) = old.open()? {
                    diff.deleted_nodes.push(cid);
                }
                if in_new && let Some(node) = new.open()? {
                    diff.created_nodes.push(node);
                }
            }
            Next::Record { in_old, in_new } => {
                let before = if in_old { old.record()? } else { None };
                let after = if in_new { new.record()? } else { None };
                let (before, after) = (split(before), split(after));
                if before.1 != after.1
                    && let Some(key) = after.0.or(before.0)
                {
                    diff.ops.push(RecordOp { key, old: before.1, new: after.1 });
                }
            }
        }
    }
    // A subtree beside a removed key is opened on one side before it comes up on the other: such nodes are in both.
    let deleted: HashSet<Cid> = diff.deleted_nodes.iter().copied().collect();
    let created: HashSet<Cid> = diff.created_nodes.iter().map(|(cid, _)| *cid).collect();
    diff.created_nodes.retain(|(cid, _)| !deleted.contains(cid));
    diff.deleted_nodes.retain(|cid| !created.contains(cid));
    Ok(diff)
}

fn split(record: Option<(Box<str>, Cid)>) -> (Option<Box<str>>, Option<Cid>) {
    record.map_or((None, None), |(key, value)| (Some(key), Some(value)))
}

enum Next {
    End,
    SkipBoth,
    Open { in_old: bool, in_new: bool },
    Record { in_old: bool, in_new: bool },
}

/// Decides which side moves, so that both meet at equal subtrees whenever they can.
fn next<S: NodeSource>(old: &mut Cursor<'_, S>, new: &mut Cursor<'_, S>) -> Next {
    match (old.peek(), new.peek()) {
        (None, None) => Next::End,
        (Some(Item::Subtree { cid: a, .. }), Some(Item::Subtree { cid: b, .. })) if a == b => Next::SkipBoth,
        (Some(Item::Subtree { layer: a, .. }), Some(Item::Subtree { layer: b, .. })) => {
            // The root, whose layer is not known yet, counts as the highest.
            let (a, b) = (a.map_or(u16::MAX, u16::from), b.map_or(u16::MAX, u16::from));
            Next::Open { in_old: a >= b, in_new: b >= a }
        }
        (Some(Item::Subtree { .. }), _) => Next::Open { in_old: true, in_new: false },
        (_, Some(Item::Subtree { .. })) => Next::Open { in_old: false, in_new: true },
        (Some(Item::Record { .. }), None) => Next::Record { in_old: true, in_new: false },
        (None, Some(Item::Record { .. })) => Next::Record { in_old: false, in_new: true },
        (Some(Item::Record { key: a }), Some(Item::Record { key: b })) => {
            let order = a.cmp(b);
            Next::Record { in_old: order != Ordering::Greater, in_new: order != Ordering::Less }
        }
    }
}
