//! Changes of identities under way, reserved keys, and keys that nobody claims.

use std::collections::BTreeSet;
use std::time::Duration;

use atproto::crypto::SigningKey;
use atproto::syntax::{Did, Handle};

use super::{Bench, kinds};
use crate::{NewAccount, Status, StoreError};

fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

fn brought(did: &Did, name: &str) -> NewAccount {
    NewAccount {
        did: did.clone(),
        handle: handle(name),
        email: None,
        password_hash: "hash".to_owned(),
        signing_key: SigningKey::generate().unwrap(),
        plc_operation: None,
        invite: None,
    }
}

fn key_files(bench: &Bench) -> BTreeSet<String> {
    let files = std::fs::read_dir(bench.data().join("keys")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_change_outlives_a_restart_and_is_announced_when_it_is_made() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let seen = bench.store.last_seq();
    let new = Some(handle("other.test"));
    bench.store.begin_identity_change(&alice.did, new.clone(), b"signed".to_vec()).await.unwrap();
    let second = bench.store.begin_identity_change(&alice.did, None, b"another".to_vec()).await.unwrap_err();
    assert!(matches!(second, StoreError::ChangeUnderWay), "{second:?}");

    let bench = bench.reopen().await;
    let changes = bench.store.identity_changes().await.unwrap();
    assert_eq!((changes.len(), &changes[0].handle), (1, &new));
    assert_eq!(changes[0].plc_operation, b"signed", "the same bytes are sent again");
    assert!(bench.events(seen).await.is_empty());
    for _ in 0..2 {
        bench.store.complete_identity_change(&alice.did).await.unwrap();
        assert_eq!(kinds(&bench.events(seen).await), ["identity"], "announced once");
    }
    let did = alice.did.clone();
    let account = bench.store.read(move |r| r.account_by_did(&did)).await.unwrap().unwrap();
    assert_eq!(account.handle, handle("other.test"));
    assert!(bench.store.identity_changes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_handle_on_its_way_is_nobody_elses_until_the_change_is_given_up() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let bob = bench.account("bobby").await;
    let wanted = handle("wanted.test");
    bench.store.begin_identity_change(&alice.did, Some(wanted.clone()), b"1".to_vec()).await.unwrap();
    let taken = bench.store.set_handle(&bob.did, wanted.clone()).await.unwrap_err();
    assert!(matches!(taken, StoreError::HandleTaken), "{taken:?}");
    let taken = bench.store.begin_identity_change(&bob.did, Some(wanted.clone()), b"2".to_vec()).await;
    assert!(matches!(taken, Err(StoreError::HandleTaken)), "{taken:?}");
    let stranger = Did::parse("did:web:stranger.example.com").unwrap();
    let taken = bench.store.begin_account(brought(&stranger, "wanted.test")).await.unwrap_err();
    assert!(matches!(taken, StoreError::HandleTaken), "{taken:?}");

    let seen = bench.store.last_seq();
    bench.store.abandon_identity_change(&alice.did).await.unwrap();
    assert!(bench.events(seen).await.is_empty(), "nothing has happened");
    bench.store.set_handle(&bob.did, wanted).await.unwrap();
}

#[tokio::test]
async fn removing_an_account_ends_its_change_and_remembers_its_did_web() {
    let bench = Bench::new();
    let did = Did::parse("did:web:webby.test").unwrap();
    bench.store.begin_account(brought(&did, "webby.test")).await.unwrap();
    bench.store.complete_account(&did, Status::Active).await.unwrap();
    bench.store.set_handle(&did, handle("other.test")).await.unwrap();
    let alice = bench.account("alice").await;
    let host = bench.store.set_handle(&alice.did, handle("webby.test")).await.unwrap_err();
    assert!(matches!(host, StoreError::HandleTaken), "another's documents are served there: {host:?}");
    bench.store.set_handle(&did, handle("webby.test")).await.unwrap();

    bench.store.begin_identity_change(&did, None, b"1".to_vec()).await.unwrap();
    bench.store.delete_account(&did).await.unwrap();
    assert!(bench.store.identity_changes().await.unwrap().is_empty());
    let ended = bench.store.read(move |r| r.web_has_ended(&did)).await.unwrap();
    assert!(ended);
    bench.store.set_handle(&alice.did, handle("webby.test")).await.unwrap();
}

#[tokio::test]
async fn a_reserved_key_is_the_same_for_a_did_and_becomes_its_accounts() {
    let bench = Bench::new();
    let did = Did::parse("did:web:mover.example.com").unwrap();
    let key = bench.store.reserve_key(Some(did.clone())).await.unwrap();
    let nobodys = bench.store.reserve_key(None).await.unwrap();
    assert_ne!(key, nobodys);
    let bench = bench.reopen().await;
    assert_eq!(bench.store.reserve_key(Some(did.clone())).await.unwrap(), key);
    assert_eq!(key_files(&bench).len(), 2);

    bench.store.begin_account(brought(&did, "mover.test")).await.unwrap();
    assert_eq!(bench.store.signing_key(&did).await.unwrap().public_key(), key);
    assert_eq!(key_files(&bench).len(), 3, "kept until there is an account");
    bench.store.complete_account(&did, Status::Deactivated).await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(key_files(&bench).len(), 2);
    assert_eq!(bench.store.signing_key(&did).await.unwrap().public_key(), key);

    bench.clock.advance(Duration::from_secs(31 * 24 * 3600));
    bench.store.maintain().await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(key_files(&bench).len(), 1, "nobody came for the other one");
}

#[tokio::test]
async fn reservations_have_a_bound() {
    let bench = Bench::new();
    let mut answers = Vec::new();
    for _ in 0..257 {
        answers.push(bench.store.reserve_key(None).await);
    }
    assert!(matches!(answers.pop(), Some(Err(StoreError::Busy { .. }))));
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_key_of_nobody_is_put_aside_and_comes_back_with_its_account() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let lost = bench.data().join("keys/0123.key");
    std::fs::write(&lost, [1; 32]).unwrap();
    let bench = bench.reopen().await;
    assert!(!lost.exists() && bench.data().join("keys/0123.key.unclaimed").exists());
    let of_alice = key_files(&bench).into_iter().find(|name| !name.starts_with("0123")).unwrap();
    let path = bench.data().join("keys").join(&of_alice);
    std::fs::rename(&path, path.with_file_name(format!("{of_alice}.unclaimed"))).unwrap();
    let bench = bench.reopen().await;
    assert_eq!(bench.store.signing_key(&alice.did).await.unwrap().public_key(), alice.public);
}
