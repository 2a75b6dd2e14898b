//! Records and their lexicons: those known from the start, and those that somebody published.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atproto::{
    car,
    cid::Cid,
    crypto::SigningKey,
    data::json_to_cbor,
    mst::Tree,
    plc, repo,
    syntax::{Did, Handle},
    tid::Tid,
};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use platform::time::TrustedTime;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    dns::Dns,
    harness::{Account, Answer, NOW_US, PATIENCE, Pds, error, post, rkey_of},
};

const NOTE: &str = "com.example.things.note";
const CREATE: &str = "com.atproto.repo.createRecord";

async fn create(pds: &Pds, account: &Account, validate: Option<bool>, record: Value) -> Answer {
    let mut body = json!({ "repo": account.did, "collection": record["$type"], "record": record });
    if let Some(validate) = validate {
        body["validate"] = json!(validate);
    }
    pds.post(Some(&account.access), CREATE, &body).await
}

#[tokio::test]
async fn known_types_are_checked_to_their_depth() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    assert_eq!(create(&pds, &alice, None, post("x")).await.ok()["validationStatus"], "valid");
    let mut wrong = post("x");
    wrong["facets"] = json!([{ "index": { "byteStart": 0 }, "features": [] }]);
    let refused = create(&pds, &alice, None, wrong.clone()).await;
    assert_eq!(refused.error(), error(400, "InvalidRequest"));
    assert!(refused.json()["message"].as_str().unwrap().contains("facets/0/index/byteEnd"));
    let unchecked = create(&pds, &alice, Some(false), wrong).await.ok();
    assert!(unchecked.get("validationStatus").is_none());
    // Its name must be a TID; a profile's must be `self`.
    let named = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "rkey": "named", "record": post("x") });
    assert_eq!(pds.post(Some(&alice.access), CREATE, &named).await.error(), error(400, "InvalidRequest"));
    let profile = json!({ "$type": "app.bsky.actor.profile" });
    assert_eq!(create(&pds, &alice, None, profile).await.error(), error(400, "InvalidRequest"));
    let legacy = json!({ "$type": NOTE, "old": { "cid": "bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq", "mimeType": "image/png" } });
    for validate in [None, Some(false)] {
        assert_eq!(
            create(&pds, &alice, validate, legacy.clone()).await.error(),
            error(400, "InvalidRequest")
        );
    }
}

#[tokio::test]
async fn second_like_takes_the_place_of_the_first_unless_unchecked() {
    let pds = Pds::start().await;
    let alice = pds.account("alice").await;
    let target = pds.create_post(&alice, "likeable").await;
    let like = json!({ "$type": "app.bsky.feed.like", "createdAt": "2026-11-23T02:34:56.789Z",
        "subject": { "uri": target["uri"], "cid": target["cid"] } });
    let likes = async || {
        let params = [("repo", alice.did.as_str()), ("collection", "app.bsky.feed.like")];
        let page = pds.get("com.atproto.repo.listRecords", &params).await.ok();
        page["records"].as_array().unwrap().iter().map(rkey_of).collect::<Vec<_>>()
    };
    create(&pds, &alice, None, like.clone()).await.ok();
    let second = create(&pds, &alice, None, like.clone()).await.ok();
    assert_eq!(likes().await, [rkey_of(&second)]);
    let third = create(&pds, &alice, Some(false), like.clone()).await.ok();
    assert_eq!(likes().await, [rkey_of(&third), rkey_of(&second)]);
    let write = json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.like", "value": like });
    let body = json!({ "repo": alice.did, "writes": [write] });
    pds.post(Some(&alice.access), "com.atproto.repo.applyWrites", &body).await.ok();
    assert_eq!(likes().await.len(), 3, "only createRecord cleans up, as in the reference");
    let last = create(&pds, &alice, Some(true), like).await.ok();
    assert_eq!(likes().await, [rkey_of(&last)]);
}

/// An account elsewhere that publishes one lexicon; its server counts its answers.
struct Publisher {
    did: Did,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Elsewhere {
    proof: Arc<Vec<u8>>,
    status: StatusCode,
    asked: Arc<AtomicUsize>,
}

async fn get_record(State(elsewhere): State<Elsewhere>) -> impl IntoResponse {
    elsewhere.asked.fetch_add(1, Ordering::Relaxed);
    (elsewhere.status, [("content-type", "application/vnd.ipld.car")], elsewhere.proof.to_vec())
}

fn now() -> TrustedTime {
    platform::sim::trusted_clock(NOW_US).0.now().unwrap()
}

/// The proof of one record in a repo of one record.
fn proof(did: &Did, key: &SigningKey, path: &str, record: &Value) -> Vec<u8> {
    let record = json_to_cbor(&serde_json::to_vec(record).unwrap()).unwrap();
    let cid = Cid::for_dag_cbor(&record);
    let mut tree = Tree::empty();
    let nothing = std::collections::HashMap::<Cid, bytes::Bytes>::new();
    tree.insert(&nothing, path, cid).unwrap();
    let tree = tree.commit();
    let (head, commit) = repo::sign(did, tree.root, Tid::at(now(), 1), key);
    let nodes = tree.new_blocks.iter().map(|(cid, block)| (*cid, &block[..]));
    car::to_vec(&[head], std::iter::once((head, &commit[..])).chain(nodes).chain([(cid, &record[..])]))
}

/// Puts an account into the directory whose server has `lexicon`, signed by its key or another.
async fn publish(
    pds: &Pds,
    tasks: &mut JoinSet<()>,
    lexicon: &Value,
    status: u16,
    forged: bool,
) -> Publisher {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let handle = Handle::parse("things.example.com").unwrap();
    let (did, genesis) = plc::genesis(&[key.public_key()], &key.public_key(), &handle, &url, &key, now());
    pds.directory.put(&did, genesis);
    let path = format!("com.atproto.lexicon.schema/{}", lexicon["id"].as_str().unwrap());
    let proof = proof(&did, if forged { &other } else { &key }, &path, lexicon);
    let asked = Arc::new(AtomicUsize::new(0));
    let state =
        Elsewhere { proof: Arc::new(proof), status: status.try_into().unwrap(), asked: Arc::clone(&asked) };
    let router = Router::new().route("/xrpc/com.atproto.sync.getRecord", get(get_record)).with_state(state);
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Publisher { did, asked }
}

fn note_lexicon() -> Value {
    json!({ "$type": "com.atproto.lexicon.schema", "lexicon": 1, "id": NOTE, "defs": { "main": {
        "type": "record", "key": "tid", "record": { "type": "object", "required": ["text"],
            "properties": { "text": { "type": "string", "maxGraphemes": 10 } } } } } })
}

fn note(text: &Value) -> Value {
    json!({ "$type": NOTE, "text": text })
}

async fn with_dns(tasks: &mut JoinSet<()>) -> (Pds, Dns) {
    let dns = Dns::default();
    let address = dns.start(tasks).await;
    let pds = Pds::start_with(|config| config.dns_servers = vec![address]).await;
    (pds, dns)
}

/// Writes notes until the status is as wished: the lexicon is looked for beside the writes.
async fn until_status(pds: &Pds, account: &Account, status: &str) {
    let wait = async {
        while create(pds, account, None, note(&json!("x"))).await.ok()["validationStatus"] != status {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

#[tokio::test]
async fn published_lexicon_is_found_proven_and_remembered() {
    let mut tasks = JoinSet::new();
    let (mut pds, dns) = with_dns(&mut tasks).await;
    let alice = pds.account("alice").await;
    let publisher = publish(&pds, &mut tasks, &note_lexicon(), 200, false).await;
    dns.set("_lexicon.things.example.com", &["v=1", &format!("did={}", publisher.did)]);

    let first = create(&pds, &alice, None, note(&json!(5))).await.ok();
    assert_eq!(first["validationStatus"], "unknown", "nobody waits for the internet");
    until_status(&pds, &alice, "valid").await;
    assert_eq!(create(&pds, &alice, None, note(&json!(5))).await.error(), error(400, "InvalidRequest"));
    let long = json!("much too long");
    assert_eq!(create(&pds, &alice, Some(true), note(&long)).await.error(), error(400, "InvalidRequest"));
    assert!(create(&pds, &alice, Some(false), note(&long)).await.ok().get("validationStatus").is_none());
    assert_eq!(publisher.asked.load(Ordering::Relaxed), 1);

    // After a restart it comes from the store, with no question to anyone.
    let asked = dns.asked();
    pds.restart().await;
    until_status(&pds, &alice, "valid").await;
    assert_eq!((publisher.asked.load(Ordering::Relaxed), dns.asked()), (1, asked));
}

#[tokio::test]
async fn write_that_demands_the_check_waits_for_the_lexicon() {
    let mut tasks = JoinSet::new();
    let (pds, dns) = with_dns(&mut tasks).await;
    let alice = pds.account("alice").await;
    let publisher = publish(&pds, &mut tasks, &note_lexicon(), 200, false).await;
    dns.set("_lexicon.things.example.com", &[&format!("did={}", publisher.did)]);
    let made = create(&pds, &alice, Some(true), note(&json!("x"))).await.ok();
    assert_eq!(made["validationStatus"], "valid");
}

#[tokio::test]
async fn lexicon_of_an_account_that_is_hosted_here_is_read_here() {
    let mut tasks = JoinSet::new();
    let (pds, dns) = with_dns(&mut tasks).await;
    let alice = pds.account("alice").await;
    let body = json!({ "repo": alice.did, "collection": "com.atproto.lexicon.schema", "rkey": NOTE, "record": note_lexicon() });
    assert_eq!(pds.post(Some(&alice.access), CREATE, &body).await.ok()["validationStatus"], "valid");
    dns.set("_lexicon.things.example.com", &[&format!("did={}", alice.did)]);
    let made = create(&pds, &alice, Some(true), note(&json!("x"))).await.ok();
    assert_eq!(made["validationStatus"], "valid");
}

#[tokio::test]
async fn what_is_not_proven_is_not_believed_and_not_asked_for_ever() {
    let mut tasks = JoinSet::new();
    let mut other = note_lexicon();
    other["id"] = json!("com.example.things.other");
    let mut nonsense = note_lexicon();
    nonsense["defs"]["main"]["type"] = json!("mystery");
    for (lexicon, status, forged) in [
        (note_lexicon(), 200, true),
        (note_lexicon(), 404, false),
        (other, 200, false),
        (nonsense, 200, false),
    ] {
        let (pds, dns) = with_dns(&mut tasks).await;
        let mut alice = pds.account("alice").await;
        let publisher = publish(&pds, &mut tasks, &lexicon, status, forged).await;
        dns.set("_lexicon.things.example.com", &[&format!("did={}", publisher.did)]);
        for _ in 0..3 {
            let refused = create(&pds, &alice, Some(true), note(&json!("x"))).await;
            assert_eq!(refused.error(), error(400, "InvalidRequest"), "{lexicon}");
            assert_eq!(create(&pds, &alice, None, note(&json!(5))).await.ok()["validationStatus"], "unknown");
        }
        assert_eq!(publisher.asked.load(Ordering::Relaxed), 1, "{lexicon}");
        // Later it is tried again.
        pds.sim.advance(Duration::from_secs(3601));
        let session = pds.call(&alice.refresh, "com.atproto.server.refreshSession").await.ok();
        session["accessJwt"].as_str().unwrap().clone_into(&mut alice.access);
        let refused = create(&pds, &alice, Some(true), note(&json!("x"))).await;
        assert_eq!(refused.error(), error(400, "InvalidRequest"));
        assert_eq!(publisher.asked.load(Ordering::Relaxed), 2, "{lexicon}");
    }
}

#[tokio::test]
async fn name_that_nobody_published_is_unknown() {
    let mut tasks = JoinSet::new();
    let (pds, dns) = with_dns(&mut tasks).await;
    let alice = pds.account("alice").await;
    for _ in 0..3 {
        let refused = create(&pds, &alice, Some(true), note(&json!("x"))).await;
        assert_eq!(refused.error(), error(400, "InvalidRequest"));
    }
    assert_eq!(dns.asked(), 1);
    create(&pds, &alice, None, note(&json!("x"))).await.ok();
}
