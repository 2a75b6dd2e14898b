//! Tests of the store as its callers use it.

mod accounts;
mod backlinks;
mod blobs;
mod exports;
mod full_disk;
mod given_up;
mod growth;
mod holds;
mod identities;
mod imports;
mod upkeep;
mod writes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use atproto::cbor::{Map, Value, encode};
use atproto::cid::Cid;
use atproto::crypto::{PublicKey, SigningKey};
use atproto::event::{Frame, decode_frame};
use atproto::syntax::{Did, Handle, Nsid, RecordKey};
use platform::sim::{SimClock, trusted_clock};
use tempfile::TempDir;

use crate::{
    BlobRef, Change, Config, Event, NewAccount, Op, Record, Status, Store, StoreError, WriteRequest,
    WriteResult,
};

/// 2026-11-23, microseconds since 1970.
pub(crate) const NOW_US: u64 = 1_795_392_000_000_000;

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) config: Config,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(set: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let (clock, sim) = trusted_clock(NOW_US);
        let mut config = Config::new(dir.path().join("data"), "https://plc.test".to_owned(), clock);
        config.limits.checkpoint_bytes = 256 * 1024;
        set(&mut config);
        let store = Store::open(config.clone()).unwrap();
        Self { dir, clock: sim, config, store }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.dir
    }

    /// Closes and opens again.
    pub(crate) async fn reopen(mut self) -> Self {
        self.store.close().await.unwrap();
        self.store = Store::open(self.config.clone()).unwrap();
        self
    }

    /// Makes an active account.
    pub(crate) async fn account(&self, name: &str) -> Person {
        let key = SigningKey::generate().unwrap();
        let public = key.public_key();
        let did = Did::parse(&format!("did:plc:{name:a<24}")).unwrap();
        let handle = Handle::parse(&format!("{name}.test")).unwrap();
        let new = NewAccount {
            did: did.clone(),
            handle,
            email: Some(format!("{name}@Mail.test")),
            password_hash: "hash".to_owned(),
            signing_key: key,
            plc_operation: Some(b"operation".to_vec()),
            invite: None,
        };
        self.store.begin_account(new).await.unwrap();
        self.store.complete_account(&did, Status::Active).await.unwrap();
        Person { did, public }
    }

    pub(crate) async fn write(&self, person: &Person, ops: Vec<Op>) -> Result<WriteResult, StoreError> {
        self.store.write(WriteRequest { did: person.did.clone(), ops, swap_commit: None }).await
    }

    pub(crate) async fn head(&self, person: &Person) -> crate::Head {
        let did = person.did.clone();
        self.store.read(move |r| Ok(r.account_by_did(&did)?.unwrap().head)).await.unwrap()
    }

    pub(crate) async fn events(&self, after: u64) -> Vec<Event> {
        self.store.read(move |r| r.events_after(after, 10_000)).await.unwrap()
    }

    /// Exports a repo, verifies it from scratch and returns its records.
    pub(crate) async fn verified(&self, person: &Person) -> BTreeMap<String, Cid> {
        let car = collect(&self.store, person, None).await;
        let mut records = BTreeMap::new();
        let verified = atproto::repo::verify_repo(&car[..], &person.did, &person.public, |key, cid| {
            records.insert(key.to_owned(), cid);
        })
        .unwrap();
        assert_eq!(verified.strangers, 0);
        assert_eq!(verified.head, self.head(person).await.commit);
        records
    }
}

pub(crate) struct Person {
    pub(crate) did: Did,
    pub(crate) public: PublicKey,
}

pub(crate) async fn collect(store: &Store, person: &Person, since: Option<atproto::syntax::Tid>) -> Vec<u8> {
    let mut export = store.export(&person.did, since).await.unwrap();
    let mut car = Vec::new();
    while let Some(chunk) = export.next().await.unwrap() {
        car.extend_from_slice(&chunk);
    }
    car
}

pub(crate) fn record(text: &str) -> Record {
    record_with_blobs(text, Vec::new())
}

pub(crate) fn record_with_blobs(text: &str, blobs: Vec<BlobRef>) -> Record {
    let mut map = Map::new();
    map.insert("text".to_owned(), Value::from(text));
    for blob in &blobs {
        let fields = vec![
            ("$type".to_owned(), Value::from("blob")),
            ("ref".to_owned(), Value::Link(blob.cid)),
            ("mimeType".to_owned(), Value::from(blob.mime.as_str())),
            ("size".to_owned(), Value::Int(i64::try_from(blob.size.unwrap()).unwrap())),
        ];
        map.insert(format!("b{}", map.len()), Value::Map(Map::from_entries(fields).unwrap()));
    }
    let bytes = encode(&Value::Map(map));
    Record { cid: Cid::for_dag_cbor(&bytes), bytes, blobs }
}

pub(crate) fn nsid() -> Nsid {
    Nsid::parse("app.test.post").unwrap()
}

pub(crate) fn op(rkey: &str, change: Change) -> Op {
    Op { collection: nsid(), rkey: RecordKey::parse(rkey).unwrap(), change, swap_record: None }
}

pub(crate) fn create(rkey: &str, text: &str) -> Op {
    op(rkey, Change::Create(record(text)))
}

pub(crate) fn kinds(events: &[Event]) -> Vec<&'static str> {
    let kind = |event: &Event| match decode_frame(&event.frame).unwrap() {
        Frame::Commit { .. } => "commit",
        Frame::Sync { .. } => "sync",
        Frame::Identity { .. } => "identity",
        Frame::Account { .. } => "account",
        other => panic!("{other:?}"),
    };
    events.iter().map(kind).collect()
}
