//! Opens the store in one state by its normal code, and compares everything that it holds with what was promised.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use atproto::crypto::PublicKey;
use atproto::syntax::{Did, Nsid, RecordKey};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use platform::sim::trusted_clock;
use platform::time::Clock;
use store::{Account, Config, Event, Limits, Store, StoreError};
use tokio::runtime::Runtime;

use super::examine;
use super::ledger::{Comparison, Thing, Wholeness};

pub(super) use super::ledger::Expected;

/// Events and accounts that are read at once.
const PAGE: usize = 256;

/// Things that are looked at at the same time.
const LOOKS: usize = 64;

/// Time between the cut and the next start, microseconds.
pub(super) const OFF_US: u64 = 5_000_000;

/// How often, and after what pause, a folder that is still in use is tried again: two seconds in all.
const REOPEN_TRIES: usize = 200;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// What one state came to.
#[derive(Debug, Default)]
pub struct Found {
    /// What is not as promised.
    pub wrong: Vec<String>,
    /// Promises compared.
    pub promises: usize,
    /// Files that nothing refers to.
    pub orphans: usize,
}

/// Checks states, one after the other.
#[derive(Debug)]
pub struct Checker {
    pub(super) runtime: Runtime,
    /// Frames whose signature and proof were found sound: most states show the same ones.
    sound: HashSet<Bytes>,
    plc_url: String,
    limits: Limits,
}

/// All that an open store holds.
pub(super) struct Held {
    pub(super) accounts: BTreeMap<Did, Account>,
    pub(super) keys: BTreeMap<Did, PublicKey>,
    pub(super) records: BTreeMap<(Did, String), Bytes>,
    pub(super) events: BTreeMap<u64, Bytes>,
    intents: BTreeMap<Did, Bytes>,
}

type Checked<T> = Result<T, String>;

impl Checker {
    /// Checks stores of a PLC directory, opened with these limits. The runtime is for the store's calls.
    #[must_use]
    pub fn new(runtime: Runtime, plc_url: String, limits: Limits) -> Self {
        Self { runtime, sound: HashSet::new(), plc_url, limits }
    }

    /// Judges the data folder of a store after a cut, by the store's own code: what is there afterwards is changed.
    pub fn check(&mut self, data: &Path, expected: &Expected<'_>) -> Found {
        let mut found = Found::default();
        let (clock, _sim) = trusted_clock(expected.unix_us().saturating_add(OFF_US));
        let config = self.config(data, clock.clone());
        let store = match Store::open(config.clone()) {
            Ok(store) => store,
            Err(error) => {
                found.wrong.push(format!("the store does not open: {}", full(&error)));
                return found;
            }
        };
        let Self { runtime, sound, .. } = self;
        let outcome = runtime.block_on(judge(&store, &clock, expected, sound, &mut found));
        if let Err(failed) = outcome {
            found.wrong.push(failed);
        }
        match runtime.block_on(store.close()) {
            Ok(()) => {}
            Err(error) => found.wrong.push(format!("closing failed: {}", full(&error))),
        }
        if let Err(failed) = examine::integrity(&data.join("perch.sqlite")) {
            found.wrong.push(failed);
        }
        match examine::leftovers(data) {
            Ok(left) => {
                found.orphans = left.orphans;
                found.wrong.extend(left.temporary.into_iter().map(|path| format!("left over: {path}")));
            }
            Err(failed) => found.wrong.push(failed),
        }
        // What was continued must itself be there at the next start.
        if found.wrong.is_empty() {
            match reopen(&config) {
                Ok(store) => drop(runtime.block_on(store.close())),
                Err(error) => found.wrong.push(format!("the second start fails: {}", full(&error))),
            }
        }
        found
    }

    fn config(&self, data: &Path, clock: Clock) -> Config {
        let mut config = Config::new(data.to_owned(), self.plc_url.clone(), clock);
        config.limits = self.limits;
        config
    }
}

/// Opens the store when the threads of the first one, which reads may outlive by a moment, have let go of it.
fn reopen(config: &Config) -> Result<Store, store::OpenError> {
    for _ in 0..REOPEN_TRIES {
        match Store::open(config.clone()) {
            Err(store::OpenError::InUse { .. }) => std::thread::sleep(REOPEN_PAUSE),
            other => return other,
        }
    }
    Store::open(config.clone())
}

/// Gives an error with its reasons.
pub(super) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(inner) = reason {
        text = format!("{text}: {inner}");
        reason = inner.source();
    }
    text
}

fn failed(doing: &str) -> impl FnOnce(StoreError) -> String {
    move |error| format!("{doing} failed: {}", full(&error))
}

async fn judge(
    store: &Store,
    clock: &Clock,
    expected: &Expected<'_>,
    sound: &mut HashSet<Bytes>,
    found: &mut Found,
) -> Checked<()> {
    let held = read_all(store, &mut found.wrong).await?;
    let mut whole = Wholeness::default();
    // At the same time, so that looks which write share a transaction.
    let looks =
        expected.things().into_iter().map(async |thing| (thing, observe(store, clock, &held, thing).await));
    let mut looks = stream::iter(looks).buffered(LOOKS);
    while let Some((thing, value)) = looks.next().await {
        let value = value.unwrap_or_else(|error| {
            found.wrong.push(format!("{thing:?}: {error}"));
            None
        });
        let comparison = expected.compare(thing, value.as_deref());
        found.promises += 1;
        if comparison == Comparison::Broken {
            let there =
                value.as_ref().map_or("missing".to_owned(), |value| format!("{} other bytes", value.len()));
            found.wrong.push(format!("{thing:?} is not as promised: {there}"));
        }
        if matches!(thing, Thing::Record(..)) {
            whole.add(comparison);
        }
    }
    if whole.halves() > 0 {
        found.wrong.push(format!("{} calls were done in part", whole.halves()));
    }
    strangers(&held, expected, &mut found.wrong);
    for (did, account) in &held.accounts {
        if let Err(wrong) = examine::repo(store, &held, did, account).await {
            found.wrong.push(format!("repo of {did}: {wrong}"));
        }
    }
    examine::events(&held, sound, &mut found.wrong);
    let last_stored = held.events.keys().next_back().copied().unwrap_or(0);
    let last_sent = expected.last_sent().max(last_stored);
    if store.last_seq() < last_sent {
        found.wrong.push(format!("the newest event is {}, but {last_sent} was sent", store.last_seq()));
    }
    let revs = expected.revs();
    found.wrong.extend(examine::go_on(store, &held, last_sent, &revs).await);
    Ok(())
}

/// Reads everything that can be listed.
async fn read_all(store: &Store, wrong: &mut Vec<String>) -> Checked<Held> {
    let mut held = Held {
        accounts: BTreeMap::new(),
        keys: BTreeMap::new(),
        records: BTreeMap::new(),
        events: BTreeMap::new(),
        intents: BTreeMap::new(),
    };
    let accounts = store.read(|reader| reader.list_accounts(None, PAGE)).await;
    for account in accounts.map_err(failed("listing accounts"))? {
        let did = account.did.clone();
        match store.signing_key(&did).await {
            Ok(key) => drop(held.keys.insert(did.clone(), key.public_key())),
            Err(error) => wrong.push(format!("the key of {did}: {}", full(&error))),
        }
        for (path, bytes) in examine::records(store, &account).await? {
            held.records.insert((did.clone(), path), bytes);
        }
        held.accounts.insert(did, account);
    }
    let mut after = 0;
    loop {
        let page: Vec<Event> = store
            .read(move |reader| reader.events_after(after, PAGE))
            .await
            .map_err(failed("reading events"))?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        held.events.extend(page.into_iter().map(|event| (event.seq, event.frame)));
    }
    for intent in store.intents().await.map_err(failed("reading intents"))? {
        held.intents.insert(intent.did, intent.plc_operation.unwrap_or_default().into());
    }
    Ok(held)
}

/// Gives what the store shows of a thing.
async fn observe(store: &Store, clock: &Clock, held: &Held, thing: &Thing) -> Checked<Option<Bytes>> {
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    match thing {
        Thing::Account(did) => Ok(held.accounts.get(did).and_then(|account| text(account.handle.as_str()))),
        Thing::Status(did) => Ok(held.accounts.get(did).and_then(|account| text(account.status.as_str()))),
        Thing::Intent(did) => Ok(held.intents.get(did).cloned()),
        Thing::Record(did, path) => Ok(held.records.get(&(did.clone(), path.clone())).cloned()),
        Thing::Event(seq) => Ok(held.events.get(seq).cloned()),
        Thing::SigningKey(did) => {
            let key = store.signing_key(did).await.ok();
            Ok(key.map(|key| Bytes::copy_from_slice(key.to_bytes().as_slice())))
        }
        Thing::Secret(name) => {
            // A missing one is made; an empty one says that it was missing.
            let secret = store.secret(name, Some(Vec::new)).await.map_err(failed("reading a secret"))?;
            Ok(Some(Bytes::from(secret)).filter(|secret| !secret.is_empty()))
        }
        Thing::Preferences(did) => {
            let Some(account) = held.accounts.get(did).cloned() else { return Ok(None) };
            let read = store.read(move |reader| reader.preferences(&account)).await;
            read.map(|bytes| bytes.map(Bytes::from)).map_err(failed("reading preferences"))
        }
        Thing::RecordHold(did, path) => {
            let Some(account) = held.accounts.get(did).cloned() else { return Ok(None) };
            let (collection, rkey) = path.split_once('/').ok_or("a record without a collection")?;
            let collection = Nsid::parse(collection).map_err(|error| full(&error))?;
            let rkey = RecordKey::parse(rkey).map_err(|error| full(&error))?;
            let read = store.read(move |reader| reader.record_hold(&account, &collection, &rkey)).await;
            read.map(|reference| reference.map(Bytes::from)).map_err(failed("reading a hold"))
        }
        Thing::Lexicon(nsid) => {
            let nsid = nsid.clone();
            let read = store.read(move |reader| reader.lexicon(&nsid)).await;
            let kept = read.map_err(failed("reading a lexicon"))?;
            Ok(kept.and_then(|kept| kept.body).map(Bytes::from))
        }
        Thing::Blob(did, cid) => match store.open_blob(did, cid).await {
            Ok(Some(mut blob)) => {
                let mut content = Vec::new();
                blob.file.read_to_end(&mut content).map_err(|error| full(&error))?;
                Ok(Some(content.into()))
            }
            Ok(None) | Err(StoreError::AccountNotFound) => Ok(None),
            Err(error) => Err(full(&error)),
        },
        Thing::Session(_, token) => {
            let now = clock.now().map_err(|error| full(&error))?;
            let (proposed, ends_us) = (format!("next-{token}"), now.unix_micros() + 1_000_000_000_000);
            match store.rotate_refresh_token(token.clone(), proposed.clone(), ends_us, now).await {
                Ok(rotated) if rotated.next_id == proposed => Ok(text("live")),
                Ok(rotated) => Ok(text(&rotated.next_id)),
                Err(StoreError::SessionOver) => Ok(None),
                Err(error) => Err(full(&error)),
            }
        }
    }
}

/// Finds what nobody ever put there.
fn strangers(held: &Held, expected: &Expected<'_>, wrong: &mut Vec<String>) {
    let accounts = held.accounts.keys().map(|did| Thing::Account(did.clone()));
    let records = held.records.keys().map(|(did, path)| Thing::Record(did.clone(), path.clone()));
    let events = held.events.keys().map(|seq| Thing::Event(*seq));
    for thing in accounts.chain(records).chain(events) {
        if !expected.knows(&thing) {
            wrong.push(format!("{thing:?} is there and was never made"));
        }
    }
}
