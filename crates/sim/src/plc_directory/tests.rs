//! The directory as clients meet it: what it takes, what it refuses, what it remembers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atproto::crypto::SigningKey;
use atproto::plc::{RECOVERY_WINDOW_US, genesis, sign_tombstone};
use atproto::syntax::Handle;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use platform::TrustedTime;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

/// 2026-11-23T02:34:56.789Z.
const NOW_US: u64 = 1_795_401_296_789_000;

struct World {
    folder: tempfile::TempDir,
    now_us: Arc<AtomicU64>,
    directory: Arc<Directory>,
}

fn open(folder: &tempfile::TempDir, now_us: &Arc<AtomicU64>) -> Arc<Directory> {
    let now_us = Arc::clone(now_us);
    let clock = Box::new(move || now_us.load(Ordering::Relaxed));
    Arc::new(Directory::open(&folder.path().join("plc.jsonl"), clock).unwrap())
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_us = Arc::new(AtomicU64::new(NOW_US));
        let directory = open(&folder, &now_us);
        Self { folder, now_us, directory }
    }

    fn reopen(&mut self) {
        self.directory = open(&self.folder, &self.now_us);
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = router(Arc::clone(&self.directory)).oneshot(request).await.unwrap();
        let code = response.status();
        (code, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (code, body) = self.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, did: &Did, body: Vec<u8>) -> (StatusCode, Value) {
        let (code, body) = self.ask(Request::post(format!("/{did}")).body(Body::from(body)).unwrap()).await;
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn now() -> TrustedTime {
    platform::sim::trusted_clock(NOW_US).0.now().unwrap()
}

struct Person {
    senior: SigningKey,
    junior: SigningKey,
    did: Did,
    first: Signed,
}

impl Person {
    fn new(handle: &str) -> Self {
        let (senior, junior) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let handle = Handle::parse(handle).unwrap();
        let keys = [senior.public_key(), junior.public_key()];
        let (did, first) =
            genesis(&keys, &junior.public_key(), &handle, "http://localhost:2583", &junior, now());
        Self { senior, junior, did, first }
    }

    fn renamed(&self, prev: &Signed, handle: &str, signer: &SigningKey) -> Signed {
        let mut state = prev.state().unwrap();
        state.set_handle(&Handle::parse(handle).unwrap());
        state.sign(Some(prev.cid()), signer, now())
    }
}

#[tokio::test]
async fn takes_a_new_did_and_resolves_it() {
    let world = World::new();
    let person = Person::new("alice.test");
    assert_eq!(world.post(&person.did, person.first.to_json()).await.0, StatusCode::OK);
    let (code, document) = world.get(&format!("/{}", person.did)).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(document["id"], person.did.as_str());
    assert_eq!(document["alsoKnownAs"][0], "at://alice.test");
    assert_eq!(document["verificationMethod"][0]["type"], "Multikey");
    assert_eq!(document["service"][0]["serviceEndpoint"], "http://localhost:2583");
    let (_, data) = world.get(&format!("/{}/data", person.did)).await;
    assert_eq!(data["rotationKeys"].as_array().unwrap().len(), 2);
    assert_eq!(data["services"]["atproto_pds"]["type"], "AtprotoPersonalDataServer");
    let (_, last) = world.get(&format!("/{}/log/last", person.did)).await;
    assert_eq!(last, serde_json::from_slice::<Value>(&person.first.to_json()).unwrap());
}

#[tokio::test]
async fn an_operation_sent_twice_is_taken_once() {
    let world = World::new();
    let person = Person::new("alice.test");
    for _ in 0..2 {
        assert_eq!(world.post(&person.did, person.first.to_json()).await.0, StatusCode::OK);
    }
    let (_, log) = world.get(&format!("/{}/log/audit", person.did)).await;
    assert_eq!(log.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn refuses_what_the_public_directory_refuses() {
    let world = World::new();
    let person = Person::new("alice.test");
    let other = Person::new("bob.test");
    let refused = [
        (&other.did, person.first.to_json()),
        (&person.did, b"{}".to_vec()),
        (&person.did, b"not json".to_vec()),
        (&person.did, person.renamed(&person.first, "carol.test", &person.junior).to_json()),
    ];
    for (did, body) in refused {
        let (code, answer) = world.post(did, body).await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    }
    world.post(&person.did, person.first.to_json()).await;
    let forged = person.renamed(&person.first, "mallory.test", &other.senior);
    assert_eq!(world.post(&person.did, forged.to_json()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/did:web:example.com").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("/{}", other.did)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_senior_key_takes_back_within_72_hours_and_not_later() {
    for (later_us, code) in [
        (RECOVERY_WINDOW_US - 1_000_000, StatusCode::OK),
        (RECOVERY_WINDOW_US + 2_000_000, StatusCode::BAD_REQUEST),
    ] {
        let world = World::new();
        let person = Person::new("alice.test");
        world.post(&person.did, person.first.to_json()).await;
        let stolen = person.renamed(&person.first, "mallory.test", &person.junior);
        assert_eq!(world.post(&person.did, stolen.to_json()).await.0, StatusCode::OK);
        world.now_us.fetch_add(later_us, Ordering::Relaxed);
        let back = person.renamed(&person.first, "alice2.test", &person.senior);
        assert_eq!(world.post(&person.did, back.to_json()).await.0, code);
        if code == StatusCode::OK {
            let (_, audit) = world.get(&format!("/{}/log/audit", person.did)).await;
            let nullified: Vec<bool> =
                audit.as_array().unwrap().iter().map(|entry| entry["nullified"].as_bool().unwrap()).collect();
            assert_eq!(nullified, [false, true, false]);
            let (_, log) = world.get(&format!("/{}/log", person.did)).await;
            assert_eq!(log.as_array().unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_tombstone_ends_a_did() {
    let world = World::new();
    let person = Person::new("alice.test");
    world.post(&person.did, person.first.to_json()).await;
    let end = sign_tombstone(person.first.cid(), &person.senior, now());
    assert_eq!(world.post(&person.did, end.to_json()).await.0, StatusCode::OK);
    assert_eq!(world.get(&format!("/{}", person.did)).await.0, StatusCode::GONE);
    assert_eq!(world.get(&format!("/{}/log/last", person.did)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let mut world = World::new();
    let person = Person::new("alice.test");
    world.post(&person.did, person.first.to_json()).await;
    let stolen = person.renamed(&person.first, "mallory.test", &person.junior);
    world.post(&person.did, stolen.to_json()).await;
    let back = person.renamed(&person.first, "alice2.test", &person.senior);
    world.post(&person.did, back.to_json()).await;
    let before = world.get(&format!("/{}/log/audit", person.did)).await;
    world.reopen();
    assert_eq!(world.get(&format!("/{}/log/audit", person.did)).await, before);
    let next = person.renamed(&back, "alice3.test", &person.junior);
    assert_eq!(world.post(&person.did, next.to_json()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn export_pages_through_everything_even_when_the_clock_stands_still() {
    let world = World::new();
    let people: Vec<Person> = (0..5).map(|number| Person::new(&format!("person{number}.test"))).collect();
    for person in &people {
        world.post(&person.did, person.first.to_json()).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let request = Request::get(format!("/export?count=2{after}")).body(Body::empty()).unwrap();
        let (code, body) = world.ask(request).await;
        assert_eq!(code, StatusCode::OK);
        let text = String::from_utf8(body).unwrap();
        let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Some(last) = entries.last() else { break };
        after = format!("&after={}", last["createdAt"].as_str().unwrap());
        seen.extend(entries.iter().map(|entry| entry["did"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, people.iter().map(|person| person.did.to_string()).collect::<Vec<_>>());
    assert_eq!(world.get("/export?count=0").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/export?after=soon").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/_health").await.0, StatusCode::OK);
}
