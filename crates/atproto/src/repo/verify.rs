//! What a consumer checks: a whole repository from a CAR file, and one commit event by undoing it.

use super::commit::{Commit, CommitError, decode_commit, verify};
use crate::car::{self, CarError};
use crate::cbor::{self, DecodeError};
use crate::cid::Cid;
use crate::crypto::{CryptoError, PublicKey};
use crate::event::{Action, BLOCKS_BYTES_MAX, CommitEvent, OPS_MAX, RepoOp};
use crate::mst::{MstError, NodeSource, Step, Tree, Walk};
use crate::syntax::Did;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::Read;

/// Tree nodes that `verify_repo` holds, in bytes: those of some two million records.
///
/// A CAR file may have its blocks in any order, so nodes wait in memory until the tree can be walked.
pub const VERIFY_NODE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How the encoding of every tree node begins: a map of two, whose first key is `e`.
const NODE_PREFIX: [u8; 3] = [0xa2, 0x61, b'e'];

/// What a sound repository holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRepo {
    pub commit: Commit,
    /// The name of the commit.
    pub head: Cid,
    pub nodes: u64,
    pub records: u64,
    /// Blocks of the file that are neither the commit nor in its tree.
    pub strangers: u64,
}

/// Why a CAR file is not a sound repository.
#[derive(Debug, thiserror::Error)]
pub enum RepoFault {
    #[error("the repository's file cannot be read")]
    Car(#[from] CarError),
    #[error("the file names no commit, or not exactly one")]
    Roots,
    #[error("the commit {0} is not in the file")]
    NoCommit(Cid),
    #[error("the repository's commit is not acceptable")]
    Commit(#[from] CommitError),
    #[error("the repository belongs to {0}")]
    OtherDid(Did),
    #[error("the commit is not signed by the account's key")]
    Signature(#[source] CryptoError),
    #[error("a block {cid} is not canonical DAG-CBOR")]
    Block {
        cid: Cid,
        #[source]
        source: DecodeError,
    },
    #[error("the nodes take more than {VERIFY_NODE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the tree is not sound")]
    Tree(#[from] MstError<Infallible>),
    #[error("the record {key} ({cid}) is not in the file")]
    NoRecord { key: Box<str>, cid: Cid },
}

/// Checks a whole repository: every hash, the commit's signature and owner, the tree's shape, every record's presence
/// and encoding. `record` is called for each key, in order.
///
/// Holds the nodes and 36 bytes for each record, so a repository of 100,000 records takes about 20 MB.
pub fn verify_repo<R: Read>(
    car: R,
    did: &Did,
    key: &PublicKey,
    mut record: impl FnMut(&str, Cid),
) -> Result<VerifiedRepo, RepoFault> {
    let reader = car::Reader::new(car)?;
    let &[head] = reader.roots() else { return Err(RepoFault::Roots) };
    let (mut commit, mut nodes, mut records) = (None, HashMap::new(), HashSet::new());
    let mut room = VERIFY_NODE_BYTES_MAX;
    for block in reader {
        let (cid, block) = block?;
        cbor::check(&block).map_err(|source| RepoFault::Block { cid, source })?;
        if cid == head {
            commit = Some(decode_commit(&block)?);
            continue;
        }
        // A record may begin like a node: then it is kept as one, which costs room and nothing else.
        if block.starts_with(&NODE_PREFIX) {
            room = room.checked_sub(block.len()).ok_or(RepoFault::TooLarge)?;
            nodes.insert(cid, block);
        } else {
            records.insert(cid);
        }
    }
    let commit = commit.ok_or(RepoFault::NoCommit(head))?;
    if commit.did != *did {
        return Err(RepoFault::OtherDid(commit.did));
    }
    verify(&commit, key).map_err(RepoFault::Signature)?;

    let (mut used, mut node_count, mut record_count) = (HashSet::new(), 0u64, 0u64);
    for step in Walk::new(&nodes, commit.data) {
        match step? {
            Step::Node { cid, .. } => {
                node_count += 1;
                used.insert(cid);
            }
            Step::Record { key, value } => {
                if !records.contains(&value) && !nodes.contains_key(&value) {
                    return Err(RepoFault::NoRecord { key, cid: value });
                }
                record_count += 1;
                used.insert(value);
                record(&key, value);
            }
        }
    }
    let strangers = nodes.keys().chain(&records).filter(|cid| !used.contains(*cid)).count();
    let strangers = u64::try_from(strangers).unwrap_or(u64::MAX);
    Ok(VerifiedRepo { commit, head, nodes: node_count, records: record_count, strangers })
}

/// Why operations cannot be undone on a tree.
#[derive(Debug, thiserror::Error)]
pub enum InvertError<E: std::error::Error + 'static> {
    #[error("the tree cannot be read as far as undoing needs")]
    Tree(#[from] MstError<E>),
    #[error("the operation on {0} lacks a CID that it must have, or has one too many")]
    Shape(Box<str>),
    #[error("two operations concern {0}")]
    Twice(Box<str>),
    #[error("the tree does not hold what the operation on {0} says")]
    Disagrees(Box<str>),
}

/// Undoes operations on the tree `root` and returns the root before them.
///
/// `src` needs to hold no more than the covering proof (`Tree::proof`) of the operations' paths.
pub fn invert_ops<S: NodeSource>(src: &S, root: Cid, ops: &[RepoOp]) -> Result<Cid, InvertError<S::Error>> {
    let mut tree = Tree::load(root);
    let mut paths = HashSet::new();
    for op in ops.iter().rev() {
        if !paths.insert(&op.path) {
            return Err(InvertError::Twice(op.path.as_str().into()));
        }
        let undone = match (op.action, op.cid, op.prev) {
            (Action::Create, Some(_), None) => tree.delete(src, &op.path)?,
            (Action::Update, Some(_), Some(prev)) | (Action::Delete, None, Some(prev)) => {
                tree.insert(src, &op.path, prev)?
            }
            _ => return Err(InvertError::Shape(op.path.as_str().into())),
        };
        if undone != op.cid {
            return Err(InvertError::Disagrees(op.path.as_str().into()));
        }
    }
    Ok(tree.commit().root)
}

/// Why a commit event is refused.
#[derive(Debug, thiserror::Error)]
pub enum EventFault {
    #[error("the event's blocks cannot be read")]
    Car(#[from] CarError),
    #[error("the event has more than {BLOCKS_BYTES_MAX} bytes of blocks or {OPS_MAX} operations")]
    TooLarge,
    #[error("the event's blocks do not begin at its commit")]
    Roots,
    #[error("the event's commit is not acceptable")]
    Commit(#[from] CommitError),
    #[error("the event's DID or revision is not its commit's")]
    OtherCommit,
    #[error("the commit is not signed by the account's key")]
    Signature(#[source] CryptoError),
    #[error("the record {0} of an operation is not among the blocks")]
    NoRecord(Cid),
    #[error("the record {cid} of an operation is not canonical DAG-CBOR")]
    Record {
        cid: Cid,
        #[source]
        source: DecodeError,
    },
    #[error("the operations cannot be undone")]
    Invert(#[from] InvertError<Infallible>),
    #[error("undoing the operations leads to {found}, not to the tree that the event names as previous")]
    OtherPrevious { found: Cid },
}

/// Checks a commit event as a Sync 1.1 consumer does, from the event alone.
///
/// The commit's signature and fields, every record of an operation, and that undoing the operations leads from the
/// commit's tree to `prev_data` (to the empty tree when the event has none). Comparing that and `since` with
/// the last event of the repository is the caller's part.
pub fn verify_commit_event(event: &CommitEvent, key: &PublicKey) -> Result<Commit, EventFault> {
    if event.blocks.len() > BLOCKS_BYTES_MAX || event.ops.len() > OPS_MAX {
        return Err(EventFault::TooLarge);
    }
    let reader = car::Reader::new(&event.blocks[..])?;
    if reader.roots().first() != Some(&event.commit) {
        return Err(EventFault::Roots);
    }
    let blocks: HashMap<Cid, Bytes> = reader.collect::<Result<_, _>>()?;
    let commit = decode_commit(blocks.get(&event.commit).ok_or(EventFault::Roots)?)?;
    if commit.did != event.did || commit.rev != event.rev {
        return Err(EventFault::OtherCommit);
    }
    verify(&commit, key).map_err(EventFault::Signature)?;
    for cid in event.ops.iter().filter_map(|op| op.cid) {
        let record = blocks.get(&cid).ok_or(EventFault::NoRecord(cid))?;
        cbor::check(record).map_err(|source| EventFault::Record { cid, source })?;
    }
    let found = invert_ops(&blocks, commit.data, &event.ops)?;
    if found == event.prev_data.unwrap_or_else(|| Tree::empty().commit().root) {
        Ok(commit)
    } else {
        Err(EventFault::OtherPrevious { found })
    }
}
