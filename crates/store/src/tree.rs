//! The trees of the repos: loaded nodes in memory, stored nodes on disk, and what lies between.
//!
//! The table `node` holds the tree of `repo.flushed_root`. The nodes that later commits made are in the frames of their
//! events anyway, so they are written to the table only now and then: a node that lived for a few posts is never
//! written. Until then they are kept here as well. A start replays them from the events.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use atproto::cid::Cid;
use atproto::crypto::SigningKey;
use atproto::mst::{self, NodeSource, Tree};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::account::{Account, cid_from_sql, tid_from_sql};
use crate::error::StoreError;
use crate::log::nodes_of_frame;
use crate::node;
use crate::writer::Tx;

/// Bytes of unflushed nodes of one repo, and of all, after which they are flushed: they live in memory.
const FLUSH_REPO_BYTES: usize = 384 * 1024;
const FLUSH_ALL_BYTES: usize = 2 * 1024 * 1024;

/// Events that a start replays at most: about 5 MB of frames, read in some 10 ms.
const FLUSH_EVENTS: u64 = 1024;

/// Loaded nodes of one repo and of all repos, bytes; what is above is read again when needed.
const TREE_BYTES: usize = 384 * 1024;
const TREES_BYTES: usize = 3 * 1024 * 1024;

/// Levels of a tree that stay loaded when it is trimmed: every path goes through them.
const LEVELS_KEPT: usize = 3;

/// Signing keys in memory: reading one costs a file and a scalar multiplication.
const KEYS_CACHED: usize = 256;

/// Nodes that the table does not hold yet, for the writer and all readers. Holds supersets: a node too many is harmless.
#[derive(Debug, Default)]
pub(crate) struct FreshNodes {
    repos: RwLock<HashMap<i64, HashMap<Cid, Bytes>>>,
}

impl FreshNodes {
    pub(crate) fn get(&self, repo: i64, cid: &Cid) -> Option<Bytes> {
        let repos = self.repos.read().unwrap_or_else(PoisonError::into_inner);
        repos.get(&repo)?.get(cid).cloned()
    }

    pub(crate) fn add(&self, repo: i64, nodes: impl IntoIterator<Item = (Cid, Bytes)>) {
        let mut repos = self.repos.write().unwrap_or_else(PoisonError::into_inner);
        repos.entry(repo).or_default().extend(nodes);
    }

    fn remove(&self, repo: i64) {
        self.repos.write().unwrap_or_else(PoisonError::into_inner).remove(&repo);
    }
}

/// Nodes of one repo as a connection sees them.
pub(crate) struct Nodes<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) fresh: &'a FreshNodes,
    pub(crate) repo: i64,
}

impl NodeSource for Nodes<'_> {
    type Error = StoreError;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        match self.fresh.get(self.repo, cid) {
            Some(block) => Ok(Some(block)),
            None => node::read(self.conn, self.repo, cid),
        }
    }
}

/// Nodes of one repo as a reader sees them. Its moment may be older than what the writer keeps in memory; what was
/// flushed since is in the events of that moment, which are read when a node is found nowhere else.
pub(crate) struct ReaderNodes<'a> {
    now: Nodes<'a>,
    replayed: OnceCell<HashMap<Cid, Bytes>>,
    account: i64,
}

impl<'a> ReaderNodes<'a> {
    pub(crate) fn new(conn: &'a Connection, fresh: &'a FreshNodes, account: &Account) -> Self {
        let now = Nodes { conn, fresh, repo: account.repo };
        Self { now, replayed: OnceCell::new(), account: account.id }
    }

    fn replay(&self) -> Result<HashMap<Cid, Bytes>, StoreError> {
        let flushed_seq: i64 = self
            .now
            .conn
            .prepare_cached("SELECT flushed_seq FROM repo WHERE id = ?1")
            .and_then(|mut s| s.query_row([self.now.repo], |row| row.get(0)))
            .map_err(StoreError::db("reading a repo"))?;
        let mut nodes = HashMap::new();
        replay(self.now.conn, flushed_seq, |account, _, found| {
            if account == self.account {
                nodes.extend(found);
            }
        })?;
        Ok(nodes)
    }
}

impl NodeSource for ReaderNodes<'_> {
    type Error = StoreError;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if let Some(block) = self.now.node(cid)? {
            return Ok(Some(block));
        }
        if self.replayed.get().is_none() {
            // Another thread cannot have set it: a reader stays on its own.
            drop(self.replayed.set(self.replay()?));
        }
        Ok(self.replayed.get().and_then(|nodes| nodes.get(cid)).cloned())
    }
}

/// Reads the tree nodes out of the events after a number: account, number, nodes.
fn replay(
    conn: &Connection,
    after: i64,
    mut take: impl FnMut(i64, i64, Vec<(Cid, Bytes)>),
) -> Result<(), StoreError> {
    let doing = "replaying events";
    let mut statement = conn
        .prepare_cached("SELECT account, seq, frame FROM event WHERE seq > ?1 ORDER BY seq")
        .map_err(StoreError::db(doing))?;
    let mut rows = statement.query([after]).map_err(StoreError::db(doing))?;
    while let Some(row) = rows.next().map_err(StoreError::db(doing))? {
        let read = || -> rusqlite::Result<(i64, i64, &[u8])> {
            Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?.as_blob()?))
        };
        let (account, seq, frame) = read().map_err(StoreError::db(doing))?;
        take(account, seq, nodes_of_frame(frame)?);
    }
    Ok(())
}

/// At start-up: finds the repos with unflushed nodes and brings these back into memory.
pub(crate) fn recover(conn: &Connection, fresh: &FreshNodes) -> Result<Trees, StoreError> {
    let doing = "looking for unflushed repos";
    let mut trees = Trees::default();
    let mut repos: HashMap<i64, (i64, i64)> = HashMap::new();
    {
        let mut statement = conn
            .prepare(
                "SELECT a.id, r.id, r.flushed_seq FROM repo r JOIN account a ON a.repo = r.id \
                 WHERE r.root <> r.flushed_root",
            )
            .map_err(StoreError::db(doing))?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))
            .map_err(StoreError::db(doing))?;
        for row in rows {
            let (account, repo) = row.map_err(StoreError::db(doing))?;
            repos.insert(account, repo);
        }
    }
    let Some(oldest) = repos.values().map(|(_, flushed_seq)| *flushed_seq).min() else { return Ok(trees) };
    replay(conn, oldest, |account, seq, nodes| {
        if let Some((repo, flushed_seq)) = repos.get(&account)
            && seq > *flushed_seq
        {
            let bytes = nodes.iter().map(|(_, block)| block.len() + NODE_OVERHEAD).sum();
            trees.note_commit(*repo, flushed_seq.unsigned_abs(), bytes);
            fresh.add(*repo, nodes);
        }
    })?;
    Ok(trees)
}

/// Turns a failure of a tree into the store's.
pub(crate) fn tree_failed(error: mst::MstError<StoreError>) -> StoreError {
    match error {
        mst::MstError::Source { source, .. } => source,
        mst::MstError::Key(error) => StoreError::BadPath { why: error.to_string() },
        mst::MstError::NodeFull => StoreError::BadPath { why: "too many keys of one layer".to_owned() },
        error => StoreError::corrupt(format!("tree: {error}")),
    }
}

/// What the writer keeps in memory between transactions.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    loaded: HashMap<i64, Loaded>,
    dirty: HashMap<i64, Dirty>,
    keys: HashMap<i64, Arc<SigningKey>>,
    /// Flushed in the transaction under way.
    flushed: Vec<i64>,
    clock: u64,
}

#[derive(Debug)]
struct Loaded {
    tree: Tree,
    used: u64,
}

/// A repo whose newest nodes are not in the table.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    commits: u32,
    bytes: usize,
    flushed_seq: u64,
}

impl Trees {
    /// Takes a repo's tree. A cached one of another root (its transaction was undone) is dropped.
    pub(crate) fn take(&mut self, repo: i64, root: Cid) -> Tree {
        match self.loaded.remove(&repo) {
            Some(loaded) if loaded.tree.root() == Some(root) => loaded.tree,
            _ => Tree::load(root),
        }
    }

    /// Puts a tree back, trimmed.
    pub(crate) fn put(&mut self, repo: i64, mut tree: Tree) {
        if tree.memory_bytes() > TREE_BYTES {
            tree.forget_below(LEVELS_KEPT);
        }
        self.clock += 1;
        self.loaded.insert(repo, Loaded { tree, used: self.clock });
        while self.loaded.values().map(|loaded| loaded.tree.memory_bytes() + TREE_OVERHEAD).sum::<usize>()
            > TREES_BYTES
        {
            let oldest = self.loaded.iter().min_by_key(|(_, loaded)| loaded.used).map(|(repo, _)| *repo);
            let Some(oldest) = oldest else { break };
            self.loaded.remove(&oldest);
        }
    }

    /// Notes a commit whose nodes are only in its event.
    pub(crate) fn note_commit(&mut self, repo: i64, flushed_seq: u64, bytes: usize) {
        let dirty = self.dirty.entry(repo).or_insert(Dirty { commits: 0, bytes: 0, flushed_seq });
        dirty.commits += 1;
        dirty.bytes += bytes;
    }

    /// Tells from which event on a dirty repo must be replayed.
    pub(crate) fn flushed_seq(&self, repo: i64) -> Option<u64> {
        self.dirty.get(&repo).map(|dirty| dirty.flushed_seq)
    }

    /// The oldest event that is still needed for its nodes, less one.
    pub(crate) fn replay_floor(&self) -> Option<u64> {
        self.dirty.values().map(|dirty| dirty.flushed_seq).min()
    }

    /// The transaction is durable: what it flushed need not stay in memory.
    pub(crate) fn committed(&mut self, nodes: &FreshNodes) {
        for repo in self.flushed.drain(..) {
            self.dirty.remove(&repo);
            nodes.remove(repo);
        }
    }

    /// The transaction was undone. Cached trees notice by their root.
    pub(crate) fn rolled_back(&mut self) {
        self.flushed.clear();
    }

    /// A repo is given up together with its nodes.
    pub(crate) fn give_up(&mut self, repo: i64) {
        self.loaded.remove(&repo);
        self.flushed.push(repo);
    }

    /// Counts what was given up, for [`Trees::undo_give_up`].
    pub(crate) fn given_up(&self) -> usize {
        self.flushed.len()
    }

    /// A job failed: the repos that it gave up live on.
    pub(crate) fn undo_give_up(&mut self, count: usize) {
        self.flushed.truncate(count);
    }

    fn due(&self, head_seq: u64, flush_commits: u32) -> Vec<i64> {
        let mut all_bytes: usize = self.dirty.values().map(|dirty| dirty.bytes).sum();
        let mut due: Vec<i64> = Vec::new();
        for (repo, dirty) in &self.dirty {
            let old = dirty.flushed_seq.saturating_add(FLUSH_EVENTS) <= head_seq;
            if old || dirty.commits >= flush_commits || dirty.bytes >= FLUSH_REPO_BYTES {
                due.push(*repo);
                all_bytes = all_bytes.saturating_sub(dirty.bytes);
            }
        }
        if all_bytes > FLUSH_ALL_BYTES {
            let rest = self.dirty.iter().filter(|(repo, _)| !due.contains(repo));
            due.extend(rest.max_by_key(|(_, dirty)| dirty.bytes).map(|(repo, _)| *repo));
        }
        due
    }
}

/// Memory of a node in a map beside its bytes, roughly.
pub(crate) const NODE_OVERHEAD: usize = 120;

/// Memory of a cached tree beside its nodes, bytes, roughly.
const TREE_OVERHEAD: usize = 256;

impl Tx<'_> {
    /// Gives the key that signs for an account.
    pub(crate) fn signing_key(&mut self, account: &Account) -> Result<Arc<SigningKey>, StoreError> {
        if let Some(key) = self.trees.keys.get(&account.id) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.env.read_key(&account.did)?);
        if self.trees.keys.len() >= KEYS_CACHED {
            self.trees.keys.clear();
        }
        self.trees.keys.insert(account.id, Arc::clone(&key));
        Ok(key)
    }

    /// Forgets a key, for an account that is removed.
    pub(crate) fn forget_key(&mut self, account: i64) {
        self.trees.keys.remove(&account);
    }

    /// Flushes the repos whose turn has come.
    pub(crate) fn flush_due(&mut self) -> Result<(), StoreError> {
        for repo in self.trees.due(self.last_seq(), self.env.config.limits.flush_commits) {
            self.flush(repo)?;
        }
        Ok(())
    }

    /// Flushes everything.
    pub(crate) fn flush_all(&mut self) -> Result<(), StoreError> {
        let repos: Vec<i64> = self.trees.dirty.keys().copied().collect();
        for repo in repos {
            self.flush(repo)?;
        }
        Ok(())
    }

    /// Brings the table `node` to the repo's present tree: one deletion or insertion for each node that differs.
    fn flush(&mut self, repo: i64) -> Result<(), StoreError> {
        let doing = "flushing tree nodes";
        let row = self
            .conn
            .prepare_cached("SELECT root, flushed_root, rev FROM repo WHERE id = ?1")
            .and_then(|mut s| {
                s.query_row([repo], |row| {
                    Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?))
                })
                .optional()
            })
            .map_err(StoreError::db(doing))?;
        let Some((root, flushed_root, rev)) = row else {
            self.trees.flushed.push(repo);
            return Ok(());
        };
        let (root, flushed_root, rev) =
            (cid_from_sql(&root)?, cid_from_sql(&flushed_root)?, tid_from_sql(rev));
        let source = Nodes { conn: self.conn, fresh: &self.env.nodes, repo };
        let diff = mst::diff(&source, Some(flushed_root), root).map_err(tree_failed)?;
        for cid in &diff.deleted_nodes {
            node::remove(self.conn, repo, cid)?;
        }
        for (cid, block) in &diff.created_nodes {
            node::store(self.conn, repo, cid, rev, block)?;
        }
        self.conn
            .prepare_cached("UPDATE repo SET flushed_root = root, flushed_seq = ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute(params![repo, crate::account::time_to_sql(self.last_seq())]))
            .map_err(StoreError::db(doing))?;
        self.trees.flushed.push(repo);
        Ok(())
    }
}
