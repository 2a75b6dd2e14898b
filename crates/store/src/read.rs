//! Questions to the store, each answered from one moment of it.

use atproto::car;
use atproto::cid::Cid;
use atproto::mst::{NodeSource, Tree};
use atproto::syntax::{Did, Handle, Nsid, RecordKey, Tid};
use bytes::Bytes;
use platform::time::TrustedTime;
use rusqlite::{Connection, OptionalExtension, params};

use crate::account::{self, ACCOUNT_COLUMNS, Account, cid_from_sql, tid_from_sql};
use crate::blob::{self, BlobMeta, MissingBlob};
use crate::env::Env;
use crate::error::StoreError;
use crate::event::{Event, LOG_BYTES};
use crate::hold;
use crate::record::cid_from_digest;
use crate::session::{self, AppPassword};
use crate::tree::{ReaderNodes, tree_failed};
use crate::write::REV_AHEAD_WAITED_US;

/// Bytes of records at which one answer ends: some hundred posts, or two or three of the largest records. A page of a
/// hundred records of a megabyte each would fill the memory of a small board, and anybody may ask for one.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// One moment of the store. Made by `Store::read`; must not wait for anything outside.
#[derive(Debug)]
pub struct Reader<'a> {
    conn: &'a Connection,
    env: &'a Env,
}

/// A record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its name in the collection.
    pub rkey: RecordKey,
    /// Its CID.
    pub cid: Cid,
    /// Revision of the commit that made it.
    pub rev: Tid,
    /// Canonical DAG-CBOR, as it was signed.
    pub bytes: Bytes,
}

/// Sizes of an account's holdings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Blocks of the present repo: the commit, the nodes of the tree, and records, equal ones once.
    pub blocks: u64,
    /// Records in the repo.
    pub records: u64,
    /// Blobs that records refer to.
    pub blobs_expected: u64,
    /// Blobs that are here, those that no record refers to yet included.
    pub blobs_here: u64,
}

/// Records up to which equal ones are found and counted once; beyond, each counts as a block of its own. Finding them
/// takes some 60 bytes of memory for each record.
const DISTINCT_RECORDS_MAX: u64 = 200_000;

/// A repo whose last commit was signed far ahead of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Whose repo.
    pub did: Did,
    /// The revision that lies ahead.
    pub rev: Tid,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(conn: &'a Connection, env: &'a Env) -> Self {
        Self { conn, env }
    }

    pub(crate) fn conn(&self) -> &'a Connection {
        self.conn
    }

    pub(crate) fn env(&self) -> &'a Env {
        self.env
    }

    /// Finds an account by its DID.
    ///
    /// # Errors
    /// When the database fails, as for all that follow.
    pub fn account_by_did(&self, did: &Did) -> Result<Option<Account>, StoreError> {
        account::find(self.conn, "did", did.as_str())
    }

    /// Finds an account by its handle.
    ///
    /// # Errors
    /// When the database fails.
    pub fn account_by_handle(&self, handle: &Handle) -> Result<Option<Account>, StoreError> {
        account::find(self.conn, "handle", handle.as_str())
    }

    /// Finds an account by its e-mail address, in whatever case it is written.
    ///
    /// # Errors
    /// When the database fails.
    pub fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        account::find(self.conn, "email", &email.to_lowercase())
    }

    /// Lists accounts in the order in which they came, after the one with this DID.
    ///
    /// # Errors
    /// When the database fails. A DID that is not here any more starts from the beginning.
    pub fn list_accounts(&self, after: Option<&Did>, limit: usize) -> Result<Vec<Account>, StoreError> {
        let doing = "listing accounts";
        let sql = format!(
            "SELECT {ACCOUNT_COLUMNS} FROM account a JOIN repo r ON r.id = a.repo \
             WHERE a.id > coalesce((SELECT id FROM account WHERE did = ?1), 0) ORDER BY a.id LIMIT ?2"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(StoreError::db(doing))?;
        let rows = statement
            .query_map(params![after.map(Did::as_str), to_sql(limit)], |row| Ok(account::from_row(row)))
            .map_err(StoreError::db(doing))?;
        rows.map(|row| row.map_err(StoreError::db(doing))?).collect()
    }

    /// Says whether a `did:web` had an account here that was removed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn web_has_ended(&self, did: &Did) -> Result<bool, StoreError> {
        Ok(self.count("SELECT count(*) FROM ended_web WHERE did = ?1", [did.as_str()])? > 0)
    }

    /// Counts the accounts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count_accounts(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM account", [])
    }

    /// Reads a record that the operator has not hidden.
    ///
    /// # Errors
    /// When the database fails.
    pub fn visible_record(
        &self,
        account: &Account,
        collection: &Nsid,
        rkey: &RecordKey,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let record = self.record(account, collection, rkey)?;
        Ok(match record {
            Some(_) if hold::of_record(self.conn, account, collection, rkey)?.is_some() => None,
            other => other,
        })
    }

    /// The reference of the operator's hold on a record, if it is hidden.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_hold(
        &self,
        account: &Account,
        collection: &Nsid,
        rkey: &RecordKey,
    ) -> Result<Option<String>, StoreError> {
        hold::of_record(self.conn, account, collection, rkey)
    }

    /// The reference of the operator's hold on a blob, if it is hidden.
    ///
    /// # Errors
    /// When the database fails.
    pub fn blob_hold(&self, account: &Account, cid: &Cid) -> Result<Option<String>, StoreError> {
        hold::of_blob(self.conn, account, cid)
    }

    /// Reads a record, hidden or not: it is part of the signed repo in any case.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record(
        &self,
        account: &Account,
        collection: &Nsid,
        rkey: &RecordKey,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let path = format!("{}/{}", collection.as_str(), rkey.as_str());
        self.conn
            .prepare_cached("SELECT path, digest, rev, body FROM record WHERE repo = ?1 AND path = ?2")
            .and_then(|mut s| {
                s.query_row(params![account.repo, path], |row| Ok(record_from_row(row))).optional()
            })
            .map_err(StoreError::db("reading a record"))?
            .transpose()
    }

    /// Lists a collection without what the operator has hidden, newest name first, or oldest first when `reverse`;
    /// `cursor` is the last name seen. Ends early, with at least one record, at [`ANSWER_BYTES_MAX`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_records(
        &self,
        account: &Account,
        collection: &Nsid,
        limit: usize,
        cursor: Option<&str>,
        reverse: bool,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let doing = "listing records";
        let (mut low, mut high) = collection_range(collection);
        if let Some(cursor) = cursor {
            let bound = format!("{}/{cursor}", collection.as_str());
            if reverse {
                low = bound;
            } else {
                high = bound;
            }
        }
        let sql = if reverse {
            "SELECT path, digest, rev, body FROM record WHERE repo = ?1 AND path > ?2 AND path < ?3 \
             AND NOT EXISTS (SELECT 1 FROM takedown WHERE account = ?5 AND subject = path) \
             ORDER BY path LIMIT ?4"
        } else {
            "SELECT path, digest, rev, body FROM record WHERE repo = ?1 AND path > ?2 AND path < ?3 \
             AND NOT EXISTS (SELECT 1 FROM takedown WHERE account = ?5 AND subject = path) \
             ORDER BY path DESC LIMIT ?4"
        };
        let mut statement = self.conn.prepare_cached(sql).map_err(StoreError::db(doing))?;
        let mut rows = statement
            .query(params![account.repo, low, high, to_sql(limit), account.id])
            .map_err(StoreError::db(doing))?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWER_BYTES_MAX {
            let Some(row) = rows.next().map_err(StoreError::db(doing))? else { break };
            let record = record_from_row(row)?;
            bytes += record.bytes.len();
            records.push(record);
        }
        Ok(records)
    }

    /// Lists the collections that have records, in byte order. Costs one look-up per collection.
    ///
    /// # Errors
    /// When the database fails.
    pub fn collections(&self, account: &Account) -> Result<Vec<Nsid>, StoreError> {
        let doing = "listing collections";
        let mut next = self
            .conn
            .prepare_cached(
                "SELECT path FROM record_name WHERE repo = ?1 AND path >= ?2 ORDER BY path LIMIT 1",
            )
            .map_err(StoreError::db(doing))?;
        let mut collections = Vec::new();
        let mut from = String::new();
        loop {
            let path: Option<String> = next
                .query_row(params![account.repo, from], |row| row.get(0))
                .optional()
                .map_err(StoreError::db(doing))?;
            let Some(path) = path else { return Ok(collections) };
            let (name, _) = split_path(&path)?;
            let collection = Nsid::parse(name).map_err(|error| StoreError::corrupt(error.to_string()))?;
            from = collection_range(&collection).1;
            collections.push(collection);
        }
    }

    /// Counts what an account has. Reads an index from end to end: for status pages, not for every request.
    ///
    /// # Errors
    /// When the database fails.
    pub fn counts(&self, account: &Account) -> Result<Counts, StoreError> {
        let records = self.count("SELECT count(*) FROM record_name WHERE repo = ?1", [account.repo])?;
        let record_blocks = if records <= DISTINCT_RECORDS_MAX {
            self.count("SELECT count(DISTINCT digest) FROM record WHERE repo = ?1", [account.repo])?
        } else {
            records
        };
        let blocks = record_blocks.saturating_add(self.count_nodes(account)?).saturating_add(1);
        let blobs_expected =
            self.count("SELECT count(DISTINCT cid) FROM record_blob WHERE repo = ?1", [account.repo])?;
        let blobs_here = self.count("SELECT count(*) FROM blob WHERE account = ?1", [account.id])?;
        Ok(Counts { blocks, records, blobs_expected, blobs_here })
    }

    /// Counts the nodes of the present tree: those in the table, and what has changed since they were written.
    fn count_nodes(&self, account: &Account) -> Result<u64, StoreError> {
        let stored = self.count("SELECT count(*) FROM node_name WHERE repo = ?1", [account.repo])?;
        let flushed: Vec<u8> = self
            .conn
            .prepare_cached("SELECT flushed_root FROM repo WHERE id = ?1")
            .and_then(|mut s| s.query_row([account.repo], |row| row.get(0)))
            .map_err(StoreError::db("counting nodes"))?;
        let nodes = ReaderNodes::new(self.conn, &self.env.nodes, account);
        let flushed = cid_from_sql(&flushed)?;
        let diff = atproto::mst::diff(&nodes, Some(flushed), account.head.data).map_err(tree_failed)?;
        let more = u64::try_from(diff.created_nodes.len()).unwrap_or(u64::MAX);
        let fewer = u64::try_from(diff.deleted_nodes.len()).unwrap_or(u64::MAX);
        Ok(stored.saturating_add(more).saturating_sub(fewer))
    }

    /// Lists repos whose last commit was signed so far ahead of `now` that nothing may follow it, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn repos_ahead(&self, now: TrustedTime, limit: usize) -> Result<Vec<Ahead>, StoreError> {
        let doing = "looking for repos that lie ahead";
        let horizon = Tid::from_micros(now.unix_micros().saturating_add(REV_AHEAD_WAITED_US), 0);
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT a.did, r.rev FROM repo r JOIN account a ON a.repo = r.id WHERE r.rev > ?1 LIMIT ?2",
            )
            .map_err(StoreError::db(doing))?;
        let rows = statement
            .query_map(params![account::tid_to_sql(horizon), to_sql(limit)], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?))
            })
            .map_err(StoreError::db(doing))?;
        rows.map(|row| {
            let (did, rev) = row.map_err(StoreError::db(doing))?;
            let did = Did::parse(&did).map_err(|error| StoreError::corrupt(error.to_string()))?;
            Ok(Ahead { did, rev: tid_from_sql(rev) })
        })
        .collect()
    }

    /// Proves a record, or its absence: a CAR of the commit, the path in the tree and the record, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_proof(
        &self,
        account: &Account,
        collection: &Nsid,
        rkey: &RecordKey,
    ) -> Result<Vec<u8>, StoreError> {
        let path = format!("{}/{}", collection.as_str(), rkey.as_str());
        let nodes = ReaderNodes::new(self.conn, &self.env.nodes, account);
        let mut tree = Tree::load(account.head.data);
        let proof = tree.path(&nodes, &path).map_err(tree_failed)?;
        let record = self.record(account, collection, rkey)?;
        let head = &account.head;
        let blocks = std::iter::once((head.commit, &head.block[..]))
            .chain(proof.iter().map(|(cid, block)| (*cid, &block[..])))
            .chain(record.iter().map(|record| (record.cid, &record.bytes[..])));
        Ok(car::to_vec(&[head.commit], blocks))
    }

    /// Finds current blocks of a repo by CID: the commit, tree nodes, records. Missing ones are left out.
    ///
    /// Records are not indexed by CID; asking for any makes one pass over the repo.
    ///
    /// # Errors
    /// [`StoreError::AnswerTooLarge`] when the records have more than [`ANSWER_BYTES_MAX`]; when the database fails.
    pub fn blocks(&self, account: &Account, cids: &[Cid]) -> Result<Vec<(Cid, Bytes)>, StoreError> {
        let nodes = ReaderNodes::new(self.conn, &self.env.nodes, account);
        let mut found = Vec::with_capacity(cids.len());
        let mut rest = Vec::new();
        for cid in cids {
            if *cid == account.head.commit {
                found.push((*cid, account.head.block.clone()));
            } else if let Some(block) = nodes.node(cid)? {
                found.push((*cid, block));
            } else {
                rest.push(*cid);
            }
        }
        if !rest.is_empty() {
            self.find_records(account, rest, &mut found)?;
        }
        Ok(found)
    }

    fn find_records(
        &self,
        account: &Account,
        mut wanted: Vec<Cid>,
        found: &mut Vec<(Cid, Bytes)>,
    ) -> Result<(), StoreError> {
        let doing = "looking for records by CID";
        wanted.sort_unstable();
        wanted.dedup();
        let mut left = wanted.len();
        let mut bytes = 0;
        let mut statement = self
            .conn
            .prepare_cached("SELECT digest, body FROM record WHERE repo = ?1")
            .map_err(StoreError::db(doing))?;
        let mut rows = statement.query([account.repo]).map_err(StoreError::db(doing))?;
        while let Some(row) = rows.next().map_err(StoreError::db(doing))? {
            let raw = row.get_ref(0).and_then(|v| Ok(v.as_blob()?)).map_err(StoreError::db(doing))?;
            let cid = cid_from_digest(raw)?;
            if wanted.binary_search(&cid).is_err() || found.iter().any(|(seen, _)| *seen == cid) {
                continue;
            }
            if bytes > ANSWER_BYTES_MAX {
                return Err(StoreError::AnswerTooLarge { max: ANSWER_BYTES_MAX });
            }
            let body: Vec<u8> = row.get(1).map_err(StoreError::db(doing))?;
            bytes += body.len();
            found.push((cid, Bytes::from(body)));
            left -= 1;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Reads events after a number, in order; at most `limit`, and fewer when they are large (but at least one).
    ///
    /// # Errors
    /// When the database fails.
    pub fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let doing = "reading events";
        let mut statement = self
            .conn
            .prepare_cached("SELECT seq, frame FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2")
            .map_err(StoreError::db(doing))?;
        let mut rows =
            statement.query(params![to_sql_u64(seq), to_sql(limit)]).map_err(StoreError::db(doing))?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < LOG_BYTES {
            let Some(row) = rows.next().map_err(StoreError::db(doing))? else { break };
            let seq: i64 = row.get(0).map_err(StoreError::db(doing))?;
            let frame: Vec<u8> = row.get(1).map_err(StoreError::db(doing))?;
            bytes += frame.len();
            events.push(Event { seq: seq.unsigned_abs(), frame: Bytes::from(frame) });
        }
        Ok(events)
    }

    /// Counts events after a number, up to `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count_events_after(&self, seq: u64, limit: usize) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM event WHERE seq > ?1 LIMIT ?2)";
        self.count(sql, params![to_sql_u64(seq), to_sql(limit)])
    }

    /// Counts the bytes of all frames in the log. Reads the head of each: for maintenance only.
    ///
    /// # Errors
    /// When the database fails.
    pub fn event_bytes(&self) -> Result<u64, StoreError> {
        self.count("SELECT coalesce(sum(length(frame)), 0) FROM event", [])
    }

    /// Gives the number of the oldest event in the log.
    ///
    /// # Errors
    /// When the database fails.
    pub fn oldest_seq(&self) -> Result<Option<u64>, StoreError> {
        self.conn
            .prepare_cached("SELECT min(seq) FROM event")
            .and_then(|mut s| s.query_row([], |row| row.get::<_, Option<i64>>(0)))
            .map(|seq| seq.map(i64::unsigned_abs))
            .map_err(StoreError::db("reading the oldest event"))
    }

    /// Tells what is known about a blob.
    ///
    /// # Errors
    /// When the database fails.
    pub fn blob(&self, account: &Account, cid: &Cid) -> Result<Option<BlobMeta>, StoreError> {
        blob::find(self.conn, account.id, cid)
    }

    /// Lists the blobs that records refer to, of those made after a revision, after the last one seen.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_blobs(
        &self,
        account: &Account,
        since: Option<Tid>,
        after: Option<&Cid>,
        limit: usize,
    ) -> Result<Vec<Cid>, StoreError> {
        blob::list(self.conn, account.repo, since, after, limit)
    }

    /// Lists blobs that records refer to and that are not here, after the last one seen.
    ///
    /// # Errors
    /// When the database fails.
    pub fn missing_blobs(
        &self,
        account: &Account,
        after: Option<&Cid>,
        limit: usize,
    ) -> Result<Vec<MissingBlob>, StoreError> {
        blob::missing(self.conn, account, after, limit)
    }

    /// Lists an account's app passwords.
    ///
    /// # Errors
    /// When the database fails.
    pub fn app_passwords(&self, account: &Account) -> Result<Vec<AppPassword>, StoreError> {
        session::app_passwords(self.conn, account.id)
    }

    /// Reads the bytes that `Store::change_preferences` keeps.
    ///
    /// # Errors
    /// When the database fails.
    pub fn preferences(&self, account: &Account) -> Result<Option<Vec<u8>>, StoreError> {
        self.conn
            .prepare_cached("SELECT preferences FROM account WHERE id = ?1")
            .and_then(|mut s| s.query_row([account.id], |row| row.get(0)).optional())
            .map(Option::flatten)
            .map_err(StoreError::db("reading preferences"))
    }

    fn count(&self, sql: &str, params: impl rusqlite::Params) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params, |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(StoreError::db("counting"))
    }
}

/// The first and the last path that a collection's records lie between: `0` follows `/`.
fn collection_range(collection: &Nsid) -> (String, String) {
    (format!("{}/", collection.as_str()), format!("{}0", collection.as_str()))
}

fn split_path(path: &str) -> Result<(&str, &str), StoreError> {
    path.split_once('/').ok_or_else(|| StoreError::corrupt("a record path without a slash"))
}

fn record_from_row(row: &rusqlite::Row<'_>) -> Result<StoredRecord, StoreError> {
    let doing = "reading a record";
    let read = || -> rusqlite::Result<_> {
        let path: String = row.get(0)?;
        let digest = cid_from_digest(row.get_ref(1)?.as_blob()?);
        let rev: i64 = row.get(2)?;
        let body: Vec<u8> = row.get(3)?;
        Ok((path, digest, rev, body))
    };
    let (path, cid, rev, body) = read().map_err(StoreError::db(doing))?;
    let (_, rkey) = split_path(&path)?;
    Ok(StoredRecord {
        rkey: RecordKey::parse(rkey).map_err(|error| StoreError::corrupt(error.to_string()))?,
        cid: cid?,
        rev: tid_from_sql(rev),
        bytes: Bytes::from(body),
    })
}

fn to_sql(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn to_sql_u64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
