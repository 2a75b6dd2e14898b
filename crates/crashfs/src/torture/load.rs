//! Runs the load: calls of the store, each noted in the ledger before it begins and after it was answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atproto::cid::Cid;
use atproto::crypto::SigningKey;
use atproto::event::{Frame, decode_frame};
use atproto::syntax::{Did, Handle, Nsid, RecordKey, Tid};
use bytes::Bytes;
use futures_util::future::try_join_all;
use platform::sim::{SimClock, trusted_clock};
use platform::time::Clock;
use store::{
    Change, Config, Hold, HoldKind, Limits, NewAccount, NewRefreshToken, Op, Status, Store, StoreError,
    WriteRequest,
};
use tokio::task::JoinSet;

use super::TortureError;
use super::ledger::{Call, Ledger, Thing};
use super::model::{Act, Edit, Kind, Model, Picture, Token, picture_post};
use super::repo_file::repo_file;
use crate::Disk;
use crate::files::CrashFiles;

/// When the load begins, microseconds since 1970: 2026-11-23T00:00:00Z.
const BEGIN_UNIX_US: u64 = 1_795_392_000_000_000;

/// The directory that the accounts belong to.
pub(crate) const PLC_URL: &str = "http://plc.test";

/// How long a session lasts, microseconds; longer than the load.
const SESSION_US: u64 = 90 * 24 * 3600 * 1_000_000;

/// Accounts that the load is about, of which one moves in from elsewhere.
const ACCOUNTS: usize = 4;

/// Records that an import brings.
const IMPORTED: usize = 150;

/// Age at which events are pruned, seconds: a few dozen steps.
const EVENT_AGE_S: u64 = 60;

/// How much later than its signature an event may have been noted, seconds of the load's clock.
const LATE_S: u64 = 15;

/// Small limits, so that a short load crosses each of them often.
pub(crate) fn limits() -> Limits {
    Limits {
        event_age_s: EVENT_AGE_S,
        temp_blob_age_s: 3600,
        checkpoint_bytes: 256 * 1024,
        flush_commits: 16,
        ..Limits::default()
    }
}

/// The load under way.
struct Load {
    disk: Arc<Disk>,
    store: Store,
    clock: Clock,
    sim: Arc<SimClock>,
    ledger: Mutex<Ledger>,
    /// The planted fault: answers are taken as given when the call is made.
    early: bool,
}

/// Runs the whole load on a disk.
pub(crate) async fn run(
    disk: &Arc<Disk>,
    seed: u64,
    steps: usize,
    early: bool,
) -> Result<Ledger, TortureError> {
    let (clock, sim) = trusted_clock(BEGIN_UNIX_US);
    let store = open(disk, clock.clone())?;
    let ledger = Mutex::new(Ledger::default());
    let mut load = Arc::new(Load { disk: Arc::clone(disk), store, clock, sim, ledger, early });
    let mut model = Model::new(seed);
    load.tick(0);
    let mut readers = JoinSet::new();
    readers.spawn(follow(Arc::clone(&load), 0));
    set_up(&load, &mut model).await?;
    for step in 0..steps {
        let pause_ms = model.rng.u64(1..3_000);
        load.tick(pause_ms);
        let acts = model.step()?;
        let made = try_join_all(acts.into_iter().map(|act| load.act(act))).await?;
        for (did, picture) in made.into_iter().flatten() {
            model.shown(&did, picture);
        }
        if step == steps / 4 {
            load.take_down(&mut model).await?;
        }
        if step == steps * 3 / 8 {
            load.repair(&model).await?;
        }
        if step == steps * 5 / 6 {
            load.jump().await?;
        }
        if step == steps / 3 {
            load.move_in(&mut model, "moved").await?;
        }
        if step == steps / 2 {
            load = restart(load, &mut readers).await?;
        }
        if step == steps * 2 / 3 {
            load.replace_repo(&mut model).await?;
            load.leave(&mut model).await?;
        }
    }
    end(load, &mut readers).await
}

pub(crate) fn open(disk: &Arc<Disk>, clock: Clock) -> Result<Store, TortureError> {
    let mut config = Config::new(disk.root().join("data"), PLC_URL.to_owned(), clock);
    config.limits = limits();
    config.files = Arc::new(CrashFiles::new(Arc::clone(disk)));
    config.vfs = Some(disk.vfs_name());
    Store::open(config).map_err(TortureError::Open)
}

async fn set_up(load: &Arc<Load>, model: &mut Model) -> Result<(), TortureError> {
    load.secret().await?;
    for number in 0..ACCOUNTS {
        let did = load.begin(model, &format!("owner{number}"), true).await?;
        load.complete(&did, Status::Active).await?;
        model.add_owner(did, Vec::new());
    }
    // One creation stays under way, one is given up.
    load.begin(model, "under-way", true).await?;
    let given_up = load.begin(model, "given-up", true).await?;
    load.abandon(&given_up).await
}

/// Takes every event and notes it.
async fn follow(load: Arc<Load>, after: u64) -> Result<u64, TortureError> {
    let mut subscription = load.store.subscribe(after);
    let mut last = after;
    while let Some(event) = subscription.next().await.map_err(refused("an event"))? {
        last = event.seq;
        let position = load.disk.ack(format!("event {last} was sent"));
        load.ledger().sent(position, last, event.frame);
    }
    Ok(last)
}

/// Ends the store and the subscriber.
async fn stop(
    load: &Arc<Load>,
    readers: &mut JoinSet<Result<u64, TortureError>>,
) -> Result<u64, TortureError> {
    load.store.clone().close().await.map_err(refused("closing"))?;
    let joined = readers.join_next().await;
    joined.and_then(Result::ok).unwrap_or(Err(TortureError::Plan("the subscriber is gone".to_owned())))
}

/// Closes the store and opens it again on the same disk.
async fn restart(
    load: Arc<Load>,
    readers: &mut JoinSet<Result<u64, TortureError>>,
) -> Result<Arc<Load>, TortureError> {
    let after = stop(&load, readers).await?;
    let load = Arc::into_inner(load).ok_or_else(|| TortureError::Plan("the load is shared".to_owned()))?;
    let Load { disk, store, clock, sim, ledger, early } = load;
    drop(store);
    let store = open(&disk, clock.clone())?;
    let load = Arc::new(Load { disk, store, clock, sim, ledger, early });
    readers.spawn(follow(Arc::clone(&load), after));
    Ok(load)
}

async fn end(
    load: Arc<Load>,
    readers: &mut JoinSet<Result<u64, TortureError>>,
) -> Result<Ledger, TortureError> {
    stop(&load, readers).await?;
    let load = Arc::into_inner(load).ok_or_else(|| TortureError::Plan("the load is shared".to_owned()))?;
    load.ledger.into_inner().map_err(|_| TortureError::Plan("the ledger is broken".to_owned()))
}

pub(crate) fn refused(doing: &str) -> impl FnOnce(StoreError) -> TortureError {
    move |source| TortureError::Load { doing: doing.to_owned(), source }
}

fn syntax(error: impl std::fmt::Display) -> TortureError {
    TortureError::Plan(error.to_string())
}

/// A post with a picture that was made.
type Shown = Option<(Did, Picture)>;

impl Load {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    fn tick(&self, span_ms: u64) {
        self.sim.advance(Duration::from_millis(span_ms));
        if let Ok(now) = self.clock.now() {
            self.ledger().at_time(self.disk.position(), now.unix_micros());
        }
    }

    fn call(&self, values: Vec<(Thing, Option<Bytes>)>) -> Call {
        let begun = if self.early { self.disk.ack("answered early") } else { self.disk.position() };
        self.ledger().begin(begun, values)
    }

    fn answered(&self, call: &Call, what: &str) -> usize {
        let position = if self.early { call.begun } else { self.disk.ack(what) };
        self.ledger().answered(call, position);
        position
    }

    async fn secret(&self) -> Result<(), TortureError> {
        let begun = self.disk.position();
        let secret = self.store.secret("jwt", None).await.map_err(refused("a secret"))?;
        let call = self.ledger().begin(begun, vec![(Thing::Secret("jwt"), Some(secret.into()))]);
        self.answered(&call, "a secret is kept");
        Ok(())
    }

    async fn begin(&self, model: &mut Model, name: &str, with_operation: bool) -> Result<Did, TortureError> {
        let did = Did::parse(&format!("did:web:{name}.test")).map_err(syntax)?;
        let key = SigningKey::generate().map_err(syntax)?;
        let operation = with_operation.then(|| model.bytes(600));
        let call = self.call(vec![
            (Thing::SigningKey(did.clone()), Some(Bytes::copy_from_slice(key.to_bytes().as_slice()))),
            (Thing::Intent(did.clone()), Some(operation.clone().unwrap_or_default().into())),
        ]);
        let new = NewAccount {
            did: did.clone(),
            handle: Handle::parse(&format!("{name}.test")).map_err(syntax)?,
            email: None,
            password_hash: "a hash".to_owned(),
            signing_key: key,
            plc_operation: operation,
            invite: None,
        };
        self.store.begin_account(new).await.map_err(refused("to begin an account"))?;
        self.answered(&call, &format!("{did} is begun"));
        Ok(did)
    }

    async fn complete(&self, did: &Did, status: Status) -> Result<(), TortureError> {
        let handle = did.as_str().trim_start_matches("did:web:").to_owned();
        let call = self.call(vec![
            (Thing::Account(did.clone()), Some(handle.into())),
            (Thing::Status(did.clone()), Some(Bytes::from_static(status.as_str().as_bytes()))),
            (Thing::Intent(did.clone()), None),
        ]);
        let account =
            self.store.complete_account(did, status).await.map_err(refused("to complete an account"))?;
        let position = self.answered(&call, &format!("{did} is complete"));
        self.ledger().told_rev(position, did.clone(), account.head.rev);
        Ok(())
    }

    async fn abandon(&self, did: &Did) -> Result<(), TortureError> {
        let call = self.call(vec![(Thing::Intent(did.clone()), None)]);
        self.ledger().may_go(call.begun, [Thing::SigningKey(did.clone())]);
        self.store.abandon_account(did).await.map_err(refused("to give an account up"))?;
        self.answered(&call, &format!("{did} is given up"));
        Ok(())
    }

    async fn act(&self, act: Act) -> Result<Shown, TortureError> {
        match act {
            Act::Write { did, edits } => self.write(&did, edits, Vec::new()).await?,
            Act::Picture { did, rkey, content } => return self.picture(did, rkey, content).await,
            Act::DropPicture { did, picture: Picture { rkey, blob, .. } } => {
                let edit = Edit { collection: pictures()?, rkey, kind: Kind::Delete };
                let gone = vec![(Thing::Blob(did.clone(), blob), None)];
                self.write(&did, vec![edit], gone).await?;
            }
            Act::LooseBlob { did, content } => self.upload(&did, content.into()).await.map(|_| ())?,
            Act::Hide { did, picture: Picture { blob, content, .. }, hides } => {
                let call = self.call(vec![(Thing::Blob(did.clone(), blob), (!hides).then_some(content))]);
                let reference = hides.then(|| "case 2".to_owned());
                self.store
                    .set_blob_hold(&did, &blob, reference)
                    .await
                    .map_err(refused("a hold on a blob"))?;
                self.answered(&call, "a blob is hidden or shown");
            }
            Act::HideRecord { did, rkey, reference } => {
                let collection = pictures()?;
                let thing = Thing::RecordHold(did.clone(), path(&collection, &rkey));
                let call = self.call(vec![(thing, Some(reference.clone().into()))]);
                let held = self.store.set_record_hold(&did, &collection, &rkey, Some(reference)).await;
                held.map_err(refused("a hold on a record"))?;
                self.answered(&call, "a record is hidden");
            }
            Act::Lexicon { nsid, body } => {
                let call = self.call(vec![(Thing::Lexicon(nsid.clone()), Some(body.clone().into()))]);
                self.store.keep_lexicon(nsid, Some(body)).await.map_err(refused("a lexicon"))?;
                self.answered(&call, "a lexicon is kept");
            }
            Act::Preferences { did, bytes } => {
                let call = self.call(vec![(Thing::Preferences(did.clone()), Some(bytes.clone().into()))]);
                self.store.change_preferences(&did, |_| bytes).await.map_err(refused("preferences"))?;
                self.answered(&call, "preferences are kept");
            }
            Act::Handle { did, handle } => {
                let call = self.call(vec![(Thing::Account(did.clone()), Some(handle.clone().into()))]);
                let handle = Handle::parse(&handle).map_err(syntax)?;
                self.store.set_handle(&did, handle).await.map_err(refused("a handle"))?;
                self.answered(&call, "a handle is changed");
            }
            Act::Maintain => self.maintain().await?,
            Act::Login { .. } | Act::Refresh { .. } | Act::Logout { .. } => self.session(act).await?,
        }
        Ok(None)
    }

    async fn session(&self, act: Act) -> Result<(), TortureError> {
        let now = self.clock.now().map_err(syntax)?;
        let expires_at_us = now.unix_micros().saturating_add(SESSION_US);
        let live = || Some(Bytes::from_static(b"live"));
        match act {
            Act::Login { did, token } => {
                let call = self.call(vec![(Thing::Session(did.clone(), token.clone()), live())]);
                let token = NewRefreshToken { id: token, did, expires_at_us, app_password: None };
                self.store.insert_refresh_token(token).await.map_err(refused("a session"))?;
                self.answered(&call, "a session is kept");
            }
            Act::Refresh { did, token, next } => {
                let call = self.call(vec![
                    (Thing::Session(did.clone(), token.clone()), Some(next.clone().into())),
                    (Thing::Session(did, next.clone()), live()),
                ]);
                let rotated = self.store.rotate_refresh_token(token, next, expires_at_us, now).await;
                rotated.map_err(refused("to rotate a session"))?;
                self.answered(&call, "a session is rotated");
            }
            Act::Logout { did, token: Token { id, before } } => {
                let tokens = [Some(id.clone()), before].into_iter().flatten();
                let call =
                    self.call(tokens.map(|token| (Thing::Session(did.clone(), token), None)).collect());
                self.store.revoke_refresh_token(id).await.map_err(refused("to end a session"))?;
                self.answered(&call, "a session is ended");
            }
            _ => {}
        }
        Ok(())
    }

    async fn write(
        &self,
        did: &Did,
        edits: Vec<Edit>,
        more: Vec<(Thing, Option<Bytes>)>,
    ) -> Result<(), TortureError> {
        let mut values = more;
        let mut ops = Vec::with_capacity(edits.len());
        for Edit { collection, rkey, kind } in edits {
            let thing = record_thing(did, &collection, &rkey);
            let (value, change) = match kind {
                Kind::Create(record) => (Some(record.bytes.clone().into()), Change::Create(record)),
                Kind::Put(record) => (Some(record.bytes.clone().into()), Change::Put(record)),
                Kind::Delete => (None, Change::Delete),
            };
            values.push((thing, value));
            ops.push(Op { collection, rkey, change, swap_record: None });
        }
        let call = self.call(values);
        let request = WriteRequest { did: did.clone(), ops, swap_commit: None };
        let result = self.store.write(request).await.map_err(refused("a write"))?;
        let position = self.answered(&call, "a write is kept");
        if let Some(commit) = result.commit {
            self.ledger().told_rev(position, did.clone(), commit.rev);
        }
        Ok(())
    }

    async fn upload(&self, did: &Did, content: Bytes) -> Result<Cid, TortureError> {
        let cid = Cid::for_raw(&content);
        let call = self.call(vec![(Thing::Blob(did.clone(), cid), Some(content.clone()))]);
        self.store.put_blob(did, "image/png".to_owned(), content).await.map_err(refused("a blob"))?;
        self.answered(&call, "a blob is kept");
        Ok(cid)
    }

    async fn picture(&self, did: Did, rkey: RecordKey, content: Vec<u8>) -> Result<Shown, TortureError> {
        let (size, content) = (content.len(), Bytes::from(content));
        let cid = self.upload(&did, content.clone()).await?;
        let collection = pictures()?;
        let record = picture_post(&cid, size, &collection)?;
        let edit = Edit { collection, rkey: rkey.clone(), kind: Kind::Create(record) };
        self.write(&did, vec![edit], Vec::new()).await?;
        Ok(Some((did, Picture { rkey, blob: cid, content })))
    }

    /// Prunes. What is old enough may go now or later: nobody is told.
    async fn maintain(&self) -> Result<(), TortureError> {
        let begun = self.disk.position();
        let now_us = self.clock.now().map_err(syntax)?.unix_micros();
        // The subscriber may have got an event some steps after it was signed.
        let until_us = now_us.saturating_sub((EVENT_AGE_S - LATE_S) * 1_000_000);
        let old = self.ledger().events_before(until_us);
        self.ledger().may_go(begun, old);
        self.store.maintain().await.map(|_| ()).map_err(refused("maintenance"))
    }

    /// Brings an account from elsewhere, with its repo.
    async fn move_in(&self, model: &mut Model, name: &str) -> Result<(), TortureError> {
        let did = self.begin(model, name, false).await?;
        self.complete(&did, Status::Deactivated).await?;
        let records = self.import(model, &did).await?;
        let active = Bytes::from_static(Status::Active.as_str().as_bytes());
        let call = self.call(vec![(Thing::Status(did.clone()), Some(active))]);
        self.store.set_status(&did, Status::Active).await.map_err(refused("activation"))?;
        self.answered(&call, &format!("{did} is active"));
        model.add_owner(did, records);
        Ok(())
    }

    /// Hides an account, which ends its sessions, and shows it again.
    async fn take_down(&self, model: &mut Model) -> Result<(), TortureError> {
        let Some(owner) = model.owners.first_mut() else { return Ok(()) };
        owner.sessions.clear();
        let did = owner.did.clone();
        let sessions = self.ledger().present(|thing| matches!(thing, Thing::Session(of, _) if *of == did));
        let mut ended: Vec<_> = sessions.into_iter().map(|thing| (thing, None)).collect();
        let hold = Hold { kind: HoldKind::Takedown, reference: "case 1".to_owned() };
        for (status, hold) in [(Status::Takendown, Some(hold)), (Status::Active, None)] {
            let word = Bytes::from_static(status.as_str().as_bytes());
            ended.push((Thing::Status(did.clone()), Some(word)));
            let call = self.call(std::mem::take(&mut ended));
            self.store.set_hold(&did, hold).await.map_err(refused("another state"))?;
            self.answered(&call, &format!("{did} is {}", status.as_str()));
        }
        Ok(())
    }

    /// Signs a repo anew, as after a time with a wrong clock.
    async fn repair(&self, model: &Model) -> Result<(), TortureError> {
        let Some(did) = model.owners.last().map(|owner| owner.did.clone()) else { return Ok(()) };
        let call = self.call(Vec::new());
        let commit = self.store.repair_repo(&did).await.map_err(refused("a repair"))?;
        let position = self.answered(&call, &format!("{did} is signed anew"));
        self.ledger().told_rev(position, did, commit.rev);
        Ok(())
    }

    /// Leaves numbers out, as after a restore.
    async fn jump(&self) -> Result<(), TortureError> {
        let call = self.call(Vec::new());
        let past = self.store.last_seq().saturating_add(500);
        let jump = self.store.jump_seq(past).await.map_err(refused("a jump"))?;
        let position = self.answered(&call, "numbers are left out");
        self.ledger().passed(position, jump.map_or(past, |jump| jump.to));
        Ok(())
    }

    /// Imports over a repo that is in use.
    async fn replace_repo(&self, model: &mut Model) -> Result<(), TortureError> {
        let Some(did) = model.owners.first().map(|owner| owner.did.clone()) else { return Ok(()) };
        let records = self.import(model, &did).await?;
        model.replace_records(&did, records);
        Ok(())
    }

    /// Removes an account.
    async fn leave(&self, model: &mut Model) -> Result<(), TortureError> {
        let Some(did) = model.owners.pop().map(|owner| owner.did) else { return Ok(()) };
        let is_its = |thing: &Thing| match thing {
            Thing::Account(of)
            | Thing::Status(of)
            | Thing::Record(of, _)
            | Thing::RecordHold(of, _)
            | Thing::Blob(of, _)
            | Thing::Preferences(of) => *of == did,
            _ => false,
        };
        let gone = self.ledger().present(is_its);
        let call = self.call(gone.into_iter().map(|thing| (thing, None)).collect());
        // Its sessions, events and key go too; when, is nobody's promise.
        let is_loose = |thing: &Thing| match thing {
            Thing::Session(of, _) | Thing::SigningKey(of) => *of == did,
            _ => false,
        };
        let mut loose = self.ledger().present(is_loose);
        loose.extend(self.events_of(&did));
        self.ledger().may_go(call.begun, loose);
        self.store.delete_account(&did).await.map_err(refused("to remove an account"))?;
        self.answered(&call, &format!("{did} is removed"));
        Ok(())
    }

    /// Lists the events about an account.
    fn events_of(&self, did: &Did) -> Vec<Thing> {
        let ledger = self.ledger();
        let mut events = ledger.present(|thing| matches!(thing, Thing::Event(_)));
        let is_about = |thing: &Thing| match ledger.value(thing).map(|frame| decode_frame(frame)) {
            Some(Ok(Frame::Commit { event, .. })) => event.did == *did,
            Some(Ok(Frame::Sync { event, .. })) => event.did == *did,
            Some(Ok(Frame::Identity { event, .. })) => event.did == *did,
            Some(Ok(Frame::Account { event, .. })) => event.did == *did,
            _ => false,
        };
        events.retain(is_about);
        events
    }

    /// Replaces a repo by new records, as a file from another server.
    async fn import(&self, model: &mut Model, did: &Did) -> Result<Vec<(Nsid, RecordKey)>, TortureError> {
        let records = model.many(IMPORTED)?;
        let mut values: Vec<_> = self
            .ledger()
            .present(|thing| matches!(thing, Thing::Record(of, _) if of == did))
            .into_iter()
            .map(|thing| (thing, None))
            .collect();
        let new = |(collection, rkey, record): &(Nsid, RecordKey, atproto::data::Record)| {
            (record_thing(did, collection, rkey), Some(Bytes::from(record.bytes.clone())))
        };
        values.extend(records.iter().map(new));
        let rev = Tid::at(self.clock.now().map_err(syntax)?, 7);
        let bodies =
            records.iter().map(|(collection, rkey, record)| (path(collection, rkey), record.clone()));
        let file = repo_file(did, rev, &bodies.collect())?;
        let call = self.call(values);
        // Blobs of the old records may go with them.
        let blobs = self.ledger().present(|thing| matches!(thing, Thing::Blob(of, _) if of == did));
        self.ledger().may_go(call.begun, blobs);
        let mut import = self.store.begin_import(did).await.map_err(refused("an import"))?;
        for piece in file.chunks(10_000) {
            import.write(piece).await.map_err(refused("an import's piece"))?;
        }
        let imported = import.finish().await.map_err(refused("to finish an import"))?;
        let position = self.answered(&call, "an import is kept");
        self.ledger().told_rev(position, did.clone(), imported.commit.rev);
        Ok(records.into_iter().map(|(collection, rkey, _)| (collection, rkey)).collect())
    }
}

/// The collection of posts with pictures: no other call touches them.
fn pictures() -> Result<Nsid, TortureError> {
    Nsid::parse("app.bsky.feed.picture").map_err(syntax)
}

pub(crate) fn path(collection: &Nsid, rkey: &RecordKey) -> String {
    format!("{}/{}", collection.as_str(), rkey.as_str())
}

fn record_thing(did: &Did, collection: &Nsid, rkey: &RecordKey) -> Thing {
    Thing::Record(did.clone(), path(collection, rkey))
}
