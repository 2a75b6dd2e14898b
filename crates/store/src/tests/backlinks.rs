//! A second like, follow, repost or block takes the first one's place; and lexicons are remembered.

use std::time::Duration;

use atproto::cbor::{Map, Value, encode};
use atproto::cid::Cid;
use atproto::event::{Action, Frame, decode_frame};
use atproto::syntax::{Nsid, RecordKey};

use super::{Bench, Person, collect};
use crate::{Change, LEXICONS_KEPT, Op, Outcome, Record, Status};

const KEYS: [&str; 4] = ["3kznmn7xqxl22", "3kznmn7xqxm22", "3kznmn7xqxn22", "3kznmn7xqxo22"];
const BOB: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

fn about(subject: Value, note: i64) -> Record {
    let mut map = Map::new();
    map.insert("subject", subject);
    map.insert("note", note);
    let bytes = encode(&Value::Map(map));
    Record { cid: Cid::for_dag_cbor(&bytes), bytes, blobs: Vec::new() }
}

fn post(uri: &str) -> Value {
    let mut map = Map::new();
    map.insert("uri", uri);
    map.insert("cid", "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq");
    Value::Map(map)
}

fn op(collection: &str, rkey: &str, change: Change) -> Op {
    Op {
        collection: Nsid::parse(collection).unwrap(),
        rkey: RecordKey::parse(rkey).unwrap(),
        change,
        swap_record: None,
    }
}

async fn names(bench: &Bench, person: &Person) -> Vec<String> {
    let mut names: Vec<String> = bench.verified(person).await.into_keys().collect();
    names.sort();
    names
}

#[tokio::test]
async fn second_like_takes_the_place_of_the_first_in_one_commit() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let like = |rkey, note| {
        let uri = format!("at://{BOB}/app.bsky.feed.post/3kznmn7xqxl22");
        op("app.bsky.feed.like", rkey, Change::CreateInPlaceOf(about(post(&uri), note)))
    };
    bench.write(&alice, vec![like(KEYS[0], 1)]).await.unwrap();
    let repost = about(post(&format!("at://{BOB}/app.bsky.feed.post/3kznmn7xqxl22")), 1);
    bench
        .write(&alice, vec![op("app.bsky.feed.repost", KEYS[0], Change::CreateInPlaceOf(repost))])
        .await
        .unwrap();
    let seq = bench.store.last_seq();
    let second = bench.write(&alice, vec![like(KEYS[1], 2)]).await.unwrap();
    assert!(matches!(second.outcomes[..], [Outcome::Created(_)]), "one outcome for the one operation");
    let events = bench.events(seq).await;
    let Frame::Commit { event, .. } = decode_frame(&events[0].frame).unwrap() else { panic!() };
    let ops: Vec<_> = event.ops.iter().map(|op| (op.action, op.path.as_str())).collect();
    let path = |key: &str| format!("app.bsky.feed.like/{key}");
    assert_eq!(ops, [(Action::Delete, path(KEYS[0]).as_str()), (Action::Create, path(KEYS[1]).as_str())]);
    assert_eq!(names(&bench, &alice).await, [path(KEYS[1]), format!("app.bsky.feed.repost/{}", KEYS[0])]);
}

#[tokio::test]
async fn subject_of_a_changed_or_removed_record_is_free_again() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let carol = "did:web:carol.example.com";
    let follow = |rkey, whom: &str, change: fn(Record) -> Change| {
        op("app.bsky.graph.follow", rkey, change(about(whom.into(), 0)))
    };
    bench.write(&alice, vec![follow(KEYS[0], BOB, Change::CreateInPlaceOf)]).await.unwrap();
    // Now it is about Carol: Bob may be followed beside it, and a second one of Carol replaces it.
    bench.write(&alice, vec![follow(KEYS[0], carol, Change::Update)]).await.unwrap();
    bench.write(&alice, vec![follow(KEYS[1], BOB, Change::CreateInPlaceOf)]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 2);
    bench.write(&alice, vec![follow(KEYS[2], carol, Change::CreateInPlaceOf)]).await.unwrap();
    let path = |key: &str| format!("app.bsky.graph.follow/{key}");
    assert_eq!(names(&bench, &alice).await, [path(KEYS[1]), path(KEYS[2])]);
    bench.write(&alice, vec![op("app.bsky.graph.follow", KEYS[1], Change::Delete)]).await.unwrap();
    let made = bench.write(&alice, vec![follow(KEYS[3], BOB, Change::CreateInPlaceOf)]).await.unwrap();
    assert!(made.commit.is_some());
    assert_eq!(names(&bench, &alice).await, [path(KEYS[2]), path(KEYS[3])]);
    // Plain creation leaves others alone, and what is about nothing has no rivals.
    bench.write(&alice, vec![follow(KEYS[0], BOB, Change::Create)]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 3);
    bench.write(&alice, vec![follow("self", "nobody", Change::CreateInPlaceOf)]).await.unwrap();
    assert_eq!(bench.verified(&alice).await.len(), 4);
}

#[tokio::test]
async fn imported_likes_have_their_places_too() {
    let old = Bench::new();
    let alice = old.account("alice").await;
    let block = |rkey| op("app.bsky.graph.block", rkey, Change::Create(about(BOB.into(), 0)));
    old.write(&alice, vec![block(KEYS[0]), block(KEYS[1])]).await.unwrap();
    let car = collect(&old.store, &alice, None).await;
    let bench = Bench::new();
    bench.clock.advance(Duration::from_secs(1));
    let alice = bench.account("alice").await;
    bench.store.set_status(&alice.did, Status::Deactivated).await.unwrap();
    let mut import = bench.store.begin_import(&alice.did).await.unwrap();
    import.write(&car).await.unwrap();
    import.finish().await.unwrap();
    bench.store.set_status(&alice.did, Status::Active).await.unwrap();
    let again = op("app.bsky.graph.block", KEYS[2], Change::CreateInPlaceOf(about(BOB.into(), 0)));
    bench.write(&alice, vec![again]).await.unwrap();
    assert_eq!(names(&bench, &alice).await, [format!("app.bsky.graph.block/{}", KEYS[2])]);
}

#[tokio::test]
async fn lexicons_are_remembered_and_bounded() {
    let bench = Bench::new();
    let nsid = |i: u32| Nsid::parse(&format!("com.example.thing{i}")).unwrap();
    let ask = async |i| bench.store.read(move |r| r.lexicon(&nsid(i))).await.unwrap();
    bench.store.keep_lexicon(nsid(0), Some(vec![1])).await.unwrap();
    assert_eq!(ask(0).await.unwrap().body, Some(vec![1]));
    bench.store.keep_lexicon(nsid(0), None).await.unwrap();
    assert_eq!(ask(0).await.unwrap().body, None);
    assert_eq!(ask(1).await, None);
    for i in 1..=LEXICONS_KEPT {
        bench.clock.advance(Duration::from_millis(1));
        bench.store.keep_lexicon(nsid(i), Some(vec![2])).await.unwrap();
    }
    assert_eq!(ask(0).await, None, "the oldest went");
    assert!(ask(LEXICONS_KEPT).await.is_some());
}
