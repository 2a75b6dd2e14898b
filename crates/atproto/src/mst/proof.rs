//! The nodes that prove something about keys of a tree.

use super::node::{Link, Node, Range, encode_named};
use super::tree::{Loader, Tree, below};
use super::{MstError, NodeSource, validate_key};
use crate::cid::Cid;
use bytes::Bytes;
use std::collections::HashSet;

type Outcome<S> = Result<(), MstError<<S as NodeSource>::Error>>;

/// The nodes of a proof, each once.
#[derive(Default)]
struct Proof {
    seen: HashSet<Cid>,
    blocks: Vec<(Cid, Bytes)>,
    scratch: Vec<u8>,
}

impl Proof {
    fn add<S: NodeSource>(&mut self, node: &Node) -> Outcome<S> {
        let cid = node.cid.ok_or(MstError::Uncommitted)?;
        if self.seen.insert(cid) {
            self.scratch.clear();
            node.encode(&mut self.scratch);
            self.blocks.push((cid, Bytes::copy_from_slice(&self.scratch)));
        }
        Ok(())
    }
}

/// Which way a path continues below a key.
#[derive(Clone, Copy)]
enum Side {
    /// Towards the first key.
    First,
    /// Towards the last key.
    Last,
}

impl Tree {
    /// Collects the covering proof of changed keys: the paths to each key and to both its neighbours, root first.
    ///
    /// Taken on the tree after the commit, these are the nodes from which a Sync 1.1 consumer can undo the commit's
    /// operations: undoing a creation joins the subtrees on both sides of the key, undoing a deletion takes apart the
    /// one that spans it. They contain all nodes that the commit made, and the root even without any key, which a
    /// commit without operations needs. Fails with `Uncommitted` before `commit`.
    pub fn proof<S: NodeSource>(
        &mut self,
        src: &S,
        keys: &[&str],
    ) -> Result<Vec<(Cid, Bytes)>, MstError<S::Error>> {
        self.prove(src, keys, true)
    }

    /// Collects the path to `key`, root first: the proof that it has its value, or that it is not there.
    pub fn path<S: NodeSource>(
        &mut self,
        src: &S,
        key: &str,
    ) -> Result<Vec<(Cid, Bytes)>, MstError<S::Error>> {
        self.prove(src, &[key], false)
    }

    fn prove<S: NodeSource>(
        &mut self,
        src: &S,
        keys: &[&str],
        neighbours: bool,
    ) -> Result<Vec<(Cid, Bytes)>, MstError<S::Error>> {
        if self.root().is_none() {
            return Err(MstError::Uncommitted);
        }
        let mut proof = Proof::default();
        for key in keys {
            validate_key(key)?;
            self.with_root(src, |loader, root| {
                cover(loader, root, None, Range::default(), key, neighbours, &mut proof)
            })?;
        }
        if proof.blocks.is_empty() {
            self.with_root(src, |loader, root| match loader.load(root, None, Range::default())? {
                Some(top) => proof.add::<S>(top),
                None => {
                    // The empty tree has no node in memory, but its root is a block that proves absence.
                    let empty = Node { cid: None, layer: 0, left: Link::None, entries: Vec::new() };
                    proof.blocks.push(encode_named(&empty, &mut proof.scratch));
                    Ok(())
                }
            })?;
        }
        Ok(proof.blocks)
    }
}

fn cover<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: Option<u8>,
    range: Range<'_>,
    key: &str,
    neighbours: bool,
    proof: &mut Proof,
) -> Outcome<S> {
    let Some(node) = loader.load(link, layer, range)? else { return Ok(()) };
    proof.add::<S>(node)?;
    let lower = below(node.layer);
    match node.search(key) {
        Err(at) => {
            let (gap, range) = node.gap(at, range);
            cover(loader, gap, Some(lower), range, key, neighbours, proof)
        }
        Ok(at) if neighbours => {
            let (gap, before) = node.gap(at, range);
            spine(loader, gap, lower, before, Side::Last, proof)?;
            let (gap, after) = node.gap(at + 1, range);
            spine(loader, gap, lower, after, Side::First, proof)
        }
        Ok(_) => Ok(()),
    }
}

/// Adds the nodes down one edge of a subtree, which lead to the neighbour of a key.
fn spine<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: u8,
    range: Range<'_>,
    side: Side,
    proof: &mut Proof,
) -> Outcome<S> {
    let Some(node) = loader.load(link, Some(layer), range)? else { return Ok(()) };
    proof.add::<S>(node)?;
    let at = match side {
        Side::First => 0,
        Side::Last => node.entries.len(),
    };
    let (gap, range) = node.gap(at, range);
    spine(loader, gap, below(layer), range, side, proof)
}
