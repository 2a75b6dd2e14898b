//! Opening a store: the folder, the lock, the database, and what a cut left behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::env::{Env, database_path};
use crate::error::{OpenError, StoreError};
use crate::event::Events;
use crate::files::{FolderLock, make_dirs};
use crate::schema::{self, Role};
use crate::tree::{self, FreshNodes};
use crate::writer::Writer;
use crate::{Inner, READERS, Store, export, sequence};

/// Room in SQLite's log file beyond the size at which it is checkpointed, bytes: the largest batch of one commit.
const LOG_SLACK_BYTES: u64 = 256 * 1024;

/// Bytes written at once when the log file is laid out.
///
/// One page of memory: Linux caches a file in pieces as large as the writes that made it (ext4, since 6.16), and marks
/// and counts a whole piece as written when a byte of it changes. With 64 KiB every small commit counted 64 KiB more.
const ZEROS_BYTES: usize = 4096;

impl Store {
    /// Opens the store in a folder, or makes a new one there. Blocks; takes some 10 ms.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        make_folders(&config)?;
        let lock = take_lock(&config)?;
        let path = database_path(&config.dir);
        make_database(&config, &path)?;
        lay_out_log(&config, &path)?;
        let mut conn = schema::connect(&config, &path, Role::Writer)?;
        schema::migrate(&mut conn, &path)?;
        schema::bind_plc(&conn, &config.plc_url)?;
        schema::count_start(&conn)?;
        // After the count, whose commit has synced what an earlier start left.
        let given_up = sequence::obey_note(&mut conn, &config)?;

        let last_seq = last_seq(&conn)?;
        let nodes = FreshNodes::default();
        let trees = tree::recover(&conn, &nodes)?;
        let env = Arc::new(Env::new(config, Events::new(last_seq), nodes, clock_id()?));
        clean_up(&conn, &env)?;
        env.settle_quarantine(&conn)?;
        env.owes_announcements.store(sequence::owes_announcements(&conn)?, Ordering::Relaxed);

        let (writer, handle) = Writer::new(conn, lock, Arc::clone(&env), trees, last_seq + 1)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(StoreError::file("starting the writer", &path))?;
        let inner = Inner {
            env,
            writer: Mutex::new(Some(handle)),
            thread: Mutex::new(Some(thread)),
            readers: Semaphore::new(READERS),
            idle: Mutex::new(Vec::new()),
            exports: export::Slots::default(),
            imports: Arc::new(Semaphore::new(1)),
            numbers: AtomicU64::new(0),
            counted: AtomicBool::new(false),
            swept: AtomicBool::new(false),
            given_up,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn make_folders(config: &Config) -> Result<(), StoreError> {
    match make_dirs(&*config.files, &config.dir) {
        // A program that is shut in cannot open the folder above its own: it made this one durable before. Where it did
        // not, the folders within cannot be made either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        made => made.map_err(StoreError::file("making the folder", &config.dir))?,
    }
    for name in ["keys", "secrets", "blobs", "uploads"] {
        let dir = config.dir.join(name);
        make_dirs(&*config.files, &dir).map_err(StoreError::file("making the folder", &dir))?;
    }
    Ok(())
}

fn take_lock(config: &Config) -> Result<Box<dyn FolderLock>, OpenError> {
    let path = config.dir.join("lock");
    let lock = config.files.lock(&path).map_err(StoreError::file("locking", &path))?;
    lock.ok_or_else(|| OpenError::InUse { dir: config.dir.clone() })
}

/// Makes the tables through a connection of its own, which leaves no log behind.
fn make_database(config: &Config, path: &Path) -> Result<(), OpenError> {
    let length = config.files.len(path).map_err(StoreError::file("looking for the database", path))?;
    if length.is_some_and(|bytes| bytes > 0) {
        return Ok(());
    }
    let mut conn = schema::connect(config, path, Role::Maker)?;
    schema::migrate(&mut conn, path)?;
    schema::bind_plc(&conn, &config.plc_url)?;
    conn.close().map_err(|(_, error)| StoreError::db("closing the new database")(error))?;
    // SQLite makes the file durable, but not its name.
    config.files.sync_dir(&config.dir).map_err(StoreError::file("syncing the folder", &config.dir))?;
    Ok(())
}

/// Writes SQLite's log file once from end to end, so that commits overwrite and never extend it.
///
/// An extending write makes the file system commit its journal with every fsync: some 8 KiB more on the disk for each
/// post. SQLite takes zeros for an empty log. The file stays when the store closes (see `schema::connect`).
fn lay_out_log(config: &Config, path: &Path) -> Result<(), StoreError> {
    let log = PathBuf::from(format!("{}-wal", path.display()));
    let failed = |doing: &'static str| StoreError::file(doing, &log);
    if config.files.len(&log).map_err(failed("looking for the log"))?.is_some_and(|bytes| bytes > 0) {
        return Ok(());
    }
    let mut file = config.files.create(&log).map_err(failed("making the log"))?;
    let zeros = vec![0; ZEROS_BYTES];
    let mut left = config.limits.checkpoint_bytes.saturating_add(LOG_SLACK_BYTES);
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        let chunk = zeros.get(..some).unwrap_or(&zeros);
        file.write_all(chunk).map_err(failed("laying out the log"))?;
        left = left.saturating_sub(u64::try_from(some).unwrap_or(u64::MAX));
    }
    file.sync().map_err(failed("laying out the log"))?;
    config.files.sync_dir(&config.dir).map_err(StoreError::file("syncing the folder", &config.dir))
}

/// The newest number ever used: pruning keeps the newest event, and a jump may have set a floor.
pub(crate) fn last_seq(conn: &Connection) -> Result<u64, StoreError> {
    let stored: i64 = conn
        .query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))
        .map_err(StoreError::db("reading the newest event"))?;
    let floor = schema::meta(conn, "seq_floor")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(stored.unsigned_abs().max(floor))
}

fn clock_id() -> Result<u16, StoreError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::corrupt("the system gives no random numbers"))?;
    Ok(u16::from_le_bytes(bytes) & 0x3ff)
}

/// Removes the files that a cut kept from being removed.
fn clean_up(conn: &Connection, env: &Env) -> Result<(), StoreError> {
    for (dir, ending) in [(env.uploads_dir(), ""), (env.keys_dir(), ".tmp"), (env.secrets_dir(), ".tmp")] {
        let names = env.config.files.list(&dir).map_err(StoreError::file("listing", &dir))?;
        for name in names.iter().filter(|name| name.ends_with(ending)) {
            let path = dir.join(name);
            env.config.files.remove(&path).map_err(StoreError::file("removing", &path))?;
        }
    }
    crate::reserve::sort_unclaimed(conn, env)?;
    // Imports that a cut interrupted are given up.
    conn.execute("UPDATE doomed_repo SET staged = 0 WHERE staged = 1", [])
        .map_err(StoreError::db("giving up old imports"))?;
    let doing = "reading the files to remove";
    let mut statement = conn.prepare("SELECT path FROM doomed_file").map_err(StoreError::db(doing))?;
    let paths: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(StoreError::db(doing))?;
    drop(statement);
    if paths.is_empty() {
        return Ok(());
    }
    for path in &paths {
        let path = env.config.dir.join(path);
        env.config.files.remove(&path).map_err(StoreError::file("removing", &path))?;
    }
    conn.execute("DELETE FROM doomed_file", []).map(|_| ()).map_err(StoreError::db(doing))
}
