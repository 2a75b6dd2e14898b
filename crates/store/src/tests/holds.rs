//! What the operator hides stays hidden, and comes back whole.

use std::path::PathBuf;

use atproto::event::AccountStatus;
use bytes::Bytes;

use super::*;
use crate::{Hold, HoldKind, NewRefreshToken};

fn hold(kind: HoldKind) -> Option<Hold> {
    Some(Hold { kind, reference: "case 7".to_owned() })
}

/// The states that `#account` events after a number announce; `None` for active.
async fn announced(bench: &Bench, after: u64) -> Vec<Option<AccountStatus>> {
    let mut states = Vec::new();
    for event in bench.events(after).await {
        if let Frame::Account { event, .. } = decode_frame(&event.frame).unwrap() {
            states.push(event.inactive);
        }
    }
    states
}

#[tokio::test]
async fn hold_covers_the_owners_choice_and_uncovers_it_again() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let start = bench.store.last_seq();
    let token = NewRefreshToken {
        id: "t".to_owned(),
        did: alice.did.clone(),
        expires_at_us: NOW_US * 2,
        app_password: None,
    };
    bench.store.insert_refresh_token(token).await.unwrap();

    let held = bench.store.set_hold(&alice.did, hold(HoldKind::Takedown)).await.unwrap();
    assert_eq!((held.status, held.hold), (Status::Takendown, hold(HoldKind::Takedown)));
    let now = bench.config.clock.now().unwrap();
    let rotated = bench.store.rotate_refresh_token("t".to_owned(), "u".to_owned(), NOW_US * 2, now).await;
    assert!(matches!(rotated, Err(StoreError::SessionOver)), "{rotated:?}");
    let written = bench.write(&alice, vec![create("a", "1")]).await;
    assert!(matches!(written, Err(StoreError::AccountInactive { status: Status::Takendown })));

    // The owner switches the account off underneath: nobody sees a difference.
    let off = bench.store.set_status(&alice.did, Status::Deactivated).await.unwrap();
    assert_eq!(off.status, Status::Takendown);
    bench.store.set_hold(&alice.did, hold(HoldKind::Suspension)).await.unwrap();
    let bench = bench.reopen().await;
    let free = bench.store.set_hold(&alice.did, None).await.unwrap();
    assert_eq!((free.status, free.hold), (Status::Deactivated, None));
    assert_eq!(free.deactivated_at_us, Some(NOW_US));
    let on = bench.store.set_status(&alice.did, Status::Active).await.unwrap();
    assert_eq!((on.status, on.deactivated_at_us), (Status::Active, None));
    assert_eq!(
        announced(&bench, start).await,
        [
            Some(AccountStatus::Takendown),
            Some(AccountStatus::Suspended),
            Some(AccountStatus::Deactivated),
            None
        ]
    );
    bench.write(&alice, vec![create("a", "1")]).await.unwrap();
}

#[tokio::test]
async fn hidden_record_is_in_no_list_but_in_the_repo() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    bench.write(&alice, vec![create("a", "1"), create("b", "2")]).await.unwrap();
    let collection = nsid();
    let rkey = RecordKey::parse("a").unwrap();
    let seen = async |bench: &Bench| {
        let (did, collection, rkey) = (alice.did.clone(), collection.clone(), rkey.clone());
        let read = bench.store.read(move |r| {
            let account = r.account_by_did(&did)?.unwrap();
            let list = r.list_records(&account, &collection, 10, None, false)?;
            let names: Vec<String> = list.iter().map(|record| record.rkey.to_string()).collect();
            Ok((
                names,
                r.visible_record(&account, &collection, &rkey)?.is_some(),
                r.record(&account, &collection, &rkey)?.is_some(),
                r.record_hold(&account, &collection, &rkey)?,
            ))
        });
        read.await.unwrap()
    };
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    bench.store.set_record_hold(&alice.did, &collection, &rkey, Some("why".to_owned())).await.unwrap();
    assert_eq!(seen(&bench).await, (names(&["b"]), false, true, Some("why".to_owned())));
    assert_eq!(bench.verified(&alice).await.len(), 2);
    bench.store.set_record_hold(&alice.did, &collection, &rkey, None).await.unwrap();
    assert_eq!(seen(&bench).await, (names(&["b", "a"]), true, true, None));
}

fn files(bench: &Bench, folder: &str) -> Vec<PathBuf> {
    let dir = bench.data().join(folder);
    let Ok(owners) = std::fs::read_dir(dir) else { return Vec::new() };
    owners
        .flat_map(|owner| std::fs::read_dir(owner.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

async fn is_served(bench: &Bench, alice: &Person, cid: &Cid) -> bool {
    bench.store.open_blob(&alice.did, cid).await.unwrap().is_some()
}

#[tokio::test]
async fn held_blob_is_moved_away_refused_and_brought_back() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let content = Bytes::from_static(b"a picture");
    let put =
        async |bench: &Bench| bench.store.put_blob(&alice.did, "image/png".to_owned(), content.clone()).await;
    let cid = put(&bench).await.unwrap().cid;
    bench.store.set_blob_hold(&alice.did, &cid, Some("why".to_owned())).await.unwrap();
    assert!(!is_served(&bench, &alice, &cid).await);
    assert_eq!((files(&bench, "blobs").len(), files(&bench, "quarantine").len()), (0, 1));
    assert!(matches!(put(&bench).await, Err(StoreError::BlobHeld { .. })));
    assert_eq!((files(&bench, "blobs").len(), files(&bench, "uploads").len()), (0, 0));
    let blob = BlobRef { cid, mime: "image/png".to_owned(), size: Some(9) };
    let record = op("a", Change::Put(record_with_blobs("x", vec![blob])));
    assert!(matches!(bench.write(&alice, vec![record.clone()]).await, Err(StoreError::BlobNotFound { .. })));

    let bench = bench.reopen().await;
    assert!(!is_served(&bench, &alice, &cid).await);
    bench.store.set_blob_hold(&alice.did, &cid, None).await.unwrap();
    assert!(is_served(&bench, &alice, &cid).await);
    bench.write(&alice, vec![record]).await.unwrap();
    bench.store.maintain().await.unwrap();
    assert!(is_served(&bench, &alice, &cid).await);
    assert!(files(&bench, "quarantine").is_empty());
}

#[tokio::test]
async fn cut_between_a_hold_and_its_file_is_set_right_at_the_start() {
    let bench = Bench::new();
    let alice = bench.account("alice").await;
    let cid =
        bench.store.put_blob(&alice.did, "image/png".to_owned(), Bytes::from_static(b"x")).await.unwrap().cid;
    let free = files(&bench, "blobs").remove(0);
    bench.store.set_blob_hold(&alice.did, &cid, Some("why".to_owned())).await.unwrap();
    let held = files(&bench, "quarantine").remove(0);
    // As if the power had gone after the row and before the move.
    std::fs::rename(&held, &free).unwrap();
    let bench = bench.reopen().await;
    assert_eq!((files(&bench, "blobs"), files(&bench, "quarantine")), (vec![], vec![held.clone()]));
    bench.store.set_blob_hold(&alice.did, &cid, None).await.unwrap();
    // A file in quarantine without a hold: what no order of steps should leave, and what must not be lost if it happens.
    std::fs::rename(&free, &held).unwrap();
    let bench = bench.reopen().await;
    assert!(is_served(&bench, &alice, &cid).await);

    bench.store.set_blob_hold(&alice.did, &cid, Some("why".to_owned())).await.unwrap();
    bench.store.delete_account(&alice.did).await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(
        (files(&bench, "blobs").len(), files(&bench, "quarantine").len()),
        (0, 0),
        "gone with the account"
    );
}
