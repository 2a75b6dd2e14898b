//! Leaving sequence numbers out, when somebody remembers larger ones than we do.
//!
//! A relay remembers the last number that it got from a host. When an older backup is restored, or a new store begins
//! under an old name, our numbers lie behind: the relay asks for events after its own number, is told that this is the
//! future, and falls silent. The cure is to go on after its number, and to announce what is here, since the relay may
//! have seen later states.

use atproto::syntax::Did;

use crate::Store;
use crate::account::{self, Status};
use crate::error::StoreError;
use crate::lifecycle::{Announcement, announce, repair};
use crate::schema;
use crate::write::is_far_ahead;
use crate::writer::Tx;

/// Largest number that an event may have: the protocol's integers have 53 bits.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// How far numbers may go forward because of what somebody else says, numbers.
///
/// A hundred million: thirteen years of the 20,000 events a day that relays take. A relay that claims more is wrong or
/// hostile; following it to the end of the numbers would end the firehose for good.
pub const JUMP_MAX: u64 = 100_000_000;

/// Numbers left out beyond the one that is to be passed. Relays store their place some seconds late: this many are
/// three minutes of the 50 events a second that they take.
const JUMP_MARGIN: u64 = 10_000;

/// What a jump came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The newest number before.
    pub from: u64,
    /// The number after which events go on.
    pub to: u64,
    /// Accounts that were announced anew.
    pub accounts: usize,
}

impl Store {
    /// Goes on after `past`, a number that somebody has seen from this host, and announces every account anew.
    ///
    /// Each repo gets a new commit of its present tree, because a later one may have been seen. Does nothing, and gives
    /// `None`, when our newest number is as large already.
    ///
    /// # Errors
    /// [`StoreError::JumpTooFar`], [`StoreError::ClockUntrusted`], [`StoreError::RevAhead`], or a failure of the disk.
    pub async fn jump_seq(&self, past: u64) -> Result<Option<Jump>, StoreError> {
        self.inner.writer()?.call(move |tx| jump(tx, past)).await
    }
}

fn jump(tx: &mut Tx<'_>, past: u64) -> Result<Option<Jump>, StoreError> {
    let from = tx.last_seq();
    if past <= from {
        return Ok(None);
    }
    let to = past.saturating_add(JUMP_MARGIN);
    if past - from > JUMP_MAX || to >= SEQ_MAX - JUMP_MAX {
        return Err(StoreError::JumpTooFar { from, past });
    }
    schema::set_meta(tx.conn, "seq_floor", &to.to_string())?;
    tx.skip_to(to);
    let dids = all_accounts(tx)?;
    for did in &dids {
        let account = account::require(tx.conn, did)?;
        announce(tx, &account, &[Announcement::Identity, Announcement::Account])?;
        // One that was signed in the future has its own cure, which asks the relays first.
        if !is_far_ahead(account.head.rev, tx.env.now()?) {
            repair(tx, did)?;
        } else if account.status == Status::Active {
            announce(tx, &account, &[Announcement::Sync])?;
        }
    }
    Ok(Some(Jump { from, to, accounts: dids.len() }))
}

fn all_accounts(tx: &Tx<'_>) -> Result<Vec<Did>, StoreError> {
    let doing = "listing accounts";
    let mut statement =
        tx.conn.prepare_cached("SELECT did FROM account ORDER BY id").map_err(StoreError::db(doing))?;
    let dids: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(StoreError::db(doing))?;
    dids.iter().map(|did| Did::parse(did).map_err(|error| StoreError::corrupt(error.to_string()))).collect()
}
