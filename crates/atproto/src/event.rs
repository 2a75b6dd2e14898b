//! Events of `com.atproto.sync.subscribeRepos`: what they hold and the websocket frames that carry them.
//!
//! A frame is two DAG-CBOR objects, a header and a body. It is encoded once, with its sequence number inside, and
//! then shared: what is stored is what is sent. Source: lexicon `com.atproto.sync.subscribeRepos`; atproto
//! specification "Event Stream" and "Sync".

mod decode;
mod encode;

pub use decode::{Frame, FrameError, decode_frame};
pub use encode::{account_frame, commit_frame, error_frame, identity_frame, info_frame, sync_frame};

use crate::cid::Cid;
use crate::syntax::{Did, Handle};
use crate::tid::Tid;
use bytes::Bytes;

/// Blocks of one commit event, in bytes; relays drop the event beyond. Source: lexicon, `#commit.blocks`.
pub const BLOCKS_BYTES_MAX: usize = 2_000_000;
/// Operations of one commit event. Source: lexicon, `#commit.ops`.
pub const OPS_MAX: usize = 200;
/// Blocks of a sync event, in bytes: the commit alone. Source: lexicon, `#sync.blocks`.
pub const SYNC_BLOCKS_BYTES_MAX: usize = 10_000;
/// Largest frame that is decoded, in bytes. Source: specification "Sync", hard limit on websocket messages.
pub const FRAME_BYTES_MAX: usize = 5_000_000;
/// Largest sequence number: what JSON and JavaScript carry exactly.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// What happened to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    /// Returns the lexicon's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One operation of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoOp {
    pub action: Action,
    /// `collection/rkey`.
    pub path: String,
    /// The record after the commit; `None` for a deletion.
    pub cid: Option<Cid>,
    /// The record before the commit; `None` for a creation.
    pub prev: Option<Cid>,
}

/// A change of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitEvent {
    pub did: Did,
    pub commit: Cid,
    pub rev: Tid,
    /// The revision before; `None` for the first commit.
    pub since: Option<Tid>,
    /// The tree before; `None` for the first commit.
    pub prev_data: Option<Cid>,
    pub ops: Vec<RepoOp>,
    /// A CAR file: the commit (its root), the covering proof of all paths, and the new records.
    pub blocks: Bytes,
}

/// A repository as it now is, without saying what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    pub did: Did,
    pub rev: Tid,
    /// A CAR file that holds the commit alone.
    pub blocks: Bytes,
}

/// A change of an account's handle or DID document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityEvent {
    pub did: Did,
    pub handle: Option<Handle>,
}

/// A change of an account's hosting here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    pub did: Did,
    /// Why the account is not active; `None` when it is.
    pub inactive: Option<AccountStatus>,
}

/// Why an account is not active. Source: lexicon, `#account.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountStatus {
    Takendown,
    Suspended,
    Deleted,
    Deactivated,
    Desynchronized,
    Throttled,
}

impl AccountStatus {
    const ALL: [Self; 6] = [
        Self::Takendown,
        Self::Suspended,
        Self::Deleted,
        Self::Deactivated,
        Self::Desynchronized,
        Self::Throttled,
    ];

    /// Returns the lexicon's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Takendown => "takendown",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::Desynchronized => "desynchronized",
            Self::Throttled => "throttled",
        }
    }

    /// Takes the lexicon's word; `None` for one that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

#[cfg(test)]
mod tests;
