//! All durable state of the PDS: one SQLite database, one writer, files for blobs and keys.
//!
//! What is promised: an answer or an event leaves only after it is on stable storage, and a sequence number that was
//! sent is never used again. All writes go through one thread that commits what waits together ([`Store::write`] and its
//! siblings); reads have their own connections ([`Store::read`]) and never keep a moment open while a client is slow
//! ([`Store::export`]).
//!
//! Nothing here speaks HTTP, resolves identities or chooses what a client hears.

mod account;
mod backlink;
mod blob;
mod config;
mod env;
mod error;
mod event;
mod export;
mod files;
mod hold;
mod identity_change;
mod import;
mod invite;
mod keys;
mod lexicon;
mod lifecycle;
mod log;
mod maintain;
mod node;
mod open;
mod read;
mod recent;
mod record;
mod reserve;
mod schema;
mod sequence;
mod session;
mod tree;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::Semaphore;

pub use account::{Account, Head, Intent, NewAccount, Status};
pub use blob::{BlobFile, BlobMeta, BlobRef, BlobUpload, MissingBlob};
pub use config::{Config, Limits};
pub use error::{OpenError, StoreError};
pub use event::{Event, Subscription};
pub use export::Export;
pub use files::{FileRead, FileWrite, Files, FolderLock, OsFiles, Spool, make_dirs};
pub use hold::{Hold, HoldKind};
pub use identity_change::IdentityChange;
pub use import::{Import, ImportError, Imported};
pub use invite::{ADMIN, Invite, InviteOrder, InviteRights, InviteUse, NewInvite};
pub use lexicon::{LEXICONS_KEPT, StoredLexicon};
pub use lifecycle::Announcement;
pub use maintain::Maintained;
pub use read::{ANSWER_BYTES_MAX, Ahead, Counts, Reader, StoredRecord};
pub use sequence::{GivenUp, JUMP_MAX, Jump, SEQ_MAX};
pub use session::{AppPassword, NewRefreshToken, Rotated};
pub use write::{
    COMMIT_BYTES_MAX, Change, CommitMeta, OPS_MAX, Op, Outcome, Record, WriteRequest, WriteResult,
};

use env::Env;
use writer::WriterHandle;

/// Readers at the same time. A read takes microseconds to milliseconds; three keep all cores of a small board busy.
const READERS: usize = 3;

/// The open store. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) env: Arc<Env>,
    writer: Mutex<Option<WriterHandle>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Semaphore,
    idle: Mutex<Vec<Connection>>,
    pub(crate) exports: export::Slots,
    /// One import at a time: it takes disk, memory and much of the writer.
    pub(crate) imports: Arc<Semaphore>,
    numbers: AtomicU64,
    /// Whether the bytes of the event log have been counted since the start.
    pub(crate) counted: AtomicBool,
    /// Whether files without a row have been looked for since the start.
    pub(crate) swept: AtomicBool,
    /// Numbers that the opening left out.
    given_up: Option<GivenUp>,
}

impl Inner {
    pub(crate) fn writer(&self) -> Result<WriterHandle, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.clone().ok_or(StoreError::Closed)
    }

    /// Gives a number that this process has not used before, for the names of temporary files.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a connection for reading, from the shelf or new.
    pub(crate) fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(conn) => Ok(conn),
            None => schema::connect(&self.env.config, &self.env.database_path(), schema::Role::Reader),
        }
    }

    /// Puts a connection back that has no transaction open.
    pub(crate) fn shelve(&self, conn: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if conn.is_autocommit() && idle.len() < READERS {
            idle.push(conn);
        }
    }
}

impl Store {
    /// Asks questions that are all answered from one moment. Runs on a thread that may block; at most three at once.
    ///
    /// # Errors
    /// What the closure returns, or a failure to open a connection.
    pub async fn read<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _permit = self.inner.readers.acquire().await.map_err(|_| StoreError::Closed)?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let conn = inner.connection()?;
            let begun = conn.prepare_cached("BEGIN").and_then(|mut s| s.execute([]));
            begun.map_err(StoreError::db("beginning to read"))?;
            let answer = ask(&Reader::new(&conn, &inner.env));
            let ended = conn.prepare_cached("COMMIT").and_then(|mut s| s.execute([]));
            ended.map_err(StoreError::db("ending a read"))?;
            inner.shelve(conn);
            answer
        })
        .await
    }

    /// Follows the firehose after a number; 0 is from the oldest event that is kept.
    #[must_use]
    pub fn subscribe(&self, after: u64) -> Subscription {
        Subscription::new(self.clone(), after)
    }

    /// Gives the number of the newest durable event; 0 when there was none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.inner.env.events.last_seq()
    }

    /// Tells whether new data is refused because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.env.check_room().is_err()
    }

    /// Measures the database with its log, bytes. Blocks for a moment.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub fn database_bytes(&self) -> Result<u64, StoreError> {
        let path = self.inner.env.database_path();
        let log = std::path::PathBuf::from(format!("{}-wal", path.display()));
        let size = |path: &std::path::Path| {
            std::fs::metadata(path)
                .map(|facts| facts.len())
                .map_err(StoreError::file("measuring the database", path))
        };
        Ok(size(&path)?.saturating_add(size(&log)?))
    }

    /// Ends all subscriptions, waits for the writer to finish what it was given, flushes and checkpoints.
    ///
    /// Calls that come later, on any handle, answer [`StoreError::Closed`].
    ///
    /// # Errors
    /// When the writer thread had died.
    pub async fn close(self) -> Result<(), StoreError> {
        drop(self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        blocking(move || thread.join().map_err(|_| StoreError::Closed)).await
    }
}

/// Runs work that blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
}
