//! The client against a small directory that follows the rules, fails on command, and loses answers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use atproto::{crypto::SigningKey, plc, syntax::Handle};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode as Status,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinSet};

use super::*;

const NOW_US: u64 = 1_795_401_296_000_000;

#[derive(Default)]
struct Directory {
    log: Mutex<Vec<LogEntry>>,
    asked: AtomicU32,
    /// Requests that fail with 503 before one is served.
    failing: AtomicU32,
    /// Takes operations but answers 503, as if the answer were lost.
    loses_answers: AtomicU32,
    large: AtomicU32,
}

fn takes_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

type Reply = (Status, Vec<u8>);

fn error(status: Status, text: &str) -> Reply {
    (status, format!(r#"{{"message":"{text}"}}"#).into_bytes())
}

impl Directory {
    fn read(&self, path: &str) -> Reply {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if takes_one(&self.failing) {
            return error(Status::SERVICE_UNAVAILABLE, "busy");
        }
        if takes_one(&self.large) {
            return (Status::OK, vec![b' '; DOCUMENT_BYTES_MAX + 1]);
        }
        let log = self.log.lock().unwrap();
        let Some(last) = log.last() else { return error(Status::NOT_FOUND, "DID not registered: x") };
        match (path, last.operation.state()) {
            ("audit", _) => (Status::OK, serde_json::to_vec(&*log).unwrap()),
            ("last", _) => (Status::OK, last.operation.to_json()),
            (_, Some(state)) => (Status::OK, DidDocument::from_plc(&last.did, &state).to_json()),
            (_, None) => error(Status::NOT_FOUND, "DID not available: x"),
        }
    }

    fn write(&self, did: &str, body: &[u8]) -> Reply {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if takes_one(&self.failing) {
            return error(Status::SERVICE_UNAVAILABLE, "busy");
        }
        let did = Did::parse(did).unwrap();
        let operation = Signed::from_json(body).unwrap();
        let mut log = self.log.lock().unwrap();
        match plc::check_next(&did, &log, &operation, NOW_US) {
            Ok(accepted) => {
                log.push(LogEntry {
                    did,
                    operation,
                    cid: accepted.cid.to_string(),
                    nullified: false,
                    created_at: "2026-11-23T00:00:00.000Z".parse().unwrap(),
                });
                if takes_one(&self.loses_answers) {
                    error(Status::BAD_GATEWAY, "lost")
                } else {
                    (Status::OK, b"OK".to_vec())
                }
            }
            Err(refused) => error(Status::BAD_REQUEST, &refused.to_string()),
        }
    }
}

async fn start(tasks: &mut JoinSet<()>) -> (Arc<Directory>, PlcClient) {
    let directory = Arc::new(Directory::default());
    type Shared = State<Arc<Directory>>;
    let router = Router::new()
        .route(
            "/{did}",
            get(async |State(d): Shared| d.read("document"))
                .post(async |State(d): Shared, Path(did): Path<String>, body: Bytes| d.write(&did, &body)),
        )
        .route("/{did}/log/last", get(async |State(d): Shared| d.read("last")))
        .route("/{did}/log/audit", get(async |State(d): Shared| d.read("audit")))
        .with_state(Arc::clone(&directory));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (directory, PlcClient::new(&url, false, platform::sim::trusted_clock(NOW_US).0).unwrap())
}

fn account() -> (Did, Signed) {
    let key = SigningKey::from_bytes(&[7; 32]).unwrap();
    let handle = Handle::parse("alice.test").unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    plc::genesis(&[key.public_key()], &key.public_key(), &handle, "https://pds.test", &key, now)
}

#[tokio::test]
async fn hands_in_and_reads_back() {
    let mut tasks = JoinSet::new();
    let (_directory, client) = start(&mut tasks).await;
    let (did, genesis) = account();
    assert!(matches!(client.document(&did).await, Err(PlcClientError::NotFound)));
    client.submit_json(&did, &genesis.to_json()).await.unwrap();
    assert_eq!(client.document(&did).await.unwrap().handle().unwrap(), "alice.test");
    assert_eq!(client.last(&did).await.unwrap(), genesis);
    let log = client.audit_log(&did).await.unwrap();
    assert!(plc::check_audit_log(&did, &log).unwrap().is_some());
}

#[tokio::test]
async fn handing_in_twice_is_no_error() {
    let mut tasks = JoinSet::new();
    let (directory, client) = start(&mut tasks).await;
    let (did, genesis) = account();
    directory.loses_answers.store(1, Ordering::Relaxed);
    client.submit(&did, &genesis).await.unwrap();
    client.submit(&did, &genesis).await.unwrap();
    assert_eq!(directory.log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn says_what_the_directory_refuses() {
    let mut tasks = JoinSet::new();
    let (_directory, client) = start(&mut tasks).await;
    let (_, genesis) = account();
    let other = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
    let error = client.submit(&other, &genesis).await.unwrap_err();
    assert!(
        matches!(&error, PlcClientError::Refused { status: 400, message } if message.contains("makes")),
        "{error}"
    );
    assert!(!error.is_temporary());
    let web = Did::parse("did:web:example.com").unwrap();
    assert!(matches!(client.document(&web).await, Err(PlcClientError::NotPlc)));
}

#[tokio::test]
async fn tries_again_a_few_times() {
    let mut tasks = JoinSet::new();
    let (directory, client) = start(&mut tasks).await;
    let (did, genesis) = account();
    directory.failing.store(2, Ordering::Relaxed);
    client.submit(&did, &genesis).await.unwrap();
    assert_eq!(directory.asked.load(Ordering::Relaxed), 3);
    directory.failing.store(10, Ordering::Relaxed);
    let error = client.document(&did).await.unwrap_err();
    assert!(matches!(error, PlcClientError::Unavailable { status: 503 }) && error.is_temporary());
    assert_eq!(directory.asked.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn refuses_large_answers_and_knows_the_end_of_a_did() {
    let mut tasks = JoinSet::new();
    let (directory, client) = start(&mut tasks).await;
    let (did, genesis) = account();
    client.submit(&did, &genesis).await.unwrap();
    directory.large.store(1, Ordering::Relaxed);
    let error = client.document(&did).await.unwrap_err();
    assert!(matches!(error, PlcClientError::Outbound(OutboundError::TooLarge { .. })));
    let key = SigningKey::from_bytes(&[7; 32]).unwrap();
    let now = platform::sim::trusted_clock(NOW_US).0.now().unwrap();
    client.submit(&did, &plc::sign_tombstone(genesis.cid(), &key, now)).await.unwrap();
    assert!(matches!(client.document(&did).await, Err(PlcClientError::Gone)));
}

#[tokio::test]
async fn an_absent_directory_is_a_temporary_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = PlcClient::new(&url, false, platform::sim::trusted_clock(NOW_US).0).unwrap();
    let error = client.document(&account().0).await.unwrap_err();
    assert!(matches!(error, PlcClientError::Outbound(_)) && error.is_temporary() && error.was_never_sent());
}

#[tokio::test]
async fn an_answer_that_was_lost_is_told_from_a_directory_that_is_absent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    // Takes one request, breaks off, and is gone afterwards.
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await.unwrap();
    });
    let client = PlcClient::new(&url, false, platform::sim::trusted_clock(NOW_US).0).unwrap();
    let (did, genesis) = account();
    let error = client.submit(&did, &genesis).await.unwrap_err();
    assert!(error.is_temporary() && !error.was_never_sent(), "{error:?}");
}

#[test]
fn takes_only_safe_addresses() {
    let make = |url: &str, dev_mode| PlcClient::new(url, dev_mode, platform::sim::trusted_clock(NOW_US).0);
    for good in ["https://plc.directory", "http://localhost:2582", "http://127.0.0.1:1/", "http://[::1]:80"] {
        assert!(make(good, false).is_ok(), "{good}");
    }
    for bad in [
        "plc.directory",
        "http://plc.directory",
        "ftp://x",
        "https://u:p@x",
        "https://x?y",
        "http://localhost.evil.com",
    ] {
        assert!(matches!(make(bad, false), Err(PlcClientError::BadUrl { .. })), "{bad}");
    }
    assert!(make("http://plc.test:80", true).is_ok());
}
