//! The one thread that writes: group commit, durable before any answer.
//!
//! It takes all jobs that wait into one transaction, each in its own savepoint so that a bad one fails alone, commits
//! (one fsync), and only then answers and publishes. It also flushes tree nodes and checkpoints the log, so that nothing
//! else ever waits for SQLite's write lock.
//!
//! After an I/O error in a commit nothing is known about what is on the disk: the process ends (`Config::fatal`) and is
//! started anew. An fsync is never tried twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::env::Env;
use crate::error::StoreError;
use crate::event::Event;
use crate::files::FolderLock;
use crate::sequence;
use crate::tree::Trees;

/// Jobs that may wait. Far more than clients of a home server have under way; a bigger queue would only hide overload.
pub(crate) const QUEUE_JOBS: usize = 256;

/// Jobs in one transaction. The first of them waits for the last: 128 small posts take about 30 ms.
const BATCH_JOBS: usize = 128;

/// Event bytes after which a transaction takes no further job: bounds its share of the log and of memory.
const BATCH_EVENT_BYTES: usize = 1024 * 1024;

/// How much the log grows before the next try when readers held a checkpoint back, bytes.
const CHECKPOINT_RETRY_BYTES: u64 = 512 * 1024;

/// Log size at which the writer waits for the readers that hold the log, bytes.
///
/// From here one more transaction may come before the wait: its last job can be the largest commit, by estimate 8 MiB of log
/// with its rows and indexes. So that the log never passes 16 MiB, and stays below 8 with posts of usual size, posts
/// wait from 7 MiB on; exports let go after 2 s at the latest.
const LOG_BYTES_MAX: u64 = 7 * 1024 * 1024;

/// One request to the writer.
pub(crate) struct Job {
    run: Box<dyn FnOnce(&mut Tx<'_>) -> Done + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// What a job left behind: whether its changes stay, and how it is answered after the commit.
struct Done {
    keep: bool,
    answer: Answer,
}

/// Answers a job: with its own result, or with the reason why it was undone after all.
type Answer = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// What the writer thread hands to a job.
pub(crate) struct Tx<'a> {
    /// The connection, inside a transaction.
    pub(crate) conn: &'a Connection,
    /// What all parts share.
    pub(crate) env: &'a Env,
    /// Trees and keys in memory.
    pub(crate) trees: &'a mut Trees,
    /// What leaves after the commit.
    pub(crate) out: Outbox,
    next_seq: u64,
}

/// Effects that wait for the commit.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Events to publish.
    pub(crate) events: Vec<Event>,
    /// Files to remove; their rows in `doomed_file` are written.
    pub(crate) doomed: Vec<PathBuf>,
    /// Events were removed from the log, and must not be sent from memory either.
    pub(crate) forgets_events: bool,
    event_bytes: usize,
}

impl Tx<'_> {
    /// Tells the next sequence number; numbers begin at 1.
    pub(crate) fn peek_seq(&self) -> u64 {
        self.next_seq
    }

    /// Takes the next sequence number. It returns to the pool when the job fails.
    pub(crate) fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Leaves numbers out: the next one is after this.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
    }

    /// Queues a stored event for publication.
    pub(crate) fn publish(&mut self, event: Event) {
        self.out.event_bytes += event.frame.len();
        self.out.events.push(event);
    }

    fn undo_to(&mut self, events: usize, doomed: usize, next_seq: u64) {
        self.out.events.truncate(events);
        self.out.doomed.truncate(doomed);
        self.next_seq = next_seq;
    }
}

/// The sending half.
#[derive(Clone, Debug)]
pub(crate) struct WriterHandle {
    queue: mpsc::Sender<Job>,
}

impl WriterHandle {
    /// Runs a job in the writer's next transaction and waits until it is durable.
    ///
    /// Cancel-safe: a job that was queued runs to its end even when nobody waits for the answer.
    pub(crate) async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let run = move |tx: &mut Tx<'_>| {
            let result = work(tx);
            let keep = result.is_ok();
            let answer = move |undone: Option<StoreError>| {
                let result = match (result, undone) {
                    (Ok(_), Some(error)) => Err(error),
                    (result, _) => result,
                };
                // A receiver that is gone has given up waiting.
                drop(sender.send(result));
            };
            Done { keep, answer: Box::new(answer) }
        };
        self.queue.send(Job { run: Box::new(run) }).await.map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)?
    }
}

/// The receiving half with everything that it owns.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    env: Arc<Env>,
    trees: Trees,
    queue: mpsc::Receiver<Job>,
    next_seq: u64,
    log_pages: Arc<AtomicU32>,
    page_bytes: u64,
    checkpoint_at_bytes: u64,
    /// Removed files whose rows are still to go.
    removed: Vec<PathBuf>,
    /// Keeps other processes out of the folder until the writer has ended.
    _lock: Box<dyn FolderLock>,
}

/// What a batch came to.
struct Batch {
    answers: Vec<Answer>,
    out: Outbox,
    next_seq: u64,
    changed: bool,
}

impl Writer {
    /// Prepares the thread's belongings; [`Writer::run`] is the thread.
    pub(crate) fn new(
        mut conn: Connection,
        lock: Box<dyn FolderLock>,
        env: Arc<Env>,
        trees: Trees,
        next_seq: u64,
    ) -> Result<(Self, WriterHandle), StoreError> {
        let log_pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&log_pages);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(StoreError::db("watching the log"))?;
        let page_bytes: u32 = conn
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map_err(StoreError::db("reading the page size"))?;
        let (sender, queue) = mpsc::channel(QUEUE_JOBS);
        let checkpoint_at_bytes = env.config.limits.checkpoint_bytes;
        let writer = Self {
            conn,
            env,
            trees,
            queue,
            next_seq,
            log_pages,
            page_bytes: u64::from(page_bytes),
            checkpoint_at_bytes,
            removed: Vec::new(),
            _lock: lock,
        };
        Ok((writer, WriterHandle { queue: sender }))
    }

    /// Serves jobs until the last handle is dropped; then flushes and checkpoints.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            if let Err(error) = self.serve(first) {
                tracing::error!(error = &error as &dyn std::error::Error, "the store cannot go on");
                (self.env.config.fatal)(&error);
                return;
            }
            self.checkpoint_when_due();
        }
        self.close();
    }

    fn serve(&mut self, first: Job) -> Result<(), StoreError> {
        self.conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([])).map_err(begin_failed)?;
        let batch = self.run_batch(first)?;
        if !batch.changed {
            execute(&self.conn, "ROLLBACK")?;
            for answer in batch.answers {
                answer(None);
            }
            return Ok(());
        }
        match execute(&self.conn, "COMMIT") {
            Ok(()) => self.settle(batch),
            Err(StoreError::DiskFull) => self.undo(batch)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn run_batch(&mut self, first: Job) -> Result<Batch, StoreError> {
        let before = self.conn.total_changes();
        let mut tx = Tx {
            conn: &self.conn,
            env: &self.env,
            trees: &mut self.trees,
            out: Outbox::default(),
            next_seq: self.next_seq,
        };
        // Before any job, which may make the same file again.
        for path in std::mem::take(&mut self.removed) {
            tx.spare_file(&path)?;
        }
        let mut answers = Vec::new();
        if let Some(owed) = owed(&self.env) {
            answers.push(run_job(&mut tx, owed)?);
        }
        let mut next = Some(first);
        while let Some(job) = next.take() {
            answers.push(run_job(&mut tx, job)?);
            if answers.len() < BATCH_JOBS && tx.out.event_bytes < BATCH_EVENT_BYTES {
                next = self.queue.try_recv().ok();
            }
        }
        tx.flush_due()?;
        let (out, next_seq) = (std::mem::take(&mut tx.out), tx.next_seq);
        let changed = self.conn.total_changes() != before;
        Ok(Batch { answers, out, next_seq, changed })
    }

    /// Everything is durable: publish, answer, tidy.
    fn settle(&mut self, batch: Batch) {
        self.next_seq = batch.next_seq;
        self.trees.committed(&self.env.nodes);
        self.env.grew(&batch.out.events);
        if batch.out.forgets_events {
            self.env.events.forget_recent();
        }
        self.env.events.publish(batch.out.events, batch.next_seq.saturating_sub(1));
        for answer in batch.answers {
            answer(None);
        }
        if !batch.out.doomed.is_empty() {
            self.removed.extend(self.env.remove_doomed(&batch.out.doomed));
        }
    }

    /// The disk was full at the commit: SQLite has kept the old state, and so does memory.
    fn undo(&mut self, batch: Batch) -> Result<(), StoreError> {
        if !self.conn.is_autocommit() {
            execute(&self.conn, "ROLLBACK")?;
        }
        self.trees.rolled_back();
        self.env.room_ended();
        for answer in batch.answers {
            answer(Some(StoreError::DiskFull));
        }
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        u64::from(self.log_pages.load(Ordering::Relaxed)).saturating_mul(self.page_bytes)
    }

    fn checkpoint_when_due(&mut self) {
        let log_bytes = self.log_bytes();
        if log_bytes < self.checkpoint_at_bytes {
            return;
        }
        let mut complete = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        if !complete && log_bytes >= LOG_BYTES_MAX {
            complete = self.checkpoint("PRAGMA wal_checkpoint(RESTART)");
        }
        self.checkpoint_at_bytes = if complete {
            self.env.config.limits.checkpoint_bytes
        } else {
            log_bytes.saturating_add(CHECKPOINT_RETRY_BYTES)
        };
    }

    /// Copies the log into the database. Tells whether all of it could be copied, so that the log starts anew.
    ///
    /// A failure leaves the log as it is, and loses nothing: the next try comes when the log has grown further.
    fn checkpoint(&mut self, sql: &str) -> bool {
        let outcome = self.conn.query_row(sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        match outcome {
            Ok((busy, log, copied)) => busy == 0 && log == copied,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a checkpoint failed");
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
                    self.env.room_ended();
                }
                false
            }
        }
    }

    fn close(mut self) {
        let flushed = self.flush_all();
        if let Err(error) = flushed {
            // The nodes are still in the event log: the next start replays them.
            tracing::warn!(error = &error as &dyn std::error::Error, "nodes were not flushed at the end");
        }
        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        self.env.events.close();
    }

    fn flush_all(&mut self) -> Result<(), StoreError> {
        execute(&self.conn, "BEGIN IMMEDIATE")?;
        let mut tx = Tx {
            conn: &self.conn,
            env: &self.env,
            trees: &mut self.trees,
            out: Outbox::default(),
            next_seq: self.next_seq,
        };
        tx.flush_all()?;
        execute(&self.conn, "COMMIT")
    }
}

/// The announcements that are owed, as a job that goes before all others; `None` when nothing is, or the time is not
/// known: then nobody else can sign or announce anything either.
fn owed(env: &Arc<Env>) -> Option<Job> {
    if !env.owes_announcements.load(Ordering::Relaxed) || env.now().is_err() {
        return None;
    }
    let env = Arc::clone(env);
    let run = move |tx: &mut Tx<'_>| {
        let result = sequence::announce_owed(tx);
        let keep = result.is_ok();
        let answer = move |undone: Option<StoreError>| match (result, undone) {
            (Ok(accounts), None) => {
                env.owes_announcements.store(false, Ordering::Relaxed);
                tracing::info!(accounts, "every account is announced anew, since later data was given up");
            }
            (Ok(_), Some(error)) | (Err(error), _) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the accounts are not announced anew yet");
            }
        };
        Done { keep, answer: Box::new(answer) }
    };
    Some(Job { run: Box::new(run) })
}

/// Runs one job in a savepoint of its own.
fn run_job(tx: &mut Tx<'_>, job: Job) -> Result<Answer, StoreError> {
    let (events, doomed) = (tx.out.events.len(), tx.out.doomed.len());
    let (next_seq, given_up) = (tx.next_seq, tx.trees.given_up());
    execute(tx.conn, "SAVEPOINT job")?;
    let done = (job.run)(tx);
    if !done.keep {
        execute(tx.conn, "ROLLBACK TO job")?;
        tx.undo_to(events, doomed, next_seq);
        tx.trees.undo_give_up(given_up);
    }
    execute(tx.conn, "RELEASE job")?;
    Ok(done.answer)
}

fn execute(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql)
        .and_then(|mut s| s.execute([]))
        .map(|_| ())
        .map_err(StoreError::db("ending a transaction"))
}

fn begin_failed(source: rusqlite::Error) -> StoreError {
    StoreError::Database { doing: "beginning a transaction", source }
}
