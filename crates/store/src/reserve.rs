//! Signing keys promised to identities that will come, and keys that nobody claims.
//!
//! Anybody may ask for a reservation, so that their number and age have bounds. A key that no row speaks of is put
//! aside, never removed: after the database came back from a backup it may be all that is left of an account.

use std::collections::HashSet;
use std::path::PathBuf;

use atproto::crypto::{PublicKey, SigningKey};
use atproto::didkey;
use atproto::syntax::Did;
use platform::time::TrustedTime;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::Digest;

use crate::Store;
use crate::account::time_to_sql;
use crate::env::{Env, did_name};
use crate::error::StoreError;
use crate::files::{read_small, write_durably};
use crate::keys::KEY_BYTES;
use crate::writer::Tx;

/// Reservations at once. Each is a file, 4 KiB on the disk; beyond this somebody is filling it.
const RESERVED_MAX: u64 = 256;
/// How long a reservation is kept without an account, seconds (30 days): a `did:web` is set up by hand.
const RESERVED_AGE_S: u64 = 30 * 24 * 3600;
/// Ending of a key file.
const KEY_ENDING: &str = ".key";
/// Ending of a key file that no row speaks of.
const UNCLAIMED_ENDING: &str = ".unclaimed";

impl Env {
    fn reserved_path(&self, public_key: &str) -> PathBuf {
        self.keys_dir().join(reserved_name(public_key))
    }

    fn read_reserved(&self, public_key: &str) -> Result<SigningKey, StoreError> {
        let path = self.reserved_path(public_key);
        let bytes = read_small(&*self.config.files, &path, KEY_BYTES)
            .map_err(StoreError::file("reading a reserved key", &path))?
            .ok_or_else(|| StoreError::corrupt("a reserved key is missing"))?;
        SigningKey::from_bytes(&bytes).map_err(|_| StoreError::corrupt("a reserved key is not a key"))
    }
}

impl Store {
    /// Promises a signing key; the same DID gets the same one. Its account takes it when it is created.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many are reserved; [`StoreError::ClockUntrusted`], [`StoreError::DiskFull`], or a
    /// failure of the disk.
    pub async fn reserve_key(&self, did: Option<Did>) -> Result<PublicKey, StoreError> {
        self.inner.writer()?.call(move |tx| reserve(tx, did.as_ref())).await
    }
}

fn reserve(tx: &mut Tx<'_>, did: Option<&Did>) -> Result<PublicKey, StoreError> {
    if let Some(text) = did.map(|did| reserved_for(tx.conn, did)).transpose()?.flatten() {
        return didkey::parse_did_key(&text).map_err(|error| StoreError::corrupt(error.to_string()));
    }
    tx.env.check_room()?;
    let count: i64 = tx
        .conn
        .query_row("SELECT count(*) FROM reserved_key", [], |row| row.get(0))
        .map_err(StoreError::db("counting reserved keys"))?;
    if count.unsigned_abs() >= RESERVED_MAX {
        return Err(StoreError::Busy { what: "reserved keys" });
    }
    let now = tx.env.now()?;
    let key =
        SigningKey::generate().map_err(|_| StoreError::corrupt("the system gives no random numbers"))?;
    let text = didkey::format_did_key(&key.public_key());
    let path = tx.env.reserved_path(&text);
    write_durably(&*tx.env.config.files, &path, key.to_bytes().as_slice())
        .map_err(StoreError::file("writing a reserved key", &path))?;
    tx.set(
        "INSERT INTO reserved_key (public_key, did, created_at) VALUES (?1, ?2, ?3)",
        params![text, did.map(Did::as_str), time_to_sql(now.unix_micros())],
    )?;
    Ok(key.public_key())
}

/// Gives the key that was promised to an identity, if one was.
pub(crate) fn promised(tx: &Tx<'_>, did: &Did) -> Result<Option<SigningKey>, StoreError> {
    reserved_for(tx.conn, did)?.map(|text| tx.env.read_reserved(&text)).transpose()
}

/// Ends the promise to an identity that has its account now.
pub(crate) fn release(tx: &mut Tx<'_>, did: &Did) -> Result<(), StoreError> {
    match reserved_for(tx.conn, did)? {
        Some(public_key) => remove(tx, &public_key),
        None => Ok(()),
    }
}

/// Removes one reservation that nobody came for; gives whether there was one.
pub(crate) fn prune(tx: &mut Tx<'_>, now: TrustedTime) -> Result<usize, StoreError> {
    let before = now.unix_micros().saturating_sub(RESERVED_AGE_S.saturating_mul(1_000_000));
    let old: Option<String> = tx
        .conn
        .prepare_cached(
            "SELECT public_key FROM reserved_key WHERE created_at < ?1 \
             AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.did = reserved_key.did) LIMIT 1",
        )
        .and_then(|mut s| s.query_row([time_to_sql(before)], |row| row.get(0)).optional())
        .map_err(StoreError::db("pruning reserved keys"))?;
    let Some(public_key) = old else { return Ok(0) };
    remove(tx, &public_key)?;
    Ok(1)
}

fn remove(tx: &mut Tx<'_>, public_key: &str) -> Result<(), StoreError> {
    tx.set("DELETE FROM reserved_key WHERE public_key = ?1", [public_key])?;
    let path = tx.env.reserved_path(public_key);
    tx.doom_file(path)
}

fn reserved_for(conn: &Connection, did: &Did) -> Result<Option<String>, StoreError> {
    conn.prepare_cached("SELECT public_key FROM reserved_key WHERE did = ?1")
        .and_then(|mut s| s.query_row([did.as_str()], |row| row.get(0)).optional())
        .map_err(StoreError::db("looking for a reserved key"))
}

/// Puts keys aside that no account, creation or reservation has, as when a cut came between a key and its row; takes back
/// those that have one again, as when a newer copy of the database came back.
pub(crate) fn sort_unclaimed(conn: &Connection, env: &Env) -> Result<(), StoreError> {
    let dir = env.keys_dir();
    let names = env.config.files.list(&dir).map_err(StoreError::file("listing", &dir))?;
    if names.is_empty() {
        return Ok(());
    }
    let claimed = claimed_names(conn)?;
    let moved = |from: &str, to: &str| {
        let path = dir.join(from);
        env.config.files.rename(&path, &dir.join(to)).map_err(StoreError::file("renaming", &path))
    };
    for name in &names {
        if name.ends_with(KEY_ENDING) && !claimed.contains(name) {
            tracing::warn!(file = name.as_str(), "a signing key belongs to no account; it is put aside");
            moved(name, &format!("{name}{UNCLAIMED_ENDING}"))?;
        }
        if let Some(key) = name.strip_suffix(UNCLAIMED_ENDING)
            && claimed.contains(key)
            && !names.iter().any(|name| name == key)
        {
            tracing::warn!(file = key, "a signing key that was put aside has its account again");
            moved(name, key)?;
        }
    }
    Ok(())
}

fn claimed_names(conn: &Connection) -> Result<HashSet<String>, StoreError> {
    let doing = "listing the owners of keys";
    let texts = |sql: &'static str| -> Result<Vec<String>, StoreError> {
        let mut statement = conn.prepare(sql).map_err(StoreError::db(doing))?;
        let rows = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        rows.map_err(StoreError::db(doing))
    };
    let mut names = HashSet::new();
    for did in texts("SELECT did FROM account UNION SELECT did FROM intent")? {
        let did = Did::parse(&did).map_err(|error| StoreError::corrupt(error.to_string()))?;
        names.insert(format!("{}{KEY_ENDING}", did_name(&did)));
    }
    names.extend(texts("SELECT public_key FROM reserved_key")?.iter().map(|key| reserved_name(key)));
    Ok(names)
}

fn reserved_name(public_key: &str) -> String {
    let digest = sha2::Sha256::digest(public_key.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("reserved-{hex}{KEY_ENDING}")
}
