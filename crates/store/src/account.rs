//! Accounts: who lives here, in what state, and how one comes to be.
//!
//! Creation has two steps because an identity is registered outside: [`Store::begin_account`] makes the key file, the
//! handle's reservation and the bytes of the PLC operation durable; the caller sends those bytes; then
//! [`Store::complete_account`] makes account, repo and events in one transaction. A restart finds what was under way by
//! [`Store::intents`] and sends the same bytes again, or gives up by [`Store::abandon_account`].

use atproto::cid::Cid;
use atproto::crypto::SigningKey;
use atproto::syntax::{Did, Handle, Tid};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::error::StoreError;
use crate::hold::{Hold, HoldKind};
use crate::invite;
use crate::writer::Tx;

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// In use.
    Active,
    /// Switched off by its owner, or not yet switched on after moving in.
    Deactivated,
    /// Hidden by the operator.
    Takendown,
    /// Hidden by the operator for a time.
    Suspended,
}

impl Status {
    /// Gives the protocol's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Takendown => "takendown",
            Self::Suspended => "suspended",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "active" => Ok(Self::Active),
            "deactivated" => Ok(Self::Deactivated),
            other => Err(StoreError::corrupt(format!("account status {other:?}"))),
        }
    }
}

/// The newest commit of a repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its CID.
    pub commit: Cid,
    /// Its block.
    pub block: Bytes,
    /// Its revision.
    pub rev: Tid,
    /// Root of its tree.
    pub data: Cid,
}

/// One hosted account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Internal number, for the other calls of a reader.
    pub(crate) id: i64,
    /// Internal number of its repo.
    pub(crate) repo: i64,
    /// Who it is.
    pub did: Did,
    /// Its name, lower case.
    pub handle: Handle,
    /// Its e-mail address, lower case.
    pub email: Option<String>,
    /// When the address was confirmed, microseconds since 1970.
    pub email_confirmed_at_us: Option<u64>,
    /// As `pds` made it; opaque here.
    pub password_hash: String,
    /// Microseconds since 1970.
    pub created_at_us: u64,
    /// Its state: the operator's hold, or the owner's own choice.
    pub status: Status,
    /// The operator's hold, if there is one.
    pub hold: Option<Hold>,
    /// When its owner switched it off, microseconds since 1970; also under a hold.
    pub deactivated_at_us: Option<u64>,
    /// The head of its repo.
    pub head: Head,
}

/// What an account starts with.
#[derive(Debug)]
pub struct NewAccount {
    /// Who it is.
    pub did: Did,
    /// Its name; kept in lower case.
    pub handle: Handle,
    /// Its e-mail address; kept in lower case.
    pub email: Option<String>,
    /// As `pds` makes it; opaque here.
    pub password_hash: String,
    /// Signs its commits.
    pub signing_key: SigningKey,
    /// The signed operation to send to the PLC directory, as the bytes to send; `None` when the DID was brought along.
    pub plc_operation: Option<Vec<u8>>,
    /// The invite code that it uses.
    pub invite: Option<String>,
}

/// An account creation under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Who it will be.
    pub did: Did,
    /// Its reserved name.
    pub handle: Handle,
    /// The bytes to send, as stored.
    pub plc_operation: Option<Vec<u8>>,
    /// Microseconds since 1970.
    pub created_at_us: u64,
}

pub(crate) const ACCOUNT_COLUMNS: &str = "a.id, a.repo, a.did, a.handle, a.email, a.email_confirmed_at, \
     a.password_hash, a.created_at, a.status, r.commit_block, r.rev, r.root, \
     a.takedown_ref, a.suspended, a.deactivated_at";

/// Reads an account by a condition on table `a`.
pub(crate) fn find(
    conn: &Connection,
    condition: &'static str,
    value: &str,
) -> Result<Option<Account>, StoreError> {
    let sql = format!(
        "SELECT {ACCOUNT_COLUMNS} FROM account a JOIN repo r ON r.id = a.repo WHERE a.{condition} = ?1"
    );
    conn.prepare_cached(&sql)
        .and_then(|mut s| s.query_row([value], |row| Ok(from_row(row))).optional())
        .map_err(StoreError::db("reading an account"))?
        .transpose()
}

/// Reads an account, or says that there is none.
pub(crate) fn require(conn: &Connection, did: &Did) -> Result<Account, StoreError> {
    find(conn, "did", did.as_str())?.ok_or(StoreError::AccountNotFound)
}

pub(crate) fn from_row(row: &Row<'_>) -> Result<Account, StoreError> {
    let doing = "reading an account";
    let did: String = row.get(2).map_err(StoreError::db(doing))?;
    let handle: String = row.get(3).map_err(StoreError::db(doing))?;
    let status: String = row.get(8).map_err(StoreError::db(doing))?;
    let head = head_from_row(row, 9)?;
    let read = |row: &Row<'_>| -> rusqlite::Result<Account> {
        let kind = if row.get(13)? { HoldKind::Suspension } else { HoldKind::Takedown };
        Ok(Account {
            id: row.get(0)?,
            repo: row.get(1)?,
            did: Did::parse(&did).map_err(|e| bad_column(2, e))?,
            handle: Handle::parse(&handle).map_err(|e| bad_column(3, e))?,
            email: row.get(4)?,
            email_confirmed_at_us: row.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs),
            password_hash: row.get(6)?,
            created_at_us: row.get::<_, i64>(7)?.unsigned_abs(),
            status: Status::Active,
            hold: row.get::<_, Option<String>>(12)?.map(|reference| Hold { kind, reference }),
            deactivated_at_us: row.get::<_, Option<i64>>(14)?.map(i64::unsigned_abs),
            head,
        })
    };
    let account = read(row).map_err(StoreError::db(doing))?;
    let status = match &account.hold {
        Some(hold) => hold.kind.status(),
        None => Status::parse(&status)?,
    };
    Ok(Account { status, ..account })
}

fn bad_column(column: usize, error: atproto::syntax::SyntaxError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn head_from_row(row: &Row<'_>, first: usize) -> Result<Head, StoreError> {
    let doing = "reading the head of a repo";
    let block: Vec<u8> = row.get(first).map_err(StoreError::db(doing))?;
    let rev: i64 = row.get(first + 1).map_err(StoreError::db(doing))?;
    let data: Vec<u8> = row.get(first + 2).map_err(StoreError::db(doing))?;
    Ok(Head {
        commit: Cid::for_dag_cbor(&block),
        block: Bytes::from(block),
        rev: tid_from_sql(rev),
        data: cid_from_sql(&data)?,
    })
}

/// Reads a TID's number.
pub(crate) fn tid_from_sql(number: i64) -> Tid {
    let number = number.unsigned_abs();
    let clock_id = u16::try_from(number & 0x3ff).unwrap_or_default();
    Tid::from_micros(number >> 10, clock_id)
}

/// Gives a TID as the number that sorts like its text.
pub(crate) fn tid_to_sql(tid: Tid) -> i64 {
    i64::try_from(tid.micros() << 10 | u64::from(tid.clock_id())).unwrap_or(i64::MAX)
}

/// Reads 36 bytes.
pub(crate) fn cid_from_sql(bytes: &[u8]) -> Result<Cid, StoreError> {
    Cid::from_bytes(bytes).map_err(|error| StoreError::corrupt(error.to_string()))
}

/// Gives a time as SQLite's signed number.
pub(crate) fn time_to_sql(unix_us: u64) -> i64 {
    i64::try_from(unix_us).unwrap_or(i64::MAX)
}

impl Store {
    /// Makes an account's key, name and PLC operation durable, before anything is sent.
    ///
    /// # Errors
    /// [`StoreError::HandleTaken`], [`StoreError::EmailTaken`], [`StoreError::DidTaken`] when an account or another
    /// creation holds them; [`StoreError::InviteUnavailable`]; [`StoreError::ClockUntrusted`],
    /// [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn begin_account(&self, new: NewAccount) -> Result<Intent, StoreError> {
        self.inner.writer()?.call(move |tx| begin(tx, new)).await
    }

    /// Lists the account creations under way, oldest first; at start-up, those that a stop interrupted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn intents(&self) -> Result<Vec<Intent>, StoreError> {
        self.read(|reader| list_intents(reader.conn())).await
    }

    /// Gives an account creation up: its name is free again and its key is gone. Nothing under way is no error.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn abandon_account(&self, did: &Did) -> Result<(), StoreError> {
        let did = did.clone();
        let env_did = did.clone();
        let removed = self
            .inner
            .writer()?
            .call(move |tx| {
                let removed = remove_intent(tx, &did)?;
                if removed && find(tx.conn, "did", did.as_str())?.is_none() {
                    let path = tx.env.key_path(&did);
                    tx.doom_file(path)?;
                }
                Ok(removed)
            })
            .await?;
        if removed {
            tracing::info!(did = env_did.as_str(), "an account creation was given up");
        }
        Ok(())
    }
}

pub(crate) fn remove_intent(tx: &Tx<'_>, did: &Did) -> Result<bool, StoreError> {
    tx.conn
        .prepare_cached("DELETE FROM intent WHERE did = ?1")
        .and_then(|mut s| s.execute([did.as_str()]))
        .map(|count| count > 0)
        .map_err(StoreError::db("removing an intent"))
}

fn list_intents(conn: &Connection) -> Result<Vec<Intent>, StoreError> {
    let doing = "listing intents";
    let mut statement = conn
        .prepare_cached("SELECT did, handle, plc_operation, created_at FROM intent ORDER BY id")
        .map_err(StoreError::db(doing))?;
    let rows = statement
        .query_map([], |row| {
            let did: String = row.get(0)?;
            let handle: String = row.get(1)?;
            Ok(Intent {
                did: Did::parse(&did).map_err(|e| bad_column(0, e))?,
                handle: Handle::parse(&handle).map_err(|e| bad_column(1, e))?,
                plc_operation: row.get(2)?,
                created_at_us: row.get::<_, i64>(3)?.unsigned_abs(),
            })
        })
        .map_err(StoreError::db(doing))?;
    rows.collect::<Result<_, _>>().map_err(StoreError::db(doing))
}

/// Says which of the three is taken, by an account or by a creation under way.
fn check_free(conn: &Connection, did: &Did, handle: &Handle, email: Option<&str>) -> Result<(), StoreError> {
    let taken = |sql: &'static str, value: &str| -> Result<bool, StoreError> {
        conn.prepare_cached(sql)
            .and_then(|mut s| s.query_row([value], |_| Ok(())).optional())
            .map(|row| row.is_some())
            .map_err(StoreError::db("looking for a name"))
    };
    if taken(
        "SELECT 1 FROM account WHERE did = ?1 UNION ALL SELECT 1 FROM intent WHERE did = ?1",
        did.as_str(),
    )? {
        return Err(StoreError::DidTaken);
    }
    check_handle_free(conn, handle, did)?;
    if let Some(email) = email {
        let sql = "SELECT 1 FROM account WHERE email = ?1 UNION ALL SELECT 1 FROM intent WHERE email = ?1";
        if taken(sql, email)? {
            return Err(StoreError::EmailTaken);
        }
    }
    Ok(())
}

/// Says whether `did` may take a handle: nobody has it, nobody is about to have it, and it is not the host of another's
/// `did:web`, whose documents are served under that name.
pub(crate) fn check_handle_free(conn: &Connection, handle: &Handle, did: &Did) -> Result<(), StoreError> {
    let taken = conn
        .prepare_cached(
            "SELECT 1 FROM account WHERE handle = ?1 UNION ALL SELECT 1 FROM intent WHERE handle = ?1 \
             UNION ALL SELECT 1 FROM change WHERE handle = ?1 \
             UNION ALL SELECT 1 FROM account WHERE did = 'did:web:' || ?1 AND did <> ?2 \
             UNION ALL SELECT 1 FROM intent WHERE did = 'did:web:' || ?1 AND did <> ?2",
        )
        .and_then(|mut s| s.query_row([handle.as_str(), did.as_str()], |_| Ok(())).optional())
        .map_err(StoreError::db("looking for a name"))?;
    if taken.is_some() { Err(StoreError::HandleTaken) } else { Ok(()) }
}

fn begin(tx: &mut Tx<'_>, new: NewAccount) -> Result<Intent, StoreError> {
    tx.env.check_room()?;
    let email = new.email.map(|email| email.to_lowercase());
    check_free(tx.conn, &new.did, &new.handle, email.as_deref())?;
    if let Some(code) = &new.invite
        && !invite::available(tx.conn, code)?
    {
        return Err(StoreError::InviteUnavailable);
    }
    let created_at_us = tx.env.now()?.unix_micros();
    // Who brings an identity along may have asked for its key before.
    let promised = if new.plc_operation.is_none() { crate::reserve::promised(tx, &new.did)? } else { None };
    let signing_key = promised.unwrap_or(new.signing_key);
    // The key is durable before the row that names it. It is written here, under the check, so that nobody ever
    // overwrites the key of an account that lives. A row that then fails leaves a key that the next try overwrites.
    tx.write_key(&new.did, &signing_key)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO intent (did, handle, email, password_hash, plc_operation, created_at, invite) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut s| {
            s.execute(params![
                new.did.as_str(),
                new.handle.as_str(),
                email,
                new.password_hash,
                new.plc_operation,
                time_to_sql(created_at_us),
                new.invite
            ])
        })
        .map_err(StoreError::db("storing an intent"))?;
    Ok(Intent { did: new.did, handle: new.handle, plc_operation: new.plc_operation, created_at_us })
}
