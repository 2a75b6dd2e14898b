//! The relays: called, watched, and not lost after a restore or a wrong clock.
//!
//! The relay here is a real server that behaves as the network's does in what matters: it dials on request, follows the
//! firehose from its last number, falls idle on `FutureCursor`, drops revisions that do not rise or lie too far ahead.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use atproto::{
    event::{Frame, decode_frame},
    tid::Tid,
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use control::status::RelayState;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpListener, net::TcpStream, sync::watch, task::JoinSet, time::timeout};
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::harness::{NOW_US, PATIENCE, Pds};

/// What relays tolerate of a revision's lead, microseconds.
const LEAD_US: u64 = 5 * 60 * 1_000_000;

#[derive(Debug, Default)]
struct Seen {
    crawls: usize,
    /// Number of the last event, as the relay keeps it.
    seq: u64,
    status: &'static str,
    revs: HashMap<String, Tid>,
    /// What a test makes it claim.
    claims: Option<u64>,
    banned: bool,
    /// Kinds of the events that came.
    kinds: Vec<&'static str>,
    dropped: usize,
}

#[derive(Clone)]
struct Relay {
    url: String,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Sender<u64>,
    /// Where the host is reached; a crawl waits for it.
    upstream: watch::Sender<Option<String>>,
    now_us: Arc<dyn Fn() -> u64 + Send + Sync>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Relay {
    async fn start(now_us: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            changed: watch::Sender::new(0),
            upstream: watch::Sender::new(None),
            now_us: Arc::new(now_us),
            tasks: Arc::default(),
        };
        let router = Router::new()
            .route("/xrpc/com.atproto.sync.requestCrawl", post(request_crawl))
            .route("/xrpc/com.atproto.sync.getHostStatus", get(host_status))
            .route("/xrpc/com.atproto.sync.getRepoStatus", get(repo_status))
            .with_state(relay.clone());
        relay.tasks.lock().unwrap().spawn(async move { axum::serve(listener, router).await.unwrap() });
        relay
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let result = change(&mut self.seen.lock().unwrap());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until what it has seen is so.
    async fn until(&self, what: &str, done: impl Fn(&Seen) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !done(&self.seen.lock().unwrap()) {
                changed.changed().await.unwrap();
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}: {:?}", self.seen.lock().unwrap());
    }

    fn follows(&self, pds: &Pds) {
        self.upstream.send_replace(Some(pds.url.strip_prefix("http://").unwrap().to_owned()));
    }

    async fn dial(self) {
        let mut upstream = self.upstream.subscribe();
        let address = upstream.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let cursor = self.seen.lock().unwrap().seq;
        let Ok(stream) = TcpStream::connect(&address).await else {
            return self.change(|seen| seen.status = "offline");
        };
        let url = format!("ws://{address}/xrpc/com.atproto.sync.subscribeRepos?cursor={cursor}");
        let Ok((mut socket, _)) = client_async(url, stream).await else {
            return self.change(|seen| seen.status = "offline");
        };
        self.change(|seen| seen.status = "active");
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else { continue };
            match decode_frame(&bytes).unwrap() {
                Frame::Error { error, .. } => {
                    assert_eq!(error, "FutureCursor");
                    return self.change(|seen| seen.status = "idle");
                }
                frame => self.take(frame),
            }
        }
        self.change(|seen| seen.status = "offline");
    }

    fn take(&self, frame: Frame) {
        let limit = (self.now_us)() + LEAD_US;
        self.change(|seen| {
            let (seq, kind, rev) = match frame {
                Frame::Commit { seq, event, .. } => (seq, "commit", Some((event.did, event.rev))),
                Frame::Sync { seq, event, .. } => (seq, "sync", Some((event.did, event.rev))),
                Frame::Identity { seq, .. } => (seq, "identity", None),
                Frame::Account { seq, .. } => (seq, "account", None),
                _ => return,
            };
            assert!(seq > seen.seq, "numbers rise");
            // The place moves on also over events that are dropped.
            seen.seq = seq;
            let Some((did, rev)) = rev else { return seen.kinds.push(kind) };
            let last = seen.revs.get(did.as_str());
            // A `#sync` may repeat what is known.
            let stale = last.is_some_and(|last| rev < *last || (rev == *last && kind == "commit"));
            if rev.micros() > limit || stale {
                seen.dropped += 1;
            } else {
                seen.kinds.push(kind);
                seen.revs.insert(did.to_string(), rev);
            }
        });
    }
}

fn refused(name: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": name, "message": "no" }))).into_response()
}

async fn request_crawl(State(relay): State<Relay>, Json(body): Json<Value>) -> Response {
    assert_eq!(body, json!({ "hostname": "localhost:2583" }));
    let dial = relay.change(|seen| {
        seen.crawls += 1;
        if seen.banned {
            return None;
        }
        let idle = seen.status != "active" && seen.status != "dialling";
        if idle {
            seen.status = "dialling";
        }
        Some(idle)
    });
    match dial {
        None => return refused("HostBanned"),
        Some(true) => drop(relay.tasks.lock().unwrap().spawn(relay.clone().dial())),
        Some(false) => {}
    }
    StatusCode::OK.into_response()
}

async fn host_status(State(relay): State<Relay>) -> Response {
    let seen = relay.seen.lock().unwrap();
    if seen.status.is_empty() && seen.claims.is_none() {
        return refused("HostNotFound");
    }
    let status = if seen.banned { "banned" } else { seen.status };
    let seq = seen.claims.unwrap_or(seen.seq);
    Json(json!({ "hostname": "localhost:2583", "seq": seq, "accountCount": 1, "status": status }))
        .into_response()
}

async fn repo_status(State(relay): State<Relay>, Query(query): Query<HashMap<String, String>>) -> Response {
    let did = &query["did"];
    match relay.seen.lock().unwrap().revs.get(did) {
        Some(rev) => Json(json!({ "did": did, "active": true, "rev": rev.to_string() })).into_response(),
        None => refused("RepoNotFound"),
    }
}

async fn start() -> (Pds, Relay) {
    let now_us = Arc::new(std::sync::OnceLock::<Arc<platform::sim::SimClock>>::new());
    let clock = Arc::clone(&now_us);
    let relay =
        Relay::start(move || clock.get().map_or(NOW_US, |sim| u64::try_from(sim.true_us()).unwrap())).await;
    let url = relay.url.clone();
    let pds = Pds::start_with(|config| config.crawlers = vec![url]).await;
    now_us.set(Arc::clone(&pds.sim)).unwrap();
    relay.follows(&pds);
    (pds, relay)
}

/// What must not happen can only be watched for; two rounds of the care fit in.
async fn for_a_while() {
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

async fn state(pds: &mut Pds, wanted: RelayState) -> control::status::RelayStatus {
    pds.wait_status(|s| s.relays.first().is_some_and(|relay| relay.state == wanted)).await.relays.remove(0)
}

#[tokio::test]
async fn a_relay_is_asked_at_the_start_again_after_events_and_when_the_network_comes_back() {
    let (mut pds, relay) = start().await;
    relay.until("asked at the start", |seen| seen.crawls == 1).await;
    let alice = pds.account("alice").await;
    relay.until("the account arrives", |seen| seen.kinds.len() == 4).await;
    pds.sim.advance(Duration::from_secs(61));
    let known = state(&mut pds, RelayState::Active).await;
    assert_eq!((known.name.as_str(), known.behind, known.advice), (&relay.url[7..], Some(0), None));
    pds.create_post(&alice, "news").await;
    assert_eq!(relay.seen.lock().unwrap().crawls, 1, "not more often than every 20 minutes");
    pds.sim.advance(Duration::from_secs(20 * 60));
    relay.until("asked after news", |seen| seen.crawls == 2).await;
    pds.network.send_replace(false);
    pds.sim.advance(Duration::from_secs(7 * 3600));
    for_a_while().await;
    assert_eq!(relay.seen.lock().unwrap().crawls, 2, "nobody is asked without a network");
    pds.network.send_replace(true);
    relay.until("asked at network-up", |seen| seen.crawls == 3).await;
    pds.stop().await;
    relay.until("the end is noticed", |seen| seen.status == "offline").await;
    let url = relay.url.clone();
    pds.serve(|config| config.crawlers = vec![url]).await;
    relay.follows(&pds);
    relay.until("asked at the next start", |seen| seen.crawls == 4).await;
}

#[tokio::test]
async fn nothing_is_asked_while_the_clock_is_not_trusted() {
    let (mut pds, relay) = start().await;
    relay.until("asked at the start", |seen| seen.crawls == 1).await;
    pds.stop().await;
    pds.sim.distrust();
    let url = relay.url.clone();
    pds.serve(|config| config.crawlers = vec![url]).await;
    pds.wait_status(|s| s.refuses_writes.is_some()).await;
    for_a_while().await;
    assert_eq!(relay.seen.lock().unwrap().crawls, 1);
    pds.sim.trust_at(NOW_US + 1_000_000);
    relay.until("asked with trust", |seen| seen.crawls == 2).await;
}

#[tokio::test]
async fn without_a_relay_the_status_has_none() {
    let mut pds = Pds::start().await;
    assert!(pds.wait_status(|_| true).await.relays.is_empty());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The story of the most frequent silence: a backup is restored, and the relay has seen more than it holds.
#[tokio::test]
async fn a_restored_backup_is_heard_again() {
    let (mut pds, relay) = start().await;
    let (url, data) = (relay.url.clone(), pds.data_dir());
    let alice = pds.account("alice").await;
    pds.create_post(&alice, "in the backup").await;
    relay.until("all is followed", |seen| seen.seq == 5).await;
    pds.stop().await;
    let backup = tempfile::TempDir::new().unwrap();
    copy(&data, backup.path());
    relay.until("the backup's end is known", |seen| seen.status == "offline").await;
    pds.serve(|config| config.crawlers = vec![url.clone()]).await;
    relay.follows(&pds);
    pds.sim.advance(Duration::from_secs(5));
    for i in 0..20 {
        pds.create_post(&alice, &format!("lost {i}")).await;
    }
    relay.until("all is followed", |seen| seen.seq == 25).await;
    pds.stop().await;
    relay.until("the end is noticed", |seen| seen.status == "offline").await;
    std::fs::remove_dir_all(&data).unwrap();
    copy(backup.path(), &data);

    relay.change(|seen| seen.kinds.clear());
    pds.sim.advance(Duration::from_secs(5));
    pds.serve(|config| config.crawlers = vec![url]).await;
    relay.follows(&pds);
    relay.until("announced anew", |seen| seen.kinds == ["identity", "account", "sync"]).await;
    let seq = relay.seen.lock().unwrap().seq;
    assert!(seq > 25 + 1_000, "far past what the relay had: {seq}");
    let written = pds.create_post(&alice, "heard").await;
    let rev: Tid = Tid::parse(written["commit"]["rev"].as_str().unwrap()).unwrap();
    relay.until("new posts arrive", |seen| seen.revs.get(&alice.did) == Some(&rev)).await;
    assert_eq!(relay.seen.lock().unwrap().dropped, 0);
    // What was left out stays left out.
    pds.stop().await;
    pds.serve(|_| {}).await;
    pds.create_post(&alice, "later").await;
    pds.wait_status(|s| s.last_seq == seq + 2).await;
}

#[tokio::test]
async fn a_relay_that_claims_the_impossible_is_not_followed() {
    for claim in [(1_u64 << 53) - 1, 1 << 53, u64::MAX, 1_000_000_000] {
        let relay = Relay::start(|| NOW_US).await;
        relay.change(|seen| (seen.claims, seen.status) = (Some(claim), "active"));
        let url = relay.url.clone();
        let mut pds = Pds::start_with(|config| config.crawlers = vec![url]).await;
        let known = state(&mut pds, RelayState::TooFarAhead).await;
        assert!(known.advice.unwrap().contains("Not followed"));
        assert_eq!(pds.status.borrow().last_seq, 0);
        pds.account("alice").await;
        pds.wait_status(|s| s.last_seq == 4).await;
    }
}

#[tokio::test]
async fn a_ban_is_told_in_words() {
    let (mut pds, relay) = start().await;
    relay.until("asked at the start", |seen| seen.crawls == 1).await;
    relay.change(|seen| seen.banned = true);
    pds.sim.advance(Duration::from_secs(3600));
    let known = state(&mut pds, RelayState::Banned).await;
    assert!(known.advice.unwrap().contains("operator"));
}

/// Signs a post with a clock that is ahead, then sets the clock right.
async fn sign_ahead(pds: &Pds, account: &crate::harness::Account, ahead: Duration) {
    let right = pds.sim.true_us();
    pds.sim.trust_at(u64::try_from(right).unwrap() + u64::try_from(ahead.as_micros()).unwrap());
    let login = json!({ "identifier": account.handle, "password": "hunter22" });
    let session = pds.post(None, "com.atproto.server.createSession", &login).await.ok();
    let access = session["accessJwt"].as_str().unwrap().to_owned();
    let then = crate::harness::Account { access, ..account.clone() };
    pds.create_post(&then, "from the future").await;
    pds.sim.trust_at(u64::try_from(right).unwrap() + 1_000);
}

#[tokio::test]
async fn a_repo_signed_in_the_future_heals_when_the_relay_dropped_it() {
    let (mut pds, relay) = start().await;
    let alice = pds.account("alice").await;
    relay.until("the account arrives", |seen| seen.kinds.len() == 4).await;
    sign_ahead(&pds, &alice, Duration::from_secs(86_400)).await;
    relay.until("dropped as too far ahead", |seen| seen.dropped == 1).await;
    let refused = pds.create(&alice, &crate::harness::post("now")).await;
    assert_eq!(refused.error(), crate::harness::error(503, "RepoNeedsRepair"));
    pds.sim.advance(Duration::from_secs(61));
    relay.until("announced anew", |seen| seen.kinds.len() == 5 && seen.kinds.last() == Some(&"sync")).await;
    pds.create_post(&alice, "healed").await;
    relay.until("posts arrive", |seen| seen.kinds.last() == Some(&"commit")).await;
    pds.wait_status(|s| s.repos_to_repair == 0).await;
    assert_eq!(relay.seen.lock().unwrap().dropped, 1);
}

#[tokio::test]
async fn a_future_that_a_relay_has_taken_is_waited_for_unless_the_owner_says_otherwise() {
    let (mut pds, relay) = start().await;
    let alice = pds.account("alice").await;
    relay.until("the account arrives", |seen| seen.kinds.len() == 4).await;
    sign_ahead(&pds, &alice, Duration::from_secs(240)).await;
    relay.until("taken: within the tolerance", |seen| seen.kinds.len() == 5).await;
    pds.sim.advance(Duration::from_secs(61));
    pds.wait_status(|s| s.repos_to_repair == 1).await;
    assert_eq!(pds.create(&alice, &crate::harness::post("now")).await.error().1, "RepoNeedsRepair");
    pds.heal.notify_one();
    pds.wait_status(|s| s.repos_to_repair == 0).await;
    pds.create_post(&alice, "the owner's will").await;
}
