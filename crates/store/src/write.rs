//! Changes of records: one commit, one event, one transaction.

use std::collections::HashSet;

use atproto::car;
use atproto::cid::Cid;
pub use atproto::data::Record;
use atproto::event::{Action, RepoOp};
use atproto::mst::Tree;
use atproto::syntax::{Did, Nsid, RecordKey, Tid};
use bytes::Bytes;
use platform::time::TrustedTime;
use rusqlite::params;

use crate::Store;
use crate::account::{self, Account, Status, tid_to_sql, time_to_sql};
use crate::error::StoreError;
use crate::tree::{NODE_OVERHEAD, Nodes, tree_failed};
use crate::writer::Tx;
use crate::{node, record};

/// Operations in one commit: the protocol's limit for an event.
pub use atproto::event::OPS_MAX;

/// Bytes of blocks in one commit: the protocol's limit for an event.
pub use atproto::event::BLOCKS_BYTES_MAX as COMMIT_BYTES_MAX;

/// How far a repo's last rev may lie ahead of trusted time and still be followed at once, microseconds.
///
/// 5 s is the bound of trusted time itself: two trusted readings may differ by so much.
pub(crate) const REV_AHEAD_FOLLOWED_US: u64 = 5_000_000;

/// How far it may lie ahead and simply be waited for, microseconds. Beyond, waiting is no answer for a client, and at
/// five minutes relays begin to drop commits: the repo needs repair.
pub(crate) const REV_AHEAD_WAITED_US: u64 = 60_000_000;

/// What happens to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes it; [`StoreError::RecordExists`] when it is there.
    Create(Record),
    /// Makes it, and removes other records of its collection that are about the same: a second like, follow, repost or
    /// block of one subject. [`StoreError::RecordExists`] when it is there.
    CreateInPlaceOf(Record),
    /// Replaces it; [`StoreError::RecordNotFound`] when it is not there.
    Update(Record),
    /// Makes or replaces it.
    Put(Record),
    /// Removes it; a missing one is no error.
    Delete,
}

/// One operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The collection.
    pub collection: Nsid,
    /// The name in it.
    pub rkey: RecordKey,
    /// What happens.
    pub change: Change,
    /// `Some(Some(cid))`: only if the record is this one. `Some(None)`: only if there is none.
    pub swap_record: Option<Option<Cid>>,
}

/// Changes of one repo that succeed or fail together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRequest {
    /// Whose repo.
    pub did: Did,
    /// At most [`OPS_MAX`], each on another record.
    pub ops: Vec<Op>,
    /// Only if the newest commit is this one.
    pub swap_commit: Option<Cid>,
}

/// A commit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMeta {
    /// Its CID.
    pub cid: Cid,
    /// Its revision.
    pub rev: Tid,
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new record with this CID.
    Created(Cid),
    /// Another record in place of an old one.
    Updated(Cid),
    /// The same record was there already.
    Unchanged(Cid),
    /// It is gone.
    Deleted,
    /// There was nothing to remove.
    Missing,
}

/// The answer to a [`WriteRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteResult {
    /// The new commit; `None` when nothing changed, and then no event was sent either.
    pub commit: Option<CommitMeta>,
    /// One for each operation, in its order.
    pub outcomes: Vec<Outcome>,
}

impl Store {
    /// Changes records of one repo. The answer comes when the commit is durable; the event is sent after that.
    ///
    /// # Errors
    /// [`StoreError::InvalidSwap`], [`StoreError::RecordExists`], [`StoreError::RecordNotFound`],
    /// [`StoreError::DuplicatePath`], [`StoreError::TooManyOps`], [`StoreError::TooLarge`], the blob errors,
    /// [`StoreError::AccountNotFound`], [`StoreError::AccountInactive`], [`StoreError::ClockUntrusted`],
    /// [`StoreError::RevAhead`], [`StoreError::RepoNeedsRepair`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteResult, StoreError> {
        if request.ops.len() > OPS_MAX {
            return Err(StoreError::TooManyOps { count: request.ops.len(), max: OPS_MAX });
        }
        self.inner.writer()?.call(move |tx| apply(tx, &request)).await
    }
}

/// An operation that changes something.
struct Applied<'r> {
    path: String,
    record: Option<&'r Record>,
    previous: Option<Cid>,
}

fn apply(tx: &mut Tx<'_>, request: &WriteRequest) -> Result<WriteResult, StoreError> {
    let account = account::require(tx.conn, &request.did)?;
    if account.status != Status::Active {
        return Err(StoreError::AccountInactive { status: account.status });
    }
    if request.ops.iter().any(|op| op.change != Change::Delete) {
        tx.env.check_room()?;
    }
    if let Some(expected) = request.swap_commit
        && expected != account.head.commit
    {
        return Err(StoreError::InvalidSwap { current: Some(account.head.commit) });
    }
    let mut tree = tx.trees.take(account.repo, account.head.data);
    let (outcomes, applied) = change_tree(tx, account.repo, &mut tree, &request.ops)?;
    if applied.is_empty() {
        tx.trees.put(account.repo, tree);
        return Ok(WriteResult { commit: None, outcomes });
    }
    let now = tx.env.now()?;
    let rev = next_rev(account.head.rev, now, tx.env.clock_id)?;
    let commit = commit(tx, &account, &mut tree, &applied, rev, now)?;
    store_records(tx, &account, &applied, rev)?;
    tx.trees.put(account.repo, tree);
    Ok(WriteResult { commit: Some(commit), outcomes })
}

fn change_tree<'r>(
    tx: &Tx<'_>,
    repo: i64,
    tree: &mut Tree,
    ops: &'r [Op],
) -> Result<(Vec<Outcome>, Vec<Applied<'r>>), StoreError> {
    let source = Nodes { conn: tx.conn, fresh: &tx.env.nodes, repo };
    let mut outcomes = Vec::with_capacity(ops.len());
    let mut applied = Vec::with_capacity(ops.len());
    let mut seen = HashSet::with_capacity(ops.len());
    for op in ops {
        let path = format!("{}/{}", op.collection.as_str(), op.rkey.as_str());
        if !seen.insert(path.clone()) {
            return Err(StoreError::DuplicatePath { path });
        }
        if let Change::CreateInPlaceOf(record) = &op.change {
            for path in tx.rivals(repo, &path, record)? {
                if seen.insert(path.clone()) {
                    applied.extend(remove_rival(&source, tree, path)?);
                }
            }
        }
        let current = tree.get(&source, &path).map_err(tree_failed)?;
        if let Some(expected) = op.swap_record
            && expected != current
        {
            return Err(StoreError::InvalidSwap { current });
        }
        let record = match (&op.change, current) {
            (Change::Create(_) | Change::CreateInPlaceOf(_), Some(_)) => {
                return Err(StoreError::RecordExists { path });
            }
            (Change::Update(_), None) => return Err(StoreError::RecordNotFound { path }),
            (
                Change::Create(record)
                | Change::CreateInPlaceOf(record)
                | Change::Update(record)
                | Change::Put(record),
                _,
            ) => Some(record),
            (Change::Delete, _) => None,
        };
        outcomes.push(match (record, current) {
            (Some(record), None) => Outcome::Created(record.cid),
            (Some(record), Some(current)) if record.cid == current => Outcome::Unchanged(current),
            (Some(record), Some(_)) => Outcome::Updated(record.cid),
            (None, Some(_)) => Outcome::Deleted,
            (None, None) => Outcome::Missing,
        });
        if record.map(|record| record.cid) == current {
            continue;
        }
        match record {
            Some(record) => tree.insert(&source, &path, record.cid).map_err(tree_failed)?,
            None => tree.delete(&source, &path).map_err(tree_failed)?,
        };
        applied.push(Applied { path, record, previous: current });
    }
    Ok((outcomes, applied))
}

/// Tells whether a revision lies so far ahead that nothing may follow it: the repo needs repair.
pub(crate) fn is_far_ahead(rev: Tid, now: TrustedTime) -> bool {
    rev.micros().saturating_sub(now.unix_micros()) > REV_AHEAD_WAITED_US
}

fn remove_rival<'r>(
    source: &Nodes<'_>,
    tree: &mut Tree,
    path: String,
) -> Result<Option<Applied<'r>>, StoreError> {
    let previous = tree.delete(source, &path).map_err(tree_failed)?;
    Ok(previous.map(|previous| Applied { path, record: None, previous: Some(previous) }))
}

/// Chooses the revision that follows the last one.
pub(crate) fn next_rev(last: Tid, now: TrustedTime, clock_id: u16) -> Result<Tid, StoreError> {
    let ahead_us = last.micros().saturating_sub(now.unix_micros());
    let at_now = Tid::at(now, clock_id);
    if now.unix_micros() > last.micros() {
        return Ok(at_now);
    }
    if ahead_us <= REV_AHEAD_FOLLOWED_US {
        return last.next_after().ok_or(StoreError::RepoNeedsRepair { ahead_s: ahead_us / 1_000_000 });
    }
    if ahead_us <= REV_AHEAD_WAITED_US {
        let wait_s = (ahead_us - REV_AHEAD_FOLLOWED_US).div_ceil(1_000_000);
        return Err(StoreError::RevAhead { retry_after_s: u32::try_from(wait_s).unwrap_or(u32::MAX) });
    }
    Err(StoreError::RepoNeedsRepair { ahead_s: ahead_us / 1_000_000 })
}

/// Gives a revision after the last one and so far ahead of the time; `None` when there is none after the last one.
pub(crate) fn rev_past(last: Tid, now: TrustedTime, lead_us: u64, clock_id: u16) -> Option<Tid> {
    let ahead = Tid::from_micros(now.unix_micros().saturating_add(lead_us), clock_id);
    if ahead > last { Some(ahead) } else { last.next_after() }
}

fn commit(
    tx: &mut Tx<'_>,
    account: &Account,
    tree: &mut Tree,
    applied: &[Applied<'_>],
    rev: Tid,
    now: TrustedTime,
) -> Result<CommitMeta, StoreError> {
    let committed = tree.commit();
    let key = tx.signing_key(account)?;
    let (cid, block) = atproto::repo::sign(&account.did, committed.root, rev, &key);
    let keys: Vec<&str> = applied.iter().map(|op| op.path.as_str()).collect();
    let source = Nodes { conn: tx.conn, fresh: &tx.env.nodes, repo: account.repo };
    let mut nodes = tree.proof(&source, &keys).map_err(tree_failed)?;
    let proven: HashSet<Cid> = nodes.iter().map(|(cid, _)| *cid).collect();
    nodes.extend(committed.new_blocks.iter().filter(|(cid, _)| !proven.contains(cid)).cloned());
    let fresh_bytes = committed.new_blocks.iter().map(|(_, block)| block.len() + NODE_OVERHEAD).sum();

    let records = applied.iter().filter_map(|op| op.record).map(|record| (record.cid, &record.bytes[..]));
    let nodes = nodes.iter().map(|(cid, block)| (*cid, &block[..]));
    let blocks = car::to_vec(&[cid], std::iter::once((cid, &block[..])).chain(nodes).chain(records));
    if blocks.len() > COMMIT_BYTES_MAX {
        return Err(StoreError::TooLarge { bytes: blocks.len(), max: COMMIT_BYTES_MAX });
    }
    let ops = applied.iter().map(repo_op).collect();
    let meta = CommitMeta { cid, rev };
    let since_flush = tx.trees.flushed_seq(account.repo).unwrap_or(tx.last_seq());
    tx.log_commit(account, Some(&account.head), &meta, ops, blocks, now)?;

    tx.conn
        .prepare_cached(
            "UPDATE repo SET commit_block = ?2, rev = ?3, root = ?4, flushed_seq = ?5 WHERE id = ?1",
        )
        .and_then(|mut s| {
            s.execute(params![
                account.repo,
                &block[..],
                tid_to_sql(rev),
                committed.root.as_bytes(),
                time_to_sql(since_flush)
            ])
        })
        .map_err(StoreError::db("moving the head of a repo"))?;
    if applied.iter().any(|op| may_revive(op, account.head.rev, now)) {
        mark_revived(tx, account.repo, &committed.new_blocks, rev)?;
    }
    tx.env.nodes.add(account.repo, committed.new_blocks);
    tx.trees.note_commit(account.repo, since_flush, fresh_bytes);
    Ok(meta)
}

/// Tells whether a change can bring a node back that the repo had before: all can, but for a record that is new by its
/// name. A revived node that is still in its table keeps the revision of its first life.
fn may_revive(op: &Applied<'_>, last: Tid, now: TrustedTime) -> bool {
    let rkey = op.path.rsplit('/').next().unwrap_or_default();
    let fresh =
        Tid::parse(rkey).is_ok_and(|tid| tid.micros() >= last.micros() && tid.micros() <= now.unix_micros());
    op.previous.is_some() || op.record.is_none() || !fresh
}

/// Gives revived nodes the present revision, so that an export since a moment between their lives has them.
fn mark_revived(tx: &Tx<'_>, repo: i64, nodes: &[(Cid, Bytes)], rev: Tid) -> Result<(), StoreError> {
    for (cid, _) in nodes {
        node::redate(tx.conn, repo, cid, rev)?;
    }
    Ok(())
}

fn repo_op(op: &Applied<'_>) -> RepoOp {
    let cid = op.record.map(|record| record.cid);
    let action = match (cid, op.previous) {
        (Some(_), None) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (None, _) => Action::Delete,
    };
    RepoOp { action, path: op.path.clone(), cid, prev: op.previous }
}

fn store_records(
    tx: &mut Tx<'_>,
    account: &Account,
    applied: &[Applied<'_>],
    rev: Tid,
) -> Result<(), StoreError> {
    for op in applied.iter().filter(|op| op.previous.is_some()) {
        tx.remove_backlink(account.repo, &op.path)?;
    }
    for op in applied {
        let Some(record) = op.record else { continue };
        tx.add_backlink(account.repo, &op.path, &record.bytes)?;
        let put = if op.previous.is_some() { record::replace } else { record::insert };
        put(tx.conn, account.repo, &op.path, &record.cid, rev, &record.bytes)?;
    }
    for op in applied.iter().filter(|op| op.record.is_none()) {
        record::remove(tx.conn, account.repo, &op.path)?;
    }
    // First the new references, then the old ones: a blob that moves between records is never unreferenced.
    let mut loose = Vec::new();
    for op in applied.iter().filter(|op| op.previous.is_some()) {
        loose.extend(tx.unlink_blobs(account, &op.path)?);
    }
    for op in applied {
        if let Some(record) = op.record {
            tx.link_blobs(account, &op.path, rev, &record.blobs)?;
        }
    }
    tx.drop_unreferenced(account, loose)
}
