//! Proofs from scratch: the database's own check, each repo as a stranger would verify it, the events as a relay
//! would, and that the store goes on without using a number twice.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use atproto::cid::Cid;
use atproto::data::record_to_cbor;
use atproto::event::{Frame, decode_frame};
use atproto::mst::build_sorted;
use atproto::repo::{verify_commit_event, verify_repo};
use atproto::syntax::{Did, Nsid, RecordKey, Tid};
use bytes::Bytes;
use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use store::{Account, Change, Op, Status, Store, WriteRequest};

use super::check::{Held, full};
use super::load::path;

/// The collection of posts, and the post that is made after a cut.
pub(super) const POSTS: &str = "app.bsky.feed.post";
pub(super) const AFTER_CUT: &str = "after-the-cut";

/// Records that are read at once.
const PAGE: usize = 500;

/// Asks SQLite whether its file is sound.
pub(super) fn integrity(database: &Path) -> Result<(), String> {
    let verdict = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|conn| conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(format!("the database is damaged: {verdict}")),
        Err(error) => Err(format!("the database cannot be checked: {}", full(&error))),
    }
}

/// Reads all records of an account, in the order of the tree, each with its bytes, and checks these against its CID.
pub(super) async fn records(store: &Store, account: &Account) -> Result<Vec<(String, Bytes)>, String> {
    let account = account.clone();
    let found = store.read(move |reader| {
        let mut all = Vec::new();
        for collection in reader.collections(&account)? {
            let mut cursor: Option<String> = None;
            loop {
                let page = reader.list_records(&account, &collection, PAGE, cursor.as_deref(), true)?;
                let Some(last) = page.last() else { break };
                cursor = Some(last.rkey.as_str().to_owned());
                all.extend(page.into_iter().map(|record| (path(&collection, &record.rkey), record)));
            }
        }
        Ok(all)
    });
    let found = found.await.map_err(|error| full(&error))?;
    let checked = found.into_iter().map(|(path, record)| {
        let is_right = Cid::for_dag_cbor(&record.bytes) == record.cid;
        if is_right {
            Ok((path, record.bytes))
        } else {
            Err(format!("record {path} has other bytes than its name"))
        }
    });
    checked.collect()
}

/// Verifies a repo from scratch: rebuilds the tree from the records, and reads the exported file as a stranger does.
pub(super) async fn repo(store: &Store, held: &Held, did: &Did, account: &Account) -> Result<(), String> {
    let key = held.keys.get(did).ok_or("there is no key to check with")?;
    let own = held.records.range((did.clone(), String::new())..).take_while(|((of, _), _)| of == did);
    let own: Vec<(&str, Cid)> =
        own.map(|((_, path), bytes)| (path.as_str(), Cid::for_dag_cbor(bytes))).collect();
    let rebuilt = build_sorted(own.iter().copied(), |_, _| {}).map_err(|error| full(&error))?;
    if rebuilt != account.head.data {
        return Err(format!("the records make the tree {rebuilt}, the head says {}", account.head.data));
    }
    let mut export = store.export(did, None).await.map_err(|error| full(&error))?;
    let mut file = Vec::new();
    while let Some(chunk) = export.next().await.map_err(|error| full(&error))? {
        file.extend_from_slice(&chunk);
    }
    let mut exported = Vec::new();
    let verified = verify_repo(&file[..], did, key, |path, cid| exported.push((path.to_owned(), cid)))
        .map_err(|error| format!("the exported file is refused: {}", full(&error)))?;
    if verified.head != account.head.commit || verified.commit.rev != account.head.rev {
        return Err("the exported file has another head".to_owned());
    }
    if verified.strangers > 0 {
        return Err(format!("the exported file has {} blocks too many", verified.strangers));
    }
    let same = exported.iter().map(|(path, cid)| (path.as_str(), *cid)).eq(own.iter().copied());
    if same { Ok(()) } else { Err("the exported file has other records".to_owned()) }
}

/// Checks the stored events as a relay does: each by itself, and each commit as the successor of the one before.
pub(super) fn events(held: &Held, sound: &mut HashSet<Bytes>, wrong: &mut Vec<String>) {
    let mut newest: BTreeMap<Did, (Tid, Option<Cid>)> = BTreeMap::new();
    for (seq, frame) in &held.events {
        match decode_frame(frame) {
            Ok(Frame::Commit { seq: inner, event, .. }) => {
                let Some(key) = held.keys.get(&event.did) else { continue };
                if inner != *seq {
                    wrong.push(format!("event {seq} says that it is {inner}"));
                }
                let data = if sound.contains(frame) {
                    None
                } else {
                    match verify_commit_event(&event, key) {
                        Ok(commit) => Some(commit.data),
                        Err(error) => {
                            wrong.push(format!("event {seq} is refused: {}", full(&error)));
                            None
                        }
                    }
                };
                if data.is_some() {
                    sound.insert(frame.clone());
                }
                if let Some((rev, known)) = newest.get(&event.did) {
                    let follows = event.rev > *rev && event.since == Some(*rev);
                    let continues = known.is_none() || event.prev_data == *known;
                    if !follows || !continues {
                        wrong.push(format!("event {seq} does not follow the commit before it"));
                    }
                }
                newest.insert(event.did, (event.rev, data));
            }
            Ok(Frame::Sync { seq: inner, event, .. }) => {
                if inner != *seq {
                    wrong.push(format!("event {seq} says that it is {inner}"));
                }
                newest.insert(event.did, (event.rev, None));
            }
            Ok(_) => {}
            Err(error) => wrong.push(format!("event {seq} cannot be read: {}", full(&error))),
        }
    }
    for (did, (rev, _)) in &newest {
        if let Some(account) = held.accounts.get(did)
            && account.head.rev != *rev
        {
            wrong.push(format!("the newest event of {did} is of {rev}, its head of {}", account.head.rev));
        }
    }
}

/// Writes into every repo, and checks that numbers and revisions only rise, and that a subscriber gets them.
pub(super) async fn go_on(
    store: &Store,
    held: &Held,
    last_sent: u64,
    told: &BTreeMap<&Did, Tid>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut subscription = store.subscribe(store.last_seq());
    let active = held.accounts.iter().filter(|(_, account)| account.status == Status::Active);
    // At the same time, so that they share a transaction.
    let written =
        join_all(active.map(async |(did, account)| (did, account, write_one(store, did, AFTER_CUT).await)));
    for (did, account, outcome) in written.await {
        let newest = told.get(did).copied().unwrap_or(account.head.rev).max(account.head.rev);
        match outcome {
            Ok((rev, _)) if rev > newest => {}
            Ok((rev, _)) => wrong.push(format!("the repo of {did} goes on with {rev} after {newest}")),
            Err(error) => {
                wrong.push(format!("the repo of {did} does not go on: {error}"));
                continue;
            }
        }
        match subscription.next().await {
            Ok(Some(event)) if event.seq > last_sent => {}
            Ok(Some(event)) => {
                wrong.push(format!("number {} is used again, {last_sent} was sent", event.seq));
            }
            Ok(None) => wrong.push("the event of a new commit does not come".to_owned()),
            Err(error) => wrong.push(format!("a new event cannot be read: {}", full(&error))),
        }
    }
    wrong
}

/// Makes one post of a name, and gives its revision and bytes.
pub(super) async fn write_one(store: &Store, did: &Did, name: &str) -> Result<(Tid, Bytes), String> {
    let collection = Nsid::parse(POSTS).map_err(|error| full(&error))?;
    let rkey = RecordKey::parse(name).map_err(|error| full(&error))?;
    let record = record_to_cbor(b"{\"text\":\"still here\"}", &collection).map_err(|error| full(&error))?;
    let bytes = Bytes::from(record.bytes.clone());
    let op = Op { collection, rkey, change: Change::Create(record), swap_record: None };
    let request = WriteRequest { did: did.clone(), ops: vec![op], swap_commit: None };
    let result = store.write(request).await.map_err(|error| full(&error))?;
    let commit = result.commit.ok_or("nothing was committed")?;
    Ok((commit.rev, bytes))
}

/// Files that a start did not clean up.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Temporary files: none may stay after a start.
    pub(super) temporary: Vec<String>,
    /// Files with a final name that no row refers to.
    pub(super) orphans: usize,
}

/// Looks for files that nothing refers to.
pub(super) fn leftovers(data: &Path) -> Result<Leftovers, String> {
    let mut left = Leftovers::default();
    let names = |dir: &Path| -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(dir).map_err(|error| full(&error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    for dir in ["", "uploads", "keys", "secrets"] {
        for name in names(&data.join(dir))? {
            let is_temporary = dir == "uploads" || name.ends_with(".spool");
            if is_temporary {
                left.temporary.push(format!("{dir}/{name}"));
            }
            left.orphans += usize::from(name.ends_with(".tmp"));
        }
    }
    let rows = Connection::open(data.join("perch.sqlite")).and_then(|conn| {
        let mut statement = conn.prepare("SELECT cid FROM blob")?;
        let cids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        cids.collect::<Result<HashSet<_>, _>>()
    });
    let rows = rows.map_err(|error| format!("the blobs cannot be listed: {}", full(&error)))?;
    for owner in names(&data.join("blobs"))? {
        let is_known =
            |name: &String| Cid::parse(name).is_ok_and(|cid| rows.contains(cid.as_bytes().as_slice()));
        left.orphans += names(&data.join("blobs").join(owner))?.iter().filter(|name| !is_known(name)).count();
    }
    Ok(left)
}
