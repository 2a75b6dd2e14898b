//! The life of an account after its reservation: birth, changes of state and name, repair, end.

use atproto::car;
use atproto::mst::Tree;
use atproto::syntax::{Did, Handle, Tid};
use platform::time::TrustedTime;
use rusqlite::{OptionalExtension, params};

use crate::Store;
use crate::account::{self, Account, Head, Status, tid_to_sql, time_to_sql};
use crate::error::StoreError;
use crate::hold::{Hold, HoldKind, set_hold};
use crate::invite;
use crate::node;
use crate::read::Reader;
use crate::reserve;
use crate::session;
use crate::write::CommitMeta;
use crate::writer::Tx;

/// Something to tell the network about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// `#identity`: the DID document or handle may have changed.
    Identity,
    /// `#account` with its present state.
    Account,
    /// `#sync` with its present commit.
    Sync,
}

impl Store {
    /// Makes the account whose creation is under way: row, signed empty repo and, when it starts active, the events
    /// `#identity`, `#account`, `#commit`, `#sync`, all in one transaction.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`] when no creation is under way; [`StoreError::ClockUntrusted`], or a failure of
    /// the disk. After an error the creation is still under way.
    pub async fn complete_account(&self, did: &Did, status: Status) -> Result<Account, StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| complete(tx, &did, status)).await
    }

    /// Changes the state that an account's owner chooses, under the operator's hold if there is one. Becoming active
    /// announces `#account`, `#identity`, `#sync`; switching off `#account`. What changes nothing that shows announces
    /// nothing. [`Status::Takendown`] and [`Status::Suspended`] are the operator's: [`Store::set_hold`] without words.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn set_status(&self, did: &Did, status: Status) -> Result<Account, StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let kind = match status {
                    Status::Active | Status::Deactivated => None,
                    Status::Takendown => Some(HoldKind::Takedown),
                    Status::Suspended => Some(HoldKind::Suspension),
                };
                if let Some(kind) = kind {
                    return set_hold(tx, &did, Some(&Hold { kind, reference: String::new() }));
                }
                let before = account::require(tx.conn, &did)?;
                let off_since = match status {
                    Status::Active => None,
                    _ => {
                        before.deactivated_at_us.map(Ok).or(Some(tx.env.now().map(TrustedTime::unix_micros)))
                    }
                };
                let off_since = off_since.transpose()?.map(time_to_sql);
                tx.set(
                    "UPDATE account SET status = ?2, deactivated_at = ?3 WHERE id = ?1",
                    params![before.id, status.as_str(), off_since],
                )?;
                if status == Status::Active {
                    // Whoever switches the account on again does not want it deleted any more.
                    tx.set("UPDATE account SET delete_after = NULL WHERE id = ?1", [before.id])?;
                }
                let account = account::require(tx.conn, &did)?;
                if account.status == before.status {
                    return Ok(account);
                }
                let events: &[Announcement] = match status {
                    Status::Active => &[Announcement::Account, Announcement::Identity, Announcement::Sync],
                    _ => &[Announcement::Account],
                };
                announce(tx, &account, events)?;
                Ok(account)
            })
            .await
    }

    /// Switches an account off for its owner and announces it; `delete_after_us` (microseconds since 1970) says when it
    /// may be deleted, if ever, in place of what was said before. An account that the operator hides stays hidden.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn deactivate(&self, did: &Did, delete_after_us: Option<u64>) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                let now = time_to_sql(tx.env.now()?.unix_micros());
                let status = Status::Deactivated;
                let sql = "UPDATE account SET status = ?4, deactivated_at = coalesce(deactivated_at, ?2), \
                           delete_after = ?3 WHERE id = ?1";
                let params = params![account.id, now, delete_after_us.map(time_to_sql), status.as_str()];
                tx.set(sql, params)?;
                if account.status != Status::Active {
                    return Ok(());
                }
                announce(tx, &Account { status, ..account }, &[Announcement::Account])
            })
            .await
    }

    /// Deletes one switched-off account whose time has come; gives it, or `None` when there is none. What the operator
    /// has taken down is kept: it may be evidence.
    ///
    /// # Errors
    /// [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn delete_due_account(&self, now: TrustedTime) -> Result<Option<Did>, StoreError> {
        let now_us = time_to_sql(now.unix_micros());
        self.inner
            .writer()?
            .call(move |tx| {
                let doing = "looking for accounts to delete";
                let due: Option<String> = tx
                    .conn
                    .prepare_cached(
                        "SELECT did FROM account WHERE status = 'deactivated' AND takedown_ref IS NULL \
                         AND delete_after <= ?1 LIMIT 1",
                    )
                    .and_then(|mut s| s.query_row([now_us], |row| row.get(0)).optional())
                    .map_err(StoreError::db(doing))?;
                let Some(due) = due else { return Ok(None) };
                let did = Did::parse(&due).map_err(|e| StoreError::corrupt(e.to_string()))?;
                delete(tx, &did)?;
                Ok(Some(did))
            })
            .await
    }

    /// Notes that an e-mail address is the owner's. Does nothing when the account has another address by now.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn confirm_email(
        &self,
        did: &Did,
        email: String,
        confirmed_at: TrustedTime,
    ) -> Result<(), StoreError> {
        let did = did.clone();
        let at = time_to_sql(confirmed_at.unix_micros());
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                let sql = "UPDATE account SET email_confirmed_at = ?3 WHERE id = ?1 AND email = ?2";
                tx.set(sql, params![account.id, email, at])
            })
            .await
    }

    /// Announces something about an account, in the given order, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn announce(&self, did: &Did, events: Vec<Announcement>) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                announce(tx, &account, &events)
            })
            .await
    }

    /// Gives an account another handle and announces `#identity`. The same handle again announces too.
    ///
    /// # Errors
    /// [`StoreError::HandleTaken`], [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of
    /// the disk.
    pub async fn set_handle(&self, did: &Did, handle: Handle) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                if account.handle != handle {
                    account::check_handle_free(tx.conn, &handle, &did)?;
                    let sql = "UPDATE account SET handle = ?2 WHERE id = ?1";
                    tx.set(sql, params![account.id, handle.as_str()])?;
                }
                announce(tx, &Account { handle, ..account }, &[Announcement::Identity])
            })
            .await
    }

    /// Replaces the password, ends all sessions and voids the code that could set another.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn set_password_hash(&self, did: &Did, hash: String) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                tx.set("UPDATE account SET password_hash = ?2 WHERE id = ?1", params![account.id, hash])?;
                let sql = "DELETE FROM email_token WHERE account = ?1 AND purpose = 'reset_password'";
                tx.set(sql, [account.id])?;
                session::revoke_all(tx.conn, account.id, None)
            })
            .await
    }

    /// Replaces the e-mail address; `confirmed_at` says when it was confirmed, if it was. Codes that were sent to the old
    /// address are void.
    ///
    /// # Errors
    /// [`StoreError::EmailTaken`], [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn set_email(
        &self,
        did: &Did,
        email: String,
        confirmed_at: Option<TrustedTime>,
    ) -> Result<(), StoreError> {
        let (did, email) = (did.clone(), email.to_lowercase());
        let confirmed_at = confirmed_at.map(|at| time_to_sql(at.unix_micros()));
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                let other = account::find(tx.conn, "email", &email)?;
                if other.is_some_and(|other| other.id != account.id) {
                    return Err(StoreError::EmailTaken);
                }
                tx.set("DELETE FROM email_token WHERE account = ?1", [account.id])?;
                let sql = "UPDATE account SET email = ?2, email_confirmed_at = ?3 WHERE id = ?1";
                tx.set(sql, params![account.id, email, confirmed_at])
            })
            .await
    }

    /// Replaces an account's preferences by what `change` makes of those that are kept at that moment; opaque here. The
    /// caller bounds their size.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn change_preferences(
        &self,
        did: &Did,
        change: impl FnOnce(Option<Vec<u8>>) -> Vec<u8> + Send + 'static,
    ) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                tx.env.check_room()?;
                let account = account::require(tx.conn, &did)?;
                let preferences = change(Reader::new(tx.conn, tx.env).preferences(&account)?);
                tx.set("UPDATE account SET preferences = ?2 WHERE id = ?1", params![account.id, preferences])
            })
            .await
    }

    /// Signs the repo's present tree anew with a revision of now, and announces `#sync`.
    ///
    /// For a repo whose last commit was signed far ahead of the clock: its new revision is lower, so a relay accepts it
    /// only when it has not taken the future one. Does nothing to a repo that is in order but sign it once more.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn repair_repo(&self, did: &Did) -> Result<CommitMeta, StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| repair(tx, &did)).await
    }

    /// Removes an account with all that belongs to it, and announces `#account` as deleted.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn delete_account(&self, did: &Did) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| delete(tx, &did)).await
    }
}

impl Tx<'_> {
    /// Executes one changing statement.
    pub(crate) fn set(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params))
            .map(|_| ())
            .map_err(StoreError::db("changing an account"))
    }

    /// Gives a repo number that no rows are left of.
    pub(crate) fn new_repo_id(&self) -> Result<i64, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT 1 + max((SELECT coalesce(max(id), 0) FROM repo), \
                 (SELECT coalesce(max(repo), 0) FROM doomed_repo))",
            )
            .and_then(|mut s| s.query_row([], |row| row.get(0)))
            .map_err(StoreError::db("numbering a repo"))
    }

    /// Moves a repo's head to a commit of a tree that the table `node` holds whole.
    pub(crate) fn set_flushed_head(&self, repo: i64, account: i64, head: &Head) -> Result<(), StoreError> {
        self.set(
            "INSERT INTO repo (id, account, commit_block, rev, root, flushed_root, flushed_seq) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (id) DO UPDATE SET \
             commit_block = ?3, rev = ?4, root = ?5, flushed_root = ?5, flushed_seq = ?6",
            params![
                repo,
                account,
                &head.block[..],
                tid_to_sql(head.rev),
                head.data.as_bytes(),
                time_to_sql(self.last_seq())
            ],
        )
    }
}

pub(crate) fn announce(
    tx: &mut Tx<'_>,
    account: &Account,
    events: &[Announcement],
) -> Result<(), StoreError> {
    let now = tx.env.now()?;
    for event in events {
        match event {
            Announcement::Identity => tx.log_identity(account, now)?,
            Announcement::Account => tx.log_account(account, false, now)?,
            Announcement::Sync => tx.log_sync(account, now)?,
        }
    }
    Ok(())
}

type IntentRow = (String, Option<String>, String, Option<String>);

fn take_intent(tx: &Tx<'_>, did: &Did) -> Result<IntentRow, StoreError> {
    tx.conn
        .prepare_cached("SELECT handle, email, password_hash, invite FROM intent WHERE did = ?1")
        .and_then(|mut s| {
            s.query_row([did.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .optional()
        })
        .map_err(StoreError::db("reading an intent"))?
        .ok_or(StoreError::AccountNotFound)
}

fn complete(tx: &mut Tx<'_>, did: &Did, status: Status) -> Result<Account, StoreError> {
    let now = tx.env.now()?;
    let (handle, email, password_hash, invite) = take_intent(tx, did)?;
    let mut empty = Tree::empty();
    let tree = empty.commit();
    let repo = tx.new_repo_id()?;
    let key = tx.env.read_key(did)?;
    let rev = Tid::at(now, tx.env.clock_id);
    let (commit, block) = atproto::repo::sign(did, tree.root, rev, &key);
    let head = Head { commit, block, rev, data: tree.root };

    tx.set(
        "INSERT INTO account (did, handle, email, password_hash, created_at, status, repo, deactivated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?6 = 'active' THEN NULL ELSE ?5 END)",
        params![
            did.as_str(),
            handle,
            email,
            password_hash,
            time_to_sql(now.unix_micros()),
            status.as_str(),
            repo
        ],
    )?;
    let id = tx.conn.last_insert_rowid();
    for (cid, block) in &tree.new_blocks {
        node::store(tx.conn, repo, cid, rev, block)?;
    }
    account::remove_intent(tx, did)?;
    if let Some(code) = invite {
        invite::record_use(tx, &code, did, now)?;
    }
    reserve::release(tx, did)?;
    tx.set_flushed_head(repo, id, &head)?;
    let account = account::require(tx.conn, did)?;
    if status == Status::Active {
        let nodes = tree.new_blocks.iter().map(|(cid, block)| (*cid, &block[..]));
        let blocks = car::to_vec(&[commit], std::iter::once((commit, &head.block[..])).chain(nodes));
        tx.log_identity(&account, now)?;
        tx.log_account(&account, false, now)?;
        tx.log_commit(&account, None, &CommitMeta { cid: commit, rev }, Vec::new(), blocks, now)?;
        tx.log_sync(&account, now)?;
    }
    Ok(account)
}

/// Gives everything of a repo that is of later than a revision that revision.
const REDATE: &[&str] = &[
    "UPDATE record_body SET rev = ?2 \
     WHERE rev > ?2 AND id IN (SELECT record FROM record_name WHERE repo = ?1)",
    "UPDATE node_body SET rev = ?2 WHERE rev > ?2 AND id IN (SELECT node FROM node_name WHERE repo = ?1)",
    "UPDATE record_blob SET rev = ?2 WHERE repo = ?1 AND rev > ?2",
];

pub(crate) fn repair(tx: &mut Tx<'_>, did: &Did) -> Result<CommitMeta, StoreError> {
    let account = account::require(tx.conn, did)?;
    let now = tx.env.now()?;
    let rev = match crate::write::next_rev(account.head.rev, now, tx.env.clock_id) {
        Ok(rev) => rev,
        Err(_) => Tid::at(now, tx.env.clock_id),
    };
    sign_anew(tx, account, rev, now)
}

/// Signs the present tree with this revision, and announces it.
pub(crate) fn sign_anew(
    tx: &mut Tx<'_>,
    account: Account,
    rev: Tid,
    now: TrustedTime,
) -> Result<CommitMeta, StoreError> {
    let key = tx.signing_key(&account)?;
    let (cid, block) = atproto::repo::sign(&account.did, account.head.data, rev, &key);
    let number = tid_to_sql(rev);
    tx.set(
        "UPDATE repo SET commit_block = ?2, rev = ?3 WHERE id = ?1",
        params![account.repo, &block[..], number],
    )?;
    // What was signed ahead is of now, or `since` would skip it for ever.
    let ahead = if account.head.rev > rev { REDATE } else { &[] };
    for sql in ahead {
        tx.set(sql, params![account.repo, number])?;
    }
    let head = Head { commit: cid, block, rev, data: account.head.data };
    let account = Account { head, ..account };
    if account.status == Status::Active {
        tx.log_sync(&account, now)?;
    }
    Ok(CommitMeta { cid, rev })
}

fn delete(tx: &mut Tx<'_>, did: &Did) -> Result<(), StoreError> {
    let account = account::require(tx.conn, did)?;
    let now = tx.env.now()?;
    let doing = "removing an account";
    let mut statement = tx
        .conn
        .prepare("DELETE FROM blob WHERE account = ?1 RETURNING cid")
        .map_err(StoreError::db(doing))?;
    let cids: Vec<Vec<u8>> = statement
        .query_map([account.id], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(StoreError::db(doing))?;
    drop(statement);
    for cid in cids {
        let cid = account::cid_from_sql(&cid)?;
        tx.doom_blob(&account, &cid)?;
    }
    for table in ["refresh_token", "app_password", "email_token", "event", "takedown"] {
        tx.set(&format!("DELETE FROM {table} WHERE account = ?1"), [account.id])?;
    }
    tx.set("DELETE FROM change WHERE account = ?1", [account.id])?;
    tx.set("DELETE FROM account WHERE id = ?1", [account.id])?;
    if did.is_web() {
        tx.set("INSERT OR IGNORE INTO ended_web (did) VALUES (?1)", [did.as_str()])?;
    }
    tx.doom_repo(account.repo)?;
    tx.out.forgets_events = true;
    tx.forget_key(account.id);
    tx.doom_file(tx.env.key_path(did))?;
    tx.log_account(&account, true, now)
}

impl Tx<'_> {
    /// Gives a repo up: its rows go in slices, by `Store::maintain`.
    pub(crate) fn doom_repo(&mut self, repo: i64) -> Result<(), StoreError> {
        self.set("DELETE FROM repo WHERE id = ?1", [repo])?;
        self.set("INSERT OR REPLACE INTO doomed_repo (repo, staged) VALUES (?1, 0)", [repo])?;
        self.trees.give_up(repo);
        Ok(())
    }
}
