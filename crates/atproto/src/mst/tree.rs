//! A tree that is changed in memory and loads what a change touches.
//!
//! Nodes are shared (`Arc`) and copied when written, so cloning a `Tree` costs a counter: take a clone before a batch
//! and go back to it when the batch fails. Each operation first loads all that it needs and only then changes, so
//! that an error leaves the tree as it was.

use super::node::{Entry, Link, Node, NodeError, Range, encode_named, entry_bytes};
use super::{MstError, NODE_ENTRIES_MAX, NodeSource, layer_of, validate_key};
use crate::cid::Cid;
use bytes::Bytes;
use std::sync::Arc;

/// A Merkle search tree, loaded as far as it has been used.
///
/// Keys are `collection/rkey` and follow byte order. Changes stay in memory until `commit` names them.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(super) root: Link,
    /// The root's name as of the last commit; `None` after a change, and for a tree never committed.
    committed: Option<Cid>,
    /// Estimate of what the loaded nodes take, in bytes.
    loaded_bytes: usize,
}

/// What a commit made.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The name of the whole tree.
    pub root: Cid,
    /// The nodes that changed since the last commit, children before parents.
    pub new_blocks: Vec<(Cid, Bytes)>,
}

type Outcome<T, S> = Result<T, MstError<<S as NodeSource>::Error>>;

impl Tree {
    /// Makes a tree without keys.
    #[must_use]
    pub fn empty() -> Self {
        Self { root: Link::None, committed: None, loaded_bytes: 0 }
    }

    /// Takes the tree that `root` names; nothing is read until it is used.
    #[must_use]
    pub fn load(root: Cid) -> Self {
        Self { root: Link::Stored(root), committed: Some(root), loaded_bytes: 0 }
    }

    /// Returns the name of the tree, unless there are changes that are not committed.
    #[must_use]
    pub fn root(&self) -> Option<Cid> {
        self.committed
    }

    /// Returns the value of `key`.
    pub fn get<S: NodeSource>(&mut self, src: &S, key: &str) -> Outcome<Option<Cid>, S> {
        validate_key(key)?;
        self.with_root(src, |loader, root| find(loader, root, None, Range::default(), key))
    }

    /// Sets `key`, returning its value before; `None` means that it is new.
    ///
    /// Setting a key to the value it has changes nothing.
    pub fn insert<S: NodeSource>(&mut self, src: &S, key: &str, value: Cid) -> Outcome<Option<Cid>, S> {
        validate_key(key)?;
        let new = New { key, layer: layer_of(key), value };
        let previous = self.with_root(src, |loader, root| {
            let top = loader.load(root, None, Range::default())?.map(|node| node.layer);
            match top {
                Some(layer) if new.layer <= layer => insert(loader, root, layer, Range::default(), &new),
                None => {
                    *root = chain(&new, new.layer);
                    Ok(None)
                }
                Some(layer) => {
                    let (left, right) = split(loader, root, layer, Range::default(), key)?;
                    let left = raise(left, layer, new.layer);
                    let entry = Entry { key: key.into(), value, right: raise(right, layer, new.layer) };
                    *root = node(new.layer, left, vec![entry]);
                    Ok(None)
                }
            }
        })?;
        if previous.is_none() {
            self.loaded_bytes = self.loaded_bytes.saturating_add(entry_bytes(key));
        }
        self.changed(previous != Some(value));
        Ok(previous)
    }

    /// Changes the value of a key that is there, returning its value before; `None` means that nothing changed.
    pub fn update<S: NodeSource>(&mut self, src: &S, key: &str, value: Cid) -> Outcome<Option<Cid>, S> {
        match self.get(src, key)? {
            Some(_) => self.insert(src, key, value),
            None => Ok(None),
        }
    }

    /// Removes `key`, returning its value; `None` means that it was not there.
    pub fn delete<S: NodeSource>(&mut self, src: &S, key: &str) -> Outcome<Option<Cid>, S> {
        validate_key(key)?;
        let key_layer = layer_of(key);
        let previous = self.with_root(src, |loader, root| {
            let Some(top) = loader.load(root, None, Range::default())? else { return Ok(None) };
            let layer = top.layer;
            load_next_top(loader, top, key)?;
            let previous = delete(loader, root, layer, Range::default(), key, key_layer)?;
            // A root must have keys: when its last one is gone, the first node below that has some takes its place.
            while let Link::Loaded(node) = root
                && node.entries.is_empty()
            {
                *root = node.left.clone();
                loader.load(root, None, Range::default())?;
            }
            Ok(previous)
        })?;
        self.changed(previous.is_some());
        Ok(previous)
    }

    /// Encodes what has changed and names the tree.
    pub fn commit(&mut self) -> Committed {
        let mut new_blocks = Vec::new();
        if let Some(root) = self.committed {
            return Committed { root, new_blocks };
        }
        let mut scratch = Vec::new();
        let root = match commit(&mut self.root, &mut scratch, &mut new_blocks) {
            Some(root) => root,
            None => {
                let empty = Node { cid: None, layer: 0, left: Link::None, entries: Vec::new() };
                let (cid, block) = encode_named(&empty, &mut scratch);
                new_blocks.push((cid, block));
                cid
            }
        };
        self.committed = Some(root);
        Committed { root, new_blocks }
    }

    /// Estimates the memory that the loaded nodes take, in bytes; removed and shared nodes may be counted too.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.loaded_bytes
    }

    /// Drops all loaded nodes that have no changes; they are read again when needed.
    pub fn forget_clean(&mut self) {
        self.forget_below(0);
    }

    /// Drops loaded nodes without changes that lie `levels` or more below the root.
    ///
    /// The top of a tree is on every path: keeping three levels (about 80 nodes) saves nearly half of the loads.
    pub fn forget_below(&mut self, levels: usize) {
        self.loaded_bytes = forget(&mut self.root, levels);
    }

    fn changed(&mut self, changed: bool) {
        if changed {
            self.committed = None;
        }
    }

    pub(super) fn with_root<'s, S: NodeSource, T>(
        &mut self,
        src: &'s S,
        work: impl FnOnce(&mut Loader<'s, S>, &mut Link) -> Outcome<T, S>,
    ) -> Outcome<T, S> {
        let mut loader = Loader { src, bytes: 0 };
        let result = work(&mut loader, &mut self.root);
        self.loaded_bytes = self.loaded_bytes.saturating_add(loader.bytes);
        result
    }
}

/// A key on its way into the tree.
struct New<'k> {
    key: &'k str,
    layer: u8,
    value: Cid,
}

/// Reads nodes for one operation and counts what they take.
pub(super) struct Loader<'s, S> {
    src: &'s S,
    bytes: usize,
}

impl<S: NodeSource> Loader<'_, S> {
    /// Returns the node behind `link`, reading it if need be; `None` when there is no child (or the tree is empty).
    ///
    /// `layer` is where the parent puts it, `None` for a root.
    pub(super) fn load<'l>(
        &mut self,
        link: &'l mut Link,
        layer: Option<u8>,
        range: Range<'_>,
    ) -> Outcome<Option<&'l mut Node>, S> {
        if let Link::Stored(cid) = link {
            let (node, _) = fetch(self.src, *cid, layer)?;
            node.check_range(range).map_err(|source| MstError::Node { cid: *cid, source })?;
            self.bytes = self.bytes.saturating_add(node.memory_bytes());
            *link = if node.is_empty() { Link::None } else { Link::Loaded(Arc::new(node)) };
        }
        match link {
            Link::Loaded(node) => Ok(Some(Arc::make_mut(node))),
            Link::None | Link::Stored(_) => Ok(None),
        }
    }
}

/// Reads a node and checks it in itself; its place among the keys is checked by the caller.
pub(super) fn fetch<S: NodeSource>(src: &S, cid: Cid, layer: Option<u8>) -> Outcome<(Node, Bytes), S> {
    let block = src.node(&cid).map_err(|source| MstError::Source { cid, source })?;
    let block = block.ok_or(MstError::Missing(cid))?;
    let refuse = |source| MstError::Node { cid, source };
    if cid.is_raw() {
        return Err(refuse(NodeError::RawChild));
    }
    if !cid.names(&block) {
        return Err(refuse(NodeError::Hash));
    }
    let node = Node::decode(cid, &block, layer).map_err(refuse)?;
    Ok((node, block))
}

/// The layer below; the lowest has no children, so what is below it is never read.
pub(super) fn below(layer: u8) -> u8 {
    layer.saturating_sub(1)
}

fn node(layer: u8, left: Link, entries: Vec<Entry>) -> Link {
    Link::Loaded(Arc::new(Node { cid: None, layer, left, entries }))
}

/// Puts nodes without keys on top of `link`, which lies on `from`, until the top is just below `to`.
fn raise(mut link: Link, from: u8, to: u8) -> Link {
    if !link.is_none() {
        for layer in from.saturating_add(1)..to {
            link = node(layer, link, Vec::new());
        }
    }
    link
}

/// Makes a subtree that holds only `new`, its top on `layer`.
fn chain(new: &New<'_>, layer: u8) -> Link {
    let entry = Entry { key: new.key.into(), value: new.value, right: Link::None };
    raise(node(new.layer, Link::None, vec![entry]), new.layer, layer.saturating_add(1))
}

fn find<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: Option<u8>,
    range: Range<'_>,
    key: &str,
) -> Outcome<Option<Cid>, S> {
    let Some(node) = loader.load(link, layer, range)? else { return Ok(None) };
    let layer = node.layer;
    match node.search(key) {
        Ok(at) => Ok(node.entries.get(at).map(|entry| entry.value)),
        Err(at) => {
            let (gap, range) = node.gap(at, range);
            find(loader, gap, Some(below(layer)), range, key)
        }
    }
}

/// Puts `new` into the subtree whose top lies on `layer`, at or above the new key's own.
fn insert<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: u8,
    range: Range<'_>,
    new: &New<'_>,
) -> Outcome<Option<Cid>, S> {
    let Some(node) = loader.load(link, Some(layer), range)? else {
        *link = chain(new, layer);
        return Ok(None);
    };
    match node.search(new.key) {
        Ok(at) => {
            let Some(entry) = node.entries.get_mut(at) else { return Ok(None) };
            let previous = std::mem::replace(&mut entry.value, new.value);
            if previous != new.value {
                node.cid = None;
            }
            Ok(Some(previous))
        }
        Err(at) if new.layer == layer => {
            if node.entries.len() >= NODE_ENTRIES_MAX {
                return Err(MstError::NodeFull);
            }
            let (gap, range) = node.gap(at, range);
            let (left, right) = split(loader, gap, below(layer), range, new.key)?;
            node.set_gap(at, left);
            node.entries.insert(at, Entry { key: new.key.into(), value: new.value, right });
            node.cid = None;
            Ok(None)
        }
        Err(at) => {
            let (gap, range) = node.gap(at, range);
            let previous = insert(loader, gap, below(layer), range, new)?;
            if previous != Some(new.value) {
                node.cid = None;
            }
            Ok(previous)
        }
    }
}

/// Takes a subtree apart: what is before `key`, and what is after it. The key is not in it.
///
/// A side that gets everything keeps its nodes as they are, names included.
fn split<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: u8,
    range: Range<'_>,
    key: &str,
) -> Outcome<(Link, Link), S> {
    let Some(node) = loader.load(link, Some(layer), range)? else { return Ok((Link::None, Link::None)) };
    let (Ok(at) | Err(at)) = node.search(key);
    let length = node.entries.len();
    let (gap, range) = node.gap(at, range);
    let (left, right) = split(loader, gap, below(layer), range, key)?;
    if at == length && right.is_none() {
        *gap = left;
        return Ok((std::mem::take(link), Link::None));
    }
    if at == 0 && left.is_none() {
        *gap = right;
        return Ok((Link::None, std::mem::take(link)));
    }
    let tail = node.entries.split_off(at);
    node.set_gap(at, left);
    node.cid = None;
    Ok((std::mem::take(link), self::node(layer, right, tail)))
}

/// Removes `key` from the subtree whose top lies on `layer`; the subtree may vanish.
fn delete<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    link: &mut Link,
    layer: u8,
    range: Range<'_>,
    key: &str,
    key_layer: u8,
) -> Outcome<Option<Cid>, S> {
    let Some(node) = loader.load(link, Some(layer), range)? else { return Ok(None) };
    let previous = match node.search(key) {
        Ok(at) => {
            let (before, after) = node.entries.split_at_mut(at);
            let Some((entry, after)) = after.split_first_mut() else { return Ok(None) };
            let upper =
                Range { after: Some(key), before: after.first().map(|next| &*next.key).or(range.before) };
            let (left, lower) = match before.last_mut() {
                None => (&mut node.left, range.after),
                Some(Entry { key, right, .. }) => (right, Some(&**key)),
            };
            let lower = Range { after: lower, before: Some(key) };
            let joined = merge(loader, below(layer), (left, lower), (&mut entry.right, upper))?;
            let previous = node.entries.remove(at).value;
            node.set_gap(at, joined);
            Some(previous)
        }
        Err(_) if key_layer >= layer => None,
        Err(at) => {
            let (gap, range) = node.gap(at, range);
            delete(loader, gap, below(layer), range, key, key_layer)?
        }
    };
    if previous.is_some() {
        node.cid = None;
        if node.is_empty() {
            *link = Link::None;
        }
    }
    Ok(previous)
}

/// Joins the two neighbours of a removed key, both on `layer`.
fn merge<S: NodeSource>(
    loader: &mut Loader<'_, S>,
    layer: u8,
    (left, left_range): (&mut Link, Range<'_>),
    (right, right_range): (&mut Link, Range<'_>),
) -> Outcome<Link, S> {
    if right.is_none() {
        return Ok(std::mem::take(left));
    }
    if left.is_none() {
        return Ok(std::mem::take(right));
    }
    let first = loader.load(left, Some(layer), left_range)?;
    let second = loader.load(right, Some(layer), right_range)?;
    let (Some(first), Some(second)) = (first, second) else { return Ok(Link::None) };
    let at = first.entries.len();
    if at + second.entries.len() > NODE_ENTRIES_MAX {
        return Err(MstError::NodeFull);
    }
    let middle = merge(loader, below(layer), first.gap(at, left_range), second.gap(0, right_range))?;
    first.set_gap(at, middle);
    first.entries.append(&mut second.entries);
    first.cid = None;
    *right = Link::None;
    Ok(std::mem::take(left))
}

/// Loads the nodes from which a new root is found when `key` is the root's only key, before anything changes.
fn load_next_top<S: NodeSource>(loader: &mut Loader<'_, S>, top: &mut Node, key: &str) -> Outcome<(), S> {
    let [only] = top.entries.as_slice() else { return Ok(()) };
    if *only.key != *key {
        return Ok(());
    }
    for at in 0..2 {
        let mut layer = below(top.layer);
        let (mut link, range) = top.gap(at, Range::default());
        while let Some(node) = loader.load(link, Some(layer), range)? {
            if !node.entries.is_empty() {
                break;
            }
            layer = below(layer);
            link = &mut node.left;
        }
    }
    Ok(())
}

fn commit(link: &mut Link, scratch: &mut Vec<u8>, out: &mut Vec<(Cid, Bytes)>) -> Option<Cid> {
    let node = match link {
        Link::None => return None,
        Link::Stored(cid) => return Some(*cid),
        Link::Loaded(node) if node.cid.is_some() => return node.cid,
        Link::Loaded(node) => Arc::make_mut(node),
    };
    commit(&mut node.left, scratch, out);
    for entry in &mut node.entries {
        commit(&mut entry.right, scratch, out);
    }
    let (cid, block) = encode_named(node, scratch);
    node.cid = Some(cid);
    out.push((cid, block));
    Some(cid)
}

/// Replaces clean nodes `levels` below by their names and returns what the rest takes, in bytes.
fn forget(link: &mut Link, levels: usize) -> usize {
    let Link::Loaded(node) = link else { return 0 };
    if let Some(cid) = node.cid
        && levels == 0
    {
        *link = Link::Stored(cid);
        return 0;
    }
    let node = Arc::make_mut(node);
    let mut bytes = node.memory_bytes() + forget(&mut node.left, levels.saturating_sub(1));
    for entry in &mut node.entries {
        bytes += forget(&mut entry.right, levels.saturating_sub(1));
    }
    bytes
}
