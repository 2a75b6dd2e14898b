//! Leaving sequence numbers out, when somebody remembers larger ones than we do.
//!
//! A relay remembers the last number that it got from a host. When an older backup is restored, or a new store begins
//! under an old name, our numbers lie behind: the relay asks for events after its own number, is told that this is the
//! future, and falls silent. The cure is to go on after its number, and to announce what is here, since the relay may
//! have seen later states.
//!
//! The same is so when the disk with the newest data is given up and an older copy goes on. Then nobody need be asked:
//! whoever promoted the copy has left a note beside it, and numbers go on before anything is sent.

use std::sync::atomic::Ordering;

use atproto::syntax::Did;
use platform::volumes::{SEQUENCE_JUMP_BYTES_MAX, SEQUENCE_JUMP_FILE};
use rusqlite::Connection;

use crate::Store;
use crate::account::{self, Status};
use crate::error::StoreError;
use crate::files::read_small;
use crate::lifecycle::{Announcement, announce, sign_anew};
use crate::write::{REV_AHEAD_FOLLOWED_US, is_far_ahead, rev_past};
use crate::writer::Tx;
use crate::{Config, open, schema};

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

/// Numbers left out when a later copy was given up with its disk.
///
/// Fifty million: what relays take from one host in nearly seven years, at 20,000 events a day. It is half of
/// [`JUMP_MAX`], so that a backup of before can still follow what a relay remembers; and a relay that remembers more
/// than this is passed when it is asked.
const GIVEN_UP_JUMP: u64 = JUMP_MAX / 2;

/// How far the first revisions after that lie ahead of trusted time, microseconds.
///
/// The lost copy's last revision may lie [`REV_AHEAD_FOLLOWED_US`] ahead of its trusted time; that one may be as much
/// ahead of the true time, and ours as much behind.
const GIVEN_UP_LEAD_US: u64 = 3 * REV_AHEAD_FOLLOWED_US;

/// The note that was obeyed last, in the store's own notes.
const NOTE_OBEYED: &str = "jump_note";

/// There when every account is to be announced anew, in the store's own notes.
const ANNOUNCEMENTS_OWED: &str = "announcements_owed";

/// Numbers that were left out at the opening, because a later copy was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The newest number of this copy.
    pub from: u64,
    /// The number after which events go on.
    pub to: u64,
}

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

    /// Numbers that this opening left out because a later copy of the store was given up with its disk.
    #[must_use]
    pub fn given_up(&self) -> Option<GivenUp> {
        self.inner.given_up
    }

    /// Tells whether every account is still to be announced after a later copy was given up. The writer does it before
    /// anything else as soon as the time is trusted; [`Store::announce_owed`] gives it the occasion.
    #[must_use]
    pub fn owes_announcements(&self) -> bool {
        self.inner.env.owes_announcements.load(Ordering::Relaxed)
    }

    /// Waits until the writer has looked at what it owes.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn announce_owed(&self) -> Result<(), StoreError> {
        self.inner.writer()?.call(|_| Ok(())).await
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
    let accounts = announce_all(tx, 0)?;
    Ok(Some(Jump { from, to, accounts }))
}

/// Announces every account; each repo gets a new commit of its tree, with a revision so far ahead of the time.
fn announce_all(tx: &mut Tx<'_>, lead_us: u64) -> Result<usize, StoreError> {
    let dids = all_accounts(tx)?;
    for did in &dids {
        let account = account::require(tx.conn, did)?;
        announce(tx, &account, &[Announcement::Identity, Announcement::Account])?;
        let now = tx.env.now()?;
        match rev_past(account.head.rev, now, lead_us, tx.env.clock_id) {
            Some(rev) if !is_far_ahead(account.head.rev, now) => drop(sign_anew(tx, account, rev, now)?),
            // One that was signed in the future has its own cure, which asks the relays first.
            _ if account.status == Status::Active => announce(tx, &account, &[Announcement::Sync])?,
            _ => {}
        }
    }
    Ok(dids.len())
}

/// Leaves numbers out if a note says that a later copy was given up, and removes the note.
///
/// Only what is on stable storage removes it: the caller has synced the log since the last start, and the transaction
/// here syncs what is new. A cut in between leaves a note that was obeyed already, which is known by its content.
/// Without trusted time nothing can be announced yet: that stays owed, see [`announce_owed`].
pub(crate) fn obey_note(conn: &mut Connection, config: &Config) -> Result<Option<GivenUp>, StoreError> {
    let path = config.dir.join(SEQUENCE_JUMP_FILE);
    let failed = |doing: &'static str| StoreError::file(doing, &path);
    let note = read_small(&*config.files, &path, SEQUENCE_JUMP_BYTES_MAX);
    let Some(note) = note.map_err(failed("reading the note of a given-up disk"))? else { return Ok(None) };
    let note = String::from_utf8_lossy(&note).into_owned();
    let is_new = schema::meta(conn, NOTE_OBEYED)?.as_ref() != Some(&note);
    let given_up = if is_new { Some(leave_numbers_out(conn, &note)?) } else { None };
    config.files.remove(&path).map_err(failed("removing the note of a given-up disk"))?;
    config.files.sync_dir(&config.dir).map_err(failed("removing the note of a given-up disk"))?;
    Ok(given_up)
}

fn leave_numbers_out(conn: &mut Connection, note: &str) -> Result<GivenUp, StoreError> {
    let doing = "leaving numbers out";
    let tx = conn.transaction().map_err(StoreError::db(doing))?;
    let from = open::last_seq(&tx)?;
    let to = from.saturating_add(GIVEN_UP_JUMP).min(SEQ_MAX - JUMP_MAX).max(from);
    schema::set_meta(&tx, "seq_floor", &to.to_string())?;
    schema::set_meta(&tx, NOTE_OBEYED, note)?;
    schema::set_meta(&tx, ANNOUNCEMENTS_OWED, "1")?;
    tx.commit().map_err(StoreError::db(doing))?;
    Ok(GivenUp { from, to })
}

/// Tells whether every account is still to be announced after a copy was given up.
pub(crate) fn owes_announcements(conn: &Connection) -> Result<bool, StoreError> {
    Ok(schema::meta(conn, ANNOUNCEMENTS_OWED)?.is_some())
}

/// Announces every account after a copy was given up.
pub(crate) fn announce_owed(tx: &mut Tx<'_>) -> Result<usize, StoreError> {
    let accounts = announce_all(tx, GIVEN_UP_LEAD_US)?;
    tx.set("DELETE FROM meta WHERE key = ?1", [ANNOUNCEMENTS_OWED])?;
    Ok(accounts)
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
