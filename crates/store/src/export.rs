//! A whole repo as a stream, taken from one moment, that no slow client can hold open.
//!
//! A thread reads inside one read transaction and hands chunks over. When the client does not keep up, or the
//! transaction gets old, the rest goes at full speed into a nameless file and the transaction ends: a moment that stays
//! open keeps SQLite's log from starting anew, and a client at 1 KiB/s would let it grow without bound.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atproto::car;
use atproto::cid::Cid;
use atproto::mst::{BuildError, Builder, Step, Walk};
use atproto::syntax::{Did, Tid};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::account::{self, Account, tid_to_sql};
use crate::error::StoreError;
use crate::files::Spool;
use crate::node;
use crate::record::cid_from_digest;
use crate::tree::{ReaderNodes, tree_failed};
use crate::{Inner, Store};

/// Bytes handed over at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Chunks that wait for the client. With the one being made they are the memory of an export: half a MiB.
const CHUNKS_WAITING: usize = 3;

/// How long a moment stays open when the client keeps up, and how long the reader waits for a client that does not.
/// At full load the log grows by a few MiB in that time.
const MOMENT_MAX: Duration = Duration::from_millis(2000);
const CLIENT_WAIT: Duration = Duration::from_millis(100);

/// Exports that read at the same time. Others wait: each keeps a core and the disk busy.
const READING_MAX: usize = 2;

/// Exports under way, most of them from files. A file is as large as the rest of its repo.
const EXPORTS_MAX: usize = 32;

/// Places for exports.
#[derive(Debug)]
pub(crate) struct Slots {
    reading: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { reading: Arc::new(Semaphore::new(READING_MAX)), all: Arc::new(Semaphore::new(EXPORTS_MAX)) }
    }
}

/// A CAR stream. Dropping it ends the work behind it.
#[derive(Debug)]
pub struct Export {
    live: mpsc::Receiver<Result<Bytes, StoreError>>,
    rest: Arc<Mutex<Option<Box<dyn Spool>>>>,
    file: Option<Box<dyn Spool>>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Export {
    /// Gives the next chunk; `None` at the end. After an error the stream is broken off and nothing follows.
    ///
    /// # Errors
    /// When the repo or the file cannot be read, or there is no room for the file.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.over {
            return Ok(None);
        }
        if let Some(file) = self.file.take() {
            return self.next_from_file(file).await;
        }
        match self.live.recv().await {
            Some(Ok(chunk)) => Ok(Some(chunk)),
            Some(Err(error)) => {
                self.over = true;
                Err(error)
            }
            None => {
                let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
                match rest {
                    Some(file) => self.next_from_file(file).await,
                    None => {
                        self.over = true;
                        Ok(None)
                    }
                }
            }
        }
    }

    async fn next_from_file(&mut self, mut file: Box<dyn Spool>) -> Result<Option<Bytes>, StoreError> {
        // A call that is given up here loses the file: the stream must then end, not seem complete.
        self.over = true;
        let (file, chunk) = crate::blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let limit = u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
            (&mut file).take(limit).read_to_end(&mut chunk).map_err(spool_failed)?;
            Ok((file, chunk))
        })
        .await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        self.over = false;
        self.file = Some(file);
        Ok(Some(Bytes::from(chunk)))
    }
}

fn spool_failed(error: std::io::Error) -> StoreError {
    StoreError::file("keeping an export", std::path::Path::new("(nameless)"))(error)
}

impl Store {
    /// Streams a repo as a CAR: the commit, then records in key order with the tree's nodes between.
    ///
    /// With `since`, only what is newer than that revision: at least all that the difference needs.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Busy`] when too many are under way, or a failure of the disk.
    pub async fn export(&self, did: &Did, since: Option<Tid>) -> Result<Export, StoreError> {
        let slots = &self.inner.exports;
        let busy = |_| StoreError::Busy { what: "exports" };
        let place = Arc::clone(&slots.all).try_acquire_owned().map_err(busy)?;
        let reading = Arc::clone(&slots.reading);
        let reading = reading.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (sender, live) = mpsc::channel(CHUNKS_WAITING);
        let rest = Arc::new(Mutex::new(None));
        let (inner, did, slot) = (Arc::clone(&self.inner), did.clone(), Arc::clone(&rest));
        // The account is looked up first so that its absence is an answer, not a broken stream.
        let (conn, account) = crate::blocking(move || begin(&inner, &did)).await?;
        let inner = Arc::clone(&self.inner);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _reading = reading;
            let out = Out {
                runtime,
                sender,
                inner: Arc::clone(&inner),
                began: Instant::now(),
                chunk: Vec::new(),
                spool: None,
            };
            run(&inner, conn, &account, since, out, &slot);
        });
        Ok(Export { live, rest, file: None, over: false, _place: place })
    }
}

fn begin(inner: &Inner, did: &Did) -> Result<(Connection, Account), StoreError> {
    let conn = inner.connection()?;
    conn.execute_batch("BEGIN").map_err(StoreError::db("beginning an export"))?;
    match account::require(&conn, did) {
        Ok(account) => Ok((conn, account)),
        Err(error) => {
            // The failure to find it is the answer; a connection that cannot end its read is not kept.
            if conn.execute_batch("COMMIT").is_ok() {
                inner.shelve(conn);
            }
            Err(error)
        }
    }
}

fn run(
    inner: &Inner,
    conn: Connection,
    account: &Account,
    since: Option<Tid>,
    mut out: Out,
    rest: &Mutex<Option<Box<dyn Spool>>>,
) {
    let written = write_car(inner, &conn, account, since, &mut out).and_then(|()| out.finish());
    if conn.execute_batch("COMMIT").is_ok() {
        inner.shelve(conn);
    }
    match written {
        Ok(spool) => *rest.lock().unwrap_or_else(PoisonError::into_inner) = spool,
        // Nobody listens any more: there is nothing to tell.
        Err(Stop::Abandoned) => {}
        Err(Stop::Failed(error)) => {
            // A client that left meanwhile does not hear it.
            drop(out.runtime.block_on(out.sender.send(Err(error))));
        }
    }
}

/// Why an export ends early.
enum Stop {
    Abandoned,
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Where the bytes go: to the client, or from some point on to a file.
struct Out {
    runtime: tokio::runtime::Handle,
    sender: mpsc::Sender<Result<Bytes, StoreError>>,
    inner: Arc<Inner>,
    began: Instant,
    chunk: Vec<u8>,
    spool: Option<Box<dyn Spool>>,
}

impl Out {
    fn block(&mut self, cid: &Cid, block: &[u8]) -> Result<(), Stop> {
        car::write_block(&mut self.chunk, cid, block);
        if self.chunk.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8));
        if let Some(spool) = &mut self.spool {
            if self.sender.is_closed() {
                return Err(Stop::Abandoned);
            }
            self.inner.env.check_room()?;
            return spool.write_all(&chunk).map_err(spool_failed).map_err(Stop::Failed);
        }
        let wait = CLIENT_WAIT.min(MOMENT_MAX.saturating_sub(self.began.elapsed()));
        let sent = self.runtime.block_on(self.sender.send_timeout(Ok(Bytes::from(chunk)), wait));
        match sent {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Abandoned),
            Err(mpsc::error::SendTimeoutError::Timeout(chunk)) => {
                let env = &self.inner.env;
                let dir = &env.config.dir;
                let mut spool =
                    env.config.files.spool(dir).map_err(StoreError::file("keeping an export", dir))?;
                env.check_room()?;
                spool.write_all(&chunk?).map_err(spool_failed)?;
                self.spool = Some(spool);
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Box<dyn Spool>>, Stop> {
        self.flush()?;
        let Some(mut spool) = self.spool.take() else { return Ok(None) };
        spool.seek(SeekFrom::Start(0)).map_err(spool_failed)?;
        Ok(Some(spool))
    }
}

fn write_car(
    inner: &Inner,
    conn: &Connection,
    account: &Account,
    since: Option<Tid>,
    out: &mut Out,
) -> Result<(), Stop> {
    let head = &account.head;
    car::write_header(&mut out.chunk, &[head.commit]);
    match since {
        None => {
            out.block(&head.commit, &head.block)?;
            write_all(conn, account, out)
        }
        Some(since) if since >= head.rev => Ok(()),
        Some(since) => {
            let nodes = ReaderNodes::new(conn, &inner.env.nodes, account);
            out.block(&head.commit, &head.block)?;
            write_newer(conn, account, &nodes, tid_to_sql(since), out)
        }
    }
}

/// Writes the whole tree, each node after what lies below it.
///
/// The nodes are built anew from the records, which come from one pass over their table in the tree's order: that is
/// less work than to look each node up, and proves that the records are the tree that was signed.
fn write_all(conn: &Connection, account: &Account, out: &mut Out) -> Result<(), Stop> {
    let doing = "reading records";
    let unlike = |error: BuildError| StoreError::corrupt(format!("the records are no tree: {error}"));
    let sql = "SELECT path, digest, body FROM record WHERE repo = ?1 ORDER BY path";
    let mut statement = conn.prepare_cached(sql).map_err(StoreError::db(doing))?;
    let mut rows = statement.query([account.repo]).map_err(StoreError::db(doing))?;
    let mut builder = Builder::new();
    while let Some(row) = rows.next().map_err(StoreError::db(doing))? {
        let read = || -> rusqlite::Result<(&str, &[u8], &[u8])> {
            Ok((row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?))
        };
        let (path, digest, body) = read().map_err(StoreError::db(doing))?;
        let cid = cid_from_digest(digest)?;
        builder.push(path, cid).map_err(unlike)?;
        for (cid, node) in builder.finished() {
            out.block(&cid, &node)?;
        }
        out.block(&cid, body)?;
    }
    let (root, nodes) = builder.finish();
    for (cid, node) in &nodes {
        out.block(cid, node)?;
    }
    if root == account.head.data {
        Ok(())
    } else {
        Err(StoreError::corrupt("the records are not the tree that was signed").into())
    }
}

/// Writes the nodes that were stored after a revision, and the records in them that are newer.
fn write_newer(
    conn: &Connection,
    account: &Account,
    nodes: &ReaderNodes<'_>,
    since: i64,
    out: &mut Out,
) -> Result<(), Stop> {
    let doing = "reading newer records";
    let mut newer = conn
        .prepare_cached("SELECT body FROM record WHERE repo = ?1 AND path = ?2 AND rev > ?3")
        .map_err(StoreError::db(doing))?;
    let mut walk = Walk::new(nodes, account.head.data);
    loop {
        if let Some(cid) = walk.peek_node()
            && node::rev(conn, account.repo, &cid)?.is_some_and(|rev| rev <= since)
        {
            walk.skip_node();
            continue;
        }
        match walk.next() {
            None => return Ok(()),
            Some(Err(error)) => return Err(tree_failed(error).into()),
            Some(Ok(Step::Node { cid, block })) => out.block(&cid, &block)?,
            Some(Ok(Step::Record { key, value })) => {
                let body: Option<Vec<u8>> = newer
                    .query_row(params![account.repo, key, since], |row| row.get(0))
                    .optional()
                    .map_err(StoreError::db(doing))?;
                if let Some(body) = body {
                    out.block(&value, &body)?;
                }
            }
        }
    }
}
