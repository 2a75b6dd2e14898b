//! What the operator hides: accounts, records, blobs.
//!
//! A hold lies over what is there and changes nothing under it: an account that its owner had switched off is switched
//! off again when the hold goes, a record stays in the signed repo, a blob keeps its row. The file of a held blob lies in
//! the quarantine folder. The row decides, and the file follows: whatever a cut leaves between the two is set right
//! at the next start ([`Env::settle_quarantine`]), and nothing is served meanwhile.

use std::path::{Path, PathBuf};

use atproto::cid::Cid;
use atproto::syntax::{Did, Nsid, RecordKey};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::account::{self, Account, Status, time_to_sql};
use crate::env::{Env, did_name};
use crate::error::StoreError;
use crate::files::make_dirs;
use crate::lifecycle::Announcement;
use crate::session;
use crate::writer::Tx;

/// The operator's hold on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until further notice, or for a time.
    pub kind: HoldKind,
    /// What the operator or the moderation service calls the decision.
    pub reference: String,
}

/// How long a hold is meant to last; both have the same effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// Until further notice.
    Takedown,
    /// For a time.
    Suspension,
}

impl HoldKind {
    /// The state of an account under it.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Takedown => Status::Takendown,
            Self::Suspension => Status::Suspended,
        }
    }
}

impl Store {
    /// Hides an account, or shows it again. Announces `#account` with what results, also when nothing has changed: an
    /// operator may want to say it once more. Hiding ends all sessions.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn set_hold(&self, did: &Did, hold: Option<Hold>) -> Result<Account, StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| set_hold(tx, &did, hold.as_ref())).await
    }

    /// Hides a record from all but the repo itself, or shows it again. It need not exist: one that comes is hidden then.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn set_record_hold(
        &self,
        did: &Did,
        collection: &Nsid,
        rkey: &RecordKey,
        reference: Option<String>,
    ) -> Result<(), StoreError> {
        let (did, subject) = (did.clone(), record_subject(collection, rkey));
        self.inner.writer()?.call(move |tx| set_subject(tx, &did, &subject, reference)).await
    }

    /// Hides a blob and moves its file away, or brings it back. A blob that is not here is refused when it comes.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], or a failure of the disk. After a failure to move
    /// the file of a hidden blob it is hidden all the same.
    pub async fn set_blob_hold(
        &self,
        did: &Did,
        cid: &Cid,
        reference: Option<String>,
    ) -> Result<(), StoreError> {
        let (did, cid, writer) = (did.clone(), *cid, self.inner.writer()?);
        let subject = cid.to_string();
        if reference.is_none() {
            return writer
                .call(move |tx| {
                    account::require(tx.conn, &did)?;
                    // First the file: the row promises that it can be read.
                    tx.env.leave_quarantine(&did, &cid)?;
                    set_subject(tx, &did, &subject, None)
                })
                .await;
        }
        let owner = did.clone();
        writer.call(move |tx| set_subject(tx, &owner, &cid.to_string(), reference)).await?;
        // Moved when the row is durable, and only if it is there still.
        writer
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                if subject_hold(tx.conn, &account, &subject)?.is_none() {
                    return Ok(());
                }
                tx.env.enter_quarantine(&did, &cid)
            })
            .await
    }
}

pub(crate) fn set_hold(tx: &mut Tx<'_>, did: &Did, hold: Option<&Hold>) -> Result<Account, StoreError> {
    let account = account::require(tx.conn, did)?;
    let (reference, suspended) = match hold {
        Some(hold) => (Some(hold.reference.as_str()), hold.kind == HoldKind::Suspension),
        None => (None, false),
    };
    tx.set(
        "UPDATE account SET takedown_ref = ?2, suspended = ?3 WHERE id = ?1",
        params![account.id, reference, suspended],
    )?;
    if hold.is_some() {
        session::revoke_all(tx.conn, account.id, None)?;
    }
    let account = account::require(tx.conn, did)?;
    crate::lifecycle::announce(tx, &account, &[Announcement::Account])?;
    Ok(account)
}

fn record_subject(collection: &Nsid, rkey: &RecordKey) -> String {
    format!("{}/{}", collection.as_str(), rkey.as_str())
}

fn set_subject(
    tx: &mut Tx<'_>,
    did: &Did,
    subject: &str,
    reference: Option<String>,
) -> Result<(), StoreError> {
    let account = account::require(tx.conn, did)?;
    let Some(reference) = reference else {
        let sql = "DELETE FROM takedown WHERE account = ?1 AND subject = ?2";
        return tx.set(sql, params![account.id, subject]);
    };
    let now = tx.env.now()?.unix_micros();
    tx.set(
        "INSERT INTO takedown (account, subject, reference, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (account, subject) DO UPDATE SET reference = ?3",
        params![account.id, subject, reference, time_to_sql(now)],
    )
}

fn subject_hold(conn: &Connection, account: &Account, subject: &str) -> Result<Option<String>, StoreError> {
    conn.prepare_cached("SELECT reference FROM takedown WHERE account = ?1 AND subject = ?2")
        .and_then(|mut s| s.query_row(params![account.id, subject], |row| row.get(0)).optional())
        .map_err(StoreError::db("looking for a hold"))
}

/// The reference of a record's hold, if it is hidden.
pub(crate) fn of_record(
    conn: &Connection,
    account: &Account,
    collection: &Nsid,
    rkey: &RecordKey,
) -> Result<Option<String>, StoreError> {
    subject_hold(conn, account, &record_subject(collection, rkey))
}

/// The reference of a blob's hold, if it is hidden.
pub(crate) fn of_blob(conn: &Connection, account: &Account, cid: &Cid) -> Result<Option<String>, StoreError> {
    subject_hold(conn, account, &cid.to_string())
}

impl Env {
    fn quarantine_root(&self) -> PathBuf {
        self.config.dir.join("quarantine")
    }

    /// Where a held blob lies.
    pub(crate) fn quarantine_path(&self, did: &Did, cid: &Cid) -> PathBuf {
        self.quarantine_root().join(did_name(did)).join(cid.to_string())
    }

    fn enter_quarantine(&self, did: &Did, cid: &Cid) -> Result<(), StoreError> {
        self.move_file(&self.blob_dir(did).join(cid.to_string()), &self.quarantine_path(did, cid))
    }

    fn leave_quarantine(&self, did: &Did, cid: &Cid) -> Result<(), StoreError> {
        self.move_file(&self.quarantine_path(did, cid), &self.blob_dir(did).join(cid.to_string()))
    }

    /// Moves a file durably to another folder, over what is there; a missing one is no error.
    fn move_file(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let files = &*self.config.files;
        let failed = |doing| StoreError::file(doing, from);
        if files.len(from).map_err(failed("looking for a blob"))?.is_none() {
            return Ok(());
        }
        let (Some(old), Some(new)) = (from.parent(), to.parent()) else { return Ok(()) };
        make_dirs(files, new).map_err(failed("making a folder for a blob"))?;
        files.rename(from, to).map_err(failed("moving a blob"))?;
        // The new name first: a cut between the two leaves both, never none.
        files.sync_dir(new).map_err(failed("syncing the new folder of a blob"))?;
        files.sync_dir(old).map_err(failed("syncing the old folder of a blob"))
    }

    /// Brings files and holds together again after a cut. Runs before anything is served.
    pub(crate) fn settle_quarantine(&self, conn: &Connection) -> Result<(), StoreError> {
        let doing = "reading the holds on blobs";
        let held: Vec<(String, String)> = conn
            .prepare(
                "SELECT a.did, t.subject FROM takedown t JOIN account a ON a.id = t.account \
                 WHERE t.subject NOT LIKE '%/%'",
            )
            .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .map_err(StoreError::db(doing))?;
        let parsed =
            held.iter().filter_map(|(did, cid)| Some((Did::parse(did).ok()?, Cid::parse(cid).ok()?)));
        let held: Vec<(Did, Cid)> = parsed.collect();
        for (did, cid) in &held {
            self.enter_quarantine(did, cid)?;
        }
        let files = &*self.config.files;
        let root = self.quarantine_root();
        for folder in files.list(&root).map_err(StoreError::file("listing", &root))? {
            let dir = root.join(&folder);
            for name in files.list(&dir).map_err(StoreError::file("listing", &dir))? {
                let is_held =
                    held.iter().any(|(did, cid)| did_name(did) == folder && cid.to_string() == name);
                if !is_held {
                    // Whose blob still has a row gets it back; a file without one is swept with the other strays.
                    self.move_file(&dir.join(&name), &self.blobs_dir().join(&folder).join(&name))?;
                }
            }
        }
        Ok(())
    }
}
