//! Tables, their versions, and how a connection is set up.
//!
//! What is decided when a store is made and hard to change later (page size, vacuum mode, row layout) was decided by
//! measurement: `docs/design/001-store.md`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::config::Config;
use crate::error::{OpenError, StoreError};

/// Marks the file as ours: "Prch" as a big-endian number.
const APPLICATION_ID: i64 = 0x5072_6368;

/// Page size, bytes. See `docs/design/001-store.md`.
const PAGE_BYTES: u32 = 1024;

/// One step per format version; the position is the version that it leads to, less one.
const MIGRATIONS: &[&str] = &[include_str!("schema/001.sql"), include_str!("schema/002.sql")];

/// Page cache of the writer, KiB. The hot set of a few active repos: event tail, record tails, node paths.
const WRITER_CACHE_KIB: i64 = 3072;

/// Page cache of each reader, KiB. Reads are served by the system's cache behind it.
const READER_CACHE_KIB: i64 = 512;

/// Prepared statements that a connection keeps: a few more than the code has per connection.
const STATEMENTS_CACHED: usize = 96;

/// How long a connection waits for another one's lock. Readers and the writer never exclude each other in WAL mode;
/// only opening and the recovery of a log take a short lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes a new database, and takes its log along when it closes.
    Maker,
    /// The one writer.
    Writer,
    /// One of several readers.
    Reader,
}

/// Opens a connection and sets it up for its role.
pub(crate) fn connect(config: &Config, path: &Path, role: Role) -> Result<Connection, StoreError> {
    let flags = match role {
        Role::Maker | Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        // Not READ_ONLY: a reader takes part in the locks of the log, which live in a file that it must write.
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_WRITE,
    } | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match config.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }
    .map_err(StoreError::db("opening the database"))?;
    set_up(&conn, role).map_err(StoreError::db("setting up a connection"))?;
    Ok(conn)
}

fn set_up(conn: &Connection, role: Role) -> rusqlite::Result<()> {
    conn.busy_timeout(LOCK_WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    if role != Role::Maker {
        // The log keeps its place on the disk when the last connection closes: see `open::lay_out_log`.
        conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    if role != Role::Reader {
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.pragma_update(None, "auto_vacuum", "NONE")?;
        conn.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.query_row("PRAGMA wal_autocheckpoint=0", [], |_| Ok(()))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "foreign_keys", "OFF")?;
    let cache_kib = if role == Role::Reader { READER_CACHE_KIB } else { WRITER_CACHE_KIB };
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    if role == Role::Reader {
        conn.pragma_update(None, "query_only", "ON")?;
    }
    Ok(())
}

/// Brings the tables to the newest version, and checks that the file is ours.
///
/// Each step is one transaction together with its version number, so that a cut leaves a whole version.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let doing = "reading the format version";
    let application_id: i64 =
        conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(StoreError::db(doing))?;
    let version: i64 =
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(StoreError::db(doing))?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(StoreError::db(doing))?;
    let fresh = application_id == 0 && version == 0 && tables == 0;
    if !fresh && application_id != APPLICATION_ID {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(OpenError::TooNew { found: version, known });
    }
    for (step, sql) in (1_i64..).zip(MIGRATIONS) {
        if step > version {
            apply(conn, sql, step).map_err(StoreError::db("migrating the tables"))?;
        }
    }
    Ok(())
}

fn apply(conn: &mut Connection, sql: &str, step: i64) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    tx.execute_batch(sql)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", step)?;
    tx.commit()
}

/// Reads a value of the store's own notes.
pub(crate) fn meta(conn: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut s| s.query_row([key], |row| row.get(0)).optional())
        .map_err(StoreError::db("reading the store's notes"))
}

/// Writes a value of the store's own notes.
pub(crate) fn set_meta(conn: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )
    .and_then(|mut s| s.execute([key, value]))
    .map(|_| ())
    .map_err(StoreError::db("writing the store's notes"))
}

/// Counts the starts of the store, so that every start begins with a commit of its own.
///
/// That commit syncs SQLite's log. After a kill the system still shows commits whose sync was never done; an event read
/// from one would be sent, lost in a power cut, and its number used again.
pub(crate) fn count_start(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('starts', '1') \
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
    )
    .and_then(|mut s| s.execute([]))
    .map(|_| ())
    .map_err(StoreError::db("counting the start"))
}

/// Compares the PLC directory with the remembered one; remembers the first.
pub(crate) fn bind_plc(conn: &Connection, plc_url: &str) -> Result<(), OpenError> {
    match meta(conn, "plc_url")? {
        None => set_meta(conn, "plc_url", plc_url).map_err(OpenError::Store),
        Some(stored) if stored == plc_url => Ok(()),
        Some(stored) => Err(OpenError::OtherPlc { stored, asked: plc_url.to_owned() }),
    }
}
