//! Changes of an existing identity that a PLC directory has to take.
//!
//! As with a creation, the signed bytes are durable before they are sent ([`Store::begin_identity_change`]), so that a
//! restart can send the same bytes again and learn what became of them. [`Store::complete_identity_change`] then makes
//! the change here and announces it, in one transaction; [`Store::abandon_identity_change`] forgets it. A handle that is
//! on its way is nobody else's.

use atproto::syntax::{Did, Handle};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::account::{self, Account, time_to_sql};
use crate::error::StoreError;
use crate::lifecycle::{Announcement, announce};
use crate::writer::Tx;

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityChange {
    /// Whose identity it is.
    pub did: Did,
    /// The handle that the account has afterwards; `None` leaves it.
    pub handle: Option<Handle>,
    /// The signed operation, as the bytes to send.
    pub plc_operation: Vec<u8>,
    /// Microseconds since 1970.
    pub created_at_us: u64,
}

impl Store {
    /// Makes a signed operation, and the handle that comes with it, durable before it is sent.
    ///
    /// # Errors
    /// [`StoreError::ChangeUnderWay`] while the account has another one; [`StoreError::HandleTaken`],
    /// [`StoreError::AccountNotFound`], [`StoreError::ClockUntrusted`], [`StoreError::DiskFull`], or a failure of the
    /// disk.
    pub async fn begin_identity_change(
        &self,
        did: &Did,
        handle: Option<Handle>,
        plc_operation: Vec<u8>,
    ) -> Result<IdentityChange, StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| begin(tx, did, handle, plc_operation)).await
    }

    /// Lists the changes under way, oldest first; at start-up, those that a stop interrupted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identity_changes(&self) -> Result<Vec<IdentityChange>, StoreError> {
        self.read(|reader| list(reader.conn())).await
    }

    /// Makes the change that the directory has taken, and announces `#identity`. Nothing under way is no error.
    ///
    /// # Errors
    /// [`StoreError::ClockUntrusted`], or a failure of the disk. The change is then still under way.
    pub async fn complete_identity_change(&self, did: &Did) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let Some(handle) = take(tx, &did)? else { return Ok(()) };
                let account = account::require(tx.conn, &did)?;
                let handle = handle.unwrap_or_else(|| account.handle.clone());
                if handle != account.handle {
                    tx.set(
                        "UPDATE account SET handle = ?2 WHERE id = ?1",
                        params![account.id, handle.as_str()],
                    )?;
                }
                announce(tx, &Account { handle, ..account }, &[Announcement::Identity])
            })
            .await
    }

    /// Forgets a change that the directory has not taken. Nothing under way is no error.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn abandon_identity_change(&self, did: &Did) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner.writer()?.call(move |tx| take(tx, &did).map(|_| ())).await
    }
}

fn begin(
    tx: &mut Tx<'_>,
    did: Did,
    handle: Option<Handle>,
    plc_operation: Vec<u8>,
) -> Result<IdentityChange, StoreError> {
    tx.env.check_room()?;
    let account = account::require(tx.conn, &did)?;
    if let Some(handle) = handle.as_ref().filter(|handle| **handle != account.handle) {
        account::check_handle_free(tx.conn, handle, &did)?;
    }
    let created_at_us = tx.env.now()?.unix_micros();
    let stored = tx
        .conn
        .prepare_cached(
            "INSERT INTO change (account, handle, plc_operation, created_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (account) DO NOTHING",
        )
        .and_then(|mut s| {
            s.execute(params![
                account.id,
                handle.as_ref().map(Handle::as_str),
                plc_operation,
                time_to_sql(created_at_us)
            ])
        })
        .map_err(StoreError::db("storing a change of identity"))?;
    if stored == 0 {
        return Err(StoreError::ChangeUnderWay);
    }
    Ok(IdentityChange { did, handle, plc_operation, created_at_us })
}

/// Removes the row; gives what it said about the handle.
fn take(tx: &Tx<'_>, did: &Did) -> Result<Option<Option<Handle>>, StoreError> {
    let doing = "ending a change of identity";
    let sql = "DELETE FROM change WHERE account = (SELECT id FROM account WHERE did = ?1) RETURNING handle";
    let row: Option<Option<String>> = tx
        .conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([did.as_str()], |row| row.get(0)).optional())
        .map_err(StoreError::db(doing))?;
    row.map(|handle| handle.map(|text| parse_handle(&text)).transpose()).transpose()
}

fn list(conn: &Connection) -> Result<Vec<IdentityChange>, StoreError> {
    let doing = "listing changes of identities";
    let mut statement = conn
        .prepare_cached(
            "SELECT a.did, c.handle, c.plc_operation, c.created_at \
             FROM change c JOIN account a ON a.id = c.account ORDER BY c.created_at, c.account",
        )
        .map_err(StoreError::db(doing))?;
    let rows = statement.query_map([], |row| Ok(from_row(row))).map_err(StoreError::db(doing))?;
    rows.map(|row| row.map_err(StoreError::db(doing))?).collect()
}

fn from_row(row: &Row<'_>) -> Result<IdentityChange, StoreError> {
    let read = || -> rusqlite::Result<(String, Option<String>, Vec<u8>, i64)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let (did, handle, plc_operation, at) = read().map_err(StoreError::db("reading a change of identity"))?;
    Ok(IdentityChange {
        did: Did::parse(&did).map_err(|error| StoreError::corrupt(error.to_string()))?,
        handle: handle.map(|text| parse_handle(&text)).transpose()?,
        plc_operation,
        created_at_us: at.unsigned_abs(),
    })
}

fn parse_handle(text: &str) -> Result<Handle, StoreError> {
    Handle::parse(text).map_err(|error| StoreError::corrupt(error.to_string()))
}
