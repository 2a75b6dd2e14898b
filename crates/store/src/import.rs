//! Taking a whole repo in: received into memory or a nameless file, verified, staged in slices, visible in one moment.
//!
//! What is written once more than needed wears the card: a repo of usual size never touches a file before its rows, and
//! tree nodes are staged in the order of their names, so that their index grows at its end.
//!
//! The writer serves others between the slices; until the last step nothing of the import can be seen, and what an
//! interrupted one left is removed like any repo that nothing points to.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use atproto::car;
use atproto::cbor;
use atproto::cid::Cid;
use atproto::data::{BlobRef, blob_refs};
use atproto::mst::{MstError, NodeSource, Step, Walk};
use atproto::repo::{Commit, decode_commit};
use atproto::syntax::{Did, Nsid, RecordKey, Tid};
use bytes::{Bytes, BytesMut};
use rusqlite::params;
use tokio::sync::OwnedSemaphorePermit;

use crate::Store;
use crate::account::{self, Account, Head, Status, time_to_sql};
use crate::backlink::Backlink;
use crate::error::StoreError;
use crate::files::Spool;
use crate::node;
use crate::record;
use crate::write::{CommitMeta, next_rev};
use crate::writer::{Tx, WriterHandle};

/// Bytes of CAR that are collected before they are looked at.
const PIECE_BYTES: usize = 256 * 1024;

/// Blocks in one import. The index of each takes 48 bytes of memory while the import runs: 72 MB at most.
const BLOCKS_MAX: usize = 1_500_000;

/// Memory is taken in pieces of so many bytes: nothing is copied when more is needed, and all of it goes back at the end.
const SEGMENT_BYTES: usize = 1024 * 1024;

/// Rows and bytes of one staged slice: the writer is busy with it for about 10 ms.
const SLICE_ROWS: usize = 512;
const SLICE_BYTES: usize = 512 * 1024;

/// Why an import was refused. Texts are for whoever brought the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes are not a CAR of verified blocks.
    #[error("the file is not a sound CAR")]
    Car(#[source] car::CarError),
    /// Larger than this server takes.
    #[error("the repo is larger than {max} {unit}")]
    TooLarge {
        /// The limit.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// None or several roots.
    #[error("the file must have one root, it has {count}")]
    Roots {
        /// How many it has.
        count: usize,
    },
    /// The root is not a commit.
    #[error("the root is not a commit of a repo")]
    Commit(#[source] atproto::repo::CommitError),
    /// A block that the repo names is not in the file.
    #[error("block {cid} is not in the file")]
    Missing {
        /// The block.
        cid: Cid,
    },
    /// The repo is somebody else's.
    #[error("the repo belongs to {did}")]
    OtherDid {
        /// Whose it is.
        did: Did,
    },
    /// The tree is not the one tree of its records.
    #[error("the tree of the repo is not sound: {what}")]
    Tree {
        /// What was found.
        what: String,
    },
    /// A record or its name is not acceptable.
    #[error("the record {path} is not acceptable: {what}")]
    Record {
        /// `collection/rkey`.
        path: String,
        /// What was found.
        what: String,
    },
    /// The account wrote to its repo meanwhile.
    #[error("the repo was written to during the import; import again")]
    Changed,
}

/// What an import came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The commit that was signed here over the imported tree.
    pub commit: CommitMeta,
    /// Records in the repo.
    pub records: u64,
}

/// An import under way. Dropping it forgets what has come so far.
#[derive(Debug)]
pub struct Import {
    store: Store,
    account: Account,
    receiving: Option<Receiving>,
    buffer: BytesMut,
    bytes: u64,
    _place: OwnedSemaphorePermit,
}

/// What has come so far: blocks in a file, and where each is.
#[derive(Debug)]
struct Receiving {
    decoder: car::Decoder,
    store: Store,
    segments: Vec<Vec<u8>>,
    spool: Option<Box<dyn Spool>>,
    spooled: u64,
    index: Vec<Place>,
    out: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    cid: Cid,
    at: At,
    length: u32,
}

/// Where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// In memory: the segment and the offset in it.
    Memory(u32, u32),
    /// In the file.
    File(u64),
}

impl Store {
    /// Begins to take a repo in for an account; one at a time.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Busy`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn begin_import(&self, did: &Did) -> Result<Import, StoreError> {
        self.inner.env.check_room()?;
        let busy = |_| StoreError::Busy { what: "imports" };
        let place = Arc::clone(&self.inner.imports).try_acquire_owned().map_err(busy)?;
        let (did, store) = (did.clone(), self.clone());
        self.read(move |reader| {
            let account = account::require(reader.conn(), &did)?;
            let receiving = Some(Receiving {
                decoder: car::Decoder::new(),
                store: store.clone(),
                segments: Vec::new(),
                spool: None,
                spooled: 0,
                index: Vec::new(),
                out: Vec::new(),
            });
            Ok(Import { store, account, receiving, buffer: BytesMut::new(), bytes: 0, _place: place })
        })
        .await
    }
}

impl Import {
    /// Takes more of the CAR.
    ///
    /// # Errors
    /// [`StoreError::Import`] when it is damaged or too large, [`StoreError::DiskFull`], or a failure of the disk; the
    /// import is then over.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let max = self.store.inner.env.config.limits.import_bytes_max;
        if self.bytes > max {
            return Err(ImportError::TooLarge { max, unit: "bytes" }.into());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES { self.receive().await } else { Ok(()) }
    }

    async fn receive(&mut self) -> Result<(), StoreError> {
        self.store.inner.env.check_room()?;
        let piece = self.buffer.split().freeze();
        let mut receiving = self.receiving.take().ok_or(StoreError::Closed)?;
        let receiving = crate::blocking(move || {
            receiving.take(&piece)?;
            Ok(receiving)
        })
        .await?;
        self.receiving = Some(receiving);
        Ok(())
    }

    /// Verifies the repo, stages it and makes it the account's, with a new commit signed here.
    ///
    /// The signature of the imported commit is not checked: its key belongs to the server that the account leaves. An
    /// active account announces `#sync`.
    ///
    /// # Errors
    /// [`StoreError::Import`], [`StoreError::ClockUntrusted`], [`StoreError::RevAhead`],
    /// [`StoreError::RepoNeedsRepair`], [`StoreError::DiskFull`], or a failure of the disk; the old repo then stays.
    pub async fn finish(mut self) -> Result<Imported, StoreError> {
        self.receive().await?;
        let receiving = self.receiving.take().ok_or(StoreError::Closed)?;
        let writer = self.store.inner.writer()?;
        let runtime = tokio::runtime::Handle::current();
        let account = self.account.clone();
        let sender = Sender { runtime, writer };
        crate::blocking(move || take_in(receiving, &account, &sender)).await
    }
}

impl Receiving {
    fn take(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.decoder.push(piece);
        while let Some((cid, block)) = self.decoder.next_block().map_err(ImportError::Car)? {
            if self.index.len() >= BLOCKS_MAX {
                let max = u64::try_from(BLOCKS_MAX).unwrap_or(u64::MAX);
                return Err(ImportError::TooLarge { max, unit: "blocks" }.into());
            }
            let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
            let at = self.keep(&block);
            self.index.push(Place { cid, at, length });
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let config = &self.store.inner.env.config;
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => {
                let made = config.files.spool(&config.dir);
                none.insert(made.map_err(StoreError::file("beginning an import's file", &config.dir))?)
            }
        };
        spool.write_all(&self.out).map_err(spool_failed)?;
        self.out.clear();
        Ok(())
    }

    /// Puts a block where there is room, and tells where that is. No block lies in two segments.
    fn keep(&mut self, block: &[u8]) -> At {
        let fits = self.segments.last().is_some_and(|last| last.len() + block.len() <= SEGMENT_BYTES);
        let memory_bytes = self.store.inner.env.config.limits.import_memory_bytes;
        let may_grow = self.segments.len() * SEGMENT_BYTES < memory_bytes;
        if !fits && may_grow && block.len() <= SEGMENT_BYTES {
            self.segments.push(Vec::with_capacity(SEGMENT_BYTES));
        }
        let number = u32::try_from(self.segments.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.segments.last_mut() {
            Some(last) if last.len() + block.len() <= SEGMENT_BYTES => {
                let offset = u32::try_from(last.len()).unwrap_or(u32::MAX);
                last.extend_from_slice(block);
                At::Memory(number, offset)
            }
            _ => {
                let at = At::File(self.spooled);
                self.spooled += u64::try_from(block.len()).unwrap_or(u64::MAX);
                self.out.extend_from_slice(block);
                at
            }
        }
    }
}

fn spool_failed(error: std::io::Error) -> StoreError {
    StoreError::file("keeping an import", std::path::Path::new("(nameless)"))(error)
}

/// The received blocks, by name.
struct Blocks {
    index: Vec<Place>,
    segments: Vec<Vec<u8>>,
    spool: std::cell::RefCell<Option<Box<dyn Spool>>>,
}

impl Blocks {
    fn find(&self, cid: &Cid) -> Option<usize> {
        self.index.binary_search_by(|place| place.cid.cmp(cid)).ok()
    }

    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = self.find(cid).and_then(|found| self.index.get(found)) else { return Ok(None) };
        self.read(place).map(Some)
    }

    fn read(&self, place: &Place) -> Result<Bytes, StoreError> {
        let length = usize::try_from(place.length).unwrap_or(usize::MAX);
        let lost = || StoreError::corrupt("a received block is not where it was put");
        match place.at {
            At::Memory(segment, offset) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let segment = usize::try_from(segment).ok().and_then(|segment| self.segments.get(segment));
                let end = offset.saturating_add(length);
                let block = segment.and_then(|segment| segment.get(offset..end)).ok_or_else(lost)?;
                Ok(Bytes::copy_from_slice(block))
            }
            At::File(at) => {
                let mut spool = self.spool.borrow_mut();
                let spool = spool.as_mut().ok_or_else(lost)?;
                let mut block = vec![0; length];
                spool.seek(SeekFrom::Start(at)).map_err(spool_failed)?;
                spool.read_exact(&mut block).map_err(spool_failed)?;
                Ok(Bytes::from(block))
            }
        }
    }

    fn require(&self, cid: &Cid) -> Result<Bytes, StoreError> {
        self.get(cid)?.ok_or_else(|| ImportError::Missing { cid: *cid }.into())
    }
}

impl NodeSource for Blocks {
    type Error = StoreError;

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.get(cid)
    }
}

/// Sends jobs to the writer from a thread that may block.
struct Sender {
    runtime: tokio::runtime::Handle,
    writer: WriterHandle,
}

impl Sender {
    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(self.writer.call(job))
    }
}

fn take_in(mut receiving: Receiving, account: &Account, sender: &Sender) -> Result<Imported, StoreError> {
    receiving.decoder.finish().map_err(ImportError::Car)?;
    let roots = receiving.decoder.roots().unwrap_or_default();
    let [root] = roots else {
        return Err(ImportError::Roots { count: roots.len() }.into());
    };
    let root = *root;
    let mut index = std::mem::take(&mut receiving.index);
    index.sort_unstable();
    let spool = std::cell::RefCell::new(receiving.spool);
    let blocks = Blocks { index, segments: receiving.segments, spool };
    let commit = decode_commit(&blocks.require(&root)?).map_err(ImportError::Commit)?;
    if commit.did != account.did {
        return Err(ImportError::OtherDid { did: commit.did }.into());
    }
    let (repo, rev) = sender.call(begin_staging)?;
    let staged = stage(&blocks, &commit, repo, rev, sender);
    let done = staged.and_then(|records| {
        let before = account.clone();
        let commit = sender.call(move |tx| switch(tx, &before, repo, rev, &commit))?;
        Ok(Imported { commit, records })
    });
    if done.is_err() {
        // What was staged is in nobody's way; if even this fails, the next start does it.
        let given_up =
            sender.call(move |tx| tx.set("UPDATE doomed_repo SET staged = 0 WHERE repo = ?1", [repo]));
        drop(given_up);
    }
    done
}

fn begin_staging(tx: &mut Tx<'_>) -> Result<(i64, Tid), StoreError> {
    let rev = Tid::at(tx.env.now()?, tx.env.clock_id);
    let repo = tx.new_repo_id()?;
    tx.set("INSERT INTO doomed_repo (repo, staged) VALUES (?1, 1)", [repo])?;
    Ok((repo, rev))
}

/// Rows on their way to the writer.
#[derive(Default)]
struct Slice {
    nodes: Vec<(Cid, Bytes)>,
    records: Vec<(Box<str>, Cid, Bytes, Vec<BlobRef>)>,
    bytes: usize,
}

impl Slice {
    fn is_full(&self) -> bool {
        self.nodes.len() + self.records.len() >= SLICE_ROWS || self.bytes >= SLICE_BYTES
    }

    fn store(self, tx: &Tx<'_>, repo: i64, rev: Tid) -> Result<(), StoreError> {
        tx.env.check_room()?;
        for (cid, block) in &self.nodes {
            node::store(tx.conn, repo, cid, rev, block)?;
        }
        for (path, cid, body, blobs) in &self.records {
            record::insert(tx.conn, repo, path, cid, rev, body)?;
            for blob in blobs {
                crate::blob::add_reference(tx.conn, repo, &blob.cid, path, rev)?;
            }
        }
        Ok(())
    }
}

/// Walks the tree, which proves it sound, and sends everything to the writer. Returns the number of records.
///
/// Backlinks go last and in order, 16 bytes each until then: their keys are hashes, and a slice of them at a time would
/// write most of their table anew.
fn stage(blocks: &Blocks, commit: &Commit, repo: i64, rev: Tid, sender: &Sender) -> Result<u64, StoreError> {
    let mut slice = Slice::default();
    let (mut records, mut nodes) = (0, Vec::new());
    let mut backlinks = Vec::new();
    for step in Walk::new(blocks, commit.data) {
        match step.map_err(tree_refused)? {
            Step::Node { cid, .. } => nodes.extend(blocks.find(&cid)),
            Step::Record { key, value } => {
                let body = blocks.require(&value)?;
                let blobs = check_record(&key, &value, &body)?;
                backlinks.extend(Backlink::of(&key, &body));
                slice.bytes += body.len();
                slice.records.push((key, value, body, blobs));
                records += 1;
            }
        }
        if slice.is_full() {
            let slice = std::mem::take(&mut slice);
            sender.call(move |tx| slice.store(tx, repo, rev))?;
        }
    }
    // By name: the walk gives them by what lies below, and each would go to another page of their index.
    nodes.sort_unstable();
    nodes.dedup();
    for place in nodes.into_iter().filter_map(|found| blocks.index.get(found)) {
        let block = blocks.read(place)?;
        slice.bytes += block.len();
        slice.nodes.push((place.cid, block));
        if slice.is_full() {
            let slice = std::mem::take(&mut slice);
            sender.call(move |tx| slice.store(tx, repo, rev))?;
        }
    }
    sender.call(move |tx| slice.store(tx, repo, rev))?;
    backlinks.sort_unstable();
    for slice in backlinks.chunks(SLICE_ROWS) {
        let slice = slice.to_vec();
        sender.call(move |tx| slice.iter().try_for_each(|link| tx.insert_backlink(repo, *link)))?;
    }
    Ok(records)
}

fn tree_refused(error: MstError<StoreError>) -> StoreError {
    match error {
        MstError::Source { source, .. } => source,
        MstError::Missing(cid) => ImportError::Missing { cid }.into(),
        error => ImportError::Tree { what: error.to_string() }.into(),
    }
}

fn check_record(path: &str, cid: &Cid, body: &[u8]) -> Result<Vec<BlobRef>, StoreError> {
    let refuse = |what: String| StoreError::from(ImportError::Record { path: path.to_owned(), what });
    let (collection, rkey) =
        path.split_once('/').ok_or_else(|| refuse("its name has no slash".to_owned()))?;
    Nsid::parse(collection).map_err(|error| refuse(error.to_string()))?;
    RecordKey::parse(rkey).map_err(|error| refuse(error.to_string()))?;
    if cid.is_raw() {
        return Err(refuse("it is not DAG-CBOR".to_owned()));
    }
    let value = cbor::decode(body).map_err(|error| refuse(error.to_string()))?;
    if value.as_map().is_none() {
        return Err(refuse("it is not an object".to_owned()));
    }
    Ok(blob_refs(&value))
}

/// Makes the staged repo the account's.
fn switch(
    tx: &mut Tx<'_>,
    before: &Account,
    repo: i64,
    staged: Tid,
    imported: &Commit,
) -> Result<CommitMeta, StoreError> {
    let account = account::require(tx.conn, &before.did)?;
    if account.head != before.head {
        return Err(ImportError::Changed.into());
    }
    let now = tx.env.now()?;
    let last = account.head.rev.max(imported.rev).max(staged);
    let rev = next_rev(last, now, tx.env.clock_id)?;
    let key = tx.signing_key(&account)?;
    let (cid, block) = atproto::repo::sign(&account.did, imported.data, rev, &key);
    let head = Head { commit: cid, block, rev, data: imported.data };
    tx.set_flushed_head(repo, account.id, &head)?;
    tx.set("DELETE FROM doomed_repo WHERE repo = ?1", [repo])?;
    tx.set("UPDATE account SET repo = ?2 WHERE id = ?1", params![account.id, repo])?;
    tx.set(
        "UPDATE blob SET created_at = ?3, \
         temp = NOT EXISTS (SELECT 1 FROM record_blob WHERE repo = ?2 AND cid = blob.cid) WHERE account = ?1",
        params![account.id, repo, time_to_sql(now.unix_micros())],
    )?;
    let account_then = Account { head, repo, ..account.clone() };
    if account_then.status == Status::Active {
        tx.log_sync(&account_then, now)?;
    }
    tx.doom_repo(account.repo)?;
    Ok(CommitMeta { cid, rev })
}
