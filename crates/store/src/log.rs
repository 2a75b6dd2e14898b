//! How changes become events: the frames, their rows, and the way back from a frame to its tree nodes.

use atproto::car;
use atproto::cid::Cid;
use atproto::event::{
    self, AccountEvent, AccountStatus, CommitEvent, Frame, IdentityEvent, RepoOp, SyncEvent,
};
use bytes::Bytes;
use platform::time::TrustedTime;
use rusqlite::params;

use crate::account::{Account, Head, Status, time_to_sql};
use crate::error::StoreError;
use crate::event::Event;
use crate::write::CommitMeta;
use crate::writer::Tx;

impl Tx<'_> {
    /// Number of the newest event, stored or about to be.
    pub(crate) fn last_seq(&self) -> u64 {
        self.peek_seq().saturating_sub(1)
    }

    fn append(&mut self, account: i64, now: TrustedTime, seq: u64, frame: Bytes) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT INTO event (seq, account, at, frame) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut s| {
                s.execute(params![time_to_sql(seq), account, time_to_sql(now.unix_micros()), &frame[..]])
            })
            .map_err(StoreError::db("storing an event"))?;
        self.publish(Event { seq, frame });
        Ok(())
    }

    /// Stores a `#commit`; `before` is what it follows, none for a new repo.
    pub(crate) fn log_commit(
        &mut self,
        account: &Account,
        before: Option<&Head>,
        commit: &CommitMeta,
        ops: Vec<RepoOp>,
        blocks: Vec<u8>,
        now: TrustedTime,
    ) -> Result<(), StoreError> {
        let seq = self.next_seq();
        let event = CommitEvent {
            did: account.did.clone(),
            commit: commit.cid,
            rev: commit.rev,
            since: before.map(|head| head.rev),
            prev_data: before.map(|head| head.data),
            ops,
            blocks: Bytes::from(blocks),
        };
        let too_large =
            |_| StoreError::TooLarge { bytes: event.blocks.len(), max: crate::write::COMMIT_BYTES_MAX };
        let frame = event::commit_frame(seq, now, &event).map_err(too_large)?;
        self.append(account.id, now, seq, frame)
    }

    /// Stores a `#sync` of the account's head.
    pub(crate) fn log_sync(&mut self, account: &Account, now: TrustedTime) -> Result<(), StoreError> {
        let head = &account.head;
        let blocks = car::to_vec(&[head.commit], [(head.commit, &head.block[..])]);
        let event = SyncEvent { did: account.did.clone(), rev: head.rev, blocks: Bytes::from(blocks) };
        let seq = self.next_seq();
        let frame = event::sync_frame(seq, now, &event)
            .map_err(|error| StoreError::corrupt(format!("a commit block: {error}")))?;
        self.append(account.id, now, seq, frame)
    }

    /// Stores an `#identity` with the account's handle.
    pub(crate) fn log_identity(&mut self, account: &Account, now: TrustedTime) -> Result<(), StoreError> {
        let event = IdentityEvent { did: account.did.clone(), handle: Some(account.handle.clone()) };
        let seq = self.next_seq();
        self.append(account.id, now, seq, event::identity_frame(seq, now, &event))
    }

    /// Stores an `#account` with the account's state, or as deleted.
    pub(crate) fn log_account(
        &mut self,
        account: &Account,
        deleted: bool,
        now: TrustedTime,
    ) -> Result<(), StoreError> {
        let inactive = match account.status {
            _ if deleted => Some(AccountStatus::Deleted),
            Status::Active => None,
            Status::Deactivated => Some(AccountStatus::Deactivated),
            Status::Takendown => Some(AccountStatus::Takendown),
            Status::Suspended => Some(AccountStatus::Suspended),
        };
        let event = AccountEvent { did: account.did.clone(), inactive };
        let seq = self.next_seq();
        self.append(account.id, now, seq, event::account_frame(seq, now, &event))
    }
}

/// Takes the tree nodes out of a stored `#commit` frame; other frames have none.
pub(crate) fn nodes_of_frame(frame: &[u8]) -> Result<Vec<(Cid, Bytes)>, StoreError> {
    let damaged = |what: String| StoreError::corrupt(format!("a stored event: {what}"));
    let Frame::Commit { event, .. } =
        event::decode_frame(frame).map_err(|error| damaged(error.to_string()))?
    else {
        return Ok(Vec::new());
    };
    let mut nodes = Vec::new();
    for block in car::Reader::new(&event.blocks[..]).map_err(|error| damaged(error.to_string()))? {
        let (cid, block) = block.map_err(|error| damaged(error.to_string()))?;
        if cid != event.commit && !event.ops.iter().any(|op| op.cid == Some(cid)) {
            nodes.push((cid, block));
        }
    }
    Ok(nodes)
}
