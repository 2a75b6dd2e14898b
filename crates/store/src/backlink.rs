//! Likes, follows, reposts and blocks by what they are about, so that a second one can take the first one's place.
//!
//! Only records of these four collections have a row; a post pays nothing. A row is two numbers, and the hash in it
//! only finds candidates: the record itself says whether it is about the same.

use atproto::cbor::Decoder;
use atproto::syntax::{AtUri, Did, Tid};
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::account::{tid_from_sql, tid_to_sql};
use crate::error::StoreError;
use crate::write::Record;
use crate::writer::Tx;

/// Collections in which an account has one record about a subject, and whether the subject is an account.
const COLLECTIONS: [(&str, bool); 4] = [
    ("app.bsky.feed.like", false),
    ("app.bsky.feed.repost", false),
    ("app.bsky.graph.follow", true),
    ("app.bsky.graph.block", true),
];

/// Rivals that one record removes. There is one at most unless an imported repo brought more; the rest goes next time.
const RIVALS_MAX: i64 = 50;

/// A record that is about something: the row of the table `backlink`, but for its repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backlink {
    /// 64 bits of the hash of collection and subject.
    pub(crate) subject: i64,
    /// The record's name.
    pub(crate) tid: i64,
}

impl Backlink {
    /// Says what a record is about; none for other collections, and for records whose name is no TID.
    pub(crate) fn of(path: &str, body: &[u8]) -> Option<Self> {
        let (collection, rkey) = path.split_once('/')?;
        let subject = subject(collection, body)?;
        Some(Self { subject: hash(collection, subject), tid: tid_to_sql(Tid::parse(rkey).ok()?) })
    }
}

fn hash(collection: &str, subject: &str) -> i64 {
    let digest = Sha256::new().chain_update(collection).chain_update([0]).chain_update(subject).finalize();
    digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Reads the subject out of a record that was checked when it was encoded.
fn subject<'a>(collection: &str, body: &'a [u8]) -> Option<&'a str> {
    let (_, is_account) = COLLECTIONS.iter().find(|(name, _)| *name == collection)?;
    let mut record = find(body, "subject")?;
    if *is_account {
        return record.text().ok().filter(|text| Did::parse(text).is_ok());
    }
    let uri = find(record.rest(), "uri")?.text().ok()?;
    AtUri::parse(uri).is_ok().then_some(uri)
}

/// Finds the value of a key in a map.
fn find<'a>(map: &'a [u8], wanted: &str) -> Option<Decoder<'a>> {
    let mut map = Decoder::new(map);
    for _ in 0..map.map().ok()? {
        if map.text().ok()? == wanted {
            return Some(map);
        }
        map.skip().ok()?;
    }
    None
}

impl Tx<'_> {
    /// Finds the other records of its collection that are about what this record is about.
    pub(crate) fn rivals(&self, repo: i64, path: &str, record: &Record) -> Result<Vec<String>, StoreError> {
        let doing = "looking for records about the same";
        let Some((collection, _)) = path.split_once('/') else { return Ok(Vec::new()) };
        let Some(about) = subject(collection, &record.bytes) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut statement = self
            .conn
            .prepare_cached("SELECT tid FROM backlink WHERE repo = ?1 AND subject = ?2 LIMIT ?3")
            .map_err(StoreError::db(doing))?;
        let rows = statement
            .query_map(params![repo, hash(collection, about), RIVALS_MAX], |row| row.get::<_, i64>(0))
            .map_err(StoreError::db(doing))?;
        for tid in rows {
            let tid = tid_from_sql(tid.map_err(StoreError::db(doing))?);
            let rival = format!("{collection}/{tid}");
            if rival == path {
                continue;
            }
            let body = self.body(repo, &rival)?;
            if body.is_some_and(|body| subject(collection, &body) == Some(about)) {
                found.push(rival);
            }
        }
        Ok(found)
    }

    /// Notes what a new record is about.
    pub(crate) fn add_backlink(&self, repo: i64, path: &str, body: &[u8]) -> Result<(), StoreError> {
        let Some(link) = Backlink::of(path, body) else { return Ok(()) };
        self.insert_backlink(repo, link)
    }

    /// Notes what a record is about.
    pub(crate) fn insert_backlink(&self, repo: i64, link: Backlink) -> Result<(), StoreError> {
        self.set(
            "INSERT OR IGNORE INTO backlink (repo, subject, tid) VALUES (?1, ?2, ?3)",
            params![repo, link.subject, link.tid],
        )
    }

    /// Forgets what a stored record is about, before it changes or goes.
    pub(crate) fn remove_backlink(&self, repo: i64, path: &str) -> Result<(), StoreError> {
        let collection = path.split_once('/').map(|(collection, _)| collection);
        if !COLLECTIONS.iter().any(|(name, _)| Some(*name) == collection) {
            return Ok(());
        }
        let Some(body) = self.body(repo, path)? else { return Ok(()) };
        let Some(link) = Backlink::of(path, &body) else { return Ok(()) };
        self.set(
            "DELETE FROM backlink WHERE repo = ?1 AND subject = ?2 AND tid = ?3",
            params![repo, link.subject, link.tid],
        )
    }

    fn body(&self, repo: i64, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.conn
            .prepare_cached("SELECT body FROM record WHERE repo = ?1 AND path = ?2")
            .and_then(|mut s| s.query_row(params![repo, path], |row| row.get(0)).optional())
            .map_err(StoreError::db("reading a record"))
    }
}
