//! The power goes at every step of a sign-up, a change of handle, a PLC operation and a deletion; then the server starts
//! again on what the disk shows.
//!
//! A story runs once on a disk that remembers every write and sync, beside a directory whose every operation is noted in
//! the same list. For each place in that list the power is cut, in the manner of a weak disk; the directory has what it
//! had taken by then, or already the operation that was on its way. The server starts, has one look at what is unfinished,
//! and ends; then the account, the directory, the keys and the events must agree.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use atproto::{
    crypto::SigningKey,
    didkey,
    event::{AccountStatus, Frame, decode_frame},
    plc::Signed,
    syntax::{Did, Handle},
};
use control::{PdsStatus, status::PdsState};
use crashfs::{CrashFiles, Disk, Honesty, Image, Log, Manner, Op, Replay, scratch};
use pds::{Config, Platform, Storage};
use platform::sim::trusted_clock;
use serde_json::{Value, json};
use store::{NewAccount, Store};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{Account, NOW_US, PATIENCE, Pds, post};

/// Chooses the manners of the cuts; another seed finds other states.
const SEED: u64 = 20_261_123;

type Contents = HashMap<String, Vec<Signed>>;

/// A story that ran, with everything that it did to the disk.
struct Story {
    pds: Pds,
    disk: Arc<Disk>,
    /// What the directory took, with the place in the list.
    taken: Arc<Mutex<Vec<(usize, String, Signed)>>>,
    /// The server's key, so that a story can sign, too.
    rotation: SigningKey,
}

/// A story's part that is cut.
struct Recording {
    log: Log,
    begin: usize,
    /// From here on the client knew that it was done.
    answered: usize,
    taken: Vec<(usize, String, Signed)>,
    plc_url: String,
}

impl Story {
    async fn new() -> Self {
        let disk = Disk::new(Honesty::default()).unwrap();
        let files = Arc::new(CrashFiles::new(Arc::clone(&disk)));
        let storage = Storage { files, vfs: disk.vfs_name() };
        let rotation = SigningKey::generate().unwrap();
        let (folder, key) = (disk.root().join("data"), rotation.clone());
        let pds = Pds::start_stored(storage, |config| {
            config.data_dir = folder;
            config.plc_rotation_key = Some(key);
        })
        .await;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (list, noted) = (Arc::clone(&taken), Arc::clone(&disk));
        pds.directory.watch(move |did, operation| {
            let place = noted.ack("the directory took an operation");
            list.lock().unwrap().push((place, did.to_string(), operation.clone()));
        });
        Self { pds, disk, taken, rotation }
    }

    /// Runs the part that is to be cut; it ends when the client has its answer.
    async fn record(mut self, part: impl AsyncFnOnce(&Self)) -> (Recording, Pds) {
        let begin = self.disk.position();
        part(&self).await;
        let answered = self.disk.ack("the client has its answer");
        // What is done after the answer can be cut as well.
        self.pds.stop().await;
        let taken = self.taken.lock().unwrap().clone();
        let plc_url = self.pds.plc_url.clone();
        (Recording { log: self.disk.log(), begin, answered, taken, plc_url }, self.pds)
    }
}

/// A state after a cut, for the words of a failure.
#[derive(Clone, Copy)]
struct Cut {
    place: usize,
    manner: Manner,
    /// The operation on its way arrived although the power was gone.
    arrived: bool,
    /// The client had its answer.
    answered: bool,
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, manner, arrived, answered } = self;
        write!(f, "cut after operation {place}, {manner:?}, seed {SEED}")?;
        write!(f, "{}", if *arrived { ", the request on its way arrived" } else { "" })?;
        write!(f, "{}", if *answered { ", the client had its answer" } else { "" })
    }
}

/// What is there after the server has started again and ended.
struct Seen {
    store: Store,
    accounts: Vec<store::Account>,
    events: Vec<(String, String)>,
    key_files: BTreeSet<String>,
    blob_files: usize,
    directory: Contents,
    cut: Cut,
    _dir: tempfile::TempDir,
}

impl Recording {
    /// Places worth a cut: around all that is not a mere write, and in the midst of some writes.
    fn places(&self) -> Vec<usize> {
        let is_joint =
            |place: usize| self.log.ops.get(place).is_some_and(|op| !matches!(op, Op::Write { .. }));
        let end = self.log.ops.len();
        let near =
            |place: &usize| is_joint(*place) || is_joint(place.saturating_sub(1)) || place.is_multiple_of(16);
        (self.begin..=end).filter(near).collect()
    }

    /// What the directory holds at a place; with what comes next if that was on its way.
    fn contents(&self, place: usize, arrived: bool) -> Option<Contents> {
        let before = self.taken.iter().filter(|(at, ..)| *at <= place).count();
        let next = self.taken.get(before).filter(|(at, ..)| *at == place + 1);
        if arrived && next.is_none() {
            return None;
        }
        let mut contents = Contents::new();
        for (_, did, operation) in self.taken.iter().take(before + usize::from(arrived)) {
            contents.entry(did.clone()).or_default().push(operation.clone());
        }
        Some(contents)
    }

    /// Cuts everywhere and judges each state.
    async fn judge(&self, pds: &Pds, judge: impl AsyncFn(&Seen)) {
        let mut rng = fastrand::Rng::with_seed(SEED);
        let mut replay = Replay::new(&self.log);
        let mut states = HashSet::new();
        for place in self.places() {
            replay.advance_to(place);
            for manner in [Manner::Nothing, rng.choice(Manner::ALL).unwrap()] {
                let image = replay.cut(&mut rng, manner);
                for arrived in [false, true] {
                    let Some(contents) = self.contents(place, arrived) else { continue };
                    let operations = contents.values().map(Vec::len).sum::<usize>();
                    if states.insert((image.fingerprint(), operations, place >= self.answered)) {
                        let cut = Cut { place, manner, arrived, answered: place >= self.answered };
                        pds.directory.set_contents(contents);
                        judge(&self.after(pds, &image, cut).await).await;
                    }
                }
            }
        }
        // Before anything was durable, between the steps, and after all: fewer would mean that nothing was cut.
        assert!(states.len() >= 5, "only {} states", states.len());
        println!("{} states between {} and {}, seed {SEED}", states.len(), self.begin, self.log.ops.len());
    }

    /// Starts the server on what the disk shows, lets it end, and looks.
    async fn after(&self, pds: &Pds, image: &Image, cut: Cut) -> Seen {
        let dir = scratch().unwrap();
        image.write_to(dir.path()).unwrap();
        let folder = dir.path().join("data");
        self.start_and_end(&folder).await;
        let (clock, sim) = trusted_clock(NOW_US);
        sim.advance(Duration::from_secs(1));
        let config = store::Config::new(folder.clone(), self.plc_url.clone(), clock);
        let store = Store::open(config).unwrap_or_else(|e| panic!("{cut:?}: {e}"));
        assert!(store.intents().await.unwrap().is_empty(), "{cut:?}: a sign-up is left");
        assert!(store.identity_changes().await.unwrap().is_empty(), "{cut:?}: a change is left");
        let (accounts, frames) =
            store.read(|r| Ok((r.list_accounts(None, 100)?, r.events_after(0, 10_000)?))).await.unwrap();
        Seen {
            accounts,
            events: frames.iter().map(|event| told(&event.frame)).collect(),
            key_files: files(&folder.join("keys"))
                .into_iter()
                .filter(|n| !n.ends_with(".unclaimed"))
                .collect(),
            blob_files: files(&folder.join("blobs"))
                .iter()
                .map(|d| files(&folder.join("blobs").join(d)).len())
                .sum(),
            directory: pds.directory.contents(),
            store,
            cut,
            _dir: dir,
        }
    }

    async fn start_and_end(&self, folder: &Path) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut config = Config::local(folder.to_owned(), port, self.plc_url.clone());
        config.public_url = "http://localhost:2583".to_owned();
        let (clock, _sim) = trusted_clock(NOW_US);
        let (status, mut seen) = watch::channel(PdsStatus::default());
        let shutdown = CancellationToken::new();
        let run = pds::run(config, Platform::new(clock, None), listener, status, shutdown.clone());
        let ended = async {
            seen.wait_for(|status| status.state == PdsState::Serving).await.unwrap();
            shutdown.cancel();
        };
        let (result, ()) = timeout(PATIENCE, async { tokio::join!(run, ended) }).await.expect("in time");
        result.unwrap();
    }
}

impl Seen {
    fn account(&self, did: &str) -> Option<&store::Account> {
        self.accounts.iter().find(|account| account.did.as_str() == did)
    }

    fn events_of(&self, did: &str) -> Vec<&str> {
        self.events.iter().filter(|(of, _)| of == did).map(|(_, kind)| kind.as_str()).collect()
    }

    /// The directory and the accounts say the same, and each account has its one key.
    async fn agree(&self) {
        let cut = self.cut;
        let registered: BTreeSet<&str> = self.directory.keys().map(String::as_str).collect();
        let plc =
            self.accounts.iter().map(|account| account.did.as_str()).filter(|did| did.starts_with("did:plc"));
        assert_eq!(registered, plc.collect(), "{cut:?}: identities and accounts");
        for account in &self.accounts {
            let Some(log) = self.directory.get(account.did.as_str()) else { continue };
            let state = log.last().unwrap().state().unwrap();
            assert_eq!(state.handle().as_ref(), Some(&account.handle), "{cut:?}");
            let key = self.store.signing_key(&account.did).await.unwrap().public_key();
            assert_eq!(state.atproto_key(), Some(key), "{cut:?}");
        }
        assert_eq!(self.key_files.len(), self.accounts.len(), "{cut:?}: {:?}", self.key_files);
    }

    /// Nobody holds the handle.
    async fn is_free(&self, handle: &str) {
        let new = NewAccount {
            did: Did::parse("did:web:somebody.example.com").unwrap(),
            handle: Handle::parse(handle).unwrap(),
            email: None,
            password_hash: "hash".to_owned(),
            signing_key: SigningKey::generate().unwrap(),
            plc_operation: None,
            invite: None,
        };
        let begun = self.store.begin_account(new).await;
        assert!(begun.is_ok(), "{:?}: {handle}: {begun:?}", self.cut);
    }
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(names) = std::fs::read_dir(folder) else { return Vec::new() };
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

/// Whose event it is, and what it says.
fn told(frame: &[u8]) -> (String, String) {
    match decode_frame(frame).unwrap() {
        Frame::Identity { event, .. } => {
            (event.did.to_string(), format!("identity {}", event.handle.unwrap()))
        }
        Frame::Account { event, .. } => (
            event.did.to_string(),
            format!("account {}", event.inactive.map_or("active", AccountStatus::as_str)),
        ),
        Frame::Commit { event, .. } => (event.did.to_string(), "commit".to_owned()),
        Frame::Sync { event, .. } => (event.did.to_string(), "sync".to_owned()),
        other => panic!("{other:?}"),
    }
}

/// What the network hears of a new account.
fn birth(handle: &str) -> Vec<String> {
    [format!("identity {handle}"), "account active".to_owned(), "commit".to_owned(), "sync".to_owned()].into()
}

async fn call(pds: &Pds, account: &Account, method: &str, body: Value) {
    pds.post(Some(&account.access), method, &body).await.ok();
}

#[tokio::test]
async fn sign_up_is_whole_or_undone_wherever_it_is_cut() {
    let story = Story::new().await;
    let (recording, pds) = story
        .record(async |story| {
            story.pds.account("alice").await;
        })
        .await;
    recording
        .judge(&pds, async |seen| {
            seen.agree().await;
            let Some(alice) = seen.accounts.first() else {
                assert!(!seen.cut.answered && seen.events.is_empty(), "{:?}: {:?}", seen.cut, seen.events);
                return seen.is_free("alice.test").await;
            };
            assert_eq!(seen.accounts.len(), 1);
            assert_eq!(seen.events_of(alice.did.as_str()), birth("alice.test"), "{:?}", seen.cut);
        })
        .await;
}

#[tokio::test]
async fn sign_up_as_a_web_identity_is_whole_or_undone_wherever_it_is_cut() {
    let story = Story::new().await;
    let (recording, pds) = story
        .record(async |story| {
            let body = json!({
                "handle": "webby.test",
                "did": "did:web:webby.test",
                "email": "w@example.org",
                "password": "hunter22",
            });
            story.pds.post(None, "com.atproto.server.createAccount", &body).await.ok();
        })
        .await;
    recording
        .judge(&pds, async |seen| {
            seen.agree().await;
            if seen.accounts.is_empty() {
                assert!(!seen.cut.answered && seen.events.is_empty(), "{:?}: {:?}", seen.cut, seen.events);
                return seen.is_free("webby.test").await;
            }
            assert_eq!(seen.events_of("did:web:webby.test"), birth("webby.test"), "{:?}", seen.cut);
        })
        .await;
}

#[tokio::test]
async fn handle_is_the_old_or_the_new_one_everywhere_wherever_its_change_is_cut() {
    let story = Story::new().await;
    let alice = story.pds.account("alice").await;
    let (recording, pds) = story
        .record(async |story| {
            let body = json!({ "handle": "wonder.test" });
            call(&story.pds, &alice, "com.atproto.identity.updateHandle", body).await;
        })
        .await;
    recording
        .judge(&pds, async |seen| {
            seen.agree().await;
            let account = seen.account(&alice.did).unwrap();
            let mut events = birth("alice.test");
            if account.handle.as_str() == "wonder.test" {
                events.push("identity wonder.test".to_owned());
                seen.is_free("alice.test").await;
            } else {
                assert!(!seen.cut.answered, "{:?}", seen.cut);
                seen.is_free("wonder.test").await;
            }
            assert_eq!(seen.events_of(&alice.did), events, "{:?}", seen.cut);
        })
        .await;
}

#[tokio::test]
async fn operation_is_announced_once_and_only_if_taken_wherever_it_is_cut() {
    let story = Story::new().await;
    let alice = story.pds.account("alice").await;
    let last = story.pds.directory.log(&alice.did).pop().unwrap();
    let mut state = last.state().unwrap();
    let own = didkey::format_did_key(&SigningKey::generate().unwrap().public_key());
    state.rotation_keys.insert(0, own);
    let now = trusted_clock(NOW_US).0.now().unwrap();
    let operation = state.sign(Some(last.cid()), &story.rotation, now);
    let body = json!({ "operation": operation });
    let (recording, pds) = story
        .record(async |story| {
            call(&story.pds, &alice, "com.atproto.identity.submitPlcOperation", body.clone()).await;
        })
        .await;
    recording
        .judge(&pds, async |seen| {
            seen.agree().await;
            let mut events = birth("alice.test");
            if seen.directory[&alice.did].last() == Some(&operation) {
                events.push("identity alice.test".to_owned());
            } else {
                assert!(!seen.cut.answered, "{:?}", seen.cut);
            }
            assert_eq!(seen.events_of(&alice.did), events, "{:?}", seen.cut);
        })
        .await;
}

#[tokio::test]
async fn deletion_is_whole_or_undone_wherever_it_is_cut() {
    let story = Story::new().await;
    let alice = story.pds.account("alice").await;
    let upload = story.pds.http.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", story.pds.url));
    let upload = upload.bearer_auth(&alice.access).header("content-type", "image/png");
    let blob = Pds::read(upload.body("not a picture").send().await.unwrap()).await.ok();
    let mut picture = post("with a picture");
    picture["embed"] = json!({
        "$type": "app.bsky.embed.images",
        "images": [{ "alt": "", "image": blob["blob"] }],
    });
    story.pds.create(&alice, &picture).await.ok();
    let asked = story.pds.call(&alice.access, "com.atproto.server.requestAccountDelete").await;
    assert!(asked.status.is_success());
    let (recording, pds) = story
        .record(async |story| {
            let body = json!({ "did": alice.did, "password": "hunter22", "token": story.pds.screen.code() });
            story.pds.post(None, "com.atproto.server.deleteAccount", &body).await.ok();
        })
        .await;
    recording
        .judge(&pds, async |seen| {
            if seen.account(&alice.did).is_some() {
                assert!(!seen.cut.answered, "{:?}", seen.cut);
                seen.agree().await;
                let events = [birth("alice.test"), vec!["commit".to_owned()]].concat();
                assert_eq!(seen.events_of(&alice.did), events, "{:?}", seen.cut);
                assert_eq!(seen.blob_files, 1, "{:?}", seen.cut);
                return;
            }
            // The identity in the directory is its owner's, who may take it elsewhere.
            assert!(seen.directory.contains_key(&alice.did));
            assert_eq!(seen.events_of(&alice.did), ["account deleted"], "{:?}", seen.cut);
            assert!(
                seen.key_files.is_empty() && seen.blob_files == 0,
                "{:?}: {:?}",
                seen.cut,
                seen.key_files
            );
            seen.is_free("alice.test").await;
        })
        .await;
}
