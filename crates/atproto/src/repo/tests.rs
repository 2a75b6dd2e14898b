//! Commits, whole repositories and commit events: sound ones verify, and every lie or gap is refused.

use super::*;
use crate::car;
use crate::cbor::{Map, Value, encode};
use crate::cid::Cid;
use crate::crypto::{PublicKey, SigningKey};
use crate::event::{Action, CommitEvent, OPS_MAX, RepoOp};
use crate::mst::{Tree, layer_of};
use crate::syntax::Did;
use crate::tid::Tid;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// A repository as a store keeps one.
struct Repo {
    did: Did,
    key: SigningKey,
    tree: Tree,
    nodes: HashMap<Cid, Bytes>,
    records: BTreeMap<String, (Cid, Bytes)>,
    head: Option<(Cid, Bytes, Tid)>,
    micros: u64,
}

fn record(text: &str) -> (Cid, Bytes) {
    let mut map = Map::new();
    map.insert("$type", "app.bsky.feed.post");
    map.insert("text", text);
    let bytes = encode(&Value::Map(map));
    (Cid::for_dag_cbor(&bytes), bytes.into())
}

impl Repo {
    fn new() -> Self {
        Self {
            did: Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap(),
            key: SigningKey::from_bytes(&[7; 32]).unwrap(),
            tree: Tree::empty(),
            nodes: HashMap::new(),
            records: BTreeMap::new(),
            head: None,
            micros: 1_790_000_000_000_000,
        }
    }

    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Applies changes (`None` deletes) in one commit and gives its event.
    fn commit(&mut self, changes: &[(&str, Option<&str>)]) -> CommitEvent {
        let prev_data = self.tree.root();
        let mut ops = Vec::new();
        let mut blocks = Vec::new();
        for (path, text) in changes {
            let (prev, cid) = match text {
                Some(text) => {
                    let (cid, block) = record(text);
                    blocks.push((cid, block.clone()));
                    self.records.insert((*path).to_owned(), (cid, block));
                    (self.tree.insert(&self.nodes, path, cid).unwrap(), Some(cid))
                }
                None => {
                    self.records.remove(*path);
                    (self.tree.delete(&self.nodes, path).unwrap(), None)
                }
            };
            let action = match (prev, cid) {
                (None, _) => Action::Create,
                (Some(_), Some(_)) => Action::Update,
                (Some(_), None) => Action::Delete,
            };
            ops.push(RepoOp { action, path: (*path).to_owned(), cid, prev });
        }
        let committed = self.tree.commit();
        self.nodes.extend(committed.new_blocks.iter().cloned());
        self.micros += 1;
        let rev = Tid::from_micros(self.micros, 0);
        let (commit, block) = sign(&self.did, committed.root, rev, &self.key);
        let since = self.head.replace((commit, block.clone(), rev)).map(|(_, _, rev)| rev);
        let paths: Vec<&str> = changes.iter().map(|(path, _)| *path).collect();
        let proof = self.tree.proof(&self.nodes, &paths).unwrap();
        let all = std::iter::once((commit, block)).chain(proof).chain(committed.new_blocks).chain(blocks);
        let all: Vec<(Cid, Bytes)> = all.collect();
        let blocks = car::to_vec(&[commit], all.iter().map(|(cid, block)| (*cid, &block[..]))).into();
        CommitEvent { did: self.did.clone(), commit, rev, since, prev_data, ops, blocks }
    }

    fn export(&self) -> Vec<u8> {
        let (commit, block, _) = self.head.clone().unwrap();
        let records = self.records.values().map(|(cid, block)| (*cid, &block[..]));
        let nodes = self.nodes.iter().map(|(cid, block)| (*cid, &block[..]));
        car::to_vec(&[commit], std::iter::once((commit, &block[..])).chain(nodes).chain(records))
    }
}

fn small() -> (Repo, CommitEvent) {
    let mut repo = Repo::new();
    repo.commit(&[("app.bsky.feed.post/3laaa", Some("one")), ("app.bsky.feed.post/3laab", Some("two"))]);
    let event = repo.commit(&[
        ("app.bsky.feed.post/3laac", Some("three")),
        ("app.bsky.feed.post/3laaa", Some("changed")),
        ("app.bsky.feed.post/3laab", None),
    ]);
    (repo, event)
}

fn check_event(repo: &Repo, event: &CommitEvent) -> Result<Commit, EventFault> {
    verify_commit_event(event, &repo.public_key())
}

#[test]
fn commit_round_trips_and_verifies() {
    let repo = Repo::new();
    let (data, rev) = (Cid::for_dag_cbor(b"tree"), Tid::from_micros(1_790_000_000_000_000, 3));
    let (cid, block) = sign(&repo.did, data, rev, &repo.key);
    assert!(cid.names(&block));
    let commit = decode_commit(&block).unwrap();
    assert_eq!((&commit.did, commit.data, commit.rev, commit.prev), (&repo.did, data, rev, None));
    verify(&commit, &repo.public_key()).unwrap();
    let fields = crate::cbor::decode(&block).unwrap();
    assert_eq!(fields.as_map().unwrap().get("prev"), Some(&Value::Null), "prev must exist");
    assert_eq!(fields.as_map().unwrap().get("version"), Some(&Value::Int(3)));

    let other = SigningKey::from_bytes(&[8; 32]).unwrap().public_key();
    assert!(verify(&commit, &other).is_err());
    for tampered in [
        Commit { rev: rev.next_after().unwrap(), ..commit.clone() },
        Commit { data: Cid::for_dag_cbor(b"other"), ..commit.clone() },
        Commit { prev: Some(data), ..commit.clone() },
    ] {
        assert!(verify(&tampered, &repo.public_key()).is_err());
    }
}

#[test]
fn commit_of_another_version_or_shape_is_refused() {
    let repo = Repo::new();
    let rev = Tid::from_micros(1_790_000_000_000_000, 3);
    let (_, block) = sign(&repo.did, Cid::for_dag_cbor(b"tree"), rev, &repo.key);
    let mut version_2 = block.to_vec();
    *version_2.last_mut().unwrap() = 2;
    assert_eq!(decode_commit(&version_2), Err(CommitError::Version(2)));
    let with = |change: &dyn Fn(&mut Map)| {
        let Value::Map(mut map) = crate::cbor::decode(&block).unwrap() else { panic!() };
        change(&mut map);
        decode_commit(&encode(&Value::Map(map))).unwrap_err()
    };
    assert!(matches!(with(&|map| drop(map.remove("prev"))), CommitError::Cbor(_)));
    assert!(matches!(with(&|map| drop(map.insert("did", "plc"))), CommitError::Did(_)));
    assert!(matches!(with(&|map| drop(map.insert("rev", "now"))), CommitError::Rev(_)));
    assert_eq!(with(&|map| drop(map.insert("sig", Value::Bytes(vec![0; 63])))), CommitError::SignatureLength);
    for length in 0..block.len() {
        assert!(decode_commit(&block[..length]).is_err());
    }
}

#[test]
fn whole_repository_verifies_in_any_block_order() {
    let (repo, _) = small();
    let car = repo.export();
    let mut keys = Vec::new();
    let found =
        verify_repo(&car[..], &repo.did, &repo.public_key(), |key, cid| keys.push((key.to_owned(), cid)))
            .unwrap();
    assert_eq!(found.records, 2);
    assert_eq!(Some(found.commit.data), repo.tree.root());
    assert!(keys.iter().map(|(key, _)| key).eq(repo.records.keys()));

    let mut blocks: Vec<_> = car::Reader::new(&car[..]).unwrap().map(Result::unwrap).collect();
    blocks.reverse();
    let backwards = car::to_vec(&[found.head], blocks.iter().map(|(cid, block)| (*cid, &block[..])));
    assert_eq!(verify_repo(&backwards[..], &repo.did, &repo.public_key(), |_, _| {}).unwrap(), found);
}

#[test]
fn repository_with_any_needed_block_missing_is_refused() {
    let (repo, _) = small();
    let car = repo.export();
    let blocks: Vec<_> = car::Reader::new(&car[..]).unwrap().map(Result::unwrap).collect();
    let head = repo.head.as_ref().unwrap().0;
    let mut refused = 0;
    for lost in 0..blocks.len() {
        let rest = blocks.iter().enumerate().filter(|(at, _)| *at != lost);
        let car = car::to_vec(&[head], rest.map(|(_, (cid, block))| (*cid, &block[..])));
        match verify_repo(&car[..], &repo.did, &repo.public_key(), |_, _| {}) {
            Ok(found) => assert!(found.strangers < 2, "only a node of the first commit may be missing"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 4, "{refused}");
}

#[test]
fn repository_of_another_account_or_key_is_refused() {
    let (repo, _) = small();
    let car = repo.export();
    let other = Did::parse("did:web:example.com").unwrap();
    let found = verify_repo(&car[..], &other, &repo.public_key(), |_, _| {});
    assert!(matches!(found, Err(RepoFault::OtherDid(_))));
    let key = SigningKey::from_bytes(&[8; 32]).unwrap().public_key();
    assert!(matches!(verify_repo(&car[..], &repo.did, &key, |_, _| {}), Err(RepoFault::Signature(_))));
}

#[test]
fn events_of_a_whole_life_verify() {
    let mut repo = Repo::new();
    let first = repo.commit(&[]);
    assert_eq!((first.prev_data, first.since), (None, None));
    check_event(&repo, &first).unwrap();
    let mut last = first;
    let paths: Vec<String> = (0..60).map(|n| format!("app.bsky.feed.post/3l{n:04}")).collect();
    let steps = [0..40, 20..60, 0..60, 5..6, 0..60].into_iter().enumerate();
    for (step, range) in steps {
        let text = format!("step {step}");
        let held = repo.records.clone();
        let changes: Vec<(&str, Option<&str>)> = paths[range]
            .iter()
            .filter(|path| step != 2 && step != 4 || held.contains_key(*path))
            .map(|path| (path.as_str(), (step != 2 && step != 4).then_some(text.as_str())))
            .collect();
        let event = repo.commit(&changes);
        assert_eq!(event.since, Some(last.rev));
        let commit = check_event(&repo, &event).unwrap();
        assert_eq!(Some(commit.data), repo.tree.root());
        last = event;
    }
    assert!(repo.records.is_empty());
}

#[test]
fn event_with_any_block_missing_is_refused() {
    let (repo, event) = small();
    let blocks: Vec<_> = car::Reader::new(&event.blocks[..]).unwrap().map(Result::unwrap).collect();
    for lost in 0..blocks.len() {
        let rest = blocks.iter().enumerate().filter(|(at, _)| *at != lost);
        let blocks = car::to_vec(&[event.commit], rest.map(|(_, (cid, block))| (*cid, &block[..]))).into();
        assert!(
            check_event(&repo, &CommitEvent { blocks, ..event.clone() }).is_err(),
            "without block {lost}"
        );
    }
}

#[test]
fn event_that_lies_is_refused() {
    let (repo, event) = small();
    let refuse = |change: &dyn Fn(&mut CommitEvent)| {
        let mut event = event.clone();
        change(&mut event);
        check_event(&repo, &event).unwrap_err()
    };
    assert!(matches!(refuse(&|event| event.prev_data = None), EventFault::OtherPrevious { .. }));
    assert!(matches!(refuse(&|event| event.rev = event.rev.next_after().unwrap()), EventFault::OtherCommit));
    assert!(matches!(refuse(&|event| event.commit = Cid::for_dag_cbor(b"")), EventFault::Roots));
    assert!(matches!(refuse(&|event| drop(event.ops.pop())), EventFault::OtherPrevious { .. }));
    assert!(matches!(refuse(&|event| event.ops[2].prev = None), EventFault::Invert(InvertError::Shape(_))));
    assert!(matches!(
        refuse(&|event| event.ops[0].prev = event.ops[0].cid),
        EventFault::Invert(InvertError::Shape(_))
    ));
    assert!(matches!(
        refuse(&|event| event.ops[0].cid = event.ops[1].cid),
        EventFault::Invert(InvertError::Disagrees(_))
    ));
    assert!(matches!(refuse(&|event| event.ops[0].cid = Some(Cid::for_raw(b"x"))), EventFault::NoRecord(_)));
    assert!(matches!(
        refuse(&|event| event.ops[1].prev = event.ops[0].cid),
        EventFault::OtherPrevious { .. }
    ));
    assert!(matches!(
        refuse(&|event| event.ops.push(event.ops[0].clone())),
        EventFault::Invert(InvertError::Twice(_))
    ));
    assert!(matches!(
        refuse(&|event| event.ops = vec![event.ops[0].clone(); OPS_MAX + 1]),
        EventFault::TooLarge
    ));
    let other = SigningKey::from_bytes(&[8; 32]).unwrap().public_key();
    assert!(matches!(verify_commit_event(&event, &other), Err(EventFault::Signature(_))));
}

#[test]
fn deepest_and_shallowest_keys_are_undone_too() {
    let mut repo = Repo::new();
    let keys: Vec<String> = (0..4000).map(|n| format!("com.example.thing/{n}")).collect();
    let changes: Vec<_> = keys[..200].iter().map(|key| (key.as_str(), Some("x"))).collect();
    let event = repo.commit(&changes);
    check_event(&repo, &event).unwrap();
    let highest = keys.iter().max_by_key(|key| layer_of(key)).unwrap();
    assert!(layer_of(highest) >= 5);
    for changes in [[(highest.as_str(), Some("top"))], [(highest.as_str(), None)]] {
        let event = repo.commit(&changes);
        check_event(&repo, &event).unwrap();
    }
}
