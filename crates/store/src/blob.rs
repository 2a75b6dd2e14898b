//! Blobs: files named by their CID, known by a row, kept while a record refers to them.
//!
//! A blob is durable, file and folder, before its row is written. Until a record refers to it, it is temporary and is
//! collected after some hours. When the last reference goes, row and file go with it.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use atproto::data::BlobRef;

use atproto::cid::{Cid, RawHasher};
use atproto::syntax::{Did, Tid};
use bytes::{Bytes, BytesMut};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::account::{self, Account, cid_from_sql, tid_to_sql, time_to_sql};
use crate::env::Env;
use crate::error::StoreError;
use crate::files::{FileRead, FileWrite, make_dirs};
use crate::hold;
use crate::writer::Tx;

/// Bytes that an upload collects before it writes: few visits to another thread, little memory per upload.
const UPLOAD_CHUNK_BYTES: usize = 256 * 1024;

/// A stored blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobMeta {
    /// Its name.
    pub cid: Cid,
    /// Its type, as detected or claimed at the upload.
    pub mime: String,
    /// Its length, bytes.
    pub size: u64,
}

/// A blob that a record refers to and that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingBlob {
    /// Its name.
    pub cid: Cid,
    /// A record that refers to it, `collection/rkey`.
    pub path: String,
}

/// A blob opened for reading. Reading blocks.
#[derive(Debug)]
pub struct BlobFile {
    /// What is known about it.
    pub meta: BlobMeta,
    /// Its content.
    pub file: Box<dyn FileRead>,
}

/// Paths of uploads between their rename and their row: nobody may remove these files.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    paths: Mutex<HashMap<PathBuf, usize>>,
}

impl InFlight {
    fn add(&self, path: &Path) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        *paths.entry(path.to_owned()).or_default() += 1;
    }

    fn release(&self, path: &Path) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = paths.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                paths.remove(path);
            }
        }
    }

    /// Runs `remove` unless the path is being uploaded; no upload begins meanwhile.
    fn unless_uploaded(&self, path: &Path, remove: impl FnOnce()) {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if !paths.contains_key(path) {
            remove();
        }
    }
}

/// Keeps a path out of the collector's reach while it lives.
#[derive(Debug)]
struct InFlightGuard {
    store: Store,
    path: PathBuf,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.store.inner.env.in_flight.release(&self.path);
    }
}

/// An upload under way. Dropping it removes what has come so far.
#[derive(Debug)]
pub struct BlobUpload {
    store: Store,
    did: Did,
    temp: PathBuf,
    writing: Option<Writing>,
    buffer: BytesMut,
    size: u64,
}

#[derive(Debug)]
struct Writing {
    file: Box<dyn FileWrite>,
    hasher: RawHasher,
}

impl Drop for BlobUpload {
    fn drop(&mut self) {
        // After a finished upload the name is gone already, which is no error.
        if let Err(error) = self.store.inner.env.config.files.remove(&self.temp) {
            tracing::warn!(error = &error as &dyn std::error::Error, "an upload was not removed");
        }
    }
}

impl BlobUpload {
    /// Takes more bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobTooLarge`], [`StoreError::DiskFull`], or a failure of the disk; the upload is then over.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let max = self.store.inner.env.config.limits.blob_bytes_max;
        if self.size > max {
            return Err(StoreError::BlobTooLarge { max });
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= UPLOAD_CHUNK_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.store.inner.env.check_room()?;
        let chunk = self.buffer.split().freeze();
        let mut writing = self.writing.take().ok_or(StoreError::Closed)?;
        let path = self.temp.clone();
        let writing = crate::blocking(move || {
            writing.hasher.update(&chunk);
            writing.file.write_all(&chunk).map_err(StoreError::file("writing a blob", &path))?;
            Ok(writing)
        })
        .await?;
        self.writing = Some(writing);
        Ok(())
    }

    /// Makes the blob durable and known. It stays temporary until a record refers to it.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::BlobHeld`], [`StoreError::TooManyTempBlobs`],
    /// [`StoreError::ClockUntrusted`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn finish(mut self, mime: String) -> Result<BlobMeta, StoreError> {
        self.flush().await?;
        let Writing { mut file, hasher } = self.writing.take().ok_or(StoreError::Closed)?;
        let meta = BlobMeta { cid: hasher.finish(), mime, size: self.size };
        let (did, cid, size) = (self.did.clone(), meta.cid, meta.size);
        let temp_bytes_max = self.store.inner.env.config.limits.temp_blob_bytes_max;
        // Looked at before the file gets its name, and once more with its row.
        self.store
            .read(move |reader| {
                let account = account::require(reader.conn(), &did)?;
                refuse_held(reader.conn(), &account, &cid)?;
                refuse_too_many(reader.conn(), &account, &cid, size, temp_bytes_max)
            })
            .await?;
        let dir = self.store.inner.env.blob_dir(&self.did);
        let path = dir.join(meta.cid.to_string());
        self.store.inner.env.in_flight.add(&path);
        let guard = InFlightGuard { store: self.store.clone(), path: path.clone() };
        let (store, temp) = (self.store.clone(), self.temp.clone());
        let guard = crate::blocking(move || {
            let files = &*store.inner.env.config.files;
            let failed = |doing: &'static str| StoreError::file(doing, &guard.path);
            file.sync().map_err(failed("syncing a blob"))?;
            drop(file);
            make_dirs(files, &dir).map_err(failed("making the folder of a blob"))?;
            files.rename(&temp, &guard.path).map_err(failed("naming a blob"))?;
            files.sync_dir(&dir).map_err(failed("syncing the folder of a blob"))?;
            Ok(guard)
        })
        .await?;
        let did = self.did.clone();
        let result = self.store.inner.writer()?.call(move |tx| insert(tx, &did, &meta, &path)).await;
        drop(guard);
        result
    }
}

fn insert(tx: &mut Tx<'_>, did: &Did, meta: &BlobMeta, path: &Path) -> Result<BlobMeta, StoreError> {
    let doing = "storing a blob";
    let account = account::require(tx.conn, did)?;
    refuse_held(tx.conn, &account, &meta.cid)?;
    tx.env.check_room()?;
    let now_us = tx.env.now()?.unix_micros();
    tx.spare_file(path)?;
    // What a record refers to already (it came with an import) is permanent at once.
    tx.conn
        .prepare_cached(
            "INSERT INTO blob (account, cid, mime, size, created_at, temp) VALUES (?1, ?2, ?3, ?4, ?5, \
             NOT EXISTS (SELECT 1 FROM record_blob WHERE repo = ?6 AND cid = ?2)) \
             ON CONFLICT (account, cid) DO UPDATE SET \
             created_at = ?5, mime = CASE WHEN temp = 1 THEN ?3 ELSE mime END",
        )
        .and_then(|mut s| {
            s.execute(params![
                account.id,
                meta.cid.as_bytes(),
                meta.mime,
                time_to_sql(meta.size),
                time_to_sql(now_us),
                account.repo
            ])
        })
        .map_err(StoreError::db(doing))?;
    find(tx.conn, account.id, &meta.cid)?.ok_or_else(|| StoreError::corrupt("a blob's row vanished"))
}

fn refuse_held(conn: &Connection, account: &Account, cid: &Cid) -> Result<(), StoreError> {
    match hold::of_blob(conn, account, cid)? {
        Some(_) => Err(StoreError::BlobHeld { cid: *cid }),
        None => Ok(()),
    }
}

/// Refuses a blob that no record refers to while the account has many such.
///
/// Uploads that end at the same moment do not see each other; their number is bounded elsewhere.
fn refuse_too_many(
    conn: &Connection,
    account: &Account,
    cid: &Cid,
    size: u64,
    bytes_max: u64,
) -> Result<(), StoreError> {
    let sql = "SELECT (SELECT coalesce(sum(size), 0) FROM blob WHERE temp = 1 AND account = ?1 AND cid <> ?3), \
               EXISTS (SELECT 1 FROM record_blob WHERE repo = ?2 AND cid = ?3)";
    let (kept, is_referred): (i64, bool) = conn
        .prepare_cached(sql)
        .and_then(|mut s| {
            s.query_row(params![account.id, account.repo, cid.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .map_err(StoreError::db("adding up temporary blobs"))?;
    if is_referred || kept.unsigned_abs().saturating_add(size) <= bytes_max {
        Ok(())
    } else {
        Err(StoreError::TooManyTempBlobs { bytes_max })
    }
}

/// Reads a blob's row.
pub(crate) fn find(conn: &Connection, account: i64, cid: &Cid) -> Result<Option<BlobMeta>, StoreError> {
    conn.prepare_cached("SELECT mime, size FROM blob WHERE account = ?1 AND cid = ?2")
        .and_then(|mut s| {
            s.query_row(params![account, cid.as_bytes()], |row| {
                Ok(BlobMeta { cid: *cid, mime: row.get(0)?, size: row.get::<_, i64>(1)?.unsigned_abs() })
            })
            .optional()
        })
        .map_err(StoreError::db("reading a blob's row"))
}

impl Store {
    /// Begins an upload for an account.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn begin_blob(&self, did: &Did) -> Result<BlobUpload, StoreError> {
        self.inner.env.check_room()?;
        let (did, store) = (did.clone(), self.clone());
        self.read(move |reader| {
            account::require(reader.conn(), &did)?;
            let env = &store.inner.env;
            let temp = env.uploads_dir().join(format!("{:016x}", store.inner.next_number()));
            let file =
                env.config.files.create(&temp).map_err(StoreError::file("beginning an upload", &temp))?;
            let writing = Some(Writing { file, hasher: RawHasher::new() });
            Ok(BlobUpload { store, did, temp, writing, buffer: BytesMut::new(), size: 0 })
        })
        .await
    }

    /// Stores a blob that is in memory.
    ///
    /// # Errors
    /// As [`Store::begin_blob`], [`BlobUpload::write`] and [`BlobUpload::finish`].
    pub async fn put_blob(&self, did: &Did, mime: String, content: Bytes) -> Result<BlobMeta, StoreError> {
        let mut upload = self.begin_blob(did).await?;
        upload.write(&content).await?;
        upload.finish(mime).await
    }

    /// Opens a blob; `None` when it is not here, or hidden by the operator.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn open_blob(&self, did: &Did, cid: &Cid) -> Result<Option<BlobFile>, StoreError> {
        let (did, cid) = (did.clone(), *cid);
        self.read(move |reader| {
            let account = account::require(reader.conn(), &did)?;
            let Some(meta) = find(reader.conn(), account.id, &cid)? else { return Ok(None) };
            if hold::of_blob(reader.conn(), &account, &cid)?.is_some() {
                return Ok(None);
            }
            let path = reader.env().blob_dir(&did).join(cid.to_string());
            let file =
                reader.env().config.files.open(&path).map_err(StoreError::file("opening a blob", &path))?;
            Ok(Some(BlobFile { meta, file }))
        })
        .await
    }
}

impl Tx<'_> {
    /// Checks a record's blobs and makes them permanent, in the transaction of the record.
    pub(crate) fn link_blobs(
        &mut self,
        account: &Account,
        path: &str,
        rev: Tid,
        blobs: &[BlobRef],
    ) -> Result<(), StoreError> {
        for blob in blobs {
            let stored = find(self.conn, account.id, &blob.cid)?;
            let stored = stored.ok_or(StoreError::BlobNotFound { cid: blob.cid })?;
            if hold::of_blob(self.conn, account, &blob.cid)?.is_some() {
                return Err(StoreError::BlobNotFound { cid: blob.cid });
            }
            check_claims(blob, stored)?;
            self.conn
                .prepare_cached("UPDATE blob SET temp = 0 WHERE account = ?1 AND cid = ?2 AND temp = 1")
                .and_then(|mut s| s.execute(params![account.id, blob.cid.as_bytes()]))
                .map_err(StoreError::db("keeping a blob"))?;
            add_reference(self.conn, account.repo, &blob.cid, path, rev)?;
        }
        Ok(())
    }

    /// Removes a record's references; returns the blobs that it had.
    pub(crate) fn unlink_blobs(&mut self, account: &Account, path: &str) -> Result<Vec<Cid>, StoreError> {
        let doing = "releasing blobs";
        let mut statement = self
            .conn
            .prepare_cached("DELETE FROM record_blob WHERE repo = ?1 AND path = ?2 RETURNING cid")
            .map_err(StoreError::db(doing))?;
        let rows = statement
            .query_map(params![account.repo, path], |row| row.get::<_, Vec<u8>>(0))
            .map_err(StoreError::db(doing))?;
        rows.map(|cid| cid_from_sql(&cid.map_err(StoreError::db(doing))?)).collect()
    }

    /// Removes those of the blobs that nothing refers to any more.
    pub(crate) fn drop_unreferenced(&mut self, account: &Account, cids: Vec<Cid>) -> Result<(), StoreError> {
        for cid in cids {
            let dropped = self
                .conn
                .prepare_cached(
                    "DELETE FROM blob WHERE account = ?1 AND cid = ?2 \
                     AND NOT EXISTS (SELECT 1 FROM record_blob WHERE repo = ?3 AND cid = ?2)",
                )
                .and_then(|mut s| s.execute(params![account.id, cid.as_bytes(), account.repo]))
                .map_err(StoreError::db("dropping a blob"))?;
            if dropped > 0 {
                self.doom_blob(account, &cid)?;
            }
        }
        Ok(())
    }

    /// Lets a blob's file be removed after the commit, wherever it lies.
    pub(crate) fn doom_blob(&mut self, account: &Account, cid: &Cid) -> Result<(), StoreError> {
        if hold::of_blob(self.conn, account, cid)?.is_some() {
            self.doom_file(self.env.quarantine_path(&account.did, cid))?;
        }
        self.doom_file(self.env.blob_dir(&account.did).join(cid.to_string()))
    }

    /// Lets a file be removed after the commit, also if that is cut short.
    pub(crate) fn doom_file(&mut self, path: PathBuf) -> Result<(), StoreError> {
        let name = self.env.relative(&path);
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO doomed_file (path) VALUES (?1)")
            .and_then(|mut s| s.execute([name]))
            .map_err(StoreError::db("noting a file to remove"))?;
        self.out.doomed.push(path);
        Ok(())
    }

    /// Takes a file off the list, because it is made anew.
    pub(crate) fn spare_file(&mut self, path: &Path) -> Result<(), StoreError> {
        let name = self.env.relative(path);
        self.conn
            .prepare_cached("DELETE FROM doomed_file WHERE path = ?1")
            .and_then(|mut s| s.execute([name]))
            .map_err(StoreError::db("keeping a file"))?;
        self.out.doomed.retain(|doomed| doomed != path);
        Ok(())
    }
}

/// Notes that a record refers to a blob.
pub(crate) fn add_reference(
    conn: &Connection,
    repo: i64,
    cid: &Cid,
    path: &str,
    rev: Tid,
) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO record_blob (repo, cid, path, rev) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut s| s.execute(params![repo, cid.as_bytes(), path, tid_to_sql(rev)]))
        .map(|_| ())
        .map_err(StoreError::db("linking a blob"))
}

fn check_claims(blob: &BlobRef, stored: BlobMeta) -> Result<(), StoreError> {
    if stored.mime != blob.mime {
        return Err(StoreError::BlobMimeMismatch {
            cid: blob.cid,
            stored: stored.mime,
            claimed: blob.mime.clone(),
        });
    }
    match blob.size {
        Some(claimed) if claimed != stored.size => {
            Err(StoreError::BlobSizeMismatch { cid: blob.cid, stored: stored.size, claimed })
        }
        _ => Ok(()),
    }
}

impl Env {
    /// Removes files whose rows are gone. Returns those that are done with.
    pub(crate) fn remove_doomed(&self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let mut done = Vec::with_capacity(paths.len());
        for path in paths {
            self.in_flight.unless_uploaded(path, || match self.config.files.remove(path) {
                Ok(()) => done.push(path.clone()),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a file was not removed");
                }
            });
        }
        done
    }

    /// Removes blob files that no row knows: uploads that a cut ended between their name and their row.
    pub(crate) fn sweep_blobs(&self, conn: &Connection) -> Result<(), StoreError> {
        let blobs = self.blobs_dir();
        let dids: Vec<String> = conn
            .prepare("SELECT did FROM account")
            .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
            .map_err(StoreError::db("listing accounts"))?;
        let known: HashMap<String, String> = dids
            .into_iter()
            .filter_map(|did| Some((crate::env::did_name(&Did::parse(&did).ok()?), did)))
            .collect();
        let files = &*self.config.files;
        for folder in files.list(&blobs).map_err(StoreError::file("listing", &blobs))? {
            let dir = blobs.join(&folder);
            let did = known.get(&folder).map_or("", String::as_str);
            for name in files.list(&dir).map_err(StoreError::file("listing", &dir))? {
                self.sweep_file(conn, did, &dir.join(&name), Cid::parse(&name).ok());
            }
        }
        Ok(())
    }

    fn sweep_file(&self, conn: &Connection, did: &str, path: &Path, cid: Option<Cid>) {
        let has_row = || -> rusqlite::Result<bool> {
            let Some(cid) = cid else { return Ok(false) };
            let sql =
                "SELECT 1 FROM blob b JOIN account a ON a.id = b.account WHERE a.did = ?1 AND b.cid = ?2";
            conn.prepare_cached(sql)?.exists(params![did, cid.as_bytes()])
        };
        if has_row().unwrap_or(true) {
            return;
        }
        // No upload of this file begins or ends inside; one that ended since the look above has its row now.
        self.in_flight.unless_uploaded(path, || {
            if has_row().is_ok_and(|has_row| !has_row)
                && let Err(error) = self.config.files.remove(path)
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "a stray blob was not removed");
            }
        });
    }

    /// Gives a path as the tables keep it, so that the folder may be moved.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.config.dir).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// Lists the blobs that records refer to, in byte order of their CIDs.
pub(crate) fn list(
    conn: &Connection,
    repo: i64,
    since: Option<Tid>,
    after: Option<&Cid>,
    limit: usize,
) -> Result<Vec<Cid>, StoreError> {
    let doing = "listing blobs";
    let after: &[u8] = after.map_or(&[], |cid| cid.as_bytes());
    let mut statement = conn
        .prepare_cached(
            "SELECT DISTINCT cid FROM record_blob WHERE repo = ?1 AND cid > ?2 AND rev > ?3 ORDER BY cid LIMIT ?4",
        )
        .map_err(StoreError::db(doing))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![repo, after, since.map_or(-1, tid_to_sql), limit], |row| row.get::<_, Vec<u8>>(0))
        .map_err(StoreError::db(doing))?;
    rows.map(|cid| cid_from_sql(&cid.map_err(StoreError::db(doing))?)).collect()
}

/// Lists blobs that records refer to and that were never uploaded here.
pub(crate) fn missing(
    conn: &Connection,
    account: &Account,
    after: Option<&Cid>,
    limit: usize,
) -> Result<Vec<MissingBlob>, StoreError> {
    let doing = "listing missing blobs";
    let after: &[u8] = after.map_or(&[], |cid| cid.as_bytes());
    let mut statement = conn
        .prepare_cached(
            "SELECT cid, min(path) FROM record_blob WHERE repo = ?1 AND cid > ?2 \
             AND NOT EXISTS (SELECT 1 FROM blob WHERE account = ?3 AND blob.cid = record_blob.cid) \
             GROUP BY cid ORDER BY cid LIMIT ?4",
        )
        .map_err(StoreError::db(doing))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![account.repo, after, account.id, limit], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
        })
        .map_err(StoreError::db(doing))?;
    rows.map(|row| {
        let (cid, path) = row.map_err(StoreError::db(doing))?;
        Ok(MissingBlob { cid: cid_from_sql(&cid)?, path })
    })
    .collect()
}
